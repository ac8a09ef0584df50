//! Ethernet frames that the prober sends and reads. Pure.
//!
//! ARP: RFC 826, gratuitous forms RFC 5227; neighbour discovery: RFC 4861.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::plan::Mac;

/// `EtherType` of ARP.
pub(super) const ARP: u16 = 0x0806;
/// `EtherType` of IPv6.
pub(super) const IPV6: u16 = 0x86dd;
const IPV4: u16 = 0x0800;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// One end of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub mac: Mac,
    pub address: IpAddr,
    pub port: u16,
}

/// What a frame says about who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub mac: Mac,
    pub form: Form,
}

/// How an address was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// To all, as an ARP request for its own address.
    ArpRequest,
    /// To all, as an ARP reply; or a reply for its own address to itself.
    ArpReply,
    /// To all, as an unsolicited neighbour advertisement.
    Advertisement,
    /// To the one who asked.
    Answer,
}

fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&from.0);
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The internet checksum (RFC 1071) over several parts of even length, but for
/// the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let high = u32::from(pair[0]) << 8;
        sum += high | pair.get(1).map_or(0, |low| u32::from(*low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP datagram in a frame to exactly one station, whatever the address in it.
/// None if the ends are of different families or the payload is too long.
pub(super) fn udp(from: End, to: End, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + payload.len()).ok()?;
    let mut datagram = Vec::with_capacity(usize::from(length));
    for word in [from.port, to.port, length, 0] {
        datagram.extend_from_slice(&word.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    match (from.address, to.address) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            // Over IPv4 a checksum of 0 means none (RFC 768).
            let packet = ipv4(source, target, &datagram)?;
            Some(ethernet(to.mac, from.mac, IPV4, &packet))
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let sum = checksum6(source, target, UDP, &datagram);
            // A sum of 0 is sent as all ones (RFC 8200, section 8.1).
            let sum = if sum == 0 { 0xffff } else { sum };
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
            let packet = ipv6(source, target, UDP, &datagram)?;
            Some(ethernet(to.mac, from.mac, IPV6, &packet))
        }
        _ => None,
    }
}

fn ipv4(source: Ipv4Addr, target: Ipv4Addr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(20 + payload.len()).ok()?;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&length.to_be_bytes());
    // Identification 0, don't fragment, time to live 64, checksum to come.
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&target.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    Some(packet)
}

fn ipv6(source: Ipv6Addr, target: Ipv6Addr, next: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.len()).ok()?;
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&length.to_be_bytes());
    // Neighbour discovery requires a hop limit of 255.
    packet.extend_from_slice(&[next, 255]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&target.octets());
    packet.extend_from_slice(payload);
    Some(packet)
}

fn checksum6(source: Ipv6Addr, target: Ipv6Addr, next: u8, payload: &[u8]) -> u16 {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    checksum(&[
        &source.octets(),
        &target.octets(),
        &length.to_be_bytes(),
        &[0, 0, 0, next],
        payload,
    ])
}

/// The question "who has this address", to all.
pub(super) fn who_has(mac: Mac, asker: IpAddr, address: IpAddr) -> Option<Vec<u8>> {
    match (asker, address) {
        (IpAddr::V4(asker), IpAddr::V4(address)) => {
            // Ethernet, IPv4, address lengths, request.
            let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
            arp.extend_from_slice(&mac.0);
            arp.extend_from_slice(&asker.octets());
            arp.extend_from_slice(&[0; 6]);
            arp.extend_from_slice(&address.octets());
            Some(ethernet(Mac::BROADCAST, mac, ARP, &arp))
        }
        (IpAddr::V6(asker), IpAddr::V6(address)) => {
            let mut ask = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            ask.extend_from_slice(&address.octets());
            // Option: source link-layer address, one unit of 8 bytes.
            ask.extend_from_slice(&[1, 1]);
            ask.extend_from_slice(&mac.0);
            let [.., a, b, c] = address.octets();
            let group = Ipv6Addr::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(a),
                u16::from(b) << 8 | u16::from(c),
            );
            let sum = checksum6(asker, group, ICMPV6, &ask);
            ask[2..4].copy_from_slice(&sum.to_be_bytes());
            let packet = ipv6(asker, group, ICMPV6, &ask)?;
            Some(ethernet(
                Mac([0x33, 0x33, 0xff, a, b, c]),
                mac,
                IPV6,
                &packet,
            ))
        }
        _ => None,
    }
}

/// Who claims `address` in this frame, if anyone does.
pub(super) fn claim(frame: &[u8], address: IpAddr) -> Option<Claim> {
    let to: [u8; 6] = frame.get(..6)?.try_into().ok()?;
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let payload = &frame[14..];
    let to_all = to[0] & 1 == 1;
    match (kind, address) {
        (ARP, IpAddr::V4(address)) => claim4(payload, address, to_all),
        (IPV6, IpAddr::V6(address)) => claim6(frame, payload, address, to_all),
        _ => None,
    }
}

