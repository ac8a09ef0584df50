//! The wall clocks of the members. They expire what an admin gave in wall time (L3, F17), and are compared (C10).

use arrayvec::ArrayVec;

use crate::model::MAX_MEMBERS;
use crate::time::Mono;

use super::Engine;

impl Engine {
    /// Seconds since 1970 UTC, once they were told.
    pub(super) fn wall(&self, now: Mono) -> Option<u64> {
        self.wall_ms(now).map(|ms| ms / 1_000)
    }

    pub(super) fn wall_ms(&self, now: Mono) -> Option<u64> {
        let told = self.host.wall;
        told.map(|(wall, at)| wall.saturating_add(now.since(at).as_millis() as u64))
    }

    /// By how much another clock is ahead of this node's, when that node says so just now.
    pub(super) fn compare_clock(&mut self, at: usize, theirs_ms: u64, now: Mono) {
        let mine = self.wall_ms(now).filter(|_| theirs_ms > 0);
        self.peers[at].clock_ahead_ms = mine.map(|mine| {
            let ahead = i128::from(theirs_ms) - i128::from(mine);
            ahead.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        });
    }

    /// C10: the members, by their places, whose clocks differ from the middle one by more than is allowed. Every node
    /// comes to the same: of two clocks it is the one that is ahead.
    pub(super) fn wrong_clocks(&self, now: Mono) -> u16 {
        let ahead = |at: usize| {
            let peer = &self.peers[at];
            if at == self.my {
                self.host.wall.map(|_| 0)
            } else {
                peer.clock_ahead_ms.filter(|_| peer.is_up(self.bounds, now))
            }
        };
        let known = (0..self.peers.len()).filter_map(|at| Some((at, ahead(at)?)));
        let known: ArrayVec<(usize, i64), MAX_MEMBERS> = known.take(MAX_MEMBERS).collect();
        let mut sorted: ArrayVec<i64, MAX_MEMBERS> = known.iter().map(|(_, ms)| *ms).collect();
        sorted.sort_unstable();
        let Some(middle) = sorted.get(sorted.len().saturating_sub(1) / 2) else {
            return 0;
        };
        let most = self.document.clocks_within().as_millis();
        let wrong = known
            .iter()
            .filter(|(_, ms)| u128::from(ms.abs_diff(*middle)) > most);
        wrong.fold(0, |bits, (at, _)| bits | (1 << at))
    }
}
