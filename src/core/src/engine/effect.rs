//! What goes in and comes out of an engine, besides beats and documents.

use core::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{NodeId, RuleId, ServiceId};
use crate::time::Mono;

/// What the driver must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write [`Engine::run_state`](super::Engine) to memory-backed storage that ends with the machine's
    /// boot (`/run`), at once.
    Persist,
    /// Change the gate, and read back what must be sure.
    Gate(GateOp),
    /// Put the service's aliases on the interface; already there is well.
    AddAddresses(ServiceId),
    /// Take the service's aliases off the interface; not there is well.
    RemoveAddresses(ServiceId),
    /// Close an alias that the document no longer gives this node, and take it off the interface; not there is well.
    DropAlias(IpNet),
    /// A1: announce the service's aliases now; `reply_form` alternates.
    Announce {
        /// Whose aliases.
        service: ServiceId,
        /// ARP reply form instead of request form.
        reply_form: bool,
    },
    /// A2: probe the service's aliases (RFC 5227) and say what answers by
    /// [`HostEvent::AliasInUse`]. Answers of `former` do not count: its MAC is known from its beats' link.
    Probe {
        /// Whose aliases.
        service: ServiceId,
        /// Whose answer does not count.
        former: Option<NodeId>,
    },
    /// S1: find out whether the reference address answers; say it by [`HostEvent::Reference`].
    CheckReference,
    /// Start what belongs to the service on this node, in order; say it by `handle_units`.
    StartUnits(ServiceId),
    /// Stop it, in reverse order, escalating (F14); say it by `handle_units`.
    StopUnits(ServiceId),
    /// F12: run the hooks for this moment. Nothing waits for them.
    RunHooks {
        /// Of which service.
        service: ServiceId,
        /// Home has it again (else: the standby has it).
        returned: bool,
    },
    /// Send [`Engine::beat`](super::Engine) to every member over every link, at once.
    SendBeats,
    /// Fetch the document of that revision from that node; hand it in by `handle_document`.
    FetchDocument {
        /// From whom.
        from: NodeId,
        /// Which revision; a later one is as good.
        revision: u64,
    },
    /// Fetch the system document.
    FetchSystem {
        /// From whom.
        from: NodeId,
        /// Which revision; a later one is as good.
        revision: u64,
    },
    /// F15: keep this record in the journal; nothing waits for it.
    Record(Record),
    /// Nothing of this node's is left to hand over (F11): the process may end.
    HandedOver,
}

/// A change of the kernel's gate. Each is one atomic batch for all aliases of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOp {
    /// Guard the aliases of exactly the services that the document gives this node. Comes after the
    /// slots of what is held here, so that an address in use loses no packet (C11).
    Guard,
    /// Clear slot, then arm it for H (PROTOCOL 14).
    Arm {
        /// Whose aliases.
        service: ServiceId,
        /// Which of the [`SLOTS`](GateOp::SLOTS).
        slot: u8,
    },
    /// Make an armed slot live (PROTOCOL 16).
    Live {
        /// Whose aliases.
        service: ServiceId,
        /// Which slot.
        slot: u8,
    },
    /// Clear all slots and read back (PROTOCOL 19).
    Close {
        /// Whose aliases.
        service: ServiceId,
    },
}

impl GateOp {
    /// K: slots per service (PROTOCOL 14).
    pub const SLOTS: u8 = 3;
}

/// What happened on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// The link that carries the aliases has carrier or not.
    Link {
        /// It has.
        up: bool,
    },
    /// S1: the reference address answered or did not; `None`: there is none to ask.
    Reference {
        /// Whether it answered.
        answered: Option<bool>,
    },
    /// A2: foreign equipment uses an alias of the service, or (`false`) no longer.
    AliasInUse {
        /// Whose alias.
        service: ServiceId,
        /// It does.
        used: bool,
    },
    /// A3, A4: the aliases of the service were found on the interface or gone from it.
    AliasPresent {
        /// Whose aliases.
        service: ServiceId,
        /// Which of them are there.
        present: Presence,
    },
    /// The gate is as it must be, or can't be made so.
    Gate {
        /// It protects.
        intact: bool,
    },
    /// S5: others changed the gate; it was restored, with every slot clear.
    GateRestored {
        /// From the moment in which it was noticed.
        took: Duration,
    },
    /// The state folder can be written or not.
    Disk {
        /// It can.
        writable: bool,
    },
    /// C10: the clock is kept by NTP or not; with the wall clock for what expires by it (L3).
    Clock {
        /// It is kept.
        kept: bool,
        /// Milliseconds since 1970 UTC.
        wall_ms: u64,
    },
    /// F11: the machine or the agent stops in good order.
    Leave,
}

