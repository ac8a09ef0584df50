//! The documents on disk and, read once at start, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backstay_core::model::{ClusterDocument, ClusterId, ClusterName, MAX_DOCUMENT, SystemDocument};

use super::folder::{make_folder, read_text, remove_durably, rename_durably, write_durably};

/// Most clusters whose documents are read: a witness serves several, not hundreds.
const MOST_CLUSTERS: usize = 64;

/// What is kept of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The revision that holds.
    pub present: Option<ClusterDocument>,
    /// A revision that was staged and not yet committed.
    pub staged: Option<ClusterDocument>,
}

/// All documents of this node. Each change is on disk before it is here.
#[derive(Debug)]
pub struct Shelf {
    state: PathBuf,
    clusters: BTreeMap<ClusterName, Stored>,
    system: Option<SystemDocument>,
    former: Vec<ClusterDocument>,
    /// A document that holds is there and can't be read.
    unreadable: bool,
}

impl Shelf {
    /// Reads what is there. A damaged file is left as it is, said in the log, and its cluster counts as unknown:
    /// the node then holds nothing of it.
    ///
    /// # Errors
    /// The system's, where the folders can't be made or listed.
    pub fn open(state: &Path) -> io::Result<Self> {
        let mut shelf = Self {
            state: state.to_owned(),
            clusters: BTreeMap::new(),
            system: None,
            former: Vec::new(),
            unreadable: false,
        };
        make_folder(&shelf.folder())?;
        for entry in fs::read_dir(shelf.folder())? {
            let path = entry?.path();
            let Some(file) = path.file_name().and_then(|n| n.to_str()) else {
                continue;
            };
            if let Some(name) = file.strip_suffix(".former") {
                let name = name.parse::<ClusterName>().ok();
                let document = name.and_then(|name| read_cluster(&path, &name));
                shelf.former.extend(document);
                shelf.former.truncate(MOST_CLUSTERS);
                continue;
            }
            let (name, staged) = match (file.strip_suffix(".toml"), file.strip_suffix(".staged")) {
                (Some(name), _) => (name, false),
                (None, Some(name)) => (name, true),
                (None, None) => continue,
            };
            let Ok(name) = name.parse::<ClusterName>() else {
                continue;
            };
            if shelf.clusters.len() >= MOST_CLUSTERS && !shelf.clusters.contains_key(&name) {
                tracing::error!(
                    "{} is not read: {MOST_CLUSTERS} clusters are read at most",
                    path.display()
                );
                continue;
            }
            let read = read_cluster(&path, &name);
            shelf.unreadable |= read.is_none() && !staged;
            if let Some(document) = read {
                let stored = shelf.clusters.entry(name).or_default();
                *(if staged {
                    &mut stored.staged
                } else {
                    &mut stored.present
                }) = Some(document);
            }
        }
        for stored in shelf.clusters.values_mut() {
            // The file of one that was done with may have outlived the machine's power, or a failing disk.
            let present = stored.present.as_ref().map_or(0, |p| p.revision);
            stored.staged.take_if(|staged| staged.revision <= present);
        }
        shelf.system = read_system(&shelf.system_file());
        Ok(shelf)
    }

    /// A document that holds is there and can't be read.
    pub fn has_unreadable(&self) -> bool {
        self.unreadable
    }

    /// The documents that hold.
    pub fn present(&self) -> impl Iterator<Item = &ClusterDocument> {
        self.clusters.values().filter_map(|s| s.present.as_ref())
    }

    /// The documents that are staged.
    pub fn staged(&self) -> impl Iterator<Item = &ClusterDocument> {
        self.clusters.values().filter_map(|s| s.staged.as_ref())
    }

    /// C7: what says that a cluster is deleted, for nodes that were away when it was.
    pub fn notices(&self) -> impl Iterator<Item = &ClusterDocument> {
        self.last_texts().filter(|document| document.deleted)
    }

    /// The texts by which this node left clusters.
    pub fn last_texts(&self) -> impl Iterator<Item = &ClusterDocument> {
        self.former.iter()
    }

    /// The texts by which this node left clusters that went on without it.
    pub fn left(&self) -> impl Iterator<Item = &ClusterDocument> {
        self.last_texts().filter(|document| !document.deleted)
    }

    /// The text by which this node left that cluster.
    pub fn former(&self, id: ClusterId) -> Option<&ClusterDocument> {
        self.former.iter().find(|document| document.id == id)
    }

