//! `backstay cluster ...`.

use std::time::Duration;

use backstay_core::model::{
    ClusterDocument, ClusterId, ClusterName, Fallback, Profile, Safety, SplitStops, WithoutMajority,
};
use backstay_core::plan::{Action, AddClusterNode, CreateCluster, Secret, SetCluster, commands};
use backstay_wire::rpc::clean;
use serde_json::json;
use std::fmt::Write as _;

use super::act::act;
use super::args::{
    ClusterVerb, FallbackArgument, ProfileArgument, SafetyArgument, SetSettings,
    SplitStopsArgument, WithoutMajorityArgument,
};
use super::context::{Context, say, say_json};
use super::spec::ServiceSpec;
use crate::failure::{Exit, Failure};
use crate::ops::gather::wall_ms;
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
    match verb {
        ClusterVerb::List => list(context),
        ClusterVerb::Show {
            cluster,
            as_commands: true,
        } => show_commands(context, &cluster),
        ClusterVerb::Show { cluster, .. } => show(context, &cluster),
        verb => act(context, |picture| action(verb, picture)).map(|()| Exit::Done),
    }
}

/// What a verb that changes something asks for.
pub(super) fn action(verb: ClusterVerb, picture: &Picture) -> Result<Action, Failure> {
    let fill = |specs: &[ServiceSpec]| {
        specs
            .iter()
            .map(|s| s.fill(picture))
            .collect::<Result<Vec<_>, Failure>>()
    };
    Ok(match verb {
        ClusterVerb::List | ClusterVerb::Show { .. } => {
            return Err(Failure::new(Exit::Usage, "it only looks"));
        }
        ClusterVerb::Create {
            cluster,
            standby,
            witness,
            service,
            settings,
        } => Action::CreateCluster(CreateCluster {
            name: cluster,
            standby,
            witnesses: witness,
            services: fill(&service)?,
            id: ClusterId(enrol::random()?),
            key: Secret(enrol::random_key()?),
            safety: settings.safety.map(safety),
            profile: profile(settings.profile),
            fallback: fallback(settings.fallback),
            split_stops: split_stops(settings.split_stops),
            reference: settings.reference.0,
            links: settings.link,
        }),
        ClusterVerb::Delete { cluster } => Action::DeleteCluster { cluster },
        ClusterVerb::AddNode {
            cluster,
            node,
            service,
        } => Action::AddClusterNode(AddClusterNode {
            cluster,
            node,
            services: fill(&service)?,
        }),
        ClusterVerb::RemoveNode { cluster, node } => Action::RemoveClusterNode { cluster, node },
        ClusterVerb::Set { cluster, settings } => Action::SetCluster(set(cluster, settings)),
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
        home_healthy_ms: settings.home_healthy.map(whole_ms),
        clocks_within_ms: settings.clocks_within.map(whole_ms),
        moves_per_hour: settings.moves_per_hour,
        links: settings.link,
        no_links: settings.no_link,
        ..SetCluster::of(cluster)
    }
}

fn whole_ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
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

/// The cluster's document among what was found.
pub(super) fn document_of<'p>(
    picture: &'p Picture,
    name: &ClusterName,
) -> Result<&'p ClusterDocument, Failure> {
    living(picture).find(|c| c.name == *name).ok_or_else(|| {
        Failure::new(
            Exit::Error,
            format!("no node that answers knows a cluster {name}"),
        )
        .hint("`backstay cluster list` shows them")
    })
}

/// U3: the command lines that make a cluster like this one.
fn show_commands(context: &Context, name: &ClusterName) -> Result<Exit, Failure> {
    let picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let found = commands(document_of(&picture, name)?, wall_ms() / 1000);
    if context.json() {
        let body = json!({"cluster": name, "commands": found.lines, "beyond": found.beyond});
        say_json(&json::document("ClusterCommands", body), false);
        return Ok(partly(&picture));
    }
    let mut text = found.lines.join("\n") + "\n";
    if !found.beyond.is_empty() {
        let beyond = clean(&found.beyond.join("; "));
        let _ = writeln!(text, "# no flag says: {beyond}");
        let _ = writeln!(
            text,
            "# the whole: backstay cluster show {name} > {name}.toml, then backstay apply -f {name}.toml"
        );
    }
    say(&text);
    Ok(partly(&picture))
}

fn show(context: &Context, name: &ClusterName) -> Result<Exit, Failure> {
    let picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let document = document_of(&picture, name)?;
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
