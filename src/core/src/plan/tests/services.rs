use super::*;

fn move_to(service: &str, to: Target) -> Action {
    Action::Move {
        service: name(service),
        to,
    }
}

#[test]
fn f8_c12_a_move_orders_says_the_outage_when_it_is_best_and_whether_it_returns() {
    let plan = world().agreed(&move_to("web1", Target::Standby));
    let order = plan.order.as_ref().unwrap();
    assert_eq!((order.service.as_str(), order.to.as_str()), ("web1", "sb1"));
    assert_eq!(plan.title, "move web1 to sb1");
    assert_eq!(plan.command, "backstay service move web1 --to standby");
    assert!(plan.documents.is_empty() && plan.system.is_none());
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        [
            "web1 is away while it stops on n1 and starts on sb1: as long as its own stop and start take; connections to it break"
        ]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::LowTraffic),
        ["better when few clients use web1 (C12)"]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Fallback),
        ["with manual fallback it stays on sb1 until `backstay service move web1 --to home`"]
    );
    let automatic = world().document(|d| d.fallback = Fallback::Automatic);
    let plan = automatic.agreed(&move_to("web1", Target::Node(node("sb1"))));
    assert_eq!(
        said(&plan, ConsequenceKind::Fallback),
        [
            "with automatic fallback it goes home to n1 by itself once n1 has been healthy for 300 s: at once, if it has been already. To keep it on sb1: `backstay service set web1 --fallback manual` first"
        ]
    );
    assert_eq!(
        plan.goal.aims,
        [Aim::Runs {
            cluster: "c1".parse().unwrap(),
            service: name("web1"),
            on: Some(node("sb1")),
            since_term: 3
        }]
    );
    unchanged(
        &world().agreed(&move_to("web1", Target::Home)),
        "web1 runs on n1 already",
    );
}

#[test]
fn a_move_is_refused_for_each_reason_with_its_text() {
    let standby = || move_to("web1", Target::Standby);
    let up = "wait until `backstay status c1` shows it up";
    world().refused(
        &move_to("web9", Target::Home),
        &["C13 service web9: no cluster that answers has such a service; `backstay service list` tells their names"],
    );
    world().refused(
        &move_to("web1", Target::Node(node("n2"))),
        &["F2 service web1: it may not run on n2; one of its nodes: n1, sb1"],
    );
    world().locked("web1", "n1").refused(
        &standby(),
        &["L1 service web1: it is locked to n1 by eve@desk (reboot); unlock it with `backstay service unlock web1` first"],
    );
    for (state, what) in [
        (NodeState::Down, "the other nodes do not hear it"),
        (NodeState::Suspect, "it missed beats and may be down"),
        (NodeState::Leaving, "it is stopping"),
        (NodeState::Unknown, "whether it is up is not known"),
    ] {
        world()
            .state("sb1", state)
            .refused(&standby(), &[&format!("F2 node sb1: {what}; {up}")]);
    }
    world()
        .document(|d| d.services[0].stopped = true)
        .runs("web1", &[], ServiceState::Stopped)
        .refused(
            &standby(),
            &["F16 service web1: it was stopped by an admin and runs nowhere; start it with `backstay service start web1` first"],
        );
    world()
        .runs("web1", &["n1", "sb1"], ServiceState::Split)
        .refused(
            &standby(),
            &["S1 service web1: two nodes run it: n1, sb1; mend the network between them first: then one of them stops by itself"],
        );
    world()
        .runs("web1", &[], ServiceState::Stopping)
        .refused(
            &standby(),
            &["F14 service web1: it is just being started or stopped; try again when `backstay status` shows it settled"],
        );
}

#[test]
fn u7_what_is_not_known_is_refused_not_guessed_and_all_at_once() {
    let nobody = "U7 cluster c1: none of its nodes says what runs where; reach one of its nodes first: `backstay node list` tells their contacts";
    world().unseen().locked("web1", "n1").refused(
        &move_to("web1", Target::Standby),
        &[
            "L1 service web1: it is locked to n1 by eve@desk (reboot); unlock it with `backstay service unlock web1` first",
            "F2 node sb1: whether it is up is not known; wait until `backstay status c1` shows it up",
            nobody,
        ],
    );
    world().unseen().refused(
        &Action::DeleteCluster {
            cluster: "c1".parse().unwrap(),
        },
        &[nobody],
    );
    let mut w = world().runs("web1", &[], ServiceState::Unknown);
    w.seen("web1").reason = "n1 and sb1 are not heard".to_owned();
    w.refused(
        &move_to("web1", Target::Standby),
        &["U7 service web1: where it runs is not known: n1 and sb1 are not heard; reach a node that knows, or wait until `backstay status` shows it"],
    );
    let mut w = world();
    w.cluster.name = "c2".parse().unwrap();
    w.refused(
        &move_to("web9", Target::Home),
        &["C13 service web9: no cluster that answers has such a service; if it belongs to c1, of which no node answers, reach one of its nodes first"],
    );
}

