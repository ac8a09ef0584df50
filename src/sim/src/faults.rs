//! What goes wrong, when, and what the admins do meanwhile.

use std::rc::Rc;

use backstay_core::engine::{HostEvent, Order, OrderKind};
use backstay_core::model::{ClusterDocument, Fallback, Lock, Maintenance, NodeName, Profile};

use crate::driver::presence;
use crate::machine::{MS, Ns, SEC, Units, ns};
use crate::node::{Input, Power, Trap};
use crate::rng::Rng;
use crate::world::{Event, World, wall};

/// Least faults of a seed.
const FAULTS: u32 = 20;
/// Least true time before the healing; where beats come every 50 ms as many faults fit into less.
const LASTS: Ns = 600 * SEC;
const LASTS_FAST: Ns = 200 * SEC;

/// A kind of fault or order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Kill,
    Revive,
    Leave,
    CrashAgent,
    CrashAtBoundary,
    Pause,
    PauseAtBoundary,
    Freeze,
    Cut,
    CutOneWay,
    CutLink,
    Isolate,
    Order,
    Document,
    Foreign,
    UnitsEnd,
    Address,
    Mend,
    RefuseGate,
    RefuseRun,
    RefuseAddresses,
    Flush,
}

/// A fault that lasts until it is healed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lasting {
    Cut(usize, usize, Option<usize>),
    Isolated(usize),
    Foreign(usize),
    Refuses(usize, Kind),
}

/// Where the script stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Faults come and go.
    Faults,
    /// Nothing new until all has settled; then it is looked at.
    Quiet,
    /// All is healed; soon nobody may run twice.
    Healed,
    /// Soon all must be in its place.
    Converging,
    /// Beats are counted.
    Steady,
}

/// The script of a seed.
#[derive(Debug)]
pub(crate) struct Script {
    kinds: &'static [(Kind, u64)],
    pub(crate) stage: Stage,
    lasting: Vec<Lasting>,
    pub(crate) faults: u32,
    pub(crate) quiets: u32,
    /// Faults that end by themselves have ended by then.
    busy_until: Ns,
    pub(crate) counted: Vec<u64>,
}

const CALM: &[(Kind, u64)] = &[
    (Kind::Kill, 30),
    (Kind::Revive, 18),
    (Kind::Leave, 8),
    (Kind::Order, 16),
    (Kind::Document, 24),
    (Kind::UnitsEnd, 3),
    (Kind::Mend, 4),
];
const AGENTS: &[(Kind, u64)] = &[
    (Kind::Kill, 8),
    (Kind::Revive, 8),
    (Kind::Leave, 6),
    (Kind::CrashAgent, 8),
    (Kind::CrashAtBoundary, 14),
    (Kind::Pause, 8),
    (Kind::PauseAtBoundary, 16),
    (Kind::Freeze, 3),
    (Kind::Order, 16),
    (Kind::Document, 12),
    (Kind::Mend, 4),
];
const NETWORK: &[(Kind, u64)] = &[
    (Kind::Kill, 4),
    (Kind::Revive, 4),
    (Kind::Cut, 12),
    (Kind::CutOneWay, 12),
    (Kind::CutLink, 6),
    (Kind::Isolate, 14),
    (Kind::Order, 8),
    (Kind::Document, 10),
    (Kind::Foreign, 3),
    (Kind::Mend, 3),
];
const ALL: &[(Kind, u64)] = &[
    (Kind::Kill, 10),
    (Kind::Revive, 8),
    (Kind::Leave, 5),
    (Kind::CrashAgent, 5),
    (Kind::CrashAtBoundary, 8),
    (Kind::Pause, 5),
    (Kind::PauseAtBoundary, 8),
    (Kind::Freeze, 4),
    (Kind::Cut, 5),
    (Kind::CutOneWay, 5),
    (Kind::CutLink, 4),
    (Kind::Isolate, 6),
    (Kind::Order, 12),
    (Kind::Document, 12),
    (Kind::Foreign, 5),
    (Kind::UnitsEnd, 5),
    (Kind::Address, 4),
    (Kind::Mend, 4),
];

const REFUSALS: &[(Kind, u64)] = &[
    (Kind::Kill, 8),
    (Kind::Revive, 8),
    (Kind::Leave, 5),
    (Kind::CrashAgent, 6),
    (Kind::CrashAtBoundary, 6),
    (Kind::PauseAtBoundary, 6),
    (Kind::Cut, 3),
    (Kind::Isolate, 4),
    (Kind::Order, 16),
    (Kind::Document, 12),
    (Kind::Mend, 4),
    (Kind::RefuseGate, 14),
    (Kind::RefuseRun, 14),
    (Kind::RefuseAddresses, 8),
    (Kind::Flush, 8),
];

