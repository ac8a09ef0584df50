//! The gate by netlink: one datagram out, the confirmations back, microseconds.
//!
//! nfnetlink works inside `sendmsg`: when that returns, the transaction is committed or refused and its answers
//! lie in the socket. So nothing here waits.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::libc::{EAGAIN, EINTR, ENOENT, EPERM, MSG_DONTWAIT};

use super::boot::Tables;
use super::encode::{
    self, DELSETELEM, DELTABLE, GETCHAIN, GETRULE, GETSET, GETSETELEM, GETTABLE, Message, Messages,
    NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM, NEWTABLE, NLM_F_DUMP_INTR, NLMSG_DONE, Received,
    TABLE_OWNED, TABLE_PERSISTS, elements_of,
};
use super::{
    Gate, GateError, GateState, NFPROTO_ARP, NFPROTO_INET, OwnWriters, PLANES, Plane, PlaneState,
    SLOTS, TABLE, Verdict, boot, checked, closed, combine, in_both_planes, planes_of,
};

/// How often a refused or interrupted exchange is tried again: an element may run out between two steps of a
/// transaction on kernels before 6.8, and a dump may be disturbed by another writer.
const TRIES: usize = 4;

/// The gate by netlink.
pub struct NativeGate {
    socket: Socket,
    messages: Messages,
    received: Vec<u8>,
    seq: u32,
    writers: OwnWriters,
    installed: Option<Fingerprint>,
    /// The tables are to be this socket's alone, where the kernel can.
    to_keep: bool,
    /// They are.
    kept: bool,
}

impl std::fmt::Debug for NativeGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeGate")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

/// What the skeleton looks like, without what changes by itself (handles, use counts).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Fingerprint {
    tables: Part,
    chains: Part,
    rules: Part,
    sets: Part,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Part {
    count: usize,
    hash: u64,
}

impl NativeGate {
    /// Opens the socket in the calling thread's network namespace. Needs `CAP_NET_ADMIN` for everything after.
    pub fn open() -> Result<Self, GateError> {
        let writers = OwnWriters::default();
        Ok(NativeGate {
            socket: open_socket(&writers)?,
            messages: Messages::new(),
            received: Vec::with_capacity(64 * 1024),
            seq: 1,
            writers,
            installed: None,
            to_keep: false,
            kept: false,
        })
    }

    /// The same, and from [`Gate::install`] on nobody else can change or flush the tables while this gate is open
    /// (S5, PROTOCOL 38), where the kernel can do that (Linux 6.9). Elsewhere a flush is noticed and mended.
    pub fn open_and_keep() -> Result<Self, GateError> {
        let mut gate = Self::open()?;
        gate.to_keep = true;
        Ok(gate)
    }

    /// Whether nobody else can change the tables now.
    pub fn keeps(&self) -> bool {
        self.kept
    }

    /// Makes tables that outlive whoever keeps them; `None`: an agent keeps them now. Ordinary ones that are there
    /// stay what they are: the kernel does not convert them, and making them anew would lose what is in them.
    pub(super) fn make_tables(&mut self) -> Result<Option<Tables>, GateError> {
        match self.flag_tables("make tables", TABLE_PERSISTS) {
            Ok(()) => Ok(Some(Tables::Persist)),
            Err(GateError::Refused { source, .. }) => match source.raw_os_error() {
                Some(EPERM) => Ok(None),
                _ => Ok(Some(Tables::Plain)), // EOPNOTSUPP, EINVAL: the kernel is older, or they are there
            },
            Err(error) => Err(error),
        }
    }

    fn flag_tables(&mut self, what: &'static str, flags: u32) -> Result<(), GateError> {
        self.transact(what, |steps| {
            for family in [NFPROTO_INET, NFPROTO_ARP] {
                *steps.seq += 1;
                let seq = *steps.seq;
                steps
                    .messages
                    .table(NEWTABLE, seq, family, TABLE, Some(flags));
            }
        })
    }

