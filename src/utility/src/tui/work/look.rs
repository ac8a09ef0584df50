//! Questions that are asked once.

use backstay_core::model::SystemNode;
use backstay_wire::rpc::{Facts, HistoryEntry, Request};

use crate::cli::context::Context;
use crate::cli::show;
use crate::failure::Failure;
use crate::remote::{RemoteError, Target};

/// At most so many decisions of each node.
const DECISIONS: u32 = 200;

/// The decisions of every node that answers.
pub(super) fn history(context: &Context) -> Result<Vec<HistoryEntry>, Failure> {
    // Who does not answer is told on the home screen; here nobody listens.
    let mut quiet = context.clone();
    quiet.common.quiet = true;
    show::decisions(&quiet, None, DECISIONS).map(|(entries, ..)| entries)
}

/// What a machine is.
pub(super) fn facts(context: &Context, node: &SystemNode) -> Result<Facts, String> {
    let gatherer = context.gatherer().map_err(|f| f.message)?;
    let ask = |target: Target| -> Result<Facts, RemoteError> {
        let mut client = gatherer.handle.open(&target)?;
        match client.hello().id {
            Some(id) if id == node.id => client.call(Request::Facts),
            _ => Err(RemoteError::Protocol {
                host: node.name.to_string(),
                why: "another node answers there".to_owned(),
            }),
        }
    };
    // On the node itself there may be no way to it but its own socket.
    let own = gatherer
        .entries
        .iter()
        .find(|t| matches!(t, Target::Local(_)));
    if let Some(Ok(facts)) = own.cloned().map(ask) {
        return Ok(facts);
    }
    gatherer
        .target_of(node)
        .and_then(ask)
        .map_err(|e| e.to_string())
}
