//! Where services run: move, start, stop.

use super::draft::Draft;
use super::know::{Whereabouts, because, names, refusal};
use super::{Aim, ConsequenceKind, MoveOrder, Plan, Target};
use crate::engine::NodeState;
use crate::model::{ClusterDocument, Fallback, NodeName, Problem, Role, Service, ServiceName};
use crate::time::span;

pub(super) fn move_to(
    mut draft: Draft<'_>,
    name: &ServiceName,
    to: &Target,
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.service(name);
    let Some((document, service)) = draft.check(found) else {
        return Err(draft.refused);
    };
    let target = target(document, service, to);
    let Some(target) = draft.check(target) else {
        return Err(draft.refused);
    };
    draft.retitle(format!("move {name} to {target}"));
    let (seen, at) = (
        draft.now.seen(document, service),
        draft.now.whereabouts(document, service),
    );
    if at == Ok(Whereabouts::At(&target)) && !service.stopped {
        return draft.unchanged(format!("{name} runs on {target} already"));
    }
    must_be_started(&mut draft, service);
    let unlocked = draft.now.must_be_unlocked(service);
    draft.check(unlocked);
    let up = draft.now.must_be_up(document, &target, "F2");
    draft.check(up);
    let (Some(seen), Some(at)) = (draft.check(seen), draft.check(at)) else {
        return Err(draft.refused);
    };
    match at {
        Whereabouts::At(node) => {
            draft.say(
                ConsequenceKind::Outage,
                format!(
                    "{name} is away while it stops on {node} and starts on {target}: as long as its own stop and start take; connections to it break"
                ),
            );
            draft.say(
                ConsequenceKind::LowTraffic,
                format!("better when few clients use {name} (C12)"),
            );
        }
        Whereabouts::Nowhere => draft.say(
            ConsequenceKind::Outage,
            format!(
                "{name} runs nowhere now{}; it is tried on {target}",
                because(&seen.reason)
            ),
        ),
        Whereabouts::Between => draft.refused.push(between(name)),
    }
    worked_on(&mut draft, document, &target);
    has_room(&mut draft, document, service, &target);
    stays(&mut draft, document, service, &target);
    order(&mut draft, document, service, target, seen.term);
    draft.done()
}

/// F17: a node that gives away what it carries can be given nothing.
fn worked_on(draft: &mut Draft<'_>, document: &ClusterDocument, target: &NodeName) {
    let Some(work) = draft.now.maintenance(document, target) else {
        return;
    };
    if work.moves {
        draft.refused.push(refusal(
            "F17",
            format!("node {target}"),
            "it is in maintenance and gives away what it carries",
            format!("end that first with `backstay node maintenance {target} --end`"),
        ));
    } else {
        let sentence = format!("{target} is in maintenance by {}", work.by);
        draft.say(ConsequenceKind::Protection, sentence);
    }
}

pub(super) fn start(
    mut draft: Draft<'_>,
    name: &ServiceName,
    on: Option<&NodeName>,
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.service(name);
    let Some((document, service)) = draft.check(found) else {
        return Err(draft.refused);
    };
    let (seen, at) = (
        draft.now.seen(document, service),
        draft.now.whereabouts(document, service),
    );
    let (Some(seen), Some(at)) = (draft.check(seen), draft.check(at)) else {
        return Err(draft.refused);
    };
    match at {
        Whereabouts::At(node) if !service.stopped => {
            if on.is_none_or(|on| on == node) {
                return draft.unchanged(format!("{name} runs on {node} already"));
            }
            draft.refused.push(refusal(
                "F14",
                format!("service {name}"),
                format!("it runs on {node}"),
                format!(
                    "move it with `backstay service move {name} --to {}`",
                    on.map_or("NODE", NodeName::as_str)
                ),
            ));
            return Err(draft.refused);
        }
        // Stopped but still running: its stop is on the way, or its node has not learnt of it.
        Whereabouts::At(_) | Whereabouts::Between => draft.refused.push(between(name)),
        Whereabouts::Nowhere => {}
    }
    let Some(target) = start_target(&mut draft, document, service, on) else {
        return Err(draft.refused);
    };
    worked_on(&mut draft, document, &target);
    draft.say(
        ConsequenceKind::Outage,
        format!(
            "{name} runs nowhere now{}; it starts on {target}",
            because(&seen.reason)
        ),
    );
    has_room(&mut draft, document, service, &target);
    stays(&mut draft, document, service, &target);
    let by_itself = service.home() == Some(&target);
    if service.stopped {
        let mut new = document.clone();
        for s in new.services.iter_mut().filter(|s| s.id == service.id) {
            s.stopped = false;
        }
        let home_up = service
            .home()
            .is_some_and(|h| draft.now.state(document, h) == NodeState::Up);
        if !by_itself && home_up {
            draft.say(
                ConsequenceKind::Note,
                format!("{name} may start at home first and move to {target} then"),
            );
        }
        draft.document(Some(document), new);
        if by_itself {
            draft.aim(Aim::Runs {
                cluster: document.name.clone(),
                service: name.clone(),
                on: Some(target),
                since_term: seen.term,
            });
            return draft.done();
        }
    }
    order(&mut draft, document, service, target, seen.term);
    draft.done()
}

