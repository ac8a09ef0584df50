//! Plain commands: with a limit, a process group of their own, and bounded output.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// What is kept of each output stream, bytes; the rest is read and dropped, so that the command never blocks.
pub const KEPT: usize = 64 * 1024;

/// How long a command has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// A command that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The list of words is empty.
    #[error("an empty command")]
    Empty,
    /// The system's answer.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that we did not send.
    Signal(i32),
    /// It took longer than its limit and was ended.
    TimedOut {
        /// TERM was not enough.
        killed: bool,
    },
}

/// A command that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub end: End,
    /// Its standard output: at most [`KEPT`] bytes, without control characters but newline and tab.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
    /// More was written than was kept.
    pub cut: bool,
    /// How long it took.
    pub took: Duration,
}

impl Finished {
    /// It ended by itself with code 0.
    pub fn succeeded(&self) -> bool {
        self.end == End::Code(0)
    }
}

/// Runs a command (no shell) and waits for its end, at most `limit`; then its process group gets TERM and, 5 s
/// later, KILL. Dropping the future kills the group at once.
pub async fn run(
    argv: &[String],
    env: &[(String, String)],
    limit: Duration,
) -> Result<Finished, CommandError> {
    run_with_grace(argv, env, limit, GRACE).await
}

async fn run_with_grace(
    argv: &[String],
    env: &[(String, String)],
    limit: Duration,
    grace: Duration,
) -> Result<Finished, CommandError> {
    let (program, arguments) = argv.split_first().ok_or(CommandError::Empty)?;
    let begin = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| CommandError::Start {
            program: program.clone(),
            source,
        })?;
    let group = Group::of(&child);
    let stdout = child.stdout.take().map(Capture::of);
    let stderr = child.stderr.take().map(Capture::of);
    let end = if let Ok(status) = tokio::time::timeout(limit, child.wait()).await {
        status.map_or(End::Signal(0), end_of)
    } else {
        let killed = group.end(grace).await;
        let _ = child.wait().await;
        End::TimedOut { killed }
    };
    group.done();
    let stdout = end_of_capture(stdout).await;
    let stderr = end_of_capture(stderr).await;
    Ok(Finished {
        end,
        stdout: printable(&stdout.kept),
        stderr: printable(&stderr.kept),
        cut: stdout.cut || stderr.cut,
        took: begin.elapsed(),
    })
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, signal) => End::Signal(signal.unwrap_or(0)),
    }
}

/// The process group of a command; killed when dropped before the command has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .filter(|pid| *pid > 1);
        Group(pid.map(Pid::from_raw))
    }

    /// TERM, then KILL after `grace`; `true` if KILL found the command still running. The command is not reaped
    /// here: until it is, its number cannot belong to anybody else.
    async fn end(&self, grace: Duration) -> bool {
        let Some(pid) = self.0 else { return false };
        let _ = killpg(pid, Signal::SIGTERM);
        let begin = Instant::now();
        let mut running = true;
        while running && begin.elapsed() < grace {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            running = matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive));
        }
        // Also when the command itself has gone: its children may not have.
        let _ = killpg(pid, Signal::SIGKILL);
        running
    }

    /// The command has ended and been reaped.
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

#[derive(Debug, Default)]
struct Captured {
    kept: Vec<u8>,
    cut: bool,
}

/// Reads one pipe into a shared buffer.
struct Capture {
    captured: Arc<Mutex<Captured>>,
    task: JoinHandle<()>,
}

impl Capture {
    fn of(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let captured = Arc::new(Mutex::new(Captured::default()));
        let shared = captured.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            // A failing pipe ends the capture like a closed one.
            while let Ok(len @ 1..) = pipe.read(&mut buffer).await {
                let mut captured = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let room = KEPT - captured.kept.len();
                captured.kept.extend_from_slice(&buffer[..len.min(room)]);
                captured.cut |= len > room;
            }
        });
        Capture { captured, task }
    }

    /// What there is at the end; waits for it, but not for ever: a child left in the background may hold the
    /// pipe open.
    async fn end(mut self) -> Captured {
        if tokio::time::timeout(Duration::from_secs(1), &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
        std::mem::take(&mut self.captured.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn end_of_capture(capture: Option<Capture>) -> Captured {
    match capture {
        Some(capture) => capture.end().await,
        None => Captured::default(),
    }
}

/// Text that cannot play with a terminal or a log.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| matches!(c, '\n' | '\t') || !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn code_output_and_environment_come_through() {
        let env = [("NAME".to_owned(), "web1".to_owned())];
        let finished = block_on(run(&sh("echo $NAME; echo oops >&2; exit 3"), &env, LONG)).unwrap();
        assert_eq!(
            (
                finished.end,
                finished.stdout.as_str(),
                finished.stderr.as_str()
            ),
            (End::Code(3), "web1\n", "oops\n")
        );
        assert!(!finished.succeeded() && !finished.cut);
        assert!(matches!(
            block_on(run(&["/no/such/thing".into()], &[], LONG)),
            Err(CommandError::Start { .. })
        ));
        assert!(matches!(
            block_on(run(&[], &[], LONG)),
            Err(CommandError::Empty)
        ));
        assert_eq!(
            block_on(run(&sh("kill -9 $$"), &[], LONG)).unwrap().end,
            End::Signal(9)
        );
    }

    #[test]
    fn output_is_bounded_and_harmless() {
        let finished =
            block_on(run(&sh("head -c 300000 /dev/zero | tr '\\0' x"), &[], LONG)).unwrap();
        assert!(finished.cut && finished.stdout.len() == KEPT && finished.succeeded());
        let finished = block_on(run(&sh("printf 'a\\033[2Jb\\rc\\377\\n'"), &[], LONG)).unwrap();
        assert_eq!(finished.stdout, "a[2Jbc\u{fffd}\n");
    }

    #[test]
    fn f14_a_command_beyond_its_limit_is_ended_with_all_its_children() {
        let marker = format!("backstay-t-{}-sleeper", std::process::id());
        // The child of the shell has a name to look for.
        let script = format!("trap '' TERM; sh -c 'exec -a {marker} sleep 600' & wait; sleep 600");
        let argv = ["bash", "-c", &script.replace("sh -c", "bash -c")].map(str::to_owned);
        let limit = Duration::from_millis(300);
        let finished = block_on(run_with_grace(
            &argv,
            &[],
            limit,
            Duration::from_millis(300),
        ))
        .unwrap();
        assert_eq!(finished.end, End::TimedOut { killed: true });
        assert!(!running(&marker), "a grandchild survived");
        let polite = block_on(run(&sh("sleep 600"), &[], limit)).unwrap();
        assert_eq!(polite.end, End::TimedOut { killed: false });
    }

    #[test]
    fn a_child_left_in_the_background_does_not_hold_the_caller() {
        let finished = block_on(run(&sh("sleep 5 & echo done"), &[], LONG)).unwrap();
        assert_eq!(finished.stdout, "done\n");
        assert!(
            finished.succeeded() && finished.took < Duration::from_secs(4),
            "{finished:?}"
        );
    }

    fn running(marker: &str) -> bool {
        let begin = Instant::now();
        let found = || {
            std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
                first == marker.as_bytes()
            })
        };
        while found() {
            if begin.elapsed() > Duration::from_secs(5) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}
