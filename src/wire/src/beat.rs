//! The beat on the wire: a fixed header, lists as type-length-value, a MAC. The meaning of the fields is
//! [`Beat`]'s.
//!
//! ```text
//! offset size
//!      0   10  as all datagrams, see `datagram`
//!     10    1  link the beat was sent on
//!     11    1  0
//!     12    2  flags: 1 leaving, 2 silent, 4 listening
//!     14    2  machine: 1 gate lost, 2 disk bad, 4 clock loose, 8 link down
//!     16    8  cluster
//!     24    8  from
//!     32    8  boot
//!     40    8  sequence
//!     48    8  nonce
//!     56    8  revision
//!     64    8  hash
//!     72    8  epoch
//!     80    8  system revision
//!     88    4  incarnation
//!     92       what a newer agent appends; then, from where the header ends, any number of lists:
//!              1  type   1  bytes of one entry   2  number of entries   then the entries
//!    -16   16  HMAC-SHA-256 over everything before, the first 128 bits
//! ```
//! Agents of different versions understand each other: a list of an unknown type is skipped, an entry longer
//! than known is read for its known beginning, unknown flags are ignored, an unknown verdict counts as "no".
//! A term above [`HIGHEST_TERM`], a list that appears twice, an entry shorter than version 1 has it, more entries than [`Beat`] holds, and
//! bytes left over are refused.
//!
//! A beat that decodes was made by a holder of the cluster's key and is whole. That it is *new* is not said
//! here: replay is the engine's to refuse, by boot, sequence and the echo of its nonce. Nor is `from` proven
//! beyond "a member of this cluster": members share the key.

use arrayvec::ArrayVec;
use backstay_core::engine::{
    AgentVersion, Answer, Ask, Beat, BeatOrder, HIGHEST_TERM, HearsPeer, HostFlags, MAX_MOVES,
    MoveReport, Refused, Released, ServiceReport, SilentLinks, Verdict,
};
use backstay_core::model::{ClusterId, MAX_MEMBERS, MAX_SERVICES, NodeId, ServiceId};
use hmac::Mac as _;

use crate::datagram::{self, Kind, MAX_DATAGRAM, Reader, Reject, VERSION};
use crate::keys::Keys;

/// Bytes of the fixed part.
const HEADER: usize = 92;
/// Bytes of the MAC.
const MAC: usize = 16;
/// Bytes before each list.
const LIST: usize = 4;

/// The fullest beat that the types allow, so that [`encode`] can't fail.
const FULLEST: usize = HEADER
    + MAC
    + 11 * LIST
    + AgentVersion::SIZE
    + WallClock::SIZE
    + MAX_SERVICES
        * (ServiceReport::SIZE + Ask::SIZE + ServiceId::SIZE + Released::SIZE + Answer::SIZE)
    + MAX_MEMBERS * (HearsPeer::SIZE + SilentLinks::SIZE)
    + 4 * BeatOrder::SIZE
    + MAX_MOVES * MoveReport::SIZE;
const _: () = assert!(FULLEST <= MAX_DATAGRAM);

