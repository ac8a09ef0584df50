//! The virtual clock and what happens by it.

use std::collections::BTreeMap;
use std::rc::Rc;

use backstay_core::engine::{Beat, Engine, HearsPeer, HostEvent, Start};
use backstay_core::model::{ClusterDocument, NodeId, ServiceId};
use backstay_core::time::Mono;

use crate::checks::Checks;
use crate::cluster;
use crate::faults::Script;
use crate::machine::{Clock, JIFFY, MS, Ns, SEC, Temper, Units, ns};
use crate::net::Net;
use crate::node::{Agent, Input, Node, Power};
use crate::rng::Rng;

/// What a simulation is asked for, besides its seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many nodes; none: 3 to 11 by seed.
    pub nodes: Option<usize>,
    /// Called with each new engine: tests break rules with it.
    pub prepare: Option<fn(&mut Engine)>,
    /// Admins also work on nodes (F17). Without it a seed means what it meant before there was that.
    pub maintenance: bool,
    /// Machines also refuse what their agents want done. The same holds for older seeds.
    pub refusals: bool,
    /// Keep what happened, to be shown.
    pub trace: bool,
}

impl Options {
    /// What there is besides faults goes by seed.
    pub const fn mixed(seed: u64) -> Self {
        Self {
            nodes: None,
            prepare: None,
            maintenance: matches!(seed % 10, 5 | 9),
            refusals: matches!(seed % 10, 6..=9),
            trace: false,
        }
    }
}

/// A broken rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
    /// When, true time.
    pub at: Ns,
}

/// What is scheduled.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A datagram arrives.
    Beat(usize, Rc<Beat>, u8),
    /// A timer of that number.
    Timer(usize, u64),
    /// Units reach that state.
    Units(usize, usize, u64),
    /// Something for the agent of that life.
    Input(usize, u32, Input),
    /// A fetched document arrives: from, to, life, the asked-for node's life.
    Fetched(usize, usize, u32),
    /// The agent of that life looks at its addresses of that service.
    Look(usize, u32, usize),
    /// A paused agent goes on.
    Resume(usize, u32),
    /// A frozen machine goes on.
    Thaw(usize),
    /// An agent is started.
    Begin(usize, u32),
    /// A machine that stops in good order is given no more time.
    PowerOff(usize, u32),
    /// Every machine that is off boots.
    ReviveAll,
    /// The script goes on.
    Script,
    /// S5: that gate must be closed, if the agent of that life is still held up.
    MustBeShut(usize, u32, Ns),
}

