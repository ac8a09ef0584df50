//! Handing the present document to a member that can't learn of it from the others: it was left behind when the key
//! was exchanged, so it understands none of their beats.

use backstay_core::model::{ClusterDocument, NodeName};
use backstay_wire::rpc::{Done, Request};

use super::Picture;
use crate::failure::Failure;

/// Members that answer and have an older revision. Each gets the present one; who has it already is not asked.
///
/// # Errors
/// A member refuses it, or somebody else holds its change lock. Those before it have it.
pub fn catch_up(
    document: &ClusterDocument,
    picture: &mut Picture,
    report: &mut dyn FnMut(&str),
) -> Result<Vec<NodeName>, Failure> {
    let older = |name: &&NodeName| {
        let known = picture.hellos.get(*name);
        known.is_some_and(|h| h.clusters.get(&document.name) < Some(&document.revision))
    };
    let members = document.members.iter().map(|m| &m.name);
    let behind: Vec<NodeName> = members.filter(older).cloned().collect();
    for name in &behind {
        report(&format!(
            "{name} has an older revision of {}; it gets revision {}",
            document.name, document.revision
        ));
        let Some(client) = picture.crew.get(name) else {
            continue;
        };
        let hash = hex::encode(document.hash());
        let (cluster, revision) = (document.id, document.revision);
        let what = format!("bring {} of {name} up to date", document.name);
        let text = document.to_text();
        client.call::<Done>(Request::Lock { what })?;
        let staged = client.call::<Done>(Request::Stage { text });
        let done = staged.and_then(|_| {
            client.call::<Done>(Request::Commit {
                cluster,
                revision,
                hash,
            })
        });
        // A lock that can't be given back ends with the session.
        let _ = client.call::<Done>(Request::Unlock);
        done?;
    }
    Ok(behind)
}
