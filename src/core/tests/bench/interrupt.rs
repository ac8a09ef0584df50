//! A transcript broken off at an effect: the agent is killed or the machine loses power before it is carried out, with
//! the rest of its batch; what was written stays. Then the world goes on as the transcript says, and comes to rest.

use std::collections::BTreeSet;
use std::rc::Rc;

use backstay_core::engine::Effect;
use backstay_core::model::{Fallback, NodeName, Role, ServiceId};
use backstay_core::time::Mono;

use super::Bench;

const MS: u64 = 1_000_000;
/// When the agent or the machine is back. The first is within H, the second after W.
const RESTARTED: [u64; 2] = [300 * MS, 4_000 * MS];
const BOOTED: u64 = 3_000 * MS;
/// A transcript that lasts longer has one cause for each effect, by turns.
const LONG: u64 = 1_200_000 * MS;
/// Longer than every wait of the transcripts' clusters, orders and locks included.
const REST: u64 = 90_000 * MS;

/// How it is broken off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// RESTART 21: `/run` is whole.
    Killed(u64),
    /// RESTART 23: `/run` is lost.
    PowerLoss,
}

pub(crate) const CAUSES: [Cause; 3] = [
    Cause::Killed(RESTARTED[0]),
    Cause::Killed(RESTARTED[1]),
    Cause::PowerLoss,
];

/// What the interrupted runs of a transcript came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// How many there were.
    pub(crate) runs: usize,
    /// How many ended with every service where the transcript leaves it.
    pub(crate) same: usize,
    /// Broken rules.
    pub(crate) broken: Vec<String>,
}

/// What the interruption needs to know of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// Lines logged so far: what lies between two is a stretch of steady beats.
    pub(super) said: u64,
    /// This run's own effects are interrupted.
    forks: bool,
    /// Also each repetition within a stretch.
    every: bool,
    /// The causes take turns.
    by_turns: bool,
    /// What was interrupted in this stretch.
    stretch: (u64, BTreeSet<(usize, String)>),
    script: Rc<[String]>,
    next: usize,
    /// When the network was last healed.
    healed: u64,
    /// Where everything is when the transcript is over.
    places: Rc<[Place]>,
    /// Where this run was broken off.
    cut: String,
    tally: Tally,
}

/// On which nodes the gate of a service is open.
type Place = BTreeSet<usize>;

/// Runs a transcript's commands, and once more for each of its effects and each cause.
pub(crate) fn interrupted(script: &Rc<[String]>, every: bool, writes_nothing: bool) -> Tally {
    let start = |forks, places| Bench {
        writes_nothing,
        watch: Watch {
            forks,
            every,
            script: Rc::clone(script),
            places,
            cut: "not interrupted".to_owned(),
            ..Watch::default()
        },
        ..Bench::default()
    };
    let mut plain = start(false, Rc::default());
    plain.finish();
    plain.check_rest();
    let places: Rc<[Place]> = plain.places().into();
    let mut run = start(true, places);
    run.watch.by_turns = plain.now > LONG && !every;
    run.play();
    let mut tally = run.watch.tally;
    tally.broken.append(&mut plain.watch.tally.broken);
    tally
}

impl Bench {
    /// Before that effect is carried out: goes on here as if nothing were, and elsewhere without it.
    pub(super) fn interrupt(&mut self, n: usize, effect: &Effect) {
        if !self.watch.forks {
            return;
        }
        let kind = match effect {
            Effect::Gate(_) | Effect::Record(_) => format!("{effect:?}").replace("slot", ""),
            other => format!("{other:?}"),
        };
        // The slots take turns: each of a steady holder's beats differs in that only.
        let kind: String = kind.chars().filter(|c| !c.is_ascii_digit()).collect();
        if self.watch.stretch.0 != self.watch.said {
            self.watch.stretch = (self.watch.said, BTreeSet::new());
        }
        let service = service_of(effect).map_or(0, |s| s.0);
        let first = (self.watch.stretch.1).insert((n, format!("{service} {kind}")));
        if !first && !self.watch.every {
            return;
        }
        let its_turn = self.watch.tally.runs % CAUSES.len();
        for (turn, cause) in CAUSES.into_iter().enumerate() {
            if self.watch.by_turns && its_turn != turn {
                continue;
            }
            let mut fork = self.clone();
            fork.watch.forks = false;
            fork.watch.tally = Tally::default();
            fork.watch.cut = format!(
                "{} broken off by {cause:?} at {} ms before {effect:?}",
                self.name(n),
                self.now / MS
            );
            fork.log.clear();
            fork.die(n, cause);
            fork.finish();
            fork.check_rest();
            let same = fork.places()[..] == self.watch.places[..];
            let tally = &mut self.watch.tally;
            tally.runs += 1;
            tally.same += usize::from(same);
            tally.broken.append(&mut fork.watch.tally.broken);
        }
    }

