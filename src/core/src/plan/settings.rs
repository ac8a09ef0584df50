//! Settings of a cluster and of a service.

use super::draft::Draft;
use super::links;
use super::{ConsequenceKind, Plan, SetCluster, SetService};
use crate::engine::{NodeState, ServiceState};
use crate::model::{ClusterDocument, Failover, Fallback, Problem, Service, WithoutMajority};
use crate::time::span;

pub(super) fn set_cluster(mut draft: Draft<'_>, wanted: &SetCluster) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.cluster(&wanted.cluster);
    let Some(old) = draft.check(found) else {
        return Err(draft.refused);
    };
    let mut new = old.clone();
    new.fallback = wanted.fallback.unwrap_or(old.fallback);
    new.profile = wanted.profile.unwrap_or(old.profile);
    new.safety = wanted.safety.unwrap_or(old.safety);
    new.split_stops = wanted.split_stops.unwrap_or(old.split_stops);
    new.without_majority = wanted.without_majority.unwrap_or(old.without_majority);
    if let Some(arbiter) = &wanted.arbiter {
        new.arbiter.clone_from(arbiter);
    }
    new.reference = wanted.reference.unwrap_or(old.reference);
    new.timing.home_healthy_ms = wanted.home_healthy_ms.or(old.timing.home_healthy_ms);
    new.timing.clocks_within_ms = wanted.clocks_within_ms.or(old.timing.clocks_within_ms);
    new.moves_per_hour = wanted.moves_per_hour.unwrap_or(old.moves_per_hour);
    links::set(&mut draft, &mut new, wanted);
    if new == *old && draft.refused.is_empty() {
        return draft.unchanged(format!("{} is set so already", wanted.cluster));
    }
    effects_of(&mut draft, old, &new);
    draft.document(Some(old), new);
    draft.done()
}

pub(super) fn set_service(mut draft: Draft<'_>, wanted: &SetService) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.service(&wanted.service);
    let Some((old, service)) = draft.check(found) else {
        return Err(draft.refused);
    };
    let mut new = old.clone();
    for s in new.services.iter_mut().filter(|s| s.id == service.id) {
        s.priority = wanted.priority.unwrap_or(s.priority);
        s.fallback = wanted.fallback.or(s.fallback);
        s.failover = wanted.failover.unwrap_or(s.failover);
        s.files.retain(|file| !wanted.no_files.contains(file));
        for file in &wanted.files {
            if !s.files.contains(file) {
                s.files.push(file.clone());
            }
        }
    }
    if new == *old {
        return draft.unchanged(format!("{} is set so already", wanted.service));
    }
    effects_of(&mut draft, old, &new);
    draft.document(Some(old), new);
    draft.done()
}

/// U5, C12: what comes of changed settings, of the cluster and of services that both documents have.
pub(super) fn effects_of(draft: &mut Draft<'_>, old: &ClusterDocument, new: &ClusterDocument) {
    let before = draft.said();
    if (old.hold(), old.wait()) != (new.hold(), new.wait()) {
        draft.say(
            ConsequenceKind::Protection,
            format!(
                "a silent node counts as down after {} (before: {})",
                span(new.wait()),
                span(old.wait())
            ),
        );
        draft.say(
            ConsequenceKind::LowTraffic,
            format!(
                "better when little is going on: a service that fails within {} of the change waits that long",
                span(old.wait().max(new.wait()))
            ),
        );
    }
    if old.profile != new.profile
        && (old.beat(), old.hold(), old.wait()) == (new.beat(), new.hold(), new.wait())
    {
        draft.say(
            ConsequenceKind::Note,
            "the document's own times stay: they go before the profile's",
        );
    }
    if old.split_stops != new.split_stops {
        draft.say(
            ConsequenceKind::Protection,
            format!(
                "when two holders see each other again, {} stops",
                match new.split_stops {
                    crate::model::SplitStops::Home => "home",
                    crate::model::SplitStops::Standby => "the standby",
                }
            ),
        );
    }
    if old.without_majority != new.without_majority {
        draft.say(
            ConsequenceKind::Protection,
            match new.without_majority {
                WithoutMajority::Stop => "without a majority a holder stops; this matters with safety exclusive only",
                WithoutMajority::Keep => "without a majority a holder goes on: two holders are possible; this matters with safety exclusive only",
            },
        );
    }
    if old.reference != new.reference {
        let sentence = match new.reference {
            Some(address) => {
                format!("a standby that hears nobody takes over only if {address} answers it (S1)")
            }
            None => {
                "a standby that hears nobody takes over only if its default gateway answers it (S1)"
                    .to_owned()
            }
        };
        draft.say(ConsequenceKind::Protection, sentence);
    }
    if old.home_healthy() != new.home_healthy() {
        draft.say(
            ConsequenceKind::Fallback,
            format!(
                "automatic fallback waits until home has been healthy for {} (before: {})",
                span(new.home_healthy()),
                span(old.home_healthy())
            ),
        );
    }
    if old.clocks_within() != new.clocks_within() {
        draft.say(
            ConsequenceKind::Protection,
            format!(
                "clocks that differ by more than {} are an alarm (before: {}; C10)",
                span(new.clocks_within()),
                span(old.clocks_within())
            ),
        );
    }
    if old.moves_per_hour != new.moves_per_hour {
        draft.say(
            ConsequenceKind::Fallback,
            format!(
                "a service that has moved {} times within an hour no longer returns home by itself until it was at rest or is ordered (before: {}; F10)",
                new.moves_per_hour, old.moves_per_hour
            ),
        );
    }
    links::effects(draft, old, new);
    for service in &new.services {
        if let Some(former) = old.service(service.id) {
            service_effects(draft, old, new, former, service);
        }
    }
    if draft.said() == before {
        draft.say(ConsequenceKind::Outage, "none");
    }
}

