//! What an admin can want, and what must be known to plan it.

use std::collections::BTreeMap;

use core::net::IpAddr;

use ipnet::IpNet;

use crate::engine::ClusterView;
use crate::model::{
    ClusterDocument, ClusterId, ClusterName, Failover, Fallback, NodeId, NodeName, Profile, Safety,
    ServiceName, SplitStops, SystemDocument, SystemRole, UnitMode, WithoutMajority,
};

/// One maintenance action. Random values (identities, keys) are drawn by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A machine becomes a node of the system, free.
    AddNode {
        /// Unique in the system (C13).
        name: NodeName,
        /// Drawn at random.
        id: NodeId,
        /// Where SSH reaches it: `[USER@]HOST[:PORT]`.
        contact: String,
        /// Its SSH host keys: type and base64.
        host_keys: Vec<String>,
    },
    /// A free node leaves the system (C8).
    RemoveNode {
        /// Which.
        node: NodeName,
    },
    /// C16: a new machine takes the place of a dead node: its name, its addresses, its part in every cluster.
    ReplaceNode {
        /// Which.
        node: NodeName,
        /// The machine's identity, drawn at random: it is not the one that it replaces.
        id: NodeId,
        /// Where SSH reaches the machine: `[USER@]HOST[:PORT]`.
        contact: String,
        /// Its SSH host keys: type and base64.
        host_keys: Vec<String>,
    },
    /// A free node becomes standby or witness, or free again (C8).
    SetRole {
        /// Which.
        node: NodeName,
        /// `Free`, `Standby` or `Witness`; `Regular` comes with a cluster.
        role: SystemRole,
    },
    /// A new cluster (C1, C2, C11).
    CreateCluster(CreateCluster),
    /// The cluster ends; its aliases stay where they are as ordinary addresses (C15).
    DeleteCluster {
        /// Which.
        cluster: ClusterName,
    },
    /// A free node becomes a regular node of a cluster.
    AddClusterNode(AddClusterNode),
    /// A regular node or witness leaves a cluster; the last regular one ends it (C7).
    RemoveClusterNode {
        /// Which cluster.
        cluster: ClusterName,
        /// Which node.
        node: NodeName,
    },
    /// Settings of a cluster.
    SetCluster(SetCluster),
    /// Settings of a service.
    SetService(SetService),
    /// A service goes to another of its nodes.
    Move {
        /// Which.
        service: ServiceName,
        /// Where to.
        to: Target,
    },
    /// A service is pinned where it runs (L1).
    Lock {
        /// Which.
        service: ServiceName,
        /// Why; may be empty.
        reason: String,
        /// L3: when it ends by itself, seconds since 1970 UTC.
        until: Option<u64>,
    },
    /// A service is free to move again (L2).
    Unlock {
        /// Which.
        service: ServiceName,
    },
    /// F17: an admin works on a node. What it carries is locked to it or moved away, its alarms are quiet, and it
    /// ends by itself.
    Maintain {
        /// Which.
        node: NodeName,
        /// Why; may be empty.
        reason: String,
        /// When it ends by itself, seconds since 1970 UTC.
        until: u64,
        /// What it carries goes to another node; else it is locked where it is.
        moves: bool,
    },
    /// F17: the work on a node has ended.
    EndMaintenance {
        /// Which.
        node: NodeName,
    },
    /// A stopped service starts (F16), or one that runs nowhere is tried again.
    Start {
        /// Which.
        service: ServiceName,
        /// Where; none: at home if home is up, else on the standby.
        on: Option<NodeName>,
    },
    /// A service stops on every node until started (F16).
    Stop {
        /// Which.
        service: ServiceName,
    },
    /// PROTOCOL 3: the next step of an exchange of the keys that beats and documents are signed with.
    RotateKey {
        /// Which cluster.
        cluster: ClusterName,
        /// Drawn at random: 32 bytes as 64 hexadecimal digits. Used by the first step only.
        key: Secret,
        /// Who answers the admin and has an older revision. Left behind by an earlier exchange, they get the present
        /// one by hand before the step.
        behind: Vec<NodeName>,
    },
    /// Nodes get another agent, one after the other.
    Upgrade(UpgradeNodes),
    /// A cluster becomes what a written document says; a name that no cluster has makes a new one.
    /// Its revision must be the cluster's present one: what was written is the change to that. Secrets that
    /// read `not shown` stay what they are.
    Apply {
        /// The document, read with [`ClusterDocument::read`] (its rules are checked by the plan).
        document: Box<ClusterDocument>,
    },
    /// U11: a key that may look and change nothing, on every node.
    AddViewer {
        /// Who.
        name: String,
        /// The public key: type and base64.
        key: String,
    },
    /// U11: a viewer's key lets nobody in any more.
    RemoveViewer {
        /// Who.
        name: String,
    },
}

/// Another agent for nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeNodes {
    /// Which.
    pub nodes: Vec<NodeName>,
    /// What the agent to come calls itself.
    pub version: String,
    /// What is there now, on each machine that could be looked at.
    pub found: BTreeMap<NodeName, FoundAgent>,
}

/// An agent as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAgent {
    /// What it calls itself.
    pub version: String,
    /// It is the one to come, and runs.
    pub current: bool,
}

