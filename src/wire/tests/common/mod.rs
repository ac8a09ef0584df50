//! Keys, golden files and forgeries for the tests of both kinds of datagram.

#![allow(dead_code)] // each test file uses its part

use std::path::Path;

use backstay_core::model::Key;
use backstay_wire::Keys;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Set to 1, the golden files are written anew; the difference is then to be reviewed.
const REWRITE: &str = "BACKSTAY_REWRITE";

pub(crate) fn key(id: u8, byte: u8, signs: bool) -> Key {
    Key {
        id,
        secret: hex::encode([byte; 32]),
        signs,
    }
}

pub(crate) fn keys() -> Keys {
    Keys::new(&[key(7, 0x42, true)]).unwrap()
}

/// What [`keys`] derive for this label, derived once more from the definition.
pub(crate) fn derived(label: &[u8]) -> Vec<u8> {
    let mac = <Hmac<Sha256>>::new_from_slice(&[0x42; 32]).unwrap();
    mac.chain_update(label).finalize().into_bytes().to_vec()
}

/// What a member that builds its beats wrongly would send: the length is put right and the whole is signed.
pub(crate) fn resign(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() + 16) as u16;
    bytes[8..10].copy_from_slice(&length.to_be_bytes());
    let mac = <Hmac<Sha256>>::new_from_slice(&derived(b"backstay beat 1")).unwrap();
    let mac = mac.chain_update(&bytes).finalize().into_bytes();
    bytes.extend_from_slice(&mac[..16]);
    bytes
}

/// The text of a golden file; `now` is what it would be written as.
pub(crate) fn golden_text(name: &str, now: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os(REWRITE).is_some_and(|set| set == "1") {
        std::fs::write(&path, now).unwrap();
    }
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}; write it with {REWRITE}=1"))
}

/// The bytes of a golden file: hexadecimal digits, 32 bytes a line.
pub(crate) fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let lines: String = now
        .chunks(32)
        .map(|line| hex::encode(line) + "\n")
        .collect();
    let text = golden_text(name, &lines);
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}
