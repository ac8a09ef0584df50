//! A program on a real pseudo-terminal, in a session of its own, driven like a person does.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
pub use nix::sys::signal::Signal;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Nothing that works takes so long.
pub const LONG: Duration = Duration::from_mins(1);
/// So long without a byte: everything that a key made is on the screen.
const STILL: Duration = Duration::from_millis(200);

/// The key for the line above.
pub const UP: &str = "\u{1b}[A";
/// The key for the line below.
pub const DOWN: &str = "\u{1b}[B";
/// The key to the right.
pub const RIGHT: &str = "\u{1b}[C";
/// The key that leaves.
pub const ESC: &str = "\u{1b}";

/// A line that is slow in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Bytes a second from the program.
    pub bytes_per_second: u32,
    /// From a key to the program and back, all of it on the way there.
    pub round_trip: Duration,
}

/// A program, its terminal, and the screen that a person would see.
pub struct Screen {
    master: Option<File>,
    child: Child,
    parser: vt100::Parser,
    bytes: usize,
    link: Option<Link>,
}

fn resize(master: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

/// Both ends of a terminal. Neither is inherited: a program that had the master open would never see it close.
fn pair(columns: u16, rows: u16) -> (File, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname_r(&master).unwrap();
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits());
    let slave = options.open(name).unwrap();
    let master = File::from(OwnedFd::from(master));
    resize(&master, columns, rows);
    (master, slave)
}

fn one(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

impl Screen {
    /// In a session of its own with the terminal as the controlling one, as a login has it. `before` is run
    /// by the shell first.
    pub fn open(command: &Command, columns: u16, rows: u16, before: &str) -> Self {
        let (master, slave_end) = pair(columns, rows);
        let slave = || Stdio::from(slave_end.try_clone().unwrap());
        let mut whole = Command::new("setsid");
        whole
            .args(["--ctty", "sh", "-c"])
            .arg(format!("{before} exec \"$0\" \"$@\""))
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => whole.env(name, value),
                None => whole.env_remove(name),
            };
        }
        let child = whole
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        Self {
            master: Some(master),
            child,
            parser: vt100::Parser::new(one(rows), one(columns), 0),
            bytes: 0,
            link: None,
        }
    }

    /// From here on over such a line.
    pub fn over(&mut self, link: Link) {
        self.link = Some(link);
    }

    fn master(&self) -> &File {
        self.master.as_ref().unwrap()
    }

    /// Takes what comes within `time`; whether anything came.
    fn take(&mut self, time: Duration) -> bool {
        let timeout = PollTimeout::try_from(time).unwrap();
        let mut fds = [PollFd::new(self.master().as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let part = self.link.map_or(buffer.len(), |_| 32);
        match self.master().read(&mut buffer[..part]) {
            Ok(n) if n > 0 => {
                if let Some(link) = self.link {
                    let each = Duration::from_secs(1) / link.bytes_per_second;
                    sleep(each * u32::try_from(n).unwrap());
                }
                self.parser.process(&buffer[..n]);
                self.bytes += n;
                true
            }
            // EIO: nobody has the other end any more.
            _ => false,
        }
    }

    /// What stands on the screen.
    pub fn text(&self) -> String {
        self.screen().contents()
    }

    /// The screen with its cells and modes.
    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// Bytes that have come so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub fn until(&mut self, wanted: &str, right: impl Fn(&str) -> bool) {
        let until = Instant::now() + LONG;
        while !right(&self.text()) {
            assert!(
                Instant::now() < until,
                "`{wanted}` does not come:\n{}",
                self.text()
            );
            self.take(Duration::from_millis(100));
        }
    }

    /// Waits until the screen says that, and nothing more comes.
    #[track_caller]
    pub fn see(&mut self, wanted: &str) {
        self.until(wanted, |text| text.contains(wanted));
        self.settle();
    }

    /// Waits until nothing comes any more.
    pub fn settle(&mut self) {
        let until = Instant::now() + LONG;
        while self.take(STILL) {
            assert!(Instant::now() < until, "it never rests:\n{}", self.text());
        }
    }

    /// How many bytes come until nothing comes any more.
    pub fn cost(&mut self, act: impl FnOnce(&mut Self)) -> usize {
        self.settle();
        let before = self.bytes;
        act(self);
        // What shows nothing would cost nothing.
        let until = Instant::now() + LONG;
        while self.bytes == before {
            assert!(Instant::now() < until, "nothing comes:\n{}", self.text());
            self.take(STILL);
        }
        self.settle();
        self.bytes - before
    }

    /// Presses keys.
    pub fn send(&mut self, keys: &str) {
        if let Some(link) = self.link {
            sleep(link.round_trip);
        }
        self.master().write_all(keys.as_bytes()).unwrap();
    }

    /// Sees a question and answers it.
    #[track_caller]
    pub fn reply(&mut self, question: &str, keys: &str) {
        self.see(question);
        self.send(keys);
    }

    /// A key into a dialog: it has been on the screen long enough.
    pub fn answer(&mut self, keys: &str) {
        self.settle();
        sleep(Duration::from_millis(1500));
        self.send(keys);
    }

    /// Another size of the window.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.screen_mut().set_size(one(rows), one(columns));
        resize(self.master(), columns, rows);
    }

    /// Whether the terminal takes lines and shows what is typed, as a shell leaves it.
    pub fn cooked(&self) -> bool {
        let modes = tcgetattr(self.master()).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Closes the window.
    pub fn close(&mut self) {
        drop(self.master.take());
    }

    /// Ends the program at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for the end; the exit code, -1 after a signal. Everything that it wrote is on the screen.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let until = Instant::now() + LONG;
        loop {
            if self.master.is_some() {
                self.take(Duration::from_millis(20));
            } else {
                sleep(Duration::from_millis(20));
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.master.is_some() && self.take(Duration::ZERO) {}
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.text());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A test that failed leaves nobody behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
