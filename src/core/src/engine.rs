//! The decisions of one node in one cluster.
//!
//! Whoever drives an [`Engine`] keeps this contract:
//!
//! 1. Call a `handle_*` with what happened and the time, then [`Engine::poll_effect`] until it
//!    answers `None`, carrying out each effect *in order and to its end* before the next is taken.
//!    The order is the safety rule: *persist, block, act, tell peers*.
//! 2. An effect that can't be carried out is told by [`Engine::handle_failed`] before the next is
//!    taken.
//! 3. Then ask [`Engine::poll_timer`] and call [`Engine::handle_timer`] no later than it says. A
//!    driver that was held up calls `handle_timer` first, before it hands in what queued up.
//! 4. Before the first beat, say by [`Engine::handle_units`] what runs, for every service.
//! 5. [`Engine::beat`] is told the time at that moment, not the input's: between arming a slot and making
//!    it live it is asked for, and takes back what a pause has made void. [`Engine::new`] is told a time
//!    that was read before the gate was read back.
//!
//! Same inputs, same outputs.

mod advice;
mod alarms;
mod beat;
mod begin;
mod calm;
mod clocks;
mod effect;
mod failed;
mod hands;
mod hold;
mod host;
mod lifecycle;
mod links;
mod local;
mod look;
mod maintenance;
mod membership;
mod merge;
mod mutation;
mod permission;
mod placement;
mod places;
mod seen;
mod speak;
mod tell;
mod unrest;
mod view;
mod voter;
mod why;

use core::time::Duration;
use std::collections::VecDeque;

use arrayvec::ArrayVec;

use crate::model::{ClusterDocument, MAX_SERVICES, NodeId, Problem, RuleId, ServiceId};
use crate::time::Mono;

use alarms::Alarms;
use host::Host;
use lifecycle::{Event, Phase};
use links::LinkWatch;
use local::Local;
use membership::{Bounds, Heard, Peer};
use speak::Fetching;

pub use beat::{
    AgentVersion, Answer, Ask, Beat, BeatOrder, HIGHEST_TERM, HearsPeer, HostFlags, MAX_MOVES,
    MoveReport, Refused, Released, ServiceReport, SilentLinks, Verdict, phase,
};
pub use effect::{
    Effect, GateOp, HostEvent, Order, OrderKind, Presence, Record, RunHold, RunMoves, RunRecord,
    RunState, Stage, Start, Stopped, UnitsState,
};
pub use lifecycle::diagram;
pub use links::MAX_LINKS;
pub use merge::merge;
#[doc(hidden)]
pub use mutation::Mutation;
pub use view::{
    AddressView, AlarmView, ClusterView, LockView, MaintenanceView, NodeState, NodeView,
    ServiceState, ServiceView, Severity,
};

/// Rows of the life-cycle table; [`Engine::rows_taken`] has a bit for each.
pub const LIFECYCLE_ROWS: usize = lifecycle::ROWS.len();

/// The clock rate error that waits allow for (PROTOCOL 36): one in a thousand.
const RHO: f64 = 0.001;
/// How long an order is carried before it is void, if nobody could act on it.
const ORDER_LASTS: Duration = Duration::from_secs(30);

/// One node's decisions in one cluster.
#[derive(Clone, Debug)]
pub struct Engine {
    me: NodeId,
    /// My place in the document.
    my: usize,
    start: Start,
    document: ClusterDocument,
    hash: u64,
    beat_every: Duration,
    hold_for: Duration,
    bounds: Bounds,
    peers: Vec<Peer>,
    services: Vec<Local>,
    host: Host,
    started: Mono,
    /// When the present revision was taken.
    adopted: Mono,
    /// What this agent is.
    version: AgentVersion,
    silent_until: Mono,
    listening: bool,
    no_grant_until: Mono,
    leaving: bool,
    handed_over: bool,
    next_beat: Mono,
    /// What `poll_timer` last promised, to notice being held up.
    promised: Option<Mono>,
    /// A restarted agent arms nothing before it is heard, or until then.
    alone_at: Option<Mono>,
    /// Held up before: until then what queued up meanwhile may not have been handed in yet.
    informed_at: Mono,
    /// The last time that was told: between two promises nothing takes long.
    seen: Mono,
    sequence: u64,
    send_now: bool,
    greeted: Mono,
    persist_now: bool,
    /// The last effect that was asked for is to write the run state.
    writing: bool,
    answers: ArrayVec<Answer, MAX_SERVICES>,
    orders: ArrayVec<(BeatOrder, Mono), 4>,
    met: Vec<NodeId>,
    /// Nodes that were taken out and don't know it yet: what they drew at their start, and when they were heard.
    strays: ArrayVec<(NodeId, u64, Mono), 4>,
    fetch: Option<Fetching>,
    fetch_system: Option<Fetching>,
    system_revision: u64,
    /// The last one sent; none: it is being made, or none was.
    beat: Option<Box<Beat>>,
    effects: VecDeque<Effect>,
    alarms: Alarms,
    links: LinkWatch,
    rows: u64,
    #[cfg(feature = "mutations")]
    mutation: Option<mutation::Mutation>,
}

