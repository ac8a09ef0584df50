//! One way for every action: gather, plan, preflight, show, confirm, apply, watch.

use backstay_core::model::{NodeName, Problem};
use backstay_core::plan::{Action, MEMBER_AWAY, Plan, Situation, StepKind, plan};
use serde_json::json;

use super::context::{Context, say, say_json, who};
use super::packages;
use crate::failure::{Exit, Failure};
use crate::ops::apply::{Applied, apply, list, seers};
use crate::ops::front::{Stage, Told};
use crate::ops::gather::wall_ms;
use crate::ops::preflight::{Check, judge, preflight};
use crate::ops::watch::watch;
use crate::ops::{Cancel, Picture, contact, needs};
use crate::output::{json, plan as shown};

/// Does an action from beginning to end; `build` makes it from what was found.
///
/// # Errors
/// In one sentence, with whether anything was changed.
pub(super) fn act(
    context: &Context,
    build: impl FnOnce(&Picture) -> Result<Action, Failure>,
) -> Result<(), Failure> {
    let gatherer = context.gatherer()?;
    let mut picture = gatherer.gather(&mut |line| context.note(line))?;
    let action = build(&picture)?;
    carry_out(context, &action, &mut picture).map(|_| ())
}

/// The plan for an action as things are.
///
/// # Errors
/// [`Exit::Refused`] with every problem.
pub(super) fn plan_for(action: &Action, picture: &Picture) -> Result<Plan, Failure> {
    let system = picture.system();
    let views = picture.best_views();
    let bases = picture.bases();
    let boot = picture.boot();
    let situation = Situation {
        system: &system,
        clusters: &picture.clusters,
        views: &views,
        bases: &bases,
        boot: &boot,
        by: &who(),
        wall: wall_ms() / 1000,
    };
    plan(action, &situation).map_err(|problems| {
        Failure::new(Exit::Refused, "refused by the rules; nothing was changed").problems(problems)
    })
}

/// How an action ended.
pub(super) enum End {
    /// Only shown.
    Dry,
    /// There was nothing to change.
    Nothing,
    /// Done, and come about.
    Done,
}

/// U11: whoever may only look is told so before anything is asked. The agents refuse it whatever is said here.
///
/// # Errors
/// [`Exit::Refused`], naming a node that knows the key as a viewer's.
pub(super) fn may_change(picture: &Picture) -> Result<(), Failure> {
    match picture.hellos.iter().find(|(_, hello)| hello.viewer) {
        None => Ok(()),
        Some((node, _)) => Err(Failure::new(
            Exit::Refused,
            format!(
                "you may look only (U11): {node} knows this key as a viewer's; nothing was changed"
            ),
        )
        .hint(
            "an administrator's key may change things: name it with --identity, without --viewer",
        )),
    }
}

/// From the plan to the end.
///
/// # Errors
/// In one sentence, with whether anything was changed.
pub(super) fn carry_out(
    context: &Context,
    action: &Action,
    picture: &mut Picture,
) -> Result<End, Failure> {
    match agree(context, action, picture)? {
        Agreed::End(end) => Ok(end),
        Agreed::Go(plan, installed) => {
            carry_through(context, &plan, picture).map_err(packages::told(installed))
        }
    }
}

/// What came of showing a plan.
pub(super) enum Agreed {
    /// Nothing is to be done.
    End(End),
    /// It is to be carried out; whether packages were installed for it.
    Go(Box<Plan>, bool),
}

/// From the plan to the admin's yes.
///
/// # Errors
/// Refused, or the admin said no; nothing was changed.
pub(super) fn agree(
    context: &Context,
    action: &Action,
    picture: &mut Picture,
) -> Result<Agreed, Failure> {
    may_change(picture)?;
    let (mut plan, mut problems, mut checks) = looked_at(action, picture)?;
    let overrides = context.overrides();
    show_plan(context, &plan, &checks);
    let mut installed = false;
    if problems.is_empty() {
        installed = packages::offer(context, &mut plan, picture, (&checks, true))?;
    }
    if installed {
        (problems, checks) = preflight(action, &plan, picture);
        if let Some(front) = &context.front {
            front.plan(&plan, &checks);
        }
    }
    let told = packages::told(installed);
    judge(problems, &checks, &overrides).map_err(|f| packages::hinted(told(f), &plan, picture))?;
    if !plan.changed {
        finish(context, &plan, &Applied::default(), "nothing to change");
        return Ok(Agreed::End(End::Nothing));
    }
    if context.common.dry_run {
        finish(
            context,
            &plan,
            &Applied::default(),
            "dry run: nothing was changed",
        );
        return Ok(Agreed::End(End::Dry));
    }
    let yes = context.confirm_named(&ends(action, picture), "Go on?");
    yes.map_err(told)?;
    Ok(Agreed::Go(Box::new(plan), installed))
}

