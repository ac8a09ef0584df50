//! F17: work on a node.

use super::*;

fn begin(of: &str, moves: bool) -> Action {
    Action::Maintain {
        node: node(of),
        reason: "new disk".to_owned(),
        until: WALL + 1800,
        moves,
    }
}

fn end(of: &str) -> Action {
    Action::EndMaintenance { node: node(of) }
}

/// The world after that action.
fn after(mut world: World, action: &Action) -> World {
    world.cluster = world.agreed(action).documents.remove(0);
    world
}

#[test]
fn f17_what_a_node_carries_is_locked_there_and_all_ends_by_itself() {
    let plan = world().agreed(&begin("n1", false));
    assert_eq!(plan.title, "begin maintenance of n1");
    assert_eq!(
        plan.command,
        "backstay node maintenance n1 --for 30m --reason 'new disk'"
    );
    let d = &plan.documents[0];
    assert_eq!((d.revision, d.epoch), (5, 1)); // It begins no epoch.
    let work = d.members[0].maintenance.as_ref().unwrap();
    assert_eq!(
        (work.by.as_str(), work.at, work.until),
        ("adam@desk", WALL, WALL + 1800)
    );
    let lock = d.services[0].lock.as_ref().unwrap();
    assert!(work.owns(&node("n1"), lock));
    assert_eq!(lock.reason, "maintenance: new disk");
    assert!(d.services[1].lock.is_none() && plan.order.is_none());
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["none: locking never moves (L1)"]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Protection),
        [
            "web1 is locked to n1: while n1 is down it is down too, and nothing takes it over; `--move` moves it away instead",
            "nothing returns to n1 by itself before the end",
        ]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Unlock),
        ["it ends by itself after 30 min, with the locks that it put (F17)"]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Note),
        ["alarms of n1 are quiet meanwhile: shown, but nobody is asked to act"]
    );
    let lines = commands(d, WALL).lines;
    let made = lines.iter().filter(|l| l.contains(" node maintenance n1 "));
    assert_eq!(made.count(), 1);
    assert!(!lines.iter().any(|l| l.contains(" service lock ")));
}

#[test]
fn f17_l4_another_admins_lock_stays_unless_it_would_end_before() {
    let keeps = world().locked("web1", "n1");
    let plan = keeps.agreed(&begin("n1", false));
    let lock = plan.documents[0].services[0].lock.as_ref().unwrap();
    assert_eq!(lock.by, "eve@desk");
    assert_eq!(
        said(&plan, ConsequenceKind::Unlock)[0],
        "web1 keeps its lock to n1 by eve@desk, also after the maintenance"
    );
    let ended = after(keeps, &begin("n1", false));
    let d = &ended.agreed(&end("n1")).documents[0];
    assert!(d.services[0].lock.is_some() && d.members[0].maintenance.is_none());
    let short = world().locked("web1", "n1").document(|d| {
        d.services[0].lock.as_mut().unwrap().until = Some(WALL + 60);
    });
    let plan = short.agreed(&begin("n1", false));
    let lock = plan.documents[0].services[0].lock.as_ref().unwrap();
    assert_eq!(
        (lock.by.as_str(), lock.until),
        ("adam@desk", Some(WALL + 1800))
    );
}

