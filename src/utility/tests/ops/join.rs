//! Machines that become nodes.

use backstay::Exit;
use backstay::ops::enrol;
use backstay_core::model::NodeId;

use super::common::{Agent, target, world};
use super::{LONG, gather, name, planned};

/// A spare machine that was to be `n2`, and then the utility was killed.
#[test]
fn c16_a_replacement_that_was_broken_off_does_not_keep_the_machine() {
    let world = world();
    let system = gather(&world, LONG).system();
    let own = name("n2");
    let spare = |staged| {
        let agent = Agent {
            name: Some(own.clone()),
            id: Some(NodeId(0x99)),
            staged,
            ..Agent::default()
        };
        world.0.lock().unwrap().insert("spare".to_owned(), agent);
        let handle = world.gatherer(LONG).handle;
        handle.open(&target("spare")).unwrap()
    };
    // The same again goes on; for something else it forgets that first.
    let again = enrol::identity(&mut spare(None), &own, &system).unwrap();
    assert_eq!(again, NodeId(0x99));
    let other = enrol::identity(&mut spare(None), &name("n5"), &system).unwrap();
    assert_ne!(other, NodeId(0x99));
    world.with("spare", |a| assert_eq!(a.name, None));
    // What is staged may still take effect: the step that helps is named.
    let plan = planned(&gather(&world, LONG));
    let mut client = spare(Some(plan.documents[0].clone()));
    let refused = enrol::identity(&mut client, &name("n5"), &system).unwrap_err();
    assert_eq!(refused.exit, Exit::Refused);
    let hint = refused.hint.unwrap();
    assert!(
        hint.contains("`backstay node replace n2 --with spare`"),
        "{hint}"
    );
    world.with("spare", |a| assert_eq!(a.id, Some(NodeId(0x99))));
    // A node of the system is removed as such.
    let handle = world.gatherer(LONG).handle;
    let mut client = handle.open(&target("n2")).unwrap();
    let refused = enrol::identity(&mut client, &name("n5"), &system).unwrap_err();
    let hint = refused.hint.unwrap();
    assert!(hint.contains("`backstay node remove n2`"), "{hint}");
}
