//! `backstay cluster ...`.

use backstay_core::model::{
    ClusterDocument, ClusterId, ClusterName, Fallback, Profile, Safety, SplitStops, WithoutMajority,
};
use backstay_core::plan::{Action, AddClusterNode, CreateCluster, Secret, SetCluster};
use serde_json::json;
use std::fmt::Write as _;

use super::act::act;
use super::args::{
    ClusterVerb, CreateSettings, FallbackArgument, ProfileArgument, SafetyArgument, SetSettings,
    SplitStopsArgument, WithoutMajorityArgument,
};
use super::context::{Context, say, say_json};
use super::spec::ServiceSpec;
use crate::failure::{Exit, Failure};
use crate::ops::{Picture, enrol};
use crate::output::lists::heading;
use crate::output::{json, lists};

pub(super) const fn fallback(argument: FallbackArgument) -> Fallback {
    match argument {
        FallbackArgument::Auto => Fallback::Automatic,
        FallbackArgument::Manual => Fallback::Manual,
    }
}

const fn profile(argument: ProfileArgument) -> Profile {
    match argument {
        ProfileArgument::Fast => Profile::Fast,
        ProfileArgument::Lan => Profile::Lan,
        ProfileArgument::Vm => Profile::Vm,
        ProfileArgument::Wan => Profile::Wan,
    }
}

const fn safety(argument: SafetyArgument) -> Safety {
    match argument {
        SafetyArgument::Available => Safety::Available,
        SafetyArgument::Exclusive => Safety::Exclusive,
    }
}

const fn split_stops(argument: SplitStopsArgument) -> SplitStops {
    match argument {
        SplitStopsArgument::Home => SplitStops::Home,
        SplitStopsArgument::Standby => SplitStops::Standby,
    }
}

/// Runs a verb.
pub(super) fn run(context: &Context, verb: ClusterVerb) -> Result<Exit, Failure> {
    let done = match verb {
        ClusterVerb::List => return list(context),
        ClusterVerb::Show { cluster } => return show(context, &cluster),
        ClusterVerb::Create {
            cluster,
            standby,
            witness,
            service,
            settings,
        } => act(context, |picture| {
            Ok(Action::CreateCluster(CreateCluster {
                name: cluster,
                standby,
                witnesses: witness,
                ..create(picture, &service, &settings)?
            }))
        }),
        ClusterVerb::Delete { cluster } => act(context, |_| Ok(Action::DeleteCluster { cluster })),
        ClusterVerb::AddNode {
            cluster,
            node,
            service,
        } => act(context, |picture| {
            Ok(Action::AddClusterNode(AddClusterNode {
                cluster,
                node,
                services: service
                    .iter()
                    .map(|s| s.fill(picture))
                    .collect::<Result<_, _>>()?,
            }))
        }),
        ClusterVerb::RemoveNode { cluster, node } => {
            act(context, |_| Ok(Action::RemoveClusterNode { cluster, node }))
        }
        ClusterVerb::Set { cluster, settings } => {
            act(context, |_| Ok(Action::SetCluster(set(cluster, settings))))
        }
    };
    done.map(|()| Exit::Done)
}

/// Everything of a new cluster but its name and nodes, which are filled in by the caller.
fn create(
    picture: &Picture,
    services: &[ServiceSpec],
    settings: &CreateSettings,
) -> Result<CreateCluster, Failure> {
    let unnamed = || Failure::new(Exit::Error, "a name could not be made");
    Ok(CreateCluster {
        name: "unnamed".parse().map_err(|_| unnamed())?,
        id: ClusterId(enrol::random()?),
        key: Secret(enrol::random_key()?),
        standby: "unnamed".parse().map_err(|_| unnamed())?,
        witnesses: Vec::new(),
        services: services
            .iter()
            .map(|s| s.fill(picture))
            .collect::<Result<_, _>>()?,
        safety: settings.safety.map(safety),
        profile: profile(settings.profile),
        fallback: fallback(settings.fallback),
        split_stops: split_stops(settings.split_stops),
        reference: settings.reference.0,
    })
}

fn set(cluster: ClusterName, settings: SetSettings) -> SetCluster {
    SetCluster {
        fallback: settings.fallback.map(fallback),
        profile: settings.profile.map(profile),
        safety: settings.safety.map(safety),
        split_stops: settings.split_stops.map(split_stops),
        without_majority: settings.without_majority.map(|w| match w {
            WithoutMajorityArgument::Stop => WithoutMajority::Stop,
            WithoutMajorityArgument::Keep => WithoutMajority::Keep,
        }),
        arbiter: settings.arbiter,
        reference: settings.reference.map(|r| r.0),
        // What does not fit is refused by the rule, which names the range.
        home_healthy_ms: settings
            .home_healthy
            .map(|t| u32::try_from(t.as_millis()).unwrap_or(u32::MAX)),
        ..SetCluster::of(cluster)
    }
}

fn partly(picture: &Picture) -> Exit {
    if picture.silent.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    }
}

fn living(picture: &Picture) -> impl Iterator<Item = &ClusterDocument> {
    picture.clusters.iter().filter(|c| !c.deleted)
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    if context.json() {
        let items: Vec<_> = living(&picture)
            .map(|c| {
                json!({
                    "name": c.name, "id": c.id, "revision": c.revision, "safety": c.safety,
                    "nodes": c.members.iter().map(|m| &m.name).collect::<Vec<_>>(),
                    "services": c.services.iter().map(|s| &s.name).collect::<Vec<_>>(),
                })
            })
            .collect();
        say_json(
            &json::document("ClusterList", json!({"clusters": items})),
            false,
        );
    } else if living(&picture).next().is_none() {
        say("no clusters yet\n");
    } else {
        let mut rows = vec![heading(&["CLUSTER", "REVISION", "NODES", "SERVICES"])];
        rows.extend(living(&picture).map(|c| {
            let nodes: Vec<&str> = c.members.iter().map(|m| m.name.as_str()).collect();
            let services: Vec<&str> = c.services.iter().map(|s| s.name.as_str()).collect();
            vec![
                c.name.to_string().into(),
                c.revision.to_string().into(),
                nodes.join(" ").into(),
                services.join(" ").into(),
            ]
        }));
        say(&context.style.table(0, &rows));
    }
    Ok(partly(&picture))
}

fn show(context: &Context, name: &ClusterName) -> Result<Exit, Failure> {
    let picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let Some(document) = living(&picture).find(|c| c.name == *name) else {
        return Err(Failure::new(
            Exit::Error,
            format!("no node that answers knows a cluster {name}"),
        )
        .hint("`backstay cluster list` shows them"));
    };
    // U6: which nodes have which revision, and what was staged and never committed.
    let revisions: Vec<_> = picture
        .hellos
        .iter()
        .filter_map(|(node, hello)| Some((node, hello.clusters.get(name)?, hello.staged.get(name))))
        .collect();
    if context.json() {
        let nodes: Vec<_> = revisions
            .iter()
            .map(|(node, revision, staged)| json!({"name": node, "revision": revision, "staged": staged}))
            .collect();
        let body = json!({"document": document.without_secrets(), "nodes": nodes});
        say_json(&json::document("Cluster", body), false);
    } else {
        let mut text = lists::document(document);
        text.push('\n');
        for (node, revision, staged) in revisions {
            let staged = staged.map_or_else(String::new, |s| {
                format!(", revision {s} was staged and never committed: it did not take effect")
            });
            let _ = writeln!(text, "# {node} has revision {revision}{staged}");
        }
        say(&text);
    }
    Ok(partly(&picture))
}
