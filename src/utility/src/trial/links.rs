//! A6: one of two links fails; or the one that clients use, while beats pass on the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use backstay_core::engine::{AlarmView, ClusterView};
use backstay_lab::probe::ProbeReport;

use super::faults::{
    Event, Figures, HOME, SERVICE, STANDBY, never_two, own_time, probed, term, undisturbed,
};
use super::ground::{Ground, LIMIT, runs_on};

/// Longer than twice W of the usual profile, after which the last alarm is up: nothing may follow.
pub(super) const NOTHING_FOLLOWS: Duration = Duration::from_secs(8);

fn needs_two(ground: &Ground) -> Result<()> {
    ensure!(
        ground.lab.shape().links > 1,
        "the hosts have one link; `backstay lab up --links 2` makes a lab for this"
    );
    Ok(())
}

/// What asks for somebody. The hosts' clocks are the machine's: no NTP keeps them.
pub(super) fn alarms(view: &ClusterView) -> Vec<&AlarmView> {
    let all = view.alarms.iter();
    all.filter(|a| a.active && !a.quiet && a.id != "clock")
        .collect()
}

/// What one node tells by itself.
fn told_by(ground: &Ground, node: &str) -> Result<ClusterView> {
    let text = ground.run_in(node, "backstay-agent", &["status", "--json"])?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let cluster = json["clusters"].get(0).context("it is in no cluster")?;
    Ok(serde_json::from_value(cluster.clone())?)
}

/// Waits until every node tells these alarms and no other; answers how long it took.
fn all_tell(ground: &Ground, causes: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    for host in ground.lab.hosts() {
        loop {
            let view = told_by(ground, &host.name)?;
            let told: Vec<&str> = alarms(&view).iter().map(|a| a.cause.as_str()).collect();
            if told == causes {
                break;
            }
            ensure!(
                began.elapsed() < LIMIT,
                "{} tells {told:?}, not {causes:?}",
                host.name
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(began.elapsed())
}

/// One of two links is cut, between home and standby and then of home altogether: nothing moves, every node tells
/// the same one alarm, and it ends.
pub(super) fn one_of_two(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    needs_two(ground)?;
    all_tell(ground, &[])?;
    let before = term(ground)?;
    let mut figures = Figures::new();
    let mut note = |name: &str, took: Duration| {
        figures.insert(name.to_owned(), took.as_secs_f64());
    };
    let report = probed(ground, || {
        ground.lab.cut(HOME, STANDBY, false, Some(2))?;
        let pair = format!("{HOME}: link 2 to {STANDBY} is silent");
        note("alarm_s", all_tell(ground, &[&pair])?);
        std::thread::sleep(NOTHING_FOLLOWS);
        all_tell(ground, &[&pair])?;
        ground.lab.heal()?;
        note("over_s", all_tell(ground, &[])?);
        // The link that clients use, of home and all other nodes.
        ground.lab.isolate(HOME, Some(1))?;
        let node = format!("{HOME}: link 1 is silent");
        note("node_alarm_s", all_tell(ground, &[&node])?);
        std::thread::sleep(NOTHING_FOLLOWS);
        ground.lab.heal()?;
        all_tell(ground, &[]).map(drop)
    })?;
    ensure!(term(ground)? == before, "the term grew: it moved");
    undisturbed(&report)?;
    Ok((report, figures))
}

/// The cable that clients use is pulled at home; beats pass on the other link, so home is not silent. It gives its
/// service to the standby, and stays without it when the cable is back (F7).
pub(super) fn no_carrier(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    needs_two(ground)?;
    let report = probed(ground, || {
        ground.lab.unplug(HOME, Some(1))?;
        ground.wait("the standby runs it", |v| runs_on(v, SERVICE, STANDBY))?;
        let cause = format!("the link of {HOME} has no carrier");
        ground.wait("the alarm names the link", |v| {
            alarms(v).iter().any(|a| a.cause == cause)
        })?;
        ground.lab.heal()?;
        ground.wait("the alarm has ended, and it stays", |v| {
            !alarms(v).iter().any(|a| a.cause == cause) && runs_on(v, SERVICE, STANDBY)
        })?;
        std::thread::sleep(NOTHING_FOLLOWS);
        Ok(())
    })?;
    never_two(&report)?;
    ensure!(
        report.last_announcer.as_deref() == Some(STANDBY),
        "the last to announce was {:?}",
        report.last_announcer
    );
    let began = report.began_monotonic_ns;
    let stop = own_time(ground, HOME, Event::Stop, began)?.by_systemd;
    let start = own_time(ground, STANDBY, Event::Start, began)?.by_systemd;
    let beyond = report.gap_ms - stop - start;
    Ok((
        report,
        Figures::from([
            ("stop_ms".to_owned(), stop),
            ("start_ms".to_owned(), start),
            ("beyond_ms".to_owned(), beyond),
        ]),
    ))
}
