//! What can go wrong with a host: power, network, a process that hangs.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::lab::Lab;
use crate::net;
use crate::plan::Host;
use crate::process::Process;
use crate::rules::{self, CLIENT_NAME, Cut, GATEWAY_NAME};
use crate::state::Folder;
use crate::supervise;

const OFF_LIMIT: Duration = Duration::from_secs(20);
/// The process that is frozen as "the agent".
pub(crate) const AGENT: &str = "backstay-agent";

/// What [`Lab::freeze`] stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freeze {
    /// `backstay-agent` and nothing else.
    Agent,
    /// Every process of the host. Its kernel goes on, like the machine's.
    Host,
}

/// The agent of a host: found beforehand, it can be killed without delay.
#[derive(Debug, Clone, Copy)]
pub struct Agent(Process);

impl Agent {
    /// Kills it with SIGKILL; false if it had ended already.
    pub fn kill(self) -> bool {
        self.0.signal(Signal::SIGKILL)
    }
}

/// When a host lost its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PowerOff {
    /// Just before the cable was pulled, in ns of `CLOCK_MONOTONIC`.
    pub before_ns: u64,
    /// Once it was pulled and PID 1 killed, in ns of `CLOCK_MONOTONIC`.
    pub after_ns: u64,
}

impl fmt::Display for PowerOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "off since {} ns of CLOCK_MONOTONIC", self.after_ns)
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of every figure of the lab.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Lab {
    /// Takes a host's power away: in one instant nothing of it is heard any more
    /// and every process of it is gone. Its disk is kept. Errors if it is off.
    pub fn kill(&self, name: &str) -> Result<PowerOff> {
        let _lock = self.change_lock()?;
        let host = self.host(name)?;
        let init = self.need_init(host)?;
        let before_ns = monotonic_ns();
        net::unplug(host, None);
        init.signal(Signal::SIGKILL);
        let after_ns = monotonic_ns();
        self.wait_off(name, OFF_LIMIT)?;
        Ok(PowerOff {
            before_ns,
            after_ns,
        })
    }

    /// Waits until a host is off and its supervisor has tidied up after it.
    pub fn wait_off(&self, name: &str, limit: Duration) -> Result<()> {
        let host = self.host(name)?;
        let until = Instant::now() + limit;
        while self.supervised(host)? {
            ensure!(Instant::now() < until, "{name} is still on after {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn supervised(&self, host: &Host) -> Result<bool> {
        let running = self.folder.running(&host.name)?;
        Ok(running.is_some_and(|r| r.supervisor.alive() || r.nspawn.is_some_and(Process::alive)))
    }

    /// Boots a host that is off: same disk, fresh network. Returns once it is on
    /// its way ([`Lab::wait_ready`] waits for its sshd). Errors if it is on.
    pub fn revive(&self, name: &str) -> Result<()> {
        let _lock = self.change_lock()?;
        let host = self.host(name)?;
        ensure!(!self.supervised(host)?, "{name} is on already");
        let before = self.boots(host)?;
        supervise::start(&self.folder, host)?;
        // Until the supervisor has reported, a second `revive` would start another.
        let until = Instant::now() + OFF_LIMIT;
        while self.boots(host)? == before {
            ensure!(
                Instant::now() < until,
                "the supervisor of {name} does not report"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn boots(&self, host: &Host) -> Result<u32> {
        Ok(self.folder.running(&host.name)?.map_or(0, |r| r.boots))
    }

    /// The agent of a host, if one runs. What only carries bytes between SSH and the agent's socket is none.
    pub fn agent(&self, name: &str) -> Result<Option<Agent>> {
        let init = self.need_init(self.host(name)?)?;
        let all = chosen(init.container(), Freeze::Agent).into_iter();
        let mut daemons = all.filter(|p| p.arguments().get(1).is_some_and(|a| a == "run"));
        Ok(daemons.next().map(Agent))
    }

    /// Stops processes of a host with SIGSTOP; with a time they go on by
    /// themselves after it, even if the caller is gone by then. Returns at once,
    /// with the instant of the stop in ns of `CLOCK_MONOTONIC`. Errors if the host
    /// is off, or if nothing is there to stop.
    pub fn freeze(&self, name: &str, what: Freeze, time: Option<Duration>) -> Result<u64> {
        let _lock = self.change_lock()?;
        let host = self.host(name)?;
        let init = self.need_init(host)?;
        if let Some(time) = time {
            let mut lab = Command::new(self.folder.program());
            thaw_later(&mut lab, &self.folder, name, time)?;
        }
        let at = monotonic_ns();
        if !stop_all(|| chosen(init.container(), what)) {
            bail!("no process {AGENT} runs in {name}");
        }
        Ok(at)
    }

    /// Lets every stopped process of a host go on; true if any was stopped.
    pub fn thaw(&self, name: &str) -> Result<bool> {
        let init = self.need_init(self.host(name)?)?;
        let mut any = false;
        for process in init.container() {
            any |= process.stopped() && process.signal(Signal::SIGCONT);
        }
        Ok(any)
    }

    /// Drops everything from `from` to `to`, and back unless `one_way`; on one
    /// link, or on all. Both are names of hosts, or `client`, or `gateway`.
    pub fn cut(&self, from: &str, to: &str, one_way: bool, link: Option<u8>) -> Result<()> {
        self.check_place(from)?;
        self.check_place(to)?;
        self.check_link(link)?;
        ensure!(from != to, "cannot cut {from} from itself");
        let mut cuts = vec![Cut::new(from, to, link)];
        if !one_way {
            cuts.push(Cut::new(to, from, link));
        }
        self.add_cuts(cuts)
    }

    /// Cuts a host from all other hosts, both ways, but not from the client and
    /// the gateway; on one link, or on all.
    pub fn isolate(&self, name: &str, link: Option<u8>) -> Result<()> {
        self.host(name)?;
        self.check_link(link)?;
        let others = self.hosts().iter().filter(|other| other.name != name);
        self.add_cuts(
            others
                .flat_map(|o| [Cut::new(name, &o.name, link), Cut::new(&o.name, name, link)])
                .collect(),
        )
    }

    /// Pulls a host's cables, or that of one link: its interface has no carrier.
    pub fn unplug(&self, name: &str, link: Option<u8>) -> Result<()> {
        let _lock = self.change_lock()?;
        self.check_link(link)?;
        let host = self.host(name)?;
        self.need_init(host)?;
        net::unplug(host, link);
        Ok(())
    }

    /// Ends every cut, and puts in the cables that were pulled.
    pub fn heal(&self) -> Result<()> {
        let _lock = self.change_lock()?;
        net::load_rules(&rules::text(&[], self.shape().links))?;
        for host in self.hosts().iter().filter(|h| self.init(h).is_some()) {
            net::replug(host);
        }
        self.folder.save_cuts(&[])
    }

    fn check_link(&self, link: Option<u8>) -> Result<()> {
        let links = self.shape().links;
        ensure!(
            link.is_none_or(|link| (1..=links).contains(&link)),
            "the hosts of this lab have {links} link(s); `lab up --links 2` makes one with two"
        );
        Ok(())
    }

    /// The cuts there are now.
    pub fn cuts(&self) -> Result<Vec<Cut>> {
        self.folder.cuts()
    }

    fn add_cuts(&self, fresh: Vec<Cut>) -> Result<()> {
        let _lock = self.change_lock()?;
        let mut cuts = self.folder.cuts()?;
        cuts.extend(fresh);
        cuts.sort();
        cuts.dedup();
        net::load_rules(&rules::text(&cuts, self.shape().links))?;
        self.folder.save_cuts(&cuts)
    }

    fn check_place(&self, name: &str) -> Result<()> {
        if name != CLIENT_NAME && name != GATEWAY_NAME {
            self.host(name)?;
        }
        Ok(())
    }
}

/// Arranges the end of a freeze; `lab` is the program `backstay-lab`.
pub(crate) fn thaw_later(
    lab: &mut Command,
    folder: &Folder,
    name: &str,
    time: Duration,
) -> Result<()> {
    let status = lab
        .arg("--folder")
        .arg(folder.path())
        .args(["thaw", name, "--detach", "--after"])
        .arg(format!("{}us", time.as_micros()))
        .stdin(Stdio::null())
        .status()
        .context("cannot start backstay-lab")?;
    ensure!(
        status.success(),
        "cannot arrange the end of the freeze: {status}"
    );
    Ok(())
}

/// Stops processes, again until nothing new is found: one may fork while we stop it. False if there was none.
pub(crate) fn stop_all(find: impl Fn() -> Vec<Process>) -> bool {
    let mut stopped = Vec::new();
    loop {
        let mut fresh = find();
        fresh.retain(|process| !stopped.contains(process));
        if fresh.is_empty() {
            return !stopped.is_empty();
        }
        for process in fresh {
            process.signal(Signal::SIGSTOP);
            stopped.push(process);
        }
    }
}

/// Of the processes of a host, those that a freeze stops.
pub(crate) fn chosen(mut processes: Vec<Process>, what: Freeze) -> Vec<Process> {
    if what == Freeze::Agent {
        processes.retain(|process| process.name().as_deref() == Some(AGENT));
    }
    processes
}