    /// Lays the skeleton by `nft`, which can't while this socket keeps the tables: only closing it lets go of them.
    fn lay_and_keep(&mut self) -> Result<(), GateError> {
        if core::mem::take(&mut self.kept) {
            self.socket = open_socket(&self.writers)?;
        }
        let tables = self.make_tables()?.unwrap_or(Tables::Persist);
        boot::install(tables, &self.writers)?;
        if tables == Tables::Persist {
            self.flag_tables("keep the tables", TABLE_OWNED | TABLE_PERSISTS)?;
            self.kept = true;
        }
        Ok(())
    }

    fn next_seq(&mut self) -> u32 {
        self.seq += 1;
        self.seq
    }

    /// Begins an exchange. Sequence numbers grow within one and start again long before they would wrap; answers
    /// to former exchanges are drained before anything is sent.
    fn start(&mut self) {
        self.messages.clear();
        if self.seq > u32::MAX / 2 {
            self.seq = 0;
        }
    }

    /// Sends what was written.
    fn send(&mut self, what: &'static str) -> Result<(), GateError> {
        // Leftovers of an exchange that failed half-way must not be taken for answers to this one; sequence
        // numbers would tell them apart, but the queue is better empty.
        while self.receive(what)? {}
        self.socket
            .send(self.messages.bytes(), 0)
            .map_err(|source| GateError::Io { what, source })?;
        Ok(())
    }

    /// Receives one datagram into the buffer; `false` when there is none.
    fn receive(&mut self, what: &'static str) -> Result<bool, GateError> {
        loop {
            self.received.clear();
            match self.socket.recv(&mut self.received, MSG_DONTWAIT) {
                Ok(_) => return Ok(true),
                Err(error) if error.raw_os_error() == Some(EAGAIN) => return Ok(false),
                Err(error) if error.raw_os_error() == Some(EINTR) => {}
                Err(source) => return Err(GateError::Io { what, source }),
            }
        }
    }

