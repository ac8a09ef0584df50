use super::*;

fn goal(aim: Aim) -> Goal {
    Goal { aims: vec![aim] }
}

fn runs_on(at: &str, since_term: u64) -> Goal {
    goal(Aim::Runs {
        cluster: "c1".parse().unwrap(),
        service: name("web1"),
        on: Some(node(at)),
        since_term,
    })
}

#[test]
fn a_goal_waits_is_reached_or_is_hopeless_and_says_why() {
    let now = |w: World, goal: &Goal| goal.reached(&w.view.into_iter().collect::<Vec<_>>());
    let waiting = |text: &str| Progress::Waiting(text.to_owned());
    let hopeless = |text: &str| Progress::Hopeless(text.to_owned());
    let to_standby = runs_on("sb1", 3);
    let at = |on: &[&str], state, term| {
        let mut w = world().runs("web1", on, state);
        w.seen("web1").term = term;
        w
    };
    assert_eq!(
        now(world().unseen(), &to_standby),
        waiting("no node shows the cluster c1")
    );
    assert_eq!(
        now(world(), &to_standby),
        waiting("web1 does not run on sb1 yet")
    );
    assert_eq!(
        now(at(&["sb1"], ServiceState::Running, 4), &to_standby),
        Progress::Reached
    );
    // A failure under the old term is the old one; the order is not at its end.
    assert_eq!(
        now(at(&[], ServiceState::Failed, 3), &to_standby),
        waiting("web1 does not run on sb1 yet")
    );
    let mut failed = at(&[], ServiceState::Failed, 4);
    failed.seen("web1").reason = "web.service failed".to_owned();
    assert_eq!(
        now(failed, &to_standby),
        hopeless("web1 could not be started: web.service failed")
    );
    assert_eq!(
        now(at(&["n1"], ServiceState::Running, 5), &to_standby),
        hopeless("web1 runs on n1 and not on sb1")
    );
    assert_eq!(
        now(at(&[], ServiceState::Stopped, 4), &to_standby),
        hopeless("web1 was stopped by an admin")
    );
    let down = world().state("sb1", NodeState::Down);
    assert_eq!(now(down.clone(), &to_standby), hopeless("sb1 is down"));
    // Nodes of a new cluster may not have heard each other yet.
    let mut down = down.runs("web1", &[], ServiceState::Starting);
    down.seen("web1").term = 1;
    assert_eq!(
        now(down, &runs_on("sb1", 0)),
        waiting("web1 does not run on sb1 yet: sb1 is down")
    );
}

#[test]
fn a_revision_is_reached_when_every_node_that_is_up_has_it() {
    let goal = goal(Aim::Revision {
        cluster: "c1".parse().unwrap(),
        revision: 5,
    });
    let mut w = world();
    let view = w.view.as_mut().unwrap();
    let said = |view: &ClusterView| goal.reached(core::slice::from_ref(view));
    assert_eq!(
        said(view),
        Progress::Waiting("sb1 has revision 4 of c1, not yet 5".to_owned())
    );
    view.revision = 5;
    for n in &mut view.nodes {
        n.revision = Some(5);
    }
    view.nodes[1].revision = Some(4);
    assert_eq!(
        said(view),
        Progress::Waiting("n2 not yet at revision 5 of c1".to_owned())
    );
    view.nodes[1].state = NodeState::Down;
    assert_eq!(said(view), Progress::Reached);
}

#[test]
fn f16_and_c7_have_their_ends() {
    let cluster: crate::model::ClusterName = "c1".parse().unwrap();
    let stopped = goal(Aim::Stopped {
        cluster: cluster.clone(),
        service: name("web1"),
    });
    let gone = goal(Aim::Gone { cluster });
    let w = world();
    let views = [w.view.clone().unwrap()];
    assert_eq!(
        stopped.reached(&views),
        Progress::Waiting("web1 still runs on n1".to_owned())
    );
    let views = [w.runs("web1", &[], ServiceState::Stopped).view.unwrap()];
    assert_eq!(stopped.reached(&views), Progress::Reached);
    assert_eq!(
        gone.reached(&views),
        Progress::Waiting("sb1 still shows the cluster c1".to_owned())
    );
    assert_eq!(gone.reached(&[]), Progress::Reached);
}
