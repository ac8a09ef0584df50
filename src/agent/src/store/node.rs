//! Who this machine is.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use backstay_core::model::{NodeId, NodeName};
use serde::{Deserialize, Serialize};

use super::folder::{read_text, remove_durably, write_durably};

/// Longest `node.toml` that is read, bytes.
const LONGEST: usize = 4096;

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
    /// Counts starts of the agent (PROTOCOL 21).
    pub boot: u64,
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

    /// PROTOCOL 21: one more start, on disk before anything is told.
    pub fn count_start(&self) -> Result<Option<Identity>> {
        let Some(mut identity) = self.read()? else {
            return Ok(None);
        };
        identity.boot += 1;
        self.write(&identity)
            .with_context(|| format!("can't count the start in {}", self.path.display()))?;
        Ok(Some(identity))
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

    #[test]
    fn starts_are_counted_and_a_damaged_file_is_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = NodeFile::in_folder(folder.path());
        assert_eq!(file.count_start().unwrap(), None);
        let identity = Identity {
            name: "n1".parse().unwrap(),
            id: NodeId(7),
            incarnation: 0,
            boot: 0,
        };
        file.write(&identity).unwrap();
        assert_eq!(file.count_start().unwrap().unwrap().boot, 1);
        assert_eq!(file.count_start().unwrap().unwrap().boot, 2);
        assert_eq!(file.read().unwrap().unwrap().boot, 2);
        std::fs::write(folder.path().join("node.toml"), "name = \"n1").unwrap();
        let said = file.read().unwrap_err().to_string();
        assert!(said.contains("damaged"), "{said}");
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
    }
}
