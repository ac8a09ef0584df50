//! What this node knows of the cluster, to be shown (U7).

use crate::model::{Fallback, NodeName};
use crate::time::Mono;

use super::Engine;
use super::advice::advise;
use super::beat::phase;
use super::seen::Reason;
use super::view::{AddressView, ClusterView, LockView, NodeState, NodeView, ServiceView};
use super::why::Why;

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
            services: (0..self.services.len())
                .map(|i| self.look_at_service(i, now))
                .collect(),
            alarms: self.view_alarms(now),
            advice: String::new(),
        };
        advise(&mut view);
        view
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
            maintenance: None,
        };
        if let Some((view, note)) = self.show_maintenance(at, now) {
            node.maintenance = Some(view);
            node.notes.push(note);
        }
        let flags = if at == self.my {
            if self.leaving {
                node.state = NodeState::Leaving;
            }
            if self.listening {
                node.notes.push("listens after its start".to_owned());
            }
            self.host.flags(now)
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
            if peer.last.agent.is_unknown() {
                node.notes
                    .push("its agent is an older one that does not say its version".to_owned());
            } else if peer.last.agent != self.version {
                node.notes.push(format!(
                    "its agent is version {}, here it is {}",
                    peer.last.agent, self.version
                ));
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

    /// As shown; what is decided rests on what was heard. A silent node is down only to a node that hears somebody; else
    /// it is unknown who is cut off. One that was never heard is as silent as any once this agent has listened for as
    /// long as a start takes (C16: agents are restarted while a node is dead).
    fn peer_state(&self, at: usize, now: Mono) -> NodeState {
        let peer = &self.peers[at];
        let long = self.document.boot_wait().max(self.bounds.down * 2);
        let state = match peer.state(self.bounds, now) {
            NodeState::Unknown
                if now.since(self.started) >= long && !peer.is_foreign(self.bounds, now) =>
            {
                NodeState::Down
            }
            state => state,
        };
        let alone = !self.others().any(|o| self.peers[o].is_up(self.bounds, now));
        if state == NodeState::Down && alone && self.document.members.len() > 2 {
            return NodeState::Unknown;
        }
        state
    }

    fn look_at_service(&self, i: usize, now: Mono) -> ServiceView {
        let local = &self.services[i];
        let service = &self.document.services[i];
        let seen = self.see_service(i, now);
        let name = |place: &u8| self.document.members[usize::from(*place)].name.clone();
        let says = |(place, code): &(u8, Option<u8>)| {
            let word = code.map_or("unknown", word_for);
            (name(place), word.to_owned())
        };
        let lock = self.lock_of(i, now).and(service.lock.as_ref());
        let home = service.home().cloned().unwrap_or_else(nobody);
        ServiceView {
            name: service.name.clone(),
            running_on: seen.running_on.iter().map(name).collect(),
            state: seen.state,
            priority: service.priority,
            fallback: if local.plan.automatic_fallback {
                Fallback::Automatic
            } else {
                Fallback::Manual
            },
            lock: lock.map(|lock| LockView {
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
            age_ms: seen.age_ms,
            term: local.highest,
            reason: match seen.reason {
                Reason::None => String::new(),
                Reason::Why(why) => self.say(why),
                Reason::LockedAway(to) => {
                    format!("{}, which does not run it", self.say(Why::Locked(to)))
                }
                Reason::Away => format!("away from its home {home}"),
            },
            on: seen.on.iter().map(says).collect(),
            home,
        }
    }
}

fn word_for(code: u8) -> &'static str {
    match code {
        phase::WAITING => "waiting",
        phase::ASKING => "asking",
        phase::STARTING => "starting",
        phase::RUNNING => "running",
        phase::FAILED => "failed",
        phase::STOPPING => "stopping",
        phase::STUCK => "stuck",
        phase::CONFLICT => "conflict",
        _ => "something newer",
    }
}

/// A document that is read has members and homes; this is for one that is not.
fn nobody() -> NodeName {
    NodeName::nobody()
}
