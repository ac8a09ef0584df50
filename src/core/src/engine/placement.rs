//! What this node wants of each service (sections F and L). Each node decides for itself only.

use core::cmp::Reverse;

use arrayvec::ArrayVec;

use crate::model::{MAX_SERVICES, NodeId, Problem, ServiceId, SplitStops};
use crate::time::Mono;

use super::Engine;
use super::beat::phase;
use super::lifecycle::Phase;
use super::membership::is_claim;
use super::mutation::Mutation;
use super::view::NodeState;
use super::why::Why;

/// What this node wants of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// To have it, or to keep it.
    Have(Why),
    /// Not to have it; what it has goes to the heir, if there is one.
    Not(Why, Option<NodeId>),
}

/// Which services this node carries as a standby (F3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// A bit for each service that has the room, carried or not.
    pub(super) keeps: u32,
    /// The first of them, to be named to those that have none.
    pub(super) first: u8,
    /// A bit for each service of which something runs or stops here.
    busy: u32,
    capacity: u32,
}

impl Room {
    /// Service `i` has the room.
    pub(super) const fn keeps(self, i: usize) -> bool {
        self.keeps & (1 << i) != 0
    }

    /// Service `i` may start: what runs or stops beside it leaves room (F3).
    pub(super) const fn is_free_for(self, i: usize) -> bool {
        (self.busy & !(1 << i)).count_ones() < self.capacity
    }
}

impl Engine {
    /// What this node wants of service `i`.
    pub(super) fn want(&self, i: usize, room: Room, now: Mono) -> Want {
        let local = &self.services[i];
        let plan = &local.plan;
        if !plan.may_run_on(self.my) {
            return Want::Not(Why::NoPart, None);
        }
        if plan.stopped {
            return Want::Not(Why::Stopped, None); // F16
        }
        let has = local.phase.holds();
        if let Some(node) = self.lock_of(i, now)
            && usize::from(node) != self.my
        {
            let to = usize::from(node);
            let heir = (has && self.can_take(to, i, now)).then(|| self.peers[to].id);
            return Want::Not(Why::Locked(node), heir); // L1
        }
        if self.leaving {
            return Want::Not(
                Why::Leaving,
                if has {
                    self.heir_on_leaving(i, now)
                } else {
                    None
                },
            ); // F11
        }
        if has && let Some(heir) = self.heir_in_maintenance(i, now) {
            return Want::Not(Why::Maintenance(self.my as u8), Some(heir)); // F17
        }
        let want = if has {
            self.keep(i, room, now)
        } else {
            self.take(i, now)
        };
        // Clients can't reach it here, though beats may pass on another link (A6). What moves too often stays (F10).
        if matches!(want, Want::Have(_))
            && self.has_no_carrier(now)
            && !self.is_restless(i, now)
            && let Some(heir) = self.heir_on_leaving(i, now)
        {
            return Want::Not(Why::NoCarrier(self.my as u8), has.then_some(heir));
        }
        want
    }

    /// It is here: does it stay?
    fn keep(&self, i: usize, room: Room, now: Mono) -> Want {
        let local = &self.services[i];
        let home = local.plan.home.map(usize::from);
        let locked_here = self.lock_of(i, now).is_some();
        if locked_here && self.rival_of(i, now).is_some() {
            return Want::Have(local.why); // L1: the other obeys the lock
        }
        if let Some(rival) = self.rival_of(i, now) {
            let home_stops = self.document.split_stops == SplitStops::Home;
            let i_stop = if home == Some(self.my) {
                home_stops
            } else if home == Some(rival) {
                !home_stops
            } else {
                self.peers[rival].report(local.id).term > local.hold.term
            };
            return if i_stop {
                Want::Not(Why::Split(rival as u8), None) // S1
            } else {
                Want::Have(local.why)
            };
        }
        if let Some(target) = local.order_target(now)
            && target != self.me
            && !locked_here
            && let Some(to) = self.peers.iter().position(|p| p.id == target)
            && self.can_take(to, i, now)
        {
            return Want::Not(Why::Ordered(to as u8), Some(target)); // F8
        }
        if home == Some(self.my) {
            return Want::Have(local.why);
        }
        let home_able = home.is_some_and(|h| self.can_take(h, i, now));
        let heir = home.filter(|_| home_able).map(|h| self.peers[h].id);
        if !room.keeps(i) {
            return Want::Not(Why::Displaced(room.first), heir); // F5, F6
        }
        let settled = home.and_then(|h| self.peers[h].well_since);
        let settled = settled.is_some_and(|at| now.since(at) >= self.document.home_healthy())
            && home.is_some_and(|h| self.maintenance_of(h, now).is_none()); // F17
        let by_itself = local.plan.automatic_fallback && !locked_here;
        if by_itself && home_able && settled && !self.is_restless(i, now) {
            return Want::Not(Why::HomeHealthy, heir); // F7, F9, F10
        }
        Want::Have(local.why)
    }

