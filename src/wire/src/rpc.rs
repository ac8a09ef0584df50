//! The agent protocol: one JSON object a line, over the agent's Unix socket or, bridged by
//! `backstay-agent rpc`, over SSH's standard input and output.
//!
//! A client sends [`Call`]s; for each the agent sends any number of [`Reply::Progress`] and then one
//! [`Reply::Done`] or [`Reply::Failed`]. The first call is [`Request::Hello`]. Fields that a reader does not
//! know are ignored; a method that it does not know fails with [`Code::Unsupported`].

mod clean;
mod facts;
mod fault;
mod line;
mod needs;
mod read;

pub use clean::{MAX_CLEAN, clean};
pub use facts::{AddressFact, Facts, InterfaceFact, UnitFact};
pub use line::{LineError, LineReader, LineSplitter, MAX_NOISE, to_line, write};
pub use needs::{
    Asked, FileFact, LONGEST_NAME, MOST_NAMES, Needs, PackageFact, ProgramFact, UnitNeeds,
};
pub use read::{METHODS, Unreadable, negotiate, parse_call, parse_reply};

use std::collections::BTreeMap;

use backstay_core::engine::{ClusterView, Record};
use backstay_core::model::{
    ClusterId, ClusterName, NodeId, NodeName, Problem, RuleId, ServiceName, SystemRole,
};
use serde::{Deserialize, Serialize};

/// Sent by the bridge before the first line, so that a login shell's noise can be skipped.
pub const PREAMBLE: &str = "\u{1}backstay-rpc\u{1}\n";
/// The oldest version that this code speaks.
pub const OLDEST: u32 = 1;
/// The newest version that this code speaks.
pub const NEWEST: u32 = 1;
/// Longest line, in bytes; a longer one ends the session.
pub const MAX_LINE: usize = 1024 * 1024;

/// One call of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client; the replies carry it.
    pub id: u64,
    /// What it wants.
    #[serde(flatten)]
    pub request: Request,
}

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "kebab-case")]
pub enum Request {
    /// The first call. Result: [`Hello`].
    Hello {
        /// Oldest version the client speaks.
        oldest: u32,
        /// Newest version the client speaks.
        newest: u32,
        /// Its name and version.
        client: String,
        /// Who sits there, for locks and audit (U8, U11): `user@host`.
        user: String,
    },
    /// All clusters of this node. Result: [`Status`].
    Status,
    /// The same, now and at every change, as progress; never done. `every_ms` bounds the rate.
    Watch {
        /// Least time between two, ms.
        every_ms: u32,
    },
    /// The machine, for preflight. Result: [`Facts`].
    Facts,
    /// Become a node of the system. Result: [`Done`]. Refused if it is one already under another
    /// identity.
    Enrol {
        /// Its name.
        name: NodeName,
        /// Its identity.
        id: NodeId,
    },
    /// Forget the system: the node was removed (C8: only when free). Result: [`Done`].
    Dismiss,
    /// The system document. Result: [`Text`].
    SystemGet,
    /// A new system document; refused if its revision is not above the one that is there. Result: [`Done`].
    SystemPut {
        /// The document.
        text: String,
    },
    /// A cluster document, with its secrets. Result: [`Text`].
    DocumentGet {
        /// Which.
        cluster: ClusterName,
    },
    /// Check a new revision against rules and this machine, and keep it beside the present one. Needs the
    /// change lock. Result: [`Done`]; refusals carry every [`Problem`].
    Stage {
        /// The document.
        text: String,
    },
    /// Make a staged revision the present one. Result: [`Done`].
    Commit {
        /// Which cluster.
        cluster: ClusterId,
        /// Which revision.
        revision: u64,
        /// SHA-256 of the text, 64 hexadecimal digits.
        hash: String,
    },
    /// Forget a staged revision. Result: [`Done`].
    Abandon {
        /// Which cluster.
        cluster: ClusterId,
    },
    /// U8: take the change lock of this node, held until this session ends. Result: [`Done`]; refused
    /// with [`Code::Locked`], naming owner and since when.
    Lock {
        /// What for, in one line.
        what: String,
    },
    /// Give the change lock back. Result: [`Done`].
    Unlock,
    /// Move a service, or start it where it runs nowhere. Result: [`Done`] once the order is under way;
    /// whether it came about is seen in the status.
    Move {
        /// Which cluster.
        cluster: ClusterName,
        /// Which service.
        service: ServiceName,
        /// Where to.
        to: NodeName,
    },
    /// F15, U10: decisions of this node, oldest first. Result: [`History`]; with `follow` they come as
    /// progress and it is never done.
    History {
        /// Only of that service.
        service: Option<ServiceName>,
        /// At most so many, the newest (1 to 10,000).
        limit: u32,
        /// Go on with new ones.
        follow: bool,
    },
    /// U11. Result: [`Audit`].
    Audit {
        /// At most so many, the newest (1 to 10,000).
        limit: u32,
    },
    /// What a support bundle has of this machine: log, gate, network. Not for viewers. Result: [`Report`].
    Report,
    /// C9: what this machine has of what services need. Not for viewers: it tells of any file. Result: [`Needs`].
    Needs(Asked),
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// Something before the end.
    Progress {
        /// Of which call.
        id: u64,
        /// What.
        value: serde_json::Value,
    },
    /// The end.
    Done {
        /// Of which call.
        id: u64,
        /// The result.
        value: serde_json::Value,
    },
    /// The end, and it was refused or failed.
    Failed {
        /// Of which call.
        id: u64,
        /// Why.
        error: Fault,
    },
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind.
    pub code: Code,
    /// One sentence for the admin.
    pub message: String,
    /// Which rule refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    /// Everything that is wrong, where that is more than one sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Whether anything was changed before it failed.
    #[serde(default)]
    pub changed: bool,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The call itself is wrong.
    Invalid,
    /// This agent does not know the method or version.
    Unsupported,
    /// A rule refuses.
    Refused,
    /// Another session holds the change lock.
    Locked,
    /// This session may only look (U11).
    Forbidden,
    /// There is no such thing here.
    Unknown,
    /// It was tried and failed.
    Failed,
    /// A kind that a newer agent knows.
    #[serde(other)]
    Other,
}

