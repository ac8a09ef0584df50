//! Looking things up in the situation; what is missing is said, not guessed.

use super::Situation;
use super::goal::view_of;
use crate::engine::{AlarmView, ClusterView, NodeState, ServiceState, ServiceView};
use crate::model::{
    ClusterDocument, ClusterName, Lock, Maintenance, Member, NodeName, Problem, RuleId, Service,
    ServiceName, SystemNode,
};

/// One refusal.
pub(super) fn refusal(
    rule: &'static str,
    place: impl Into<String>,
    what: impl Into<String>,
    mend: impl Into<String>,
) -> Problem {
    Problem {
        rule: RuleId::of(rule),
        place: place.into(),
        what: what.into(),
        mend: mend.into(),
    }
}

/// C15: what a service gives up is given back to its home, so it must be there. `what` the change does to it, if that is
/// not said yet.
pub(super) fn away_from_home(service: &Service, what: &str, node: &NodeName) -> Problem {
    refusal(
        "C15",
        format!("service {}", service.name),
        format!("{what}it is away from home: it runs on {node}"),
        format!(
            "move it home with `backstay service move {} --to home` first",
            service.name
        ),
    )
}

/// Where a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts<'a> {
    /// It runs there and nowhere else.
    At(&'a NodeName),
    /// It runs nowhere.
    Nowhere,
    /// It is between two states: being started or stopped.
    Between,
}

