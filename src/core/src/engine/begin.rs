//! What a new document and a new start make of what is known; what an agent leaves to its next start.

use crate::model::{ClusterDocument, MAX_SERVICES, RuleId};
use crate::time::Mono;

use super::lifecycle::{Event, Phase};
use super::local::{self, Local, Standing};
use super::membership::Peer;
use super::why::Why;
use super::{Effect, Engine, GateOp, Record, RunHold, RunMoves, RunRecord, RunState, Stage};

impl Engine {
    /// What this node carries for others and the next document no longer gives it: by then nobody would know it any
    /// more, and what the gate does not guard is open. What is at home stays there as ordinary addresses (C15), unless
    /// others have them now.
    pub(super) fn let_go(&mut self, next: &ClusterDocument, now: Mono) {
        let former = &self.document;
        let Some(me) = former.member_by_id(self.me) else {
            return;
        };
        let stays = !next.deleted && next.member_by_id(self.me).is_some();
        for (service, local) in former.services.iter().zip(&self.services) {
            if !service.nodes.contains(&me.name) {
                continue;
            }
            let at_home = service.home() == Some(&me.name);
            let here = local.put_up || local.phase != Phase::Idle;
            for alias in service.moving() {
                let mut holders = next
                    .services
                    .iter()
                    .filter(|s| s.moving().any(|a| a == alias));
                let given = stays && holders.clone().any(|s| s.nodes.contains(&me.name));
                let others = holders.next().is_some();
                if here && !given && (others || !at_home) {
                    self.effects.push_back(Effect::DropAlias(alias));
                }
            }
            let gone = !stays || next.service(service.id).is_none();
            if gone && !at_home && (here || local.units_run == Some(true)) {
                self.effects.push_back(Effect::StopUnits(service.id));
                let (service, node) = (&service.name, &me.name);
                let why = if stays || next.deleted {
                    "its cluster no longer has it"
                } else {
                    "this node is no longer in its cluster"
                };
                let sentence = format!("{service} stops on {node} for good: {why}");
                self.effects.push_back(Effect::Record(Record {
                    at: now,
                    service: Some(local.id),
                    term: local.highest,
                    rule: RuleId::of("C16"),
                    sentence,
                    stage: Some(Stage::Closed),
                    took_us: None,
                }));
            }
        }
    }

    /// Brings peers and services into the document's order, keeping what is known of them.
    pub(super) fn align(&mut self, now: Mono) {
        let me = self.me;
        self.my = self
            .document
            .members
            .iter()
            .position(|m| m.id == me)
            .unwrap_or(usize::MAX);
        if self.document.deleted {
            self.my = usize::MAX;
        }
        let mut known = core::mem::take(&mut self.peers);
        self.peers = (self.document.members.iter())
            .map(|m| match known.iter().position(|p| p.id == m.id) {
                Some(at) => known.swap_remove(at),
                None => Peer::new(m.id),
            })
            .collect();
        let mut known = core::mem::take(&mut self.services);
        for service in self.document.services.iter().take(MAX_SERVICES) {
            let plan = Standing::of(&self.document, service);
            let local = match known.iter().position(|l| l.id == service.id) {
                Some(at) => Local {
                    plan,
                    ..known.swap_remove(at)
                },
                None => Local::new(service.id, plan, now),
            };
            self.services.push(local);
        }
        // Places changed their meaning.
        for local in &mut self.services {
            local.query = local::Query::default();
        }
    }

    /// A new epoch begins: its records count, and what it says this node holds goes on (PROTOCOL 30).
    pub(super) fn inherit_base(&mut self, now: Mono) {
        for base in self.document.bases.clone() {
            let Some(i) = self.place(base.service) else {
                continue;
            };
            let holder = base
                .holder
                .as_ref()
                .and_then(|n| self.document.member(n))
                .map(|m| m.id);
            let local = &mut self.services[i];
            if base.term <= local.highest && local.highest > 0 {
                continue;
            }
            local.saw(base.term);
            local.ballot.term = base.term;
            local.ballot.holder = holder;
            local.ballot.released = false;
            local.ballot.heard = now;
            local.ask_heard = now;
            if holder == Some(self.me) && local.phase == Phase::Idle {
                local.hold.term = base.term;
                local.hold.holding = true;
                self.step(i, Event::Inherit, now);
            }
        }
    }

    /// What must outlive the agent, while the machine runs.
    pub fn run_state(&self) -> RunState {
        RunState {
            epoch: self.document.epoch,
            met: self.met.clone(),
            records: self
                .services
                .iter()
                .filter(|l| l.ballot.term > 0)
                .map(|l| RunRecord {
                    service: l.id,
                    term: l.ballot.term,
                    holder: l.ballot.holder,
                    released: l.ballot.released,
                    successor: l.ballot.successor,
                })
                .collect(),
            holds: self
                .services
                .iter()
                .filter(|l| l.hold.term > 0 || l.hold.released > 0)
                .map(|l| RunHold {
                    service: l.id,
                    asked: l.hold.term,
                    holding: l.hold.holding.then_some(l.hold.term),
                    released: l.hold.released,
                })
                .collect(),
            moves: self
                .services
                .iter()
                .map(|l| (l.id, l.unrest.kept()))
                .filter(|(_, (calm, moves))| *calm > 0 || !moves.is_empty())
                .map(|(service, (calm, moves))| RunMoves {
                    service,
                    calm,
                    moves,
                })
                .collect(),
        }
    }

    /// The agent restarted on a machine that did not (PROTOCOL 21, A5).
    pub(super) fn restore(&mut self, run: &RunState, now: Mono) {
        for record in &run.records {
            self.learn(record.service, |l| {
                l.saw(record.term);
                l.unrest.begin(record.holder, record.term);
                l.ballot.term = record.term;
                l.ballot.holder = record.holder;
                l.ballot.released = record.released;
                l.ballot.successor = record.successor;
                l.written.granted = record.term;
            });
        }
        for kept in &run.moves {
            self.learn(kept.service, |l| l.unrest.restore(kept.calm, &kept.moves));
        }
        let (soon, hold_for) = (self.soon(), self.hold_for);
        for held in &run.holds {
            let Some(i) = self.place(held.service) else {
                continue;
            };
            let open = self.start.open.iter().find(|(s, _)| *s == held.service);
            let open = open.map(|(_, slot)| *slot);
            // The document may have changed between two starts of the agent.
            let barred = self.services[i].plan.stopped
                || !self.services[i].plan.may_run_on(self.my)
                || (self.lock_of(i, now)).is_some_and(|at| usize::from(at) != self.my);
            let local = &mut self.services[i];
            local.saw(held.asked);
            local.hold.term = held.asked;
            local.hold.released = held.released;
            local.written.asked = held.asked;
            local.put_up = held.holding.is_some(); // its former life did not come to taking them down
            local.written.released = held.released;
            if held.holding == Some(held.asked) {
                if let Some(slot) = open.filter(|_| !barred) {
                    // How long it still lasts is not known: it counts until this node is heard.
                    let armed = now.before(hold_for.saturating_sub(soon * 2));
                    local.hold.leave(slot, armed);
                    local.hold.holding = true;
                    local.why = Why::GoesOn;
                    self.step(i, Event::GoOn, now);
                } else {
                    local.hold.released = local.hold.released.max(held.asked);
                    let service = held.service;
                    self.effects
                        .push_back(Effect::Gate(GateOp::Close { service }));
                }
            }
        }
    }
}
