//! C15, S7: the hosts' own network configuration, with ifupdown, netplan, NetworkManager and systemd-networkd in one lab.
//!
//! A file of its own: these hosts need more packages than the others.

use backstay_tests::{backstay, bench};

#[test]
fn c15_s7_each_manager_of_networks() {
    let up = ["lab", "up", "--yes", "--network", "mixed"];
    let up = backstay(&up).unwrap();
    // A line of it ends at 80 columns.
    let said = String::from_utf8_lossy(&up.stdout) + String::from_utf8_lossy(&up.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(up.status.success(), "{said}");
    for told in [
        "n1: /etc/network/interfaces.d/eth0: 192.0.2.101/24 becomes 192.0.2.11/24 at boot",
        "n2: /etc/netplan/50-lab.yaml: 192.0.2.102/24 becomes 192.0.2.12/24 at boot",
        "n3: /etc/NetworkManager/system-connections/lan.nmconnection: 192.0.2.103/24 becomes 192.0.2.13/24 at boot",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let measured = bench("host-network", 1);
    let down = backstay(&["lab", "down"]).unwrap();
    measured.unwrap();
    assert!(down.status.success());
}
