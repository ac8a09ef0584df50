//! Hands and a machine that only pretend: for agents without root on loopback addresses (`run --simulate`), and for
//! tests.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use backstay_core::engine::{GateOp, UnitsState};
use backstay_core::model::SystemViewer;
use backstay_core::time::Mono;
use backstay_wire::rpc::{AddressFact, Facts, InterfaceFact};
use ipnet::IpNet;

use super::machine::{ThisMachine, where_its_addresses_are};
use super::service;
use crate::decide::{Errand, Hands, Happened};
use crate::documents::Machine;
use crate::host::clock;
use crate::host::network::Wanted;

/// One slot of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    until: Mono,
    live: bool,
}

/// A machine that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct World {
    guarded: Vec<IpAddr>,
    slots: BTreeMap<IpAddr, [Slot; GateOp::SLOTS as usize]>,
    addresses: Vec<IpNet>,
    announced: BTreeMap<IpAddr, u32>,
}

/// Pretended hands; clones share one machine.
#[derive(Clone, Debug, Default)]
pub struct SimulatedHands {
    world: Arc<Mutex<World>>,
}

impl SimulatedHands {
    /// A machine with these addresses.
    pub fn with(addresses: &[IpNet]) -> Self {
        let hands = Self::default();
        hands.world().addresses = addresses.to_vec();
        hands
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether packets to and from the address would pass now.
    pub fn passes(&self, address: IpAddr) -> bool {
        let now = self.now();
        let world = self.world();
        let open = |slots: &[Slot; GateOp::SLOTS as usize]| {
            slots.iter().any(|slot| slot.live && now < slot.until)
        };
        let closed =
            world.guarded.contains(&address) && !world.slots.get(&address).is_some_and(open);
        !closed
    }

    /// Whether this machine has the address and lets it pass.
    pub fn answers(&self, address: IpAddr) -> bool {
        self.passes(address) && self.has(address)
    }

    /// Whether this machine has the address.
    fn has(&self, address: IpAddr) -> bool {
        self.world().addresses.iter().any(|a| a.addr() == address)
    }

    /// How often the address was announced.
    pub fn announced(&self, address: IpAddr) -> u32 {
        self.world().announced.get(&address).copied().unwrap_or(0)
    }

    fn each(&self, addresses: &[IpAddr], slot: u8, change: impl Fn(&mut Slot)) {
        let mut world = self.world();
        for address in addresses {
            let slots = world.slots.entry(*address).or_default();
            if let Some(slot) = slots.get_mut(usize::from(slot)) {
                change(slot);
            }
        }
    }
}

impl Hands for SimulatedHands {
    fn now(&self) -> Mono {
        Mono(clock::boottime_ns())
    }

    fn guard(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.world().guarded = addresses.to_vec();
        Ok(())
    }

    fn arm(&mut self, addresses: &[IpAddr], slot: u8, hold: Duration) -> Result<()> {
        let until = self.now().after(hold);
        self.each(addresses, slot, |slot| *slot = Slot { until, live: false });
        Ok(())
    }

    fn live(&mut self, addresses: &[IpAddr], slot: u8) -> Result<()> {
        self.each(addresses, slot, |slot| slot.live = true);
        Ok(())
    }

    fn close(&mut self, addresses: &[IpAddr]) -> Result<()> {
        let mut world = self.world();
        for address in addresses {
            world.slots.remove(address);
        }
        Ok(())
    }

    fn open_slot(&mut self, addresses: &[IpAddr]) -> Result<Option<u8>> {
        let now = self.now();
        let world = self.world();
        let mut newest = None;
        for address in addresses {
            let slots = world
                .slots
                .get(address)
                .filter(|_| world.guarded.contains(address));
            let slots = slots.into_iter().flatten().zip(0..);
            let open = slots.filter(|(slot, _)| slot.live && now < slot.until);
            let Some((_, slot)) = open.max_by_key(|(slot, _)| slot.until) else {
                return Ok(None);
            };
            newest = Some(slot);
        }
        Ok(newest)
    }

    fn mend_gate(&mut self) -> Result<Option<String>> {
        Ok(None)
    }

    fn add_address(&mut self, address: IpNet) -> Result<()> {
        if !self.has(address.addr()) {
            self.world().addresses.push(address);
        }
        Ok(())
    }

    fn add_base(&mut self, address: IpNet) -> Result<()> {
        self.add_address(address)
    }

    fn remove_address(&mut self, address: IpNet) -> Result<()> {
        self.world()
            .addresses
            .retain(|there| there.addr() != address.addr());
        Ok(())
    }

    fn addresses(&mut self, there: &mut Vec<IpAddr>) -> Result<()> {
        there.clear();
        there.extend(self.world().addresses.iter().map(IpNet::addr));
        Ok(())
    }

    fn carrier(&mut self, _: IpAddr) -> Result<Option<bool>> {
        Ok(Some(true))
    }

