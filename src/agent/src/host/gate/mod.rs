//! The gate: a guarded address passes only while the kernel holds an unexpired permission for it (PROTOCOL
//! 14-16 and 37, S5, S7).
//!
//! Two nftables tables of our own, `inet backstay` and `arp backstay`, drop everything to and from a *guarded*
//! address (packets, ARP, neighbour discovery) unless for one of [`SLOTS`] slots the address is both in the
//! slot's `armed` set, whose elements the kernel removes by itself, and in its `live` set. The static part is
//! `assets/gate.nft`.
//!
//! [`NativeGate`] writes the sets by netlink in microseconds; [`NftGate`] spawns `nft` for each command and is
//! the fallback. Both are checked by the same tests against a real kernel.

mod boot;
mod encode;
mod native;
mod nft;
mod watch;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

pub use boot::{BootLoad, boot_load, check, guarded_script, write_guarded};
pub use native::NativeGate;
pub use nft::NftGate;
pub use watch::{Changes, GateWatch, OwnWriters};

/// How many slots there are. Three suffice for one live, one armed and asked for, one being armed (PROTOCOL 14).
pub const SLOTS: usize = 3;

/// The most addresses that one call takes; far above ten services with a handful of addresses each.
pub const MAX_ADDRESSES: usize = 512;

/// Why the gate could not do what it was told. Unless the variant says otherwise, nothing has changed: every
/// command is one kernel transaction.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The netlink socket failed.
    #[error("gate: {what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The kernel refused the transaction; nothing has changed.
    #[error("gate: the kernel refused to {what}: {source}")]
    Refused {
        /// What was being done.
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// `nft` is missing or refused the script; nothing has changed.
    #[error("gate: nft refused to {what}: {message}")]
    Nft {
        /// What was being done.
        what: &'static str,
        /// The first line of nft's complaint.
        message: String,
    },
    /// A hold of less than a millisecond (the kernel would take 0 as "for ever") or of more than a day.
    #[error("gate: a hold of {0:?} is not between 1 ms and 1 day")]
    Hold(Duration),
    /// A slot number that does not exist.
    #[error("gate: slot {0} does not exist, there are {SLOTS}")]
    Slot(usize),
    /// More than [`MAX_ADDRESSES`] at once.
    #[error("gate: {0} addresses at once, at most {MAX_ADDRESSES}")]
    TooMany(usize),
    /// Closed, but the address is not guarded: packets pass. Somebody removed the table or its contents, or the
    /// address was never put under guard.
    #[error("gate: {0} is not guarded, so it is open: install the gate and guard it again")]
    NotGuarded(IpAddr),
    /// Closed, but the read-back still found an element.
    #[error("gate: {0} is still in a slot after it was closed: something else writes our sets")]
    StillOpen(IpAddr),
    /// An answer that does not parse.
    #[error("gate: the answer to {0} cannot be understood")]
    Answer(&'static str),
}

/// One slot of one address as the kernel has it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotState {
    /// Time until the kernel removes the armed element (millisecond resolution); `None`: not armed.
    pub armed_expires: Option<Duration>,
    /// Whether the address is in the slot's `live` set.
    pub live: bool,
}

impl SlotState {
    /// Whether this slot lets packets pass now.
    pub fn open(&self) -> bool {
        self.armed_expires.is_some() && self.live
    }
}

/// One address as the kernel has it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateState {
    /// Whether the gate guards the address at all; if not, it is open regardless of the slots.
    pub guarded: bool,
    /// The slots. Each address stands in two tables (packets; ARP or neighbour discovery): a slot counts as
    /// armed or live here only if it is so in both, and the shorter rest counts.
    pub slots: [SlotState; SLOTS],
    /// The two tables differ in anything but the remaining milliseconds: somebody else wrote one of them.
    pub torn: bool,
}

