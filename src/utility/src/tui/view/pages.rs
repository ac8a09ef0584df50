//! Pages to read: their lines, and how they are put on the screen.

use backstay_core::engine::{AlarmView, ClusterView};
use backstay_core::model::{ClusterName, Fallback, NodeName};
use backstay_wire::rpc::{Facts, HistoryEntry, clean};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::keys::{Place, TABLE};
use super::super::layers::form::Form;
use super::super::layers::page::{Kind, Page};
use super::super::menu::ENTRIES;
use super::super::model::Model;
use super::super::text::{Text, pad, table, wrap};
use super::{body, picture, put};
use crate::output::history::{Item, Timeline, decision, heading, items, stage};
use crate::output::lists::{self, role};
use crate::output::status::{
    lock, node_word, past, role_word, service_word, severity_word, with_addresses,
};
use crate::output::style::{Cell, Style, Tone, age, date};

/// Columns of a failover's bar.
const BAR: u64 = 16;

/// Rows for the lines of a page.
pub fn height(model: &Model) -> usize {
    usize::from(body(model).height).saturating_sub(1)
}

fn columns(model: &Model) -> usize {
    usize::from(model.size.0).saturating_sub(2)
}

/// Draws a page.
pub(super) fn draw(model: &Model, page: &Page, buffer: &mut Buffer) {
    let whole = body(model);
    let area = Rect {
        x: 1,
        width: whole.width - 2,
        ..whole
    };
    let height = height(model);
    let more = page.lines.len() > height;
    let place = if more {
        format!(
            "  ({} to {} of {})",
            page.top + 1,
            (page.top + height).min(page.lines.len()),
            page.lines.len()
        )
    } else {
        String::new()
    };
    let title = Text::new(title(&page.kind), Tone::Bold).with(place, Tone::Dim);
    put(buffer, area, 0, &title, model);
    for (row, line) in (1..area.height).zip(page.lines.iter().skip(page.top)) {
        put(buffer, area, row, line, model);
    }
}

/// The heading, with the command that shows the same.
fn title(kind: &Kind) -> String {
    match kind {
        Kind::Clusters => "All clusters (backstay cluster list)".to_owned(),
        Kind::Cluster(name) => format!("Status of {name} (backstay status {name})"),
        Kind::Alarms => "Alarms (backstay alarm list)".to_owned(),
        Kind::History(_) => "History (backstay history)".to_owned(),
        Kind::Node(name, _) => format!("Node {name} (backstay node show {name})"),
        Kind::Log => "This session".to_owned(),
        Kind::Help(Some(form)) => format!("{}: fields and keys", form.title),
        Kind::Help(None) => "Keys".to_owned(),
    }
}

/// The lines of a page.
pub fn lines(model: &Model, kind: &Kind) -> Vec<Text> {
    match kind {
        Kind::Clusters => clusters(model),
        Kind::Cluster(name) => cluster(model, name),
        Kind::Alarms => alarms(model),
        Kind::History(None) => vec![Text::new("asking every node...", Tone::Dim)],
        Kind::History(Some(Err(why))) => wrap("", why, Tone::Bad, columns(model)),
        Kind::History(Some(Ok(entries))) => history(model, entries),
        Kind::Node(name, facts) => node(model, name, facts.as_ref()),
        Kind::Log => log(model),
        Kind::Help(form) => help(model, form.as_deref()),
    }
}

fn heads(names: &[&str]) -> Vec<Cell> {
    lists::heading(names)
}

fn clusters(model: &Model) -> Vec<Text> {
    let mut rows = vec![heads(&["CLUSTER", "REVISION", "NODES", "SERVICES"])];
    for cluster in &model.clusters {
        let nodes: Vec<&str> = cluster.members.iter().map(NodeName::as_str).collect();
        let (revision, services) = match cluster.known(model.now) {
            Some(view) => {
                let names: Vec<&str> = view
                    .services
                    .iter()
                    .take(50)
                    .map(|s| s.name.as_str())
                    .collect();
                (
                    Cell::from(view.revision.to_string()),
                    Cell::from(names.join(" ")),
                )
            }
            None => (
                Cell::new("unknown", Tone::Bad),
                Cell::new("unknown", Tone::Bad),
            ),
        };
        rows.push(vec![
            cluster.name.as_str().into(),
            revision,
            nodes.join(" ").into(),
            services,
        ]);
    }
    table(0, &rows, columns(model))
}

