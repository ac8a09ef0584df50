//! Making a machine with a running agent a node of the system, and letting it go.

use backstay_core::model::{NodeId, NodeName};
use backstay_wire::rpc::{Done, Request};

use crate::failure::{Exit, Failure};
use crate::remote::Client;

/// The identity under which a machine can be enrolled as `name`: its own if an earlier attempt got so far,
/// else a new one.
///
/// # Errors
/// The machine is a node under another name, or no random number is to be had.
pub fn identity(client: &Client, name: &NodeName) -> Result<NodeId, Failure> {
    match (&client.hello().node, client.hello().id) {
        (Some(own), Some(id)) if own == name => Ok(id),
        (Some(own), _) => Err(Failure::new(
            Exit::Refused,
            format!(
                "{} is a node already, named {own}; nothing was changed",
                client.label()
            ),
        )
        .hint(format!(
            "add it under that name, or remove it first: `backstay node remove {own}`"
        ))),
        (None, _) => Ok(NodeId(random()?)),
    }
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
