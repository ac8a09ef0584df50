//! Good defaults out of what was found: units, names, addresses, the profile.

use std::collections::BTreeSet;
use std::net::IpAddr;

use backstay_core::model::Profile;
use backstay_wire::rpc::{Facts, UnitFact};
use ipnet::IpNet;

use super::system::Trip;

/// Units of the system itself, by how their names begin: nobody's service.
const SYSTEM_UNITS: [&str; 52] = [
    "alsa-",
    "apparmor",
    "apt-",
    "auditd",
    "autovt@",
    "backstay-",
    "chrony",
    "cloud-",
    "console-",
    "container-getty@",
    "cron",
    "cryptdisks",
    "dbus",
    "debug-shell",
    "dpkg-",
    "e2scrub",
    "emergency",
    "fstrim",
    "getty",
    "hwclock",
    "ifup",
    "initrd-",
    "irqbalance",
    "keyboard-setup",
    "kmod",
    "ldconfig",
    "logrotate",
    "man-db",
    "modprobe@",
    "netplan-",
    "networking",
    "nftables",
    "NetworkManager",
    "ntp",
    "packagekit",
    "pam_namespace",
    "plymouth",
    "polkit",
    "procps",
    "quotaon",
    "rc-local",
    "rc.service",
    "rcS.service",
    "rescue",
    "rsyslog",
    "serial-getty@",
    "ssh",
    "sudo",
    "system-update-",
    "systemd-",
    "udev",
    "x11-common",
];

/// The units that may be a service's, those that run first.
pub fn units(facts: &Facts) -> Vec<&UnitFact> {
    let own = |u: &&UnitFact| {
        let name = u.name.as_str();
        let system = SYSTEM_UNITS.iter().any(|s| name.starts_with(s));
        // `user@1000.service`, `user-runtime-dir@0.service`; a template is nothing that runs.
        name.ends_with(".service") && !system && !name.starts_with("user") && !name.contains("@.")
    };
    let mut found: Vec<&UnitFact> = facts.units.iter().filter(own).collect();
    found.sort_by_key(|u| (u.active != "active", u.name.clone()));
    found
}

/// The units that a service of that name probably has: of its name, else the only one that runs.
pub fn units_of(facts: &Facts, service: &str) -> Vec<String> {
    let all = units(facts);
    let named = all
        .iter()
        .filter(|u| u.name == format!("{service}.service"));
    let named: Vec<String> = named.map(|u| u.name.clone()).collect();
    if !named.is_empty() {
        return named;
    }
    let mut running = all.iter().filter(|u| u.active == "active");
    match (running.next(), running.next()) {
        (Some(only), None) => vec![only.name.clone()],
        _ => Vec::new(),
    }
}

/// A text as a name: lower case, letters, digits and dashes; none is left of it: none.
pub fn name(text: &str) -> Option<String> {
    let first = text.split('.').next().unwrap_or_default();
    let kept: String = first
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        })
        .collect();
    let kept = kept.trim_matches('-');
    let short: String = kept.chars().take(32).collect();
    (!short.is_empty()).then_some(short)
}

/// The service that a node probably has: the only one that runs there, else one named after the node.
pub fn service(facts: &Facts, node: &str) -> String {
    let mut running = units(facts).into_iter().filter(|u| u.active == "active");
    let only = match (running.next(), running.next()) {
        (Some(only), None) => only.name.strip_suffix(".service").and_then(name),
        _ => None,
    };
    only.or_else(|| name(&format!("{node}-service")))
        .unwrap_or_else(|| "service".to_owned())
}

/// The addresses that others can use, with their interfaces.
pub fn addresses(facts: &Facts) -> Vec<(IpNet, &str)> {
    let mut found = Vec::new();
    for interface in &facts.interfaces {
        for address in &interface.addresses {
            let Ok(net) = address.address.parse::<IpNet>() else {
                continue;
            };
            let local = match net.addr() {
                IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
            };
            if !local {
                found.push((net, interface.name.as_str()));
            }
        }
    }
    found
}

/// A6: subnets on which each of these machines has an address, on another interface than the cluster's own subnets.
pub fn links(machines: &[&Facts], used: &[IpNet]) -> Vec<IpNet> {
    let used: BTreeSet<IpNet> = used.iter().map(IpNet::trunc).collect();
    let further = |facts: &&Facts| {
        let all: Vec<(IpNet, &str)> = addresses(facts)
            .into_iter()
            .map(|(net, interface)| (net.trunc(), interface))
            .collect();
        let main: BTreeSet<&str> = all
            .iter()
            .filter(|(net, _)| used.contains(net))
            .map(|(_, interface)| *interface)
            .collect();
        let other = all.iter().filter(|(_, i)| !main.contains(i));
        other.map(|(net, _)| *net).collect::<BTreeSet<_>>()
    };
    let common = machines.iter().map(further).reduce(|a, b| &a & &b);
    common.into_iter().flatten().collect()
}

/// Whether an address is a host's on that subnet, and not the network's or everybody's.
pub fn is_host_of(subnet: IpNet, ip: IpAddr) -> bool {
    let whole = subnet.prefix_len() + 1 >= subnet.max_prefix_len();
    subnet.contains(&ip)
        && (whole
            || match subnet {
                IpNet::V4(net) => ip != net.network() && ip != net.broadcast(),
                IpNet::V6(net) => ip != net.network(),
            })
}

