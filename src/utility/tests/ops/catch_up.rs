//! PROTOCOL 3: members that an exchange of the key has left behind.

use backstay::ops::catch_up::{behind, catch_up};

use super::*;

/// Every member has the revision before that; what came of handing it over.
fn handed(world: &World, cancel: &Cancel) -> Result<Vec<NodeName>, Failure> {
    let mut picture = gather(world, LONG);
    let mut document = picture.clusters[0].clone();
    document.revision += 1;
    let behind = behind(&document, &picture);
    assert_eq!(behind.len(), 3);
    catch_up(&document, &behind, &mut picture, cancel, &mut |_| {})
}

fn revisions(world: &World) -> [u64; 3] {
    ["n1", "n2", "sb1"].map(|host| world.with(host, |a| a.documents["demo"].revision))
}

fn created() -> World {
    let world = world();
    carry_out(&world).unwrap();
    world
}

#[test]
fn protocol_3_who_was_left_behind_gets_the_present_document() {
    let world = created();
    let first = revisions(&world)[0];
    assert_eq!(handed(&world, &Cancel::default()).unwrap().len(), 3);
    assert_eq!(revisions(&world), [first + 1; 3]);
}

#[test]
fn u6_a_member_that_breaks_off_does_not_hide_what_was_done_before() {
    let world = created();
    let first = revisions(&world)[0];
    world.manner("n2", Manner::DiesAtCommit);
    let failure = handed(&world, &Cancel::default()).unwrap_err();
    assert_eq!(failure.changed, Changed::Yes);
    let said = &failure.message;
    assert!(
        said.starts_with("n2 did not confirm the commit (")
            && said.contains("); whether it took effect is not known")
            && said.ends_with("; revision 2 of demo was given to n1 before"),
        "{said}"
    );
    assert_eq!(revisions(&world), [first + 1, first, first]);
    // The first one: nobody has it for certain.
    let world = created();
    world.manner("n1", Manner::DiesAtCommit);
    let failure = handed(&world, &Cancel::default()).unwrap_err();
    assert_eq!(failure.changed, Changed::Unknown);
}

#[test]
fn u6_a_refused_commit_leaves_nothing_behind() {
    let world = created();
    let first = revisions(&world);
    world.manner("n1", Manner::RefusesCommit);
    let failure = handed(&world, &Cancel::default()).unwrap_err();
    assert_eq!(failure.changed, Changed::No, "{failure}");
    world.with("n1", |a| assert!(a.staged.is_none() && !a.locked));
    assert_eq!(revisions(&world), first);
}

#[test]
fn u6_breaking_off_before_the_first_member_changes_nothing() {
    let world = created();
    let (first, cancel) = (revisions(&world)[0], Cancel::default());
    cancel.set();
    let failure = handed(&world, &cancel).unwrap_err();
    assert_eq!(
        (failure.exit, failure.changed),
        (Exit::Cancelled, Changed::No)
    );
    assert_eq!(revisions(&world), [first; 3]);
}
