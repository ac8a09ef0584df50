//! ARP and neighbour discovery as bytes, and the raw sockets they travel on.
//!
//! ARP: RFC 826, announcements and probes: RFC 5227. Neighbour discovery: RFC 4861. Everything received is
//! hostile until checked: lengths first, no indexing, no panic.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::libc::{EINTR, ENETDOWN};
use nix::sys::socket::{LinkAddr, SockaddrLike, bind};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// An Ethernet hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    const ZERO: Mac = Mac([0; 6]);
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// ARP's Ethernet type.
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
/// IPv6's Ethernet type.
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERNET: usize = 14;
const ARP_LEN: usize = 28;
const IPV6_LEN: usize = 40;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;

/// ARP's two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOp {
    /// Who has the target address?
    Request,
    /// The sender address is here.
    Reply,
}

/// One ARP packet for Ethernet and IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub op: ArpOp,
    /// The sender's hardware address.
    pub sender_mac: Mac,
    /// The sender's protocol address; unspecified in a probe.
    pub sender: Ipv4Addr,
    /// The target's hardware address; zero in a request.
    pub target_mac: Mac,
    /// The target's protocol address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// An announcement in request form: sender and target are the same address (RFC 5227 2.3).
    pub fn announce_request(mac: Mac, addr: Ipv4Addr) -> Self {
        Arp {
            op: ArpOp::Request,
            sender_mac: mac,
            sender: addr,
            target_mac: Mac::ZERO,
            target: addr,
        }
    }

    /// An announcement in reply form (RFC 5944 4.6: the target hardware address is the one to remember).
    pub fn announce_reply(mac: Mac, addr: Ipv4Addr) -> Self {
        Arp {
            op: ArpOp::Reply,
            sender_mac: mac,
            sender: addr,
            target_mac: mac,
            target: addr,
        }
    }

    /// A probe whether the address is in use: it claims nothing, its sender address is zero (RFC 5227 2.1.1).
    pub fn probe(mac: Mac, addr: Ipv4Addr) -> Self {
        Arp::ask(mac, Ipv4Addr::UNSPECIFIED, addr)
    }

    /// A plain question from `source`.
    pub fn ask(mac: Mac, source: Ipv4Addr, target: Ipv4Addr) -> Self {
        Arp {
            op: ArpOp::Request,
            sender_mac: mac,
            sender: source,
            target_mac: Mac::ZERO,
            target,
        }
    }

    /// The frame, broadcast.
    pub fn frame(&self) -> [u8; ETHERNET + ARP_LEN] {
        let mut frame = [0; ETHERNET + ARP_LEN];
        let op = match self.op {
            ArpOp::Request => 1u16,
            ArpOp::Reply => 2,
        };
        let fields: [&[u8]; 10] = [
            &Mac::BROADCAST.0,
            &self.sender_mac.0,
            &ETHERTYPE_ARP.to_be_bytes(),
            // Ethernet, IPv4, lengths 6 and 4
            &[0, 1, 8, 0, 6, 4],
            &op.to_be_bytes(),
            &self.sender_mac.0,
            &self.sender.octets(),
            &self.target_mac.0,
            &self.target.octets(),
            &[],
        ];
        fill(&mut frame, &fields);
        frame
    }

    /// Reads a frame; `None` for anything but well-formed ARP for Ethernet and IPv4.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        if frame.get(12..14)? != ETHERTYPE_ARP.to_be_bytes()
            || frame.get(14..20)? != [0, 1, 8, 0, 6, 4]
        {
            return None;
        }
        let op = match frame.get(20..22)? {
            [0, 1] => ArpOp::Request,
            [0, 2] => ArpOp::Reply,
            _ => return None,
        };
        Some(Arp {
            op,
            sender_mac: mac_at(frame, 22)?,
            sender: v4_at(frame, 28)?,
            target_mac: mac_at(frame, 32)?,
            target: v4_at(frame, 38)?,
        })
    }
}

/// One neighbour discovery message: a solicitation or an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// An advertisement; else a solicitation.
    pub advertisement: bool,
    /// The IPv6 source; unspecified in a probe.
    pub source: Ipv6Addr,
    /// The IPv6 destination.
    pub destination: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// The Ethernet source.
    pub frame_mac: Mac,
    /// The hardware address option, if present.
    pub option_mac: Option<Mac>,
}

/// Length of the frames made here: with one hardware address option.
const ND_FRAME: usize = ETHERNET + IPV6_LEN + 32;