/// A whole cluster.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Ns,
    queue: BTreeMap<(Ns, u64), Event>,
    posted: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) temper: Temper,
    pub(crate) first: Rc<ClusterDocument>,
    /// Foreign equipment uses the service's alias (A2).
    pub(crate) foreign: Vec<bool>,
    /// The reference address exists (S1).
    pub(crate) has_reference: bool,
    pub(crate) options: Options,
    pub(crate) checks: Checks,
    pub(crate) script: Script,
    pub(crate) trace: Vec<String>,
    pub(crate) rows: u64,
    pub(crate) over: bool,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let document = Rc::new(cluster::document(&mut rng, options.nodes));
        let size = document.members.len();
        let services = document.services.len();
        let links = document.members[0].bases.len();
        let nodes = (0..size)
            .map(|_| {
                let clock = Clock {
                    base: rng.below(1_000_000) * SEC / 10,
                    origin: 0,
                    ppm: rng.between(0, 2_000).cast_signed() - 1_000,
                };
                Node::new(clock, Rc::clone(&document))
            })
            .collect();
        let net = Net::of(&mut rng, size, links);
        let temper = Temper::of(&mut rng);
        let script = Script::of(&mut rng, options.refusals);
        let mut world = Self {
            now: SEC,
            queue: BTreeMap::new(),
            posted: 0,
            nodes,
            net,
            temper,
            foreign: vec![false; services],
            has_reference: rng.chance(800),
            options,
            checks: Checks::new(size, &document),
            script,
            trace: Vec::new(),
            rows: 0,
            over: false,
            first: document,
            rng,
        };
        world.create();
        world
    }

    /// The cluster is created around running services (C11).
    fn create(&mut self) {
        for (s, service) in self.first.clone().services.iter().enumerate() {
            let home = service
                .home()
                .and_then(|h| self.first.members.iter().position(|m| m.name == *h));
            if let Some(home) = home {
                self.nodes[home].units[s] = Units::On;
                self.nodes[home].addresses[s] = true;
            }
        }
        for n in 0..self.nodes.len() {
            let after = self.rng.below(500 * MS);
            self.post(after, Event::Begin(n, 0));
        }
        self.post(5 * SEC, Event::Script);
    }

    pub(crate) fn post(&mut self, after: Ns, event: Event) {
        self.posted += 1;
        self.queue.insert((self.now + after, self.posted), event);
    }

    /// Runs until the script is over or a rule is broken.
    pub(crate) fn run(&mut self) -> Option<Failure> {
        while !self.over {
            let Some(((at, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = at;
            self.happen(event);
            if self.checks.failure.is_some() {
                break;
            }
        }
        for n in 0..self.nodes.len() {
            self.keep_rows(n);
        }
        self.checks.failure.take()
    }

    fn happen(&mut self, event: Event) {
        // A frozen machine's events wait for it; datagrams are lost on it.
        if let Event::Beat(n, ..)
        | Event::Timer(n, _)
        | Event::Units(n, ..)
        | Event::Input(n, ..)
        | Event::Fetched(_, n, _)
        | Event::Look(n, ..)
        | Event::Resume(n, _)
        | Event::Begin(n, _)
        | Event::PowerOff(n, _) = event
            && let Power::Frozen(_) = self.nodes[n].power
        {
            if !matches!(event, Event::Beat(..)) {
                self.post(50 * MS, event);
            }
            return;
        }
        match event {
            Event::Beat(to, beat, link) => self.hand_in(to, Input::Beat(beat, link)),
            Event::Timer(n, number) => {
                if self.nodes[n]
                    .agent
                    .as_ref()
                    .is_some_and(|a| a.timer == number)
                {
                    self.hand_in(n, Input::Timer);
                }
            }
            Event::Units(n, s, stamp) => self.units_done(n, s, stamp),
            Event::Input(n, life, input) => {
                if self.nodes[n].life == life {
                    self.hand_in(n, input);
                }
            }
            Event::Fetched(from, to, life) => self.fetched(from, to, life),
            Event::Look(n, life, s) => {
                if self.nodes[n].life == life {
                    self.look(n, s);
                }
            }
            Event::Resume(n, life) => self.resume(n, life),
            Event::Thaw(n) => self.thaw(n),
            Event::Begin(n, life) => {
                if self.nodes[n].life == life && self.nodes[n].power == Power::On {
                    self.begin(n);
                }
            }
            Event::PowerOff(n, machine_life) => {
                if self.nodes[n].machine_life == machine_life && self.nodes[n].leaving {
                    self.power_off(n);
                }
            }
            Event::ReviveAll => self.revive_all(),
            Event::Script => self.script_goes_on(),
            Event::MustBeShut(n, life, since) => self.must_be_shut(n, life, since),
        }
    }

    // ---- agents ----

    /// Starts the agent of node `n`.
    pub(crate) fn begin(&mut self, n: usize) {
        let fresh = self.nodes[n].boot == 0;
        let node = &mut self.nodes[n];
        if node.agent.is_some() {
            return;
        }
        node.boot += 1;
        // The time is read before the gate is.
        let now = node.clock.read(self.now);
        let open: Vec<_> = (0..node.gates.len())
            .filter_map(|s| Some((self.first.services[s].id, node.gates[s].newest(self.now)?)))
            .collect();
        let nonce = self.rng.draw();
        let start = Start {
            boot: node.boot,
            incarnation: 1,
            nonce,
            run: node.run.clone(),
            fresh,
            open,
        };
        let blank = node.run.is_none() && !fresh;
        let me = self.first.members[n].id;
        let mut engine = Engine::new(me, start, node.document.as_ref().clone(), now);
        if let Some(prepare) = self.options.prepare {
            prepare(&mut engine);
        }
        let mut agent = Box::new(Agent::new(engine, self.now, blank));
        agent.nonce = nonce;
        if self.script.stage == crate::faults::Stage::Faults && self.rng.chance(50) {
            let lasts = self.rng.between(1, 3) * ns(self.first.hold()) / 2;
            agent.trap = Some((self.rng.below(8), crate::node::Trap::Pause(lasts)));
        }
        for (s, units) in node.units.iter().enumerate() {
            let id = self.first.services[s].id;
            agent.inbox.push_back(Input::Units(id, units.found()));
        }
        agent.inbox.push_back(Input::Host(HostEvent::Clock {
            kept: true,
            wall_ms: wall(self.now) * 1_000,
        }));
        if self.rng.chance(500) {
            // Some drivers look at the units before they carry out the first effects.
            for input in core::mem::take(&mut agent.inbox) {
                self.feed(&mut agent, n, input);
            }
        }
        self.nodes[n].agent = Some(agent);
        self.nodes[n].well_since = self.now;
        self.note(n, || "agent starts".to_owned());
        self.drive(n);
    }

    pub(crate) fn hand_in(&mut self, n: usize, input: Input) {
        let Some(agent) = &mut self.nodes[n].agent else {
            return;
        };
        // A socket's buffer is bounded; nothing else is lost on the way.
        if agent.inbox.len() < 2_000 || !matches!(input, Input::Beat(..)) {
            agent.inbox.push_back(input);
        }
        self.drive(n);
    }

    /// Gives one input to the engine.
    pub(crate) fn feed(&mut self, agent: &mut Agent, n: usize, input: Input) {
        let now = self.nodes[n].clock.read(self.now);
        let before = agent.engine.document().revision;
        match input {
            Input::Beat(beat, link) => {
                self.checks.clocks[n] = now;
                let me = self.first.members[n].id;
                let echoes = |h: &HearsPeer| h.node == me && h.echo == agent.nonce;
                if beat.hears.iter().any(echoes) {
                    self.checks.heard(n, &beat, link);
                }
                agent.engine.handle_beat(&beat, link, now);
            }
            Input::Timer => agent.engine.handle_timer(now),
            Input::Units(service, state) => agent.engine.handle_units(service, state, now),
            Input::Document(document) => {
                agent.engine.handle_document(document.as_ref().clone(), now);
            }
            Input::Host(event) => {
                if matches!(
                    event,
                    HostEvent::Gate { intact: true } | HostEvent::GateRestored { .. }
                ) {
                    self.nodes[n].refuses.flushed = false;
                    self.nodes[n].refuses.verified = false;
                }
                agent.engine.handle_host(event, now);
            }
            Input::Order(order) => {
                let said = agent.engine.handle_order(order, now);
                if self.options.trace {
                    let said = said.map_or_else(|p| p.to_string(), |()| "accepted".to_owned());
                    self.trace_line(n, &format!("order {order:?}: {said}"));
                }
            }
        }
        if agent.engine.document().revision < before {
            self.fail("revision", format!("the revision of {} fell", self.name(n)));
        }
    }

    fn resume(&mut self, n: usize, life: u32) {
        let node = &mut self.nodes[n];
        let Some(agent) = node
            .agent
            .as_mut()
            .filter(|a| a.paused && node.life == life)
        else {
            return;
        };
        agent.paused = false;
        // The driver's contract: a driver that was held up calls the timer first.
        agent.inbox.push_front(Input::Timer);
        self.nodes[n].well_since = self.now;
        self.note(n, || "agent goes on".to_owned());
        self.drive(n);
    }

    /// Stops the agent of node `n` where it stands, for so long.
    pub(crate) fn pause(&mut self, n: usize, lasts: Ns) {
        let node = &mut self.nodes[n];
        let life = node.life;
        if let Some(agent) = &mut node.agent
            && !agent.paused
        {
            agent.paused = true;
            agent.torn = true;
            self.note(n, || format!("agent stands still for {} ms", lasts / MS));
            self.post(lasts, Event::Resume(n, life));
            self.watch_gate(n);
        }
    }

    /// Kills the agent of node `n`; it is started again after so long.
    pub(crate) fn crash_agent(&mut self, n: usize, again: Ns) {
        self.keep_rows(n);
        let node = &mut self.nodes[n];
        if node.agent.take().is_none() {
            return;
        }
        node.life += 1;
        node.refuses.verified = false;
        let life = node.life;
        self.note(n, || {
            format!("agent is killed, starts again in {} ms", again / MS)
        });
        self.post(again, Event::Begin(n, life));
        self.watch_gate(n);
    }

    /// S5: after H the kernel has closed what nobody arms again.
    fn watch_gate(&mut self, n: usize) {
        let node = &self.nodes[n];
        let hold = node.clock.lasts(ns(node.document.hold())) + 2 * JIFFY;
        let life = node.life;
        let since = self.now;
        self.post(hold, Event::MustBeShut(n, life, since));
    }

    fn must_be_shut(&mut self, n: usize, life: u32, since: Ns) {
        let node = &self.nodes[n];
        let held_up = node.life == life
            && node.power == Power::On
            && node.agent.as_ref().is_none_or(|a| a.paused)
            && node.well_since < since
            && node.thawed.is_none_or(|t| t < since);
        if held_up && (0..node.gates.len()).any(|s| node.is_open(s, self.now)) {
            let what = format!(
                "the gate of {} is open H after its agent stopped",
                self.name(n)
            );
            self.fail("S5", what);
        }
    }

    pub(crate) fn keep_rows(&mut self, n: usize) {
        if let Some(agent) = &self.nodes[n].agent {
            self.rows |= agent.engine.rows_taken();
        }
    }

    // ---- machines ----

    /// The machine of node `n` loses power.
    pub(crate) fn power_off(&mut self, n: usize) {
        self.keep_rows(n);
        self.note(n, || "loses power".to_owned());
        self.nodes[n].lose_power();
        self.forget_checks(n);
    }

    /// The machine of node `n` boots.
    pub(crate) fn power_on(&mut self, n: usize) {
        if self.nodes[n].power != Power::Off {
            return;
        }
        let base = self.rng.below(20) * SEC;
        let node = &mut self.nodes[n];
        node.power = Power::On;
        node.clock.base = base;
        node.clock.origin = self.now;
        let life = node.life;
        self.note(n, || "boots".to_owned());
        let boots = self.rng.between(100, 3_000) * MS;
        self.post(boots, Event::Begin(n, life));
    }

    /// The machine of node `n` stands still for so long, its clocks with it.
    pub(crate) fn freeze(&mut self, n: usize, lasts: Ns) {
        if self.nodes[n].power == Power::On {
            self.nodes[n].power = Power::Frozen(self.now);
            self.note(n, || format!("is frozen for {} ms", lasts / MS));
            self.post(lasts, Event::Thaw(n));
        }
    }

    pub(crate) fn thaw(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Power::Frozen(since) = node.power else {
            return;
        };
        node.power = Power::On;
        node.clock.origin += now - since;
        for gate in &mut node.gates {
            gate.shift(now - since);
        }
        node.thawed = Some(now);
        node.well_since = now;
        self.note(n, || "thaws".to_owned());
        let Some(agent) = &mut self.nodes[n].agent else {
            return;
        };
        agent.timer += 1;
        let number = agent.timer;
        self.post(0, Event::Timer(n, number));
    }

    // ---- documents ----

    fn fetched(&mut self, from: usize, to: usize, life: u32) {
        let reached = self.nodes[from].is_well()
            && self.net.passes(from, to)
            && self.net.passes(to, from)
            && self.nodes[to].life == life;
        if !reached {
            return;
        }
        let document = Rc::clone(&self.nodes[from].document);
        self.commit(to, document);
    }

    /// A document reaches the disk of node `n` and then its engine.
    pub(crate) fn commit(&mut self, n: usize, document: Rc<ClusterDocument>) {
        let key = |d: &ClusterDocument| (d.revision, d.short_hash());
        if key(&document) > key(&self.nodes[n].document) {
            self.nodes[n].document = Rc::clone(&document);
            self.hand_in(n, Input::Document(document));
        }
    }

    // ---- names and notes ----

    pub(crate) fn name(&self, n: usize) -> &str {
        self.first.members[n].name.as_str()
    }

    pub(crate) fn node_of(&self, id: NodeId) -> Option<usize> {
        self.first.members.iter().position(|m| m.id == id)
    }

    pub(crate) fn service_at(&self, id: ServiceId) -> Option<usize> {
        self.first.services.iter().position(|s| s.id == id)
    }

    pub(crate) fn local(&self, n: usize) -> Mono {
        self.nodes[n].clock.read(self.now)
    }

    pub(crate) fn fail(&mut self, rule: &'static str, what: String) {
        let at = self.now;
        self.checks
            .failure
            .get_or_insert(Failure { rule, what, at });
    }

    pub(crate) fn note(&mut self, n: usize, what: impl FnOnce() -> String) {
        if self.options.trace {
            let what = what();
            self.trace_line(n, &what);
        }
    }

    pub(crate) fn trace_line(&mut self, n: usize, what: &str) {
        let (s, us) = (self.now / SEC, self.now % SEC / 1_000);
        let line = format!("{s:5}.{us:06} {:>4}  {what}", self.name(n));
        self.trace.push(line);
    }
}

/// Seconds since 1970 UTC at that true time.
pub(crate) const fn wall(at: Ns) -> u64 {
    1_800_000_000 + at / SEC
}
