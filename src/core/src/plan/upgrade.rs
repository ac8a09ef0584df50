//! Another agent for nodes that run: one after the other, the ones that carry least first.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::know::{names, refusal};
use super::{Aim, ConsequenceKind, Plan, StepKind, UpgradeNodes};
use crate::engine::{NodeState, ServiceState, Severity};
use crate::model::{ClusterDocument, NodeName, Problem, SystemRole};
use crate::time::span;

/// How long a restart of the agent takes on a busy machine; a hold has to be longer.
const RESTART: core::time::Duration = core::time::Duration::from_secs(1);

pub(super) fn upgrade(mut draft: Draft<'_>, wanted: &UpgradeNodes) -> Result<Plan, Vec<Problem>> {
    let mut todo: Vec<(u8, NodeName)> = Vec::new();
    let mut there = 0;
    for name in &wanted.nodes {
        let known = draft.now.node(name);
        let Some(node) = draft.check(known) else {
            continue;
        };
        match wanted.found.get(name) {
            Some(agent) if agent.current => there += 1,
            Some(_) => todo.push((rank(node.role), name.clone())),
            None => draft.refused.push(refusal(
                "U6",
                format!("node {name}"),
                "it does not answer, so nothing can be put there",
                "bring it back first, or name the others: `backstay node upgrade N..`",
            )),
        }
    }
    todo.sort();
    let todo: Vec<NodeName> = todo.into_iter().map(|(_, name)| name).collect();
    if todo.is_empty() {
        let all = if there == 1 {
            "the agent"
        } else {
            "every agent"
        };
        return draft.unchanged(format!("{all} is version {} already", wanted.version));
    }
    for name in &todo {
        let before = &wanted.found[name].version;
        let sentence = if *before == wanted.version {
            format!("{name}: another build of {before}")
        } else {
            format!("{name}: {before} -> {}", wanted.version)
        };
        draft.say(ConsequenceKind::Note, sentence);
    }
    let clusters: Vec<&ClusterDocument> = (draft.now.clusters.iter())
        .filter(|c| !c.deleted && todo.iter().any(|n| c.member(n).is_some()))
        .collect();
    let hold = clusters.iter().map(|c| c.hold()).min();
    draft.say(
        ConsequenceKind::Outage,
        match hold {
            Some(hold) => format!(
                "none: the kernel keeps every hold for {} while an agent restarts (S5)",
                span(hold)
            ),
            None => "none: the nodes carry nothing".to_owned(),
        },
    );
    for cluster in clusters {
        must_be_well(&mut draft, cluster);
        stay_as_they_are(&mut draft, cluster, &todo);
    }
    for name in todo {
        let sentence = format!(
            "put the agent on {name}, restart it, and go on once every node hears it and nothing has moved"
        );
        draft.step(StepKind::Upgrade, vec![name], sentence);
    }
    draft.done()
}

/// Whoever carries nothing shows first whether the new agent works.
const fn rank(role: SystemRole) -> u8 {
    match role {
        SystemRole::Free => 0,
        SystemRole::Witness => 1,
        SystemRole::Standby => 2,
        SystemRole::Regular => 3,
    }
}

/// A roll through a cluster that has lost something already may take away what is left.
fn must_be_well(draft: &mut Draft<'_>, cluster: &ClusterDocument) {
    let mut wrong: BTreeSet<String> = BTreeSet::new();
    match draft.now.view(cluster) {
        Err(problem) => {
            wrong.insert(problem.what);
        }
        Ok(view) => {
            let away = view.nodes.iter().filter(|n| n.state != NodeState::Up);
            let away: Vec<&NodeName> = away.map(|n| &n.name).collect();
            if !away.is_empty() {
                wrong.insert(format!("not up: {}", names(away)));
            }
            let alarms = view.alarms.iter().filter(|a| a.active && !a.quiet);
            let grave = alarms.filter(|a| a.severity >= Severity::Major);
            wrong.extend(grave.map(|a| a.cause.clone()));
            let moving = view
                .services
                .iter()
                .filter(|s| matches!(s.state, ServiceState::Starting | ServiceState::Stopping));
            wrong.extend(moving.map(|s| format!("{} is being started or stopped", s.name)));
        }
    }
    if !wrong.is_empty() {
        let wrong: Vec<String> = wrong.into_iter().collect();
        let sentence = format!("{} is not well: {}", cluster.name, wrong.join("; "));
        draft.warn("not-healthy", "S5", sentence);
    }
    if cluster.hold() < RESTART {
        let sentence = format!(
            "a hold of {} lasts {}, which a restart of the agent may outlast: a service may be taken over then. A longer one for the time being: `backstay cluster set {} --profile lan`",
            cluster.name,
            span(cluster.hold()),
            cluster.name
        );
        draft.warn("short-hold", "S5", sentence);
    }
}

/// What must be so after each restart, in the eyes of every member.
fn stay_as_they_are(draft: &mut Draft<'_>, cluster: &ClusterDocument, todo: &[NodeName]) {
    let Ok(view) = draft.now.view(cluster) else {
        return;
    };
    let up = |n: &NodeName| todo.contains(n) || draft.now.state(cluster, n) == NodeState::Up;
    let members = cluster.members.iter().map(|m| m.name.clone());
    let nodes: Vec<NodeName> = members.filter(up).collect();
    let mut aims = vec![Aim::Up {
        cluster: cluster.name.clone(),
        nodes,
    }];
    for service in &view.services {
        if let (ServiceState::Running, [at]) = (service.state, service.running_on.as_slice()) {
            aims.push(Aim::Runs {
                cluster: cluster.name.clone(),
                service: service.name.clone(),
                on: Some(at.clone()),
                since_term: service.term,
            });
        }
    }
    for aim in aims {
        draft.aim(aim);
    }
}

/// The agents as they were found, for tests.
#[cfg(test)]
pub(super) fn found(
    of: &[(&str, &str, bool)],
) -> std::collections::BTreeMap<NodeName, super::FoundAgent> {
    let found = of.iter().map(|(name, version, current)| {
        let agent = super::FoundAgent {
            version: (*version).to_owned(),
            current: *current,
        };
        (name.parse().unwrap(), agent)
    });
    found.collect()
}
