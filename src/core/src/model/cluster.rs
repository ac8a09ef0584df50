//! The cluster document: one written text per cluster, complete in itself.

use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::service::is_default;
use super::{
    ClusterId, ClusterName, Fallback, Lock, NodeId, NodeName, Profile, Service, ServiceId, Timing,
};

/// C10: how far clocks may lie apart where nothing else is set.
pub const CLOCKS_WITHIN: Duration = Duration::from_secs(1);

/// What a cluster is. A change is a new revision of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterDocument {
    /// The form of this text; 1.
    pub format: u32,
    /// Unique in the system (C13).
    pub name: ClusterName,
    /// For all time.
    pub id: ClusterId,
    /// Grows by one with each change.
    pub revision: u64,
    /// The last revision that changed who may vote or hold (PROTOCOL 1).
    pub epoch: u64,
    /// Who made this revision.
    pub changed: Changed,
    /// C7: the cluster is no more; what remains is this notice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleted: bool,
    /// Its shape.
    #[serde(default)]
    pub topology: Topology,
    /// Section S.
    pub safety: Safety,
    /// S4, in `exclusive`.
    #[serde(default)]
    pub without_majority: WithoutMajority,
    /// S1: who stops when two holders see each other.
    #[serde(default)]
    pub split_stops: SplitStops,
    /// C6: the standby has the service loaded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preloaded: bool,
    /// The cluster's own (F7).
    #[serde(default)]
    pub fallback: Fallback,
    /// F10: after so many moves within an hour a service leaves no living node by itself.
    #[serde(default = "usual_moves", skip_serializing_if = "are_usual_moves")]
    pub moves_per_hour: u16,
    /// The times' origin.
    #[serde(default)]
    pub profile: Profile,
    /// What differs from the profile.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timing: Timing,
    /// S1: an address that answers only if one's own link works; none: the default gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<IpAddr>,
    /// S6, etcd as arbiter; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arbiter: String,
    /// UDP port of the beats.
    #[serde(default = "default_port", skip_serializing_if = "is_default_port")]
    pub port: u16,
    /// The next service's number.
    pub next_service: ServiceId,
    /// What beats are signed with. Secrets: stripped before anything is shown.
    #[serde(default, rename = "key", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// Its nodes.
    #[serde(default, rename = "node", skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// Its services.
    #[serde(default, rename = "service", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Nodes taken out, so that one that was away learns of it.
    #[serde(default, rename = "former", skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Former>,
    /// Who held what when the epoch began (PROTOCOL 29).
    #[serde(default, rename = "base", skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<Base>,
}

/// The port beats go to where a document names none.
pub(crate) const DEFAULT_PORT: u16 = 5980;

/// F10: moves of a service within an hour before it asks for a human, where a document does not say.
pub(crate) const USUAL_MOVES: u16 = 2;

const fn usual_moves() -> u16 {
    USUAL_MOVES
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the form serde asks for
const fn are_usual_moves(moves: &u16) -> bool {
    *moves == USUAL_MOVES
}

const fn default_port() -> u16 {
    DEFAULT_PORT
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the form serde asks for
const fn is_default_port(port: &u16) -> bool {
    *port == DEFAULT_PORT
}

/// Who made a revision, and what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Who.
    pub by: String,
    /// Seconds since 1970 UTC.
    pub at: u64,
    /// The action in one line.
    pub what: String,
}

/// The shape of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Regular nodes and one standby.
    #[default]
    NPlusOne,
}

/// Whether two holders are possible (section S).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Safety {
    /// Both may run while the network is cut (S1).
    Available,
    /// Never two (S2).
    Exclusive,
}

/// What a holder does that hears no majority (S4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutMajority {
    /// It stops.
    #[default]
    Stop,
    /// It goes on: two holders are possible.
    Keep,
}

/// Who stops when two holders see each other again (S1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitStops {
    /// Home.
    #[default]
    Home,
    /// The standby.
    Standby,
}

/// A node's part in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Home of services.
    Regular,
    /// Stands in.
    Standby,
    /// Votes and watches.
    Witness,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Unique in the system (C13).
    pub name: NodeName,
    /// For all time.
    pub id: NodeId,
    /// Counts lives of its state folder (PROTOCOL 24).
    #[serde(default, skip_serializing_if = "is_default")]
    pub incarnation: u32,
    /// Its part.
    pub role: Role,
    /// Base addresses: one per link that beats use (A6), with prefix. The first is the main one.
    pub bases: Vec<ipnet::IpNet>,
    /// F3: how many services it carries that are not at home on it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub capacity: u16,
    /// What it offers to services that require it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// F17: an admin works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
}

