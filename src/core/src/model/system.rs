//! The system document: an index of all nodes and clusters, replicated to every node.

use core::net::IpAddr;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Changed, ClusterDocument, ClusterId, ClusterName, NodeId, NodeName, Role, text};

/// All nodes and clusters managed together. It can be rebuilt from the clusters and the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemDocument {
    /// The form of this text; 1.
    pub format: u32,
    /// Grows by one with each change.
    pub revision: u64,
    /// Who made this revision.
    pub changed: Changed,
    /// Its nodes.
    #[serde(default, rename = "node", skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<SystemNode>,
    /// Its clusters.
    #[serde(default, rename = "cluster", skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<SystemCluster>,
    /// U11: whose keys may look, on every node.
    #[serde(default, rename = "viewer", skip_serializing_if = "Vec::is_empty")]
    pub viewers: Vec<SystemViewer>,
}

/// U11: somebody who may look and change nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemViewer {
    /// Who; unique in the system.
    pub name: String,
    /// The public SSH key: type and base64.
    pub key: String,
    /// Who let them in.
    pub by: String,
    /// When, seconds since 1970 UTC.
    pub at: u64,
}

/// A node as the system knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemNode {
    /// Unique in the system (C13).
    pub name: NodeName,
    /// For all time.
    pub id: NodeId,
    /// Where SSH reaches it: `[USER@]HOST[:PORT]`.
    pub contact: String,
    /// Its SSH host keys, as in `known_hosts`: type and base64, pinned when it was added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// What it is.
    pub role: SystemRole,
}

/// What a node is in the system (C8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemRole {
    /// Nothing yet; may become any.
    Free,
    /// In a cluster as home of services.
    Regular,
    /// Stands in, or may be given to a cluster to do so.
    Standby,
    /// Votes and watches, for one or several clusters.
    Witness,
}

/// A cluster as the system knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemCluster {
    /// Unique in the system (C13).
    pub name: ClusterName,
    /// For all time.
    pub id: ClusterId,
    /// Who is in it.
    #[serde(default)]
    pub members: Vec<NodeName>,
}

impl SystemDocument {
    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&SystemNode> {
        self.nodes.iter().find(|n| n.name == *name)
    }

    /// The clusters that a node is in; more than one only for a witness (C3).
    pub fn clusters_of<'a>(
        &'a self,
        name: &'a NodeName,
    ) -> impl Iterator<Item = &'a SystemCluster> {
        self.clusters
            .iter()
            .filter(move |c| c.members.contains(name))
    }

    /// The next revision, with that cluster as its document has it: members, and their roles. Who left is free, but a
    /// standby stays standby and a witness witness (C8). None: it is listed so already.
    ///
    /// The same document and cluster make the same text wherever this is asked: by the plan that changes the cluster,
    /// and by each node that commits the change (U6).
    pub fn with_cluster(&self, cluster: &ClusterDocument) -> Option<Self> {
        let members: Vec<NodeName> = cluster.members.iter().map(|m| m.name.clone()).collect();
        let listed = self.clusters.iter().find(|c| c.id == cluster.id);
        let replaced = |node: &SystemNode| cluster.replaced(node.id).is_some();
        if listed.is_some_and(|c| c.members == members) && !self.nodes.iter().any(replaced) {
            return None;
        }
        let mut next = self.clone();
        next.clusters.retain(|c| c.id != cluster.id);
        if !cluster.deleted {
            next.clusters.push(SystemCluster {
                name: cluster.name.clone(),
                id: cluster.id,
                members,
            });
            next.clusters.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let clusters = next.clusters.iter();
        let busy: BTreeSet<&NodeName> = clusters.flat_map(|c| &c.members).collect();
        for node in &mut next.nodes {
            replace(cluster, node);
            reach_by_base(cluster, node);
            if !busy.contains(&node.name) {
                reach_by_alias(cluster, node);
            }
            match cluster.member(&node.name).map(|m| m.role) {
                Some(Role::Regular) => node.role = SystemRole::Regular,
                None if node.role == SystemRole::Regular && !busy.contains(&node.name) => {
                    node.role = SystemRole::Free;
                }
                Some(Role::Standby | Role::Witness) | None => {}
            }
        }
        if next == *self {
            return None;
        }
        next.revision = next.revision.saturating_add(1);
        next.changed.clone_from(&cluster.changed);
        Some(next)
    }

    /// The same list with other machines in the place of those that the document says were replaced (C16).
    pub(crate) fn with_replaced(&self, cluster: &ClusterDocument) -> Self {
        let mut next = self.clone();
        next.nodes.iter_mut().for_each(|n| replace(cluster, n));
        next
    }

    /// Reads a written system document and checks it against every rule that needs nothing else.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line for each.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (document, mut problems): (Self, _) =
            text::read(text, &text::SYSTEM).map_err(|e| e.to_string())?;
        problems.extend(document.problems());
        if problems.is_empty() {
            Ok(document)
        } else {
            Err(super::DocumentError::Rules(problems).to_string())
        }
    }

    /// The document as text.
    pub fn to_text(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

/// C16: another machine has its name now, or the one after that.
fn replace(cluster: &ClusterDocument, node: &mut SystemNode) {
    for _ in &cluster.former {
        let Some((_, by)) = cluster.replaced(node.id) else {
            return;
        };
        node.id = by.id;
        node.contact.clone_from(&by.contact);
        node.host_keys.clone_from(&by.host_keys);
    }
}

/// A contact that named an address which is an alias now would reach whoever has the service: it names the
/// node's base address from now on (C11).
fn reach_by_base(cluster: &ClusterDocument, node: &mut SystemNode) {
    let Some(base) = cluster.member(&node.name).and_then(|m| m.bases.first()) else {
        return;
    };
    let is_alias = |ip: IpAddr| {
        let mut aliases = cluster.services.iter().flat_map(|s| &s.aliases);
        aliases.any(|a| a.ip() == ip)
    };
    readdress(node, is_alias, base.addr());
}

/// Who has left is reached by the address that its own network configuration has: its base was put on by the
/// agent and is gone with the next boot (C15).
fn reach_by_alias(cluster: &ClusterDocument, node: &mut SystemNode) {
    let former = cluster.former.iter().find(|f| f.id == node.id);
    if let Some((former, alias)) = former.and_then(|f| Some((f, f.alias?))) {
        let is_base = |ip: IpAddr| former.bases.iter().any(|b| b.addr() == ip);
        readdress(node, is_base, alias.addr());
    }
}

/// A contact that names an address of these names another one from now on.
fn readdress(node: &mut SystemNode, named: impl Fn(IpAddr) -> bool, to: IpAddr) {
    let (user, place) = match node.contact.rsplit_once('@') {
        Some((user, place)) => (format!("{user}@"), place),
        None => (String::new(), node.contact.as_str()),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|p| p.split_once(']')) {
        Some((host, port)) => (host, port),
        None if place.matches(':').count() == 1 => {
            place.split_at(place.find(':').unwrap_or(place.len()))
        }
        None => (place, ""),
    };
    if !host.parse().is_ok_and(named) {
        return;
    }
    let to = if to.is_ipv6() && !port.is_empty() {
        format!("[{to}]")
    } else {
        to.to_string()
    };
    node.contact = format!("{user}{to}{port}");
}
