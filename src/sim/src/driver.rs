//! The driver of an engine, by the contract of `backstay_core::engine`, on the machine's model.

use core::time::Duration;
use std::rc::Rc;

use backstay_core::engine::{Effect, GateOp, HostEvent, Presence};
use backstay_core::model::{NodeId, ServiceId};

use crate::machine::{JIFFY, MS, Ns, ns};
use crate::node::{Agent, Hand, Input, Trap};
use crate::world::{Event, World};

/// Why the driver gave the processor back.
enum End {
    /// Nothing is left to do.
    Rest,
    /// Held up.
    Paused(Ns),
    /// Killed; again after so long.
    Killed(Ns),
    /// All was handed over: the machine stops.
    HandedOver,
}

impl World {
    /// Lets the agent of node `n` do all that it can do now.
    pub(crate) fn drive(&mut self, n: usize) {
        let Some(mut agent) = self.nodes[n].agent.take() else {
            return;
        };
        let end = if agent.paused {
            None
        } else {
            Some(self.drive_on(n, &mut agent))
        };
        if matches!(end, Some(End::Rest)) {
            self.ask_for_timer(n, &mut agent);
        }
        self.nodes[n].agent = Some(agent);
        match end {
            None | Some(End::Rest) => {}
            Some(End::Paused(lasts)) => self.pause(n, lasts),
            Some(End::Killed(again)) => self.crash_agent(n, again),
            Some(End::HandedOver) => self.power_off(n),
        }
    }

    fn drive_on(&mut self, n: usize, agent: &mut Agent) -> End {
        loop {
            let in_hand = agent.hand.take();
            let Some(hand) = in_hand.or_else(|| agent.engine.poll_effect().map(Hand::Effect))
            else {
                agent.torn = false;
                let Some(input) = agent.inbox.pop_front() else {
                    return End::Rest;
                };
                self.feed(agent, n, input);
                continue;
            };
            if let Some(end) = spring(agent) {
                agent.hand = Some(hand);
                return end;
            }
            match hand {
                Hand::Composed(beat) => self.send(n, &beat),
                Hand::Effect(Effect::SendBeats) => {
                    let beat = Rc::new(agent.engine.beat(self.local(n)).clone());
                    agent.beats += 1;
                    agent.orders = !beat.orders.is_empty();
                    self.check_beat(n, &beat);
                    agent.hand = Some(Hand::Composed(beat));
                }
                Hand::Effect(Effect::HandedOver) => {
                    self.note(n, || "has handed over".to_owned());
                    return End::HandedOver;
                }
                Hand::Effect(effect) if self.is_refused(n, &effect) => {
                    self.note(n, || format!("  refused: {effect:?}"));
                    agent.engine.handle_failed(&effect, self.local(n));
                }
                Hand::Effect(effect) => self.carry_out(n, agent, &effect),
            }
        }
    }

    fn ask_for_timer(&mut self, n: usize, agent: &mut Agent) {
        let now = self.local(n);
        let at = agent.engine.poll_timer(now);
        agent.timer += 1;
        agent.spins = if at > now { 0 } else { agent.spins + 1 };
        if agent.spins > 3 {
            let what = format!("{}'s timer does not move on", self.name(n));
            self.fail("spin", what);
        }
        let after = self.nodes[n].clock.when(at).saturating_sub(self.now);
        self.post(after, Event::Timer(n, agent.timer));
    }

    /// Not everything is refused: some of it gets through.
    fn is_refused(&mut self, n: usize, effect: &Effect) -> bool {
        let refuses = self.nodes[n].refuses;
        let kind = match effect {
            Effect::Persist => refuses.run,
            Effect::Gate(GateOp::Arm { .. } | GateOp::Live { .. } | GateOp::Close { .. }) => {
                refuses.gate
            }
            Effect::AddAddresses(_) | Effect::RemoveAddresses(_) => refuses.addresses,
            _ => 0,
        };
        if kind == 0 || self.rng.chance(200) {
            return false;
        }
        let life = self.nodes[n].life;
        if let Effect::Gate(GateOp::Arm { service, .. } | GateOp::Live { service, .. }) = *effect {
            let hold = ns(self.first.hold());
            self.on(service, |w, s| w.nodes[n].gates[s].miss(w.now + hold));
        }
        match effect {
            // The agent looks at its machine by itself: the gate every 10 s, addresses every 2 s.
            Effect::Gate(_) if !refuses.verified => {
                self.nodes[n].refuses.verified = true;
                let after = self.rng.between(1, 10_000) * MS;
                let event = HostEvent::Gate { intact: true };
                self.post(after, Event::Input(n, life, Input::Host(event)));
            }
            Effect::AddAddresses(service) | Effect::RemoveAddresses(service) => {
                let after = self.rng.between(1, 2_000) * MS;
                self.on(*service, |w, s| w.post(after, Event::Look(n, life, s)));
            }
            _ => {}
        }
        true
    }

    /// A3, A4: the agent looks whether the alias is up.
    pub(crate) fn look(&mut self, n: usize, s: usize) {
        let event = HostEvent::AliasPresent {
            service: self.first.services[s].id,
            present: presence(self.nodes[n].addresses[s]),
        };
        self.hand_in(n, Input::Host(event));
    }

    /// Another program empties the gate; the agent restores it, without the slots.
    pub(crate) fn flush(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        for gate in &mut node.gates {
            gate.flush();
        }
        node.refuses.flushed = true;
        let life = node.life;
        self.note(n, || "another program flushes the gate".to_owned());
        let took = Duration::from_millis(1);
        let event = HostEvent::GateRestored { took };
        self.post(MS, Event::Input(n, life, Input::Host(event)));
    }