    fn die(&mut self, n: usize, cause: Cause) {
        let node = &mut self.nodes[n];
        node.engine = None;
        node.paused = false;
        node.waiting.clear();
        let leaving = node.leaving;
        let after = match cause {
            Cause::Killed(after) if !leaving => after,
            _ => {
                self.power_off(n);
                BOOTED
            }
        };
        if !leaving {
            let life = self.nodes[n].life;
            self.post(after, super::Event::Back(n, life));
        }
    }

    /// Plays what is left of the transcript.
    fn play(&mut self) {
        self.advance(self.until.saturating_sub(self.now));
        while let Some(line) = self.watch.script.get(self.watch.next).cloned() {
            self.watch.next += 1;
            self.command(&line);
        }
    }

    fn finish(&mut self) {
        self.play();
        self.advance(REST);
    }

    pub(super) fn disturbed(&mut self) {
        self.watch.healed = self.now;
    }

    fn break_rule(&mut self, rule: &str, what: &str) {
        let line = format!(
            "{}: {rule} broken at {} ms: {what}",
            self.watch.cut,
            self.now / MS
        );
        self.watch.tally.broken.push(line);
    }

    /// Nothing has stood between the nodes for so long.
    fn is_calm(&self, long: u64) -> bool {
        self.cuts.is_empty()
            && self.isolated.is_empty()
            && (self.watch.healed == 0 || self.watch.healed + long <= self.now)
    }

    /// The agent of node `n` has run for so long without being held up.
    fn is_well(&self, n: usize, long: u64) -> bool {
        let node = &self.nodes[n];
        node.engine.is_some()
            && !node.paused
            && (node.well_since == 0 || node.well_since + long <= self.now)
    }

    pub(super) fn check_opened(&mut self, n: usize, service: ServiceId) {
        let grace = 2_000 * MS + 3 * ns(self.doc().beat()) + ns(self.doc().hold());
        if self.nodes.iter().any(|node| node.gateless) {
            return; // S5: without a gate nothing closes by itself
        }
        let other =
            (0..self.nodes.len()).find(|o| *o != n && self.nodes[*o].open.contains(&service));
        if let Some(other) = other.filter(|_| self.is_calm(grace)) {
            let what = format!("it is open on {} and {}", self.name(n), self.name(other));
            self.break_rule("invariant 1", &what);
        }
        let holds = self.nodes[n].run.iter().flat_map(|run| &run.holds);
        let hold = holds.copied().find(|hold| hold.service == service);
        let released = hold.map_or(0, |hold| hold.released);
        match hold.and_then(|hold| hold.holding) {
            None => self.break_rule("PROTOCOL 17", "it opens, but no hold is written"),
            Some(term) if term <= released => {
                self.break_rule("invariant 5", "it opens under a released term");
            }
            Some(_) => {}
        }
    }

    /// Persist, block, act.
    pub(super) fn check_order(&mut self, n: usize, effect: &Effect) {
        let Some(service) = service_of(effect) else {
            return;
        };
        let open = self.nodes[n].open.contains(&service);
        match effect {
            Effect::Announce { .. } if !open => {
                self.break_rule("order of effects", "announced with its gate closed");
            }
            Effect::StopUnits(_) if open => {
                self.break_rule("order of effects", "stopped with its gate open");
            }
            Effect::StartUnits(_) => self.check_start(n, service),
            _ => {}
        }
    }

    fn check_start(&mut self, n: usize, id: ServiceId) {
        let Some(document) = self.nodes[n].document.clone() else {
            return;
        };
        let Some(service) = document.service(id) else {
            return;
        };
        let me = &document.members[n];
        if service.stopped {
            self.break_rule("F16", "it starts though it is stopped");
        }
        if self.lock_of(service).is_some_and(|node| *node != me.name) {
            self.break_rule("L1", "it starts though it is locked elsewhere");
        }
        let beside = self.nodes[n].running.iter().filter(|s| **s != id).count();
        if me.role == Role::Standby && beside >= usize::from(me.capacity) && !self.nodes[n].sticky {
            self.break_rule("F3", "it starts beside others");
        }
        let long = 2 * ns(document.wait()) + 3 * ns(document.beat()) + 1_000 * MS;
        let other = (0..self.nodes.len()).find(|o| {
            let node = &self.nodes[*o];
            *o != n && node.running.contains(&id) && !node.sticky && self.is_well(*o, long)
        });
        if let Some(other) = other.filter(|_| self.is_well(n, long) && self.is_calm(long)) {
            let what = format!("it starts on {} and runs on {}", me.name, self.name(other));
            self.break_rule("F8", &what);
        }
    }

