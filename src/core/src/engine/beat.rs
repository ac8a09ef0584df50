//! What a node says of itself to every other node of its cluster, several times a second.
//!
//! The layout on the wire is `backstay-wire`'s; the meaning is here (PROTOCOL rules 2 and 3).

use arrayvec::ArrayVec;

use crate::model::{ClusterId, MAX_MEMBERS, MAX_SERVICES, NodeId, ServiceId};

/// The highest term that is believed. Terms grow by one with each holder: whoever names a higher one is out of order,
/// and above it there would soon be none left to take.
pub const HIGHEST_TERM: u64 = u64::MAX - u32::MAX as u64;

/// One beat. Bounded: it fits a datagram of 1,400 bytes in any cluster of usual size, and is read
/// and written without allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Who says it.
    pub from: NodeId,
    /// Counts lives of its state folder.
    pub incarnation: u32,
    /// Counts starts of its agent; persisted.
    pub boot: u64,
    /// Grows with each beat of this boot, over all links.
    pub sequence: u64,
    /// Drawn at random at each start; peers echo it to prove that they speak now.
    pub nonce: u64,
    /// The sender's document.
    pub revision: u64,
    /// First eight bytes of its hash: two texts of one revision differ here.
    pub hash: u64,
    /// The document's epoch.
    pub epoch: u64,
    /// The sender's system document.
    pub system_revision: u64,
    /// The sender is stopping in good order (F11).
    pub leaving: bool,
    /// The sender answers nothing yet (PROTOCOL 5, 23).
    pub silent: bool,
    /// Still listening after its start (A5).
    pub listening: bool,
    /// What is out of order on its machine.
    pub host: HostFlags,
    /// What each service is on the sender; services that are nothing there are left out.
    pub services: ArrayVec<ServiceReport, MAX_SERVICES>,
    /// Holds that it asks for or renews.
    pub asks: ArrayVec<Ask, MAX_SERVICES>,
    /// Services for which it wants to know whether it would be granted.
    pub would: ArrayVec<ServiceId, MAX_SERVICES>,
    /// What it gave up for good (PROTOCOL 19).
    pub released: ArrayVec<Released, MAX_SERVICES>,
    /// What it answers to others' asks.
    pub answers: ArrayVec<Answer, MAX_SERVICES>,
    /// Whom it hears.
    pub hears: ArrayVec<HearsPeer, MAX_MEMBERS>,
    /// A6: the links on which it misses somebody; empty where there is one link only.
    pub silent_links: ArrayVec<SilentLinks, MAX_MEMBERS>,
    /// Orders of admins that entered at the sender.
    pub orders: ArrayVec<BeatOrder, 4>,
    /// F10: moves of services within the last hour.
    pub moves: ArrayVec<MoveReport, MAX_MOVES>,
    /// What the sender runs.
    pub agent: AgentVersion,
    /// C10: the sender's wall clock, ms since 1970 UTC; 0: it does not say.
    pub wall_ms: u64,
}

/// The version of an agent; all zero: it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentVersion {
    /// Changes with what others must understand.
    pub major: u16,
    /// Changes with what others may ignore.
    pub minor: u16,
    /// Changes with what others do not see.
    pub patch: u16,
}

impl AgentVersion {
    /// Of what is built of this source.
    pub fn own() -> Self {
        let mut numbers = crate::VERSION.split(['.', '-', '+']);
        let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        Self {
            major: next(),
            minor: next(),
            patch: next(),
        }
    }

    /// It is not said.
    pub fn is_unknown(self) -> bool {
        self == Self::default()
    }
}

impl core::fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Most moves that a beat tells of; there are hardly ever any.
pub const MAX_MOVES: usize = 40;

/// F10: a service got another holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveReport {
    /// Which service.
    pub service: ServiceId,
    /// The term that the new holder took.
    pub term: u64,
    /// How much longer it counts, ms; an hour at most.
    pub left_ms: u32,
}

/// What is out of order on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostFlags {
    /// The gate is missing or was changed: no protection.
    pub gate_lost: bool,
    /// The state folder can't be written.
    pub disk_bad: bool,
    /// The clock is not kept by NTP.
    pub clock_loose: bool,
    /// The link of the aliases has no carrier.
    pub link_down: bool,
    /// Others changed the gate a short time ago; it was restored (S5).
    pub gate_restored: bool,
    /// Others changed what aliases are up a short time ago; it was put right (A3, A4).
    pub alias_restored: bool,
}

/// What a service is on one node: the life-cycle's states as they cross the wire.
pub mod phase {
    /// Nothing.
    pub const IDLE: u8 = 0;
    /// Waiting to be allowed.
    pub const WAITING: u8 = 1;
    /// Asked; not yet allowed.
    pub const ASKING: u8 = 2;
    /// Held; starting.
    pub const STARTING: u8 = 3;
    /// Held; running.
    pub const RUNNING: u8 = 4;
    /// Held; could not be started.
    pub const FAILED: u8 = 5;
    /// Closed; stopping.
    pub const STOPPING: u8 = 6;
    /// Closed; a stop did not end (F14).
    pub const STUCK: u8 = 7;
    /// The alias is in use by foreign equipment (A2).
    pub const CONFLICT: u8 = 8;
}

/// What one service is on the sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceReport {
    /// Which service.
    pub service: ServiceId,
    /// One of [`phase`]'s; unknown numbers come from newer agents.
    pub phase: u8,
    /// The highest term the sender knows.
    pub term: u64,
    /// How long it has been in this state, ms; saturates.
    pub since_ms: u32,
}

/// "I hold or want this service under this term."
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Which service.
    pub service: ServiceId,
    /// Under which term.
    pub term: u64,
}

/// "I will never hold this service under this term again."
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Which service.
    pub service: ServiceId,
    /// Up to which term.
    pub term: u64,
    /// Who shall have it next, if that is decided.
    pub successor: Option<NodeId>,
}

/// An answer to one ask or would-question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Who asked.
    pub asker: NodeId,
    /// In which of its boots.
    pub boot: u64,
    /// In which of its beats.
    pub sequence: u64,
    /// For which service.
    pub service: ServiceId,
    /// The term that was asked for; in a refusal the record's.
    pub term: u64,
    /// What.
    pub verdict: Verdict,
}

/// What a voter says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledged or granted.
    Yes,
    /// It would be granted.
    Would,
    /// No, and why.
    #[default]
    No,
    /// No, with the reason and, where waiting helps, how long, ms.
    Refused(Refused, u32),
}

/// Why a voter refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It still hears or waits for the holder.
    Heard,
    /// Another has a newer term.
    Newer,
    /// Its document does not allow the asker.
    Document,
    /// The asker's document is older.
    Revision,
    /// A change of the document is being decided.
    Promise,
    /// A reason of a newer agent.
    Other,
}

/// Whom the sender hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HearsPeer {
    /// Whom.
    pub node: NodeId,
    /// How long ago, ms; `u32::MAX`: never in this boot.
    pub age_ms: u32,
    /// That node's nonce, which proves that this beat was made after its start.
    pub echo: u64,
}

/// A6: the links that the sender shares with a node and does not hear it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SilentLinks {
    /// Which node.
    pub node: NodeId,
    /// A bit for each link.
    pub links: u8,
}

/// An order on its way to whoever must carry it out. Valid only while the service's highest term is
/// `at_term`: carried out, it is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeatOrder {
    /// Which service.
    pub service: ServiceId,
    /// The term it was given under.
    pub at_term: u64,
    /// Where the service shall go.
    pub target: NodeId,
    /// Tells orders of one term apart; the larger stands.
    pub number: u64,
}
