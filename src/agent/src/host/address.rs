//! Addresses and links, by rtnetlink.
//!
//! rtnetlink works inside `sendmsg` and its confirmation lies in the socket when that returns, so nothing here
//! waits, except for the kernel's own lock while somebody else changes the network.

mod watch;

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::libc::{EADDRNOTAVAIL, EAGAIN, EEXIST, EINTR, MSG_DONTWAIT};

use super::packet::Mac;

pub use watch::{NetworkEvent, NetworkWatch};

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address with its prefix length.
    pub net: IpNet,
    /// IPv4: another address of the subnet came first and is the one that own traffic leaves from.
    pub secondary: bool,
    /// IPv6: not chosen for own traffic.
    pub deprecated: bool,
    /// IPv6: not usable yet or at all (duplicate address detection runs or has failed).
    pub tentative: bool,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number; changes when the interface is created anew.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, if it is Ethernet.
    pub mac: Option<Mac>,
    /// Administratively up.
    pub up: bool,
    /// The other end of the cable is there.
    pub carrier: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// Its addresses in the kernel's order.
    pub addresses: Vec<Address>,
}

impl Interface {
    /// Whether it carries the address, whatever the prefix.
    pub fn carries(&self, addr: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|address| address.net.addr() == addr)
    }
}

/// Whether a command changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Changed,
    /// It was so already.
    Already,
}