pub(super) fn stop(mut draft: Draft<'_>, name: &ServiceName) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.service(name);
    let Some((old, service)) = draft.check(found) else {
        return Err(draft.refused);
    };
    if service.stopped {
        return draft.unchanged(format!("{name} is stopped already (F16)"));
    }
    // Stopping is safe whatever is known of it.
    let running: Vec<NodeName> = draft
        .now
        .seen(old, service)
        .map(|s| s.running_on.clone())
        .unwrap_or_default();
    let place = if running.is_empty() {
        "wherever it runs".to_owned()
    } else {
        format!("on {}", names(&running))
    };
    draft.say(
        ConsequenceKind::Outage,
        format!(
            "{name} stops {place} and stays stopped on every node until `backstay service start {name}` (F16)"
        ),
    );
    for standby in old.with_role(Role::Standby) {
        if running.contains(&standby.name) && service.home() != Some(&standby.name) {
            draft.say(
                ConsequenceKind::Note,
                format!(
                    "{} has room then: the most important service still down takes the place (F6)",
                    standby.name
                ),
            );
        }
    }
    if let Some(lock) = draft.now.lock(service) {
        let sentence = format!("the lock to {} stays", lock.node);
        draft.say(ConsequenceKind::Unlock, sentence);
    }
    let mut new = old.clone();
    for s in new.services.iter_mut().filter(|s| s.id == service.id) {
        s.stopped = true;
    }
    draft.document(Some(old), new);
    draft.aim(Aim::Stopped {
        cluster: old.name.clone(),
        service: name.clone(),
    });
    draft.done()
}

fn between(name: &ServiceName) -> Problem {
    refusal(
        "F14",
        format!("service {name}"),
        "it is just being started or stopped",
        "try again when `backstay status` shows it settled",
    )
}

fn must_be_started(draft: &mut Draft<'_>, service: &Service) {
    if service.stopped {
        draft.refused.push(refusal(
            "F16",
            format!("service {}", service.name),
            "it was stopped by an admin and runs nowhere",
            format!(
                "start it with `backstay service start {}` first",
                service.name
            ),
        ));
    }
}

fn target(document: &ClusterDocument, service: &Service, to: &Target) -> Result<NodeName, Problem> {
    let node = match to {
        Target::Home => service.home(),
        Target::Standby => document.with_role(Role::Standby).next().map(|m| &m.name),
        Target::Node(node) => Some(node),
    };
    match node.filter(|n| service.nodes.contains(n)) {
        Some(node) => Ok(node.clone()),
        None => Err(refusal(
            "F2",
            format!("service {}", service.name),
            format!(
                "it may not run on {}",
                node.map_or("a node that is not there", |n| n.as_str())
            ),
            format!("one of its nodes: {}", names(&service.nodes)),
        )),
    }
}

