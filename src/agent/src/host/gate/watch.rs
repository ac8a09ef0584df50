//! Notices that somebody else changed our tables.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::libc::{EAGAIN, EINTR, ENOBUFS, MSG_DONTWAIT};

use super::TABLE;
use super::encode::{NEWGEN, NEWTABLE, Received};

/// `NFNLGRP_NFTABLES` of nfnetlink.h.
const GROUP: u32 = 7;

/// The netlink ports that write on our behalf: that of the native gate, and those of the `nft` processes we
/// spawned last (libmnl's port is the process id). Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct OwnWriters(Arc<Mutex<VecDeque<u32>>>);

impl OwnWriters {
    /// Notes the gate's own socket. Notices of the one before it may still wait to be read.
    pub(super) fn own(&self, port: u32) {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ports.push_front(port);
    }

    /// Notes a process that writes for the gate; the oldest is forgotten beyond 64.
    pub(super) fn add(&self, port: u32) {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ports.contains(&port) {
            ports.push_back(port);
        }
        if ports.len() > 64 {
            // The first is the gate's own socket, which stays.
            ports.remove(1);
        }
    }

    fn contains(&self, port: u32) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&port)
    }
}

/// What [`GateWatch::changed_by_others`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Nothing, or only what we did.
    Ours,
    /// Somebody else touched one of our tables: verify, restore, alarm.
    Others,
    /// The kernel dropped notices because they came too fast: verify.
    Overrun,
}

/// A socket that hears every change to nftables in its network namespace.
///
/// It is readable after our own changes too; poll it, and call [`GateWatch::changed_by_others`].
pub struct GateWatch {
    socket: Socket,
    own: OwnWriters,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for GateWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GateWatch")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl GateWatch {
    /// Opens the socket; `own` comes from [`super::Gate::writers`]. Needs `CAP_NET_ADMIN`.
    pub fn open(own: OwnWriters) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.set_rx_buf_sz(1 << 20)?;
        socket.add_membership(GROUP)?;
        socket.set_non_blocking(true)?;
        Ok(GateWatch {
            socket,
            own,
            buffer: Vec::with_capacity(64 * 1024),
        })
    }

    /// Reads all that is waiting, without blocking.
    pub fn changed_by_others(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::Ours;
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(EAGAIN) => return Ok(changes),
                    Some(EINTR) => continue,
                    Some(ENOBUFS) => {
                        changes = Changes::Overrun;
                        continue;
                    }
                    _ => return Err(error),
                },
            }
            let foreign = Received(&self.buffer).any(|message| {
                let about_ours = message.kind & 0xff00 == NEWTABLE
                    && message.kind != NEWGEN
                    && message.attributes().text(1) == Some(TABLE);
                about_ours && !self.own.contains(message.port)
            });
            if foreign && changes == Changes::Ours {
                changes = Changes::Others;
            }
        }
    }
}

impl AsFd for GateWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for GateWatch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}
