//! A cluster document as a person wrote it: what Backstay keeps by itself (identities, revision, keys,
//! book-keeping) may be left out and is filled in.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use toml::{Table, Value};

use super::{CLUSTER, Need, look, syntax};
use crate::model::{
    ClusterDocument, ClusterId, ClusterName, DocumentError, NodeId, NodeName, Problem,
    SystemDocument,
};

/// What was written, read; not yet a whole document.
#[derive(Clone, Debug)]
pub struct Written {
    table: Table,
    name: ClusterName,
    unknown: Vec<Problem>,
    lines: BTreeMap<String, usize>,
}

/// Where what was left out is taken from.
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// The cluster's present document; none: there is no such cluster.
    pub present: Option<&'a ClusterDocument>,
    /// Who the nodes are.
    pub system: &'a SystemDocument,
    /// A new cluster's identity, drawn at random.
    pub id: ClusterId,
    /// A new cluster's key, drawn at random: 64 hexadecimal digits.
    pub key: &'a str,
}

impl Written {
    /// Reads a written text. Keys that nobody knows are kept as problems, so that the plan's can be told
    /// beside them.
    ///
    /// # Errors
    /// Everything else that is wrong with the text, at once, each with its line.
    pub fn read(text: &str) -> Result<Self, DocumentError> {
        let (table, seen) = look(text, &CLUSTER, Need::Always)?;
        let table = Table::deserialize(toml::Deserializer::from(table))
            .map_err(|e| DocumentError::Text(syntax(text, &[e])))?;
        let name = table.get("name").and_then(Value::as_str);
        let name = name.unwrap_or_default().parse();
        Ok(Self {
            name: name.map_err(|e| DocumentError::Text(format!("{e}")))?,
            table,
            unknown: seen.unknown,
            lines: seen.lines,
        })
    }

    /// Which cluster it is about.
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    /// T1: keys that nobody knows, with their lines.
    pub fn unknown(&self) -> &[Problem] {
        &self.unknown
    }

    /// The whole document. A node that the system does not know gets an identity that nobody has: the plan
    /// refuses it by C8, with the step that is missing.
    ///
    /// # Errors
    /// A value is not what the document's types take.
    pub fn complete(&self, with: &Filling<'_>) -> Result<ClusterDocument, DocumentError> {
        let mut table = self.table.clone();
        let present = with.present.and_then(|d| Table::try_from(d).ok());
        let fresh = |key: &str| match key {
            "id" => Value::String(with.id.to_string()),
            "revision" | "epoch" => Value::Integer(1),
            // The plan counts on by itself.
            "next_service" => Value::Integer(0),
            _ => Value::Table(Table::from_iter([
                ("by".to_owned(), Value::String("nobody yet".to_owned())),
                ("at".to_owned(), Value::Integer(0)),
                ("what".to_owned(), Value::String("written".to_owned())),
            ])),
        };
        for key in ["id", "revision", "epoch", "changed", "next_service"] {
            let kept = present.as_ref().and_then(|p| p.get(key)).cloned();
            let entry = table.entry(key);
            entry.or_insert_with(|| kept.unwrap_or_else(|| fresh(key)));
        }
        if !table.contains_key("key") {
            let kept = present.as_ref().and_then(|p| p.get("key")).cloned();
            table.insert(
                "key".to_owned(),
                kept.unwrap_or_else(|| first_key(with.key)),
            );
        }
        identities(&mut table, with);
        numbers(&mut table, with.present);
        ClusterDocument::deserialize(Value::Table(table))
            .map_err(|e| DocumentError::Text(e.message().to_owned()))
    }

    /// The problem with the line of what it is about, where that stands in the text.
    #[must_use]
    pub fn located(&self, problem: Problem) -> Problem {
        if problem.place.starts_with("line ") {
            return problem;
        }
        let cluster = format!("cluster {}", self.name);
        let mut place = if problem.place == cluster {
            "name"
        } else {
            problem.place.as_str()
        };
        let line = loop {
            if let Some(line) = self.lines.get(place) {
                break Some(line);
            }
            match place.rsplit_once(", ") {
                Some((outer, _)) => place = outer,
                None => break None,
            }
        };
        match line {
            Some(line) => Problem {
                place: format!("line {line}, {}", problem.place),
                ..problem
            },
            None => problem,
        }
    }
}

fn first_key(secret: &str) -> Value {
    let key = Table::from_iter([
        ("id".to_owned(), Value::Integer(1)),
        ("secret".to_owned(), Value::String(secret.to_owned())),
        ("signs".to_owned(), Value::Boolean(true)),
    ]);
    Value::Array(vec![Value::Table(key)])
}

fn tables<'t>(table: &'t mut Table, list: &str) -> impl Iterator<Item = &'t mut Table> {
    let list = table.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_table_mut)
}

fn identities(table: &mut Table, with: &Filling<'_>) {
    for (n, node) in (0..).zip(tables(table, "node")) {
        let name = node.get("name").and_then(Value::as_str);
        let name = name.and_then(|name| name.parse::<NodeName>().ok());
        let known = name.and_then(|name| {
            let member = with.present.and_then(|d| d.member(&name)).map(|m| m.id);
            member.or_else(|| with.system.node(&name).map(|n| n.id))
        });
        let id = known.unwrap_or(NodeId(u64::MAX - n));
        let entry = node.entry("id");
        entry.or_insert_with(|| Value::String(id.to_string()));
    }
}

/// Services keep their numbers by their names; new ones are counted on.
fn numbers(table: &mut Table, present: Option<&ClusterDocument>) {
    let given = tables(table, "service").filter_map(|s| s.get("id").and_then(Value::as_integer));
    let least = present.map_or(1, |d| i64::from(d.next_service.0));
    let mut next = given.map(|id| id.saturating_add(1)).fold(least, i64::max);
    for service in tables(table, "service") {
        if service.contains_key("id") {
            continue;
        }
        let name = service.get("name").and_then(Value::as_str);
        let known = present.and_then(|d| {
            let mut services = d.services.iter();
            services.find(|s| Some(s.name.as_str()) == name)
        });
        let id = known.map_or(next, |s| i64::from(s.id.0));
        if known.is_none() {
            next += 1;
        }
        service.insert("id".to_owned(), Value::Integer(id));
    }
}
