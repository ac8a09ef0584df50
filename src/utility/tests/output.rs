//! What the admin reads, compared sign for sign.

use std::collections::BTreeMap;

use backstay::ops::gather::Seen;
use backstay::output::style::Style;
use backstay::output::{audit, history, json, lists, status};
use backstay::{Exit, Failure};
use backstay_core::engine::{
    AddressView, AlarmView, ClusterView, LockView, NodeState, NodeView, Record, ServiceState,
    ServiceView, Severity, Stage,
};
use backstay_core::model::{
    ClusterId, Fallback, NodeName, Problem, Role, RuleId, Safety, SystemCluster,
};
use backstay_core::time::Mono;
use backstay_wire::rpc::{AuditEntry, HistoryEntry};

const ASCII: Style = Style {
    color: false,
    unicode: false,
};

/// Compares with the kept text; `BACKSTAY_REWRITE=1` keeps the new one, to be reviewed as a difference.
fn same(file: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/output")
        .join(file);
    if std::env::var_os("BACKSTAY_REWRITE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(&path).unwrap(),
        "{}",
        path.display()
    );
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn node(n: &str, role: Role, state: NodeState, age_ms: Option<u64>, address: &str) -> NodeView {
    NodeView {
        name: name(n),
        role,
        state,
        age_ms,
        revision: Some(7),
        notes: Vec::new(),
        addresses: vec![address.to_owned()],
        maintenance: None,
    }
}

fn service(n: &str, home: &str, on: &[&str], state: ServiceState, alias: &str) -> ServiceView {
    ServiceView {
        name: n.parse().unwrap(),
        home: name(home),
        running_on: on.iter().map(|n| name(n)).collect(),
        state,
        priority: 10,
        fallback: Fallback::Manual,
        lock: None,
        addresses: vec![AddressView {
            address: alias.to_owned(),
        }],
        age_ms: Some(100),
        term: 4,
        reason: String::new(),
        on: BTreeMap::new(),
    }
}

/// n1 is dead, its service on the standby; n2's is locked at home.
fn cluster() -> ClusterView {
    let mut web1 = service(
        "web1",
        "n1",
        &["sb1"],
        ServiceState::Running,
        "192.0.2.101/24",
    );
    web1.reason
        .push_str("F2: n1 is down, sb1 took over\u{1b}[2J");
    let mut web2 = service(
        "web2",
        "n2",
        &["n2"],
        ServiceState::Running,
        "192.0.2.102/24",
    );
    web2.fallback = Fallback::Automatic;
    web2.lock = Some(LockView {
        node: name("n2"),
        by: "anna@desk".to_owned(),
        at: 1_700_000_000,
        reason: "new disk".to_owned(),
        until: Some(1_700_001_800),
    });
    ClusterView {
        name: "demo".parse().unwrap(),
        revision: 7,
        safety: Safety::Available,
        preloaded: false,
        seen_by: name("sb1"),
        nodes: vec![
            node(
                "n1",
                Role::Regular,
                NodeState::Down,
                Some(12_345),
                "192.0.2.11/24",
            ),
            node(
                "n2",
                Role::Regular,
                NodeState::Up,
                Some(210),
                "192.0.2.12/24",
            ),
            node(
                "sb1",
                Role::Standby,
                NodeState::Up,
                Some(0),
                "192.0.2.21/24",
            ),
            node(
                "w1",
                Role::Witness,
                NodeState::Unknown,
                None,
                "192.0.2.31/24",
            ),
        ],
        services: vec![web1, web2],
        alarms: vec![AlarmView {
            id: "service-on-standby".to_owned(),
            severity: Severity::Major,
            node: Some(name("sb1")),
            service: Some("web1".parse().unwrap()),
            rule: RuleId::of("M2"),
            cause: "web1 runs on the standby sb1".to_owned(),
            action: "mend n1, then `backstay service move web1 --to home`".to_owned(),
            age_ms: 9_400,
            count: 1,
            active: true,
            quiet: false,
        }],
        advice: "mend n1: the standby is taken, nothing else is protected".to_owned(),
    }
}

fn seen(unseen: bool) -> Seen {
    let gone = SystemCluster {
        name: "far".parse().unwrap(),
        id: ClusterId(9),
        members: vec![name("f1")],
    };
    let why = Failure::new(Exit::Unreachable, "f1 can't be reached: no route");
    Seen {
        views: vec![cluster()],
        unseen: if unseen {
            vec![(gone, why)]
        } else {
            Vec::new()
        },
        system: None,
        sessions: Vec::new(),
    }
}

#[test]
fn u7_status_is_a_picture_that_ends_in_what_to_do() {
    let text = status::status(&seen(false), None, ASCII);
    same("status.txt", &text);
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    assert!(text.is_ascii() && !text.contains('\u{1b}'));
}

#[test]
fn u7_a_cluster_that_nobody_answers_for_is_unknown() {
    let text = status::status(&seen(true), None, ASCII);
    assert!(
        text.contains("far  not seen: nobody of it answers"),
        "{text}"
    );
    assert!(text.contains("? unknown"), "{text}");
    let value = json::status(&seen(true), None);
    assert_eq!(value["apiVersion"], "backstay/v1");
    assert_eq!(value["kind"], "Status");
    assert_eq!(value["clusters"][1]["nodes"][0]["state"], "unknown");
    let web1 = &value["clusters"][0]["services"][0];
    assert_eq!(web1["running_on"], serde_json::json!(["sb1"]));
    for field in [
        "name",
        "home",
        "state",
        "priority",
        "fallback",
        "lock",
        "addresses",
        "age_ms",
    ] {
        assert!(web1.get(field).is_some(), "{field} is a contract");
    }
}

#[test]
fn u7_an_old_picture_says_how_old_it_is_and_nothing_of_what_to_do() {
    let silent = ["n1".to_owned()];
    let at = |age_ms| status::Stale {
        wall: 1_700_000_000,
        age_ms,
        silent: &silent,
    };
    let text = status::status_as_of(&seen(false), None, Some(&at(8_200)), ASCII);
    assert!(
        text.starts_with("as of 22:13:20 UTC, 8.0 s old; n1 does not answer\n"),
        "{text}"
    );
    assert!(text.contains("web1     n1    -> sb1"), "{text}");
    assert!(!text.contains(&cluster().advice), "{text}");
    // Never its last state.
    let text = status::status_as_of(&seen(false), None, Some(&at(10_000)), ASCII);
    assert!(
        text.contains("demo  unknown") && !text.contains("sb1"),
        "{text}"
    );
    let same = status::status_as_of(&seen(false), None, None, ASCII);
    assert_eq!(same, status::status(&seen(false), None, ASCII));
}

#[test]
fn u2_signs_and_colours_come_only_where_they_can_be_shown() {
    let rich = Style {
        color: true,
        unicode: true,
    };
    let text = status::status(&seen(false), None, rich);
    assert!(text.contains('\u{2192}') && text.contains("\u{1b}[31m"));
    // What came from another machine can't smuggle its own.
    assert!(!text.contains("\u{1b}[2J"));
}

#[test]
fn u10_a_failover_is_a_timeline() {
    let entry = |id: u64, ms: u64, stage, sentence: &str| HistoryEntry {
        id,
        node: name("sb1"),
        cluster: "demo".parse().unwrap(),
        service: Some("web1".parse().unwrap()),
        wall_ms: 1_700_000_000_000 + ms,
        record: Record {
            at: Mono::from_millis(50_000 + ms),
            service: None,
            term: 4,
            rule: RuleId::of("F2"),
            sentence: sentence.to_owned(),
            stage,
            took_us: None,
        },
    };
    let entries = [
        entry(3, 3_010, Some(Stage::Confirmed), "silent for W (3 s)"),
        entry(1, 0, Some(Stage::LastHeard), "the last ask of n1"),
        entry(2, 1_500, Some(Stage::Suspected), "three beats are missing"),
        entry(4, 3_024, Some(Stage::Unblocked), "term 4"),
        entry(5, 3_025, Some(Stage::Announced), "192.0.2.101 by ARP"),
        entry(6, 3_140, Some(Stage::Started), "web1.service in 115 ms"),
        entry(7, 3_150, Some(Stage::Healthy), "all units run"),
        entry(8, 9_000, None, "n1 is still down"),
    ];
    let text = history::history(&entries, false, ASCII);
    same("history.txt", &text);
}

/// A decision of a cluster, at so many ms since both clocks' start.
fn decided(node: &str, wall: u64, at: u64, stage: Option<Stage>, sentence: &str) -> HistoryEntry {
    HistoryEntry {
        id: wall,
        node: name(node),
        cluster: "demo".parse().unwrap(),
        service: stage.map(|_| "web1".parse().unwrap()),
        wall_ms: 1_700_000_000_000 + wall,
        record: Record {
            at: Mono::from_millis(50_000 + at),
            service: None,
            term: 4,
            rule: RuleId::of("F2"),
            sentence: sentence.to_owned(),
            stage,
            took_us: None,
        },
    }
}

/// The engine writes down when it last heard a node when it has given the node up.
#[test]
fn u10_a_timeline_begins_when_its_first_stage_was() {
    let entries = [
        decided("n3", 2_000, 2_000, None, "n1 missed beats"),
        decided("sb1", 3_000, 0, Some(Stage::LastHeard), "n1 was heard"),
        decided("sb1", 3_001, 3_000, Some(Stage::Confirmed), "n1 is down"),
        decided("sb1", 3_140, 3_140, Some(Stage::Started), "web1.service"),
    ];
    let text = history::history(&entries, false, ASCII);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("2023-11-14 22:13:20 UTC"), "{text}");
    assert!(lines[1].starts_with("         0 ms  last heard"), "{text}");
    assert!(lines[2].starts_with("      3000 ms  confirmed "), "{text}");
    assert!(lines[3].starts_with("      3140 ms  started   "), "{text}");
    assert!(lines[4].contains("n1 missed beats"), "{text}");
}

