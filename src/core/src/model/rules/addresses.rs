//! Addresses and subnets.

use core::net::IpAddr;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Found;
use crate::model::{Alias, ClusterDocument, Member, Role, Service};

/// Why an address can't be a machine's own; none: it can.
fn unusable(net: &IpNet) -> Option<&'static str> {
    let ip = net.addr();
    // In a subnet of two addresses (RFC 3021, RFC 6164) both are hosts.
    let room = net.max_prefix_len() - net.prefix_len() >= 2;
    if ip.is_unspecified() {
        Some("is the unspecified address")
    } else if ip.is_multicast() {
        Some("is a multicast address")
    } else if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        Some("is link-local, which means nothing without its interface")
    } else if room && ip == net.network() {
        Some("is the subnet itself, not an address in it")
    } else if room && ip.is_ipv4() && ip == net.broadcast() {
        Some("is the subnet's broadcast address")
    } else if net.prefix_len() == 0 {
        Some("has a subnet of all addresses")
    } else {
        None
    }
}

/// C14: every node has base addresses that a machine can have.
pub(super) fn c14_base_addresses(d: &ClusterDocument, found: &mut Found) {
    for m in &d.members {
        let place = format!("node {}", m.name);
        if m.bases.is_empty() {
            found.add(
                "C14",
                &place,
                "it has no base address",
                "the address that stays with the machine, with its prefix length",
            );
        }
        for base in &m.bases {
            if let Some(why) = unusable(base) {
                found.add(
                    "C14",
                    &place,
                    format!("its base address {base} {why}"),
                    "an address of one machine, with its prefix length",
                );
            }
        }
    }
}

/// C14: aliases are addresses that a machine can have.
pub(super) fn c14_alias_addresses(d: &ClusterDocument, found: &mut Found) {
    for (s, alias) in aliases(d) {
        // A full-length prefix is usual for an address that comes and goes.
        if let Some(why) = unusable(&alias.address) {
            found.add(
                "C14",
                format!("service {}", s.name),
                format!("its alias {} {why}", alias.address),
                "an address of one machine, with its prefix length",
            );
        }
    }
}

fn aliases(d: &ClusterDocument) -> impl Iterator<Item = (&Service, &Alias)> {
    d.services
        .iter()
        .flat_map(|s| s.aliases.iter().map(move |a| (s, a)))
}

/// The base address of that node on whose subnet the address lies.
fn base_for(member: &Member, ip: IpAddr) -> Option<&IpNet> {
    member.bases.iter().find(|b| b.contains(&ip))
}

fn list(nets: &[IpNet]) -> String {
    nets.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// C4: all nodes that share an alias are on its subnet; the witness need not be.
pub(super) fn c4_one_subnet(d: &ClusterDocument, found: &mut Found) {
    // Once for each node and subnet, however many aliases there are.
    let mut told: BTreeMap<(String, IpNet), String> = BTreeMap::new();
    for (s, alias) in aliases(d) {
        let Some(home) = s.home().and_then(|h| d.member(h)) else {
            continue;
        };
        let Some(base) = base_for(home, alias.ip()) else {
            continue; // C5 says so.
        };
        for node in s.nodes.iter().skip(1).filter_map(|n| d.member(n)) {
            if node.role != Role::Witness && !node.bases.iter().any(|b| b.trunc() == base.trunc()) {
                told.entry((node.name.to_string(), base.trunc()))
                    .or_insert_with(|| {
                        format!(
                            "its base addresses ({}) are not on {}, where {} and its service {} are",
                            list(&node.bases),
                            base.trunc(),
                            home.name,
                            s.name
                        )
                    });
            }
        }
    }
    for ((node, subnet), what) in told {
        found.add(
            "C4",
            format!("node {node}"),
            what,
            format!("all nodes that share aliases have a base address on one subnet: give {node} one on {subnet}"),
        );
    }
}

/// C5: each alias is on the subnet of its base address.
pub(super) fn c5_alias_on_base_subnet(d: &ClusterDocument, found: &mut Found) {
    for (s, alias) in aliases(d) {
        let Some(home) = s.home().and_then(|h| d.member(h)) else {
            continue;
        };
        let place = format!("service {}", s.name);
        match base_for(home, alias.ip()) {
            None => found.add(
                "C5",
                place,
                format!(
                    "its alias {} is on no subnet of {}'s base addresses ({})",
                    alias.address,
                    home.name,
                    list(&home.bases)
                ),
                "an alias on the subnet of its home's base address",
            ),
            Some(base)
                if alias.address.prefix_len() != base.prefix_len()
                    && alias.address.prefix_len() != alias.address.max_prefix_len() =>
            {
                found.add(
                    "C5",
                    place,
                    format!(
                        "its alias {} has another prefix length than {}'s base address {base}",
                        alias.address, home.name
                    ),
                    format!("{}/{}", alias.ip(), base.prefix_len()),
                );
            }
            Some(_) => {}
        }
    }
}

/// Every address of a document with whose it is.
pub(super) fn owners(d: &ClusterDocument) -> Vec<(IpAddr, String)> {
    let bases = d.members.iter().flat_map(|m| {
        m.bases
            .iter()
            .map(move |b| (b.addr(), format!("node {}'s base address", m.name)))
    });
    let aliases = aliases(d).map(|(s, a)| (a.ip(), format!("service {}'s alias", s.name)));
    bases.chain(aliases).collect()
}

/// C13: an address stands once in the document; an alias is nobody's base address.
pub(super) fn c13_addresses(d: &ClusterDocument, found: &mut Found) {
    for (ip, second, first) in super::repeated(owners(d)) {
        found.add(
            "C13",
            format!("address {ip}"),
            format!("it is {first} and {second}"),
            "each address belongs to one node or one service",
        );
    }
}

/// S1: the reference address is outside equipment.
pub(super) fn s1_reference(d: &ClusterDocument, found: &mut Found) {
    let Some(reference) = d.reference else {
        return;
    };
    if let Some((_, whose)) = owners(d).into_iter().find(|(ip, _)| *ip == reference) {
        found.add(
            "S1",
            "reference",
            format!("{reference} is {whose}"),
            "an address outside the cluster that answers when the network works, such as the gateway",
        );
    }
}

/// A6: links are told apart by the order of base addresses, so networks come in one order on all nodes.
pub(super) fn a6_links_in_one_order(d: &ClusterDocument, found: &mut Found) {
    for (at, one) in d.members.iter().enumerate() {
        for other in &d.members[at + 1..] {
            let pairs = one.bases.iter().zip(&other.bases).enumerate();
            for (link, (mine, theirs)) in pairs.filter(|(_, (a, b))| a.trunc() != b.trunc()) {
                let on = |base: &IpNet| base.trunc() == mine.trunc();
                if let Some(place) = other.bases.iter().position(on) {
                    found.add(
                        "A6",
                        format!("node {}", other.name),
                        format!(
                            "its base address {} is its number {}, {}'s {mine} on the same network is number {}; its number {} is {theirs}",
                            other.bases[place],
                            place + 1,
                            one.name,
                            link + 1,
                            link + 1
                        ),
                        "base addresses in the same order of networks on every node",
                    );
                    break;
                }
            }
        }
    }
}
