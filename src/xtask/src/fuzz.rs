//! `cargo xtask fuzz`: looks for bytes that break a decoder, by coverage, on the stable toolchain.
//!
//! What is found lies under `target/fuzz`, outside git: the inputs of each target, from which the next run goes on;
//! `results.jsonl`, a line for each run; and under `found/` what broke a target, to be mended and then kept in
//! `tests/fuzz/corpus`, where an ordinary test runs it from then on.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use super::{cargo_command, root, run, target_folder};

/// What the compiler adds for libFuzzer; all of it is stable.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// With a target named, the coverage is not put into what runs while building.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Most memory of a run; an input that makes a decoder take more has found something.
const MEMORY_MB: u32 = 512;
/// Longest that one input may take.
const LONGEST_S: u32 = 10;
/// Longest input, bytes: far above a datagram, and enough for a large document.
const LONGEST: u32 = 64 * 1024;

/// Runs each target, or only those named, for so many minutes.
pub(crate) fn fuzz(minutes: u32, only: &[String]) -> Result<()> {
    let targets = targets()?;
    if let Some(unknown) = only.iter().find(|o| !targets.contains(o)) {
        bail!(
            "there is no target `{unknown}`; the targets are {}",
            targets.join(", ")
        );
    }
    let program = build()?;
    let mut broken = Vec::new();
    for target in targets {
        if !only.is_empty() && !only.contains(&target) {
            continue;
        }
        println!("== {target}");
        if !run_target(&program, &target, minutes)? {
            broken.push(target);
        }
    }
    if !broken.is_empty() {
        bail!(
            "broken: {}; what broke them lies under {}",
            broken.join(", "),
            here().join("found").display()
        );
    }
    Ok(())
}

/// The targets are the folders of kept inputs; a test holds the two together.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in fs::read_dir(kept())? {
        names.push(folder?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn kept() -> PathBuf {
    root().join("tests/fuzz/corpus")
}

/// Where everything lies that a run leaves.
fn here() -> PathBuf {
    target_folder().join("fuzz")
}

fn build() -> Result<PathBuf> {
    let built = here().join("build");
    let mut command = cargo_command(&[
        "build",
        "--locked",
        "--profile",
        "fuzz",
        "--target",
        TRIPLE,
        "-p",
        "backstay-fuzz",
        "--features",
        "libfuzzer",
        "--bin",
        "fuzz",
    ]);
    command.env("RUSTFLAGS", COVERAGE);
    command.arg("--target-dir").arg(&built);
    run(command)?;
    Ok(built.join(TRIPLE).join("fuzz/fuzz"))
}

/// Whether it held.
fn run_target(program: &Path, target: &str, minutes: u32) -> Result<bool> {
    let (inputs, found) = (
        here().join("inputs").join(target),
        here().join("found").join(target),
    );
    fs::create_dir_all(&inputs)?;
    fs::create_dir_all(&found)?;
    let log = here().join(format!("{target}.log"));
    let seconds = minutes * 60;
    let begun = Instant::now();
    let mut command = Command::new(program);
    command
        .env("BACKSTAY_FUZZ", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg(format!("-timeout={LONGEST_S}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(&inputs)
        .arg(kept().join(target))
        .stderr(fs::File::create(&log)?);
    let status = command
        .status()
        .with_context(|| format!("can't run {}", program.display()))?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let runs = figure(&said, "stat::number_of_executed_units:");
    let coverage = last_coverage(&said);
    let memory = figure(&said, "stat::peak_rss_mb:");
    let held = status.success();
    let word = if held { "held" } else { "broken" };
    println!("{word}: {runs} inputs, {coverage} places reached, at most {memory} MiB");
    if !held {
        let told = said
            .lines()
            .filter(|l| l.contains("panicked") || l.contains("ERROR"));
        told.for_each(|line| println!("   {line}"));
    }
    let line = format!(
        "{{\"at\":{},\"commit\":\"{}\",\"target\":\"{target}\",\"seconds\":{},\"inputs\":{runs},\"coverage\":{coverage},\"peak_mib\":{memory},\"held\":{held}}}\n",
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        commit(),
        begun.elapsed().as_secs(),
    );
    let mut results = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(here().join("results.jsonl"))?;
    results.write_all(line.as_bytes())?;
    Ok(held)
}

fn figure(said: &str, name: &str) -> u64 {
    let line = said.lines().rev().find_map(|l| l.strip_prefix(name));
    line.and_then(|figure| figure.trim().parse().ok())
        .unwrap_or(0)
}

/// From the last line of progress: `#1024 NEW cov: 512 ft: ...`.
fn last_coverage(said: &str) -> u64 {
    let after = said.rsplit_once("cov: ").map(|(_, after)| after);
    let figure = after.and_then(|after| after.split(' ').next());
    figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
}

fn commit() -> String {
    let mut git = Command::new("git");
    let asked = git
        .args(["describe", "--always", "--dirty"])
        .current_dir(root())
        .output();
    let text = asked.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_libfuzzer_says() {
        let said = "#2\tINITED cov: 71 ft: 72\n#9\tDONE   cov: 103 ft: 9\n\
            stat::number_of_executed_units: 900\nstat::peak_rss_mb:              41\n";
        assert_eq!(last_coverage(said), 103);
        assert_eq!(figure(said, "stat::number_of_executed_units:"), 900);
        assert_eq!(figure(said, "stat::peak_rss_mb:"), 41);
        assert_eq!(figure("it died", "stat::peak_rss_mb:"), 0);
    }
}
