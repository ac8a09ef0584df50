//! The Debian packages that building and the lab need.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// Package, and a file that is there when it is installed.
const NEEDED: &[(&str, &str)] = &[
    ("systemd-container", "/usr/bin/systemd-nspawn"),
    ("systemd-sysv", "/sbin/init"),
    ("dbus", "/usr/bin/dbus-daemon"),
    ("nftables", "/usr/sbin/nft"),
    ("iproute2", "/usr/sbin/ip"),
    ("openssh-server", "/usr/sbin/sshd"),
    ("openssh-client", "/usr/bin/ssh"),
    ("libssl-dev", "/usr/include/openssl/ssl.h"),
    ("pkg-config", "/usr/bin/pkg-config"),
];

/// Checks that every package is there; with `yes` installs those that are not.
///
/// # Errors
/// Names the missing packages and the command that installs them.
pub(crate) fn provide(yes: bool) -> Result<()> {
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !yes {
        bail!(
            "these Debian packages are missing: {list}; install them with `apt-get install {list}`, or say --yes"
        );
    }
    println!("installing {list}");
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()?;
    if !status.success() {
        bail!(
            "apt-get {}: {status}; it needs root and the network",
            arguments.join(" ")
        );
    }
    Ok(())
}