impl Script {
    pub(crate) fn of(rng: &mut Rng, refusals: bool) -> Self {
        let kinds = rng.pick(&[CALM, AGENTS, NETWORK, ALL, ALL]);
        Self {
            kinds: if refusals { REFUSALS } else { kinds },
            stage: Stage::Faults,
            lasting: Vec::new(),
            faults: 0,
            quiets: 0,
            busy_until: 0,
            counted: Vec::new(),
        }
    }

    pub(crate) fn foreign_is_active(&self, s: usize) -> bool {
        let is = |l: &Lasting| matches!(l, Lasting::Foreign(f) if *f == s);
        self.lasting.iter().any(is)
    }
}

impl World {
    /// How long everything needs to come to rest when nothing new happens.
    pub(crate) fn settling(&self) -> Ns {
        let d = &self.first;
        let probes = 11 * SEC;
        let orders = 31 * SEC;
        ns(d.boot_wait())
            + ns(d.cold_start())
            + ns(d.home_healthy())
            + 5 * ns(d.wait())
            + 4 * (self.temper.start + self.temper.stop)
            + probes
            + orders
    }

    pub(crate) fn script_goes_on(&mut self) {
        match self.script.stage {
            Stage::Faults => self.next_fault(),
            Stage::Quiet => {
                self.script.quiets += 1;
                self.check_settled(false);
                self.script.stage = Stage::Faults;
                self.post(0, Event::Script);
            }
            Stage::Healed => {
                self.check_one_holder();
                self.script.stage = Stage::Converging;
                let settling = self.settling();
                self.post(settling, Event::Script);
            }
            Stage::Converging => {
                self.check_settled(true);
                self.script.stage = Stage::Steady;
                self.count_beats();
                self.post(20 * ns(self.first.beat()), Event::Script);
            }
            Stage::Steady => {
                self.check_beats();
                self.over = true;
            }
        }
    }

    fn next_fault(&mut self) {
        let s = &self.script;
        let lasts = if self.first.profile == Profile::Fast {
            LASTS_FAST
        } else {
            LASTS
        };
        if s.faults >= FAULTS && s.quiets >= 2 && self.now >= lasts {
            self.heal_all();
            self.script.stage = Stage::Healed;
            let soon = 2 * SEC + 3 * ns(self.first.beat());
            self.post(soon, Event::Script);
            return;
        }
        if self.rng.chance(120) {
            self.script.stage = Stage::Quiet;
            let rest = self.script.busy_until.saturating_sub(self.now);
            self.post(rest + self.settling(), Event::Script);
            return;
        }
        if self.rng.chance(250) && !self.script.lasting.is_empty() {
            let at = self.rng.place(self.script.lasting.len());
            self.heal(at);
        } else {
            let total = self.script.kinds.iter().map(|(_, w)| w).sum();
            let mut at = self.rng.below(total);
            let kind = self.script.kinds.iter().find(|(_, w)| {
                let here = at < *w;
                at = at.saturating_sub(*w);
                here
            });
            if let Some((kind, _)) = kind {
                self.fault(*kind);
            }
        }
        let gap = self.some_time();
        self.post(gap, Event::Script);
    }

    /// A time of the order that decisions depend on.
    fn some_time(&mut self) -> Ns {
        let (beat, hold, wait) = (
            ns(self.first.beat()),
            ns(self.first.hold()),
            ns(self.first.wait()),
        );
        let most = self
            .rng
            .pick(&[20 * MS, beat, hold, wait, 2 * wait, 4 * wait]);
        self.rng.between(MS, most)
    }

    fn busy_for(&mut self, long: Ns) {
        self.script.busy_until = self.script.busy_until.max(self.now + long);
    }

