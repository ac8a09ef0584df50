//! What the watcher of an action waits for.

use serde::Serialize;

use crate::engine::{ClusterView, NodeState, ServiceState};
use crate::model::{ClusterName, NodeName, ServiceName};

/// All of these must come about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Goal {
    /// In the order in which they are looked at.
    pub aims: Vec<Aim>,
}

/// One thing to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "aim", rename_all = "kebab-case")]
pub enum Aim {
    /// Every node that is up has that revision.
    Revision {
        /// Of which cluster.
        cluster: ClusterName,
        /// This or a later one.
        revision: u64,
    },
    /// These nodes have that revision, by their own word: a node that is not heard has it not.
    Has {
        /// Of which cluster.
        cluster: ClusterName,
        /// This or a later one.
        revision: u64,
        /// Which.
        nodes: Vec<NodeName>,
    },
    /// These nodes are up.
    Up {
        /// In which cluster.
        cluster: ClusterName,
        /// Which.
        nodes: Vec<NodeName>,
    },
    /// The service runs on that node and nowhere else.
    Runs {
        /// In which cluster.
        cluster: ClusterName,
        /// Which.
        service: ServiceName,
        /// Where; none: wherever it may.
        on: Option<NodeName>,
        /// The highest term when the action was planned: a failure under it is an old one.
        since_term: u64,
    },
    /// The service runs nowhere, as ordered (F16).
    Stopped {
        /// In which cluster.
        cluster: ClusterName,
        /// Which.
        service: ServiceName,
    },
    /// No node that answers shows the cluster.
    Gone {
        /// Which.
        cluster: ClusterName,
    },
}

/// How far a goal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has come about.
    Reached,
    /// Not yet; what is missing.
    Waiting(String),
    /// It will not come about by waiting; why.
    Hopeless(String),
}

impl Goal {
    /// What of it is to be seen in that cluster.
    #[must_use]
    pub fn of(&self, cluster: &ClusterName) -> Self {
        let aims = self.aims.iter().filter(|aim| aim.cluster() == cluster);
        Self {
            aims: aims.cloned().collect(),
        }
    }

    /// How far it is by what the nodes see now.
    pub fn reached(&self, views: &[ClusterView]) -> Progress {
        let mut waiting = None;
        for aim in &self.aims {
            match aim.reached(views) {
                Progress::Reached => {}
                Progress::Waiting(what) => waiting = waiting.or(Some(what)),
                hopeless @ Progress::Hopeless(_) => return hopeless,
            }
        }
        waiting.map_or(Progress::Reached, Progress::Waiting)
    }
}

/// The view of that cluster with the newest revision.
pub(super) fn view_of<'a>(
    views: &'a [ClusterView],
    cluster: &ClusterName,
) -> Option<&'a ClusterView> {
    let mut best: Option<&ClusterView> = None;
    for view in views.iter().filter(|v| v.name == *cluster) {
        if best.is_none_or(|b| view.revision > b.revision) {
            best = Some(view);
        }
    }
    best
}

impl Aim {
    /// In which cluster.
    const fn cluster(&self) -> &ClusterName {
        match self {
            Self::Revision { cluster, .. }
            | Self::Has { cluster, .. }
            | Self::Up { cluster, .. }
            | Self::Runs { cluster, .. }
            | Self::Stopped { cluster, .. }
            | Self::Gone { cluster } => cluster,
        }
    }

    fn reached(&self, views: &[ClusterView]) -> Progress {
        let cluster = self.cluster();
        let view = view_of(views, cluster);
        if let Self::Gone { .. } = self {
            return view.map_or(Progress::Reached, |v| {
                Progress::Waiting(format!("{} still shows the cluster {cluster}", v.seen_by))
            });
        }
        let Some(view) = view else {
            return Progress::Waiting(format!("no node shows the cluster {cluster}"));
        };
        match self {
            Self::Revision { revision, .. } => has_revision(view, *revision),
            Self::Has {
                revision, nodes, ..
            } => have_revision(view, *revision, nodes),
            Self::Up { nodes, .. } => are_up(view, nodes),
            Self::Runs {
                service,
                on,
                since_term,
                ..
            } => runs(view, service, on.as_ref(), *since_term),
            Self::Stopped { service, .. } => has_stopped(view, service),
            Self::Gone { .. } => Progress::Reached,
        }
    }
}

