//! F17: work on each kind of node, with a reboot, while clients ask.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use backstay_core::engine::{ClusterView, NodeState};
use backstay_lab::probe::ProbeReport;

use super::faults::{Event, Figures, HOME, SERVICE, STANDBY, never_two, own_time, probed};
use super::ground::{Ground, LIMIT, at_home, runs_on};
use super::links::alarms;

const WITNESS: &str = "w1";

/// Restarts a host in good order and waits until its node is up again. On the way nothing may ask for anybody, and
/// the service is nowhere but where `runs` allows.
fn reboot(ground: &Ground, host: &str, runs: impl Fn(&str) -> bool) -> Result<()> {
    let boots = || -> Result<u32> {
        let status = ground.lab.status()?;
        let found = status.hosts.into_iter().find(|h| h.name == host);
        Ok(found.context("no such host")?.boots)
    };
    let before = boots()?;
    ground.run_in(host, "systemctl", &["--no-block", "reboot"])?;
    let began = Instant::now();
    while boots()? == before {
        ensure!(began.elapsed() < LIMIT, "{host} does not restart");
        quiet(ground, &runs)?;
    }
    loop {
        let view = quiet(ground, &runs)?;
        let up = |v: &ClusterView| {
            v.nodes
                .iter()
                .any(|n| n.name.as_str() == host && n.state == NodeState::Up)
                && v.services.iter().all(|s| s.running_on.len() == 1)
        };
        if view.as_ref().is_some_and(up) {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "{host} is not up again: {view:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The status, if anybody answers, with no alarm that asks for somebody.
fn quiet(ground: &Ground, runs: &impl Fn(&str) -> bool) -> Result<Option<ClusterView>> {
    let Ok(view) = ground.status() else {
        return Ok(None);
    };
    let told: Vec<&str> = alarms(&view).iter().map(|a| a.cause.as_str()).collect();
    ensure!(told.is_empty(), "alarms in maintenance: {told:?}");
    let service = view.services.iter().find(|s| s.name.as_str() == SERVICE);
    for node in service.iter().flat_map(|s| &s.running_on) {
        ensure!(runs(node.as_str()), "{SERVICE} runs on {node}");
    }
    Ok(Some(view))
}

fn begin(ground: &Ground, node: &str, time: &str, more: &[&str]) -> Result<()> {
    let mut command = vec!["node", "maintenance", node, "--for", time];
    command.extend(more);
    ground.backstay(&command).map(drop)
}

fn end(ground: &Ground, node: &str) -> Result<()> {
    ground.backstay(&["node", "maintenance", node, "--end"])?;
    over(ground, node)
}

/// No maintenance is left, no lock, and no alarm.
fn over(ground: &Ground, node: &str) -> Result<()> {
    ground
        .wait(&format!("the maintenance of {node} is over"), |v| {
            v.nodes.iter().all(|n| n.maintenance.is_none())
                && v.services.iter().all(|s| s.lock.is_none())
                && alarms(v).is_empty()
        })
        .map(drop)
}

/// Home, standby and witness are worked on, one after the other, each with a restart. No surprise: clients miss home
/// for as long as it restarts, or for as long as a move takes, and nothing else; nobody is asked to act.
pub(super) fn maintenance(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let mut figures = Figures::new();
    let mut note = |name: &str, report: &ProbeReport| {
        figures.insert(name.to_owned(), report.gap_ms);
    };
    // Locked there: clients wait for the restart.
    let locked = probed(ground, || {
        begin(ground, HOME, "5m", &[])?;
        reboot(ground, HOME, |node| node == HOME)?;
        ground.wait("it runs at home", |v| v.services.iter().all(at_home))?;
        end(ground, HOME)
    })?;
    never_two(&locked)?;
    note("home_gap_ms", &locked);

    // Moved away first: the restart is nobody's business.
    let moved = probed(ground, || {
        begin(ground, HOME, "5m", &["--move"])?;
        ground.wait("the standby has it", |v| runs_on(v, SERVICE, STANDBY))?;
        reboot(ground, HOME, |node| node == STANDBY)?;
        ground.backstay(&["node", "maintenance", HOME, "--end"])?;
        ground.backstay(&["service", "move", SERVICE, "--to", "home"])?;
        over(ground, HOME)
    })?;
    never_two(&moved)?;
    note("moved_gap_ms", &moved);
    let began = moved.began_monotonic_ns;
    let there = own_time(ground, STANDBY, Event::Start, began)?.by_systemd;
    let back = own_time(ground, HOME, Event::Start, began)?.by_systemd;

    // Of standby and witness clients see nothing; the last one ends by itself.
    let unseen = probed(ground, || {
        begin(ground, STANDBY, "5m", &[])?;
        reboot(ground, STANDBY, |node| node == HOME)?;
        end(ground, STANDBY)?;
        begin(ground, WITNESS, "30s", &[])?;
        let began = Instant::now();
        reboot(ground, WITNESS, |node| node == HOME)?;
        over(ground, WITNESS)?;
        let took = began.elapsed();
        ensure!(
            took > Duration::from_secs(25),
            "it ended early, after {took:?}"
        );
        Ok(())
    })?;
    super::faults::undisturbed(&unseen)?;
    note("unseen_gap_ms", &unseen);
    figures.insert("starts_ms".to_owned(), there + back);
    Ok((unseen, figures))
}
