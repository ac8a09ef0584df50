//! A cluster becomes what a written document says.

use super::boot;
use super::cluster::{aims, new_services, safety, told_by_wait};
use super::draft::Draft;
use super::know::{Whereabouts, away_from_home, names, refusal};
use super::settings::effects_of;
use super::{ConsequenceKind, Plan};
use crate::model::{Alias, ClusterDocument, Problem, Service, ServiceId};

/// What [`ClusterDocument::without_secrets`] puts in the place of a secret.
const NOT_SHOWN: &str = "not shown";

pub(super) fn apply(mut draft: Draft<'_>, written: &ClusterDocument) -> Result<Plan, Vec<Problem>> {
    if written.deleted {
        draft.refused.push(refusal(
            "C7",
            format!("cluster {}", written.name),
            "the document says that it is deleted",
            format!("use `backstay cluster delete {}`", written.name),
        ));
        return Err(draft.refused);
    }
    let known = draft
        .now
        .system
        .clusters
        .iter()
        .any(|c| c.name == written.name)
        || draft
            .now
            .clusters
            .iter()
            .any(|c| c.name == written.name && !c.deleted);
    if !known {
        return create(draft, written);
    }
    let found = draft.now.cluster(&written.name);
    let Some(old) = draft.check(found) else {
        return Err(draft.refused);
    };
    if written.id != old.id {
        draft.refused.push(refusal(
            "C13",
            format!("cluster {}", written.name),
            format!("its identity is {} and the document's {}", old.id, written.id),
            "write the change into what `backstay cluster show` gives; an identity stays for all time",
        ));
    }
    if written.revision != old.revision {
        draft.refused.push(refusal(
            "U8",
            format!("cluster {}", written.name),
            format!(
                "the document is a change to revision {}; the cluster has revision {} by now, by {} ({})",
                written.revision, old.revision, old.changed.by, old.changed.what
            ),
            "show the cluster again and write the change into that",
        ));
    }
    let new = completed(old, written);
    if new.keys != old.keys {
        draft.refused.push(refusal(
            "PROTOCOL 3",
            format!("cluster {}", written.name),
            "the document changes its keys at once, and no beat would be understood until every node has it",
            format!(
                "leave them as they are and exchange them with `backstay key rotate {}`",
                written.name
            ),
        ));
    }
    if new == *old {
        // Whoever made this revision may have been interrupted before the index was written.
        draft.system_of(old);
        if !draft.has_system() {
            return draft.unchanged(format!("{} is as written already", old.name));
        }
        draft.say(
            ConsequenceKind::Note,
            format!(
                "{} is as written already; the system's list of its nodes is put right",
                old.name
            ),
        );
        return draft.done();
    }
    services(&mut draft, old, &new);
    draft.document(Some(old), new.clone());
    draft.system_of(&new);
    draft.done()
}

/// The written document with all that is not the writer's to say taken from the present one.
fn completed(old: &ClusterDocument, written: &ClusterDocument) -> ClusterDocument {
    let mut new = written.clone();
    new.revision = old.revision;
    new.epoch = old.epoch;
    new.changed.clone_from(&old.changed);
    new.former.clone_from(&old.former);
    new.bases.clone_from(&old.bases);
    for key in new.keys.iter_mut().filter(|k| k.secret == NOT_SHOWN) {
        if let Some(known) = old.keys.iter().find(|k| k.id == key.id) {
            key.secret.clone_from(&known.secret);
        }
    }
    new.next_service = next_service(old.next_service, &new.services);
    new
}

fn next_service(least: ServiceId, services: &[Service]) -> ServiceId {
    let above = services.iter().map(|s| s.id.0.saturating_add(1)).max();
    ServiceId(above.unwrap_or_default().max(least.0))
}

fn create(mut draft: Draft<'_>, written: &ClusterDocument) -> Result<Plan, Vec<Problem>> {
    let mut new = written.clone();
    new.revision = 1;
    new.former.clear();
    new.next_service = next_service(ServiceId(1), &new.services);
    for key in new.keys.iter().filter(|k| k.secret == NOT_SHOWN) {
        draft.refused.push(refusal(
            "PROTOCOL 3",
            format!("key {}", key.id),
            "its secret is not shown in the document, and there is no cluster yet that has it",
            "32 random bytes as 64 hexadecimal digits",
        ));
    }
    draft.say(
        ConsequenceKind::Outage,
        "none: the aliases are the addresses that clients use today; no service is restarted and no connection breaks (C11)",
    );
    safety(&mut draft, Some(new.safety), new.members.len());
    told_by_wait(&mut draft, &new);
    new_services(&mut draft, &new, &new.services);
    draft.document(None, new.clone());
    draft.system_of(&new);
    let run: Vec<Service> = new
        .services
        .iter()
        .filter(|s| !s.stopped)
        .cloned()
        .collect();
    aims(&mut draft, &new, &run);
    draft.done()
}

