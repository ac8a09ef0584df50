//! Puts the pieces of one document together.

use core::fmt;

use backstay_core::model::{ClusterId, MAX_DOCUMENT, NodeId};

use super::{PIECE, Piece, Subject, Want, short_hash};

/// Collects the pieces of one text of one document, in any order and from any member. It holds
/// [`MAX_DOCUMENT`] bytes at most, knows no time and sends nothing: the caller sends what [`wants`] says, says
/// it again when nothing comes, and gives up and makes a new one when nothing has come for long.
///
/// [`wants`]: Self::wants
pub struct Assembly {
    cluster: ClusterId,
    subject: Subject,
    revision: u64,
    /// What the caller asked for.
    asked: Option<u64>,
    from: NodeId,
    parts: Parts,
}

enum Parts {
    /// No piece has come: not even the size is known.
    None,
    Some {
        revision: u64,
        hash: u64,
        text: Vec<u8>,
        have: Vec<bool>,
        missing: usize,
    },
    /// The text was handed out.
    Done { revision: u64 },
}

/// Why a piece was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Of another cluster, document, revision or text.
    #[error("of another document")]
    Other,
    /// The document would be empty or longer than a document may be.
    #[error("of a document of {0} bytes; 1 to {MAX_DOCUMENT} are right")]
    Size(u32),
    /// It says another size than the pieces before it.
    #[error("of a document of another size")]
    Total,
    /// It does not lie where pieces lie, or is not as long as it must be.
    #[error("out of place")]
    Place,
    /// It says something else than an earlier one of the same place.
    #[error("not what was said before")]
    Differs,
    /// It was the last, but the whole is not the text with that hash; all pieces were dropped, and the
    /// collecting begins again.
    #[error("the pieces do not make the document")]
    Text,
}

impl fmt::Debug for Assembly {
    /// Without the text: it has keys in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("cluster", &self.cluster)
            .field("subject", &self.subject)
            .field("revision", &self.revision)
            .field("next", &self.next_want().map(|want| want.offset))
            .finish_non_exhaustive()
    }
}

impl Assembly {
    /// For one text. `hash`: its [`short_hash`], as beats say it; none: any text of this or a later revision
    /// will do, and the first piece decides. `from`: this node.
    pub fn new(
        cluster: ClusterId,
        subject: Subject,
        revision: u64,
        hash: Option<u64>,
        from: NodeId,
    ) -> Self {
        Self {
            cluster,
            subject,
            revision,
            asked: hash,
            from,
            parts: Parts::None,
        }
    }

    /// Of which document.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Of which revision: the one that was asked for until the first piece has come.
    pub fn revision(&self) -> u64 {
        match &self.parts {
            Parts::Some { revision, .. } | Parts::Done { revision } => *revision,
            Parts::None => self.revision,
        }
    }

    /// What to ask for next; none: everything is there.
    pub fn next_want(&self) -> Option<Want> {
        self.wants().next()
    }

    /// Everything to ask for, in order; take as many as may be under way at once. Until the first piece has
    /// come it is only that.
    pub fn wants(&self) -> impl Iterator<Item = Want> + '_ {
        let (hash, size, have) = match &self.parts {
            Parts::None => (self.asked, 1, None),
            Parts::Some {
                hash, text, have, ..
            } => (Some(*hash), text.len(), Some(have)),
            Parts::Done { .. } => (self.asked, 0, None),
        };
        (0..size.div_ceil(PIECE))
            .filter(move |&i| have.is_none_or(|have| !have[i]))
            .map(move |i| Want {
                cluster: self.cluster,
                subject: self.subject,
                revision: self.revision(),
                hash,
                offset: (i * PIECE) as u32,
                from: self.from,
            })
    }

    /// Takes a piece; the last one yields the text, whose hash is right by then (whether it is a document is
    /// not yet known). A piece that is there already, or comes after the end, changes nothing.
    pub fn take(&mut self, piece: &Piece) -> Result<Option<String>, Misfit> {
        if (piece.cluster, piece.subject) != (self.cluster, self.subject) {
            return Err(Misfit::Other);
        }
        if let Parts::Done { revision } = self.parts {
            let late = piece.revision == revision;
            return if late { Ok(None) } else { Err(Misfit::Other) };
        }
        let at = self.place(piece)?;
        if let Parts::None = self.parts {
            let total = piece.total as usize;
            self.parts = Parts::Some {
                revision: piece.revision,
                hash: piece.hash,
                text: vec![0; total],
                have: vec![false; total.div_ceil(PIECE)],
                missing: total.div_ceil(PIECE),
            };
        }
        let Parts::Some {
            revision,
            hash,
            text,
            have,
            missing,
        } = &mut self.parts
        else {
            return Ok(None);
        };
        let place = &mut text[at..at + piece.bytes.len()];
        let known = &mut have[at / PIECE];
        if *known {
            let same = *place == piece.bytes[..];
            return if same { Ok(None) } else { Err(Misfit::Differs) };
        }
        place.copy_from_slice(&piece.bytes);
        *known = true;
        *missing -= 1;
        if *missing > 0 {
            return Ok(None);
        }
        let (revision, hash, text) = (*revision, *hash, core::mem::take(text));
        match String::from_utf8(text) {
            Ok(text) if short_hash(&text) == hash => {
                self.parts = Parts::Done { revision };
                Ok(Some(text))
            }
            _ => {
                self.parts = Parts::None;
                Err(Misfit::Text)
            }
        }
    }

    /// Where the piece belongs, once everything that it says has been checked. All pieces but the last are
    /// full and begin at multiples of [`PIECE`], so that none can overlap another.
    fn place(&self, piece: &Piece) -> Result<usize, Misfit> {
        let total = piece.total as usize;
        if total == 0 || total > MAX_DOCUMENT {
            return Err(Misfit::Size(piece.total));
        }
        let said = (piece.revision, piece.hash);
        let (mine, size) = match &self.parts {
            Parts::Some {
                revision,
                hash,
                text,
                ..
            } => (said == (*revision, *hash), text.len()),
            Parts::None | Parts::Done { .. } => match self.asked {
                Some(hash) => (said == (self.revision, hash), total),
                None => (piece.revision >= self.revision, total),
            },
        };
        if !mine {
            return Err(Misfit::Other);
        }
        if size != total {
            return Err(Misfit::Total);
        }
        let at = piece.offset as usize;
        if at >= total || !at.is_multiple_of(PIECE) || piece.bytes.len() != PIECE.min(total - at) {
            return Err(Misfit::Place);
        }
        Ok(at)
    }
}