    fn announce(&mut self, addresses: &[IpNet], _: bool) -> Result<()> {
        let mut world = self.world();
        for address in addresses {
            *world.announced.entry(address.addr()).or_default() += 1;
        }
        Ok(())
    }

    fn watched(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [None, None]
    }

    fn happened(&mut self) -> Happened {
        Happened::default()
    }
}

/// This machine, but with the addresses of pretended hands, without a gate in the kernel and without units: commands
/// of services are really run.
pub struct SimulatedMachine {
    machine: ThisMachine,
    hands: SimulatedHands,
}

impl SimulatedMachine {
    /// The machine of those hands.
    pub fn new(machine: ThisMachine, hands: SimulatedHands) -> Self {
        Self { machine, hands }
    }
}

impl Machine for SimulatedMachine {
    fn facts(&mut self) -> Facts {
        let addresses = self.hands.world().addresses.clone();
        let addresses = addresses.iter().map(|net| AddressFact {
            address: net.to_string(),
            ..AddressFact::default()
        });
        Facts {
            simulated: true,
            systemd: None,
            gate: None,
            interfaces: vec![InterfaceFact {
                name: "simulated".into(),
                carrier: true,
                addresses: addresses.collect(),
                ..InterfaceFact::default()
            }],
            gateways: Vec::new(),
            units: Vec::new(),
            ..self.machine.facts()
        }
    }

    fn look(&mut self, errand: &Errand) -> UnitsState {
        if service::can_be_looked_at(errand) {
            return self.machine.look(errand);
        }
        where_its_addresses_are(errand, |ip| self.hands.has(ip))
    }

    fn in_use(&mut self, _: &[IpNet]) -> Vec<IpAddr> {
        Vec::new()
    }

    fn keep_from_boot(&mut self, wanted: &[String]) -> Result<()> {
        self.machine.keep_from_boot(wanted)
    }

    fn settle_network(&mut self, _: &Wanted) -> Result<Vec<IpNet>> {
        Ok(Vec::new())
    }

    fn put_on(&mut self, _: IpNet) -> Result<crate::documents::PutOn> {
        Ok(crate::documents::PutOn::There)
    }

    fn release_bases(&mut self, _: &Wanted, _: bool) -> Result<bool> {
        Ok(false)
    }

    /// Without root nobody is let in: the users of this machine are its own.
    fn let_in(&mut self, _: &[SystemViewer]) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use backstay_core::model::Command;

    use super::*;
    use crate::host::units::Permits;
    use crate::samples::cluster;
    use crate::store::Folders;

    fn machine(folder: &std::path::Path, hands: &SimulatedHands) -> SimulatedMachine {
        let folders = Folders::below(folder);
        let permits = Permits::below(&folder.join("units"), &folder.join("permit"));
        SimulatedMachine::new(ThisMachine::new(&folders, permits).unwrap(), hands.clone())
    }

    #[test]
    fn a_pretended_machine_says_so_and_has_the_addresses_of_its_hands() {
        let folder = tempfile::tempdir().unwrap();
        let mut hands = SimulatedHands::with(&["127.98.2.101/24".parse().unwrap()]);
        let mut machine = machine(folder.path(), &hands);
        hands
            .add_address("127.98.2.11/24".parse().unwrap())
            .unwrap();
        let facts = machine.facts();
        assert!(facts.simulated && facts.gate.is_none() && facts.units.is_empty());
        let addresses = facts.interfaces.iter().flat_map(|i| &i.addresses);
        let addresses: Vec<&str> = addresses.map(|a| a.address.as_str()).collect();
        assert_eq!(addresses, ["127.98.2.101/24", "127.98.2.11/24"]);
    }

    #[test]
    fn a_service_runs_where_its_check_says_so_else_where_its_address_is() {
        let folder = tempfile::tempdir().unwrap();
        let document = cluster(200);
        let mut errand = Errand {
            cluster: document.id,
            service: Arc::new(document.services[0].clone()),
            node: document.members[0].name.clone(),
            at_home: true,
        };
        let mut commands = |check: &[&str]| {
            let command = Command {
                start: vec!["true".into()],
                stop: vec!["true".into()],
                check: check.iter().map(ToString::to_string).collect(),
                timeout_ms: 10_000,
            };
            let service = Arc::make_mut(&mut errand.service);
            service.units.clear();
            service.commands = vec![command];
            errand.clone()
        };
        let (unasked, well, ill) = (commands(&[]), commands(&["true"]), commands(&["false"]));
        let alias = unasked.service.aliases[0].address;
        let mut hands = SimulatedHands::with(&[alias]);
        let mut machine = machine(folder.path(), &hands);
        let runs = |state| matches!(state, UnitsState::Active { .. });
        assert!(runs(machine.look(&unasked)));
        assert!(!runs(machine.look(&ill)));
        hands.remove_address(alias).unwrap();
        assert!(runs(machine.look(&well)));
        assert!(!runs(machine.look(&unasked)));
    }
}