#[test]
fn f3_no_room_for_a_less_important_service() {
    let full = world().runs("web1", &["sb1"], ServiceState::Running);
    full.refused(
        &move_to("web2", Target::Standby),
        &["F3 node sb1: it carries 1 of 1: web1 (priority 10); web2 has priority 20; move one of them home first, or give the service a lower priority value (lower is more important)"],
    );
    // F4: the one carried first stays with equal values.
    full.clone()
        .document(|d| d.services[1].priority = 10)
        .plan(&move_to("web2", Target::Standby))
        .unwrap_err();
    // Room for two.
    let room = full.document(|d| {
        d.members[3].capacity = 2;
    });
    let plan = room.agreed_without_rules(&move_to("web2", Target::Standby));
    assert!(said(&plan, ConsequenceKind::Displacement).is_empty());
}

impl World {
    /// For orders: no document is made, so the fixture's units may clash.
    #[track_caller]
    fn agreed_without_rules(&self, action: &Action) -> Plan {
        let plan = self.plan(action).unwrap();
        assert!(plan.documents.is_empty());
        plan
    }
}

#[test]
fn f5_a_more_important_service_displaces_and_the_plan_says_where_the_other_goes() {
    let full = world().runs("web2", &["sb1"], ServiceState::Running);
    let plan = full.agreed(&move_to("web1", Target::Standby));
    assert_eq!(
        said(&plan, ConsequenceKind::Displacement),
        ["web1 (priority 10) displaces web2 (priority 20) from sb1: it goes home to n2 (F5)"]
    );
    assert!(plan.warnings.is_empty());
    let plan = full
        .clone()
        .state("n2", NodeState::Down)
        .agreed(&move_to("web1", Target::Standby));
    assert_eq!(
        said(&plan, ConsequenceKind::Displacement),
        [
            "web1 (priority 10) displaces web2 (priority 20) from sb1: it runs nowhere until its home returns or there is room (F5)"
        ]
    );
    assert_eq!(plan.warnings[0].name, "displaces");
    // F6: a service locked to the standby is not displaced.
    full.locked("web2", "sb1").refused(
        &move_to("web1", Target::Standby),
        &["F3 node sb1: it carries 1 of 1: web2 (priority 20, locked there); web1 has priority 10; move one of them home first, or give the service a lower priority value (lower is more important)"],
    );
}

#[test]
fn l1_a_service_is_locked_where_it_runs() {
    let lock = |until| Action::Lock {
        service: name("web1"),
        reason: "kernel's update".to_owned(),
        until,
    };
    let plan = world().agreed(&lock(Some(WALL + 1800)));
    assert_eq!(plan.title, "lock web1 to n1");
    assert_eq!(
        plan.command,
        "backstay service lock web1 --for 30m --reason 'kernel'\\''s update'"
    );
    let put = plan.documents[0].services[0].lock.as_ref().unwrap();
    assert_eq!(
        (put.node.as_str(), put.by.as_str(), put.at, put.until),
        ("n1", "adam@desk", WALL, Some(WALL + 1800))
    );
    let d = &plan.documents[0];
    assert_eq!((d.revision, d.epoch), (5, 1)); // A lock begins no epoch.
    assert_eq!(
        said(&plan, ConsequenceKind::Unlock),
        ["the lock ends by itself after 30 min (L3)"]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["none: locking never moves (L1)"]
    );
    // At the standby.
    let away = world().runs("web1", &["sb1"], ServiceState::Running);
    let plan = away.agreed(&lock(None));
    let put = plan.documents[0].services[0].lock.as_ref().unwrap();
    assert_eq!(put.node, node("sb1"));
    // Nowhere.
    world().runs("web1", &[], ServiceState::Failed).refused(
        &lock(None),
        &["L1 service web1: it runs nowhere, and a service is locked where it runs; start it first: `backstay service start web1`"],
    );
    world().refused(
        &lock(Some(WALL)),
        &["L3 service web1: the lock would end before it begins; a time to come: --for 30m"],
    );
    // Again.
    let mut same = world().locked("web1", "n1");
    same.cluster.services[0].lock.as_mut().unwrap().reason = "kernel's update".to_owned();
    unchanged(
        &same.agreed(&lock(None)),
        "web1 is locked to n1 already, by eve@desk",
    );
}

