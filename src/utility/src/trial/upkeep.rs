//! Work on a cluster that no client may notice.

use anyhow::{Result, ensure};
use backstay_lab::probe::ProbeReport;

use super::faults::{Figures, probed, term, undisturbed};
use super::ground::{CLUSTER, Ground, at_home};

/// PROTOCOL 3: the key is exchanged: nothing moves, no probe is lost, nobody is suspected.
pub(super) fn rotate(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    unnoticed(ground, || {
        ground.backstay(&["key", "rotate", CLUSTER]).map(drop)
    })
}

/// Work during which no service moves and no alarm comes up.
fn unnoticed(ground: &Ground, work: impl FnOnce() -> Result<()>) -> Result<(ProbeReport, Figures)> {
    let (before, alarms) = (term(ground)?, raised(ground)?);
    let report = probed(ground, || {
        work()?;
        ground
            .wait("every service at home", |v| v.services.iter().all(at_home))
            .map(drop)
    })?;
    undisturbed(&report)?;
    ensure!(term(ground)? == before, "the term grew: it moved");
    let now = raised(ground)?;
    ensure!(
        now == alarms,
        "an alarm came up: {now:?}, before: {alarms:?}"
    );
    Ok((report, Figures::new()))
}

/// Every alarm with how often it was raised.
fn raised(ground: &Ground) -> Result<Vec<(String, String, u32)>> {
    let alarms = ground.status()?.alarms;
    let mut all: Vec<_> = alarms
        .into_iter()
        .map(|a| (a.id, a.cause, a.count))
        .collect();
    all.sort();
    Ok(all)
}
