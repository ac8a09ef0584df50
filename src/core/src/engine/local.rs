//! One service as this node has it.

use arrayvec::ArrayVec;

use crate::model::{ClusterDocument, MAX_MEMBERS, NodeId, NodeName, Role, Service, ServiceId};
use crate::time::Mono;

use super::beat::{BeatOrder, Verdict};
use super::hold::Hold;
use super::lifecycle::Phase;
use super::unrest::Unrest;
use super::voter::Ballot;
use super::why::Why;

/// The state of one service on this node.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) id: ServiceId,
    pub(super) plan: Standing,
    pub(super) phase: Phase,
    pub(super) since: Mono,
    pub(super) why: Why,
    /// What runs here: unknown until first told.
    pub(super) units_run: Option<bool>,
    /// The stop that is under way has ended.
    pub(super) stop_seen: bool,
    pub(super) hold: Hold,
    pub(super) ballot: Ballot,
    /// Highest term seen anywhere.
    pub(super) highest: u64,
    /// The newest release heard, if nothing newer was: its term and successor.
    pub(super) given: Option<(u64, Option<NodeId>)>,
    /// When that was first heard.
    pub(super) given_at: Mono,
    /// Last ask of another node, for the wait of rule 13.
    pub(super) ask_heard: Mono,
    pub(super) query: Query,
    /// What was last answered to a question about it.
    pub(super) answered: Said,
    /// When its alias was last probed (A2).
    pub(super) probed: Option<Mono>,
    /// All that must agree agrees; only room may be missing (F3).
    pub(super) ready: bool,
    pub(super) order: Option<(BeatOrder, Mono)>,
    pub(super) alias_used: bool,
    pub(super) taken: Mono,
    /// Another holder was seen, and when last (S1).
    pub(super) rival: Option<Mono>,
    /// A rival had the same term.
    pub(super) tie: bool,
    pub(super) announce: Announce,
    pub(super) unrest: Unrest,
    /// Who gets it after the stop that is under way.
    pub(super) heir: Option<NodeId>,
    /// F17: the maintenance, by its beginning, for which it was given away: once for each is enough.
    pub(super) given_away: Option<u64>,
    /// It was permitted and its first slot is not yet renewed.
    pub(super) opening: bool,
    /// A4: its aliases may be up by this agent's doing, or its former life's: it has put them up and not yet taken them
    /// down. A hold that lapses leaves them up, closed.
    pub(super) put_up: bool,
    /// The gate could not be closed and must be tried again before anything is released.
    pub(super) close_again: bool,
    pub(super) written: Written,
}

/// What of it the run state has: nothing above that is told (PROTOCOL 35, invariant 12).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) asked: u64,
    pub(super) released: u64,
    pub(super) granted: u64,
}

/// What the document says of the service, with members by their place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) nodes: ArrayVec<u8, MAX_MEMBERS>,
    pub(super) home: Option<u8>,
    pub(super) locked_to: Option<u8>,
    /// Seconds since 1970 UTC.
    pub(super) lock_ends: Option<u64>,
    pub(super) priority: u16,
    pub(super) stopped: bool,
    pub(super) ordered_only: bool,
    pub(super) automatic_fallback: bool,
}

impl Standing {
    pub(super) fn of(document: &ClusterDocument, service: &Service) -> Self {
        let place = |name: &NodeName| {
            let at = document
                .members
                .iter()
                .position(|m| m.name == *name && m.role != Role::Witness);
            at.and_then(|at| u8::try_from(at).ok())
        };
        Self {
            nodes: service
                .nodes
                .iter()
                .filter_map(place)
                .take(MAX_MEMBERS)
                .collect(),
            home: service.home().and_then(place),
            locked_to: service.lock.as_ref().and_then(|l| place(&l.node)),
            lock_ends: service.lock.as_ref().and_then(|l| l.until),
            priority: service.priority,
            stopped: service.stopped,
            ordered_only: service.failover == crate::model::Failover::Ordered,
            automatic_fallback: document.fallback_of(service) == crate::model::Fallback::Automatic,
        }
    }

    pub(super) fn may_run_on(&self, member: usize) -> bool {
        self.nodes.iter().any(|n| usize::from(*n) == member)
    }

    pub(super) fn is_home(&self, member: usize) -> bool {
        self.home.map(usize::from) == Some(member)
    }
}