/// Which aliases of a service are on an interface of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// None; also where it has none.
    None,
    /// Some, not all.
    Some,
    /// All.
    All,
}

/// How the units of a service on this node are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitsState {
    /// All that must run does; `took`: since the start was ordered.
    Active {
        /// How long the start took; zero where nothing was started.
        took: Duration,
    },
    /// A start failed, or something that must run ended.
    Failed,
    /// Nothing runs; what is being started or stopped when an agent starts counts as active.
    Inactive {
        /// How the last stop ended.
        stopped: Stopped,
        /// How long it took; zero where nothing was stopped.
        took: Duration,
    },
    /// F14: even KILL did not end it in its time.
    Stuck,
}

/// How a stop ended (F14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopped {
    /// By itself or by TERM.
    #[default]
    Gently,
    /// By KILL.
    Killed,
}

/// What an admin orders; changes of the document are not orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which service.
    pub service: ServiceId,
    /// What.
    pub kind: OrderKind,
}

/// The kinds of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Move, or start where it runs nowhere, on that node.
    MoveTo(NodeId),
}

/// How an engine comes to life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Counts starts of this node's agent; persisted and grown by one before the engine is made.
    pub boot: u64,
    /// Counts lives of the state folder.
    pub incarnation: u32,
    /// Drawn at random for this start.
    pub nonce: u64,
    /// What was kept since the machine's boot; none: the machine restarted, or it was lost.
    pub run: Option<RunState>,
    /// This node was in no such cluster until now: the document was committed to it a moment ago. Its base
    /// records count, and nothing is waited for that a restart would have to wait for.
    pub fresh: bool,
    /// Services whose gate the kernel holds open now, as read back; each with the slot that is live with the most
    /// time left, which is left alone until another is live (PROTOCOL 15, 21).
    pub open: Vec<(ServiceId, u8)>,
}

/// What an engine must not forget while the machine runs (PROTOCOL 35); lost with a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The epoch these belong to.
    pub epoch: u64,
    /// Nodes heard since the machine's boot: a standby that never heard home waits longer.
    #[serde(default)]
    pub met: Vec<NodeId>,
    /// The voter's records.
    pub records: Vec<RunRecord>,
    /// The asker's terms.
    pub holds: Vec<RunHold>,
    /// F10: moves of the last hour.
    #[serde(default)]
    pub moves: Vec<RunMoves>,
}

/// F10: moves of one service that may still count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMoves {
    /// Which service.
    pub service: ServiceId,
    /// Moves up to this term do not count: they were before an order, or what it asked for.
    pub calm: u64,
    /// The term of each, and until when it counts.
    pub moves: Vec<(u64, Mono)>,
}

/// A voter's record of one service (PROTOCOL 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Which service.
    pub service: ServiceId,
    /// The record's term.
    pub term: u64,
    /// Its holder, if any.
    pub holder: Option<NodeId>,
    /// It was released.
    pub released: bool,
    /// To whom.
    pub successor: Option<NodeId>,
}

/// An asker's own term of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHold {
    /// Which service.
    pub service: ServiceId,
    /// The highest term it ever asked for.
    pub asked: u64,
    /// The term that it holds, if it does.
    pub holding: Option<u64>,
    /// The highest term it released: never again.
    pub released: u64,
}

/// F15: one decision. The sentence is for people, the rest for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// This node's boot clock.
    pub at: Mono,
    /// About which service; none: the node or cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// Under which term.
    #[serde(default)]
    pub term: u64,
    /// Which rule decided.
    pub rule: RuleId,
    /// What was seen and done.
    pub sentence: String,
    /// U10: where in a failover's timeline it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// How long the stage took or lies after the one before, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
}

/// U10: the stages of a failover, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The former holder's last ask.
    LastHeard,
    /// It missed beats.
    Suspected,
    /// It counts as down.
    Confirmed,
    /// The former holder closed and stopped.
    Closed,
    /// The gate opened here.
    Unblocked,
    /// The first announcement went out.
    Announced,
    /// The units run.
    Started,
    /// The service is healthy.
    Healthy,
}
