//! U11: who did what, from where, with what result.

use backstay_wire::rpc::{AuditEntry, clean};

use super::style::{Style, Tone, date};

/// How a call is named with which a change begins; what it is for stands behind.
const BEGINS: &str = "take the change lock: ";
/// How the call is named with which it ends.
const ENDS: &str = "give the change lock back";
/// How calls begin by which a change takes effect.
const TAKES: &[&str] = &["commit ", "put the system document", "move "];
/// A change whose beginnings on two nodes lie further apart is two, ms.
const TOGETHER: u64 = 120_000;

/// One change: what all nodes say of it.
struct Change<'e> {
    wall_ms: u64,
    user: &'e str,
    from: &'e str,
    what: &'e str,
    nodes: Vec<&'e str>,
    /// The first refusal, and whose.
    refused: Option<(&'e str, &'e str)>,
    /// Some node has carried it out.
    took: bool,
    /// Who has its lock.
    open: Vec<&'e str>,
    /// It had the lock of a node.
    locked: bool,
}

/// The entries of all nodes, oldest first: one line for each change, or in `full` each call as each node has it.
pub fn audit(entries: &[(String, AuditEntry)], full: bool, style: Style) -> String {
    if entries.is_empty() {
        return "no actions yet\n".to_owned();
    }
    if full {
        return entries
            .iter()
            .map(|(node, e)| call(node, e, style))
            .collect();
    }
    let changes = changes(entries);
    changes.iter().map(|c| change(c, style)).collect()
}

fn call(node: &str, e: &AuditEntry, style: Style) -> String {
    let text = format!(
        "{node}: {} from {}: {}: {}",
        clean(&e.user),
        clean(&e.from),
        clean(&e.what),
        clean(&e.result)
    );
    let head = format!("{}  ", date(e.wall_ms / 1000));
    style.wrap(&head, &text, Tone::Plain)
}

/// A change begins with the change lock of each node that it concerns; what the same user does there until the
/// lock is given back belongs to it. What is done without a lock stands for itself.
fn changes(entries: &[(String, AuditEntry)]) -> Vec<Change<'_>> {
    let mut found: Vec<Change<'_>> = Vec::new();
    for (node, e) in entries {
        let begun = e.what.strip_prefix(BEGINS);
        let here = |c: &&mut Change<'_>| c.user == e.user && c.open.contains(&node.as_str());
        match (begun, found.iter_mut().rev().find(here)) {
            (None, Some(change)) if e.what == ENDS => change.open.retain(|n| n != node),
            (None, Some(change)) => change.step(node, e),
            // Its beginning is older than what was asked for.
            (None, None) if e.what == ENDS => {}
            _ => begin(&mut found, node, e, begun.unwrap_or(&e.what)),
        }
    }
    found
}

/// A change begins, or begins on a further node.
fn begin<'e>(found: &mut Vec<Change<'e>>, node: &'e str, e: &'e AuditEntry, what: &'e str) {
    let same = found.iter_mut().rev().find(|c| {
        let late = e.wall_ms.saturating_sub(c.wall_ms) >= TOGETHER;
        c.user == e.user && c.what == what && !c.nodes.contains(&node) && !late
    });
    match same {
        Some(change) => change.goes_on(node, e),
        None => found.push(Change::new(node, e, what)),
    }
}

impl<'e> Change<'e> {
    fn new(node: &'e str, e: &'e AuditEntry, what: &'e str) -> Self {
        let mut new = Self {
            wall_ms: e.wall_ms,
            user: &e.user,
            from: &e.from,
            what,
            nodes: Vec::new(),
            refused: None,
            took: false,
            open: Vec::new(),
            locked: false,
        };
        new.goes_on(node, e);
        new
    }

    fn goes_on(&mut self, node: &'e str, e: &'e AuditEntry) {
        self.nodes.push(node);
        if e.result == "done" && e.what.starts_with(BEGINS) {
            self.open.push(node);
            self.locked = true;
        }
        self.step(node, e);
    }

    fn step(&mut self, node: &'e str, e: &'e AuditEntry) {
        if e.result == "done" {
            self.took |= TAKES.iter().any(|t| e.what.starts_with(t));
        } else if self.refused.is_none() {
            self.refused = Some((node, &e.result));
        }
    }
}

fn change(c: &Change<'_>, style: Style) -> String {
    let refusal = c.refused.map(|(node, result)| {
        let why = result.strip_prefix("refused: ").unwrap_or(result);
        format!("refused by {node}: {}", clean(why))
    });
    let result = match refusal {
        // It had the lock, and died or was broken off before anything took effect.
        None if c.locked && !c.took => "not carried out".to_owned(),
        None => "done".to_owned(),
        Some(refusal) if c.took => format!("done, but {refusal}"),
        Some(refusal) => refusal,
    };
    let text = format!(
        "{} from {}: {}: {result} ({})",
        clean(c.user),
        clean(c.from),
        clean(c.what),
        c.nodes.join(", ")
    );
    let head = format!("{}  ", date(c.wall_ms / 1000));
    style.wrap(&head, &text, Tone::Plain)
}
