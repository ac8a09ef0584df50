//! The gate against the real kernel, in namespaces of our own. The same bodies run on both implementations.

mod kept;
mod matrix;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Changes, Gate, GateError, GateWatch, NativeGate, NftGate, SlotState, Verdict};
use crate::host::announce::Listener;
use crate::host::testnet::{TestNet, enter, sh, within};

const ALIAS4: &str = "192.0.2.101";
const ALIAS6: &str = "2001:db8::101";
/// A guarded address that no test opens.
const OTHER4: &str = "192.0.2.102";
const PORT: u16 = 7000;
const LONG: Duration = Duration::from_mins(1);

fn both() -> [IpAddr; 2] {
    [ALIAS4, ALIAS6].map(|text| text.parse().unwrap())
}

/// The node with its aliases and a service that answers on them, and the client beside it.
struct Bench {
    net: TestNet,
    stop: Arc<AtomicBool>,
    services: Vec<JoinHandle<()>>,
}

impl Bench {
    /// Moves the calling thread, and so the gate under test, into the node.
    fn new(tag: &str) -> Self {
        let net = TestNet::new(tag);
        for address in [
            &format!("{ALIAS4}/24"),
            &format!("{OTHER4}/24"),
            &format!("{ALIAS6}/64 nodad"),
        ] {
            sh(&format!("ip -n {} addr add dev eth0 {address}", net.a));
        }
        enter(&net.a);
        let stop = Arc::new(AtomicBool::new(false));
        let services = both()
            .into_iter()
            .map(|addr| service(addr, stop.clone()))
            .collect();
        Bench {
            net,
            stop,
            services,
        }
    }

    /// Whether the client gets an answer within two seconds.
    fn answered(&self, addr: IpAddr) -> bool {
        within(&self.net.b, move || ask_until(addr, Duration::from_secs(2)))
            .join()
            .unwrap()
    }

    /// Whether the client gets no answer to forty questions in 400 ms.
    fn silent(&self, addr: IpAddr) -> bool {
        within(&self.net.b, move || {
            !ask_until(addr, Duration::from_millis(400))
        })
        .join()
        .unwrap()
    }

    /// What the client's neighbour table says about an address after it has just been asked.
    fn resolved(&self, addr: IpAddr) -> bool {
        let output = Command::new("ip")
            .args(["-n", &self.net.b, "neigh", "show", &addr.to_string()])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).contains("lladdr")
    }

    /// Makes the client forget all neighbours.
    fn forget(&self) {
        sh(&format!("ip -n {} neigh flush all", self.net.b));
    }

    /// Gives the client the node's hardware address, so that only the packet path is tested.
    fn pin(&self, addr: IpAddr) {
        let mac = link_address(&self.net.a);
        sh(&format!(
            "ip -n {} neigh replace {addr} lladdr {mac} dev eth0 nud permanent",
            self.net.b
        ));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for service in self.services.drain(..) {
            let _ = service.join();
        }
    }
}

fn link_address(ns: &str) -> String {
    let output = Command::new("ip")
        .args(["-n", ns, "link", "show", "eth0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .skip_while(|word| *word != "link/ether")
        .nth(1)
        .unwrap()
        .to_owned()
}

fn service(addr: IpAddr, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let socket = UdpSocket::bind((addr, PORT)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while !stop.load(Ordering::Relaxed) {
            if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..len], from);
            }
        }
    })
}

