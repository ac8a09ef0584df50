//! What must hold at every step. Each check names its rule in the failure.

use std::collections::BTreeMap;

use backstay_core::engine::{Beat, Verdict};
use backstay_core::model::{ClusterDocument, NodeId, Role, ServiceId};
use backstay_core::time::Mono;

use crate::machine::{MS, Ns, SEC, Units, ns};
use crate::node::{Agent, Power};
use crate::world::{Failure, World, wall};

/// What the checks remember.
#[derive(Debug)]
pub(crate) struct Checks {
    /// The first rule that was found broken.
    pub(crate) failure: Option<Failure>,
    /// By node and service: the term under which its gate was last open, in this life of the machine.
    opened: Vec<Vec<u64>>,
    /// By node and service: the highest term it said it released, in this life of the machine.
    released: Vec<Vec<u64>>,
    /// By voter and service: under which term it last said yes, to whom, and when that had asked.
    yes: BTreeMap<(usize, ServiceId), (u64, NodeId, Option<Mono>)>,
    /// By voter, service and asker: the last term asked for, and when by the voter's clock.
    asked: BTreeMap<(usize, ServiceId, NodeId), (u64, Mono)>,
    /// By listener, service and speaker: the highest release heard.
    heard_release: BTreeMap<(usize, ServiceId, NodeId), (u64, Option<NodeId>)>,
    /// By listener, speaker and link: the last beat's boot and number.
    marks: BTreeMap<(usize, NodeId, u8), (u64, u64)>,
    /// The listener's clock when it heard.
    pub(crate) clocks: Vec<Mono>,
}

impl Checks {
    pub(crate) fn new(size: usize, document: &ClusterDocument) -> Self {
        let none = vec![vec![0; document.services.len()]; size];
        Self {
            failure: None,
            opened: none.clone(),
            released: none,
            yes: BTreeMap::new(),
            asked: BTreeMap::new(),
            heard_release: BTreeMap::new(),
            marks: BTreeMap::new(),
            clocks: vec![Mono(0); size],
        }
    }

    /// A machine lost its memory.
    fn forget(&mut self, n: usize) {
        self.opened[n].fill(0);
        self.released[n].fill(0);
        self.yes.retain(|(voter, _), _| *voter != n);
        self.asked.retain(|(voter, ..), _| *voter != n);
    }

    /// A beat was handed in at node `n`.
    pub(crate) fn heard(&mut self, n: usize, beat: &Beat, link: u8) {
        let mark = self.marks.entry((n, beat.from, link)).or_default();
        let is = (beat.boot, beat.sequence);
        if *mark >= is {
            return; // doubled or overtaken
        }
        *mark = is;
        for ask in &beat.asks {
            let key = (n, ask.service, beat.from);
            self.asked.insert(key, (ask.term, self.clocks[n]));
        }
        for released in &beat.released {
            let key = (n, released.service, beat.from);
            self.heard_release
                .insert(key, (released.term, released.successor));
        }
    }
}

impl World {
    /// How long after a disturbance two holders are excused (S1), and their gates after it (S5).
    fn grace(&self) -> Ns {
        2 * SEC + 3 * ns(self.first.beat()) + ns(self.first.hold())
    }

    /// Nothing stood between these two nodes for that long.
    pub(crate) fn is_calm(&self, one: usize, other: usize, long: Ns) -> bool {
        let since = self.now.saturating_sub(long);
        let thawed = |n: usize| {
            !matches!(self.nodes[n].power, Power::Frozen(_))
                && self.nodes[n].thawed.is_none_or(|t| t < since)
        };
        self.net.calm_since(one, other, since) && thawed(one) && thawed(other)
    }

