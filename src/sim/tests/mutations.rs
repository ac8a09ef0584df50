//! Rules broken on purpose: the simulator must find each within 1,000 seeds.

use backstay_core::engine::{Engine, Mutation};
use backstay_sim::{Options, run};

/// The first seed that finds it, and the rule that it names.
fn found(prepare: fn(&mut Engine)) -> Option<(u64, &'static str)> {
    let options = Options {
        prepare: Some(prepare),
        ..Options::default()
    };
    (0..1_000).find_map(|seed| run(seed, options).failure.map(|f| (seed, f.rule)))
}

#[test]
fn s5_to_take_without_waiting_is_found() {
    let found = found(|e| e.mutate(Mutation::TakesAtOnce));
    assert!(
        found.is_some_and(|(_, rule)| rule != "simulator"),
        "{found:?}"
    );
}

#[test]
fn protocol_18_to_ignore_a_lapse_is_found() {
    let found = found(|e| e.mutate(Mutation::IgnoresLapse));
    assert!(
        found.is_some_and(|(_, rule)| rule != "simulator"),
        "{found:?}"
    );
}

#[test]
fn f3_to_ignore_room_and_priority_is_found() {
    let found = found(|e| e.mutate(Mutation::IgnoresRoom));
    assert!(found.is_some_and(|(_, rule)| rule == "F3"), "{found:?}");
}

#[test]
fn l1_to_ignore_locks_is_found() {
    let found = found(|e| e.mutate(Mutation::IgnoresLocks));
    assert!(found.is_some_and(|(_, rule)| rule == "L1"), "{found:?}");
}

#[test]
fn f14_to_start_while_a_stop_is_pending_is_found() {
    let found = found(|e| e.mutate(Mutation::IgnoresStops));
    assert!(
        found.is_some_and(|(_, rule)| rule != "simulator"),
        "{found:?}"
    );
}

#[test]
fn protocol_17_to_go_on_as_if_nothing_had_failed_is_found() {
    let options = Options {
        prepare: Some(|e| e.mutate(Mutation::IgnoresFailures)),
        refusals: true,
        ..Options::default()
    };
    let found = (0..1_000).find_map(|seed| run(seed, options).failure);
    assert!(found.is_some_and(|f| f.rule != "simulator"));
}
