//! What this admin's machine remembers: how to reach the nodes and which host keys they have.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Contact, HostKey, Pins};

/// The remembered hosts, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contacts {
    /// One for each node.
    #[serde(default, rename = "node", skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Remembered>,
}

/// One remembered host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// The node's name.
    pub name: String,
    /// `[USER@]HOST[:PORT]`.
    pub contact: String,
    /// Pinned host keys, type and base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

impl Contacts {
    /// Where they are kept unless told otherwise: `$XDG_CONFIG_HOME/backstay/contacts.toml`, else
    /// `~/.config/backstay/contacts.toml`.
    pub fn usual_path() -> Option<PathBuf> {
        let base = std::env::var_os("XDG_CONFIG_HOME")
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
        Some(base.join("backstay/contacts.toml"))
    }

    /// Reads them; a file that is not there means none.
    ///
    /// # Errors
    /// The file is there and can't be read, with the place.
    pub fn load(path: &Path) -> Result<Self, String> {
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|e| {
                format!(
                    "{} is not a list of contacts: {}",
                    path.display(),
                    e.message()
                )
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(format!("{} can't be read: {e}", path.display())),
        }
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// The file or its folder can't be written.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let fail = |e: &dyn std::fmt::Display| format!("{} can't be written: {e}", path.display());
        let text = toml::to_string(self).map_err(|e| fail(&e))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| fail(&e))?;
        }
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let written = fs::File::create(&beside)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, path));
        written.map_err(|e| {
            let _ = fs::remove_file(&beside); // what could not be renamed is of no use
            fail(&e)
        })
    }

    /// Remembers a node, in place of what was known under its name, else at the end.
    pub fn remember(&mut self, name: &str, contact: &Contact, keys: &[HostKey]) {
        let new = Remembered {
            name: name.to_owned(),
            contact: contact.to_string(),
            host_keys: keys.iter().map(ToString::to_string).collect(),
        };
        match self.nodes.iter_mut().find(|n| n.name == name) {
            Some(old) => *old = new,
            None => self.nodes.push(new),
        }
    }

    /// Forgets a node.
    pub fn forget(&mut self, name: &str) {
        self.nodes.retain(|n| n.name != name);
    }

    /// The host keys that are remembered for a host and port, under whatever node and user.
    pub fn pins_for(&self, contact: &Contact) -> Pins {
        let same = |known: &Remembered| {
            known
                .contact
                .parse::<Contact>()
                .is_ok_and(|c| c.host == contact.host && c.port == contact.port)
        };
        let keys = self.nodes.iter().filter(|n| same(n));
        Pins::keys(keys.flat_map(Remembered::keys))
    }
}

impl Remembered {
    /// Its pinned keys; a text that is none is passed over (then nothing matches, which is safe).
    pub fn keys(&self) -> impl Iterator<Item = HostKey> {
        self.host_keys.iter().filter_map(|k| k.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_back_and_replaced_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/contacts.toml");
        assert_eq!(Contacts::load(&path), Ok(Contacts::default()));
        let mut contacts = Contacts::default();
        contacts.remember("n1", &"h1".parse().unwrap(), &[]);
        contacts.remember("n2", &"h2:23".parse().unwrap(), &[]);
        contacts.remember("n1", &"h3".parse().unwrap(), &[]);
        contacts.save(&path).unwrap();
        let read = Contacts::load(&path).unwrap();
        assert_eq!(read, contacts);
        assert_eq!(read.nodes[0].contact, "h3");
        fs::write(&path, "[[node]]\nnme = 1\n").unwrap();
        assert!(Contacts::load(&path).unwrap_err().contains("contacts.toml"));
    }
}
