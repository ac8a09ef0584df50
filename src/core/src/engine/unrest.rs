//! The flap guard: how often a service has moved within the last hour (F10).
//!
//! A *move* is a new term under another holder than the last. Every member notices moves by itself, from the
//! asks that it hears, and knows each by its term; beats carry what is not an hour old, so that a node that
//! was away or restarted learns of them, and all count the same. They outlive the agent, not the machine:
//! a whole cluster that loses its power has forgotten them. To leave a node in maintenance is no move, nor is the
//! return to it (F17); and the first holder that a node hears of after its machine's start was there before.
//!
//! An order clears the count up to the move that it asks for: a human has looked. That much is *not* in the
//! beats; it is taken from the order itself, which reaches every member that is up. A node that was cut off
//! meanwhile may count an hour longer; who decides, the present holder, was there, since it carried it out.

use core::time::Duration;

use arrayvec::ArrayVec;

use crate::model::{MAX_MOVES_PER_HOUR, NodeId};
use crate::time::Mono;

use super::beat::MoveReport;
use super::{Beat, Engine};

/// How long a move counts.
const HOUR: Duration = Duration::from_hours(1);

/// A move that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    term: u64,
    /// The end of its hour.
    until: Mono,
}

/// What one service did of late.
#[derive(Clone, Debug, Default)]
pub(super) struct Unrest {
    /// The last holder and its term.
    holder: Option<(NodeId, u64)>,
    moves: ArrayVec<Move, { MAX_MOVES_PER_HOUR as usize }>,
    /// Moves up to this term do not count: a human has acted.
    calm: u64,
    /// It left this node because that is worked on.
    left: Option<NodeId>,
}

impl Unrest {
    /// It was held so before this node looked: no move.
    pub(super) const fn begin(&mut self, holder: Option<NodeId>, term: u64) {
        if let Some(holder) = holder {
            self.holder = Some((holder, term));
        }
    }

    /// `node` holds it under `term`; the former holder is `worked_on`. True: that was a move.
    fn held_by(&mut self, node: NodeId, term: u64, worked_on: bool, now: Mono) -> bool {
        let was = self.holder;
        if was.is_some_and(|(_, last)| term <= last) {
            return false;
        }
        self.holder = Some((node, term));
        let Some((last, _)) = was.filter(|(last, _)| *last != node) else {
            return false;
        };
        let returns = self.left.take() == Some(node);
        self.left = worked_on.then_some(last);
        // What does not count is kept as over, so that it is no news from a node that knows of no work.
        let until = if worked_on || returns {
            now
        } else {
            now.after(HOUR)
        };
        self.learn(term, until)
    }

    /// There was a move. True: it is news.
    fn learn(&mut self, term: u64, until: Mono) -> bool {
        if term <= self.calm || self.moves.iter().any(|m| m.term == term) {
            return false;
        }
        if self.moves.is_full() {
            let oldest = (0..self.moves.len()).min_by_key(|at| self.moves[*at].until);
            self.moves.swap_remove(oldest.unwrap_or_default());
        }
        self.moves.push(Move { term, until });
        true
    }

    /// A human ordered it to move when `term` was the highest.
    pub(super) fn ordered(&mut self, term: u64) {
        let calm = self.calm.max(term.saturating_add(1));
        self.calm = calm;
        self.moves.retain(|m| m.term > calm);
    }

    fn counts(&self, now: Mono) -> impl Iterator<Item = &Move> {
        self.moves.iter().filter(move |m| now < m.until)
    }

    /// What must outlive the agent: the term up to which nothing counts; each move's term and the end of
    /// its hour.
    pub(super) fn kept(&self) -> (u64, Vec<(u64, Mono)>) {
        let moves = self.moves.iter().map(|m| (m.term, m.until));
        (self.calm, moves.collect())
    }

    pub(super) fn restore(&mut self, calm: u64, moves: &[(u64, Mono)]) {
        self.calm = calm;
        for (term, until) in moves {
            self.learn(*term, *until);
        }
    }
}

impl Engine {
    /// Node `node` holds service `i` under `term`. To leave a node that is worked on, and to return to it, counts as
    /// no move: that is what the work asks for, or explains (F17).
    pub(super) fn note_holder(&mut self, i: usize, node: NodeId, term: u64, now: Mono) {
        let last = self.services[i].unrest.holder;
        let last = last.and_then(|(id, _)| self.peers.iter().position(|p| p.id == id));
        let worked_on = last.is_some_and(|at| self.maintenance_of(at, now).is_some());
        let unrest = &mut self.services[i].unrest;
        self.persist_now |= unrest.held_by(node, term, worked_on, now);
    }

