//! Status as a picture-like table (U7).

use std::fmt::Write as _;

use backstay_core::engine::{
    AlarmView, ClusterView, LockView, NodeState, NodeView, ServiceState, ServiceView, Severity,
};
use backstay_core::model::{Fallback, NodeName, Role, Safety, SystemDocument, SystemRole};

use super::style::{Cell, Style, Tone, age, date};
use crate::ops::gather::Seen;
use backstay_wire::rpc::clean;

/// What was seen a while ago and is not confirmed since (U7).
#[derive(Clone, Debug)]
pub struct Stale<'s> {
    /// When it was seen, s since 1970 UTC.
    pub wall: u64,
    /// How long ago that is.
    pub age_ms: u64,
    /// Who did not answer since.
    pub silent: &'s [String],
}

/// U7: what was not confirmed for so long is not shown any more, ms.
pub const UNKNOWN_MS: u64 = 10_000;

impl Stale<'_> {
    /// `as of 00:39:52 UTC, 8 s old; n1 does not answer`.
    fn sentence(&self) -> String {
        let date = date(self.wall);
        let time = date.split_once(' ').map_or(date.as_str(), |(_, time)| time);
        let who = match self.silent {
            [] => "no answer since".to_owned(),
            [one] => format!("{} does not answer", clean(one)),
            several => format!("{} do not answer", clean(&several.join(", "))),
        };
        format!(
            "as of {time}, {} old; {who}",
            age(self.age_ms / 1000 * 1000)
        )
    }
}

/// The same for a picture that may be old: its age stands first, and it says nothing of what to do now. What is
/// too old is unknown, never its last state.
pub fn status_as_of(
    seen: &Seen,
    only: Option<&str>,
    stale: Option<&Stale<'_>>,
    style: Style,
) -> String {
    let Some(stale) = stale else {
        return status(seen, only, style);
    };
    let mut out = style.wrap("", &stale.sentence(), Tone::Bad);
    out.push('\n');
    if stale.age_ms < UNKNOWN_MS {
        let (text, _) = pictures(seen, only, style);
        out.push_str(&text);
    } else {
        for name in names(seen, only) {
            let heading = format!("{name}  unknown");
            let _ = writeln!(out, "{}", style.paint(&heading, Tone::Bold));
        }
        out.push('\n');
    }
    let text = "the next node is asked; if none answers: power, network, sshd";
    out.push_str(&style.wrap("Now: ", text, Tone::Bad));
    out
}

fn names<'s>(seen: &'s Seen, only: Option<&str>) -> Vec<&'s str> {
    let views = seen.views.iter().map(|v| v.name.as_str());
    let unseen = seen.unseen.iter().map(|(c, _)| c.name.as_str());
    let all = views.chain(unseen);
    all.filter(|n| only.is_none_or(|o| *n == o)).collect()
}

/// Everything that was seen, ending in one line: what to do now.
pub fn status(seen: &Seen, only: Option<&str>, style: Style) -> String {
    let (mut out, unseen_any) = pictures(seen, only, style);
    let views: Vec<&ClusterView> = wanted(seen, only).collect();
    out.push_str(&now(&views, unseen_any, seen.system.as_ref(), style));
    out
}

fn wanted<'s>(seen: &'s Seen, only: Option<&'s str>) -> impl Iterator<Item = &'s ClusterView> {
    let views = seen.views.iter();
    views.filter(move |v| only.is_none_or(|o| v.name.as_str() == o))
}

/// Every cluster, and whether there is one of which nobody answers.
fn pictures(seen: &Seen, only: Option<&str>, style: Style) -> (String, bool) {
    let mut out = String::new();
    let views: Vec<&ClusterView> = wanted(seen, only).collect();
    for view in &views {
        out.push_str(&cluster(view, style));
        out.push('\n');
    }
    let mut unseen_any = false;
    for (cluster, why) in &seen.unseen {
        if only.is_some_and(|o| cluster.name.as_str() != o) {
            continue;
        }
        unseen_any = true;
        let heading = format!("{}  not seen: nobody of it answers", cluster.name);
        let _ = writeln!(out, "{}", style.paint(&heading, Tone::Bold));
        let rows: Vec<Vec<Cell>> = cluster
            .members
            .iter()
            .map(|name| {
                vec![
                    name.to_string().into(),
                    system_role(seen.system.as_ref(), name).into(),
                    Cell::new(format!("{} unknown", style.dot(Tone::Warn)), Tone::Warn),
                ]
            })
            .collect();
        out.push_str(&style.table(2, &rows));
        out.push_str(&style.wrap("  ", &clean(&why.message), Tone::Dim));
        out.push('\n');
    }
    if views.is_empty() && !unseen_any {
        out.push_str(&free(seen.system.as_ref(), style));
    }
    (out, unseen_any)
}