impl<'a> Situation<'a> {
    /// The cluster's newest document.
    pub(super) fn cluster(&self, name: &ClusterName) -> Result<&'a ClusterDocument, Problem> {
        let found = self.clusters.iter().filter(|c| !c.deleted);
        if let Some(document) = found.filter(|c| c.name == *name).max_by_key(|c| c.revision) {
            return Ok(document);
        }
        let place = format!("cluster {name}");
        Err(if self.system.clusters.iter().any(|c| c.name == *name) {
            refusal(
                "U7",
                place,
                "none of its nodes answers, so its document is not known",
                "reach one of its nodes first: `backstay node list` tells their contacts",
            )
        } else {
            refusal(
                "C13",
                place,
                "there is no such cluster in the system",
                "`backstay cluster list` tells their names",
            )
        })
    }

    /// The service, with its cluster.
    pub(super) fn service(
        &self,
        name: &ServiceName,
    ) -> Result<(&'a ClusterDocument, &'a Service), Problem> {
        for document in self.clusters.iter().filter(|c| !c.deleted) {
            if let Some(service) = document.services.iter().find(|s| s.name == *name) {
                return Ok((self.cluster(&document.name)?, service));
            }
        }
        let silent: Vec<&str> = self.unseen().map(ClusterName::as_str).collect();
        let mend = if silent.is_empty() {
            "`backstay service list` tells their names".to_owned()
        } else {
            format!(
                "if it belongs to {}, of which no node answers, reach one of its nodes first",
                silent.join(" or ")
            )
        };
        Err(refusal(
            "C13",
            format!("service {name}"),
            "no cluster that answers has such a service",
            mend,
        ))
    }

    /// Clusters of the system whose documents are not known now.
    pub(super) fn unseen(&self) -> impl Iterator<Item = &'a ClusterName> + use<'a> {
        let clusters = self.clusters;
        self.system
            .clusters
            .iter()
            .map(|c| &c.name)
            .filter(move |name| !clusters.iter().any(|c| c.name == **name))
    }

    /// The node as the system knows it.
    pub(super) fn node(&self, name: &NodeName) -> Result<&'a SystemNode, Problem> {
        self.system.node(name).ok_or_else(|| {
            refusal(
                "C8",
                format!("node {name}"),
                "it is not in the system",
                format!("add it with `backstay node add HOST --name {name}` first"),
            )
        })
    }

    /// What the cluster's nodes see.
    pub(super) fn view(&self, document: &ClusterDocument) -> Result<&'a ClusterView, Problem> {
        view_of(self.views, &document.name).ok_or_else(|| {
            refusal(
                "U7",
                format!("cluster {}", document.name),
                "none of its nodes says what runs where",
                "reach one of its nodes first: `backstay node list` tells their contacts",
            )
        })
    }

    /// What the cluster's nodes see of the service.
    pub(super) fn seen(
        &self,
        document: &ClusterDocument,
        service: &Service,
    ) -> Result<&'a ServiceView, Problem> {
        let view = self.view(document)?;
        let seen = view.services.iter().find(|s| s.name == service.name);
        seen.ok_or_else(|| {
            refusal(
                "U7",
                format!("service {}", service.name),
                format!("{} does not show it yet", view.seen_by),
                "wait until it appears in `backstay status`",
            )
        })
    }

    /// Where the service is; split or unknown is refused, since anything done then is a guess.
    pub(super) fn whereabouts(
        &self,
        document: &ClusterDocument,
        service: &Service,
    ) -> Result<Whereabouts<'a>, Problem> {
        let seen = self.seen(document, service)?;
        let place = format!("service {}", service.name);
        match (seen.state, seen.running_on.as_slice()) {
            (ServiceState::Unknown, _) => Err(refusal(
                "U7",
                place,
                format!("where it runs is not known{}", because(&seen.reason)),
                "reach a node that knows, or wait until `backstay status` shows it",
            )),
            (_, [_, _, ..]) | (ServiceState::Split, _) => Err(refusal(
                "S1",
                place,
                format!("two nodes run it: {}", names(&seen.running_on)),
                "mend the network between them first: then one of them stops by itself",
            )),
            (ServiceState::Stopping, _) => Ok(Whereabouts::Between),
            (_, [at]) => Ok(Whereabouts::At(at)),
            (ServiceState::Starting, _) => Ok(Whereabouts::Between),
            (_, []) => Ok(Whereabouts::Nowhere),
        }
    }

    /// F10: the service keeps moving, and does not return home by itself for now.
    pub(super) fn is_kept_away(&self, document: &ClusterDocument, service: &Service) -> bool {
        let says = |a: &AlarmView| {
            a.active && a.id == "flapping" && a.service.as_ref() == Some(&service.name)
        };
        view_of(self.views, &document.name).is_some_and(|v| v.alarms.iter().any(says))
    }

    /// F17: what the node is in maintenance for, unless that has ended by itself.
    pub(super) fn maintenance<'d>(
        &self,
        document: &'d ClusterDocument,
        node: &NodeName,
    ) -> Option<&'d Maintenance> {
        let work = document.member(node)?.maintenance.as_ref()?;
        (work.until > self.wall).then_some(work)
    }

    /// What the node is; a node that the view does not show is unknown.
    pub(super) fn state(&self, document: &ClusterDocument, node: &NodeName) -> NodeState {
        view_of(self.views, &document.name)
            .and_then(|v| v.nodes.iter().find(|n| n.name == *node))
            .map_or(NodeState::Unknown, |n| n.state)
    }

    /// Refuses a node that is not up.
    pub(super) fn must_be_up(
        &self,
        document: &ClusterDocument,
        node: &NodeName,
        rule: &'static str,
    ) -> Result<(), Problem> {
        let what = match self.state(document, node) {
            NodeState::Up => return Ok(()),
            NodeState::Suspect => "it missed beats and may be down",
            NodeState::Down => "the other nodes do not hear it",
            NodeState::Leaving => "it is stopping",
            NodeState::Unknown => "whether it is up is not known",
        };
        Err(refusal(
            rule,
            format!("node {node}"),
            what,
            format!("wait until `backstay status {}` shows it up", document.name),
        ))
    }

    /// The lock of a service, unless it has ended by itself (L3).
    pub(super) fn lock<'s>(&self, service: &'s Service) -> Option<&'s Lock> {
        let wall = self.wall;
        let lock = service.lock.as_ref()?;
        lock.until.is_none_or(|until| until > wall).then_some(lock)
    }

    /// Refuses a locked service (L1).
    pub(super) fn must_be_unlocked(&self, service: &Service) -> Result<(), Problem> {
        let Some(lock) = self.lock(service) else {
            return Ok(());
        };
        let why = if lock.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", lock.reason)
        };
        Err(refusal(
            "L1",
            format!("service {}", service.name),
            format!("it is locked to {} by {}{why}", lock.node, lock.by),
            format!(
                "unlock it with `backstay service unlock {}` first",
                service.name
            ),
        ))
    }

    /// The services that a node carries beside its own, least important first, and that may be displaced
    /// or not (F6: not when locked there).
    pub(super) fn carried<'d>(
        &self,
        document: &'d ClusterDocument,
        node: &NodeName,
    ) -> Result<Vec<(&'d Service, bool)>, Problem> {
        let view = self.view(document)?;
        let mut carried: Vec<(&Service, bool)> = document
            .services
            .iter()
            .filter(|s| s.home() != Some(node))
            .filter(|s| {
                let seen = view.services.iter().find(|v| v.name == s.name);
                seen.is_some_and(|v| v.running_on.contains(node))
            })
            .map(|s| (s, self.lock(s).is_none()))
            .collect();
        carried.sort_by_key(|(s, _)| (core::cmp::Reverse(s.priority), s.id));
        Ok(carried)
    }
}

/// `: reason`, or nothing.
pub(super) fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

/// Names in a row.
pub(super) fn names<'n>(of: impl IntoIterator<Item = &'n NodeName>) -> String {
    of.into_iter()
        .map(NodeName::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Members' names in a row.
pub(super) fn member_names<'m>(of: impl IntoIterator<Item = &'m Member>) -> String {
    names(of.into_iter().map(|m| &m.name))
}