fn cluster(model: &Model, name: &ClusterName) -> Vec<Text> {
    let width = columns(model);
    let Some(cluster) = model.cluster(name) else {
        return vec![Text::new("there is no such cluster any more", Tone::Warn)];
    };
    let Some(view) = cluster.known(model.now) else {
        let why = cluster.lost.as_deref().unwrap_or("nobody of it answers");
        let mut lines = vec![Text::new(
            "unknown: nothing was heard for too long",
            Tone::Bad,
        )];
        lines.extend(wrap("", why, Tone::Warn, width));
        return lines;
    };
    let mut lines = Vec::new();
    let last = picture::last_change(cluster);
    if !last.is_empty() {
        lines.extend(wrap("", &last, Tone::Dim, width));
    }
    for (node, revision) in &cluster.staged {
        let text = format!(
            "{node} staged revision {revision}, which was never committed: it did not take effect"
        );
        lines.extend(wrap("! ", &text, Tone::Warn, width));
    }
    lines.extend(node_table(model, view, width));
    lines.push(Text::default());
    lines.extend(service_table(model, view, width));
    for alarm in view.alarms.iter().filter(|a| a.active) {
        lines.push(Text::default());
        lines.extend(alarm_lines(alarm, width));
    }
    lines
}

fn node_table(model: &Model, view: &ClusterView, width: usize) -> Vec<Text> {
    let mut rows = vec![heads(&["NODE", "ROLE", "STATE", "HEARD", "ADDRESS"])];
    for node in &view.nodes {
        let (word, tone) = node_word(node.state);
        let heard = match node.age_ms {
            _ if node.name == view.seen_by => "itself".to_owned(),
            Some(ms) => format!("{} ago", age(ms)),
            None => "never".to_owned(),
        };
        let row = vec![
            node.name.as_str().into(),
            role_word(node.role).into(),
            Cell::new(format!("{} {word}", model.theme.signs.dot(tone)), tone),
            heard.into(),
        ];
        let addresses = node.addresses.iter().map(String::as_str);
        rows.extend(with_addresses(row, addresses));
    }
    let mut lines = table(0, &rows, width);
    for node in &view.nodes {
        for note in &node.notes {
            lines.extend(wrap(&format!("  {}: ", node.name), note, Tone::Warn, width));
        }
    }
    lines
}

fn service_table(model: &Model, view: &ClusterView, width: usize) -> Vec<Text> {
    let names = [
        "SERVICE", "HOME", "RUNS ON", "STATE", "PRIO", "FALLBACK", "ADDRESS",
    ];
    let mut rows = vec![heads(&names)];
    for service in &view.services {
        let on: Vec<&str> = service.running_on.iter().map(NodeName::as_str).collect();
        let at_home = service.running_on.as_slice() == std::slice::from_ref(&service.home);
        let runs = match (on.is_empty(), at_home) {
            (true, _) => Cell::new("nowhere", Tone::Bad),
            (_, true) => on.join(", ").into(),
            _ => Cell::new(
                format!("{} {}", model.theme.away(), on.join(", ")),
                Tone::Warn,
            ),
        };
        let (word, tone) = service_word(service.state);
        let addresses = service.addresses.iter().map(|a| a.address.as_str());
        let row = vec![
            service.name.as_str().into(),
            service.home.as_str().into(),
            runs,
            Cell::new(format!("{} {word}", model.theme.signs.dot(tone)), tone),
            service.priority.to_string().into(),
            match service.fallback {
                Fallback::Manual => "manual",
                Fallback::Automatic => "automatic",
            }
            .into(),
        ];
        rows.extend(with_addresses(row, addresses));
    }
    let mut lines = table(0, &rows, width);
    for service in &view.services {
        if let Some(held) = &service.lock {
            lines.extend(wrap(
                &format!("  {}: ", service.name),
                &lock(held),
                Tone::Warn,
                width,
            ));
        }
        let at_home = service.running_on.as_slice() == std::slice::from_ref(&service.home);
        if !(service.reason.is_empty() || at_home) {
            lines.extend(wrap(
                &format!("  {}: ", service.name),
                &service.reason,
                Tone::Plain,
                width,
            ));
        }
    }
    lines
}