    /// What is kept under that name.
    pub fn get(&self, name: &ClusterName) -> Option<&Stored> {
        self.clusters.get(name)
    }

    /// What is kept under that identity.
    pub fn get_by_id(&self, id: ClusterId) -> Option<&Stored> {
        let has = |d: &Option<ClusterDocument>| d.as_ref().is_some_and(|d| d.id == id);
        self.clusters
            .values()
            .find(|s| has(&s.present) || has(&s.staged))
    }

    /// The system document.
    pub fn system(&self) -> Option<&SystemDocument> {
        self.system.as_ref()
    }

    /// Keeps a revision beside the present one.
    pub fn stage(&mut self, document: ClusterDocument) -> io::Result<()> {
        write_durably(
            &self.file(&document.name, "staged"),
            document.to_text().as_bytes(),
        )?;
        let stored = self.clusters.entry(document.name.clone()).or_default();
        stored.staged = Some(document);
        Ok(())
    }

    /// Forgets a staged revision; whether there was one.
    pub fn abandon(&mut self, name: &ClusterName) -> io::Result<bool> {
        let Some(stored) = self.clusters.get(name) else {
            return Ok(false);
        };
        if stored.staged.is_none() {
            return Ok(false);
        }
        remove_durably(&self.file(name, "staged"))?;
        self.change(name, |stored| stored.staged = None);
        Ok(true)
    }

    /// Makes a revision the present one; a staged one that is no newer is done with.
    pub fn adopt(&mut self, document: ClusterDocument) -> io::Result<()> {
        let name = document.name.clone();
        write_durably(&self.file(&name, "toml"), document.to_text().as_bytes())?;
        let revision = document.revision;
        self.clusters.entry(name.clone()).or_default().present = Some(document);
        self.drop_older_staged(&name, revision);
        Ok(())
    }

    /// Keeps the last text of a cluster that this node is no longer in, out of the way.
    pub fn leave(&mut self, document: &ClusterDocument) -> io::Result<()> {
        let name = &document.name;
        let present = self.file(name, "toml");
        write_durably(&present, document.to_text().as_bytes())?;
        rename_durably(&present, &self.file(name, "former"))?;
        // The file of an earlier cluster of that name has just been replaced.
        self.former.retain(|former| former.name != *name);
        self.former.push(document.clone());
        self.change(name, |stored| stored.present = None);
        self.drop_older_staged(name, document.revision);
        Ok(())
    }

    /// Keeps a text that lost against another of its revision.
    pub fn keep_lost(&self, document: &ClusterDocument) -> io::Result<PathBuf> {
        let kind = format!("lost-{:016x}", document.short_hash());
        let path = self.file(&document.name, &kind);
        write_durably(&path, document.to_text().as_bytes())?;
        Ok(path)
    }

    /// Keeps the system document.
    pub fn put_system(&mut self, document: SystemDocument) -> io::Result<()> {
        write_durably(&self.system_file(), document.to_text().as_bytes())?;
        self.system = Some(document);
        Ok(())
    }

    /// Forgets the system document.
    pub fn remove_system(&mut self) -> io::Result<()> {
        remove_durably(&self.system_file())?;
        self.system = None;
        Ok(())
    }

    /// Whether the state folder can be written: by writing, since a full disk shows in no other way.
    pub fn try_write(state: &Path) -> io::Result<()> {
        write_durably(&state.join("writable"), &[b'.'; 4096])
    }

    /// Of no consequence to what has just been kept: the next start leaves such a file out.
    fn drop_older_staged(&mut self, name: &ClusterName, revision: u64) {
        let staged = self.get(name).and_then(|s| s.staged.as_ref());
        if staged.is_none_or(|s| s.revision > revision) {
            return;
        }
        if let Err(error) = remove_durably(&self.file(name, "staged")) {
            tracing::warn!("the staged document of cluster {name} can't be removed: {error}");
        }
        self.change(name, |stored| stored.staged = None);
    }

    /// Changes an entry and drops it when nothing is left of it.
    fn change(&mut self, name: &ClusterName, how: impl FnOnce(&mut Stored)) {
        if let Some(stored) = self.clusters.get_mut(name) {
            how(stored);
            if *stored == Stored::default() {
                self.clusters.remove(name);
            }
        }
    }

    fn folder(&self) -> PathBuf {
        self.state.join("clusters")
    }

    fn file(&self, name: &ClusterName, kind: &str) -> PathBuf {
        self.folder().join(format!("{name}.{kind}"))
    }

