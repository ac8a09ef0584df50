//! Cold start (A5): the power of the whole room fails and comes back.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use backstay_lab::probe::ProbeReport;

use super::faults::{Figures, HOME, SERVICE, STANDBY, never_two, probed};
use super::ground::{Ground, LIMIT, at_home, runs_on};
use super::links::{NOTHING_FOLLOWS, alarms};

fn kill_all(ground: &Ground) -> Result<()> {
    for host in ground.lab.hosts() {
        ground.lab.kill(&host.name)?;
    }
    Ok(())
}

/// Looks until the service answers by its alias; answers who did.
fn answers(ground: &Ground, since: Instant) -> Result<(String, Duration)> {
    loop {
        match ground.count(SERVICE) {
            Ok((node, _)) => return Ok((node, since.elapsed())),
            Err(error) => ensure!(since.elapsed() < LIMIT, "nobody answers: {error:#}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All nodes come back, in another order each time: every service ends at home, as soon as its home has listened
/// (A5), and on the way no two nodes have one.
pub(super) fn all_return(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut order: Vec<String> = ground.lab.hosts().iter().map(|h| h.name.clone()).collect();
    let first = now.subsec_millis() as usize % order.len();
    order.rotate_left(first);
    if now.as_secs() % 2 == 0 {
        order.reverse();
    }
    let home = (1_u32..).zip(&order).find(|(_, name)| *name == HOME);
    let home_came = home.map_or(0, |(at, _)| at);
    let mut served = Duration::ZERO;
    let mut whole = Duration::ZERO;
    let report = probed(ground, || {
        kill_all(ground)?;
        let began = Instant::now();
        for host in &order {
            ground.lab.revive(host)?;
        }
        let (node, took) = answers(ground, began)?;
        ensure!(node == HOME, "after the start of all, {node} answers first");
        served = took;
        ground.wait("every service at home", |v| v.services.iter().all(at_home))?;
        whole = began.elapsed();
        std::thread::sleep(NOTHING_FOLLOWS);
        ground
            .wait("all stays at home, and nobody is asked to act", |v| {
                v.services.iter().all(at_home) && alarms(v).is_empty()
            })
            .map(drop)
    })?;
    never_two(&report)?;
    Ok((
        report,
        Figures::from([
            ("home_came".to_owned(), f64::from(home_came)),
            ("served_s".to_owned(), served.as_secs_f64()),
            ("all_home_s".to_owned(), whole.as_secs_f64()),
        ]),
    ))
}

/// Home alone does not come back: the standby waits `cold_start` (60 s) for it, and takes over.
pub(super) fn home_stays_away(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let mut served = Duration::ZERO;
    let report = probed(ground, || {
        kill_all(ground)?;
        let began = Instant::now();
        let others = ground.lab.hosts().iter().filter(|h| h.name != HOME);
        for host in others {
            ground.lab.revive(&host.name)?;
        }
        let (node, took) = answers(ground, began)?;
        ensure!(node == STANDBY, "{node} answers");
        served = took;
        // Home is there again and finds its service away (F7).
        ground.lab.revive(HOME)?;
        ground.lab.wait_ready(HOME, LIMIT)?;
        std::thread::sleep(NOTHING_FOLLOWS);
        ground
            .wait("it stays where it is", |v| runs_on(v, SERVICE, STANDBY))
            .map(drop)
    })?;
    never_two(&report)?;
    ensure!(
        served > Duration::from_mins(1),
        "the standby did not wait for home: it answered after {served:?}"
    );
    Ok((
        report,
        Figures::from([("served_s".to_owned(), served.as_secs_f64())]),
    ))
}
