//! Watching until a goal is reached, and for as long as somebody looks.

use backstay::ops::lookout::{self, News};
use backstay::ops::watch::watch;
use backstay_core::engine::{ClusterView, NodeState, NodeView, ServiceView};
use backstay_core::model::Role;
use backstay_core::plan::{Aim, Goal};
use backstay_wire::rpc::Status;

use super::*;

pub(crate) fn view(state: ServiceState, on: &[&str], term: u64) -> Status {
    let node = |n: &str, role| NodeView {
        name: name(n),
        role,
        state: NodeState::Up,
        age_ms: Some(100),
        revision: Some(1),
        notes: Vec::new(),
        addresses: Vec::new(),
        maintenance: None,
    };
    let view = ClusterView {
        name: "demo".parse().unwrap(),
        revision: 1,
        safety: Safety::Available,
        preloaded: false,
        seen_by: name("n1"),
        nodes: vec![node("n1", Role::Regular), node("sb1", Role::Standby)],
        services: vec![ServiceView {
            name: "web1".parse().unwrap(),
            home: name("n1"),
            running_on: on.iter().map(|n| name(n)).collect(),
            state,
            priority: 100,
            fallback: Fallback::Manual,
            lock: None,
            addresses: Vec::new(),
            age_ms: Some(0),
            term,
            reason: "because".to_owned(),
            on: std::collections::BTreeMap::new(),
        }],
        alarms: Vec::new(),
        advice: String::new(),
    };
    Status {
        clusters: vec![view],
    }
}

fn goal() -> Goal {
    Goal {
        aims: vec![Aim::Runs {
            cluster: "demo".parse().unwrap(),
            service: "web1".parse().unwrap(),
            on: Some(name("sb1")),
            since_term: 3,
        }],
    }
}

fn watched(world: &World, limit: Duration, cancel: &Cancel) -> (Result<(), Failure>, Vec<String>) {
    let mut picture = gather(world, LONG);
    let mut lines = Vec::new();
    let eyes = [name("n1"), name("n2")];
    let result = watch(
        &goal(),
        &mut picture.crew,
        &eyes,
        limit,
        cancel,
        &mut |line| {
            lines.push(line.to_owned());
        },
    );
    (result, lines)
}

#[test]
fn a_goal_is_watched_until_it_is_reached() {
    let world = world();
    world.with("n1", |a| {
        a.watch = vec![
            view(ServiceState::Running, &["n1"], 3),
            view(ServiceState::Starting, &[], 4),
            view(ServiceState::Running, &["sb1"], 4),
        ];
    });
    let (result, lines) = watched(&world, LONG, &Cancel::default());
    result.unwrap();
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("waiting: web1 does not run on sb1")),
        "{lines:?}"
    );
}

#[test]
fn every_other_end_says_that_the_change_took_effect() {
    let world = world();
    world.with("n1", |a| {
        a.watch = vec![view(ServiceState::Running, &["n1"], 3)];
    });
    let (late, _) = watched(&world, Duration::from_millis(300), &Cancel::default());
    let cancel = Cancel::default();
    cancel.set();
    let (broken_off, _) = watched(&world, LONG, &cancel);
    world.with("n1", |a| a.watch = vec![view(ServiceState::Failed, &[], 4)]);
    let (hopeless, _) = watched(&world, LONG, &Cancel::default());
    for (result, exit) in [
        (late, Exit::Timeout),
        (broken_off, Exit::Cancelled),
        (hopeless, Exit::Error),
    ] {
        let failure = result.unwrap_err();
        assert_eq!((failure.exit, failure.changed), (exit, Changed::Yes));
        assert!(
            failure.message.contains("the change took effect"),
            "{failure}"
        );
    }
}

fn seen_by(n: &str) -> Status {
    let mut status = view(ServiceState::Running, &["n1"], 3);
    status.clusters[0].seen_by = name(n);
    status
}

#[test]
fn u7_who_watches_is_told_who_falls_silent_and_sees_with_the_next() {
    let world = world();
    for n in ["n1", "n2", "sb1"] {
        world.with(n, |a| a.watch = vec![seen_by(n)]);
    }
    let cancel = Cancel::default();
    // One way in is named; the system knows the others.
    let mut gatherer = world.gatherer(LONG);
    gatherer.entries.truncate(1);
    let heard = lookout::keep(gatherer, cancel.clone()).unwrap();
    let mut next = || heard.recv_timeout(LONG).unwrap();
    let News::Seen(first) = next() else {
        panic!("nothing was seen")
    };
    assert_eq!(first.views[0].seen_by, name("n1"));
    world.manner("n1", Manner::Wedged);
    let silent = std::iter::repeat_with(&mut next).find_map(|news| match news {
        News::Silent(names) => Some(names),
        News::Seen(_) | News::Failed(_) => None,
    });
    assert!(silent.unwrap().contains(&"n1".to_owned()));
    // Whoever of the others is first; on a busy machine one of them may be given up, too.
    let other = std::iter::repeat_with(&mut next).find_map(|news| match news {
        News::Seen(seen) => Some(seen.views[0].seen_by.clone()),
        News::Silent(_) | News::Failed(_) => None,
    });
    assert_ne!(other.unwrap(), name("n1"));
    cancel.set();
}