    fn lock_of<'a>(&self, service: &'a backstay_core::model::Service) -> Option<&'a NodeName> {
        let wall = 1_800_000_000 + self.now / (1_000 * MS);
        let lock = service.lock.as_ref();
        lock.filter(|l| l.until.is_none_or(|until| until > wall + 1))
            .map(|lock| &lock.node)
    }

    fn places(&self) -> Vec<Place> {
        let at = |id| {
            let open = |n: &usize| self.nodes[*n].open.contains(id);
            (0..self.nodes.len()).filter(open).collect()
        };
        self.doc().services.iter().map(|s| at(&s.id)).collect()
    }

    /// All has come to rest: one document, one holder, everything where the rules want it.
    fn check_rest(&mut self) {
        let alive: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].engine.is_some())
            .collect();
        let Some(first) = alive.first().copied() else {
            return;
        };
        if !self.is_calm(0) {
            return; // what is cut may run twice (S1)
        }
        let key = |n: usize| {
            let engine = self.nodes[n].engine.as_ref().expect("alive");
            (engine.document().revision, engine.document().short_hash())
        };
        if alive.iter().any(|n| key(*n) != key(first)) {
            self.break_rule("one document", "the nodes have different ones");
            return;
        }
        let engine = self.nodes[first].engine.as_ref().expect("alive");
        let (document, view) = (engine.document().clone(), engine.view(Mono(self.now)));
        let ids: Vec<ServiceId> = self.doc().services.iter().map(|s| s.id).collect();
        for (id, place) in ids.into_iter().zip(self.places()) {
            let Some(s) = document.services.iter().position(|s| s.id == id) else {
                continue; // it has left the document
            };
            let flaps = (view.alarms.iter()).any(|a| a.active && a.id == "flapping");
            if let Some((rule, what)) = self.misplaced(&document, s, &place, &alive, flaps) {
                let names: Vec<_> = place.iter().map(|n| self.name(*n)).collect();
                let name = &document.services[s].name;
                self.break_rule(rule, &format!("{name} is open on {names:?}: {what}"));
            }
        }
    }

    fn misplaced(
        &self,
        document: &backstay_core::model::ClusterDocument,
        s: usize,
        place: &Place,
        alive: &[usize],
        flaps: bool,
    ) -> Option<(&'static str, &'static str)> {
        let service = &document.services[s];
        let at = |name: &NodeName| document.members.iter().position(|m| m.name == *name);
        let home = at(service.home()?)?;
        let standby = (document.members.iter()).position(|m| m.role == Role::Standby)?;
        let lock = self.lock_of(service).and_then(at);
        let running =
            |n: usize| self.nodes[n].running.contains(&service.id) && !self.nodes[n].sticky;
        let is_alive = |n: usize| alive.contains(&n);
        let runs = place.first().copied();
        if place.len() > 1 {
            return Some(("invariant 1", "two holders"));
        }
        if alive.iter().any(|n| running(*n) && !place.contains(n)) {
            return Some(("A4", "it runs without a hold"));
        }
        if service.stopped {
            return runs.map(|_| ("F16", "it is stopped"));
        }
        if let (Some(lock), Some(runs)) = (lock, runs)
            && lock != runs
        {
            return Some(("L1", "it is locked elsewhere"));
        }
        let firm = (document.services.iter()).filter(|other| {
            let open = self.nodes[standby].open.contains(&other.id);
            let locked = self.lock_of(other).and_then(at) == Some(standby);
            other.id != service.id && open && (locked || other.priority <= service.priority)
        });
        let room = firm.count() < usize::from(document.members[standby].capacity);
        let takes = is_alive(standby) && room && (alive.len() > 1 || !self.no_reference);
        let should = match lock {
            Some(lock) => is_alive(lock) && (lock == home || takes),
            None => is_alive(home) || takes,
        };
        let excused = self.foreign.contains(&service.id) || self.nodes.iter().any(|n| n.sticky);
        if should && runs.is_none() && !excused {
            return Some(("F2", "it should run"));
        }
        if let Some(runs) = runs
            && !running(runs)
            && !excused
        {
            return Some(("F2", "its units do not run"));
        }
        let automatic = document.fallback_of(service) == Fallback::Automatic;
        let worked_on = document.members[home].maintenance.is_some();
        let stays = lock.is_some() || flaps || worked_on;
        (automatic && runs == Some(standby) && is_alive(home) && !stays)
            .then_some(("F7", "it should be at home"))
    }
}

fn service_of(effect: &Effect) -> Option<ServiceId> {
    use backstay_core::engine::GateOp;
    match effect {
        Effect::AddAddresses(s)
        | Effect::RemoveAddresses(s)
        | Effect::StartUnits(s)
        | Effect::StopUnits(s) => Some(*s),
        Effect::Announce { service, .. }
        | Effect::Probe { service, .. }
        | Effect::RunHooks { service, .. }
        | Effect::Gate(
            GateOp::Arm { service, .. } | GateOp::Live { service, .. } | GateOp::Close { service },
        ) => Some(*service),
        _ => None,
    }
}

fn ns(of: core::time::Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}
