//! What to do about a picture: alarms in words that fit the rest of it, and one sentence at the end (U7).

use super::view::{AlarmView, ClusterView, NodeState, ServiceState, ServiceView};
use crate::model::{Fallback, NodeName};

/// Makes the words of alarms fit what else is seen, and says what to do now.
pub(super) fn advise(view: &mut ClusterView) {
    let mut alarms = core::mem::take(&mut view.alarms);
    let no_carrier: Vec<NodeName> = (alarms.iter())
        .filter(|a| a.active && a.id == "link-down")
        .filter_map(|a| a.node.clone())
        .collect();
    for alarm in alarms.iter_mut().filter(|a| a.active && !a.quiet) {
        fit(alarm, view, &no_carrier);
    }
    view.alarms = alarms;
    view.advice = advice(view);
}

fn is_up(view: &ClusterView, node: &NodeName) -> bool {
    let node = view.nodes.iter().find(|n| n.name == *node);
    node.is_some_and(|n| n.state == NodeState::Up)
}

fn fit(alarm: &mut AlarmView, view: &ClusterView, no_carrier: &[NodeName]) {
    let Some(service) = alarm
        .service
        .as_ref()
        .and_then(|s| view.services.iter().find(|x| x.name == *s))
    else {
        return;
    };
    match alarm.id.as_str() {
        "service-on-standby"
            if is_up(view, &service.home) && !no_carrier.contains(&service.home) =>
        {
            at_standby(alarm, service);
        }
        "service-down" => nowhere(alarm, service, view),
        _ => {}
    }
}

/// F7: its home is there again, so nothing is to be mended.
fn at_standby(alarm: &mut AlarmView, service: &ServiceView) {
    let (name, home) = (&service.name, &service.home);
    let on = alarm.node.as_ref().map_or("the standby", |n| n.as_str());
    alarm.cause = format!("{name} runs on {on}; its home {home} is up");
    let order = format!("`backstay service move {name} --to home`");
    alarm.action = if service.lock.is_some() {
        format!("it is locked there; `backstay service unlock {name}`, then {order}")
    } else if service.fallback == Fallback::Automatic {
        format!("it goes home by itself; at once with {order}")
    } else {
        format!("when it suits: {order}")
    };
}

/// F6: with the reason, and with the way out.
fn nowhere(alarm: &mut AlarmView, service: &ServiceView, view: &ClusterView) {
    let (name, home) = (&service.name, &service.home);
    if !service.reason.is_empty() {
        alarm.cause = format!("{name} runs nowhere: {}", service.reason);
    }
    // Where it would have to run first.
    let there = service.lock.as_ref().map_or(home, |l| &l.node);
    let away = |s: &&ServiceView| s.name != *name && s.running_on.iter().any(|n| *n != s.home);
    alarm.action = match view.services.iter().find(away) {
        _ if is_up(view, there) => {
            format!("look at its units and their journal, then `backstay service start {name}`")
        }
        _ if service.lock.is_some() => {
            format!(
                "bring {there} back, or let another node take it: `backstay service unlock {name}`"
            )
        }
        Some(other) if service.state == ServiceState::Displaced => {
            let first = if is_up(view, &other.home) {
                String::new()
            } else {
                format!("once {} is back ", other.home)
            };
            format!(
                "bring {home} back; or make room: {first}`backstay service move {} --to home`",
                other.name
            )
        }
        _ => format!("bring {home} back: power, network, `systemctl status backstay-agent`"),
    };
}

fn advice(view: &ClusterView) -> String {
    let worst = view
        .alarms
        .iter()
        .filter(|a| a.active && !a.quiet)
        .max_by_key(|a| a.severity);
    match worst {
        Some(alarm) => format!("{}{}: {}.", served(view), alarm.cause, alarm.action),
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

/// Whether clients are served, before anything else; nothing where that is not known of each service.
fn served(view: &ClusterView) -> String {
    let wanted = view
        .services
        .iter()
        .filter(|s| s.state != ServiceState::Stopped);
    let (mut all, mut running) = (0, 0);
    for service in wanted {
        match service.state {
            ServiceState::Unknown | ServiceState::Split => return String::new(),
            ServiceState::Running => running += 1,
            _ => {}
        }
        all += 1;
    }
    match (running, all) {
        (_, 0) => String::new(),
        (running, all) if running == all => "All services run. ".to_owned(),
        (running, all) => format!("{running} of {all} services run. "),
    }
}
