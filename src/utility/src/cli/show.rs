//! Looking: status, alarms, history, audit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use backstay_core::engine::{AlarmView, ClusterView};
use backstay_core::model::{ClusterName, NodeName, ServiceName};
use backstay_wire::rpc::{Audit, AuditEntry, History, HistoryEntry, Request};
use serde_json::json;

use super::context::{Context, say, say_json};
use crate::failure::{Exit, Failure};
use crate::ops::gather::{Seen, wall_ms};
use crate::ops::lookout::{self, News};
use crate::ops::{Gatherer, Picture};
use crate::output::status::Stale;
use crate::output::{audit as audits, history as timelines, json, lists, status as pictures};
use crate::remote::RemoteError;

/// How often what is watched is shown.
const EVERY: Duration = Duration::from_millis(500);
/// So far back the end of an alarm is looked for, in decisions of each node.
const OF_ALARMS: u32 = 1_000;
/// From this age on what is watched says how old it is.
const STALE: Duration = Duration::from_secs(3);

/// `status [CLUSTER] [--watch]`.
pub(super) fn status(
    context: &Context,
    only: Option<&ClusterName>,
    watch: bool,
) -> Result<Exit, Failure> {
    let gatherer = context.gatherer()?;
    if watch {
        context.guard();
        return watch_status(context, gatherer, only).map(|()| Exit::Done);
    }
    let seen = gatherer.status()?;
    if let Some(only) = only
        && !seen.views.iter().any(|v| v.name == *only)
        && !seen.unseen.iter().any(|(c, _)| c.name == *only)
    {
        return Err(no_cluster(only, seen.views.iter().map(|v| &v.name)));
    }
    show_status(context, &seen, only, false);
    let partly = seen
        .unseen
        .iter()
        .any(|(c, _)| only.is_none_or(|o| c.name == *o));
    Ok(if partly { Exit::Partly } else { Exit::Done })
}

fn no_cluster<'a>(wanted: &ClusterName, there: impl Iterator<Item = &'a ClusterName>) -> Failure {
    let names: Vec<&str> = there.map(ClusterName::as_str).collect();
    let failure = Failure::new(Exit::Error, format!("there is no cluster {wanted}"));
    if names.is_empty() {
        failure.hint("there are none yet: `backstay cluster create`")
    } else {
        failure.hint(format!("there is: {}", names.join(", ")))
    }
}

fn show_status(context: &Context, seen: &Seen, only: Option<&ClusterName>, one_line: bool) {
    let only = only.map(ClusterName::as_str);
    if context.json() {
        say_json(&json::status(seen, only), one_line);
    } else {
        say(&pictures::status(seen, only, context.style));
    }
}

fn watch_status(
    context: &Context,
    gatherer: Gatherer,
    only: Option<&ClusterName>,
) -> Result<(), Failure> {
    let heard = lookout::keep(gatherer, context.cancel.clone())?;
    let mut watch = Watch {
        context,
        only,
        terminal: std::io::stdout().is_terminal() && !context.json(),
        last: None,
        silent: Vec::new(),
        failed: None,
        told: None,
    };
    while !context.cancel.is_set() {
        match heard.recv_timeout(EVERY) {
            Ok(news) => watch.take(news),
            // What is shown grows older by itself.
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        watch.show();
    }
    Ok(())
}

/// What is shown while status is watched.
struct Watch<'c> {
    context: &'c Context,
    only: Option<&'c ClusterName>,
    terminal: bool,
    /// What was seen last, when, and when that was by the wall clock, s since 1970 UTC.
    last: Option<(Seen, Instant, u64)>,
    /// Who did not answer since.
    silent: Vec<String>,
    /// Why nobody answers.
    failed: Option<Failure>,
    /// What was said last where each thing is said once.
    told: Option<String>,
}

