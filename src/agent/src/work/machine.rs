//! The machine as documents and the decision loop see it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use backstay_core::engine::UnitsState;
use backstay_core::model::SystemViewer;
use backstay_core::time::Mono;
use backstay_wire::rpc::Facts;
use ipnet::IpNet;
use tokio::runtime::Runtime;

use super::{ask, service};
use crate::decide::{Errand, Hands, Happened};
use crate::documents::{Machine, PutOn};
use crate::host::address::{Address, Interface, Network, NetworkEvent, NetworkWatch};
use crate::host::announce::{Announcer, Form};
use crate::host::gate::{self, Changes, Gate, GateWatch, Verdict};
use crate::host::network::{self, BootFiles, Wanted};
use crate::host::units::{Permits, Units};
use crate::host::{clock, facts, viewers};
use crate::serve;
use crate::store::{Folders, read_text, write_durably};

/// Longest list of units with our drop-in, bytes.
const LONGEST_LIST: usize = 64 * 1024;
/// How long a look at a service may take before it counts as not running.
const LOOK: Duration = Duration::from_secs(5);
/// How long another machine may take to answer for an address that this one is to get (C13).
const ASK: Duration = Duration::from_millis(300);

/// What may wait: for the keeper of documents.
pub struct ThisMachine {
    runtime: Runtime,
    // Of its own: a connection belongs to the runtime that it was made in.
    units: Units,
    permits: Permits,
    state: PathBuf,
    list: PathBuf,
    boot: BootFiles,
    run: PathBuf,
    socket: PathBuf,
}

