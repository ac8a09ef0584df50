//! The thread that waits for keys, signals and the end of the terminal.
//!
//! crossterm 0.29 turns round for ever on a terminal that has vanished; here the end of it (POLLHUP, end of
//! file, EIO) ends the thread, also where SIGHUP is ignored.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::decode::Decoder;
use crate::tui::keys::Key;

/// After a lone ESC: how long the rest of a sequence may take, ms. Over a slow link a sequence arrives in
/// one piece or in pieces that follow each other at once.
const ESCAPE_MS: u8 = 50;

/// What the terminal brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Heard {
    /// A key.
    Key(Key),
    /// The window has another size.
    Resized,
    /// The program was stopped and goes on: the screen is somebody else's.
    Resumed,
    /// The terminal has vanished, or the program shall end.
    Gone,
}

/// Keeps signals for the [`Listener`]. To be called before any thread is made, since they inherit it.
///
/// # Errors
/// The system refuses.
pub(in crate::tui) fn block_signals() -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGWINCH,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGCONT,
    ] {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(SignalFd::with_flags(
        &signals,
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

/// Waits for what the terminal brings.
pub(in crate::tui) struct Listener {
    /// The terminal.
    pub(in crate::tui) tty: OwnedFd,
    /// Signals; none in tests that run several menus in one process.
    pub(in crate::tui) signals: Option<SignalFd>,
}

impl Listener {
    /// Starts the thread; `tell` is called with everything until it returns false.
    ///
    /// # Errors
    /// No thread is to be had.
    pub(in crate::tui) fn start(
        self,
        tell: impl Fn(Heard) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("keys".to_owned());
        thread.spawn(move || self.listen(&tell)).map(|_| ())
    }

    fn listen(self, tell: &dyn Fn(Heard) -> bool) {
        let mut decoder = Decoder::default();
        let Self { tty, signals } = self;
        let mut tty = std::fs::File::from(tty);
        let mut buffer = [0; 1024];
        loop {
            let (keys, end) = {
                let mut fds = vec![PollFd::new(tty.as_fd(), PollFlags::POLLIN)];
                fds.extend(
                    signals
                        .iter()
                        .map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)),
                );
                let patience = if decoder.is_pending() {
                    PollTimeout::from(ESCAPE_MS)
                } else {
                    PollTimeout::NONE
                };
                match poll(&mut fds, patience) {
                    Ok(0) => {
                        if let Some(key) = decoder.flush()
                            && !tell(Heard::Key(key))
                        {
                            return;
                        }
                        continue;
                    }
                    Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                    Err(_) => {
                        tell(Heard::Gone);
                        return;
                    }
                }
                let happened = fds[0].revents().unwrap_or(PollFlags::empty());
                let bad = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
                (
                    happened.contains(PollFlags::POLLIN),
                    happened.intersects(bad),
                )
            };
            if let Some(signals) = &signals
                && !deliver(signals, tell)
            {
                return;
            }
            let alive = if keys {
                match tty.read(&mut buffer) {
                    Ok(n) if n > 0 => {
                        let keys = decoder.feed(&buffer[..n]);
                        keys.into_iter().all(|key| tell(Heard::Key(key)))
                    }
                    Err(e)
                        if matches!(
                            e.kind(),
                            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                        ) =>
                    {
                        true
                    }
                    _ => false,
                }
            } else {
                !end
            };
            if !alive {
                tell(Heard::Gone);
                return;
            }
        }
    }
}

fn deliver(signals: &SignalFd, tell: &dyn Fn(Heard) -> bool) -> bool {
    while let Ok(Some(info)) = signals.read_signal() {
        let signal = i32::try_from(info.ssi_signo)
            .ok()
            .and_then(|n| Signal::try_from(n).ok());
        let heard = match signal {
            Some(Signal::SIGWINCH) => Heard::Resized,
            Some(Signal::SIGCONT) => Heard::Resumed,
            _ => Heard::Gone,
        };
        if !tell(heard) {
            return false;
        }
    }
    true
}
