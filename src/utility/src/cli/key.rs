//! `backstay key rotate`.

use std::collections::BTreeSet;
use std::time::Duration;

use backstay_core::model::{ClusterName, KeyStage, NodeName};
use backstay_core::plan::{Action, Aim, Goal, Secret};

use super::act::{Agreed, agree, bring_about, finish, plan_for};
use super::cluster::document_of;
use super::context::{Context, say};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::apply::Applied;
use crate::ops::catch_up::catch_up;
use crate::ops::preflight::{judge, preflight};
use crate::ops::watch::watch;
use crate::ops::{Picture, enrol};

/// How long a node that has just got the present keys may take until the others hear it.
const HEARD: Duration = Duration::from_secs(15);

/// Exchanges the key of one cluster, or of all of them, one after the other.
pub(super) fn rotate(context: &Context, only: Option<ClusterName>) -> Result<Exit, Failure> {
    let mut told = BTreeSet::new();
    let picture = gather(context, &mut told)?;
    let all = picture.clusters.iter().filter(|c| !c.deleted);
    let clusters: Vec<ClusterName> = match only {
        Some(cluster) => vec![cluster],
        None => all.map(|c| c.name.clone()).collect(),
    };
    if clusters.is_empty() && !context.json() {
        say("no clusters yet: there is no key to exchange\n");
    }
    for cluster in &clusters {
        one(context, cluster, &mut told)?;
    }
    Ok(Exit::Done)
}

/// What every node says, as often as it is asked; who does not answer is told once.
fn gather(context: &Context, told: &mut BTreeSet<NodeName>) -> Result<Picture, Failure> {
    let picture = context.gatherer()?.gather(&mut |_| {})?;
    for (name, error) in &picture.silent {
        if told.insert(name.clone()) {
            context.note(&format!("{name}: {error}"));
        }
    }
    Ok(picture)
}

fn action(cluster: &ClusterName) -> Result<Action, Failure> {
    Ok(Action::RotateKey {
        cluster: cluster.clone(),
        key: Secret(enrol::random_key()?),
    })
}

/// All steps that are missing (U6): agreed to once, each planned on what the nodes have by then.
fn one(
    context: &Context,
    cluster: &ClusterName,
    told: &mut BTreeSet<NodeName>,
) -> Result<(), Failure> {
    let mut picture = caught_up(context, cluster, told)?;
    if document_of(&picture, cluster).is_ok_and(|d| d.key_stage() != KeyStage::Settled) {
        context.note(&format!(
            "an exchange of the key of {cluster} was begun and not finished; it goes on from there"
        ));
    }
    let mut plan = match agree(context, &action(cluster)?, &mut picture)? {
        Agreed::End(_) => return Ok(()),
        Agreed::Go(plan, _) => plan,
    };
    let mut all = Applied::default();
    loop {
        let applied =
            bring_about(context, &plan, &mut picture).map_err(|f| unfinished(f, cluster))?;
        all.changed |= applied.changed;
        all.on = applied.on;
        all.behind = applied.behind;
        let left = plan
            .documents
            .iter()
            .any(|d| d.key_stage() != KeyStage::Settled);
        if !left {
            finish(context, &plan, &all, &format!("done: {}", plan.truth));
            return Ok(());
        }
        if context.cancel.is_set() {
            return Err(unfinished(Failure::cancelled(), cluster));
        }
        (picture, plan) = next(context, cluster, told)
            .map_err(|f| unfinished(f.changed(Changed::Yes), cluster))?;
        context.note(&plan.title);
    }
}

/// The next step, refused again where a member was lost meanwhile.
fn next(
    context: &Context,
    cluster: &ClusterName,
    told: &mut BTreeSet<NodeName>,
) -> Result<(Picture, Box<backstay_core::plan::Plan>), Failure> {
    let picture = gather(context, told)?;
    let action = action(cluster)?;
    let plan = plan_for(&action, &picture)?;
    let (problems, checks) = preflight(&action, &plan, &picture);
    judge(problems, &checks, &context.overrides())?;
    Ok((picture, Box::new(plan)))
}

/// Members that answer and were left behind by an earlier exchange get the present document first.
fn caught_up(
    context: &Context,
    cluster: &ClusterName,
    told: &mut BTreeSet<NodeName>,
) -> Result<Picture, Failure> {
    let mut picture = gather(context, told)?;
    let Ok(document) = document_of(&picture, cluster).cloned() else {
        return Ok(picture); // The plan refuses it.
    };
    if context.common.dry_run {
        return Ok(picture);
    }
    let nodes = catch_up(&document, &mut picture, &mut |line| context.note(line))?;
    if nodes.is_empty() {
        return Ok(picture);
    }
    let goal = Goal {
        aims: vec![Aim::Has {
            cluster: cluster.clone(),
            revision: document.revision,
            nodes: nodes.clone(),
        }],
    };
    let eyes: Vec<_> = (document.members.iter().map(|m| m.name.clone()))
        .filter(|name| !nodes.contains(name))
        .collect();
    let heard = watch(
        &goal,
        &mut picture.crew,
        &eyes,
        HEARD,
        &context.cancel,
        &mut |line| {
            context.note(line);
        },
    );
    // Who is still not heard is named by the plan.
    heard.or_else(|f| {
        if f.exit == Exit::Timeout {
            Ok(())
        } else {
            Err(f)
        }
    })?;
    gather(context, told)
}

fn unfinished(failure: Failure, cluster: &ClusterName) -> Failure {
    if failure.changed == Changed::No {
        return failure;
    }
    let message = format!(
        "the exchange of the key of {cluster} is begun and not finished: {}",
        failure.message
    );
    Failure { message, ..failure }.hint(format!(
        "nothing is disturbed meanwhile; `backstay key rotate {cluster}` goes on from there"
    ))
}