/// A socket for commands and questions.
pub struct Network {
    socket: Socket,
    seq: u32,
    out: Vec<u8>,
    received: Vec<u8>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// Opens the socket in the calling thread's network namespace. Changes need `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        Ok(Network {
            socket,
            seq: 0,
            out: Vec::with_capacity(1024),
            received: Vec::with_capacity(64 * 1024),
        })
    }

    /// Puts an alias on an interface; [`Outcome::Already`] if it is there.
    ///
    /// It must not become the address that the node's own traffic leaves from: IPv4: with the prefix of the base
    /// address, which is there first, the kernel makes it secondary; IPv6: it is added as deprecated (preferred
    /// lifetime 0), without duplicate detection, which the probe (A2) and the gate replace, and without a prefix
    /// route.
    pub fn add(&mut self, index: u32, net: IpNet) -> io::Result<Outcome> {
        let mut message = address_message(index, net);
        if net.addr().is_ipv6() {
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut cache = CacheInfo::default();
            cache.ifa_preferred = 0;
            cache.ifa_valid = u32::MAX;
            message.attributes.extend([
                AddressAttribute::Flags(flags),
                AddressAttribute::CacheInfo(cache),
            ]);
        }
        if let IpNet::V4(v4) = net
            && v4.prefix_len() < 31
        {
            message
                .attributes
                .push(AddressAttribute::Broadcast(v4.broadcast()));
        }
        self.put(message)
    }

    /// Puts a base address on an interface: the node's own, which its traffic may leave from. IPv6: with a prefix
    /// route, for the subnet must stay in reach when the address that came with the interface's configuration, which
    /// is the alias now, goes away; usable at once, without waiting for duplicate detection.
    pub fn add_base(&mut self, index: u32, net: IpNet) -> io::Result<Outcome> {
        if net.addr().is_ipv4() {
            return self.add(index, net);
        }
        let mut message = address_message(index, net);
        message.header.flags = AddressHeaderFlags::Nodad;
        self.put(message)
    }

    fn put(&mut self, message: AddressMessage) -> io::Result<Outcome> {
        let payload = RouteNetlinkMessage::NewAddress(message);
        self.command(payload, NLM_F_CREATE | NLM_F_EXCL, EEXIST)
    }

    /// C15: an IPv6 address that was an alias becomes one that own traffic may leave from, for ever.
    pub fn make_ordinary(&mut self, index: u32, net: IpNet) -> io::Result<Outcome> {
        let mut message = address_message(index, net);
        let mut cache = CacheInfo::default();
        cache.ifa_preferred = u32::MAX;
        cache.ifa_valid = u32::MAX;
        let flags = AddressFlags::Nodad;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.extend([
            AddressAttribute::Flags(flags),
            AddressAttribute::CacheInfo(cache),
        ]);
        let payload = RouteNetlinkMessage::NewAddress(message);
        self.command(payload, NLM_F_CREATE | NLM_F_REPLACE, EEXIST)
    }

    /// Takes an address off an interface; [`Outcome::Already`] if it is not there. The prefix must be that of
    /// [`Interface::addresses`].
    ///
    /// Removing the first IPv4 address of a subnet would take the others of the subnet along; the interface's
    /// `promote_secondaries` is set before, so that the next one moves up.
    pub fn remove(&mut self, interface: &Interface, net: IpNet) -> io::Result<Outcome> {
        if net.addr().is_ipv4() {
            promote_secondaries(&interface.name)?;
        }
        let payload = RouteNetlinkMessage::DelAddress(address_message(interface.index, net));
        self.command(payload, 0, EADDRNOTAVAIL)
    }

    /// All interfaces with their addresses.
    pub fn interfaces(&mut self) -> io::Result<Vec<Interface>> {
        let mut found = Vec::new();
        self.dump(
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            |payload| {
                if let RouteNetlinkMessage::NewLink(link) = payload {
                    found.push(interface_of(&link));
                }
            },
        )?;
        self.dump(
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            |payload| {
                let RouteNetlinkMessage::NewAddress(message) = payload else {
                    return;
                };
                let owner = found
                    .iter_mut()
                    .find(|interface| interface.index == message.header.index);
                if let (Some(interface), Some(address)) = (owner, address_of(&message)) {
                    interface.addresses.push(address);
                }
            },
        )?;
        Ok(found)
    }

    /// The interface that carries an address (a base address).
    pub fn carrier_of(&mut self, addr: IpAddr) -> io::Result<Option<Interface>> {
        Ok(self
            .interfaces()?
            .into_iter()
            .find(|interface| interface.carries(addr)))
    }

    /// The interface on whose subnet an address lies, with the most specific prefix first; loopback excluded.
    pub fn subnet_of(&mut self, addr: IpAddr) -> io::Result<Option<(Interface, IpNet)>> {
        let mut best: Option<(Interface, IpNet)> = None;
        for interface in self
            .interfaces()?
            .into_iter()
            .filter(|interface| !interface.loopback)
        {
            let nets = interface.addresses.iter().map(|address| address.net);
            let Some(net) = nets
                .filter(|net| net.contains(&addr))
                .max_by_key(IpNet::prefix_len)
            else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|(_, known)| known.prefix_len() < net.prefix_len())
            {
                best = Some((interface, net));
            }
        }
        Ok(best)
    }

    /// The default gateways of an interface (of all, with `None`), the preferred route first.
    pub fn gateways(&mut self, index: Option<u32>) -> io::Result<Vec<IpAddr>> {
        let mut found: Vec<(u32, IpAddr)> = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            self.dump(RouteNetlinkMessage::GetRoute(message), |payload| {
                if let RouteNetlinkMessage::NewRoute(route) = payload {
                    found.extend(gateways_of(&route, index));
                }
            })?;
        }
        found.sort_by_key(|(priority, _)| *priority);
        found.dedup_by_key(|(_, gateway)| *gateway);
        Ok(found.into_iter().map(|(_, gateway)| gateway).collect())
    }

    fn send(&mut self, payload: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        while self.receive()? {}
        self.seq = if self.seq > u32::MAX / 2 {
            1
        } else {
            self.seq + 1
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.seq;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(payload));
        message.finalize();
        self.out.resize(message.buffer_len(), 0);
        message.serialize(&mut self.out);
        self.socket.send(&self.out, 0)?;
        Ok(self.seq)
    }

    fn receive(&mut self) -> io::Result<bool> {
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, MSG_DONTWAIT) {
                Ok(_) => return Ok(true),
                Err(error) if error.raw_os_error() == Some(EAGAIN) => return Ok(false),
                Err(error) if error.raw_os_error() == Some(EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn command(
        &mut self,
        payload: RouteNetlinkMessage,
        flags: u16,
        fine: i32,
    ) -> io::Result<Outcome> {
        let seq = self.send(payload, flags | NLM_F_ACK)?;
        while self.receive()? {
            for message in
                messages(&self.received).filter(|message| message.header.sequence_number == seq)
            {
                let NetlinkPayload::Error(answer) = message.payload else {
                    continue;
                };
                return match -answer.raw_code() {
                    0 => Ok(Outcome::Changed),
                    errno if errno == fine => Ok(Outcome::Already),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the kernel did not confirm an address change",
        ))
    }

    fn dump(
        &mut self,
        payload: RouteNetlinkMessage,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let seq = self.send(payload, NLM_F_DUMP)?;
        while self.receive()? {
            for message in
                messages(&self.received).filter(|message| message.header.sequence_number == seq)
            {
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(answer) => return Err(answer.to_io()),
                    NetlinkPayload::InnerMessage(payload) => each(payload),
                    _ => {}
                }
            }
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the kernel did not finish a list",
        ))
    }
}

