//! When a service that is wanted here may be taken (PROTOCOL 13, S1, A5).

use core::time::Duration;

use crate::time::Mono;

use super::Engine;
use super::beat::{Refused, Verdict};
use super::lifecycle::Phase;
use super::local::Query;
use super::mutation::Mutation;
use super::why::Why;

/// Whether a service may be taken now; if not, why, and when to look again.
pub(super) type Permission = Result<(), (Why, Option<Mono>)>;

impl Engine {
    /// May service `i`, wanted here, be taken now? Room is another question (F3).
    pub(super) fn permission(&mut self, i: usize, now: Mono) -> Permission {
        if !self.host.gate_ok {
            return Err((Why::NoGate, None));
        }
        if !self.host.run_ok {
            return Err((Why::Unwritten, None));
        }
        if self.breaks(Mutation::TakesAtOnce) {
            return Ok(());
        }
        // Whoever is asked from now on answers from now; who is not up can't be asked, and may have
        // spoken meanwhile.
        if now < self.informed_at
            && !self
                .others()
                .all(|at| self.peers[at].is_up(self.bounds, now))
        {
            return Err((Why::HeldUp, Some(self.informed_at)));
        }
        if self.services[i].given_to(self.me) {
            // Its holder has proven the release and named this node. That news may be old: a holder that
            // went on meanwhile says so. One that leaves does not go on, and may be gone before it answers.
            let asked = self.asked_of(now);
            return if asked == 0 {
                Ok(())
            } else {
                self.ask_around(i, asked, now)
            };
        }
        if now < self.silent_until {
            return Err((Why::Silent, Some(self.silent_until)));
        }
        if self.listening {
            return Err((
                Why::Listening,
                Some(self.started.after(self.document.boot_wait())),
            ));
        }
        if let Some(holder) = self.claimant_of(i, now) {
            return Err((Why::HeldBy(holder as u8), None)); // ordered here; it must let go first
        }
        // PROTOCOL 30: what others hold may be armed by the former H, and who has not learned of the new epoch yet may
        // speak so seldom that it counts as gone by the new W.
        if now < self.no_grant_until {
            return Err((Why::LastHolder, Some(self.no_grant_until)));
        }
        let local = &self.services[i];
        let mine = local.ballot.holder == Some(self.me) && local.ballot.term >= local.highest;
        let wait = self.document.wait();
        // What this node wrote before its agent's start is old: others may have taken over since (A5).
        let informed = now >= self.started.after(wait)
            || self.others().all(|at| self.peers[at].heard.is_some());
        let wait_ends = local.ask_heard.after(wait);
        if now < wait_ends && !(mine && informed) {
            return Err((Why::LastHolder, Some(wait_ends)));
        }
        self.cold_start(i, now)?;
        let anybody = |at: usize| self.peers[at].is_up(self.bounds, now);
        if self.others().any(anybody) {
            self.ask_around(i, self.asked_of(now), now)
        } else {
            self.alone(i, now)
        }
    }

    /// Until home has been heard once since the machine's start, the standby waits longer.
    fn cold_start(&self, i: usize, now: Mono) -> Permission {
        let Some(home) = self.services[i].plan.home else {
            return Ok(());
        };
        let ends = self.started.after(self.document.cold_start());
        let met =
            usize::from(home) == self.my || self.met.contains(&self.peers[usize::from(home)].id);
        if met || now >= ends {
            Ok(())
        } else {
            Err((Why::NeverHeard(home), Some(ends)))
        }
    }

    /// A bit for each node that must agree: those that are up and answer.
    fn asked_of(&self, now: Mono) -> u16 {
        let answers = |at: &usize| {
            let peer = &self.peers[*at];
            peer.is_up(self.bounds, now) && !peer.last.silent && !peer.last.leaving
        };
        self.others()
            .filter(answers)
            .fold(0, |bits, at| bits | (1 << at))
    }

    /// S1: every node of `ask` must agree that the holder is gone.
    fn ask_around(&mut self, i: usize, ask: u16, now: Mono) -> Permission {
        let wait = self.document.wait();
        let again = (self.beat_every / 8).max(Duration::from_millis(5));
        let query = &mut self.services[i].query;
        if query.first == 0 || now.since(query.at) > wait {
            *query = Query {
                first: self.sequence + 1,
                at: now,
                would: 0,
                agreed: false,
                retry: now.after(again),
            };
            self.send_now = true;
        }
        query.agreed = query.would & ask == ask;
        if query.agreed {
            return Ok(());
        }
        if now >= query.retry {
            query.retry = now.after(again);
            self.send_now = true;
        }
        let why = if self.services[i].why == Why::OthersHear {
            Why::OthersHear
        } else {
            Why::Asking
        };
        Err((why, Some(self.services[i].query.retry)))
    }

    /// S1: a standby that hears nobody may be the one that is cut off.
    fn alone(&mut self, i: usize, now: Mono) -> Permission {
        // Home, or where it is locked: no other node takes it in the meantime (L1).
        let locked_here = self.lock_of(i, now).map(usize::from) == Some(self.my);
        if locked_here || self.services[i].plan.is_home(self.my) {
            return if self.host.link_up() {
                Ok(())
            } else {
                Err((Why::CutOff, None))
            };
        }
        let wait = self.document.wait();
        let pair = self.document.members.len() == 2;
        let known = self.host.reference.filter(|(_, at)| now.since(*at) < wait);
        let answers = match known {
            Some((Some(answered), _)) => answered,
            Some((None, _)) => pair,
            None => false,
        };
        if self.host.link_up() && answers {
            return Ok(());
        }
        let again = self.check_reference(now);
        Err((Why::CutOff, Some(again)))
    }

    /// Asks the reference address, at most once in a quarter of W; answers when to look again.
    pub(super) fn check_reference(&mut self, now: Mono) -> Mono {
        let every = self.document.wait() / 4;
        let due = self.host.reference_asked.map(|at| at.after(every));
        if due.is_none_or(|due| now >= due) {
            self.host.reference_asked = Some(now);
            self.effects.push_back(super::Effect::CheckReference);
            now.after(every)
        } else {
            due.unwrap_or(now)
        }
    }

    /// Answers of peer `at` to this node's questions.
    pub(super) fn hear_answers(&mut self, at: usize, beat: &super::Beat, now: Mono) {
        for answer in &beat.answers {
            if answer.asker != self.me || answer.boot != self.start.boot {
                continue;
            }
            let Some(i) = self.place(answer.service) else {
                continue;
            };
            let local = &mut self.services[i];
            if local.query.first == 0 || answer.sequence < local.query.first {
                if matches!(answer.verdict, Verdict::Refused(Refused::Newer, _)) {
                    local.saw(answer.term);
                }
                continue;
            }
            match answer.verdict {
                Verdict::Would | Verdict::Yes => local.query.would |= 1 << at,
                Verdict::Refused(why, ms) => {
                    local.query.would &= !(1 << at);
                    if why == Refused::Heard && local.phase == Phase::Waiting {
                        local.why = Why::OthersHear;
                    }
                    // Each beat asks again; only what comes due before the next is asked by itself.
                    let wait = Duration::from_millis(u64::from(ms));
                    let soon = ms > 0 && wait < self.beat_every;
                    let wait = if soon { wait } else { self.beat_every * 2 };
                    local.query.retry = now.after(wait);
                    if why == Refused::Newer {
                        local.saw(answer.term);
                    }
                }
                Verdict::No => local.query.would &= !(1 << at),
            }
        }
    }
}
