//! What goes into this node's beats, and what is made of others'.

use core::time::Duration;

use crate::model::{MAX_SERVICES, NodeId};
use crate::time::Mono;

use super::beat::{Answer, Ask, Beat, BeatOrder, HearsPeer, Released, ServiceReport, Verdict};
use super::lifecycle::Phase;
use super::local::{Local, Said};
use super::voter::Terms;
use super::{Effect, Engine, ORDER_LASTS};

/// How long a node that was taken out is answered after it was heard.
const STRAYS: Duration = Duration::from_secs(10);

/// How long the same is asked for at least before it is asked for again.
const FETCH_EVERY: Duration = Duration::from_secs(1);

/// A document that others have and this node has not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetching {
    revision: u64,
    /// When it was first asked for.
    pub(super) since: Mono,
    asked: Mono,
}

impl Fetching {
    /// Whether that revision is to be asked for now; notes it.
    fn is_due(of: &mut Option<Self>, revision: u64, now: Mono) -> bool {
        let same = of.filter(|f| f.revision >= revision);
        let due = same.is_none_or(|f| now.since(f.asked) >= FETCH_EVERY);
        if due {
            let new = Self {
                revision,
                since: now,
                asked: now,
            };
            *of = Some(same.map_or(new, |f| Self { asked: now, ..f }));
        }
        due
    }
}

impl Engine {
    /// The beat to send now, to every member over every link.
    pub fn beat(&mut self, now: Mono) -> &Beat {
        self.withdraw(now);
        self.sequence += 1;
        let mut beat = self.beat.take().unwrap_or_default(); // its room is used again
        beat.cluster = self.document.id;
        beat.from = self.me;
        beat.incarnation = self.start.incarnation;
        beat.boot = self.start.boot;
        beat.sequence = self.sequence;
        beat.nonce = self.start.nonce;
        beat.revision = self.document.revision;
        beat.hash = self.hash;
        beat.epoch = self.document.epoch;
        beat.system_revision = self.system_revision;
        beat.leaving = self.leaving;
        beat.silent = now < self.silent_until;
        beat.listening = self.listening;
        beat.host = self.host.flags(now);
        beat.agent = self.version;
        beat.wall_ms = self.wall_ms(now).unwrap_or_default();
        self.speak_of_services(&mut beat, now);
        beat.answers = core::mem::take(&mut self.answers);
        beat.answers.retain(|answer| {
            let granted = |l: &Local| l.id == answer.service && answer.term <= l.written.granted;
            answer.verdict != Verdict::Yes || self.services.iter().any(granted)
        });
        beat.hears.clear();
        for at in self.others() {
            let peer = &self.peers[at];
            let age = peer.silence(now).map_or(u32::MAX, |s| {
                u32::try_from(s.as_millis()).unwrap_or(u32::MAX)
            });
            beat.hears.push(HearsPeer {
                node: peer.id,
                age_ms: age,
                echo: peer.nonce,
            });
        }
        self.strays.retain(|(_, _, at)| now.since(*at) < STRAYS);
        for (node, echo, at) in &self.strays {
            let age = u32::try_from(now.since(*at).as_millis());
            // Where a cluster is so large that there is no room, they learn of it one after the other.
            let _ = beat.hears.try_push(HearsPeer {
                node: *node,
                age_ms: age.unwrap_or(u32::MAX),
                echo: *echo,
            });
        }
        self.speak_of_links(&mut beat.silent_links, now);
        beat.orders.clear();
        self.orders.retain(|(_, until)| now < *until);
        for (order, _) in &self.orders {
            if self
                .services
                .iter()
                .any(|l| l.id == order.service && l.highest <= order.at_term)
            {
                beat.orders.push(*order);
            }
        }
        self.speak_of_moves(&mut beat, now);
        self.beat.insert(beat)
    }

