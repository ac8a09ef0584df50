//! The menu as data: U1's entries in its order, and what stands against each of them now.

use backstay_core::model::SystemRole;

use super::model::Model;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// Nodes in system: add.
    AddNode,
    /// Nodes in system: remove.
    RemoveNode,
    /// Standby nodes in system: free to standby.
    MakeStandby,
    /// Standby nodes in system: standby to free.
    FreeStandby,
    /// List all clusters.
    ListClusters,
    /// Show status.
    ShowStatus,
    /// Create new cluster.
    CreateCluster,
    /// Change fallback type or priority.
    ChangeFallback,
    /// Change failover behaviour (preloaded / regular).
    ChangeFailover,
    /// Add a node to a cluster.
    JoinCluster,
    /// Remove a node from a cluster.
    LeaveCluster,
    /// Delete cluster.
    DeleteCluster,
    /// Move service from standby to home.
    MoveHome,
    /// Lock service to node.
    Lock,
    /// Unlock service.
    Unlock,
    /// Sync data within cluster.
    Sync,
    /// Maintenance of a node (F17).
    Maintain,
}

/// How much harm a mistake can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Danger {
    /// It only looks.
    None,
    /// It changes something that can be changed back.
    Change,
    /// Something ends: its name has to be typed.
    End,
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What it does.
    pub id: Id,
    /// Heading of the group that begins here; empty: none does.
    pub group: &'static str,
    /// As it is listed.
    pub label: &'static str,
    /// The letter that opens it.
    pub key: char,
    /// What comes of it, in one line.
    pub help: &'static str,
    /// How much harm a mistake can do.
    pub danger: Danger,
}

const fn entry(
    id: Id,
    group: &'static str,
    key: char,
    label: &'static str,
    danger: Danger,
    help: &'static str,
) -> Entry {
    Entry {
        id,
        group,
        label,
        key,
        help,
        danger,
    }
}

/// U1, in its order, and what came since.
pub const ENTRIES: [Entry; 17] = [
    entry(
        Id::AddNode,
        "Nodes in system",
        'a',
        "Add node",
        Danger::Change,
        "Install the agent on a machine and make it a node. Clients: nothing.",
    ),
    entry(
        Id::RemoveNode,
        "",
        'r',
        "Remove node",
        Danger::Change,
        "Take a free node out of the system. Clients: nothing.",
    ),
    entry(
        Id::MakeStandby,
        "Standby nodes in system",
        's',
        "Free to standby",
        Danger::Change,
        "Let a free node stand in for others. Clients: nothing.",
    ),
    entry(
        Id::FreeStandby,
        "",
        'f',
        "Standby to free",
        Danger::Change,
        "Make a standby of no cluster a free node again. Clients: nothing.",
    ),
    entry(
        Id::ListClusters,
        "Cluster handling",
        'l',
        "List all clusters",
        Danger::None,
        "All clusters with their nodes and services.",
    ),
    entry(
        Id::ShowStatus,
        "",
        't',
        "Show status",
        Danger::None,
        "One cluster in full: nodes, services, locks, alarms.",
    ),
    entry(
        Id::CreateCluster,
        "",
        'c',
        "Create new cluster",
        Danger::Change,
        "One standby for up to ten nodes. Clients: nothing is restarted.",
    ),
    entry(
        Id::ChangeFallback,
        "",
        'p',
        "Change fallback type/priority",
        Danger::Change,
        "How a service returns home, and whose turn comes first.",
    ),
    entry(
        Id::ChangeFailover,
        "",
        'b',
        "Change failover behaviour",
        Danger::Change,
        "Preloaded or regular.",
    ),
    entry(
        Id::JoinCluster,
        "",
        'j',
        "Add node to a cluster",
        Danger::Change,
        "A free node joins with its services. Clients: nothing.",
    ),
    entry(
        Id::LeaveCluster,
        "",
        'x',
        "Remove node from a cluster",
        Danger::End,
        "Its alias becomes an ordinary address. The last one ends the cluster.",
    ),
    entry(
        Id::DeleteCluster,
        "",
        'd',
        "Delete cluster",
        Danger::End,
        "Nobody stands in any more; aliases become ordinary addresses.",
    ),
    entry(
        Id::MoveHome,
        "",
        'h',
        "Move service standby to home",
        Danger::Change,
        "Stops it here and starts it there; also home to standby.",
    ),
    entry(
        Id::Lock,
        "",
        'k',
        "Lock service to node",
        Danger::Change,
        "No failure and no fallback moves it until it is unlocked.",
    ),
    entry(
        Id::Unlock,
        "",
        'u',
        "Unlock service",
        Danger::Change,
        "It may move again; with automatic fallback it goes home.",
    ),
    entry(
        Id::Sync,
        "",
        'y',
        "Sync data within cluster",
        Danger::Change,
        "Copy the data of services to the standby now.",
    ),
    entry(
        Id::Maintain,
        "",
        'm',
        "Maintenance of a node",
        Danger::Change,
        "What it carries is locked there or moved; it ends by itself.",
    ),
];

