//! The lab as a whole: up, open, down, and the ways into its hosts.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::clean::clean;
use crate::manager::Network;
use crate::net;
use crate::packages;
use crate::plan::{CLIENT, Host, Kind, MOST_EXTRA, Shape, fleet, fleet_on};
use crate::process::Process;
use crate::root::check_machine;
use crate::run::run;
use crate::service::demo_services;
use crate::state::{Folder, Lock, State, default_folder};
use crate::supervise;

/// Port of the hosts' sshd.
const SSH_PORT: u16 = 22;
/// How long a host may take to boot on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// How long to wait for another command to finish what it changes.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How to bring the lab up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the lab keeps everything; without it [`default_folder`].
    pub folder: Option<PathBuf>,
    /// The `backstay-lab` program; without it the running program if it is that,
    /// else the one beside the running program.
    pub program: Option<PathBuf>,
    /// Bare hosts beyond the usual five: `x1`, `x2`, ... (0 to 15).
    pub extra_hosts: u8,
    /// What the hosts' network is like.
    pub shape: Shape,
    /// Whether to install and start the demonstration services.
    pub demo: bool,
    /// What configures the hosts' network.
    pub network: Network,
}

/// Several real hosts on one machine.
#[derive(Debug, Clone)]
pub struct Lab {
    pub(crate) folder: Folder,
    hosts: Vec<Host>,
}

/// All that is needed to reach a host over SSH, from the client's network
/// ([`Lab::enter_client_network`] or [`Lab::connect`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SshTarget {
    /// Host name.
    pub host: String,
    /// An address that is with this host now and does not move to another.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// File with the private key that may log in (ed25519).
    pub identity: PathBuf,
    /// File with the host keys (OpenSSH format).
    pub known_hosts: PathBuf,
}

