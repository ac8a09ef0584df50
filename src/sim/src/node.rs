//! One node: its machine, what outlives what, and the agent on it.

use std::collections::VecDeque;
use std::rc::Rc;

use backstay_core::engine::{Beat, Effect, Engine, HostEvent, Order, RunState, UnitsState};
use backstay_core::model::{ClusterDocument, ServiceId};

use crate::machine::{Clock, Gate, Ns, Units};

/// What reaches an agent.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A datagram.
    Beat(Rc<Beat>, u8),
    /// Its timer.
    Timer,
    /// Its units' state.
    Units(ServiceId, UnitsState),
    /// A document, committed here or fetched; it is on disk already.
    Document(Rc<ClusterDocument>),
    /// Something of the machine.
    Host(HostEvent),
    /// An admin's order.
    Order(Order),
}

/// What an agent has in hand, between two effect boundaries.
#[derive(Clone, Debug)]
pub(crate) enum Hand {
    /// An effect that was polled and not yet carried out.
    Effect(Effect),
    /// A beat that was composed and not yet sent.
    Composed(Rc<Beat>),
}

/// What happens to an agent at an effect boundary.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trap {
    /// It stands still for so long.
    Pause(Ns),
    /// It is killed, and started again after so long.
    Crash(Ns),
}

/// The agent of a node.
#[derive(Debug)]
pub(crate) struct Agent {
    /// The engine under test.
    pub(crate) engine: Engine,
    /// Between two boundaries.
    pub(crate) hand: Option<Hand>,
    /// What has not yet been handed in.
    pub(crate) inbox: VecDeque<Input>,
    /// It stands still.
    pub(crate) paused: bool,
    /// It was paused in the middle of the effects that are being carried out.
    pub(crate) torn: bool,
    /// After so many more boundaries this happens.
    pub(crate) trap: Option<(u64, Trap)>,
    /// Which of the scheduled timers counts.
    pub(crate) timer: u64,
    /// When it was started.
    pub(crate) started: Ns,
    /// It was started without memory of the machine's boot.
    pub(crate) blank: bool,
    /// Its nonce: beats that echo it were made after its start.
    pub(crate) nonce: u64,
    /// Beats that it composed.
    pub(crate) beats: u64,
    /// How often in a row the timer did not lie ahead.
    pub(crate) spins: u32,
    /// Orders are in its last beat.
    pub(crate) orders: bool,
}

impl Agent {
    /// The agent around that engine.
    pub(crate) const fn new(engine: Engine, started: Ns, blank: bool) -> Self {
        Self {
            engine,
            hand: None,
            inbox: VecDeque::new(),
            paused: false,
            torn: false,
            trap: None,
            timer: 0,
            started,
            blank,
            nonce: 0,
            beats: 0,
            spins: 0,
            orders: false,
        }
    }
}

/// Whether the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// It does.
    On,
    /// It does not.
    Off,
    /// It stands still since then, its clock with it.
    Frozen(Ns),
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its boot-time clock.
    pub(crate) clock: Clock,
    /// Whether it runs.
    pub(crate) power: Power,
    /// Counts ends of its machine and of its agent: what was under way for a former one is void.
    pub(crate) life: u32,
    /// Counts ends of its machine.
    pub(crate) machine_life: u32,
    /// The agent, if one runs.
    pub(crate) agent: Option<Box<Agent>>,
    /// Memory-backed: survives the agent, not the machine.
    pub(crate) run: Option<RunState>,
    /// On disk: starts of its agent.
    pub(crate) boot: u64,
    /// On disk.
    pub(crate) document: Rc<ClusterDocument>,
    /// The kernel's gate, by service.
    pub(crate) gates: Vec<Gate>,
    /// Aliases on the interface, by service.
    pub(crate) addresses: Vec<bool>,
    /// Units, by service.
    pub(crate) units: Vec<Units>,
    /// Which of the scheduled changes of units counts, by service.
    pub(crate) units_stamp: Vec<u64>,
    /// When the last change of units was ordered, by service.
    pub(crate) units_since: Vec<Ns>,
    /// This machine told its agent that a stop did not end (F14), by service.
    pub(crate) told_stuck: Vec<bool>,
    /// Its agent has run without a pause since then.
    pub(crate) well_since: Ns,
    /// It was last frozen until then.
    pub(crate) thawed: Option<Ns>,
    /// It is stopping in good order and will be off when handed over.
    pub(crate) leaving: bool,
    /// What it refuses its agent now.
    pub(crate) refuses: Refusals,
}

/// Effects that a machine refuses: how many faults there are of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Refusals {
    /// Changes of the gate.
    pub(crate) gate: u8,
    /// Writing the run state.
    pub(crate) run: u8,
    /// Changes of addresses.
    pub(crate) addresses: u8,
    /// Its agent will look at the gate by itself.
    pub(crate) verified: bool,
    /// Its gate was flushed, and its agent does not know yet.
    pub(crate) flushed: bool,
}

impl Refusals {
    /// Anything.
    pub(crate) const fn any(self) -> bool {
        self.gate + self.run + self.addresses > 0
    }
}

impl Node {
    /// A machine of a cluster with so many services, freshly created.
    pub(crate) fn new(clock: Clock, document: Rc<ClusterDocument>) -> Self {
        let services = document.services.len();
        Self {
            clock,
            power: Power::On,
            life: 0,
            machine_life: 0,
            agent: None,
            run: None,
            boot: 0,
            document,
            gates: vec![Gate::default(); services],
            addresses: vec![false; services],
            units: vec![Units::Off; services],
            units_stamp: vec![0; services],
            units_since: vec![0; services],
            told_stuck: vec![false; services],
            well_since: 0,
            thawed: None,
            leaving: false,
            refuses: Refusals::default(),
        }
    }

    /// Its alias passes packets now.
    pub(crate) fn is_open(&self, service: usize, now: Ns) -> bool {
        self.power == Power::On && self.gates[service].is_open(now)
    }

    /// Its alias is open and on an interface: taking it off is how an agent closes a gate that it can't set.
    pub(crate) fn is_reached(&self, service: usize, now: Ns) -> bool {
        self.addresses[service] && self.is_open(service, now)
    }

    /// Its agent runs and is not held up.
    pub(crate) fn is_well(&self) -> bool {
        self.power == Power::On && self.agent.as_ref().is_some_and(|a| !a.paused)
    }

    /// Everything that ends with the machine ends.
    pub(crate) fn lose_power(&mut self) {
        let services = self.gates.len();
        self.power = Power::Off;
        self.life += 1;
        self.machine_life += 1;
        self.agent = None;
        self.run = None;
        self.leaving = false;
        self.refuses.flushed = false;
        self.refuses.verified = false;
        self.gates = vec![Gate::default(); services];
        self.addresses = vec![false; services];
        self.units = vec![Units::Off; services];
        self.told_stuck = vec![false; services];
        for stamp in &mut self.units_stamp {
            *stamp += 1;
        }
    }
}