    fn speak_of_services(&self, beat: &mut Beat, now: Mono) {
        beat.services.clear();
        beat.asks.clear();
        beat.would.clear();
        beat.released.clear();
        for local in &self.services {
            let phase = if self.is_void(local, now) {
                Phase::Waiting
            } else {
                local.phase
            };
            if local.highest > 0 || local.phase != Phase::Idle {
                let since = now.since(local.since).as_millis();
                beat.services.push(ServiceReport {
                    service: local.id,
                    phase: phase.code(),
                    term: local.highest,
                    since_ms: u32::try_from(since).unwrap_or(u32::MAX),
                });
            }
            if local.phase == Phase::Waiting && local.query.first != 0 && !local.query.agreed {
                beat.would.push(local.id);
            }
            let hold = &local.hold;
            let closed = hold.released <= local.written.released && !local.close_again;
            if hold.released > 0 && !hold.holding && hold.released >= local.highest && closed {
                beat.released.push(Released {
                    service: local.id,
                    term: hold.released,
                    successor: hold.successor,
                });
            }
        }
        let told = |l: &&Local| l.hold.term <= l.written.asked && !self.is_void(l, now);
        for local in self.held().filter(told) {
            beat.asks.push(Ask {
                service: local.id,
                term: local.hold.term,
            });
        }
    }

    /// Its hold ran out while this node was held up, and it has not come to say so yet.
    fn is_void(&self, local: &Local, now: Mono) -> bool {
        local.phase.holds() && local.hold.has_lapsed(self.hold_for, now)
    }

    /// What is true of every question that `asker` puts in a beat.
    fn terms(&self, i: usize, asker: usize, revision: u64, now: Mono) -> Terms {
        let plan = &self.services[i].plan;
        let locked_away = self
            .lock_of(i, now)
            .is_some_and(|n| usize::from(n) != asker);
        Terms {
            permitted: plan.may_run_on(asker) && !plan.stopped && !locked_away,
            current: revision >= self.document.revision,
            no_grant_until: self.no_grant_until,
            wait: self.document.wait(),
        }
    }

    /// The voter (PROTOCOL 5 to 10), and what the asker learns from others' asks (13).
    pub(super) fn hear_asks(&mut self, at: usize, beat: &Beat, now: Mono) {
        for ask in &beat.asks {
            let Some(i) = self.place(ask.service) else {
                continue;
            };
            let local = &mut self.services[i];
            local.saw(ask.term);
            local.ask_heard = now;
            self.note_holder(i, beat.from, ask.term, now); // F10
            if now < self.silent_until {
                continue;
            }
            let terms = self.terms(i, at, beat.revision, now);
            let local = &mut self.services[i];
            let (verdict, changed) = local.ballot.ask(beat.from, ask.term, &terms, now);
            let term = if verdict == Verdict::Yes {
                ask.term
            } else {
                local.ballot.term
            };
            if changed {
                self.persist_now = true;
                self.send_now = true;
            }
            self.answer(beat, ask.service, term, verdict);
        }
        if now < self.silent_until {
            return;
        }
        for service in &beat.would {
            let Some(i) = self.place(*service) else {
                continue;
            };
            let terms = self.terms(i, at, beat.revision, now);
            let ballot = self.services[i].ballot;
            let has = self.services[i].asks() || self.services[i].close_again;
            let verdict = if has || self.goes_before(i, at, now) {
                Verdict::Refused(super::Refused::Heard, 0) // S1: it has it itself, or is about to
            } else {
                ballot.would(beat.from, &terms, now)
            };
            self.answer(beat, *service, ballot.term, verdict);
            if verdict == Verdict::Would {
                // Who gives way no longer goes by what others agreed to before, or both would take it.
                self.services[i].query.begin_again(self.sequence + 1);
            }
            // A new question and a new answer are urgent; the rest goes with the next beat.
            let local = &mut self.services[i];
            let said = Said {
                verdict: Some(core::mem::discriminant(&verdict)),
                to: (beat.from, beat.boot),
                sequence: beat.sequence,
            };
            let was = core::mem::replace(&mut local.answered, said);
            let asked_again =
                (was.sequence..=was.sequence.saturating_add(1)).contains(&said.sequence);
            if (was.verdict, was.to) != (said.verdict, said.to) || !asked_again {
                self.send_now = true;
            }
        }
    }

