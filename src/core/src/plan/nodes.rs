//! Nodes of the system: add, remove, role (C8).

use super::draft::Draft;
use super::know::refusal;
use super::{ConsequenceKind, Plan, StepKind};
use crate::model::{NodeId, NodeName, Problem, SystemNode, SystemRole};

pub(super) fn add(
    mut draft: Draft<'_>,
    name: &NodeName,
    id: NodeId,
    contact: &str,
    host_keys: &[String],
) -> Result<Plan, Vec<Problem>> {
    let new = SystemNode {
        name: name.clone(),
        id,
        contact: contact.to_owned(),
        host_keys: host_keys.to_vec(),
        role: SystemRole::Free,
    };
    match draft.now.system.node(name) {
        Some(there) if there.id == id => {
            if there.contact == new.contact && there.host_keys == new.host_keys {
                return draft.unchanged(format!("{name} is in the system already, as {contact}"));
            }
            draft.retitle(format!("change how {name} is reached"));
            draft.say(
                ConsequenceKind::Note,
                format!(
                    "{name} is reached at {contact} from now on; before: {}",
                    there.contact
                ),
            );
            draft.system(|s| {
                for node in s.nodes.iter_mut().filter(|n| n.id == id) {
                    node.contact.clone_from(&new.contact);
                    node.host_keys.clone_from(&new.host_keys);
                }
            });
            return draft.done();
        }
        Some(there) => draft.refused.push(refusal(
            "C13",
            format!("node {name}"),
            format!(
                "another machine has this name in the system ({})",
                there.contact
            ),
            format!("use another name, or remove it with `backstay node remove {name}` first"),
        )),
        None => {}
    }
    draft.step(
        StepKind::Enrol,
        vec![name.clone()],
        format!("make the machine at {contact} the node {name}"),
    );
    draft.say(
        ConsequenceKind::Outage,
        "none: nothing on the machine is stopped or changed but the agent that is added",
    );
    draft.system(|s| {
        // A name that is taken is refused above; twice in the list it would be refused once more.
        if s.node(&new.name).is_none() {
            s.nodes.push(new);
            s.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        }
    });
    draft.done()
}

pub(super) fn remove(mut draft: Draft<'_>, name: &NodeName) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.node(name);
    let Some(node) = draft.check(found) else {
        return Err(draft.refused);
    };
    if let Some(problem) = must_be_free(
        &draft,
        node,
        "a node is removed from the system only when it is free",
    ) {
        draft.refused.push(problem);
        return Err(draft.refused);
    }
    draft.say(
        ConsequenceKind::Outage,
        "none: a free node carries no service",
    );
    draft.say(
        ConsequenceKind::Irreversible,
        format!("{name} forgets the system and its identity; added again it is a new node"),
    );
    let gone = name.clone();
    draft.system(move |s| s.nodes.retain(|n| n.name != gone));
    draft.step(
        StepKind::Dismiss,
        vec![name.clone()],
        format!("let {name} forget the system"),
    );
    draft.done()
}

/// C8: the refusal, with the step that is missing.
fn must_be_free(draft: &Draft<'_>, node: &SystemNode, rule: &str) -> Option<Problem> {
    let name = &node.name;
    let cluster = draft.now.system.clusters_of(name).next();
    let (what, mend) = match (node.role, cluster) {
        (SystemRole::Free, None) => return None,
        (SystemRole::Standby, Some(c)) => (
            format!("it is the standby of the cluster {}", c.name),
            format!(
                "delete the cluster with `backstay cluster delete {}`, then free it with `backstay node role {name} free`",
                c.name
            ),
        ),
        (role, Some(c)) => (
            format!(
                "it is {} in the cluster {}",
                if role == SystemRole::Witness {
                    "a witness"
                } else {
                    "a regular node"
                },
                c.name
            ),
            format!(
                "take it out with `backstay cluster remove-node {} {name}` first",
                c.name
            ),
        ),
        (SystemRole::Witness, None) => (
            "it has the role witness".to_owned(),
            format!("free it with `backstay node role {name} free` first"),
        ),
        (SystemRole::Standby, None) => (
            "it has the role standby".to_owned(),
            format!("free it with `backstay node role {name} free` first"),
        ),
        // The index is behind; `role free` mends it.
        (SystemRole::Regular, None) => (
            "it has the role regular".to_owned(),
            format!("free it with `backstay node role {name} free` first"),
        ),
    };
    Some(refusal(
        "C8",
        format!("node {name}"),
        what,
        format!("{mend} ({rule})"),
    ))
}

pub(super) fn set_role(
    mut draft: Draft<'_>,
    name: &NodeName,
    role: SystemRole,
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.node(name);
    let Some(node) = draft.check(found) else {
        return Err(draft.refused);
    };
    if node.role == role {
        return draft.unchanged(format!("{name} is {} already", word(role)));
    }
    let in_cluster = draft.now.system.clusters_of(name).next().is_some()
        || draft
            .now
            .clusters
            .iter()
            .any(|c| c.member_by_id(node.id).is_some());
    match role {
        SystemRole::Regular => draft.refused.push(refusal(
            "C8",
            format!("node {name}"),
            "a node becomes regular with its first service",
            "use `backstay cluster create` or `backstay cluster add-node`",
        )),
        SystemRole::Free if in_cluster => {
            let problem = must_be_free(&draft, node, "a node is freed when it is in no cluster");
            let problem = problem.map(|mut p| {
                // The last step of the remedy is this very action.
                if let Some(end) = p.mend.find(", then free it") {
                    let rule = p.mend.rfind(" (").unwrap_or(p.mend.len());
                    p.mend = format!("{} first{}", &p.mend[..end], &p.mend[rule..]);
                }
                p
            });
            draft.refused.extend(problem);
        }
        SystemRole::Free => {}
        SystemRole::Standby | SystemRole::Witness => {
            let rule = format!("a {} is made from a free node", word(role));
            let problem = must_be_free(&draft, node, &rule);
            draft.refused.extend(problem);
        }
    }
    if !draft.refused.is_empty() {
        return Err(draft.refused);
    }
    draft.say(
        ConsequenceKind::Outage,
        format!("none: {name} carries no service"),
    );
    let sentence = match role {
        SystemRole::Free => format!("{name} may join a cluster as a regular node, or be removed"),
        SystemRole::Witness => {
            format!("{name} may vote and watch in any number of clusters; it runs no service")
        }
        _ => {
            format!("{name} may be given to one cluster, where it stands in for the regular nodes")
        }
    };
    draft.say(ConsequenceKind::Note, sentence);
    let changed = name.clone();
    draft.system(move |s| {
        for node in s.nodes.iter_mut().filter(|n| n.name == changed) {
            node.role = role;
        }
    });
    draft.done()
}

pub(super) const fn word(role: SystemRole) -> &'static str {
    match role {
        SystemRole::Free => "free",
        SystemRole::Regular => "regular",
        SystemRole::Standby => "standby",
        SystemRole::Witness => "witness",
    }
}
