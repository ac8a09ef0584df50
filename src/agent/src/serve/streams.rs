//! Calls that are never done: watching the status, following the history.

use std::sync::Arc;
use std::time::Duration;

use backstay_core::model::ServiceName;
use backstay_wire::rpc::{HistoryEntry, Reply, Status};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

use super::Desk;
use super::methods;
use super::session::Replies;

/// The status comes at least this often, so that its ages are seen to grow (U7).
const AT_LEAST: Duration = Duration::from_secs(2);
/// And no more often than this.
const AT_MOST: Duration = Duration::from_millis(100);

/// The status now and at every change.
pub(super) async fn watch(desk: Arc<Desk>, replies: Replies, id: u64, every_ms: u32) {
    let pause = Duration::from_millis(every_ms.into()).max(AT_MOST);
    let mut changes = desk.pulse.changes();
    loop {
        changes.mark_unchanged();
        let reply = match methods::view(&desk).await {
            Ok(clusters) => Reply::progress(id, &Status { clusters }),
            Err(fault) => Reply::failed(id, fault),
        };
        let over = matches!(reply, Reply::Failed { .. });
        if !replies.send(&reply).await || over {
            return;
        }
        sleep(pause).await;
        // A change, or the time: both are a reason.
        let _ = timeout(AT_LEAST.saturating_sub(pause), changes.changed()).await;
    }
}

/// Decisions so far and from now on, none left out and none twice.
pub(super) async fn follow(
    desk: Arc<Desk>,
    replies: Replies,
    id: u64,
    service: Option<ServiceName>,
    limit: u32,
) {
    // From now on first, then those before: what comes between the two is in both.
    let mut tail = desk.history.tail();
    let wanted = move |entry: &HistoryEntry| service.is_none() || entry.service == service;
    let past = methods::read(desk.folders.history(), limit, wanted.clone());
    let mut last = 0;
    match past.await {
        Ok(entries) => {
            for entry in entries {
                last = last.max(entry.id);
                if !replies.send(&Reply::progress(id, &entry)).await {
                    return;
                }
            }
        }
        Err(fault) => {
            replies.send(&Reply::failed(id, fault)).await;
            return;
        }
    }
    loop {
        match tail.recv().await {
            Ok(entry) if entry.id > last && wanted(&entry) => {
                if !replies.send(&Reply::progress(id, &entry)).await {
                    return;
                }
            }
            // Not wanted; or too slow a client, which misses some: `history` has them.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
