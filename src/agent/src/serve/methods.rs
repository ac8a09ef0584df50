//! What each call does.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backstay_core::engine::ClusterView;
use backstay_wire::rpc::{
    Audit, AuditEntry, Code, Done, Fault, History, HistoryEntry, MAX_LINE, Report, Request, Status,
    Text,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Desk;
use super::audit;
use super::session::Client;
use crate::decide::Input;
use crate::documents::Keeper;
use crate::fault::fault;
use crate::host::clock::wall_ms;
use crate::host::{needs, report};
use crate::store::journal;

/// How long the disk, systemd or the decision loop may take for one call.
const LIMIT: Duration = Duration::from_mins(1);
/// How long looking at what services need may take: less than a client waits.
const LOOK: Duration = Duration::from_secs(12);
/// Most entries of one answer.
const MOST_ENTRIES: u32 = 10_000;
/// Room that is left in a line for what is around a list.
const AROUND: usize = 4096;

pub(super) type Answer = Result<Value, Fault>;

/// The first call.
pub(super) async fn hello(desk: &Arc<Desk>, version: u32, viewer: bool) -> Answer {
    let mut hello = keeper(desk, |keeper| Ok(keeper.hello())).await?;
    (hello.version, hello.viewer) = (version, viewer);
    json(&hello)
}

/// Any call but hello and streams.
pub(super) async fn call(desk: &Arc<Desk>, client: &Client, request: Request) -> Answer {
    let Some(what) = audit::change(&request) else {
        return look(desk, client, request).await;
    };
    // In a task of its own: a client that goes away leaves neither half a change nor one without its entry.
    let (desk, client) = (Arc::clone(desk), client.clone());
    let work = tokio::spawn(async move {
        let result = change(&desk, &client, request).await;
        desk.audit.put(AuditEntry {
            wall_ms: wall_ms(),
            user: client.user,
            from: client.from,
            what,
            result: audit::result(&result),
        });
        result
    });
    work.await
        .unwrap_or_else(|_| Err(fault(Code::Failed, "the call broke off; see the log")))
}

async fn look(desk: &Arc<Desk>, client: &Client, request: Request) -> Answer {
    match request {
        Request::Status => {
            let clusters = view(desk).await?;
            json(&Status { clusters })
        }
        Request::Facts => json(&keeper(desk, |keeper| Ok(keeper.facts())).await?),
        Request::SystemGet => text(keeper(desk, |keeper| keeper.system()).await?),
        Request::DocumentGet { cluster } => {
            let viewer = client.viewer;
            let document = keeper(desk, move |keeper| {
                if viewer {
                    keeper.stripped(&cluster)
                } else {
                    keeper.document(&cluster)
                }
            });
            text(document.await?)
        }
        Request::Report => {
            if client.viewer {
                return Err(forbidden(desk).await);
            }
            let parts = report::collect(&desk.folders.state).await;
            json(&Report { parts })
        }
        Request::Needs(asked) => {
            if client.viewer {
                return Err(forbidden(desk).await);
            }
            if let Some(much) = asked.too_much() {
                let said = format!("more is asked than is answered: {much}");
                return Err(fault(Code::Invalid, said));
            }
            let look = timeout(LOOK, needs::answer(&asked)).await;
            let late = |_| fault(Code::Failed, format!("looking took longer than {LOOK:?}"));
            json(&look.map_err(late)?)
        }
        Request::History { service, limit, .. } => {
            let path = desk.folders.history();
            let entries = read(path, limit, move |entry: &HistoryEntry| {
                service.is_none() || entry.service == service
            });
            json(&History {
                entries: entries.await?,
            })
        }
        Request::Audit { limit } => {
            let entries = read(desk.folders.audit(), limit, |_: &AuditEntry| true);
            json(&Audit {
                entries: entries.await?,
            })
        }
        _ => Err(fault(
            Code::Unsupported,
            "this agent does not know the method",
        )),
    }
}

async fn change(desk: &Arc<Desk>, client: &Client, request: Request) -> Answer {
    if client.viewer {
        return Err(forbidden(desk).await);
    }
    let session = client.session;
    let now = wall_ms();
    let done = match request {
        Request::Lock { what } => {
            let who = (client.user.as_str(), client.from.as_str());
            let changed = desk.change.take(session, who, &what, now)?;
            return json(&Done { changed });
        }
        Request::Unlock => {
            let changed = desk.change.give_back(session);
            return json(&Done { changed });
        }
        Request::Move {
            cluster,
            service,
            to,
        } => {
            // U8 guards documents; an order must get through whoever edits them.
            let (reply, answer) = oneshot::channel();
            desk.decide.tell(Input::Move {
                cluster,
                service,
                to,
                reply,
            });
            loop_answer(answer).await??;
            return json(&Done { changed: true });
        }
        Request::Stage { text } => {
            desk.change.is_mine(session, now)?;
            keeper(desk, move |keeper| keeper.stage(&text)).await?
        }
        request => {
            desk.change.not_others(session, now)?;
            keeper(desk, move |keeper| match request {
                Request::Enrol { name, id } => keeper.enrol(name, id),
                Request::Dismiss => keeper.dismiss(),
                Request::SystemPut { text } => keeper.put_system(&text),
                Request::Commit {
                    cluster,
                    revision,
                    hash,
                } => keeper.commit(cluster, revision, &hash),
                Request::Abandon { cluster } => keeper.abandon(cluster),
                _ => Err(fault(
                    Code::Unsupported,
                    "this agent does not know the method",
                )),
            })
            .await?
        }
    };
    json(&done)
}

/// What is known of all clusters, now.
pub(super) async fn view(desk: &Desk) -> Result<Vec<ClusterView>, Fault> {
    let (reply, answer) = oneshot::channel();
    desk.decide.tell(Input::View(reply));
    loop_answer(answer).await
}

async fn loop_answer<T>(answer: oneshot::Receiver<T>) -> Result<T, Fault> {
    match timeout(LIMIT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(fault(Code::Failed, "the agent is ending")),
        Err(_) => Err(fault(Code::Failed, "the decision loop does not answer")),
    }
}

/// Has the keeper do something on a thread that may wait for the disk.
async fn keeper<T: Send + 'static>(
    desk: &Arc<Desk>,
    work: impl FnOnce(&mut Keeper) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let keeper = Arc::clone(&desk.keeper);
    let work = tokio::task::spawn_blocking(move || {
        work(&mut keeper.lock().unwrap_or_else(PoisonError::into_inner))
    });
    match timeout(LIMIT, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(fault(Code::Failed, "the call broke off; see the log")),
        Err(_) => Err(fault(
            Code::Failed,
            format!("the disk or systemd took longer than {LIMIT:?}; it goes on"),
        )
        .after_change()),
    }
}

