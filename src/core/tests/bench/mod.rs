//! A few engines side by side: fixed latency, no loss, one clock, and words for what goes wrong.

pub(crate) mod interrupt;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use backstay_core::engine::{
    Beat, Effect, Engine, GateOp, HostEvent, Presence, RunState, Start, Stopped, UnitsState,
};
use backstay_core::model::{ClusterDocument, NodeId, ServiceId};
use backstay_core::time::Mono;

/// What a datagram takes.
const LATENCY: u64 = 1_000_000;
/// What starts and stops of units take.
const START: u64 = 200_000_000;
const STOP: u64 = 300_000_000;

#[derive(Clone, Debug)]
enum Event {
    Begin(usize, bool),
    /// An interrupted agent or machine is back, if that life of it was not ended otherwise.
    Back(usize, u32),
    Timer(usize, u64),
    Beat(usize, Rc<Beat>, u8),
    Units(usize, ServiceId, UnitsState),
    Host(usize, HostEvent),
    Fetched(usize, usize),
    Resume(usize),
}

/// One virtual node.
#[derive(Clone, Debug, Default)]
struct Node {
    engine: Option<Engine>,
    document: Option<ClusterDocument>,
    run: Option<RunState>,
    boot: u64,
    timer: u64,
    paused: bool,
    /// C10: by how much its wall clock is ahead, ms.
    clock_ahead: u64,
    waiting: Vec<Event>,
    /// Until when each slot is armed, and whether it is live.
    slots: BTreeMap<(ServiceId, u8), (u64, bool)>,
    open: BTreeSet<ServiceId>,
    running: BTreeSet<ServiceId>,
    off: bool,
    /// Its main link has no carrier.
    unplugged: bool,
    sticky: bool,
    leaving: bool,
    /// Its disk takes no document.
    full: bool,
    /// Counts what the transcript did to its agent or machine.
    life: u32,
    /// Its agent has run without a pause since then.
    well_since: u64,
    /// The kernel's gate is gone and can't be set: whatever alias is up is open.
    gateless: bool,
    /// Whose aliases are up.
    up: BTreeSet<ServiceId>,
}

/// Engines, the network between them, and the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bench {
    now: u64,
    posted: u64,
    queue: BTreeMap<(u64, u64), Event>,
    nodes: Vec<Node>,
    /// From, to, and which link; none: all.
    cuts: BTreeSet<(usize, usize, Option<u8>)>,
    links: u8,
    isolated: BTreeSet<usize>,
    no_reference: bool,
    /// Broken on purpose: what must outlive the agent is forgotten.
    writes_nothing: bool,
    foreign: BTreeSet<ServiceId>,
    document: Option<ClusterDocument>,
    log: Vec<String>,
    /// Until when the command that is being done lets the time go on.
    until: u64,
    watch: interrupt::Watch,
}

impl Bench {
    /// What was logged since the last call.
    pub(crate) fn told(&mut self) -> Vec<String> {
        core::mem::take(&mut self.log)
    }

    fn post(&mut self, after: u64, event: Event) {
        self.posted += 1;
        self.queue.insert((self.now + after, self.posted), event);
    }

    fn say(&mut self, n: usize, what: &str) {
        // Announcements come with time, as beats do.
        self.watch.said += u64::from(!what.starts_with("announces"));
        let ms = self.now / 1_000_000;
        let name = self.name(n);
        self.log.push(format!(
            "{:4}.{:03} {name:<3} {what}",
            ms / 1_000,
            ms % 1_000
        ));
    }

    fn doc(&self) -> &ClusterDocument {
        self.document.as_ref().expect("`cluster` comes first")
    }

    fn name(&self, n: usize) -> String {
        self.doc().members[n].name.to_string()
    }

    fn service_name(&self, id: ServiceId) -> String {
        let service = self.doc().services.iter().find(|s| s.id == id);
        service.map_or_else(|| "?".to_owned(), |s| s.name.to_string())
    }

