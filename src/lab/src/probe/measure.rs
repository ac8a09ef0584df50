//! The measurement: asks, listens and notes, on threads that do nothing else.
//! Runs in the client's network namespace.

use std::io::{ErrorKind, Read, Write};
use std::mem::take;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, send, sendto, socket,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::figures::{Answer, Direct, Heard, Observed, Round};
use super::frames::{self, ARP, End, IPV6, claim, who_has};
use crate::fault::monotonic_ns;
use crate::plan::{ASKER_OCTET, CLIENT_OCTET, Mac, ipv4, ipv6};
use crate::serve::{NAME_LENGTH, UDP_PORT, name_in};

/// How long answers may still come after the last question.
const LINGER: Duration = Duration::from_millis(100);
/// How long a listener waits before it looks whether to stop. The kernel may
/// round this up by a tick or two.
const LISTEN: Duration = Duration::from_millis(10);
/// Time between questions by ARP or neighbour solicitation.
const ADDRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What to measure.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub alias: IpAddr,
    pub hosts: Vec<(String, Mac)>,
    pub interval: Duration,
    pub round_interval: Duration,
    pub hold_limit: Duration,
    /// Whether to say on standard output when another node answers.
    pub live: bool,
}

/// Two flags: no more questions; no more listening.
#[derive(Default)]
pub(super) struct Stop {
    asking: AtomicBool,
    listening: AtomicBool,
}

impl Stop {
    /// Ends the measurement; answers under way are waited for.
    pub(super) fn stop(&self) {
        self.asking.store(true, Ordering::Relaxed);
        std::thread::sleep(LINGER);
        self.listening.store(true, Ordering::Relaxed);
    }
}

/// Measures until stopped. Calls `ready` once everything is in place.
pub(super) fn measure(plan: &Plan, stop: &Stop, ready: impl FnOnce()) -> Result<Observed> {
    let (own, asker) = match plan.alias {
        IpAddr::V4(_) => (
            IpAddr::V4(ipv4(CLIENT_OCTET)),
            IpAddr::V4(ipv4(ASKER_OCTET)),
        ),
        IpAddr::V6(_) => (
            IpAddr::V6(ipv6(CLIENT_OCTET)),
            IpAddr::V6(ipv6(ASKER_OCTET)),
        ),
    };
    let regular = listener(own)?;
    let direct = listener(own)?;
    let (raw, raw2) = (raw_sender()?, raw_sender()?);
    let claims = claim_listener(plan.alias)?;
    let question = who_has(Mac::of(ASKER_OCTET), asker, plan.alias).context("mixed families")?;
    let from = End {
        mac: Mac::of(CLIENT_OCTET),
        address: own,
        port: direct.local_addr()?.port(),
    };
    let mut observed = Observed {
        interval_ns: ns(plan.interval),
        round_interval_ns: ns(plan.round_interval),
        hold_limit_ns: ns(plan.hold_limit),
        hosts: plan.hosts.clone(),
        ..Observed::default()
    };
    let ended = || anyhow!("a thread of the prober panicked");
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| hear_answers(&regular, plan, stop));
        let directs = scope.spawn(|| hear_directs(&direct, stop));
        let heard = scope.spawn(|| hear_claims(&claims, plan.alias, stop));
        let asked = scope.spawn(|| ask_regularly(&regular, plan, stop));
        let rounds = scope.spawn(|| ask_directly(&raw, from, plan, stop));
        scope.spawn(|| {
            pace(ADDRESS_INTERVAL, stop, |_| {
                // A full queue loses one question; the next one comes soon.
                let _ = send(raw2.as_raw_fd(), &question, MsgFlags::MSG_DONTWAIT);
            });
        });
        ready();
        observed.sent = asked.join().map_err(|_| ended())?;
        observed.rounds = rounds.join().map_err(|_| ended())?;
        let (answers, names, held) = answers.join().map_err(|_| ended())?;
        (observed.answers, observed.names, observed.receiver_held_ns) = (answers, names, held);
        let (directs, held) = directs.join().map_err(|_| ended())?;
        observed.direct = directs;
        observed.receiver_held_ns = observed.receiver_held_ns.max(held);
        observed.heard = heard.join().map_err(|_| ended())?;
        Ok(())
    })
    .map(|()| observed)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn listener(own: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((own, 0))
        .with_context(|| format!("cannot use {own}; the prober belongs in the client's network"))?;
    socket.set_read_timeout(Some(LISTEN))?;
    Ok(socket)
}

/// A socket that sends whole frames through `eth0` and receives nothing.
fn raw_sender() -> Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("cannot open a packet socket")?;
    let link = getifaddrs()?
        .filter(|interface| interface.interface_name == "eth0")
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .context("no eth0 here; the prober belongs in the client's network")?;
    bind(fd.as_raw_fd(), &link).context("cannot bind to eth0")?;
    Ok(fd)
}

fn claim_listener(alias: IpAddr) -> Result<Socket> {
    let kind = if alias.is_ipv4() { ARP } else { IPV6 };
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(kind.to_be()))),
    )
    .context("cannot open a packet socket")?;
    socket.set_read_timeout(Some(LISTEN))?;
    Ok(socket)
}