fn alarm_lines(alarm: &AlarmView, width: usize) -> Vec<Text> {
    let (word, tone) = severity_word(alarm.severity);
    let (how, tone) = if alarm.active {
        (format!("for {}", age(alarm.age_ms)), tone)
    } else {
        (past(alarm), Tone::Dim)
    };
    let head = format!("{} ({}, {how})", alarm.cause, alarm.rule);
    let mut lines = wrap(&format!("{:<9} ", word.to_uppercase()), &head, tone, width);
    // The word itself has the tone too.
    lines[0].0[0].1 = tone;
    if alarm.active && !alarm.action.is_empty() {
        lines.extend(wrap("      do: ", &alarm.action, Tone::Plain, width));
    }
    lines
}

fn alarms(model: &Model) -> Vec<Text> {
    let known = model.clusters.iter().filter_map(|c| c.known(model.now));
    let mut all: Vec<(&ClusterView, &AlarmView)> = known
        .flat_map(|v| v.alarms.iter().map(move |a| (v, a)))
        .collect();
    all.sort_by_key(|(_, a)| (!a.active, std::cmp::Reverse(a.severity)));
    let mut lines = Vec::new();
    let mut over = false;
    for (view, alarm) in all {
        if !alarm.active && !over {
            over = true;
            lines.push(Text::new(
                "No longer (H shows when it was over):",
                Tone::Plain,
            ));
        }
        lines.push(Text::new(view.name.as_str(), Tone::Bold));
        lines.extend(alarm_lines(alarm, columns(model)));
    }
    let unknown: Vec<&str> = model
        .clusters
        .iter()
        .filter(|c| c.known(model.now).is_none())
        .map(|c| c.name.as_str())
        .collect();
    if !unknown.is_empty() {
        let text = format!(
            "alarms of {} are not known: nobody answers",
            unknown.join(", ")
        );
        lines.extend(wrap("", &text, Tone::Bad, columns(model)));
    }
    if lines.is_empty() {
        lines.push(Text::new("no alarms", Tone::Good));
    }
    lines
}

/// U10: newest last, as the command has it; a failover as bars, each from the stage before to its own.
fn history(model: &Model, entries: &[HistoryEntry]) -> Vec<Text> {
    let width = columns(model);
    let mut lines = Vec::new();
    for item in items(entries, false) {
        match item {
            Item::Decision(entry, by) => {
                let said = decision(entry, &by, Style::default());
                lines.extend(wrap("", said.trim_end(), Tone::Plain, width));
            }
            Item::Failover(timeline) => lines.extend(bars(model, &timeline, width)),
        }
    }
    if lines.is_empty() {
        lines.push(Text::new("nothing has been decided yet", Tone::Dim));
    }
    lines
}

fn bars(model: &Model, timeline: &Timeline<'_>, width: usize) -> Vec<Text> {
    let total = timeline.stages.iter().map(|(ms, _)| *ms).max().unwrap_or(0);
    let mut lines = vec![Text::new(
        format!("{}, {total} ms in all", heading(timeline)),
        Tone::Bold,
    )];
    let mut before = 0;
    for (ms, entry) in &timeline.stages {
        // Times are another machine's word: they may be anything.
        let place = |ms: u64| u128::from(ms) * u128::from(BAR) / u128::from(total.max(1));
        let last = u128::from(BAR) - 1;
        // A stage that took no time is still seen.
        let from = place(before.min(*ms)).min(last);
        let to = place(*ms).max(from + 1);
        let bar = 0..u128::from(BAR);
        let bar: String = bar
            .map(|n| model.theme.bar((from..to).contains(&n)))
            .collect();
        before = *ms;
        let name = entry.record.stage.map_or("", stage);
        let head = format!("{ms:>7} ms {bar} {name:<10} {:<6} ", entry.node);
        lines.extend(wrap(
            &head,
            &clean(&entry.record.sentence),
            Tone::Plain,
            width.max(70),
        ));
    }
    lines
}

