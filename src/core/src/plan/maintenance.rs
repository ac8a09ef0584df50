//! Work on a node (F17): what it carries is locked to it or moved away, its alarms are quiet, and it ends by
//! itself.

use core::time::Duration;
use std::collections::BTreeSet;

use super::draft::Draft;
use super::know::{Whereabouts, names, refusal};
use super::lock::unlocked;
use super::settings::returns_home;
use super::{Aim, ConsequenceKind, Plan};
use crate::engine::NodeState;
use crate::model::{
    ClusterDocument, ClusterName, Fallback, Lock, Maintenance, NodeName, Problem, Role, Service,
};
use crate::time::span;

pub(super) fn begin(
    mut draft: Draft<'_>,
    name: &NodeName,
    reason: &str,
    until: u64,
    moves: bool,
) -> Result<Plan, Vec<Problem>> {
    let clusters = clusters_of(&mut draft, name);
    if until <= draft.now.wall {
        draft.refused.push(refusal(
            "F17",
            format!("node {name}"),
            "its maintenance would end before it begins",
            "a time to come: --for 30m",
        ));
        return Err(draft.refused);
    }
    let work = Maintenance {
        by: draft.now.by.to_owned(),
        at: draft.now.wall,
        reason: reason.to_owned(),
        until,
        moves,
    };
    let lasts = span(Duration::from_secs(until.saturating_sub(draft.now.wall)));
    draft.say(
        ConsequenceKind::Note,
        format!("alarms of {name} are quiet meanwhile: shown, but nobody is asked to act"),
    );
    for old in clusters {
        let mut new = old.clone();
        if let Some(former) = draft.now.maintenance(old, name) {
            let sentence = format!("it replaces the maintenance that {} began", former.by);
            draft.say(ConsequenceKind::Note, sentence);
        }
        let carried = carried(&mut draft, old, name);
        drop_own_locks(old, &mut new, name);
        if carried.is_empty() {
            let sentence = format!("none: {name} carries no service of {}", old.name);
            draft.say(ConsequenceKind::Outage, sentence);
        } else if moves {
            move_away(&mut draft, old, name, &carried);
        } else {
            lock_there(&mut draft, &mut new, name, &carried, &work);
        }
        less_protection(&mut draft, old, name);
        for m in new.members.iter_mut().filter(|m| m.name == *name) {
            m.maintenance = Some(work.clone());
        }
        draft.document(Some(old), new);
    }
    draft.say(
        ConsequenceKind::Unlock,
        format!("it ends by itself after {lasts}, with the locks that it put (F17)"),
    );
    draft.done()
}

pub(super) fn end(mut draft: Draft<'_>, name: &NodeName) -> Result<Plan, Vec<Problem>> {
    let clusters = clusters_of(&mut draft, name);
    let now = draft.now;
    let worked = |c: &&ClusterDocument| now.maintenance(c, name).is_some();
    let works: Vec<_> = clusters.into_iter().filter(worked).collect();
    if works.is_empty() {
        return draft.unchanged(format!("{name} is not in maintenance"));
    }
    for old in works {
        let mut new = old.clone();
        drop_own_locks(old, &mut new, name);
        for m in new.members.iter_mut().filter(|m| m.name == *name) {
            m.maintenance = None;
        }
        for service in &old.services {
            set_free(&mut draft, old, &new, name, service);
        }
        draft.document(Some(old), new);
    }
    draft.say(
        ConsequenceKind::Note,
        format!("alarms of {name} ask for somebody again"),
    );
    draft.done()
}

/// What happens to a service once the work has ended.
fn set_free(
    draft: &mut Draft<'_>,
    old: &ClusterDocument,
    new: &ClusterDocument,
    name: &NodeName,
    service: &Service,
) {
    let freed = new.service(service.id).is_some_and(|s| s.lock.is_none());
    if let Some(lock) = service.lock.as_ref().filter(|_| freed) {
        // The end of a maintenance is not held up by what nobody knows.
        if let Ok(at) = draft.now.whereabouts(old, service) {
            unlocked(draft, new, service, lock, at);
        }
        return;
    }
    if service.home() != Some(name) || draft.now.lock(service).is_some() {
        return;
    }
    if let Some(returns) = returns_home(draft, new, service) {
        draft.say(ConsequenceKind::Outage, returns);
    } else if let Ok(Whereabouts::At(at)) = draft.now.whereabouts(old, service)
        && at != name
        && new.fallback_of(service) == Fallback::Manual
    {
        let sentence = format!(
            "{0} stays on {at} until `backstay service move {0} --to home`",
            service.name
        );
        draft.say(ConsequenceKind::Fallback, sentence);
    }
}

