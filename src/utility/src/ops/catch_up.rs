//! Handing the present document to a member that can't learn of it from the others: it was left behind when the key
//! was exchanged, so it understands none of their beats.

use backstay_core::model::{ClusterDocument, NodeName};
use backstay_core::plan::StepKind;
use backstay_wire::rpc::{Done, Request};

use super::apply::list;
use super::front::{Stage, Told};
use super::{Cancel, Picture};
use crate::failure::{Changed, Exit, Failure};
use crate::remote::{Client, RemoteError};

/// Members that answer and have an older revision.
pub fn behind(document: &ClusterDocument, picture: &Picture) -> Vec<NodeName> {
    let older = |name: &&NodeName| {
        let known = picture.hellos.get(*name);
        known.is_some_and(|h| h.clusters.get(&document.name) < Some(&document.revision))
    };
    let members = document.members.iter().map(|m| &m.name);
    members.filter(older).cloned().collect()
}

/// Gives the present document to members that have an older one. Who has it now: a session that has ended meanwhile is
/// passed over.
///
/// # Errors
/// A member refuses it, somebody else holds its change lock, or the admin broke off. It says who has it already.
pub fn catch_up(
    document: &ClusterDocument,
    behind: &[NodeName],
    picture: &mut Picture,
    cancel: &Cancel,
    report: &mut dyn FnMut(&Told),
) -> Result<Vec<NodeName>, Failure> {
    let mut done = Vec::new();
    for name in behind {
        let told = |line: String, stage| {
            Told::line(line).of(StepKind::CatchUp, std::slice::from_ref(name), stage)
        };
        if cancel.is_set() {
            return Err(partly(Failure::cancelled(), document, &done));
        }
        let Some(client) = picture.crew.get(name) else {
            continue;
        };
        let line = format!(
            "{name} has an older revision of {}; it gets revision {}",
            document.name, document.revision
        );
        report(&told(line, Stage::Begins));
        hand_over(document, name, client).map_err(|f| partly(f, document, &done))?;
        report(&told(String::new(), Stage::Done));
        done.push(name.clone());
    }
    Ok(done)
}

/// One member: as a whole or not at all (U6).
fn hand_over(
    document: &ClusterDocument,
    name: &NodeName,
    client: &mut Client,
) -> Result<(), Failure> {
    let (cluster, revision) = (document.id, document.revision);
    let what = format!("bring {} of {name} up to date", document.name);
    client.call::<Done>(Request::Lock { what })?;
    let text = document.to_text();
    let staged = client.call::<Done>(Request::Stage { text });
    let done = staged.map_err(Failure::from).and_then(|_| {
        let hash = hex::encode(document.hash());
        let committed = client.call::<Done>(Request::Commit {
            cluster,
            revision,
            hash,
        });
        committed.map_err(|e| not_committed(e, name))
    });
    if done.as_ref().is_err_and(|f| f.changed == Changed::No) {
        let _ = client.call::<Done>(Request::Abandon { cluster });
    }
    // A lock that can't be given back ends with the session.
    let _ = client.call::<Done>(Request::Unlock);
    done.map(drop)
}

/// A node that answered "no" has not done it; one that broke off may have.
fn not_committed(error: RemoteError, name: &NodeName) -> Failure {
    if error.fault().is_some() {
        return error.into();
    }
    let message =
        format!("{name} did not confirm the commit ({error}); whether it took effect is not known");
    Failure::new(Exit::Error, message).changed(Changed::Unknown)
}

fn partly(failure: Failure, document: &ClusterDocument, done: &[NodeName]) -> Failure {
    if done.is_empty() {
        return failure;
    }
    let failure = failure.after_change();
    let message = format!(
        "{}; revision {} of {} was given to {} before",
        failure.message,
        document.revision,
        document.name,
        list(done)
    );
    let on = format!("`backstay key rotate {}` goes on from there", document.name);
    Failure { message, ..failure }.hint(on)
}