    fn carry_out(&mut self, n: usize, agent: &Agent, effect: &Effect) {
        if self.options.trace {
            match effect {
                Effect::Record(record) => {
                    let text = format!("{} {}", record.rule, record.sentence);
                    self.trace_line(n, &text);
                }
                Effect::Persist | Effect::Gate(GateOp::Arm { .. } | GateOp::Live { .. }) => {}
                other => self.trace_line(n, &format!("  {other:?}")),
            }
        }
        match *effect {
            Effect::Persist => self.nodes[n].run = Some(agent.engine.run_state()),
            Effect::Gate(op) => self.gate(n, agent, op),
            Effect::AddAddresses(service) => {
                self.on(service, |w, s| w.nodes[n].addresses[s] = true);
            }
            Effect::RemoveAddresses(service) => self.on(service, |w, s| {
                w.nodes[n].addresses[s] = false;
                if w.nodes[n].refuses.gate > 0 {
                    let life = w.nodes[n].life;
                    w.post(MS, Event::Look(n, life, s)); // that closes it, too
                }
            }),
            Effect::Announce { service, .. } => {
                self.on(service, |w, s| w.check_announcement(n, s, agent.torn));
            }
            Effect::Probe { service, .. } => self.on(service, |w, s| w.probe(n, s)),
            Effect::CheckReference => self.check_reference(n),
            Effect::StartUnits(service) => self.on(service, |w, s| {
                w.check_start(n, s, agent);
                w.start_units(n, s);
            }),
            Effect::StopUnits(service) => self.on(service, |w, s| {
                w.check_stop(n, s);
                w.stop_units(n, s);
            }),
            Effect::FetchDocument { from, .. } => self.fetch(n, from),
            Effect::RunHooks { .. }
            | Effect::DropAlias(_) // no change of a simulated document takes one away
            | Effect::FetchSystem { .. }
            | Effect::Record(_)
            | Effect::SendBeats
            | Effect::HandedOver => {}
        }
    }

    fn on(&mut self, service: ServiceId, what: impl FnOnce(&mut Self, usize)) {
        if let Some(s) = self.service_at(service) {
            what(self, s);
        }
    }

    fn gate(&mut self, n: usize, agent: &Agent, op: GateOp) {
        match op {
            GateOp::Guard => {}
            GateOp::Arm { service, slot } => {
                let node = &self.nodes[n];
                let hold = node.clock.lasts(ns(agent.engine.document().hold()));
                let late = self.rng.below(JIFFY);
                let until = self.now + hold + late;
                self.on(service, |w, s| w.nodes[n].gates[s].arm(slot, w.now, until));
            }
            GateOp::Live { service, slot } => self.on(service, |w, s| {
                let anew = w.nodes[n].gates[s].live(slot, w.now, ns(w.first.beat()));
                if w.nodes[n].is_open(s, w.now) {
                    w.check_open(n, s, anew, agent);
                }
            }),
            GateOp::Close { service } => self.on(service, |w, s| {
                w.nodes[n].gates[s].close();
            }),
        }
    }

    fn send(&mut self, n: usize, beat: &Rc<backstay_core::engine::Beat>) {
        for to in (0..self.nodes.len()).filter(|to| *to != n) {
            for link in 0..self.net.links() {
                for after in self
                    .net
                    .copies(n, to, link, &mut self.rng)
                    .into_iter()
                    .flatten()
                {
                    self.post(after, Event::Beat(to, Rc::clone(beat), link as u8));
                }
            }
        }
    }

    /// A2: the answer is there within the waiting time.
    pub(crate) fn probe(&mut self, n: usize, s: usize) {
        let wait = ns(self.first.wait()).min(2_000 * MS);
        let after = self.rng.between(MS, wait / 2);
        let event = HostEvent::AliasInUse {
            service: self.first.services[s].id,
            used: self.foreign[s],
        };
        let life = self.nodes[n].life;
        self.post(after, Event::Input(n, life, Input::Host(event)));
    }

    fn check_reference(&mut self, n: usize) {
        let answered = self.has_reference.then(|| self.net.has_way_out(n));
        let after = if answered == Some(false) {
            100 * MS
        } else {
            2 * MS
        };
        let life = self.nodes[n].life;
        let event = HostEvent::Reference { answered };
        self.post(after, Event::Input(n, life, Input::Host(event)));
    }

    fn fetch(&mut self, n: usize, from: NodeId) {
        let Some(from) = self.node_of(from) else {
            return;
        };
        if !self.net.passes(n, from) || !self.net.passes(from, n) {
            return;
        }
        let after = self.rng.between(2, 80) * MS;
        let life = self.nodes[n].life;
        self.post(after, Event::Fetched(from, n, life));
    }
}

/// As the agent says it.
pub(crate) const fn presence(up: bool) -> Presence {
    if up { Presence::All } else { Presence::None }
}

/// The fault that waits for this boundary.
fn spring(agent: &mut Agent) -> Option<End> {
    let (left, trap) = agent.trap?;
    if left > 0 {
        agent.trap = Some((left - 1, trap));
        return None;
    }
    agent.trap = None;
    Some(match trap {
        Trap::Pause(lasts) => End::Paused(lasts),
        Trap::Crash(again) => End::Killed(again),
    })
}
