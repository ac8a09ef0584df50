//! A support bundle: what is in it, and what must never be.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::common::{Manner, World, world};
use backstay::ops::{Cancel, collect};
use backstay_core::engine::Record;
use backstay_core::model::{ClusterDocument, RuleId};
use backstay_core::time::Mono;
use backstay_wire::rpc::{AuditEntry, HistoryEntry};

const LIMIT: Duration = Duration::from_secs(2);
/// In every place that can hold a secret; found by its beginning.
const PLANTED: &str = "hunter-two-";

/// Documents, log, history, audit and network of n1 all hold secrets.
fn planted() -> World {
    let world = world();
    let key = "ab".repeat(32);
    let text = format!(
        r#"
format = 1
name = "shop"
id = "00000000000000c1"
revision = 3
epoch = 1
changed = {{ by = "me@here", at = 1, what = "told https://me:{PLANTED}1@hook.example/x" }}
safety = "available"
arbiter = "https://root:{PLANTED}2@etcd.example:2379"
next_service = 2
[[key]]
id = 1
secret = "{key}"
signs = true
[[service]]
name = "web1"
id = 1
nodes = ["n1", "sb1"]
[[service.command]]
start = ["/usr/bin/web", "--pass={PLANTED}3"]
stop = ["/usr/bin/web", "stop", "{PLANTED}4"]
check = ["/usr/bin/web", "check", "{PLANTED}5"]
[[service.hook]]
after = "takeover"
run = ["/usr/bin/curl", "-H", "X-Key: {PLANTED}6", "web1"]
"#
    );
    let document = ClusterDocument::read(&text).unwrap();
    world.with("n1", |n1| {
        n1.documents.insert("shop".to_owned(), document);
        n1.history.push(HistoryEntry {
            id: 1,
            node: "n1".parse().unwrap(),
            cluster: "shop".parse().unwrap(),
            service: None,
            wall_ms: 1,
            record: Record {
                at: Mono(1),
                service: None,
                term: 1,
                rule: RuleId::of("F12"),
                sentence: format!("the hook of web1 said: bad X-Key: {PLANTED}6"),
                stage: None,
                took_us: None,
            },
        });
        n1.audit.push(AuditEntry {
            wall_ms: 1,
            user: "ann@desk".to_owned(),
            from: "192.0.2.9 port 7".to_owned(),
            what: format!("take the change lock: password={PLANTED}7"),
            result: "done".to_owned(),
        });
        let log = format!(
            "started /usr/bin/web --pass={PLANTED}3\nkey {key} signs\n{PLANTED}4 is no word\n\
             wget ftp://x:{PLANTED}8@h/ and token: {PLANTED}9\nthe service web1 runs\n"
        );
        n1.report.parts.insert("log".to_owned(), log);
        let network = "inet 192.0.2.11/24".to_owned();
        n1.report.parts.insert("addresses".to_owned(), network);
        n1.report.parts.insert("../../up".to_owned(), String::new());
    });
    world
}

#[test]
fn a_bundle_has_what_is_needed_and_no_secret_from_anywhere() {
    let world = planted();
    world.manner("n2", Manner::Unreachable);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("help.tar.gz");
    let mut picture = world.gatherer(LIMIT).gather(&mut |_| {}).unwrap();
    let status = serde_json::json!({"alarm": format!("https://a:{PLANTED}0@h failed")});
    let mut steps = Vec::new();
    let made = collect::write(
        &path,
        status.clone(),
        "me@here",
        &mut picture,
        &Cancel::default(),
        &mut |line| steps.push(line.to_owned()),
    )
    .unwrap();
    assert_eq!(made.bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(steps, ["asking n1, sb1 for history, audit and log"]);
    let file = std::fs::File::open(&path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut names = Vec::new();
    let mut all = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        names.push(entry.path().unwrap().display().to_string());
        entry.read_to_string(&mut all).unwrap();
    }
    assert!(!all.contains(PLANTED), "{all}");
    assert!(!all.contains("abababab"), "{all}");
    // What helps is still there.
    for left in [
        "the service web1 runs",
        "inet 192.0.2.11/24",
        "the hook of web1 said",
        "take the change lock",
        "/usr/bin/curl",
        "no route",
    ] {
        assert!(all.contains(left), "{left}: {all}");
    }
    for name in [
        "help/about.json",
        "help/status.json",
        "help/system.toml",
        "help/clusters/shop.toml",
        "help/nodes/n1/hello.json",
        "help/nodes/n1/facts.json",
        "help/nodes/n1/history.jsonl",
        "help/nodes/n1/audit.jsonl",
        "help/nodes/n1/log.txt",
        "help/nodes/n1/up.txt",
    ] {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
    assert!(made.missing["node n2"].contains("no route"));
    // Once more: nothing is written over, and nothing is left behind.
    let again = collect::write(
        &path,
        status,
        "me@here",
        &mut picture,
        &Cancel::default(),
        &mut |_| {},
    );
    assert!(again.unwrap_err().message.contains("is there already"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_bundle_that_is_broken_off_leaves_nothing() {
    let world = planted();
    let folder = tempfile::tempdir().unwrap();
    let mut picture = world.gatherer(LIMIT).gather(&mut |_| {}).unwrap();
    let cancel = Cancel::default();
    cancel.set();
    let path = folder.path().join("help.tar.gz");
    let status = serde_json::Value::Null;
    let made = collect::write(&path, status, "me", &mut picture, &cancel, &mut |_| {});
    assert_eq!(made.unwrap_err().exit, backstay::failure::Exit::Cancelled);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
