//! The keys of one cluster: several verify, one signs, so that a key can be exchanged in the running system
//! (add it everywhere, let it sign, remove the old one).

use core::fmt;

use arrayvec::ArrayVec;
use backstay_core::model::Key;
use chacha20poly1305::XChaCha20Poly1305;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Most keys of one cluster.
pub const MAX_KEYS: usize = 8;

/// Beats and sealed messages get keys of their own from each secret: what one of the two leaks of its key
/// says nothing about the other.
const BEATS: &[u8] = b"backstay beat 1";
const SEALED: &[u8] = b"backstay sealed 1";

type HmacSha256 = Hmac<Sha256>;

/// The keys of one cluster, ready for use: nothing is derived or allocated when a beat comes or goes.
#[derive(Clone)]
pub struct Keys {
    all: ArrayVec<Schedule, MAX_KEYS>,
    signs: Schedule,
}

#[derive(Clone)]
pub(crate) struct Schedule {
    pub(crate) id: u8,
    /// HMAC-SHA-256, to be copied for each datagram.
    pub(crate) beats: HmacSha256,
    pub(crate) sealed: XChaCha20Poly1305,
}

/// Why a document's keys can't be used. No text of it shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 64 hexadecimal digits.
    #[error("the secret of key {0} is not 64 hexadecimal digits")]
    Secret(u8),
    /// Two of one id.
    #[error("two keys have the id {0}; each needs its own")]
    Twice(u8),
    /// None or several sign.
    #[error("{0} keys sign; exactly one must")]
    Signing(usize),
    /// Too many.
    #[error("there are {0} keys; at most {MAX_KEYS} are used")]
    Many(usize),
}

impl Keys {
    /// From a cluster document.
    pub fn new(keys: &[Key]) -> Result<Self, KeyError> {
        if keys.len() > MAX_KEYS {
            return Err(KeyError::Many(keys.len()));
        }
        let mut all = ArrayVec::<Schedule, MAX_KEYS>::new();
        for key in keys {
            if all.iter().any(|other| other.id == key.id) {
                return Err(KeyError::Twice(key.id));
            }
            let mut secret = [0; 32];
            hex::decode_to_slice(&key.secret, &mut secret).map_err(|_| KeyError::Secret(key.id))?;
            all.push(Schedule::new(key.id, &secret));
        }
        let mut signing = keys.iter().zip(&all).filter(|(key, _)| key.signs);
        match (signing.next(), signing.count()) {
            (Some((_, signs)), 0) => {
                let signs = signs.clone();
                Ok(Self { all, signs })
            }
            (first, others) => Err(KeyError::Signing(usize::from(first.is_some()) + others)),
        }
    }

    /// The id of the key that signs.
    pub fn signing_id(&self) -> u8 {
        self.signs.id
    }

    pub(crate) fn signing(&self) -> &Schedule {
        &self.signs
    }

    pub(crate) fn find(&self, id: u8) -> Option<&Schedule> {
        self.all.iter().find(|key| key.id == id)
    }
}

impl Schedule {
    fn new(id: u8, secret: &[u8; 32]) -> Self {
        let derive = |label| mac(secret).chain_update(label).finalize().into_bytes();
        Self {
            id,
            beats: mac(&derive(BEATS)),
            sealed: XChaCha20Poly1305::new(&derive(SEALED)),
        }
    }
}

fn mac(key: &[u8]) -> HmacSha256 {
    // HMAC takes a key of any length: the error has no case.
    HmacSha256::new_from_slice(key).expect("HMAC takes any key")
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<u8> = self.all.iter().map(|key| key.id).collect();
        write!(f, "Keys {{ ids: {ids:?}, signs: {} }}", self.signs.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8, digit: &str, signs: bool) -> Key {
        Key {
            id,
            secret: digit.repeat(64),
            signs,
        }
    }

    #[test]
    fn exactly_one_key_signs() {
        assert_eq!(Keys::new(&[]).unwrap_err(), KeyError::Signing(0));
        let two = [key(1, "a", true), key(2, "b", true)];
        assert_eq!(Keys::new(&two).unwrap_err(), KeyError::Signing(2));
        let one = [key(1, "a", false), key(2, "b", true)];
        assert_eq!(Keys::new(&one).unwrap().signing_id(), 2);
    }

    #[test]
    fn bad_keys_are_refused_by_id_without_their_secret() {
        let short = Key {
            secret: "beef".into(),
            ..key(9, "a", true)
        };
        let error = Keys::new(&[short]).unwrap_err();
        assert_eq!(error, KeyError::Secret(9));
        assert!(!error.to_string().contains("beef"));
        assert_eq!(
            Keys::new(&[key(9, "g", true)]).unwrap_err(),
            KeyError::Secret(9)
        );
        let twice = [key(3, "a", true), key(3, "b", false)];
        assert_eq!(Keys::new(&twice).unwrap_err(), KeyError::Twice(3));
        let many: Vec<Key> = (0..9).map(|i| key(i, "a", i == 0)).collect();
        assert_eq!(Keys::new(&many).unwrap_err(), KeyError::Many(9));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", Keys::new(&[key(5, "a", true)]).unwrap());
        assert_eq!(shown, "Keys { ids: [5], signs: 5 }");
    }
}
