//! Making a machine with a running agent a node of the system, and letting it go.

use backstay_core::model::{NodeId, NodeName, SystemDocument};
use backstay_wire::rpc::{Done, Request};

use crate::failure::{Exit, Failure};
use crate::remote::Client;

/// The identity under which a machine can be enrolled as `name`: its own if an earlier attempt got so far,
/// else a new one. A machine that was to be another node, and no more became of that, forgets it first.
///
/// # Errors
/// The machine is a node under another name, or no random number is to be had.
pub fn identity(
    client: &mut Client,
    name: &NodeName,
    system: &SystemDocument,
) -> Result<NodeId, Failure> {
    let hello = client.hello();
    let (Some(own), Some(id)) = (hello.node.clone(), hello.id) else {
        return Ok(NodeId(random()?));
    };
    if own == *name {
        return Ok(id);
    }
    let known = system.nodes.iter().any(|n| n.id == id);
    // Whatever comes of joining a system leaves a document there; what is only staged may yet take effect.
    if !known && hello.system_revision == 0 && hello.clusters.is_empty() && hello.staged.is_empty()
    {
        dismiss(client)?;
        return Ok(NodeId(random()?));
    }
    let label = client.label();
    // The node of that name in the system, if there is one, is another machine then, and not to be removed for this.
    let (what, hint) = if !known && hello.system_revision == 0 {
        (
            format!("was to be the node {own}, which was broken off"),
            format!("go on with that first: `backstay node replace {own} --with {label}`"),
        )
    } else {
        (
            format!("is a node already, named {own}"),
            format!("add it under that name, or remove it first: `backstay node remove {own}`"),
        )
    };
    let message = format!("{label} {what}; nothing was changed");
    Err(Failure::new(Exit::Refused, message).hint(hint))
}

/// 64 random bits.
///
/// # Errors
/// The kernel has none.
pub fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// 32 random bytes as hexadecimal digits: a key for beats.
///
/// # Errors
/// The kernel has none.
pub fn random_key() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(bytes).map_err(|e| {
        Failure::new(
            Exit::Error,
            format!("no random numbers from the kernel: {e}"),
        )
    })
}

/// Tells a machine who it is. Doing it again changes nothing.
///
/// # Errors
/// It refuses, or the session broke.
pub fn enrol(client: &mut Client, name: &NodeName, id: NodeId) -> Result<bool, Failure> {
    let request = Request::Enrol {
        name: name.clone(),
        id,
    };
    Ok(client.call::<Done>(request)?.changed)
}

/// Tells a machine to forget the system.
///
/// # Errors
/// It refuses (C8: it is not free), or the session broke.
pub fn dismiss(client: &mut Client) -> Result<bool, Failure> {
    Ok(client.call::<Done>(Request::Dismiss)?.changed)
}
