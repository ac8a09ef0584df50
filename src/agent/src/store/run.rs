//! What ends with the machine's boot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use backstay_core::engine::RunState;
use backstay_core::model::ClusterId;
use nix::fcntl::{Flock, FlockArg};

use super::folder::{make_folder, read_text, write_quickly};

/// Longest run state that is read, bytes: far above 32 services.
const LONGEST: usize = 64 * 1024;

/// Another agent runs on this machine.
#[derive(Debug, thiserror::Error)]
pub enum AlreadyRuns {
    /// It holds the lock file.
    #[error("another backstay-agent runs on this machine: it holds {0}")]
    Locked(PathBuf),
    /// The lock file can't be made.
    #[error("can't lock {0}: {1}")]
    Io(PathBuf, io::Error),
}

/// The run folder, locked: one agent per machine touches the gate (PROTOCOL 37).
#[derive(Debug)]
pub struct RunFolder {
    clusters: PathBuf,
    starts: PathBuf,
    _lock: Flock<File>,
}

impl RunFolder {
    /// Makes the folder and locks it for the life of this process.
    ///
    /// # Errors
    /// Another agent has it, or the system's.
    pub fn lock(run: &Path) -> Result<Self, AlreadyRuns> {
        let path = run.join("lock");
        let io = |error| AlreadyRuns::Io(path.clone(), error);
        let clusters = run.join("clusters");
        make_folder(&clusters).map_err(io)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self {
                clusters,
                starts: run.join("starts"),
                _lock: lock,
            }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(AlreadyRuns::Locked(path.clone())),
            Err((_, error)) => Err(io(error.into())),
        }
    }

    /// What the last agent of this boot knew of a cluster; `None`: the machine was restarted, or it can't
    /// be read and counts as lost (PROTOCOL 23).
    pub fn read(&self, cluster: ClusterId) -> Option<RunState> {
        let path = self.path(cluster);
        let text = match read_text(&path, LONGEST) {
            Ok(text) => text?,
            Err(error) => {
                tracing::warn!("can't read {}: {error}; taken for lost", path.display());
                return None;
            }
        };
        serde_json::from_str(&text)
            .inspect_err(|error| {
                tracing::warn!("{} is damaged: {error}; taken for lost", path.display());
            })
            .ok()
    }

    /// Keeps what must not be forgotten while the machine runs: no disk, microseconds.
    pub fn write(&self, cluster: ClusterId, state: &RunState) -> io::Result<()> {
        let text = serde_json::to_vec(state).map_err(io::Error::other)?;
        write_quickly(&self.path(cluster), &text)
    }

    /// How often the agent was started since the machine's boot; 0: it was not, or that was lost.
    pub fn starts(&self) -> u64 {
        let text = read_text(&self.starts, 32).ok().flatten();
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Keeps that number.
    pub fn set_starts(&self, starts: u64) -> io::Result<()> {
        write_quickly(&self.starts, starts.to_string().as_bytes())
    }

    /// Forgets a cluster that this node left.
    pub fn forget(&self, cluster: ClusterId) -> io::Result<()> {
        match std::fs::remove_file(self.path(cluster)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, cluster: ClusterId) -> PathBuf {
        self.clusters.join(format!("{cluster}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_while_the_first_lives() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunFolder::lock(folder.path()).unwrap();
        let said = RunFolder::lock(folder.path()).unwrap_err().to_string();
        assert!(said.contains("another backstay-agent"), "{said}");
        drop(first);
        assert!(RunFolder::lock(folder.path()).is_ok());
    }

    #[test]
    fn a_damaged_run_state_counts_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::lock(folder.path()).unwrap();
        let cluster = ClusterId(1);
        assert_eq!(run.read(cluster), None);
        let state = RunState {
            epoch: 3,
            ..RunState::default()
        };
        run.write(cluster, &state).unwrap();
        assert_eq!(run.read(cluster), Some(state));
        std::fs::write(run.path(cluster), b"{\"epoch\":3,").unwrap();
        assert_eq!(run.read(cluster), None);
        run.forget(cluster).unwrap();
        run.forget(cluster).unwrap();
    }
}
