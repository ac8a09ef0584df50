//! What a client sees of an address while things go wrong.
//!
//! The prober asks the address every 2 ms and notes who answers and how long
//! nobody does. Every 5 ms it asks each host's MAC address directly, with the
//! same address inside: so it knows whether more than one host would answer. It
//! watches who announces the address, and asks who has it. And it notes whether
//! it was itself held up; such a run is to be repeated.

mod figures;
mod frames;
mod measure;
mod report;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::measure::{Plan, Stop, measure};
pub use self::report::{Announcement, Dual, Gap, Losses, ProbeReport, Span};
use crate::lab::{Lab, need_root};

/// First line of the prober: from here on it measures.
const READY: &str = "{\"event\":\"ready\"}";

/// How to probe.
#[derive(Debug, Clone, clap::Args)]
pub struct ProbeOptions {
    /// Time between datagrams.
    #[arg(long, default_value = "2ms", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Time between rounds of asking every host directly.
    #[arg(long, default_value = "5ms", value_parser = humantime::parse_duration)]
    pub round: Duration,
    /// How long the prober may be held up before its figures are not believed.
    #[arg(long, default_value = "20ms", value_parser = humantime::parse_duration)]
    pub hold_limit: Duration,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(2),
            round: Duration::from_millis(5),
            hold_limit: Duration::from_millis(20),
        }
    }
}

/// When a prober that runs in this process ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Until {
    /// After this time; without it, when told.
    pub time: Option<Duration>,
    /// When standard input ends: the one who started it is done, or gone.
    pub end_of_input: bool,
    /// Whether to print a line whenever another node answers.
    pub live: bool,
}

/// Probes in this process until the time is over, or SIGINT or SIGTERM comes.
/// Moves the calling thread into the client's network.
pub fn run(lab: &Lab, alias: IpAddr, options: &ProbeOptions, until: Until) -> Result<ProbeReport> {
    ensure!(
        !options.interval.is_zero() && !options.round.is_zero(),
        "intervals of the prober must be longer than 0"
    );
    need_root("probing")?;
    lab.enter_client_network()?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)?;
    let plan = Plan {
        alias,
        hosts: lab
            .hosts()
            .iter()
            .map(|h| (h.name.clone(), h.mac()))
            .collect(),
        interval: options.interval,
        round_interval: options.round,
        hold_limit: options.hold_limit,
        live: until.live,
    };
    let stop = Stop::default();
    let observed = std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            measure(&plan, &stop, || {
                if !until.end_of_input {
                    return; // nobody waits for it
                }
                let mut out = std::io::stdout();
                let _ = writeln!(out, "{READY}").and_then(|()| out.flush());
            })
        });
        let waited = wait(&signals, until, || measuring.is_finished());
        stop.stop();
        let observed = measuring.join();
        waited.and_then(|()| observed.unwrap_or_else(|_| bail!("the prober panicked")))
    })?;
    Ok(observed.report(&alias.to_string()))
}

fn wait(signals: &SignalFd, until: Until, failed: impl Fn() -> bool) -> Result<()> {
    let end = until.time.map(|time| Instant::now() + time);
    let input = std::io::stdin();
    loop {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if until.end_of_input {
            fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) || failed() {
            return Ok(());
        }
        // In short steps: a measurement that cannot begin ends by itself.
        let step = left
            .unwrap_or(Duration::MAX)
            .min(Duration::from_millis(200));
        let timeout =
            PollTimeout::try_from(step.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A prober in a process of its own, with real-time priority, so that a busy
/// machine and a busy caller hold it up as little as possible.
#[derive(Debug)]
pub struct Probe {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Probe {
    /// Starts it; when this returns, it measures.
    pub fn start(lab: &Lab, alias: IpAddr, options: &ProbeOptions) -> Result<Self> {
        need_root("probing")?;
        let in_us = |time: Duration| format!("{}us", time.as_micros());
        let mut child = Command::new("chrt")
            .args(["--fifo", "20"])
            .arg(lab.folder.program())
            .arg("--folder")
            .arg(lab.folder())
            .args([
                "--json",
                "probe",
                &alias.to_string(),
                "--until-end-of-input",
            ])
            .args(["--interval", &in_us(options.interval)])
            .args(["--round", &in_us(options.round)])
            .args(["--hold-limit", &in_us(options.hold_limit)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the prober")?;
        let output = child.stdout.take().context("the prober has no output")?;
        let mut probe = Self {
            child,
            output: BufReader::new(output),
        };
        let mut line = String::new();
        probe.output.read_line(&mut line)?;
        if line.trim_end() != READY {
            bail!("the prober did not start: {}", probe.complaint());
        }
        Ok(probe)
    }

    /// Ends it and returns what it found.
    pub fn finish(mut self) -> Result<ProbeReport> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the prober failed ({status}): {}", self.complaint());
        }
        let line = text.lines().last().context("the prober said nothing")?;
        serde_json::from_str(line).context("the prober's report is damaged")
    }

    fn complaint(&mut self) -> String {
        drop(self.child.stdin.take());
        let mut text = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut text);
        }
        text.trim().to_owned()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
