//! In a steady cluster the engine allocates nothing: an allocation may wait for the kernel, and decisions may not.

mod steady;

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
