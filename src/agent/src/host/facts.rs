//! What this machine is, for preflight (C9, C10, C15). Whatever cannot be found out is absent, never guessed.

use std::path::Path;

use backstay_wire::rpc::{AddressFact, Facts, InterfaceFact, UnitFact};

use super::address::{Address, Interface, Network};
use super::units::Units;
use super::{clock, gate, network};

/// Collects everything; takes some 50 ms, most of it `nft` checking the gate. `state_folder` is where free space
/// is measured; if it does not exist yet, its nearest existing parent is.
pub async fn collect(units: &Units, state_folder: &Path) -> Facts {
    let folder = state_folder.to_owned();
    let local = tokio::task::spawn_blocking(move || local(&folder)).await;
    let mut facts = local.unwrap_or_default();
    if Path::new("/run/systemd/system").exists() {
        facts.systemd = units.version().await;
        match units.list().await {
            Ok(list) => facts.units = list.into_iter().map(unit_fact).collect(),
            Err(error) => tracing::warn!(%error, "cannot list units"),
        }
    }
    facts
}

fn unit_fact(unit: super::units::UnitEntry) -> UnitFact {
    UnitFact {
        name: unit.name,
        active: unit.active,
        enabled: unit.enabled,
    }
}

/// Everything that needs no bus.
fn local(state_folder: &Path) -> Facts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut facts = Facts {
        hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
        os: pretty_name(&read("/etc/os-release")).unwrap_or_default(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        memory: memory_bytes(&read("/proc/meminfo")).unwrap_or(0),
        processors: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(0)),
        disk_free: disk_free(state_folder).unwrap_or(0),
        wall_ms: clock::wall_ms(),
        clock_kept: clock::clock_kept(),
        gate: gate::check().err().map(|error| error.to_string()),
        ..Facts::default()
    };
    let network = Network::open().and_then(|mut network| {
        let interfaces = network.interfaces()?;
        Ok((interfaces, network.gateways(None)?))
    });
    match network {
        Ok((interfaces, gateways)) => {
            facts.interfaces = interfaces
                .iter()
                .map(|interface| interface_fact(interface, Path::new("/")))
                .collect();
            facts.gateways = gateways;
        }
        Err(error) => tracing::warn!(%error, "cannot read the network"),
    }
    facts
}

fn interface_fact(interface: &Interface, root: &Path) -> InterfaceFact {
    let manager = network::manager(interface.index, &interface.name, root).unwrap_or_default();
    let address = |address: &Address| {
        let origin = network::origin(manager, address.net.addr(), root);
        AddressFact {
            address: address.net.to_string(),
            file: origin.file,
            fixed: origin.fixed,
        }
    };
    InterfaceFact {
        name: interface.name.clone(),
        mac: interface.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        carrier: interface.carrier,
        addresses: interface.addresses.iter().map(address).collect(),
        manager: manager.to_owned(),
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(text: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(
        value
            .trim_matches(['"', '\''])
            .chars()
            .filter(|c| !c.is_control())
            .collect(),
    )
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes free for unprivileged use under a folder or its nearest existing parent.
fn disk_free(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    let stat = nix::sys::statvfs::statvfs(existing).ok()?;
    stat.blocks_available().checked_mul(stat.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_a_processor_and_a_loopback() {
        let facts = local(Path::new("/var/lib/backstay/not/there"));
        assert!(!facts.hostname.is_empty() && !facts.kernel.is_empty());
        assert!(facts.processors > 0 && facts.memory > 1 << 20 && facts.disk_free > 0);
        let lo = facts
            .interfaces
            .iter()
            .find(|interface| interface.name == "lo")
            .unwrap();
        assert_eq!(lo.mac, "00:00:00:00:00:00");
    }

    #[test]
    fn c9_the_gate_is_usable_here() {
        let net = crate::host::testnet::TestNet::new("facts");
        crate::host::testnet::enter(&net.a);
        let facts = local(Path::new("/"));
        assert_eq!(
            facts.gate, None,
            "as root and with nftables installed the gate can be set"
        );
        let eth0 = facts
            .interfaces
            .iter()
            .find(|interface| interface.name == "eth0")
            .unwrap();
        assert!(
            eth0.carrier
                && eth0
                    .addresses
                    .iter()
                    .any(|address| address.address == "192.0.2.11/24")
        );
        let _ = &net.b;
    }

    #[test]
    fn files_of_the_system_are_read() {
        assert_eq!(
            pretty_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n").unwrap(),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(
            memory_bytes("MemTotal:       24576000 kB\nMemFree: 1 kB\n"),
            Some(24_576_000 * 1024)
        );
        assert_eq!(memory_bytes("MemTotal: many"), None);
    }
}