fn client(addr: IpAddr) -> UdpSocket {
    let any: SocketAddr = if addr.is_ipv4() {
        "0.0.0.0:0".parse().unwrap()
    } else {
        "[::]:0".parse().unwrap()
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    socket
}

fn ask_until(addr: IpAddr, limit: Duration) -> bool {
    let socket = client(addr);
    let begin = Instant::now();
    while begin.elapsed() < limit {
        let _ = socket.send_to(b"?", (addr, PORT));
        if socket.recv_from(&mut [0; 8]).is_ok() {
            return true;
        }
    }
    false
}

fn only_armed_and_live_passes(open: Open, tag: &str) {
    let bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    for addr in both() {
        // Neither the packet nor the question for the hardware address gets an answer.
        bench.forget();
        assert!(bench.silent(addr), "{addr} closed");
        assert!(
            !bench.resolved(addr),
            "{addr} closed, but ARP or ND was answered"
        );
        gate.arm(&[addr], 1, LONG).unwrap();
        assert!(bench.silent(addr), "{addr} armed only");
        assert!(
            !bench.resolved(addr),
            "{addr} armed only, but ARP or ND was answered"
        );
        // A slot that is live but another that is armed do not make one open slot.
        gate.live(&[addr], 2).unwrap();
        assert!(
            bench.silent(addr),
            "{addr} armed in one slot, live in another"
        );
        gate.live(&[addr], 1).unwrap();
        assert!(bench.answered(addr), "{addr} armed and live");
        assert!(
            bench.resolved(addr),
            "{addr} armed and live: neighbour entry"
        );
        let state = gate.state(addr).unwrap();
        assert!(state.guarded && state.open() && !state.torn, "{state:?}");
        assert!(
            state.slots[1].open() && !state.slots[0].open() && !state.slots[2].open(),
            "{state:?}"
        );
        let left = state.slots[1].armed_expires.unwrap();
        assert!(left <= LONG && left > LONG / 2, "{left:?}");
        // Packets by themselves are blocked too, not just the resolution; and an exchange that is under way.
        bench.pin(addr);
        assert!(bench.answered(addr));
        gate.close(&[addr]).unwrap();
        assert!(bench.silent(addr), "{addr} closed with the neighbour known");
        assert_eq!(gate.state(addr).unwrap().slots, [SlotState::default(); 3]);
    }
    // Other addresses of the node are never looked at.
    assert!(bench_base_answers(&bench));
}

/// The node's own base address answers an echo from a service bound to it.
fn bench_base_answers(bench: &Bench) -> bool {
    let base: IpAddr = "192.0.2.11".parse().unwrap();
    let socket = UdpSocket::bind((base, PORT)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let asker = within(&bench.net.b, move || {
        ask_until(base, Duration::from_secs(2))
    });
    let (len, from) = socket.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(len, 1);
    socket.send_to(b"!", from).unwrap();
    asker.join().unwrap()
}

/// The answered questions of a run, as times of sending.
fn answered_times(bench: &Bench, addr: IpAddr, run: Duration) -> JoinHandle<Vec<Instant>> {
    within(&bench.net.b, move || {
        let socket = client(addr);
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let begin = Instant::now();
        let mut times = Vec::new();
        let mut number: u32 = 0;
        while begin.elapsed() < run {
            number += 1;
            let sent = Instant::now();
            let _ = socket.send_to(&number.to_be_bytes(), (addr, PORT));
            let mut answer = [0; 8];
            while let Ok((len, _)) = socket.recv_from(&mut answer) {
                if answer[..len] == number.to_be_bytes() {
                    times.push(sent);
                    break;
                }
            }
        }
        times
    })
}

/// Opens a slot, as an ask and its answer do.
fn unlock(gate: &mut dyn Gate, addrs: &[IpAddr], slot: usize, hold: Duration) {
    gate.arm(addrs, slot, hold).unwrap();
    gate.live(addrs, slot).unwrap();
}

fn s5_closes_by_itself_when_nobody_acts(open: Open, tag: &str) {
    let bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    for addr in both() {
        bench.pin(addr);
        let hold = Duration::from_millis(500);
        let asking = answered_times(&bench, addr, Duration::from_millis(1_300));
        unlock(gate, &[addr], 0, hold);
        // Measured from after the batch: the slot began to run before this instant.
        let armed = Instant::now();
        let times = asking.join().unwrap();
        assert!(!times.is_empty(), "{addr}: never open");
        let last = times.last().unwrap().saturating_duration_since(armed);
        assert!(
            last <= hold + Duration::from_millis(20),
            "{addr}: answered {last:?} after arming for {hold:?}"
        );
        let state = gate.state(addr).unwrap();
        assert!(!state.open() && state.slots[0].live, "{addr}: {state:?}");
    }
}

fn arming_again_extends_and_making_live_again_does_not(open: Open, tag: &str) {
    let _bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    let left =
        |gate: &mut dyn Gate, addr| gate.state(addr).unwrap().slots[0].armed_expires.unwrap();
    unlock(gate, &both(), 0, Duration::from_secs(30));
    gate.live(&both(), 0).unwrap();
    for addr in both() {
        assert!(left(gate, addr) <= Duration::from_secs(30));
    }
    // Longer and shorter: each batch sets what it says, whatever was there.
    gate.arm(&both(), 0, LONG).unwrap();
    for addr in both() {
        assert!(left(gate, addr) > Duration::from_secs(31));
        assert!(
            !gate.state(addr).unwrap().open(),
            "arming takes the slot out of live"
        );
    }
    unlock(gate, &both(), 0, Duration::from_secs(10));
    for addr in both() {
        assert!(left(gate, addr) <= Duration::from_secs(10));
        assert!(gate.state(addr).unwrap().open());
    }
    // The expired element may still lie in the set: arming it again must work on it too.
    gate.arm(&both(), 0, Duration::from_millis(1)).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    unlock(gate, &both(), 0, LONG);
    for addr in both() {
        assert!(gate.state(addr).unwrap().open());
    }
}

fn c11_adopting_an_address_in_use_loses_no_packet(open: Open, tag: &str) {
    let bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    let addr: IpAddr = ALIAS4.parse().unwrap();
    assert!(bench.answered(addr), "not guarded yet");
    let counting = within(&bench.net.b, move || {
        let socket = client(addr);
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        // One question after the other, none lost: a lost one ends the run early with a count too low.
        let begin = Instant::now();
        let mut count = 0;
        while begin.elapsed() < Duration::from_millis(1_500) {
            socket.send_to(b"?", (addr, PORT)).unwrap();
            if socket.recv_from(&mut [0; 8]).is_err() {
                return Err(count);
            }
            count += 1;
        }
        Ok(count)
    });
    std::thread::sleep(Duration::from_millis(100));
    gate.install().unwrap();
    unlock(gate, &[addr], 0, LONG);
    gate.guard(&[addr]).unwrap();
    gate.install().unwrap();
    unlock(gate, &[addr], 1, LONG);
    gate.guard(&[addr]).unwrap();
    gate.install().unwrap();
    let count = counting.join().unwrap();
    assert!(
        matches!(count, Ok(count) if count > 100),
        "lost a packet after {count:?}"
    );
    assert_eq!(gate.guarded().unwrap(), [addr]);
    assert_eq!(gate.verify().unwrap(), Verdict::Intact);
}

/// Moves the node to another hardware address, upon which its kernel announces every address it has. Gives those
/// of them that the client heard of: waits for the base addresses, which always get through, and a little longer.
fn announced_by_the_kernel(bench: &Bench, mac: &str) -> Vec<IpAddr> {
    let bases: [IpAddr; 2] = ["192.0.2.11", "2001:db8::11"].map(|text| text.parse().unwrap());
    let (ready, wait) = std::sync::mpsc::channel();
    let hearing = within(&bench.net.b, move || {
        let mut listeners = [
            Listener::arp("eth0").unwrap(),
            Listener::nd("eth0").unwrap(),
        ];
        for listener in &mut listeners {
            listener.watch(&[bases, both()].concat());
        }
        ready.send(()).unwrap();
        let (begin, mut complete, mut heard) = (Instant::now(), None, Vec::new());
        loop {
            for listener in &listeners {
                while let Some(one) = listener.next_heard().unwrap() {
                    heard.push(one.address);
                }
            }
            if complete.is_none() && bases.iter().all(|base| heard.contains(base)) {
                complete = Some(Instant::now());
            }
            if complete.is_some_and(|at: Instant| at.elapsed() > Duration::from_millis(500)) {
                return heard;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "heard only {heard:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    wait.recv().unwrap();
    sh(&format!("ip link set dev eth0 address {mac}"));
    hearing.join().unwrap()
}

fn nothing_leaves_from_a_closed_address(open: Open, tag: &str) {
    let bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    sh("sysctl -q -w net.ipv4.conf.eth0.arp_notify=1 net.ipv6.conf.eth0.ndisc_notify=1");
    let heard = announced_by_the_kernel(&bench, "02:00:00:00:00:51");
    assert!(
        !heard.iter().any(|addr| both().contains(addr)),
        "announced while closed: {heard:?}"
    );
    for addr in both() {
        let to: IpAddr = if addr.is_ipv4() {
            "192.0.2.41"
        } else {
            "2001:db8::41"
        }
        .parse()
        .unwrap();
        let receiver = within(&bench.net.b, move || {
            let socket = UdpSocket::bind((to, PORT)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            socket
        });
        let receiver = receiver.join().unwrap();
        let sender = UdpSocket::bind((addr, 0)).unwrap();
        // The kernel may tell the sender that the packet was dropped.
        let _ = sender.send_to(b"closed", (to, PORT));
        unlock(gate, &[addr], 0, LONG);
        sender.send_to(b"open", (to, PORT)).unwrap();
        let mut buffer = [0; 16];
        let (len, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.ip()), (&b"open"[..], addr));
    }
    let heard = announced_by_the_kernel(&bench, "02:00:00:00:00:52");
    assert!(
        both().iter().all(|addr| heard.contains(addr)),
        "open, but not announced: {heard:?}"
    );
}

fn repeated_installation_opens_nothing(open: Open, tag: &str) {
    let bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    gate.close(&both()).unwrap();
    gate.install().unwrap();
    for addr in both() {
        assert!(bench.silent(addr), "{addr} after a second installation");
    }
    assert_eq!(gate.guarded().unwrap(), both());
}

fn a_flush_by_others_is_noticed_and_said(open: Open, tag: &str) {
    let _bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    let mut watch = GateWatch::open(gate.writers()).unwrap();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    unlock(gate, &both(), 0, LONG);
    assert_eq!(watch.changed_by_others().unwrap(), Changes::Ours);
    assert_eq!(gate.verify().unwrap(), Verdict::Intact);
    sh("nft add table inet unrelated");
    assert_eq!(watch.changed_by_others().unwrap(), Changes::Ours);
    sh("nft add rule inet backstay to4 accept");
    assert_eq!(watch.changed_by_others().unwrap(), Changes::Others);
    assert!(matches!(gate.verify().unwrap(), Verdict::Changed(_)));
    gate.install().unwrap();
    assert_eq!(gate.verify().unwrap(), Verdict::Intact);
    assert_eq!(watch.changed_by_others().unwrap(), Changes::Ours);
    // An address that is guarded in one of its tables only is not guarded.
    sh("nft flush set arp backstay guarded4");
    assert_eq!(watch.changed_by_others().unwrap(), Changes::Others);
    assert_eq!(gate.guarded().unwrap(), both()[1..]);
    sh("nft flush ruleset");
    assert_eq!(watch.changed_by_others().unwrap(), Changes::Others);
    assert_eq!(gate.verify().unwrap(), Verdict::Missing);
    let addr = both()[0];
    assert!(
        gate.arm(&[addr], 0, LONG).is_err(),
        "there is nothing to arm"
    );
    assert!(gate.close(&[addr]).is_err(), "there is nothing to close");
    // The skeleton alone does not guard: closing says so.
    gate.install().unwrap();
    assert!(matches!(gate.close(&[addr]), Err(GateError::NotGuarded(found)) if found == addr));
    gate.guard(&both()).unwrap();
    gate.close(&both()).unwrap();
    gate.remove().unwrap();
    gate.remove().unwrap();
    assert_eq!(gate.verify().unwrap(), Verdict::Missing);
    assert!(
        gate.state(addr).unwrap().open(),
        "without the gate an address is open"
    );
}

fn holds_that_the_kernel_would_take_for_ever_are_refused(open: Open, tag: &str) {
    let _bench = Bench::new(tag);
    let mut gate = open();
    let gate = gate.as_mut();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    assert!(matches!(
        gate.arm(&both(), 0, Duration::from_micros(900)),
        Err(GateError::Hold(_))
    ));
    assert!(matches!(
        gate.arm(&both(), 3, LONG),
        Err(GateError::Slot(3))
    ));
    let many = vec![both()[0]; super::MAX_ADDRESSES + 1];
    assert!(matches!(gate.guard(&many), Err(GateError::TooMany(_))));
    // The largest list allowed fits one message.
    let many: Vec<IpAddr> = (0..super::MAX_ADDRESSES as u128)
        .map(|n| IpAddr::V6((0x2001_0db8_0000_0000_0000_0000_0001_0000_u128 + n).into()))
        .collect();
    gate.guard(&many).unwrap();
    unlock(gate, &many, 2, LONG);
    assert!(gate.state(many[super::MAX_ADDRESSES - 1]).unwrap().open());
    assert_eq!(gate.guarded().unwrap().len(), super::MAX_ADDRESSES);
}

/// Opens a gate in the namespace that the calling thread is in.
type Open = fn() -> Box<dyn Gate>;

/// Each body on both implementations: they must agree.
macro_rules! on_both {
    ($($body:ident, $tag:literal;)*) => {
        mod native {
            $(#[test] fn $body() { super::$body(|| Box::new(super::NativeGate::open().unwrap()), concat!($tag, "n")); })*
        }
        mod nft {
            $(#[test] fn $body() { super::$body(|| Box::new(super::NftGate::new()), concat!($tag, "f")); })*
        }
    };
}

on_both! {
    only_armed_and_live_passes, "pass";
    s5_closes_by_itself_when_nobody_acts, "s5";
    arming_again_extends_and_making_live_again_does_not, "ext";
    c11_adopting_an_address_in_use_loses_no_packet, "c11";
    repeated_installation_opens_nothing, "rep";
    nothing_leaves_from_a_closed_address, "out";
    a_flush_by_others_is_noticed_and_said, "fl";
    holds_that_the_kernel_would_take_for_ever_are_refused, "hold";
}

/// A batch must be far below a beat; the figure is printed, the bound is generous.
#[test]
fn a_batch_takes_microseconds() {
    let _bench = Bench::new("time");
    let mut gate = NativeGate::open().unwrap();
    let gate: &mut dyn Gate = &mut gate;
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    let mut times: Vec<Duration> = (0..2_000)
        .map(|turn| {
            let begin = Instant::now();
            unlock(gate, &both()[..1], turn % super::SLOTS, LONG);
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    eprintln!(
        "two batches for one IPv4 address, armed and live: median {median:?}, p99 {p99:?}, worst {:?}",
        times[times.len() - 1]
    );
    assert!(median < Duration::from_millis(5), "{median:?}");
}

/// What follows each beat of a holder.
#[test]
fn a_batch_and_the_notice_of_it_allocate_nothing() {
    let _bench = Bench::new("room");
    let mut gate = NativeGate::open().unwrap();
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    let mut watch = GateWatch::open(gate.writers()).unwrap();
    let mut turns = |gate: &mut NativeGate| {
        for slot in 0..super::SLOTS {
            unlock(gate, &both(), slot, LONG);
            assert_eq!(watch.changed_by_others().unwrap(), Changes::Ours);
        }
    };
    turns(&mut gate);
    let info = allocation_counter::measure(|| turns(&mut gate));
    assert_eq!(info.count_total, 0, "{info:?}");
    unlock(&mut gate, &both(), 0, LONG);
    let readable = |watch: &GateWatch| {
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    };
    assert!(
        !readable(&watch),
        "nobody is woken up by the gate's own writing"
    );
    sh("nft add table inet unrelated");
    assert!(readable(&watch));
}
