//! A node leaves a cluster, and a cluster ends (C7, C8, C15).

use super::boot;
use super::draft::Draft;
use super::know::{Whereabouts, away_from_home, because, member_names, names, refusal};
use super::{Aim, ConsequenceKind, Plan};
use crate::engine::NodeState;
use crate::model::{ClusterDocument, ClusterName, NodeName, Problem, Role, Service};

pub(super) fn delete(mut draft: Draft<'_>, name: &ClusterName) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.cluster(name);
    let Some(old) = draft.check(found) else {
        return Err(draft.refused);
    };
    end(draft, old)
}

pub(super) fn remove_node(
    mut draft: Draft<'_>,
    cluster: &ClusterName,
    node: &NodeName,
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.cluster(cluster);
    let Some(old) = draft.check(found) else {
        return Err(draft.refused);
    };
    let Some(member) = old.member(node) else {
        if old.former.iter().any(|f| f.name == *node) {
            return draft.unchanged(format!("{node} is not in the cluster {cluster} any more"));
        }
        draft.refused.push(refusal(
            "C3",
            format!("node {node}"),
            format!("it is not in the cluster {cluster}"),
            format!("its nodes: {}", member_names(&old.members)),
        ));
        return Err(draft.refused);
    };
    match member.role {
        Role::Standby => {
            draft.refused.push(refusal(
                "C2",
                format!("node {node}"),
                format!("it is the standby of {cluster}, which can't be without one"),
                format!("to end the cluster use `backstay cluster delete {cluster}`"),
            ));
            return Err(draft.refused);
        }
        Role::Regular if old.with_role(Role::Regular).count() == 1 => {
            draft.say(
                ConsequenceKind::Irreversible,
                format!("{node} is the last regular node: the cluster {cluster} ends with it (C7)"),
            );
            return end(draft, old);
        }
        Role::Regular | Role::Witness => {}
    }
    let mut new = old.clone();
    new.members.retain(|m| m.id != member.id);
    new.services.retain(|s| s.home() != Some(node));
    let leaving: Vec<&Service> = old
        .services
        .iter()
        .filter(|s| s.home() == Some(node))
        .collect();
    may_leave(&mut draft, old, &leaving);
    if member.role == Role::Witness {
        draft.say(
            ConsequenceKind::Outage,
            "none: a witness carries no service",
        );
        draft.say(
            ConsequenceKind::Protection,
            format!(
                "{} voters and watchers are left: {}",
                new.members.len(),
                member_names(&new.members)
            ),
        );
    } else {
        draft.say(
            ConsequenceKind::Note,
            format!("{node} is free then: it may join a cluster, or be removed from the system"),
        );
    }
    draft.document(Some(old), new.clone());
    draft.system_of(&new);
    draft.done()
}

/// The cluster ends; what remains of its document is a notice.
fn end(mut draft: Draft<'_>, old: &ClusterDocument) -> Result<Plan, Vec<Problem>> {
    let leaving: Vec<&Service> = old.services.iter().collect();
    may_leave(&mut draft, old, &leaving);
    for standby in old.with_role(Role::Standby) {
        draft.say(
            ConsequenceKind::Note,
            format!(
                "{0} stays standby until it is freed with `backstay node role {0} free` (C8)",
                standby.name
            ),
        );
    }
    let freed: Vec<&NodeName> = old.with_role(Role::Regular).map(|m| &m.name).collect();
    draft.say(
        ConsequenceKind::Note,
        format!("free then: {}", names(freed)),
    );
    draft.say(
        ConsequenceKind::Irreversible,
        format!(
            "the cluster {}, its settings and its key are gone; a cluster of that name would be a new one",
            old.name
        ),
    );
    let mut new = old.clone();
    new.deleted = true;
    new.members.clear();
    new.services.clear();
    new.bases.clear();
    draft.document(Some(old), new.clone());
    draft.system_of(&new);
    draft.aim(Aim::Gone {
        cluster: old.name.clone(),
    });
    draft.done()
}

/// C15: an alias is given back to its home as the ordinary address, so the service must be there; L1: and
/// not pinned. A dead home can't take it back: that needs to be said by name (PROTOCOL 34).
fn may_leave(draft: &mut Draft<'_>, old: &ClusterDocument, leaving: &[&Service]) {
    let mut dead: Vec<&NodeName> = Vec::new();
    for service in leaving {
        let Some(home) = service.home() else { continue };
        let unlocked = draft.now.must_be_unlocked(service);
        draft.check(unlocked);
        let at = draft.now.whereabouts(old, service);
        let Some(at) = draft.check(at) else { continue };
        let is_dead = draft.now.state(old, home) == NodeState::Down;
        if is_dead && !dead.contains(&home) {
            dead.push(home);
        }
        match at {
            Whereabouts::At(node) if node == home => draft.say(
                ConsequenceKind::Outage,
                format!(
                    "none for {}: its addresses stay on {home} as ordinary ones, without interruption (C15)",
                    service.name
                ),
            ),
            Whereabouts::At(node) if is_dead => draft.say(
                ConsequenceKind::Outage,
                format!(
                    "{} stops on {node} for good: its home {home} is down and can't take it back",
                    service.name
                ),
            ),
            Whereabouts::At(node) => draft.refused.push(away_from_home(service, "", node)),
            Whereabouts::Between => draft.refused.push(refusal(
                "C15",
                format!("service {}", service.name),
                "it is just being started or stopped",
                "try again when `backstay status` shows it settled",
            )),
            Whereabouts::Nowhere => {
                let reason = draft.now.seen(old, service).map(|s| s.reason.clone());
                draft.say(
                    ConsequenceKind::Outage,
                    format!(
                        "{} runs nowhere{}; it is not started",
                        service.name,
                        because(&reason.unwrap_or_default())
                    ),
                );
            }
        }
        draft.say(
            ConsequenceKind::Protection,
            format!("nothing stands in for {} any more", service.name),
        );
    }
    let at_home = |s: &&&Service| s.home().is_some_and(|home| !dead.contains(&home));
    let given: Vec<&Service> = leaving.iter().filter(at_home).copied().collect();
    boot::given_back(draft, old, &given);
    if !dead.is_empty() {
        let sentence = format!(
            "{0} is dead and is removed by force: it can't give its addresses back. If it comes back it learns of this from the others and is free; until then, where it runs on cut off from them, it uses its addresses beside whoever has them; make sure that {0} is powered off",
            names(dead)
        );
        draft.warn("dead-node", "C16", sentence);
    }
}
