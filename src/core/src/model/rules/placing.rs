//! A cluster among the others: by the system document, by the others' documents, by a node itself.

use super::Found;
use super::addresses::owners;
use crate::model::{ClusterDocument, NodeId, NodeName, Role, SystemDocument, SystemRole};

const fn word(role: SystemRole) -> &'static str {
    match role {
        SystemRole::Free => "free",
        SystemRole::Regular => "regular",
        SystemRole::Standby => "standby",
        SystemRole::Witness => "witness",
    }
}

/// C8: each member is a node of the system, with a role that fits. A refusal names the missing step.
pub(super) fn c8_roles(d: &ClusterDocument, system: &SystemDocument, found: &mut Found) {
    for m in &d.members {
        let place = format!("node {}", m.name);
        let Some(node) = system.node(&m.name) else {
            found.add(
                "C8",
                place,
                "it is not in the system",
                format!(
                    "add it with `backstay node add HOST --name {}` first",
                    m.name
                ),
            );
            continue;
        };
        if node.id != m.id {
            found.add(
                "C13",
                &place,
                format!(
                    "its identity is {} here and {} in the system",
                    m.id, node.id
                ),
                format!("{}: `backstay node show {}` tells it", node.id, m.name),
            );
        }
        let (fits, wanted) = match m.role {
            Role::Regular => (
                matches!(node.role, SystemRole::Free | SystemRole::Regular),
                SystemRole::Free,
            ),
            Role::Standby => (node.role == SystemRole::Standby, SystemRole::Standby),
            Role::Witness => (node.role == SystemRole::Witness, SystemRole::Witness),
        };
        if !fits {
            let busy = system
                .clusters_of(&m.name)
                .find(|c| c.id != d.id)
                .map(|c| c.name.to_string());
            let step = match (busy, node.role, wanted) {
                (Some(cluster), ..) => {
                    format!("take it out of {cluster} first, or use another node")
                }
                (None, SystemRole::Free, _) | (None, _, SystemRole::Free) => format!(
                    "make it one with `backstay node role {} {}` first",
                    m.name,
                    word(wanted)
                ),
                _ => format!(
                    "free it with `backstay node role {0} free`, then make it one with `backstay node role {0} {1}` first",
                    m.name,
                    word(wanted)
                ),
            };
            found.add(
                "C8",
                place,
                format!(
                    "it is {} in the system, not {}",
                    word(node.role),
                    word(wanted)
                ),
                step,
            );
        }
    }
}

/// C3: a regular or standby node is in one cluster only.
pub(super) fn c3_one_cluster(d: &ClusterDocument, system: &SystemDocument, found: &mut Found) {
    for m in d.members.iter().filter(|m| m.role != Role::Witness) {
        for cluster in system.clusters_of(&m.name).filter(|c| c.id != d.id) {
            found.add(
                "C3",
                format!("node {}", m.name),
                format!("it is in the cluster {} already", cluster.name),
                "a regular or standby node belongs to one cluster only; a witness may serve several",
            );
        }
    }
}

/// C13: no other cluster has this name.
pub(super) fn c13_cluster_name(
    d: &ClusterDocument,
    system: &SystemDocument,
    others: &[ClusterDocument],
    found: &mut Found,
) {
    let listed = system
        .clusters
        .iter()
        .any(|c| c.name == d.name && c.id != d.id);
    let written = others
        .iter()
        .any(|o| o.name == d.name && o.id != d.id && !o.deleted);
    if listed || written {
        found.add(
            "C13",
            format!("cluster {}", d.name),
            "another cluster has this name",
            "a name that no cluster of the system has",
        );
    }
}

/// C13: names of services and addresses are unique in the system. A node that both clusters share (a
/// witness) has its own addresses in both.
pub(super) fn c13_between(d: &ClusterDocument, other: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        if other.services.iter().any(|o| o.name == s.name) {
            found.add(
                "C13",
                format!("service {}", s.name),
                format!("the cluster {} has a service of this name", other.name),
                "a name that no service of the system has",
            );
        }
    }
    let shared = |ip| {
        d.members
            .iter()
            .filter(|m| m.bases.iter().any(|b| b.addr() == ip))
            .any(|m| {
                other
                    .member_by_id(m.id)
                    .is_some_and(|o| o.bases.iter().any(|b| b.addr() == ip))
            })
    };
    let theirs = owners(other);
    for (ip, mine) in owners(d) {
        if let Some((_, whose)) = theirs.iter().find(|(their, _)| *their == ip)
            && !shared(ip)
        {
            found.add(
                "C13",
                format!("address {ip}"),
                format!(
                    "it is {mine} here and {whose} in the cluster {}",
                    other.name
                ),
                "an address that nothing else in the system has",
            );
        }
    }
    for m in &d.members {
        if let Some(o) = other.member(&m.name).filter(|o| o.id != m.id) {
            found.add(
                "C13",
                format!("node {}", m.name),
                format!(
                    "the cluster {} has another node of this name ({}, here {})",
                    other.name, o.id, m.id
                ),
                "a name that no other node of the system has",
            );
        }
    }
}

/// C3, by the other cluster's own document: the index may be behind it.
pub(super) fn c3_between(d: &ClusterDocument, other: &ClusterDocument, found: &mut Found) {
    for m in &d.members {
        let Some(there) = other.member_by_id(m.id) else {
            continue;
        };
        let told = format!("node {}", m.name);
        let both_witness = m.role == Role::Witness && there.role == Role::Witness;
        let already = found.0.iter().any(|p| p.rule.0 == "C3" && p.place == told);
        if !both_witness && !already {
            found.add(
                "C3",
                told,
                format!("it is in the cluster {} already", other.name),
                "a regular or standby node belongs to one cluster only; a witness may serve several",
            );
        }
    }
}

/// C13: the node is who the document takes it for.
pub(super) fn c13_me(d: &ClusterDocument, name: &NodeName, id: NodeId, found: &mut Found) {
    // C16: whoever was replaced learns so from a document that has another machine under its name.
    let by_name = d
        .member(name)
        .filter(|m| m.id != id && d.replaced(id).is_none());
    let by_id = d.member_by_id(id).filter(|m| m.name != *name);
    if let Some(m) = by_name.or(by_id) {
        found.add(
            "C13",
            format!("node {}", m.name),
            format!(
                "the document takes it for {} ({}); this machine is {name} ({id})",
                m.name, m.id
            ),
            "the name and identity under which this machine was added to the system",
        );
    }
}

/// C3: this node is in another cluster already.
pub(super) fn c3_me(
    d: &ClusterDocument,
    other: &ClusterDocument,
    name: &NodeName,
    id: NodeId,
    found: &mut Found,
) {
    let (Some(here), Some(there)) = (d.member_by_id(id), other.member_by_id(id)) else {
        return;
    };
    if here.role != Role::Witness || there.role != Role::Witness {
        found.add(
            "C3",
            format!("node {name}"),
            format!("this machine is in the cluster {} already", other.name),
            format!(
                "take it out of {} first; only a witness may serve several clusters",
                other.name
            ),
        );
    }
}
