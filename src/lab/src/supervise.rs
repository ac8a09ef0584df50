//! The process that looks after one host: makes its network, boots it, boots it
//! again after a reboot, and pulls its cable when it is off.
//!
//! It runs detached from whoever started it (`backstay-lab host NAME`), so the
//! hosts outlive the command that made them.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::net;
use crate::plan::Host;
use crate::process::Process;
use crate::root::mount_root;
use crate::state::{Folder, Running};

/// How `systemd-nspawn --keep-unit` says that the host wants to boot again.
const REBOOT: i32 = 133;
/// Top of the lab's control groups, one below it per host: without groups of
/// their own the hosts' systemds would count each other's processes.
const GROUP: &str = "backstay-lab";

/// Starts the supervisor of a host, detached; returns once it is on its way.
pub(crate) fn start(folder: &Folder, host: &Host) -> Result<()> {
    let status = supervisor(folder, "host", &host.name)
        .arg("--detach")
        .status()
        .context("cannot start backstay-lab")?;
    anyhow::ensure!(
        status.success(),
        "cannot start the supervisor of {}: {status}",
        host.name
    );
    Ok(())
}

fn supervisor(folder: &Folder, verb: &str, host: &str) -> Command {
    let mut command = Command::new(folder.program());
    command
        .arg("--folder")
        .arg(folder.path())
        .args([verb, host])
        .stdin(Stdio::null());
    command
}

/// `backstay-lab host NAME`: with `detach`, starts itself again in the
/// background and returns; without, looks after the host until it is off.
pub fn host(folder: &Path, name: &str, detach: bool) -> Result<()> {
    let folder = Folder::new(folder)?;
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.host(name).join("console.log"))?;
    if detach {
        supervisor(&folder, "host", name)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        return Ok(());
    }
    nix::unistd::setsid().context("cannot leave the session")?;
    let peers = folder.state()?.context("no lab here")?.hosts;
    let host = find(&peers, name)?;
    let mut boots = folder.running(name)?.map_or(0, |before| before.boots);
    loop {
        boots += 1;
        let status = run_once(&folder, host, boots, &log);
        net::unplug(host, None);
        net::remove_host(host);
        let status = status?;
        let ended = match (status.code(), status.signal()) {
            (Some(0), _) => "powered off".to_owned(),
            (Some(REBOOT), _) => "rebooting".to_owned(),
            // What nspawn says when PID 1 is killed; see console.log for the rest.
            (Some(1), _) => "lost its power".to_owned(),
            (Some(code), _) => format!("ended with status {code}"),
            (None, signal) => format!("killed by signal {}", signal.unwrap_or(0)),
        };
        record(&folder, host, None, boots, Some(ended))?;
        if status.code() != Some(REBOOT) {
            return Ok(());
        }
    }
}

/// One boot, from a fresh network to the end of the host.
fn run_once(folder: &Folder, host: &Host, boots: u32, log: &File) -> Result<ExitStatus> {
    record(folder, host, None, boots, None)?;
    net::make_host(host)?;
    let mut child = supervisor(folder, "boot", &host.name)
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
        .context("cannot start backstay-lab")?;
    let nspawn = i32::try_from(child.id()).ok().and_then(Process::of);
    record(folder, host, nspawn, boots, None)?;
    Ok(child.wait()?)
}

fn record(
    folder: &Folder,
    host: &Host,
    nspawn: Option<Process>,
    boots: u32,
    ended: Option<String>,
) -> Result<()> {
    let supervisor = Process::current().context("cannot read /proc/self/stat")?;
    let running = Running {
        supervisor,
        nspawn,
        boots,
        ended,
    };
    folder.save_running(&host.name, &running)
}

/// `backstay-lab boot NAME`: mounts the host's root and becomes `systemd-nspawn`.
/// Returns only if that fails.
pub fn boot(folder: &Path, name: &str) -> Result<()> {
    let folder = Folder::new(folder)?;
    let peers = folder.state()?.context("no lab here")?.hosts;
    let host = find(&peers, name)?;
    for group in groups(name) {
        fs::create_dir_all(&group)
            .and_then(|()| fs::write(group.join("cgroup.procs"), std::process::id().to_string()))
            .with_context(|| format!("cannot use the control group {}", group.display()))?;
    }
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let root = mount_root(&folder, host, &peers)?;
    // In this mount namespace nspawn may leave in /run what it likes, and the
    // machine's console, which may be a slow serial line, is out of reach.
    let network = folder.host(name).join("netns");
    let none: Option<&str> = None;
    File::create(&network)?;
    mount(
        Some(&net::path(&host.namespace())),
        &network,
        none,
        MsFlags::MS_BIND,
        none,
    )
    .context("cannot hold the network namespace")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)
        .context("cannot mount /run")?;
    mount(
        Some("/dev/null"),
        "/dev/console",
        none,
        MsFlags::MS_BIND,
        none,
    )
    .context("cannot hide the console")?;
    let error = nspawn(host, &root, &network).exec();
    Err(error).context("cannot run systemd-nspawn")
}

fn nspawn(host: &Host, root: &Path, network: &Path) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command
        .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
        .arg(format!("--directory={}", root.display()))
        .arg(format!("--network-namespace-path={}", network.display()))
        .arg(format!("--machine={}", host.namespace()))
        .arg(format!("--hostname={}", host.name))
        .args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            // Whatever writes to a console in the host writes to nothing.
            "--bind=/dev/null:/dev/console",
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE,CAP_IPC_LOCK",
        ]);
    command
}

fn find<'a>(hosts: &'a [Host], name: &str) -> Result<&'a Host> {
    hosts
        .iter()
        .find(|host| host.name == name)
        .with_context(|| format!("no host {name} in this lab"))
}

/// The control groups of a host, in each hierarchy that systemd keeps.
fn groups(host: &str) -> Vec<PathBuf> {
    group_tops().into_iter().map(|top| top.join(host)).collect()
}

/// The lab's own top control groups.
pub(crate) fn group_tops() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    parse_hierarchies(&mounts)
        .into_iter()
        .map(|hierarchy| hierarchy.join(GROUP))
        .collect()
}

/// Where control groups are mounted that systemd sorts processes into: the
/// unified hierarchy and, on older set-ups, the one named "systemd".
fn parse_hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut kind = kind.split(' ');
            let wanted = match kind.next()? {
                "cgroup2" => true,
                "cgroup" => kind.nth(1)?.split(',').any(|o| o == "name=systemd"),
                _ => false,
            };
            wanted.then(|| place.split(' ').nth(4).map(PathBuf::from))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_control_groups_are_found() {
        let hybrid = "\
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime shared:5 - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
";
        assert_eq!(
            parse_hierarchies(hybrid),
            ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"].map(PathBuf::from)
        );
        let unified =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            parse_hierarchies(unified),
            [PathBuf::from("/sys/fs/cgroup")]
        );
    }
}
