//! `backstay key rotate`.

use std::collections::BTreeSet;
use std::time::Duration;

use backstay_core::model::{ClusterDocument, ClusterName, KeyStage, NodeName};
use backstay_core::plan::{Action, Aim, Goal, Secret, StepKind};

use super::act::{Agreed, agree, bring_about, finish, plan_for};
use super::cluster::document_of;
use super::context::{Context, say};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::apply::{Applied, list};
use crate::ops::catch_up::{behind, catch_up};
use crate::ops::front::Told;
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
    let mut done: Vec<&str> = Vec::new();
    for cluster in &clusters {
        match one(context, cluster, &mut told) {
            Ok(true) => done.push(cluster.as_str()),
            Ok(false) => {}
            Err(failure) if done.is_empty() => return Err(failure),
            Err(failure) => {
                let failure = failure.after_change();
                let done = done.join(", ");
                let message = format!("{}; the key of {done} is exchanged", failure.message);
                return Err(Failure { message, ..failure });
            }
        }
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

fn action(cluster: &ClusterName, behind: Vec<NodeName>) -> Result<Action, Failure> {
    Ok(Action::RotateKey {
        cluster: cluster.clone(),
        key: Secret(enrol::random_key()?),
        behind,
    })
}

/// All steps that are missing (U6): agreed to once, each planned on what the nodes have by then. Whether anything was
/// changed.
fn one(
    context: &Context,
    cluster: &ClusterName,
    told: &mut BTreeSet<NodeName>,
) -> Result<bool, Failure> {
    let mut picture = gather(context, told)?;
    // The plan refuses a cluster that is not there.
    let document = document_of(&picture, cluster).ok().cloned();
    let stage = document.as_ref().map(ClusterDocument::key_stage);
    if stage.is_some_and(|stage| stage != KeyStage::Settled) {
        context.note(&format!(
            "an exchange of the key of {cluster} was begun and not finished; it goes on from there"
        ));
    }
    let late = document.as_ref().map(|d| behind(d, &picture));
    let action = action(cluster, late.unwrap_or_default())?;
    let mut plan = match agree(context, &action, &mut picture)? {
        Agreed::End(_) => return Ok(false),
        Agreed::Go(plan, _) => plan,
    };
    context.guard();
    let mut so_far = None;
    let first = plan.steps.iter().find(|s| s.kind == StepKind::CatchUp);
    if let (Some(document), Some(first)) = (document, first.map(|s| s.on.clone())) {
        let report = &mut |told: &Told| context.told(told);
        let nodes = catch_up(&document, &first, &mut picture, &context.cancel, report)?;
        so_far = (!nodes.is_empty()).then(|| {
            format!(
                "{} got revision {} of {cluster}, and its key is not exchanged yet",
                list(&nodes),
                document.revision
            )
        });
        (picture, plan) = heard(context, &document, nodes, &mut picture)
            .and_then(|()| next(context, cluster, told))
            .map_err(|f| unfinished(f, so_far.take(), cluster))?;
    }
    let mut all = Applied::default();
    loop {
        let applied = bring_about(context, &plan, &mut picture)
            .map_err(|f| unfinished(f, so_far.take(), cluster))?;
        so_far = Some(begun(cluster));
        all.changed |= applied.changed;
        all.on = applied.on;
        all.behind = applied.behind;
        let left = plan
            .documents
            .iter()
            .any(|d| d.key_stage() != KeyStage::Settled);
        if !left {
            finish(context, &plan, &all, &format!("done: {}", plan.truth));
            return Ok(true);
        }
        let then = if context.cancel.is_set() {
            Err(Failure::cancelled())
        } else {
            next(context, cluster, told)
        };
        (picture, plan) = then.map_err(|f| unfinished(f, so_far.take(), cluster))?;
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
    let action = action(cluster, Vec::new())?;
    let plan = plan_for(&action, &picture)?;
    let (problems, checks) = preflight(&action, &plan, &picture);
    judge(problems, &checks, &context.overrides())?;
    Ok((picture, Box::new(plan)))
}

/// Waits until the others hear those who just got the present keys. Who is still not heard is named by the plan.
fn heard(
    context: &Context,
    document: &ClusterDocument,
    nodes: Vec<NodeName>,
    picture: &mut Picture,
) -> Result<(), Failure> {
    let eyes: Vec<_> = (document.members.iter().map(|m| m.name.clone()))
        .filter(|name| !nodes.contains(name))
        .collect();
    let goal = Goal {
        aims: vec![Aim::Has {
            cluster: document.name.clone(),
            revision: document.revision,
            nodes,
        }],
    };
    let (crew, cancel) = (&mut picture.crew, &context.cancel);
    let heard = watch(&goal, crew, &eyes, HEARD, cancel, &mut |line| {
        context.note(line);
    });
    heard.or_else(|f| {
        if f.exit == Exit::Timeout {
            Ok(())
        } else {
            Err(f)
        }
    })
}

fn begun(cluster: &ClusterName) -> String {
    format!("the exchange of the key of {cluster} is begun and not finished")
}

/// A failure, with what had taken effect before it.
fn unfinished(failure: Failure, so_far: Option<String>, cluster: &ClusterName) -> Failure {
    let (failure, so_far) = match (failure.changed, so_far) {
        (Changed::No, None) => return failure,
        (Changed::No, Some(so_far)) => (failure.after_change(), so_far),
        (_, None) => (failure, begun(cluster)),
        (_, Some(_)) => (failure.changed(Changed::Yes), begun(cluster)),
    };
    let message = format!("{so_far}: {}", failure.message);
    Failure { message, ..failure }.hint(format!(
        "nothing is disturbed meanwhile; `backstay key rotate {cluster}` goes on from there"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ctrl-C, a change lock, a refusal: whatever ends it after a step that took effect.
    #[test]
    fn u6_an_exchange_that_is_begun_never_says_that_nothing_was_changed() {
        let demo: ClusterName = "demo".parse().unwrap();
        for ends in [
            "; nothing was changed",
            "; abandoned everywhere, nothing was changed",
            "; nothing of yours was done",
        ] {
            let failure = Failure::new(Exit::Locked, format!("it ended{ends}"));
            let first = unfinished(failure.clone(), None, &demo);
            assert_eq!(first, failure, "the first step: nothing was");
            let later = unfinished(failure, Some(begun(&demo)), &demo);
            assert_eq!((later.exit, later.changed), (Exit::Locked, Changed::Yes));
            let said = &later.message;
            assert!(
                said.starts_with(
                    "the exchange of the key of demo is begun and not finished: it ended"
                ),
                "{said}"
            );
            assert!(!said.contains("nothing"), "{said}");
            assert!(
                later
                    .hint
                    .unwrap()
                    .contains("`backstay key rotate demo` goes on")
            );
        }
        let caught = "w1 got revision 7 of demo, and its key is not exchanged yet".to_owned();
        let after = unfinished(Failure::cancelled(), Some(caught.clone()), &demo);
        assert_eq!(after.message, format!("{caught}: cancelled"));
        assert_eq!(after.changed, Changed::Yes);
    }
}
