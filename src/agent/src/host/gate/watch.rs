//! Notices that somebody else changed our tables.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::libc::{EAGAIN, EINTR, ENOBUFS, MSG_DONTWAIT};
use socket2::{SockFilter, SockRef};

use super::TABLE;
use super::encode::{NEWGEN, NEWTABLE, Received};

/// `NFNLGRP_NFTABLES` of nfnetlink.h.
const GROUP: u32 = 7;

/// The netlink ports that write on our behalf. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct OwnWriters(Arc<Mutex<Ports>>);

#[derive(Debug, Default)]
struct Ports {
    /// The native gate's own socket, and those that it had before: notices of them may still wait to be read.
    gate: VecDeque<u32>,
    /// The `nft` processes that were spawned last (libmnl's port is the process id).
    processes: VecDeque<u32>,
}

impl OwnWriters {
    /// Notes the gate's own socket.
    pub(super) fn own(&self, port: u32) {
        keep(&mut self.ports().gate, port);
    }

    /// Notes a process that writes for the gate.
    pub(super) fn add(&self, port: u32) {
        keep(&mut self.ports().processes, port);
    }

    fn of_gate(&self) -> Option<u32> {
        self.ports().gate.back().copied()
    }

    fn contains(&self, port: u32) -> bool {
        let ports = self.ports();
        ports.gate.contains(&port) || ports.processes.contains(&port)
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest is forgotten beyond 64.
fn keep(ports: &mut VecDeque<u32>, port: u32) {
    if !ports.contains(&port) {
        ports.push_back(port);
    }
    if ports.len() > 64 {
        ports.pop_front();
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
/// Poll it, and call [`GateWatch::changed_by_others`]: it is readable after changes of our own `nft` processes too, but
/// not after those of the gate's socket, of which there are two with every beat.
pub struct GateWatch {
    socket: Socket,
    own: OwnWriters,
    /// Whose notices the kernel drops.
    deaf_to: Option<u32>,
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
        let mut watch = GateWatch {
            socket,
            own,
            deaf_to: None,
            buffer: Vec::with_capacity(64 * 1024),
        };
        watch.drop_own();
        Ok(watch)
    }

    /// Without the filter it is only woken up more often.
    fn drop_own(&mut self) {
        let port = self.own.of_gate();
        if self.deaf_to != port
            && let Some(port) = port
            && let Ok(()) = SockRef::from(&self.socket).attach_filter(&not_from(port))
        {
            self.deaf_to = Some(port);
        }
    }

    /// Reads all that is waiting, without blocking.
    pub fn changed_by_others(&mut self) -> io::Result<Changes> {
        self.drop_own(); // the gate may have opened another socket
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

/// Classic BPF: drops what that port did. The notices of one transaction come together and name it alike, in
/// `nlmsg_pid` (`nft_commit_notify`, Linux 5.10 and later).
fn not_from(port: u32) -> [SockFilter; 4] {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NLMSG_PID: u32 = 12;
    [
        SockFilter::new(LOAD_WORD, 0, 0, NLMSG_PID),
        // It is loaded as big endian, and written as the machine has it.
        SockFilter::new(JUMP_EQUAL, 0, 1, port.to_be()),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
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