    /// It is not here: shall it come?
    fn take(&self, i: usize, now: Mono) -> Want {
        let local = &self.services[i];
        let ordered = local.order_target(now);
        if ordered == Some(self.me) {
            return Want::Have(Why::Ordered(self.my as u8));
        }
        if let Some(holder) = self.claimant_of(i, now) {
            return Want::Not(Why::HeldBy(holder as u8), None);
        }
        if let Some(target) = ordered
            && let Some(to) = self.peers.iter().position(|p| p.id == target)
            && self.can_take(to, i, now)
        {
            return Want::Not(Why::Ordered(to as u8), None);
        }
        if let Some(heir) = self.heir_of(i, now) {
            return Want::Not(Why::GivenTo(heir as u8), None); // or both would ask at once
        }
        let Some(home) = local.plan.home else {
            return Want::Not(Why::NoPart, None);
        };
        if usize::from(home) == self.my {
            return Want::Have(Why::AtHome);
        }
        if local.given_to(self.me) {
            let no_carrier = self.peers[usize::from(home)].last.host.link_down;
            return Want::Have(if no_carrier {
                Why::NoCarrier(home)
            } else {
                Why::HomeLeaves(home)
            });
        }
        if self.lock_of(i, now).map(usize::from) == Some(self.my) {
            return Want::Have(Why::Locked(self.my as u8));
        }
        let peer = &self.peers[usize::from(home)];
        match peer.state(self.bounds, now) {
            NodeState::Leaving => Want::Not(Why::HomeLeaves(home), None),
            NodeState::Up | NodeState::Suspect
                if peer.report(local.id).phase == phase::STUCK && !local.plan.ordered_only =>
            {
                Want::Have(Why::HomeStuck(home)) // F14
            }
            NodeState::Up | NodeState::Suspect
                if peer.last.host.gate_lost && !local.plan.ordered_only =>
            {
                Want::Have(Why::HomeUnprotected(home)) // S5, F2: it lets go and takes nothing
            }
            // It will not take what its clients can't reach there, as long as there is an heir.
            NodeState::Up | NodeState::Suspect
                if peer.last.host.link_down
                    && self.host.link_up()
                    && !local.plan.ordered_only
                    && !self.is_restless(i, now) =>
            {
                Want::Have(Why::NoCarrier(home))
            }
            NodeState::Up | NodeState::Suspect => Want::Not(Why::HomeUp, None),
            NodeState::Unknown if now < self.started.after(self.bounds.down) => {
                Want::Not(Why::JustStarted, None) // it had no time yet to be heard
            }
            NodeState::Down | NodeState::Unknown if local.plan.ordered_only => {
                Want::Not(Why::OrderedOnly, None)
            }
            NodeState::Down | NodeState::Unknown => Want::Have(Why::HomeDown(home)), // F2
        }
    }

