//! Hearing of changes of links and addresses.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::libc::{EAGAIN, EINTR, ENOBUFS, MSG_DONTWAIT};

use super::{Address, Interface, address_of, interface_of, messages};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR` of rtnetlink.h.
const GROUPS: [u32; 3] = [1, 5, 9];

/// Something that happened to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// An interface appeared or changed.
    Link {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
        /// Administratively up.
        up: bool,
        /// The other end of the cable is there.
        carrier: bool,
    },
    /// An interface is gone.
    LinkGone {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
    },
    /// An address was added, or changed.
    AddressAdded {
        /// On which interface.
        index: u32,
        /// The address.
        address: Address,
    },
    /// An address was removed (A3).
    AddressRemoved {
        /// From which interface.
        index: u32,
        /// The address.
        address: Address,
    },
    /// The kernel dropped events because they came too fast: read everything again.
    Overrun,
}

/// A socket that hears link and address changes. Readable when something came.
pub struct NetworkWatch {
    pub(super) socket: Socket,
    received: Vec<u8>,
}

impl std::fmt::Debug for NetworkWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkWatch").finish_non_exhaustive()
    }
}

impl NetworkWatch {
    /// Opens the socket in the calling thread's network namespace. Read everything once *after* opening.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_rx_buf_sz(1 << 20)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(NetworkWatch {
            socket,
            received: Vec::with_capacity(64 * 1024),
        })
    }

    /// Appends what happened since the last call, without blocking.
    pub fn read(&mut self, events: &mut Vec<NetworkEvent>) -> io::Result<()> {
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, MSG_DONTWAIT) {
                Ok(_) => events.extend(messages(&self.received).filter_map(event_of)),
                Err(error) => match error.raw_os_error() {
                    Some(EAGAIN) => return Ok(()),
                    Some(EINTR) => {}
                    Some(ENOBUFS) => events.push(NetworkEvent::Overrun),
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for NetworkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for NetworkWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

pub(super) fn event_of(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<NetworkEvent> {
    let NetlinkPayload::InnerMessage(payload) = message.payload else {
        return None;
    };
    match payload {
        RouteNetlinkMessage::NewLink(link) => {
            let Interface {
                index,
                name,
                up,
                carrier,
                ..
            } = interface_of(&link);
            Some(NetworkEvent::Link {
                index,
                name,
                up,
                carrier,
            })
        }
        RouteNetlinkMessage::DelLink(link) => {
            let Interface { index, name, .. } = interface_of(&link);
            Some(NetworkEvent::LinkGone { index, name })
        }
        RouteNetlinkMessage::NewAddress(message) => Some(NetworkEvent::AddressAdded {
            index: message.header.index,
            address: address_of(&message)?,
        }),
        RouteNetlinkMessage::DelAddress(message) => Some(NetworkEvent::AddressRemoved {
            index: message.header.index,
            address: address_of(&message)?,
        }),
        _ => None,
    }
}
