//! Files of the agent: after a power failure they may hold anything.

use backstay_agent::store::journal::payloads;
use backstay_core::engine::RunState;
use backstay_wire::rpc::{AuditEntry, HistoryEntry};

/// A journal's frames, and what stands in them.
pub(crate) fn journal(bytes: &[u8]) {
    let mut long = 0;
    for payload in payloads(bytes) {
        long += payload.len() + 8;
        if let Ok(entry) = serde_json::from_slice::<HistoryEntry>(payload) {
            assert!(serde_json::to_vec(&entry).is_ok());
        }
        if let Ok(entry) = serde_json::from_slice::<AuditEntry>(payload) {
            assert!(serde_json::to_vec(&entry).is_ok());
        }
    }
    assert!(long <= bytes.len());
}

/// What an engine left for the next one of its machine's boot.
pub(crate) fn run_state(bytes: &[u8]) {
    let Ok(run) = serde_json::from_slice::<RunState>(bytes) else {
        return;
    };
    let text = serde_json::to_string(&run).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<RunState>(&text).ok(), Some(run));
}