    fn fault(&mut self, kind: Kind) {
        let n = self.rng.place(self.nodes.len());
        let s = self.rng.place(self.foreign.len());
        self.script.faults += 1;
        match kind {
            Kind::Kill => {
                if self.nodes[n].power == Power::On {
                    self.power_off(n);
                }
            }
            Kind::Revive => {
                let off = |n: &usize| self.nodes[*n].power == Power::Off;
                if let Some(n) = (0..self.nodes.len()).find(off) {
                    self.power_on(n);
                }
                self.script.faults -= 1;
            }
            Kind::Leave => self.leave(n),
            Kind::CrashAgent => {
                let again = self.some_time();
                self.busy_for(again);
                self.crash_agent(n, again);
            }
            Kind::Pause => {
                let lasts = self.some_time();
                self.busy_for(lasts);
                self.pause(n, lasts);
            }
            Kind::CrashAtBoundary => {
                let again = self.some_time();
                self.trap(n, Trap::Crash(again), again);
            }
            Kind::PauseAtBoundary => {
                let lasts = self.some_time();
                self.trap(n, Trap::Pause(lasts), lasts);
            }
            Kind::Freeze => {
                let lasts = self.some_time();
                self.busy_for(lasts);
                self.freeze(n, lasts);
            }
            Kind::Cut | Kind::CutOneWay | Kind::CutLink => self.cut(kind, n),
            Kind::Isolate => {
                self.net.isolate(n, true, self.now);
                self.note(n, || "is isolated".to_owned());
                self.script.lasting.push(Lasting::Isolated(n));
            }
            Kind::Order => self.order(n, s),
            Kind::Document => self.change(n, s),
            Kind::Foreign => {
                self.foreign[s] = true;
                self.note(n, || {
                    format!("foreign equipment takes the alias of web{}", s + 1)
                });
                self.script.lasting.push(Lasting::Foreign(s));
            }
            Kind::UnitsEnd => {
                let running = |n: &usize| self.nodes[*n].units[s] == Units::On;
                if let Some(n) = (0..self.nodes.len()).find(running) {
                    self.nodes[n].units[s] = Units::Failed;
                    let found = Units::Failed.found();
                    self.note(n, || format!("units of web{} end", s + 1));
                    self.tell_units(n, s, found);
                }
            }
            Kind::Address => {
                let present = self.rng.chance(500);
                self.nodes[n].addresses[s] = present;
                let service = self.first.services[s].id;
                let present = presence(present);
                let event = HostEvent::AliasPresent { service, present };
                let life = self.nodes[n].life;
                self.post(MS, Event::Input(n, life, Input::Host(event)));
            }
            Kind::RefuseGate | Kind::RefuseRun | Kind::RefuseAddresses => {
                self.note(n, || format!("{kind:?} begins"));
                *self.refusals(n, kind) += 1;
                self.script.lasting.push(Lasting::Refuses(n, kind));
            }
            Kind::Flush => self.flush(n),
            Kind::Mend => {
                self.script.faults -= 1;
                for n in 0..self.nodes.len() {
                    self.mend_units(n, s);
                }
            }
        }
    }

    fn trap(&mut self, n: usize, trap: Trap, long: Ns) {
        let boundaries = self.rng.below(12);
        let springs = 12 * ns(self.first.beat());
        self.busy_for(long + springs);
        if let Some(agent) = &mut self.nodes[n].agent {
            agent.trap = Some((boundaries, trap));
        }
        // Something to do, so that there are boundaries.
        if self.rng.chance(300) {
            let s = self.rng.place(self.foreign.len());
            self.order(n, s);
        }
    }

    fn leave(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.power != Power::On || node.agent.is_none() || node.leaving {
            return;
        }
        node.leaving = true;
        let (life, machine_life) = (node.life, node.machine_life);
        let limit = 20 * SEC;
        self.busy_for(limit);
        self.note(n, || "is stopped in good order".to_owned());
        self.post(0, Event::Input(n, life, Input::Host(HostEvent::Leave)));
        self.post(limit, Event::PowerOff(n, machine_life));
    }

    fn cut(&mut self, kind: Kind, n: usize) {
        let other = self.rng.place(self.nodes.len());
        if other == n {
            return;
        }
        let link = (kind == Kind::CutLink).then(|| self.rng.place(self.net.links()));
        let both = kind == Kind::Cut || (link.is_some() && self.rng.chance(500));
        for (from, to) in [(n, other), (other, n)]
            .into_iter()
            .take(1 + usize::from(both))
        {
            self.net.cut(from, to, link, self.now);
            self.script.lasting.push(Lasting::Cut(from, to, link));
            let name = self.name(to).to_owned();
            self.note(from, || format!("is cut off towards {name}, link {link:?}"));
        }
    }

    fn order(&mut self, n: usize, s: usize) {
        let service = &self.first.services[s];
        let to: &NodeName = &service.nodes[self.rng.place(service.nodes.len())];
        let Some(to) = self.first.member(to).map(|m| m.id) else {
            return;
        };
        let order = Order {
            service: service.id,
            kind: OrderKind::MoveTo(to),
        };
        let life = self.nodes[n].life;
        self.post(0, Event::Input(n, life, Input::Order(order)));
    }

