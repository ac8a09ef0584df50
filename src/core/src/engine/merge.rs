//! One picture from what several nodes see, and what to do about it (U7).

use super::advice::advise;
use super::view::{AlarmView, ClusterView, NodeState, ServiceState, Severity};
use crate::model::{NodeName, RuleId};

/// Puts the views of several nodes of one cluster together: of each node its own word about itself
/// counts, and a service that two nodes say they run is split, though neither may know (S1).
///
/// The newest view, of those the one that hears most nodes, is the ground; views of other clusters are left out.
/// None without a view.
pub fn merge(views: &[ClusterView]) -> Option<ClusterView> {
    // A node that hears few others is more likely cut off than all of those are down.
    let hears = |v: &ClusterView| v.nodes.iter().filter(|n| n.state == NodeState::Up).count();
    let newest = views.iter().max_by_key(|v| (v.revision, hears(v)))?;
    let mut merged = newest.clone();
    for view in views
        .iter()
        .filter(|v| v.name == newest.name && v.seen_by != newest.seen_by)
    {
        take_own_word(&mut merged, view);
    }
    advise(&mut merged);
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
            cut_off(&mut merged.alarms, who);
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
            // Since the standby runs it, too.
            let away = |a: &&AlarmView| {
                a.active
                    && a.id == "service-on-standby"
                    && a.service.as_ref() == Some(&service.name)
            };
            let age_ms = merged.alarms.iter().find(away).map_or(0, |a| a.age_ms);
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
                    action: "mend the network between them; then one stops by itself, and what clients wrote \
                             there meanwhile is on that node only"
                        .to_owned(),
                    age_ms,
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

/// The others do not hear it, and it answers: not dead, but cut off.
fn cut_off(alarms: &mut [AlarmView], who: &NodeName) {
    let lost = |a: &&mut AlarmView| {
        a.active
            && a.node.as_ref() == Some(who)
            && matches!(a.id.as_str(), "node-down" | "standby-down")
    };
    for alarm in alarms.iter_mut().filter(lost) {
        alarm.cause = format!("{who} is cut off from the other nodes, but answers here");
        alarm.action = format!("look at the network between {who} and the others");
    }
}
