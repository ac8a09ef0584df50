//! Real hosts with two links each and no IPv4 at all (C14): what is particular to links (A6), the cold start (A5) and work
//! on nodes (F17). The faults judge themselves; a run that shows what must never be fails. Four minutes in all.

use backstay_tests::{backstay, bench};

/// Takes the lab down, whatever became of the test.
struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        let down = backstay(&["lab", "down"]).unwrap();
        assert!(down.status.success(), "{down:?}");
    }
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
        bench(fault, 1).unwrap();
    }
}