impl Neighbour {
    /// An unsolicited advertisement to all nodes, with the override flag and the target's hardware address
    /// (RFC 4861 7.2.6).
    pub fn announce(mac: Mac, addr: Ipv6Addr) -> [u8; ND_FRAME] {
        let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let mut frame = [0; ND_FRAME];
        // Flags: override, neither router nor solicited.
        build(
            &mut frame,
            mac,
            (addr, all_nodes),
            (ADVERTISEMENT, 0x20),
            addr,
            Some(OPTION_TARGET_MAC),
        );
        frame
    }

    /// A question whether the address is in use, as in duplicate address detection: from the unspecified address,
    /// so without a hardware address option (RFC 4862 5.4.2).
    pub fn probe(mac: Mac, addr: Ipv6Addr) -> [u8; ND_FRAME - 8] {
        let mut frame = [0; ND_FRAME - 8];
        let to = solicited_node(addr);
        build(
            &mut frame,
            mac,
            (Ipv6Addr::UNSPECIFIED, to),
            (SOLICITATION, 0),
            addr,
            None,
        );
        frame
    }

    /// A plain solicitation from `source`.
    pub fn ask(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> [u8; ND_FRAME] {
        let mut frame = [0; ND_FRAME];
        let to = solicited_node(target);
        build(
            &mut frame,
            mac,
            (source, to),
            (SOLICITATION, 0),
            target,
            Some(OPTION_SOURCE_MAC),
        );
        frame
    }

    /// Reads a frame; `None` for anything but a solicitation or advertisement that RFC 4861 7.1 lets pass. The
    /// checksum is not looked at: on virtual links it is left for the hardware that does not exist.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        if frame.get(12..14)? != ETHERTYPE_IPV6.to_be_bytes() || frame.get(14)? >> 4 != 6 {
            return None;
        }
        let payload = usize::from(u16::from_be_bytes(*frame.get(18..20)?.first_chunk()?));
        let (next, hops) = (*frame.get(20)?, *frame.get(21)?);
        // Hop limit 255: it has crossed no router.
        if next != ICMPV6 || hops != 255 || payload < 24 {
            return None;
        }
        let message = frame.get(ETHERNET + IPV6_LEN..)?.get(..payload)?;
        let (kind, code) = (*message.first()?, *message.get(1)?);
        if code != 0 || !matches!(kind, SOLICITATION | ADVERTISEMENT) {
            return None;
        }
        let wanted = if kind == ADVERTISEMENT {
            OPTION_TARGET_MAC
        } else {
            OPTION_SOURCE_MAC
        };
        let target = v6_at(message, 8)?;
        if target.is_multicast() {
            return None;
        }
        Some(Neighbour {
            advertisement: kind == ADVERTISEMENT,
            source: v6_at(frame, 22)?,
            destination: v6_at(frame, 38)?,
            target,
            frame_mac: mac_at(frame, 6)?,
            option_mac: option_mac(message.get(24..)?, wanted).ok()?,
        })
    }
}

/// Finds the hardware address option; `Err` if an option is malformed (RFC 4861 6.1: length zero drops it all).
fn option_mac(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Malformed> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let (option, rest) = options
            .split_at_checked(usize::from(units) * 8)
            .ok_or(Malformed)?;
        if option.is_empty() {
            return Err(Malformed);
        }
        if kind == wanted && units == 1 {
            found = mac_at(option, 2);
        }
        options = rest;
    }
    Ok(found)
}

/// Options that do not add up.
struct Malformed;

/// The multicast address on which the owner of `addr` listens (RFC 4291 2.7.1).
fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

fn build(
    frame: &mut [u8],
    mac: Mac,
    (source, to): (Ipv6Addr, Ipv6Addr),
    (kind, flags): (u8, u8),
    target: Ipv6Addr,
    option: Option<u8>,
) {
    let [.., a, b, c, d] = to.octets();
    let payload: u16 = if option.is_some() { 32 } else { 24 };
    let option_head = option.map_or([0, 0], |kind| [kind, 1]);
    let option: [&[u8]; 2] = if option.is_some() {
        [&option_head, &mac.0]
    } else {
        [&[], &[]]
    };
    let fields: [&[u8]; 10] = [
        &[0x33, 0x33, a, b, c, d],
        &mac.0,
        &ETHERTYPE_IPV6.to_be_bytes(),
        &[
            0x60,
            0,
            0,
            0,
            (payload >> 8) as u8,
            payload as u8,
            ICMPV6,
            255,
        ],
        &source.octets(),
        &to.octets(),
        &[kind, 0, 0, 0, flags, 0, 0, 0],
        &target.octets(),
        option[0],
        option[1],
    ];
    fill(frame, &fields);
    let sum = checksum(source, to, &frame[ETHERNET + IPV6_LEN..]);
    frame[ETHERNET + IPV6_LEN + 2..ETHERNET + IPV6_LEN + 4].copy_from_slice(&sum.to_be_bytes());
}

