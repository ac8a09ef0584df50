//! Effects that could not be carried out: what was not done must not be told, nor built upon.

use core::time::Duration;

use crate::model::{Safety, ServiceId};
use crate::time::Mono;

use super::effect::GateOp;
use super::local::Written;
use super::mutation::Mutation;
use super::{Effect, Engine, RHO};

impl Engine {
    /// That effect could not be carried out.
    pub fn handle_failed(&mut self, effect: &Effect, now: Mono) {
        if self.breaks(Mutation::IgnoresFailures) {
            return;
        }
        self.writing = false;
        match *effect {
            Effect::Gate(GateOp::Arm { service, slot } | GateOp::Live { service, slot }) => {
                self.host.gate_ok = false;
                self.slot_failed(service, slot, now);
            }
            Effect::Gate(GateOp::Close { service }) => {
                self.host.gate_ok = false;
                self.close_failed(service);
            }
            Effect::Gate(GateOp::Guard) => self.host.gate_ok = false,
            Effect::Persist => {
                self.host.run_ok = false;
                for i in 0..self.services.len() {
                    self.withdraw_unwritten(i, now);
                }
            }
            _ => {}
        }
        self.settle(now);
    }

    /// The driver comes for more, so what it had was carried out.
    pub(super) fn note_written(&mut self) {
        if !core::mem::take(&mut self.writing) {
            return;
        }
        self.host.run_ok = true;
        for local in &mut self.services {
            local.written = Written {
                asked: local.hold.term,
                released: local.hold.released,
                granted: local.ballot.term,
            };
        }
    }

    /// S5: a slot could not be armed or made live. What is held already is kept: closing it would need the gate, too, and
    /// with both nodes there nobody else takes it. It lapses as if the kernel had closed it. Nothing new is opened.
    fn slot_failed(&mut self, service: ServiceId, slot: u8, now: Mono) {
        let keep = self.document.safety == Safety::Available;
        let Some(i) = self.place(service) else { return };
        let local = &mut self.services[i];
        if keep && !local.opening {
            return;
        }
        local.hold.slot_failed(slot);
        let lapsed = local.hold.has_lapsed(self.hold_for, now);
        self.drop_opening(i, lapsed);
    }

    /// An alias that is on no interface is closed, too: before anything else is done or told.
    fn close_failed(&mut self, service: ServiceId) {
        let Some(i) = self.place(service) else { return };
        if self.services[i].phase.holds() {
            return; // what it would have closed has been taken again
        }
        self.services[i].close_again = true;
        self.effects.push_front(Effect::RemoveAddresses(service));
    }

    /// While a beat is composed: a slot that was armed long after this node decided so must not be made
    /// live, for others may count this node as gone by now; and what would follow it is not done. Slots
    /// armed in time close by themselves before W has passed for whoever heard the beat before this one
    /// (PROTOCOL 36). A pause after this check finds its slot expired.
    pub(super) fn withdraw(&mut self, now: Mono) {
        if self.breaks(Mutation::IgnoresLapse) {
            return;
        }
        let spare = self.document.wait().mul_f64(1.0 - 2.0 * RHO);
        let spare = spare.saturating_sub(self.hold_for + self.beat_every);
        let late_by = spare.clamp(self.beat_every / 4, self.beat_every);
        for i in 0..self.services.len() {
            self.withdraw_unwritten(i, now);
            self.withdraw_late(i, Some(late_by), now);
        }
    }

    /// PROTOCOL 17: a hold that could not be written opens nothing.
    fn withdraw_unwritten(&mut self, i: usize, now: Mono) {
        let local = &self.services[i];
        if local.hold.term > local.written.asked {
            self.withdraw_late(i, None, now);
        }
    }

    /// Gives up the slot of service `i` that waits to be made live if it was decided on more than that ago, or in any
    /// case; always where the service has been given up meanwhile.
    fn withdraw_late(&mut self, i: usize, late_by: Option<Duration>, now: Mono) {
        if !self.is_opening(self.services[i].id) {
            return;
        }
        let local = &mut self.services[i];
        let hold = &mut local.hold;
        let given_up = !local.phase.holds();
        if given_up || hold.withdraw(late_by, now) {
            let lapsed = given_up || hold.has_lapsed(self.hold_for, now);
            self.drop_opening(i, lapsed);
        }
    }

    /// A slot of that service waits to be made live.
    pub(super) fn is_opening(&self, service: ServiceId) -> bool {
        let waits = |e: &Effect| matches!(e, Effect::Gate(GateOp::Live { service: s, .. }) if *s == service);
        self.effects.iter().any(waits)
    }

    /// Drops what waits to make a slot of service `i` live, and if its hold has `lapsed` what would follow that.
    fn drop_opening(&mut self, i: usize, lapsed: bool) {
        let service = self.services[i].id;
        self.effects.retain(|effect| match effect {
            Effect::AddAddresses(s)
            | Effect::Announce { service: s, .. }
            | Effect::StartUnits(s)
            | Effect::RunHooks { service: s, .. } => !lapsed || *s != service,
            Effect::Gate(GateOp::Live { service: s, .. }) => *s != service,
            _ => true,
        });
    }
}