/// Writes a beat, signed with the signing key, to the front of `out`, and returns its length in bytes.
/// `link` says on which of the sender's links it goes out (A6). Never fails, never allocates.
pub fn encode(beat: &Beat, link: u8, keys: &Keys, out: &mut [u8; MAX_DATAGRAM]) -> usize {
    let key = keys.signing();
    let mut to = Writer { out, at: 0 };
    to.put(&Kind::Beat.magic());
    to.put(&[VERSION, key.id]);
    to.put(&(HEADER as u16).to_be_bytes());
    to.put(&[0, 0, link, 0]); // the length comes last
    to.put(&flags(&[beat.leaving, beat.silent, beat.listening]));
    let host = beat.host;
    to.put(&flags(&[
        host.gate_lost,
        host.disk_bad,
        host.clock_loose,
        host.link_down,
        host.gate_restored,
        host.alias_restored,
    ]));
    for number in [
        beat.cluster.0,
        beat.from.0,
        beat.boot,
        beat.sequence,
        beat.nonce,
        beat.revision,
        beat.hash,
        beat.epoch,
        beat.system_revision,
    ] {
        to.put(&number.to_be_bytes());
    }
    to.put(&beat.incarnation.to_be_bytes());
    to.list(kind::SERVICES, &beat.services);
    to.list(kind::ASKS, &beat.asks);
    to.list(kind::WOULD, &beat.would);
    to.list(kind::RELEASED, &beat.released);
    to.list(kind::ANSWERS, &beat.answers);
    to.list(kind::HEARS, &beat.hears);
    to.list(kind::ORDERS, &beat.orders);
    to.list(kind::MOVES, &beat.moves);
    let says = [beat.agent];
    to.list(
        kind::AGENT,
        if beat.agent.is_unknown() { &[] } else { &says },
    );
    to.list(kind::SILENT_LINKS, &beat.silent_links);
    let wall = [WallClock(beat.wall_ms)];
    to.list(kind::CLOCK, if beat.wall_ms == 0 { &[] } else { &wall });
    let signed = to.at;
    let length = signed + MAC;
    out[8..10].copy_from_slice(&(length as u16).to_be_bytes());
    let mac = key.beats.clone().chain_update(&out[..signed]).finalize();
    out[signed..length].copy_from_slice(&mac.into_bytes()[..MAC]);
    length
}

/// Reads a beat and the link that its sender sent it on. Cheap checks come first, then the MAC, in constant
/// time; nothing else is looked at before it holds. Never allocates.
pub fn decode(bytes: &[u8], keys: &Keys) -> Result<(Beat, u8), Reject> {
    let head = datagram::check(bytes, Kind::Beat, HEADER, MAC)?;
    let key = keys.find(head.key).ok_or(Reject::Key)?;
    let (signed, mac) = bytes.split_last_chunk::<MAC>().ok_or(Reject::Short)?;
    key.beats
        .clone()
        .chain_update(signed)
        .verify_truncated_left(mac)
        .map_err(|_| Reject::Mac)?;
    let (header, lists) = signed.split_at_checked(head.header).ok_or(Reject::Layout)?;
    let (mut beat, link) = fixed(Reader::new(header)).ok_or(Reject::Layout)?;
    fill_lists(&mut beat, Reader::new(lists)).ok_or(Reject::Layout)?;
    Ok((beat, link))
}

/// The fixed part; whatever a newer agent appended to it stays unread.
fn fixed(mut from: Reader<'_>) -> Option<(Beat, u8)> {
    from.take(10)?;
    let link = from.u8()?;
    from.u8()?;
    let flags = from.u16()?;
    let host = from.u16()?;
    let beat = Beat {
        leaving: flags & 1 != 0,
        silent: flags & 2 != 0,
        listening: flags & 4 != 0,
        host: HostFlags {
            gate_lost: host & 1 != 0,
            disk_bad: host & 2 != 0,
            clock_loose: host & 4 != 0,
            link_down: host & 8 != 0,
            gate_restored: host & 16 != 0,
            alias_restored: host & 32 != 0,
        },
        // Evaluated in the order in which they are written: that of the wire.
        cluster: ClusterId(from.u64()?),
        from: NodeId(from.u64()?),
        boot: from.u64()?,
        sequence: from.u64()?,
        nonce: from.u64()?,
        revision: from.u64()?,
        hash: from.u64()?,
        epoch: from.u64()?,
        system_revision: from.u64()?,
        incarnation: from.u32()?,
        ..Beat::default()
    };
    Some((beat, link))
}

