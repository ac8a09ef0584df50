//! U11: the keys of viewers, as sshd reads them: for a user of their own, whose only way is the agent's bridge.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backstay_core::model::SystemViewer;
use nix::unistd::User;

use super::command;
use crate::store::{read_text, write_durably, write_quickly};

/// Who viewers log in as.
pub const USER: &str = "backstay-viewer";
/// Where sshd finds their keys. Nothing in it belongs to the user: no key can let in another.
pub const HOME: &str = "/var/lib/backstay-viewer";
/// What a viewer's key starts, whatever is asked for.
const AGENT: &str = "/usr/lib/backstay/backstay-agent";
/// Longest file of keys, bytes: the system document bounds their number.
const LONGEST: usize = 1024 * 1024;
/// How long making a user may take.
const LIMIT: Duration = Duration::from_secs(20);
/// For systemd-sysusers(8). A shell, because sshd runs a forced command through it.
const SYSUSERS: &str = include_str!("../../../../assets/backstay-sysusers.conf");

/// The file of keys for these viewers. Names and keys are checked by the document's rules (U11).
fn keys(viewers: &[SystemViewer]) -> String {
    let mut text = String::from("# Written by backstay-agent: backstay key viewer\n");
    for SystemViewer { name, key, .. } in viewers {
        let _ = writeln!(
            text,
            "command=\"{AGENT} rpc --viewer --name={name}\",restrict {key} {name}"
        );
    }
    text
}

/// Lets these viewers in under that home, and nobody else; whether that changed anything. Where there never was one,
/// nothing is made.
pub fn write(viewers: &[SystemViewer], home: &Path) -> io::Result<bool> {
    let file = file(home);
    let there = read_text(&file, LONGEST).unwrap_or_default();
    if there.is_none() && viewers.is_empty() {
        return Ok(false);
    }
    let text = keys(viewers);
    if there.as_ref() == Some(&text) && mode(&file) == Some(0o644) {
        return Ok(false);
    }
    // sshd looks as the user itself, and trusts no folder that others may write (sshd_config(5), StrictModes). The
    // agent's umask would keep that user out.
    for folder in [home, &home.join(".ssh")] {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::set_permissions(folder, Permissions::from_mode(0o755))?,
        }
    }
    write_durably(&file, text.as_bytes())?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    Ok(true)
}

fn file(home: &Path) -> PathBuf {
    home.join(".ssh/authorized_keys")
}

fn mode(file: &Path) -> Option<u32> {
    let there = fs::metadata(file).ok()?;
    Some(there.permissions().mode() & 0o777)
}

/// Makes the user and its group where there are none; whether it did. `scratch`: a folder that ends with the boot.
pub async fn make_user(scratch: &Path) -> Result<bool> {
    if matches!(User::from_name(USER), Ok(Some(_))) {
        return Ok(false);
    }
    let wanted = scratch.join("sysusers.conf");
    write_quickly(&wanted, SYSUSERS.as_bytes())?;
    run(&["systemd-sysusers", &wanted.to_string_lossy()]).await?;
    // Locked, as it is made, sshd without PAM would not let it in (auth.c, allowed_user): no password fits `*`.
    run(&["usermod", "--password", "*", USER]).await?;
    Ok(true)
}

async fn run(words: &[&str]) -> Result<()> {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let done = command::run(&words, &[], LIMIT).await;
    let done = done.with_context(|| format!("can't make the user {USER}"))?;
    ensure!(
        done.succeeded(),
        "can't make the user {USER}: {}: {}",
        words.join(" "),
        done.stderr.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(name: &str, key: &str) -> SystemViewer {
        SystemViewer {
            name: name.into(),
            key: key.into(),
            by: "admin@desk".into(),
            at: 1,
        }
    }

    #[test]
    fn u11_a_viewers_key_starts_the_bridge_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        assert!(!write(&[], &home).unwrap());
        assert!(!home.exists(), "nothing is made for nobody");
        let ann = viewer("ann", "ssh-ed25519 AAAAx");
        let both = [ann.clone(), viewer("bob@desk", "ssh-rsa AAAAy")];
        assert!(write(&both, &home).unwrap());
        let said = fs::read_to_string(file(&home)).unwrap();
        let lines: Vec<&str> = said.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "command=\"/usr/lib/backstay/backstay-agent rpc --viewer --name=ann\",restrict ssh-ed25519 AAAAx ann",
                "command=\"/usr/lib/backstay/backstay-agent rpc --viewer --name=bob@desk\",restrict ssh-rsa AAAAy bob@desk",
            ]
        );
        assert_eq!(mode(&file(&home)), Some(0o644));
        assert_eq!(mode(&home.join(".ssh")), Some(0o755));
        assert!(!write(&both, &home).unwrap(), "done again changes nothing");
        assert!(write(&[ann], &home).unwrap());
        assert!(!fs::read_to_string(file(&home)).unwrap().contains("bob"));
        assert!(write(&[], &home).unwrap(), "the last one goes, too");
        assert!(!fs::read_to_string(file(&home)).unwrap().contains("ssh-"));
    }
}