    fn system_file(&self) -> PathBuf {
        self.state.join("system.toml")
    }
}

fn read_cluster(path: &Path, name: &ClusterName) -> Option<ClusterDocument> {
    let document = read_text(path, MAX_DOCUMENT)
        .map_err(|error| error.to_string())
        .and_then(|text| {
            ClusterDocument::parse(&text.unwrap_or_default()).map_err(|e| e.to_string())
        })
        .and_then(|document| {
            if document.name == *name {
                Ok(document)
            } else {
                Err(format!("it describes cluster {}", document.name))
            }
        });
    document
        .inspect_err(|error| {
            tracing::error!(
                "{} is not used: {error}; put it right or let the other nodes hand it over",
                path.display()
            );
        })
        .ok()
}

fn read_system(path: &Path) -> Option<SystemDocument> {
    let text = read_text(path, MAX_DOCUMENT).map_err(|error| error.to_string());
    match text.and_then(|text| text.map(|t| SystemDocument::parse(&t)).transpose()) {
        Ok(document) => document,
        Err(error) => {
            tracing::error!("{} is not used: {error}", path.display());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(folder.path()).unwrap();
        let one = samples::cluster(1);
        let two = samples::revised(&one);
        shelf.adopt(one.clone()).unwrap();
        shelf.stage(two.clone()).unwrap();
        let mut shelf = Shelf::open(folder.path()).unwrap();
        let stored = shelf.get(&one.name).unwrap();
        assert_eq!(stored.present.as_ref(), Some(&one));
        assert_eq!(stored.staged.as_ref(), Some(&two));
        shelf.adopt(two.clone()).unwrap();
        let shelf = Shelf::open(folder.path()).unwrap();
        assert_eq!(shelf.staged().count(), 0);
        assert_eq!(
            shelf.get_by_id(one.id).unwrap().present.as_ref(),
            Some(&two)
        );
    }

    #[test]
    fn a_damaged_document_is_left_alone_and_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(folder.path()).unwrap();
        let document = samples::cluster(1);
        shelf.adopt(document.clone()).unwrap();
        let path = shelf.file(&document.name, "toml");
        fs::write(&path, "revision = 1\n").unwrap();
        let shelf = Shelf::open(folder.path()).unwrap();
        assert_eq!(shelf.present().count(), 0);
        assert_eq!(fs::read_to_string(path).unwrap(), "revision = 1\n");
    }

    #[test]
    fn c7_a_cluster_that_was_left_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(folder.path()).unwrap();
        let document = samples::cluster(1);
        shelf.adopt(document.clone()).unwrap();
        shelf.leave(&samples::revised(&document)).unwrap();
        assert!(shelf.get(&document.name).is_none());
        assert!(shelf.file(&document.name, "former").exists());
        assert_eq!(Shelf::open(folder.path()).unwrap().present().count(), 0);
    }

    /// What is kept holds, whatever becomes of what was staged before: who adopts must not take that for a failure.
    #[test]
    fn a_staged_text_that_cannot_be_removed_neither_hinders_nor_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(folder.path()).unwrap();
        let one = samples::cluster(1);
        let two = samples::revised(&one);
        shelf.stage(one.clone()).unwrap();
        let staged = shelf.file(&one.name, "staged");
        // A folder in the way: root ignores permissions, not this.
        fs::remove_file(&staged).unwrap();
        fs::create_dir(&staged).unwrap();
        shelf.adopt(two.clone()).unwrap();
        assert_eq!(shelf.staged().count(), 0);
        fs::remove_dir(&staged).unwrap();
        fs::write(&staged, one.to_text()).unwrap();
        let shelf = Shelf::open(folder.path()).unwrap();
        assert_eq!(shelf.staged().count(), 0);
        assert_eq!(shelf.present().next(), Some(&two));
    }

    #[test]
    fn a_state_folder_that_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(folder.path()).unwrap();
        let one = samples::cluster(1);
        shelf.adopt(one.clone()).unwrap();
        // A file where the folder was: root ignores permissions, not this.
        fs::rename(shelf.folder(), folder.path().join("away")).unwrap();
        fs::write(shelf.folder(), b"").unwrap();
        assert!(shelf.adopt(samples::revised(&one)).is_err());
        assert!(shelf.stage(samples::revised(&one)).is_err());
        let stored = shelf.get(&one.name).unwrap();
        assert_eq!(
            (stored.present.as_ref(), &stored.staged),
            (Some(&one), &None)
        );
    }
}
