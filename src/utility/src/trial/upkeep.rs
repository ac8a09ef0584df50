//! Work on a cluster that no client may notice.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// S5: every node gets another build of the agent, one after the other, and nobody notices.
pub(super) fn upgrade(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let agent = another_build()?;
    let began = Instant::now();
    let (report, mut figures) = unnoticed(ground, || {
        ground
            .backstay_with_agent(&agent, &["node", "upgrade", "--all"])
            .map(drop)
    })?;
    figures.insert("roll_s".to_owned(), began.elapsed().as_secs_f64());
    // The lab's hosts are of one kind: what one runs, all run.
    let path = "/usr/lib/backstay/backstay-agent";
    let put = std::fs::metadata(&agent)?.len();
    std::fs::remove_file(&agent)?;
    for host in ["w1", "sb1", "n1", "n2", "n3"] {
        let size = ground.run_in(host, "stat", &["-c", "%s", path])?;
        ensure!(
            size.trim() == put.to_string(),
            "{host} has not the new agent"
        );
    }
    Ok((report, figures))
}

/// The agent beside this program with bytes after its end: it does the same and is another file each time.
fn another_build() -> Result<PathBuf> {
    let own = std::env::current_exe()?.with_file_name("backstay-agent");
    let mut bytes = std::fs::read(own)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    bytes.extend(format!("built for a trial at {} ns", now.as_nanos()).bytes());
    let name = format!("backstay-agent-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Work during which no service moves and no alarm comes up.
pub(super) fn unnoticed(
    ground: &Ground,
    work: impl FnOnce() -> Result<()>,
) -> Result<(ProbeReport, Figures)> {
    let (before, alarms) = (term(ground)?, raised(ground)?);
    let report = probed(ground, || {
        work()?;
        ground
            .wait("every service at home", |v| v.services.iter().all(at_home))
            .map(drop)
    })?;
    undisturbed(&report)?;
    ensure!(term(ground)? == before, "the term grew: it moved");
    // An agent that was restarted no longer knows alarms that were over before.
    let mut now = raised(ground)?;
    now.retain(|(id, cause, count)| {
        let known = |(i, c, n): &(String, String, u32)| i == id && c == cause && n >= count;
        !alarms.iter().any(known)
    });
    ensure!(
        now.is_empty(),
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
