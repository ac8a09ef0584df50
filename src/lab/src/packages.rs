//! The Debian packages that the lab needs.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::manager::Network;
use crate::run::run;

/// A program of each package, by which its presence is told.
const NEEDED: [(&str, &str); 12] = [
    ("/lib/systemd/systemd", "systemd"),
    ("systemd-nspawn", "systemd-container"),
    ("nft", "nftables"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ip", "iproute2"),
    ("dbus-daemon", "dbus"),
    ("rsync", "rsync"),
    ("nsenter", "util-linux"),
    ("chrt", "util-linux"),
    ("iptables", "iptables"),
    ("arptables", "arptables"),
];

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str =
    "#!/bin/sh\n# Written by backstay-lab while it installs packages.\nexit 101\n";

/// Names of the Debian packages that the lab lacks on this machine.
pub fn missing(network: Network) -> Vec<&'static str> {
    let mut lacking: Vec<&str> = NEEDED
        .iter()
        .chain(network.needs())
        .filter(|(program, _)| !present(program))
        .map(|(_, package)| *package)
        .collect();
    lacking.dedup();
    lacking
}

/// The command that mends what [`missing`] found.
pub fn remedy(packages: &[&str]) -> String {
    format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

/// Installs Debian packages without asking and without starting their services.
///
/// Needs root. Errors when apt does not succeed, with what it said.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("installing packages needs root: sudo {}", remedy(packages));
    }
    let _policy = Policy::forbid_starts()?;
    keep_from_boot(packages)?;
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    // A new machine often has no package lists yet, or old ones.
    if apt(&arguments).is_err() {
        apt(&["update", "-q"])?;
        apt(&arguments)?;
    }
    let still: Vec<&str> = missing(Network::Mixed)
        .into_iter()
        .filter(|p| packages.contains(p))
        .collect();
    if !still.is_empty() {
        bail!(
            "installed, but still without the programs of: {}",
            still.join(" ")
        );
    }
    Ok(())
}

fn present(program: &str) -> bool {
    if program.starts_with('/') {
        return is_program(Path::new(program));
    }
    // Not PATH alone: an administrator's shell may lack the sbin folders.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .any(|folder| is_program(&folder.join(program)))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What a manager of networks would do to this machine's own at its next boot, if it was not there before.
fn keep_from_boot(packages: &[&str]) -> Result<()> {
    const STARTED: [(&str, &str); 2] = [
        ("ifupdown", "networking.service"),
        ("network-manager", "NetworkManager.service"),
    ];
    for (_, unit) in STARTED.iter().filter(|(p, _)| packages.contains(p)) {
        let mask = Path::new("/etc/systemd/system").join(unit);
        if fs::symlink_metadata(&mask).is_err() && mask.parent().is_some_and(Path::exists) {
            std::os::unix::fs::symlink("/dev/null", &mask)
                .with_context(|| format!("cannot mask {unit}"))?;
            eprintln!("{unit} is masked on this machine: the lab's hosts alone use it");
        }
    }
    Ok(())
}

/// While it lives, maintainer scripts start no service (Debian's policy-rc.d);
/// an administrator's own policy is left as it is.
struct Policy(bool);

impl Policy {
    fn forbid_starts() -> Result<Self> {
        let path = Path::new(POLICY);
        let ours = fs::read_to_string(path).is_ok_and(|text| text == POLICY_TEXT);
        if path.exists() && !ours {
            return Ok(Self(false));
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(path)
            .with_context(|| format!("cannot write {POLICY}"))?;
        std::io::Write::write_all(&mut file, POLICY_TEXT.as_bytes())?;
        Ok(Self(true))
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.0 {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(present("sh"));
        assert!(present("/bin/sh"));
        assert!(!present("no-such-program-anywhere"));
        assert!(!present("/etc/passwd"));
    }

    #[test]
    fn the_remedy_is_one_command() {
        assert_eq!(
            remedy(&["nftables", "dbus"]),
            "apt-get install --no-install-recommends nftables dbus"
        );
    }
}