fn claim4(arp: &[u8], address: Ipv4Addr, to_all: bool) -> Option<Claim> {
    let arp = arp.get(..28)?;
    let sender = &arp[14..18];
    if arp[..6] != [0, 1, 8, 0, 6, 4] || sender != address.octets() {
        return None;
    }
    let own = arp[24..28] == *sender;
    let form = match (arp[7], own || to_all) {
        (1, _) if own => Form::ArpRequest,
        (2, true) => Form::ArpReply,
        (2, false) => Form::Answer,
        _ => return None,
    };
    Some(Claim {
        mac: Mac(arp[8..14].try_into().ok()?),
        form,
    })
}

fn claim6(frame: &[u8], packet: &[u8], address: Ipv6Addr, to_all: bool) -> Option<Claim> {
    let advertisement = packet.get(40..64)?;
    if packet[6] != ICMPV6
        || advertisement[0] != NEIGHBOUR_ADVERTISEMENT
        || advertisement[8..24] != address.octets()
    {
        return None;
    }
    // Option: target link-layer address; without it the frame's own source.
    let mac = match packet.get(64..72) {
        Some([2, 1, mac @ ..]) => Mac(mac.try_into().ok()?),
        _ => Mac(frame[6..12].try_into().ok()?),
    };
    let form = if to_all {
        Form::Advertisement
    } else {
        Form::Answer
    };
    Some(Claim { mac, form })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(octet: u8, address: &str, port: u16) -> End {
        End {
            mac: Mac::of(octet),
            address: address.parse().unwrap(),
            port,
        }
    }

    #[test]
    fn a_datagram_carries_valid_checksums() {
        let frame = udp(
            end(41, "192.0.2.41", 5),
            end(1, "192.0.2.101", 7000),
            b"odd",
        )
        .unwrap();
        assert_eq!(frame[..6], Mac::of(1).0);
        // A header with its checksum sums to zero (RFC 1071).
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        assert_eq!(frame.len(), 14 + 20 + 8 + 3);
        let frame = udp(
            end(41, "2001:db8::41", 5),
            end(1, "2001:db8::101", 7000),
            b"odd",
        )
        .unwrap();
        let (source, target) = (
            "2001:db8::41".parse().unwrap(),
            "2001:db8::101".parse().unwrap(),
        );
        assert_eq!(checksum6(source, target, UDP, &frame[54..]), 0);
        assert!(udp(end(41, "192.0.2.41", 5), end(1, "2001:db8::1", 5), b"").is_none());
    }

    #[test]
    fn announcements_are_told_from_answers() {
        let alias: IpAddr = "192.0.2.101".parse().unwrap();
        let mut gratuitous = who_has(Mac::of(21), alias, alias).unwrap();
        let claimed = |frame: &[u8]| claim(frame, alias);
        let by = |form| {
            Some(Claim {
                mac: Mac::of(21),
                form,
            })
        };
        assert_eq!(claimed(&gratuitous), by(Form::ArpRequest));
        gratuitous[14 + 7] = 2;
        assert_eq!(claimed(&gratuitous), by(Form::ArpReply));
        // An answer: to one station, for another's address.
        gratuitous[..6].copy_from_slice(&Mac::of(42).0);
        gratuitous[14 + 24..14 + 28].copy_from_slice(&[192, 0, 2, 42]);
        assert_eq!(claimed(&gratuitous), by(Form::Answer));
        // A question of the holder about somebody else claims nothing.
        let other = who_has(Mac::of(21), alias, "192.0.2.7".parse().unwrap()).unwrap();
        assert_eq!(claimed(&other), None);
        assert_eq!(claim(&gratuitous, "192.0.2.102".parse().unwrap()), None);
    }

    #[test]
    fn advertisements_are_read_in_both_forms() {
        let alias: IpAddr = "2001:db8::101".parse().unwrap();
        let mut frame = who_has(Mac::of(21), "2001:db8::21".parse().unwrap(), alias).unwrap();
        assert_eq!(claim(&frame, alias), None);
        frame[14 + 40] = NEIGHBOUR_ADVERTISEMENT;
        frame[14 + 64] = 2;
        let by = |form| {
            Some(Claim {
                mac: Mac::of(21),
                form,
            })
        };
        assert_eq!(claim(&frame, alias), by(Form::Advertisement));
        frame[..6].copy_from_slice(&Mac::of(42).0);
        assert_eq!(claim(&frame, alias), by(Form::Answer));
    }

    #[test]
    fn frames_cut_short_are_no_claims() {
        let alias: IpAddr = "192.0.2.101".parse().unwrap();
        let whole = who_has(Mac::of(21), alias, alias).unwrap();
        for length in 0..whole.len() {
            assert_eq!(claim(&whole[..length], alias), None, "{length}");
        }
        let alias: IpAddr = "2001:db8::101".parse().unwrap();
        let whole = who_has(Mac::of(21), alias, alias).unwrap();
        for length in 0..whole.len() {
            assert_eq!(claim(&whole[..length], alias), None, "{length}");
        }
    }
}
