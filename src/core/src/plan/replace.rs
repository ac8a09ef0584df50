//! C16: a new machine takes the place of a dead node.

use super::draft::Draft;
use super::know::{Whereabouts, because, refusal};
use super::{Aim, ConsequenceKind, Plan, StepKind};
use crate::engine::NodeState;
use crate::model::{
    ClusterDocument, Fallback, Former, Member, NodeName, Problem, Replacement, Role, Service,
    SystemNode,
};
use crate::time::span;

pub(super) fn replace(
    mut draft: Draft<'_>,
    name: &NodeName,
    by: &Replacement,
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.node(name);
    let Some(node) = draft.check(found) else {
        return Err(draft.refused);
    };
    let clusters = draft.now.clusters;
    let old: Vec<&ClusterDocument> = clusters
        .iter()
        .filter(|c| !c.deleted && c.member(name).is_some_and(|m| m.id != by.id))
        .collect();
    if node.id == by.id && old.is_empty() {
        return draft.unchanged(format!("{name} is that machine already"));
    }
    // What is listed and not seen can't be told: the name would stand there with the old identity.
    for cluster in draft.now.system.clusters_of(name) {
        let seen = draft.now.cluster(&cluster.name);
        draft.check(seen);
    }
    is_no_node(&mut draft, node, by);
    draft.step(
        StepKind::Enrol,
        vec![name.clone()],
        format!("make the machine at {} the node {name}", by.contact),
    );
    if old.is_empty() {
        draft.say(
            ConsequenceKind::Outage,
            format!("none: {name} is in no cluster"),
        );
    }
    for cluster in &old {
        is_dead(&mut draft, cluster, name);
        if let Some(member) = cluster.member(name) {
            in_cluster(&mut draft, cluster, member, by);
        }
    }
    draft.say(
        ConsequenceKind::Irreversible,
        format!(
            "the machine that was {name} is out for good: should it come back, it is told so, holds nothing, and gives up the name and the addresses of {name}"
        ),
    );
    if let [.., last] = old.as_slice() {
        // Each cluster's document says the same of the node: one index serves them all.
        draft.system_of(last);
    } else {
        let (name, by) = (name.clone(), by.clone());
        draft.system(move |s| {
            for node in s.nodes.iter_mut().filter(|n| n.name == name) {
                node.id = by.id;
                node.contact.clone_from(&by.contact);
                node.host_keys.clone_from(&by.host_keys);
            }
        });
    }
    draft.done()
}

/// C13: one machine is one node.
fn is_no_node(draft: &mut Draft<'_>, node: &SystemNode, by: &Replacement) {
    let shares = |n: &&SystemNode| {
        n.name != node.name
            && (n.contact == by.contact
                || n.id == by.id
                || n.host_keys.iter().any(|k| by.host_keys.contains(k)))
    };
    if let Some(other) = draft.now.system.nodes.iter().find(shares) {
        let problem = refusal(
            "C13",
            format!("node {}", node.name),
            format!(
                "the machine at {} is the node {} already",
                by.contact, other.name
            ),
            format!(
                "use a machine that is no node, or free that one: `backstay node remove {}`",
                other.name
            ),
        );
        draft.refused.push(problem);
    }
}

/// C16: only a dead node is replaced; the others know.
fn is_dead(draft: &mut Draft<'_>, cluster: &ClusterDocument, name: &NodeName) {
    let (what, mend) = match draft.now.state(cluster, name) {
        NodeState::Down => return,
        NodeState::Unknown => (
            "whether it is up is not known".to_owned(),
            format!(
                "wait until `backstay status {}` shows it up or down",
                cluster.name
            ),
        ),
        NodeState::Up | NodeState::Suspect | NodeState::Leaving => (
            format!("it is up in the cluster {}", cluster.name),
            "move its services and remove it, then add the new machine; or power it off first"
                .to_owned(),
        ),
    };
    draft
        .refused
        .push(refusal("C16", format!("node {name}"), what, mend));
}

