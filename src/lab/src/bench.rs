//! Repeating a measurement and keeping the figures: one JSON line a run, so that
//! a series can be broken off and taken up again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::run::run;

/// A run that was held up is repeated at most this often in a row.
const REPEATS: u32 = 20;

/// The figures of one run, by name; names end in their unit (`gap_ms`).
pub type Figures = BTreeMap<String, f64>;

/// What one run gave.
#[derive(Debug, Clone, PartialEq)]
pub enum RunOutcome {
    /// It counts.
    Figures(Figures),
    /// The measurement itself was disturbed; the run is repeated.
    Disturbed(String),
}

/// A series of runs.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name of the fault or action that is measured.
    pub name: String,
    /// How many runs there are to be in the end.
    pub runs: u32,
    /// Whether runs of this name and commit in the file count; without it the
    /// series starts anew (earlier lines stay in the file).
    pub resume: bool,
    /// File to which each run is appended.
    pub results: PathBuf,
    /// What was measured: usually [`commit`].
    pub commit: String,
}

/// Where the figures come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Processors.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// A line of the results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// Name of the series.
    pub bench: String,
    /// Number of the run in its series, from 1.
    pub run: u32,
    /// Wall time at its end, in seconds since 1970 (UTC).
    pub wall: f64,
    /// What was measured.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// How often the run was repeated because it was disturbed.
    pub disturbed: u32,
    /// Its figures.
    pub figures: Figures,
}

/// `NAME run 3: gap_ms 4.20, dual_ms 0.00`.
impl fmt::Display for RunLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} run {}: ", self.bench, self.run)?;
        for (place, (name, value)) in self.figures.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {value:.2}")?;
        }
        Ok(())
    }
}

/// One figure over a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many runs have it.
    pub count: usize,
    /// Smallest.
    pub min: f64,
    /// Middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest that at least 95 % do not exceed (nearest rank).
    pub p95: f64,
    /// Largest.
    pub max: f64,
}

impl Statistics {
    /// None without values; values that are not numbers do not count.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = count / 2;
        let median = if count % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        let rank = (count * 95).div_ceil(100);
        Some(Self {
            count,
            min,
            median,
            p95: values[rank - 1],
            max,
        })
    }
}

/// A whole series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the series.
    pub bench: String,
    /// Runs that count.
    pub runs: usize,
    /// Runs that were disturbed and repeated.
    pub disturbed: u32,
    /// Its figures.
    pub figures: BTreeMap<String, Statistics>,
}

impl Summary {
    /// Over these runs.
    pub fn of(name: &str, lines: &[RunLine]) -> Self {
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (figure, value) in lines.iter().flat_map(|line| &line.figures) {
            values.entry(figure.clone()).or_default().push(*value);
        }
        Self {
            bench: name.to_owned(),
            runs: lines.len(),
            disturbed: lines.iter().map(|line| line.disturbed).sum(),
            figures: values
                .into_iter()
                .filter_map(|(figure, values)| Some((figure, Statistics::of(values)?)))
                .collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} runs, {} repeated",
            self.bench, self.runs, self.disturbed
        )?;
        writeln!(
            f,
            "{:<24} {:>10} {:>10} {:>10} {:>10}",
            "figure", "min", "median", "p95", "max"
        )?;
        for (figure, s) in &self.figures {
            writeln!(
                f,
                "{figure:<24} {:>10.2} {:>10.2} {:>10.2} {:>10.2}",
                s.min, s.median, s.p95, s.max
            )?;
        }
        Ok(())
    }
}

/// Runs `one` (with the number of the run, from 1) until the series is complete
/// and appends each run to the results file as soon as it is done.
///
/// Errors if a run fails (the runs before it are kept), if 20 tries in a row are
/// disturbed, or if the file cannot be read or written.
pub fn bench(
    series: &Series,
    progress: &mut dyn FnMut(&RunLine),
    mut one: impl FnMut(u32) -> Result<RunOutcome>,
) -> Result<Summary> {
    let mut lines = if series.resume {
        earlier(series)?
    } else {
        Vec::new()
    };
    let machine = machine();
    while lines.len() < series.runs as usize {
        let number = u32::try_from(lines.len())? + 1;
        let (figures, disturbed) = undisturbed(series, number, &mut one)?;
        let line = RunLine {
            bench: series.name.clone(),
            run: number,
            wall: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64(),
            commit: series.commit.clone(),
            machine: machine.clone(),
            disturbed,
            figures,
        };
        append(&series.results, &line)?;
        progress(&line);
        lines.push(line);
    }
    Ok(Summary::of(&series.name, &lines))
}

fn undisturbed(
    series: &Series,
    number: u32,
    one: &mut impl FnMut(u32) -> Result<RunOutcome>,
) -> Result<(Figures, u32)> {
    let mut why = String::new();
    for disturbed in 0..=REPEATS {
        let outcome = one(number).with_context(|| format!("run {number} of {}", series.name))?;
        match outcome {
            RunOutcome::Figures(figures) => return Ok((figures, disturbed)),
            RunOutcome::Disturbed(reason) => why = reason,
        }
    }
    bail!(
        "run {number} of {} was disturbed {REPEATS} times, last by: {why}",
        series.name
    )
}

