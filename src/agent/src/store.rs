//! What an agent keeps: durable files under the state folder, and under the run folder what ends with the
//! machine's boot (PROTOCOL 35).
//!
//! | file | what |
//! |---|---|
//! | `STATE/node.toml` | name, identity, incarnation, boot counter |
//! | `STATE/system.toml` | the system document |
//! | `STATE/clusters/NAME.toml` | a cluster document; `.staged` a revision not yet committed, `.former` one of a cluster that this node left, `.lost-HASH` a text that lost against another of its revision |
//! | `STATE/guarded` | addresses that the gate closes at boot (S7) |
//! | `STATE/history`, `STATE/audit` | journals |
//! | `RUN/clusters/ID.json` | the engine's [`RunState`](backstay_core::engine::RunState) |
//! | `RUN/lock`, `RUN/agent.sock` | one agent per machine; its socket |

mod files;
mod folder;
pub mod journal;
mod node;
mod run;

pub use files::{Shelf, Stored};
pub use folder::{make_folder, read_text, remove_durably, write_durably, write_quickly};
pub use node::{Identity, NodeFile};
pub use run::{AlreadyRuns, RunFolder};

use std::path::{Path, PathBuf};

/// Where an agent keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Survives reboots.
    pub state: PathBuf,
    /// Ends with the machine's boot: must lie on a memory file system.
    pub run: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            state: "/var/lib/backstay".into(),
            run: "/run/backstay".into(),
        }
    }
}

impl Folders {
    /// Both below one folder, for tests and for agents without root.
    pub fn below(folder: &Path) -> Self {
        Self {
            state: folder.join("state"),
            run: folder.join("run"),
        }
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }

    /// The addresses that the gate closes at boot (S7).
    pub fn guarded(&self) -> PathBuf {
        self.state.join("guarded")
    }

    /// The journal of decisions (F15).
    pub fn history(&self) -> PathBuf {
        self.state.join("history")
    }

    /// The journal of admins' actions (U11).
    pub fn audit(&self) -> PathBuf {
        self.state.join("audit")
    }
}
