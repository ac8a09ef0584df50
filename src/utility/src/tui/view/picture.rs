//! One row of the picture as text. It says everything in words and signs; colours only underline it.

use backstay_core::engine::{
    AlarmView, ClusterView, NodeState, NodeView, ServiceState, ServiceView,
};
use backstay_core::model::{Fallback, NodeName, Role, Safety};
use backstay_wire::rpc::clean;

use super::super::model::{Age, Cluster, Model};
use super::super::picture::Row;
use super::super::text::{Text, pad};
use super::super::theme::Theme;
use crate::output::lists::role;
use crate::output::status::{lock, node_word, role_word, service_word, severity_word};
use crate::output::style::{Tone, age};

/// From this width on a row has room for addresses, priority and fallback type.
const ROOMY: usize = 70;

/// A row, at most so many columns wide.
pub(super) fn row(model: &Model, row: Row, columns: usize) -> Text {
    let cluster = |at: usize| model.clusters.get(at);
    let view = |at: usize| cluster(at).and_then(|c| c.view.as_ref());
    let text = match row {
        Row::Cluster(c) => cluster(c).map(|c| cluster_row(c, model, columns)),
        Row::Node(c, n, s) => view(c).and_then(|v| {
            let node = v.nodes.get(n)?;
            let service = s.and_then(|s| v.services.get(s));
            Some(node_row(model.theme, v, node, service, columns))
        }),
        Row::Service(c, n, s) => view(c).and_then(|v| {
            let (node, service) = (v.nodes.get(n)?, v.services.get(s)?);
            let line = Text::new(pad("", name_columns(v, columns) + 11), Tone::Plain);
            Some(service_part(
                line,
                model.theme,
                &node.name,
                service,
                columns,
            ))
        }),
        Row::Alarm(c, a) => view(c).and_then(|v| v.alarms.get(a)).map(alarm_row),
        Row::Staged(c, n) => cluster(c)
            .and_then(|c| c.staged.get(n))
            .map(|(node, revision)| {
                Text::new(
                    format!(" ! {node} staged revision {revision}: not in effect"),
                    Tone::Warn,
                )
            }),
        Row::Leftover(n) => model.leftovers.get(n).map(|(node, name)| {
            Text::new(
                format!(" ! {node} staged {name}: not in effect"),
                Tone::Warn,
            )
        }),
        Row::Unknown(c, m) => cluster(c).and_then(|c| c.members.get(m)).map(|name| {
            let dot = model.theme.signs.dot(Tone::Warn);
            Text::new(
                format!(" {dot} {}  unknown", pad(name.as_str(), 8)),
                Tone::Warn,
            )
        }),
        Row::Others => Some(Text::new("in no cluster", Tone::Bold)),
        Row::Free(n) => model
            .system
            .as_ref()
            .and_then(|s| s.nodes.get(n))
            .map(|node| {
                let name = pad(node.name.as_str(), 8);
                Text::new(
                    format!("   {name}  {:<8} {}", role(node.role), clean(&node.contact)),
                    Tone::Plain,
                )
            }),
    };
    text.map_or_else(Text::default, |t| t.fit(columns))
}

fn cluster_row(cluster: &Cluster, model: &Model, columns: usize) -> Text {
    let line = Text::new(cluster.name.as_str(), Tone::Bold);
    let age_text = |line: Text| match cluster.age(model.now) {
        Age::Live => line,
        Age::Old(ms) => line.with(format!("  {} old", age(ms / 1000 * 1000)), Tone::Warn),
        Age::Unknown => line.with("  unknown", Tone::Bad),
    };
    let Some(view) = cluster.known(model.now) else {
        let why = cluster.lost.as_deref().unwrap_or(match cluster.heard {
            Some(_) => "nobody of it answers",
            None => "asking",
        });
        return age_text(line).with(format!(": {why}"), Tone::Warn);
    };
    let safety = match view.safety {
        Safety::Available => "available",
        Safety::Exclusive => "exclusive",
    };
    let mut line = line.with(
        format!("  {safety}  revision {}", view.revision),
        Tone::Plain,
    );
    if view.preloaded {
        line = line.with("  preloaded", Tone::Plain);
    }
    if columns >= ROOMY {
        line = line.with(format!("  seen by {}", view.seen_by), Tone::Dim);
    }
    age_text(line)
}

/// So many columns for the names of nodes.
fn name_columns(view: &ClusterView, columns: usize) -> usize {
    let longest = view
        .nodes
        .iter()
        .map(|n| n.name.as_str().len())
        .max()
        .unwrap_or(0);
    longest.clamp(4, if columns >= ROOMY { 32 } else { 12 })
}

