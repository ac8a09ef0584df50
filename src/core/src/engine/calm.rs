//! Whether what arrives may wait a moment before it is read.

use core::time::Duration;

use crate::time::Mono;

use super::beat::phase;
use super::lifecycle::Phase;
use super::view::NodeState;
use super::{Engine, Peer};

/// Beats wait for each other at most this long.
const LONGEST: Duration = Duration::from_millis(20);

impl Engine {
    /// How long beats may gather before they are handed in: to wake up for each costs more than all that is then done
    /// with it. Not at all while anything is under way, here or on another node: then each may be what is waited for.
    /// A beat that is read late makes its sender's silence no longer than it is (W, rule 36), and a yes is counted
    /// later, never earlier.
    pub fn patience(&self, now: Mono) -> Duration {
        if self.my == usize::MAX || !self.is_calm(now) {
            return Duration::ZERO;
        }
        (self.beat_every * 2 / 5).min(LONGEST)
    }

    fn is_calm(&self, now: Mono) -> bool {
        let quiet = |peer: &Peer| {
            let known = peer.id == self.me
                || matches!(
                    peer.state(self.bounds, now),
                    NodeState::Up | NodeState::Down
                );
            let moves = |code| matches!(code, phase::WAITING | phase::STARTING | phase::STOPPING);
            known && !peer.last.services.iter().any(|r| moves(r.phase))
        };
        let rests = |phase| {
            matches!(
                phase,
                Phase::Idle | Phase::Running | Phase::Failed | Phase::Stuck
            )
        };
        let mut services = self.services.iter();
        !self.leaving
            && !self.listening
            && self.peers.iter().all(quiet)
            && services.all(|l| rests(l.phase) && !l.opening && l.order_target(now).is_none())
    }
}