#[test]
fn l2_an_unlock_says_what_will_happen() {
    let unlock = Action::Unlock {
        service: name("web1"),
    };
    let case = |w: World| {
        let plan = w.agreed(&unlock);
        assert_eq!(plan.documents[0].services[0].lock, None);
        said(&plan, ConsequenceKind::Unlock)[0].to_owned()
    };
    let away = || {
        world()
            .runs("web1", &["sb1"], ServiceState::Running)
            .locked("web1", "sb1")
    };
    let automatic = |d: &mut ClusterDocument| d.services[0].fallback = Some(Fallback::Automatic);
    assert_eq!(
        case(away()),
        "web1 stays on sb1 until `backstay service move web1 --to home` (manual fallback, L2)"
    );
    assert_eq!(
        case(away().document(automatic)),
        "web1 returns home to n1 once n1 has been healthy for 300 s (automatic fallback, L2)"
    );
    assert_eq!(
        case(away().document(automatic).state("n1", NodeState::Down)),
        "web1 stays on sb1 until n1 is up and has been healthy for 300 s (automatic fallback, L2)"
    );
    assert_eq!(
        case(world().locked("web1", "n1")),
        "web1 stays on n1, its home; if n1 fails it is taken over"
    );
    assert_eq!(
        case(
            world()
                .runs("web1", &[], ServiceState::Failed)
                .state("n1", NodeState::Down)
                .locked("web1", "n1")
        ),
        "web1 does not run on n1 now; unlocked it starts wherever the rules leave room for it (F2, F3)"
    );
    unchanged(&world().agreed(&unlock), "web1 is not locked");
    // L3: a lock that has ended by itself is none.
    let ended = world().locked("web1", "n1").document(|d| {
        d.services[0].lock.as_mut().unwrap().until = Some(WALL);
    });
    unchanged(&ended.agreed(&unlock), "web1 is not locked");
}

#[test]
fn f16_a_stop_holds_on_every_node_until_started() {
    let stop = Action::Stop {
        service: name("web1"),
    };
    let plan = world().agreed(&stop);
    assert!(plan.documents[0].services[0].stopped);
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        [
            "web1 stops on n1 and stays stopped on every node until `backstay service start web1` (F16)"
        ]
    );
    // Even when nobody answers for it: stopping guesses nothing.
    world().unseen().agreed(&stop);
    let stopped =
        world()
            .document(|d| d.services[0].stopped = true)
            .runs("web1", &[], ServiceState::Stopped);
    unchanged(&stopped.agreed(&stop), "web1 is stopped already (F16)");
}

#[test]
fn f16_a_start_clears_the_stop_or_tries_again() {
    let start = |on: Option<&str>| Action::Start {
        service: name("web1"),
        on: on.map(node),
    };
    let stopped = || {
        world()
            .document(|d| d.services[0].stopped = true)
            .runs("web1", &[], ServiceState::Stopped)
    };
    let failed = || world().runs("web1", &[], ServiceState::Failed);
    let plan = stopped().agreed(&start(None));
    assert!(!plan.documents[0].services[0].stopped && plan.order.is_none());
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["web1 runs nowhere now; it starts on n1"]
    );
    let plan = stopped().state("n1", NodeState::Down).agreed(&start(None));
    assert_eq!(plan.order.unwrap().to, node("sb1"));
    let plan = failed()
        .document(|d| d.fallback = Fallback::Automatic)
        .state("n1", NodeState::Down)
        .agreed(&start(None));
    assert_eq!(
        said(&plan, ConsequenceKind::Fallback),
        [
            "with automatic fallback it returns home to n1 after 300 s of health there; lock it with `backstay service lock web1` to keep it on sb1"
        ]
    );
    let plan = stopped().agreed(&start(Some("sb1")));
    assert_eq!(plan.order.as_ref().unwrap().to, node("sb1"));
    assert_eq!(
        said(&plan, ConsequenceKind::Note),
        ["web1 may start at home first and move to sb1 then"]
    );
    let plan = failed().agreed(&start(None));
    assert!(plan.documents.is_empty());
    assert_eq!(plan.order.unwrap().to, node("n1"));
    unchanged(&world().agreed(&start(None)), "web1 runs on n1 already");
    world().refused(
        &start(Some("sb1")),
        &["F14 service web1: it runs on n1; move it with `backstay service move web1 --to sb1`"],
    );
    failed()
        .state("n1", NodeState::Down)
        .state("sb1", NodeState::Unknown)
        .refused(
            &start(None),
            &[
                "F2 node n1: the other nodes do not hear it; wait until `backstay status c1` shows it up",
                "F2 node sb1: whether it is up is not known; wait until `backstay status c1` shows it up",
            ],
        );
    failed().locked("web1", "n1").refused(
        &start(Some("sb1")),
        &["L1 service web1: it is locked to n1 by eve@desk (reboot); unlock it with `backstay service unlock web1` first"],
    );
}
