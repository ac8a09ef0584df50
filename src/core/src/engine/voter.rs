//! The voter: whom this node acknowledges as holder (PROTOCOL 4 to 12).

use core::time::Duration;

use crate::model::NodeId;
use crate::time::Mono;

use super::beat::{Refused, Verdict};

/// What this node knows of one service's holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ballot {
    pub(super) term: u64,
    pub(super) holder: Option<NodeId>,
    pub(super) released: bool,
    pub(super) successor: Option<NodeId>,
    /// When the holder's ask was last acknowledged; without a record the start of silence.
    pub(super) heard: Mono,
}

/// What the record does not know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Rule 8: the document permits the asker (candidate, lock, order).
    pub(super) permitted: bool,
    /// Rule 8: the asker's document is at least as new.
    pub(super) current: bool,
    /// Rule 30.
    pub(super) no_grant_until: Mono,
    /// W.
    pub(super) wait: Duration,
}

impl Ballot {
    /// Rules 8 and 9, without effect.
    pub(super) fn would(&self, asker: NodeId, terms: &Terms, now: Mono) -> Verdict {
        if !terms.permitted {
            return Verdict::Refused(Refused::Document, 0);
        }
        if !terms.current {
            return Verdict::Refused(Refused::Revision, 0);
        }
        let until_grants = terms.no_grant_until.since(now);
        if self.holder == Some(asker) {
            return if until_grants.is_zero() || !self.released {
                Verdict::Would
            } else {
                Verdict::Refused(Refused::Promise, millis(until_grants))
            };
        }
        if !until_grants.is_zero() {
            return Verdict::Refused(Refused::Promise, millis(until_grants));
        }
        let handed = self.released && self.successor == Some(asker);
        let left = self.heard.after(terms.wait).since(now);
        if handed || left.is_zero() {
            Verdict::Would
        } else {
            Verdict::Refused(Refused::Heard, millis(left))
        }
    }

    /// Rules 7 to 10: answers an ask. True: the record changed and must be written before the answer.
    pub(super) fn ask(
        &mut self,
        asker: NodeId,
        term: u64,
        terms: &Terms,
        now: Mono,
    ) -> (Verdict, bool) {
        if term == self.term && self.holder == Some(asker) && !self.released {
            self.heard = now;
            return (Verdict::Yes, false);
        }
        if term <= self.term {
            return (Verdict::Refused(Refused::Newer, 0), false);
        }
        match self.would(asker, terms, now) {
            Verdict::Would => {
                *self = Self {
                    term,
                    holder: Some(asker),
                    released: false,
                    successor: None,
                    heard: now,
                };
                (Verdict::Yes, true)
            }
            no => (no, false),
        }
    }

    /// Rule 12. True: the record changed.
    pub(super) fn release(&mut self, from: NodeId, term: u64, successor: Option<NodeId>) -> bool {
        let news = self.holder == Some(from) && term >= self.term && !self.released;
        if news {
            self.released = true;
            self.term = term;
            self.successor = successor;
        }
        news
    }
}

/// Rounded up, so that whoever waits that long has waited long enough.
fn millis(of: Duration) -> u32 {
    u32::try_from(of.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: Duration = Duration::from_secs(3);
    const HOME: NodeId = NodeId(1);
    const STANDBY: NodeId = NodeId(2);

    fn terms() -> Terms {
        Terms {
            permitted: true,
            current: true,
            no_grant_until: Mono(0),
            wait: W,
        }
    }

    fn held(at_ms: u64) -> Ballot {
        Ballot {
            term: 4,
            holder: Some(HOME),
            heard: Mono::from_millis(at_ms),
            ..Ballot::default()
        }
    }

    #[test]
    fn s5_another_is_granted_only_after_the_wait() {
        let mut ballot = held(10_000);
        let early = ballot.ask(STANDBY, 5, &terms(), Mono::from_millis(12_999));
        assert_eq!(early, (Verdict::Refused(Refused::Heard, 1), false));
        assert_eq!(
            ballot,
            held(10_000),
            "a refusal leaves the record untouched"
        );
        let late = ballot.ask(STANDBY, 5, &terms(), Mono::from_millis(13_000));
        assert_eq!(late, (Verdict::Yes, true));
        let former = ballot.ask(HOME, 4, &terms(), Mono::from_millis(13_001));
        assert_eq!(former, (Verdict::Refused(Refused::Newer, 0), false));
    }

    #[test]
    fn a_release_lets_the_successor_in_at_once_and_nobody_else() {
        let mut ballot = held(10_000);
        assert!(ballot.release(HOME, 4, Some(STANDBY)));
        let now = Mono::from_millis(10_001);
        assert_eq!(
            ballot.would(NodeId(3), &terms(), now),
            Verdict::Refused(Refused::Heard, 2_999)
        );
        assert_eq!(ballot.ask(STANDBY, 5, &terms(), now), (Verdict::Yes, true));
    }

    #[test]
    fn a_stranger_releases_nothing() {
        let mut ballot = held(0);
        assert!(!ballot.release(STANDBY, 9, None));
        assert!(!ballot.release(HOME, 3, None));
        assert_eq!(ballot, held(0));
    }

    #[test]
    fn the_holder_is_acknowledged_under_its_term_and_renews_the_wait() {
        let mut ballot = held(0);
        let now = Mono::from_millis(5_000);
        assert_eq!(ballot.ask(HOME, 4, &terms(), now), (Verdict::Yes, false));
        assert_eq!(ballot.heard, now);
    }

    #[test]
    fn no_grant_before_the_epoch_has_settled() {
        let mut ballot = Ballot::default();
        let terms = Terms {
            no_grant_until: Mono::from_millis(20_000),
            ..terms()
        };
        let no = ballot.ask(STANDBY, 1, &terms, Mono::from_millis(19_000));
        assert_eq!(no, (Verdict::Refused(Refused::Promise, 1_000), false));
    }

    #[test]
    fn l1_a_node_that_the_document_does_not_permit_is_refused() {
        let mut ballot = Ballot::default();
        let terms = Terms {
            permitted: false,
            ..terms()
        };
        let (verdict, _) = ballot.ask(STANDBY, 1, &terms, Mono::from_millis(60_000));
        assert_eq!(verdict, Verdict::Refused(Refused::Document, 0));
    }
}
