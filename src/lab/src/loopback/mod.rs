//! The lab without root: the same agents, each a process on a loopback address of its own.
//!
//! What only root could make is pretended: an agent pretends its addresses and its gate (`--simulate`), a power
//! failure is the SIGKILL of a host's processes. Every process that the lab starts carries the lab's folder in its
//! environment, and so does whatever it starts: by that they are found again, all of them and no other, even if the
//! command that started them was killed.

mod host;
pub mod service;
mod status;

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::clean::kill_all;
use crate::lab::{LOCK_PATIENCE, beside};
use crate::plan::{Host, fleet};
use crate::process::{Process, all};
use crate::serve::HTTP_PORT;
use crate::service::demo_services;
use crate::state::{Folder, read, write};

pub use status::LoopbackStatus;

/// In the environment of every process of a lab: the lab's folder.
pub const FOLDER_MARK: &str = "BACKSTAY_LAB_OF";
/// In the environment of every process of a host: its name.
pub(crate) const HOST_MARK: &str = "BACKSTAY_LAB_HOST";
/// The file by which such a lab is known.
const STATE: &str = "loopback.json";
/// UDP port of the agents' beats.
const BEATS: u16 = 5980;
/// Longest path of a Unix socket (unix(7), `sun_path`).
const LONGEST_SOCKET: usize = 107;

/// What the lab without root is, in one line.
pub const WHAT_IT_IS: &str = "without root the lab runs on loopback addresses. Simulated: the hosts' addresses and \
network, the gate in the kernel, power. Real: the agents, their beats over UDP, documents and decisions, and the \
services that they start and stop. For real hosts run it as root, or with sudo";

/// The lab, as its file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    /// Number of its network, see [`Host::on_loopback`].
    network: u8,
    /// The programs that it runs.
    agent: PathBuf,
    lab: PathBuf,
    /// False until `up` has finished.
    complete: bool,
}

/// Several agents on one machine, without root.
#[derive(Debug, Clone)]
pub struct Loopback {
    folder: Folder,
    state: State,
    hosts: Vec<Host>,
}

impl Loopback {
    /// Starts five agents and, on the hosts that will be their homes, the demonstration services. What a former lab in
    /// this folder left behind is removed first.
    ///
    /// Errors if such a lab is up already, or the folder holds something else.
    pub fn up(path: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let folder = Folder::new(path)?;
        make_own(path)?;
        must_be_a_labs(path)?;
        let socket = folder.host("sb1").join("run/agent.sock");
        ensure!(
            socket.as_os_str().len() <= LONGEST_SOCKET,
            "{} is too long for the path of a socket; name a shorter folder with {}",
            socket.display(),
            crate::FOLDER_VARIABLE
        );
        let _lock = folder.lock(LOCK_PATIENCE)?;
        if let Ok(before) = Self::open_in(path)
            && before.hosts.iter().any(|host| before.is_on(host))
        {
            bail!("the lab in {} is already up", path.display());
        }
        empty(&folder)?;
        let hosts = fleet(0);
        let mut made = Self {
            state: State {
                network: free_network(&hosts)?,
                agent: beside("backstay-agent")?,
                lab: beside("backstay-lab")?,
                complete: false,
            },
            folder,
            hosts,
        };
        made.save()?;
        progress(&format!("starting {} agents", made.hosts.len()));
        for host in &made.hosts {
            made.start_agent(host)?;
        }
        for host in &made.hosts {
            made.wait_ready(&host.name)?;
            let (_, base) = host.on_loopback(made.state.network);
            progress(&format!("{} runs, for {base}", host.name));
        }
        for service in demo_services() {
            made.start_service(&service.name, &service.home)?;
        }
        made.state.complete = true;
        made.save()?;
        Ok(made)
    }

    /// Whether there is such a lab in this folder, complete or not.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(STATE).exists()
    }

    /// The lab in this folder; errors if none is up there.
    pub fn open_in(path: &Path) -> Result<Self> {
        let lab = Self::load(path)?;
        ensure!(
            lab.state.complete,
            "the lab in {} is half-made; take it down or bring it up again",
            path.display()
        );
        Ok(lab)
    }

    /// The same, also while it is being made.
    fn load(path: &Path) -> Result<Self> {
        let folder = Folder::new(path)?;
        let state = read(&folder.join(STATE))?
            .with_context(|| format!("no lab in {}; bring one up first", path.display()))?;
        Ok(Self {
            folder,
            state,
            hosts: fleet(0),
        })
    }

    /// Ends every process of the lab in this folder and removes the folder, also of a half-made lab. True if there was
    /// anything.
    pub fn down_in(path: &Path) -> Result<bool> {
        let folder = Folder::new(path)?;
        if !path.exists() {
            // Its processes may still be there if someone removed the folder by hand.
            let left = !marked(&folder).is_empty();
            kill_all(|| marked(&folder))?;
            return Ok(left);
        }
        must_be_a_labs(path)?;
        let lock = folder.lock(LOCK_PATIENCE)?;
        empty(&folder)?;
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
        drop(lock);
        Ok(true)
    }

    fn save(&self) -> Result<()> {
        write(&self.folder.join(STATE), &self.state)
    }

    /// The folder in which the lab keeps everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The hosts, in the order in which they are shown.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host by name; the error lists the names there are.
    fn host(&self, name: &str) -> Result<&Host> {
        crate::lab::find_host(&self.hosts, name)
    }

    /// Where the agent of a host listens for the maintenance utility.
    pub fn socket(&self, host: &str) -> PathBuf {
        self.folder.host(host).join("run/agent.sock")
    }

    /// The network of the hosts, as the beginning of every address in it: `127.98.2`.
    pub fn network(&self) -> String {
        format!("127.98.{}", self.state.network)
    }

    /// The address at which clients ask a demonstration service over HTTP.
    pub fn http(&self, service: &str) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.alias(service)?.into(), HTTP_PORT))
    }

    /// The alias of a demonstration service: the address that its home had before there was a cluster.
    fn alias(&self, service: &str) -> Result<Ipv4Addr> {
        let found = demo_services().into_iter().find(|s| s.name == service);
        let found = found.with_context(|| format!("no demonstration service \"{service}\""))?;
        let (address, _) = self.host(&found.home)?.on_loopback(self.state.network);
        Ok(address)
    }

    /// A program that carries the mark of this lab.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env(FOLDER_MARK, self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