    /// F3, F4, F5: which services have this standby's room. Those carried and those that are ready to be
    /// taken compete; the lower priority value wins, then what is carried (F4), then the older service. One
    /// that is locked here is not displaced (F6).
    pub(super) fn room(&self, now: Mono) -> Room {
        let Some(member) = self.document.members.get(self.my) else {
            return Room::default();
        };
        let capacity = if self.breaks(Mutation::IgnoresRoom) {
            MAX_SERVICES
        } else {
            usize::from(member.capacity)
        };
        let mut rivals: ArrayVec<(Reverse<bool>, u16, Reverse<bool>, usize), MAX_SERVICES> =
            ArrayVec::new();
        let mut busy = 0_u32;
        for (i, local) in self.services.iter().enumerate() {
            if local.plan.is_home(self.my) || !local.plan.may_run_on(self.my) {
                continue;
            }
            let carried = local.phase.holds();
            let runs = local.units_run == Some(true) && local.phase != Phase::Stuck;
            if carried || runs || local.phase == Phase::Stopping {
                busy |= 1 << i;
            }
            if carried || (local.phase == Phase::Waiting && local.ready) {
                let locked = carried && self.lock_of(i, now).map(usize::from) == Some(self.my);
                rivals.push((Reverse(locked), local.plan.priority, Reverse(carried), i));
            }
        }
        rivals.sort_unstable();
        let kept = &rivals[..rivals.len().min(capacity)];
        Room {
            keeps: kept.iter().fold(0, |bits, (.., i)| bits | (1 << i)),
            first: kept.first().map_or(0, |(.., i)| *i as u8),
            busy,
            capacity: capacity as u32,
        }
    }

    /// The other node whose gate may be open for service `i`, as heard since this node took it (S1).
    pub(super) fn rival_of(&self, i: usize, now: Mono) -> Option<usize> {
        let local = &self.services[i];
        self.others().find(|&at| {
            let peer = &self.peers[at];
            peer.holds(local.id, self.bounds, now) && peer.heard.is_some_and(|h| h > local.taken)
        })
    }

    /// The other node that claims service `i`.
    pub(super) fn claimant_of(&self, i: usize, now: Mono) -> Option<usize> {
        let id = self.services[i].id;
        self.others()
            .find(|&at| self.peers[at].claims(id, self.bounds, now))
    }

    /// The other node to which service `i` was given a moment ago: it has W to take it.
    fn heir_of(&self, i: usize, now: Mono) -> Option<usize> {
        let local = &self.services[i];
        let (term, heir) = local.given?;
        let at = self.peers.iter().position(|p| Some(p.id) == heir)?;
        let soon = term >= local.highest && now < local.given_at.after(self.bounds.down);
        (at != self.my && soon && !self.peers[at].is_down(self.bounds, now)).then_some(at)
    }

