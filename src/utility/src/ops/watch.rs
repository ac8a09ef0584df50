//! Waiting until what was ordered has come about.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use backstay_core::engine::ClusterView;
use backstay_core::model::NodeName;
use backstay_core::plan::{Goal, Progress};
use backstay_wire::rpc::{Request, Status};

use super::{Cancel, Crew};
use crate::failure::{Changed, Exit, Failure};
use backstay_wire::rpc::clean;

/// Least time between two views, ms.
const EVERY_MS: u32 = 100;
/// How often the watcher looks at its deadline and at the admin.
const TICK: Duration = Duration::from_millis(100);

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Reached,
    Hopeless(String),
    Timeout,
    Cancelled,
}

/// Waits for a goal by the eyes of one node after the other: `eyes` in order, whoever breaks off is
/// replaced by the next. `report` hears what is being waited for, each time that changes.
///
/// # Errors
/// [`Exit::Timeout`], hopeless ([`Exit::Error`]), broken off ([`Exit::Cancelled`]): in all of them the
/// change itself *did* take effect, and the message says so.
pub fn watch(
    goal: &Goal,
    crew: &mut Crew,
    eyes: &[NodeName],
    limit: Duration,
    cancel: &Cancel,
    report: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    if goal.aims.is_empty() {
        return Ok(());
    }
    let until = Instant::now() + limit;
    let mut missing = "the first view".to_owned();
    let mut last_error = None;
    for name in eyes {
        let Some(client) = crew.get(name) else {
            continue;
        };
        let end = client.stream(
            Request::Watch { every_ms: EVERY_MS },
            TICK,
            |status: Option<Status>| {
                if let Some(status) = status {
                    match goal.reached(&status.clusters) {
                        Progress::Reached => return ControlFlow::Break(End::Reached),
                        Progress::Hopeless(why) => {
                            return ControlFlow::Break(End::Hopeless(clean(&why)));
                        }
                        Progress::Waiting(what) => {
                            let what = clean(&what);
                            if what != missing {
                                report(&format!("waiting: {what}"));
                                missing = what;
                            }
                        }
                    }
                }
                if cancel.is_set() {
                    ControlFlow::Break(End::Cancelled)
                } else if Instant::now() >= until {
                    ControlFlow::Break(End::Timeout)
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        match end {
            Ok(Some(end)) => {
                // The stream goes on at the far end; only ending the session stops it.
                crew.remove(name);
                return judge(end, &missing, limit);
            }
            Ok(None) => {}
            Err(error) => {
                report(&format!("{error}; looking through another node"));
                last_error = Some(error);
            }
        }
        crew.remove(name);
    }
    Err(Failure::new(
        Exit::Unreachable,
        match last_error {
            Some(error) => format!("the change took effect, but it can't be watched: {error}"),
            None => "the change took effect, but no node is left to watch it through".to_owned(),
        },
    )
    .hint("`backstay status --watch` shows how it goes on")
    .changed(Changed::Yes))
}

fn judge(end: End, missing: &str, limit: Duration) -> Result<(), Failure> {
    let failure = match end {
        End::Reached => return Ok(()),
        End::Hopeless(why) => Failure::new(
            Exit::Error,
            format!("the change took effect, but its goal was not reached: {why}"),
        ),
        End::Timeout => Failure::new(
            Exit::Timeout,
            format!(
                "the change took effect and goes on, but was not complete after {} s: {missing}",
                limit.as_secs()
            ),
        ),
        End::Cancelled => Failure::new(
            Exit::Cancelled,
            format!("no longer watching; the change took effect and goes on by itself ({missing})"),
        ),
    };
    Err(failure
        .hint("`backstay status --watch` shows how it goes on")
        .changed(Changed::Yes))
}

/// Follows what nodes see until the admin breaks off or `show` has had enough.
///
/// # Errors
/// The session broke.
pub fn follow(
    client: &mut crate::remote::Client,
    every_ms: u32,
    cancel: &Cancel,
    mut show: impl FnMut(&[ClusterView]) -> ControlFlow<()>,
) -> Result<(), Failure> {
    client
        .stream(
            Request::Watch { every_ms },
            TICK,
            |status: Option<Status>| {
                if let Some(status) = status {
                    show(&status.clusters)?;
                }
                if cancel.is_set() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        )
        .map(|_| ())
        .map_err(Failure::from)
}
