//! Reads a written document against the list of its keys, so that everything wrong with the text is told
//! at once, each with its line: serde alone stops at the first.
//!
//! The rules of the text: T1 only known keys, T2 every needed key, T3 each value of its kind and range.

mod keys;
mod written;

pub(super) use keys::{CLUSTER, SYSTEM};
pub use written::{Filling, Written};

use core::fmt::Write as _;
use core::net::IpAddr;
use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    ClusterId, ClusterName, DocumentError, MAX_DOCUMENT, NodeId, NodeName, Problem, RuleId,
    ServiceName,
};

/// One key of a table.
pub(super) struct Key {
    name: &'static str,
    need: Need,
    kind: Kind,
}

/// Who must give a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Everybody.
    Always,
    /// Whoever stores a document; for what a person wrote it can be filled in.
    Stored,
    /// Nobody.
    Never,
}

/// What a value must be.
pub(super) enum Kind {
    /// A whole number from the first to the last.
    Whole(u64, u64),
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// Text that is never repeated.
    Secret,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A node's name.
    Node,
    /// A service's name.
    Service,
    /// A cluster's name.
    Cluster,
    /// 16 hexadecimal digits.
    Identity,
    /// An address.
    Address,
    /// An address with its prefix length.
    Network,
    /// Several, in brackets.
    List(&'static Kind),
    /// `[name]`.
    Table(&'static [Key]),
    /// `[[name]]`, any number.
    Tables(&'static [Key]),
}

/// Reads `text` as a table of those keys.
///
/// With unknown keys the rest is read all the same, so that its rules can be checked too: they come back
/// beside the document.
///
/// # Errors
/// Everything else that is wrong with the text.
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    keys: &'static [Key],
) -> Result<(T, Vec<Problem>), DocumentError> {
    let (table, seen) = look(text, keys, Need::Stored)?;
    // The list of keys and the types agree (a test holds them together), so this can fail only where
    // a type is stricter than its kind here.
    T::deserialize(toml::Deserializer::from(table))
        .map(|document| (document, seen.unknown))
        .map_err(|e| DocumentError::Text(syntax(text, &[e])))
}

/// What a look at a text found, beside its table.
struct Seen {
    /// T1: keys that nobody knows; they are out of the table.
    unknown: Vec<Problem>,
    /// The line of each place.
    lines: BTreeMap<String, usize>,
}

/// The text as a table of those keys, each value of its kind. `needs`: of what is not needed always, what
/// is needed here.
///
/// # Errors
/// Everything that is wrong but unknown keys; those among them.
fn look<'t>(
    text: &'t str,
    keys: &'static [Key],
    needs: Need,
) -> Result<(Spanned<DeTable<'t>>, Seen), DocumentError> {
    if text.len() > MAX_DOCUMENT {
        return Err(DocumentError::TooLong(text.len()));
    }
    let (mut table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(DocumentError::Text(syntax(text, &errors)));
    }
    let mut reader = Reader {
        text,
        needs,
        seen: Seen {
            unknown: Vec::new(),
            lines: BTreeMap::new(),
        },
        wrong: Vec::new(),
    };
    reader.table("", 1, keys, table.get_mut());
    let Reader {
        mut seen, wrong, ..
    } = reader;
    if wrong.is_empty() {
        Ok((table, seen))
    } else {
        seen.unknown.extend(wrong);
        Err(DocumentError::Rules(seen.unknown))
    }
}

/// Errors that are told of one text at most.
const MOST_TOLD: usize = 20;

/// One line for each error of the TOML itself.
fn syntax(text: &str, errors: &[toml::de::Error]) -> String {
    let mut said = String::new();
    for error in errors.iter().take(MOST_TOLD) {
        if !said.is_empty() {
            said.push_str("; ");
        }
        if let Some(span) = error.span() {
            let _ = write!(said, "line {}: ", line_of(text, span.start));
        }
        said.push_str(&printable(&error.message().replace('\n', ", ")));
    }
    said
}

/// The line of a position, counted from 1.
fn line_of(text: &str, position: usize) -> usize {
    let before = &text.as_bytes()[..position.min(text.len())];
    before.split(|b| *b == b'\n').count()
}

/// Without control characters, and not endless.
fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

struct Reader<'t> {
    text: &'t str,
    needs: Need,
    seen: Seen,
    wrong: Vec<Problem>,
}