fn fill_lists(beat: &mut Beat, mut from: Reader<'_>) -> Option<()> {
    let mut seen = [false; 256];
    while !from.is_empty() {
        let kind = from.u8()?;
        let entry = usize::from(from.u8()?);
        let count = usize::from(from.u16()?);
        let entries = from.take(entry * count)?;
        if core::mem::replace(&mut seen[usize::from(kind)], true) {
            return None;
        }
        match kind {
            kind::SERVICES => fill(&mut beat.services, entries, entry, count)?,
            kind::ASKS => fill(&mut beat.asks, entries, entry, count)?,
            kind::WOULD => fill(&mut beat.would, entries, entry, count)?,
            kind::RELEASED => fill(&mut beat.released, entries, entry, count)?,
            kind::ANSWERS => fill(&mut beat.answers, entries, entry, count)?,
            kind::HEARS => fill(&mut beat.hears, entries, entry, count)?,
            kind::ORDERS => fill(&mut beat.orders, entries, entry, count)?,
            kind::MOVES => fill(&mut beat.moves, entries, entry, count)?,
            kind::AGENT => {
                let mut says = ArrayVec::<AgentVersion, 1>::new();
                fill(&mut says, entries, entry, count)?;
                beat.agent = says.pop().unwrap_or_default();
            }
            kind::CLOCK => {
                let mut says = ArrayVec::<WallClock, 1>::new();
                fill(&mut says, entries, entry, count)?;
                beat.wall_ms = says.pop().map_or(0, |WallClock(ms)| ms);
            }
            kind::SILENT_LINKS => fill(&mut beat.silent_links, entries, entry, count)?,
            _ => {}
        }
    }
    Some(())
}

fn fill<T: Entry, const N: usize>(
    list: &mut ArrayVec<T, N>,
    entries: &[u8],
    entry: usize,
    count: usize,
) -> Option<()> {
    if entry < T::SIZE || count > N {
        return None;
    }
    for bytes in entries.chunks_exact(entry) {
        list.push(T::read(&mut Reader::new(bytes))?);
    }
    Some(())
}

struct Writer<'a> {
    out: &'a mut [u8; MAX_DATAGRAM],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        // In bounds: no beat is longer than FULLEST.
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// An empty list is left out.
    fn list<T: Entry>(&mut self, kind: u8, entries: &[T]) {
        if entries.is_empty() {
            return;
        }
        self.put(&[kind, T::SIZE as u8]);
        self.put(&(entries.len() as u16).to_be_bytes());
        for entry in entries {
            let end = self.at + T::SIZE;
            entry.write(self);
            debug_assert_eq!(self.at, end, "an entry is as long as it says");
        }
    }
}

fn flags(set: &[bool]) -> [u8; 2] {
    let bits = set
        .iter()
        .rev()
        .fold(0_u16, |bits, &bit| bits << 1 | u16::from(bit));
    bits.to_be_bytes()
}

/// The types of the lists. Never reuse a number.
mod kind {
    pub(super) const SERVICES: u8 = 1;
    pub(super) const ASKS: u8 = 2;
    pub(super) const WOULD: u8 = 3;
    pub(super) const RELEASED: u8 = 4;
    pub(super) const ANSWERS: u8 = 5;
    pub(super) const HEARS: u8 = 6;
    pub(super) const ORDERS: u8 = 7;
    pub(super) const MOVES: u8 = 8;
    pub(super) const AGENT: u8 = 9;
    pub(super) const SILENT_LINKS: u8 = 10;
    pub(super) const CLOCK: u8 = 11;
}

/// One entry of a list. New fields are appended, and then an entry without them must still be read.
trait Entry: Sized {
    /// Bytes in version 1.
    const SIZE: usize;
    fn write(&self, to: &mut Writer<'_>);
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

impl Entry for ServiceReport {
    const SIZE: usize = 2 + 1 + 8 + 4;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.service.0.to_be_bytes());
        to.put(&[self.phase]);
        to.put(&self.term.to_be_bytes());
        to.put(&self.since_ms.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            service: ServiceId(from.u16()?),
            phase: from.u8()?,
            term: term(from)?,
            since_ms: from.u32()?,
        })
    }
}

impl Entry for AgentVersion {
    const SIZE: usize = 2 + 2 + 2;

    fn write(&self, to: &mut Writer<'_>) {
        for number in [self.major, self.minor, self.patch] {
            to.put(&number.to_be_bytes());
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            major: from.u16()?,
            minor: from.u16()?,
            patch: from.u16()?,
        })
    }
}

/// C10: ms since 1970 UTC.
struct WallClock(u64);

impl Entry for WallClock {
    const SIZE: usize = 8;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.0.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self(from.u64()?))
    }
}

impl Entry for Ask {
    const SIZE: usize = 2 + 8;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.service.0.to_be_bytes());
        to.put(&self.term.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            service: ServiceId(from.u16()?),
            term: term(from)?,
        })
    }
}

