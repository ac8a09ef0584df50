//! The thread that writes a journal, so that nothing else waits for the disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;

use super::{ROTATE_AFTER, ROTATE_AT, frame, old, whole};

/// Entries that may wait for the disk; more are dropped and counted.
const WAITING: usize = 4096;

/// So many bytes are written at once.
const BATCH: usize = 512 * 1024;
/// Most bytes that wait in memory while the disk takes none.
const MOST_UNWRITTEN: usize = 4 * 1024 * 1024;
/// How often a disk that took none is tried while nothing new comes.
const AGAIN: Duration = Duration::from_secs(10);

/// An entry that the journal counts.
pub trait Numbered {
    /// Its number.
    fn number(&self) -> u64;
    /// Takes the number that the journal gives it.
    fn set_number(&mut self, number: u64);
    /// When it was made, ms since 1970 UTC.
    fn wall_ms(&self) -> u64;
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
            unwritten: VecDeque::new(),
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
    file: Option<Open>,
    next: u64,
    /// Frames that are not on disk yet, with the times of their entries.
    unwritten: VecDeque<(u64, Vec<u8>)>,
    said: bool,
    lost: Arc<AtomicU64>,
    tail: broadcast::Sender<T>,
}

/// The file that is being written.
struct Open {
    file: File,
    length: u64,
    /// When its first entry was made, and the last one of the file before it; ms since 1970 UTC.
    first: Option<u64>,
    before: Option<u64>,
}

impl Open {
    /// Entries of several months are together in it. Told by their own times; by the file before too, so that a clock
    /// that jumps there and back does not push out what is new.
    fn is_old(&self, now: u64) -> bool {
        let old = |since: Option<u64>| since.is_some_and(|s| now.saturating_sub(s) >= ROTATE_AFTER);
        old(self.first) && (self.before.is_none() || old(self.before))
    }
}

