//! One picture from what several nodes see, and what to do about it (U7).

use super::view::{AlarmView, ClusterView, NodeState, ServiceState, Severity};
use crate::model::RuleId;

/// Puts the views of several nodes of one cluster together: of each node its own word about itself
/// counts, and a service that two nodes say they run is split, though neither may know (S1).
///
/// The first view is the ground; views of other clusters are left out. None without a view.
pub fn merge(views: &[ClusterView]) -> Option<ClusterView> {
    let newest = views.iter().max_by_key(|v| v.revision)?;
    let mut merged = newest.clone();
    for view in views
        .iter()
        .filter(|v| v.name == newest.name && v.seen_by != newest.seen_by)
    {
        take_own_word(&mut merged, view);
    }
    merged.advice = advice(&merged);
    Some(merged)
}

fn take_own_word(merged: &mut ClusterView, view: &ClusterView) {
    let who = &view.seen_by;
    if let (Some(to), Some(own)) = (
        merged.nodes.iter_mut().find(|n| n.name == *who),
        view.nodes.iter().find(|n| n.name == *who),
    ) {
        if matches!(to.state, NodeState::Down | NodeState::Unknown) {
            to.notes
                .push("answers here, but other nodes do not hear it".to_owned());
        }
        to.state = own.state;
        to.age_ms = own.age_ms;
        to.revision = own.revision;
    }
    for service in &mut merged.services {
        let Some(theirs) = view.services.iter().find(|s| s.name == service.name) else {
            continue;
        };
        match theirs.on.get(who) {
            Some(word) => {
                service.on.insert(who.clone(), word.clone());
            }
            None => {
                service.on.remove(who);
            }
        }
        let holds = |word: &String| matches!(word.as_str(), "running" | "starting" | "failed");
        service.running_on = service
            .on
            .iter()
            .filter(|(_, w)| holds(w))
            .map(|(n, _)| n.clone())
            .collect();
        service.term = service.term.max(theirs.term);
        if service.running_on.len() > 1 && service.state != ServiceState::Split {
            service.state = ServiceState::Split;
            "the nodes that run it do not hear each other".clone_into(&mut service.reason);
            merged.alarms.insert(
                0,
                AlarmView {
                    id: "split".to_owned(),
                    severity: Severity::Critical,
                    node: None,
                    service: Some(service.name.clone()),
                    rule: RuleId::of("S1"),
                    cause: format!(
                        "{} runs on two nodes that do not hear each other",
                        service.name
                    ),
                    action: "mend the network between them; one stops by itself".to_owned(),
                    age_ms: 0,
                    count: 1,
                    active: true,
                    quiet: false,
                },
            );
        } else if service.running_on.len() == 1
            && service.state != ServiceState::Running
            && service.on.values().any(|w| w == "running")
        {
            service.state = ServiceState::Running;
        }
    }
}

/// U7: what to do now, in one sentence.
pub(super) fn advice(view: &ClusterView) -> String {
    let worst = view
        .alarms
        .iter()
        .filter(|a| a.active && !a.quiet)
        .max_by_key(|a| a.severity);
    match worst {
        Some(alarm) => format!("{}: {}.", alarm.cause, alarm.action),
        None if view
            .services
            .iter()
            .any(|s| s.state == ServiceState::Unknown) =>
        {
            "Some services are unknown: look at the nodes that do not answer.".to_owned()
        }
        None if view
            .services
            .iter()
            .any(|s| matches!(s.state, ServiceState::Starting | ServiceState::Stopping)) =>
        {
            "Wait: something is moving.".to_owned()
        }
        None => match view.nodes.iter().find(|n| n.maintenance.is_some()) {
            Some(node) => format!("Nothing else to do: {} is in maintenance.", node.name),
            None => "Nothing to do: all is well.".to_owned(),
        },
    }
}
