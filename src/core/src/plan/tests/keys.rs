//! PROTOCOL 3: exchanging the key.

use super::*;
use crate::model::KeyStage;

fn rotate() -> Action {
    Action::RotateKey {
        cluster: cluster().name,
        key: Secret("cd".repeat(32)),
        behind: Vec::new(),
    }
}

/// The world once a plan's document is what every node has.
fn after(world: &World, plan: &Plan) -> World {
    let mut world = world.clone();
    world.cluster = plan.documents[0].clone();
    world.view = Some(view(&world.cluster));
    world
}

#[test]
fn protocol_3_the_key_is_exchanged_in_three_revisions() {
    let first = world();
    let old = first.cluster.keys.clone();
    let plan = first.agreed(&rotate());
    let d = &plan.documents[0];
    assert_eq!(d.key_stage(), KeyStage::Known);
    assert_eq!(d.keys[..1], old[..], "the old key goes on signing");
    assert!(!d.keys[1].signs && d.keys[1].id != old[0].id);
    assert_eq!(d.epoch, first.cluster.epoch, "nobody's hold is touched");
    assert!(plan.warnings.is_empty());

    let second = after(&first, &plan);
    let plan = second.agreed(&rotate());
    let d = &plan.documents[0];
    assert_eq!(d.key_stage(), KeyStage::Signs);
    assert_eq!(
        d.keys.iter().map(|k| k.signs).collect::<Vec<_>>(),
        [false, true]
    );

    let third = after(&second, &plan);
    let plan = third.agreed(&rotate());
    let d = &plan.documents[0];
    assert_eq!(d.key_stage(), KeyStage::Settled);
    assert_eq!(
        (d.keys.len(), d.keys[0].secret.as_str()),
        (1, "cd".repeat(32).as_str())
    );
    assert!(plan.truth.contains("worth nothing"), "{}", plan.truth);
    let all: Vec<NodeName> = d.members.iter().map(|m| m.name.clone()).collect();
    let has = plan.goal.aims.iter().find_map(|aim| match aim {
        Aim::Has { nodes, .. } => Some(nodes.clone()),
        _ => None,
    });
    assert_eq!(has, Some(all), "by the word of every member");
}

#[test]
fn protocol_3_no_step_goes_on_without_a_member_unless_it_is_named() {
    let behind = |node: &str, revision: Option<u64>| {
        let mut world = world();
        let view = world.view.as_mut().unwrap();
        for n in view.nodes.iter_mut().filter(|n| n.name.as_str() == node) {
            n.revision = revision;
            if revision.is_none() {
                n.state = NodeState::Down;
            }
        }
        world
    };
    for (revision, why) in [(None, "n2 is not heard"), (Some(1), "n2 has revision 1")] {
        let plan = behind("n2", revision).agreed(&rotate());
        assert_eq!(plan.warnings.len(), 1);
        assert_eq!(plan.warnings[0].name, "member-away");
        assert!(
            plan.warnings[0].sentence.contains(why),
            "{:?}",
            plan.warnings
        );
        let waits = plan.goal.aims.iter().any(|aim| match aim {
            Aim::Has { nodes, .. } => nodes.iter().any(|n| n.as_str() == "n2"),
            _ => false,
        });
        assert!(!waits, "overridden, it is not waited for");
    }
}

/// It answers the admin, so it gets the present revision by hand; nothing is done that the plan does not tell.
#[test]
fn protocol_3_who_was_left_behind_and_answers_is_brought_up_to_date_first() {
    let world = world().state("n2", NodeState::Down);
    let plan = world.agreed(&Action::RotateKey {
        cluster: cluster().name,
        key: Secret("cd".repeat(32)),
        // Who has it by its own word since it was asked needs nothing.
        behind: vec![node("n1"), node("n2")],
    });
    assert_eq!(plan.warnings, []);
    let first = &plan.steps[0];
    assert_eq!(
        (first.kind, first.on.as_slice()),
        (StepKind::CatchUp, [node("n2")].as_slice())
    );
    assert!(
        said(&plan, ConsequenceKind::Note)
            .iter()
            .any(|s| s.starts_with("not up to date, and getting revision ") && s.ends_with(": n2")),
        "{:?}",
        plan.consequences
    );
    let waits = plan.goal.aims.iter().any(|aim| match aim {
        Aim::Has { nodes, .. } => nodes.contains(&node("n2")),
        _ => false,
    });
    assert!(waits, "it is one of those that must have the step");
}

#[test]
fn protocol_3_no_secret_is_in_what_is_shown_of_a_plan() {
    let first = world();
    let plan = first.agreed(&rotate());
    for plan in [plan.clone(), after(&first, &plan).agreed(&rotate())] {
        let shown = serde_json::to_string(&plan).unwrap();
        for key in &plan.documents[0].keys {
            assert!(!shown.contains(&key.secret));
        }
        assert!(!plan.command.contains("cdcd"));
    }
    let debug = format!("{:?}", rotate());
    assert!(!debug.contains("cdcd"), "{debug}");
}

#[test]
fn protocol_3_a_node_that_has_not_confirmed_is_waited_for() {
    let first = world();
    let plan = first.agreed(&rotate());
    let mut views = [view(&plan.documents[0])];
    assert_eq!(plan.goal.reached(&views), Progress::Reached);
    // Silent: what it would have said is not known.
    views[0].nodes[1].state = NodeState::Down;
    views[0].nodes[1].revision = None;
    let waiting = plan.goal.reached(&views);
    assert!(matches!(waiting, Progress::Waiting(_)), "{waiting:?}");
}

#[test]
fn protocol_3_a_written_document_changes_no_key() {
    let mut written = world().cluster;
    written.keys[0].secret = "ef".repeat(32);
    let refused = world().plan(&Action::Apply {
        document: Box::new(written),
    });
    let refused = refused.unwrap_err();
    assert!(
        refused
            .iter()
            .any(|p| p.rule.0 == "PROTOCOL 3" && p.mend.contains("key rotate")),
        "{refused:?}"
    );
}
