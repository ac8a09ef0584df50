//! Datagrams: as they come, and as a member would send them that holds the key and builds them wrongly. Nobody else
//! gets past the signature.

use std::sync::LazyLock;

use backstay_core::model::{ClusterId, Key, MAX_DOCUMENT, NodeId};
use backstay_wire::sealed::{self, Assembly, Message, NONCE, Subject, short_hash};
use backstay_wire::{Keys, Kind, MAX_DATAGRAM, Reject, beat, peek_cluster};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const MAC: usize = 16;
const CLUSTER: ClusterId = ClusterId(0xc1);

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = Key {
        id: 7,
        secret: "42".repeat(32),
        signs: true,
    };
    Keys::new(&[key]).expect("a sound key")
});
static BEATS: LazyLock<Hmac<Sha256>> = LazyLock::new(|| mac(&derived(b"backstay beat 1")));
static SEALED: LazyLock<XChaCha20Poly1305> = LazyLock::new(|| {
    let key = derived(b"backstay sealed 1");
    XChaCha20Poly1305::new_from_slice(&key).expect("32 bytes")
});

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes any key")
}

fn derived(label: &[u8]) -> Vec<u8> {
    let mac = mac(&[0x42; 32]).chain_update(label);
    mac.finalize().into_bytes().to_vec()
}

/// A beat of a member: what stands in `bytes` from the link on, under a sound head and signature.
fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"BsBt\x01\x07\0\x5c\0\0".to_vec();
    out.extend_from_slice(bytes);
    out.truncate(MAX_DATAGRAM - MAC);
    let length = out.len() + MAC;
    out[8..10].copy_from_slice(&(length as u16).to_be_bytes());
    let mac = BEATS.clone().chain_update(&out).finalize().into_bytes();
    out.extend_from_slice(&mac[..MAC]);
    out
}

/// Beats.
pub(crate) fn beat(bytes: &[u8]) {
    let kind = Kind::of(bytes);
    assert!(peek_cluster(bytes).is_none() || kind.is_some());
    assert!(
        beat::decode(bytes, &KEYS).is_err(),
        "no key is known outside"
    );
    let Ok((said, link)) = beat::decode(&signed(bytes), &KEYS) else {
        return;
    };
    let mut out = [0; MAX_DATAGRAM];
    let length = beat::encode(&said, link, &KEYS, &mut out);
    let again = beat::decode(&out[..length], &KEYS);
    assert_eq!(again, Ok((said, link)), "what was read can be written");
}

/// Sealed messages, and a document that is put together from pieces.
pub(crate) fn sealed(bytes: &[u8]) {
    assert!(sealed::open(bytes, &KEYS).is_err());
    let mut assembly = Assembly::new(CLUSTER, Subject::Cluster, 1, None, NodeId(1));
    for inside in bytes.split(|byte| *byte == 0xff) {
        let message = match sealed::open(&hidden(inside), &KEYS) {
            Ok(message) => message,
            Err(Reject::Layout | Reject::Version) => continue,
            Err(other) => panic!("{other} under the right key"),
        };
        let again = sealed::seal(&message, &KEYS, [1; NONCE]);
        assert_eq!(sealed::open(&again, &KEYS), Ok(message.clone()));
        match message {
            Message::Want(want) => {
                let text = "# a text\n".repeat(300);
                if let Some(piece) = want.answer(1, short_hash(&text), &text) {
                    assert!(piece.offset as usize + piece.bytes.len() <= text.len());
                }
            }
            Message::Piece(piece) => {
                if let Ok(Some(text)) = assembly.take(&piece) {
                    assert!(text.len() <= MAX_DOCUMENT);
                }
            }
        }
    }
    // What is asked for at once is bounded by the longest document.
    assert!(assembly.wants().count() <= MAX_DOCUMENT / sealed::PIECE + 1);
}

/// A sealed message of a member with these bytes inside.
fn hidden(inside: &[u8]) -> Vec<u8> {
    let nonce = [0; NONCE];
    let mut out = b"BsDc\x01\x07\0\x30".to_vec();
    out.extend_from_slice(&((48 + inside.len().min(2_000) + 16) as u16).to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&CLUSTER.0.to_be_bytes());
    out.extend_from_slice(&nonce);
    let payload = Payload {
        msg: &inside[..inside.len().min(2_000)],
        aad: &out,
    };
    let sealed = SEALED.encrypt(&XNonce::from(nonce), payload);
    out.extend_from_slice(&sealed.expect("short enough"));
    out
}