    pub(super) fn others(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.peers.len()).filter(|at| *at != self.my)
    }

    /// L1, L3: where service `i` is locked now. By the document, which outlives reboots and reaches who was away (L5).
    pub(super) fn lock_of(&self, i: usize, now: Mono) -> Option<u8> {
        if self.breaks(Mutation::IgnoresLocks) {
            return None;
        }
        let plan = &self.services[i].plan;
        let over = match (plan.lock_ends, self.wall(now)) {
            (Some(ends), Some(wall)) => wall >= ends,
            _ => false,
        };
        plan.locked_to.filter(|_| !over)
    }

    /// Member `to` is fit to be given service `i`, and has room or will make it.
    pub(super) fn can_take(&self, to: usize, i: usize, now: Mono) -> bool {
        let local = &self.services[i];
        let peer = &self.peers[to];
        if !local.plan.may_run_on(to) || !peer.is_able(self.bounds, self.document.revision, now) {
            return false;
        }
        let there = peer.report(local.id).phase;
        if matches!(there, phase::CONFLICT | phase::STUCK) {
            return false;
        }
        if local.plan.is_home(to) {
            return true;
        }
        let carries = self.services.iter().filter(|l| {
            l.id != local.id && !l.plan.is_home(to) && is_claim(peer.report(l.id).phase)
        });
        carries.count() < usize::from(self.document.members[to].capacity)
    }

    /// F11: who gets service `i` when this node leaves: the first in its list that can take it.
    fn heir_on_leaving(&self, i: usize, now: Mono) -> Option<NodeId> {
        if self.lock_of(i, now).is_some() || self.services[i].plan.ordered_only {
            return None;
        }
        let plan = &self.services[i].plan;
        let fit = |to: &usize| {
            *to != self.my && (self.can_take(*to, i, now) || self.would_displace(*to, i, now))
        };
        let heirs = plan.nodes.iter().map(|n| usize::from(*n)).filter(fit);
        // F17: a node that is worked on gets it only if there is no other.
        let heir = heirs.min_by_key(|to| self.maintenance_of(*to, now).is_some());
        heir.map(|to| self.peers[to].id)
    }

    /// Member `to` is full, but carries something less important that is not locked there.
    pub(super) fn would_displace(&self, to: usize, i: usize, now: Mono) -> bool {
        let local = &self.services[i];
        let peer = &self.peers[to];
        peer.is_able(self.bounds, self.document.revision, now)
            && local.plan.may_run_on(to)
            && self.services.iter().enumerate().any(|(other, l)| {
                l.id != local.id
                    && !l.plan.is_home(to)
                    && is_claim(peer.report(l.id).phase)
                    && l.plan.priority > local.plan.priority
                    && self.lock_of(other, now).map(usize::from) != Some(to)
            })
    }

    /// Service `i` is on member `to` and nowhere else, as far as is known.
    pub(super) fn is_only_on(&self, i: usize, to: usize, now: Mono) -> bool {
        let local = &self.services[i];
        if to == self.my {
            return local.phase.holds() && self.claimant_of(i, now).is_none();
        }
        self.peers[to].holds(local.id, self.bounds, now)
            && self.claimant_of(i, now) == Some(to)
            && !local.asks()
    }

    /// Checks an order; answers the places of service and target.
    pub(super) fn check_order(
        &self,
        service: ServiceId,
        target: NodeId,
        now: Mono,
    ) -> Result<(usize, usize), Problem> {
        let unknown = || {
            Self::refusal(
                "F8",
                "order".to_owned(),
                "the service or node is not in this cluster".to_owned(),
                "name one of `backstay service list` and a node of its list".to_owned(),
            )
        };
        let i = self.place(service).ok_or_else(unknown)?;
        let to = self
            .peers
            .iter()
            .position(|p| p.id == target)
            .ok_or_else(unknown)?;
        let name = || format!("service {}", self.document.services[i].name);
        let node = &self.document.members[to].name;
        let plan = &self.services[i].plan;
        if !plan.may_run_on(to) {
            return Err(Self::refusal(
                "F8",
                name(),
                format!("{node} is not in its list of nodes"),
                "name its home or its standby".to_owned(),
            ));
        }
        if plan.stopped {
            return Err(Self::refusal(
                "F16",
                name(),
                "an admin stopped it".to_owned(),
                "start it first with `backstay service start`".to_owned(),
            ));
        }
        if let Some(lock) = self.lock_of(i, now) {
            let at = &self.document.members[usize::from(lock)].name;
            return Err(Self::refusal(
                "L1",
                name(),
                format!("it is locked to {at}"),
                "unlock it first with `backstay service unlock`".to_owned(),
            ));
        }
        if self.maintenance_of(to, now).is_some_and(|m| m.moves) {
            return Err(Self::refusal(
                "F17",
                name(),
                format!("{node} is in maintenance and gives away what it carries"),
                format!("end that first with `backstay node maintenance {node} --end`"),
            ));
        }
        let able = to == self.my || self.can_take(to, i, now) || self.would_displace(to, i, now);
        if !able {
            return Err(Self::refusal(
                "F3",
                name(),
                format!("{node} can't take it now: it is not up, not in order or has no room"),
                "see `backstay status`".to_owned(),
            ));
        }
        Ok((i, to))
    }
}
