//! Named faults, each one run with its figures. A run that shows what must never be fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use backstay_core::engine::{NodeState, ServiceState};
use backstay_lab::Freeze;
use backstay_lab::bench::{self, RunOutcome, Series, Summary};
use backstay_lab::probe::{Probe, ProbeOptions, ProbeReport};

pub(super) use super::ground::Event;
use super::ground::{CLUSTER, Ground, at_home, runs_on};
use super::{boot, cold, cost, flood, links, meddle, scenes, upkeep, work};

/// The service and nodes that are tried.
pub(super) const SERVICE: &str = "web1";
pub(super) const HOME: &str = "n1";
pub(super) const STANDBY: &str = "sb1";

pub(super) type Figures = BTreeMap<String, f64>;
type Trial = fn(&Ground) -> Result<(ProbeReport, Figures)>;

/// A fault by name, the profile it is tried in, and how.
const TRIALS: &[(&str, &str, Trial)] = &[
    ("create", "lan", scenes::create),
    ("host-network", "lan", boot::host_network),
    ("power", "lan", power),
    ("power-fast", "fast", power),
    ("poweroff", "lan", poweroff),
    ("reboot-away", "lan", scenes::reboot_away),
    ("move", "lan", move_there),
    ("fallback", "lan", move_back),
    ("agent-restart", "lan", agent_restart),
    ("agent-gone", "lan", agent_gone),
    ("agent-freeze", "lan", agent_freeze),
    ("split", "lan", split),
    ("split-auto", "lan", scenes::split_then_automatic),
    ("cut-one", "lan", cut_one),
    ("priorities", "lan", scenes::priorities),
    ("rotate", "lan", upkeep::rotate),
    ("upgrade", "lan", upkeep::upgrade),
    ("meddle-flush", "lan", meddle::flush),
    ("meddle-reload", "lan", meddle::reload),
    ("meddle-kept", "lan", meddle::kept),
    ("meddle-address", "lan", meddle::address),
    ("foreign", "lan", meddle::foreign),
    ("cut-link", "lan", links::one_of_two),
    ("no-carrier", "lan", links::no_carrier),
    ("flood", "lan", flood::a_million),
    ("flood-short", "lan", flood::a_hundred_thousand),
    ("cold-start", "lan", cold::all_return),
    ("cold-home-gone", "lan", cold::home_stays_away),
    ("maintenance", "lan", work::maintenance),
];

/// What is measured though nothing fails; it has a cluster of its own.
const COST: &str = "cost";

/// The names of all that can be measured.
pub(super) const NAMES: [&str; TRIALS.len() + 1] = {
    let mut names = [COST; TRIALS.len() + 1];
    let mut at = 0;
    while at < TRIALS.len() {
        names[at] = TRIALS[at].0;
        at += 1;
    }
    names
};

/// Repeats a fault until there are `runs` runs in the results file.
pub(super) fn bench(
    name: &str,
    runs: u32,
    resume: bool,
    results: PathBuf,
    say: &mut dyn FnMut(&str),
) -> Result<Summary> {
    let series = Series {
        name: name.to_owned(),
        runs,
        resume,
        results,
        commit: bench::commit(),
    };
    let mut line = |run: &bench::RunLine| say(&run.to_string());
    if name == COST {
        let ground = Ground::open()?;
        cost::prepare(&ground)?;
        return bench::bench(&series, &mut line, |_| cost::run(&ground));
    }
    let Some((_, profile, trial)) = TRIALS.iter().find(|(n, ..)| *n == name) else {
        bail!("there is no fault `{name}`; there are {}", NAMES.join(", "));
    };
    let ground = Ground::open()?;
    set_profile(&ground, profile)?;
    let summary = bench::bench(&series, &mut line, |_| {
        ground.settle()?;
        let (report, mut figures) = trial(&ground)?;
        if report.held_up {
            return Ok(RunOutcome::Disturbed(format!(
                "the prober was held up for {:.1} ms",
                report.longest_hold_ms
            )));
        }
        figures.insert("gap_ms".to_owned(), report.gap_ms);
        figures.insert("dual_ms".to_owned(), report.dual_ms);
        Ok(RunOutcome::Figures(figures))
    });
    let back = ground.settle().and_then(|()| set_profile(&ground, "lan"));
    let summary = summary?;
    back?;
    Ok(summary)
}