    /// Two ask for the same service at once: the one it is ordered to goes first, else the one that comes
    /// first in its list. True: that is this node, not member `asker`.
    fn goes_before(&self, i: usize, asker: usize, now: Mono) -> bool {
        let local = &self.services[i];
        if local.phase != Phase::Waiting || local.query.first == 0 {
            return false;
        }
        match local.order_target(now) {
            Some(target) if target == self.me => true,
            Some(target) if target == self.peers[asker].id => false,
            _ => {
                let rank = |at: usize| local.plan.nodes.iter().position(|n| usize::from(*n) == at);
                rank(self.my) < rank(asker)
            }
        }
    }

    fn answer(&mut self, to: &Beat, service: crate::model::ServiceId, term: u64, verdict: Verdict) {
        self.answers
            .retain(|a| a.asker != to.from || a.service != service);
        if self.answers.len() < MAX_SERVICES {
            self.answers.push(Answer {
                asker: to.from,
                boot: to.boot,
                sequence: to.sequence,
                service,
                term,
                verdict,
            });
        }
    }

    /// PROTOCOL 12, and what the asker learns from a release (13).
    pub(super) fn hear_releases(&mut self, beat: &Beat, now: Mono) {
        for released in &beat.released {
            let Some(i) = self.place(released.service) else {
                continue;
            };
            let local = &mut self.services[i];
            local.saw(released.term);
            // Two nodes may have taken one term, each on its side of a cut (S1): what the one releases is not given by the
            // other, least of all to that other.
            let ballot = &local.ballot;
            let its_own = ballot.term < released.term || ballot.holder == Some(beat.from);
            if its_own && released.term >= local.highest {
                let given = Some((released.term, released.successor));
                // One that died as it took the term, and was never heard to have it, gives it up too: to nobody.
                let knows_better = released.successor.is_none()
                    && local
                        .given
                        .is_some_and(|(term, heir)| term == released.term && heir.is_some());
                if local.given != given && !knows_better {
                    local.given = given;
                    local.given_at = now;
                }
            }
            if local
                .ballot
                .release(beat.from, released.term, released.successor)
            {
                self.persist_now = true;
            }
        }
    }

    /// An order heard from another node: the larger number of one term stands.
    pub(super) fn take_order(&mut self, order: BeatOrder, now: Mono) {
        let until = now.after(ORDER_LASTS.min(self.beat_every * 4));
        self.learn(order.service, |local| {
            let stands = local
                .order
                .as_ref()
                .filter(|(o, end)| o.at_term >= local.highest && now < *end);
            let newer =
                stands.is_none_or(|(o, _)| (order.at_term, order.number) >= (o.at_term, o.number));
            if newer && order.at_term >= local.highest {
                local.order = Some((order, until));
                local.unrest.ordered(order.at_term); // F10
            }
        });
    }

    /// Anti-entropy: whoever is behind asks, at most once a second.
    pub(super) fn follow_documents(&mut self, beat: &Beat, now: Mono) {
        let (mine, theirs) = (
            (self.document.revision, self.hash),
            (beat.revision, beat.hash),
        );
        if theirs > mine && Fetching::is_due(&mut self.fetch, beat.revision, now) {
            self.effects.push_back(Effect::FetchDocument {
                from: beat.from,
                revision: beat.revision,
            });
        }
        if beat.system_revision > self.system_revision
            && Fetching::is_due(&mut self.fetch_system, beat.system_revision, now)
        {
            self.effects.push_back(Effect::FetchSystem {
                from: beat.from,
                revision: beat.system_revision,
            });
        }
    }

    /// This node's name for itself, where it is a member.
    pub const fn me(&self) -> NodeId {
        self.me
    }
}