impl Engine {
    /// The engine of node `me` in the cluster of `document`. A document that does not name `me`
    /// makes an engine that decides nothing.
    pub fn new(me: NodeId, start: Start, document: ClusterDocument, now: Mono) -> Self {
        let wait = document.wait();
        let restarted = start.run.is_none() && !start.fresh;
        let mut engine = Self {
            me,
            my: usize::MAX,
            hash: document.short_hash(),
            beat_every: document.beat(),
            hold_for: document.hold(),
            bounds: bounds(&document),
            peers: Vec::new(),
            services: Vec::new(),
            host: Host {
                link_down_since: None,
                gate_ok: true,
                gate_restored: None,
                alias_restored: None,
                disk_ok: true,
                run_ok: true,
                clock_kept: true,
                wall: None,
                reference: None,
                reference_asked: None,
            },
            started: now,
            adopted: now,
            version: AgentVersion::own(),
            silent_until: if restarted {
                now.after(wait.mul_f64(1.0 + RHO))
            } else {
                now
            },
            listening: restarted,
            no_grant_until: if start.fresh { now.after(wait) } else { now },
            leaving: false,
            handed_over: false,
            next_beat: now,
            promised: None,
            alone_at: None,
            strays: ArrayVec::new(),
            informed_at: now,
            seen: now,
            sequence: 0,
            send_now: false,
            greeted: now,
            persist_now: false,
            writing: false,
            answers: ArrayVec::new(),
            orders: ArrayVec::new(),
            met: start
                .run
                .as_ref()
                .map_or_else(Vec::new, |run| run.met.clone()),
            fetch: None,
            fetch_system: None,
            system_revision: 0,
            beat: None,
            effects: VecDeque::with_capacity(64),
            alarms: Alarms::default(),
            links: LinkWatch::default(),
            rows: 0,
            #[cfg(feature = "mutations")]
            mutation: None,
            start,
            document,
        };
        engine.align(now);
        if engine.start.fresh {
            engine.inherit_base(now);
        } else if let Some(run) = engine.start.run.clone() {
            engine.restore(&run, now);
            engine.alone_at = Some(now.after(engine.soon()));
        }
        engine.effects.push_back(Effect::Gate(GateOp::Guard));
        engine.persist_now = true;
        engine.settle(now);
        engine
    }

    // ---- getters ----

    /// The document that this engine goes by.
    pub const fn document(&self) -> &ClusterDocument {
        &self.document
    }

    /// A bit for each row of the life-cycle table that was taken.
    pub const fn rows_taken(&self) -> u64 {
        self.rows
    }

    // ---- inputs ----

    /// A verified datagram arrived over that link.
    pub fn handle_beat(&mut self, beat: &Beat, link: u8, now: Mono) {
        self.enter(now);
        if beat.cluster != self.document.id || self.my == usize::MAX {
            return;
        }
        let Some(at) = self
            .peers
            .iter()
            .position(|p| p.id == beat.from && p.id != self.me)
        else {
            // A node that was taken out learns so from a beat of ours (C7, C8, C16): one that proves that it is new.
            if self.document.former.iter().any(|f| f.id == beat.from) {
                self.strays.retain(|(id, ..)| *id != beat.from);
                if self.strays.is_full() {
                    self.strays.remove(0);
                }
                self.strays.push((beat.from, beat.nonce, now));
                self.greet(now);
            }
            return;
        };
        let knows_me = beat
            .hears
            .iter()
            .any(|h| h.node == self.me && h.echo == self.start.nonce);
        let first = self.peers[at].heard.is_none() || beat.boot != self.peers[at].last.boot;
        match self.peers[at].hear(beat, self.me, self.start.nonce, link, now) {
            Heard::Old => return,
            Heard::Unproven => {
                self.greet(now);
                return;
            }
            Heard::Fresh => {}
        }
        if first || !knows_me {
            self.greet(now);
        }
        if first && !self.met.contains(&beat.from) {
            self.met.push(beat.from);
            self.persist_now = true;
        }
        self.compare_clock(at, beat.wall_ms, now);
        self.follow_documents(beat, now);
        for report in &beat.services {
            self.learn(report.service, |l| l.saw(report.term));
        }
        self.hear_releases(beat, now);
        self.hear_asks(at, beat, now);
        self.hear_moves(beat, now); // after its own look at who has what: it may know better
        self.hear_answers(at, beat, now);
        for order in &beat.orders {
            self.take_order(*order, now);
        }
        self.watch_rivals(at, now);
        self.settle(now);
        if self.alone_at.take().is_some() {
            self.renew(now); // from now on what it asks counts
        }
    }