/// Splits a datagram; messages of kinds that the library cannot read are passed over.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    std::iter::from_fn(move || {
        loop {
            let len = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
            let message = bytes.get(..len).filter(|message| message.len() >= 16)?;
            bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
            if let Ok(message) = NetlinkMessage::deserialize(message) {
                return Some(message);
            }
        }
    })
}

fn address_message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if net.addr().is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message.header.prefix_len = net.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(net.addr()),
        AddressAttribute::Address(net.addr()),
    ];
    message
}

fn interface_of(link: &LinkMessage) -> Interface {
    let flags = link.header.flags;
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        mac: None,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        addresses: Vec::new(),
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Address(mac) => {
                interface.mac = <[u8; 6]>::try_from(mac.as_slice()).ok().map(Mac);
            }
            _ => {}
        }
    }
    interface
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => peer = Some(*addr),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // IPv6 has no "local" unless the link is point-to-point.
    let addr = local.or(peer)?;
    Some(Address {
        net: IpNet::new(addr, message.header.prefix_len).ok()?,
        // The same bit means "temporary" for IPv6.
        secondary: addr.is_ipv4() && flags.contains(AddressFlags::Secondary),
        deprecated: flags.contains(AddressFlags::Deprecated),
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
    })
}

/// The gateways of a default route of the main table, each with the route's priority.
fn gateways_of(route: &RouteMessage, index: Option<u32>) -> Vec<(u32, IpAddr)> {
    let header = &route.header;
    if header.destination_prefix_length != 0 || header.table != RouteHeader::RT_TABLE_MAIN {
        return Vec::new();
    }
    let priority = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Priority(priority) => Some(*priority),
            _ => None,
        });
    let mut hops = vec![(None, route.attributes.as_slice())];
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(paths) = attribute {
            hops.extend(
                paths
                    .iter()
                    .map(|hop| (Some(hop.interface_index), hop.attributes.as_slice())),
            );
        }
    }
    hops.into_iter()
        .filter_map(|(known, attributes)| {
            let (mut out, mut gateway) = (known, None);
            for attribute in attributes {
                match attribute {
                    RouteAttribute::Oif(index) => out = Some(*index),
                    RouteAttribute::Gateway(RouteAddress::Inet(v4)) => {
                        gateway = Some(IpAddr::V4(*v4));
                    }
                    RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => {
                        gateway = Some(IpAddr::V6(*v6));
                    }
                    _ => {}
                }
            }
            (index.is_none() || out == index).then_some((priority.unwrap_or(0), gateway?))
        })
        .collect()
}

/// Lets the next address of a subnet move up when the first is removed.
fn promote_secondaries(interface: &str) -> io::Result<()> {
    // A name with a dot (a VLAN) is a folder like any other here; one with a slash cannot exist.
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries");
    if std::fs::read_to_string(&path).is_ok_and(|value| value.trim() != "0") {
        return Ok(());
    }
    std::fs::write(path, "1")
}

/// The source address that the kernel would choose for a destination; `None` if there is no route.
pub fn source_for(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if destination.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    // Connecting a datagram socket sends nothing.
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect((destination, 9)).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

#[cfg(test)]
mod tests;