/// The new document of one cluster, and what comes of it there.
fn in_cluster(draft: &mut Draft<'_>, old: &ClusterDocument, member: &Member, by: &Replacement) {
    let name = &member.name;
    let mut new = old.clone();
    for m in new.members.iter_mut().filter(|m| m.id == member.id) {
        m.id = by.id;
        m.incarnation = 0;
    }
    on_its_subnets(draft, member, by);
    new.former.push(Former {
        name: name.clone(),
        id: member.id,
        bases: member.bases.clone(),
        alias: None,
        // Its own address stays with it, whatever becomes of the cluster: by that it is reached.
        replaced: Some(by.clone()),
    });
    match member.role {
        Role::Regular => {
            for service in old.services.iter().filter(|s| s.home() == Some(name)) {
                home_comes_back(draft, old, service, name);
            }
        }
        Role::Standby => draft.say(
            ConsequenceKind::Outage,
            format!("none: the services of {} run where they are", old.name),
        ),
        Role::Witness => draft.say(
            ConsequenceKind::Outage,
            "none: a witness carries no service",
        ),
    }
    let addresses: Vec<String> = member.bases.iter().map(ToString::to_string).collect();
    draft.say(
        ConsequenceKind::Protection,
        format!(
            "the new machine is {} in {}, with the base address {}; its own address stays",
            match member.role {
                Role::Regular => "regular",
                Role::Standby => "the standby",
                Role::Witness => "a witness",
            },
            old.name,
            addresses.join(", ")
        ),
    );
    draft.document(Some(old), new);
    draft.aim(Aim::Up {
        cluster: old.name.clone(),
        nodes: vec![name.clone()],
    });
}

/// C4: the base addresses are for a machine on their subnets. What it has is known once its agent runs.
fn on_its_subnets(draft: &mut Draft<'_>, member: &Member, by: &Replacement) {
    let bases = draft.now.bases;
    let Some(there) = bases.get(&member.name) else {
        return;
    };
    for base in &member.bases {
        if !there.iter().any(|a| a.contains(&base.addr())) {
            let has: Vec<String> = there.iter().map(ToString::to_string).collect();
            let problem = refusal(
                "C4",
                format!("node {}", member.name),
                format!(
                    "the machine at {} is not on the subnet of the base address {base}; it has {}",
                    by.contact,
                    has.join(", ")
                ),
                "use a machine on that subnet",
            );
            draft.refused.push(problem);
        }
    }
}

/// What becomes of a service whose home is a new machine.
fn home_comes_back(
    draft: &mut Draft<'_>,
    cluster: &ClusterDocument,
    service: &Service,
    home: &NodeName,
) {
    let name = &service.name;
    let at = draft.now.whereabouts(cluster, service);
    let Some(at) = draft.check(at) else { return };
    match at {
        Whereabouts::At(node) => {
            draft.say(
                ConsequenceKind::Outage,
                format!("none for {name}: it runs on {node} and stays there"),
            );
            let back = match cluster.fallback_of(service) {
                Fallback::Manual => format!(
                    "{name} goes to the new machine on order: `backstay service move {name} --to home` (manual fallback)"
                ),
                Fallback::Automatic => format!(
                    "{name} goes to the new machine by itself once {home} has been healthy for {} (automatic fallback)",
                    span(cluster.home_healthy())
                ),
            };
            draft.say(ConsequenceKind::Fallback, back);
        }
        // The document says so itself where it is just being started or stopped (PROTOCOL 29).
        Whereabouts::Between => {}
        Whereabouts::Nowhere if service.stopped => draft.say(
            ConsequenceKind::Outage,
            format!("none for {name}: it is stopped and stays so (F16)"),
        ),
        Whereabouts::Nowhere => {
            let reason = draft.now.seen(cluster, service).map(|s| s.reason.clone());
            draft.say(
                ConsequenceKind::Outage,
                format!(
                    "{name} runs nowhere now{}; it starts on the new machine once that is up",
                    because(&reason.unwrap_or_default())
                ),
            );
        }
    }
    draft.say(
        ConsequenceKind::Protection,
        format!(
            "what {name} kept on the disk of the old {home} is not copied to the new machine (D9)"
        ),
    );
}