fn system_role(system: Option<&SystemDocument>, name: &NodeName) -> &'static str {
    match system.and_then(|s| s.node(name)).map(|n| n.role) {
        Some(SystemRole::Free) => "free",
        Some(SystemRole::Regular) => "regular",
        Some(SystemRole::Standby) => "standby",
        Some(SystemRole::Witness) => "witness",
        None => "",
    }
}

/// A system without clusters.
fn free(system: Option<&SystemDocument>, style: Style) -> String {
    let Some(system) = system.filter(|s| !s.nodes.is_empty()) else {
        return "no nodes and no clusters yet\n\n".to_owned();
    };
    let mut out = "no cluster yet; nodes in the system:\n".to_owned();
    let rows: Vec<Vec<Cell>> = system
        .nodes
        .iter()
        .map(|n| {
            vec![
                n.name.to_string().into(),
                system_role(Some(system), &n.name).into(),
                clean(&n.contact).into(),
            ]
        })
        .collect();
    out.push_str(&style.table(2, &rows));
    out.push('\n');
    out
}

/// One cluster.
pub fn cluster(view: &ClusterView, style: Style) -> String {
    let mut out = String::new();
    let safety = match view.safety {
        Safety::Available => "available",
        Safety::Exclusive => "exclusive",
    };
    let _ = writeln!(
        out,
        "{}  revision {}  {safety}{}  seen by {}",
        style.paint(view.name.as_str(), Tone::Bold),
        view.revision,
        if view.preloaded { "  preloaded" } else { "" },
        view.seen_by
    );
    let heading =
        |names: &[&str]| -> Vec<Cell> { names.iter().map(|n| Cell::new(*n, Tone::Dim)).collect() };
    let mut rows = vec![heading(&["NODE", "ROLE", "STATE", "HEARD", "ADDRESS"])];
    rows.extend(view.nodes.iter().flat_map(|n| node(n, view, style)));
    out.push_str(&style.table(2, &rows));
    for n in &view.nodes {
        for note in &n.notes {
            out.push_str(&style.wrap(&format!("    {}: ", n.name), &clean(note), Tone::Warn));
        }
    }
    out.push('\n');
    let mut rows = vec![heading(&[
        "SERVICE", "HOME", "RUNS ON", "STATE", "PRIO", "FALLBACK", "ADDRESS",
    ])];
    rows.extend(view.services.iter().flat_map(|s| service(s, style)));
    out.push_str(&style.table(2, &rows));
    for s in &view.services {
        out.push_str(&remarks(s, style));
    }
    let active: Vec<&AlarmView> = view.alarms.iter().filter(|a| a.active).collect();
    if !active.is_empty() {
        out.push('\n');
        for alarm in active {
            out.push_str(&self::alarm(alarm, style));
        }
    }
    out
}

/// Services of several clusters; in full: also what each node says.
pub fn services(found: &[(&ClusterView, &ServiceView)], full: bool, style: Style) -> String {
    let names = [
        "SERVICE", "HOME", "RUNS ON", "STATE", "PRIO", "FALLBACK", "ADDRESS",
    ];
    let mut rows: Vec<Vec<Cell>> = vec![names.iter().map(|n| Cell::new(*n, Tone::Dim)).collect()];
    rows.extend(found.iter().flat_map(|(_, s)| service(s, style)));
    let mut out = style.table(0, &rows);
    for (view, s) in found {
        out.push_str(&remarks(s, style));
        if full {
            let _ = writeln!(out, "    cluster {}, term {}", view.name, s.term);
            if !s.reason.is_empty() {
                out.push_str(&style.wrap("    why: ", &clean(&s.reason), Tone::Plain));
            }
            for (node, said) in &s.on {
                out.push_str(&style.wrap(&format!("    on {node}: "), &clean(said), Tone::Plain));
            }
        }
    }
    out
}

/// A node's part as a word.
pub const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Regular => "regular",
        Role::Standby => "standby",
        Role::Witness => "witness",
    }
}

