//! U3: the command lines that make a cluster like a written one.

use super::command::of;
use crate::model::{
    AddressKind, ClusterDocument, ClusterId, Failover, Instances, Lock, Member, Role, Service,
    Timing, USUAL_MOVES, WithoutMajority, default_priority,
};
use crate::plan::{Action, CreateCluster, NewService, Secret, SetCluster, SetService};

/// What [`commands`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// In this order.
    pub lines: Vec<String>,
    /// What no flag can say; the written document can.
    pub beyond: Vec<String>,
}

/// The command lines that make a cluster like this one out of nodes of the system: a free node for each home,
/// a standby, witnesses. Identities, keys and terms are drawn anew. `wall`: seconds since 1970 UTC.
pub fn commands(document: &ClusterDocument, wall: u64) -> Commands {
    let mut lines = vec![of(&Action::CreateCluster(create(document)), wall)];
    let set = SetCluster {
        without_majority: Some(document.without_majority)
            .filter(|w| *w != WithoutMajority::default()),
        arbiter: Some(document.arbiter.clone()).filter(|a| !a.is_empty()),
        home_healthy_ms: document.timing.home_healthy_ms,
        clocks_within_ms: document.timing.clocks_within_ms,
        moves_per_hour: Some(document.moves_per_hour).filter(|m| *m != USUAL_MOVES),
        ..SetCluster::of(document.name.clone())
    };
    if set != SetCluster::of(document.name.clone()) {
        lines.push(of(&Action::SetCluster(set), wall));
    }
    let works = document.members.iter().filter_map(|m| {
        let work = m.maintenance.as_ref().filter(|w| w.until > wall)?;
        Some((&m.name, work))
    });
    let own = |lock: &Lock| works.clone().any(|(node, work)| work.owns(node, lock));
    for service in &document.services {
        lines.extend(
            rest(service, &own, wall)
                .iter()
                .map(|action| of(action, wall)),
        );
    }
    for (node, work) in works.clone() {
        let begin = Action::Maintain {
            node: node.clone(),
            reason: work.reason.clone(),
            until: work.until,
            moves: work.moves,
        };
        lines.push(of(&begin, wall));
    }
    Commands {
        lines,
        beyond: beyond(document),
    }
}

fn create(document: &ClusterDocument) -> CreateCluster {
    let names = |role| document.with_role(role).map(|m| m.name.clone());
    let mut told = Vec::new();
    let services = document.services.iter().filter_map(|service| {
        let home = service.home()?;
        // The bases are the home's: its first service names them.
        let bases = document.member(home).filter(|_| !told.contains(home));
        told.push(home.clone());
        Some(NewService {
            name: service.name.clone(),
            node: home.clone(),
            aliases: service.aliases.iter().map(|a| a.address).collect(),
            bases: bases.map(|m| m.bases.clone()).unwrap_or_default(),
            priority: Some(service.priority).filter(|p| *p != default_priority()),
            fallback: service.fallback,
            units: service
                .units
                .iter()
                .map(|u| (u.name.clone(), u.mode))
                .collect(),
            files: service.files.clone(),
        })
    });
    let services = services.collect();
    CreateCluster {
        name: document.name.clone(),
        id: ClusterId(0),
        key: Secret(String::new()),
        standby: names(Role::Standby)
            .next()
            .unwrap_or_else(crate::model::NodeName::nobody),
        witnesses: names(Role::Witness).collect(),
        services,
        safety: Some(document.safety),
        profile: document.profile,
        fallback: document.fallback,
        split_stops: document.split_stops,
        reference: document.reference,
        links: Vec::new(), // the homes' bases say it
    }
}

/// What `cluster create` does not say of a service. A lock comes before a stop: it needs a service that runs.
/// `own`: locks that come with maintenance (F17).
fn rest(service: &Service, own: &impl Fn(&Lock) -> bool, wall: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    if service.failover != Failover::default() {
        actions.push(Action::SetService(SetService {
            failover: Some(service.failover),
            ..SetService::of(service.name.clone())
        }));
    }
    let lock = service.lock.as_ref().filter(|l| !own(l));
    if let Some(lock) = lock.filter(|l| l.until.is_none_or(|until| until > wall)) {
        if Some(&lock.node) != service.home() {
            actions.push(Action::Move {
                service: service.name.clone(),
                to: crate::plan::Target::Node(lock.node.clone()),
            });
        }
        actions.push(Action::Lock {
            service: service.name.clone(),
            reason: lock.reason.clone(),
            until: lock.until,
        });
    }
    if service.stopped {
        actions.push(Action::Stop {
            service: service.name.clone(),
        });
    }
    actions
}

/// What no flag can say.
fn beyond(document: &ClusterDocument) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |is: bool, what: String| {
        if is {
            found.push(what);
        }
    };
    let unsaid = Timing {
        home_healthy_ms: None,
        clocks_within_ms: None,
        ..document.timing.clone()
    };
    note(unsaid != Timing::default(), "timing".to_owned());
    note(
        document.port != crate::model::DEFAULT_PORT,
        format!("port {}", document.port),
    );
    note(document.preloaded, "preloaded".to_owned());
    for Member {
        name,
        capacity,
        labels,
        ..
    } in &document.members
    {
        note(*capacity != 1, format!("node {name}, capacity {capacity}"));
        note(!labels.is_empty(), format!("node {name}, labels"));
    }
    for service in &document.services {
        let place = format!("service {}", service.name);
        note(
            service.instances != Instances::One,
            format!("{place}, instances"),
        );
        note(!service.requires.is_empty(), format!("{place}, requires"));
        note(
            service.aliases.iter().any(|a| a.kind != AddressKind::Alias),
            format!("{place}, kind of an alias"),
        );
        note(!service.commands.is_empty(), format!("{place}, commands"));
        note(!service.hooks.is_empty(), format!("{place}, hooks"));
        note(!service.data.is_empty(), format!("{place}, data"));
    }
    found
}