/// The newest entries of a journal that fit in one line.
pub(super) async fn read<T>(
    path: std::path::PathBuf,
    limit: u32,
    keep: impl Fn(&T) -> bool + Send + 'static,
) -> Result<Vec<T>, Fault>
where
    T: Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let limit = limit.clamp(1, MOST_ENTRIES) as usize;
    let read = tokio::task::spawn_blocking(move || {
        let mut entries = journal::read(&path, limit, keep)?;
        let mut room = MAX_LINE - AROUND;
        let mut fit = 0;
        for entry in entries.iter().rev() {
            let length = serde_json::to_vec(entry)?.len() + 1;
            if length > room {
                break;
            }
            room -= length;
            fit += 1;
        }
        entries.drain(..entries.len() - fit);
        Ok::<_, std::io::Error>(entries)
    });
    match read.await {
        Ok(Ok(entries)) => Ok(entries),
        Ok(Err(error)) => Err(fault(
            Code::Failed,
            format!("the journal can't be read: {error}"),
        )),
        Err(_) => Err(fault(Code::Failed, "the call broke off; see the log")),
    }
}

async fn forbidden(desk: &Arc<Desk>) -> Fault {
    let me = keeper(desk, |keeper| {
        Ok(keeper.identity().map(|me| me.name.clone()))
    })
    .await;
    let me = me.ok().flatten();
    let me = me.map_or_else(|| "this machine".to_owned(), |name| name.to_string());
    fault(
        Code::Forbidden,
        format!("you may look only (U11): {me} knows this key as a viewer's"),
    )
}

fn text(text: String) -> Answer {
    json(&Text { text })
}

fn json(value: &impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|error| {
        fault(
            Code::Failed,
            format!("the answer has no form in JSON: {error}"),
        )
    })
}
