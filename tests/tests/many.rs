//! Ten clusters on twenty real hosts: a look at all of them takes one SSH session for each cluster.

use std::process::Command;

use backstay_tests::{backstay, on_lab, programs};
use serde_json::Value;

const CLUSTERS: usize = 10;

/// Hosts of the lab: a regular one with its alias and base address (without the network), and its standby.
fn pairs() -> Vec<(String, [usize; 2], String)> {
    let usual = (1..=3).map(|n| (format!("n{n}"), [100 + n, 10 + n]));
    let more = (1..=7).map(|n| (format!("x{n}"), [150 + n, 50 + n]));
    let standbys = ["sb1".to_owned(), "w1".to_owned()];
    let standbys = standbys
        .into_iter()
        .chain((8..=15).map(|n| format!("x{n}")));
    let regular = usual.chain(more).zip(standbys);
    regular
        .map(|((name, addresses), standby)| (name, addresses, standby))
        .collect()
}

fn own(arguments: &[&str]) -> String {
    let program = programs().unwrap().join("backstay-lab");
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// SSH sessions that a host has let in since it booted, this question's own included.
fn sessions(host: &str) -> i64 {
    // The line of this very session may still be on its way.
    let read = "journalctl --sync && journalctl --unit=ssh --output=cat --no-pager";
    let journal = own(&["ssh", host, "--", read]);
    let accepted = journal.lines().filter(|l| l.starts_with("Accepted "));
    i64::try_from(accepted.count()).unwrap()
}

/// Takes the lab down, whatever became of the test.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        own(&["down"]);
    }
}

#[test]
fn t01_u7_ten_clusters_take_one_connection_each() {
    let _down = Down;
    own(&["up", "--extra-hosts", "15", "--yes"]);
    let pairs = pairs();
    for (n, (regular, [alias, base], standby)) in pairs.iter().enumerate() {
        for host in [regular, standby] {
            on_lab(&["node", "add", host, "--name", host]).unwrap();
        }
        on_lab(&["node", "role", standby, "standby"]).unwrap();
        let name = format!("c{n}");
        let service = format!("s{n}={regular},alias=192.0.2.{alias}/24,base=192.0.2.{base}/24");
        on_lab(&[
            "cluster",
            "create",
            &name,
            "--standby",
            standby,
            "--service",
            &service,
        ])
        .unwrap();
    }
    let hosts: Vec<&String> = pairs.iter().flat_map(|(a, _, b)| [a, b]).collect();
    let before: Vec<i64> = hosts.iter().map(|h| sessions(h)).collect();
    let output = backstay(&["--lab", "--output", "json", "status"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let clusters = status["clusters"].as_array().unwrap();
    assert_eq!(clusters.len(), CLUSTERS);
    for cluster in clusters {
        assert_eq!(cluster["services"][0]["state"], "running", "{cluster}");
        assert_eq!(cluster["nodes"][1]["state"], "up", "{cluster}");
    }
    let of_status: i64 = hosts
        .iter()
        .zip(before)
        .map(|(h, before)| sessions(h) - before - 1)
        .sum();
    assert_eq!(of_status, 10);
}