/// Runs of this series that the file has already.
fn earlier(series: &Series) -> Result<Vec<RunLine>> {
    let mut lines = read(&series.results)?;
    lines.retain(|line| line.bench == series.name && line.commit == series.commit);
    lines.truncate(series.runs as usize);
    Ok(lines)
}

/// The runs in a results file; none if there is no file. A last line that was
/// cut short (the machine went down while it was written) is left out.
pub fn read(results: &Path) -> Result<Vec<RunLine>> {
    let text = match fs::read_to_string(results) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", results.display()));
        }
    };
    let mut lines = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(_) if !line.ends_with('\n') || line.trim().is_empty() => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{} line {}", results.display(), index + 1));
            }
        }
    }
    Ok(lines)
}

fn append(results: &Path, line: &RunLine) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        if let Some(folder) = results.parent() {
            fs::create_dir_all(folder)?;
        }
        // A line that was cut short is ended first, lest it swallow this one.
        let before = fs::read(results).unwrap_or_default();
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(results)?;
        let whole = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
        file.write_all(format!("{}\n", serde_json::to_string(line)?).as_bytes())?;
        file.sync_all()
    };
    attempt().with_context(|| format!("cannot write {}", results.display()))
}

/// The commit of the working folder, `-dirty` if it has changes; else "unknown".
pub fn commit() -> String {
    run(Command::new("git").args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]))
    .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// This machine.
pub fn machine() -> Machine {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    Machine {
        kernel: kernel.trim().to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: kib / 1024,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers")]
mod tests {
    use super::*;

    fn series(test: &str, runs: u32, resume: bool) -> Series {
        Series {
            name: "power".into(),
            runs,
            resume,
            results: std::env::temp_dir().join(format!(
                "backstay-bench-{test}-{}.jsonl",
                std::process::id()
            )),
            commit: "abc".into(),
        }
    }

    fn figures(value: f64) -> RunOutcome {
        RunOutcome::Figures(Figures::from([("gap_ms".to_owned(), value)]))
    }

    #[test]
    fn statistics_by_nearest_rank() {
        let s = Statistics::of((1..=20).map(f64::from)).unwrap();
        assert_eq!((s.min, s.median, s.p95, s.max), (1.0, 10.5, 19.0, 20.0));
        let s = Statistics::of([3.0, f64::NAN, 1.0, 2.0]).unwrap();
        assert_eq!((s.count, s.median, s.p95), (3, 2.0, 3.0));
        assert!(Statistics::of([]).is_none());
    }

    #[test]
    fn a_series_is_taken_up_where_it_broke_off() {
        let first = series("resume", 5, false);
        let failed = bench(&first, &mut |_| {}, |run| {
            if run == 3 {
                bail!("power lost")
            }
            Ok(figures(f64::from(run)))
        });
        let error = format!("{:#}", failed.unwrap_err());
        assert!(
            error.contains("run 3 of power") && error.contains("power lost"),
            "{error}"
        );
        // The machine went down in the middle of a line.
        let mut file = File::options().append(true).open(&first.results).unwrap();
        file.write_all(b"{\"bench\":\"pow").unwrap();
        let again = series("resume", 5, true);
        let mut asked = Vec::new();
        let summary = bench(&again, &mut |_| {}, |run| {
            asked.push(run);
            Ok(figures(f64::from(run)))
        })
        .unwrap();
        assert_eq!(asked, [3, 4, 5]);
        assert_eq!(summary.figures["gap_ms"].median, 3.0);
        assert_eq!(read(&again.results).unwrap().len(), 5);
        fs::remove_file(&again.results).unwrap();
    }

    #[test]
    fn disturbed_runs_are_repeated_but_not_for_ever() {
        let three = series("disturbed", 1, false);
        let mut tries = 0;
        let summary = bench(&three, &mut |_| {}, |_| {
            tries += 1;
            Ok(if tries < 3 {
                RunOutcome::Disturbed("held up".into())
            } else {
                figures(1.0)
            })
        })
        .unwrap();
        assert_eq!((summary.runs, summary.disturbed), (1, 2));
        let error = bench(&three, &mut |_| {}, |_| {
            Ok(RunOutcome::Disturbed("noise".into()))
        });
        assert!(error.unwrap_err().to_string().contains("noise"));
        fs::remove_file(&three.results).unwrap();
    }

    #[test]
    fn another_commits_runs_do_not_count() {
        let mut one = series("commit", 1, true);
        bench(&one, &mut |_| {}, |_| Ok(figures(1.0))).unwrap();
        one.commit = "def".into();
        let mut ran = false;
        bench(&one, &mut |_| {}, |_| {
            ran = true;
            Ok(figures(2.0))
        })
        .unwrap();
        assert!(ran);
        fs::remove_file(&one.results).unwrap();
    }
}
