//! The demonstration service as plain commands: what an agent without systemd starts, stops and checks.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::{HOST_MARK, Loopback};
use crate::lab::tail;
use crate::process::Process;
use crate::state::{read, write};

/// How long it may take to start or to stop.
const LIMIT: Duration = Duration::from_secs(10);
/// How often its state is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What to do with a demonstration service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Do {
    /// Start it, and return when it can answer.
    Start,
    /// Stop it, and return when it is gone.
    Stop,
    /// Fail unless it runs.
    Check,
}

impl Do {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Check => "check",
        }
    }
}

impl Loopback {
    /// The words of the command for a service, the same on every host: on which it runs is in the environment of its
    /// agent.
    pub fn service_command(&self, service: &str, what: Do) -> Vec<String> {
        let words = [
            &self.state.lab.to_string_lossy(),
            "--folder",
            &self.folder.path().to_string_lossy(),
            "service",
            what.word(),
            service,
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Starts a service on a host as the host itself would, before there is a cluster.
    pub(super) fn start_service(&self, service: &str, host: &str) -> Result<()> {
        let words = self.service_command(service, Do::Start);
        let status = self
            .command(&self.state.lab)
            .env(HOST_MARK, host)
            .args(&words[1..])
            .status()
            .context("cannot start backstay-lab")?;
        ensure!(status.success(), "{service} does not start on {host}");
        Ok(())
    }

    /// Carries out a command of a service on the host that the environment names.
    pub fn service(path: &Path, service: &str, what: Do) -> Result<()> {
        let lab: Self = Self::load(path)?;
        let host = std::env::var(HOST_MARK)
            .with_context(|| format!("{HOST_MARK} names no host: agents of the lab run this"))?;
        lab.host(&host)?;
        let at = lab.folder.host(&host).join(service);
        let running = running(&at)?;
        match (what, running) {
            (Do::Start, None) => lab.serve(service, &host, &at),
            (Do::Stop, Some(process)) => end(process),
            (Do::Check, None) => bail!("{service} does not run on {host}"),
            (Do::Start | Do::Check, Some(_)) | (Do::Stop, None) => Ok(()),
        }
    }

    fn serve(&self, service: &str, host: &str, at: &Path) -> Result<()> {
        fs::create_dir_all(at)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(at.join("log"))?;
        let times = at.join("times.jsonl");
        let before = length(&times);
        let mut child = self
            .command(&self.state.lab)
            .args(["serve", "--share", "--name", host, "--service", service])
            .args(["--address", &self.alias(service)?.to_string()])
            .arg("--state")
            .arg(at.join("counter"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // it outlives the command that starts it
            .spawn()
            .context("cannot start backstay-lab")?;
        let process = i32::try_from(child.id()).ok().and_then(Process::of);
        write(&at.join("process.json"), &process)?;
        let until = Instant::now() + LIMIT;
        // It writes down that it can answer.
        while length(&times) == before {
            let ended = child.try_wait()?;
            if ended.is_some() || Instant::now() >= until {
                let log = fs::read_to_string(at.join("log")).unwrap_or_default();
                let _ = child.kill(); // gone already, or of no use
                bail!("{service} does not start on {host}; {}", tail(&log));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// The service's process, if it runs.
fn running(at: &Path) -> Result<Option<Process>> {
    let known: Option<Option<Process>> = read(&at.join("process.json"))?;
    Ok(known.flatten().filter(|process| process.alive()))
}

fn length(file: &PathBuf) -> u64 {
    fs::metadata(file).map_or(0, |m| m.len())
}

/// TERM, and KILL if that is not enough.
fn end(process: Process) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        process.signal(signal);
        let until = Instant::now() + LIMIT / 2;
        while Instant::now() < until {
            if !process.alive() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }
    bail!("process {} does not end", process.pid)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_words_of_a_command_are_understood() {
        for what in Do::value_variants() {
            assert_eq!(Do::from_str(what.word(), false).as_ref(), Ok(what));
        }
    }
}
