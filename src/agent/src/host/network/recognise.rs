//! What configures an interface, and in which file.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::edit::Format;
use crate::store::read_text;

/// Longest configuration file that is read, bytes.
pub(super) const LONGEST: usize = 256 * 1024;
/// Most files of one kind that are looked at.
const MOST_FILES: usize = 256;
/// How deep files of ifupdown may name each other.
const DEEPEST: u8 = 8;

/// Where an address comes from at boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file that gives it; empty: none was found.
    pub file: String,
    /// Why no file can be changed; empty: that one can.
    pub fixed: String,
}

/// What configures an interface, by the state files that each of them keeps.
pub fn manager(index: u32, name: &str, root: &Path) -> Option<&'static str> {
    let read = |path: String| fs::read_to_string(root.join(path)).unwrap_or_default();
    // systemd-networkd lists every link; `configured` or `configuring` are those that it manages.
    let networkd = read(format!("run/systemd/netif/links/{index}"));
    let state = networkd
        .lines()
        .find_map(|line| line.strip_prefix("ADMIN_STATE="))
        .unwrap_or_default();
    if !matches!(state, "" | "unmanaged") {
        // netplan writes the file that networkd then reads.
        let file = networkd
            .lines()
            .find_map(|line| line.strip_prefix("NETWORK_FILE="))
            .unwrap_or_default();
        return Some(if file.contains("netplan") {
            "netplan"
        } else {
            "systemd-networkd"
        });
    }
    let device = read(format!("run/NetworkManager/devices/{index}"));
    if device
        .lines()
        .any(|line| matches!(line.trim(), "managed=true" | "managed=1"))
    {
        let netplan = device.contains("netplan");
        return Some(if netplan { "netplan" } else { "NetworkManager" });
    }
    let up = read("run/network/ifstate".to_owned())
        .lines()
        .any(|line| line.split('=').next() == Some(name));
    let named = up
        || !read(format!("run/network/ifstate.{name}"))
            .trim()
            .is_empty()
        || in_interfaces(name, root);
    named.then_some("ifupdown")
}

/// Whether ifupdown's configuration has a section for the interface.
fn in_interfaces(name: &str, root: &Path) -> bool {
    interfaces_files(root).iter().any(|path| {
        text_of(path).lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("iface") && words.next() == Some(name)
        })
    })
}

/// Which file of that manager gives the machine an address, and whether it can be changed.
pub fn origin(manager: &str, address: IpAddr, root: &Path) -> Origin {
    if manager.is_empty() {
        return Origin {
            file: String::new(),
            fixed: "nothing that is known here configures its interface".to_owned(),
        };
    }
    let Some((path, _)) = find(manager, address, root) else {
        return Origin {
            file: String::new(),
            fixed: format!(
                "no file of {manager} has it; it may come from DHCP, or was put on by hand"
            ),
        };
    };
    let fixed = match access(&path, AccessFlags::W_OK) {
        Ok(()) => String::new(),
        Err(error) => format!("the file can't be written: {error}"),
    };
    let file = path.strip_prefix(root).unwrap_or(&path);
    Origin {
        file: Path::new("/").join(file).display().to_string(),
        fixed,
    }
}

/// The file of that manager that gives an address.
pub(super) fn find(manager: &str, address: IpAddr, root: &Path) -> Option<(PathBuf, Format)> {
    let netplan = || with(Format::Netplan, in_folder(root, "etc/netplan", ".yaml"));
    let all: Vec<(PathBuf, Format)> = match manager {
        "ifupdown" => with(Format::Ifupdown, interfaces_files(root)),
        "netplan" => netplan(),
        "systemd-networkd" => with(Format::Networkd, networkd_files(root)),
        "NetworkManager" => {
            let folder = "etc/NetworkManager/system-connections";
            let mut all = with(Format::Keyfile, in_folder(root, folder, ""));
            // It may have got its connections from there, and tells so only by their names.
            all.extend(netplan());
            all
        }
        _ => Vec::new(),
    };
    let mut all = all.into_iter();
    all.find(|(path, format)| format.gives(&text_of(path), address))
}

fn with(format: Format, paths: Vec<PathBuf>) -> Vec<(PathBuf, Format)> {
    paths.into_iter().map(|path| (path, format)).collect()
}

fn text_of(path: &Path) -> String {
    read_text(path, LONGEST).ok().flatten().unwrap_or_default()
}

/// The visible files of a folder whose names end so, in order; the kept former ones are hidden.
fn in_folder(root: &Path, folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(folder))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.ends_with(end) && !name.starts_with('.')
        })
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .take(MOST_FILES)
        .collect();
    found.sort();
    found
}

/// `*.network` with their drop-ins. Those under /run and /usr are others' to write.
fn networkd_files(root: &Path) -> Vec<PathBuf> {
    let folder = "etc/systemd/network";
    let mut found = in_folder(root, folder, ".network");
    let entries = fs::read_dir(root.join(folder));
    let mut folders: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".network.d"))
        .collect();
    folders.sort();
    for dropins in folders {
        found.extend(in_folder(root, &format!("{folder}/{dropins}"), ".conf"));
    }
    found
}

/// `/etc/network/interfaces` and what it names.
fn interfaces_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    named_by(root, &root.join("etc/network/interfaces"), 0, &mut found);
    found
}