impl Reader<'_> {
    fn place(&self, place: &str, key: &str, position: usize) -> String {
        let comma = if place.is_empty() { "" } else { ", " };
        let key = printable(key);
        format!("line {}, {place}{comma}{key}", line_of(self.text, position))
    }

    fn table(
        &mut self,
        place: &str,
        position: usize,
        keys: &'static [Key],
        table: &mut DeTable<'_>,
    ) {
        let line = line_of(self.text, position);
        self.seen.lines.entry(place.to_owned()).or_insert(line);
        let names: Vec<(String, usize)> = table
            .keys()
            .map(|k| (k.get_ref().to_string(), k.span().start))
            .collect();
        for (name, at) in names {
            if keys.iter().any(|k| k.name == name) {
                continue;
            }
            self.seen.unknown.push(Problem {
                rule: RuleId::of("T1"),
                place: self.place(place, &name, at),
                what: "this key is not known".to_owned(),
                mend: suggestion(&name, keys),
            });
            table.remove(name.as_str());
        }
        for key in keys {
            match table.get_mut(key.name) {
                Some(value) => self.value(place, key.name, &key.kind, value),
                None if key.need == Need::Always || key.need == self.needs => {
                    self.wrong.push(Problem {
                        rule: RuleId::of("T2"),
                        place: self.place(place, key.name, position),
                        what: "this key is missing".to_owned(),
                        mend: format!("give it {}", key.kind.wanted()),
                    });
                }
                None => {}
            }
        }
    }

    fn value(
        &mut self,
        place: &str,
        name: &str,
        kind: &'static Kind,
        value: &mut Spanned<DeValue<'_>>,
    ) {
        let at = value.span().start;
        let inside = |entry: &str| {
            let comma = if place.is_empty() { "" } else { ", " };
            format!("{place}{comma}{name}{entry}")
        };
        let line = line_of(self.text, at);
        self.seen.lines.entry(inside("")).or_insert(line);
        match (kind, value.get_mut()) {
            (Kind::Table(keys), DeValue::Table(table)) => {
                self.table(&inside(""), at, keys, table);
            }
            (Kind::Tables(keys), DeValue::Array(list)) => {
                for (n, entry) in list.iter_mut().enumerate() {
                    let at = entry.span().start;
                    let DeValue::Table(table) = entry.get_mut() else {
                        self.wrong(place, name, at, kind, entry.get_ref());
                        continue;
                    };
                    let called = match table.get("name").map(Spanned::get_ref) {
                        Some(DeValue::String(called)) => format!(" {}", printable(called)),
                        _ => format!(" {}", n + 1),
                    };
                    self.table(&inside(&called), at, keys, table);
                }
            }
            (Kind::List(of), DeValue::Array(list)) => {
                for entry in list.iter_mut() {
                    self.value(place, name, of, entry);
                }
            }
            (kind, found) => {
                if !kind.fits(found) {
                    self.wrong(place, name, at, kind, found);
                }
            }
        }
    }

    fn wrong(&mut self, place: &str, name: &str, at: usize, kind: &Kind, found: &DeValue<'_>) {
        let what = match (kind, found) {
            (Kind::Secret, _) => "the value is not text".to_owned(),
            (_, DeValue::String(text)) => format!("the value is `{}`", printable(text)),
            (_, DeValue::Integer(number)) => {
                format!("the value is {}", printable(&number.to_string()))
            }
            (_, DeValue::Boolean(flag)) => format!("the value is {flag}"),
            (_, DeValue::Table(_)) => "the value is a table".to_owned(),
            (_, DeValue::Array(_)) => "the value is a list".to_owned(),
            (_, other) => format!("the value is a {}", other.type_str()),
        };
        self.wrong.push(Problem {
            rule: RuleId::of("T3"),
            place: self.place(place, name, at),
            what,
            mend: format!("give it {}", kind.wanted()),
        });
    }
}

impl Kind {
    fn fits(&self, value: &DeValue<'_>) -> bool {
        match (self, value) {
            (Self::Whole(least, most), DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix())
                    .is_ok_and(|n| (*least..=*most).contains(&n))
            }
            (Self::Flag, DeValue::Boolean(_)) | (Self::Text | Self::Secret, DeValue::String(_)) => {
                true
            }
            (Self::Word(words), DeValue::String(text)) => words.contains(&text.as_ref()),
            (Self::Node, DeValue::String(text)) => text.parse::<NodeName>().is_ok(),
            (Self::Service, DeValue::String(text)) => text.parse::<ServiceName>().is_ok(),
            (Self::Cluster, DeValue::String(text)) => text.parse::<ClusterName>().is_ok(),
            (Self::Identity, DeValue::String(text)) => {
                NodeId::try_from(text.to_string()).is_ok()
                    && ClusterId::try_from(text.to_string()).is_ok()
            }
            (Self::Address, DeValue::String(text)) => text.parse::<IpAddr>().is_ok(),
            (Self::Network, DeValue::String(text)) => text.parse::<IpNet>().is_ok(),
            _ => false,
        }
    }

    fn wanted(&self) -> String {
        match self {
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::Text => "text in quotes".to_owned(),
            Self::Secret => "64 hexadecimal digits in quotes".to_owned(),
            Self::Word(words) => format!("\"{}\"", words.join("\" or \"")),
            Self::Node | Self::Service | Self::Cluster => {
                "a name of 1 to 32 lowercase letters, digits and `-`, in quotes, that begins with a letter or digit"
                    .to_owned()
            }
            Self::Identity => "an identity: 16 hexadecimal digits in quotes".to_owned(),
            Self::Address => "an address in quotes, like \"192.0.2.1\"".to_owned(),
            Self::Network => {
                "an address with its prefix length in quotes, like \"192.0.2.1/24\"".to_owned()
            }
            Self::List(of) => format!("a list in brackets, each entry {}", of.wanted()),
            Self::Table(_) => "a table".to_owned(),
            Self::Tables(_) => "a table in double brackets for each entry".to_owned(),
        }
    }
}

/// The known key that was probably meant, else all of them.
fn suggestion(name: &str, keys: &[Key]) -> String {
    let near = keys
        .iter()
        .map(|k| (distance(name, k.name), k.name))
        .min()
        .filter(|(far, known)| *far <= 2 && *far < known.len());
    if let Some((_, known)) = near {
        format!("write `{known}`, or take it out")
    } else {
        let known: Vec<&str> = keys.iter().map(|k| k.name).collect();
        format!("take it out; known here: {}", known.join(", "))
    }
}

/// How many letters must change to get from one word to the other (Levenshtein); long words are far.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 40 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
