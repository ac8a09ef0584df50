//! Carrying the table out: events to rows, rows to effects, in the written order.

use core::time::Duration;

use arrayvec::ArrayVec;

use crate::model::{MAX_SERVICES, RuleId};
use crate::time::Mono;

use super::effect::{Effect, GateOp, Presence};
use super::lifecycle::{self, Action, Event, Phase};
use super::links::CARRIER_LOST;
use super::local::Local;
use super::mutation::Mutation;
use super::placement::{Room, Want};
use super::why::Why;
use super::{Engine, NodeState};

/// A2: how often an alias that is waited for is probed again.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How often it is recorded at most that something was put right.
const RECORD_EVERY: Duration = Duration::from_secs(1);

impl Engine {
    /// Brings every service as far as it can go now.
    pub(super) fn settle(&mut self, now: Mono) {
        if self.my == usize::MAX {
            return;
        }
        self.watch_silence(now);
        // A service that comes is wanted, then ready, then taken; one given up makes room for another.
        for _ in 0..3 + 2 * self.services.len() {
            let mut room = self.room(now);
            let mut moved = false;
            for i in 0..self.services.len() {
                if self.settle_one(i, room, now) {
                    moved = true;
                    room = self.room(now); // F3: what has just been taken has its room
                }
            }
            if !moved {
                break;
            }
        }
        if self.leaving
            && !self.handed_over
            && self
                .services
                .iter()
                .all(|l| l.phase == Phase::Idle || l.phase == Phase::Stuck)
        {
            self.handed_over = true;
            self.effects.push_back(Effect::SendBeats);
            self.effects.push_back(Effect::HandedOver);
        }
    }

    /// True: something moved.
    fn settle_one(&mut self, i: usize, room: Room, now: Mono) -> bool {
        let want = self.want(i, room, now);
        let phase = self.services[i].phase;
        match (phase, want) {
            (Phase::Idle, Want::Have(why)) => {
                self.services[i].why = why;
                self.step(i, Event::Want, now)
            }
            (Phase::Idle, Want::Not(why, _)) => {
                self.services[i].why = why;
                // Until it is known who holds what, nothing is taken for an intruder (A5).
                let known = !self.listening && now >= self.silent_until;
                known
                    && self.services[i].units_run == Some(true)
                    && self.step(i, Event::Intruder, now)
            }
            (Phase::Waiting, Want::Have(why)) => self.try_to_take(i, why, room, now),
            (Phase::Conflict, Want::Have(_)) => {
                !self.services[i].alias_used && self.step(i, Event::AliasFree, now)
            }
            (Phase::Waiting | Phase::Conflict, Want::Not(why, _)) => {
                self.services[i].why = why;
                self.services[i].ready = false;
                self.step(i, Event::Unwant, now)
            }
            (Phase::Starting | Phase::Running | Phase::Failed, Want::Have(_)) => {
                self.is_outdated(i, now) && self.step(i, Event::Outdated, now)
            }
            (Phase::Starting | Phase::Running | Phase::Failed, Want::Not(why, heir)) => {
                self.services[i].why = why;
                self.services[i].heir = heir;
                if matches!(why, Why::Maintenance(_)) {
                    let work = self.maintenance_of(self.my, now).map(|m| m.at);
                    self.services[i].given_away = work; // F17
                }
                self.step(i, Event::GiveUp, now)
            }
            (Phase::Stopping, _) => {
                let local = &self.services[i];
                let seen = local.stop_seen || self.breaks(Mutation::IgnoresStops);
                seen && !local.close_again && self.step(i, Event::Stopped, now)
            }
            (Phase::Stuck, _) => false,
        }
    }

    fn try_to_take(&mut self, i: usize, why: Why, room: Room, now: Mono) -> bool {
        if self.services[i].alias_used {
            return self.step(i, Event::AliasTaken, now); // A2
        }
        let permission = self.permission(i, now);
        let me = self.me;
        let local = &mut self.services[i];
        let home = local.plan.is_home(self.my);
        match permission {
            Ok(()) => {
                let was = core::mem::replace(&mut local.ready, true);
                if !home && !was {
                    return true; // it now competes for the room
                }
                if !home && !room.keeps(i) {
                    local.why = Why::NoRoom(room.first); // F3
                    let left_running = local.units_run == Some(true);
                    return left_running && self.step(i, Event::Unwant, now);
                }
                if !home && !room.is_free_for(i) {
                    return false; // what makes room for it still stops
                }
                local.why = why;
                self.step(i, Event::Permit, now)
            }
            Err((because, _)) => {
                // Ordered here while another still has it, given to this node, or asked about once more: it
                // competes for the room already (F5), or something else would start for a moment.
                let asked = matches!(because, Why::Asking | Why::OthersHear);
                let ordered = (matches!(why, Why::Ordered(_))
                    && (asked || matches!(because, Why::HeldBy(_))))
                    || local.given_to(me)
                    || (local.ready && matches!(because, Why::Asking));
                let moved = ordered != local.ready;
                local.ready = ordered;
                local.why = because;
                moved && ordered
            }
        }
    }