/// F17: work on a node, which ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Who.
    pub by: String,
    /// Since when, seconds since 1970 UTC.
    pub at: u64,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Until when, seconds since 1970 UTC.
    pub until: u64,
    /// What the node carries goes to another node that can take it; else it is locked where it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub moves: bool,
}

impl Maintenance {
    /// The lock was put for this.
    pub fn owns(&self, node: &NodeName, lock: &Lock) -> bool {
        lock.node == *node
            && (lock.at, lock.until) == (self.at, Some(self.until))
            && lock.by == self.by
    }
}

const fn one() -> u16 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the form serde asks for
const fn is_one(n: &u16) -> bool {
    *n == 1
}

/// A node taken out of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Former {
    /// What it was called.
    pub name: NodeName,
    /// Who it is.
    pub id: NodeId,
    /// Where it was reached.
    pub bases: Vec<ipnet::IpNet>,
    /// What its own network configuration has: the alias that it took back (C15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<ipnet::IpNet>,
    /// C16: another machine has its name and its addresses now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replacement>,
}

/// C16: the machine that took the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Who it is.
    pub id: NodeId,
    /// Where SSH reaches it, for the system's list.
    pub contact: String,
    /// Its SSH host keys, for the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// A key that beats are signed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Named in each beat.
    pub id: u8,
    /// 32 bytes as 64 hexadecimal digits.
    pub secret: String,
    /// One key signs; all verify.
    #[serde(default)]
    pub signs: bool,
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Key {{ id: {}, signs: {}, secret: not shown }}",
            self.id, self.signs
        )
    }
}

/// How far an exchange of the keys is. The order of the keys tells: a new one is always the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStage {
    /// One key; none is being exchanged.
    Settled,
    /// The last key is known and does not sign yet.
    Known,
    /// The last key signs; the others only verify.
    Signs,
}

/// Who held a service when the epoch began (PROTOCOL 29, 30).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Which service.
    pub service: ServiceId,
    /// Its term.
    pub term: u64,
    /// Its holder, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<NodeName>,
}

impl ClusterDocument {
    /// The member of that name.
    pub fn member(&self, name: &NodeName) -> Option<&Member> {
        self.members.iter().find(|m| m.name == *name)
    }

    /// The member of that identity.
    pub fn member_by_id(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// C16: another machine has the name and the addresses of the node of that identity.
    pub fn replaced(&self, id: NodeId) -> Option<(&Former, &Replacement)> {
        let former = self.former.iter().find(|f| f.id == id)?;
        Some((former, former.replaced.as_ref()?))
    }

    /// The service of that number.
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.iter().find(|s| s.id == id)
    }

    /// How far an exchange of the keys is.
    pub fn key_stage(&self) -> KeyStage {
        match self.keys.as_slice() {
            [_, .., last] if last.signs => KeyStage::Signs,
            [_, .., _] => KeyStage::Known,
            _ => KeyStage::Settled,
        }
    }

    /// Members of one role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |m| m.role == role)
    }

    /// F7: the service's own, else the cluster's.
    pub fn fallback_of(&self, service: &Service) -> Fallback {
        service.fallback.unwrap_or(self.fallback)
    }

    /// Time between two beats.
    pub fn beat(&self) -> Duration {
        ms_or(self.timing.beat_ms, self.profile.times().0)
    }

    /// H.
    pub fn hold(&self) -> Duration {
        ms_or(self.timing.hold_ms, self.profile.times().1)
    }

    /// W.
    pub fn wait(&self) -> Duration {
        ms_or(self.timing.wait_ms, self.profile.times().2)
    }

    /// A5; 30 s by default.
    pub fn boot_wait(&self) -> Duration {
        ms_or(self.timing.boot_wait_ms, Duration::from_secs(30))
    }

    /// F9; 300 s by default.
    pub fn home_healthy(&self) -> Duration {
        ms_or(self.timing.home_healthy_ms, Duration::from_mins(5))
    }

    /// PROTOCOL, cold start; 60 s by default.
    pub fn cold_start(&self) -> Duration {
        ms_or(self.timing.cold_start_ms, Duration::from_mins(1))
    }

    /// C10; 1 s by default.
    pub fn clocks_within(&self) -> Duration {
        ms_or(self.timing.clocks_within_ms, CLOCKS_WITHIN)
    }
}

fn ms_or(ms: Option<u32>, default: Duration) -> Duration {
    ms.map_or(default, |ms| Duration::from_millis(u64::from(ms)))
}
