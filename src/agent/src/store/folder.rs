//! Files that survive a power failure whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a file is called while it is being written.
const UNFINISHED: &str = "unfinished";

/// Makes a folder and those above it, readable by root alone; one that is there is left as it is.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Replaces a file: write beside it, fsync, rename, fsync the folder. Mode 0600.
///
/// # Errors
/// The system's. The former file is then still there, whole, unless only the folder's fsync failed.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

/// Replaces a file as a whole without waiting for a disk: for `/run`, which is memory.
///
/// # Errors
/// The system's; the former file is then still there, whole.
pub fn write_quickly(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

fn replace(path: &Path, bytes: &[u8], durably: bool) -> io::Result<()> {
    let beside = unfinished(path);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        if durably {
            file.sync_all()?;
        }
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // What is left of a full disk's attempt only takes room.
        let _ = fs::remove_file(&beside);
    }
    written?;
    if durably { sync_folder(path) } else { Ok(()) }
}

/// Removes a file for good; one that is not there is well.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a file another name in its folder, for good.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(to)
}

/// Reads a text of at most `most` bytes; `None`: there is no such file.
///
/// # Errors
/// The system's, and `InvalidData` for a longer file or one that is not UTF-8.
pub fn read_text(path: &Path, most: usize) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let longer = format!("longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, longer));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(UNFINISHED);
    path.with_file_name(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        write_durably(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(read_text(&path, 100).unwrap().unwrap(), "two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_torn_by_power_failure_leaves_the_former_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        write_durably(&path, b"former").unwrap();
        fs::write(unfinished(&path), b"for").unwrap(); // all that reached the disk
        assert_eq!(read_text(&path, 100).unwrap().unwrap(), "former");
        write_durably(&path, b"later").unwrap();
        assert_eq!(read_text(&path, 100).unwrap().unwrap(), "later");
    }

    #[test]
    fn a_write_that_fails_leaves_the_former_text_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        // A folder in the way of the rename stands for every late failure.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"former").unwrap();
        assert!(write_durably(&path, b"later").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"former");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_text_beyond_its_bound_or_not_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, b"12345").unwrap();
        assert!(read_text(&path, 5).is_ok());
        assert!(read_text(&path, 4).is_err());
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read_text(&path, 4).is_err());
        assert!(read_text(&folder.path().join("y"), 4).unwrap().is_none());
    }
}
