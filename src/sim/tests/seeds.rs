//! Whole clusters by seed: faults, then healing, then everything must be in its place.

use core::fmt::Write as _;

use backstay_core::engine::LIFECYCLE_ROWS;
use backstay_sim::{Options, Outcome, run, run_all};

/// Says which rule a seed broke and how to see it again.
fn told(outcome: &Outcome) -> String {
    let mut text = String::new();
    if outcome.failure.is_some() {
        let _ = writeln!(
            text,
            "{outcome}\n  then add the seed to src/sim/tests/regressions.txt"
        );
    }
    text
}

#[test]
fn five_thousand_seeds_keep_the_rules_and_visit_every_row() {
    let (mut broken, mut rows, mut faults) = (String::new(), 0_u64, 0);
    let outcomes = run_all(0..5_000, Options::mixed);
    assert_eq!(outcomes.len(), 5_000);
    for outcome in outcomes {
        let seed = outcome.seed;
        rows |= outcome.rows;
        faults += u64::from(outcome.faults);
        if outcome.failure.is_none() {
            assert!(
                outcome.faults >= 20,
                "seed {seed}: {} faults",
                outcome.faults
            );
            assert!(outcome.lasted >= 200_000_000_000, "seed {seed} was short");
            assert!(outcome.quiets >= 2, "seed {seed} was never looked at");
            assert!((3..=12).contains(&outcome.nodes), "seed {seed}");
        }
        broken += &told(&outcome);
    }
    println!("{faults} faults");
    assert!(broken.is_empty(), "\n{broken}");
    let all = (1 << LIFECYCLE_ROWS) - 1;
    assert_eq!(
        rows,
        all,
        "rows {:b} of the life-cycle were never taken",
        all & !rows
    );
}

/// Seeds that once found a fault: `SEED [NODES] [mixed]`.
#[test]
fn seeds_that_once_failed() {
    let mut broken = String::new();
    let kept = include_str!("regressions.txt");
    let mut ran = 0;
    for line in kept.lines().filter(|l| !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let numbers: Vec<u64> = words.iter().filter_map(|w| w.parse().ok()).collect();
        let Some(seed) = numbers.first().copied() else {
            continue;
        };
        let by_seed = if words.contains(&"mixed") {
            Options::mixed(seed)
        } else {
            Options::default()
        };
        let options = Options {
            nodes: numbers.get(1).and_then(|n| usize::try_from(*n).ok()),
            ..by_seed
        };
        broken += &told(&run(seed, options));
        ran += 1;
    }
    assert!(ran > 0, "the list is empty");
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    let (one, other) = (run(77, options), run(77, options));
    assert!(!one.trace.is_empty());
    assert_eq!(one.trace, other.trace);
}
