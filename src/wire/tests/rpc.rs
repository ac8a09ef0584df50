//! The agent protocol's text is a contract between machines of different versions: one call and one reply
//! of each kind are pinned as the lines that cross. Names may be added, never changed.

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};

use backstay_core::engine::{
    AddressView, AlarmView, ClusterView, LockView, NodeState, NodeView, Record, ServiceState,
    ServiceView, Severity, Stage,
};
use backstay_core::model::{
    ClusterId, ClusterName, Fallback, NodeId, NodeName, Problem, Role, RuleId, Safety, ServiceId,
    ServiceName, SystemRole,
};
use backstay_core::time::Mono;
use backstay_wire::rpc::{
    AddressFact, Asked, Audit, AuditEntry, Call, Code, Done, Facts, Fault, FileFact, Hello,
    History, HistoryEntry, InterfaceFact, METHODS, Needs, PackageFact, ProgramFact, Reply, Request,
    Status, Text, UnitFact, UnitNeeds, parse_call, parse_reply, to_line,
};
use common::golden_text;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

const CLUSTER: ClusterId = ClusterId(0xfeed_face_cafe_beef);

/// One of each, in the order of [`METHODS`].
fn requests() -> Vec<Request> {
    vec![
        Request::Hello {
            oldest: 1,
            newest: 3,
            client: "backstay 0.1.0".into(),
            user: "eva@desk".into(),
        },
        Request::Status,
        Request::Watch { every_ms: 500 },
        Request::Facts,
        Request::Enrol {
            name: node("n1"),
            id: NodeId(0xa1),
        },
        Request::Dismiss,
        Request::SystemGet,
        Request::SystemPut {
            text: "format = 1\n".into(),
        },
        Request::DocumentGet {
            cluster: cluster("office"),
        },
        Request::Stage {
            text: "format = 1\nname = \"office\"\n".into(),
        },
        Request::Commit {
            cluster: CLUSTER,
            revision: 9,
            hash: "ab".repeat(32),
        },
        Request::Abandon { cluster: CLUSTER },
        Request::Lock {
            what: "service lock web1".into(),
        },
        Request::Unlock,
        Request::Move {
            cluster: cluster("office"),
            service: service("web1"),
            to: node("sb1"),
        },
        Request::History {
            service: Some(service("web1")),
            limit: 100,
            follow: false,
        },
        Request::Audit { limit: 10_000 },
        Request::Report,
        Request::Needs(Asked {
            units: vec!["web.service".into()],
            files: vec!["/etc/web.conf".into()],
            ..Asked::default()
        }),
    ]
}

/// Fails to compile when a method is added, so that it is pinned here and named in [`METHODS`].
fn method(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::Status => "status",
        Request::Watch { .. } => "watch",
        Request::Facts => "facts",
        Request::Enrol { .. } => "enrol",
        Request::Dismiss => "dismiss",
        Request::SystemGet => "system-get",
        Request::SystemPut { .. } => "system-put",
        Request::DocumentGet { .. } => "document-get",
        Request::Stage { .. } => "stage",
        Request::Commit { .. } => "commit",
        Request::Abandon { .. } => "abandon",
        Request::Lock { .. } => "lock",
        Request::Unlock => "unlock",
        Request::Move { .. } => "move",
        Request::History { .. } => "history",
        Request::Audit { .. } => "audit",
        Request::Report => "report",
        Request::Needs(_) => "needs",
    }
}

fn line_of(message: &impl Serialize) -> String {
    String::from_utf8(to_line(message).unwrap()).unwrap()
}

#[test]
fn calls_of_every_method_are_pinned() {
    let calls: Vec<Call> = (1..)
        .zip(requests())
        .map(|(id, request)| Call { id, request })
        .collect();
    let methods: Vec<&str> = calls.iter().map(|call| method(&call.request)).collect();
    assert_eq!(methods, METHODS);
    let now: String = calls.iter().map(line_of).collect();
    let pinned = golden_text("calls.jsonl", &now);
    assert_eq!(now, pinned);
    for (call, line) in calls.iter().zip(pinned.lines()) {
        assert_eq!(parse_call(line.as_bytes()).as_ref(), Ok(call), "{line}");
        assert_eq!(serde_json::from_str::<Call>(line).unwrap(), *call, "{line}");
    }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        agent: "0.1.0".into(),
        node: Some(node("n1")),
        id: Some(NodeId(0xa1)),
        role: SystemRole::Regular,
        clusters: BTreeMap::from([(cluster("office"), 9)]),
        system_revision: 4,
        staged: BTreeMap::from([(cluster("office"), 10)]),
        writable: true,
        viewer: false,
    }
}