impl Watch<'_> {
    fn take(&mut self, news: News) {
        match news {
            News::Seen(seen) => {
                self.last = Some((*seen, Instant::now(), wall_ms() / 1000));
                (self.silent, self.failed) = (Vec::new(), None);
            }
            News::Silent(names) => self.silent = names,
            News::Failed(failure) => self.failed = Some(failure),
        }
    }

    /// U7: from so old on it is told how old it is; what is too old is not shown any more.
    fn stale(&self) -> Option<Stale<'_>> {
        let (_, at, wall) = self.last.as_ref()?;
        let age = at.elapsed();
        (age >= STALE).then(|| Stale {
            wall: *wall,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            silent: &self.silent,
        })
    }

    fn show(&mut self) {
        let stale = self.stale();
        let text = match (&self.last, &self.failed) {
            (None, None) => return,
            (None, Some(failure)) => self.failure(failure),
            // Where lines stay, an old picture would be read as a new one.
            (Some(_), Some(failure)) if !self.terminal => self.failure(failure),
            (Some((seen, ..)), Some(failure)) => {
                self.picture(seen, stale.as_ref()) + &self.failure(failure)
            }
            (Some(_), None) if stale.is_some() && self.context.json() => return,
            (Some((seen, ..)), None) => self.picture(seen, stale.as_ref()),
        };
        if self.terminal {
            // Home, the text with each line's rest erased, everything below erased: no flicker.
            let lines = text.replace('\n', "\u{1b}[K\r\n");
            say(&format!("\u{1b}[H{lines}\u{1b}[J"));
            return;
        }
        // In a file or a pipe only what is new is worth lines; that time passes is not.
        let key = match (&self.last, &self.failed) {
            (Some((seen, ..)), None) => {
                let how = stale.map(|s| s.silent.to_vec());
                format!("{:?} {how:?}", without_ages(seen, self.only))
            }
            (_, failed) => format!("{failed:?}"),
        };
        if self.told.as_ref() != Some(&key) {
            say(&text);
        }
        self.told = Some(key);
    }

    fn picture(&self, seen: &Seen, stale: Option<&Stale<'_>>) -> String {
        let only = self.only.map(ClusterName::as_str);
        if self.context.json() {
            json::status(seen, only).to_string() + "\n"
        } else {
            pictures::status_as_of(seen, only, stale, self.context.style)
        }
    }

    fn failure(&self, failure: &Failure) -> String {
        if self.context.json() {
            json::failure(failure).to_string() + "\n"
        } else {
            lists::failure(failure, self.context.style)
        }
    }
}

/// What is seen, but for how old it is.
fn without_ages(seen: &Seen, only: Option<&ClusterName>) -> (Vec<ClusterView>, usize) {
    let wanted = seen
        .views
        .iter()
        .filter(|v| only.is_none_or(|o| v.name == *o));
    let mut views: Vec<ClusterView> = wanted.cloned().collect();
    for view in &mut views {
        for node in &mut view.nodes {
            node.age_ms = node.age_ms.map(|_| 0);
        }
        for service in &mut view.services {
            service.age_ms = service.age_ms.map(|_| 0);
        }
        for alarm in &mut view.alarms {
            alarm.age_ms = 0;
        }
    }
    (views, seen.unseen.len())
}

/// `alarm list`.
pub(super) fn alarms(context: &Context) -> Result<Exit, Failure> {
    let seen = context.gatherer()?.status()?;
    let mut all: Vec<(&ClusterName, &AlarmView)> = seen
        .views
        .iter()
        .flat_map(|v| v.alarms.iter().map(move |a| (&v.name, a)))
        .collect();
    all.sort_by_key(|(_, a)| (!a.active, std::cmp::Reverse(a.severity)));
    if context.json() {
        let items: Vec<_> = all
            .iter()
            .map(|(cluster, alarm)| {
                let mut value = json!(alarm);
                value["cluster"] = json!(cluster);
                value
            })
            .collect();
        say_json(
            &json::document("AlarmList", json!({"alarms": items})),
            false,
        );
    } else if all.is_empty() {
        say("no alarms\n");
    } else {
        say(&alarm_text(context, &all));
    }
    Ok(if seen.unseen.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

/// First those that are there; then those that are over, with when, as the nodes have written it down.
fn alarm_text(context: &Context, all: &[(&ClusterName, &AlarmView)]) -> String {
    let mut text = String::new();
    let (there, over): (Vec<_>, Vec<_>) = all.iter().partition(|(_, a)| a.active);
    if there.is_empty() {
        text.push_str("no alarms now\n");
    }
    for (cluster, alarm) in there {
        let _ = writeln!(text, "{cluster}:");
        text.push_str(&pictures::alarm(alarm, context.style));
    }
    if over.is_empty() {
        return text;
    }
    // Without it they are told without a time.
    let entries = decisions(context, None, OF_ALARMS).map_or_else(|_| Vec::new(), |d| d.0);
    text.push_str("\nno longer:\n");
    for (cluster, alarm) in over {
        let cleared = timelines::cleared(&entries, cluster, &alarm.cause);
        let _ = writeln!(text, "{cluster}:");
        text.push_str(&pictures::past_alarm(alarm, cleared, context.style));
    }
    text
}

/// Asks every node that answers for something of its own.
fn of_every_node<T: Send + 'static>(
    context: &Context,
    picture: &mut Picture,
    ask: impl Fn(&NodeName, &mut crate::remote::Client) -> Result<T, RemoteError>
    + Send
    + Sync
    + 'static,
) -> (BTreeMap<NodeName, T>, Exit) {
    let names: Vec<NodeName> = picture.crew.names().cloned().collect();
    let mut got = BTreeMap::new();
    let mut exit = if picture.silent.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    };
    for (name, answer) in picture.crew.each(&names, ask) {
        match answer {
            Ok(value) => {
                got.insert(name, value);
            }
            Err(error) => {
                context.note(&format!("{name}: {error}"));
                exit = Exit::Partly;
            }
        }
    }
    (got, exit)
}

