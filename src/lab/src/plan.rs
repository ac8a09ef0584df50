//! Who is in the lab: names, addresses, MAC addresses. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manager::Network;

/// Network namespace of the bridge that joins the hosts.
pub const SWITCH: &str = "backstay-switch";
/// Network namespace of the client; no host, only a place to ask from.
pub const CLIENT: &str = "backstay-client";
/// Name of the bridge inside [`SWITCH`].
pub(crate) const BRIDGE: &str = "switch";
/// Most links that hosts can have.
pub const MOST_LINKS: u8 = 2;
/// The network of the second link, on which the hosts have `eth1` and no way to the client.
const SECOND_NETWORK: &str = "198.51.100.0/24";
/// The same in IPv6.
const SECOND_NETWORK6: &str = "2001:db8:2::/64";
/// Last part of the addresses of the hosts' default gateway (the bridge).
pub(crate) const GATEWAY: u8 = 1;
/// Last part of the client's addresses.
pub(crate) const CLIENT_OCTET: u8 = 41;
/// Last part of the addresses in whose name the prober asks by ARP and ND.
///
/// Not the client's own: an answer to the client would teach its kernel the new
/// holder and so hide a missing announcement.
pub(crate) const ASKER_OCTET: u8 = 42;

/// What a host is meant to become. The lab itself treats all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Home of a service (`n1`, `n2`, `n3`).
    Regular,
    /// Stands in for the regular hosts (`sb1`).
    Standby,
    /// Only votes and watches (`w1`).
    Witness,
    /// A bare host beyond the usual five (`x1`, `x2`, ...).
    Extra,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station.
    pub(crate) const BROADCAST: Self = Self([0xff; 6]);

    /// The fixed, locally administered address for a last part.
    pub(crate) fn of(octet: u8) -> Self {
        Self([0x02, 0x62, 0x73, 0x00, 0x00, octet])
    }

    /// That of the same host on another link.
    pub(crate) fn on_link(self, link: u8) -> Self {
        let mut bytes = self.0;
        bytes[4] = link - 1;
        Self(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("\"{text}\" is no MAC address; right would be 02:00:00:00:00:01");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What the hosts' network is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// How many links each host has, 1 or 2.
    pub links: u8,
    /// No IPv4 at all.
    pub ipv6: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            links: 1,
            ipv6: false,
        }
    }
}

impl Shape {
    /// The network of the second link, if there is one.
    pub fn second_network(self) -> Option<&'static str> {
        (self.links > 1).then_some(if self.ipv6 {
            SECOND_NETWORK6
        } else {
            SECOND_NETWORK
        })
    }
}

/// The name of a host's port on the switch of that link.
pub(crate) fn port(host: &str, link: u8) -> String {
    if link <= 1 {
        host.to_owned()
    } else {
        format!("{host}-{link}")
    }
}

/// One host of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host name, also the name of its port on the switch.
    pub name: String,
    /// What it is meant to become.
    pub kind: Kind,
    /// Last part of the address from its own network configuration at first boot.
    octet: u8,
    /// Last part of the base address meant for it once a cluster exists.
    base_octet: u8,
    /// What configures its network.
    #[serde(default)]
    pub network: Network,
    /// What its network is like.
    #[serde(default)]
    pub(crate) shape: Shape,
}

impl Host {
    fn new(name: impl Into<String>, kind: Kind, octet: u8, base_octet: u8) -> Self {
        Self {
            name: name.into(),
            kind,
            octet,
            base_octet,
            network: Network::default(),
            shape: Shape::default(),
        }
    }

    /// Address from its own network configuration at first boot: for a regular
    /// host the one that clients use today, which becomes the alias.
    pub fn address(&self) -> Ipv4Addr {
        ipv4(self.octet)
    }

    /// The same in IPv6: for 192.0.2.101 it is `2001:db8::101`.
    pub fn address6(&self) -> Ipv6Addr {
        ipv6(self.octet)
    }

    /// Base address meant for it once a cluster exists; equal to
    /// [`Host::address`] where nothing will move (standby, witness).
    pub fn base(&self) -> Ipv4Addr {
        ipv4(self.base_octet)
    }

    /// The base address in IPv6.
    pub fn base6(&self) -> Ipv6Addr {
        ipv6(self.base_octet)
    }

    /// Its addresses with prefix by its own network configuration at first boot, on `eth0`.
    pub(crate) fn first_addresses(&self) -> Vec<String> {
        let v6 = format!("{}/64", self.address6());
        if self.shape.ipv6 {
            vec![v6]
        } else {
            vec![format!("{}/24", self.address()), v6]
        }
    }

    /// Its address with prefix on `eth1`, if it has a second link.
    pub(crate) fn second_address(&self) -> Option<String> {
        let last = self.base6().segments()[7];
        (self.shape.links > 1).then(|| {
            if self.shape.ipv6 {
                format!("2001:db8:2::{last:x}/64")
            } else {
                format!("198.51.100.{}/24", self.base_octet)
            }
        })
    }

    /// Where it is reached before the cluster exists, and after.
    pub(crate) fn reached_at(&self) -> (IpAddr, IpAddr) {
        if self.shape.ipv6 {
            (self.address6().into(), self.base6().into())
        } else {
            (self.address().into(), self.base().into())
        }
    }

