//! Another agent, node by node.

use super::*;
use crate::engine::{AlarmView, Severity};
use crate::model::RuleId;

fn upgrade(found: &[(&str, &str, bool)]) -> Action {
    Action::Upgrade(UpgradeNodes {
        nodes: found.iter().map(|(name, ..)| node(name)).collect(),
        version: "0.2.0".to_owned(),
        found: super::super::upgrade::found(found),
    })
}

const ALL: [(&str, &str, bool); 4] = [
    ("n1", "0.1.0", false),
    ("n2", "0.2.0", true),
    ("sb1", "0.1.0", false),
    ("w1", "0.2.0", false),
];

#[test]
fn s5_the_ones_that_carry_least_come_first_and_nothing_may_have_moved() {
    let plan = world().agreed(&upgrade(&ALL));
    let order: Vec<String> = (plan.steps.iter())
        .filter(|s| s.kind == StepKind::Upgrade)
        .map(|s| s.on[0].to_string())
        .collect();
    assert_eq!(order, ["w1", "sb1", "n1"], "n2 has it");
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert!(plan.documents.is_empty() && plan.order.is_none());
    let notes = said(&plan, ConsequenceKind::Note);
    assert!(notes.contains(&"n1: 0.1.0 -> 0.2.0"), "{notes:?}");
    assert!(notes.contains(&"w1: another build of 0.2.0"), "{notes:?}");
    let mut views = [view(&world().cluster)];
    assert_eq!(plan.goal.reached(&views), Progress::Reached);
    views[0].nodes[0].state = NodeState::Suspect;
    assert!(matches!(plan.goal.reached(&views), Progress::Waiting(_)));
    views = [view(&world().cluster)];
    views[0].services[0].running_on = vec![node("sb1")];
    assert!(!matches!(plan.goal.reached(&views), Progress::Reached));
}

#[test]
fn s5_what_is_there_already_is_not_touched() {
    let plan = world().agreed(&upgrade(&[("n1", "0.2.0", true), ("w1", "0.2.0", true)]));
    unchanged(&plan, "every agent is version 0.2.0 already");
}

#[test]
fn s5_a_cluster_that_is_not_well_is_left_alone_unless_it_is_named() {
    let away = world().state("n2", NodeState::Down);
    let mut alarmed = world();
    alarmed.view.as_mut().unwrap().alarms.push(AlarmView {
        id: "disk".to_owned(),
        severity: Severity::Major,
        node: Some(node("sb1")),
        service: None,
        rule: RuleId::of("F15"),
        cause: "the state folder of sb1 can't be written".to_owned(),
        action: "make room".to_owned(),
        age_ms: 5,
        count: 1,
        active: true,
        quiet: false,
    });
    for (world, why) in [(away, "not up: n2"), (alarmed, "can't be written")] {
        let plan = world.agreed(&upgrade(&ALL));
        assert_eq!(plan.warnings.len(), 1);
        assert_eq!(plan.warnings[0].name, "not-healthy");
        assert!(
            plan.warnings[0].sentence.contains(why),
            "{:?}",
            plan.warnings
        );
    }
    let fast = world().document(|d| d.profile = crate::model::Profile::Fast);
    let plan = fast.agreed(&upgrade(&ALL));
    assert_eq!(plan.warnings[0].name, "short-hold");
}

#[test]
fn s5_a_node_that_does_not_answer_or_is_not_there_is_refused_by_name() {
    let mut action = upgrade(&[("n1", "0.1.0", false)]);
    if let Action::Upgrade(wanted) = &mut action {
        wanted.nodes.extend([node("n2"), node("n9")]);
    }
    world().refused(
        &action,
        &[
            "U6 node n2: it does not answer, so nothing can be put there; bring it back first, or name the others: `backstay node upgrade N..`",
            "C8 node n9: it is not in the system; add it with `backstay node add HOST --name n9` first",
        ],
    );
}