/// The decisions of every node that answers, and the sessions that were used.
pub(crate) fn decisions(
    context: &Context,
    service: Option<&ServiceName>,
    limit: u32,
) -> Result<(Vec<HistoryEntry>, Exit, Picture), Failure> {
    let mut picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let request = Request::History {
        service: service.cloned(),
        limit,
        follow: false,
    };
    let (got, exit) = of_every_node(context, &mut picture, move |_, client| {
        client.call::<History>(request.clone())
    });
    let entries = got.into_values().flat_map(|h| h.entries).collect();
    Ok((entries, exit, picture))
}

/// `history [S] [--follow]`.
pub(super) fn history(
    context: &Context,
    service: Option<&ServiceName>,
    limit: u32,
    follow: bool,
) -> Result<Exit, Failure> {
    let (entries, exit, picture) = decisions(context, service, limit)?;
    if context.json() && !follow {
        let body = json!({"entries": sorted(entries)});
        say_json(&json::document("History", body), false);
    } else if context.json() {
        for entry in sorted(entries) {
            say_json(&json::document("HistoryEntry", entry), true);
        }
    } else {
        say(&timelines::history(&entries, context.full(), context.style));
    }
    if !follow {
        return Ok(exit);
    }
    context.guard();
    follow_history(context, picture, service);
    Ok(Exit::Done)
}

fn sorted(mut entries: Vec<HistoryEntry>) -> Vec<HistoryEntry> {
    entries.sort_by_key(|e| (e.wall_ms, e.node.clone(), e.id));
    entries
}

/// One thread for each node's session; this one shows what comes.
fn follow_history(context: &Context, mut picture: Picture, service: Option<&ServiceName>) {
    let (said, heard) = mpsc::channel::<Result<HistoryEntry, String>>();
    let names: Vec<NodeName> = picture.crew.names().cloned().collect();
    for name in names {
        let Some(mut client) = picture.crew.remove(&name) else {
            continue;
        };
        let (said, cancel) = (said.clone(), context.cancel.clone());
        let request = Request::History {
            service: service.cloned(),
            limit: 1,
            follow: true,
        };
        std::thread::spawn(move || {
            let mut first = true;
            let end = client.stream(
                request,
                Duration::from_millis(200),
                |part: Option<FollowPart>| {
                    for entry in part.map(FollowPart::entries).unwrap_or_default() {
                        // The newest of before was shown with the others.
                        if std::mem::take(&mut first) {
                            continue;
                        }
                        if said.send(Ok(entry)).is_err() {
                            return ControlFlow::Break(());
                        }
                    }
                    if cancel.is_set() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                },
            );
            if let Err(error) = end {
                // Nobody listens any more when the program ends.
                let _ = said.send(Err(format!("{name} can't be followed any more: {error}")));
            }
        });
    }
    drop(said);
    while !context.cancel.is_set() {
        match heard.recv_timeout(Duration::from_millis(200)) {
            Ok(Ok(entry)) if context.json() => {
                say_json(&json::document("HistoryEntry", entry), true);
            }
            Ok(Ok(entry)) => say(&timelines::line(&entry, context.style)),
            Ok(Err(why)) => context.note(&why),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What comes as progress: one entry, or several.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum FollowPart {
    Several(History),
    One(Box<HistoryEntry>),
}

impl FollowPart {
    fn entries(self) -> Vec<HistoryEntry> {
        match self {
            Self::Several(history) => history.entries,
            Self::One(entry) => vec![*entry],
        }
    }
}

/// `audit`.
pub(super) fn audit(context: &Context, limit: u32) -> Result<Exit, Failure> {
    let mut picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let (got, exit) = of_every_node(context, &mut picture, move |_, client| {
        client.call::<Audit>(Request::Audit { limit })
    });
    let mut all: Vec<(String, AuditEntry)> = got
        .into_iter()
        .flat_map(|(name, audit)| {
            audit
                .entries
                .into_iter()
                .map(move |e| (name.to_string(), e))
        })
        .collect();
    all.sort_by_key(|(_, e)| e.wall_ms);
    if context.json() {
        let items: Vec<_> = all
            .iter()
            .map(|(node, entry)| {
                let mut value = json!(entry);
                value["node"] = json!(node);
                value
            })
            .collect();
        say_json(&json::document("Audit", json!({"entries": items})), false);
    } else {
        say(&audits::audit(&all, context.full(), context.style));
    }
    Ok(exit)
}
