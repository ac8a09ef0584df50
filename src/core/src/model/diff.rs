//! What differs between two revisions, for people, and whether the epoch changes.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::ClusterDocument;

/// One difference between two documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where: `service web1, priority`.
    pub place: String,
    /// What it was; none: nothing was there.
    pub before: Option<String>,
    /// What it is; none: nothing is there any more.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {before} -> {after}", self.place),
            (None, Some(after)) => write!(f, "{}: new: {after}", self.place),
            (Some(before), None) => write!(f, "{}: gone: {before}", self.place),
            (None, None) => write!(f, "{}: unchanged", self.place),
        }
    }
}

/// Keys that change with every revision or say nothing to an admin.
const BOOK_KEEPING: [&str; 6] = [
    "revision",
    "epoch",
    "changed",
    "base",
    "next_service",
    "former", // shown as members that are gone
];

/// The differences that mean something to an admin, without secrets, in the order of the document.
pub fn differences(old: &ClusterDocument, new: &ClusterDocument) -> Vec<Difference> {
    let mut found = Vec::new();
    tables("", &as_table(old), &as_table(new), &mut found);
    found
}

fn as_table(document: &ClusterDocument) -> Table {
    let mut table = Table::try_from(document).unwrap_or_default();
    for key in BOOK_KEEPING {
        table.remove(key);
    }
    // A change of a secret must show without the secret: its hash's beginning stands for it.
    if let Some(Value::Array(keys)) = table.get_mut("key") {
        for key in keys.iter_mut().filter_map(Value::as_table_mut) {
            if let Some(secret) = key.get("secret").and_then(Value::as_str) {
                let hash = super::hash_of(secret);
                let shown = format!("(hash {:02x}{:02x}{:02x})", hash[0], hash[1], hash[2]);
                key.insert("secret".to_owned(), Value::String(shown));
            }
        }
    }
    table
}

fn tables(place: &str, old: &Table, new: &Table, found: &mut Vec<Difference>) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let at = join(place, key);
        match (old.get(key), new.get(key)) {
            (Some(before), Some(after)) if before == after => {}
            (Some(Value::Table(before)), Some(Value::Table(after))) => {
                tables(&at, before, after, found);
            }
            (before, after) => {
                let before_list = before.and_then(list_of_tables);
                let after_list = after.and_then(list_of_tables);
                if before_list.is_some() || after_list.is_some() {
                    lists(
                        place,
                        key,
                        &before_list.unwrap_or_default(),
                        &after_list.unwrap_or_default(),
                        found,
                    );
                } else {
                    found.push(Difference {
                        place: at,
                        before: before.map(say),
                        after: after.map(say),
                    });
                }
            }
        }
    }
}

/// Entries of a list by what tells them apart; in a list without names by their position.
fn list_of_tables(value: &Value) -> Option<BTreeMap<String, &Table>> {
    let list = value.as_array()?;
    if list.is_empty() {
        return None;
    }
    list.iter()
        .enumerate()
        .map(|(n, entry)| {
            let table = entry.as_table()?;
            let name = ["name", "address", "id"]
                .iter()
                .find_map(|key| table.get(*key))
                .map_or_else(|| (n + 1).to_string(), say);
            Some((name, table))
        })
        .collect()
}

fn lists(
    place: &str,
    key: &str,
    old: &BTreeMap<String, &Table>,
    new: &BTreeMap<String, &Table>,
    found: &mut Vec<Difference>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let at = join(place, &format!("{key} {name}"));
        match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) => tables(&at, before, after, found),
            (before, after) => found.push(Difference {
                place: at,
                before: before.map(|t| entries(t)),
                after: after.map(|t| entries(t)),
            }),
        }
    }
}

fn join(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_owned()
    } else {
        format!("{place}, {key}")
    }
}

fn say(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(say).collect::<Vec<_>>().join(", "),
        Value::Table(table) => format!("({})", entries(table)),
        other => other.to_string(),
    }
}

fn entries(table: &Table) -> String {
    table
        .iter()
        .map(|(key, value)| format!("{key} {}", say(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether the step from `old` to `new` begins a new epoch: voters, aliases, candidates, H, W, safety,
/// without-majority or arbiter differ (PROTOCOL 1).
pub fn is_epoch_change(old: &ClusterDocument, new: &ClusterDocument) -> bool {
    voters(old) != voters(new)
        || holdings(old) != holdings(new)
        || (old.hold(), old.wait()) != (new.hold(), new.wait())
        || (old.safety, old.without_majority) != (new.safety, new.without_majority)
        || old.arbiter != new.arbiter
        || old.deleted != new.deleted
}

fn voters(document: &ClusterDocument) -> BTreeSet<(super::NodeId, u32)> {
    let of = |m: &super::Member| (m.id, m.incarnation);
    document.members.iter().map(of).collect()
}

/// Per service: its aliases and its candidates.
fn holdings(
    document: &ClusterDocument,
) -> BTreeMap<super::ServiceId, (BTreeSet<core::net::IpAddr>, &[super::NodeName])> {
    document
        .services
        .iter()
        .map(|s| {
            let addresses = s.aliases.iter().map(super::Alias::ip).collect();
            (s.id, (addresses, s.nodes.as_slice()))
        })
        .collect()
}