/// Round trips that differ by more lie on different networks.
const FAR_US: u64 = 50_000;
/// A pause longer than this would eat up the hold of the profile `lan` with one lost beat.
const PAUSE_US: u64 = 400_000;

/// The profile that fits what was measured, and the figure in one sentence. What all nodes have in common
/// is the way from here, which says nothing of the way between them.
pub fn profile(trips: &[Trip]) -> (Profile, String) {
    let usual = || trips.iter().map(|t| t.usual_us);
    let (Some(least), Some(most)) = (usual().min(), usual().max()) else {
        return (Profile::Lan, "Nothing could be measured.".to_owned());
    };
    let pauses = trips
        .iter()
        .map(|t| t.longest_us.saturating_sub(t.usual_us));
    let pause = pauses.max().unwrap_or_default();
    let fits = if most - least > FAR_US {
        Profile::Wan
    } else if pause > PAUSE_US {
        Profile::Vm
    } else {
        Profile::Lan
    };
    let said = format!(
        "Measured from here through SSH: round trip {} to {} ms, longest pause {} ms.",
        ms(least),
        ms(most),
        ms(pause)
    );
    (fits, said)
}

/// With one digit behind the point.
fn ms(us: u64) -> String {
    let tenths = (us + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use backstay_wire::rpc::{AddressFact, InterfaceFact};

    use super::*;

    fn facts(units: &[(&str, &str)]) -> Facts {
        Facts {
            units: units
                .iter()
                .map(|(name, active)| UnitFact {
                    name: (*name).to_owned(),
                    active: (*active).to_owned(),
                    enabled: true,
                })
                .collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn a_service_is_told_from_the_system() {
        let facts = facts(&[
            ("ssh.service", "active"),
            ("old.service", "inactive"),
            ("web@.service", "inactive"),
            ("web.service", "active"),
            ("systemd-journald.service", "active"),
            ("user@0.service", "active"),
            ("web.timer", "active"),
        ]);
        let names: Vec<&str> = units(&facts).iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["web.service", "old.service"]);
        assert_eq!(service(&facts, "n1"), "web");
        assert_eq!(units_of(&facts, "old"), ["old.service"]);
        assert_eq!(units_of(&facts, "shop"), ["web.service"]);
        assert_eq!(service(&Facts::default(), "n1"), "n1-service");
    }

    #[test]
    fn names_are_made_fit() {
        assert_eq!(name("Web_01.example.org").as_deref(), Some("web-01"));
        assert_eq!(name("--"), None);
        assert_eq!(name(&"x".repeat(40)).map(|n| n.len()), Some(32));
    }

    #[test]
    fn the_profile_follows_what_differs_and_what_pauses() {
        let trip = |name: &str, usual_us, longest_us| Trip {
            node: name.parse().unwrap(),
            usual_us,
            longest_us,
        };
        // A slow way from here is common to all.
        let (fits, said) = profile(&[trip("n1", 210_000, 230_000), trip("sb1", 212_340, 215_000)]);
        assert_eq!(fits, Profile::Lan);
        assert!(
            said.contains("210.0 to 212.3 ms, longest pause 20.0 ms"),
            "{said}"
        );
        assert_eq!(profile(&[trip("n1", 900, 500_000)]).0, Profile::Vm);
        assert_eq!(
            profile(&[trip("n1", 900, 1_000), trip("sb1", 80_000, 81_000)]).0,
            Profile::Wan
        );
        assert_eq!(profile(&[]).0, Profile::Lan);
    }

    #[test]
    fn a6_a_further_link_is_another_cable_that_all_have() {
        let machine = |interfaces: &[(&str, &[&str])]| Facts {
            interfaces: interfaces
                .iter()
                .map(|(name, addresses)| InterfaceFact {
                    name: (*name).to_owned(),
                    addresses: addresses
                        .iter()
                        .map(|a| AddressFact {
                            address: (*a).to_owned(),
                            ..AddressFact::default()
                        })
                        .collect(),
                    ..InterfaceFact::default()
                })
                .collect(),
            ..Facts::default()
        };
        let used = ["192.0.2.101/24".parse().unwrap()];
        // A second address of the same cable is no further link.
        let n1 = machine(&[
            ("lo", &["127.0.0.1/8"]),
            ("eth0", &["192.0.2.101/24", "2001:db8::1/64"]),
            ("eth1", &["198.51.100.11/24", "203.0.113.11/24"]),
        ]);
        let sb1 = machine(&[
            ("eth0", &["192.0.2.21/24", "2001:db8::2/64"]),
            ("eth1", &["198.51.100.21/24"]),
        ]);
        assert_eq!(
            links(&[&n1, &sb1], &used),
            ["198.51.100.0/24".parse().unwrap()]
        );
        let single = machine(&[("eth0", &["192.0.2.22/24"])]);
        assert!(links(&[&n1, &single], &used).is_empty() && links(&[], &used).is_empty());
    }

    #[test]
    fn hosts_of_a_subnet() {
        let is = |net: &str, ip: &str| is_host_of(net.parse().unwrap(), ip.parse().unwrap());
        assert!(is("192.0.2.101/24", "192.0.2.11"));
        assert!(!is("192.0.2.101/24", "192.0.2.0") && !is("192.0.2.101/24", "192.0.2.255"));
        assert!(!is("192.0.2.101/24", "198.51.100.1"));
        assert!(is("192.0.2.0/31", "192.0.2.1") && is("2001:db8::1/64", "2001:db8::ff"));
    }
}