#[test]
fn f17_moved_away_or_refused_as_a_whole() {
    let plan = world().agreed(&begin("n1", true));
    assert!(plan.command.contains("--for 30m --move --reason"));
    let d = &plan.documents[0];
    assert!(d.members[0].maintenance.as_ref().unwrap().moves && d.services[0].lock.is_none());
    assert_eq!(
        plan.goal.aims[0],
        Aim::Runs {
            cluster: "c1".parse().unwrap(),
            service: name("web1"),
            on: Some(node("sb1")),
            since_term: 3
        }
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Fallback),
        ["web1 stays on sb1 until `backstay service move web1 --to home`"]
    );
    world().locked("web1", "n1").refused(
        &begin("n1", true),
        &["L1 service web1: it is locked to n1 by eve@desk (reboot); unlock it with `backstay service unlock web1` first"],
    );
    world().state("sb1", NodeState::Down).refused(
        &begin("n1", true),
        &["F17 service web1: it can't be moved off n1: sb1 is not up or is in maintenance too; without `--move` it is locked where it is"],
    );
    world()
        .runs("web2", &["sb1"], ServiceState::Running)
        .refused(
            &begin("n1", true),
            &["F3 node sb1: it carries 1 of 1 and would get 1 more; move something home first, or leave out `--move`: then all is locked where it is"],
        );
    // From locked to moved: the locks that it put itself are in nobody's way.
    let locked = after(world(), &begin("n1", false));
    let plan = locked.agreed(&begin("n1", true));
    assert!(plan.documents[0].services[0].lock.is_none());
    let moved = after(world(), &begin("sb1", true));
    moved.refused(
        &Action::Move {
            service: name("web1"),
            to: Target::Standby,
        },
        &["F17 node sb1: it is in maintenance and gives away what it carries; end that first with `backstay node maintenance sb1 --end`"],
    );
}

#[test]
fn f17_for_the_standby_and_the_witness_too() {
    let plan = world().agreed(&begin("sb1", false));
    assert_eq!(
        said(&plan, ConsequenceKind::Protection),
        [
            "while sb1 is down nothing stands in for n1, n2, n3; while it is up it still takes over what would run nowhere else (F2)"
        ]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["none: sb1 carries no service of c1"]
    );
    let both = after(world(), &begin("sb1", false));
    let plan = both.agreed(&begin("w1", false));
    assert_eq!(
        said(&plan, ConsequenceKind::Protection),
        [
            "while w1 is down, c1 has one watcher less",
            "sb1 is in maintenance too"
        ]
    );
}

#[test]
fn f17_the_end_says_what_it_sets_free() {
    let away = world().document(|d| d.fallback = Fallback::Automatic).runs(
        "web1",
        &["sb1"],
        ServiceState::Running,
    );
    let worked = after(after(away, &begin("n1", false)), &begin("sb1", false));
    // Fallback waits for the home that is worked on.
    assert_eq!(
        said(&worked.agreed(&end("sb1")), ConsequenceKind::Unlock),
        ["web1 stays on sb1 until the maintenance of n1 has ended (F17)"]
    );
    let plan = after(worked.clone(), &end("sb1")).agreed(&end("n1"));
    assert_eq!(plan.command, "backstay node maintenance n1 --end");
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        [
            "web1 returns from sb1 to n1 as soon as n1 has been healthy for 300 s: it is away while it stops there and starts here"
        ]
    );
    unchanged(&world().agreed(&end("n1")), "n1 is not in maintenance");
}

#[test]
fn f17_what_can_be_no_maintenance_is_refused() {
    let until = |until| Action::Maintain {
        node: node("n1"),
        reason: String::new(),
        until,
        moves: false,
    };
    world().refused(
        &until(WALL),
        &["F17 node n1: its maintenance would end before it begins; a time to come: --for 30m"],
    );
    world().refused(
        &until(WALL + 8 * 24 * 3600),
        &["F17 node n1: its maintenance lasts 8 d; 1 s to 7 d; what takes longer is begun again"],
    );
    world().refused(
        &Action::Maintain {
            node: node("n1"),
            reason: "\u{1b}[2J".to_owned(),
            until: WALL + 60,
            moves: false,
        },
        &[
            "F17 node n1: its maintenance's `by` or `reason` is empty, too long or has control characters; who began it (1 to 128 characters) and why (at most 160)",
            "L4 service web1: its lock's `by` or `reason` is empty, too long or has control characters; who locked it (1 to 128 characters) and why (at most 200)",
        ],
    );
    world().refused(
        &begin("n99", false),
        &["C8 node n99: it is not in the system; add it with `backstay node add HOST --name n99` first"],
    );
    world().refused(
        &begin("sb2", false),
        &["F17 node sb2: it is in no cluster: it carries nothing and has no alarms; nothing needs to be done before work on it"],
    );
    world()
        .runs("web1", &[], ServiceState::Starting)
        .refused(
            &begin("n1", false),
            &["F17 service web1: it is just being started or stopped, and may be on that node or not; try again when `backstay status` shows it settled"],
        );
}