/// The plan as things are, and what speaks against it.
///
/// # Errors
/// As [`plan_for`].
pub(super) fn looked_at(
    action: &Action,
    picture: &mut Picture,
) -> Result<(Plan, Vec<Problem>, Vec<Check>), Failure> {
    let mut plan = plan_for(action, picture)?;
    if !plan.changed {
        return Ok((plan, Vec::new(), Vec::new()));
    }
    needs::ask(&mut plan, picture);
    let (problems, checks) = preflight(action, &plan, picture);
    Ok((plan, problems, checks))
}

/// U5: the plan, before anything is asked.
pub(super) fn show_plan(context: &Context, plan: &Plan, checks: &[Check]) {
    if let Some(front) = &context.front {
        front.plan(plan, checks);
    } else if !context.json() {
        say(&shown::plan(
            plan,
            checks,
            &context.overrides(),
            context.style,
        ));
    }
}

/// What ends with an action: its names have to be typed.
pub(super) fn ends<'a>(action: &'a Action, picture: &'a Picture) -> Vec<&'a str> {
    match action {
        Action::DeleteCluster { cluster } => vec![cluster.as_str()],
        Action::RemoveClusterNode { node, .. } | Action::ReplaceNode { node, .. } => {
            vec![node.as_str()]
        }
        // As with `cluster remove-node`: who is a member now and no longer in what is written.
        Action::Apply { document } => {
            let mut living = picture.clusters.iter().filter(|c| !c.deleted);
            let present = living.find(|c| c.id == document.id);
            let members = present.into_iter().flat_map(|c| &c.members);
            let leaves = members.filter(|m| document.member_by_id(m.id).is_none());
            leaves.map(|m| m.name.as_str()).collect()
        }
        _ => Vec::new(),
    }
}

/// From an agreed plan to the end.
///
/// # Errors
/// In one sentence, with whether anything was changed.
pub(super) fn carry_through(
    context: &Context,
    plan: &Plan,
    picture: &mut Picture,
) -> Result<End, Failure> {
    let applied = bring_about(context, plan, picture)?;
    finish(context, plan, &applied, &format!("done: {}", plan.truth));
    Ok(End::Done)
}

/// Carries out an agreed plan and waits for its goal.
///
/// # Errors
/// In one sentence, with whether anything was changed.
pub(super) fn bring_about(
    context: &Context,
    plan: &Plan,
    picture: &mut Picture,
) -> Result<Applied, Failure> {
    context.guard();
    let applied = apply(plan, picture, &context.cancel, &mut |told| {
        context.told(told);
    })?;
    remember(context, plan);
    let left_behind = plan.warnings.iter().any(|w| w.name == MEMBER_AWAY);
    if !applied.behind.is_empty() && !left_behind {
        context.note(&format!(
            "{} will learn of it when they are back",
            list(&applied.behind)
        ));
    }
    wait(context, plan, picture, &context.cancel)?;
    Ok(applied)
}

/// The change is made: a file that can't be read or written is only told.
fn remember(context: &Context, plan: &Plan) {
    let kept = context.remember(|contacts| {
        contact::remember(plan, contacts);
    });
    if let Err(why) = kept {
        context.note(&why);
    }
}

fn wait(
    context: &Context,
    plan: &Plan,
    picture: &mut Picture,
    cancel: &Cancel,
) -> Result<(), Failure> {
    // A node of another cluster shows nothing of this one.
    let eyes: Vec<NodeName> = seers(plan, picture).into_iter().collect();
    let seen = |stage| Told::line("").of(StepKind::Watch, &eyes, stage);
    context.told(&seen(Stage::Begins));
    watch(
        &plan.goal,
        &mut picture.crew,
        &eyes,
        context.patience(),
        cancel,
        &mut |line| context.note(line),
    )?;
    context.told(&seen(Stage::Done));
    Ok(())
}

pub(super) fn finish(context: &Context, plan: &Plan, applied: &Applied, sentence: &str) {
    if let Some(front) = &context.front {
        front.finished(plan, applied, sentence);
    } else if context.json() {
        let body = json!({
            "changed": applied.changed,
            "dry_run": context.common.dry_run,
            "message": sentence,
            "on": applied.on,
            "behind": applied.behind,
            "plan": plan,
        });
        say_json(&json::document("Result", body), false);
    } else {
        say(&format!("{sentence}\n"));
    }
}
