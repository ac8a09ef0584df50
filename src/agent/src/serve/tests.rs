//! Sessions over a pair of pipes, with a whole agent behind them.

use std::sync::Arc;
use std::time::Duration;

use backstay_wire::rpc::{
    Asked, Audit, AuditEntry, Call, Code, Fault, Hello, History, HistoryEntry, LineSplitter,
    MAX_LINE, Reply, Request, Status, parse_reply, to_line,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::audit::Bridge;
use super::{Desk, session};
use crate::samples::{Agent, cluster, revised};
use crate::store::journal::Journal;

const LONG: Duration = Duration::from_mins(1);

struct Client {
    pipe: DuplexStream,
    lines: LineSplitter,
    next: u64,
}

impl Client {
    /// Connected, nothing said.
    fn silent(desk: &Arc<Desk>) -> Self {
        let (pipe, theirs) = duplex(64 * 1024);
        tokio::spawn(session::run(Arc::clone(desk), theirs, false));
        Self {
            pipe,
            lines: LineSplitter::new(),
            next: 1,
        }
    }

    /// Greeted as that user.
    async fn of(desk: &Arc<Desk>, user: &str) -> Self {
        let mut client = Self::silent(desk);
        let _: Hello = client.ask(greeting(user)).await.unwrap();
        client
    }

    async fn say(&mut self, request: Request) -> u64 {
        let id = self.next;
        self.next += 1;
        let line = to_line(&Call { id, request }).unwrap();
        self.pipe.write_all(&line).await.unwrap();
        id
    }

    /// The next reply; `None`: the agent ended the session.
    async fn hear(&mut self) -> Option<Reply> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(line) = self.lines.next_line().unwrap() {
                return Some(parse_reply(&line).unwrap());
            }
            let read = timeout(LONG, self.pipe.read(&mut chunk)).await;
            match read.expect("an answer in time") {
                Ok(length @ 1..) => self.lines.push(&chunk[..length]),
                _ => return None,
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, Fault> {
        let asked = self.say(request).await;
        match self.hear().await.expect("a reply") {
            Reply::Done { id, value } if id == asked => Ok(serde_json::from_value(value).unwrap()),
            Reply::Failed { id, error } if id == asked => Err(error),
            other => panic!("{other:?}"),
        }
    }
}

fn greeting(user: &str) -> Request {
    Request::Hello {
        oldest: 1,
        newest: 1,
        client: "test".into(),
        user: user.into(),
    }
}

fn desk(agent: &Agent) -> Arc<Desk> {
    Arc::new(Desk::new(
        &agent.folders,
        Arc::clone(&agent.keeper),
        agent.decide.clone(),
        agent.pulse.clone(),
        Journal::open(&agent.folders.history()).unwrap(),
        Journal::open(&agent.folders.audit()).unwrap(),
    ))
}

/// A folder, an agent without cluster, its desk.
fn office() -> (tempfile::TempDir, Agent, Arc<Desk>) {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::new(1, folder.path());
    let desk = desk(&agent);
    (folder, agent, desk)
}

fn lock(what: &str) -> Request {
    Request::Lock { what: what.into() }
}

#[tokio::test]
async fn the_first_call_is_hello_and_versions_must_meet() {
    let (_folder, _agent, desk) = office();
    let mut client = Client::silent(&desk);
    let early = client.ask::<Status>(Request::Status).await.unwrap_err();
    assert_eq!(early.code, Code::Invalid);
    let newer = Request::Hello {
        oldest: 90,
        newest: 91,
        client: "test".into(),
        user: "a".into(),
    };
    let error = client.ask::<Hello>(newer).await.unwrap_err();
    assert_eq!(error.code, Code::Unsupported);
    let hello: Hello = client.ask(greeting("a")).await.unwrap();
    assert_eq!(hello.node.unwrap().as_str(), "n1");
    assert_eq!((hello.version, hello.writable), (1, true));
}

#[tokio::test]
async fn what_is_no_call_is_answered_and_an_endless_line_ends_the_session() {
    let (_folder, _agent, desk) = office();
    let mut client = Client::of(&desk, "a").await;
    client
        .pipe
        .write_all(b"{\"id\":7,\"method\":\"explode\"}\nrubbish\n")
        .await
        .unwrap();
    let Some(Reply::Failed { id: 7, error }) = client.hear().await else {
        panic!("an answer under its id");
    };
    assert_eq!(error.code, Code::Unsupported);
    let Some(Reply::Failed { id: 0, error }) = client.hear().await else {
        panic!("an answer to rubbish");
    };
    assert_eq!(error.code, Code::Invalid);
    let _: Status = client.ask(Request::Status).await.unwrap();
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..=MAX_LINE / piece.len() {
        let _ = timeout(LONG, client.pipe.write_all(&piece)).await.unwrap();
    }
    assert!(matches!(
        client.hear().await,
        Some(Reply::Failed { id: 0, .. })
    ));
    assert!(client.hear().await.is_none());
}

#[tokio::test]
async fn u8_the_second_admin_is_told_who_holds_the_lock_until_that_session_ends() {
    let (_folder, _agent, desk) = office();
    let mut first = Client::of(&desk, "ann@desk").await;
    let mut second = Client::of(&desk, "bob@home").await;
    let text = cluster(31).to_text();
    let stage = || Request::Stage { text: text.clone() };
    let unlocked = first.ask::<serde_json::Value>(stage()).await.unwrap_err();
    assert_eq!(unlocked.code, Code::Locked);
    let _: serde_json::Value = first.ask(lock("create c31")).await.unwrap();
    for request in [lock("other"), stage(), Request::Dismiss] {
        let error = second.ask::<serde_json::Value>(request).await.unwrap_err();
        assert_eq!(error.code, Code::Locked);
        assert!(error.message.contains("ann@desk") && error.message.contains("create c31"));
    }
    let _: serde_json::Value = first.ask(stage()).await.unwrap();
    drop(first);
    let mut tries = 0;
    while second.ask::<serde_json::Value>(lock("mine")).await.is_err() {
        tries += 1;
        assert!(tries < 1000, "the lock of a lost session stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // U6: what the lost session left is seen and can be taken back.
    let hello: Hello = second.ask(greeting("bob@home")).await.unwrap();
    assert_eq!(hello.staged.len(), 1);
    let abandon = Request::Abandon {
        cluster: cluster(31).id,
    };
    let _: serde_json::Value = second.ask(abandon).await.unwrap();
    let hello: Hello = second.ask(greeting("bob@home")).await.unwrap();
    assert!(hello.staged.is_empty() && hello.clusters.is_empty());
}

#[tokio::test]
async fn u11_changes_are_in_the_audit_and_a_viewer_makes_none() {
    let (_folder, _agent, desk) = office();
    let mut viewer = Client::silent(&desk);
    let bridge = Bridge {
        from: "192.0.2.7 port 5\u{1b}[2J".into(),
        viewer: true,
        name: "eva-key".into(),
    };
    viewer
        .pipe
        .write_all(bridge.to_line().as_bytes())
        .await
        .unwrap();
    // What comes after the bridge's line is the client's own.
    let claim = Bridge::default().to_line();
    viewer.pipe.write_all(claim.as_bytes()).await.unwrap();
    assert!(matches!(viewer.hear().await, Some(Reply::Failed { .. })));
    let hello: Hello = viewer.ask(greeting("eve")).await.unwrap();
    assert!(hello.viewer);
    let error = viewer
        .ask::<serde_json::Value>(Request::Dismiss)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Forbidden);
    let secret = Request::DocumentGet {
        cluster: "c1".parse().unwrap(),
    };
    let error = viewer.ask::<serde_json::Value>(secret).await.unwrap_err();
    assert_eq!(error.code, Code::Unknown, "it may be looked at");
    let error = viewer.ask::<serde_json::Value>(Request::Report).await;
    assert_eq!(error.unwrap_err().code, Code::Forbidden);
    let any_file = Request::Needs(Asked {
        files: vec!["/etc/shadow".into()],
        ..Asked::default()
    });
    let error = viewer.ask::<serde_json::Value>(any_file).await;
    assert_eq!(error.unwrap_err().code, Code::Forbidden);
    let _: Status = viewer.ask(Request::Status).await.unwrap();
    let mut admin = Client::of(&desk, "ann").await;
    let _: serde_json::Value = admin.ask(lock("try")).await.unwrap();
    let mut entries: Vec<AuditEntry> = Vec::new();
    for _ in 0..1000 {
        let audit: Audit = admin.ask(Request::Audit { limit: 10 }).await.unwrap();
        entries = audit.entries;
        if entries.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let [refused, done] = entries.as_slice() else {
        panic!("{entries:?}");
    };
    assert_eq!(
        (refused.user.as_str(), refused.what.as_str()),
        ("eva-key (viewer, says eve)", "dismiss")
    );
    assert!(refused.from.starts_with("192.0.2.7") && !refused.from.contains('\u{1b}'));
    assert!(refused.result.contains("U11"), "{refused:?}");
    assert_eq!((done.user.as_str(), done.from.as_str()), ("ann", "local"));
    assert_eq!(done.result, "done");
}

#[tokio::test]
async fn u11_a_viewer_sees_a_document_without_its_secrets_and_every_change_is_refused() {
    let (_folder, agent, desk) = office();
    let document = cluster(35);
    agent.commit(&document);
    let (pipe, theirs) = duplex(64 * 1024);
    // The kernel said who opened the socket: what the bridge leaves out does not matter.
    tokio::spawn(session::run(Arc::clone(&desk), theirs, true));
    let mut viewer = Client {
        pipe,
        lines: LineSplitter::new(),
        next: 1,
    };
    let plain = Bridge::default().to_line();
    viewer.pipe.write_all(plain.as_bytes()).await.unwrap();
    let _: Hello = viewer.ask(greeting("eve")).await.unwrap();
    let shown: backstay_wire::rpc::Text = viewer
        .ask(Request::DocumentGet {
            cluster: document.name.clone(),
        })
        .await
        .unwrap();
    assert!(!shown.text.contains(&document.keys[0].secret));
    let (cluster, name) = (document.id, document.name.clone());
    let text = revised(&document).to_text();
    let changes = [
        Request::Lock { what: "x".into() },
        Request::Unlock,
        Request::Stage { text: text.clone() },
        Request::Commit {
            cluster,
            revision: 2,
            hash: String::new(),
        },
        Request::Abandon { cluster },
        Request::SystemPut { text },
        Request::Dismiss,
        Request::Enrol {
            name: "n1".parse().unwrap(),
            id: backstay_core::model::NodeId(1),
        },
        Request::Move {
            cluster: name,
            service: "web1".parse().unwrap(),
            to: "sb1".parse().unwrap(),
        },
    ];
    for change in changes {
        let asked = format!("{change:?}");
        let error = viewer.ask::<serde_json::Value>(change).await.unwrap_err();
        assert_eq!(error.code, Code::Forbidden, "{asked}");
        assert!(error.message.contains("n1 knows this key"), "{error}");
    }
    // So many tries end the session, before they push older entries out of the audit.
    for _ in 9..super::session::MOST_REFUSED {
        let _ = viewer.ask::<serde_json::Value>(Request::Unlock).await;
    }
    assert!(viewer.hear().await.is_none());
}

#[tokio::test]
async fn a_watch_shows_changes_while_other_calls_are_answered() {
    let (_folder, agent, desk) = office();
    let mut client = Client::of(&desk, "a").await;
    let watch = client.say(Request::Watch { every_ms: 1 }).await;
    let first = client.hear().await;
    assert!(matches!(first, Some(Reply::Progress { id, .. }) if id == watch));
    agent.commit(&cluster(32));
    let asked = client.say(Request::Audit { limit: 1 }).await;
    let (mut seen, mut answered) = (false, false);
    while !(seen && answered) {
        match client.hear().await.expect("more") {
            Reply::Progress { id, value } if id == watch => {
                let status: Status = serde_json::from_value(value).unwrap();
                seen |= status.clusters.len() == 1;
            }
            Reply::Done { id, .. } if id == asked => answered = true,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_followed_history_leaves_out_nothing_and_says_nothing_twice() {
    let (_folder, _agent, desk) = office();
    let entry = |n: u64| HistoryEntry {
        id: 0,
        node: "n1".parse().unwrap(),
        cluster: "c1".parse().unwrap(),
        service: Some("web1".parse().unwrap()),
        wall_ms: n,
        record: backstay_core::engine::Record {
            at: backstay_core::time::Mono(n),
            service: Some(backstay_core::model::ServiceId(1)),
            term: 1,
            rule: backstay_core::model::RuleId::of("F2"),
            sentence: format!("entry {n}"),
            stage: None,
            took_us: None,
        },
    };
    let mut client = Client::of(&desk, "a").await;
    let history = desk.history.clone();
    let writer = tokio::spawn(async move {
        for n in 1..=300 {
            history.put(entry(n));
            tokio::task::yield_now().await;
        }
    });
    let follow = Request::History {
        service: Some("web1".parse().unwrap()),
        limit: 10_000,
        follow: true,
    };
    let id = client.say(follow).await;
    for n in 1..=300 {
        let Some(Reply::Progress { id: of, value }) = client.hear().await else {
            panic!("more entries");
        };
        let entry: HistoryEntry = serde_json::from_value(value).unwrap();
        assert_eq!((of, entry.id, entry.wall_ms), (id, n, n));
    }
    writer.await.unwrap();
    let last = Request::History {
        service: None,
        limit: 2,
        follow: false,
    };
    let history: History = client.ask(last).await.unwrap();
    let ids: Vec<u64> = history.entries.iter().map(|e| e.id).collect();
    assert_eq!(ids, [299, 300]);
}

#[tokio::test]
async fn sessions_are_bounded() {
    let (_folder, _agent, desk) = office();
    let mut clients = Vec::new();
    for n in 0..super::MOST_SESSIONS {
        clients.push(Client::of(&desk, &n.to_string()).await);
    }
    let mut more = Client::silent(&desk);
    assert!(matches!(
        more.hear().await,
        Some(Reply::Failed { id: 0, .. })
    ));
    assert!(more.hear().await.is_none());
}

#[tokio::test]
async fn refusals_name_every_problem_and_change_nothing() {
    let (_folder, agent, desk) = office();
    let mut client = Client::of(&desk, "a").await;
    let _: serde_json::Value = client.ask(lock("try")).await.unwrap();
    agent.commit(&cluster(33));
    // C3: regular in another cluster; and a revision that is no newer.
    let text = cluster(34).to_text();
    let error = client
        .ask::<serde_json::Value>(Request::Stage { text })
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Refused);
    assert_eq!(error.rule.unwrap().0, "C3");
    let text = cluster(33).to_text();
    let error = client
        .ask::<serde_json::Value>(Request::Stage { text })
        .await
        .unwrap_err();
    assert!(error.message.contains("revision 1"), "{error}");
    // C5, C9: this machine lacks subnet and unit, both said at once.
    let mut text = revised(&cluster(33)).to_text();
    text = text.replace("127.33.0.", "198.51.100.");
    text = text.replace(
        "[[service.alias]]\naddress = \"198.51.100.101/24\"",
        "[[service.alias]]\naddress = \"198.51.100.101/24\"\n[[service.unit]]\nname = \"none.service\"",
    );
    let error = client
        .ask::<serde_json::Value>(Request::Stage { text })
        .await
        .unwrap_err();
    let rules: Vec<String> = error.problems.iter().map(|p| p.rule.to_string()).collect();
    assert!(rules.contains(&"C5".into()), "{error:?}");
    assert!(rules.contains(&"C9".into()), "{error:?}");
    let text = "revision = true".to_owned();
    let error = client
        .ask::<serde_json::Value>(Request::SystemPut { text })
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    let error = client
        .ask::<serde_json::Value>(Request::Dismiss)
        .await
        .unwrap_err();
    assert_eq!(error.rule.unwrap().0, "C8");
    let hello: Hello = client.ask(greeting("a")).await.unwrap();
    assert!(hello.staged.is_empty());
    assert_eq!(hello.clusters.len(), 1);
}
