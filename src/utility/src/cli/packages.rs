//! The offer to install what nodes lack (C9).

use backstay_core::model::Problem;
use backstay_core::plan::Plan;

use super::context::Context;
use crate::failure::{Changed, Exit, Failure};
use crate::ops::packages::{Order, install, orders};
use crate::ops::preflight::Check;
use crate::ops::{Picture, needs};

/// What breaking off says from the first installation on: apt-get goes on to its end there.
const PARTED: &str = "cancelled; packages whose installation was begun stay";
/// What an installation may mend besides the packages themselves.
const MENDED: [&str; 4] = [
    "package-missing",
    "unit-missing",
    "user-missing",
    "command-missing",
];

/// What the options say about packages that are lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing is lacking, or it is overridden.
    Leave,
    /// Ask for each node.
    Ask,
    /// Install them all.
    Install,
}

pub(super) fn wish(context: &Context, checks: &[Check], may_ask: bool) -> Wish {
    let common = &context.common;
    let overrides = context.overrides();
    let mut lacks = checks.iter().filter(|c| c.name == "package-missing");
    // On loopback there are no hosts to install anything on.
    if !common.sockets.is_empty() {
        Wish::Leave
    } else if common.install_packages && lacks.next().is_some() {
        // Also with --force: what is there needs no override.
        Wish::Install
    } else if may_ask && !common.yes && context.can_ask() && lacks.any(|c| overrides.stops(c)) {
        Wish::Ask
    } else {
        Wish::Leave
    }
}

/// Installs the packages that stand against a plan, where the flag says so, or whoever is asked. Whether anything was
/// installed: then all checks are to be made again.
///
/// # Errors
/// It failed, or nobody can agree to what would come after it; in one sentence.
pub(super) fn offer(
    context: &Context,
    plan: &mut Plan,
    picture: &mut Picture,
    (checks, may_ask): (&[Check], bool),
) -> Result<bool, Failure> {
    let wish = wish(context, checks, may_ask);
    if context.common.dry_run || wish == Wish::Leave {
        return Ok(false);
    }
    if !context.common.yes && !context.can_ask() {
        let what = "--install-packages needs a yes to the whole change, and nobody can be asked; nothing was changed";
        let hint = "without it the lacking packages are only named; to go on, give --yes, too";
        return Err(Failure::new(Exit::Usage, what).hint(hint));
    }
    let gatherer = context.gatherer()?;
    let mut installed = false;
    for order in orders(plan, &picture.needs) {
        let question = format!("install {} now?", order.words());
        if wish == Wish::Install || context.confirm(&question).is_ok() {
            context.unguard(PARTED);
            let ssh = (&gatherer, &*context.ssh);
            let done = install(&order, picture, ssh, &mut |told| context.told(told));
            done.map_err(told(installed))?;
            installed = true;
        }
    }
    if installed {
        needs::ask(plan, picture);
    }
    Ok(installed)
}

/// What the flag will install once the plan is carried out, in words. What that may mend is not judged before.
pub(super) fn foreseen(
    context: &Context,
    plan: &Plan,
    picture: &Picture,
    checks: &mut Vec<Check>,
) -> Vec<String> {
    if wish(context, checks, false) != Wish::Install {
        return Vec::new();
    }
    let words: Vec<String> = orders(plan, &picture.needs)
        .iter()
        .map(Order::words)
        .collect();
    if !words.is_empty() {
        checks.retain(|c| !MENDED.contains(&c.name.as_str()));
    }
    words
}

/// What the flag would do about a refusal.
pub(super) fn hinted(failure: Failure, plan: &Plan, picture: &Picture) -> Failure {
    let lacks = |p: &Problem| p.place == "check package-missing";
    let orders = orders(plan, &picture.needs);
    if orders.is_empty() || !failure.problems.iter().any(lacks) {
        return failure;
    }
    let words: Vec<String> = orders.iter().map(Order::words).collect();
    let usual = failure.hint.clone().unwrap_or_default();
    let more = format!("--install-packages installs {}", words.join(", "));
    failure.hint(format!("{more}\n{usual}"))
}

/// What a failure says where packages were installed before it.
pub(super) fn told(installed: bool) -> impl Fn(Failure) -> Failure {
    move |failure| {
        if !installed {
            return failure;
        }
        let message = failure
            .message
            .replace("nothing was", "nothing but packages was");
        let changed = match failure.changed {
            Changed::No => Changed::Yes,
            known => known,
        };
        Failure { message, ..failure }.changed(changed)
    }
}