/// Probes the service's alias while `during` happens and for a while before and after.
pub(super) fn probed(ground: &Ground, during: impl FnOnce() -> Result<()>) -> Result<ProbeReport> {
    probed_at(ground, SERVICE, during)
}

/// The same with another service.
pub(super) fn probed_at(
    ground: &Ground,
    service: &str,
    during: impl FnOnce() -> Result<()>,
) -> Result<ProbeReport> {
    let alias = ground.alias(service)?;
    let probe = Probe::start(&ground.lab, alias, &ProbeOptions::default())?;
    std::thread::sleep(Duration::from_millis(700));
    let done = during();
    std::thread::sleep(Duration::from_millis(700));
    let report = probe.finish()?;
    done?;
    Ok(report)
}

/// PROTOCOL 30: after a change of the profile nobody takes anything over before the longer W has passed. No fault is to
/// be timed in there.
fn set_profile(ground: &Ground, profile: &str) -> Result<()> {
    let before = wait_ms(ground)?;
    ground.backstay(&["cluster", "set", CLUSTER, "--profile", profile])?;
    let after = wait_ms(ground)?;
    if before.total_cmp(&after).is_ne() {
        std::thread::sleep(Duration::from_secs_f64(before.max(after) / 1_000.0));
    }
    Ok(())
}

/// W of the profile in force, in ms.
fn wait_ms(ground: &Ground) -> Result<f64> {
    let text = ground.backstay(&["cluster", "show", CLUSTER, "--output", "json"])?;
    let fast = text.contains("\"profile\": \"fast\"") || text.contains("\"profile\":\"fast\"");
    Ok(if fast { 300.0 } else { 3_000.0 })
}

pub(super) fn standby_has_it(ground: &Ground) -> Result<()> {
    ground
        .wait("the standby runs it", |v| runs_on(v, SERVICE, STANDBY))
        .map(drop)
}

pub(super) fn never_two(report: &ProbeReport) -> Result<()> {
    ensure!(
        report.dual_ms == 0.0,
        "two hosts answered for {} ms: {:?}",
        report.dual_ms,
        report.dual
    );
    Ok(())
}

/// No hold ran out, no address moved. How small the gap is on a quiet machine is told by the figures: a busy one
/// may hold up the service itself.
pub(super) fn undisturbed(report: &ProbeReport) -> Result<()> {
    never_two(report)?;
    ensure!(
        report.gap_ms < 500.0,
        "nobody answered for {:.0} ms",
        report.gap_ms
    );
    Ok(())
}

/// The node's power fails (F2); it comes back with its state and stays away from the service until ordered
/// (F7), then the service goes home (F8).
fn power(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let (node, before) = ground.count(SERVICE)?;
    ensure!(node == HOME, "{SERVICE} was answered by {node}");
    let wait = wait_ms(ground)?;
    let mut after_ns = 0;
    let report = probed(ground, || {
        after_ns = ground.lab.kill(HOME)?.before_ns;
        standby_has_it(ground)
    })?;
    never_two(&report)?;
    let start = own_time(ground, STANDBY, Event::Start, after_ns)?;
    ground.lab.revive(HOME)?;
    ground.wait("home is up again and the service stays where it is", |v| {
        let up = v
            .nodes
            .iter()
            .any(|n| n.name.as_str() == HOME && n.state == NodeState::Up && n.notes.is_empty());
        up && runs_on(v, SERVICE, STANDBY)
    })?;
    ground.settle()?;
    let (node, after) = ground.count(SERVICE)?;
    ensure!(
        node == HOME && after > before,
        "{node} answers with counter {after}, before it was {before} on {HOME}"
    );
    Ok((
        report.clone(),
        Figures::from([
            ("start_ms".to_owned(), start.by_systemd),
            (
                "beyond_ms".to_owned(),
                report.gap_ms - wait - start.by_systemd,
            ),
            (
                "beyond_main_ms".to_owned(),
                report.gap_ms - wait - start.by_itself,
            ),
        ]),
    ))
}

