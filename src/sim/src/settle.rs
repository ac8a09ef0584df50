//! What must hold when all has come to rest: priorities, places, one document.

use backstay_core::engine::AlarmView;
use backstay_core::model::{Failover, Fallback, NodeName, Role};

use crate::machine::{MS, Units, ns};
use crate::node::Power;
use crate::world::{World, wall};

/// Where a service is, by the kernel and by its units.
#[derive(Debug)]
struct Place {
    /// Nodes whose gate is open.
    open: Vec<usize>,
    /// Nodes where something of it runs, what is known to be stuck left out.
    busy: Vec<usize>,
    /// It failed, or is stuck, somewhere: no wonder that it is not where it should be.
    hurt: bool,
}

impl World {
    fn place(&self, s: usize) -> Place {
        let all = || 0..self.nodes.len();
        Place {
            open: all()
                .filter(|n| self.nodes[*n].is_open(s, self.now))
                .collect(),
            busy: all()
                .filter(|n| self.nodes[*n].units[s].takes_room() && !self.nodes[*n].told_stuck[s])
                .collect(),
            hurt: all().any(|n| matches!(self.nodes[n].units[s], Units::Failed | Units::Stuck)),
        }
    }

    /// Soon after the healing nobody holds twice, by the kernel's gates and by the engines' own word.
    pub(crate) fn check_one_holder(&mut self) {
        for s in 0..self.foreign.len() {
            let open = self.place(s).open;
            if open.len() > 1 {
                let names: Vec<_> = open.iter().map(|n| self.name(*n)).collect();
                let what = format!("web{} is held by {names:?} 2 s after healing", s + 1);
                self.fail("S1", what);
            }
        }
        for n in 0..self.nodes.len() {
            let now = self.local(n);
            let Some(agent) = &self.nodes[n].agent else {
                continue;
            };
            let view = agent.engine.view(now);
            if let Some(split) = view.services.iter().find(|s| s.running_on.len() > 1) {
                let what = format!(
                    "{} sees {} on {:?} 2 s after healing",
                    self.name(n),
                    split.name,
                    split.running_on
                );
                self.fail("S1", what);
            }
        }
    }

    /// Nothing new has happened for [`World::settling`].
    pub(crate) fn check_settled(&mut self, healed: bool) {
        let running = |n: &usize| self.nodes[*n].agent.is_some();
        let alive: Vec<_> = (0..self.nodes.len()).filter(running).collect();
        if healed && alive.len() < self.nodes.len() {
            let what = format!("only {} nodes run after healing", alive.len());
            self.fail("simulator", what);
        }
        let strange = |n: &usize| {
            let node = &self.nodes[*n];
            node.leaving
                || (node.agent.is_none() && node.power == Power::On)
                || node.agent.as_ref().is_some_and(|a| a.paused)
        };
        if !healed && (0..self.nodes.len()).any(|n| strange(&n)) {
            return;
        }
        let refused = self.nodes.iter().any(|node| node.refuses.any());
        if self.net.is_cut_anywhere() || alive.is_empty() || refused {
            self.check_apart();
            return;
        }
        self.check_documents(&alive);
        for s in 0..self.foreign.len() {
            self.check_place(s, &alive, healed);
        }
        if healed {
            for n in alive {
                if self.nodes[n].agent.as_ref().is_some_and(|a| a.orders) {
                    self.fail("orders", format!("{} still carries an order", self.name(n)));
                }
            }
        }
    }

    /// While the network is cut anything may run twice, but nothing that is stopped.
    fn check_apart(&mut self) {
        for s in 0..self.foreign.len() {
            for n in 0..self.nodes.len() {
                let node = &self.nodes[n];
                let stopped =
                    (node.agent.as_ref()).is_some_and(|a| a.engine.document().services[s].stopped);
                if stopped && node.is_open(s, self.now) {
                    let what = format!("web{} is open on {} though stopped", s + 1, self.name(n));
                    self.fail("F16", what);
                }
            }
        }
    }

    fn check_documents(&mut self, alive: &[usize]) {
        let key = |w: &Self, n: usize| {
            let agent = w.nodes[n].agent.as_ref();
            agent.map(|a| {
                (
                    a.engine.document().revision,
                    a.engine.document().short_hash(),
                )
            })
        };
        let first = key(self, alive[0]);
        if let Some(other) = alive.iter().find(|n| key(self, **n) != first) {
            let what = format!(
                "{} has {first:?} and {} has {:?}",
                self.name(alive[0]),
                self.name(*other),
                key(self, *other)
            );
            self.fail("one document", what);
        }
    }

