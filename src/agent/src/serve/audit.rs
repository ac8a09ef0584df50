//! U11: who did what, from where, and how it ended.

use backstay_wire::rpc::{AuditEntry, Fault, HistoryEntry, Request, clean};
use serde::{Deserialize, Serialize};

use crate::store::journal::Numbered;

/// What the bridge says of its client in a line of its own before all others. Only the first line is taken for it: what
/// follows is the client's. Root, who may open the socket without the bridge, could say so too, and could as well change
/// the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The client's address, as SSH said.
    pub from: String,
    /// This client may only look.
    #[serde(default)]
    pub viewer: bool,
    /// Whose key let it in, where that is known.
    #[serde(default)]
    pub name: String,
}

/// The bridge's line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BridgeLine {
    pub(super) bridge: Bridge,
}

impl Bridge {
    /// The line that says it, with its end.
    pub fn to_line(&self) -> String {
        let bridge = self.clone();
        let mut line = serde_json::to_string(&BridgeLine { bridge }).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// Whether a call changes anything, and what it is called in the audit.
pub(super) fn change(request: &Request) -> Option<String> {
    match request {
        Request::Hello { .. }
        | Request::Status
        | Request::Watch { .. }
        | Request::Facts
        | Request::SystemGet
        | Request::DocumentGet { .. }
        | Request::History { .. }
        | Request::Audit { .. }
        | Request::Report
        | Request::Needs(_) => None,
        Request::Enrol { name, id } => Some(format!("enrol as {name} ({id})")),
        Request::Dismiss => Some("dismiss".into()),
        Request::SystemPut { .. } => Some("put the system document".into()),
        Request::Stage { .. } => Some("stage a cluster document".into()),
        Request::Commit {
            cluster, revision, ..
        } => Some(format!("commit revision {revision} of cluster {cluster}")),
        Request::Abandon { cluster } => Some(format!("abandon the staged revision of {cluster}")),
        Request::Lock { what } => Some(format!("take the change lock: {}", clean(what))),
        Request::Unlock => Some("give the change lock back".into()),
        Request::Move {
            cluster,
            service,
            to,
        } => Some(format!("move {service} of {cluster} to {to}")),
    }
}

/// How a call ended, in words.
pub(super) fn result<T>(result: &Result<T, Fault>) -> String {
    match result {
        Ok(_) => "done".into(),
        Err(fault) => format!("refused: {}", clean(&fault.message)),
    }
}

impl Numbered for HistoryEntry {
    fn number(&self) -> u64 {
        self.id
    }
    fn set_number(&mut self, number: u64) {
        self.id = number;
    }
    fn wall_ms(&self) -> u64 {
        self.wall_ms
    }
}

impl Numbered for AuditEntry {
    /// Audit entries are told apart by their time alone.
    fn number(&self) -> u64 {
        0
    }
    fn set_number(&mut self, _: u64) {}
    fn wall_ms(&self) -> u64 {
        self.wall_ms
    }
}
