//! Decisions as timelines (U10).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use backstay_core::engine::Stage;
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
    /// One that stands alone.
    Decision(&'a HistoryEntry),
    /// The stages of one failover, each with its ms since the first.
    Failover(Vec<(u64, &'a HistoryEntry)>),
}

/// Entries of one or several nodes in the order of time, stages of one failover together.
pub fn items(entries: &[HistoryEntry]) -> Vec<Item<'_>> {
    let mut sorted: Vec<&HistoryEntry> = entries.iter().collect();
    sorted.sort_by_key(|e| (e.wall_ms, e.node.clone(), e.id));
    let mut timelines: BTreeMap<Failover, Vec<&HistoryEntry>> = BTreeMap::new();
    for entry in &sorted {
        if let Some(key) = failover(entry) {
            timelines.entry(key).or_default().push(entry);
        }
    }
    let mut found = Vec::new();
    for entry in sorted {
        match failover(entry) {
            // Shown whole where its first stage stands.
            Some(key) => {
                let stages = timelines.remove(&key);
                found.extend(stages.map(|s| Item::Failover(with_offsets(s))));
            }
            None => found.push(Item::Decision(entry)),
        }
    }
    found
}

fn with_offsets(mut stages: Vec<&HistoryEntry>) -> Vec<(u64, &HistoryEntry)> {
    stages.sort_by_key(|e| (e.wall_ms, e.record.stage, e.id));
    let Some(first) = stages.first().copied() else {
        return Vec::new();
    };
    // Two nodes' boot clocks can't be compared; on one node they are finer than the wall clock, and no
    // clock step falls into them.
    let offset = |entry: &HistoryEntry| {
        if entry.node == first.node {
            u64::try_from(entry.record.at.since(first.record.at).as_millis()).unwrap_or(u64::MAX)
        } else {
            entry.wall_ms.saturating_sub(first.wall_ms)
        }
    };
    stages.into_iter().map(|e| (offset(e), e)).collect()
}

/// Entries of one or several nodes in the order of time; stages of one failover together under a heading.
pub fn history(entries: &[HistoryEntry], style: Style) -> String {
    let mut out = String::new();
    for item in items(entries) {
        match item {
            Item::Decision(entry) => out.push_str(&line(entry, style)),
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
    let about = match &entry.service {
        Some(service) => format!("{} {service}", entry.node),
        None => entry.node.to_string(),
    };
    let head = format!("{}  {about}  ", date(entry.wall_ms / 1000));
    let mut text = clean(&entry.record.sentence);
    if let Some(s) = entry.record.stage {
        text = format!("{}: {text}", stage(s));
    }
    let text = format!("{text} ({})", entry.record.rule);
    style.wrap(&head, &text, Tone::Plain)
}

/// The heading of a failover.
pub fn heading(first: &HistoryEntry) -> String {
    let service = first.service.as_ref().map_or("", |s| s.as_str());
    format!(
        "{}  {service} ({}), term {}",
        date(first.wall_ms / 1000),
        first.cluster,
        first.record.term
    )
}

fn timeline(stages: &[(u64, &HistoryEntry)], style: Style) -> String {
    let mut out = String::new();
    let Some((_, first)) = stages.first() else {
        return out;
    };
    let _ = writeln!(out, "{}", style.paint(&heading(first), Tone::Bold));
    for (offset, entry) in stages {
        let name = entry.record.stage.map_or("", stage);
        let head = format!("  {offset:>8} ms  {name:<10}  {:<8} ", entry.node);
        out.push_str(&style.wrap(&head, &clean(&entry.record.sentence), Tone::Plain));
    }
    out
}