fn node_row(
    theme: Theme,
    view: &ClusterView,
    node: &NodeView,
    service: Option<&ServiceView>,
    columns: usize,
) -> Text {
    let (word, tone) = node_word(node.state);
    let mut line = Text::new(" ", Tone::Plain)
        .with(theme.signs.dot(tone), tone)
        .with(" ", Tone::Plain)
        .with(
            pad(node.name.as_str(), name_columns(view, columns)),
            Tone::Plain,
        )
        // That all is well is said by the sign; what is not has its word in colour too.
        .with(
            format!(" {word:<8}"),
            if tone == Tone::Good {
                Tone::Plain
            } else {
                tone
            },
        );
    if node.role != Role::Regular {
        line = line.with(format!("{} ", role_word(node.role)), Tone::Plain);
    }
    match service {
        Some(service) => service_part(line, theme, &node.name, service, columns),
        None if !matches!(node.state, NodeState::Up) => match node.age_ms {
            Some(ms) => line.with(format!("heard {} ago", age(ms)), Tone::Dim),
            None => line,
        },
        None => line,
    }
}

/// A service at a node: its home, or one that carries it.
fn service_part(
    mut line: Text,
    theme: Theme,
    at: &NodeName,
    s: &ServiceView,
    columns: usize,
) -> Text {
    let (word, tone) = service_word(s.state);
    let names = |on: &[NodeName]| {
        on.iter()
            .map(NodeName::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if s.home != *at {
        line = line.with(format!("{} {}", theme.from(), s.name), Tone::Warn);
    } else if s.running_on.is_empty() || s.running_on.as_slice() == std::slice::from_ref(at) {
        line = line.with(s.name.as_str(), Tone::Plain);
    } else {
        let away = format!("{} {} {}", s.name, theme.away(), names(&s.running_on));
        line = line.with(away, Tone::Warn);
    }
    // That a service runs is said by its standing there; everything else in words.
    if s.state != ServiceState::Running {
        line = line.with(format!(" {word}"), tone);
    }
    if s.lock.is_some() {
        line = line.with(" locked", Tone::Warn);
    }
    if columns >= ROOMY && s.home == *at {
        let missing = 46_usize.saturating_sub(line.width());
        let fallback = match s.fallback {
            Fallback::Manual => "manual",
            Fallback::Automatic => "automatic",
        };
        let addresses: Vec<&str> = s.addresses.iter().map(|a| a.address.as_str()).collect();
        let more = format!(
            "{} {:<4} {fallback:<9} {}",
            " ".repeat(missing),
            s.priority,
            addresses.join(" ")
        );
        line = line.with(more, Tone::Dim);
    }
    line
}

fn alarm_row(alarm: &AlarmView) -> Text {
    let (word, tone) = severity_word(alarm.severity);
    Text::new(format!(" ! {} ", word.to_uppercase()), tone).with(alarm.cause.clone(), tone)
}

/// The marked row in one line.
pub(super) fn detail(model: &Model) -> Text {
    let Some(row) = model.rows.get(model.home.row) else {
        return Text::default();
    };
    let view = |at: usize| model.clusters.get(at).and_then(|c| c.view.as_ref());
    let text = match *row {
        Row::Cluster(c) | Row::Staged(c, _) => model.clusters.get(c).map(last_change),
        Row::Node(c, n, None) => view(c).and_then(|v| v.nodes.get(n)).map(about_node),
        Row::Node(c, _, Some(s)) | Row::Service(c, _, s) => {
            view(c).and_then(|v| v.services.get(s)).map(about_service)
        }
        Row::Alarm(c, a) => view(c)
            .and_then(|v| v.alarms.get(a))
            .map(|a| format!("Do: {}", a.action)),
        Row::Unknown(c, _) => model
            .clusters
            .get(c)
            .map(|c| c.lost.clone().unwrap_or_default()),
        Row::Leftover(_) => Some(
            "begun, and never created; its nodes are free for it if it is created again".to_owned(),
        ),
        Row::Others => None,
        Row::Free(_) => Some("not in a cluster".to_owned()),
    };
    Text::new(text.unwrap_or_default(), Tone::Plain)
}

/// U6: what took effect last, and who did it.
pub(super) fn last_change(cluster: &Cluster) -> String {
    match &cluster.changed {
        Some((revision, changed)) => format!(
            "revision {revision}: {} by {}, {}",
            clean(&changed.what),
            clean(&changed.by),
            crate::output::style::date(changed.at)
        ),
        None => String::new(),
    }
}

fn about_node(node: &NodeView) -> String {
    let mut parts = vec![format!("{}: {}", node.name, node_word(node.state).0)];
    if let Some(ms) = node.age_ms.filter(|_| node.state != NodeState::Up) {
        parts.push(format!("heard {} ago", age(ms)));
    }
    parts.extend(node.notes.iter().cloned());
    parts.extend(node.addresses.iter().cloned());
    parts.join(", ")
}

fn about_service(s: &ServiceView) -> String {
    let mut parts = vec![format!("{}: {}", s.name, service_word(s.state).0)];
    parts.extend(s.lock.as_ref().map(lock));
    if !s.reason.is_empty() {
        parts.push(s.reason.clone());
    }
    parts.join("; ")
}
