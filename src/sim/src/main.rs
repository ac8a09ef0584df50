//! `backstay-sim --seeds A..B`: runs seeds and says which broke a rule.

use std::io::Write as _;
use std::process::ExitCode;

use backstay_core::engine::LIFECYCLE_ROWS;
use backstay_sim::{Options, run};
use clap::Parser;

/// Whole clusters on a virtual clock with faults.
#[derive(Debug, Parser)]
#[command(name = "backstay-sim", version)]
struct Args {
    /// Seeds to run, `A..B` (B not included) or one
    #[arg(long)]
    seeds: String,
    /// Nodes of each cluster, 3 to 16; left out: by seed
    #[arg(long, value_parser = clap::value_parser!(u8).range(3..=12))]
    nodes: Option<u8>,
    /// Admins also work on nodes
    #[arg(long)]
    maintenance: bool,
    /// Print all that happened
    #[arg(long)]
    trace: bool,
}

fn seeds(text: &str) -> Option<core::ops::Range<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => text.parse().ok().map(|one: u64| one..one + 1),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let Some(seeds) = seeds(&args.seeds) else {
        eprintln!("--seeds {}: not `A..B` and not a number", args.seeds);
        return ExitCode::from(2);
    };
    let options = Options {
        nodes: args.nodes.map(usize::from),
        maintenance: args.maintenance,
        trace: args.trace,
        ..Options::default()
    };
    let mut out = std::io::stdout().lock(); // a reader that goes away is no error
    let (mut ran, mut broken, mut rows, mut faults, mut lasted) = (0_u64, 0_u64, 0, 0_u64, 0_u64);
    for seed in seeds {
        let outcome = run(seed, options);
        for line in &outcome.trace {
            let _ = writeln!(out, "{line}");
        }
        ran += 1;
        rows |= outcome.rows;
        faults += u64::from(outcome.faults);
        lasted += outcome.lasted / 1_000_000_000;
        if let Some(failure) = outcome.failure {
            broken += 1;
            let _ = writeln!(
                out,
                "seed {seed} ({} nodes): {} broken at {:.3} s: {}; again: backstay-sim --trace --seeds {seed}",
                outcome.nodes,
                failure.rule,
                core::time::Duration::from_nanos(failure.at).as_secs_f64(),
                failure.what
            );
        }
    }
    let _ = writeln!(
        out,
        "{ran} seeds, {broken} broke a rule; {faults} faults in {lasted} virtual seconds; {} of {LIFECYCLE_ROWS} rows of the life-cycle taken",
        u64::count_ones(rows)
    );
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