/// U1: why an entry can't be used now; none: it can.
pub fn why_not(id: Id, model: &Model) -> Option<String> {
    let looks = ENTRIES
        .iter()
        .any(|e| e.id == id && e.danger == Danger::None);
    if !looks && model.is_working() {
        let title = model.operation.as_ref().map_or("", |o| o.title.as_str());
        return Some(format!("{title} still goes on (o shows it)"));
    }
    if let Some(node) = model.viewer.as_ref().filter(|_| !looks) {
        return Some(format!(
            "you may look only (U11): {node} knows this key as a viewer's"
        ));
    }
    match id {
        Id::ChangeFailover => {
            return Some("preloading comes with a later version; all are regular".to_owned());
        }
        Id::Sync => return Some("copying data comes with a later version".to_owned()),
        // The first node of a system is added where nobody answers yet.
        Id::AddNode => return None,
        _ => {}
    }
    let Some(system) = &model.system else {
        return Some(match (&model.no_entry, model.answered) {
            (Some(failure), _) => failure.message.clone(),
            (None, true) => "there is no system yet: add the first node".to_owned(),
            (None, false) => "no node has answered yet".to_owned(),
        });
    };
    let free = model.nodes_in(SystemRole::Free).count();
    let standby = model
        .nodes_in(SystemRole::Standby)
        .filter(|(_, n)| *n == 0)
        .count();
    let none = |there: bool, why: &str| (!there).then(|| why.to_owned());
    let seen = model.services().next().is_some();
    let unseen = || {
        let why = if system.clusters.is_empty() {
            "there is no cluster yet"
        } else {
            "no cluster that answers has a service"
        };
        Some(why.to_owned())
    };
    match id {
        Id::RemoveNode => none(
            free > 0,
            "no node is free: only a free node can be removed (C8)",
        ),
        Id::MakeStandby => none(free > 0, "no node is free (C8)"),
        Id::FreeStandby => none(
            standby > 0,
            "every standby belongs to a cluster, or there is none (C8)",
        ),
        Id::ListClusters | Id::ShowStatus | Id::DeleteCluster => {
            none(!system.clusters.is_empty(), "there is no cluster yet")
        }
        Id::CreateCluster if standby == 0 => {
            Some("no standby node is to be had: make one of a free node first (C2)".to_owned())
        }
        Id::CreateCluster => none(free > 0, "no node is free to be a regular node (C3)"),
        Id::JoinCluster if system.clusters.is_empty() => Some("there is no cluster yet".to_owned()),
        Id::JoinCluster => none(
            free > 0,
            "no node is free: add one to the system first (C3)",
        ),
        Id::LeaveCluster => none(
            !model.leavers().is_empty(),
            "no cluster that answers has a node to remove",
        ),
        Id::ChangeFallback if !system.clusters.is_empty() => None,
        Id::MoveHome | Id::Lock | Id::Maintain if seen => None,
        Id::Unlock if seen => none(
            model.services().any(|(_, s)| s.lock.is_some()),
            "no service is locked",
        ),
        _ => unseen(),
    }
}