    /// F10: it has moved so often that it leaves no living node by itself. Orders, takeover from a dead
    /// node, displacement and what follows from it do not ask this.
    pub(super) fn is_restless(&self, i: usize, now: Mono) -> bool {
        let limit = usize::from(self.document.moves_per_hour);
        self.services[i].unrest.counts(now).count() >= limit
    }

    /// The moves of the last hour, the newest first if there are too many.
    pub(super) fn speak_of_moves(&self, beat: &mut Beat, now: Mono) {
        beat.moves.clear();
        let said = |m: &Move| u32::try_from(m.until.since(now).as_millis()).unwrap_or(u32::MAX);
        for local in &self.services {
            for counted in local.unrest.counts(now) {
                let report = MoveReport {
                    service: local.id,
                    term: counted.term,
                    left_ms: said(counted),
                };
                if beat.moves.try_push(report).is_ok() {
                    continue;
                }
                let oldest = beat.moves.iter_mut().min_by_key(|r| r.left_ms);
                if let Some(oldest) = oldest.filter(|r| r.left_ms < report.left_ms) {
                    *oldest = report;
                }
            }
        }
    }

    /// What others have seen of moves.
    pub(super) fn hear_moves(&mut self, beat: &Beat, now: Mono) {
        let mut news = false;
        for report in &beat.moves {
            let left = Duration::from_millis(u64::from(report.left_ms)).min(HOUR);
            let until = now.after(left);
            self.learn(report.service, |l| {
                news |= l.unrest.learn(report.term, until);
            });
        }
        self.persist_now |= news;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: NodeId = NodeId(1);
    const STANDBY: NodeId = NodeId(2);

    fn count(unrest: &Unrest, minutes: u64) -> usize {
        unrest.counts(Mono::from_millis(minutes * 60_000)).count()
    }

    #[test]
    fn f10_another_holder_is_a_move_and_counts_for_an_hour() {
        let mut unrest = Unrest::default();
        let at = |minutes: u64| Mono::from_millis(minutes * 60_000);
        assert!(!unrest.held_by(HOME, 1, false, at(0)), "the first holder");
        assert!(!unrest.held_by(HOME, 2, false, at(1)), "the same again");
        assert!(unrest.held_by(STANDBY, 3, false, at(2)));
        assert!(!unrest.held_by(STANDBY, 3, false, at(3)), "heard before");
        assert!(!unrest.held_by(HOME, 2, false, at(3)), "an old beat");
        assert!(unrest.held_by(HOME, 4, false, at(10)));
        assert_eq!(count(&unrest, 61), 2);
        assert_eq!(count(&unrest, 62), 1);
        assert_eq!(count(&unrest, 70), 0);
    }

    #[test]
    fn f10_to_leave_a_node_that_is_worked_on_and_to_return_counts_nothing() {
        let mut unrest = Unrest::default();
        let at = |minutes: u64| Mono::from_millis(minutes * 60_000);
        unrest.begin(Some(HOME), 1);
        unrest.held_by(STANDBY, 2, true, at(1));
        unrest.held_by(HOME, 3, false, at(2));
        assert_eq!(count(&unrest, 2), 0);
        assert!(!unrest.learn(3, at(60)), "told by one that knows no better");
        unrest.held_by(STANDBY, 4, false, at(3));
        assert_eq!(count(&unrest, 3), 1, "the next one is a move");
        unrest.held_by(HOME, 5, false, at(4));
        assert_eq!(count(&unrest, 4), 2, "and so is the return from it");
    }

    #[test]
    fn f10_an_order_clears_the_count() {
        let mut unrest = Unrest::default();
        unrest.begin(Some(HOME), 1);
        for term in 2..6 {
            let node = if term % 2 == 0 { STANDBY } else { HOME };
            assert!(unrest.held_by(node, term, false, Mono(term)));
        }
        unrest.ordered(5);
        assert_eq!(count(&unrest, 1), 0);
        assert!(
            !unrest.held_by(STANDBY, 6, false, Mono(7)),
            "what was ordered"
        );
        assert!(unrest.held_by(HOME, 7, false, Mono(8)));
        assert_eq!(count(&unrest, 1), 1);
    }

    #[test]
    fn f10_the_newest_moves_are_kept_and_a_move_is_counted_once() {
        let mut unrest = Unrest::default();
        let most = u64::from(MAX_MOVES_PER_HOUR);
        for term in 1..=most + 3 {
            assert!(unrest.learn(term, Mono(term * 1_000)));
            assert!(!unrest.learn(term, Mono(0)));
        }
        let (calm, moves) = unrest.kept();
        assert_eq!((calm, moves.len() as u64), (0, most));
        assert!(moves.iter().all(|(term, _)| *term > 3));
        let mut again = Unrest::default();
        again.restore(calm, &moves);
        assert_eq!(again.kept().1, moves);
    }
}
