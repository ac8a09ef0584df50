//! A flood of bad beats, as fast as they can be sent: nothing of it counts, and nothing genuine is lost by it.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use backstay_core::engine::ClusterView;
use backstay_lab::probe::ProbeReport;

use super::cost::{proc, used};
use super::faults::{Figures, HOME, STANDBY, never_two, probed, standby_has_it};
use super::ground::Ground;
use super::upkeep::unnoticed;

/// Where the lab's agents hear beats.
const PORT: u16 = 5980;
/// Whom each half of the flood is for: who might take over falsely, and who might be given up.
const TARGETS: [&str; 2] = [STANDBY, HOME];
/// Longer than W: what the flood has caused has happened.
const AFTER: Duration = Duration::from_secs(4);
/// What was dropped is said a second after the first of it, and once a minute from then on; that something was dropped may
/// have been said shortly before the flood.
const SAID_WITHIN: Duration = Duration::from_secs(90);
/// A run is shorter than two minutes.
const MOST_LINES: usize = 4;

pub(super) fn a_million(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    flood(ground, 1_000_000)
}

pub(super) fn a_hundred_thousand(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    flood(ground, 100_000)
}

/// A third each forged, played again and cut short, in the name of genuine senders.
fn flood(ground: &Ground, count: u32) -> Result<(ProbeReport, Figures)> {
    std::thread::sleep(AFTER); // what the last run caused is over
    let mut figures = Figures::new();
    let (before, last) = (state(&ground.status()?), newest_event(ground)?);
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (report, _) = unnoticed(ground, || {
        let mut took = Duration::ZERO;
        for node in TARGETS {
            let (processor, lost) = (processor(ground, node)?, lost(ground, node)?);
            took += ground.lab.flood(address(ground, node)?, count / 2)?;
            std::thread::sleep(AFTER);
            let processor = self::processor(ground, node)?.saturating_sub(processor);
            let name = |what: &str| format!("{node}_{what}");
            figures.insert(name("cpu_s"), processor.as_secs_f64());
            figures.insert(name("lost"), self::lost(ground, node)? - lost);
        }
        let per_s = f64::from(count) / took.as_secs_f64();
        figures.insert("per_s".to_owned(), per_s);
        Ok(())
    })?;
    let after = state(&ground.status()?);
    ensure!(after == before, "before {before:?}, after {after:?}");
    let event = newest_event(ground)?;
    ensure!(event == last, "recorded meanwhile: {event}");
    for node in TARGETS {
        let said = what_it_said(ground, node, since)?;
        let lines = said.lines().filter(|l| !l.starts_with("-- "));
        ensure!(lines.count() <= MOST_LINES, "{node} wrote: {said}");
    }
    // Genuine beats count as before.
    let takeover = probed(ground, || {
        ground.lab.kill(HOME)?;
        standby_has_it(ground)
    })?;
    never_two(&takeover)?;
    figures.insert("takeover_ms".to_owned(), takeover.gap_ms);
    Ok((report, figures))
}

/// The agent's log since the flood began, once it says that something was dropped.
fn what_it_said(ground: &Ground, node: &str, since: u64) -> Result<String> {
    let since = format!("--since=@{since}");
    let unit = ["-u", "backstay-agent", "-o", "cat", "--no-pager", &since];
    let end = Instant::now() + SAID_WITHIN;
    loop {
        let said = ground.run_in(node, "journalctl", &unit)?;
        if said.contains("dropped") {
            return Ok(said);
        }
        ensure!(Instant::now() < end, "{node} noticed nothing: {said}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What may not change: the document, and for each service its term and place.
fn state(view: &ClusterView) -> (u64, Vec<String>) {
    let services = view.services.iter();
    let place = services.map(|s| format!("{} {} {:?} {:?}", s.name, s.term, s.state, s.running_on));
    (view.revision, place.collect())
}

fn newest_event(ground: &Ground) -> Result<serde_json::Value> {
    let text = ground.backstay(&["history", "--limit", "1", "--output", "json"])?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    Ok(json["entries"].clone())
}

fn address(ground: &Ground, node: &str) -> Result<SocketAddrV4> {
    let host = ground.lab.hosts().iter().find(|h| h.name == node);
    Ok(SocketAddrV4::new(
        host.context("no such host")?.base(),
        PORT,
    ))
}

fn processor(ground: &Ground, node: &str) -> Result<Duration> {
    used(&proc(ground, node, "stat")?)
}

/// Datagrams that found no room in the agent's sockets: the last column of `/proc/net/udp`.
fn lost(ground: &Ground, node: &str) -> Result<f64> {
    let table = ground.run_in(node, "cat", &["/proc/net/udp"])?;
    let port = format!(":{PORT:04X}");
    let sockets = table.lines().filter(|line| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&port))
    });
    let drops = sockets.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    Ok(drops.sum())
}
