//! The system document: an index of all nodes and clusters, replicated to every node.

use serde::{Deserialize, Serialize};

use super::{Changed, ClusterId, ClusterName, NodeId, NodeName, text};

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
