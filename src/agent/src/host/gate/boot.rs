//! The static skeleton, and what is loaded at boot before the network (S7).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::native::NativeGate;
use super::{GateError, OwnWriters, PLANES, TABLE};

/// The skeleton as nft reads it; also an asset of its own.
const SKELETON: &str = include_str!("../../../../../assets/gate.nft");

/// Runs one nft script; nft applies it as one transaction or not at all.
pub(super) fn run_script(
    what: &'static str,
    arguments: &[&str],
    script: &str,
    writers: &OwnWriters,
) -> Result<String, GateError> {
    let failed = |source: std::io::Error| {
        let hint = if source.kind() == std::io::ErrorKind::NotFound {
            "nft is not installed: install the package nftables".to_owned()
        } else {
            source.to_string()
        };
        GateError::Nft {
            what,
            message: hint,
        }
    };
    let mut child = Command::new("nft")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    writers.add(child.id());
    if let Some(mut stdin) = child.stdin.take() {
        // nft reads the whole script before it writes anything, so this cannot block for ever. If it died, its
        // own words below say more than the broken pipe.
        let _ = stdin.write_all(script.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let message = complaint
        .lines()
        .next()
        .unwrap_or("no message")
        .chars()
        .filter(|c| !c.is_control())
        .take(300);
    Err(GateError::Nft {
        what,
        message: message.collect(),
    })
}

/// Lays the skeleton; `tables` says whether the tables themselves are to be made too.
pub(super) fn install(tables: Tables, writers: &OwnWriters) -> Result<(), GateError> {
    let script = skeleton(tables);
    run_script("lay the gate's skeleton", &["-f", "-"], &script, writers).map(drop)
}

/// How our tables came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// They are not yet, or they are ordinary ones.
    Plain,
    /// They are there and persist: nft before 1.1.0 can't name the flag, and the kernel refuses to make them anew
    /// without it.
    Persist,
}

fn skeleton(tables: Tables) -> Cow<'static, str> {
    if tables == Tables::Plain {
        return SKELETON.into();
    }
    let lines = SKELETON.lines().filter(|l| !l.starts_with("add table "));
    let mut text: String = lines.collect::<Vec<_>>().join("\n");
    text.push('\n');
    text.into()
}

/// Whether this machine's nft and kernel would take the skeleton. Changes nothing, and asks under another name: the
/// tables of an agent that runs are its own.
pub fn check() -> Result<(), GateError> {
    let name = format!(" {TABLE} ");
    let other = format!(" {TABLE}_check ");
    let script: Vec<String> = SKELETON
        .lines()
        .map(|line| format!("{line} ").replace(&name, &other))
        .collect();
    run_script(
        "check the gate's skeleton",
        &["-c", "-f", "-"],
        &script.join("\n"),
        &OwnWriters::default(),
    )
    .map(drop)
}

/// How an address is written in a set of this plane.
pub(super) fn element(addr: IpAddr, as_number: bool) -> String {
    match addr {
        IpAddr::V6(v6) if as_number => format!("{:#034x}", v6.to_bits()),
        other => other.to_string(),
    }
}

/// The list of guarded addresses as an nft script that only ever adds: it closes, it opens nothing.
pub fn guarded_script(addrs: &[IpAddr]) -> String {
    let mut script = String::from(
        "# Written by backstay-agent; loaded at boot by backstay-gate.service. Do not edit.\n",
    );
    for plane in &PLANES {
        let elements: Vec<_> = addrs
            .iter()
            .filter(|addr| addr.is_ipv6() == plane.v6)
            .map(|&addr| element(addr, plane.as_number))
            .collect();
        if !elements.is_empty() {
            let (family, set) = (plane.family_name, plane.guarded);
            let _ = writeln!(
                script,
                "add element {family} {TABLE} {set} {{ {} }}",
                elements.join(", ")
            );
        }
    }
    script
}

/// Writes [`guarded_script`] so that it survives a power failure (write, fsync, rename, fsync the folder).
pub fn write_guarded(path: &Path, addrs: &[IpAddr]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let draft = path.with_extension("draft");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(guarded_script(addrs).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// How loading at boot went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootLoad {
    /// Skeleton and guarded addresses are loaded.
    Loaded,
    /// Only the skeleton: there is no list, so this node guards nothing yet.
    NothingGuarded,
    /// An agent runs and keeps the gate: there is nothing to load.
    Kept,
}

/// Loads the skeleton and, in the same transaction, the list at `guarded` (S7). For `backstay-agent gate-load`.
///
/// If the list is damaged the skeleton is laid all the same, and the error is returned: the agent will guard what
/// its document says when it comes up.
pub fn boot_load(guarded: &Path) -> Result<BootLoad, GateError> {
    let writers = OwnWriters::default();
    let tables = match NativeGate::open().and_then(|mut gate| gate.make_tables()) {
        Ok(Some(tables)) => tables,
        Ok(None) => return Ok(BootLoad::Kept),
        Err(_) => Tables::Plain, // `nft` may work all the same, or say what is wrong
    };
    let list = match std::fs::read_to_string(guarded) {
        Ok(list) => list,
        Err(error) => {
            install(tables, &writers)?;
            if error.kind() == std::io::ErrorKind::NotFound {
                return Ok(BootLoad::NothingGuarded);
            }
            return Err(GateError::Nft {
                what: "read the guarded addresses",
                message: error.to_string(),
            });
        }
    };
    let script = format!("{}\n{list}", skeleton(tables));
    match run_script("load the gate", &["-f", "-"], &script, &writers) {
        Ok(_) => Ok(BootLoad::Loaded),
        Err(error) => {
            install(tables, &writers)?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_the_boot_list_names_every_address_in_both_of_its_tables() {
        let addrs = [
            "192.0.2.101".parse().unwrap(),
            "2001:db8::1".parse().unwrap(),
        ];
        let script = guarded_script(&addrs);
        let lines: Vec<_> = script.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "add element inet backstay guarded4 { 192.0.2.101 }",
                "add element arp backstay guarded4 { 192.0.2.101 }",
                "add element inet backstay guarded6 { 2001:db8::1 }",
                "add element inet backstay guardednd { 0x20010db8000000000000000000000001 }",
            ]
        );
    }

    #[test]
    fn every_set_that_the_code_writes_is_in_the_skeleton() {
        for plane in &PLANES {
            for set in std::iter::once(plane.guarded)
                .chain(plane.armed)
                .chain(plane.live)
            {
                let line = format!("add set {} {TABLE} {set} {{", plane.family_name);
                assert!(SKELETON.contains(&line), "{line}");
            }
        }
    }
}