fn named_by(root: &Path, path: &Path, depth: u8, found: &mut Vec<PathBuf>) {
    let path = path.to_owned();
    if depth > DEEPEST || found.len() >= MOST_FILES || found.contains(&path) || !path.is_file() {
        return;
    }
    found.push(path.clone());
    let here = path.parent().unwrap_or(root).to_owned();
    for line in text_of(&path).lines() {
        let mut words = line.split_whitespace();
        let (Some(word), Some(named)) = (words.next(), words.next()) else {
            continue;
        };
        // A relative name counts from the file that has it.
        let named = match named.strip_prefix('/') {
            Some(absolute) => root.join(absolute),
            None => here.join(named),
        };
        let (folder, pattern) = match word {
            "source" => (
                named.parent().unwrap_or(root).to_owned(),
                named.file_name().unwrap_or_default().to_string_lossy(),
            ),
            "source-directory" => (named, "".into()),
            _ => continue,
        };
        let Ok(inside) = folder.strip_prefix(root) else {
            continue;
        };
        for file in in_folder(root, &inside.to_string_lossy(), "") {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let taken = match word {
                "source" => matches(&pattern, &name),
                // As run-parts: no dots, so no copies of editors.
                _ => name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')),
            };
            if taken {
                named_by(root, &file, depth + 1, found);
            }
        }
    }
}

/// A shell's pattern, as far as configurations use it: `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((begin, rest)) => name.strip_prefix(begin).is_some_and(|name| {
            (0..=name.len())
                .filter(|at| name.is_char_boundary(*at))
                .any(|at| matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A root with these files.
    pub(in super::super) fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(root.path(), path, text);
        }
        root
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn c15_the_manager_of_an_interface_is_told_by_its_state_files() {
        let root = root_with(&[]);
        let root = root.path();
        assert_eq!(manager(2, "eth0", root), None);
        write(root, "etc/network/interfaces", "source interfaces.d/*\n");
        write(
            root,
            "etc/network/interfaces.d/lan",
            "auto eth0\niface eth0 inet static\n",
        );
        assert_eq!(manager(2, "eth0", root), Some("ifupdown"));
        assert_eq!(manager(3, "eth1", root), None);
        write(
            root,
            "run/NetworkManager/devices/2",
            "[device]\nmanaged=true\n",
        );
        assert_eq!(manager(2, "eth0", root), Some("NetworkManager"));
        write(root, "run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n");
        assert_eq!(manager(2, "eth0", root), Some("NetworkManager"));
        write(
            root,
            "run/systemd/netif/links/2",
            "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/lan.network\n",
        );
        assert_eq!(manager(2, "eth0", root), Some("systemd-networkd"));
        write(
            root,
            "run/systemd/netif/links/2",
            "ADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\n",
        );
        assert_eq!(manager(2, "eth0", root), Some("netplan"));
    }

    #[test]
    fn c15_the_file_of_an_address_is_found() {
        let root = root_with(&[
            (
                "etc/network/interfaces",
                "source /etc/network/interfaces.d/*.cfg\nsource-directory more\n",
            ),
            (
                "etc/network/interfaces.d/lan.cfg",
                "iface eth0 inet static\naddress 192.0.2.101/24\n",
            ),
            (
                "etc/network/interfaces.d/.lan.cfg.before-backstay",
                "iface eth0 inet static\naddress 192.0.2.111/24\n",
            ),
            (
                "etc/network/more/two",
                "iface eth0 inet static\naddress 192.0.2.102/24\n",
            ),
            (
                "etc/network/more/two.bak",
                "iface eth0 inet static\naddress 192.0.2.112/24\n",
            ),
            (
                "etc/systemd/network/a.network.d/b.conf",
                "[Network]\nAddress=192.0.2.103/24\n",
            ),
            (
                "etc/NetworkManager/system-connections/lan.nmconnection",
                "[ipv4]\naddress1=192.0.2.104/24\n",
            ),
            (
                "etc/netplan/50-lan.yaml",
                "network:\n ethernets:\n  eth0:\n   addresses: [192.0.2.105/24]\n",
            ),
        ]);
        let file = |manager: &str, address: &str| {
            origin(manager, address.parse().unwrap(), root.path()).file
        };
        let at = |manager: &str, last: u8| file(manager, &format!("192.0.2.{last}"));
        assert_eq!(at("ifupdown", 101), "/etc/network/interfaces.d/lan.cfg");
        assert_eq!(at("ifupdown", 102), "/etc/network/more/two");
        assert_eq!(at("ifupdown", 111), "");
        assert_eq!(at("ifupdown", 112), "");
        assert_eq!(
            at("systemd-networkd", 103),
            "/etc/systemd/network/a.network.d/b.conf"
        );
        assert_eq!(
            at("NetworkManager", 104),
            "/etc/NetworkManager/system-connections/lan.nmconnection"
        );
        assert_eq!(at("NetworkManager", 105), "/etc/netplan/50-lan.yaml");
        assert_eq!(at("netplan", 105), "/etc/netplan/50-lan.yaml");
        let none = origin("netplan", "192.0.2.9".parse().unwrap(), root.path());
        assert_eq!(
            none.fixed,
            "no file of netplan has it; it may come from DHCP, or was put on by hand"
        );
    }
}
