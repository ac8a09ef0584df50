//! C9: what a standby must be.

use super::{LONG, create, gather, name, planned, preflight, world};

#[test]
fn c9_a_standby_that_is_smaller_than_the_largest_home_is_named() {
    let world = world();
    let mut picture = gather(&world, LONG);
    let plan = planned(&picture);
    let mut with = |memory: [u64; 3], processors: [u32; 3]| {
        for ((node, memory), processors) in ["n1", "n2", "sb1"].iter().zip(memory).zip(processors) {
            let facts = &mut picture.facts.get_mut(&name(node)).unwrap().facts;
            (facts.memory, facts.processors) = (memory << 20, processors);
        }
        let (_, checks) = preflight::preflight(&create(), &plan, &picture);
        let checks = checks.into_iter().filter(|c| c.name == "standby-smaller");
        checks.map(|c| c.sentence).collect::<Vec<_>>()
    };
    assert_eq!(with([8000, 16000, 16000], [2, 4, 4]), [""; 0]);
    // Of one size, but for what the kernel keeps; and what could not be found out is not guessed.
    assert_eq!(with([16000, 16000, 15900], [4, 4, 8]), [""; 0]);
    assert_eq!(with([16000, 16000, 0], [4, 4, 0]), [""; 0]);
    assert_eq!(
        with([8000, 16000, 8000], [2, 8, 4]),
        [
            "sb1 has 8000 MiB of memory, less than n2 with 16000 MiB, whose services it may have to carry",
            "sb1 has fewer processors (4) than n2 (8), whose services it may have to carry",
        ]
    );
}
