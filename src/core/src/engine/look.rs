//! What this node knows of the cluster, to be shown (U7).

use crate::model::{Fallback, NodeName};
use crate::time::Mono;

use super::beat::phase;
use super::lifecycle::Phase;
use super::view::{
    AddressView, ClusterView, LockView, NodeState, NodeView, ServiceState, ServiceView,
};
use super::why::Why;
use super::{Engine, merge};

impl Engine {
    /// The cluster as this node sees it now.
    pub fn view(&self, now: Mono) -> ClusterView {
        let document = &self.document;
        let name = document.members.get(self.my).map(|m| m.name.clone());
        let mut view = ClusterView {
            name: document.name.clone(),
            revision: document.revision,
            safety: document.safety,
            preloaded: document.preloaded,
            seen_by: name
                .or_else(|| document.members.first().map(|m| m.name.clone()))
                .unwrap_or_else(nobody),
            nodes: (0..self.peers.len())
                .map(|at| self.look_at_node(at, now))
                .collect(),
            services: self.view_services(now),
            alarms: self.alarms.views(document, now),
            advice: String::new(),
        };
        view.advice = merge::advice(&view);
        view
    }

    pub(super) fn view_services(&self, now: Mono) -> Vec<ServiceView> {
        (0..self.services.len())
            .map(|i| self.look_at_service(i, now))
            .collect()
    }

    fn look_at_node(&self, at: usize, now: Mono) -> NodeView {
        let member = &self.document.members[at];
        let mut node = NodeView {
            name: member.name.clone(),
            role: member.role,
            state: NodeState::Up,
            age_ms: Some(0),
            revision: Some(self.document.revision),
            notes: Vec::new(),
            addresses: member.bases.iter().map(ToString::to_string).collect(),
        };
        let flags = if at == self.my {
            if self.leaving {
                node.state = NodeState::Leaving;
            }
            if self.listening {
                node.notes.push("listens after its start".to_owned());
            }
            self.host.flags()
        } else {
            let peer = &self.peers[at];
            node.state = self.peer_state(at, now);
            node.age_ms = peer
                .silence(now)
                .map(|s| u64::try_from(s.as_millis()).unwrap_or(u64::MAX));
            if peer.is_down(self.bounds, now) {
                node.revision = None;
                return node;
            }
            node.revision = Some(peer.last.revision);
            if peer.last.listening {
                node.notes.push("listens after its start".to_owned());
            }
            if (peer.last.revision, peer.last.hash) != (self.document.revision, self.hash) {
                node.notes.push(format!(
                    "has revision {} of the configuration",
                    peer.last.revision
                ));
            }
            peer.last.host
        };
        for (set, note) in [
            (flags.gate_lost, "its gate can't be set: no protection"),
            (flags.disk_bad, "its state folder can't be written"),
            (flags.link_down, "its link has no carrier"),
        ] {
            if set {
                node.notes.push(note.to_owned());
            }
        }
        node
    }

    /// A silent node is down only to a node that hears somebody; else it is unknown who is cut off.
    pub(super) fn peer_state(&self, at: usize, now: Mono) -> NodeState {
        let state = self.peers[at].state(self.bounds, now);
        let alone = !self.others().any(|o| self.peers[o].is_up(self.bounds, now));
        if state == NodeState::Down && alone && self.document.members.len() > 2 {
            return NodeState::Unknown;
        }
        state
    }

    fn look_at_service(&self, i: usize, now: Mono) -> ServiceView {
        let local = &self.services[i];
        let service = &self.document.services[i];
        let mut view = ServiceView {
            name: service.name.clone(),
            home: service.home().cloned().unwrap_or_else(nobody),
            running_on: Vec::new(),
            state: ServiceState::Unknown,
            priority: service.priority,
            fallback: if local.plan.automatic_fallback {
                Fallback::Automatic
            } else {
                Fallback::Manual
            },
            lock: self
                .lock_of(i, now)
                .and(service.lock.as_ref())
                .map(|lock| LockView {
                    node: lock.node.clone(),
                    by: lock.by.clone(),
                    at: lock.at,
                    reason: lock.reason.clone(),
                    until: lock.until,
                }),
            addresses: service
                .aliases
                .iter()
                .map(|a| AddressView {
                    address: a.address.to_string(),
                })
                .collect(),
            age_ms: None,
            term: local.highest,
            reason: String::new(),
            on: std::collections::BTreeMap::new(),
        };
        let mut seen = Seen::default();
        for at in local.plan.nodes.iter().map(|n| usize::from(*n)) {
            let name = self.document.members[at].name.clone();
            let code = if at == self.my {
                view.age_ms = Some(0);
                local.phase.code()
            } else {
                let peer = &self.peers[at];
                if peer.is_down(self.bounds, now) {
                    view.on.insert(name, "unknown".to_owned());
                    seen.unknown = true;
                    continue;
                }
                let age = peer
                    .silence(now)
                    .map(|s| u64::try_from(s.as_millis()).unwrap_or(u64::MAX));
                view.age_ms = view.age_ms.or(age);
                peer.report(local.id).phase
            };
            seen.add(code, &name, &mut view);
        }
        view.state = seen.state();
        if view.state == ServiceState::Unknown && !seen.unknown {
            view.state = ServiceState::Failed;
        }
        if view.state == ServiceState::Starting && !seen.starting && local.why == Why::CutOff {
            view.state = ServiceState::Unknown; // this node can't know
        }
        self.explain(i, &seen, &mut view, now);
        view
    }