/// The figures of a move: the gap beyond the service's own stop and start.
fn moved(
    ground: &Ground,
    report: ProbeReport,
    from: &str,
    to: &str,
) -> Result<(ProbeReport, Figures)> {
    never_two(&report)?;
    let began = report.began_monotonic_ns;
    let stop = own_time(ground, from, Event::Stop, began)?;
    let start = own_time(ground, to, Event::Start, began)?;
    let beyond = report.gap_ms - stop.by_systemd - start.by_systemd;
    let beyond_main = report.gap_ms - stop.by_itself - start.by_itself;
    Ok((
        report,
        Figures::from([
            ("stop_ms".to_owned(), stop.by_systemd),
            ("start_ms".to_owned(), start.by_systemd),
            ("beyond_ms".to_owned(), beyond),
            ("beyond_main_ms".to_owned(), beyond_main),
        ]),
    ))
}

/// The service's own start or stop, in ms.
pub(super) struct OwnTime {
    /// All that systemd does for it: processes, control group, the program. What a plain `systemctl` takes, too.
    pub(super) by_systemd: f64,
    /// Only what the program itself takes.
    by_itself: f64,
}

/// Where systemd has forgotten, only the program's own report counts: Backstay is charged with the rest.
pub(super) fn own_time(
    ground: &Ground,
    host: &str,
    event: Event,
    after_ns: u64,
) -> Result<OwnTime> {
    let by_itself = ground.own_time(host, SERVICE, event, after_ns)?;
    let by_systemd = ground.unit_time(host, SERVICE, event, after_ns)?;
    Ok(OwnTime {
        by_systemd: by_systemd.unwrap_or(by_itself),
        by_itself,
    })
}

/// The node is shut down in good order (F11).
fn poweroff(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let report = probed(ground, || {
        ground.run_in(HOME, "systemctl", &["--no-block", "poweroff"])?;
        standby_has_it(ground)?;
        ground.lab.wait_off(HOME, super::ground::LIMIT)
    })?;
    let began = report.began_monotonic_ns;
    ground.lab.revive(HOME)?;
    ground.lab.wait_ready(HOME, super::ground::LIMIT)?;
    let figures = moved(ground, report, HOME, STANDBY)?;
    ensure!(began > 0, "the prober names no beginning");
    Ok(figures)
}

/// An admin moves it to the standby (F8).
fn move_there(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let report = probed(ground, || {
        ground
            .backstay(&["service", "move", SERVICE, "--to", "standby"])
            .map(drop)
    })?;
    moved(ground, report, HOME, STANDBY)
}

/// An admin moves it home (F8).
fn move_back(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    ground.backstay(&["service", "move", SERVICE, "--to", "standby"])?;
    let report = probed(ground, || {
        ground
            .backstay(&["service", "move", SERVICE, "--to", "home"])
            .map(drop)
    })?;
    moved(ground, report, STANDBY, HOME)
}

/// The agent is killed and systemd restarts it: nothing moves, nothing is lost (S5, A5).
fn agent_restart(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let pid = |ground: &Ground| {
        ground.run_in(
            HOME,
            "systemctl",
            &["show", "-P", "MainPID", "backstay-agent"],
        )
    };
    let before = pid(ground)?;
    let term = term(ground)?;
    let report = probed(ground, || {
        ground.run_in(HOME, "kill", &["-9", before.trim()])?;
        ground.wait("the agent is back", |v| {
            let again = pid(ground).is_ok_and(|p| p != before && p.trim() != "0");
            let up = v
                .nodes
                .iter()
                .any(|n| n.name.as_str() == HOME && n.state == NodeState::Up && n.notes.is_empty());
            again && up && v.services.iter().all(at_home)
        })?;
        std::thread::sleep(Duration::from_secs(4)); // longer than W: nothing may follow
        Ok(())
    })?;
    ensure!(self::term(ground)? == term, "the term grew: it moved");
    undisturbed(&report)?;
    Ok((report, Figures::new()))
}

pub(super) fn term(ground: &Ground) -> Result<u64> {
    let view = ground.status()?;
    let service = view.services.iter().find(|s| s.name.as_str() == SERVICE);
    Ok(service.context("the service is not shown")?.term)
}