/// Every cluster that the node is in (a witness may be in several).
fn clusters_of<'a>(draft: &mut Draft<'a>, name: &NodeName) -> Vec<&'a ClusterDocument> {
    let known = draft.now.node(name);
    if draft.check(known).is_none() {
        return Vec::new();
    }
    let listed = draft.now.system.clusters_of(name).map(|c| c.name.clone());
    let written = draft.now.clusters.iter().filter(|c| !c.deleted);
    let written = written.filter(|c| c.member(name).is_some());
    let all: BTreeSet<ClusterName> = listed.chain(written.map(|c| c.name.clone())).collect();
    if all.is_empty() {
        draft.refused.push(refusal(
            "F17",
            format!("node {name}"),
            "it is in no cluster: it carries nothing and has no alarms",
            "nothing needs to be done before work on it",
        ));
    }
    let mut found = Vec::new();
    for cluster in all {
        let document = draft.now.cluster(&cluster);
        found.extend(draft.check(document));
    }
    found.retain(|c| c.member(name).is_some());
    found
}

/// The services that run there.
fn carried<'d>(
    draft: &mut Draft<'_>,
    old: &'d ClusterDocument,
    name: &NodeName,
) -> Vec<&'d Service> {
    let mut carried = Vec::new();
    for service in old.services.iter().filter(|s| s.nodes.contains(name)) {
        let at = draft.now.whereabouts(old, service);
        match draft.check(at) {
            Some(Whereabouts::At(at)) if at == name => carried.push(service),
            Some(Whereabouts::Between) => draft.refused.push(refusal(
                "F17",
                format!("service {}", service.name),
                "it is just being started or stopped, and may be on that node or not",
                "try again when `backstay status` shows it settled",
            )),
            _ => {}
        }
    }
    carried
}

fn drop_own_locks(old: &ClusterDocument, new: &mut ClusterDocument, name: &NodeName) {
    let Some(work) = old.member(name).and_then(|m| m.maintenance.as_ref()) else {
        return;
    };
    for service in &mut new.services {
        service.lock.take_if(|lock| work.owns(name, lock));
    }
}

/// L1, L3: what runs there is locked there as long as the work lasts.
fn lock_there(
    draft: &mut Draft<'_>,
    new: &mut ClusterDocument,
    name: &NodeName,
    carried: &[&Service],
    work: &Maintenance,
) {
    draft.say(ConsequenceKind::Outage, "none: locking never moves (L1)");
    for service in carried {
        let Some(s) = new.services.iter_mut().find(|s| s.id == service.id) else {
            continue;
        };
        if let Some(lock) = s.lock.as_ref() {
            if lock.until.is_none_or(|until| until >= work.until) {
                let sentence = format!(
                    "{} keeps its lock to {} by {}, also after the maintenance",
                    s.name, lock.node, lock.by
                );
                draft.say(ConsequenceKind::Unlock, sentence);
                continue;
            }
            let sentence = format!(
                "the lock of {} by {} would end before; the maintenance's takes its place",
                s.name, lock.by
            );
            draft.say(ConsequenceKind::Note, sentence);
        }
        let reason = match work.reason.as_str() {
            "" => "maintenance".to_owned(),
            reason => format!("maintenance: {reason}"),
        };
        s.lock = Some(Lock {
            node: name.clone(),
            by: work.by.clone(),
            at: work.at,
            reason,
            until: Some(work.until),
        });
        let sentence = format!(
            "{} is locked to {name}: while {name} is down it is down too, and nothing takes it over; `--move` moves it away instead",
            s.name
        );
        draft.say(ConsequenceKind::Protection, sentence);
    }
}