/// A new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateCluster {
    /// Unique in the system (C13).
    pub name: ClusterName,
    /// Drawn at random.
    pub id: ClusterId,
    /// Drawn at random: 32 bytes as 64 hexadecimal digits.
    pub key: Secret,
    /// C2: a node with the role standby.
    pub standby: NodeName,
    /// Nodes with the role witness.
    pub witnesses: Vec<NodeName>,
    /// At least one; their nodes become regular.
    pub services: Vec<NewService>,
    /// S3: none: chosen, and the plan says which and why.
    pub safety: Option<Safety>,
    /// How fast a failure is seen.
    pub profile: Profile,
    /// The cluster's own fallback type (F7).
    pub fallback: Fallback,
    /// S1.
    pub split_stops: SplitStops,
    /// S1; none: the default gateway.
    pub reference: Option<IpAddr>,
    /// A6: subnets of further links; each node has an address there.
    pub links: Vec<IpNet>,
}

/// A node joins a cluster with its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddClusterNode {
    /// Which cluster.
    pub cluster: ClusterName,
    /// A free node.
    pub node: NodeName,
    /// At least one, all at home on that node.
    pub services: Vec<NewService>,
}

/// A service to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewService {
    /// Unique in the system (C13).
    pub name: ServiceName,
    /// Its home.
    pub node: NodeName,
    /// C11: the addresses that clients use today, with prefix.
    pub aliases: Vec<IpNet>,
    /// C11: the addresses that stay with the home, with prefix. A second service of the same home may
    /// leave them out.
    pub bases: Vec<IpNet>,
    /// Lower is more important (F3); none: 100.
    pub priority: Option<u16>,
    /// Overrides the cluster's (F7).
    pub fallback: Option<Fallback>,
    /// What runs: full unit names, in the order of their start.
    pub units: Vec<(String, UnitMode)>,
    /// C9: static files that must be the same on all its nodes.
    pub files: Vec<String>,
}

/// New settings of a cluster; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCluster {
    /// Which.
    pub cluster: ClusterName,
    /// F7.
    pub fallback: Option<Fallback>,
    /// How fast a failure is seen.
    pub profile: Option<Profile>,
    /// Section S.
    pub safety: Option<Safety>,
    /// S1.
    pub split_stops: Option<SplitStops>,
    /// S4.
    pub without_majority: Option<WithoutMajority>,
    /// etcd as arbiter; empty: none.
    pub arbiter: Option<String>,
    /// S1; `Some(None)`: the default gateway.
    pub reference: Option<Option<IpAddr>>,
    /// F9: how long home must have been healthy before automatic fallback, ms.
    pub home_healthy_ms: Option<u32>,
    /// C10: how far clocks may be apart, ms.
    pub clocks_within_ms: Option<u32>,
    /// F10.
    pub moves_per_hour: Option<u16>,
    /// A6: subnets that beats use as well.
    pub links: Vec<IpNet>,
    /// A6: subnets that beats no longer use.
    pub no_links: Vec<IpNet>,
}

impl SetCluster {
    /// Nothing changed yet.
    pub const fn of(cluster: ClusterName) -> Self {
        Self {
            cluster,
            fallback: None,
            profile: None,
            safety: None,
            split_stops: None,
            without_majority: None,
            arbiter: None,
            reference: None,
            home_healthy_ms: None,
            clocks_within_ms: None,
            moves_per_hour: None,
            links: Vec::new(),
            no_links: Vec::new(),
        }
    }
}

/// New settings of a service; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetService {
    /// Which.
    pub service: ServiceName,
    /// Lower is more important (F3).
    pub priority: Option<u16>,
    /// F7; overrides the cluster's.
    pub fallback: Option<Fallback>,
    /// Whether a failure moves it, or only an order.
    pub failover: Option<Failover>,
    /// C9: static files that must be the same on all its nodes from now on.
    pub files: Vec<String>,
    /// C9: those that may differ from now on.
    pub no_files: Vec<String>,
}

impl SetService {
    /// Nothing changed yet.
    pub const fn of(service: ServiceName) -> Self {
        Self {
            service,
            priority: None,
            fallback: None,
            failover: None,
            files: Vec::new(),
            no_files: Vec::new(),
        }
    }
}

/// Where a service shall go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its home.
    Home,
    /// The cluster's standby.
    Standby,
    /// That node.
    Node(NodeName),
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not shown")
    }
}

/// An address of a machine, and how it comes up at boot (C15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootAddress {
    /// The address.
    pub address: IpAddr,
    /// The file that brings it up; empty: none is known.
    pub file: String,
    /// Why no file can be changed; empty: that one can.
    pub fixed: String,
}

/// What is known when an action is planned. What could not be found out is absent, never guessed: the plan
/// refuses what it would have to guess.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The newest system document.
    pub system: &'a SystemDocument,
    /// The newest document of every cluster that answered.
    pub clusters: &'a [ClusterDocument],
    /// What the nodes see, of every cluster that answered.
    pub views: &'a [ClusterView],
    /// Base addresses with prefix of machines, from their facts: for standby nodes, witnesses and further links.
    pub bases: &'a BTreeMap<NodeName, Vec<IpNet>>,
    /// How the addresses of machines come up at boot, from their facts; not of machines that only pretend.
    pub boot: &'a BTreeMap<NodeName, Vec<BootAddress>>,
    /// Who asks: `user@host`.
    pub by: &'a str,
    /// Seconds since 1970 UTC.
    pub wall: u64,
}
