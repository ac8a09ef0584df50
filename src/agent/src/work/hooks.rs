//! F12: telling outside equipment of a move.

use std::time::Duration;

use backstay_core::model::HookMoment;

use crate::decide::Errand;
use crate::host::command;

/// How long one hook may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs the hooks of this moment one after the other; what comes of them is said.
pub(super) async fn run(errand: Errand, returned: bool) {
    let moment = if returned {
        HookMoment::Return
    } else {
        HookMoment::Takeover
    };
    let service = &errand.service;
    for hook in service.hooks.iter().filter(|hook| hook.after == moment) {
        let mut words = hook.run.clone();
        words.push(service.name.to_string());
        words.push(errand.node.to_string());
        let shown = hook.run.first().cloned().unwrap_or_default();
        match command::run(&words, &[], LIMIT).await {
            Ok(end) if end.succeeded() => {
                tracing::info!(service = %service.name, "hook {shown} was run");
            }
            Ok(end) => tracing::error!(
                service = %service.name,
                "hook {shown} failed ({:?}): {}", end.end, end.stderr.lines().next().unwrap_or_default()
            ),
            Err(error) => tracing::error!(service = %service.name, "hook: {error}"),
        }
    }
}