impl GateState {
    /// Whether packets to and from the address pass now.
    pub fn open(&self) -> bool {
        !self.guarded || self.slots.iter().any(SlotState::open)
    }
}

/// The skeleton compared with what [`Gate::install`] left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Tables, chains, rules and sets are what they should be.
    Intact,
    /// At least one of our tables is gone (a flush by others): all aliases on this machine are open.
    Missing,
    /// Something differs; the text says what.
    Changed(String),
}

/// What both implementations can do. Every command is one kernel transaction: it happens wholly or not at all.
///
/// `addrs` may mix IPv4 and IPv6. `slot` is below [`SLOTS`]. `hold` is cut to whole milliseconds.
pub trait Gate: Send {
    /// Lays the static skeleton by `nft`. May be repeated at any time: set contents are kept, so it neither opens
    /// a closed address nor cuts an open one.
    fn install(&mut self) -> Result<(), GateError>;

    /// Replaces the list of guarded addresses. An address that leaves the list is no longer filtered at all; one
    /// that enters is closed at once unless a slot is open for it: open one before, and it loses no packet (C11).
    fn guard(&mut self, addrs: &[IpAddr]) -> Result<(), GateError>;

    /// Arms a slot for `hold` from now and takes it out of `live` (PROTOCOL 14). Opens nothing.
    fn arm(&mut self, addrs: &[IpAddr], slot: usize, hold: Duration) -> Result<(), GateError>;

    /// Makes a slot live: the address is open for as long as the slot stays armed (PROTOCOL 16). Adding twice is
    /// fine. A slot that has run out stays closed.
    fn live(&mut self, addrs: &[IpAddr], slot: usize) -> Result<(), GateError>;

    /// Takes addresses out of all slots and reads back that they are out (PROTOCOL 19).
    ///
    /// [`GateError::NotGuarded`] and [`GateError::StillOpen`]: the transaction was done, yet the address is open.
    fn close(&mut self, addrs: &[IpAddr]) -> Result<(), GateError>;

    /// Reads the state of one address back from the kernel.
    fn state(&mut self, addr: IpAddr) -> Result<GateState, GateError>;

    /// The addresses that the kernel guards in both their planes, sorted.
    fn guarded(&mut self) -> Result<Vec<IpAddr>, GateError>;

    /// Compares the skeleton with what [`Gate::install`] left; before the first `install` of this process it can
    /// only tell `Missing` from `Changed`.
    fn verify(&mut self) -> Result<Verdict, GateError>;

    /// Removes both tables: every address is open afterwards. Fine if they are not there.
    fn remove(&mut self) -> Result<(), GateError>;

    /// Who writes for this gate, for [`GateWatch`] to tell our own changes from those of others.
    fn writers(&self) -> OwnWriters;
}

/// Opens the native gate, which keeps others from changing it where the kernel can, or the `nft` fallback where netlink does not work, and says which.
pub fn open() -> (Box<dyn Gate>, &'static str) {
    match NativeGate::open_and_keep() {
        Ok(gate) => (Box::new(gate), "netlink"),
        Err(error) => {
            tracing::warn!(%error, "native netlink gate not available, spawning nft instead");
            (Box::new(NftGate::new()), "nft")
        }
    }
}

/// The name of our tables.
const TABLE: &str = "backstay";

