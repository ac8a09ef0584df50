//! What the lab keeps on disk, all under one folder, and the lock on it.
//!
//! What is about to be made is written before it is made, so that `down` finds
//! everything even if `up` was killed between the two.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::plan::Host;
use crate::process::Process;
use crate::rules::Cut;

/// Environment variable that names the lab's folder.
pub const FOLDER_VARIABLE: &str = "BACKSTAY_LAB_DIR";
/// The lab's folder unless told otherwise, for root.
pub const DEFAULT_FOLDER: &str = "/var/lib/backstay-lab";

/// The lab's folder unless told otherwise: [`FOLDER_VARIABLE`], else
/// `/var/lib/backstay-lab`; without root a folder of the user's own.
pub fn default_folder() -> PathBuf {
    if let Some(path) = std::env::var_os(FOLDER_VARIABLE).filter(|v| !v.is_empty()) {
        return path.into();
    }
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return DEFAULT_FOLDER.into();
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    own.filter(|path| path.is_dir()).map_or_else(
        || std::env::temp_dir().join(format!("backstay-lab-{user}")),
        |path| path.join("backstay-lab"),
    )
}

/// The lab's folder and what lies where in it.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Errors where the path cannot serve: it must be absolute, must not be one
    /// that `down` should never delete, and the overlay mount options must be
    /// able to carry it.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let text = path.to_str().unwrap_or("");
        if !path.is_absolute() || path.components().count() < 3 {
            bail!(
                "the lab's folder must be an absolute path at least two levels deep, like {DEFAULT_FOLDER}; it is {}",
                path.display()
            );
        }
        if text.is_empty() || text.contains([',', ':', '\\', '"']) || text.contains("..") {
            bail!(
                "the lab's folder may not contain any of , : \\ \" .. and must be UTF-8; it is {}",
                path.display()
            );
        }
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file or folder directly in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The copy of `backstay-lab` that the lab's own processes run.
    pub(crate) fn program(&self) -> PathBuf {
        self.join("backstay-lab")
    }

    /// The folder of one host: its disk, its boot log, its state.
    pub(crate) fn host(&self, name: &str) -> PathBuf {
        self.0.join("hosts").join(name)
    }

    pub(crate) fn state(&self) -> Result<Option<State>> {
        read(&self.join("state.json"))
    }

    pub(crate) fn save(&self, state: &State) -> Result<()> {
        write(&self.join("state.json"), state)
    }

    pub(crate) fn running(&self, host: &str) -> Result<Option<Running>> {
        read(&self.host(host).join("running.json"))
    }

    pub(crate) fn save_running(&self, host: &str, running: &Running) -> Result<()> {
        write(&self.host(host).join("running.json"), running)
    }

    pub(crate) fn cuts(&self) -> Result<Vec<Cut>> {
        Ok(read(&self.join("cuts.json"))?.unwrap_or_default())
    }

    pub(crate) fn save_cuts(&self, cuts: &[Cut]) -> Result<()> {
        write(&self.join("cuts.json"), &cuts)
    }

    /// Takes the lock of the lab; whoever holds it may make, change or remove
    /// things. Freed by the kernel when the process ends, however it ends.
    /// Errors if another process still holds it after `patience`, which should
    /// not be zero: a child that a killed `up` was just starting holds it until
    /// it runs its own program.
    pub(crate) fn lock(&self, patience: Duration) -> Result<Lock> {
        let path = self.join("lock");
        let until = Instant::now() + patience;
        loop {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(fs::TryLockError::WouldBlock) => bail!(
                    "another process is changing the lab in {}; try again when it is done",
                    self.0.display()
                ),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(error).context("cannot lock the lab");
                }
            }
            // `down` may have removed the file between our open and our lock.
            let same = |disk: fs::Metadata| {
                file.metadata()
                    .is_ok_and(|mine| mine.ino() == disk.ino() && mine.dev() == disk.dev())
            };
            if fs::metadata(&path).is_ok_and(same) {
                return Ok(Lock(file));
            }
        }
    }
}

/// The lock of the lab, held as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held open, never read")] File);

/// The whole lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// Its hosts, in the order in which they are shown.
    pub hosts: Vec<Host>,
    /// False until `up` has finished.
    pub complete: bool,
    /// Whether the folder of named network namespaces was there before.
    pub netns_folder_found: bool,
    /// Whether it was already a mount point (`ip netns` makes it one).
    pub netns_mount_found: bool,
}

/// One host, written by its supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    /// The process that looks after the host.
    pub supervisor: Process,
    /// `systemd-nspawn`, while the host is on.
    pub nspawn: Option<Process>,
    /// How often it has been booted.
    pub boots: u32,
    /// How the last run ended, if it has.
    pub ended: Option<String>,
}

impl Running {
    /// The host's PID 1, if the host is on.
    pub(crate) fn init(&self) -> Option<Process> {
        self.nspawn.filter(|n| n.alive())?.container_init()
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is damaged; `down` removes it", path.display()))?;
    Ok(Some(value))
}

/// Whole or not at all: readers never see half a file.
pub(crate) fn write<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let attempt = || -> std::io::Result<()> {
        let mut file = File::create(&partial)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        fs::rename(&partial, path)
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_could_do_harm_is_refused() {
        for wrong in [
            "",
            "lab",
            "/",
            "/var",
            "/var/lib/a,b",
            "/var/lib/a:b",
            "/var/../etc",
        ] {
            assert!(Folder::new(Path::new(wrong)).is_err(), "{wrong}");
        }
        assert!(Folder::new(Path::new("/var/lib/backstay-lab")).is_ok());
    }

    #[test]
    fn the_lock_is_exclusive_and_state_survives_writing() {
        let path = std::env::temp_dir().join(format!("backstay-lab-test-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let folder = Folder::new(&path).unwrap();
        let held = folder.lock(Duration::ZERO).unwrap();
        let refused = folder.lock(Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(held);
        folder.lock(Duration::ZERO).unwrap();
        assert!(folder.state().unwrap().is_none());
        let state = State {
            hosts: crate::plan::fleet(1),
            complete: false,
            netns_folder_found: true,
            netns_mount_found: false,
        };
        folder.save(&state).unwrap();
        let again = folder.state().unwrap().unwrap();
        assert_eq!(again.hosts, state.hosts);
        fs::write(folder.join("state.json"), "{").unwrap();
        let damaged = folder.state().unwrap_err().to_string();
        assert!(damaged.contains("damaged"), "{damaged}");
        fs::remove_dir_all(&path).unwrap();
    }
}