impl Entry for ServiceId {
    const SIZE: usize = 2;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.0.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.u16().map(Self)
    }
}

/// The successor is there if the byte before it is not 0.
impl Entry for Released {
    const SIZE: usize = 2 + 8 + 1 + 8;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.service.0.to_be_bytes());
        to.put(&self.term.to_be_bytes());
        to.put(&[u8::from(self.successor.is_some())]);
        to.put(&self.successor.unwrap_or_default().0.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            service: ServiceId(from.u16()?),
            term: term(from)?,
            successor: {
                let there = from.u8()? != 0;
                let node = NodeId(from.u64()?);
                there.then_some(node)
            },
        })
    }
}

/// Verdict: 0 no, 1 yes, 2 would, 3 refused, then the reason and how long to wait; see [`reason_code`].
impl Entry for Answer {
    const SIZE: usize = 8 + 8 + 8 + 2 + 8 + 1 + 1 + 4;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.asker.0.to_be_bytes());
        to.put(&self.boot.to_be_bytes());
        to.put(&self.sequence.to_be_bytes());
        to.put(&self.service.0.to_be_bytes());
        to.put(&self.term.to_be_bytes());
        let (verdict, reason, wait_ms) = match self.verdict {
            Verdict::No => (0, 0, 0),
            Verdict::Yes => (1, 0, 0),
            Verdict::Would => (2, 0, 0),
            Verdict::Refused(reason, wait_ms) => (3, reason_code(reason), wait_ms),
        };
        to.put(&[verdict, reason]);
        to.put(&wait_ms.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            asker: NodeId(from.u64()?),
            boot: from.u64()?,
            sequence: from.u64()?,
            service: ServiceId(from.u16()?),
            term: term(from)?,
            verdict: {
                let verdict = from.u8()?;
                let reason = from.u8()?;
                let wait_ms = from.u32()?;
                match verdict {
                    1 => Verdict::Yes,
                    2 => Verdict::Would,
                    3 => Verdict::Refused(reason_of(reason), wait_ms),
                    // A verdict of a newer agent must open nothing here.
                    _ => Verdict::No,
                }
            },
        })
    }
}

fn term(from: &mut Reader<'_>) -> Option<u64> {
    from.u64().filter(|term| *term <= HIGHEST_TERM)
}

const fn reason_code(reason: Refused) -> u8 {
    match reason {
        Refused::Other => 0,
        Refused::Heard => 1,
        Refused::Newer => 2,
        Refused::Document => 3,
        Refused::Revision => 4,
        Refused::Promise => 5,
    }
}

const fn reason_of(code: u8) -> Refused {
    match code {
        1 => Refused::Heard,
        2 => Refused::Newer,
        3 => Refused::Document,
        4 => Refused::Revision,
        5 => Refused::Promise,
        _ => Refused::Other,
    }
}

impl Entry for HearsPeer {
    const SIZE: usize = 8 + 4 + 8;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.node.0.to_be_bytes());
        to.put(&self.age_ms.to_be_bytes());
        to.put(&self.echo.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            node: NodeId(from.u64()?),
            age_ms: from.u32()?,
            echo: from.u64()?,
        })
    }
}

impl Entry for BeatOrder {
    const SIZE: usize = 2 + 8 + 8 + 8;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.service.0.to_be_bytes());
        to.put(&self.at_term.to_be_bytes());
        to.put(&self.target.0.to_be_bytes());
        to.put(&self.number.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            service: ServiceId(from.u16()?),
            at_term: term(from)?,
            target: NodeId(from.u64()?),
            number: from.u64()?,
        })
    }
}

impl Entry for SilentLinks {
    const SIZE: usize = 8 + 1;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.node.0.to_be_bytes());
        to.put(&[self.links]);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            node: NodeId(from.u64()?),
            links: from.u8()?,
        })
    }
}

impl Entry for MoveReport {
    const SIZE: usize = 2 + 8 + 4;

    fn write(&self, to: &mut Writer<'_>) {
        to.put(&self.service.0.to_be_bytes());
        to.put(&self.term.to_be_bytes());
        to.put(&self.left_ms.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            service: ServiceId(from.u16()?),
            term: term(from)?,
            left_ms: from.u32()?,
        })
    }
}