/// The checksum of ICMP for IPv6 over pseudo-header and message (RFC 4443 2.3).
fn checksum(source: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
            .sum()
    };
    let mut sum = words(&source.octets()) + words(&to.octets()) + words(message);
    sum += u32::try_from(message.len()).unwrap_or(0) + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Writes fields one after the other.
fn fill(frame: &mut [u8], fields: &[&[u8]]) {
    let mut at = 0;
    for field in fields {
        frame[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
}

fn mac_at(bytes: &[u8], at: usize) -> Option<Mac> {
    bytes.get(at..)?.first_chunk().copied().map(Mac)
}

fn v4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .copied()
        .map(Ipv4Addr::from)
}

fn v6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes
        .get(at..)?
        .first_chunk::<16>()
        .copied()
        .map(Ipv6Addr::from)
}

/// A raw socket on one interface, never blocking.
#[derive(Debug)]
pub(super) struct PacketSocket {
    socket: Socket,
    mac: Mac,
}

impl PacketSocket {
    /// Opens a socket in the calling thread's network namespace. Needs `CAP_NET_RAW`.
    ///
    /// `receive` is the Ethernet type to hear, or `None` for a socket that only sends. The kernel hands frames of
    /// one type to such a socket before netfilter, and not those that this machine sends.
    pub(super) fn open(interface: &str, receive: Option<u16>) -> io::Result<Self> {
        let link = link_address(interface)?;
        let mac = link
            .addr()
            .map(Mac)
            .filter(|_| link.halen() == 6)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("{interface} is not an Ethernet interface"),
                )
            })?;
        let protocol = receive.map_or(0, |kind| i32::from(kind.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(protocol)))?;
        socket.set_nonblocking(true)?;
        if receive == Some(ETHERTYPE_IPV6) {
            socket.attach_filter(&NEIGHBOUR_FILTER)?;
        }
        // The address has protocol 0: the kernel then keeps the socket's own.
        bind(socket.as_raw_fd(), &link)?;
        let this = PacketSocket { socket, mac };
        if receive.is_some() {
            // What came from other interfaces between opening and binding.
            while this.receive(&mut [0; 64])?.is_some() {}
        }
        Ok(this)
    }

    /// The interface's hardware address when the socket was opened.
    pub(super) fn mac(&self) -> Mac {
        self.mac
    }

    /// Sends a whole frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// Takes the next frame, cut to the buffer; `None` when there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match (&self.socket).read(buffer) {
                Ok(len) => Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                // A packet socket reports once that its interface went down; it hears again when it is up.
                Err(error) if matches!(error.raw_os_error(), Some(EINTR | ENETDOWN)) => continue,
                Err(error) => Err(error),
            };
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Classic BPF: solicitations and advertisements only, so that a busy service's packets are not copied.
const NEIGHBOUR_FILTER: [SockFilter; 7] = {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, (ETHERNET + 6) as u32),
        SockFilter::new(JUMP_EQUAL, 0, 4, ICMPV6 as u32),
        SockFilter::new(LOAD_BYTE, 0, 0, (ETHERNET + IPV6_LEN) as u32),
        SockFilter::new(JUMP_EQUAL, 1, 0, SOLICITATION as u32),
        SockFilter::new(JUMP_EQUAL, 0, 1, ADVERTISEMENT as u32),
        SockFilter::new(RETURN, 0, 0, 0xffff),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
};

/// The interface's link-layer socket address. `getifaddrs` is the one safe way to a filled-in `sockaddr_ll`.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| {
            entry
                .address
                .and_then(|address| address.as_link_addr().copied())
        })
        .filter(|link| link.len() > 0)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no interface {interface}"),
            )
        })
}

/// What a frame says about an address: who uses it, or who asks whether it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The sender uses the address: it answered, announced, or asked from it.
    Use,
    /// The sender probes whether the address is free, so it is about to use it (RFC 5227 2.1.1).
    Probe,
}

/// Reads a frame of either protocol as a statement about one address.
pub(super) fn statement(frame: &[u8]) -> Option<(IpAddr, Mac, Sign)> {
    if let Some(arp) = Arp::parse(frame) {
        return Some(if arp.sender.is_unspecified() {
            (arp.target.into(), arp.sender_mac, Sign::Probe)
        } else {
            (arp.sender.into(), arp.sender_mac, Sign::Use)
        });
    }
    let nd = Neighbour::parse(frame)?;
    let mac = nd.option_mac.unwrap_or(nd.frame_mac);
    Some(match (nd.advertisement, nd.source.is_unspecified()) {
        (true, _) => (nd.target.into(), mac, Sign::Use),
        (false, true) => (nd.target.into(), mac, Sign::Probe),
        (false, false) => (nd.source.into(), mac, Sign::Use),
    })
}

#[cfg(test)]
mod tests;