    fn node_of(&self, id: NodeId) -> usize {
        let at = self.doc().members.iter().position(|m| m.id == id);
        at.expect("a member")
    }

    /// Lets the time go on.
    fn advance(&mut self, by: u64) {
        let until = self.now + by;
        self.until = until;
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 > until {
                break;
            }
            self.now = next.key().0;
            let event = next.remove();
            self.happen(event);
            self.watch_gates();
        }
        self.now = until;
        self.watch_gates();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(n, fresh) => return self.begin(n, fresh),
            Event::Back(n, life) => {
                if self.nodes[n].life == life {
                    self.nodes[n].off = false;
                    self.begin(n, false);
                }
                return;
            }
            Event::Fetched(from, to) => {
                if let Some(document) =
                    (self.nodes[from].document.clone()).filter(|_| !self.nodes[to].full)
                {
                    self.hand_document(to, document);
                }
                return;
            }
            Event::Resume(n) => {
                self.nodes[n].paused = false;
                self.nodes[n].well_since = self.now;
                self.say(n, "(its agent goes on)");
                let waiting = core::mem::take(&mut self.nodes[n].waiting);
                self.feed(n, Engine::handle_timer);
                for event in waiting {
                    self.happen(event);
                }
                return;
            }
            _ => {}
        }
        let (Event::Timer(n, _) | Event::Beat(n, ..) | Event::Units(n, ..) | Event::Host(n, _)) =
            &event
        else {
            return;
        };
        let n = *n;
        if self.nodes[n].paused {
            self.nodes[n].waiting.push(event);
            return;
        }
        match event {
            Event::Timer(_, number) if number == self.nodes[n].timer => {
                self.feed(n, Engine::handle_timer);
            }
            Event::Beat(_, beat, link) => self.feed(n, |e, now| e.handle_beat(&beat, link, now)),
            Event::Units(_, service, state) => {
                if self.nodes[n].off {
                    return;
                }
                match state {
                    UnitsState::Active { .. } => self.nodes[n].running.insert(service),
                    UnitsState::Stuck => false,
                    _ => self.nodes[n].running.remove(&service),
                };
                self.feed(n, |e, now| e.handle_units(service, state, now));
            }
            Event::Host(_, event) => self.feed(n, |e, now| e.handle_host(event, now)),
            _ => {}
        }
    }

    fn begin(&mut self, n: usize, fresh: bool) {
        let now = Mono(self.now);
        let node = &mut self.nodes[n];
        if node.off || node.engine.is_some() {
            return;
        }
        node.boot += 1;
        node.well_since = self.now;
        let newest = |service: &ServiceId| {
            let mine = node.slots.iter().filter(|((s, _), _)| s == service);
            mine.max_by_key(|(_, (until, live))| (*live, *until))
                .map(|((s, slot), _)| (*s, *slot))
        };
        let start = Start {
            boot: node.boot,
            incarnation: 1,
            nonce: node.boot * 100 + n as u64,
            run: node.run.clone(),
            fresh,
            open: node.open.iter().filter_map(newest).collect(),
        };
        let document = node.document.clone().expect("a document");
        let me = document.members[n].id;
        let services: Vec<_> = document.services.iter().map(|s| s.id).collect();
        node.engine = Some(Engine::new(me, start, document, now));
        self.tell_clock(n);
        if self.nodes[n].unplugged {
            self.feed(n, |e, now| {
                e.handle_host(HostEvent::Link { up: false }, now);
            });
        }
        for service in services {
            let state = if self.nodes[n].running.contains(&service) {
                UnitsState::Active {
                    took: Duration::ZERO,
                }
            } else {
                UnitsState::Inactive {
                    stopped: Stopped::Gently,
                    took: Duration::ZERO,
                }
            };
            self.feed(n, |e, now| e.handle_units(service, state, now));
        }
    }

    fn hand_document(&mut self, n: usize, document: ClusterDocument) {
        if self.nodes[n].off {
            return;
        }
        let before = self.nodes[n].document.replace(document.clone());
        let me = before.map(|d| d.members[n].id);
        let replaced = me.is_some_and(|me| document.replaced(me).is_some());
        self.feed(n, |e, now| e.handle_document(document, now));
        if replaced {
            // As the agent does it: what it has is closed and stopped, and it is in the cluster no more (C16).
            self.say(n, "(has learned that it was replaced)");
            self.power_off(n);
            self.watch_gates();
        }
    }

    /// One input and all that follows from it.
    fn feed(&mut self, n: usize, input: impl FnOnce(&mut Engine, Mono)) {
        let now = Mono(self.now);
        let Some(mut engine) = self.nodes[n].engine.take() else {
            return;
        };
        input(&mut engine, now);
        let mut leaves = false;
        while let Some(effect) = engine.poll_effect() {
            self.interrupt(n, &effect);
            match effect {
                Effect::SendBeats => {
                    let beat = engine.beat(now).clone();
                    self.send(n, &beat);
                }
                Effect::Persist if self.writes_nothing => {}
                Effect::Persist => self.nodes[n].run = Some(engine.run_state()),
                Effect::HandedOver => leaves = true,
                Effect::Gate(_) if self.nodes[n].gateless => engine.handle_failed(&effect, now),
                other => self.carry_out(n, other),
            }
        }
        let at = engine.poll_timer(now);
        self.nodes[n].timer += 1;
        let number = self.nodes[n].timer;
        self.post(at.0.saturating_sub(self.now), Event::Timer(n, number));
        self.nodes[n].engine = Some(engine);
        if leaves {
            self.say(n, "(has handed over and is off)");
            self.power_off(n);
        }
    }

    fn send(&mut self, n: usize, beat: &Beat) {
        let beat = Rc::new(beat.clone());
        for to in (0..self.nodes.len()).filter(|to| *to != n) {
            for link in 0..self.links {
                if self.passes(n, to, link) {
                    self.post(LATENCY, Event::Beat(to, Rc::clone(&beat), link));
                }
            }
        }
    }

    fn passes(&self, from: usize, to: usize, link: u8) -> bool {
        let unplugged = |n: usize| link == 0 && self.nodes[n].unplugged;
        !self.cuts.contains(&(from, to, None))
            && !self.cuts.contains(&(from, to, Some(link)))
            && !unplugged(from)
            && !unplugged(to)
            && !self.isolated.contains(&from)
            && !self.isolated.contains(&to)
    }

    fn carry_out(&mut self, n: usize, effect: Effect) {
        self.check_order(n, &effect);
        match effect {
            Effect::Gate(op) => self.gate(n, op),
            Effect::AddAddresses(s) => {
                self.nodes[n].up.insert(s);
                self.tell(n, "puts up the alias of", s);
            }
            Effect::RemoveAddresses(service) => {
                self.nodes[n].up.remove(&service);
                self.tell(n, "takes down the alias of", service);
                if self.nodes[n].gateless {
                    let present = Presence::None;
                    let event = HostEvent::AliasPresent { service, present };
                    self.post(LATENCY, Event::Host(n, event));
                    self.watch_gates();
                }
            }
            Effect::DropAlias(alias) => {
                let services = &self.doc().services;
                let of = services.iter().find(|s| s.moving().any(|a| a == alias));
                let service = of.expect("a service").id;
                self.nodes[n].slots.retain(|(s, _), _| *s != service);
                self.nodes[n].up.remove(&service);
                self.watch_gates();
                self.tell(n, "drops the alias of", service);
            }
            Effect::Announce {
                service,
                reply_form,
            } => {
                let form = if reply_form { "(reply)" } else { "(request)" };
                let what = format!("announces {} {form}", self.service_name(service));
                self.say(n, &what);
            }
            Effect::Probe { service, .. } => {
                self.tell(n, "probes the alias of", service);
                let used = self.foreign.contains(&service);
                let event = HostEvent::AliasInUse { service, used };
                self.post(100 * LATENCY, Event::Host(n, event));
            }
            Effect::CheckReference => {
                let way_out = !self.isolated.contains(&n);
                let answered = (!self.no_reference).then_some(way_out);
                self.post(LATENCY, Event::Host(n, HostEvent::Reference { answered }));
            }
            Effect::StartUnits(s) => self.start(n, s),
            Effect::StopUnits(s) => self.stop(n, s),
            Effect::RunHooks { service, returned } => {
                let moment = if returned { "return" } else { "takeover" };
                let what = format!(
                    "runs the hooks of {} after {moment}",
                    self.service_name(service)
                );
                self.say(n, &what);
            }
            Effect::FetchDocument { from, revision } => {
                let from = self.node_of(from);
                let what = format!("fetches revision {revision} from {}", self.name(from));
                self.say(n, &what);
                self.post(10 * LATENCY, Event::Fetched(from, n));
            }
            Effect::Record(record) => {
                let took = record
                    .took_us
                    .map_or(String::new(), |us| format!(" [{} ms]", us / 1_000));
                let what = format!("{} {}{took}", record.rule, record.sentence);
                self.say(n, &what);
            }
            Effect::Persist
            | Effect::FetchSystem { .. }
            | Effect::SendBeats
            | Effect::HandedOver => {}
        }
    }

    fn tell(&mut self, n: usize, what: &str, service: ServiceId) {
        let what = format!("{what} {}", self.service_name(service));
        self.say(n, &what);
    }

    fn gate(&mut self, n: usize, op: GateOp) {
        let hold = u64::try_from(self.doc().hold().as_nanos()).unwrap_or(u64::MAX);
        let slots = &mut self.nodes[n].slots;
        match op {
            GateOp::Guard => {}
            GateOp::Arm { service, slot } => {
                slots.insert((service, slot), (self.now + hold, false));
            }
            GateOp::Live { service, slot } => {
                if let Some(armed) = slots.get_mut(&(service, slot)) {
                    armed.1 = true;
                }
            }
            GateOp::Close { service } => slots.retain(|(s, _), _| *s != service),
        }
        self.watch_gates();
    }

    /// Says where a gate has opened or closed.
    fn watch_gates(&mut self) {
        for n in 0..self.nodes.len() {
            let now = self.now;
            let slots = &self.nodes[n].slots;
            let mut open: BTreeSet<_> = slots
                .iter()
                .filter(|(_, (until, live))| *live && *until > now)
                .map(|((s, _), _)| *s)
                .collect();
            if self.nodes[n].gateless {
                open.clone_from(&self.nodes[n].up);
            }
            let was = core::mem::replace(&mut self.nodes[n].open, open.clone());
            for service in open.difference(&was) {
                self.tell(n, "gate opens for", *service);
                self.check_opened(n, *service);
            }
            for service in was.difference(&open) {
                self.tell(n, "gate closes for", *service);
            }
        }
    }

    fn start(&mut self, n: usize, s: ServiceId) {
        if self.nodes[n].running.contains(&s) {
            let took = Duration::ZERO;
            self.post(0, Event::Units(n, s, UnitsState::Active { took }));
            return;
        }
        self.tell(n, "starts the units of", s);
        let took = Duration::from_nanos(START);
        self.post(START, Event::Units(n, s, UnitsState::Active { took }));
    }

    fn stop(&mut self, n: usize, s: ServiceId) {
        self.tell(n, "stops the units of", s);
        let took = Duration::from_nanos(STOP);
        let state = if self.nodes[n].sticky {
            UnitsState::Stuck
        } else {
            UnitsState::Inactive {
                stopped: Stopped::Gently,
                took,
            }
        };
        self.post(STOP, Event::Units(n, s, state));
    }

    fn power_off(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.off = true;
        node.paused = false;
        node.engine = None;
        node.run = None;
        node.slots.clear();
        node.open.clear();
        node.up.clear();
        node.running.clear();
        node.waiting.clear();
        node.leaving = false;
        node.life += 1;
    }
}
