//! A new cluster, and a node that joins one.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::boot;
use super::draft::Draft;
use super::know::{names, refusal};
use super::links;
use super::{AddClusterNode, Aim, ConsequenceKind, CreateCluster, NewService, Plan};
use crate::model::{
    AddressKind, Alias, ClusterDocument, Failover, Fallback, Instances, Key, Member, NodeId,
    NodeName, Problem, Role, Safety, Service, ServiceId, Timing, Topology, Unit, WithoutMajority,
};
use crate::time::span;

pub(super) fn create(mut draft: Draft<'_>, wanted: &CreateCluster) -> Result<Plan, Vec<Problem>> {
    let homes = homes(&wanted.services);
    let voters = homes.len() + 1 + wanted.witnesses.len();
    let mut document = ClusterDocument {
        format: 1,
        name: wanted.name.clone(),
        id: wanted.id,
        revision: 1,
        epoch: 1,
        changed: draft.changed(),
        deleted: false,
        topology: Topology::NPlusOne,
        safety: safety(&mut draft, wanted.safety, voters),
        without_majority: WithoutMajority::Stop,
        split_stops: wanted.split_stops,
        preloaded: false,
        fallback: wanted.fallback,
        moves_per_hour: crate::model::USUAL_MOVES,
        profile: wanted.profile,
        timing: Timing::default(),
        reference: wanted.reference,
        arbiter: String::new(),
        port: crate::model::DEFAULT_PORT,
        next_service: ServiceId(1),
        keys: vec![Key {
            id: 1,
            secret: wanted.key.0.clone(),
            signs: true,
        }],
        members: Vec::new(),
        services: Vec::new(),
        former: Vec::new(),
        bases: Vec::new(),
    };
    for (node, bases) in &homes {
        push_member(
            &mut draft,
            &mut document,
            node,
            Role::Regular,
            bases.clone(),
        );
    }
    let subnets: Vec<IpNet> = homes.values().flatten().map(IpNet::trunc).collect();
    let others = core::iter::once((&wanted.standby, Role::Standby))
        .chain(wanted.witnesses.iter().map(|w| (w, Role::Witness)));
    for (node, role) in others {
        let bases = from_facts(&mut draft, node, &subnets);
        push_member(&mut draft, &mut document, node, role, bases);
    }
    links::add(&mut draft, &mut document, &wanted.links);
    push_services(&mut draft, &mut document, &wanted.services);
    draft.say(
        ConsequenceKind::Outage,
        "none: the aliases are the addresses that clients use today; no service is restarted and no connection breaks (C11)",
    );
    told_by_wait(&mut draft, &document);
    told_by_links(&mut draft, &document);
    new_services(&mut draft, &document, &document.services);
    draft.document(None, document.clone());
    draft.system_of(&document);
    aims(&mut draft, &document, &document.services);
    draft.done()
}

pub(super) fn add_node(
    mut draft: Draft<'_>,
    wanted: &AddClusterNode,
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.cluster(&wanted.cluster);
    let Some(old) = draft.check(found) else {
        return Err(draft.refused);
    };
    if old.member(&wanted.node).is_some() {
        draft.refused.push(refusal(
            "C3",
            format!("node {}", wanted.node),
            format!("it is in the cluster {} already", wanted.cluster),
            "to give it another service, change the written document and use `backstay apply`",
        ));
        return Err(draft.refused);
    }
    for service in wanted.services.iter().filter(|s| s.node != wanted.node) {
        draft.refused.push(refusal(
            "C1",
            format!("service {}", service.name),
            format!("its home is {}, not {}", service.node, wanted.node),
            format!(
                "services that come with {0} have their home on {0}",
                wanted.node
            ),
        ));
    }
    let mut new = old.clone();
    let bases = homes(&wanted.services)
        .remove(&wanted.node)
        .unwrap_or_default();
    push_member(&mut draft, &mut new, &wanted.node, Role::Regular, bases);
    if let Some(member) = new.members.last_mut() {
        links::join(&mut draft, old, member);
    }
    let before = new.services.len();
    push_services(&mut draft, &mut new, &wanted.services);
    let added = new.services[before..].to_vec();
    draft.say(
        ConsequenceKind::Outage,
        format!(
            "none: the aliases are the addresses that clients use today; nothing is restarted on {} or elsewhere (C11)",
            wanted.node
        ),
    );
    new_services(&mut draft, &new, &added);
    draft.document(Some(old), new.clone());
    draft.system_of(&new);
    aims(&mut draft, &new, &added);
    draft.done()
}

