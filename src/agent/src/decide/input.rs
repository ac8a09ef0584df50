//! What other threads tell the decision loop.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use backstay_core::engine::{ClusterView, HostEvent, UnitsState};
use backstay_core::model::{
    ClusterDocument, ClusterId, ClusterName, NodeName, ServiceId, ServiceName,
};
use backstay_wire::rpc::Fault;
use backstay_wire::sealed::Subject;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use crate::store::Identity;

/// Something that the decision loop must know.
#[derive(Debug)]
pub enum Input {
    /// This machine became a node of a system, or (`None`) no longer is one.
    Enrolled {
        /// Who it is.
        me: Option<Identity>,
        /// C16: what it had and another machine has now.
        lost: Vec<IpAddr>,
    },
    /// A revision is on disk and holds from now on.
    Adopted {
        /// The document.
        document: Box<ClusterDocument>,
        /// This node was not in that cluster a moment ago.
        fresh: bool,
        /// What runs here now of each of its services; heeded for those that are new.
        units: Vec<(ServiceId, UnitsState)>,
    },
    /// This node is no longer in that cluster; the text that says so.
    Left(Box<ClusterDocument>),
    /// What is staged now, of all clusters.
    Staged(Vec<ClusterDocument>),
    /// C7: what says that clusters are deleted, all of them.
    Notices(Vec<ClusterDocument>),
    /// The system document that is on disk.
    System(SystemText),
    /// At the agent's start: the node is in no cluster, and guards nothing but what another machine has now (C16).
    InNone,
    /// A fetched text was refused; it is not to be fetched again.
    NotTaken {
        /// Of which cluster.
        cluster: ClusterId,
        /// Which document.
        subject: Subject,
        /// Which revision.
        revision: u64,
    },
    /// How the units of a service are.
    Units {
        /// Of which cluster.
        cluster: ClusterId,
        /// Which service.
        service: ServiceId,
        /// How.
        state: UnitsState,
    },
    /// Something on the machine; `None`: it concerns every cluster.
    Host(Option<ClusterId>, HostEvent),
    /// An admin's order.
    Move {
        /// Which cluster.
        cluster: ClusterName,
        /// Which service.
        service: ServiceName,
        /// Where to.
        to: NodeName,
        /// Whether it is under way.
        reply: oneshot::Sender<Result<(), Fault>>,
    },
    /// What is known of all clusters.
    View(oneshot::Sender<Vec<ClusterView>>),
    /// F11: the machine is about to be shut down: hand over everything, say when that is done, and stay until told
    /// to end.
    HandOver(oneshot::Sender<()>),
    /// F11: hand over everything, then end the loop.
    Leave,
    /// End the loop now and leave the holds to whoever comes next (PROTOCOL 21).
    Exit,
}

/// The system document as it is handed to other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemText {
    /// Its revision; 0: there is none.
    pub revision: u64,
    /// Its text.
    pub text: Arc<str>,
}

/// Tells the decision loop something and wakes it.
#[derive(Clone, Debug)]
pub struct Outbox {
    inputs: Sender<Input>,
    wake: Arc<EventFd>,
}

/// The decision loop's end.
#[derive(Debug)]
pub struct Inbox {
    inputs: Receiver<Input>,
    wake: Arc<EventFd>,
}

/// A new pair of ends.
///
/// # Errors
/// The system's, if it has no descriptor left.
pub fn inputs() -> nix::Result<(Outbox, Inbox)> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let wake = Arc::new(EventFd::from_flags(flags)?);
    let (sender, receiver) = channel();
    let outbox = Outbox {
        inputs: sender,
        wake: Arc::clone(&wake),
    };
    let inbox = Inbox {
        inputs: receiver,
        wake,
    };
    Ok((outbox, inbox))
}

impl Outbox {
    /// Tells it; never waits. Whether the loop still lives.
    pub fn tell(&self, input: Input) -> bool {
        let told = self.inputs.send(input).is_ok();
        // Fails only if it would overflow, and then the loop is awake anyway.
        let _ = self.wake.write(1);
        told
    }
}

impl Inbox {
    /// The next input, without waiting.
    pub fn take(&self) -> Option<Input> {
        self.inputs.try_recv().ok()
    }

    /// There is more to take: don't sleep.
    pub fn rouse(&self) {
        let _ = self.wake.write(1);
    }

    /// Call before taking what is there, so that nothing told later is slept over.
    pub fn rest(&self) {
        let _ = self.wake.read();
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