fn status() -> Status {
    let view = NodeView {
        name: node("n1"),
        role: Role::Regular,
        state: NodeState::Up,
        age_ms: Some(120),
        revision: Some(9),
        notes: vec!["clock not kept by NTP".into()],
        addresses: vec!["192.0.2.11/24".into()],
        maintenance: None,
    };
    let silent = NodeView {
        name: node("sb1"),
        role: Role::Standby,
        state: NodeState::Unknown,
        age_ms: None,
        revision: None,
        notes: vec![],
        addresses: vec![],
        maintenance: None,
    };
    let web1 = ServiceView {
        name: service("web1"),
        home: node("n1"),
        running_on: vec![node("n1")],
        state: ServiceState::Running,
        priority: 1,
        fallback: Fallback::Manual,
        lock: Some(LockView {
            node: node("n1"),
            by: "eva@desk".into(),
            at: 1_700_000_000,
            reason: "reboot".into(),
            until: Some(1_700_001_800),
        }),
        addresses: vec![AddressView {
            address: "192.0.2.101/24".into(),
        }],
        age_ms: Some(0),
        term: 5,
        reason: "runs at home".into(),
        on: BTreeMap::from([(node("n1"), "running".into())]),
    };
    let alarm = AlarmView {
        id: "node-down".into(),
        severity: Severity::Major,
        node: Some(node("sb1")),
        service: None,
        rule: RuleId::of("M2"),
        cause: "sb1 was not heard".into(),
        action: "look at sb1".into(),
        age_ms: 60_000,
        count: 1,
        active: true,
        quiet: false,
    };
    Status {
        clusters: vec![ClusterView {
            name: cluster("office"),
            revision: 9,
            safety: Safety::Available,
            preloaded: false,
            seen_by: node("n1"),
            nodes: vec![view, silent],
            services: vec![web1],
            alarms: vec![alarm],
            advice: "Look at sb1.".into(),
        }],
    }
}

fn facts() -> Facts {
    Facts {
        hostname: "n1".into(),
        os: "Debian GNU/Linux 12 (bookworm)".into(),
        kernel: "6.1.0".into(),
        systemd: Some("252".into()),
        memory: 8 << 30,
        processors: 2,
        disk_free: u64::MAX,
        wall_ms: 1_700_000_000_000,
        clock_kept: Some(true),
        gate: None,
        interfaces: vec![InterfaceFact {
            name: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
            carrier: true,
            addresses: vec![AddressFact {
                address: "192.0.2.11/24".into(),
                ..Default::default()
            }],
            manager: "ifupdown".into(),
        }],
        gateways: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))],
        units: vec![UnitFact {
            name: "web.service".into(),
            active: "active".into(),
            enabled: false,
        }],
        simulated: true,
    }
}

fn needs() -> Needs {
    let package = || PackageFact {
        name: "web".into(),
        version: "1.2-3".into(),
    };
    Needs {
        packager: Some("apt-get".into()),
        units: BTreeMap::from([(
            "web.service".into(),
            UnitNeeds {
                there: true,
                user: Some("web".into()),
                group: None,
                programs: vec!["/usr/sbin/web".into()],
                package: Some(package()),
            },
        )]),
        users: BTreeMap::from([("web".into(), true)]),
        groups: BTreeMap::new(),
        programs: BTreeMap::from([(
            "/usr/sbin/web".into(),
            ProgramFact {
                runs: true,
                package: Some(package()),
            },
        )]),
        packages: BTreeMap::from([("web".into(), Some("1.2-3".into())), ("other".into(), None)]),
        files: BTreeMap::from([
            (
                "/etc/web.conf".into(),
                FileFact {
                    sha256: Some("ab".repeat(32)),
                    size: 17,
                    why: String::new(),
                },
            ),
            (
                "/etc/none".into(),
                FileFact {
                    why: "it is not there".into(),
                    ..FileFact::default()
                },
            ),
        ]),
    }
}

fn entry() -> HistoryEntry {
    HistoryEntry {
        id: 42,
        node: node("sb1"),
        cluster: cluster("office"),
        service: Some(service("web1")),
        wall_ms: 1_700_000_000_000,
        record: Record {
            at: Mono::from_millis(81_000),
            service: Some(ServiceId(1)),
            term: 6,
            rule: RuleId::of("F2"),
            sentence: "n1 was silent for 3,000 ms: taking web1 over".into(),
            stage: Some(Stage::LastHeard),
            took_us: Some(3_000_123),
        },
    }
}

