//! `backstay-agent rpc`: the socket's lines over SSH's standard input and output.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use backstay_wire::rpc::PREAMBLE;

use crate::serve::Bridge;
use crate::store::Folders;

/// Pumps until either side ends.
pub(super) fn run(folders: &Folders, viewer: bool, name: String) -> Result<()> {
    let path = folders.socket();
    let socket = UnixStream::connect(&path).with_context(|| {
        format!(
            "the agent does not answer at {}: is it running (systemctl status backstay-agent)?",
            path.display()
        )
    })?;
    let mut to_agent = socket.try_clone()?;
    let bridge = Bridge {
        from: origin(),
        viewer,
        name,
    };
    to_agent.write_all(bridge.to_line().as_bytes())?;
    let mut out = std::io::stdout();
    out.write_all(PREAMBLE.as_bytes())?;
    out.flush()?;
    // The client's end of input ends what it can ask; the agent closes when it has answered.
    std::thread::spawn(move || {
        let _ = pump(&mut std::io::stdin(), &mut to_agent);
        let _ = to_agent.shutdown(Shutdown::Write);
    });
    // The agent's end is the end: the process goes, and standard input with it.
    let mut from_agent = socket;
    // A client that is gone is no failure.
    let _ = pump(&mut from_agent, &mut out);
    Ok(())
}

/// Each piece at once: a reply must not wait for the next.
fn pump(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut piece = [0; 16 * 1024];
    loop {
        let length = from.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length])?;
        to.flush()?;
    }
}

/// `ADDRESS port PORT`, as sshd says; on the node itself `local`.
fn origin() -> String {
    let ssh = std::env::var("SSH_CONNECTION").unwrap_or_default();
    let mut words = ssh.split_whitespace();
    match (words.next(), words.next()) {
        (Some(address), Some(port)) => format!("{address} port {port}"),
        _ => "local".into(),
    }
}