#[test]
fn what_several_nodes_saw_stands_once() {
    let entries = [
        decided("n1", 0, 0, None, "alarm: n2 is down"),
        decided("n3", 20, 9, None, "alarm: n2 is down"),
        decided("sb1", 40, 7, None, "alarm: n2 is down"),
        decided("n1", 5_000, 5_000, None, "alarm over: n2 is down"),
        // Again, and of one that saw it before: another time.
        decided("n1", 9_000, 9_000, None, "alarm: n2 is down"),
    ];
    let text = history::history(&entries, false, ASCII);
    assert_eq!(
        text,
        "2023-11-14 22:13:20 UTC  alarm: n2 is down (F2), seen by n1, n3 and sb1\n\
         2023-11-14 22:13:25 UTC  n1  alarm over: n2 is down (F2)\n\
         2023-11-14 22:13:29 UTC  n1  alarm: n2 is down (F2)\n"
    );
    assert_eq!(history::history(&entries, true, ASCII).lines().count(), 5);
}

#[test]
fn an_alarm_that_is_over_says_when_it_was() {
    let entries = [
        decided("n1", 0, 0, None, "alarm: n2 is down"),
        decided("n1", 55_000, 0, None, "alarm over: n2 is down"),
        decided("n3", 55_900, 0, None, "alarm over: n2 is down"),
        decided("n3", 70_000, 0, None, "alarm over: n3 is down"),
    ];
    let demo = "demo".parse().unwrap();
    let at = history::cleared(&entries, &demo, "n2 is down");
    assert_eq!(at, Some(1_700_000_055_900));
    let other = "other".parse().unwrap();
    assert_eq!(history::cleared(&entries, &other, "n2 is down"), None);
    let mut alarm = cluster().alarms.remove(0);
    alarm.active = false;
    assert_eq!(
        status::past_alarm(&alarm, at, ASCII),
        "  MAJOR     web1 runs on the standby sb1 (M2, raised 9.4 s ago, cleared\n\
         \x20           2023-11-14 22:14:15 UTC)\n"
    );
}