fn fault() -> Fault {
    Fault::refused_for(vec![Problem {
        rule: RuleId::of("C5"),
        place: "service web1".into(),
        what: "alias 198.51.100.1/24 is not on the subnet of base 192.0.2.11/24".into(),
        mend: "use an address of 192.0.2.0/24".into(),
    }])
    .after_change()
}

/// One reply of each kind and each result.
fn replies() -> Vec<Reply> {
    let audit = AuditEntry {
        wall_ms: 1_700_000_000_000,
        user: "eva@desk".into(),
        from: "192.0.2.41".into(),
        what: "lock web1".into(),
        result: "done".into(),
    };
    let text = "format = 1\n".into();
    vec![
        Reply::done(1, &hello()),
        Reply::done(2, &status()),
        Reply::progress(3, &status()),
        Reply::done(4, &facts()),
        Reply::done(5, &Done { changed: true }),
        Reply::done(7, &Text { text }),
        Reply::done(
            16,
            &History {
                entries: vec![entry()],
            },
        ),
        Reply::progress(16, &entry()),
        Reply::done(
            17,
            &Audit {
                entries: vec![audit],
            },
        ),
        Reply::failed(10, fault()),
        Reply::failed(
            13,
            Fault::new(Code::Locked, "eva@desk holds the lock since 10:00"),
        ),
        Reply::done(19, &needs()),
    ]
}

#[test]
fn replies_of_every_kind_are_pinned() {
    let replies = replies();
    let now: String = replies.iter().map(line_of).collect();
    let pinned = golden_text("replies.jsonl", &now);
    assert_eq!(pinned.lines().count(), replies.len());
    for (reply, line) in replies.iter().zip(pinned.lines()) {
        // As values: whether results keep their order is a build's choice and no part of the contract.
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_value(reply).unwrap(), value);
        assert_eq!(parse_reply(line.as_bytes()).as_ref(), Ok(reply));
    }
}

#[test]
fn results_are_read_back_as_they_were() {
    fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(result: &T) {
        let line = line_of(&Reply::done(1, result));
        let Ok(Reply::Done { value, .. }) = parse_reply(line.trim_end().as_bytes()) else {
            panic!("not done: {line}");
        };
        assert_eq!(serde_json::from_value::<T>(value).unwrap(), *result);
    }
    survives(&hello());
    survives(&status());
    survives(&facts());
    survives(&needs());
    survives(&Needs::default());
    survives(&entry());
    survives(&fault());
    survives(&Facts::default());
    survives(&HistoryEntry {
        service: None,
        record: Record {
            service: None,
            stage: None,
            took_us: None,
            ..entry().record
        },
        ..entry()
    });
}

#[test]
fn every_code_has_its_word() {
    for (code, word) in [
        (Code::Invalid, "invalid"),
        (Code::Unsupported, "unsupported"),
        (Code::Refused, "refused"),
        (Code::Locked, "locked"),
        (Code::Forbidden, "forbidden"),
        (Code::Unknown, "unknown"),
        (Code::Failed, "failed"),
        (Code::Other, "other"),
    ] {
        assert_eq!(serde_json::to_value(code).unwrap(), word);
        assert_eq!(serde_json::from_value::<Code>(word.into()).unwrap(), code);
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in any::<Vec<u8>>()) {
        prop_assert!(parse_call(&line).is_err());
        prop_assert!(parse_reply(&line).is_err());
    }

    /// Nearly calls: a good line with some bytes changed.
    #[test]
    fn no_changed_line_panics(which in 0..19_usize, changes in any::<[(u16, u8); 3]>()) {
        let mut line = line_of(&Call { id: 7, request: requests()[which].clone() }).into_bytes();
        for (at, to) in changes {
            let at = usize::from(at) % line.len();
            line[at] = to;
        }
        if let Err(unreadable) = parse_call(&line) {
            let said = unreadable.fault.message;
            prop_assert!(!said.is_empty() && !said.chars().any(char::is_control), "{said:?}");
        }
    }

    /// User text of any kind crosses whole.
    #[test]
    fn any_text_survives(text in any::<String>(), id in any::<u64>()) {
        let call = Call { id, request: Request::Stage { text } };
        let line = line_of(&call);
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(parse_call(line.as_bytes()), Ok(call));
    }
}
