//! Lists and single things as text.

use std::fmt::Write as _;

use backstay_core::model::{ClusterDocument, SystemRole};
use backstay_wire::rpc::Facts;

use super::style::{Cell, Style, Tone, WIDTH};
use crate::failure::Failure;
use crate::ops::Picture;
use backstay_wire::rpc::clean;

/// A heading row.
pub fn heading(names: &[&str]) -> Vec<Cell> {
    names.iter().map(|n| Cell::new(*n, Tone::Dim)).collect()
}

/// A role in the system.
pub fn role(role: SystemRole) -> &'static str {
    match role {
        SystemRole::Free => "free",
        SystemRole::Regular => "regular",
        SystemRole::Standby => "standby",
        SystemRole::Witness => "witness",
    }
}

/// All nodes of the system.
pub fn nodes(picture: &Picture, style: Style) -> String {
    let system = picture.system();
    let mut rows = vec![heading(&[
        "NODE", "ROLE", "ANSWERS", "CLUSTER", "CONTACT", "AGENT",
    ])];
    for node in &system.nodes {
        let hello = picture.hellos.get(&node.name);
        let answers = if hello.is_some() {
            Cell::new(format!("{} yes", style.dot(Tone::Good)), Tone::Good)
        } else {
            Cell::new(format!("{} unknown", style.dot(Tone::Warn)), Tone::Warn)
        };
        let clusters: Vec<String> = system
            .clusters_of(&node.name)
            .map(|c| c.name.to_string())
            .collect();
        rows.push(vec![
            node.name.to_string().into(),
            role(node.role).into(),
            answers,
            clusters.join(" ").into(),
            clean(&node.contact).into(),
            hello.map_or_else(String::new, |h| clean(&h.agent)).into(),
        ]);
    }
    let mut out = style.table(0, &rows);
    for (name, why) in &picture.silent {
        out.push_str(&style.wrap(&format!("{name}: "), &clean(&why.to_string()), Tone::Warn));
    }
    out
}

/// One machine.
pub fn facts(facts: &Facts, style: Style) -> String {
    let gib = |bytes: u64| {
        let tenths = bytes / (1024 * 1024 * 1024 / 10);
        format!("{}.{} GiB", tenths / 10, tenths % 10)
    };
    let kept = match facts.clock_kept {
        Some(true) => "kept by NTP",
        Some(false) => "not kept by NTP",
        None => "unknown",
    };
    let gate = |facts: &Facts| match facts.gate.as_deref().filter(|g| !g.is_empty()) {
        Some(why) => clean(why),
        None if facts.simulated => "simulated, and so are the addresses".to_owned(),
        None => "can be set".to_owned(),
    };
    let mut rows: Vec<Vec<Cell>> = [
        ("host name", clean(&facts.hostname)),
        ("system", clean(&facts.os)),
        ("kernel", clean(&facts.kernel)),
        (
            "systemd",
            facts.systemd.as_deref().map_or("none".to_owned(), clean),
        ),
        ("memory", gib(facts.memory)),
        ("processors", facts.processors.to_string()),
        ("disk free", gib(facts.disk_free)),
        ("clock", kept.to_owned()),
        ("gate", gate(facts)),
    ]
    .into_iter()
    .map(|(name, value)| vec![Cell::new(name, Tone::Dim), value.into()])
    .collect();
    for interface in &facts.interfaces {
        let addresses: Vec<String> = interface
            .addresses
            .iter()
            .map(|a| clean(&a.address))
            .collect();
        let carrier = if interface.carrier {
            ""
        } else {
            ", no carrier"
        };
        rows.push(vec![
            Cell::new(clean(&interface.name), Tone::Dim),
            format!(
                "{} ({}{carrier})",
                addresses.join(" "),
                clean(&interface.mac)
            )
            .into(),
        ]);
    }
    style.table(2, &rows)
}

/// A cluster's document, without secrets, in the order of its text.
pub fn document(document: &ClusterDocument) -> String {
    document
        .without_secrets()
        .to_text()
        .lines()
        .map(|l| clean_keeping_blanks(l) + "\n")
        .collect()
}

fn clean_keeping_blanks(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).collect()
}

/// A failure: one clear line, everything that is wrong, what to do.
pub fn failure(failure: &Failure, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} {}",
        style.paint("error:", Tone::Bad),
        style.fit(&failure.message)
    );
    for problem in &failure.problems {
        let text = format!("{}: {}; {}", problem.place, problem.what, problem.mend);
        out.push_str(&style.wrap(
            &format!("  {:<3} ", problem.rule.to_string()),
            &clean(&text),
            Tone::Plain,
        ));
    }
    for hint in failure
        .hint
        .iter()
        .flat_map(|h| h.lines())
        .filter(|l| !l.is_empty())
    {
        out.push_str(&style.wrap("hint: ", hint, Tone::Plain));
    }
    out
}

/// The same for a terminal, which would break the one line inside of a word.
pub fn failure_wrapped(failure: &Failure, style: Style) -> String {
    const HEAD: &str = "error: ";
    let text = self::failure(failure, style);
    let long = |word: &str| word.chars().count() > WIDTH - HEAD.len();
    let Some((_, rest)) = text.split_once('\n') else {
        return text;
    };
    // A path may be longer than any line, and must not be cut.
    if failure.message.split_whitespace().any(long) || failure.message.contains('\n') {
        return text;
    }
    let message = style.wrap(HEAD, &failure.message, Tone::Plain);
    let message = message.strip_prefix(HEAD).unwrap_or(&message);
    format!("{} {message}{rest}", style.paint("error:", Tone::Bad))
}
