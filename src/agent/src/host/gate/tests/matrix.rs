//! Every slot, every direction, every protocol, one by one: so that no rule of the skeleton can be lost because
//! another one hides it (a question that is let in, say, and an answer that is not let out).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::{ALIAS4, ALIAS6, Bench, LONG, announced_by_the_kernel};
use crate::host::announce::{Announcer, Listener};
use crate::host::gate::{Gate, NativeGate, SLOTS};
use crate::host::testnet::{sh, within};

const PORT: u16 = 7001;

/// One family: the alias, the node's and the client's base address, and two more of the client's to ask from.
#[derive(Clone, Copy)]
struct Family {
    alias: IpAddr,
    node: IpAddr,
    client: IpAddr,
    asking: [IpAddr; 2],
}

fn families() -> [Family; 2] {
    let family = |alias: &str, prefix: &str| {
        let addr = |host: &str| format!("{prefix}{host}").parse().unwrap();
        Family {
            alias: alias.parse().unwrap(),
            node: addr("11"),
            client: addr("41"),
            asking: [addr("51"), addr("52")],
        }
    };
    [family(ALIAS4, "192.0.2."), family(ALIAS6, "2001:db8::")]
}

/// Binds a socket. A child that another test is just spawning may for a moment still hold the former one.
fn bound(addr: IpAddr) -> UdpSocket {
    let begin = Instant::now();
    let socket = loop {
        match UdpSocket::bind((addr, PORT)) {
            Ok(socket) => break socket,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(5), "{addr}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

/// Waits for the packet of a control that follows the one in question; a moment more, and then looks.
fn came_before(control: &UdpSocket, question: &UdpSocket) -> bool {
    control
        .recv_from(&mut [0; 8])
        .expect("the control always passes");
    question
        .set_read_timeout(Some(Duration::from_millis(30)))
        .unwrap();
    question.recv_from(&mut [0; 8]).is_ok()
}

fn packet_in(bench: &Bench, family: Family) -> bool {
    let (alias, node) = (bound(family.alias), bound(family.node));
    let sending = within(&bench.net.b, move || {
        let socket = bound(family.client);
        socket.send_to(b"?", (family.alias, PORT)).unwrap();
        socket.send_to(b"!", (family.node, PORT)).unwrap();
    });
    sending.join().unwrap();
    came_before(&node, &alias)
}

fn packet_out(bench: &Bench, family: Family) -> bool {
    let client = within(&bench.net.b, move || bound(family.client))
        .join()
        .unwrap();
    let (alias, node) = (bound(family.alias), bound(family.node));
    // Dropping may be told to the sender.
    let _ = alias.send_to(b"?", (family.client, PORT));
    std::thread::sleep(Duration::from_millis(2));
    node.send_to(b"!", (family.client, PORT)).unwrap();
    let (_, first) = client
        .recv_from(&mut [0; 8])
        .expect("the control always passes");
    first.ip() == family.alias
}

fn neighbours(ns: &str) -> String {
    let output = Command::new("ip")
        .args(["-n", ns, "neigh", "show"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether the node's kernel takes notice of a question for the alias: it then remembers who asked.
fn question_in(bench: &Bench, family: Family) -> bool {
    sh(&format!("ip -n {} neigh flush all", bench.net.a));
    within(&bench.net.b, move || {
        let announcer = Announcer::open("eth0").unwrap();
        announcer.ask(family.asking[0], family.alias).unwrap();
        announcer.ask(family.asking[1], family.node).unwrap();
    })
    .join()
    .unwrap();
    let begin = Instant::now();
    let knows = |addr: IpAddr| {
        neighbours(&bench.net.a)
            .lines()
            .any(|line| line.starts_with(&format!("{addr} ")))
    };
    while !knows(family.asking[1]) {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "the control always passes"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    knows(family.asking[0])
}

/// Whether an advertisement for the alias leaves that comes from another address.
fn advertisement_out(bench: &Bench, family: Family) -> bool {
    let mut listener = within(&bench.net.b, || Listener::nd("eth0").unwrap())
        .join()
        .unwrap();
    listener.watch(&[family.alias, family.node]);
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
    socket.set_unicast_hops_v6(255).unwrap();
    socket
        .bind(&SocketAddr::new(family.node, 0).into())
        .unwrap();
    for target in [family.alias, family.node] {
        let IpAddr::V6(target) = target else {
            panic!("for IPv6 only")
        };
        let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        message.extend(target.octets());
        message.extend([2, 1, 2, 0, 0, 0, 0, 0x77]);
        let _ = socket.send_to(&message, &SocketAddr::new(family.client, 0).into());
    }
    let (begin, mut heard) = (Instant::now(), Vec::new());
    while !heard.contains(&family.node) {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "the control always passes"
        );
        heard.extend(listener.next_heard().unwrap().map(|one| one.address));
    }
    heard.contains(&family.alias)
}

#[test]
fn every_direction_of_every_slot_needs_both_sets() {
    let bench = Bench::new("matrix");
    let mut gate = NativeGate::open().unwrap();
    gate.install().unwrap();
    let aliases = families().map(|family| family.alias);
    gate.guard(&aliases).unwrap();
    for family in families() {
        // So that only the path in question is tested.
        let client = within(&bench.net.b, || Announcer::open("eth0").unwrap().mac())
            .join()
            .unwrap();
        sh(&format!(
            "ip -n {} neigh replace {} lladdr {client} dev eth0 nud permanent",
            bench.net.a, family.client
        ));
        bench.pin(family.alias);
        bench.pin(family.node);
    }
    let check = |expected: bool, when: &str| {
        for family in families() {
            let addr = family.alias;
            assert_eq!(
                packet_in(&bench, family),
                expected,
                "packet to {addr}, {when}"
            );
            assert_eq!(
                packet_out(&bench, family),
                expected,
                "packet from {addr}, {when}"
            );
            assert_eq!(
                question_in(&bench, family),
                expected,
                "ARP or ND question for {addr}, {when}"
            );
            if addr.is_ipv6() {
                assert_eq!(
                    advertisement_out(&bench, family),
                    expected,
                    "advertisement for {addr}, {when}"
                );
            }
        }
    };
    check(false, "closed");
    for slot in 0..SLOTS {
        gate.arm(&aliases, slot, LONG).unwrap();
        check(false, &format!("armed in slot {slot} only"));
        gate.live(&aliases, slot).unwrap();
        check(true, &format!("open in slot {slot}"));
        gate.close(&aliases).unwrap();
        gate.live(&aliases, slot).unwrap();
        check(false, &format!("live in slot {slot} only"));
        gate.close(&aliases).unwrap();
    }
    // What the kernel's own ARP code sends, which no packet of ours can stand in for.
    sh("sysctl -q -w net.ipv4.conf.eth0.arp_notify=1 net.ipv6.conf.eth0.ndisc_notify=1");
    for slot in 0..SLOTS {
        for (armed, live, last) in [(true, false, 0), (true, true, 1), (false, true, 2)] {
            gate.close(&aliases).unwrap();
            if armed {
                gate.arm(&aliases, slot, LONG).unwrap();
            }
            if live {
                gate.live(&aliases, slot).unwrap();
            }
            let mac = format!("02:00:00:00:{:02x}:{last:02x}", slot + 1);
            let heard = announced_by_the_kernel(&bench, &mac);
            let open = armed && live;
            assert_eq!(
                heard.contains(&aliases[0]),
                open,
                "ARP from the alias, slot {slot}, armed {armed}, live {live}"
            );
        }
        gate.close(&aliases).unwrap();
    }
}