    /// The gate of service `s` on node `n` is open after a change.
    pub(crate) fn check_open(&mut self, n: usize, s: usize, anew: bool, agent: &Agent) {
        let (who, id) = (self.name(n).to_owned(), self.first.services[s].id);
        if let Some(other) =
            (0..self.nodes.len()).find(|o| *o != n && self.nodes[*o].is_reached(s, self.now))
            && self.is_calm(n, other, self.grace())
        {
            let what = format!("web{} is open on {who} and on {}", s + 1, self.name(other));
            self.fail("invariant 1", what);
        }
        let holds = self.nodes[n].run.iter().flat_map(|r| &r.holds);
        let term = holds.filter(|h| h.service == id).find_map(|h| h.holding);
        let Some(term) = term else {
            self.fail(
                "PROTOCOL 17",
                format!("web{} opens on {who}, but no hold is written", s + 1),
            );
            return;
        };
        if term <= self.checks.released[n][s] {
            let what = format!("web{} opens on {who} under the released term {term}", s + 1);
            self.fail("invariant 5", what);
        }
        if anew && term <= self.checks.opened[n][s] {
            let what = format!(
                "web{} opens again on {who} under the expired term {term}",
                s + 1
            );
            self.fail("invariant 10", what);
        }
        self.checks.opened[n][s] = term;
        self.check_silence(n, s, agent);
    }

    /// A5: a machine that restarted opens nothing before silence is over, unless it was handed over.
    fn check_silence(&mut self, n: usize, s: usize, agent: &Agent) {
        let quiet = self.nodes[n].clock.lasts(ns(self.first.wait()));
        if !agent.blank || self.now - agent.started >= quiet {
            return;
        }
        let (id, me) = (self.first.services[s].id, self.first.members[n].id);
        let handed = (self.first.members.iter())
            .filter_map(|m| self.checks.heard_release.get(&(n, id, m.id)))
            .any(|(_, successor)| *successor == Some(me));
        if !handed {
            let what = format!(
                "web{} opens on {} before silence is over",
                s + 1,
                self.name(n)
            );
            self.fail("A5", what);
        }
    }

    /// Announced only while it is open, or would be if nobody had meddled: block before act.
    pub(crate) fn check_announcement(&mut self, n: usize, s: usize, torn: bool) {
        if !torn && !self.nodes[n].gates[s].is_due_open(self.now) {
            let what = format!(
                "{} announces web{} with its gate closed",
                self.name(n),
                s + 1
            );
            self.fail("order of effects", what);
        }
    }

    /// Stopped only after it was closed: block before act.
    pub(crate) fn check_stop(&mut self, n: usize, s: usize) {
        let refused = self.nodes[n].refuses.gate > 0; // then it runs out by itself
        if self.nodes[n].is_open(s, self.now) && !refused {
            let what = format!("{} stops web{} with its gate open", self.name(n), s + 1);
            self.fail("order of effects", what);
        }
    }

    /// Units of service `s` are about to be started on node `n`.
    pub(crate) fn check_start(&mut self, n: usize, s: usize, agent: &Agent) {
        let who = self.name(n).to_owned();
        let document = agent.engine.document();
        let service = &document.services[s];
        let over = |until: Option<u64>| until.is_some_and(|u| wall(self.now) + 1 >= u);
        let fail = if agent.torn {
            None // it was held up in between: what it does is stopped again
        } else if service.stopped {
            Some(("F16", "though it is stopped".to_owned()))
        } else if let Some(lock) = &service.lock
            && lock.node != self.first.members[n].name
            && !over(lock.until)
        {
            Some(("L1", format!("though it is locked to {}", lock.node)))
        } else {
            None
        };
        if let Some((rule, why)) = fail {
            self.fail(rule, format!("web{} starts on {who} {why}", s + 1));
        }
        self.check_capacity(n, s);
        if !agent.torn {
            self.check_elsewhere(n, s);
        }
    }

    /// F3.
    fn check_capacity(&mut self, n: usize, s: usize) {
        let member = &self.first.members[n];
        let capacity = usize::from(member.capacity);
        if member.role != Role::Standby {
            return;
        }
        let node = &self.nodes[n];
        let others = (0..node.units.len())
            .filter(|o| *o != s && node.units[*o].takes_room() && !node.told_stuck[*o])
            .count();
        if others >= capacity {
            let what = format!(
                "web{} starts on {} beside {others}, capacity {capacity}",
                s + 1,
                self.name(n)
            );
            self.fail("F3", what);
        }
    }