/// Result of [`Request::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version that this session speaks.
    pub version: u32,
    /// The agent's own version.
    pub agent: String,
    /// Who it is, once enrolled.
    pub node: Option<NodeName>,
    /// Its identity, once enrolled.
    pub id: Option<NodeId>,
    /// What it is.
    pub role: SystemRole,
    /// Its clusters and their revisions.
    pub clusters: BTreeMap<ClusterName, u64>,
    /// Revision of its system document; 0: none.
    pub system_revision: u64,
    /// Staged revisions that were never committed (U6).
    pub staged: BTreeMap<ClusterName, u64>,
    /// Its state folder can be written.
    pub writable: bool,
    /// U11: this session may only look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub viewer: bool,
}

/// Result of [`Request::Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The clusters of this node.
    pub clusters: Vec<ClusterView>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// As it is stored.
    pub text: String,
}

/// The result of calls that have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Whether anything was changed.
    pub changed: bool,
}

/// Result of [`Request::History`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Oldest first.
    pub entries: Vec<HistoryEntry>,
}

/// One decision of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Counted by the node; `explain` takes it.
    pub id: u64,
    /// Where.
    pub node: NodeName,
    /// Of which cluster.
    pub cluster: ClusterName,
    /// About which service.
    pub service: Option<ServiceName>,
    /// When, ms since 1970 UTC by the node's clock.
    pub wall_ms: u64,
    /// What. Not flattened: it has a `service` of its own.
    pub record: Record,
}

/// Result of [`Request::Audit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Oldest first.
    pub entries: Vec<AuditEntry>,
}

/// Result of [`Request::Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Texts by name (`log`, `gate`, `addresses` ...); each says itself where it was cut, or why there is none.
    pub parts: BTreeMap<String, String>,
}

/// One action of an admin at one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// ms since 1970 UTC by the node's clock.
    pub wall_ms: u64,
    /// Who, as they said.
    pub user: String,
    /// From where, as SSH said; `local` on the node itself.
    pub from: String,
    /// What.
    pub what: String,
    /// How it ended.
    pub result: String,
}