fn node(model: &Model, name: &NodeName, facts: Option<&Result<Box<Facts>, String>>) -> Vec<Text> {
    let width = columns(model);
    let mut lines = Vec::new();
    if let Some(known) = model.system.as_ref().and_then(|s| s.node(name)) {
        lines.push(Text::new(
            format!("{}, reached at {}", role(known.role), clean(&known.contact)),
            Tone::Plain,
        ));
    }
    for cluster in model.clusters.iter().filter(|c| c.members.contains(name)) {
        let Some(view) = cluster.known(model.now) else {
            lines.push(Text::new(
                format!("cluster {}: unknown", cluster.name),
                Tone::Bad,
            ));
            continue;
        };
        let Some(seen) = view.nodes.iter().find(|n| n.name == *name) else {
            continue;
        };
        let (word, tone) = node_word(seen.state);
        let heard = seen.age_ms.map_or("never heard".to_owned(), |ms| {
            format!("heard {} ago by {}", age(ms), view.seen_by)
        });
        lines.push(
            Text::new(format!("cluster {}: ", cluster.name), Tone::Plain)
                .with(format!("{word}, {heard}"), tone),
        );
        for note in &seen.notes {
            lines.extend(wrap("  ", note, Tone::Warn, width));
        }
        for service in view
            .services
            .iter()
            .filter(|s| s.home == *name || s.running_on.contains(name))
        {
            let on = service.on.get(name).map_or("nothing", String::as_str);
            let (word, tone) = service_word(service.state);
            let text = format!("{}: {word}; here: {on}", service.name);
            lines.extend(wrap("  ", &text, tone, width));
        }
    }
    lines.push(Text::default());
    match facts {
        None => lines.push(Text::new("asking the machine...", Tone::Dim)),
        Some(Err(why)) => lines.extend(wrap("machine unknown: ", &clean(why), Tone::Bad, width)),
        Some(Ok(facts)) => {
            let said = lists::facts(
                facts,
                Style {
                    color: false,
                    ..model.theme.signs
                },
            );
            lines.extend(said.lines().map(|l| Text::new(l.to_owned(), Tone::Plain)));
        }
    }
    lines
}

fn log(model: &Model) -> Vec<Text> {
    if model.log.is_empty() {
        return vec![Text::new("nothing was done yet", Tone::Dim)];
    }
    let entries = model.log.iter();
    entries
        .flat_map(|(at, line)| {
            wrap(
                &format!("{}  ", date(*at)),
                &clean(line),
                Tone::Plain,
                columns(model),
            )
        })
        .collect()
}

/// Made from the tables by which keys are dispatched. In a form it begins with what that form wants.
fn help(model: &Model, form: Option<&Form>) -> Vec<Text> {
    let mut places = vec![
        (Place::Home, "Menu and picture"),
        (Place::Filter, "While finding"),
        (Place::Form, "Forms"),
        (Place::Pick, "Lists of choices"),
        (Place::Confirm, "Before something is done"),
        (Place::Progress, "While something is done"),
        (Place::Outcome, "When it is over"),
        (Place::Page, "Pages"),
    ];
    let mut lines = Vec::new();
    if let Some(form) = form {
        let width = columns(model);
        for field in &form.fields {
            let head = format!("  {} ", pad(field.label, 20));
            lines.extend(wrap(&head, &field.help, Tone::Plain, width));
        }
        places.rotate_left(2);
    }
    for (place, name) in places {
        lines.push(Text::new(name, Tone::Bold));
        for row in TABLE.iter().filter(|b| b.places.contains(&place)) {
            let keys: Vec<String> = row.keys.iter().map(ToString::to_string).collect();
            lines.extend(meaning(model, &keys.join(" "), row.help));
        }
        if place == Place::Home {
            lines.extend(meaning(model, "1 to 16", "mark the entry of that number"));
            for entry in ENTRIES {
                let what = format!("{}. {}", entry.label, entry.help);
                lines.extend(meaning(model, &entry.key.to_string(), &what));
            }
        }
    }
    lines
}

/// Keys and what they mean; keys that need more room have a line of their own.
fn meaning(model: &Model, keys: &str, what: &str) -> Vec<Text> {
    const KEYS: usize = 20;
    let mut lines = Vec::new();
    let beside = if keys.len() > KEYS {
        lines.push(Text::new(format!("  {keys}"), Tone::Plain));
        ""
    } else {
        keys
    };
    let head = format!("  {} ", pad(beside, KEYS));
    lines.extend(wrap(&head, what, Tone::Plain, columns(model)));
    lines
}