    fn check_place(&mut self, s: usize, alive: &[usize], healed: bool) {
        let place = self.place(s);
        let document = self.nodes[alive[0]].document.clone();
        let service = &document.services[s];
        let member = |name: &NodeName| document.members.iter().position(|m| m.name == *name);
        let home = member(&service.nodes[0]).unwrap_or_default();
        let standby = (document.members.iter())
            .position(|m| m.role == Role::Standby)
            .unwrap_or_default();
        let lock = (service.lock.as_ref())
            .filter(|l| l.until.is_none_or(|u| u > wall(self.now)))
            .and_then(|l| member(&l.node));
        let is_alive = |n: usize| alive.contains(&n);
        let stuck = |n: usize| self.nodes[n].units[s] == Units::Stuck;
        let soon_over = (service.lock.as_ref())
            .is_some_and(|l| l.until.is_some_and(|u| u < wall(self.now) + 400));
        let names: Vec<_> = place
            .open
            .iter()
            .map(|n| self.name(*n).to_owned())
            .collect();
        let tell = |why: &str| format!("web{} is on {names:?}: {why}", s + 1);
        let mut bad = None;
        if place.open.len() > 1 {
            bad = Some(("invariant 1", tell("two holders")));
        } else if service.stopped {
            if !place.open.is_empty() || !place.busy.is_empty() {
                bad = Some(("F16", tell("it is stopped")));
            }
        } else if let Some(lock) = lock
            && place.open.iter().any(|n| *n != lock)
        {
            bad = Some(("L1", tell("it is locked elsewhere")));
        }
        let runs = place.open.first().copied();
        let foreign = !healed && self.script.foreign_is_active(s);
        if runs.is_none() && !place.busy.is_empty() && !service.stopped && !foreign {
            bad = bad.or(Some(("A4", tell("something of it runs without a hold"))));
        }
        let excused = place.hurt || foreign || soon_over || service.stopped || bad.is_some();
        if !excused {
            let may = match lock {
                Some(l) => is_alive(l) && (l == home || self.has_room(s, standby, &document)),
                None if is_alive(home) => true,
                None if !is_alive(standby) || service.failover == Failover::Ordered => false,
                None if alive.len() == 1 && !self.has_reference => false,
                None => self.has_room(s, standby, &document),
            };
            if may && runs.is_none() && !stuck(home) && !stuck(standby) {
                bad = Some(("F2", tell("it should run")));
            }
            let automatic = document.fallback_of(service) == Fallback::Automatic;
            // F17: the work on home goes on, or has ended a moment ago.
            let worked_on = (document.members[home].maintenance.as_ref())
                .is_some_and(|m| m.until + 400 > wall(self.now));
            let kept = self.is_kept_away(s, standby, document.moves_per_hour) || worked_on;
            if runs == Some(standby) && is_alive(home) && automatic && lock.is_none() && !kept {
                bad = Some(("F7", tell("it should be at home")));
            }
            if healed
                && let Some(at) = runs
                && self.nodes[at].units[s] != Units::On
            {
                let what = format!("its units are {:?}", self.nodes[at].units[s]);
                bad = Some(("F2", tell(&what)));
            }
            if healed
                && let Some(at) = runs
                && !self.nodes[at].addresses[s]
            {
                bad = Some(("A3", tell("its alias is not up")));
            }
        }
        if let Some((rule, what)) = bad {
            self.fail(rule, what);
        }
    }

    /// F10: the standby says that it keeps the service, for it has moved too often; by its terms that can be.
    fn is_kept_away(&mut self, s: usize, standby: usize, limit: u16) -> bool {
        let now = self.local(standby);
        let Some(agent) = &self.nodes[standby].agent else {
            return false;
        };
        let view = agent.engine.view(now);
        let service = &view.services[s];
        let says = |a: &AlarmView| {
            a.active && a.id == "flapping" && a.service.as_ref() == Some(&service.name)
        };
        let (kept, term) = (view.alarms.iter().any(says), service.term);
        // Every service began at home under term 1.
        if kept && term < 1 + u64::from(limit) {
            let what = format!("web{} is kept away under term {term}", s + 1);
            self.fail("F10", what);
        }
        kept
    }

    /// F3 to F5: the standby would have room for service `s`, or carries it: fewer than its capacity
    /// of what it carries is locked there or at least as important.
    fn has_room(
        &self,
        s: usize,
        standby: usize,
        document: &backstay_core::model::ClusterDocument,
    ) -> bool {
        let name = &document.members[standby].name;
        let firm = (0..document.services.len()).filter(|o| {
            let other = &document.services[*o];
            let locked = other.lock.as_ref().is_some_and(|l| l.node == *name);
            *o != s
                && self.nodes[standby].is_open(*o, self.now)
                && (locked || other.priority <= document.services[s].priority)
        });
        firm.count() < usize::from(document.members[standby].capacity)
    }

    pub(crate) fn count_beats(&mut self) {
        let beats = |n: &crate::node::Node| n.agent.as_ref().map_or(0, |a| a.beats);
        self.script.counted = self.nodes.iter().map(beats).collect();
    }

    /// In the steady state a node says one beat each beat interval; one that waits for room asks the
    /// others once in W, and they answer.
    pub(crate) fn check_beats(&mut self) {
        let was = core::mem::take(&mut self.script.counted);
        self.count_beats();
        for (n, before) in was.iter().enumerate() {
            let said = self.script.counted[n] - before;
            let questions = 20 * ns(self.first.beat()) / ns(self.first.wait()) + 1;
            if !(18..=22 + questions).contains(&said) {
                let what = format!(
                    "{} said {said} beats in 20 intervals of {} ms",
                    self.name(n),
                    ns(self.first.beat()) / MS
                );
                self.fail("beats", what);
            }
        }
    }
}
