//! Decisions as timelines (U10).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use backstay_core::engine::Stage;
use backstay_core::model::{ClusterName, NodeName};
use backstay_wire::rpc::HistoryEntry;

use super::style::{Style, Tone, date};
use backstay_wire::rpc::clean;

/// The stage as the admin reads it.
pub fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::LastHeard => "last heard",
        Stage::Suspected => "suspected",
        Stage::Confirmed => "confirmed",
        Stage::Closed => "closed",
        Stage::Unblocked => "unblocked",
        Stage::Announced => "announced",
        Stage::Started => "started",
        Stage::Healthy => "healthy",
    }
}

/// Which failover an entry belongs to.
type Failover = (String, String, u64);

fn failover(entry: &HistoryEntry) -> Option<Failover> {
    entry.record.stage?;
    let service = entry.service.as_ref()?;
    Some((
        entry.cluster.to_string(),
        service.to_string(),
        entry.record.term,
    ))
}

/// A decision, or a failover that is made of several.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    /// One that stands alone, and whoever else has it word by word.
    Decision(&'a HistoryEntry, Vec<&'a NodeName>),
    /// The stages of one failover.
    Failover(Timeline<'a>),
}

impl Item<'_> {
    /// When it was or began, ms since 1970 UTC.
    fn at(&self) -> u64 {
        match self {
            Self::Decision(entry, _) => entry.wall_ms,
            Self::Failover(timeline) => timeline.begin,
        }
    }
}

/// The stages of one failover.
#[derive(Clone, Debug)]
pub struct Timeline<'a> {
    /// When the first was, ms since 1970 UTC.
    pub begin: u64,
    /// Each with its ms since then.
    pub stages: Vec<(u64, &'a HistoryEntry)>,
}

/// What several nodes say within so long is one thing, ms.
const TOGETHER: u64 = 60_000;

/// Entries of one or several nodes in the order of time, stages of one failover together; what several nodes
/// saw stands once, unless all is wanted in `full`.
pub fn items(entries: &[HistoryEntry], full: bool) -> Vec<Item<'_>> {
    let mut sorted: Vec<&HistoryEntry> = entries.iter().collect();
    sorted.sort_by_key(|e| (e.wall_ms, e.node.clone(), e.id));
    let mut timelines: BTreeMap<Failover, Vec<&HistoryEntry>> = BTreeMap::new();
    for entry in &sorted {
        if let Some(key) = failover(entry) {
            timelines.entry(key).or_default().push(entry);
        }
    }
    let mut found = Vec::new();
    // Where what was said last stands, by what it says.
    let mut said: BTreeMap<_, usize> = BTreeMap::new();
    for entry in sorted {
        // A failover is shown whole where its first stage stands.
        if let Some(key) = failover(entry) {
            let stages = timelines.remove(&key);
            found.extend(stages.map(|s| Item::Failover(timeline_of(&s))));
            continue;
        }
        let what = (&entry.cluster, &entry.service, &entry.record.sentence);
        let before = said.get(&what).and_then(|at| found.get_mut(*at));
        match before.filter(|_| !full) {
            Some(Item::Decision(first, by))
                if entry.wall_ms - first.wall_ms < TOGETHER && !by.contains(&&entry.node) =>
            {
                by.push(&entry.node);
            }
            _ => {
                said.insert(what, found.len());
                found.push(Item::Decision(entry, vec![&entry.node]));
            }
        }
    }
    // A failover began before its first stage was written down.
    found.sort_by_key(Item::at);
    found
}

/// A clock that steps, or a boot in between: then the two clocks of a node are further apart than this, ms.
const APART: u64 = 60_000;

