//! Every maintenance action as data: what will be done, what follows from it, or why it is refused.
//!
//! [`plan`] is the only way from an [`Action`] to new documents. It changes nothing: whoever applies a
//! [`Plan`] stages and commits its documents, sends its order and waits for its goal. The menu, the guided
//! set-up and the flags all show the same plan (section U).

mod action;
mod apply;
mod boot;
mod cluster;
mod command;
mod commands;
mod draft;
mod goal;
mod key;
mod know;
mod leave;
mod links;
mod lock;
mod maintenance;
mod nodes;
mod outcome;
mod replace;
mod run;
mod settings;
mod truth;
mod upgrade;
mod viewer;

pub use action::{
    Action, AddClusterNode, BootAddress, CreateCluster, FoundAgent, NewService, Secret, SetCluster,
    SetService, Situation, Target, UpgradeNodes,
};
pub use command::{of as command_line, quoted};
pub use commands::{Commands, commands};
pub use goal::{Aim, Goal, Progress};
pub use key::MEMBER_AWAY;
pub use outcome::{Consequence, ConsequenceKind, MoveOrder, Plan, Step, StepKind, Warning};

use crate::model::{Problem, Replacement};

use draft::Draft;

/// What the action would do now, or everything that refuses it.
///
/// # Errors
/// All refusals at once, each with its rule, its place and the step that is missing. Nothing was changed.
pub fn plan(action: &Action, now: &Situation<'_>) -> Result<Plan, Vec<Problem>> {
    let draft = Draft::new(action, *now, title(action));
    match action {
        Action::AddNode {
            name,
            id,
            contact,
            host_keys,
        } => nodes::add(draft, name, *id, contact, host_keys),
        Action::RemoveNode { node } => nodes::remove(draft, node),
        Action::ReplaceNode {
            node,
            id,
            contact,
            host_keys,
        } => replace::replace(
            draft,
            node,
            &Replacement {
                id: *id,
                contact: contact.clone(),
                host_keys: host_keys.clone(),
            },
        ),
        Action::SetRole { node, role } => nodes::set_role(draft, node, *role),
        Action::CreateCluster(wanted) => cluster::create(draft, wanted),
        Action::DeleteCluster { cluster } => leave::delete(draft, cluster),
        Action::AddClusterNode(wanted) => cluster::add_node(draft, wanted),
        Action::RemoveClusterNode { cluster, node } => leave::remove_node(draft, cluster, node),
        Action::SetCluster(wanted) => settings::set_cluster(draft, wanted),
        Action::SetService(wanted) => settings::set_service(draft, wanted),
        Action::Move { service, to } => run::move_to(draft, service, to),
        Action::Lock {
            service,
            reason,
            until,
        } => lock::lock(draft, service, reason, *until),
        Action::Unlock { service } => lock::unlock(draft, service),
        Action::Maintain {
            node,
            reason,
            until,
            moves,
        } => maintenance::begin(draft, node, reason, *until, *moves),
        Action::EndMaintenance { node } => maintenance::end(draft, node),
        Action::Start { service, on } => run::start(draft, service, on.as_ref()),
        Action::Stop { service } => run::stop(draft, service),
        Action::RotateKey {
            cluster,
            key,
            behind,
        } => key::rotate(draft, cluster, key, behind),
        Action::Upgrade(wanted) => upgrade::upgrade(draft, wanted),
        Action::Apply { document } => apply::apply(draft, document),
        Action::AddViewer { name, key } => viewer::add(draft, name, key),
        Action::RemoveViewer { name } => viewer::remove(draft, name),
    }
}

/// The action in one line.
fn title(action: &Action) -> String {
    match action {
        Action::AddNode { name, contact, .. } => format!("add {contact} to the system as {name}"),
        Action::RemoveNode { node } => format!("remove {node} from the system"),
        Action::ReplaceNode { node, contact, .. } => {
            format!("replace {node} with the machine at {contact}")
        }
        Action::SetRole { node, role } => format!("make {node} {}", nodes::word(*role)),
        Action::CreateCluster(wanted) => format!("create the cluster {}", wanted.name),
        Action::DeleteCluster { cluster } => format!("delete the cluster {cluster}"),
        Action::AddClusterNode(wanted) => {
            format!("add {} to the cluster {}", wanted.node, wanted.cluster)
        }
        Action::RemoveClusterNode { cluster, node } => {
            format!("remove {node} from the cluster {cluster}")
        }
        Action::SetCluster(wanted) => format!("change settings of the cluster {}", wanted.cluster),
        Action::SetService(wanted) => format!("change settings of {}", wanted.service),
        Action::Move { service, to } => match to {
            Target::Home => format!("move {service} home"),
            Target::Standby => format!("move {service} to the standby"),
            Target::Node(node) => format!("move {service} to {node}"),
        },
        Action::Lock { service, .. } => format!("lock {service}"),
        Action::Unlock { service } => format!("unlock {service}"),
        Action::Maintain { node, .. } => format!("begin maintenance of {node}"),
        Action::EndMaintenance { node } => format!("end maintenance of {node}"),
        Action::Start { service, .. } => format!("start {service}"),
        Action::Stop { service } => format!("stop {service}"),
        Action::RotateKey { cluster, .. } => format!("exchange the key of {cluster}"),
        Action::Upgrade(wanted) => format!("put agent {} on nodes", wanted.version),
        Action::Apply { document } => format!("apply a written document to {}", document.name),
        Action::AddViewer { name, .. } => format!("let {name} look"),
        Action::RemoveViewer { name } => format!("let {name} look no more"),
    }
}

#[cfg(test)]
mod tests;
