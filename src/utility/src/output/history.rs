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

/// Entries of one or several nodes in the order of time; stages of one failover together under a heading.
pub fn history(entries: &[HistoryEntry], style: Style) -> String {
    let mut sorted: Vec<&HistoryEntry> = entries.iter().collect();
    sorted.sort_by_key(|e| (e.wall_ms, e.node.clone(), e.id));
    let mut timelines: BTreeMap<Failover, Vec<&HistoryEntry>> = BTreeMap::new();
    for entry in &sorted {
        if let Some(key) = failover(entry) {
            timelines.entry(key).or_default().push(entry);
        }
    }
    let mut out = String::new();
    for entry in sorted {
        match failover(entry) {
            // Shown whole where its first stage stands.
            Some(key) => {
                if let Some(stages) = timelines.remove(&key) {
                    out.push_str(&timeline(&key, &stages, style));
                }
            }
            None => out.push_str(&line(entry, style)),
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

fn timeline(key: &Failover, stages: &[&HistoryEntry], style: Style) -> String {
    let (cluster, service, term) = key;
    let mut stages = stages.to_vec();
    stages.sort_by_key(|e| (e.wall_ms, e.record.stage, e.id));
    let mut out = String::new();
    let Some(first) = stages.first() else {
        return out;
    };
    let heading = format!(
        "{}  {service} ({cluster}), term {term}",
        date(first.wall_ms / 1000)
    );
    let _ = writeln!(out, "{}", style.paint(&heading, Tone::Bold));
    for entry in &stages {
        // Two nodes' boot clocks can't be compared; on one node they are finer than the wall clock, and no
        // clock step falls into them.
        let offset = if entry.node == first.node {
            u64::try_from(entry.record.at.since(first.record.at).as_millis()).unwrap_or(u64::MAX)
        } else {
            entry.wall_ms.saturating_sub(first.wall_ms)
        };
        let name = entry.record.stage.map_or("", stage);
        let head = format!("  {offset:>8} ms  {name:<10}  {:<8} ", entry.node);
        out.push_str(&style.wrap(&head, &clean(&entry.record.sentence), Tone::Plain));
    }
    out
}
