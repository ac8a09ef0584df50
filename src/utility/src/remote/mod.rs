//! Reaching agents: over SSH, or on a node by its own socket.
//!
//! A [`Transport`] carries bytes, a [`Client`] speaks the agent protocol over it, a [`Connector`] makes
//! transports from [`Target`]s, and [`fanout`] asks many at once. Nothing here waits without a deadline.

mod auth;
pub mod client;
pub mod contact;
pub mod contacts;
pub mod error;
pub mod fanout;
pub mod hostkey;
pub mod install;
mod jump;
pub mod local;
pub mod ssh;
pub mod upgrade;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use client::{Client, Handle};
pub use contact::Contact;
pub use error::RemoteError;
pub use fanout::fanout;
pub use hostkey::{HostKey, Pins};

/// The full path of the agent on every node.
pub const AGENT_PATH: &str = "/usr/lib/backstay/backstay-agent";
/// The agent's own socket, on a node.
pub const SOCKET_PATH: &str = "/run/backstay/agent.sock";

/// U11: who viewers log in as, on every node.
pub const VIEWER: &str = "backstay-viewer";

/// Carries bytes to and from one agent. Owned by one thread at a time.
pub trait Transport: Send {
    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The far end is gone or did not take them before `deadline`.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), RemoteError>;

    /// Appends what has come to `into` and returns how many bytes that were (at least one), waiting for the
    /// first of them.
    ///
    /// # Errors
    /// The far end is gone, or nothing came before `deadline` ([`RemoteError::Timeout`]; then the transport
    /// is still good).
    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> Result<usize, RemoteError>;

    /// Whether a login shell may speak before the agent does, so that the preamble has to be waited for.
    fn noisy(&self) -> bool;
}

/// Where an agent is and how it proves who it is.
#[derive(Clone, Debug)]
pub enum Target {
    /// The agent of this machine.
    Local(PathBuf),
    /// By SSH.
    Ssh {
        /// Where.
        contact: Contact,
        /// Which host keys are right for it.
        pins: Pins,
    },
}

impl Target {
    /// How it is named to the admin.
    pub fn label(&self) -> String {
        match self {
            Self::Local(_) => "this machine".to_owned(),
            Self::Ssh { contact, .. } => contact.to_string(),
        }
    }
}

/// Makes transports. The tests have their own.
pub trait Connector: Send + Sync {
    /// Connects and starts the agent's end.
    ///
    /// # Errors
    /// Unreachable, not authorised, wrong host key, no agent; within the deadlines of the connector.
    fn connect(&self, target: &Target) -> Result<Box<dyn Transport>, RemoteError>;
}

/// How long each step of reaching a node may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Name look-up and TCP, for each address.
    pub connect: Duration,
    /// SSH handshake, authentication and the start of the agent's end, together.
    pub session: Duration,
    /// One request.
    pub request: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            session: Duration::from_secs(10),
            request: Duration::from_secs(15),
        }
    }
}

impl Deadlines {
    /// No step longer than `limit`.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self {
            connect: self.connect.min(limit),
            session: self.session.min(limit),
            request: self.request.min(limit),
        }
    }

    /// After this long a node that has not even failed is given up: a resolver or an SSH agent that hangs
    /// is in nobody's deadline.
    pub fn whole(&self) -> Duration {
        self.connect * 2 + self.session + self.request + Duration::from_secs(1)
    }
}

/// The connector of the real world.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// How SSH is spoken.
    pub ssh: Arc<ssh::Options>,
    /// Hosts whose agents are on this machine, by the sockets of these: the lab without root.
    pub sockets: Sockets,
    /// As whom to log in, whatever the contacts say.
    pub user: Option<&'static str>,
}

/// Sockets of agents by the names of their hosts.
pub type Sockets = BTreeMap<String, PathBuf>;

impl Connector for Network {
    fn connect(&self, target: &Target) -> Result<Box<dyn Transport>, RemoteError> {
        match target {
            Target::Local(path) => Ok(Box::new(local::Local::connect(path, &target.label())?)),
            Target::Ssh { contact, pins } => {
                if let Some(path) = self.sockets.get(&contact.host) {
                    return Ok(Box::new(local::Local::connect(path, &contact.host)?));
                }
                let mut contact = contact.clone();
                if let Some(user) = self.user {
                    user.clone_into(&mut contact.user);
                }
                let session = ssh::Session::open(&contact, pins, &self.ssh)?;
                Ok(Box::new(session.start(&format!("{AGENT_PATH} rpc"))?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_lab_without_root_is_reached_by_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let network = Network {
            sockets: Sockets::from([("n1".to_owned(), path.clone())]),
            ..Network::default()
        };
        let target = |host: &str| Target::Ssh {
            contact: host.parse().unwrap(),
            pins: Pins::default(),
        };
        // Whoever has not come up, or was killed, is called by its name.
        let error = network.connect(&target("n1")).map(drop).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("there is no agent on n1: "), "{said}");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(!network.connect(&target("n1")).unwrap().noisy());
        // Any other host is another machine's, whatever sockets there are.
        let error = network
            .connect(&target("n9.invalid"))
            .map(drop)
            .unwrap_err();
        assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
    }
}
