//! What a service is on all its nodes, as this node knows it: by places and codes, without names, for it is asked
//! with each beat (M1). `look.rs` makes it readable.

use arrayvec::ArrayVec;

use crate::model::MAX_MEMBERS;
use crate::time::Mono;

use super::Engine;
use super::beat::phase;
use super::lifecycle::Phase;
use super::local::Local;
use super::membership::{is_claim, is_hold};
use super::view::ServiceState;
use super::why::Why;

/// A service, as this node sees it. Members by their place in the document.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) state: ServiceState,
    pub(super) reason: Reason,
    /// Where it runs, in the order of its list.
    pub(super) running_on: ArrayVec<u8, MAX_MEMBERS>,
    /// What each node says of it, where that is something; none: that node is not heard.
    pub(super) on: ArrayVec<(u8, Option<u8>), MAX_MEMBERS>,
    /// How old this is, ms.
    pub(super) age_ms: Option<u64>,
}

/// Why it is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// There is nothing to say.
    None,
    /// This.
    Why(Why),
    /// It is locked to a node that does not run it.
    LockedAway(u8),
    /// It runs, but not at home.
    Away,
}

/// What the nodes say of one service.
#[derive(Debug, Default)]
struct Said {
    running: usize,
    starting: bool,
    waiting: bool,
    stopping: bool,
    failed: bool,
    conflict: bool,
    unknown: bool,
}

impl Engine {
    pub(super) fn see_service(&self, i: usize, now: Mono) -> Seen {
        let local = &self.services[i];
        let mut seen = Seen {
            state: ServiceState::Unknown,
            reason: Reason::None,
            running_on: ArrayVec::new(),
            on: ArrayVec::new(),
            age_ms: None,
        };
        let mut said = Said::default();
        for &place in &local.plan.nodes {
            let at = usize::from(place);
            let code = if at == self.my {
                seen.age_ms = Some(0);
                local.phase.code()
            } else {
                let peer = &self.peers[at];
                if peer.is_down(self.bounds, now) {
                    seen.on.push((place, None));
                    said.unknown = true;
                    continue;
                }
                seen.age_ms = seen.age_ms.or_else(|| {
                    let silence = peer.silence(now)?;
                    Some(u64::try_from(silence.as_millis()).unwrap_or(u64::MAX))
                });
                peer.report(local.id).phase
            };
            said.add(code);
            if is_hold(code) {
                seen.running_on.push(place);
            }
            if code != phase::IDLE {
                seen.on.push((place, Some(code)));
            }
        }
        seen.state = said.state();
        if seen.state == ServiceState::Unknown && !said.unknown {
            seen.state = ServiceState::Failed;
        }
        if seen.state == ServiceState::Starting && !said.starting && local.why == Why::CutOff {
            seen.state = ServiceState::Unknown; // this node can't know
        }
        self.explain(i, &said, &mut seen, now);
        seen
    }

    /// F10: it is away from home, would return by itself, and must not.
    pub(super) fn is_kept_away(&self, i: usize, seen: &Seen, now: Mono) -> bool {
        let plan = &self.services[i].plan;
        let away = seen.running_on.len() == 1 && !seen.is_only_on(plan.home);
        let by_itself = plan.automatic_fallback && self.lock_of(i, now).is_none();
        away && by_itself && self.is_restless(i, now)
    }

    /// F6: a service that runs nowhere is shown so, with the reason.
    fn explain(&self, i: usize, said: &Said, seen: &mut Seen, now: Mono) {
        let local = &self.services[i];
        if local.plan.stopped && seen.running_on.is_empty() && !said.stopping {
            seen.state = ServiceState::Stopped;
            seen.reason = Reason::Why(Why::Stopped);
            return;
        }
        if seen.running_on.is_empty()
            && !said.moving()
            && let Some((state, reason)) = self.left_out(i, now)
        {
            seen.state = state;
            seen.reason = reason;
            return;
        }
        if self.is_kept_away(i, seen, now) {
            seen.reason = Reason::Why(Why::Restless);
            return;
        }
        let at_home = seen.is_only_on(local.plan.home);
        let speaks = local.plan.may_run_on(self.my)
            && (local.phase != Phase::Idle || seen.running_on.is_empty());
        if speaks && !at_home {
            seen.reason = Reason::Why(local.why);
        } else if seen.running_on.len() == 1 && !at_home {
            seen.reason = Reason::Away;
        }
    }

    /// Home is silent, and the standby is up but may not take the service (L1) or has no room (F6).
    fn left_out(&self, i: usize, now: Mono) -> Option<(ServiceState, Reason)> {
        let local = &self.services[i];
        let home = usize::from(local.plan.home?);
        if home == self.my || !self.peers[home].is_down(self.bounds, now) {
            return None;
        }
        let at = usize::from(*local.plan.nodes.last()?);
        if at != self.my && !self.peers[at].is_up(self.bounds, now) {
            return None;
        }
        if let Some(lock) = self.lock_of(i, now) {
            return Some((ServiceState::Failed, Reason::LockedAway(lock)));
        }
        let carries = |l: &Local| {
            let code = if at == self.my {
                l.phase.code()
            } else {
                self.peers[at].report(l.id).phase
            };
            l.id != local.id && !l.plan.is_home(at) && is_claim(code)
        };
        let carried = self.services.iter().filter(|l| carries(l)).count();
        if carried < usize::from(self.document.members[at].capacity) {
            return None;
        }
        let by = self.services.iter().position(carries).unwrap_or_default();
        Some((ServiceState::Displaced, Reason::Why(Why::NoRoom(by as u8))))
    }
}

impl Seen {
    /// It runs on that node and on no other.
    pub(super) fn is_only_on(&self, place: Option<u8>) -> bool {
        matches!(self.running_on.as_slice(), [one] if Some(*one) == place)
    }
}

impl Said {
    fn add(&mut self, code: u8) {
        match code {
            phase::RUNNING => self.running += 1,
            phase::STARTING => self.starting = true,
            phase::WAITING | phase::ASKING => self.waiting = true,
            phase::STOPPING => self.stopping = true,
            phase::FAILED => self.failed = true,
            phase::CONFLICT => self.conflict = true,
            _ => {}
        }
    }

    const fn moving(&self) -> bool {
        self.starting || self.stopping || self.failed || self.conflict
    }

    const fn state(&self) -> ServiceState {
        match self {
            Self { running: 2.., .. }
            | Self {
                running: 1,
                starting: true,
                ..
            } => ServiceState::Split,
            Self { running: 1, .. } => ServiceState::Running,
            Self { failed: true, .. } => ServiceState::Failed,
            Self { starting: true, .. } => ServiceState::Starting,
            Self { stopping: true, .. } => ServiceState::Stopping,
            Self { conflict: true, .. } => ServiceState::Blocked,
            Self { waiting: true, .. } => ServiceState::Starting,
            _ => ServiceState::Unknown,
        }
    }
}