/// Where a service that runs nowhere starts: where asked, where locked, at home if up, else on the standby.
fn start_target(
    draft: &mut Draft<'_>,
    document: &ClusterDocument,
    service: &Service,
    on: Option<&NodeName>,
) -> Option<NodeName> {
    let lock = draft.now.lock(service).map(|l| l.node.clone());
    if let Some(on) = on {
        let allowed = target(document, service, &Target::Node(on.clone()));
        draft.check(allowed)?;
        if lock.as_ref().is_some_and(|l| l != on) {
            let locked = draft.now.must_be_unlocked(service);
            draft.check(locked)?;
        }
    }
    let now = draft.now;
    let mut candidates = match on.cloned().or(lock) {
        Some(node) => vec![node],
        None => service.nodes.clone(),
    };
    let is_up = |n: &NodeName| now.state(document, n) == NodeState::Up;
    if let Some(up) = candidates.iter().position(is_up) {
        return Some(candidates.swap_remove(up));
    }
    for node in &candidates {
        let up = now.must_be_up(document, node, "F2");
        draft.check(up);
    }
    None
}

/// F3, F5: whether the target has room, and who must go.
fn has_room(
    draft: &mut Draft<'_>,
    document: &ClusterDocument,
    service: &Service,
    target: &NodeName,
) {
    if service.home() == Some(target) {
        return;
    }
    let capacity = document.member(target).map_or(0, |m| m.capacity);
    let carried = draft.now.carried(document, target);
    let Some(carried) = draft.check(carried) else {
        return;
    };
    if carried.len() < usize::from(capacity) {
        return;
    }
    let said: Vec<String> = carried
        .iter()
        .map(|(s, may_go)| {
            let locked = if *may_go { "" } else { ", locked there" };
            format!("{} (priority {}{locked})", s.name, s.priority)
        })
        .collect();
    let last = carried.iter().find(|(_, may_go)| *may_go).map(|(s, _)| *s);
    let Some(goes) = last.filter(|s| service.priority < s.priority) else {
        draft.refused.push(refusal(
            "F3",
            format!("node {target}"),
            format!(
                "it carries {} of {capacity}: {}; {} has priority {}",
                carried.len(),
                said.join(", "),
                service.name,
                service.priority
            ),
            "move one of them home first, or give the service a lower priority value (lower is more important)",
        ));
        return;
    };
    let home = goes
        .home()
        .filter(|h| draft.now.state(document, h) == NodeState::Up)
        .cloned();
    let then = match &home {
        Some(home) => format!("it goes home to {home}"),
        None => "it runs nowhere until its home returns or there is room".to_owned(),
    };
    draft.say(
        ConsequenceKind::Displacement,
        format!(
            "{} (priority {}) displaces {} (priority {}) from {target}: {then} (F5)",
            service.name, service.priority, goes.name, goes.priority
        ),
    );
    if home.is_none() {
        let sentence = format!(
            "{} would run nowhere: its home is not up, and {} takes its place on {target}",
            goes.name, service.name
        );
        draft.warn("displaces", "F5", sentence);
    }
}

/// F7: whether it stays there.
fn stays(draft: &mut Draft<'_>, document: &ClusterDocument, service: &Service, target: &NodeName) {
    let Some(home) = service.home().filter(|h| *h != target) else {
        return;
    };
    let name = &service.name;
    let sentence = match document.fallback_of(service) {
        // L2, too, has a healthy home get it back: whoever orders it away from there must know.
        Fallback::Automatic if draft.now.state(document, home) == NodeState::Up => format!(
            "with automatic fallback it goes home to {home} by itself once {home} has been healthy for {}: at once, if it has been already. To keep it on {target}: `backstay service set {name} --fallback manual` first",
            span(document.home_healthy())
        ),
        Fallback::Automatic => format!(
            "with automatic fallback it returns home to {home} after {} of health there; lock it with `backstay service lock {name}` to keep it on {target}",
            span(document.home_healthy())
        ),
        Fallback::Manual => format!(
            "with manual fallback it stays on {target} until `backstay service move {name} --to home`"
        ),
    };
    draft.say(ConsequenceKind::Fallback, sentence);
}

fn order(
    draft: &mut Draft<'_>,
    document: &ClusterDocument,
    service: &Service,
    to: NodeName,
    since_term: u64,
) {
    draft.aim(Aim::Runs {
        cluster: document.name.clone(),
        service: service.name.clone(),
        on: Some(to.clone()),
        since_term,
    });
    draft.order(
        MoveOrder {
            cluster: document.name.clone(),
            service: service.name.clone(),
            to: to.clone(),
        },
        vec![to],
    );
}