/// Regular nodes with their base addresses, as the services name them.
fn homes(services: &[NewService]) -> BTreeMap<NodeName, Vec<IpNet>> {
    let mut homes: BTreeMap<NodeName, Vec<IpNet>> = BTreeMap::new();
    for service in services {
        let bases = homes.entry(service.node.clone()).or_default();
        for base in &service.bases {
            if !bases.contains(base) {
                bases.push(*base);
            }
        }
    }
    homes
}

/// S3: which safety, and why.
pub(super) fn safety(draft: &mut Draft<'_>, wanted: Option<Safety>, voters: usize) -> Safety {
    let sentence = match wanted {
        Some(Safety::Exclusive) => return Safety::Exclusive, // S2, S3 refuse it for now.
        Some(Safety::Available) => {
            "safety is available, as asked: two nodes may run a service while the network between them is cut (S1)".to_owned()
        }
        None if voters >= 3 => format!(
            "safety is available: with {voters} voters exclusive would be the default, but it comes later; two holders are possible while the network is cut (S1, S3)"
        ),
        None => format!(
            "safety is available, the default for {voters} voters: two nodes may run a service while the network between them is cut (S1, S3)"
        ),
    };
    draft.say(ConsequenceKind::Protection, sentence);
    Safety::Available
}

/// The base addresses of a machine: of those it has, the ones on the services' subnets, in the order of these (A6:
/// the order tells links apart); where there are none, all (then C4 refuses the standby, and a witness may be elsewhere).
fn from_facts(draft: &mut Draft<'_>, node: &NodeName, subnets: &[IpNet]) -> Vec<IpNet> {
    let known = draft.now.bases;
    let Some(all) = known.get(node).filter(|all| !all.is_empty()) else {
        draft.refused.push(refusal(
            "C14",
            format!("node {node}"),
            "its addresses are not known: it did not say them",
            format!("reach it first: `backstay node check {node}`"),
        ));
        return Vec::new();
    };
    let usual = |base: &&IpNet| {
        let ip = base.addr();
        let local = matches!(ip, core::net::IpAddr::V6(v6) if v6.is_unicast_link_local());
        !ip.is_loopback() && !local
    };
    let mut near: Vec<IpNet> = Vec::new();
    for subnet in subnets {
        let there = all.iter().filter(|base| base.trunc() == *subnet);
        let fresh: Vec<IpNet> = there.filter(|b| !near.contains(b)).copied().collect();
        near.extend(fresh);
    }
    if near.is_empty() {
        all.iter().filter(usual).take(8).copied().collect()
    } else {
        near
    }
}

fn push_member(
    draft: &mut Draft<'_>,
    document: &mut ClusterDocument,
    node: &NodeName,
    role: Role,
    bases: Vec<IpNet>,
) {
    let known = draft.now.system.node(node);
    let id = known.map_or_else(
        // C8 refuses it; until then it needs an identity that no other has.
        || NodeId(u64::MAX - document.members.len() as u64),
        |n| n.id,
    );
    document.members.push(Member {
        name: node.clone(),
        id,
        incarnation: 0,
        role,
        bases,
        capacity: 1,
        labels: Vec::new(),
        maintenance: None,
    });
}

