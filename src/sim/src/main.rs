//! `backstay-sim --seeds A..B`: runs seeds and says which broke a rule.

use core::ops::Range;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use backstay_core::engine::LIFECYCLE_ROWS;
use backstay_sim::{Options, Outcome, run, run_all};
use clap::Parser;

/// Seeds between two lines of a results file.
const BATCH: u64 = 250;

/// Whole clusters on a virtual clock with faults.
#[derive(Debug, Parser)]
#[command(name = "backstay-sim", version)]
struct Args {
    /// Seeds to run, `A..B` (B not included) or one
    #[arg(long, value_parser = seeds)]
    seeds: Range<u64>,
    /// Nodes of each cluster, 3 to 12; left out: by seed
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=12))]
    nodes: Option<u8>,
    /// Admins also work on nodes
    #[arg(long)]
    maintenance: bool,
    /// Machines also refuse what their agents want done
    #[arg(long)]
    refusals: bool,
    /// Which of the two there is goes by seed, as in the tests
    #[arg(long, conflicts_with_all = ["maintenance", "refusals"])]
    mixed: bool,
    /// Print all that happened
    #[arg(long)]
    trace: bool,
    /// Append what came of each 250 seeds to this file, and go on after what it has of this commit
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let read = |number: &str| number.parse().map_err(|_| "not `A..B` and not a number");
    Ok(match text.split_once("..") {
        Some((from, to)) => read(from)?..read(to)?,
        None => read(text)?..read(text)? + 1,
    })
}

/// What seeds came to.
#[derive(Debug, Default)]
struct Sum {
    ran: u64,
    broken: u64,
    rows: u64,
    faults: u64,
    virtual_s: u64,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome, out: &mut dyn Write) {
        for line in &outcome.trace {
            let _ = writeln!(out, "{line}"); // a reader that goes away is no error
        }
        self.ran += 1;
        self.rows |= outcome.rows;
        self.faults += u64::from(outcome.faults);
        self.virtual_s += outcome.lasted / 1_000_000_000;
        if outcome.failure.is_some() {
            self.broken += 1;
            let _ = writeln!(out, "{outcome}");
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match all(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("backstay-sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all kept the rules.
fn all(args: &Args) -> io::Result<bool> {
    let options = |seed| {
        let by_seed = Options::mixed(seed);
        Options {
            nodes: args.nodes.map(usize::from),
            maintenance: args.maintenance || (args.mixed && by_seed.maintenance),
            refusals: args.refusals || (args.mixed && by_seed.refusals),
            trace: args.trace,
            ..by_seed
        }
    };
    let mut out = io::stdout().lock();
    let mut sum = Sum::default();
    let Some(file) = &args.results else {
        for seed in args.seeds.clone() {
            sum.add(&run(seed, options(seed)), &mut out);
        }
        let _ = writeln!(
            out,
            "{} seeds, {} broke a rule; {} faults in {} virtual seconds; {} of {LIFECYCLE_ROWS} rows of the life-cycle taken",
            sum.ran,
            sum.broken,
            sum.faults,
            sum.virtual_s,
            u64::count_ones(sum.rows)
        );
        return Ok(sum.broken == 0);
    };
    let commit = commit();
    let mut at = args.seeds.start.max(done(file, &commit)?);
    let mut kept = true;
    while at < args.seeds.end {
        let batch = at..args.seeds.end.min(at + BATCH);
        let (begun, mut sum) = (Instant::now(), Sum::default());
        for outcome in run_all(batch.clone(), options) {
            sum.add(&outcome, &mut out);
        }
        let line = format!(
            "{{\"commit\":\"{commit}\",\"from\":{},\"to\":{},\"broken\":{},\"faults\":{},\"virtual_s\":{},\"seconds\":{}}}\n",
            batch.start,
            batch.end,
            sum.broken,
            sum.faults,
            sum.virtual_s,
            begun.elapsed().as_secs()
        );
        let mut results = OpenOptions::new().create(true).append(true).open(file)?;
        results.write_all(line.as_bytes())?;
        let _ = out.write_all(line.as_bytes());
        kept &= sum.broken == 0;
        at = batch.end;
    }
    Ok(kept)
}

/// Behind the last seed that the file has of this commit.
fn done(file: &Path, commit: &str) -> io::Result<u64> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let mine = format!("{{\"commit\":\"{commit}\",");
    let to = |line: &str| {
        let (_, after) = line.split_once("\"to\":")?;
        after.split(',').next()?.parse().ok()
    };
    let lines = text.lines().filter(|line| line.starts_with(&mine));
    Ok(lines.filter_map(to).max().unwrap_or(0))
}

fn commit() -> String {
    let asked = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    let text = asked.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    text.unwrap_or_default()
}
