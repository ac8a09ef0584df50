//! A service survives its node, on real hosts with real sshd, systemd and kernel: two runs of each fault.
//!
//! One lab for all tests, which run one after the other in the order of their names. Figures are judged by their
//! meaning only (two hosts answering, a lost probe, who announced last), never by how fast this machine is.

use std::time::Duration;

use backstay_tests::{backstay, on_lab, programs, traces};
use serde_json::Value;

/// What a command that only looks says; 5 tells that it could not look everywhere.
fn json(arguments: &[&str]) -> Value {
    let mut all = vec!["--lab", "--output", "json"];
    all.extend(arguments);
    let output = backstay(&all).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 5)),
        "{arguments:?}: {}: {said}",
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Two runs of a named fault.
fn twice(fault: &str) {
    runs(fault, 2);
}

/// A run that shows what must never be fails.
fn runs(fault: &str, runs: u32) {
    let results = programs().unwrap().join("system-tests.jsonl");
    let printed = on_lab(&[
        "lab",
        "bench",
        fault,
        "--runs",
        &runs.to_string(),
        "--results",
        results.to_str().unwrap(),
    ])
    .unwrap();
    assert!(printed.contains(&format!("{runs} runs")), "{printed}");
}

#[test]
fn t01_the_lab_comes_up_with_three_services_at_home() {
    let before = traces().unwrap();
    let folder = programs().unwrap();
    std::fs::write(
        folder.join("traces-before.json"),
        serde_json::to_string(&before).unwrap(),
    )
    .unwrap();
    let up = backstay(&["lab", "up", "--yes"]).unwrap();
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    let status = json(&["status"]);
    let services = status["clusters"][0]["services"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(services.len(), 3);
    for service in services {
        assert_eq!(service["state"], "running", "{service}");
        assert_eq!(
            service["running_on"],
            serde_json::json!([service["home"]]),
            "{service}"
        );
        let alias = service["addresses"][0]["address"].as_str().unwrap();
        let alias = alias.split('/').next().unwrap();
        let probe = json(&["lab", "probe", alias, "--for", "500ms"]);
        let answered: Vec<_> = probe["answered_by"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["node"].clone())
            .collect();
        assert_eq!(answered, [service["home"].clone()], "{probe}");
    }
}

#[test]
fn t02_c11_an_open_connection_lives_while_the_cluster_is_created() {
    twice("create");
}

#[test]
fn t03_f2_f8_power_failure_and_return() {
    twice("power");
    twice("power-fast");
}

#[test]
fn t04_f11_s7_a_node_shuts_down_in_good_order_and_comes_back() {
    twice("poweroff");
    twice("reboot-away");
}

#[test]
fn t05_f8_a_service_moves_there_and_back() {
    twice("move");
    twice("fallback");
}

#[test]
fn t06_s5_a5_an_agent_is_killed_and_restarted() {
    twice("agent-restart");
}

#[test]
fn t07_s5_an_agent_is_gone_or_frozen() {
    twice("agent-gone");
    twice("agent-freeze");
}

#[test]
fn t08_s1_the_network_is_cut() {
    twice("split");
    twice("cut-one");
}

#[test]
fn t09_f3_to_f6_l1_two_nodes_die() {
    twice("priorities");
}

#[test]
fn t09_protocol_3_the_key_is_exchanged_unnoticed() {
    runs("rotate", 1);
}

#[test]
fn t09_s5_all_agents_are_upgraded_unnoticed() {
    runs("upgrade", 1);
}

#[test]
fn t10_u12_a_node_tells_the_same_to_who_logs_in() {
    let told = on_lab(&["lab", "ssh", "n1", "--", "backstay-agent", "status"]).unwrap();
    for service in ["web1", "web2", "web3"] {
        assert!(told.contains(service), "{told}");
    }
}

/// A host that accepts connections and never answers is `unknown` after its deadline; the others are complete.
#[test]
fn t11_u7_a_host_that_never_answers_is_unknown() {
    on_lab(&["lab", "freeze", "n3", "--host", "--for", "25s"]).unwrap();
    let nodes = json(&["node", "list", "--timeout", "12s"]);
    let nodes = nodes["nodes"].as_array().unwrap();
    let states: Vec<_> = nodes
        .iter()
        .map(|n| (n["name"].as_str(), n["state"].as_str()))
        .collect();
    let expected = [
        ("n1", "up"),
        ("n2", "up"),
        ("n3", "unknown"),
        ("sb1", "up"),
        ("w1", "up"),
    ];
    assert_eq!(
        states,
        expected.map(|(name, state)| (Some(name), Some(state)))
    );
    std::thread::sleep(Duration::from_secs(25)); // the freeze ends by itself; what follows waits for conditions
    let printed = on_lab(&["lab", "bench", "cut-one", "--runs", "1"]).unwrap();
    assert!(printed.contains("1 runs"), "{printed}");
}

#[test]
fn t12_the_demonstration_fails_a_node_and_brings_its_service_home() {
    let shown = backstay(&["lab", "up", "--yes", "--demo"]).unwrap();
    let notes = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{notes}");
    assert!(
        notes.contains("web1 went home and is answered by n1"),
        "{notes}"
    );
}

#[test]
fn t99_down_leaves_nothing_behind() {
    let down = backstay(&["lab", "down"]).unwrap();
    assert!(
        down.status.success(),
        "{}",
        String::from_utf8_lossy(&down.stderr)
    );
    let folder = programs().unwrap();
    let before: Vec<String> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("traces-before.json")).unwrap())
            .unwrap();
    assert_eq!(traces().unwrap(), before);
}
