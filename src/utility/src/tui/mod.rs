//! The menu (U1, U2): `backstay` without a verb.
//!
//! A [`model`] that [`update`](mod@update) changes by messages and a [`view`] that draws it, both pure; the
//! terminal and the threads that do something stand outside. An entry's form makes a command line, which is
//! run by the same code as if it had been typed: there is no second way to carry anything out.

pub mod keys;
pub mod layers;
pub mod menu;
pub mod model;
pub mod msg;
pub mod picture;
mod terminal;
pub mod text;
pub mod theme;
pub mod update;
pub mod view;
mod work;

use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use backstay_core::plan::quoted;
use nix::sys::signal::{Signal, raise};
use nix::sys::signalfd::SignalFd;
use ratatui::Terminal;
use ratatui::layout::Size;

use crate::cli::args::Color;
use crate::cli::context::{Context, locale_is_utf8};
use crate::failure::{Exit, Failure};
use crate::ops::gather::wall_ms;
use model::Model;
use msg::{Cmd, Event, Msg};
use terminal::{Heard, Listener, Tty, Writer, block_signals, give_back};
use theme::{Claims, Theme};
use work::Workers;

/// U2: not more than 20 frames a second.
const FRAME: Duration = Duration::from_millis(50);
/// How often ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long an operation that is told to stop may take to say so when the menu ends.
const GRACE: Duration = Duration::from_millis(500);

/// Opens the menu and stays until it is left.
///
/// # Errors
/// There is no terminal that can show it, or it has vanished.
pub(crate) fn open(context: &Context) -> Result<Exit, Failure> {
    let term = std::env::var("TERM").unwrap_or_default();
    let claims = Claims {
        term: &term,
        color: context.style.color,
        forced: context.common.color == Color::Always,
        utf8: locale_is_utf8(),
    };
    let there = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let theme =
        Theme::choose(claims).filter(|_| there && !context.common.no_input && !context.json());
    let Some(theme) = theme else {
        return Err(Failure::new(
            Exit::Usage,
            "the menu needs a terminal; use `backstay status`, or `backstay --help` for every command",
        ));
    };
    let stuck =
        |e: std::io::Error| Failure::new(Exit::Error, format!("the terminal can't be used: {e}"));
    let signals = block_signals().map_err(stuck)?;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        give_back();
        before(info);
    }));
    let fd = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(stuck)?;
    run(context, fd, theme, Some(signals)).map_err(stuck)
}

/// A heard event, when it came: keys count from when they were pressed.
type Stamped = (Instant, Event);

/// Shows the menu on a terminal.
fn run(
    context: &Context,
    fd: OwnedFd,
    theme: Theme,
    signals: Option<SignalFd>,
) -> std::io::Result<Exit> {
    let tty = Tty::take(fd)?;
    let (post, inbox) = mpsc::channel::<Stamped>();
    let keys = post.clone();
    let size_of = tty.fd()?;
    Listener {
        tty: tty.fd()?,
        signals,
    }
    .start(move |heard| {
        let event = match heard {
            Heard::Key(key) => Event::Key(key),
            Heard::Gone => Event::Gone,
            Heard::Resumed => Event::Resumed,
            Heard::Resized => {
                let size = terminal::size(&size_of);
                Event::Resized(size.width, size.height)
            }
        };
        keys.send((Instant::now(), event)).is_ok()
    })?;
    let size = tty.size();
    // Without a verb all words are options; the command that does the same needs them too.
    let words = std::env::args().skip(1);
    let options = words.map(|word| quoted(&word)).collect();
    let model = Model::new(theme, (size.width, size.height), wall_ms() / 1000, options);
    let screen = Terminal::new(Writer::new(std::fs::File::from(tty.fd()?), size))?;
    let workers = Workers::start(context, post);
    Loop {
        began: Instant::now(),
        tty,
        screen,
        model,
        workers,
    }
    .run(&inbox)
}

struct Loop {
    began: Instant,
    tty: Tty,
    screen: Terminal<Writer<std::fs::File>>,
    model: Model,
    workers: Workers,
}

impl Loop {
    fn run(mut self, inbox: &Receiver<Stamped>) -> std::io::Result<Exit> {
        let mut drawn = Instant::now().checked_sub(FRAME);
        let mut gone = false;
        loop {
            if self.model.dirty && drawn.is_none_or(|at| at.elapsed() >= FRAME) {
                if self.draw().is_err() {
                    break;
                }
                drawn = Some(Instant::now());
            }
            let patience = match (self.model.dirty, drawn) {
                (true, Some(at)) => FRAME.saturating_sub(at.elapsed()),
                _ => TICK,
            };
            let (at, event) = match inbox.recv_timeout(patience) {
                Ok(stamped) => stamped,
                Err(RecvTimeoutError::Timeout) => (Instant::now(), Event::Tick),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            gone |= matches!(event, Event::Gone);
            let cmds = self.tell(at, event);
            if self.obey(cmds)? {
                break;
            }
        }
        // What is not committed is given up, in good order if there is time for it (U6).
        self.workers.stop(GRACE);
        if gone {
            tracing::info!("the terminal has vanished");
        }
        Ok(Exit::Done)
    }

    fn tell(&mut self, at: Instant, event: Event) -> Vec<Cmd> {
        let since = at.saturating_duration_since(self.began);
        let msg = Msg {
            at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            wall: wall_ms() / 1000,
            event,
        };
        update::update(&mut self.model, msg)
    }

    fn draw(&mut self) -> std::io::Result<()> {
        self.model.dirty = false;
        let (columns, rows) = self.model.size;
        self.screen
            .backend_mut()
            .resize_to(Size::new(columns, rows));
        let model = &self.model;
        self.screen.draw(|frame| view::view(model, frame))?;
        self.tell(Instant::now(), Event::Drawn);
        Ok(())
    }

    /// Whether to end.
    fn obey(&mut self, cmds: Vec<Cmd>) -> std::io::Result<bool> {
        for cmd in cmds {
            match cmd {
                Cmd::Quit => return Ok(true),
                Cmd::Redraw => self.anew()?,
                Cmd::Suspend => {
                    give_back();
                    // Without a shell that could bring it back the kernel lets it go on at once.
                    raise(Signal::SIGTSTP)?;
                    self.resume()?;
                }
                Cmd::Resume => self.resume()?,
                other => self.workers.obey(other),
            }
        }
        Ok(false)
    }

    /// Takes the terminal again, whatever was made of it.
    fn resume(&mut self) -> std::io::Result<()> {
        self.tty.enter()?;
        let size = self.tty.size();
        self.model.size = (size.width, size.height);
        self.anew()
    }

    /// Nothing of what was on the screen is taken for granted.
    fn anew(&mut self) -> std::io::Result<()> {
        let (columns, rows) = self.model.size;
        self.screen.backend_mut().forget();
        self.screen
            .backend_mut()
            .resize_to(Size::new(columns, rows));
        self.screen.clear()?;
        self.model.dirty = true;
        Ok(())
    }
}