/// A node's state as a word.
pub const fn node_word(state: NodeState) -> (&'static str, Tone) {
    match state {
        NodeState::Up => ("up", Tone::Good),
        NodeState::Suspect => ("suspect", Tone::Warn),
        NodeState::Down => ("down", Tone::Bad),
        NodeState::Leaving => ("leaving", Tone::Warn),
        NodeState::Unknown => ("unknown", Tone::Warn),
    }
}

/// A node's state as a cell.
pub fn node_state(state: NodeState, style: Style) -> Cell {
    let (word, tone) = node_word(state);
    Cell::new(format!("{} {word}", style.dot(tone)), tone)
}

/// A row with one address; each further one has a row of its own, so that none is cut.
pub fn with_addresses<'a>(
    row: Vec<Cell>,
    addresses: impl Iterator<Item = &'a str>,
) -> Vec<Vec<Cell>> {
    let mut rows = vec![row];
    let columns = rows[0].len();
    for (n, address) in addresses.enumerate() {
        if n > 0 {
            rows.push(vec![Cell::default(); columns]);
        }
        rows[n].push(clean(address).into());
    }
    rows
}

fn node(n: &NodeView, view: &ClusterView, style: Style) -> Vec<Vec<Cell>> {
    let role = role_word(n.role);
    let heard = match n.age_ms {
        _ if n.name == view.seen_by => "itself".to_owned(),
        Some(ms) => format!("{} ago", age(ms)),
        None => "never".to_owned(),
    };
    let row = vec![
        n.name.to_string().into(),
        role.into(),
        node_state(n.state, style),
        heard.into(),
    ];
    with_addresses(row, n.addresses.iter().map(String::as_str))
}

/// A service's state as a word.
pub const fn service_word(state: ServiceState) -> (&'static str, Tone) {
    match state {
        ServiceState::Running => ("running", Tone::Good),
        ServiceState::Starting => ("starting", Tone::Warn),
        ServiceState::Stopping => ("stopping", Tone::Warn),
        ServiceState::Stopped => ("stopped", Tone::Warn),
        ServiceState::Loading => ("loading", Tone::Warn),
        ServiceState::Preloaded => ("preloaded", Tone::Good),
        ServiceState::Displaced => ("displaced", Tone::Bad),
        ServiceState::Failed => ("failed", Tone::Bad),
        ServiceState::Blocked => ("blocked", Tone::Bad),
        ServiceState::Split => ("split", Tone::Bad),
        ServiceState::Unknown => ("unknown", Tone::Warn),
    }
}

/// A service's state as a cell.
pub fn service_state(state: ServiceState, style: Style) -> Cell {
    let (word, tone) = service_word(state);
    Cell::new(format!("{} {word}", style.dot(tone)), tone)
}

fn service(s: &ServiceView, style: Style) -> Vec<Vec<Cell>> {
    let at: Vec<&str> = s.running_on.iter().map(NodeName::as_str).collect();
    let home = s.running_on.as_slice() == std::slice::from_ref(&s.home);
    let runs = match (at.is_empty(), home) {
        (true, _) => Cell::new("nowhere", Tone::Bad),
        (_, true) => at.join(", ").into(),
        _ => Cell::new(format!("{} {}", style.arrow(), at.join(", ")), Tone::Warn),
    };
    let row = vec![
        s.name.to_string().into(),
        s.home.to_string().into(),
        runs,
        service_state(s.state, style),
        s.priority.to_string().into(),
        match s.fallback {
            Fallback::Manual => "manual",
            Fallback::Automatic => "automatic",
        }
        .into(),
    ];
    with_addresses(row, s.addresses.iter().map(|a| a.address.as_str()))
}

/// L4: a lock in one line.
pub fn lock(lock: &LockView) -> String {
    let mut text = format!(
        "locked to {} by {} since {}",
        lock.node,
        clean(&lock.by),
        date(lock.at)
    );
    if let Some(until) = lock.until {
        let _ = write!(text, " until {}", date(until));
    }
    if !lock.reason.is_empty() {
        let _ = write!(text, " ({})", clean(&lock.reason));
    }
    text
}