/// Every node that is up has it.
fn has_revision(view: &ClusterView, revision: u64) -> Progress {
    let up = view.nodes.iter().filter(|n| n.state == NodeState::Up);
    let up: Vec<NodeName> = up.map(|n| n.name.clone()).collect();
    have_revision(view, revision, &up)
}

fn have_revision(view: &ClusterView, revision: u64, nodes: &[NodeName]) -> Progress {
    let has = |name: &NodeName| {
        let node = view.nodes.iter().find(|n| n.name == *name);
        node.is_some_and(|n| n.revision.is_some_and(|r| r >= revision))
    };
    let behind = nodes.iter().filter(|name| !has(name));
    let behind: Vec<&str> = behind.map(NodeName::as_str).collect();
    if view.revision < revision {
        Progress::Waiting(format!(
            "{} has revision {} of {}, not yet {revision}",
            view.seen_by, view.revision, view.name
        ))
    } else if behind.is_empty() {
        Progress::Reached
    } else {
        Progress::Waiting(format!(
            "{} not yet at revision {revision} of {}",
            behind.join(", "),
            view.name
        ))
    }
}

fn are_up(view: &ClusterView, nodes: &[NodeName]) -> Progress {
    let missing: Vec<&str> = nodes
        .iter()
        .filter(|name| {
            !view
                .nodes
                .iter()
                .any(|n| n.name == **name && n.state == NodeState::Up)
        })
        .map(NodeName::as_str)
        .collect();
    if missing.is_empty() {
        Progress::Reached
    } else {
        Progress::Waiting(format!("{} not up yet", missing.join(", ")))
    }
}

fn runs(
    view: &ClusterView,
    service: &ServiceName,
    on: Option<&NodeName>,
    since_term: u64,
) -> Progress {
    let Some(seen) = view.services.iter().find(|s| s.name == *service) else {
        return Progress::Waiting(format!("{} does not show {service} yet", view.seen_by));
    };
    let because = if seen.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", seen.reason)
    };
    let down = on.and_then(|on| {
        view.nodes
            .iter()
            .find(|n| n.name == *on && n.state == NodeState::Down)
    });
    match (seen.state, seen.running_on.as_slice(), on) {
        (ServiceState::Running, [at], Some(on)) if at == on => Progress::Reached,
        (ServiceState::Running, [_], None) => Progress::Reached,
        // The order is void once its term is passed: a second rise means that another got it.
        (ServiceState::Running, [at], Some(on)) if seen.term >= since_term.saturating_add(2) => {
            Progress::Hopeless(format!("{service} runs on {at} and not on {on}{because}"))
        }
        (ServiceState::Failed | ServiceState::Blocked, ..) if seen.term > since_term => {
            Progress::Hopeless(format!("{service} could not be started{because}"))
        }
        (ServiceState::Stopped, ..) if seen.term > since_term => {
            Progress::Hopeless(format!("{service} was stopped by an admin{because}"))
        }
        // Nodes of a new cluster may not have heard each other yet: there, down is no end.
        _ => match (down, on) {
            (Some(node), _) if since_term > 0 => {
                Progress::Hopeless(format!("{} is down{because}", node.name))
            }
            (Some(node), _) => Progress::Waiting(format!(
                "{service} does not run on {0} yet: {0} is down{because}",
                node.name
            )),
            (None, Some(on)) => {
                Progress::Waiting(format!("{service} does not run on {on} yet{because}"))
            }
            (None, None) => Progress::Waiting(format!("{service} does not run yet{because}")),
        },
    }
}

fn has_stopped(view: &ClusterView, service: &ServiceName) -> Progress {
    match view.services.iter().find(|s| s.name == *service) {
        Some(s) if s.state == ServiceState::Stopped && s.running_on.is_empty() => Progress::Reached,
        Some(s) => Progress::Waiting(match s.running_on.first() {
            Some(at) => format!("{service} still runs on {at}"),
            None => format!("{service} is not shown as stopped yet"),
        }),
        None => Progress::Waiting(format!("{} does not show {service}", view.seen_by)),
    }
}
