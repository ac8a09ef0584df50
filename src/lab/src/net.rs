//! The lab's network: one namespace per host, one for the client, one for the
//! bridge that joins them. Nothing leads out of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use serde::Deserialize;

use crate::plan::{
    BRIDGE, CLIENT, CLIENT_OCTET, GATEWAY, Host, MOST_LINKS, Mac, SWITCH, Shape, ipv4, ipv6, port,
};
use crate::run::{ip, run_with_input};
use crate::state::Folder;

/// Where `ip netns` keeps the named network namespaces.
pub(crate) const NETNS: &str = "/run/netns";
const CLIENT_PORT: &str = "client";

/// The file that stands for a named network namespace.
pub(crate) fn path(namespace: &str) -> PathBuf {
    Path::new(NETNS).join(namespace)
}

pub(crate) fn exists(namespace: &str) -> bool {
    path(namespace).exists()
}

/// Moves the calling thread, and threads that it starts later, into a namespace.
pub(crate) fn enter(namespace: &str) -> Result<()> {
    let file = File::open(path(namespace))
        .with_context(|| format!("no network namespace {namespace}; is the lab up?"))?;
    setns(&file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot enter the network namespace {namespace} (needs root)"))
}

/// Runs `work` in a namespace, on a thread of its own. Sockets that it returns
/// stay in that namespace.
pub(crate) fn inside<T: Send>(
    namespace: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| enter(namespace).and_then(|()| work()))
            .join()
            .unwrap_or_else(|_| Err(anyhow!("a thread inside {namespace} panicked")))
    })
}

/// The folder of the lab to which the network belongs, if there is one.
pub(crate) fn owner() -> Option<String> {
    if !exists(SWITCH) {
        return None;
    }
    let text = ip(&format!("-n {SWITCH} -j link show dev {BRIDGE}")).ok()?;
    let links: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(links.get(0)?.get("ifalias")?.as_str()?.to_owned())
}

/// Makes the bridge and the client.
pub(crate) fn make_common(folder: &Folder, shape: Shape) -> Result<()> {
    ip(&format!("netns add {SWITCH}"))?;
    let (gateway, gateway6) = (ipv4(GATEWAY), ipv6(GATEWAY));
    // No spanning tree and no forward delay: a port passes frames at once. No
    // multicast snooping: neighbour discovery must reach everyone.
    batch(
        SWITCH,
        &format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set {BRIDGE} address {mac} alias {owner}\n\
             link set {BRIDGE} up\n\
             address add {gateway}/24 dev {BRIDGE}\n\
             address add {gateway6}/64 dev {BRIDGE} nodad\n",
            mac = Mac::of(GATEWAY),
            owner = folder.path().display(),
        ),
    )?;
    for link in 2..=shape.links {
        let bridge = port(BRIDGE, link);
        batch(
            SWITCH,
            &format!(
                "link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
                 link set {bridge} addrgenmode none\nlink set {bridge} up\n"
            ),
        )?;
    }
    // A machine that forwards would hand that on to new namespaces.
    inside(SWITCH, || {
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(Path::new("/proc/sys/net").join(file), "0")
                .with_context(|| format!("cannot switch off net/{file}"))?;
        }
        Ok(())
    })?;
    ip(&format!("netns add {CLIENT}"))?;
    plug(CLIENT, 1, CLIENT_PORT, Mac::of(CLIENT_OCTET))?;
    batch(
        CLIENT,
        &format!(
            "link set eth0 up\n\
             address add {}/24 dev eth0\n\
             address add {}/64 dev eth0 nodad\n\
             route add default via {gateway}\n",
            ipv4(CLIENT_OCTET),
            ipv6(CLIENT_OCTET),
        ),
    )
}

/// Makes a host's network namespace, empty but for its link: the addresses come
/// from the host's own configuration. A former one is thrown away.
pub(crate) fn make_host(host: &Host) -> Result<()> {
    remove_host(host);
    let namespace = host.namespace();
    ip(&format!("netns add {namespace}"))?;
    for link in 1..=host.shape.links {
        plug(&namespace, link, &host.name, host.mac().on_link(link))?;
    }
    Ok(())
}

/// Changes the addresses of the gateway, which is the bridge itself.
pub(crate) fn gateway_address(change: &str, address: &str) -> Result<()> {
    ip(&format!(
        "-n {SWITCH} address {change} {address} dev {BRIDGE}"
    ))
    .map(drop)
}