fn push_services(draft: &mut Draft<'_>, document: &mut ClusterDocument, wanted: &[NewService]) {
    let standby: Vec<NodeName> = document
        .with_role(Role::Standby)
        .map(|m| m.name.clone())
        .collect();
    if wanted.is_empty() {
        draft.refused.push(refusal(
            "C1",
            format!("cluster {}", document.name),
            "no service is given",
            "at least one: --service NAME=NODE,alias=A,base=B",
        ));
    }
    for new in wanted {
        if new.aliases.is_empty() {
            draft.refused.push(refusal(
                "C11",
                format!("service {}", new.name),
                "no alias is given",
                "alias=A: the address that clients use today",
            ));
        }
        let id = document.next_service;
        document.next_service = ServiceId(id.0.saturating_add(1));
        document.services.push(Service {
            name: new.name.clone(),
            id,
            nodes: core::iter::once(new.node.clone())
                .chain(standby.iter().cloned())
                .collect(),
            priority: new.priority.unwrap_or(crate::model::default_priority()),
            fallback: new.fallback,
            failover: Failover::Automatic,
            instances: Instances::One,
            stopped: false,
            lock: None,
            requires: Vec::new(),
            files: new.files.clone(),
            aliases: new
                .aliases
                .iter()
                .map(|address| Alias {
                    address: *address,
                    kind: AddressKind::Alias,
                })
                .collect(),
            units: new
                .units
                .iter()
                .map(|(name, mode)| Unit {
                    name: name.clone(),
                    mode: *mode,
                })
                .collect(),
            commands: Vec::new(),
            hooks: Vec::new(),
            data: Vec::new(),
        });
    }
}

/// How soon a failure is seen.
pub(super) fn told_by_wait(draft: &mut Draft<'_>, document: &ClusterDocument) {
    draft.say(
        ConsequenceKind::Protection,
        format!(
            "a node that is silent for {} counts as down; then its service starts on the standby",
            span(document.wait())
        ),
    );
}

/// Over how many links.
fn told_by_links(draft: &mut Draft<'_>, document: &ClusterDocument) {
    let further = links::further(document);
    if !further.is_empty() {
        let all: Vec<String> = further.iter().map(ToString::to_string).collect();
        draft.say(
            ConsequenceKind::Protection,
            format!(
                "beats use {} as well: a node counts as silent only when it is on every link (A6)",
                all.join(", ")
            ),
        );
    }
}

/// What the standby will do for them, and what it will not.
pub(super) fn new_services(draft: &mut Draft<'_>, document: &ClusterDocument, added: &[Service]) {
    for service in added {
        let Some(home) = service.home() else { continue };
        super::settings::told_by_files(draft, service);
        if service.units.is_empty() && service.commands.is_empty() {
            draft.say(
                ConsequenceKind::Protection,
                format!(
                    "{} has no unit: its addresses move, but nothing is started or stopped",
                    service.name
                ),
            );
        }
        let back = match document.fallback_of(service) {
            Fallback::Manual => format!(
                "stays there until `backstay service move {} --to home` (manual fallback)",
                service.name
            ),
            Fallback::Automatic => format!(
                "returns once {home} has been healthy for {} (automatic fallback)",
                span(document.home_healthy())
            ),
        };
        let standby: Vec<&NodeName> = service.nodes.iter().skip(1).collect();
        draft.say(
            ConsequenceKind::Fallback,
            format!(
                "{} has its home on {home}; taken over by {} it {back}",
                service.name,
                names(standby)
            ),
        );
    }
    let standby = document.with_role(Role::Standby).next();
    if let Some(standby) = standby
        && document.services.len() > usize::from(standby.capacity)
    {
        draft.say(
            ConsequenceKind::Protection,
            format!(
                "{} carries {} of {} services at once: if more homes fail, the lowest priority value wins (F3)",
                standby.name,
                standby.capacity,
                document.services.len()
            ),
        );
    }
    boot::taken(draft, document, added);
    draft.say(
        ConsequenceKind::Note,
        "the services' data is not copied to the standby (D9)",
    );
}

pub(super) fn aims(draft: &mut Draft<'_>, document: &ClusterDocument, added: &[Service]) {
    let cluster = document.name.clone();
    draft.aim(Aim::Up {
        cluster: cluster.clone(),
        nodes: document
            .members
            .iter()
            .filter(|m| document.revision == 1 || added.iter().any(|s| s.home() == Some(&m.name)))
            .map(|m| m.name.clone())
            .collect(),
    });
    for service in added {
        draft.aim(Aim::Runs {
            cluster: cluster.clone(),
            service: service.name.clone(),
            on: service.home().cloned(),
            since_term: 0,
        });
    }
}
