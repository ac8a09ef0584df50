//! What beats and sealed messages have in common: the first 24 bytes, and why one is dropped.
//!
//! ```text
//! offset size
//!      0    4  magic: `BsBt` a beat, `BsDc` a sealed message
//!      4    1  version of the format; another one is not read at all
//!      5    1  key id
//!      6    2  where the header ends, counted from the start; a newer agent may append to it
//!      8    2  length of the whole datagram
//!     10    6  of each kind its own
//!     16    8  cluster
//! ```
//! All numbers are big endian.

use backstay_core::model::{ClusterId, NodeId};

/// Longest datagram that is sent or read, in bytes: size receive buffers by it.
///
/// A beat of a usual cluster stays below 1,400 bytes and so in one packet of any common network. The fullest
/// beat that the types allow (16 members, 32 services, every list full) takes 3,312 bytes and travels in
/// fragments; the rest is left for what newer agents append.
pub const MAX_DATAGRAM: usize = 4096;

/// The version of both formats. It changes only with the meaning of what is there; additions need none.
pub const VERSION: u8 = 1;

/// Bytes that both kinds share.
pub(crate) const COMMON: usize = 24;

/// What a datagram claims to be. Nothing is verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For [`crate::beat::decode`].
    Beat,
    /// For [`crate::sealed::open`].
    Sealed,
}

impl Kind {
    /// By the magic; none: not ours.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        [Self::Beat, Self::Sealed]
            .into_iter()
            .find(|kind| bytes.starts_with(&kind.magic()))
    }

    pub(crate) const fn magic(self) -> [u8; 4] {
        match self {
            Self::Beat => *b"BsBt",
            Self::Sealed => *b"BsDc",
        }
    }
}

/// The cluster that a datagram of either kind claims to belong to, so that the right keys can be found.
/// Nothing is verified yet. None: not ours, or cut short.
pub fn peek_cluster(bytes: &[u8]) -> Option<ClusterId> {
    Kind::of(bytes)?;
    let id = bytes.get(16..COMMON)?;
    Some(ClusterId(u64::from_be_bytes(id.try_into().ok()?)))
}

/// Who claims to have sent a beat of another version of the format: the first 32 bytes of a beat stay what they are in
/// every version. It can't be verified, so it may tell an admin why a node is not heard and decide nothing.
pub fn peek_foreign(bytes: &[u8]) -> Option<NodeId> {
    let other = *bytes.get(4)? != VERSION && Kind::of(bytes) == Some(Kind::Beat);
    let id = bytes.get(COMMON..COMMON + 8).filter(|_| other)?;
    Some(NodeId(u64::from_be_bytes(id.try_into().ok()?)))
}

/// Why a datagram was dropped. Count them by kind; log none one by one, or a flood of datagrams becomes a
/// flood of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Reject {
    /// Shorter than it says, or than anything can be.
    #[error("cut short")]
    Short,
    /// Not of this kind.
    #[error("not of Backstay")]
    Magic,
    /// Of a format that this agent does not read.
    #[error("of another version of the format")]
    Version,
    /// Under a key id that the cluster's document does not have.
    #[error("under an unknown key")]
    Key,
    /// Not made with that key, or changed on its way.
    #[error("forged or damaged")]
    Mac,
    /// Longer than it says, or its parts do not fit; under a right key this is a defect of the sender.
    #[error("badly laid out")]
    Layout,
}

impl Reject {
    /// How many kinds there are: the length of an array of counters.
    pub const COUNT: usize = 6;

    /// This kind's place in such an array.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The common part, after the checks that need no key.
pub(crate) struct Head {
    pub(crate) key: u8,
    pub(crate) header: usize,
}

/// The cheap checks, for a kind whose header has at least `least` bytes and is followed by `trailer` bytes
/// at least.
pub(crate) fn check(
    bytes: &[u8],
    kind: Kind,
    least: usize,
    trailer: usize,
) -> Result<Head, Reject> {
    let magic = bytes.get(..4).ok_or(Reject::Short)?;
    if magic != kind.magic() {
        return Err(Reject::Magic);
    }
    let mut rest = Reader::new(bytes.get(4..).unwrap_or_default());
    if rest.u8().ok_or(Reject::Short)? != VERSION {
        return Err(Reject::Version);
    }
    if bytes.len() < least + trailer {
        return Err(Reject::Short);
    }
    let key = rest.u8().ok_or(Reject::Short)?;
    let header = usize::from(rest.u16().ok_or(Reject::Short)?);
    let length = usize::from(rest.u16().ok_or(Reject::Short)?);
    if bytes.len() < length {
        return Err(Reject::Short);
    }
    if bytes.len() > length || length > MAX_DATAGRAM || header < least || header > length - trailer
    {
        return Err(Reject::Layout);
    }
    Ok(Head { key, header })
}

/// Takes big-endian numbers from the front of a slice; none: it is too short.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_their_first_bytes() {
        assert_eq!(Kind::of(b"BsBt and more"), Some(Kind::Beat));
        assert_eq!(Kind::of(b"BsDc"), Some(Kind::Sealed));
        assert_eq!(Kind::of(b"BsB"), None);
        assert_eq!(Kind::of(b"GET / HTTP/1.1"), None);
    }

    #[test]
    fn a_cluster_is_peeked_only_from_a_whole_head() {
        let mut bytes = [0; COMMON];
        bytes[..4].copy_from_slice(b"BsDc");
        bytes[23] = 7;
        assert_eq!(peek_cluster(&bytes), Some(ClusterId(7)));
        assert_eq!(peek_cluster(&bytes[..23]), None);
        bytes[0] = 0;
        assert_eq!(peek_cluster(&bytes), None);
    }
}