    /// Runs one transaction. `write` writes the steps, each with a sequence number from its argument.
    fn transact(
        &mut self,
        what: &'static str,
        write: impl Fn(&mut Steps<'_>),
    ) -> Result<(), GateError> {
        let mut last = 0;
        for _ in 0..TRIES {
            self.start();
            let begin = self.next_seq();
            self.messages.batch_begin(begin);
            let before = self.messages.bytes().len();
            write(&mut Steps {
                messages: &mut self.messages,
                seq: &mut self.seq,
            });
            if self.messages.bytes().len() == before {
                return Ok(());
            }
            self.messages.acknowledge_last();
            let asked = self.seq;
            let end = self.next_seq();
            self.messages.batch_end(end);
            match self.exchange(what, begin, asked)? {
                None => return Ok(()),
                Some(errno) => last = errno,
            }
            if last != ENOENT {
                break;
            }
        }
        Err(GateError::Refused {
            what,
            source: io::Error::from_raw_os_error(last),
        })
    }

    /// Sends a batch and reads its confirmation: `Some(errno)` if it was refused.
    fn exchange(
        &mut self,
        what: &'static str,
        begin: u32,
        asked: u32,
    ) -> Result<Option<i32>, GateError> {
        self.send(what)?;
        let (mut confirmed, mut refused) = (false, None);
        while self.receive(what)? {
            for message in Received(&self.received) {
                match message.error() {
                    Some(0) if message.seq == asked => confirmed = true,
                    Some(errno) if errno != 0 && message.seq >= begin => {
                        refused = refused.or(Some(errno));
                    }
                    _ => {}
                }
            }
        }
        match (refused, confirmed) {
            (Some(errno), _) => Ok(Some(errno)),
            (None, true) => Ok(None),
            (None, false) => Err(GateError::Answer(what)),
        }
    }

    /// Dumps objects and hands each message to `each`.
    fn dump(
        &mut self,
        what: &'static str,
        (kind, family): (u16, u8),
        set: Option<&str>,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<DumpEnd, GateError> {
        self.start();
        let seq = self.next_seq();
        self.messages.dump(kind, seq, family, TABLE, set);
        self.send(what)?;
        let mut interrupted = false;
        while self.receive(what)? {
            for message in Received(&self.received).filter(|message| message.seq == seq) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match (message.error(), message.kind) {
                    (Some(ENOENT), _) => return Ok(DumpEnd::Absent),
                    (Some(errno), _) => {
                        return Err(GateError::Refused {
                            what,
                            source: io::Error::from_raw_os_error(errno),
                        });
                    }
                    (None, NLMSG_DONE) => {
                        return Ok(if interrupted {
                            DumpEnd::Interrupted
                        } else {
                            DumpEnd::Complete
                        });
                    }
                    (None, _) => each(&message),
                }
            }
        }
        Err(GateError::Answer(what))
    }

    /// Reads what each plane says about an address.
    fn planes(&mut self, addr: IpAddr) -> Result<[PlaneState; 2], GateError> {
        let what = "read an address back";
        self.start();
        let first = self.seq + 1;
        for plane in planes_of(addr) {
            let sets = std::iter::once(plane.guarded)
                .chain(plane.armed)
                .chain(plane.live);
            for set in sets {
                let seq = self.next_seq();
                self.messages.elements(
                    GETSETELEM,
                    seq,
                    (plane.family, TABLE, set),
                    std::iter::once(addr),
                    None,
                );
            }
        }
        self.send(what)?;
        let mut planes = [PlaneState::default(); 2];
        let mut answers = 0;
        while self.receive(what)? {
            for message in Received(&self.received) {
                let Ok(index) = usize::try_from(message.seq.wrapping_sub(first)) else {
                    continue;
                };
                let (Some(plane), at) = (planes.get_mut(index / ASKED), index % ASKED) else {
                    continue;
                };
                match message.error() {
                    Some(ENOENT) => answers += 1,
                    Some(errno) => {
                        return Err(GateError::Refused {
                            what,
                            source: io::Error::from_raw_os_error(errno),
                        });
                    }
                    None if message.kind == NEWSETELEM => {
                        answers += 1;
                        for element in elements_of(&message).filter(|element| element.key == addr) {
                            note(plane, at, element);
                        }
                    }
                    None => {}
                }
            }
        }
        if answers == 2 * ASKED {
            Ok(planes)
        } else {
            Err(GateError::Answer(what))
        }
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, GateError> {
        for _ in 0..TRIES {
            if let Some(fingerprint) = self.try_fingerprint()? {
                return Ok(fingerprint);
            }
        }
        Err(GateError::Answer("read the skeleton: it kept changing"))
    }

    fn try_fingerprint(&mut self) -> Result<Option<Fingerprint>, GateError> {
        // Attribute numbers: nf_tables.h, enum nft_{table,chain,rule,set}_attributes. Left out: handles, use
        // counts and counters, which change by themselves.
        let parts: [(u16, u16, &[u16]); 4] = [
            (GETTABLE, NEWTABLE, &[1, 2]),
            (GETCHAIN, NEWCHAIN, &[1, 3, 4, 5, 7]),
            (GETRULE, NEWRULE, &[1, 2, 4]),
            (GETSET, NEWSET, &[1, 2, 3, 4, 5]),
        ];
        let mut found = [const { Part { count: 0, hash: 0 } }; 4];
        for (part, (get, new, wanted)) in found.iter_mut().zip(parts) {
            let mut hasher = DefaultHasher::new();
            for family in [NFPROTO_INET, NFPROTO_ARP] {
                let end = self.dump("read the skeleton", (get, family), None, |message| {
                    let ours = message.kind == new && message.attributes().text(1) == Some(TABLE);
                    if !ours {
                        return;
                    }
                    part.count += 1;
                    hasher.write_u8(message.family());
                    for (kind, value) in message
                        .attributes()
                        .filter(|(kind, _)| wanted.contains(kind))
                    {
                        hasher.write_u16(kind);
                        hasher.write(value);
                    }
                })?;
                if end == DumpEnd::Interrupted {
                    return Ok(None);
                }
            }
            part.hash = hasher.finish();
        }
        let [tables, chains, rules, sets] = found;
        Ok(Some(Fingerprint {
            tables,
            chains,
            rules,
            sets,
        }))
    }
}

/// A netlink socket that writes for these.
fn open_socket(writers: &OwnWriters) -> Result<Socket, GateError> {
    let failed = |source| GateError::Io {
        what: "open the netlink socket",
        source,
    };
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
    let port = socket.bind_auto().map_err(failed)?.port_number();
    socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
    // Errors then carry the header only, not the whole request.
    socket.set_cap_ack(true).map_err(failed)?;
    writers.own(port);
    Ok(socket)
}

/// Sets asked per plane: guarded, armed and live of each slot.
const ASKED: usize = 1 + 2 * SLOTS;

/// Files one element of the set at position `at` of the order in which [`NativeGate::planes`] asks.
fn note(plane: &mut PlaneState, at: usize, element: encode::Element) {
    match at {
        0 => plane.guarded = true,
        1..=SLOTS => {
            // An armed element without an expiry is not ours, and it would never close: it counts as very long.
            let ms = element.expires_ms.unwrap_or(u64::MAX);
            plane.slots[at - 1].armed_expires = Some(Duration::from_millis(ms));
        }
        _ => plane.slots[at - 1 - SLOTS].live = true,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DumpEnd {
    Complete,
    Interrupted,
    Absent,
}

/// Writes the steps of one transaction.
struct Steps<'a> {
    messages: &'a mut Messages,
    seq: &'a mut u32,
}

impl Steps<'_> {
    fn write(
        &mut self,
        kind: u16,
        plane: &Plane,
        set: &str,
        addrs: &[IpAddr],
        timeout_ms: Option<u64>,
    ) {
        *self.seq += 1;
        let keys = addrs
            .iter()
            .copied()
            .filter(|addr| addr.is_ipv6() == plane.v6);
        self.messages.elements(
            kind,
            *self.seq,
            (plane.family, TABLE, set),
            keys,
            timeout_ms,
        );
    }

    fn add(&mut self, plane: &Plane, set: &str, addrs: &[IpAddr], timeout_ms: Option<u64>) {
        self.write(NEWSETELEM, plane, set, addrs, timeout_ms);
    }

    /// Deletes elements whether they are there or not. Deleting an absent element refuses the whole transaction
    /// (and the tolerant `DESTROYSETELEM` needs kernel 6.3), so each is added first, which is fine if it exists.
    fn clear(&mut self, plane: &Plane, set: &str, addrs: &[IpAddr], timeout_ms: Option<u64>) {
        self.add(plane, set, addrs, timeout_ms);
        self.write(DELSETELEM, plane, set, addrs, None);
    }

    /// Adding an existing timed element does not extend it: so clear, then add (PROTOCOL 14).
    fn arm(&mut self, plane: &Plane, addrs: &[IpAddr], slot: usize, hold_ms: u64) {
        self.clear(plane, plane.live[slot], addrs, None);
        self.clear(plane, plane.armed[slot], addrs, Some(hold_ms));
        self.add(plane, plane.armed[slot], addrs, Some(hold_ms));
    }
}

/// The planes that some of the addresses stand in.
fn planes_for(addrs: &[IpAddr]) -> impl Iterator<Item = &'static Plane> {
    let (v4, v6) = (
        addrs.iter().any(IpAddr::is_ipv4),
        addrs.iter().any(IpAddr::is_ipv6),
    );
    PLANES
        .iter()
        .filter(move |plane| if plane.v6 { v6 } else { v4 })
}

impl Gate for NativeGate {
    fn install(&mut self) -> Result<(), GateError> {
        if self.to_keep {
            self.lay_and_keep()?;
        } else {
            boot::install(Tables::Plain, &self.writers)?;
        }
        self.installed = Some(self.fingerprint()?);
        Ok(())
    }