impl Lab {
    /// Makes the lab: network, disks, hosts; returns when every host's sshd
    /// answers. What a former lab in this folder left behind is removed first.
    ///
    /// Errors without root, when packages are missing, when a lab is already up,
    /// or when a host does not come up within 90 s.
    pub fn up(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        need_root("making hosts")?;
        let lacking = packages::missing(options.network);
        ensure!(
            lacking.is_empty(),
            "the lab needs Debian packages that are missing: {}",
            packages::remedy(&lacking)
        );
        check_machine()?;
        ensure!(
            options.network == Network::Networkd || options.shape == Shape::default(),
            "two links, and no IPv4, are there with systemd-networkd only"
        );
        let path = options.folder.clone().unwrap_or_else(default_folder);
        let folder = Folder::new(&path)?;
        let program = find_program(options.program.as_deref())?;
        if let Some(owner) = net::owner().filter(|owner| Path::new(owner) != folder.path()) {
            bail!("there is a lab in {owner} already; take it down first (only one at a time)");
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let lock = folder.lock(LOCK_PATIENCE)?;
        if let Some(before) = folder.state().unwrap_or(None) {
            let before = Self {
                folder: folder.clone(),
                hosts: before.hosts,
            };
            if before.complete() && before.hosts.iter().any(|h| before.init(h).is_some()) {
                bail!("the lab in {} is already up", path.display());
            }
            progress("removing what a former lab left behind");
        }
        clean(&folder, &fleet(MOST_EXTRA))?;
        let mut hosts = fleet_on(options.extra_hosts, options.shape);
        for (place, host) in hosts.iter_mut().enumerate() {
            host.network = options.network.of(place);
        }
        let lab = Self { folder, hosts };
        lab.make(&program, progress)?;
        if options.demo {
            progress("installing the demonstration services");
            lab.install_demo_locked(&lock)?;
        }
        Ok(lab)
    }

    fn make(&self, program: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let netns_folder_found = Path::new(net::NETNS).exists();
        let mut state = State {
            hosts: self.hosts.clone(),
            complete: false,
            netns_folder_found,
            netns_mount_found: netns_folder_found && net::is_mount(net::NETNS),
        };
        self.folder.save(&state)?;
        fs::copy(program, self.folder.program())
            .with_context(|| format!("cannot copy {}", program.display()))?;
        progress("making keys and the switch");
        self.make_keys()?;
        net::make_common(&self.folder, self.shape())?;
        progress(&format!("booting {} hosts", self.hosts.len()));
        for host in &self.hosts {
            supervise::start(&self.folder, host)?;
        }
        for host in &self.hosts {
            self.wait_ready(&host.name, BOOT_LIMIT)?;
            progress(&format!("{} answers on {}", host.name, host.reached_at().0));
        }
        state.complete = true;
        self.folder.save(&state)
    }

    /// One key pair that may log in everywhere, one host key each.
    fn make_keys(&self) -> Result<()> {
        keygen(&self.folder.join("id_ed25519"), "backstay-lab")?;
        let mut known = String::new();
        for host in &self.hosts {
            let folder = self.folder.host(&host.name);
            fs::create_dir_all(&folder)?;
            keygen(&folder.join("host_key"), &host.name)?;
            let public = fs::read_to_string(folder.join("host_key.pub"))?;
            let key: Vec<&str> = public.split_ascii_whitespace().take(2).collect();
            let mut names = vec![
                host.name.clone(),
                host.base().to_string(),
                host.base6().to_string(),
            ];
            if host.address() != host.base() {
                names.extend([host.address().to_string(), host.address6().to_string()]);
            }
            // Writing to a string cannot fail.
            let _ = writeln!(known, "{} {}", names.join(","), key.join(" "));
        }
        fs::write(self.known_hosts(), known).context("cannot write known_hosts")
    }

    /// Whether there is such a lab in this folder, complete or not.
    pub fn is_in(folder: &Path) -> bool {
        folder.join("state.json").exists()
    }

    /// The lab in the default folder; errors if none is up.
    pub fn open() -> Result<Self> {
        Self::open_in(&default_folder())
    }

    /// The lab in this folder; errors if none is up there.
    pub fn open_in(folder: &Path) -> Result<Self> {
        let folder = Folder::new(folder)?;
        let state = folder.state()?.with_context(|| {
            format!("no lab in {}; bring one up first", folder.path().display())
        })?;
        ensure!(
            state.complete,
            "the lab in {} is half-made; take it down or bring it up again",
            folder.path().display()
        );
        Ok(Self {
            folder,
            hosts: state.hosts,
        })
    }

    /// Removes the lab in the default folder: hosts, disks, network, files, also
    /// of a half-made or damaged one. True if there was anything.
    pub fn down() -> Result<bool> {
        Self::down_in(&default_folder())
    }

    /// Removes the lab in this folder.
    pub fn down_in(folder: &Path) -> Result<bool> {
        let folder = Folder::new(folder)?;
        if !folder.path().exists() {
            // Its network may still be there if someone removed the folder by hand.
            let ours = net::owner().is_some_and(|owner| Path::new(&owner) == folder.path());
            if !ours {
                return Ok(false);
            }
            fs::create_dir_all(folder.path())?;
        }
        need_root("removing the lab")?;
        let lock = folder.lock(LOCK_PATIENCE)?;
        clean(&folder, &fleet(MOST_EXTRA))?;
        fs::remove_dir_all(folder.path())
            .with_context(|| format!("cannot remove {}", folder.path().display()))?;
        drop(lock);
        Ok(true)
    }

    /// Whether `up` has finished.
    fn complete(&self) -> bool {
        matches!(self.folder.state(), Ok(Some(State { complete: true, .. })))
    }

    /// The folder in which the lab keeps everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The hosts, in the order in which they are shown.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What the hosts' network is like.
    pub fn shape(&self) -> Shape {
        self.hosts.first().map_or_else(Shape::default, |h| h.shape)
    }

    /// A host by name; the error lists the names there are.
    pub fn host(&self, name: &str) -> Result<&Host> {
        find_host(&self.hosts, name)
    }

    /// PID 1 of a host that is on.
    pub(crate) fn init(&self, host: &Host) -> Option<Process> {
        self.folder.running(&host.name).ok()??.init()
    }

    /// PID 1 of a host; the error says that it is off.
    pub(crate) fn need_init(&self, host: &Host) -> Result<Process> {
        self.init(host)
            .with_context(|| format!("{} is off", host.name))
    }

    pub(crate) fn change_lock(&self) -> Result<Lock> {
        need_root("changing the lab")?;
        self.folder.lock(LOCK_PATIENCE)
    }

    /// Moves the calling thread, and threads that it starts later, into the
    /// client's network, from which the hosts can be reached. Call it early in
    /// `main`: threads that already run stay where they are.
    pub fn enter_client_network(&self) -> Result<()> {
        net::enter(CLIENT)
    }

    /// Connects to an address in the lab from the client's network, whatever
    /// network the calling thread is in.
    pub fn connect(&self, address: SocketAddr, limit: Duration) -> Result<TcpStream> {
        net::inside(CLIENT, || {
            TcpStream::connect_timeout(&address, limit)
                .with_context(|| format!("cannot connect to {address}"))
        })
    }

    /// Gives the network's gateway, which is in no cluster, an address of its own, or takes one from it (`change` is
    /// what `ip address` calls it).
    pub fn gateway_address(&self, change: &str, address: &str) -> Result<()> {
        net::gateway_address(change, address)
    }

    /// A command that runs in the client's network.
    pub fn client_command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", net::path(CLIENT).display()));
        command.arg(program);
        command
    }

