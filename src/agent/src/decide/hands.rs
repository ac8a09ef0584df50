//! What the decision loop does to the machine by itself.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::Result;
use backstay_core::time::Mono;
use ipnet::IpNet;

/// The hands that lie on the failover path: synchronous, microseconds, no process spawned.
pub trait Hands: Send {
    /// The boot clock.
    fn now(&self) -> Mono;

    /// Guards exactly these addresses (S7); what is in a live slot stays open.
    fn guard(&mut self, addresses: &[IpAddr]) -> Result<()>;
    /// Clears a slot, then arms it (PROTOCOL 14).
    fn arm(&mut self, addresses: &[IpAddr], slot: u8, hold: Duration) -> Result<()>;
    /// Makes an armed slot live (PROTOCOL 16).
    fn live(&mut self, addresses: &[IpAddr], slot: u8) -> Result<()>;
    /// Clears all slots and reads back (PROTOCOL 19).
    fn close(&mut self, addresses: &[IpAddr]) -> Result<()>;
    /// The slot that is live with the most time left, if the kernel holds all of these guarded and open now.
    fn open_slot(&mut self, addresses: &[IpAddr]) -> Result<Option<u8>>;
    /// Checks that the gate is as it was laid and guards what it was told to; if not, restores it, all of it closed,
    /// and says what was wrong.
    fn mend_gate(&mut self) -> Result<Option<String>>;

    /// Puts an address on the interface of its subnet; already there is well.
    fn add_address(&mut self, address: IpNet) -> Result<()>;
    /// The same for a base address: the node's own traffic may leave from it.
    fn add_base(&mut self, address: IpNet) -> Result<()>;
    /// Takes an address off; not there is well.
    fn remove_address(&mut self, address: IpNet) -> Result<()>;
    /// All addresses of this machine, in place of what is in `there`.
    fn addresses(&mut self, there: &mut Vec<IpAddr>) -> Result<()>;
    /// Whether the interface that carries this address has carrier; `None`: no interface does.
    fn carrier(&mut self, address: IpAddr) -> Result<Option<bool>>;
    /// A1: tells the link of these addresses.
    fn announce(&mut self, addresses: &[IpNet], reply_form: bool) -> Result<()>;

    /// Becomes readable when something happened to addresses, links or the gate.
    fn watched(&self) -> [Option<BorrowedFd<'_>>; 2];
    /// What happened; reads everything that waits.
    fn happened(&mut self) -> Happened;
}

/// What a watch told. Details are looked up: they may have changed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Something about addresses or links.
    pub network: bool,
    /// Another program changed the gate, or it can't be told whether.
    pub gate: bool,
}