fn service_effects(
    draft: &mut Draft<'_>,
    old: &ClusterDocument,
    new: &ClusterDocument,
    former: &Service,
    service: &Service,
) {
    let name = &service.name;
    let (was, is) = (old.fallback_of(former), new.fallback_of(service));
    if was != is {
        let sentence = match (is, returns_home(draft, new, service)) {
            (Fallback::Automatic, Some(returns)) => {
                draft.say(ConsequenceKind::Outage, returns);
                format!("{name} returns home by itself from now on")
            }
            (Fallback::Automatic, None) => format!(
                "{name} returns home by itself from now on, once home has been healthy for {}",
                span(new.home_healthy())
            ),
            (Fallback::Manual, _) => format!(
                "{name} stays where a failure brought it until `backstay service move {name} --to home`"
            ),
        };
        draft.say(ConsequenceKind::Fallback, sentence);
    }
    if former.failover != service.failover {
        draft.say(
            ConsequenceKind::Protection,
            match service.failover {
                Failover::Automatic => format!("{name} is taken over when its home fails"),
                Failover::Ordered => format!(
                    "{name} is not taken over when its home fails: it stays down until ordered"
                ),
            },
        );
    }
    if former.files != service.files {
        told_by_files(draft, service);
    }
    if former.priority != service.priority {
        let mut higher: Vec<&str> = Vec::new();
        for other in new.services.iter().filter(|o| o.id != service.id) {
            let before = old
                .service(other.id)
                .is_some_and(|o| former.priority < o.priority);
            if service.priority < other.priority && !before {
                higher.push(other.name.as_str());
            }
        }
        if !higher.is_empty() {
            draft.say(
                ConsequenceKind::Displacement,
                format!(
                    "{name} goes before {} from now on (F3, F5)",
                    higher.join(", ")
                ),
            );
        }
        displaced_by_new_order(draft, old, new);
    }
}

/// C9: what is done about static files, and what is not.
pub(super) fn told_by_files(draft: &mut Draft<'_>, service: &Service) {
    if !service.files.is_empty() {
        let nodes: Vec<&str> = service
            .nodes
            .iter()
            .map(crate::model::NodeName::as_str)
            .collect();
        let sentence = format!(
            "static files of {} are compared on {} now and when a node joins, and never copied: {} (C9)",
            service.name,
            nodes.join(" and "),
            service.files.join(", ")
        );
        draft.say(ConsequenceKind::Note, sentence);
    }
}

/// F5: who would be displaced at once, because a service that waits became more important than one carried.
fn displaced_by_new_order(draft: &mut Draft<'_>, old: &ClusterDocument, new: &ClusterDocument) {
    let Some(standby) = new.with_role(crate::model::Role::Standby).next() else {
        return;
    };
    let now = draft.now;
    let (Ok(view), Ok(carried)) = (now.view(old), now.carried(new, &standby.name)) else {
        return;
    };
    let waiting = new
        .services
        .iter()
        .filter(|s| {
            let seen = view.services.iter().find(|v| v.name == s.name);
            seen.is_some_and(|v| v.state == ServiceState::Displaced)
        })
        .min_by_key(|s| (s.priority, s.id));
    let last = carried.iter().find(|(_, may_go)| *may_go).map(|(s, _)| *s);
    if let (Some(waiting), Some(last)) = (waiting, last)
        && carried.len() >= usize::from(standby.capacity)
        && waiting.priority < last.priority
    {
        let sentence = format!(
            "{} stops on {} at once and makes room for {} (priority {} before {}, F5)",
            last.name, standby.name, waiting.name, waiting.priority, last.priority
        );
        if !draft.has_said(&sentence) {
            draft.say(ConsequenceKind::Outage, sentence);
        }
    }
}

/// F9: the service is away, unlocked, with automatic fallback, and its home is up: it will return.
pub(super) fn returns_home(
    draft: &Draft<'_>,
    document: &ClusterDocument,
    service: &Service,
) -> Option<String> {
    let home = service.home()?;
    let seen = draft.now.seen(document, service).ok()?;
    let away = seen.running_on.first().filter(|at| *at != home)?;
    let up = draft.now.state(document, home) == NodeState::Up;
    let kept = draft.now.is_kept_away(document, service)
        || draft.now.maintenance(document, home).is_some();
    (up && !kept && document.fallback_of(service) == Fallback::Automatic).then(|| {
        format!(
            "{} returns from {away} to {home} as soon as {home} has been healthy for {}: it is away while it stops there and starts here",
            service.name,
            span(document.home_healthy())
        )
    })
}
