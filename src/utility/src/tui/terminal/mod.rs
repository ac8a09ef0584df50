//! The terminal itself: raw mode, the other screen, keys, signals; nothing is ever asked of it.

mod decode;
mod input;
mod writer;

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ratatui::layout::Size;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

pub(super) use input::{Heard, Listener, block_signals};
pub(super) use writer::Writer;

/// The other screen, emptied (the Linux console has no other), without cursor; pastes in brackets.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l\x1b[?2004h";
/// Everything as it was.
const LEAVE: &[u8] = b"\x1b[?2004l\x1b[m\x1b[2J\x1b[H\x1b[?25h\x1b[?1049l";

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
        write(self.fd.as_fd(), ENTER)
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
        let _ = write(fd.as_fd(), LEAVE);
        let _ = tcsetattr(&fd, OptionalActions::Now, &before);
    }
}

fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    std::fs::File::from(fd.try_clone_to_owned()?).write_all(bytes)
}