    /// The time that [`Engine::poll_timer`] named has come.
    pub fn handle_timer(&mut self, now: Mono) {
        self.enter(now);
        self.settle(now);
        let alone = self.alone_at.take_if(|at| now >= *at).is_some();
        if alone || now >= self.next_beat {
            // Beats keep their rhythm; after a pause they do not catch up.
            self.next_beat = self.next_beat.after(self.beat_every);
            if self.next_beat <= now {
                self.next_beat = now.after(self.beat_every);
            }
            self.renew(now);
            self.refresh_alarms(now);
        }
    }

    /// An admin's order, checked against what is known here. It is carried to whoever must act.
    ///
    /// # Errors
    /// The rule that refuses; nothing was changed.
    pub fn handle_order(&mut self, order: Order, now: Mono) -> Result<(), Problem> {
        self.enter(now);
        let OrderKind::MoveTo(target) = order.kind;
        let (at, to) = self.check_order(order.service, target, now)?;
        if self.is_only_on(at, to, now) {
            return Ok(()); // it is there: an order that lingers could only do harm
        }
        let order = BeatOrder {
            service: order.service,
            at_term: self.services[at].highest,
            target: self.peers[to].id,
            number: now.0,
        };
        let until = now.after(ORDER_LASTS);
        self.orders.retain(|(o, _)| o.service != order.service);
        if self.orders.is_full() {
            self.orders.remove(0);
        }
        self.orders.push((order, until));
        self.services[at].order = Some((order, until));
        self.services[at].unrest.ordered(order.at_term); // F10
        self.persist_now = true;
        self.send_now = true;
        self.settle(now);
        Ok(())
    }

    /// How the service's units on this machine are.
    pub fn handle_units(&mut self, service: ServiceId, state: UnitsState, now: Mono) {
        self.enter(now);
        let Some(i) = self.place(service) else { return };
        let phase = self.services[i].phase;
        let event = match state {
            UnitsState::Active { took } => {
                self.services[i].units_run = Some(true);
                if phase == Phase::Starting {
                    self.record_started(i, took, now);
                }
                Some(Event::Started)
            }
            UnitsState::Failed => {
                // One of several units may have ended while others run.
                self.services[i].units_run = Some(phase.holds());
                self.services[i].stop_seen = true;
                match phase {
                    Phase::Stopping => None, // see `settle`
                    Phase::Stuck => Some(Event::Stopped),
                    _ => Some(Event::Broken),
                }
            }
            UnitsState::Inactive { stopped, took } => {
                self.services[i].units_run = Some(false);
                self.services[i].stop_seen = true;
                if phase == Phase::Stopping {
                    self.record_stopped(i, stopped, took, now);
                }
                match phase {
                    Phase::Running => Some(Event::Broken),
                    Phase::Starting | Phase::Stopping => None,
                    _ => Some(Event::Stopped),
                }
            }
            UnitsState::Stuck => Some(Event::Unstoppable),
        };
        if let Some(event) = event {
            self.step(i, event, now);
        }
        self.settle(now);
    }

    /// A newer document was committed or fetched. The caller has checked it.
    pub fn handle_document(&mut self, document: ClusterDocument, now: Mono) {
        self.enter(now);
        let newer = document.revision > self.document.revision
            || (document.revision == self.document.revision && document.short_hash() > self.hash);
        if document.id != self.document.id || !newer {
            return;
        }
        let epoch_changed = document.epoch > self.document.epoch;
        let wait = document.wait().max(self.document.wait());
        let shorter_hold = document.hold() < self.hold_for;
        self.hash = document.short_hash();
        self.beat_every = document.beat();
        self.hold_for = document.hold();
        self.bounds = bounds(&document);
        self.links.keep(&self.document, &document);
        self.let_go(&document, now);
        self.move_places(&document, now);
        self.document = document;
        self.adopted = now;
        self.fetch = None;
        self.align(now);
        if epoch_changed {
            self.no_grant_until = now.after(wait);
            self.inherit_base(now);
        }
        self.effects.push_back(Effect::Gate(GateOp::Guard));
        self.persist_now = true;
        self.send_now = true;
        self.next_beat = self.next_beat.min(now.after(self.beat_every));
        self.settle(now);
        if shorter_hold {
            self.renew(now); // by the shorter one the newest slot may count as run out before the next beat
        }
    }

