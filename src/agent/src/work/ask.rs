//! Asking the network: is an alias in use (A2), does the reference address answer (S1).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use backstay_core::engine::HostEvent;
use ipnet::IpNet;

use crate::decide::{Input, Job, Outbox};
use crate::host::address::{Interface, Network};
use crate::host::announce::{Announcer, Heard, Listener};
use crate::host::packet::{Mac, Sign};

/// Questions in the time that there is (RFC 5227 section 1.1 asks three times).
const QUESTIONS: u32 = 3;
/// How often answers are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The longest that a question waits for an answer.
const LONGEST: Duration = Duration::from_secs(5);

/// Asks in a thread of its own, which ends with the answer; it is told to the decision loop.
pub(super) fn post(job: Job, decide: &Outbox) {
    let decide = decide.clone();
    let asked = std::thread::Builder::new()
        .name("ask".into())
        .spawn(move || answer(job, &decide));
    if let Err(error) = asked {
        tracing::error!("can't ask the network: {error}");
    }
}

fn answer(job: Job, decide: &Outbox) {
    match job {
        Job::Probe {
            cluster,
            service,
            aliases,
            ours,
            mine,
            within,
        } => {
            let within = within.min(LONGEST);
            let used = probe(&aliases, &ours, &mine, within).unwrap_or_else(|error| {
                // Not being able to ask is no reason to leave a service down.
                tracing::error!("A2: can't probe {aliases:?}: {error}; taken for free");
                false
            });
            let event = HostEvent::AliasInUse { service, used };
            decide.tell(Input::Host(Some(cluster), event));
        }
        Job::CheckReference {
            cluster,
            reference,
            base,
            within,
        } => {
            let answered =
                reference_answers(reference, base, within.min(LONGEST)).unwrap_or_else(|error| {
                    tracing::error!("S1: can't ask the reference address: {error}");
                    Some(false)
                });
            let event = HostEvent::Reference { answered };
            decide.tell(Input::Host(Some(cluster), event));
        }
        _ => {}
    }
}

/// Whether somebody outside the cluster uses one of the aliases. Its own nodes are known by the hardware addresses that
/// answer for their base addresses at the same time. Nor may this node take anything while another machine answers for
/// its own base address: it may have been replaced (C16).
fn probe(
    aliases: &[IpNet],
    ours: &[IpAddr],
    mine: &[IpAddr],
    within: Duration,
) -> std::io::Result<bool> {
    let mut network = Network::open()?;
    let Some(first) = aliases.first() else {
        return Ok(false);
    };
    let Some((interface, _)) = network.subnet_of(first.addr())? else {
        return Ok(false); // loopback: nobody else can use it
    };
    let announcer = Announcer::open(&interface.name)?;
    let addresses: Vec<IpAddr> = aliases.iter().map(IpNet::addr).collect();
    let mine: Vec<IpAddr> = mine
        .iter()
        .filter(|base| interface.carries(**base))
        .copied()
        .collect();
    let mut watched = addresses.clone();
    watched.extend(ours);
    watched.extend(&mine);
    // Every question claims nothing: one from an address of this interface could be one from an alias that is up and
    // closed here, and whoever heard it would send to this node what is for the holder.
    let heard = question(&interface, &watched, within, false, || {
        let mut ours = ours.iter().filter(|base| on_link(&interface, **base));
        let mut own = addresses.iter().chain(&mine);
        own.try_for_each(|address| announcer.probe(*address))?;
        ours.try_for_each(|base| announcer.ask_another(&interface, *base))
    })?;
    let known: BTreeSet<Mac> = heard
        .iter()
        .filter(|h| ours.contains(&h.address))
        .map(|h| h.mac)
        .collect();
    let foreign = heard.iter().find(|h| {
        let twice = mine.contains(&h.address) && interface.mac != Some(h.mac);
        twice || addresses.contains(&h.address) && !known.contains(&h.mac)
    });
    if let Some(foreign) = foreign {
        tracing::warn!("A2: {} is in use by {}", foreign.address, foreign.mac);
    }
    Ok(foreign.is_some())
}

/// C13: which of these addresses, which this machine does not have yet, another machine has.
pub(super) fn in_use(addresses: &[IpNet], within: Duration) -> std::io::Result<Vec<IpAddr>> {
    let mut network = Network::open()?;
    let mut used = Vec::new();
    for address in addresses.iter().map(IpNet::addr) {
        let Some((interface, _)) = network.subnet_of(address)? else {
            continue;
        };
        let announcer = Announcer::open(&interface.name)?;
        let heard = question(&interface, &[address], within, true, || {
            announcer.ask_another(&interface, address)
        })?;
        used.extend(heard.first().map(|h| h.address));
    }
    Ok(used)
}

/// `None`: there is no address to ask.
fn reference_answers(
    reference: Option<IpAddr>,
    base: IpAddr,
    within: Duration,
) -> std::io::Result<Option<bool>> {
    let mut network = Network::open()?;
    let Some(interface) = network.carrier_of(base)? else {
        return Ok(Some(false));
    };
    let gateways = network.gateways(Some(interface.index))?;
    let on_link = |address: &IpAddr| on_link(&interface, *address);
    // One that lies behind the gateway is reached only if the gateway is.
    let target = reference
        .filter(on_link)
        .or_else(|| gateways.into_iter().find(on_link));
    let Some(target) = target else {
        return Ok(reference.map(|_| false));
    };
    if interface.carries(target) {
        return Ok(Some(interface.carrier));
    }
    let announcer = Announcer::open(&interface.name)?;
    // From the base address, which is this node's own, unless that is of another network.
    let nets = interface.addresses.iter().map(|address| address.net);
    let own = nets.filter(|net| net.addr() == base && net.contains(&target));
    let from_base = own.count() > 0;
    let heard = question(&interface, &[target], within, true, || {
        if from_base {
            announcer.ask(base, target)
        } else {
            announcer.ask_another(&interface, target)
        }
    })?;
    Ok(Some(!heard.is_empty()))
}

/// Whether the interface has an address on the subnet of another, which is not its own.
fn on_link(interface: &Interface, other: IpAddr) -> bool {
    let mut nets = interface.addresses.iter().map(|address| address.net);
    nets.any(|net| net.contains(&other) && net.addr() != other)
}

/// Asks several times and collects who uses the watched addresses, until the time is over or, with `first`, one
/// has answered.
fn question(
    interface: &Interface,
    watched: &[IpAddr],
    within: Duration,
    first: bool,
    ask: impl Fn() -> std::io::Result<()>,
) -> std::io::Result<Vec<Heard>> {
    let mut listeners = Vec::new();
    if watched.iter().any(IpAddr::is_ipv4) {
        listeners.push(Listener::arp(&interface.name)?);
    }
    if watched.iter().any(IpAddr::is_ipv6) {
        listeners.push(Listener::nd(&interface.name)?);
    }
    for listener in &mut listeners {
        listener.watch(watched);
    }
    let began = Instant::now();
    let mut asked = 0;
    let mut all: Vec<Heard> = Vec::new();
    while began.elapsed() < within {
        // The last question leaves a third of the time for its answer.
        if asked < QUESTIONS && began.elapsed() >= within * asked / QUESTIONS {
            ask()?;
            asked += 1;
        }
        for listener in &listeners {
            while let Some(heard) = listener.next_heard()? {
                if heard.sign == Sign::Use && !all.contains(&heard) && all.len() < 64 {
                    all.push(heard);
                }
            }
        }
        if first && !all.is_empty() {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(all)
}