/// What happens to each service, and whether it may.
fn services(draft: &mut Draft<'_>, old: &ClusterDocument, new: &ClusterDocument) {
    let mut added = Vec::new();
    for service in &new.services {
        if let Some(former) = old.service(service.id) {
            kept(draft, old, former, service);
            continue;
        }
        if service.id < old.next_service {
            draft.refused.push(refusal(
                "C13",
                format!("service {}", service.name),
                format!("its number {} was another service's", service.id.0),
                format!("a new service gets the number {}", old.next_service.0),
            ));
        }
        added.push(service.clone());
    }
    for former in &old.services {
        if new.service(former.id).is_none() {
            gone(draft, old, former);
        }
        wandering(draft, former, new);
    }
    if !added.is_empty() {
        new_services(draft, new, &added);
    }
    effects_of(draft, old, new);
}

fn kept(draft: &mut Draft<'_>, old: &ClusterDocument, former: &Service, service: &Service) {
    let place = format!("service {}", former.name);
    if former.name != service.name {
        draft.refused.push(refusal(
            "C13",
            &place,
            format!("the document calls it {}", service.name),
            "a service keeps its name; to rename it, take it out and add it with a new number",
        ));
    }
    let moved = former.nodes != service.nodes;
    let locked = former.lock != service.lock && service.lock.is_some();
    if moved || locked {
        let at = draft.now.whereabouts(old, former);
        match draft.check(at) {
            Some(Whereabouts::At(node)) => {
                if moved && !service.nodes.contains(node) {
                    draft.refused.push(refusal(
                        "C15",
                        &place,
                        format!("it runs on {node}, which the document takes from its nodes"),
                        format!("move it to one of {} first", names(&service.nodes)),
                    ));
                }
                if let Some(lock) = service.lock.as_ref().filter(|l| locked && l.node != *node) {
                    draft.refused.push(refusal(
                        "L1",
                        &place,
                        format!(
                            "the document locks it to {}, but it runs on {node}",
                            lock.node
                        ),
                        "a service is locked where it runs: locking never moves",
                    ));
                }
            }
            Some(Whereabouts::Nowhere | Whereabouts::Between) if locked => {
                draft.refused.push(refusal(
                    "L1",
                    &place,
                    "the document locks it, but it does not run",
                    "a service is locked where it runs",
                ));
            }
            _ => {}
        }
    }
    taken(draft, old, former, service);
    if former.units != service.units || former.commands != service.commands {
        draft.say(
            ConsequenceKind::Note,
            format!("the new units and commands of {} count from its next start; what runs is not restarted", former.name),
        );
    }
    if !former.stopped && service.stopped {
        draft.say(
            ConsequenceKind::Outage,
            format!("{0} stops and stays stopped on every node until `backstay service start {0}` (F16)", former.name),
        );
    }
}

/// C15: an alias that is taken from a service stays at home.
fn taken(draft: &mut Draft<'_>, old: &ClusterDocument, former: &Service, service: &Service) {
    let stays = |alias: &Alias| service.aliases.iter().any(|a| a.ip() == alias.ip());
    let (Some(home), false) = (former.home(), former.aliases.iter().all(stays)) else {
        return;
    };
    let at = draft.now.whereabouts(old, former);
    if let Some(Whereabouts::At(node)) = draft.check(at)
        && node != home
    {
        let what = "the document takes an alias from it, and ";
        draft.refused.push(away_from_home(former, what, node));
    }
    for alias in former.aliases.iter().filter(|alias| !stays(alias)) {
        draft.say(
            ConsequenceKind::Outage,
            format!(
                "clients that use {} no longer reach {}",
                alias.ip(),
                former.name
            ),
        );
        draft.say(
            ConsequenceKind::Note,
            format!(
                "{} stays on {home} as an ordinary address, and goes from every other node (C15)",
                alias.ip()
            ),
        );
    }
}

/// C15: two nodes would have an alias as long as one of them has not heard that it is the other's now. A service that
/// leaves may leave it to another one of its home.
fn wandering(draft: &mut Draft<'_>, former: &Service, new: &ClusterDocument) {
    let stays = new.service(former.id).is_some();
    for alias in former.moving() {
        let mut others = new.services.iter().filter(|s| s.id != former.id);
        let other = others.find(|s| s.moving().any(|a| a.addr() == alias.addr()));
        let Some(other) = other.filter(|o| stays || o.home() != former.home()) else {
            continue;
        };
        draft.refused.push(refusal(
            "C15",
            format!("service {}", other.name),
            format!("the document gives it {}, which {} has", alias.addr(), former.name),
            format!(
                "take it from {} first, with one document, and give it to {} with the next, when no machine has it any more",
                former.name, other.name
            ),
        ));
    }
}

/// C15, L1: a service leaves from home and unlocked.
fn gone(draft: &mut Draft<'_>, old: &ClusterDocument, former: &Service) {
    let unlocked = draft.now.must_be_unlocked(former);
    draft.check(unlocked);
    let at = draft.now.whereabouts(old, former);
    if let Some(Whereabouts::At(node)) = draft.check(at)
        && former.home() != Some(node)
    {
        let what = "the document leaves it out, and ";
        draft.refused.push(away_from_home(former, what, node));
    }
    boot::given_back(draft, old, &[former]);
    draft.say(
        ConsequenceKind::Protection,
        format!("nothing stands in for {} any more; its addresses stay where they are as ordinary ones (C15)", former.name),
    );
}
