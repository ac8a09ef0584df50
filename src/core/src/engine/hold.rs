//! The asker: this node's own terms and the slots of its gate (PROTOCOL 13 to 20).

use core::time::Duration;

use crate::model::NodeId;
use crate::time::Mono;

use super::effect::GateOp;

/// What this node holds, held and may never hold again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// The term it holds or last asked for.
    pub(super) term: u64,
    /// It holds `term` now.
    pub(super) holding: bool,
    /// Highest term it released; final (rule 20).
    pub(super) released: u64,
    /// To whom that went.
    pub(super) successor: Option<NodeId>,
    /// When each slot was armed; none: clear.
    slots: [Option<Mono>; GateOp::SLOTS as usize],
    next: u8,
}

impl Hold {
    /// Rule 14: the slot to arm now. Slots are used in turn, so that it is never the one that is live
    /// with the most time left (rule 15).
    pub(super) fn next_slot(&mut self, now: Mono) -> u8 {
        let slot = self.next;
        self.next = (slot + 1) % GateOp::SLOTS;
        self.slots[usize::from(slot)] = Some(now);
        slot
    }

    /// Rules 15 and 21: that slot was live before this agent was; the turn begins after it.
    pub(super) fn leave(&mut self, slot: u8, armed: Mono) {
        let slot = slot % GateOp::SLOTS;
        self.slots[usize::from(slot)] = Some(armed);
        self.next = (slot + 1) % GateOp::SLOTS;
    }

    /// Gives up the newest slot if it was decided on more than `late_by` ago; without that, in any case. True: it was.
    pub(super) fn withdraw(&mut self, late_by: Option<Duration>, now: Mono) -> bool {
        let newest = (self.next + GateOp::SLOTS - 1) % GateOp::SLOTS;
        let slot = &mut self.slots[usize::from(newest)];
        let late = |armed: &mut Mono| late_by.is_none_or(|by| now.since(*armed) > by);
        slot.take_if(late).is_some()
    }

    /// That slot could not be armed or made live.
    pub(super) fn slot_failed(&mut self, slot: u8) {
        self.slots[usize::from(slot % GateOp::SLOTS)] = None;
    }

    /// When the newest slot runs out by this node's clock: the kernel armed it no earlier than it was
    /// asked to, so it is open at least as long.
    pub(super) fn open_until(&self, hold: Duration) -> Option<Mono> {
        self.slots
            .iter()
            .flatten()
            .max()
            .map(|armed| armed.after(hold))
    }

    /// Rule 18.
    pub(super) fn has_lapsed(&self, hold: Duration, now: Mono) -> bool {
        self.holding && self.open_until(hold).is_none_or(|until| now >= until)
    }

    /// A new term, above `highest` and every term of this node's own.
    pub(super) fn take(&mut self, highest: u64) {
        let newest = highest.max(self.term).max(self.released);
        self.term = newest.saturating_add(1);
        self.holding = true;
        self.successor = None;
    }

    /// Rules 19, 20.
    pub(super) fn release(&mut self, successor: Option<NodeId>) {
        if self.holding {
            self.released = self.released.max(self.term);
            self.successor = successor;
        }
        self.holding = false;
        self.clear();
    }

    /// All slots were cleared.
    pub(super) fn clear(&mut self) {
        self.slots = [None; GateOp::SLOTS as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Duration = Duration::from_secs(2);

    #[test]
    fn s5_a_hold_lapses_h_after_the_newest_slot_was_armed() {
        let mut hold = Hold::default();
        hold.take(3);
        assert_eq!(hold.term, 4);
        for beat in 0..5 {
            assert_eq!(
                hold.next_slot(Mono::from_millis(beat * 500)),
                (beat % 3) as u8
            );
        }
        assert!(!hold.has_lapsed(H, Mono::from_millis(3_999)));
        assert!(hold.has_lapsed(H, Mono::from_millis(4_000)));
    }

    #[test]
    fn a_released_term_is_never_taken_again() {
        let mut hold = Hold::default();
        hold.take(3);
        hold.release(None);
        hold.take(0);
        assert_eq!(hold.term, 5);
    }

    #[test]
    fn without_an_armed_slot_nothing_is_held() {
        let mut hold = Hold::default();
        hold.take(0);
        let slot = hold.next_slot(Mono(0));
        hold.slot_failed(slot);
        assert!(hold.has_lapsed(H, Mono(1)));
    }
}
