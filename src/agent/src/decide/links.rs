//! The sockets of the beats: one for each base address and port (A6).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use backstay_wire::MAX_DATAGRAM;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of received datagrams that may wait, with the kernel's own room for each: several rounds of the largest cluster.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// The sockets.
#[derive(Debug, Default)]
pub(super) struct Links {
    sockets: Vec<(SocketAddr, UdpSocket)>,
}

impl Links {
    /// Opens what is missing and closes what is not wanted. What can't be opened is said, and tried again by the
    /// next call.
    pub(super) fn want(&mut self, wanted: &[SocketAddr]) {
        self.sockets.retain(|(address, _)| wanted.contains(address));
        for address in wanted {
            if self.find(*address).is_some() {
                continue;
            }
            match open(*address) {
                Ok(socket) => self.sockets.push((*address, socket)),
                Err(error) => tracing::error!("can't open UDP {address} for beats: {error}"),
            }
        }
    }

    /// Sends; an error concerns this one datagram and is not kept: the next beat comes soon.
    pub(super) fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(socket) = self.find(from) {
            let _ = socket.send_to(bytes, to);
        }
    }

    /// The next datagram that waits at the socket of that place: its length and the socket's address.
    pub(super) fn receive(
        &self,
        place: usize,
        buffer: &mut [u8; MAX_DATAGRAM],
    ) -> Option<(usize, SocketAddr)> {
        let (address, socket) = self.sockets.get(place)?;
        // An ICMP error of an earlier datagram is reported here once; the next call goes on.
        let length = socket.recv(buffer).ok()?;
        Some((length, *address))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|(_, socket)| socket.as_fd())
    }

    fn find(&self, address: SocketAddr) -> Option<&UdpSocket> {
        let at = self.sockets.iter().find(|(a, _)| *a == address);
        at.map(|(_, socket)| socket)
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    // The base may come up later than the agent.
    match address.ip() {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    socket.set_nonblocking(true)?;
    // The system's limit is 208 KiB as a rule, which a flood fills in 4 ms; an agent that may not pass it (CAP_NET_ADMIN)
    // takes what it gets.
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
