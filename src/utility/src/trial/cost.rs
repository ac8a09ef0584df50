//! What an agent costs in a full cluster: ten regular nodes and a standby, nothing happening.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use backstay_core::engine::NodeState;
use backstay_lab::bench::{Figures, RunOutcome, Statistics};
use backstay_lab::{Host, Kind};

use super::faults::STANDBY;
use super::ground::{Ground, at_home};

/// The cluster that is measured.
const FULL: &str = "full";
/// Regular nodes in it, the most that there can be (C1).
const NODES: usize = 10;
/// How long processor time is counted.
const COUNTED: Duration = Duration::from_mins(1);
/// How long a change of profile may still cost.
const CALM: Duration = Duration::from_secs(5);
/// How often `status` and a bare login are run, in turn.
const TURNS: usize = 15;

/// Makes the cluster of the lab's hosts, if it is not there.
pub(super) fn prepare(ground: &Ground) -> Result<()> {
    let hosts = hosts(ground)?;
    let listed = ground.look(&["cluster", "list", "--output", "json"]);
    if listed.is_ok_and(|text| text.contains(&format!("\"{FULL}\""))) {
        return Ok(());
    }
    for host in hosts.iter().map(|h| h.name.as_str()).chain([STANDBY]) {
        ground.backstay(&["node", "add", host, "--name", host])?;
    }
    ground.backstay(&["node", "role", STANDBY, "standby"])?;
    let mut command: Vec<String> = ["cluster", "create", FULL, "--standby", STANDBY]
        .map(str::to_owned)
        .into();
    for host in hosts {
        let (name, alias, base) = (&host.name, host.address(), host.base());
        command.push("--service".to_owned());
        command.push(format!("of-{name}={name},alias={alias}/24,base={base}/24"));
    }
    command.extend(["--ignore-check", "clock-not-kept"].map(str::to_owned));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    ground.backstay(&command).map(drop)
}

/// One run: the most that any of the eleven agents takes in each profile, and `status` beside a bare login.
pub(super) fn run(ground: &Ground) -> Result<RunOutcome> {
    let mut figures = Figures::new();
    for profile in ["lan", "fast"] {
        ground.backstay(&["cluster", "set", FULL, "--profile", profile])?;
        ground.wait_in(FULL, "every node up and every service at home", |v| {
            let up = v.nodes.iter().all(|n| n.state == NodeState::Up);
            up && v.services.iter().all(at_home)
        })?;
        std::thread::sleep(CALM);
        let percent = processor(ground)?;
        figures.insert(format!("cpu_{profile}_percent"), percent);
    }
    let mut most: f64 = 0.0;
    for host in agents(ground)? {
        most = most.max(anonymous_mib(ground, &host)?);
    }
    figures.insert("anonymous_mib".to_owned(), most);
    let (status, login) = looks(ground)?;
    figures.insert("status_ms".to_owned(), status);
    figures.insert("ssh_true_ms".to_owned(), login);
    figures.insert("status_to_ssh".to_owned(), status / login);
    ground.backstay(&["cluster", "set", FULL, "--profile", "lan"])?;
    Ok(RunOutcome::Figures(figures))
}

/// The regular hosts.
fn hosts(ground: &Ground) -> Result<Vec<Host>> {
    let all = ground.lab.hosts().iter();
    let regular = all.filter(|h| matches!(h.kind, Kind::Regular | Kind::Extra));
    let regular: Vec<Host> = regular.take(NODES).cloned().collect();
    ensure!(
        regular.len() == NODES,
        "the lab has {} hosts for {NODES} regular nodes; make it anew: `backstay lab down`, `backstay-lab up --extra-hosts 7`",
        regular.len()
    );
    Ok(regular)
}

fn agents(ground: &Ground) -> Result<Vec<String>> {
    let regular = hosts(ground)?.into_iter().map(|h| h.name);
    Ok(regular.chain([STANDBY.to_owned()]).collect())
}

/// A file of the agent's in `/proc`.
pub(super) fn proc(ground: &Ground, host: &str, file: &str) -> Result<String> {
    let script = format!("cat /proc/$(systemctl show -P MainPID backstay-agent)/{file}");
    ground.run_in(host, "sh", &["-ec", &script])
}

/// The most that an agent takes of one processor, in percent.
fn processor(ground: &Ground) -> Result<f64> {
    let hosts = agents(ground)?;
    let read = || -> Result<Vec<(Instant, Duration)>> {
        let used = |host: &String| Ok((Instant::now(), used(&proc(ground, host, "stat")?)?));
        hosts.iter().map(used).collect()
    };
    let before = read()?;
    std::thread::sleep(COUNTED);
    let shares = before.iter().zip(read()?).map(|(before, after)| {
        let passed = after.0.duration_since(before.0);
        after.1.saturating_sub(before.1).as_secs_f64() / passed.as_secs_f64() * 100.0
    });
    Ok(shares.fold(0.0, f64::max))
}

/// User and system time of a process by its `stat` (proc(5)), in ticks of 10 ms on every Linux that Backstay runs on.
pub(super) fn used(stat: &str) -> Result<Duration> {
    let (_, rest) = stat.rsplit_once(')').context("no such process")?;
    let times = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Anonymous memory, all of it locked.
fn anonymous_mib(ground: &Ground, host: &str) -> Result<f64> {
    let status = proc(ground, host, "status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB"));
    let kib: f64 = kib.context("no RssAnon")?.trim().parse()?;
    Ok(kib / 1024.0)
}

/// Medians of `backstay status` and `ssh HOST true`, in ms.
fn looks(ground: &Ground) -> Result<(f64, f64)> {
    let (mut status, mut login) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let began = Instant::now();
        ground.look(&["status", FULL])?;
        status.push(began.elapsed().as_secs_f64() * 1_000.0);
        let began = Instant::now();
        let done = ground
            .lab
            .ssh_command("n1")?
            .arg("true")
            .stdin(Stdio::null())
            .status()?;
        ensure!(done.success(), "ssh n1 true: {done}");
        login.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let median = |all: Vec<f64>| Statistics::of(all).map(|s| s.median);
    Ok((
        median(status).context("no run")?,
        median(login).context("no run")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "149 (back (x) stay) S 1 149 149 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 7 0 9 1 2";
        assert_eq!(used(stat).unwrap(), Duration::from_millis(420));
        assert!(used("").is_err());
    }
}
