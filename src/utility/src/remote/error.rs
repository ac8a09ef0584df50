//! Why an agent could not be reached or did not answer.

use std::time::Duration;

use backstay_wire::rpc::{Code, Fault};

/// What went wrong between this machine and one agent. Each is one clear line; [`hint`](Self::hint) says
/// what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// No connection.
    #[error("{host} can't be reached: {why}")]
    Unreachable {
        /// Which host.
        host: String,
        /// What the system said.
        why: String,
    },
    /// It was reached but did not answer in time.
    #[error("{host} did not answer within {} s ({during})", .after.as_secs_f32().ceil())]
    Timeout {
        /// Which host.
        host: String,
        /// In which step.
        during: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The host shows another key than the one that was pinned.
    #[error(
        "the host key of {host} has changed: pinned is {}, it shows {shown}; refused", .pinned.join(" or ")
    )]
    HostKeyChanged {
        /// Which host.
        host: String,
        /// Fingerprints that were pinned.
        pinned: Vec<String>,
        /// Fingerprint that it shows.
        shown: String,
    },
    /// Nothing is pinned for the host.
    #[error("the host key of {host} is not known: it shows {shown}")]
    HostKeyUnknown {
        /// Which host.
        host: String,
        /// Fingerprint that it shows.
        shown: String,
    },
    /// The host accepts none of our keys.
    #[error("{host} lets {user} in with none of the keys at hand ({tried})")]
    NotAuthorised {
        /// Which host.
        host: String,
        /// As whom.
        user: String,
        /// What was tried.
        tried: String,
    },
    /// SSH works, the agent is not there or not running.
    #[error("there is no agent on {host}: {why}")]
    NoAgent {
        /// Which host.
        host: String,
        /// What was said instead.
        why: String,
    },
    /// The far end broke off.
    #[error("{host} ended the session: {why}")]
    Closed {
        /// Which host.
        host: String,
        /// What it said last.
        why: String,
    },
    /// What came is not the agent protocol.
    #[error("{host} does not speak the agent protocol: {why}")]
    Protocol {
        /// Which host.
        host: String,
        /// What came.
        why: String,
    },
    /// The agent answered: no.
    #[error("{host}: {fault}")]
    Fault {
        /// Which host.
        host: String,
        /// Its answer.
        fault: Fault,
    },
}

impl RemoteError {
    /// What the admin can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => {
                Some("is the machine up, and its name, port and the way there right?".to_owned())
            }
            Self::Timeout { .. } => Some(
                "the machine accepts connections but does not get on: look at its load, disk and sshd"
                    .to_owned(),
            ),
            Self::HostKeyChanged { host, .. } => Some(format!(
                "if {host} was installed anew, compare the new key on its console (ssh-keygen -lf \
                 /etc/ssh/ssh_host_ed25519_key.pub) and pin it with `backstay node add` again or \
                 --host-key; if not, somebody may be in between"
            )),
            Self::HostKeyUnknown { shown, .. } => Some(format!(
                "compare it on the machine's console, then give --host-key {shown}, or a file with \
                 --known-hosts"
            )),
            Self::NotAuthorised { host, .. } => Some(format!(
                "name a key with --identity, load one with ssh-add, or put yours on {host} with ssh-copy-id"
            )),
            Self::NoAgent { host, .. } => Some(format!(
                "if it is new: `backstay node add {host} --name N`; else: `systemctl status \
                 backstay-agent` there"
            )),
            Self::Closed { .. } | Self::Protocol { .. } | Self::Fault { .. } => None,
        }
    }

    /// The agent's own answer, if this is one.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault { fault, .. } => Some(fault),
            _ => None,
        }
    }

    /// Whether the agent answered with this code.
    pub fn is(&self, code: Code) -> bool {
        self.fault().is_some_and(|f| f.code == code)
    }
}
