//! The terminal between two questions, and as it was when the program ends.

use std::io::stdin;
use std::sync::OnceLock;

use dialoguer::console::Term;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpgrp, tcgetpgrp};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// The terminal's modes before the first question, if there was one; none: there is no terminal.
static BEFORE: OnceLock<Option<Termios>> = OnceLock::new();

/// A question is about to be asked: from now on whoever ends the program makes the terminal as it is here.
pub(crate) fn asks() -> Option<&'static Termios> {
    BEFORE.get_or_init(|| tcgetattr(stdin()).ok()).as_ref()
}

/// Whether the terminal is this program's to change; in the background it would be stopped for it (SIGTTOU).
fn in_front() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// Makes the terminal as it was, if a question was open: raw, and with the cursor hidden.
pub(crate) fn give_back() {
    if let Some(Some(before)) = BEFORE.get()
        && in_front()
    {
        // It may be gone; then there is nothing to give back.
        let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        let _ = Term::stderr().show_cursor();
    }
}

/// While it lives, keys that come between two questions are kept for the next one: neither shown where they
/// don't belong nor, as the line-wise terminal does, lost when a question makes it raw. Ctrl-C is a signal.
///
/// Signals are kept from the thread that asks: else its question, interrupted, would make the terminal as it was
/// between questions after the handler's thread has given it back. Threads made meanwhile inherit that, children don't:
/// the standard library clears the mask of what it runs.
#[derive(Debug)]
pub(crate) struct Between(());

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

impl Between {
    /// Makes the terminal so.
    pub(crate) fn questions() -> Self {
        if let Some(mut modes) = asks().cloned() {
            modes.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
        }
        // It fails only for a set that is none.
        let _ = signals().thread_block();
        Self(())
    }

    /// Lets the handler have the Ctrl-C that a question has read as a key and raised as a signal.
    pub(crate) fn interrupted() {
        let _ = signals().thread_unblock();
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = signals().thread_unblock();
        give_back();
    }
}