    fn guard(&mut self, addrs: &[IpAddr]) -> Result<(), GateError> {
        checked(addrs, 0, None)?;
        self.transact("guard addresses", |steps| {
            for plane in &PLANES {
                steps.write(DELSETELEM, plane, plane.guarded, &[], None);
                if addrs.iter().any(|addr| addr.is_ipv6() == plane.v6) {
                    steps.add(plane, plane.guarded, addrs, None);
                }
            }
        })
    }

    fn arm(&mut self, addrs: &[IpAddr], slot: usize, hold: Duration) -> Result<(), GateError> {
        let hold_ms = checked(addrs, slot, Some(hold))?;
        self.transact("arm a slot", |steps| {
            for plane in planes_for(addrs) {
                steps.arm(plane, addrs, slot, hold_ms);
            }
        })
    }

    fn live(&mut self, addrs: &[IpAddr], slot: usize) -> Result<(), GateError> {
        checked(addrs, slot, None)?;
        self.transact("make a slot live", |steps| {
            for plane in planes_for(addrs) {
                steps.add(plane, plane.live[slot], addrs, None);
            }
        })
    }

    fn close(&mut self, addrs: &[IpAddr]) -> Result<(), GateError> {
        checked(addrs, 0, None)?;
        self.transact("close addresses", |steps| {
            for plane in planes_for(addrs) {
                for set in plane.live {
                    steps.clear(plane, set, addrs, None);
                }
                for set in plane.armed {
                    steps.clear(plane, set, addrs, Some(1_000));
                }
            }
        })?;
        addrs
            .iter()
            .try_for_each(|&addr| closed(addr, &self.planes(addr)?))
    }

