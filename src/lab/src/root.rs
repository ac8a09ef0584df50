//! The disk of a host: an overlay over the machine's own root, in which the
//! machine's own data and services are hidden. Runs in a mount namespace of the
//! host's own, so that the machine's mount table never shows any of it.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, mknod};

use crate::manager::{self, Network};
use crate::plan::Host;
use crate::state::Folder;

/// What of the machine's root a host shares; everything else at the top is hidden.
const SHARED: [&str; 9] = [
    "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "usr", "var",
];
/// Folders that a Debian has at the top, empty in a host, and their modes.
const EMPTY: [(&str, u32); 14] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];
/// Deeper in, what is the machine's own business: its network, services that
/// its packages enabled, keys, logs, and a Backstay of its own.
const HIDDEN: [&str; 30] = [
    "etc/backstay",
    "etc/cron.d",
    "etc/fstab",
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "etc/netplan",
    "etc/network/interfaces",
    "etc/network/interfaces.d",
    "etc/NetworkManager/system-connections",
    "etc/rc0.d",
    "etc/rc1.d",
    "etc/rc2.d",
    "etc/rc3.d",
    "etc/rc4.d",
    "etc/rc5.d",
    "etc/rc6.d",
    "etc/rcS.d",
    "etc/resolv.conf",
    "etc/ssh",
    "etc/systemd/network",
    "etc/systemd/system",
    "etc/systemd/system-generators",
    "etc/systemd/system.conf.d",
    "var/lib/backstay",
    "var/lib/systemd",
    "var/lib/dbus",
    "var/log",
    "var/spool/cron",
    "var/tmp",
];
/// Folders where packages say what a target starts without being enabled.
const TARGETS: [&str; 7] = [
    "basic",
    "default",
    "graphical",
    "local-fs",
    "multi-user",
    "sysinit",
    "timers",
];
/// Of these, what a host may keep; the rest is masked.
const KEPT_PREFIXES: [&str; 2] = ["systemd-", "dbus"];
const KEPT_SUFFIXES: [&str; 4] = [".mount", ".automount", ".slice", "setup.target"];
/// No terminals: nothing in a host may reach for a console.
const MASKED: [&str; 4] = [
    "getty.target",
    "console-getty.service",
    "systemd-ask-password-console.path",
    "systemd-firstboot.service",
];
const UNITS: &str = "usr/lib/systemd/system";
const GENERATORS: &str = "usr/lib/systemd/system-generators";

/// Errors where the machine's root cannot serve as the hosts' lower layer.
pub(crate) fn check_machine() -> Result<()> {
    let root = fs::metadata("/")?.dev();
    for part in ["/usr", "/etc", "/var"] {
        if fs::metadata(part)
            .with_context(|| format!("no {part}"))?
            .dev()
            != root
        {
            bail!("the lab needs / and {part} on one file system; here {part} is another");
        }
    }
    Ok(())
}

/// Mounts a host's root and, at its first boot, writes its configuration.
/// Returns where it is. The caller must be in a mount namespace of its own.
pub(crate) fn mount_root(folder: &Folder, host: &Host, peers: &[Host]) -> Result<PathBuf> {
    let home = folder.host(&host.name);
    let [lower, upper, work, root] = ["lower", "upper", "work", "root"].map(|d| home.join(d));
    for made in [&lower, &upper, &work, &root] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    // The modes of the upper layer are those that the host sees.
    fs::set_permissions(&upper, Permissions::from_mode(0o755))?;
    let written = home.join("written");
    let first = !written.exists();
    if first {
        hide(folder, &upper)?;
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    mount(Some("/"), &lower, none, MsFlags::MS_BIND, none).context("cannot bind the root")?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| format!("cannot mount an overlay ({options})"))?;
    if first {
        configure(folder, host, peers, &root)?;
        fs::write(written, "")?;
    }
    Ok(root)
}

/// Hides parts of the machine by whiteouts in the upper layer: with one under
/// it, a folder made later through the overlay is empty.
fn hide(folder: &Folder, upper: &Path) -> Result<()> {
    for entry in fs::read_dir("/")? {
        let name = entry?.file_name();
        if !SHARED.iter().any(|shared| name == *shared) {
            whiteout(upper, Path::new(&name))?;
        }
    }
    for hidden in HIDDEN {
        whiteout(upper, Path::new(hidden))?;
    }
    // An overlay that finds its own upper layer below itself answers with errors.
    let own = folder.path().strip_prefix("/").unwrap_or(folder.path());
    whiteout(upper, own)
}

fn whiteout(upper: &Path, hidden: &Path) -> Result<()> {
    if fs::symlink_metadata(Path::new("/").join(hidden)).is_err() {
        return Ok(());
    }
    // Folders above it must exist in the upper layer and look like the machine's.
    let mut above = PathBuf::new();
    for part in hidden.parent().unwrap_or(Path::new("")) {
        above.push(part);
        let machine = fs::symlink_metadata(Path::new("/").join(&above))?;
        let mine = upper.join(&above);
        match fs::symlink_metadata(&mine) {
            // Already hidden as a whole, or a link to somewhere else.
            Ok(found) if !found.is_dir() => return Ok(()),
            Ok(_) => {}
            Err(_) if !machine.is_dir() => return Ok(()),
            Err(_) => {
                fs::create_dir(&mine)?;
                fs::set_permissions(&mine, machine.permissions())?;
            }
        }
    }
    match mknod(&upper.join(hidden), SFlag::S_IFCHR, Mode::empty(), 0) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot hide /{}", hidden.display())),
    }
}