    /// Another term was taken above this node's, or the same, and that holder is gone (S1).
    fn is_outdated(&self, i: usize, now: Mono) -> bool {
        let local = &self.services[i];
        let passed = local.highest > local.hold.term || local.tie;
        passed && self.claimant_of(i, now).is_none()
    }

    /// Takes the row for this event, if there is one. True: the service moved.
    pub(super) fn step(&mut self, i: usize, event: Event, now: Mono) -> bool {
        let local = &self.services[i];
        let units_run = local.units_run == Some(true);
        let Some((number, row)) = lifecycle::step(local.phase, event, units_run) else {
            return false;
        };
        self.rows |= 1 << number;
        let local = &mut self.services[i];
        let from = core::mem::replace(&mut local.phase, row.to);
        if from != row.to {
            local.since = now;
        }
        if row.to != Phase::Waiting {
            local.ready = false;
            local.query.first = 0;
        }
        if !row.to.holds() {
            local.announce.next = None;
        }
        for action in row.actions {
            self.act(i, *action, now);
        }
        if matches!(event, Event::Inherit | Event::GoOn) {
            self.services[i].announce.go_on(now);
        }
        let rule = match event {
            Event::GiveUp | Event::Unwant => self.services[i].why.rule(),
            _ => RuleId::of(row.rule),
        };
        self.services[i].opening = event == Event::Permit;
        if event == Event::Permit {
            self.record_takeover(i, now);
        }
        self.record_row(i, row, rule, now);
        true
    }

    fn act(&mut self, i: usize, action: Action, now: Mono) {
        let service = self.services[i].id;
        match action {
            Action::TakeTerm => self.take_term(i, now),
            Action::Release => self.release(i, now),
            Action::Persist => self.effects.push_back(Effect::Persist),
            Action::Close => {
                self.services[i].hold.clear();
                self.effects
                    .push_back(Effect::Gate(GateOp::Close { service }));
            }
            Action::Open => self.open(i, now),
            Action::AddAddresses => {
                self.services[i].put_up = true;
                self.effects.push_back(Effect::AddAddresses(service));
            }
            Action::RemoveAddresses => {
                self.services[i].put_up = false;
                self.effects.push_back(Effect::RemoveAddresses(service));
            }
            Action::Announce => {
                self.services[i].announce.begin(now);
                self.announce_due(i, now);
            }
            Action::Probe => {
                let recent = self.document.wait().min(PROBE_EVERY);
                let probed = self.services[i].probed;
                if probed.is_none_or(|at| now >= at.after(recent)) {
                    self.services[i].probed = Some(now);
                    let former = self.services[i].ballot.holder;
                    self.effects.push_back(Effect::Probe { service, former });
                }
            }
            Action::Start => {
                self.services[i].taken = now;
                // From now on something of it may run, though nothing says so yet.
                self.services[i].units_run = Some(true);
                self.effects.push_back(Effect::StartUnits(service));
            }
            Action::Stop => {
                self.services[i].stop_seen = false;
                self.effects.push_back(Effect::StopUnits(service));
            }
            Action::Hooks => {
                let returned = self.services[i].plan.is_home(self.my);
                self.effects
                    .push_back(Effect::RunHooks { service, returned });
            }
            Action::Tell => self.send_now = true,
        }
    }

    fn take_term(&mut self, i: usize, now: Mono) {
        let me = self.me;
        let local = &mut self.services[i];
        local.close_again = false; // what it would close is what is opened now
        local.hold.take(local.highest);
        local.highest = local.hold.term;
        local.given = None;
        local.order = None;
        local.tie = false;
        // In `available` this node's own voter goes along: it has waited as long as any.
        local.ballot.term = local.hold.term;
        local.ballot.holder = Some(me);
        local.ballot.released = false;
        local.ballot.successor = None;
        local.ballot.heard = now;
        let term = local.hold.term;
        self.note_holder(i, me, term, now); // F10
    }