    fn state(&mut self, addr: IpAddr) -> Result<GateState, GateError> {
        let [first, second] = self.planes(addr)?;
        Ok(combine(first, second))
    }

    fn guarded(&mut self) -> Result<Vec<IpAddr>, GateError> {
        for _ in 0..TRIES {
            let mut found = Vec::new();
            let mut again = false;
            for plane in &PLANES {
                let end = self.dump(
                    "list guarded addresses",
                    (GETSETELEM, plane.family),
                    Some(plane.guarded),
                    |message| {
                        found.extend(elements_of(message).map(|element| element.key));
                    },
                )?;
                again |= end == DumpEnd::Interrupted;
            }
            if !again {
                return Ok(in_both_planes(found));
            }
        }
        Err(GateError::Answer(
            "list guarded addresses: they kept changing",
        ))
    }

    fn verify(&mut self) -> Result<Verdict, GateError> {
        let now = self.fingerprint()?;
        if now.tables.count < 2 {
            return Ok(Verdict::Missing);
        }
        let Some(then) = &self.installed else {
            return Ok(Verdict::Changed("not installed by this process yet".into()));
        };
        let parts = [
            ("tables", &now.tables, &then.tables),
            ("chains", &now.chains, &then.chains),
            ("rules", &now.rules, &then.rules),
            ("sets", &now.sets, &then.sets),
        ];
        let differs = parts.iter().find(|(_, now, then)| now != then);
        Ok(match differs {
            None => Verdict::Intact,
            Some((name, now, then)) if now.count != then.count => Verdict::Changed(format!(
                "{} {name} where {} are ours",
                now.count, then.count
            )),
            Some((name, ..)) => {
                Verdict::Changed(format!("the {name} are not those that were installed"))
            }
        })
    }

    fn remove(&mut self) -> Result<(), GateError> {
        self.installed = None;
        self.transact("remove the gate", |steps| {
            for family in [NFPROTO_INET, NFPROTO_ARP] {
                for kind in [NEWTABLE, DELTABLE] {
                    *steps.seq += 1;
                    steps.messages.table(kind, *steps.seq, family, TABLE, None);
                }
            }
        })
    }

    fn writers(&self) -> OwnWriters {
        self.writers.clone()
    }
}
