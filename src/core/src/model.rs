//! The written configuration and its rules.

mod boot;
mod change;
mod cluster;
mod diff;
#[cfg(test)]
pub(crate) mod fixture;
mod name;
mod rules;
mod service;
mod system;
mod text;
mod timing;

pub use boot::AtBoot;
pub use change::{DocumentError, Problem, RuleId, hash_of};
pub use cluster::{
    Base, CLOCKS_WITHIN, Changed, ClusterDocument, Former, Key, KeyStage, Maintenance, Member,
    Replacement, Role, Safety, SplitStops, Topology, WithoutMajority,
};
pub(crate) use cluster::{DEFAULT_PORT, USUAL_MOVES};
pub use diff::{Difference, differences, is_epoch_change};
pub use name::{BadName, ClusterId, ClusterName, NodeId, NodeName, ServiceId, ServiceName};
pub(crate) use service::default_priority;
pub use service::{
    AddressKind, Alias, Command, DataSet, Direction, Failover, Fallback, Hook, HookMoment,
    Instances, Lock, Service, Unit, UnitMode,
};
pub use system::{SystemCluster, SystemDocument, SystemNode, SystemRole, SystemViewer};
pub use text::{Filling, Written};
pub use timing::{Profile, Timing};

/// Most members of one cluster: ten regular nodes, the standby, witnesses (C1).
pub const MAX_MEMBERS: usize = 16;
/// Most services of one cluster; a node may be home of more than one.
pub const MAX_SERVICES: usize = 32;
/// Most moves an hour that a cluster can allow (F10).
pub const MAX_MOVES_PER_HOUR: u16 = 20;
/// Most alias addresses of one service (C14).
pub const MAX_ALIASES: usize = 8;
/// Longest document that is read, in bytes.
pub const MAX_DOCUMENT: usize = 256 * 1024;
