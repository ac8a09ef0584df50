//! In a steady cluster the engine allocates nothing: an allocation may wait for the kernel, and decisions may not. And
//! it has time.

mod steady;

use std::time::Duration;

use backstay_core::engine::phase;
use steady::Steady;

#[test]
fn beats_and_timers_of_a_steady_cluster_allocate_nothing() {
    let mut steady = Steady::new();
    // Buffers have grown to their size after a few rounds.
    for _ in 0..1_000 {
        steady.step();
    }
    let (sent, surprises) = (steady.sent, steady.surprises);
    let info = allocation_counter::measure(|| {
        for _ in 0..10_000 {
            steady.step();
        }
    });
    assert_eq!(steady.surprises, surprises, "the cluster is not steady");
    assert!(steady.sent > sent + 900, "timers are part of it");
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn beats_gather_only_while_nothing_is_under_way() {
    let mut steady = Steady::new();
    for _ in 0..100 {
        steady.step();
    }
    let now = steady.now;
    assert_eq!(steady.engine.patience(now), Duration::from_millis(20));
    // Two and a half beats of silence: whoever is heard next is waited for.
    let later = now.after(Duration::from_millis(1_300));
    assert_eq!(steady.engine.patience(later), Duration::ZERO);
    // Another node wants a service.
    let other = &mut steady.others[0];
    other.sequence += 1;
    other.services[0].phase = phase::WAITING;
    steady.engine.handle_beat(other, 0, now);
    assert_eq!(steady.engine.patience(now), Duration::ZERO);
}