    /// Where it is reached while it has these addresses. One that was replaced has lost those of the cluster (C16); of
    /// the other family it may still have one.
    pub(crate) fn reached_with(&self, has: &[IpAddr]) -> IpAddr {
        let (first, base) = self.reached_at();
        let rest = [
            self.base6().into(),
            self.address6().into(),
            self.base().into(),
        ];
        let mut all = [base, first].into_iter().chain(rest);
        all.find(|a| has.contains(a)).unwrap_or(first)
    }

    /// [`Host::address`] and [`Host::base`] on a loopback network, `127.98.NUMBER.0/24`.
    pub(crate) fn on_loopback(&self, number: u8) -> (Ipv4Addr, Ipv4Addr) {
        let at = |octet| Ipv4Addr::new(127, 98, number, octet);
        (at(self.octet), at(self.base_octet))
    }

    /// MAC address of its `eth0`; the same after every boot.
    pub fn mac(&self) -> Mac {
        Mac::of(self.octet)
    }

    /// Its network namespace; a fresh one at every boot.
    pub fn namespace(&self) -> String {
        format!("backstay-{}", self.name)
    }
}

/// The address with this last part, of the lab's IPv4 network (a /24).
pub(crate) fn ipv4(octet: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, octet)
}

/// The address that reads alike in the lab's IPv6 network (a /64).
pub(crate) fn ipv6(octet: u8) -> Ipv6Addr {
    // Written, not counted: ...:101 beside 192.0.2.101.
    let number = u16::from(octet);
    let last = (number / 100 * 0x100) + (number / 10 % 10 * 0x10) + number % 10;
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// How many hosts there can be beyond the usual five.
pub(crate) const MOST_EXTRA: u8 = 15;

/// The usual five hosts and `extra` bare ones (at most [`MOST_EXTRA`]).
pub fn fleet(extra: u8) -> Vec<Host> {
    let mut hosts = vec![
        Host::new("n1", Kind::Regular, 101, 11),
        Host::new("n2", Kind::Regular, 102, 12),
        Host::new("n3", Kind::Regular, 103, 13),
        Host::new("sb1", Kind::Standby, 21, 21),
        Host::new("w1", Kind::Witness, 31, 31),
    ];
    hosts.extend(
        (1..=extra.min(MOST_EXTRA))
            .map(|n| Host::new(format!("x{n}"), Kind::Extra, 150 + n, 50 + n)),
    );
    hosts
}

/// The same on another network.
pub(crate) fn fleet_on(extra: u8, shape: Shape) -> Vec<Host> {
    let mut hosts = fleet(extra);
    for host in &mut hosts {
        host.shape = shape;
    }
    hosts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_are_those_of_the_design() {
        let hosts = fleet(2);
        let of = |name: &str| hosts.iter().find(|h| h.name == name).unwrap();
        assert_eq!(of("n1").address().to_string(), "192.0.2.101");
        assert_eq!(of("n3").base().to_string(), "192.0.2.13");
        assert_eq!(of("n2").address6().to_string(), "2001:db8::102");
        assert_eq!(of("sb1").address6().to_string(), "2001:db8::21");
        assert_eq!(of("w1").address(), of("w1").base());
        assert_eq!(of("x2").address().to_string(), "192.0.2.152");
        assert_eq!(of("n1").namespace(), "backstay-n1");
        let n1 = |links, ipv6| fleet_on(0, Shape { links, ipv6 }).remove(0);
        assert_eq!(of("n1").second_address(), None);
        assert_eq!(n1(2, false).second_address().unwrap(), "198.51.100.11/24");
        assert_eq!(n1(2, true).second_address().unwrap(), "2001:db8:2::11/64");
        assert_eq!(n1(1, true).first_addresses(), ["2001:db8::101/64"]);
        assert_eq!(n1(1, true).reached_at().1.to_string(), "2001:db8::11");
    }

    #[test]
    fn c16_a_host_that_lost_its_addresses_is_reached_at_what_it_still_has() {
        let n2 = fleet(0).remove(1);
        let at = |has: &[&str]| {
            let has: Vec<IpAddr> = has.iter().map(|a| a.parse().unwrap()).collect();
            n2.reached_with(&has).to_string()
        };
        assert_eq!(at(&["192.0.2.102", "2001:db8::102"]), "192.0.2.102");
        assert_eq!(at(&["192.0.2.102", "192.0.2.12"]), "192.0.2.12");
        assert_eq!(at(&["2001:db8::102"]), "2001:db8::102");
        assert_eq!(at(&[]), "192.0.2.102");
    }

    #[test]
    fn nothing_is_given_twice() {
        let hosts = fleet(MOST_EXTRA);
        let mut seen = BTreeSet::from([GATEWAY, CLIENT_OCTET, ASKER_OCTET]);
        for host in &hosts {
            assert!(seen.insert(host.octet), "{host:?}");
            assert!(
                host.octet == host.base_octet || seen.insert(host.base_octet),
                "{host:?}"
            );
        }
        let macs: BTreeSet<Mac> = hosts.iter().map(Host::mac).collect();
        assert_eq!(macs.len(), hosts.len());
    }

    #[test]
    fn mac_reads_what_it_writes_and_refuses_the_rest() {
        let mac = Mac::of(101);
        assert_eq!(mac.to_string(), "02:62:73:00:00:65");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for wrong in [
            "",
            "02:62:73:00:00",
            "02:62:73:00:00:65:1",
            "02:62:73:00:00:zz",
            "2:2:2:2:2:2",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
