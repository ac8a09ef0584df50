//! Hands that only pretend: for agents without root on loopback addresses (`run --simulate`), and for tests.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use backstay_core::engine::GateOp;
use backstay_core::time::Mono;
use ipnet::IpNet;

use crate::decide::{Hands, Happened};
use crate::host::clock;

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
    addresses: Vec<IpAddr>,
    announced: BTreeMap<IpAddr, u32>,
}

/// Pretended hands; clones share one machine.
#[derive(Clone, Debug, Default)]
pub struct SimulatedHands {
    world: Arc<Mutex<World>>,
}

impl SimulatedHands {
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
        self.passes(address) && self.world().addresses.contains(&address)
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

    fn mend_gate(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn add_address(&mut self, address: IpNet) -> Result<()> {
        let mut world = self.world();
        if !world.addresses.contains(&address.addr()) {
            world.addresses.push(address.addr());
        }
        Ok(())
    }

    fn remove_address(&mut self, address: IpNet) -> Result<()> {
        self.world()
            .addresses
            .retain(|there| *there != address.addr());
        Ok(())
    }

    fn addresses(&mut self) -> Result<Vec<IpAddr>> {
        Ok(self.world().addresses.clone())
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

    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn happened(&mut self) -> Happened {
        Happened::default()
    }
}