#[test]
fn no_address_is_cut() {
    let mut view = cluster();
    let second = AddressView {
        address: "2001:db8::101/64".to_owned(),
    };
    view.services[0].addresses.push(second);
    view.nodes[0].addresses.push("2001:db8::11/64".to_owned());
    let text = status::cluster(&view, ASCII);
    for line in ["2001:db8::11/64", "2001:db8::101/64"] {
        assert!(text.lines().any(|l| l.trim() == line), "{line}: {text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn u11_a_change_is_one_line_with_who_what_where_from_and_the_result() {
    let call = |node: &str, ms: u64, what: &str, result: &str| {
        let entry = AuditEntry {
            wall_ms: 1_700_000_000_000 + ms,
            user: "root@vm".to_owned(),
            from: "192.0.2.9".to_owned(),
            what: what.to_owned(),
            result: result.to_owned(),
        };
        (node.to_owned(), entry)
    };
    let lock = "take the change lock: lock web1";
    let move_it = "take the change lock: move web1 to sb1";
    let back = "give the change lock back";
    let entries = [
        call("n1", 0, lock, "done"),
        call("sb1", 1, lock, "done"),
        call("n1", 2, "stage a cluster document", "done"),
        call("sb1", 2, "stage a cluster document", "done"),
        call("n1", 3, "commit revision 4 of cluster 7", "done"),
        call("sb1", 4, "commit revision 4 of cluster 7", "refused: full"),
        call("n1", 5, back, "done"),
        call("sb1", 5, back, "done"),
        call("n1", 9_000, move_it, "refused: it is locked"),
        call("n1", 20_000, "enrol as n1 (7)", "done"),
    ];
    assert_eq!(
        audit::audit(&entries, false, ASCII),
        "2023-11-14 22:13:20 UTC  root@vm from 192.0.2.9: lock web1: done, but refused by\n\
         \x20                        sb1: full (n1, sb1)\n\
         2023-11-14 22:13:29 UTC  root@vm from 192.0.2.9: move web1 to sb1: refused by\n\
         \x20                        n1: it is locked (n1)\n\
         2023-11-14 22:13:40 UTC  root@vm from 192.0.2.9: enrol as n1 (7): done (n1)\n"
    );
    let full = audit::audit(&entries, true, ASCII);
    assert_eq!(full.matches("give the change lock back").count(), 2);
}

#[test]
fn a_failure_is_one_line_then_everything_that_is_wrong_then_what_to_do() {
    let problem = |rule, place: &str| Problem {
        rule: RuleId::of(rule),
        place: place.to_owned(),
        what: "it is 192.0.2.300".to_owned(),
        mend: "an address of the subnet 192.0.2.0/24".to_owned(),
    };
    let failure = Failure::new(Exit::Refused, "refused; nothing was changed")
        .problems(vec![
            problem("C5", "service web1"),
            problem("C13", "node n2"),
        ])
        .hint("look at `backstay cluster show demo`");
    assert_eq!(
        lists::failure(&failure, ASCII),
        "error: refused; nothing was changed\n\
         \x20 C5  service web1: it is 192.0.2.300; an address of the subnet 192.0.2.0/24\n\
         \x20 C13 node n2: it is 192.0.2.300; an address of the subnet 192.0.2.0/24\n\
         hint: look at `backstay cluster show demo`\n"
    );
    assert_eq!(
        lists::failure_wrapped(&failure, ASCII),
        lists::failure(&failure, ASCII)
    );
    let value = json::failure(&failure);
    assert_eq!(
        (&value["kind"], &value["exit"]),
        (&"Error".into(), &4.into())
    );
}

#[test]
fn a_long_failure_is_broken_between_words_on_a_terminal() {
    let said = "the host key of 192.0.2.102 has changed: pinned is SHA256:abc, it shows SHA256:def; refused";
    let failure = Failure::new(Exit::Unreachable, said).hint("look at it");
    assert_eq!(
        lists::failure_wrapped(&failure, ASCII),
        "error: the host key of 192.0.2.102 has changed: pinned is SHA256:abc, it shows\n\
         \x20      SHA256:def; refused\n\
         hint: look at it\n"
    );
    let long = Failure::new(Exit::Error, format!("no file {}", "x".repeat(100)));
    assert!(lists::failure_wrapped(&long, ASCII).contains(&"x".repeat(100)));
}