/// When it was, ms since 1970 UTC. A stage may be written down long after it was: by the node's own clock it is
/// known how long before the others.
fn happened(entry: &HistoryEntry, stages: &[&HistoryEntry]) -> u64 {
    let of_node = stages.iter().filter(|e| e.node == entry.node);
    let millis = |since: std::time::Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let by_other = of_node.map(|other| {
        let later = millis(other.record.at.since(entry.record.at));
        let earlier = millis(entry.record.at.since(other.record.at));
        other.wall_ms.saturating_add(earlier).saturating_sub(later)
    });
    let believed = by_other.filter(|at| at.abs_diff(entry.wall_ms) < APART);
    believed.min().unwrap_or(entry.wall_ms)
}

fn timeline_of<'a>(entries: &[&'a HistoryEntry]) -> Timeline<'a> {
    let timed = entries.iter().map(|e| (happened(e, entries), *e));
    let mut stages: Vec<(u64, &HistoryEntry)> = timed.collect();
    stages.sort_by_key(|(at, e)| (*at, e.record.stage, e.id));
    let begin = stages.first().map_or(0, |(at, _)| *at);
    for (at, _) in &mut stages {
        *at -= begin;
    }
    Timeline { begin, stages }
}

/// Entries of one or several nodes in the order of time; stages of one failover together under a heading.
pub fn history(entries: &[HistoryEntry], full: bool, style: Style) -> String {
    let mut out = String::new();
    for item in items(entries, full) {
        match item {
            Item::Decision(entry, by) => out.push_str(&decision(entry, &by, style)),
            Item::Failover(stages) => out.push_str(&timeline(&stages, style)),
        }
    }
    if out.is_empty() {
        out.push_str("nothing has been decided yet\n");
    }
    out
}

/// One decision in one or two lines.
pub fn line(entry: &HistoryEntry, style: Style) -> String {
    decision(entry, &[&entry.node], style)
}

/// The same for what several nodes have.
pub fn decision(entry: &HistoryEntry, by: &[&NodeName], style: Style) -> String {
    let mut text = clean(&entry.record.sentence);
    if let Some(s) = entry.record.stage {
        text = format!("{}: {text}", stage(s));
    }
    text = format!("{text} ({})", entry.record.rule);
    let mut head = format!("{}  ", date(entry.wall_ms / 1000));
    if by.len() > 1 {
        text = format!("{text}, seen by {}", and(by));
    } else {
        let _ = write!(head, "{} ", entry.node);
    }
    if let Some(service) = &entry.service {
        let _ = write!(head, "{service} ");
    }
    if !head.ends_with("  ") {
        head.push(' ');
    }
    style.wrap(&head, &text, Tone::Plain)
}

/// When an alarm of that cause was over last, ms since 1970 UTC: the view of an alarm does not say it.
pub fn cleared(entries: &[HistoryEntry], cluster: &ClusterName, cause: &str) -> Option<u64> {
    let over = entries.iter().filter(|e| {
        let of = e.record.sentence.strip_prefix("alarm over: ");
        e.cluster == *cluster && of == Some(cause)
    });
    over.map(|e| e.wall_ms).max()
}

/// `n1, n3 and sb1`.
fn and(nodes: &[&NodeName]) -> String {
    let names: Vec<&str> = nodes.iter().map(|n| n.as_str()).collect();
    match names.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => names.join(""),
    }
}

/// The heading of a failover, with the time of its first stage.
pub fn heading(timeline: &Timeline<'_>) -> String {
    let Some((_, first)) = timeline.stages.first() else {
        return String::new();
    };
    let service = first.service.as_ref().map_or("", |s| s.as_str());
    format!(
        "{}  {service} ({}), term {}",
        date(timeline.begin / 1000),
        first.cluster,
        first.record.term
    )
}

fn timeline(timeline: &Timeline<'_>, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", style.paint(&heading(timeline), Tone::Bold));
    for (offset, entry) in &timeline.stages {
        let name = entry.record.stage.map_or("", stage);
        let head = format!("  {offset:>8} ms  {name:<10}  {:<8} ", entry.node);
        out.push_str(&style.wrap(&head, &clean(&entry.record.sentence), Tone::Plain));
    }
    out
}