    /// A command that runs inside a host as root, without SSH (so also when its
    /// network is cut). Errors if the host is off.
    pub fn host_command(&self, name: &str, program: &str) -> Result<Command> {
        let init = self.need_init(self.host(name)?)?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &init.pid.to_string(), "--all", "--", program]);
        Ok(command)
    }

    fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// How to reach a host over SSH now. Its base address once it has that,
    /// before that the one it booted with.
    pub fn ssh_target(&self, name: &str) -> Result<SshTarget> {
        let host = self.host(name)?;
        let has: Vec<IpAddr> = net::addresses(host)
            .iter()
            .filter_map(|a| a.split('/').next()?.parse().ok())
            .collect();
        Ok(SshTarget {
            host: host.name.clone(),
            address: host.reached_with(&has),
            port: SSH_PORT,
            user: "root".to_owned(),
            identity: self.folder.join("id_ed25519"),
            known_hosts: self.known_hosts(),
        })
    }

    /// The `ssh` command that logs in to a host; add what to run there.
    pub fn ssh_command(&self, name: &str) -> Result<Command> {
        let target = self.ssh_target(name)?;
        let mut command = self.client_command("ssh");
        command
            .args(["-F", "none", "-i"])
            .arg(&target.identity)
            .arg("-o")
            .arg(format!(
                "UserKnownHostsFile={}",
                target.known_hosts.display()
            ))
            .args([
                "-o",
                "GlobalKnownHostsFile=none",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"])
            // Another host may have had this address before (C16).
            .arg("-o")
            .arg(format!("HostKeyAlias={}", target.host))
            .args(["-p", &target.port.to_string()])
            .arg(format!("{}@{}", target.user, target.address));
        Ok(command)
    }

    /// Runs a command in a host over SSH, or a shell if it is empty, on this
    /// terminal.
    pub fn ssh(&self, name: &str, command: &[String]) -> Result<ExitStatus> {
        need_root("reaching the hosts")?;
        let mut ssh = self.ssh_command(name)?;
        if !command.is_empty() {
            ssh.arg("--").args(command);
        }
        ssh.status().context("cannot run ssh")
    }

    /// Waits until a host's sshd answers and it has an address. Errors after `limit`, or as soon as the
    /// host is off again, with the end of its boot log.
    pub fn wait_ready(&self, name: &str, limit: Duration) -> Result<()> {
        let host = self.host(name)?;
        let until = Instant::now() + limit;
        loop {
            let Err(error) = self.greeting(host) else {
                return Ok(());
            };
            let given_up = self.gave_up(host)?;
            if given_up || Instant::now() >= until {
                let log = fs::read_to_string(self.folder.host(name).join("console.log"));
                let log = tail(&log.unwrap_or_default());
                let why = if given_up {
                    "ended again"
                } else {
                    "was too slow"
                };
                return Err(error).context(format!("{name} did not come up: it {why}; {log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a host is off and nobody boots it.
    fn gave_up(&self, host: &Host) -> Result<bool> {
        let running = self.folder.running(&host.name)?;
        Ok(running.is_some_and(|running| !running.supervisor.alive()))
    }

    /// Asks the host's own sshd, from inside the host's network: the address that it boots with may be with another
    /// host by now, which would answer in its place.
    fn greeting(&self, host: &Host) -> Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], SSH_PORT));
        self.need_init(host)?;
        let mut stream = net::inside(&host.namespace(), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(300))
                .with_context(|| format!("cannot connect to the sshd of {}", host.name))
        })?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut start = [0; 4];
        stream.read_exact(&mut start)?;
        ensure!(&start == b"SSH-", "{} does not speak SSH", host.name);
        // Not every manager of networks is as quick as sshd.
        let there = net::addresses(host);
        let used = |address: &String| address.contains(':') == host.shape.ipv6;
        ensure!(there.iter().any(used), "{} has no address", host.name);
        Ok(())
    }

    /// Installs the demonstration services `web1`, `web2`, `web3`: started and
    /// enabled at home, present on the standby and on the extra hosts, which can
    /// take the place of others.
    pub fn install_demo(&self) -> Result<()> {
        self.install_demo_locked(&self.change_lock()?)
    }

    fn install_demo_locked(&self, _lock: &Lock) -> Result<()> {
        for service in demo_services() {
            self.install_service(&service)?;
            for host in self.hosts.iter().filter(|h| h.kind == Kind::Extra) {
                self.put_service(&service, &host.name)?;
            }
        }
        Ok(())
    }
}

