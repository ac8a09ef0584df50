//! Locks (section L).

use super::draft::Draft;
use super::know::{Whereabouts, refusal};
use super::settings::returns_home;
use super::{ConsequenceKind, Plan};
use crate::engine::NodeState;
use crate::model::{ClusterDocument, Fallback, Lock, Problem, Service, ServiceName};
use crate::time::span;

pub(super) fn lock(
    mut draft: Draft<'_>,
    name: &ServiceName,
    reason: &str,
    until: Option<u64>,
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.service(name);
    let Some((old, service)) = draft.check(found) else {
        return Err(draft.refused);
    };
    if let Some(until) = until
        && until <= draft.now.wall
    {
        draft.refused.push(refusal(
            "L3",
            format!("service {name}"),
            "the lock would end before it begins",
            "a time to come: --for 30m",
        ));
    }
    let at = draft.now.whereabouts(old, service);
    let node = match draft.check(at) {
        None => return Err(draft.refused),
        Some(Whereabouts::At(node)) => node.clone(),
        Some(Whereabouts::Between) => {
            draft.refused.push(refusal(
                "L1",
                format!("service {name}"),
                "it is just being started or stopped, and a service is locked where it runs",
                "try again when `backstay status` shows it settled",
            ));
            return Err(draft.refused);
        }
        Some(Whereabouts::Nowhere) => {
            draft.refused.push(refusal(
                "L1",
                format!("service {name}"),
                "it runs nowhere, and a service is locked where it runs",
                format!("start it first: `backstay service start {name}`"),
            ));
            return Err(draft.refused);
        }
    };
    if let Some(there) = draft.now.lock(service)
        && there.node == node
        && there.reason == reason
        && there.until == until
    {
        let sentence = format!("{name} is locked to {node} already, by {}", there.by);
        return draft.unchanged(sentence);
    }
    draft.retitle(format!("lock {name} to {node}"));
    draft.say(ConsequenceKind::Outage, "none: locking never moves (L1)");
    let home = service.home() == Some(&node);
    let meanwhile = if home {
        format!("if {node} fails, {name} is down until {node} returns or it is unlocked")
    } else {
        format!(
            "{name} does not return home, nor make room for a more important service; if {node} fails, it is down until it is unlocked or {node} returns"
        )
    };
    draft.say(
        ConsequenceKind::Protection,
        format!("while locked to {node}: {meanwhile}"),
    );
    if let Some(until) = until {
        let left = core::time::Duration::from_secs(until.saturating_sub(draft.now.wall));
        draft.say(
            ConsequenceKind::Unlock,
            format!("the lock ends by itself after {} (L3)", span(left)),
        );
    }
    if let Some(there) = draft.now.lock(service) {
        let sentence = format!("it replaces the lock to {} by {}", there.node, there.by);
        draft.say(ConsequenceKind::Note, sentence);
    }
    let put = Lock {
        node,
        by: draft.now.by.to_owned(),
        at: draft.now.wall,
        reason: reason.to_owned(),
        until,
    };
    revise(&mut draft, old, service, Some(&put));
    draft.done()
}

pub(super) fn unlock(mut draft: Draft<'_>, name: &ServiceName) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.service(name);
    let Some((old, service)) = draft.check(found) else {
        return Err(draft.refused);
    };
    let Some(lock) = draft.now.lock(service).cloned() else {
        return draft.unchanged(format!("{name} is not locked"));
    };
    let at = draft.now.whereabouts(old, service);
    let Some(at) = draft.check(at) else {
        return Err(draft.refused);
    };
    unlocked(&mut draft, old, service, &lock, at);
    revise(&mut draft, old, service, None);
    draft.done()
}

/// L2: what comes of a lock's end. `document`: as it is then.
pub(super) fn unlocked(
    draft: &mut Draft<'_>,
    document: &ClusterDocument,
    service: &Service,
    lock: &Lock,
    at: Whereabouts<'_>,
) {
    let name = &service.name;
    let home = service.home();
    let sentence = match at {
        Whereabouts::At(node) if Some(node) == home => {
            format!("{name} stays on {node}, its home; if {node} fails it is taken over")
        }
        Whereabouts::At(node) => away(draft, document, service, node.as_str()),
        Whereabouts::Nowhere | Whereabouts::Between if service.stopped => {
            format!("{name} stays stopped (F16)")
        }
        Whereabouts::Nowhere | Whereabouts::Between => {
            format!(
                "{name} does not run on {} now; unlocked it starts wherever the rules leave room for it (F2, F3)",
                lock.node
            )
        }
    };
    draft.say(ConsequenceKind::Unlock, sentence);
    if let Some(returns) = returns_home(draft, document, service) {
        draft.say(ConsequenceKind::Outage, returns);
    }
}

/// L2: what an unlock does at the standby.
fn away(draft: &Draft<'_>, old: &ClusterDocument, service: &Service, node: &str) -> String {
    let name = &service.name;
    let Some(home) = service.home() else {
        return format!("{name} stays on {node}");
    };
    let returns = old.fallback_of(service);
    if returns == Fallback::Automatic && draft.now.is_kept_away(old, service) {
        return format!(
            "{name} stays on {node}: it keeps moving, so it returns home only by `backstay service move {name} --to home`, or once it was at rest for long enough (F10)"
        );
    }
    if returns == Fallback::Automatic && draft.now.maintenance(old, home).is_some() {
        return format!("{name} stays on {node} until the maintenance of {home} has ended (F17)");
    }
    match (returns, draft.now.state(old, home)) {
        (Fallback::Manual, _) => format!(
            "{name} stays on {node} until `backstay service move {name} --to home` (manual fallback, L2)"
        ),
        (Fallback::Automatic, NodeState::Up) => format!(
            "{name} returns home to {home} once {home} has been healthy for {} (automatic fallback, L2)",
            span(old.home_healthy())
        ),
        (Fallback::Automatic, _) => format!(
            "{name} stays on {node} until {home} is up and has been healthy for {} (automatic fallback, L2)",
            span(old.home_healthy())
        ),
    }
}

fn revise(draft: &mut Draft<'_>, old: &ClusterDocument, service: &Service, lock: Option<&Lock>) {
    let mut new = old.clone();
    for s in new.services.iter_mut().filter(|s| s.id == service.id) {
        s.lock = lock.cloned();
    }
    draft.document(Some(old), new);
}
