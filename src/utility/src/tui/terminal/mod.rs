//! The terminal itself: raw mode, the other screen, keys, signals; nothing is ever asked of it.

mod decode;
mod input;
mod writer;

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};
use ratatui::layout::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

pub(super) use input::{Heard, Listener, block_signals};
pub(super) use writer::Writer;

/// crossterm has these two only together with its event reader (xterm's control sequences, DECSET 2004).
const PASTES_IN_BRACKETS: &str = "\x1b[?2004h";
const PASTES_AS_TYPED: &str = "\x1b[?2004l";

/// The other screen, emptied (the Linux console has no other), without cursor; pastes in brackets.
fn take_over(out: &mut impl Write) -> io::Result<()> {
    let empty = Clear(ClearType::All);
    execute!(
        out,
        EnterAlternateScreen,
        empty,
        Hide,
        Print(PASTES_IN_BRACKETS)
    )
}

/// Everything as it was.
fn hand_back(out: &mut impl Write) -> io::Result<()> {
    let (plain, empty) = (SetAttribute(Attribute::Reset), Clear(ClearType::All));
    queue!(out, Print(PASTES_AS_TYPED), plain, empty, MoveTo(0, 0))?;
    execute!(out, Show, LeaveAlternateScreen)
}

/// A terminal that is the menu's until it is dropped.
#[derive(Debug)]
pub(super) struct Tty {
    fd: OwnedFd,
    before: Termios,
}

/// What a panic needs to give the terminal back.
static ENTERED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

fn entered() -> MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    ENTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tty {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none, or it is gone.
    pub(super) fn take(fd: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&fd)?;
        let tty = Self { fd, before };
        tty.enter()?;
        Ok(tty)
    }

    /// Raw mode and the other screen; again after the program was stopped.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn enter(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(&self.fd, OptionalActions::Now, &raw)?;
        *entered() = Some((self.fd.try_clone()?, self.before.clone()));
        take_over(&mut file(self.fd.as_fd())?)
    }

    /// How large the window is.
    pub(super) fn size(&self) -> Size {
        size(&self.fd)
    }

    /// To read from and write to.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn fd(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        give_back();
    }
}

/// How large a terminal's window is; one that does not say is a vt100.
pub(super) fn size(fd: &OwnedFd) -> Size {
    match tcgetwinsize(fd) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size::new(size.ws_col, size.ws_row),
        _ => Size::new(80, 24),
    }
}

/// Gives the terminal back, once; also from a panic.
pub(super) fn give_back() {
    // A panic while this lock is held must not wait for itself.
    let Ok(mut held) = ENTERED.try_lock() else {
        return;
    };
    if let Some((fd, before)) = held.take() {
        // It may be gone; then there is nothing to give back.
        let _ = file(fd.as_fd()).and_then(|mut out| hand_back(&mut out));
        let _ = tcsetattr(&fd, OptionalActions::Now, &before);
    }
}

/// One write for all that is said at once.
fn file(fd: BorrowedFd<'_>) -> io::Result<impl Write> {
    Ok(io::BufWriter::new(std::fs::File::from(
        fd.try_clone_to_owned()?,
    )))
}