/// Writes what makes this host itself, through the mounted overlay.
fn configure(folder: &Folder, host: &Host, peers: &[Host], root: &Path) -> Result<()> {
    for (name, mode) in EMPTY {
        let made = root.join(name);
        fs::create_dir_all(&made)?;
        fs::set_permissions(&made, Permissions::from_mode(mode))?;
    }
    // With this folder the journal is kept across boots.
    fs::create_dir_all(root.join("var/log/journal"))?;
    let put = |path: &str, text: &str, mode: u32| -> Result<()> {
        let file = root.join(path);
        if let Some(above) = file.parent() {
            fs::create_dir_all(above)?;
        }
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::write(&file, text).with_context(|| format!("cannot write {path} of {}", host.name))?;
        Ok(fs::set_permissions(&file, Permissions::from_mode(mode))?)
    };
    put("etc/hostname", &format!("{}\n", host.name), 0o644)?;
    put("etc/hosts", &hosts_file(peers), 0o644)?;
    put("etc/fstab", "", 0o644)?;
    put(
        "etc/resolv.conf",
        "# No names beyond /etc/hosts in the lab.\n",
        0o644,
    )?;
    put("etc/machine-id", &machine_id()?, 0o444)?;
    for (path, text, mode) in manager::files(host) {
        put(path, &text, mode)?;
    }
    put("etc/ssh/sshd_config", SSHD, 0o644)?;
    let key = fs::read_to_string(folder.host(&host.name).join("host_key"))?;
    put("etc/ssh/ssh_host_ed25519_key", &key, 0o600)?;
    let key = fs::read_to_string(folder.host(&host.name).join("host_key.pub"))?;
    put("etc/ssh/ssh_host_ed25519_key.pub", &key, 0o644)?;
    fs::create_dir_all(root.join("root/.ssh"))?;
    fs::set_permissions(root.join("root/.ssh"), Permissions::from_mode(0o700))?;
    let key = fs::read_to_string(folder.join("id_ed25519.pub"))?;
    put("root/.ssh/authorized_keys", &key, 0o600)?;
    choose_units(root, host.network)?;
    install_program(folder, root)
}

/// Puts the lab's program where the host's units find it.
fn install_program(folder: &Folder, root: &Path) -> Result<()> {
    let target = root.join("usr/local/bin/backstay-lab");
    fs::create_dir_all(root.join("usr/local/bin"))?;
    fs::copy(folder.program(), &target).context("cannot install backstay-lab in the host")?;
    Ok(())
}

/// Starts sshd and the network; masks whatever else the machine's packages would.
fn choose_units(root: &Path, network: Network) -> Result<()> {
    let system = root.join("etc/systemd/system");
    let wants = system.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    for unit in ["ssh.service", network.unit()] {
        link(&Path::new("/").join(UNITS).join(unit), &wants.join(unit))?;
    }
    let null = Path::new("/dev/null");
    for unit in MASKED {
        link(null, &system.join(unit))?;
    }
    for target in TARGETS {
        for unit in names(&root.join(UNITS).join(format!("{target}.target.wants"))) {
            if !kept(&unit) {
                link(null, &system.join(unit))?;
            }
        }
    }
    // A generator may start units that nothing names (cloud-init, snapd, netplan).
    let generators = root.join("etc/systemd/system-generators");
    fs::create_dir_all(&generators)?;
    for generator in names(&root.join(GENERATORS)) {
        if !generator.starts_with("systemd-") && !network.runs_generator(&generator) {
            link(null, &generators.join(generator))?;
        }
    }
    Ok(())
}

fn kept(unit: &str) -> bool {
    KEPT_PREFIXES.iter().any(|p| unit.starts_with(p))
        || KEPT_SUFFIXES.iter().any(|s| unit.ends_with(s))
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn link(target: &Path, at: &Path) -> Result<()> {
    match symlink(target, at) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn machine_id() -> Result<String> {
    // A random one from the kernel, in the form of machine-id(5).
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(uuid.replace('-', ""))
}

fn hosts_file(peers: &[Host]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    for peer in peers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {}", peer.reached_at().1, peer.name);
    }
    text
}

const SSHD: &str = "\
# Written by backstay-lab.
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
# A session by PAM starts a whole user manager in the host. Five hosts share this machine's processors: that would
# be measured along with whatever a session is opened for.
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 100
Subsystem sftp /usr/lib/openssh/sftp-server
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fleet;

    #[test]
    fn foreign_units_are_masked_and_the_systems_own_kept() {
        for unit in [
            "systemd-journald.socket",
            "dbus.service",
            "dev-mqueue.mount",
            "cryptsetup.target",
        ] {
            assert!(kept(unit), "{unit}");
        }
        for unit in [
            "docker.service",
            "postgresql.service",
            "apt-daily.timer",
            "getty.target",
        ] {
            assert!(!kept(unit), "{unit}");
        }
    }

    #[test]
    fn hosts_know_each_other_by_base_address() {
        let text = hosts_file(&fleet(0));
        assert!(text.contains("192.0.2.11 n1\n"), "{text}");
        assert!(text.contains("192.0.2.21 sb1\n"), "{text}");
    }

    #[test]
    fn a_machine_id_is_32_hex_digits() {
        let id = machine_id().unwrap();
        assert_eq!(id.trim_end().len(), 32);
        assert!(id.trim_end().chars().all(|c| c.is_ascii_hexdigit()));
    }
}