/// A cable from `eth0`, or `eth1` on the second link, in a namespace to a new port of that link's switch.
fn plug(namespace: &str, link: u8, name: &str, mac: Mac) -> Result<()> {
    let (port, bridge, interface) = (port(name, link), port(BRIDGE, link), link - 1);
    ip(&format!(
        "link add {port} netns {SWITCH} type veth peer name eth{interface} netns {namespace} address {mac}"
    ))?;
    batch(
        SWITCH,
        &format!("link set {port} addrgenmode none\nlink set {port} master {bridge} up\n"),
    )?;
    batch(namespace, "link set lo up\n")
}

/// Pulls a host's cables, or that of one link: from here on it neither hears nor is
/// heard there. Needed because a namespace outlives its processes and would go on
/// answering ARP.
pub(crate) fn unplug(host: &Host, link: Option<u8>) {
    set_ports(host, link, "down");
}

/// Puts a host's cables in again.
pub(crate) fn replug(host: &Host) {
    set_ports(host, None, "up");
}

fn set_ports(host: &Host, link: Option<u8>, to: &str) {
    let links = (1..=host.shape.links).filter(|l| link.is_none_or(|only| only == *l));
    for link in links {
        let port = port(&host.name, link);
        // Fails only if the port is gone already, which is just as quiet.
        let _ = ip(&format!("-n {SWITCH} link set dev {port} {to}"));
    }
}

/// Removes a host's network, as far as it is there.
pub(crate) fn remove_host(host: &Host) {
    for link in 1..=MOST_LINKS {
        let port = port(&host.name, link);
        let _ = ip(&format!("-n {SWITCH} link delete dev {port}"));
    }
    remove(&host.namespace());
}

/// Removes a namespace, as far as it is there.
pub(crate) fn remove(namespace: &str) {
    if exists(namespace) && ip(&format!("netns delete {namespace}")).is_err() {
        // A run that was killed between making the file and mounting on it.
        let _ = fs::remove_file(path(namespace));
    }
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default)]
    local: String,
    #[serde(default)]
    prefixlen: u8,
    #[serde(default)]
    scope: String,
}

/// The addresses that a host has now, as `address/length`, link-local left out.
pub(crate) fn addresses(host: &Host) -> Vec<String> {
    let shown = ip(&format!("-n {} -j address show", host.namespace()));
    shown.map(|text| parse_addresses(&text)).unwrap_or_default()
}

fn parse_addresses(json: &str) -> Vec<String> {
    // `ip -j` prints an empty object for each link that a filter leaves out.
    let links: Vec<Link> = serde_json::from_str(json).unwrap_or_default();
    links
        .into_iter()
        .flat_map(|link| link.addr_info)
        .filter(|address| address.scope == "global")
        .map(|address| format!("{}/{}", address.local, address.prefixlen))
        .collect()
}

fn batch(namespace: &str, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-n", namespace, "-batch", "-"]);
    run_with_input(&mut command, lines).map(drop)
}

/// Gives the switch these packet rules, all at once.
pub(crate) fn load_rules(text: &str) -> Result<()> {
    inside(SWITCH, || {
        run_with_input(Command::new("nft").args(["-f", "-"]), text).map(drop)
    })
}

/// Whether a folder is a mount point in this mount namespace.
pub(crate) fn is_mount(folder: &str) -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| {
        text.lines()
            .any(|line| line.split(' ').nth(4) == Some(folder))
    })
}

/// Undoes what the first `ip netns add` does to a machine that never had one.
pub(crate) fn tidy_netns_folder(folder_found: bool, mount_found: bool) -> Result<()> {
    let others = fs::read_dir(NETNS).is_ok_and(|mut entries| entries.next().is_some());
    if others || mount_found {
        return Ok(());
    }
    // Not umount(8), which would leave a folder of its own in /run. Errors that
    // say "no mount there" are what we want: a mount of that name may be hidden
    // under another, or `up` ended before it made one.
    match nix::mount::umount(NETNS) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot unmount {NETNS}")),
    }
    if !folder_found && Path::new(NETNS).exists() {
        fs::remove_dir(NETNS).with_context(|| format!("cannot remove {NETNS}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_link_local_left_out() {
        let json = r#"[{},{"ifname":"eth0","addr_info":[
            {"family":"inet","local":"192.0.2.101","prefixlen":24,"scope":"global"},
            {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"},
            {"family":"inet6","local":"2001:db8::101","prefixlen":64,"scope":"global"}]}]"#;
        assert_eq!(
            parse_addresses(json),
            ["192.0.2.101/24", "2001:db8::101/64"]
        );
        assert!(parse_addresses("nonsense").is_empty());
    }

    #[test]
    fn mount_points_are_told_from_folders() {
        assert!(is_mount("/proc"));
        assert!(!is_mount("/etc/no-such-mount"));
    }
}
