//! One host of the lab without root: an agent, and the services that it started.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::{HOST_MARK, Loopback, marked};
use crate::clean::kill_all;
use crate::fault::{AGENT, Freeze, chosen, stop_all, thaw_later};
use crate::lab::{LOCK_PATIENCE, tail};
use crate::plan::Host;
use crate::process::Process;

/// How long an agent may take until it answers, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

impl Loopback {
    /// Starts the agent of a host, in the background.
    pub(super) fn start_agent(&self, host: &Host) -> Result<()> {
        let place = self.folder.host(&host.name);
        fs::create_dir_all(&place)?;
        // What ends with a machine's boot ends with this one's.
        match fs::remove_dir_all(place.join("run")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(place.join("agent.log"))?;
        let (address, _) = host.on_loopback(self.state.network);
        self.command(&self.state.agent)
            .env(HOST_MARK, &host.name)
            .env_remove("NOTIFY_SOCKET")
            .arg("--state")
            .arg(place.join("state"))
            .arg("--run")
            .arg(place.join("run"))
            .args(["run", "--simulate", "--address", &format!("{address}/24")])
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // what interrupts us is not meant for it
            .spawn()
            .with_context(|| format!("cannot start {}", self.state.agent.display()))?;
        Ok(())
    }

    /// Waits until a host's agent answers; errors when it has ended, with the end of its log.
    pub fn wait_ready(&self, name: &str) -> Result<()> {
        let host = self.host(name)?;
        let until = Instant::now() + START_LIMIT;
        while UnixStream::connect(self.socket(name)).is_err() {
            if !self.is_on(host) || Instant::now() >= until {
                let log = fs::read_to_string(self.folder.host(name).join("agent.log"));
                bail!(
                    "the agent of {name} does not run; {}",
                    tail(&log.unwrap_or_default())
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Every process of a host.
    pub(super) fn processes(&self, host: &Host) -> Vec<Process> {
        let mut found = marked(&self.folder);
        found.retain(|p| p.environment(HOST_MARK).as_deref() == Some(&host.name));
        found
    }

    /// The agent of a host that is on.
    pub(super) fn agent(&self, host: &Host) -> Option<Process> {
        let mut found = self.processes(host).into_iter();
        found.find(|process| process.name().as_deref() == Some(AGENT))
    }

    pub(super) fn is_on(&self, host: &Host) -> bool {
        self.agent(host).is_some()
    }

    fn need_on(&self, host: &Host) -> Result<()> {
        ensure!(self.is_on(host), "{} is off", host.name);
        Ok(())
    }

    /// A pretended power failure: in one instant the agent is gone, and then its services. Its files are kept. Errors
    /// if it is off.
    pub fn kill(&self, name: &str) -> Result<()> {
        let _lock = self.folder.lock(LOCK_PATIENCE)?;
        let host = self.host(name)?;
        self.need_on(host)?;
        if let Some(agent) = self.agent(host) {
            agent.signal(Signal::SIGKILL);
        }
        kill_all(|| self.processes(host))
    }

    /// Starts the agent of a host that is off, on the same files, and waits until it answers. Errors if it is on.
    pub fn revive(&self, name: &str) -> Result<()> {
        let _lock = self.folder.lock(LOCK_PATIENCE)?;
        let host = self.host(name)?;
        ensure!(!self.is_on(host), "{name} is on already");
        // Services whose agent ended by itself would not survive a boot either.
        kill_all(|| self.processes(host))?;
        self.start_agent(host)?;
        self.wait_ready(name)
    }

    /// Stops the agent of a host, or all its processes, with SIGSTOP; with a time they go on by themselves after it.
    pub fn freeze(&self, name: &str, what: Freeze, time: Option<Duration>) -> Result<()> {
        let _lock = self.folder.lock(LOCK_PATIENCE)?;
        let host = self.host(name)?;
        self.need_on(host)?;
        if let Some(time) = time {
            thaw_later(&mut self.command(&self.state.lab), &self.folder, name, time)?;
        }
        stop_all(|| chosen(self.processes(host), what));
        Ok(())
    }

    /// Lets every stopped process of a host go on; true if any was stopped.
    pub fn thaw(&self, name: &str) -> Result<bool> {
        let mut any = false;
        for process in self.processes(self.host(name)?) {
            any |= process.stopped() && process.signal(Signal::SIGCONT);
        }
        Ok(any)
    }
}
