//! Real hosts with two links each and no IPv4 at all (C14): what is particular to links (A6), the cold start (A5) and work
//! on nodes (F17). The faults judge themselves; a run that shows what must never be fails. Four minutes in all.

use backstay_tests::{backstay, on_lab, programs};

/// Takes the lab down, whatever became of the test.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        let down = backstay(&["lab", "down"]).unwrap();
        assert!(down.status.success(), "{down:?}");
    }
}

fn once(fault: &str) {
    let results = programs().unwrap().join("system-tests.jsonl");
    let results = results.to_str().unwrap();
    let printed = on_lab(&["lab", "bench", fault, "--runs", "1", "--results", results]).unwrap();
    assert!(printed.contains("1 runs"), "{printed}");
}

#[test]
fn t01_a6_c14_a5_f17_two_links_and_ipv6_only() {
    let _down = Down;
    let up = backstay(&["lab", "up", "--yes", "--links", "2", "--ipv6"]).unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(up.status.success(), "{said}");
    for fault in [
        "cut-link",
        "no-carrier",
        "power",
        "move",
        "cold-start",
        "maintenance",
    ] {
        once(fault);
    }
}
