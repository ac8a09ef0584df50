//! What the system tests share: the programs, the lab, and looking at a machine.
//!
//! The tests themselves are in this crate's `tests` folder. Those on real hosts need root and the lab's Debian packages,
//! and fail naming what is missing; they never pass by skipping.

pub mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The programs that the lab uses, as `cargo xtask build` makes them.
///
/// # Errors
/// They are not there.
pub fn programs() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from);
    let folder = target.join("lab");
    for program in ["backstay", "backstay-agent", "backstay-lab"] {
        ensure!(
            folder.join(program).exists(),
            "{program} is missing in {}; build it with `cargo xtask build`",
            folder.display()
        );
    }
    Ok(folder)
}

/// Runs `backstay` with these arguments, without a terminal.
///
/// # Errors
/// It can't be run.
pub fn backstay(arguments: &[&str]) -> Result<Output> {
    let program = programs()?.join("backstay");
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't run backstay {}", arguments.join(" ")))
}

/// The same on the lab's hosts, as an admin who says yes; answers what it printed.
///
/// # Errors
/// It can't be run, or ends with another exit code than 0.
pub fn on_lab(arguments: &[&str]) -> Result<String> {
    let mut all = vec!["--lab", "--yes"];
    all.extend(arguments);
    let output = backstay(&all)?;
    ensure!(
        output.status.success(),
        "backstay {}: {}: {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a named fault on the lab that is up; a run that shows what must never be is an error. In tests once each; long
/// series are `backstay lab bench FAULT --runs N`.
///
/// # Errors
/// A run failed, or its figures could not be kept beside the programs.
pub fn bench(fault: &str, runs: u32) -> Result<()> {
    let (count, results) = (runs.to_string(), programs()?.join("system-tests.jsonl"));
    let results = results.to_str().context("a folder's name is no text")?;
    let arguments = [
        "lab",
        "bench",
        fault,
        "--runs",
        &count,
        "--results",
        results,
    ];
    let printed = on_lab(&arguments)?;
    ensure!(printed.contains(&format!("{runs} runs")), "{printed}");
    Ok(())
}

/// What a lab could leave behind: network namespaces, mounts, processes, files, links and cgroups.
///
/// # Errors
/// The machine can't be looked at.
pub fn traces() -> Result<Vec<String>> {
    let mut found = Vec::new();
    let list = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|e| format!("{folder}/{}", e.file_name().to_string_lossy()))
            .collect()
    };
    found.extend(list("/run/netns"));
    found.extend(
        list("/var/lib")
            .into_iter()
            .filter(|f| f.contains("backstay")),
    );
    found.extend(list("/run").into_iter().filter(|f| f.contains("backstay")));
    found.extend(list("/sys/class/net"));
    for controller in list("/sys/fs/cgroup") {
        found.extend(
            list(&controller)
                .into_iter()
                .filter(|f| f.contains("backstay")),
        );
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    found.extend(
        mounts
            .lines()
            .filter_map(|l| l.split(' ').nth(1))
            .map(|m| format!("mount {m}")),
    );
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.bytes().all(|b| b.is_ascii_digit()) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            // This test and cargo name the same folders; a lab's processes are none of them.
            if line.contains("systemd-nspawn")
                || line.starts_with("backstay-lab")
                || line.contains("/backstay-lab ")
            {
                found.push(format!("process {line}"));
            }
        }
    }
    found.sort();
    Ok(found)
}
