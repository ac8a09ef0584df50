//! Who this machine is.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use backstay_core::model::{NodeId, NodeName};
use serde::{Deserialize, Serialize};

use super::folder::{read_text, remove_durably, write_durably};
use super::run::RunFolder;

/// Longest `node.toml` that is read, bytes.
const LONGEST: usize = 4096;
/// Bits for the starts within one boot of the machine.
const STARTS: u32 = 24;

/// Who a node is: given when it is enrolled in a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its name in the system.
    pub name: NodeName,
    /// For all time.
    pub id: NodeId,
    /// Counts lives of the state folder (PROTOCOL 24).
    pub incarnation: u32,
    /// Counts starts of the agent (PROTOCOL 21); in the file boots of the machine.
    pub boot: u64,
}

impl Identity {
    /// As the file has it, at that start since the machine's boot.
    #[must_use]
    pub fn numbered(mut self, starts: u64) -> Self {
        self.boot = (self.boot << STARTS) + starts;
        self
    }
}

/// `node.toml`.
#[derive(Debug)]
pub struct NodeFile {
    path: PathBuf,
}

impl NodeFile {
    /// The file in a state folder.
    pub fn in_folder(state: &Path) -> Self {
        Self {
            path: state.join("node.toml"),
        }
    }

    /// Who this node is; `None`: it was never enrolled.
    ///
    /// # Errors
    /// A file that can't be read is not taken for a missing one: a node that forgot who it is must not vote.
    pub fn read(&self) -> Result<Option<Identity>> {
        let shown = self.path.display();
        let text = read_text(&self.path, LONGEST).with_context(|| format!("can't read {shown}"))?;
        text.map(|text| {
            toml::from_str(&text).with_context(|| {
                format!("{shown} is damaged: put it back from a copy, or remove the state folder and replace the node")
            })
        })
        .transpose()
    }

    /// PROTOCOL 21: one more start, kept before anything is told. Starts within one boot of the machine are counted
    /// in the run folder, so that an agent can be restarted while the disk is full; boots are counted on disk.
    pub fn count_start(&self, run: &RunFolder) -> Result<Option<Identity>> {
        let Some(mut identity) = self.read()? else {
            return Ok(None);
        };
        let starts = match run.starts() {
            0 => {
                identity.boot += 1;
                self.write(&identity)
                    .with_context(|| format!("can't count the boot in {}", self.path.display()))?;
                1
            }
            starts => starts + 1,
        };
        run.set_starts(starts).context("can't count the start")?;
        Ok(Some(identity.numbered(starts)))
    }

    /// Keeps it for good.
    pub fn write(&self, identity: &Identity) -> io::Result<()> {
        let text = toml::to_string(identity).map_err(io::Error::other)?;
        write_durably(&self.path, text.as_bytes())
    }

    /// Forgets it.
    pub fn remove(&self) -> io::Result<()> {
        remove_durably(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "n1".parse().unwrap(),
            id: NodeId(7),
            incarnation: 0,
            boot: 0,
        }
    }

    #[test]
    fn p21_every_start_has_a_larger_number_also_after_a_reboot() {
        let folder = tempfile::tempdir().unwrap();
        let file = NodeFile::in_folder(folder.path());
        let mut last = 0;
        for machine in 0..3 {
            let run = RunFolder::lock(&folder.path().join(format!("run{machine}"))).unwrap();
            if machine == 0 {
                assert_eq!(file.count_start(&run).unwrap(), None);
                file.write(&identity()).unwrap();
            }
            for _ in 0..3 {
                let boot = file.count_start(&run).unwrap().unwrap().boot;
                assert!(boot > last);
                last = boot;
            }
        }
    }

    #[test]
    fn an_agent_restarts_on_a_full_disk_but_a_reboot_must_be_counted() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let file = NodeFile::in_folder(&state);
        file.write(&identity()).unwrap();
        let run = RunFolder::lock(&folder.path().join("run")).unwrap();
        let first = file.count_start(&run).unwrap().unwrap().boot;
        // Nothing can be written beside the file: a folder is in the way of the draft.
        std::fs::create_dir(state.join("node.toml.unfinished")).unwrap();
        assert!(file.count_start(&run).unwrap().unwrap().boot > first);
        drop(run);
        let run = RunFolder::lock(&folder.path().join("rebooted")).unwrap();
        assert!(file.count_start(&run).is_err());
    }

    #[test]
    fn a_damaged_file_is_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = NodeFile::in_folder(folder.path());
        file.write(&identity()).unwrap();
        std::fs::write(folder.path().join("node.toml"), "name = \"n1").unwrap();
        let said = file.read().unwrap_err().to_string();
        assert!(said.contains("damaged"), "{said}");
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
    }
}
