//! Append-only files of entries, each with length and CRC: the history of decisions (F15) and the audit of
//! admins' actions (U11).
//!
//! A frame is the payload's length and its CRC-32 (both 4 bytes, little-endian), then the payload, one JSON value.
//! What a power failure tore off the end is cut at opening; nothing before it is lost. What is damaged elsewhere is
//! passed over. A journal is two files: the one being written and, `.old`, the one before it; it is bounded by size and by
//! age, and only whole files go.

mod frame;
mod writer;

pub use writer::{Journal, Numbered, Tail};

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A file of this size, bytes, is put aside and a new one begun.
const ROTATE_AT: u64 = 8 * 1024 * 1024;

/// A file whose entries are of so long a time, ms, is put aside too: so they go after half a year to a year.
const ROTATE_AFTER: u64 = 180 * 24 * 3_600_000;

/// The newest entries that `keep` accepts, at most `limit`, oldest first.
///
/// May be called while the journal is written: an unfinished frame at the end is not read.
///
/// # Errors
/// The system's. A journal that was never begun is empty.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    limit: usize,
    mut keep: impl FnMut(&T) -> bool,
) -> io::Result<Vec<T>> {
    let mut newest = std::collections::VecDeque::new();
    for file in [old(path), path.to_owned()] {
        let Some(bytes) = whole(&file)? else {
            continue;
        };
        for payload in payloads(&bytes) {
            // An entry of another version of the agent is not an error of the file.
            let Ok(entry) = serde_json::from_slice(payload) else {
                continue;
            };
            if keep(&entry) {
                newest.push_back(entry);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
        }
    }
    Ok(newest.into())
}

/// The payloads of a journal's file that are sound.
pub fn payloads(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    frame::Frames::new(bytes)
}

/// The content of a journal's file, as far as a file of ours can be long.
fn whole(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(ROTATE_AT * 2).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn old(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".old");
    path.with_file_name(name)
}