/// A host by name; the error lists the names there are.
pub(crate) fn find_host<'a>(hosts: &'a [Host], name: &str) -> Result<&'a Host> {
    hosts.iter().find(|h| h.name == name).with_context(|| {
        let names: Vec<&str> = hosts.iter().map(|h| h.name.as_str()).collect();
        format!(
            "no host \"{name}\" in the lab; there are {}",
            names.join(" ")
        )
    })
}

/// Errors without root, saying what needs it.
pub(crate) fn need_root(what: &str) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "{what} needs root; run it with sudo or as root"
    );
    Ok(())
}

fn find_program(given: Option<&Path>) -> Result<PathBuf> {
    given.map_or_else(|| beside("backstay-lab"), |path| there(path.to_owned()))
}

/// A program in the folder of the one that runs.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("cannot tell which program runs")?;
    there(me.with_file_name(name))
}

fn there(program: PathBuf) -> Result<PathBuf> {
    ensure!(
        program.is_file(),
        "the lab needs the program {}; there is none at {}",
        program.file_name().unwrap_or_default().display(),
        program.display()
    );
    Ok(program)
}

fn keygen(file: &Path, comment: &str) -> Result<()> {
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(file)
        .stdin(Stdio::null()))
    .map(drop)
}

/// The last lines of a log, for an error.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    if lines.is_empty() {
        return "its log is empty".to_owned();
    }
    let last: Vec<&str> = lines.into_iter().rev().collect();
    format!("its log ends: {}", last.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_last_five_lines_in_order() {
        assert_eq!(
            tail("1\n2\n3\n4\n5\n6\n"),
            "its log ends: 2 | 3 | 4 | 5 | 6"
        );
        assert_eq!(tail(""), "its log is empty");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = find_program(Some(Path::new("/nonexistent/backstay-lab"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/backstay-lab"));
    }

    #[test]
    fn a_folder_without_a_lab_is_said_so() {
        let error = Lab::open_in(Path::new("/var/lib/no-lab-here")).unwrap_err();
        assert!(error.to_string().contains("no lab in /var/lib/no-lab-here"));
        assert!(!Lab::down_in(Path::new("/var/lib/no-lab-here")).unwrap());
    }
}
