//! One sentence of truth after an action: what is so once its goal is reached.

use crate::model::{ClusterName, SystemRole};

use super::{Action, Situation, Target};

/// Without a full stop.
pub(super) fn of(action: &Action, now: &Situation<'_>) -> String {
    match action {
        Action::AddNode { name, .. } => format!("{name} is a free node of the system"),
        Action::RemoveNode { node } => format!("{node} is no node of the system any more"),
        Action::ReplaceNode { node, contact, .. } => {
            format!("{node} is the machine that was reached at {contact}")
        }
        Action::SetRole { node, role } => match role {
            SystemRole::Free => format!("{node} is free"),
            role => format!("{node} is a {}", super::nodes::word(*role)),
        },
        Action::CreateCluster(wanted) => format!(
            "{} protects {}: if a home fails, {} takes over",
            wanted.name,
            list(wanted.services.iter().map(|s| &s.name)),
            wanted.standby
        ),
        Action::DeleteCluster { cluster } => {
            format!(
                "{cluster} is gone; {} run on, unprotected",
                services(now, cluster)
            )
        }
        Action::AddClusterNode(wanted) => {
            let services = list(wanted.services.iter().map(|s| &s.name));
            format!(
                "{} protects {services} of {}, too",
                wanted.cluster, wanted.node
            )
        }
        Action::RemoveClusterNode { cluster, node } => {
            let document = now.clusters.iter().find(|c| c.name == *cluster);
            let mut homes = document.iter().flat_map(|d| &d.services).map(|s| s.home());
            let rest = if homes.any(|home| home == Some(node)) {
                "; its services run on, unprotected"
            } else {
                ""
            };
            format!("{node} is not in {cluster} any more{rest}")
        }
        Action::SetCluster(wanted) => format!("the settings of {} are in effect", wanted.cluster),
        Action::SetService(wanted) => format!("the settings of {} are in effect", wanted.service),
        Action::Move { service, to } => match to {
            Target::Home => format!("{service} runs at home"),
            Target::Standby => format!("{service} runs on the standby"),
            Target::Node(node) => format!("{service} runs on {node}"),
        },
        Action::Lock { service, until, .. } => {
            let end = if until.is_some() {
                "until its lock ends or it is unlocked"
            } else {
                "until unlocked"
            };
            format!("{service} stays where it runs {end}")
        }
        Action::Unlock { service } => format!("{service} may move again"),
        Action::Maintain { node, moves, .. } => {
            let with = if *moves {
                "goes elsewhere"
            } else {
                "stays there"
            };
            format!("{node} is in maintenance: what it carries {with}, its alarms are quiet")
        }
        Action::EndMaintenance { node } => format!("the maintenance of {node} is over"),
        Action::Start { service, .. } => format!("{service} runs"),
        Action::Stop { service } => format!("{service} is stopped on every node until started"),
        Action::RotateKey { cluster, .. } => super::key::truth(cluster, now),
        Action::Upgrade(wanted) => {
            let nodes = list(wanted.nodes.iter());
            format!(
                "agent {} runs on {nodes}, and nothing has moved",
                wanted.version
            )
        }
        Action::Apply { document } => format!("{} is as written", document.name),
        Action::AddViewer { name, .. } => {
            format!("{name} may look and change nothing")
        }
        Action::RemoveViewer { name } => format!("{name} may not look any more"),
    }
}

fn list<T: core::fmt::Display>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<String> = names.map(|n| n.to_string()).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn services(now: &Situation<'_>, cluster: &ClusterName) -> String {
    let document = now.clusters.iter().find(|c| c.name == *cluster);
    document.map_or_else(
        || "its services".to_owned(),
        |d| list(d.services.iter().map(|s| &s.name)),
    )
}