/// Each service that runs there goes to another of its nodes, if all of them can.
fn move_away(draft: &mut Draft<'_>, old: &ClusterDocument, name: &NodeName, carried: &[&Service]) {
    let mut going: Vec<(&Service, NodeName)> = Vec::new();
    for service in carried {
        let own = |lock: &Lock| {
            let member = old.member(name).and_then(|m| m.maintenance.as_ref());
            member.is_some_and(|work| work.owns(name, lock))
        };
        if service.lock.as_ref().is_none_or(|lock| !own(lock)) {
            let free = draft.now.must_be_unlocked(service);
            draft.check(free);
        }
        let fit = |to: &&NodeName| {
            *to != name
                && draft.now.state(old, to) == NodeState::Up
                && draft.now.maintenance(old, to).is_none()
        };
        if let Some(to) = service.nodes.iter().find(fit) {
            going.push((service, to.clone()));
            continue;
        }
        let others = names(service.nodes.iter().filter(|n| *n != name));
        draft.refused.push(refusal(
            "F17",
            format!("service {}", service.name),
            format!("it can't be moved off {name}: {others} is not up or is in maintenance too"),
            "without `--move` it is locked where it is",
        ));
    }
    for member in &old.members {
        has_room(draft, old, member, &going);
    }
    for (service, to) in going {
        say_move(draft, old, name, service, to);
    }
}

/// F3: work displaces nothing.
fn has_room(
    draft: &mut Draft<'_>,
    old: &ClusterDocument,
    member: &crate::model::Member,
    going: &[(&Service, NodeName)],
) {
    let guests = |(s, to): &&(&Service, NodeName)| *to == member.name && s.home() != Some(to);
    let coming = going.iter().filter(guests).count();
    if coming == 0 {
        return;
    }
    let there = draft.now.carried(old, &member.name);
    let there = draft.check(there).map_or(0, |c| c.len());
    if there + coming > usize::from(member.capacity) {
        draft.refused.push(refusal(
            "F3",
            format!("node {}", member.name),
            format!(
                "it carries {there} of {} and would get {coming} more",
                member.capacity
            ),
            "move something home first, or leave out `--move`: then all is locked where it is",
        ));
    }
}

fn say_move(
    draft: &mut Draft<'_>,
    old: &ClusterDocument,
    name: &NodeName,
    service: &Service,
    to: NodeName,
) {
    let s = &service.name;
    draft.say(
        ConsequenceKind::Outage,
        format!(
            "{s} is away while it stops on {name} and starts on {to}: as long as its own stop and start take; connections to it break"
        ),
    );
    if service.home() == Some(name) {
        let sentence = match old.fallback_of(service) {
            Fallback::Automatic => format!(
                "{s} returns to {name} by itself once the maintenance has ended and {name} has been healthy for {}",
                span(old.home_healthy())
            ),
            Fallback::Manual => {
                format!("{s} stays on {to} until `backstay service move {s} --to home`")
            }
        };
        draft.say(ConsequenceKind::Fallback, sentence);
    }
    let since_term = draft.now.seen(old, service).map_or(0, |seen| seen.term);
    draft.aim(Aim::Runs {
        cluster: old.name.clone(),
        service: s.clone(),
        on: Some(to),
        since_term,
    });
}

/// What stands in for what meanwhile.
fn less_protection(draft: &mut Draft<'_>, old: &ClusterDocument, name: &NodeName) {
    let Some(member) = old.member(name) else {
        return;
    };
    let sentence = match member.role {
        Role::Standby => {
            let homes = names(old.with_role(Role::Regular).map(|m| &m.name));
            format!(
                "while {name} is down nothing stands in for {homes}; while it is up it still takes over what would run nowhere else (F2)"
            )
        }
        Role::Witness => format!("while {name} is down, {} has one watcher less", old.name),
        Role::Regular => format!("nothing returns to {name} by itself before the end"),
    };
    draft.say(ConsequenceKind::Protection, sentence);
    for other in old.members.iter().filter(|m| m.name != *name) {
        if draft.now.maintenance(old, &other.name).is_some() {
            let sentence = format!("{} is in maintenance too", other.name);
            draft.say(ConsequenceKind::Protection, sentence);
        }
    }
}