/// One place where an address stands: each has two, since sets belong to one table and one key type.
struct Plane {
    /// `NFPROTO_INET` or `NFPROTO_ARP`.
    family: u8,
    /// The family as nft spells it.
    family_name: &'static str,
    /// Takes IPv6 addresses.
    v6: bool,
    /// Elements are written as one hexadecimal number in nft scripts (the neighbour discovery sets).
    as_number: bool,
    guarded: &'static str,
    armed: [&'static str; SLOTS],
    live: [&'static str; SLOTS],
}

const NFPROTO_INET: u8 = 1;
const NFPROTO_ARP: u8 = 3;

const PLANES: [Plane; 4] = [
    Plane {
        family: NFPROTO_INET,
        family_name: "inet",
        v6: false,
        as_number: false,
        guarded: "guarded4",
        armed: ["armed4s0", "armed4s1", "armed4s2"],
        live: ["live4s0", "live4s1", "live4s2"],
    },
    Plane {
        family: NFPROTO_ARP,
        family_name: "arp",
        v6: false,
        as_number: false,
        guarded: "guarded4",
        armed: ["armed4s0", "armed4s1", "armed4s2"],
        live: ["live4s0", "live4s1", "live4s2"],
    },
    Plane {
        family: NFPROTO_INET,
        family_name: "inet",
        v6: true,
        as_number: false,
        guarded: "guarded6",
        armed: ["armed6s0", "armed6s1", "armed6s2"],
        live: ["live6s0", "live6s1", "live6s2"],
    },
    Plane {
        family: NFPROTO_INET,
        family_name: "inet",
        v6: true,
        as_number: true,
        guarded: "guardednd",
        armed: ["armednds0", "armednds1", "armednds2"],
        live: ["livends0", "livends1", "livends2"],
    },
];

/// The two planes of an address.
fn planes_of(addr: IpAddr) -> impl Iterator<Item = &'static Plane> {
    PLANES
        .iter()
        .filter(move |plane| plane.v6 == addr.is_ipv6())
}

/// What one plane says about one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct PlaneState {
    guarded: bool,
    slots: [SlotState; SLOTS],
}

/// Combines the two planes of an address; see [`GateState`].
fn combine(first: PlaneState, second: PlaneState) -> GateState {
    let mut torn = first.guarded != second.guarded;
    let mut slots = [SlotState::default(); SLOTS];
    for (slot, (a, b)) in slots
        .iter_mut()
        .zip(first.slots.iter().zip(second.slots.iter()))
    {
        slot.live = a.live && b.live;
        slot.armed_expires = match (a.armed_expires, b.armed_expires) {
            (Some(a), Some(b)) => Some(a.min(b)),
            // One plane may have expired between the two reads: only a long rest on the other side is a tear.
            (Some(rest), None) | (None, Some(rest)) => {
                torn |= rest > Duration::from_millis(20);
                None
            }
            (None, None) => None,
        };
        torn |= a.live != b.live;
    }
    GateState {
        guarded: first.guarded && second.guarded,
        slots,
        torn,
    }
}

/// Checks what every writing command checks, and turns the hold into milliseconds.
fn checked(addrs: &[IpAddr], slot: usize, hold: Option<Duration>) -> Result<u64, GateError> {
    if slot >= SLOTS {
        return Err(GateError::Slot(slot));
    }
    if addrs.len() > MAX_ADDRESSES {
        return Err(GateError::TooMany(addrs.len()));
    }
    let Some(hold) = hold else { return Ok(0) };
    let ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 || ms > 86_400_000 {
        return Err(GateError::Hold(hold));
    }
    Ok(ms)
}

/// The addresses that each of their two planes names, sorted; `found` is what all planes name.
fn in_both_planes(mut found: Vec<IpAddr>) -> Vec<IpAddr> {
    found.sort_unstable();
    let named = found.chunk_by(|a, b| a == b);
    named
        .filter(|one| one.len() == 2)
        .map(|one| one[0])
        .collect()
}

/// What [`Gate::close`] concludes from the read-back. The planes are looked at one by one: a leftover in either
/// counts.
fn closed(addr: IpAddr, planes: &[PlaneState]) -> Result<(), GateError> {
    if planes.iter().any(|plane| {
        plane
            .slots
            .iter()
            .any(|slot| slot.live || slot.armed_expires.is_some())
    }) {
        return Err(GateError::StillOpen(addr));
    }
    if planes.iter().any(|plane| !plane.guarded) {
        return Err(GateError::NotGuarded(addr));
    }
    Ok(())
}