    fn release(&mut self, i: usize, now: Mono) {
        let me = self.me;
        let local = &mut self.services[i];
        let heir = local.heir.take();
        if local.hold.holding {
            local.ballot.release(me, local.hold.term, heir);
            if local.highest <= local.hold.term {
                local.given = Some((local.hold.term, heir));
                local.given_at = now;
            }
            local.hold.release(heir);
        }
        local.rival = None;
    }

    /// Rules 14 to 16: arm, ask, make live. In `available` the holder makes its own slot live; the beat
    /// between arming and that is where a pause is noticed (see [`Engine::withdraw`]).
    fn open(&mut self, i: usize, now: Mono) {
        let slot = self.arm(i, now);
        let service = self.services[i].id;
        self.effects.push_back(Effect::SendBeats);
        self.effects
            .push_back(Effect::Gate(GateOp::Live { service, slot }));
    }

    fn arm(&mut self, i: usize, now: Mono) -> u8 {
        let local = &mut self.services[i];
        let (service, slot) = (local.id, local.hold.next_slot(now));
        self.effects
            .push_back(Effect::Gate(GateOp::Arm { service, slot }));
        slot
    }

    /// With each beat: everything that is held gets its next slot.
    pub(super) fn renew(&mut self, now: Mono) {
        self.persist_now |= !self.host.run_ok;
        let mut live = ArrayVec::<_, MAX_SERVICES>::new();
        for i in 0..self.services.len() {
            let service = self.services[i].id;
            if self.services[i].close_again {
                self.services[i].close_again = false;
                self.effects
                    .push_back(Effect::Gate(GateOp::Close { service }));
            }
            if self.my != usize::MAX
                && self.is_proven(now)
                && self.services[i].hold.holding
                && self.services[i].phase.holds()
                && !self.is_opening(service)
            {
                self.services[i].opening = false;
                let slot = self.arm(i, now);
                live.push(GateOp::Live { service, slot });
            }
        }
        self.effects.push_back(Effect::SendBeats);
        self.send_now = false;
        self.effects.extend(live.into_iter().map(Effect::Gate));
    }

    /// Asks count only with whoever has heard this start of the agent; armed before that, the gate would
    /// outlive what others wait for. Who is alone finds that out soon.
    pub(super) fn is_proven(&self, now: Mono) -> bool {
        let lone = self.alone_at.is_none_or(|at| now >= at);
        lone || self.others().any(|at| self.peers[at].heard.is_some())
    }

    /// A1: sends the announcements that are due.
    fn announce_due(&mut self, i: usize, now: Mono) {
        let local = &mut self.services[i];
        if local.announce.next.is_some_and(|at| now >= at) {
            let reply_form = local.announce.sent % 2 == 1;
            local.announce.sent(now);
            self.effects.push_back(Effect::Announce {
                service: local.id,
                reply_form,
            });
        }
    }

    /// What time alone brings: peers fall silent, listening ends, announcements come due.
    fn watch_silence(&mut self, now: Mono) {
        let bounds = self.bounds;
        let mut home_suspect = false;
        let mut suspects = 0_u16;
        for at in 0..self.peers.len() {
            if at == self.my {
                continue;
            }
            let peer = &mut self.peers[at];
            let state = peer.state(bounds, now);
            if matches!(state, NodeState::Suspect | NodeState::Down) && peer.suspected.is_none() {
                peer.suspected = Some(now);
                suspects |= 1 << at; // A2: the probe's answer must be there when W has passed
            }
            home_suspect |= state == NodeState::Suspect;
            if peer.is_fit(bounds, now) {
                peer.well_since.get_or_insert(now);
            } else {
                peer.well_since = None;
            }
        }
        if home_suspect {
            self.check_reference(now); // S1: the answer must be there when W has passed
        }
        if self.listening {
            let heard = |at: usize| self.peers[at].heard.is_some();
            let all = self.others().all(heard);
            self.listening = !all && now < self.started.after(self.document.boot_wait());
        }
        for i in 0..self.services.len() {
            self.end_of_conflict(i, now);
            let local = &self.services[i];
            let due = local.probed.is_none_or(|at| now >= at.after(PROBE_EVERY));
            let suspect = local.phase == Phase::Idle
                && local.plan.may_run_on(self.my)
                && local
                    .plan
                    .home
                    .is_some_and(|home| suspects & (1 << home) != 0);
            if suspect || (local.is_probed() && due) {
                self.act(i, Action::Probe, now); // A2
            }
            self.announce_due(i, now);
        }
    }