/// Asking the others whether this node would be granted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Query {
    /// The first beat that carried the question; 0: not asked.
    pub(super) first: u64,
    /// When it was first asked.
    pub(super) at: Mono,
    /// Who said that it would, by place in the document.
    pub(super) would: u16,
    /// All did; it is asked again only when that is old.
    pub(super) agreed: bool,
    /// When to ask again.
    pub(super) retry: Mono,
}

impl Query {
    /// Answers to beats before `first` count no longer.
    pub(super) fn begin_again(&mut self, first: u64) {
        if self.first != 0 {
            self.first = first;
            self.would = 0;
            self.agreed = false;
        }
    }
}

/// A1: what is announced when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Announce {
    /// Next time; none: nothing to announce.
    pub(super) next: Option<Mono>,
    /// How many were sent since the schedule began.
    pub(super) sent: u32,
    from: Mono,
}

impl Announce {
    /// Begins the schedule at `from`.
    pub(super) fn begin(&mut self, from: Mono) {
        *self = Self {
            next: Some(from),
            sent: 0,
            from,
        };
    }

    /// It was announced before this agent's start: the next is due in a minute.
    pub(super) fn go_on(&mut self, now: Mono) {
        *self = Self {
            next: Some(now.after(core::time::Duration::from_mins(1))),
            sent: 5,
            from: now,
        };
    }

    /// One was sent; the next is due at 0, 0.2, 1, 3, 10 s from the beginning, then every 60 s (A1).
    pub(super) fn sent(&mut self, now: Mono) {
        const AFTER_MS: [u64; 5] = [0, 200, 1_000, 3_000, 10_000];
        self.sent += 1;
        self.next = Some(match AFTER_MS.get(self.sent as usize) {
            Some(ms) => self.from.after(core::time::Duration::from_millis(*ms)),
            None => now.after(core::time::Duration::from_mins(1)),
        });
    }
}

/// An answer to a question.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// Which kind.
    pub(super) verdict: Option<core::mem::Discriminant<Verdict>>,
    /// To which node, in which of its boots.
    pub(super) to: (NodeId, u64),
    /// In which beat it was asked.
    pub(super) sequence: u64,
}

impl Local {
    pub(super) fn new(id: ServiceId, plan: Standing, now: Mono) -> Self {
        Self {
            id,
            plan,
            phase: Phase::Idle,
            since: now,
            why: Why::JustStarted,
            units_run: None,
            stop_seen: false,
            hold: Hold::default(),
            ballot: Ballot {
                heard: now,
                ..Ballot::default()
            },
            highest: 0,
            given: None,
            given_at: now,
            ask_heard: now,
            query: Query::default(),
            answered: Said::default(),
            probed: None,
            ready: false,
            order: None,
            alias_used: false,
            taken: now,
            rival: None,
            tie: false,
            announce: Announce::default(),
            unrest: Unrest::default(),
            heir: None,
            given_away: None,
            opening: false,
            put_up: false,
            close_again: false,
            written: Written::default(),
        }
    }

    /// Its alias is probed from time to time (A2).
    pub(super) const fn is_probed(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Conflict)
    }

    /// It claims the hold in its beats: open, or stopping with the hold not yet given up (F14).
    pub(super) fn asks(&self) -> bool {
        self.hold.holding && (self.phase.holds() || self.phase == Phase::Stopping)
    }

    /// A term was seen.
    pub(super) fn saw(&mut self, term: u64) {
        if term > self.highest {
            self.highest = term;
            if self.given.is_some_and(|(t, _)| t < term) {
                self.given = None;
            }
        }
    }

    /// The newest term was given up in favour of `node`.
    pub(super) fn given_to(&self, node: NodeId) -> bool {
        self.given
            .is_some_and(|(term, to)| term >= self.highest && to == Some(node))
    }

    /// The order that stands, if it is still heard.
    pub(super) fn order_target(&self, now: Mono) -> Option<NodeId> {
        let (order, until) = self.order.as_ref()?;
        let stands = order.at_term >= self.highest && now < *until;
        stands.then_some(order.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_announces_at_0_200_1000_3000_10000_ms_then_every_minute() {
        let mut announce = Announce::default();
        let start = Mono::from_millis(7);
        announce.begin(start);
        let mut at = Vec::new();
        for _ in 0..7 {
            let due = announce.next.unwrap();
            at.push(due.since(start).as_millis());
            announce.sent(due);
        }
        assert_eq!(at, [0, 200, 1_000, 3_000, 10_000, 70_000, 130_000]);
    }
}