/// Every process of the lab in this folder, however it was started.
fn marked(folder: &Folder) -> Vec<Process> {
    let mine = folder.path().to_str();
    let me = Process::current();
    let of_it = |process: &Process| {
        Some(*process) != me && process.environment(FOLDER_MARK).as_deref() == mine
    };
    all().into_iter().filter(of_it).collect()
}

/// Makes the folder if it is not there; it must be this user's alone, or others could put things in our way.
fn make_own(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let found = fs::symlink_metadata(path)?;
    ensure!(
        found.is_dir()
            && found.uid() == nix::unistd::geteuid().as_raw()
            && found.mode() & 0o022 == 0,
        "{} is not a folder of yours alone; name another with {}",
        path.display(),
        crate::FOLDER_VARIABLE
    );
    Ok(())
}

/// Errors where `down` would delete what is not a lab's. One that was killed early has its lock only.
fn must_be_a_labs(path: &Path) -> Result<()> {
    let mut entries = fs::read_dir(path)?.flatten();
    ensure!(
        Loopback::is_in(path) || entries.all(|entry| entry.file_name() == "lock"),
        "{} is no lab's: it holds other files; name another folder with {}",
        path.display(),
        crate::FOLDER_VARIABLE
    );
    Ok(())
}

/// Ends every process of the lab and empties its folder but for the lock.
fn empty(folder: &Folder) -> Result<()> {
    kill_all(|| marked(folder))?;
    crate::clean::empty(folder, STATE)
}

/// The number of a network in which nobody has our ports: another user may have such a lab too.
fn free_network(hosts: &[Host]) -> Result<u8> {
    let free = |number: &u8| {
        hosts.iter().all(|host| {
            let (address, base) = host.on_loopback(*number);
            UdpSocket::bind((base, BEATS)).is_ok()
                && TcpListener::bind((address, HTTP_PORT)).is_ok()
        })
    };
    (2..=250)
        .find(free)
        .context("no network 127.98.N.0/24 is free on this machine")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder of the test's own, gone with it.
    struct Place(PathBuf);

    impl Place {
        fn new(tag: &str) -> Self {
            let name = format!("backstay-loopback-{tag}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            make_own(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_processes_with_the_mark_of_this_lab_are_ended() {
        let (mine, other) = (Place::new("mine"), Place::new("other"));
        let sleep = |mark: &Path| {
            let mut command = Command::new("sleep");
            command.arg("60").env(FOLDER_MARK, mark).spawn().unwrap()
        };
        // What the lab's own processes start has the mark too.
        let mut nested = Command::new("sh")
            .args(["-c", "sleep 60; true"])
            .env(FOLDER_MARK, &mine.0)
            .spawn()
            .unwrap();
        let (mut marked_one, mut foreign) = (sleep(&mine.0), sleep(&other.0));
        let folder = Folder::new(&mine.0).unwrap();
        let process = |id: u32| Process::of(i32::try_from(id).unwrap()).unwrap();
        for id in [marked_one.id(), nested.id()] {
            // A mark is there from the first instruction of the program, not from the fork.
            while !marked(&folder).contains(&process(id)) {
                std::thread::yield_now();
            }
        }
        kill_all(|| marked(&folder)).unwrap();
        assert!(!marked_one.wait().unwrap().success());
        assert!(!nested.wait().unwrap().success());
        assert!(foreign.try_wait().unwrap().is_none());
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }

    #[test]
    fn a_folder_with_other_files_is_neither_used_nor_removed() {
        let place = Place::new("foreign");
        fs::write(place.0.join("thesis.tex"), "years of work").unwrap();
        let refused = Loopback::up(&place.0, &mut |_| {}).unwrap_err().to_string();
        assert!(refused.contains("other files"), "{refused}");
        let refused = Loopback::down_in(&place.0).unwrap_err().to_string();
        assert!(refused.contains("other files"), "{refused}");
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_in_which_others_may_write_is_refused() {
        let place = Place::new("shared");
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = Loopback::up(&place.0, &mut |_| {}).unwrap_err().to_string();
        assert!(refused.contains("yours alone"), "{refused}");
    }

    #[test]
    fn what_an_early_end_leaves_is_removed() {
        let place = Place::new("early");
        fs::write(place.0.join("lock"), "").unwrap();
        assert!(Loopback::down_in(&place.0).unwrap());
        assert!(!place.0.exists());
        assert!(!Loopback::down_in(&place.0).unwrap());
    }

    #[test]
    fn a_network_in_use_is_passed_over() {
        let hosts = fleet(0);
        let first = free_network(&hosts).unwrap();
        let (_, base) = hosts[0].on_loopback(first);
        let _taken = UdpSocket::bind((base, BEATS)).unwrap();
        assert!(free_network(&hosts).unwrap() > first);
    }
}