/// Lock (L4), and why it is as it is where that is not as it should be (F6).
fn remarks(s: &ServiceView, style: Style) -> String {
    let mut out = String::new();
    let first = format!("    {}: ", s.name);
    if let Some(lock) = &s.lock {
        let text = self::lock(lock);
        out.push_str(&style.wrap(&first, &text, Tone::Warn));
    }
    let at_home = s.running_on.as_slice() == std::slice::from_ref(&s.home);
    if !(s.reason.is_empty() || s.state == ServiceState::Running && at_home) {
        out.push_str(&style.wrap(&first, &clean(&s.reason), Tone::Plain));
    }
    if let Some(ms) = s.age_ms.filter(|ms| *ms >= 10_000) {
        out.push_str(&style.wrap(&first, &format!("last heard of {} ago", age(ms)), Tone::Dim));
    }
    out
}

/// How bad an alarm is, as a word.
pub const fn severity_word(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Warning => ("warning", Tone::Warn),
        Severity::Minor => ("minor", Tone::Warn),
        Severity::Major => ("major", Tone::Bad),
        Severity::Critical => ("critical", Tone::Bad),
    }
}

/// One alarm in two lines.
pub fn alarm(alarm: &AlarmView, style: Style) -> String {
    let how = format!("for {}", age(alarm.age_ms));
    let mut out = alarm_line(alarm, &how, style);
    if !alarm.quiet && !alarm.action.is_empty() {
        out.push_str(&style.wrap("            do: ", &clean(&alarm.action), Tone::Plain));
    }
    out
}

/// One alarm that is over; when, ms since 1970 UTC, as far as it is known.
pub fn past_alarm(alarm: &AlarmView, cleared: Option<u64>, style: Style) -> String {
    let mut how = past(alarm);
    if let Some(at) = cleared {
        let _ = write!(how, " {}", date(at / 1000));
    }
    alarm_line(alarm, &how, style)
}

/// Since when there was an alarm that is over.
pub fn past(alarm: &AlarmView) -> String {
    format!("raised {} ago, cleared", age(alarm.age_ms))
}

fn alarm_line(alarm: &AlarmView, how: &str, style: Style) -> String {
    let (word, tone) = severity_word(alarm.severity);
    let tone = if alarm.active { tone } else { Tone::Dim };
    let head = format!("{} ({}, {how})", clean(&alarm.cause), alarm.rule);
    style.wrap(&format!("  {:<9} ", word.to_uppercase()), &head, tone)
}

/// How much a cluster needs a human.
fn urgency(view: &ClusterView) -> Option<Severity> {
    let active = view.alarms.iter().filter(|a| a.active && !a.quiet);
    active.map(|a| a.severity).max()
}

/// U7: the last line.
fn now(
    views: &[&ClusterView],
    unseen: bool,
    system: Option<&SystemDocument>,
    style: Style,
) -> String {
    let (text, tone) = what_now(views, unseen, system);
    style.wrap("Now: ", &text, tone)
}

/// U7: what to do now, in one sentence.
pub fn what_now(
    views: &[&ClusterView],
    unseen: bool,
    system: Option<&SystemDocument>,
) -> (String, Tone) {
    let worst = views.iter().max_by_key(|v| urgency(v));
    let needing = views.iter().filter(|v| urgency(v).is_some()).count();
    let text = match worst.filter(|_| !unseen || needing > 0) {
        Some(view) => {
            let advice = clean(&view.advice);
            let advice = if advice.is_empty() { "nothing to do".to_owned() } else { advice };
            let named = if views.len() > 1 && needing > 0 {
                format!("{}: {advice}", view.name)
            } else {
                advice
            };
            match needing.saturating_sub(1) {
                0 => named,
                more => format!("{named} (then {more} more)"),
            }
        }
        None if unseen => "find out why no node of the cluster answers: power, network, sshd".to_owned(),
        None => match system {
            Some(s) if s.nodes.iter().any(|n| n.role == SystemRole::Standby) => {
                "create a cluster: `backstay cluster create`, or `backstay setup`, which goes on from here"
                    .to_owned()
            }
            Some(s) if !s.nodes.is_empty() => {
                "make one node the standby (`backstay node role N standby`), then `backstay cluster create`"
                    .to_owned()
            }
            _ => "add the first node: `backstay node add HOST --name N`".to_owned(),
        },
    };
    let tone = if urgency_of(worst) >= Some(Severity::Major) || unseen {
        Tone::Bad
    } else {
        Tone::Bold
    };
    (text, tone)
}

fn urgency_of(view: Option<&&ClusterView>) -> Option<Severity> {
    view.and_then(|v| urgency(v))
}
