//! A6 on real hosts with two links each. The faults judge themselves; a run that shows what must never be fails.

use backstay_tests::{backstay, on_lab, programs};

/// Takes the lab down, whatever became of the test.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        let down = backstay(&["lab", "down"]).unwrap();
        assert!(down.status.success(), "{down:?}");
    }
}

#[test]
fn t01_a6_one_of_two_links_or_the_clients_cable_fails() {
    let _down = Down;
    let up = backstay(&["lab", "up", "--yes", "--links", "2"]).unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(up.status.success(), "{said}");
    let results = programs().unwrap().join("system-tests.jsonl");
    for fault in ["cut-link", "no-carrier"] {
        let runs = ["lab", "bench", fault, "--runs", "1", "--results"];
        let mut command = runs.to_vec();
        command.push(results.to_str().unwrap());
        let printed = on_lab(&command).unwrap();
        assert!(printed.contains("1 runs"), "{printed}");
    }
}