    /// A1: 1 s after a conflict has ended the rightful holder announces again, so that it speaks last.
    fn end_of_conflict(&mut self, i: usize, now: Mono) {
        if !self.services[i].phase.holds() {
            return;
        }
        if self.rival_of(i, now).is_some() {
            self.services[i].rival = Some(now);
        } else if self.services[i].rival.take().is_some() {
            self.services[i]
                .announce
                .begin(now.after(Duration::from_secs(1)));
        }
    }

    /// Notes a rival's term when its beat arrives (S1).
    pub(super) fn watch_rivals(&mut self, at: usize, now: Mono) {
        for i in 0..self.services.len() {
            if !self.services[i].phase.holds() {
                continue;
            }
            let report = self.peers[at].report(self.services[i].id);
            if now > self.services[i].taken && super::membership::is_hold(report.phase) {
                let local = &mut self.services[i];
                let first = local.rival.replace(now).is_none();
                local.tie |= report.term == local.hold.term;
                if first {
                    self.record_split(i, at, now);
                }
            }
        }
    }

    /// A3: put back what was removed behind the agent's back; A4: take down what may not be up.
    pub(super) fn mend_addresses(
        &mut self,
        service: crate::model::ServiceId,
        present: Presence,
        now: Mono,
    ) {
        let Some(i) = self.place(service) else { return };
        let held = self.services[i].phase.holds();
        if !held && present == Presence::None {
            self.services[i].close_again = false; // what is on no interface is closed
        }
        let own = !held && core::mem::take(&mut self.services[i].put_up);
        let (rule, sentence) = match (held, present) {
            (true, Presence::None | Presence::Some) => {
                self.effects.push_back(Effect::AddAddresses(service));
                self.services[i].announce.begin(now);
                self.announce_due(i, now);
                ("A3", "was removed by another program; it was put back")
            }
            (false, Presence::Some | Presence::All) => {
                self.effects.push_back(Effect::RemoveAddresses(service));
                if own {
                    return; // nobody else put it up
                }
                ("A4", "was up where it may not be; it was taken down")
            }
            _ => return,
        };
        // Two programs that fight over an address must not fill the journal.
        let last = self.host.alias_restored.replace(now);
        if last.is_none_or(|at| now.since(at) >= RECORD_EVERY) {
            let sentence = format!("the alias of {} {sentence}", self.document.services[i].name);
            self.record(Some(i), RuleId::of(rule), sentence, None, None, now);
        }
    }

    /// S5: the gate is back and clear; what is held gets its slots before anything else.
    pub(super) fn gate_restored(&mut self, took: Duration, now: Mono) {
        self.host.gate_ok = true;
        self.renew(now);
        let last = self.host.gate_restored.replace(now);
        if last.is_none_or(|at| now.since(at) >= RECORD_EVERY) && self.my != usize::MAX {
            let node = &self.document.members[self.my].name;
            let sentence = format!(
                "protection was lost: another program removed or changed Backstay's packet filter rules on {node}; restored after {} ms",
                took.as_millis()
            );
            self.record(None, RuleId::of("S5"), sentence, None, Some(took), now);
        }
    }

    /// When something will happen by time alone.
    pub(super) fn deadline(&mut self, now: Mono) -> Mono {
        let mut at = self.next_beat;
        let mut by = |t: Mono| {
            if t > now && t < at {
                at = t;
            }
        };
        for peer in &self.peers {
            if let Some(heard) = peer.heard {
                by(heard.after(self.bounds.suspect));
                by(heard.after(self.bounds.down));
            }
            if let Some(well) = peer.well_since {
                by(well.after(self.document.home_healthy()));
            }
        }
        by(self.silent_until);
        by(self.informed_at);
        if let Some(at) = self.alone_at {
            by(at);
        }
        if let Some(at) = self.host.link_down_since {
            by(at.after(CARRIER_LOST));
        }
        by(self.started.after(self.bounds.down));
        by(self.started.after(self.document.boot_wait()));
        by(self.started.after(self.document.cold_start()));
        let wait = self.document.wait();
        for local in &self.services {
            if let Some(next) = local.announce.next {
                by(next);
            }
            if local.hold.holding && local.phase.holds() {
                by(local.hold.open_until(self.hold_for).unwrap_or(now));
            }
            if local.is_probed() {
                by(local.probed.unwrap_or(now).after(PROBE_EVERY));
            }
            if local.phase == Phase::Waiting {
                by(local.ask_heard.after(wait));
                if local.query.first != 0 {
                    by(local.query.retry);
                }
                if let Some(asked) = self.host.reference_asked {
                    by(asked.after(wait / 4));
                }
            }
        }
        at
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Local> {
        self.services.iter().filter(|l| l.asks())
    }
}
