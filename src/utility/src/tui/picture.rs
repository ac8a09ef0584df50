//! The rows of the picture of all clusters: which there are, not how they look. Only those on the screen are
//! ever made into text, so that 10,000 services cost no more than twenty.

use std::collections::{BTreeMap, BTreeSet};

use backstay_core::engine::{ClusterView, ServiceView};
use backstay_core::model::{ClusterName, NodeName, ServiceName};

use super::model::{Cluster, Model};

/// One row. Numbers are places in [`Model::clusters`], in the cluster's view and in the system document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A cluster's heading.
    Cluster(usize),
    /// A node, with the first service that belongs to it or that it carries.
    Node(usize, usize, Option<usize>),
    /// A further service of the node above.
    Service(usize, usize, usize),
    /// An alarm.
    Alarm(usize, usize),
    /// U6: something about the revision.
    Staged(usize, usize),
    /// A member of a cluster of which nothing is known now.
    Unknown(usize, usize),
    /// U6: a cluster that was staged and never created: a place in [`Model::leftovers`].
    Leftover(usize),
    /// The heading of the nodes in no cluster.
    Others,
    /// A node in no cluster.
    Free(usize),
}

impl Row {
    /// What the row is about.
    pub fn names<'m>(
        &self,
        model: &'m Model,
    ) -> (
        Option<&'m ClusterName>,
        Option<&'m NodeName>,
        Option<&'m ServiceName>,
    ) {
        let cluster = |at: usize| model.clusters.get(at);
        let view = |at: usize| cluster(at).and_then(|c| c.view.as_ref());
        let name = |at: usize| cluster(at).map(|c| &c.name);
        let node = |at: usize, n: usize| view(at).and_then(|v| v.nodes.get(n)).map(|n| &n.name);
        let service =
            |at: usize, s: usize| view(at).and_then(|v| v.services.get(s)).map(|s| &s.name);
        match *self {
            Self::Cluster(c) | Self::Staged(c, _) => (name(c), None, None),
            Self::Node(c, n, s) => (name(c), node(c, n), s.and_then(|s| service(c, s))),
            Self::Service(c, n, s) => (name(c), node(c, n), service(c, s)),
            Self::Alarm(c, a) => {
                let alarm = view(c).and_then(|v| v.alarms.get(a));
                let alarm = alarm.map(|a| (a.node.as_ref(), a.service.as_ref()));
                let (node, service) = alarm.unwrap_or_default();
                (name(c), node, service)
            }
            Self::Unknown(c, m) => (name(c), cluster(c).and_then(|c| c.members.get(m)), None),
            Self::Leftover(_) | Self::Others => (None, None, None),
            Self::Free(n) => {
                let system = model.system.as_ref();
                (
                    None,
                    system.and_then(|s| s.nodes.get(n)).map(|n| &n.name),
                    None,
                )
            }
        }
    }
}

/// All rows that the filter lets through.
pub fn rows(model: &Model) -> Vec<Row> {
    let filter = model.home.filter.to_lowercase();
    let mut rows = Vec::new();
    for (at, cluster) in model.clusters.iter().enumerate() {
        let wanted = if cluster.name.as_str().contains(&filter) {
            ""
        } else {
            &filter
        };
        let before = rows.len();
        rows.push(Row::Cluster(at));
        match cluster.known(model.now) {
            Some(view) => of_view(&mut rows, at, cluster, view, wanted),
            None => unknown(&mut rows, at, cluster, wanted),
        }
        if rows.len() == before + 1 && !wanted.is_empty() {
            rows.pop();
        }
    }
    let leftovers = model.leftovers.iter().enumerate();
    let never = leftovers.filter(|(_, (_, name))| model.cluster(name).is_none());
    rows.extend(
        never
            .filter(|(_, (_, name))| name.as_str().contains(&filter))
            .map(|(n, _)| Row::Leftover(n)),
    );
    others(&mut rows, model, &filter);
    rows
}

fn unknown(rows: &mut Vec<Row>, at: usize, cluster: &Cluster, filter: &str) {
    let members = cluster.members.iter().enumerate();
    let wanted = members.filter(|(_, m)| m.as_str().contains(filter));
    rows.extend(wanted.map(|(n, _)| Row::Unknown(at, n)));
}

fn of_view(rows: &mut Vec<Row>, at: usize, cluster: &Cluster, view: &ClusterView, filter: &str) {
    // At each node: what belongs there, then what it carries for others.
    let mut at_node: BTreeMap<&NodeName, Vec<usize>> = BTreeMap::new();
    for (n, service) in view.services.iter().enumerate() {
        at_node.entry(&service.home).or_default().push(n);
    }
    for (n, service) in view.services.iter().enumerate() {
        for node in service.running_on.iter().filter(|on| **on != service.home) {
            at_node.entry(node).or_default().push(n);
        }
    }
    for (n, node) in view.nodes.iter().enumerate() {
        let all = at_node.remove(&node.name).unwrap_or_default();
        let whole = filter.is_empty()
            || node.name.as_str().contains(filter)
            || node.addresses.iter().any(|a| a.contains(filter));
        let mut shown = all
            .into_iter()
            .filter(|s| whole || is_about(&view.services[*s], filter));
        let first = shown.next();
        if whole || first.is_some() {
            rows.push(Row::Node(at, n, first));
        }
        rows.extend(shown.map(|s| Row::Service(at, n, s)));
    }
    let alarms = view.alarms.iter().enumerate().filter(|(_, a)| a.active);
    let wanted =
        alarms.filter(|(_, a)| filter.is_empty() || a.cause.to_lowercase().contains(filter));
    rows.extend(wanted.map(|(n, _)| Row::Alarm(at, n)));
    if filter.is_empty() {
        rows.extend((0..cluster.staged.len()).map(|n| Row::Staged(at, n)));
    }
}

fn is_about(service: &ServiceView, filter: &str) -> bool {
    service.name.as_str().contains(filter)
        || service.addresses.iter().any(|a| a.address.contains(filter))
}

fn others(rows: &mut Vec<Row>, model: &Model, filter: &str) {
    let Some(system) = &model.system else { return };
    let members: BTreeSet<&NodeName> = model.clusters.iter().flat_map(|c| &c.members).collect();
    let nodes = system.nodes.iter().enumerate();
    let mut free = nodes
        .filter(|(_, n)| !members.contains(&n.name))
        .filter(|(_, n)| n.name.as_str().contains(filter) || n.contact.contains(filter))
        .map(|(at, _)| Row::Free(at))
        .peekable();
    if free.peek().is_some() {
        rows.push(Row::Others);
        rows.extend(free);
    }
}