    /// An admin changes the document at node `n`.
    fn change(&mut self, n: usize, s: usize) {
        if !self.nodes[n].is_well() {
            return;
        }
        let now = self.local(n);
        let mut document = self.nodes[n].document.as_ref().clone();
        document.revision += 1;
        document.changed.at = wall(self.now);
        document.changed.by = format!("admin at {}", self.name(n));
        if self.options.maintenance && self.rng.chance(400) {
            let done = self.work_on_a_node(&mut document);
            let revision = document.revision;
            self.note(n, || format!("admin {done}: revision {revision}"));
            self.commit(n, Rc::new(document));
            return;
        }
        let runs = self.nodes[n].agent.as_ref().and_then(|agent| {
            let view = agent.engine.view(now);
            view.services[s].running_on.first().cloned()
        });
        let until = self
            .rng
            .chance(300)
            .then(|| wall(self.now) + self.rng.between(5, 120));
        let what = self.rng.below(10);
        let service = &mut document.services[s];
        let done = match what {
            0..=2 => {
                let home = service.nodes[0].clone();
                let node = runs.unwrap_or(home);
                service.lock = Some(Lock {
                    node: node.clone(),
                    by: "sim".to_owned(),
                    at: wall(self.now),
                    reason: String::new(),
                    until,
                });
                format!("locks web{} to {node} until {until:?}", s + 1)
            }
            3 | 4 => {
                for service in &mut document.services {
                    service.lock = None;
                }
                "unlocks all".to_owned()
            }
            5 | 6 => {
                service.stopped = true;
                format!("stops web{}", s + 1)
            }
            7 | 8 => {
                for service in &mut document.services {
                    service.stopped = false;
                }
                "starts all".to_owned()
            }
            _ => {
                document.fallback = match document.fallback {
                    Fallback::Manual => Fallback::Automatic,
                    Fallback::Automatic => Fallback::Manual,
                };
                format!("changes fallback to {:?}", document.fallback)
            }
        };
        let revision = document.revision;
        self.note(n, || format!("admin {done}: revision {revision}"));
        self.commit(n, Rc::new(document));
    }

    /// F17.
    fn work_on_a_node(&mut self, document: &mut ClusterDocument) -> String {
        let now = wall(self.now);
        let (lasts, moves) = (self.rng.between(5, 240), self.rng.chance(600));
        let at = self.rng.place(document.members.len());
        let member = &mut document.members[at];
        if member.maintenance.take().is_some_and(|m| m.until > now) {
            return format!("ends maintenance of {}", member.name);
        }
        member.maintenance = Some(Maintenance {
            by: "sim".to_owned(),
            at: now,
            reason: String::new(),
            until: now + lasts,
            moves,
        });
        format!("works on {} for {lasts} s, moves: {moves}", member.name)
    }

    fn refusals(&mut self, n: usize, kind: Kind) -> &mut u8 {
        let refuses = &mut self.nodes[n].refuses;
        match kind {
            Kind::RefuseGate => &mut refuses.gate,
            Kind::RefuseRun => &mut refuses.run,
            _ => &mut refuses.addresses,
        }
    }

    fn heal(&mut self, at: usize) {
        let now = self.now;
        match self.script.lasting.swap_remove(at) {
            Lasting::Cut(from, to, link) => {
                self.net.mend(from, to, link, now);
                let name = self.name(to).to_owned();
                self.note(from, || format!("reaches {name} again, link {link:?}"));
            }
            Lasting::Isolated(n) => {
                self.net.isolate(n, false, now);
                self.note(n, || "is no longer isolated".to_owned());
            }
            Lasting::Refuses(n, kind) => {
                self.note(n, || format!("{kind:?} ends"));
                *self.refusals(n, kind) -= 1;
            }
            Lasting::Foreign(s) => {
                if !self.script.foreign_is_active(s) {
                    self.foreign[s] = false;
                }
            }
        }
    }

    fn heal_all(&mut self) {
        self.note(0, || "---- all is healed ----".to_owned());
        while !self.script.lasting.is_empty() {
            self.heal(0);
        }
        self.net.become_clean();
        self.temper.fails = 0;
        self.temper.sticks = 0;
        for n in 0..self.nodes.len() {
            self.thaw(n);
            if let Some(agent) = &mut self.nodes[n].agent {
                agent.trap = None;
            }
            let (life, machine_life) = (self.nodes[n].life, self.nodes[n].machine_life);
            self.post(0, Event::Resume(n, life));
            match self.nodes[n].power {
                Power::On if self.nodes[n].leaving => {
                    self.post(0, Event::PowerOff(n, machine_life));
                }
                Power::On => self.post(MS, Event::Begin(n, life)),
                _ => {}
            }
            for s in 0..self.foreign.len() {
                self.mend_units(n, s);
            }
        }
        self.post(2 * MS, Event::ReviveAll);
    }

    pub(crate) fn revive_all(&mut self) {
        for n in 0..self.nodes.len() {
            self.power_on(n);
        }
    }
}
