//! `backstay service ...`.

use backstay_core::engine::{ClusterView, ServiceView};
use backstay_core::model::{ClusterDocument, Failover, ServiceName};
use backstay_core::plan::{Action, SetService, Target};
use backstay_wire::rpc::{Request, Text, clean};
use serde_json::json;

use super::act::act;
use super::args::{FailoverArgument, ServiceVerb};
use super::cluster::fallback;
use super::context::{Context, say, say_json};
use crate::failure::{Exit, Failure};
use crate::ops::gather::{Seen, wall_ms};
use crate::output::style::Tone;
use crate::output::{json, status};

/// Runs a verb.
pub(super) fn run(context: &Context, verb: ServiceVerb) -> Result<Exit, Failure> {
    match verb {
        ServiceVerb::List => list(context, None),
        ServiceVerb::Show { service } => list(context, Some(&service)),
        verb => act(context, |_| action(verb)).map(|()| Exit::Done),
    }
}

/// What a verb that changes something asks for.
pub(super) fn action(verb: ServiceVerb) -> Result<Action, Failure> {
    Ok(match verb {
        ServiceVerb::List | ServiceVerb::Show { .. } => {
            return Err(Failure::new(Exit::Usage, "it only looks"));
        }
        ServiceVerb::Set { service, settings } => Action::SetService(SetService {
            priority: settings.priority,
            fallback: settings.fallback.map(fallback),
            failover: settings.failover.map(|f| match f {
                FailoverArgument::Auto => Failover::Automatic,
                FailoverArgument::Ordered => Failover::Ordered,
            }),
            files: settings.file,
            no_files: settings.no_file,
            ..SetService::of(service)
        }),
        ServiceVerb::Move { service, to } => {
            let to = match to.as_str() {
                "home" => Target::Home,
                "standby" => Target::Standby,
                node => Target::Node(
                    node.parse()
                        .map_err(|e| Failure::new(Exit::Usage, format!("{e}")))?,
                ),
            };
            Action::Move { service, to }
        }
        ServiceVerb::Lock {
            service,
            time,
            reason,
        } => Action::Lock {
            service,
            reason,
            until: time.map(|t| wall_ms() / 1000 + t.as_secs().max(1)),
        },
        ServiceVerb::Unlock { service } => Action::Unlock { service },
        ServiceVerb::Start { service, on } => Action::Start { service, on },
        ServiceVerb::Stop { service } => Action::Stop { service },
    })
}

/// C9: a service's static files, which stand in the document only.
fn files_of(seen: &mut Seen, service: &ServiceName) -> Vec<String> {
    let of = |v: &&ClusterView| v.services.iter().any(|s| s.name == *service);
    let Some(cluster) = seen.views.iter().find(of).map(|v| v.name.clone()) else {
        return Vec::new();
    };
    let mut documents = (seen.sessions.iter_mut()).filter_map(|client| {
        let cluster = cluster.clone();
        let text = client.call::<Text>(Request::DocumentGet { cluster }).ok()?;
        ClusterDocument::read(&text.text).ok()
    });
    let document = documents.find(|d| d.services.iter().any(|s| s.name == *service));
    let services = document.into_iter().flat_map(|d| d.services);
    let mut services = services.filter(|s| s.name == *service);
    services.next().map(|s| s.files).unwrap_or_default()
}

fn list(context: &Context, only: Option<&ServiceName>) -> Result<Exit, Failure> {
    let mut seen = context.gatherer()?.status()?;
    let wanted = |s: &&ServiceView| only.is_none_or(|o| s.name == *o);
    let files = match only {
        Some(only) => files_of(&mut seen, only),
        None => Vec::new(),
    };
    let found: Vec<(&ClusterView, &ServiceView)> = seen
        .views
        .iter()
        .flat_map(|v| v.services.iter().map(move |s| (v, s)))
        .filter(|(_, s)| wanted(s))
        .collect();
    if let Some(only) = only
        && found.is_empty()
    {
        return Err(Failure::new(
            if seen.unseen.is_empty() {
                Exit::Error
            } else {
                Exit::Unreachable
            },
            format!("no cluster that answers has a service {only}"),
        )
        .hint("`backstay service list` shows them"));
    }
    if context.json() {
        let items: Vec<_> = found
            .iter()
            .map(|(view, service)| {
                let mut value = json!(service);
                value["cluster"] = json!(view.name);
                if only.is_some() {
                    value["files"] = json!(files);
                }
                value
            })
            .collect();
        let document = match (only, items.first()) {
            (Some(_), Some(one)) => json::document("Service", one),
            _ => json::document("ServiceList", json!({"services": items})),
        };
        say_json(&document, false);
    } else if found.is_empty() {
        say("no services yet\n");
    } else {
        let mut text = status::services(&found, only.is_some(), context.style);
        for file in &files {
            let file = clean(file);
            text.push_str(
                &context
                    .style
                    .wrap("    same everywhere: ", &file, Tone::Plain),
            );
        }
        say(&text);
    }
    Ok(if seen.unseen.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}
