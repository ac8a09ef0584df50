//! A real pseudo-terminal, and the screen that a person would see.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

/// For what comes within milliseconds on a machine that is not busy.
const LONG: Duration = Duration::from_mins(1);

const ROWS: NonZeroU16 = NonZeroU16::new(24).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(80).unwrap();

type Screen = Arc<(Mutex<vt100::Parser>, Condvar)>;

/// A program on a terminal of 80 columns and 24 rows.
pub(crate) struct Terminal {
    pub(crate) child: Child,
    keys: File,
    screen: Screen,
}

impl Terminal {
    /// Starts a program there.
    pub(crate) fn of(command: &mut Command) -> Self {
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).unwrap();
        let slave = File::from(pair.slave);
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        command.stdin(slave.try_clone().unwrap());
        command.stdout(slave.try_clone().unwrap()).stderr(slave);
        let child = command.spawn().unwrap();
        // The command keeps the far end open as long as it lives.
        *command = Command::new("true");
        let keys = File::from(pair.master);
        let mut output = keys.try_clone().unwrap();
        let screen: Screen = Arc::new((
            Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)),
            Condvar::new(),
        ));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // Linux says EIO once the far end is closed.
            while let Ok(length @ 1..) = output.read(&mut part) {
                shown.0.lock().unwrap().process(&part[..length]);
                shown.1.notify_all();
            }
        });
        Self {
            child,
            keys,
            screen,
        }
    }

    /// Waits until the last lines of the screen show it.
    #[track_caller]
    pub(crate) fn see(&self, text: &str) {
        let until = Instant::now() + LONG;
        let mut parser = self.screen.0.lock().unwrap();
        loop {
            let contents = parser.screen().contents();
            if contents.contains(text) {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "`{text}` never came:\n{contents}");
            parser = self.screen.1.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// Sends keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Sees a question and answers it.
    #[track_caller]
    pub(crate) fn answer(&mut self, question: &str, keys: &str) {
        self.see(question);
        self.press(keys);
    }

    /// How the program ended, what is on the screen, whether the cursor is hidden.
    pub(crate) fn end(mut self) -> (ExitStatus, String, bool) {
        let until = Instant::now() + LONG;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        // Everything it wrote is in the terminal; the reader gets it before the end.
        let parser = self.screen.0.lock().unwrap();
        let screen = parser.screen();
        (status, screen.contents(), screen.hide_cursor())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves no program behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