    /// F6: a service that runs nowhere is shown so, with the reason.
    fn explain(&self, i: usize, seen: &Seen, view: &mut ServiceView, now: Mono) {
        let local = &self.services[i];
        if local.plan.stopped && view.running_on.is_empty() && !seen.stopping {
            view.state = ServiceState::Stopped;
            view.reason = self.say(Why::Stopped);
            return;
        }
        let standby = local.plan.nodes.last().map(|n| usize::from(*n));
        let standby_up =
            standby.is_some_and(|at| at == self.my || self.peers[at].is_up(self.bounds, now));
        if let (Some(at), true, true) = (standby, standby_up, view.running_on.is_empty())
            && !seen.moving()
        {
            let carries = |l: &&super::Local| {
                let code = if at == self.my {
                    l.phase.code()
                } else {
                    self.peers[at].report(l.id).phase
                };
                l.id != local.id && !l.plan.is_home(at) && super::membership::is_claim(code)
            };
            let carried = self.services.iter().filter(carries).count();
            let home_silent = local
                .plan
                .home
                .map(usize::from)
                .is_some_and(|h| h != self.my && self.peers[h].is_down(self.bounds, now));
            if let Some(lock) = self.lock_of(i, now)
                && home_silent
            {
                view.state = ServiceState::Failed;
                view.reason = format!("{}, which does not run it", self.say(Why::Locked(lock)));
                return;
            }
            if home_silent && carried >= usize::from(self.document.members[at].capacity) {
                let by = self
                    .services
                    .iter()
                    .position(|l| carries(&l))
                    .unwrap_or_default();
                view.state = ServiceState::Displaced;
                view.reason = self.say(Why::NoRoom(by as u8));
                return;
            }
        }
        let speaks = local.plan.may_run_on(self.my)
            && (local.phase != Phase::Idle || view.running_on.is_empty());
        if speaks && view.running_on != [view.home.clone()] {
            view.reason = self.say(local.why);
        } else if let [one] = view.running_on.as_slice()
            && *one != view.home
        {
            view.reason = format!("away from its home {}", view.home);
        }
    }
}

/// What the nodes say of one service.
#[derive(Debug, Default)]
struct Seen {
    running: usize,
    starting: bool,
    waiting: bool,
    stopping: bool,
    failed: bool,
    conflict: bool,
    unknown: bool,
}

impl Seen {
    fn add(&mut self, code: u8, name: &NodeName, view: &mut ServiceView) {
        let word = match code {
            phase::IDLE => return,
            phase::WAITING => "waiting",
            phase::ASKING => "asking",
            phase::STARTING => "starting",
            phase::RUNNING => "running",
            phase::FAILED => "failed",
            phase::STOPPING => "stopping",
            phase::STUCK => "stuck",
            phase::CONFLICT => "conflict",
            _ => "something newer",
        };
        match code {
            phase::RUNNING => self.running += 1,
            phase::STARTING => self.starting = true,
            phase::WAITING | phase::ASKING => self.waiting = true,
            phase::STOPPING => self.stopping = true,
            phase::FAILED => self.failed = true,
            phase::CONFLICT => self.conflict = true,
            _ => {}
        }
        if super::membership::is_hold(code) {
            view.running_on.push(name.clone());
        }
        view.on.insert(name.clone(), word.to_owned());
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

/// A document that is read has members and homes; this is for one that is not.
fn nobody() -> NodeName {
    NodeName::nobody()
}
