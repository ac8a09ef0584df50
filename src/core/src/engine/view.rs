//! What one node knows of the whole cluster, to be shown (U7). The fields are a contract: add, do not
//! rename.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, Fallback, NodeName, Role, RuleId, Safety, ServiceName};

/// A cluster as one of its nodes sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its name.
    pub name: ClusterName,
    /// The seer's revision of the document.
    pub revision: u64,
    /// Section S.
    pub safety: Safety,
    /// C6.
    pub preloaded: bool,
    /// Who sees it.
    pub seen_by: NodeName,
    /// Its nodes.
    pub nodes: Vec<NodeView>,
    /// Its services.
    pub services: Vec<ServiceView>,
    /// What needs a human.
    pub alarms: Vec<AlarmView>,
    /// U7: what to do now, in one sentence.
    pub advice: String,
}

/// A node as another sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub name: NodeName,
    /// Its part.
    pub role: Role,
    /// What it is.
    pub state: NodeState,
    /// How long ago it was heard, ms; none: never.
    pub age_ms: Option<u64>,
    /// Its revision of the document, where known.
    #[serde(default)]
    pub revision: Option<u64>,
    /// What is out of order on it, in words.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Its base addresses.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// F17: an admin works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceView>,
}

/// F17: work on a node, to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceView {
    /// Who.
    pub by: String,
    /// Since when, seconds since 1970 UTC.
    pub at: u64,
    /// Why.
    pub reason: String,
    /// Until when, seconds since 1970 UTC.
    pub until: u64,
    /// What it carries goes elsewhere; else it is locked there.
    pub moves: bool,
}

/// What a node is. A node that does not answer is never shown in its last state (U7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Heard.
    Up,
    /// It missed beats.
    Suspect,
    /// Silent for the waiting time; never heard: since the seer's start, and for longer.
    Down,
    /// It stops in good order.
    Leaving,
    /// Not heard yet, or the seer itself hears nobody.
    Unknown,
}

/// A service as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Its home.
    pub home: NodeName,
    /// Where it runs; more than one while the network is cut.
    pub running_on: Vec<NodeName>,
    /// What it is.
    pub state: ServiceState,
    /// Lower is more important.
    pub priority: u16,
    /// F7: which applies.
    pub fallback: Fallback,
    /// L4.
    pub lock: Option<LockView>,
    /// Its aliases.
    pub addresses: Vec<AddressView>,
    /// How old this is, ms; none: unknown.
    pub age_ms: Option<u64>,
    /// The highest term known.
    #[serde(default)]
    pub term: u64,
    /// F6, F15: why it is as it is, in one sentence.
    #[serde(default)]
    pub reason: String,
    /// What each node says of it, where that is something.
    #[serde(default)]
    pub on: BTreeMap<NodeName, String>,
}

/// An alias of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// With its prefix.
    pub address: String,
}

/// What a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It runs.
    Running,
    /// It is being started, or waits to be.
    Starting,
    /// It is being stopped.
    Stopping,
    /// An admin stopped it (F16).
    Stopped,
    /// The passive node loads it.
    Loading,
    /// The passive node has it loaded.
    Preloaded,
    /// F5, F6: it runs nowhere because a more important one has the standby.
    Displaced,
    /// It could not be started, or nobody is left to run it.
    Failed,
    /// Its alias is in use by foreign equipment, or closed for want of a majority.
    Blocked,
    /// Two nodes run it (S1).
    Split,
    /// Nobody who could know was heard.
    Unknown,
}

/// A lock, to be shown (L4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// Where.
    pub node: NodeName,
    /// Who.
    pub by: String,
    /// When, seconds since 1970 UTC.
    pub at: u64,
    /// Why.
    pub reason: String,
    /// Until when, seconds since 1970 UTC.
    pub until: Option<u64>,
}

/// M1: something that needs a human.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmView {
    /// What kind, stable: `service-on-standby`, `split`, `node-down` ...
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// Which node.
    pub node: Option<NodeName>,
    /// Which service.
    pub service: Option<ServiceName>,
    /// Which rule asks for it.
    pub rule: RuleId,
    /// What happened.
    pub cause: String,
    /// What to do.
    pub action: String,
    /// For how long, ms.
    pub age_ms: u64,
    /// How often it was raised since the seer's start.
    pub count: u32,
    /// It holds now (else it was cleared and is kept).
    pub active: bool,
    /// F17: it needs nobody, for an admin works on the node that it comes from. Its severity is the least then.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub quiet: bool,
}

/// M1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be known.
    Warning,
    /// To be mended when there is time.
    Minor,
    /// To be mended today.
    Major,
    /// To be mended now.
    Critical,
}
