//! How agents hand each other documents, on the port of the beats: whoever hears of a newer revision asks
//! its holder for piece after piece. Documents carry secrets, so they travel sealed.
//!
//! ```text
//! offset size
//!      0   10  as all datagrams, see `datagram`
//!     10    6  0
//!     16    8  cluster
//!     24   24  nonce
//!     48       what a newer agent appends; then, from where the header ends, sealed:
//!              1  what: 1 want, 2 piece          1  subject: 1 cluster document, 2 system document
//!              8  revision                       8  first eight bytes of the text's SHA-256; 0 in a want: any
//!              want:   4  offset  8  from
//!              piece:  4  total   4  offset  2  length  then the bytes
//!              and what a newer agent appends
//!    -16   16  tag
//! ```
//! XChaCha20-Poly1305; the header is bound as associated data. The nonce is the caller's to draw, 24 bytes
//! from the system's generator for each message; at that size chance never repeats one.
//!
//! An opened message was made by a member of the cluster, at some time: an old one can be played again. A
//! played-again piece is harmless, since [`Assembly`] takes only the revision and text that it was made for.
//! A played-again want must not turn an agent against a stranger, so pieces go to the addresses that the
//! document has for [`Want::from`], never to wherever the want came from, and at a bounded rate.

mod assembly;

use core::fmt;

use arrayvec::ArrayVec;
use backstay_core::model::{ClusterId, NodeId, hash_of};
use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead as _, Payload};

pub use assembly::{Assembly, Misfit};

use crate::datagram::{self, COMMON, Kind, Reader, Reject, VERSION};
use crate::keys::Keys;

/// Most bytes of a document in one message: it stays below 1,200 bytes with everything around it, which
/// passes any network and tunnel whole.
pub const PIECE: usize = 1024;
/// Bytes of a nonce.
pub const NONCE: usize = 24;

const HEADER: usize = COMMON + NONCE;
const TAG: usize = 16;
/// Bytes of a piece before its text.
const PIECE_HEAD: usize = 1 + 1 + 8 + 8 + 4 + 4 + 2;

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The cluster's.
    Cluster,
    /// The system's.
    System,
}

/// "Send me this piece."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Under whose keys.
    pub cluster: ClusterId,
    /// Of which document.
    pub subject: Subject,
    /// Of which revision; without a hash a later one is as good.
    pub revision: u64,
    /// Of exactly which text, by [`short_hash`]; none: whichever the holder has.
    pub hash: Option<u64>,
    /// From which byte on: a multiple of [`PIECE`].
    pub offset: u32,
    /// Who wants it.
    pub from: NodeId,
}

/// A piece of a document.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// Under whose keys.
    pub cluster: ClusterId,
    /// Of which document.
    pub subject: Subject,
    /// Of which revision.
    pub revision: u64,
    /// Of which text of that revision, by [`short_hash`].
    pub hash: u64,
    /// Bytes of the whole document.
    pub total: u32,
    /// Where the piece belongs.
    pub offset: u32,
    /// The piece.
    pub bytes: ArrayVec<u8, PIECE>,
}

/// What is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // lives for a moment on the stack; boxed it would only allocate
pub enum Message {
    /// A question.
    Want(Want),
    /// Its answer.
    Piece(Piece),
}

/// The first eight bytes of the hash of a document's text, as beats carry it.
pub fn short_hash(text: &str) -> u64 {
    let hash = hash_of(text);
    u64::from_be_bytes(core::array::from_fn(|i| hash[i]))
}

impl Want {
    /// The piece that answers this, from the holder's present text; none: that is not what is wanted, or
    /// the offset is not one that an honest asker names. `hash` is the text's [`short_hash`], which the
    /// holder keeps.
    pub fn answer(&self, revision: u64, hash: u64, text: &str) -> Option<Piece> {
        let text = text.as_bytes();
        let offset = self.offset as usize;
        let wanted = match self.hash {
            Some(wanted) => (self.revision, wanted) == (revision, hash),
            None => self.revision <= revision,
        };
        if !wanted || !offset.is_multiple_of(PIECE) || offset >= text.len() {
            return None;
        }
        let end = text.len().min(offset + PIECE);
        Some(Piece {
            cluster: self.cluster,
            subject: self.subject,
            revision,
            hash,
            total: u32::try_from(text.len()).ok()?,
            offset: self.offset,
            bytes: text[offset..end].iter().copied().collect(),
        })
    }
}

