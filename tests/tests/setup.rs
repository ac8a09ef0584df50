//! U3: bare hosts become a healthy pair by the guided set-up, cut off on the way and run again. On the lab, one test
//! after the other in the order of their names.

use std::io::Read as _;
use std::process::{Command, Stdio};

use backstay_tests::{backstay, on_lab, programs};
use serde_json::Value;

/// What somebody answered for the lab's `n1` and `sb1`; the lab vouches for their host keys.
const ANSWERS: &str = r#"version = 1
hosts = ["192.0.2.101", "192.0.2.21"]
install = true
create = true
[cluster]
name = "shop"
profile = "lan"
[host."192.0.2.101"]
name = "n1"
role = "regular"
[host."192.0.2.21"]
name = "sb1"
role = "standby"
[node.n1]
services = ["web1"]
base = ["192.0.2.11/24"]
[service.web1]
alias = ["192.0.2.101/24"]
units = ["web1.service"]
priority = 100
fallback = "manual"
"#;

fn json(arguments: &[&str]) -> Value {
    let mut all = vec!["--output", "json"];
    all.extend(arguments);
    serde_json::from_str(&on_lab(&all).unwrap()).unwrap()
}

/// Answers out of the file until that is printed; then it is killed.
fn cut_off_at(mark: &str, answers: &str) {
    let mut child = Command::new(programs().unwrap().join("backstay"))
        .args(["--lab", "setup", "--answers", answers])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut notes = child.stderr.take().unwrap();
    let mut part = [0; 256];
    while !String::from_utf8_lossy(&said).contains(mark) {
        let length = notes.read(&mut part).unwrap();
        let so_far = String::from_utf8_lossy(&said);
        assert!(length > 0, "{mark} never came: {so_far}");
        said.extend_from_slice(&part[..length]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn t01_u3_cut_off_at_each_step_and_run_again_bare_hosts_become_a_healthy_pair() {
    let up = backstay(&["lab", "up", "--bare", "--yes"]).unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(up.status.success(), "{said}");
    let answers = programs().unwrap().join("answers.toml");
    std::fs::write(&answers, ANSWERS).unwrap();
    let answers = answers.to_str().unwrap();
    for mark in [
        "n1: uploading the agent",
        "n1: it knows its name",
        "writing revision 1 of the system",
        "sb1: enabling and starting",
        "writing revision 3 of the system",
        "staging revision 1 of shop",
        "committing revision 1 of shop",
    ] {
        cut_off_at(mark, answers);
    }
    // A cut in the commit may have come before or after it took effect.
    on_lab(&["setup", "--answers", answers]).unwrap();
    let status = json(&["status", "shop"]);
    let service = &status["clusters"][0]["services"][0];
    assert_eq!(service["state"], "running", "{status}");
    assert_eq!(service["running_on"], serde_json::json!(["n1"]), "{status}");
    let nodes = json(&["node", "list"]);
    let roles = nodes["nodes"].as_array().unwrap();
    let roles: Vec<_> = roles
        .iter()
        .map(|n| (n["name"].as_str(), n["role"].as_str()))
        .collect();
    let wanted = [("n1", "regular"), ("sb1", "standby")];
    assert_eq!(roles, wanted.map(|(name, role)| (Some(name), Some(role))));
}

#[test]
fn t02_u3_what_is_shown_applied_changes_nothing_and_its_commands_make_the_same() {
    let written = on_lab(&["cluster", "show", "shop"]).unwrap();
    let file = programs().unwrap().join("shop.toml");
    std::fs::write(&file, &written).unwrap();
    let applied = json(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(applied["changed"], false, "{applied}");
    let commands = on_lab(&["cluster", "show", "shop", "--as-commands"]).unwrap();
    let words: Vec<&str> = commands.lines().next().unwrap().split(' ').collect();
    let content = |text: &str| -> Vec<String> {
        // Drawn, counted and timed anew: the identity, the key, who and when.
        let told = |l: &&str| !["id = \"", "at = ", "#"].iter().any(|k| l.starts_with(k));
        text.lines().filter(told).map(str::to_owned).collect()
    };
    on_lab(&["cluster", "delete", "shop"]).unwrap();
    on_lab(&words[1..]).unwrap();
    let again = on_lab(&["cluster", "show", "shop"]).unwrap();
    assert_eq!(content(&again), content(&written));
}

#[test]
fn t99_down() {
    assert!(backstay(&["lab", "down"]).unwrap().status.success());
}