/// Does something at a steady pace until told to stop. Late ones are left out,
/// not made up for: a burst would hide that nothing was asked for a while.
fn pace(interval: Duration, stop: &Stop, mut work: impl FnMut(u32)) {
    let interval = ns(interval);
    let mut next = monotonic_ns();
    let mut number = 0;
    while !stop.asking.load(Ordering::Relaxed) {
        let now = monotonic_ns();
        if now < next {
            std::thread::sleep(Duration::from_nanos(next - now));
            continue;
        }
        work(number);
        number += 1;
        next = (next + interval).max(now);
    }
}

fn ask_regularly(socket: &UdpSocket, plan: &Plan, stop: &Stop) -> Vec<u64> {
    let to = SockaddrStorage::from(SocketAddr::new(plan.alias, UDP_PORT));
    let mut sent = Vec::with_capacity(65_536);
    pace(plan.interval, stop, |number| {
        sent.push(monotonic_ns());
        // Never waits: while nobody has the address, the kernel holds datagrams back
        // until its queue is full. What it does not take is a loss like another.
        let question = number.to_be_bytes();
        let _ = sendto(socket.as_raw_fd(), &question, &to, MsgFlags::MSG_DONTWAIT);
    });
    sent
}

fn ask_directly(raw: &OwnedFd, from: End, plan: &Plan, stop: &Stop) -> Vec<Round> {
    let mut rounds = Vec::with_capacity(65_536);
    let mut frames = Vec::new();
    pace(plan.round_interval, stop, |round| {
        for (host, (_, mac)) in (0u16..).zip(&plan.hosts) {
            let mut text = round.to_be_bytes().to_vec();
            text.extend_from_slice(&host.to_be_bytes());
            let to = End {
                mac: *mac,
                address: plan.alias,
                port: UDP_PORT,
            };
            frames.extend(frames::udp(from, to, &text));
        }
        let begin_ns = monotonic_ns();
        for frame in &frames {
            let _ = send(raw.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT);
        }
        rounds.push(Round {
            begin_ns,
            end_ns: monotonic_ns(),
        });
        frames.clear();
    });
    rounds
}

/// Calls `heard` for everything that comes in; returns the longest time in
/// which this thread did not run although it should have.
fn listen(
    mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
    stop: &Stop,
    mut heard: impl FnMut(u64, &[u8]),
) -> u64 {
    let mut buffer = [0; 2048];
    let mut held = 0;
    let mut before = monotonic_ns();
    while !stop.listening.load(Ordering::Relaxed) {
        let outcome = read(&mut buffer);
        let now = monotonic_ns();
        held = held.max((now - before).saturating_sub(ns(LISTEN)));
        before = now;
        match outcome {
            Ok(length) => heard(now, &buffer[..length]),
            // Nothing came, or a host said that nobody listens there.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => {}
        }
    }
    held
}

fn hear_answers(socket: &UdpSocket, plan: &Plan, stop: &Stop) -> (Vec<Answer>, Vec<String>, u64) {
    let mut answers = Vec::with_capacity(65_536);
    let mut names: Vec<String> = Vec::new();
    let mut current = None;
    let held = listen(
        |buffer| socket.recv(buffer),
        stop,
        |at_ns, answer| {
            let (Some(name), Some(number)) = (name_in(answer), field(answer, 0)) else {
                return;
            };
            let known = names.iter().position(|n| n == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            let node = u16::try_from(known).unwrap_or(u16::MAX);
            if plan.live && current != Some(node) {
                let line =
                    serde_json::json!({"event": "answers", "node": name, "monotonic_ns": at_ns});
                let _ = writeln!(std::io::stdout(), "{line}");
            }
            current = Some(node);
            answers.push(Answer {
                number: u32::from_be_bytes(number),
                at_ns,
                node,
            });
        },
    );
    (take(&mut answers), names, held)
}

fn hear_directs(socket: &UdpSocket, stop: &Stop) -> (Vec<Direct>, u64) {
    let mut directs = Vec::with_capacity(65_536);
    let held = listen(
        |buffer| socket.recv(buffer),
        stop,
        |at_ns, answer| {
            if let (Some(round), Some(host)) = (field(answer, 0), field(answer, 4)) {
                directs.push(Direct {
                    round: u32::from_be_bytes(round),
                    host: u16::from_be_bytes(host),
                    at_ns,
                });
            }
        },
    );
    (directs, held)
}

fn hear_claims(socket: &Socket, alias: IpAddr, stop: &Stop) -> Vec<Heard> {
    let mut heard = Vec::new();
    listen(
        |buffer| {
            let mut socket = socket;
            socket.read(buffer)
        },
        stop,
        |at_ns, frame| {
            if let Some(claim) = claim(frame, alias) {
                heard.push(Heard {
                    at_ns,
                    mac: claim.mac,
                    form: claim.form,
                });
            }
        },
    );
    heard
}

/// Bytes of the question that an answer carries behind the node's name.
fn field<const N: usize>(answer: &[u8], offset: usize) -> Option<[u8; N]> {
    let begin = NAME_LENGTH + offset;
    answer.get(begin..begin + N)?.try_into().ok()
}