impl ThisMachine {
    /// # Errors
    /// The system's, if it has no descriptor left.
    pub fn new(folders: &Folders, permits: Permits) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            units: Units::new(),
            permits,
            state: folders.state.clone(),
            list: folders.state.join("units"),
            boot: BootFiles::new(Path::new("/"), &folders.state),
            run: folders.run.clone(),
            socket: folders.socket(),
        })
    }

    fn prepared(&self) -> Vec<String> {
        let text = read_text(&self.list, LONGEST_LIST).ok().flatten();
        let text = text.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Machine for ThisMachine {
    fn facts(&mut self) -> Facts {
        self.runtime
            .block_on(facts::collect(&self.units, &self.state))
    }

    fn look(&mut self, errand: &Errand) -> UnitsState {
        if service::can_be_looked_at(errand) {
            let look = async {
                let look = service::look(errand, &self.units);
                tokio::time::timeout(LOOK, look).await
            };
            let none = |_| service::verdict(0, 1);
            return self.runtime.block_on(look).unwrap_or_else(none);
        }
        let there = Network::open().and_then(|mut network| network.interfaces());
        let there = there.unwrap_or_default();
        where_its_addresses_are(errand, |ip| there.iter().any(|i: &Interface| i.carries(ip)))
    }

    fn in_use(&mut self, addresses: &[IpNet]) -> Vec<IpAddr> {
        ask::in_use(addresses, ASK).unwrap_or_else(|error| {
            // Not being able to ask is no reason to refuse.
            tracing::error!("C13: can't ask whether {addresses:?} are in use: {error}");
            Vec::new()
        })
    }

    fn keep_from_boot(&mut self, wanted: &[String]) -> Result<()> {
        let prepared = self.prepared();
        if prepared.is_empty() && wanted.is_empty() {
            return Ok(());
        }
        let mut all = prepared.clone();
        all.extend(wanted.iter().cloned());
        all.sort_unstable();
        all.dedup();
        // The list first: a drop-in that is on no list would never be removed.
        write_durably(&self.list, all.join("\n").as_bytes())?;
        let mut reload = false;
        for unit in wanted {
            let active = self.runtime.block_on(self.units.state(unit));
            if active.is_ok_and(|state| service::is_on(state.active)) {
                self.permits.grant(unit)?;
            }
            reload |= self.permits.write_drop_in(unit)?;
        }
        for unit in prepared.iter().filter(|unit| !wanted.contains(unit)) {
            reload |= self.permits.remove_drop_in(unit)?;
            self.permits.revoke(unit)?;
        }
        if reload {
            self.runtime.block_on(self.units.reload())?;
        }
        write_durably(&self.list, wanted.join("\n").as_bytes())?;
        Ok(())
    }

    fn settle_network(&mut self, wanted: &Wanted) -> Result<Vec<IpNet>> {
        let interfaces = Network::open()?.interfaces()?;
        self.boot.settle(wanted, &interfaces)
    }

    fn put_on(&mut self, alias: IpNet) -> Result<PutOn> {
        if !self.in_use(&[alias]).is_empty() {
            // Waiting for it to be off for a moment would be no better than taking it.
            self.boot.is_settled(alias)?;
            return Ok(PutOn::Anothers);
        }
        let mut network = Network::open()?;
        let on_subnet = network.subnet_of(alias.addr())?;
        let (interface, _) =
            on_subnet.with_context(|| format!("no interface is on the subnet of {alias}"))?;
        network.add_base(interface.index, alias)?;
        Announcer::open(&interface.name)?.announce(alias.addr(), Form::Request)?;
        tracing::info!("C15: {alias} is on {} again", interface.name);
        self.boot.is_settled(alias)?;
        Ok(PutOn::There)
    }

    fn release_bases(&mut self, wanted: &Wanted, at_once: bool) -> Result<bool> {
        let mut left = false;
        for base in self.boot.left_over(wanted) {
            let mut network = Network::open()?;
            let Some(interface) = network.carrier_of(base.addr())? else {
                self.boot.forget_base(base)?;
                continue;
            };
            let ordinary = |a: &Address| {
                let same = a.net.addr().is_ipv4() == base.addr().is_ipv4();
                let linked = matches!(a.net.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local());
                same && !linked && a.net.addr() != base.addr()
            };
            if !interface.addresses.iter().any(ordinary) {
                tracing::warn!("base address {base} stays: {} has no other", interface.name);
                continue;
            }
            if !at_once && network::in_use(base.addr()) {
                left = true;
                continue;
            }
            for given in interface.addresses.iter().filter(|a| ordinary(a)) {
                // The alias may have been put on by an agent, and becomes the address that own traffic leaves from.
                if given.deprecated && wanted.given_back.contains(&given.net.addr()) {
                    network.make_ordinary(interface.index, given.net)?;
                }
            }
            for there in interface.addresses.iter().map(|a| a.net) {
                if there.addr() == base.addr() {
                    network.remove(&interface, there)?;
                }
            }
            self.boot.forget_base(base)?;
            tracing::info!("C15: base address {base} is off {}", interface.name);
        }
        Ok(left)
    }

    fn let_in(&mut self, wanted: &[SystemViewer]) -> Result<()> {
        let made = !wanted.is_empty() && self.runtime.block_on(viewers::make_user(&self.run))?;
        if viewers::write(wanted, Path::new(viewers::HOME))? {
            tracing::info!("U11: {} viewers may look", wanted.len());
        }
        if made {
            // The group that may open it is new.
            serve::share(&self.socket)?;
        }
        Ok(())
    }
}

/// A service of which nothing can be asked runs where its addresses are.
pub(super) fn where_its_addresses_are(
    errand: &Errand,
    here: impl Fn(IpAddr) -> bool,
) -> UnitsState {
    let aliases = &errand.service.aliases;
    let running = aliases.iter().filter(|alias| here(alias.ip())).count();
    let all = running == aliases.len() && running > 0;
    service::verdict(usize::from(all), 1)
}

/// What works in microseconds: for the decision loop.
pub struct RealHands {
    gate: Box<dyn Gate>,
    /// What the gate was told to guard, sorted.
    guarded: Vec<IpAddr>,
    gate_watch: Option<GateWatch>,
    network: Network,
    network_watch: NetworkWatch,
    announcers: BTreeMap<u32, Announcer>,
}

impl RealHands {
    /// Opens everything and lays the gate's skeleton: what is guarded already stays closed or open as it is. Where the
    /// gate can't be laid the agent runs all the same, says so (S5), and takes nothing over.
    ///
    /// # Errors
    /// The system's, if there is no netlink.
    pub fn open() -> Result<Self> {
        let (mut gate, way) = gate::open();
        match gate.install() {
            Ok(()) => tracing::debug!("gate by {way}"),
            Err(error) => tracing::error!("S5: no protection: the gate can't be laid: {error}"),
        }
        let gate_watch = GateWatch::open(gate.writers())
            .inspect_err(|error| tracing::warn!("the gate is not watched, only verified: {error}"))
            .ok();
        Ok(Self {
            gate,
            guarded: Vec::new(),
            gate_watch,
            network: Network::open().context("can't open netlink")?,
            network_watch: NetworkWatch::open().context("can't watch the network")?,
            announcers: BTreeMap::new(),
        })
    }

    fn interface_for(&mut self, address: IpNet) -> Result<Interface> {
        let on_subnet = self.network.subnet_of(address.addr())?;
        let (interface, _) = on_subnet.with_context(|| {
            format!("no interface of this machine is on the subnet of {address}")
        })?;
        Ok(interface)
    }

    fn carrying(&mut self, address: IpAddr) -> Result<Option<Interface>> {
        Ok(self.network.carrier_of(address)?)
    }

    /// Made when first needed, and again only when it must be: closing a packet socket waits until every processor
    /// has let go of it (`packet_release`, Linux 6.18: `synchronize_net`, 10 to 20 ms), and all decisions with it.
    fn announcer(&mut self, interface: &Interface) -> Result<&Announcer> {
        use std::collections::btree_map::Entry;
        let open = || {
            Announcer::open(&interface.name)
                .with_context(|| format!("can't announce on {}", interface.name))
        };
        match self.announcers.entry(interface.index) {
            Entry::Occupied(mut known) => {
                if Some(known.get().mac()) != interface.mac {
                    known.insert(open()?);
                }
                Ok(known.into_mut())
            }
            Entry::Vacant(place) => Ok(place.insert(open()?)),
        }
    }
}

impl Hands for RealHands {
    fn now(&self) -> Mono {
        Mono(clock::boottime_ns())
    }

    fn guard(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.guarded.clear();
        self.guarded.extend_from_slice(addresses);
        self.guarded.sort_unstable();
        Ok(self.gate.guard(addresses)?)
    }

    fn arm(&mut self, addresses: &[IpAddr], slot: u8, hold: Duration) -> Result<()> {
        Ok(self.gate.arm(addresses, slot.into(), hold)?)
    }

    fn live(&mut self, addresses: &[IpAddr], slot: u8) -> Result<()> {
        Ok(self.gate.live(addresses, slot.into())?)
    }

    fn close(&mut self, addresses: &[IpAddr]) -> Result<()> {
        Ok(self.gate.close(addresses)?)
    }

    fn open_slot(&mut self, addresses: &[IpAddr]) -> Result<Option<u8>> {
        let mut newest = None;
        for address in addresses {
            let state = self.gate.state(*address)?;
            let open = state.slots.iter().zip(0..).filter(|(slot, _)| slot.open());
            let longest = open.max_by_key(|(slot, _)| slot.armed_expires);
            let Some((_, slot)) = longest.filter(|_| state.guarded) else {
                return Ok(None);
            };
            newest = Some(slot);
        }
        Ok(newest)
    }

    fn mend_gate(&mut self) -> Result<Option<String>> {
        let wrong = match self.gate.verify()? {
            Verdict::Intact if self.gate.guarded()? == self.guarded => return Ok(None),
            Verdict::Intact => "the list of guarded addresses was changed".to_owned(),
            Verdict::Missing => "its tables were removed".to_owned(),
            Verdict::Changed(how) => how,
        };
        self.gate.install()?;
        self.gate.guard(&self.guarded)?;
        Ok(Some(wrong))
    }

    fn add_address(&mut self, address: IpNet) -> Result<()> {
        let interface = self.interface_for(address)?;
        self.network.add(interface.index, address)?;
        Ok(())
    }

    fn add_base(&mut self, address: IpNet) -> Result<()> {
        let interface = self.interface_for(address)?;
        self.network.add_base(interface.index, address)?;
        Ok(())
    }

    fn remove_address(&mut self, address: IpNet) -> Result<()> {
        let Some(interface) = self.carrying(address.addr())? else {
            return Ok(());
        };
        let there = interface.addresses.iter().map(|a| a.net);
        // With the prefix that it was put on with, perhaps by somebody else.
        for net in there.filter(|net| net.addr() == address.addr()) {
            self.network.remove(&interface, net)?;
        }
        Ok(())
    }

    fn addresses(&mut self, there: &mut Vec<IpAddr>) -> Result<()> {
        let interfaces = self.network.interfaces()?;
        let all = interfaces.iter().flat_map(|i| &i.addresses);
        there.clear();
        there.extend(all.map(|address| address.net.addr()));
        Ok(())
    }

    fn carrier(&mut self, address: IpAddr) -> Result<Option<bool>> {
        let interface = self.carrying(address)?;
        Ok(interface.map(|interface| interface.carrier && interface.up))
    }

    fn announce(&mut self, addresses: &[IpNet], reply_form: bool) -> Result<()> {
        let form = if reply_form {
            Form::Reply
        } else {
            Form::Request
        };
        for address in addresses {
            let Some(interface) = self.carrying(address.addr())? else {
                continue;
            };
            if interface.loopback {
                continue; // nobody to tell
            }
            let sent = self.announcer(&interface)?.announce(address.addr(), form);
            if let Err(error) = sent {
                self.announcers.remove(&interface.index);
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn watched(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let gate = self.gate_watch.as_ref().map(GateWatch::as_fd);
        [Some(self.network_watch.as_fd()), gate]
    }

    fn happened(&mut self) -> Happened {
        let mut events = Vec::new();
        let read = self.network_watch.read(&mut events);
        for event in &events {
            if let NetworkEvent::LinkGone { index, .. } = event {
                self.announcers.remove(index);
            }
        }
        let gate = self.gate_watch.as_mut().map(GateWatch::changed_by_others);
        let gate = match gate {
            None | Some(Ok(Changes::Ours)) => false,
            Some(Ok(_)) => true,
            Some(Err(_)) => {
                // A dead socket would be readable for ever.
                self.gate_watch = None;
                true
            }
        };
        Happened {
            network: read.is_err() || !events.is_empty(),
            gate,
        }
    }
}
