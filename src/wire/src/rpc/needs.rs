//! What services need of a machine, asked by name and answered by name (C9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most names of one kind that are answered.
pub const MOST_NAMES: usize = 512;
/// Longest name or path, in bytes.
pub const LONGEST_NAME: usize = 4096;

/// What is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Units; what they need by themselves is answered, too.
    pub units: Vec<String>,
    /// Users, by name.
    pub users: Vec<String>,
    /// Groups, by name.
    pub groups: Vec<String>,
    /// Programs, by full path.
    pub programs: Vec<String>,
    /// Packages, by name.
    pub packages: Vec<String>,
    /// Static files, by full path.
    pub files: Vec<String>,
}

impl Asked {
    /// Each list with what is in it.
    pub fn lists(&self) -> [(&'static str, &[String]); 6] {
        [
            ("units", &self.units),
            ("users", &self.users),
            ("groups", &self.groups),
            ("programs", &self.programs),
            ("packages", &self.packages),
            ("files", &self.files),
        ]
    }

    /// Nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, list)| list.is_empty())
    }

    /// Why this is more than anybody needs to know, if it is.
    pub fn too_much(&self) -> Option<String> {
        self.lists().into_iter().find_map(|(what, list)| {
            if list.len() > MOST_NAMES {
                Some(format!("{} {what}; at most {MOST_NAMES}", list.len()))
            } else if list.iter().any(|name| name.len() > LONGEST_NAME) {
                Some(format!("{what} of more than {LONGEST_NAME} bytes"))
            } else {
                None
            }
        })
    }
}

/// What a machine has of it. What could not be found out is absent, never guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// What puts packages on it: `apt-get`, `dnf`, `yum`, `zypper`; `dpkg` or `rpm` where none of these is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packager: Option<String>,
    /// Units.
    pub units: BTreeMap<String, UnitNeeds>,
    /// Whether there is such a user: those asked about and those of the units.
    pub users: BTreeMap<String, bool>,
    /// Whether there is such a group, likewise.
    pub groups: BTreeMap<String, bool>,
    /// Programs, likewise.
    pub programs: BTreeMap<String, ProgramFact>,
    /// The installed version of a package; none: it is not installed.
    pub packages: BTreeMap<String, Option<String>>,
    /// Static files.
    pub files: BTreeMap<String, FileFact>,
}

/// What a unit needs, by its own words on that machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitNeeds {
    /// There is such a unit.
    pub there: bool,
    /// Who runs it, if not root and not somebody made up at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its group, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The programs whose absence would keep it from starting.
    pub programs: Vec<String>,
    /// Which package brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageFact>,
}

/// A program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramFact {
    /// It is there and may be executed.
    pub runs: bool,
    /// Which package brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageFact>,
}

/// An installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PackageFact {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A static file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileFact {
    /// Its SHA-256, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Why there is no hash; empty: there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_questions_are_bounded() {
        let asked = |units: usize, length: usize| Asked {
            units: vec!["u".to_owned(); units],
            files: vec!["f".repeat(length)],
            ..Asked::default()
        };
        assert_eq!(asked(MOST_NAMES, LONGEST_NAME).too_much(), None);
        let said = asked(MOST_NAMES + 1, 1).too_much().unwrap();
        assert!(said.contains("513 units"), "{said}");
        let said = asked(1, LONGEST_NAME + 1).too_much().unwrap();
        assert!(said.contains("files"), "{said}");
        assert!(Asked::default().is_empty() && !asked(0, 1).is_empty());
    }
}
