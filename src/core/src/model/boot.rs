//! What a node's own network configuration shall say at boot (C15).

use ipnet::IpNet;

use super::{ClusterDocument, NodeName};

/// An alias of a service that has its home on a node, and the base address that comes up in its place at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtBoot {
    /// What clients use.
    pub alias: IpNet,
    /// What stays with the node.
    pub base: IpNet,
}

impl ClusterDocument {
    /// C15: the aliases that don't come up on that node at boot, each with the base of its subnet (C5).
    pub fn at_boot(&self, node: &NodeName) -> Vec<AtBoot> {
        let Some(member) = self.member(node).filter(|_| !self.deleted) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for service in self.services.iter().filter(|s| s.home() == Some(node)) {
            for alias in service.moving() {
                let base = member.bases.iter().find(|b| b.contains(&alias.addr()));
                all.extend(base.map(|base| AtBoot { alias, base: *base }));
            }
        }
        all
    }
}
