//! What the decision loop lets others do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backstay_core::model::{ClusterId, NodeName, Service, ServiceId};
use backstay_wire::rpc::HistoryEntry;
use backstay_wire::sealed::Subject;
use ipnet::IpNet;

/// A service of a cluster, and what this node is to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// The service as the document has it now.
    pub service: Arc<Service>,
    /// This node.
    pub node: NodeName,
    /// This node is its home (F12).
    pub at_home: bool,
}

/// Something that may take its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Start what belongs to the service here.
    StartUnits(Errand),
    /// Stop it (F14).
    StopUnits(Errand),
    /// From now on, tell changes of these services' units; of no others of that cluster.
    WatchUnits(ClusterId, Vec<Errand>),
    /// F12: run the hooks of this moment.
    RunHooks {
        /// Of which service.
        errand: Errand,
        /// Home has it again (else: the standby has it).
        returned: bool,
    },
    /// A2: probe aliases for at most `within`.
    Probe {
        /// Of which cluster.
        cluster: ClusterId,
        /// Whose aliases.
        service: ServiceId,
        /// The aliases.
        aliases: Vec<IpNet>,
        /// Base addresses of nodes whose answer does not count.
        ours: Vec<IpAddr>,
        /// This node's own base addresses: nobody else may answer for them.
        mine: Vec<IpAddr>,
        /// How long an answer is waited for.
        within: Duration,
    },
    /// S1: ask the reference address.
    CheckReference {
        /// For which cluster.
        cluster: ClusterId,
        /// The document's; none: the default gateway.
        reference: Option<IpAddr>,
        /// This node's main base.
        base: IpAddr,
        /// How long an answer is waited for.
        within: Duration,
    },
    /// A document has been fetched.
    Fetched {
        /// Through which cluster.
        cluster: ClusterId,
        /// Which.
        subject: Subject,
        /// Its revision.
        revision: u64,
        /// The whole.
        text: String,
    },
    /// What is staged here was committed elsewhere.
    CommitSeen {
        /// Which cluster.
        cluster: ClusterId,
        /// Which revision.
        revision: u64,
        /// First eight bytes of its hash.
        hash: u64,
    },
    /// C15: this node has left a cluster. Whether every other member was heard until then, and so knows of it.
    Left {
        /// All were.
        all_heard: bool,
    },
    /// F15: keep this.
    Record(HistoryEntry),
}

/// Takes jobs; never waits.
pub trait Jobs: Send {
    /// Have it done.
    fn post(&self, job: Job);
}