impl fmt::Debug for Piece {
    /// Without the bytes: they may be a key's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece")
            .field("cluster", &self.cluster)
            .field("subject", &self.subject)
            .field("revision", &self.revision)
            .field("total", &self.total)
            .field("offset", &self.offset)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Message {
    /// Under whose keys.
    pub fn cluster(&self) -> ClusterId {
        match self {
            Self::Want(want) => want.cluster,
            Self::Piece(piece) => piece.cluster,
        }
    }
}

/// Seals a message with the signing key. `nonce`: fresh random bytes, never used before.
pub fn seal(message: &Message, keys: &Keys, nonce: [u8; NONCE]) -> Vec<u8> {
    let key = keys.signing();
    let open = plain(message);
    let length = HEADER + open.len() + TAG;
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&Kind::Sealed.magic());
    out.extend_from_slice(&[VERSION, key.id]);
    out.extend_from_slice(&(HEADER as u16).to_be_bytes());
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&message.cluster().0.to_be_bytes());
    out.extend_from_slice(&nonce);
    let payload = Payload {
        msg: &open,
        aad: &out,
    };
    let sealed = key
        .sealed
        .encrypt(&XNonce::from(nonce), payload)
        .expect("fails only beyond 256 GiB");
    out.extend_from_slice(&sealed);
    out
}

fn plain(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(PIECE_HEAD + PIECE);
    let mut begin = |what: u8, subject, revision: u64, hash: u64| {
        let subject = match subject {
            Subject::Cluster => 1,
            Subject::System => 2,
        };
        out.extend_from_slice(&[what, subject]);
        out.extend_from_slice(&revision.to_be_bytes());
        out.extend_from_slice(&hash.to_be_bytes());
    };
    match message {
        Message::Want(want) => {
            begin(1, want.subject, want.revision, want.hash.unwrap_or(0));
            out.extend_from_slice(&want.offset.to_be_bytes());
            out.extend_from_slice(&want.from.0.to_be_bytes());
        }
        Message::Piece(piece) => {
            begin(2, piece.subject, piece.revision, piece.hash);
            out.extend_from_slice(&piece.total.to_be_bytes());
            out.extend_from_slice(&piece.offset.to_be_bytes());
            out.extend_from_slice(&(piece.bytes.len() as u16).to_be_bytes());
            out.extend_from_slice(&piece.bytes);
        }
    }
    out
}

/// Opens a message. Nothing is looked at before its tag holds. A message of a kind that only newer agents
/// know is a [`Reject::Version`].
pub fn open(bytes: &[u8], keys: &Keys) -> Result<Message, Reject> {
    let head = datagram::check(bytes, Kind::Sealed, HEADER, TAG)?;
    let key = keys.find(head.key).ok_or(Reject::Key)?;
    let (header, sealed) = bytes.split_at_checked(head.header).ok_or(Reject::Layout)?;
    let mut fields = Reader::new(header.get(16..).ok_or(Reject::Layout)?);
    let cluster = ClusterId(fields.u64().ok_or(Reject::Layout)?);
    let nonce = fields.array::<NONCE>().ok_or(Reject::Layout)?;
    let payload = Payload {
        msg: sealed,
        aad: header,
    };
    let open = key
        .sealed
        .decrypt(&XNonce::from(nonce), payload)
        .map_err(|_| Reject::Mac)?;
    let mut from = Reader::new(&open);
    match from.u8() {
        Some(1) => want(cluster, &mut from).map(Message::Want),
        Some(2) => piece(cluster, &mut from).map(Message::Piece),
        Some(_) => return Err(Reject::Version),
        None => None,
    }
    .ok_or(Reject::Layout)
}

fn subject(from: &mut Reader<'_>) -> Option<Subject> {
    match from.u8()? {
        1 => Some(Subject::Cluster),
        2 => Some(Subject::System),
        _ => None,
    }
}

fn want(cluster: ClusterId, from: &mut Reader<'_>) -> Option<Want> {
    Some(Want {
        cluster,
        subject: subject(from)?,
        revision: from.u64()?,
        hash: Some(from.u64()?).filter(|&hash| hash != 0),
        offset: from.u32()?,
        from: NodeId(from.u64()?),
    })
}

fn piece(cluster: ClusterId, from: &mut Reader<'_>) -> Option<Piece> {
    Some(Piece {
        cluster,
        subject: subject(from)?,
        revision: from.u64()?,
        hash: from.u64()?,
        total: from.u32()?,
        offset: from.u32()?,
        bytes: {
            let length = usize::from(from.u16()?);
            ArrayVec::try_from(from.take(length)?).ok()?
        },
    })
}
