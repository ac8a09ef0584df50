//! Whole clusters by seed: faults, then healing, then everything must be in its place.

use backstay_core::engine::LIFECYCLE_ROWS;
use backstay_sim::{Options, Outcome, run};

/// Says which rule a seed broke and how to see it again.
fn told(outcome: &Outcome) -> String {
    let Some(failure) = &outcome.failure else {
        return String::new();
    };
    format!(
        "seed {} ({} nodes) broke {} after {} ms: {}\n  again: cargo run -p backstay-sim -- --trace --seeds {}\n  then add the seed to src/sim/tests/regressions.txt\n",
        outcome.seed,
        outcome.nodes,
        failure.rule,
        failure.at / 1_000_000,
        failure.what,
        outcome.seed
    )
}

#[test]
fn a_thousand_seeds_keep_the_rules_and_visit_every_row() {
    let (mut broken, mut rows) = (String::new(), 0_u64);
    for seed in 0..1_000 {
        let outcome = run(seed, Options::default());
        rows |= outcome.rows;
        if outcome.failure.is_none() {
            assert!(
                outcome.faults >= 20,
                "seed {seed}: {} faults",
                outcome.faults
            );
            assert!(outcome.lasted >= 600_000_000_000, "seed {seed} was short");
            assert!(outcome.quiets >= 2, "seed {seed} was never looked at");
            assert!((3..=12).contains(&outcome.nodes), "seed {seed}");
        }
        broken += &told(&outcome);
    }
    assert!(broken.is_empty(), "\n{broken}");
    let all = (1 << LIFECYCLE_ROWS) - 1;
    assert_eq!(
        rows,
        all,
        "rows {:b} of the life-cycle were never taken",
        all & !rows
    );
}

#[test]
fn f17_seeds_with_work_on_nodes_keep_the_rules() {
    let options = Options {
        maintenance: true,
        ..Options::default()
    };
    let mut broken = String::new();
    for seed in 0..300 {
        broken += &told(&run(seed, options));
    }
    assert!(broken.is_empty(), "with --maintenance:\n{broken}");
}

/// Seeds that once found a fault, with the number of nodes where one was given: `SEED [NODES]`.
#[test]
fn seeds_that_once_failed() {
    let mut broken = String::new();
    let kept = include_str!("regressions.txt");
    let mut ran = 0;
    for line in kept.lines().filter(|l| !l.starts_with('#')) {
        let mut words = line.split_whitespace().map_while(|w| w.parse::<u64>().ok());
        let Some(seed) = words.next() else { continue };
        let nodes = words.next().and_then(|n| usize::try_from(n).ok());
        let options = Options {
            nodes,
            ..Options::default()
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
