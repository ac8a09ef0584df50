//! C9: what a standby must be.

use std::collections::BTreeMap;

use backstay::ops::needs;
use backstay_wire::rpc::{Needs, PackageFact, UnitNeeds};

use super::{LONG, Manner, create, gather, name, planned, preflight, world};

/// What the notes and the checks of the plan say, the latter with their names.
fn told(world: &super::World) -> (Vec<String>, Vec<String>) {
    let mut picture = gather(world, LONG);
    let mut plan = planned(&picture);
    needs::ask(&mut plan, &mut picture);
    let notes = plan.consequences.iter().map(|c| c.sentence.clone());
    let notes = notes.filter(|s| s.contains("unknown")).collect();
    let (problems, checks) = preflight::preflight(&create(), &plan, &picture);
    let checks = checks.iter().map(|c| format!("{}: {}", c.name, c.sentence));
    let problems = problems.iter().map(|p| p.place.clone());
    (notes, checks.chain(problems).collect())
}

/// U7: an agent that does not know the question is no reason to refuse, and its silence is said.
#[test]
fn c9_what_an_older_agent_can_t_say_is_told_as_unknown() {
    let world = world();
    for node in ["n1", "n2"] {
        world.with(node, |a| a.needs = Some(Needs::default()));
    }
    let (notes, wrong) = told(&world);
    assert_eq!(wrong, [""; 0]);
    let [note] = &notes[..] else {
        panic!("{notes:?}")
    };
    assert!(
        note.starts_with("whether sb1 has the users, commands,"),
        "{note}"
    );
    assert!(note.ends_with("`backstay node upgrade sb1`"), "{note}");
}

#[test]
fn c9_a_standby_without_the_package_of_a_unit_is_named() {
    let world = world();
    let unit = UnitNeeds {
        there: true,
        user: Some("web".to_owned()),
        package: Some(PackageFact {
            name: "web".to_owned(),
            version: "1.2-3".to_owned(),
        }),
        ..UnitNeeds::default()
    };
    let home = Needs {
        packager: Some("apt-get".to_owned()),
        units: BTreeMap::from([("web.service".to_owned(), unit.clone())]),
        users: BTreeMap::from([("web".to_owned(), true)]),
        ..Needs::default()
    };
    let standby = Needs {
        users: BTreeMap::from([("web".to_owned(), false)]),
        packages: BTreeMap::from([("web".to_owned(), None)]),
        ..home.clone()
    };
    for (node, needs) in [("n1", &home), ("n2", &home), ("sb1", &standby)] {
        world.with(node, |a| a.needs = Some(needs.clone()));
    }
    let (notes, wrong) = told(&world);
    assert_eq!(notes, [""; 0]);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(
        wrong[0].starts_with(
            "package-missing: sb1 has no package web (1.2-3 on n1), which web1 and web2 need;"
        ),
        "{wrong:?}"
    );
    assert!(
        wrong[1].starts_with("user-missing: sb1 has no user web, which web1 and web2 need;"),
        "{wrong:?}"
    );
    let asked = world.with("sb1", |a| a.calls.iter().filter(|c| *c == "needs").count());
    assert_eq!(
        asked, 2,
        "once for what it has, once for what the homes have"
    );
    // Whoever breaks off meanwhile is not there to be a member.
    world.manner("sb1", Manner::DiesAtNeeds);
    let (_, wrong) = told(&world);
    assert!(wrong.contains(&"node sb1".to_owned()), "{wrong:?}");
}

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
