//! The agent protocol on a Unix socket: what the maintenance utility asks and orders.

mod audit;
mod changes;
mod methods;
mod session;
mod streams;
#[cfg(test)]
mod tests;

pub use audit::Bridge;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use backstay_wire::rpc::{AuditEntry, HistoryEntry};
use nix::unistd::{Group, Uid, User, chown};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::decide::{Outbox, Pulse};
use crate::documents::Keeper;
use crate::host::viewers::USER;
use crate::store::Folders;
use crate::store::journal::Journal;
use changes::ChangeLock;

/// Sessions at once; more are told to come back later.
const MOST_SESSIONS: usize = 64;
/// Members of this group may use the socket, where it exists.
const GROUP: &str = "backstay";

/// What all sessions share.
pub struct Desk {
    folders: Folders,
    keeper: Arc<Mutex<Keeper>>,
    decide: Outbox,
    pulse: Pulse,
    history: Journal<HistoryEntry>,
    audit: Journal<AuditEntry>,
    change: ChangeLock,
    places: Semaphore,
}

impl Desk {
    /// A desk with no session at it.
    pub fn new(
        folders: &Folders,
        keeper: Arc<Mutex<Keeper>>,
        decide: Outbox,
        pulse: Pulse,
        history: Journal<HistoryEntry>,
        audit: Journal<AuditEntry>,
    ) -> Self {
        Self {
            folders: folders.clone(),
            keeper,
            decide,
            pulse,
            history,
            audit,
            change: ChangeLock::default(),
            places: Semaphore::new(MOST_SESSIONS),
        }
    }

    /// Serves every client of the socket; ends only with the runtime.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let desk = Arc::clone(&self);
                    let viewer = is_viewer(&stream);
                    tokio::spawn(async move { session::run(desk, stream, viewer).await });
                }
                Err(error) => {
                    // Out of descriptors, for example: the clients that there are go on.
                    tracing::warn!("can't accept a client: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
            }
        }
    }
}

/// Opens the socket, for root and, where there is one, the group `backstay`. Call within a runtime; the caller
/// holds the agent's lock, so that a socket which is there is a dead agent's.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    share(path)?;
    Ok(listener)
}

/// U11: the kernel tells who opened the socket; that user looks only, however it got there. Who can't be told does not
/// change anything either.
fn is_viewer(stream: &UnixStream) -> bool {
    let Ok(peer) = stream.peer_cred() else {
        return true;
    };
    let uid = Uid::from_raw(peer.uid());
    if uid.is_root() || uid == Uid::effective() {
        return false;
    }
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name == USER,
        _ => true,
    }
}

/// Lets the group use a socket that is there, where there is such a group.
pub fn share(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let group = Group::from_name(GROUP).ok().flatten();
    let shared = group.is_some_and(|group| {
        // The folder too, or its members could not get to it.
        let mut places = path.parent().into_iter().chain([path]);
        places.all(|place| chown(place, None, Some(group.gid)).is_ok())
    });
    let (socket, folder) = if shared {
        (0o660, 0o750)
    } else {
        (0o600, 0o700)
    };
    if let Some(parent) = path.parent() {
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(folder))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(socket))
}