    /// Something happened on this machine.
    pub fn handle_host(&mut self, event: HostEvent, now: Mono) {
        self.enter(now);
        match event {
            HostEvent::Link { up } => self.host.link(up, now),
            HostEvent::Reference { answered } => self.host.reference = Some((answered, now)),
            HostEvent::AliasInUse { service, used } => {
                if let Some(i) = self.place(service) {
                    self.services[i].alias_used = used;
                }
            }
            HostEvent::AliasPresent { service, present } => {
                self.mend_addresses(service, present, now);
            }
            HostEvent::Gate { intact } => {
                if intact && !self.host.gate_ok {
                    self.renew(now);
                }
                self.host.gate_ok = intact;
            }
            HostEvent::GateRestored { took } => self.gate_restored(took, now),
            HostEvent::Disk { writable } => self.host.disk_ok = writable,
            HostEvent::Clock { kept, wall_ms } => {
                self.host.clock_kept = kept;
                self.host.wall = Some((wall_ms, now));
            }
            HostEvent::Leave => {
                self.leaving = true;
                self.send_now = true;
            }
        }
        self.settle(now);
    }

    /// The revision of the system document that this node has.
    pub fn handle_system(&mut self, revision: u64) {
        self.system_revision = revision;
        self.fetch_system = None;
    }

    // ---- outputs ----

    /// What to do next; see the contract above.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.note_written();
        let effect = if core::mem::take(&mut self.persist_now) {
            Some(Effect::Persist)
        } else if let Some(effect) = self.effects.pop_front() {
            Some(effect)
        } else {
            core::mem::take(&mut self.send_now).then_some(Effect::SendBeats)
        };
        self.writing = effect == Some(Effect::Persist);
        effect
    }

    /// When [`Engine::handle_timer`] wants to be called.
    pub fn poll_timer(&mut self, now: Mono) -> Mono {
        self.notice(now);
        let at = self.deadline(now);
        self.promised = Some(at);
        at
    }

    // ---- inside ----

    /// Was this node held up, before an input or in the middle of effects? Then silence that fell into
    /// the pause is nobody's (PROTOCOL 18; S5).
    fn notice(&mut self, now: Mono) {
        let due = self.promised.take().unwrap_or(self.seen);
        self.seen = self.seen.max(now);
        let late = now.since(due);
        if late > self.beat_every.max(Duration::from_millis(50)) {
            self.started = self.started.after(late);
            self.informed_at = now.after(self.bounds.suspect);
            for peer in &mut self.peers {
                peer.forgive(late);
            }
            for local in &mut self.services {
                local.ask_heard = local.ask_heard.after(late);
                local.ballot.heard = local.ballot.heard.after(late);
                local.query = local::Query::default(); // what was agreed to before is old
            }
        }
    }

    /// The first thing at every input: what this node holds is doubted before anything else.
    fn enter(&mut self, now: Mono) {
        self.notice(now);
        for i in 0..self.services.len() {
            if !self.breaks(Mutation::IgnoresLapse)
                && self.services[i].hold.has_lapsed(self.hold_for, now)
                && self.services[i].phase.holds()
            {
                self.step(i, Event::Lapse, now);
            }
        }
    }

    /// How long a restarted agent waits for an answer before it takes itself for alone.
    fn soon(&self) -> Duration {
        (self.beat_every / 2).min(Duration::from_millis(100))
    }

    fn place(&self, service: ServiceId) -> Option<usize> {
        self.services.iter().position(|l| l.id == service)
    }

    fn learn(&mut self, service: ServiceId, what: impl FnOnce(&mut Local)) {
        if let Some(i) = self.place(service) {
            what(&mut self.services[i]);
        }
    }

    /// Answers a node that does not know this one yet; bounded, so that two can't keep each other busy.
    fn greet(&mut self, now: Mono) {
        if self.greeted <= now {
            self.greeted = now.after(Duration::from_millis(10));
            self.send_now = true;
        }
    }

    fn refusal(rule: &'static str, place: String, what: String, mend: String) -> Problem {
        Problem {
            rule: RuleId::of(rule),
            place,
            what,
            mend,
        }
    }
}

/// Suspect after two and a half beats, down after W.
fn bounds(document: &ClusterDocument) -> Bounds {
    Bounds {
        suspect: document.beat().mul_f64(2.5),
        down: document.wait(),
    }
}