/// What keeps systemd from restarting the agent.
const NO_RESTART: &str = "/run/systemd/system/backstay-agent.service.d/trial.conf";

/// The agent is killed and kept from coming back: the kernel closes the alias, the standby takes over.
fn agent_gone(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let shell = |script: String| ground.run_in(HOME, "sh", &["-ec", &script]);
    shell(format!(
        "mkdir -p $(dirname {NO_RESTART}); printf '[Service]\\nRestart=no\\n' > {NO_RESTART}; systemctl daemon-reload"
    ))?;
    let report = probed(ground, || {
        ground.run_in(
            HOME,
            "systemctl",
            &["kill", "--signal=KILL", "backstay-agent"],
        )?;
        standby_has_it(ground)
    });
    let back = shell(format!(
        "rm {NO_RESTART}; systemctl daemon-reload; systemctl reset-failed backstay-agent; systemctl start backstay-agent"
    ));
    let report = report?;
    back?;
    never_two(&report)?;
    let closed = closed_after(&report)?;
    stays_away(ground)?;
    Ok((
        report,
        Figures::from([("closed_for_ms".to_owned(), closed)]),
    ))
}

/// The agent is frozen for 5 s and goes on: it does not take the service back under manual fallback.
fn agent_freeze(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let report = probed(ground, || {
        ground
            .lab
            .freeze(HOME, Freeze::Agent, Some(Duration::from_secs(5)))?;
        standby_has_it(ground)?;
        stays_away(ground)
    })?;
    never_two(&report)?;
    let closed = closed_after(&report)?;
    Ok((
        report,
        Figures::from([("closed_for_ms".to_owned(), closed)]),
    ))
}

/// How long nobody answered between home and standby: the kernel must have closed home's alias before.
fn closed_after(report: &ProbeReport) -> Result<f64> {
    let gap = report
        .gaps
        .iter()
        .find(|g| g.before.as_deref() == Some(HOME) && g.after.as_deref() == Some(STANDBY));
    Ok(gap
        .with_context(|| {
            format!(
                "no gap between {HOME} and {STANDBY}: {:?}",
                report.answered_by
            )
        })?
        .ms)
}

/// Home is up again, and the service stays on the standby (F7).
fn stays_away(ground: &Ground) -> Result<()> {
    ground.wait("home is up again", |v| {
        v.nodes
            .iter()
            .any(|n| n.name.as_str() == HOME && n.state == NodeState::Up && n.notes.is_empty())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    ground
        .wait("the service stays on the standby", |v| {
            runs_on(v, SERVICE, STANDBY)
        })
        .map(drop)
}

/// S1: home is cut off from all nodes, not from the client. Both run, the status says so; healed, home stops
/// and the standby speaks last.
pub(super) fn split(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let mut heal_took = Duration::ZERO;
    let report = probed(ground, || {
        ground.lab.isolate(HOME, None)?;
        ground.wait("the status says split", |v| {
            let split = v
                .services
                .iter()
                .any(|s| s.name.as_str() == SERVICE && s.state == ServiceState::Split);
            split && v.alarms.iter().any(|a| a.id == "split" && a.active)
        })?;
        ground.lab.heal()?;
        let healed = std::time::Instant::now();
        ground.wait("home has stopped", |v| runs_on(v, SERVICE, STANDBY))?;
        heal_took = healed.elapsed();
        std::thread::sleep(Duration::from_secs(2)); // the announcement 1 s after the conflict
        Ok(())
    })?;
    ensure!(
        report.last_announcer.as_deref() == Some(STANDBY),
        "the last to announce was {:?}",
        report.last_announcer
    );
    Ok((
        report,
        Figures::from([("healed_ms".to_owned(), heal_took.as_secs_f64() * 1_000.0)]),
    ))
}

/// S1: only home and standby are cut from each other: nothing moves.
fn cut_one(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let term = term(ground)?;
    let report = probed(ground, || {
        ground.lab.cut(HOME, STANDBY, false, None)?;
        std::thread::sleep(Duration::from_secs(8)); // longer than twice W
        Ok(())
    })?;
    ground.lab.heal()?;
    ensure!(self::term(ground)? == term, "the term grew: it moved");
    undisturbed(&report)?;
    Ok((report, Figures::new()))
}