impl<T: Numbered + Clone + Serialize + DeserializeOwned> Writer<T> {
    fn run(mut self, waiting: &Receiver<T>) {
        self.reopen();
        loop {
            let first = if self.unwritten.is_empty() {
                waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                waiting.recv_timeout(AGAIN)
            };
            let mut told = Vec::new();
            match first {
                Ok(first) => {
                    // Whatever else waits goes in the same write and fsync.
                    let mut room = BATCH;
                    for mut entry in std::iter::once(first).chain(waiting.try_iter()) {
                        entry.set_number(self.next);
                        self.next += 1;
                        room = room.saturating_sub(self.keep(&entry));
                        told.push(entry);
                        if room == 0 {
                            break;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.append();
            for entry in told {
                // Nobody follows: well.
                let _ = self.tail.send(entry);
            }
        }
    }

    /// Until it is on disk. Where the disk stays full, the oldest of these give way. Answers its length.
    fn keep(&mut self, entry: &T) -> usize {
        let mut bytes = Vec::new();
        let payload = serde_json::to_vec(entry).unwrap_or_default();
        if !frame::put(&mut bytes, &payload) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        let length = bytes.len();
        self.unwritten.push_back((entry.wall_ms(), bytes));
        while self.unwritten.iter().map(|(_, b)| b.len()).sum::<usize>() > MOST_UNWRITTEN {
            self.unwritten.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        length
    }

    /// Opens the file and finds the last number; what fails is tried again with the next entry.
    fn reopen(&mut self) {
        match self.open() {
            Ok(open) => self.file = Some(open),
            Err(error) => self.say(&error),
        }
    }

    fn open(&mut self) -> io::Result<Open> {
        // Else it would grow beyond what is read of it.
        if std::fs::metadata(&self.path).is_ok_and(|there| there.len() >= ROTATE_AT) {
            put_aside(&self.path)?;
        }
        let before = Looked::at::<T>(&old(&self.path))?;
        let now = Looked::at::<T>(&self.path)?;
        self.next = self.next.max(before.next).max(now.next);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        file.set_len(now.sound)?;
        file.seek(SeekFrom::Start(now.sound))?;
        Ok(Open {
            file,
            length: now.sound,
            first: now.first,
            before: before.last,
        })
    }

    fn append(&mut self) {
        if self.file.is_none() {
            self.reopen();
        }
        let (Some(open), Some(&(first, _)), Some(&(last, _))) = (
            &mut self.file,
            self.unwritten.front(),
            self.unwritten.back(),
        ) else {
            return;
        };
        let bytes: Vec<u8> = self
            .unwritten
            .iter()
            .flat_map(|(_, b)| b)
            .copied()
            .collect();
        let written = open.file.write_all(&bytes);
        match written.and_then(|()| open.file.sync_data()) {
            Ok(()) => {
                self.unwritten.clear();
                open.length += bytes.len() as u64;
                open.first.get_or_insert(first);
                let full = open.length >= ROTATE_AT || open.is_old(last);
                if std::mem::take(&mut self.said) {
                    tracing::info!("the journal {} can be written again", self.path.display());
                }
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!("{}: {lost} entries were lost", self.path.display());
                }
                if full {
                    self.file = None;
                    if let Err(error) = put_aside(&self.path) {
                        self.say(&error);
                    }
                }
            }
            Err(error) => {
                // Half a frame may stand there: it is cut when the file is opened again.
                self.file = None;
                self.say(&error);
            }
        }
    }

    /// Once, not with every entry.
    fn say(&mut self, error: &io::Error) {
        if !self.said {
            self.said = true;
            tracing::error!(
                "the journal {} can't be written: {error}; the newest entries wait in memory until it can",
                self.path.display()
            );
        }
    }
}

/// What is in a file: where its last sound frame ends, and when its first and last entries were made.
#[derive(Default)]
struct Looked {
    sound: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// The number after its last.
    next: u64,
}

impl Looked {
    fn at<T: Numbered + DeserializeOwned>(path: &Path) -> io::Result<Self> {
        let bytes = whole(path)?.unwrap_or_default();
        let mut frames = frame::Frames::new(&bytes);
        let mut looked = Self::default();
        for payload in frames.by_ref() {
            if let Ok(entry) = serde_json::from_slice::<T>(payload) {
                looked.next = looked.next.max(entry.number() + 1);
                looked.first.get_or_insert(entry.wall_ms());
                looked.last = Some(entry.wall_ms());
            }
        }
        looked.sound = frames.sound() as u64;
        Ok(looked)
    }
}

/// A file as a whole becomes the one before; that one is gone by the same step. A crash leaves it before or after.
fn put_aside(path: &Path) -> io::Result<()> {
    std::fs::rename(path, old(path))?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Entry {
        id: u64,
        text: String,
        wall_ms: u64,
    }

    impl Numbered for Entry {
        fn number(&self) -> u64 {
            self.id
        }
        fn set_number(&mut self, number: u64) {
            self.id = number;
        }
        fn wall_ms(&self) -> u64 {
            self.wall_ms
        }
    }

    /// Made at the time that it begins with, in days; else at none.
    fn entry(text: impl Into<String>) -> Entry {
        let text = text.into();
        let day = text.split(' ').next().and_then(|d| d.parse::<u64>().ok());
        Entry {
            id: 0,
            wall_ms: day.unwrap_or(0) * 24 * 3_600_000,
            text,
        }
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
        // What could not be written then is written now.
        let both = [(1, "lost".into()), (2, "kept".into())];
        assert_eq!(texts(&path, 10), both);
    }

    #[test]
    fn u11_old_entries_go_by_their_age_and_new_ones_stay_whatever_the_clock_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let days = |path: &Path| -> Vec<String> {
            texts(path, 100).into_iter().map(|(_, text)| text).collect()
        };
        let journal = Journal::open(&path).unwrap();
        // One after the other: what waits together is written together.
        for text in ["1 a", "100 b", "181 c", "182 d", "300 e"] {
            put(&journal, &[text]);
        }
        assert_eq!(days(&path), ["1 a", "100 b", "181 c", "182 d", "300 e"]);
        put(&journal, &["362 f"]);
        put(&journal, &["363 g"]);
        assert_eq!(days(&path), ["182 d", "300 e", "362 f", "363 g"]);
        // The clock jumps there and back, again and again.
        for text in ["9000 x", "364 h", "9000 y", "365 i", "9000 z", "366 j"] {
            put(&journal, &[text]);
        }
        let left = days(&path);
        for text in ["363 g", "364 h", "365 i", "366 j"] {
            assert!(left.iter().any(|l| l == text), "{text}: {left:?}");
        }
    }

    #[test]
    fn u11_a_crash_at_any_point_of_putting_aside_leaves_it_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        put(&Journal::open(&path).unwrap(), &["a", "b"]);
        let all = vec![(1, "a".to_owned()), (2, "b".to_owned())];
        // After the last write, before the renaming; then after it, before anything new.
        assert_eq!(texts(&path, 10), all);
        std::fs::rename(&path, old(&path)).unwrap();
        assert_eq!(texts(&path, 10), all);
        // A file that was full when the machine stopped is put aside first, with nothing cut off its end.
        let bytes = std::fs::read(old(&path)).unwrap();
        let more = usize::try_from(ROTATE_AT).unwrap() / bytes.len() + 1;
        std::fs::write(&path, bytes.repeat(more)).unwrap();
        put(&Journal::open(&path).unwrap(), &["c"]);
        assert!(std::fs::metadata(&path).unwrap().len() < 100);
        let newest = texts(&path, 2);
        assert_eq!(newest, [(2, "b".to_owned()), (3, "c".to_owned())]);
    }

    #[test]
    fn u11_a_damaged_place_hides_no_newer_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        put(&Journal::open(&path).unwrap(), &["a", "b", "c"]);
        let mut bytes = std::fs::read(&path).unwrap();
        let third = bytes.len() / 3;
        bytes[third + 12] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let around = [(1, "a".to_owned()), (3, "c".to_owned())];
        assert_eq!(texts(&path, 10), around);
        put(&Journal::open(&path).unwrap(), &["d"]);
        let ids: Vec<u64> = texts(&path, 10).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [1, 3, 4]);
    }
}
