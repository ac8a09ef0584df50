//! What configures the network of a host, and its configuration as somebody would have written it at installation.

use std::net::IpAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::plan::{GATEWAY, Host, ipv4, ipv6};

/// What configures the hosts' network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// ifupdown, on every host.
    Ifupdown,
    /// netplan with systemd-networkd, on every host.
    Netplan,
    /// systemd-networkd, on every host.
    #[default]
    Networkd,
    /// `NetworkManager`, on every host.
    Networkmanager,
    /// On n1 ifupdown, on n2 netplan, on n3 `NetworkManager`, on the others systemd-networkd.
    Mixed,
}

/// One host's configuration: path, text and mode of each file.
type Files = Vec<(&'static str, String, u32)>;

impl Network {
    /// That of the host in this place of the list.
    pub(crate) fn of(self, place: usize) -> Self {
        match (self, place) {
            (Self::Mixed, 0) => Self::Ifupdown,
            (Self::Mixed, 1) => Self::Netplan,
            (Self::Mixed, 2) => Self::Networkmanager,
            (Self::Mixed, _) => Self::Networkd,
            (one, _) => one,
        }
    }

    /// A program and its Debian package for each manager that a Debian may lack.
    pub(crate) fn needs(self) -> &'static [(&'static str, &'static str)] {
        const ALL: [(&str, &str); 3] = [
            ("ifup", "ifupdown"),
            ("netplan", "netplan.io"),
            ("NetworkManager", "network-manager"),
        ];
        match self {
            Self::Ifupdown => &ALL[..1],
            Self::Netplan => &ALL[1..2],
            Self::Networkd => &[],
            Self::Networkmanager => &ALL[2..],
            Self::Mixed => &ALL,
        }
    }

    /// The unit that a host starts.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Ifupdown => "networking.service",
            Self::Networkmanager => "NetworkManager.service",
            Self::Netplan | Self::Networkd | Self::Mixed => "systemd-networkd.service",
        }
    }

    /// Whether a host runs that generator of another package.
    pub(crate) fn runs_generator(self, name: &str) -> bool {
        self == Self::Netplan && name == "netplan"
    }
}

/// The network configuration of a host at its first boot.
pub(crate) fn files(host: &Host) -> Files {
    let (v4, v6, gateway) = (host.address(), host.address6(), ipv4(GATEWAY));
    match host.network {
        Network::Ifupdown => vec![
            (
                "etc/network/interfaces",
                "auto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n".to_owned(),
                0o644,
            ),
            (
                "etc/network/interfaces.d/eth0",
                format!(
                    "# The service's network.\nauto eth0\niface eth0 inet static\n\taddress {v4}\n\tnetmask 255.255.255.0\n\
                     \tgateway {gateway}\n\niface eth0 inet6 static\n\taddress {v6}/64\n\taccept_ra 0\n\tdad-attempts 0\n"
                ),
                0o644,
            ),
        ],
        Network::Netplan => vec![(
            "etc/netplan/50-lab.yaml",
            format!(
                "# The service's network.\nnetwork:\n  version: 2\n  renderer: networkd\n  ethernets:\n    eth0:\n\
                 \x20     accept-ra: false\n      addresses:\n        - \"{v4}/24\"   # clients use this one\n\
                 \x20       - {v6}/64\n      routes:\n        - to: default\n          via: {gateway}\n"
            ),
            0o600,
        )],
        Network::Networkmanager => vec![
            (
                "etc/NetworkManager/system-connections/lan.nmconnection",
                format!(
                    "[connection]\nid=lan\nuuid=7c9a4a3e-6c2f-4d5e-9b8a-0000000000{:02x}\ntype=ethernet\n\
                     interface-name=eth0\n\n[ipv4]\naddress1={v4}/24,{gateway}\nmethod=manual\n\n\
                     [ipv6]\naddress1={v6}/64\nmethod=manual\n",
                    v4.octets()[3]
                ),
                0o600,
            ),
            (
                // Without udev nobody tells it that a virtual Ethernet is to be managed.
                "etc/NetworkManager/conf.d/lab.conf",
                "[main]\nno-auto-default=*\ndns=none\n\n[device-lab]\nmatch-device=interface-name:eth0\nmanaged=1\n"
                    .to_owned(),
                0o644,
            ),
        ],
        Network::Networkd | Network::Mixed => networkd(host),
    }
}

/// The one that knows of a second link, and of hosts without IPv4.
fn networkd(host: &Host) -> Files {
    let gateway: IpAddr = if host.shape.ipv6 {
        ipv6(GATEWAY).into()
    } else {
        ipv4(GATEWAY).into()
    };
    let first = interface("eth0", &host.first_addresses()) + &format!("Gateway={gateway}\n");
    let mut files = vec![("etc/systemd/network/10-eth0.network", first, 0o644)];
    files.extend(host.second_address().map(|second| {
        let text = interface("eth1", &[second]);
        ("etc/systemd/network/20-eth1.network", text, 0o644)
    }));
    files
}

fn interface(name: &str, addresses: &[String]) -> String {
    format!(
        "[Match]\nName={name}\n\n[Network]\nAddress={}\n\
         LinkLocalAddressing=ipv6\nIPv6AcceptRA=no\nLLMNR=no\nMulticastDNS=no\n",
        addresses.join("\nAddress=")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fleet;

    #[test]
    fn a_host_comes_up_on_the_address_that_clients_use_today() {
        for network in Network::value_variants() {
            for (place, mut host) in fleet(0).into_iter().enumerate() {
                host.network = network.of(place);
                let all: String = files(&host).into_iter().map(|(_, text, _)| text).collect();
                assert!(all.contains(&host.address().to_string()), "{all}");
                assert!(all.contains(&host.address6().to_string()), "{all}");
                assert!(all.contains("192.0.2.1"), "{all}");
            }
        }
    }

    #[test]
    fn a_mixed_lab_has_each_kind() {
        let kinds: Vec<Network> = (0..4).map(|place| Network::Mixed.of(place)).collect();
        let expected = [
            Network::Ifupdown,
            Network::Netplan,
            Network::Networkmanager,
            Network::Networkd,
        ];
        assert_eq!(kinds, expected);
        assert_eq!(Network::Mixed.needs().len(), 3);
    }
}
