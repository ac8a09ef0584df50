//! The thread that writes a journal, so that nothing else waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;

use super::{ROTATE_AT, frame, old, whole};

/// Entries that may wait for the disk; more are dropped and counted.
const WAITING: usize = 4096;

/// An entry that the journal counts.
pub trait Numbered {
    /// Its number.
    fn number(&self) -> u64;
    /// Takes the number that the journal gives it.
    fn set_number(&mut self, number: u64);
}

/// Hands entries to the journal's thread.
#[derive(Debug)]
pub struct Journal<T> {
    entries: SyncSender<T>,
    lost: Arc<AtomicU64>,
    tail: broadcast::Sender<T>,
}

/// Receives entries as they are written.
pub type Tail<T> = broadcast::Receiver<T>;

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            lost: Arc::clone(&self.lost),
            tail: self.tail.clone(),
        }
    }
}

impl<T: Numbered + Clone + Serialize + DeserializeOwned + Send + 'static> Journal<T> {
    /// Opens a journal, cuts what was torn off its end, and starts its thread.
    ///
    /// # Errors
    /// The system's, only where no thread can be started: a journal that can't be written is said in the
    /// log and loses its entries, since the service comes first.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (entries, waiting) = sync_channel(WAITING);
        let (tail, _) = broadcast::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            path: path.to_owned(),
            file: None,
            next: 1,
            said: false,
            lost: Arc::clone(&lost),
            tail: tail.clone(),
        };
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self {
            entries,
            lost,
            tail,
        })
    }

    /// Keeps an entry; never waits.
    pub fn put(&self, entry: T) {
        if self.entries.try_send(entry).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Entries from now on. One that falls behind by 4,096 entries is told so.
    pub fn tail(&self) -> Tail<T> {
        self.tail.subscribe()
    }
}

struct Writer<T> {
    path: PathBuf,
    file: Option<(File, u64)>,
    next: u64,
    said: bool,
    lost: Arc<AtomicU64>,
    tail: broadcast::Sender<T>,
}

impl<T: Numbered + Clone + Serialize + DeserializeOwned> Writer<T> {
    fn run(mut self, waiting: &Receiver<T>) {
        self.reopen();
        let mut bytes = Vec::new();
        while let Ok(first) = waiting.recv() {
            bytes.clear();
            let mut told = Vec::new();
            // Whatever else waits goes in the same write and fsync.
            for mut entry in std::iter::once(first).chain(waiting.try_iter().take(256)) {
                entry.set_number(self.next);
                self.next += 1;
                if let Ok(payload) = serde_json::to_vec(&entry) {
                    frame::put(&mut bytes, &payload);
                }
                told.push(entry);
            }
            self.append(&bytes);
            for entry in told {
                // Nobody follows: well.
                let _ = self.tail.send(entry);
            }
        }
    }

    /// Opens the file and finds the last number; what fails is tried again with the next entry.
    fn reopen(&mut self) {
        let newest = |bytes: &[u8], next: u64| {
            let mut frames = frame::Frames::new(bytes);
            let last = frames
                .by_ref()
                .filter_map(|payload| serde_json::from_slice::<T>(payload).ok())
                .last();
            (
                last.map_or(next, |e| next.max(e.number() + 1)),
                frames.sound() as u64,
            )
        };
        let opened = (|| {
            let before = whole(&old(&self.path))?.unwrap_or_default();
            let (next, _) = newest(&before, self.next);
            let bytes = whole(&self.path)?.unwrap_or_default();
            let (next, sound) = newest(&bytes, next);
            self.next = next;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&self.path)?;
            file.set_len(sound)?;
            file.seek(SeekFrom::Start(sound))?;
            Ok((file, sound))
        })();
        match opened {
            Ok(file) => self.file = Some(file),
            Err(error) => self.say(&error),
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.file.is_none() {
            self.reopen();
        }
        let Some((file, length)) = &mut self.file else {
            return;
        };
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        match written {
            Ok(()) => {
                *length += bytes.len() as u64;
                self.said = false;
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!("{}: {lost} entries were lost", self.path.display());
                }
                if *length >= ROTATE_AT {
                    self.rotate();
                }
            }
            Err(error) => {
                // Half a frame may stand there: it is cut when the file is opened again.
                self.file = None;
                self.say(&error);
            }
        }
    }

    fn rotate(&mut self) {
        self.file = None;
        if let Err(error) = std::fs::rename(&self.path, old(&self.path)) {
            self.say(&error);
        }
    }

    /// Once, not with every entry.
    fn say(&mut self, error: &io::Error) {
        if !self.said {
            self.said = true;
            tracing::error!(
                "the journal {} can't be written: {error}; entries are lost until it can",
                self.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Entry {
        id: u64,
        text: String,
    }

    impl Numbered for Entry {
        fn number(&self) -> u64 {
            self.id
        }
        fn set_number(&mut self, number: u64) {
            self.id = number;
        }
    }

    fn entry(text: impl Into<String>) -> Entry {
        let text = text.into();
        Entry { id: 0, text }
    }

    /// Puts entries and waits until each is on disk.
    fn put(journal: &Journal<Entry>, texts: &[&str]) {
        let mut tail = journal.tail();
        for text in texts {
            journal.put(entry(*text));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for _ in texts {
                tokio::time::timeout(Duration::from_secs(20), tail.recv())
                    .await
                    .unwrap()
                    .unwrap();
            }
        });
    }

    fn texts(path: &Path, limit: usize) -> Vec<(u64, String)> {
        let entries: Vec<Entry> = super::super::read(path, limit, |_| true).unwrap();
        entries.into_iter().map(|e| (e.id, e.text)).collect()
    }

    #[test]
    fn f15_entries_survive_a_torn_tail_and_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        put(&Journal::open(&path).unwrap(), &["a", "b"]);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[40, 0, 0, 0, 1, 2, 3]).unwrap();
        put(&Journal::open(&path).unwrap(), &["c"]);
        let all = [(1, "a".into()), (2, "b".into()), (3, "c".into())];
        assert_eq!(texts(&path, 10), all);
        assert_eq!(texts(&path, 2), all[1..]);
    }

    #[test]
    fn a_full_file_is_put_aside_and_both_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let long = "x".repeat(60 * 1024);
        let count = usize::try_from(ROTATE_AT).unwrap() / long.len() + 3;
        put(&Journal::open(&path).unwrap(), &vec![long.as_str(); count]);
        assert!(old(&path).exists());
        let ids: Vec<u64> = texts(&path, 1000).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, (1..=count as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_journal_that_cannot_be_written_stops_nothing_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub").join("history");
        std::fs::write(folder.path().join("sub"), b"a file in the way").unwrap();
        let journal = Journal::open(&path).unwrap();
        put(&journal, &["lost"]);
        std::fs::remove_file(folder.path().join("sub")).unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        put(&journal, &["kept"]);
        assert_eq!(texts(&path, 10), [(2, "kept".into())]);
    }
}
