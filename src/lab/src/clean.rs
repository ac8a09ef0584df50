//! Removing a lab, however much of it there is.
//!
//! Nothing here trusts that a record is complete: processes are found by the
//! lab's control groups and by the lab's own program, namespaces by name.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::net;
use crate::plan::{CLIENT, Host, SWITCH};
use crate::process::{Process, all};
use crate::state::Folder;
use crate::supervise::group_tops;

/// SIGKILL cannot be refused; only a process stuck in the kernel outlasts this.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// Removes everything of the lab in this folder except the folder itself and
/// its lock, which the caller holds. `possible` are hosts that there may be.
pub(crate) fn clean(folder: &Folder, possible: &[Host]) -> Result<()> {
    let state = folder.state().unwrap_or(None);
    kill_all(|| processes(folder))?;
    for host in possible {
        if net::exists(&host.namespace()) {
            net::remove_host(host);
        }
    }
    net::remove(CLIENT);
    net::remove(SWITCH);
    for top in group_tops() {
        remove_groups(&top)?;
    }
    if let Some(state) = state {
        net::tidy_netns_folder(state.netns_folder_found, state.netns_mount_found)?;
    }
    empty(folder, "state.json")
}

/// Kills processes, also such as they start meanwhile, and waits until none is left.
pub(crate) fn kill_all(find: impl Fn() -> Vec<Process>) -> Result<()> {
    let until = Instant::now() + KILL_LIMIT;
    loop {
        let found = find();
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            let ids: Vec<i32> = found.iter().map(|p| p.pid).collect();
            bail!("processes of the lab do not end: {ids:?}");
        }
        for process in found {
            process.signal(Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The lab's processes: supervisors first, so that they restart nothing.
fn processes(folder: &Folder) -> Vec<Process> {
    let me = Process::current();
    let program = folder.program();
    let root = format!("--directory={}/", folder.path().display());
    let mut found: Vec<Process> = all()
        .into_iter()
        .filter(|process| process.program().as_deref() == Some(&program))
        .collect();
    found.extend(all().into_iter().filter(|process| {
        let arguments = process.arguments();
        arguments
            .first()
            .is_some_and(|a| a.ends_with("systemd-nspawn"))
            && arguments.iter().any(|a| a.starts_with(&root))
    }));
    for top in group_tops() {
        found.extend(members(&top));
    }
    found.retain(|process| Some(*process) != me);
    found
}

/// The processes in a control group and below it.
fn members(group: &Path) -> Vec<Process> {
    let mut ids = BTreeSet::new();
    for group in tree(group) {
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        ids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    ids.into_iter().filter_map(Process::of).collect()
}

/// A control group and all below it, deepest last.
fn tree(group: &Path) -> Vec<PathBuf> {
    if !group.is_dir() {
        return Vec::new();
    }
    let mut found = vec![group.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        found.extend(below.map(|e| e.path()).filter(|p| p.is_dir()));
    }
    found
}

/// Removes a control group and all below it, once they are empty.
fn remove_groups(top: &Path) -> Result<()> {
    let until = Instant::now() + KILL_LIMIT;
    loop {
        let mut last = Ok(());
        for group in tree(top).into_iter().rev() {
            last = fs::remove_dir(&group);
        }
        match last {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // A killed process leaves its group a moment after it is gone.
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove the control group {}", top.display()));
            }
        }
    }
}

/// Empties the folder except for the lock; the file with the state goes last, so
/// that a clean-up that is killed can be done again.
pub(crate) fn empty(folder: &Folder, state: &str) -> Result<()> {
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "lock" || name == state {
            continue;
        }
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        removed.with_context(|| format!("cannot remove {}", entry.path().display()))?;
    }
    match fs::remove_file(folder.join(state)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
