//! The offer to install what nodes lack (C9).

use backstay_core::model::Problem;
use backstay_core::plan::Plan;

use super::context::Context;
use crate::failure::{Changed, Failure};
use crate::ops::packages::{Order, install, orders};
use crate::ops::preflight::Check;
use crate::ops::{Picture, needs};

/// Installs the packages that stand against a plan, where the flag says so, or whoever is asked. Whether anything was
/// installed: then all checks are to be made again.
///
/// # Errors
/// It failed, in one sentence.
pub(super) fn offer(
    context: &Context,
    plan: &mut Plan,
    picture: &mut Picture,
    (checks, may_ask): (&[Check], bool),
) -> Result<bool, Failure> {
    let overrides = context.overrides();
    let stops = |c: &Check| c.name == "package-missing" && overrides.stops(c);
    // On loopback there are no hosts to install anything on.
    let real = context.common.sockets.is_empty();
    if context.common.dry_run || !real || !checks.iter().any(stops) {
        return Ok(false);
    }
    let flag = context.common.install_packages;
    let may_ask = may_ask && context.can_ask() && !context.common.yes;
    let gatherer = context.gatherer()?;
    let mut installed = false;
    for order in orders(plan, &picture.needs) {
        let question = format!("install {} now?", order.words());
        if flag || may_ask && context.confirm(&question).is_ok() {
            let ssh = (&gatherer, &*context.ssh);
            let done = install(&order, picture, ssh, &mut |told| context.told(told));
            done.map_err(|f| if installed { after(f) } else { f })?;
            installed = true;
        }
    }
    if installed {
        needs::ask(plan, picture);
    }
    Ok(installed)
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

/// A failure after packages were installed.
pub(super) fn after(failure: Failure) -> Failure {
    let message = failure
        .message
        .replace("nothing was", "nothing but packages was");
    Failure { message, ..failure }.changed(Changed::Yes)
}