    /// F14: it does not start here while it runs or stops on a node that is reachable.
    fn check_elsewhere(&mut self, n: usize, s: usize) {
        let long = 2 * ns(self.first.wait()) + 3 * ns(self.first.beat()) + SEC;
        let since = self.now.saturating_sub(long);
        let well = |n: usize| self.nodes[n].is_well() && self.nodes[n].well_since < since;
        let busy = |o: usize| {
            let node = &self.nodes[o];
            node.units[s].takes_room() && !node.told_stuck[s]
        };
        let other = (0..self.nodes.len())
            .find(|&o| o != n && busy(o) && well(o) && well(n) && self.is_calm(n, o, long));
        if let Some(other) = other {
            let units = self.nodes[other].units[s];
            let rule = if matches!(units, Units::Stopping { .. }) {
                "F14"
            } else {
                "F8"
            };
            let what = format!(
                "web{} starts on {} while it is {units:?} on {}, which it hears",
                s + 1,
                self.name(n),
                self.name(other)
            );
            self.fail(rule, what);
        }
    }

    /// A beat was composed at node `n`.
    pub(crate) fn check_beat(&mut self, n: usize, beat: &Beat) {
        if beat.silent && !beat.answers.is_empty() {
            let what = format!("{} answers while it is silent", self.name(n));
            self.fail("invariant 6", what);
        }
        self.check_written(n, beat);
        for released in &beat.released {
            if let Some(s) = self.service_at(released.service) {
                let known = &mut self.checks.released[n][s];
                *known = (*known).max(released.term);
            }
        }
        for answer in &beat.answers {
            if answer.verdict == Verdict::Yes {
                self.check_yes(n, answer);
            }
        }
    }

    /// Invariant 12: persisted comes before told.
    fn check_written(&mut self, n: usize, beat: &Beat) {
        let empty = backstay_core::engine::RunState::default();
        let run = self.nodes[n].run.as_ref().unwrap_or(&empty);
        let asked = |s: ServiceId, t: u64| {
            let written = |h: &&backstay_core::engine::RunHold| h.service == s;
            run.holds.iter().find(written).is_some_and(|h| h.asked >= t)
        };
        let released = |s: ServiceId, t: u64| {
            let written = |h: &&backstay_core::engine::RunHold| h.service == s;
            run.holds
                .iter()
                .find(written)
                .is_some_and(|h| h.released >= t)
        };
        let granted = |s: ServiceId, t: u64| {
            let mut records = run.records.iter();
            records.any(|r| r.service == s && r.term >= t)
        };
        let unwritten = if let Some(a) = beat.asks.iter().find(|a| !asked(a.service, a.term)) {
            Some(format!("{a:?}"))
        } else if let Some(r) = beat.released.iter().find(|r| !released(r.service, r.term)) {
            Some(format!("{r:?}"))
        } else {
            let mut answers = beat.answers.iter();
            answers
                .find(|a| a.verdict == Verdict::Yes && !granted(a.service, a.term))
                .map(|a| format!("{a:?}"))
        };
        if let Some(what) = unwritten {
            let what = format!("{} says what it has not written: {what}", self.name(n));
            self.fail("invariant 12", what);
        }
    }

    /// Invariants 3 and 4.
    fn check_yes(&mut self, n: usize, answer: &backstay_core::engine::Answer) {
        let key = (n, answer.service);
        let asked = (self.checks.asked)
            .get(&(n, answer.service, answer.asker))
            .map(|(_, at)| *at);
        let now = (answer.term, answer.asker, asked);
        let Some((term, holder, then)) = self.checks.yes.insert(key, now) else {
            return;
        };
        if holder == answer.asker {
            return;
        }
        if term == answer.term {
            let what = format!("{} says yes to two holders of term {term}", self.name(n));
            self.fail("invariant 3", what);
            return;
        }
        let heard = self.checks.heard_release.get(&(n, answer.service, holder));
        if heard.is_some_and(|(released, _)| *released >= term) {
            return;
        }
        let (Some(then), Some(since)) = (then, asked) else {
            return;
        };
        let gap = ns(since.since(then));
        if gap + MS < ns(self.first.wait()) {
            let what = format!(
                "{} says yes to another holder after {} ms",
                self.name(n),
                gap / MS
            );
            self.fail("invariant 4", what);
        }
    }

    /// A machine lost its memory.
    pub(crate) fn forget_checks(&mut self, n: usize) {
        self.checks.forget(n);
    }
}
