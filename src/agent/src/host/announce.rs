//! Telling the network where an alias is, asking whether it is free, hearing who else uses it (A1, A2, S1).
//!
//! All of it on raw sockets: the gate's ARP chains see only what the kernel's own ARP code sends, so a probe goes
//! out and is answered while the alias is closed.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::address::Interface;
use super::packet::{
    Arp, ETHERTYPE_ARP, ETHERTYPE_IPV6, Mac, Neighbour, PacketSocket, Sign, statement,
};

/// The two forms of an ARP announcement. Some devices learn from one, some from the other, so they alternate (A1).
/// For IPv6 there is one form: the unsolicited neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A gratuitous request.
    Request,
    /// A gratuitous reply.
    Reply,
}

impl Form {
    /// The form of the n-th announcement, counted from 0.
    pub fn of(turn: usize) -> Self {
        if turn.is_multiple_of(2) {
            Form::Request
        } else {
            Form::Reply
        }
    }
}

/// Sends on one interface. Every call is one non-blocking send of a frame made on the stack.
#[derive(Debug)]
pub struct Announcer {
    socket: PacketSocket,
}

impl Announcer {
    /// Opens the interface. Open again when it was removed and created anew or its hardware address changed.
    pub fn open(interface: &str) -> io::Result<Self> {
        Ok(Announcer {
            socket: PacketSocket::open(interface, None)?,
        })
    }

    /// The hardware address that is announced.
    pub fn mac(&self) -> Mac {
        self.socket.mac()
    }

    /// Says that the address is here (A1).
    pub fn announce(&self, addr: IpAddr, form: Form) -> io::Result<()> {
        match (addr, form) {
            (IpAddr::V4(v4), Form::Request) => self
                .socket
                .send(&Arp::announce_request(self.mac(), v4).frame()),
            (IpAddr::V4(v4), Form::Reply) => self
                .socket
                .send(&Arp::announce_reply(self.mac(), v4).frame()),
            (IpAddr::V6(v6), _) => self.socket.send(&Neighbour::announce(self.mac(), v6)),
        }
    }

    /// Asks whether somebody uses the address, without claiming it (A2). The answer comes to a [`Listener`].
    pub fn probe(&self, addr: IpAddr) -> io::Result<()> {
        match addr {
            IpAddr::V4(v4) => self.socket.send(&Arp::probe(self.mac(), v4).frame()),
            IpAddr::V6(v6) => self.socket.send(&Neighbour::probe(self.mac(), v6)),
        }
    }

    /// Asks who has an address that may be another machine's own, and may just be coming up there: in IPv6 its kernel
    /// would take a probe for a duplicate and leave that address unusable (RFC 4862 5.4.3). So there the question
    /// comes from the link-local address of this interface, which goes with no role and no service.
    pub fn ask_another(&self, interface: &Interface, addr: IpAddr) -> io::Result<()> {
        let mut own = interface.addresses.iter().map(|a| a.net.addr());
        let link_local = own.find(|a| matches!(a, IpAddr::V6(v6) if v6.is_unicast_link_local()));
        match link_local.filter(|_| addr.is_ipv6()) {
            Some(source) => self.ask(source, addr),
            None => self.probe(addr),
        }
    }

    /// Asks for `target` from `source`, an own base address: the check of the reference address (S1). The answer
    /// comes to a [`Listener`] that watches `target`. The two must be of one family.
    pub fn ask(&self, source: IpAddr, target: IpAddr) -> io::Result<()> {
        match (source, target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => self
                .socket
                .send(&Arp::ask(self.mac(), source, target).frame()),
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                self.socket
                    .send(&Neighbour::ask(self.mac(), source, target))
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "source and target are of two families",
            )),
        }
    }
}

/// Something heard about a watched address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The watched address.
    pub address: IpAddr,
    /// The hardware address of whoever spoke.
    pub mac: Mac,
    /// Uses it, or probes for it.
    pub sign: Sign,
}

/// Hears ARP or neighbour discovery on one interface, before the gate. Readable when something came.
#[derive(Debug)]
pub struct Listener {
    socket: PacketSocket,
    watched: Vec<IpAddr>,
}

impl Listener {
    /// Hears ARP, that is about IPv4 addresses.
    pub fn arp(interface: &str) -> io::Result<Self> {
        Ok(Listener {
            socket: PacketSocket::open(interface, Some(ETHERTYPE_ARP))?,
            watched: Vec::new(),
        })
    }

    /// Hears neighbour discovery, that is about IPv6 addresses.
    pub fn nd(interface: &str) -> io::Result<Self> {
        Ok(Listener {
            socket: PacketSocket::open(interface, Some(ETHERTYPE_IPV6))?,
            watched: Vec::new(),
        })
    }

    /// Replaces the watched addresses.
    pub fn watch(&mut self, addrs: &[IpAddr]) {
        self.watched.clear();
        self.watched.extend_from_slice(addrs);
    }

    /// The next thing said about a watched address by another station; `None` when nothing is waiting. Looks at
    /// no more than 256 frames a call, so that a flood cannot hold the caller: call again after the next wake-up.
    pub fn next_heard(&self) -> io::Result<Option<Heard>> {
        // Longest frame of interest: a neighbour message with a few options.
        let mut buffer = [0; 256];
        for _ in 0..256 {
            let Some(len) = self.socket.receive(&mut buffer)? else {
                return Ok(None);
            };
            let Some((address, mac, sign)) = buffer.get(..len).and_then(statement) else {
                continue;
            };
            if mac != self.socket.mac() && self.watched.contains(&address) {
                return Ok(Some(Heard { address, mac, sign }));
            }
        }
        Ok(None)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::host::address::Network;
    use crate::host::testnet::{TestNet, enter, sh, within};

    fn wait_heard(listener: &Listener) -> Option<Heard> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            if let Some(heard) = listener.next_heard().unwrap() {
                return Some(heard);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    fn ip(ns: &str, words: &[&str], addr: IpAddr) -> String {
        let output = Command::new("ip")
            .args(["-n", ns])
            .args(words)
            .arg(addr.to_string())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn neighbour(ns: &str, addr: IpAddr) -> String {
        ip(ns, &["neigh", "show"], addr)
    }

    fn shown(ns: &str, addr: IpAddr) -> String {
        ip(ns, &["-o", "address", "show", "to"], addr)
    }

    #[test]
    fn a1_an_announcement_moves_the_clients_entry() {
        let net = TestNet::new("a1");
        enter(&net.a);
        let announcer = Announcer::open("eth0").unwrap();
        let aliases: [IpAddr; 2] = [
            "192.0.2.101".parse().unwrap(),
            "2001:db8::101".parse().unwrap(),
        ];
        for (turn, addr) in [(0, aliases[0]), (1, aliases[0]), (0, aliases[1])] {
            sh(&format!(
                "ip -n {} neigh replace {addr} lladdr 02:00:00:00:00:99 dev eth0 nud stale",
                net.b
            ));
            announcer.announce(addr, Form::of(turn)).unwrap();
            let mac = announcer.mac().to_string();
            let begin = Instant::now();
            // Linux refuses a second change of an entry within its locktime of one second.
            while !neighbour(&net.b, addr).contains(&mac) {
                assert!(
                    begin.elapsed() < Duration::from_secs(10),
                    "{addr}: {}",
                    neighbour(&net.b, addr)
                );
                std::thread::sleep(Duration::from_millis(100));
                announcer.announce(addr, Form::of(turn)).unwrap();
            }
        }
    }

    #[test]
    fn a2_a_probe_is_answered_by_the_user_of_the_address_only() {
        let net = TestNet::new("a2");
        enter(&net.a);
        let announcer = Announcer::open("eth0").unwrap();
        let used: [IpAddr; 2] = [
            "192.0.2.41".parse().unwrap(),
            "2001:db8::41".parse().unwrap(),
        ];
        let free: [IpAddr; 2] = [
            "192.0.2.99".parse().unwrap(),
            "2001:db8::99".parse().unwrap(),
        ];
        let client_mac = within(&net.b, || Announcer::open("eth0").unwrap().mac())
            .join()
            .unwrap();
        for (mut listener, used, free) in [
            (Listener::arp("eth0").unwrap(), used[0], free[0]),
            (Listener::nd("eth0").unwrap(), used[1], free[1]),
        ] {
            listener.watch(&[used, free]);
            // The free one first: had it an answer, it would come before the other's.
            announcer.probe(free).unwrap();
            announcer.probe(used).unwrap();
            let heard = wait_heard(&listener).expect("an answer from the user of the address");
            assert_eq!(
                heard,
                Heard {
                    address: used,
                    mac: client_mac,
                    sign: Sign::Use
                }
            );
            assert_eq!(listener.next_heard().unwrap(), None);
        }
    }

    #[test]
    fn a2_another_machines_address_that_comes_up_survives_the_question() {
        let net = TestNet::new("dad");
        let comes_up = |last: &str| {
            sh(&format!(
                "ip -n {} addr add 2001:db8::{last}/64 dev eth0",
                net.b
            ));
        };
        // Three rounds, each of a second.
        sh(&format!(
            "ip netns exec {} sysctl -q -w net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=3",
            net.b
        ));
        enter(&net.a);
        let announcer = Announcer::open("eth0").unwrap();
        let mut network = Network::open().unwrap();
        let eth0 = network.carrier_of("2001:db8::11".parse().unwrap());
        let eth0 = eth0.unwrap().expect("eth0 carries it");
        let became = |last: &str, ask: &dyn Fn(IpAddr)| {
            let address = format!("2001:db8::{last}").parse().unwrap();
            comes_up(last);
            let begin = Instant::now();
            loop {
                ask(address);
                let shown = shown(&net.b, address);
                if !shown.contains(" tentative") || shown.contains(" dadfailed") {
                    return shown;
                }
                assert!(begin.elapsed() < Duration::from_secs(20), "{shown}");
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        let asked = became("51", &|a| announcer.ask_another(&eth0, a).unwrap());
        assert!(!asked.contains(" dadfailed"), "{asked}");
        let probed = became("52", &|a| announcer.probe(a).unwrap());
        assert!(probed.contains(" dadfailed"), "{probed}");
        // Once it is there it answers.
        let mut listener = Listener::nd("eth0").unwrap();
        let there = "2001:db8::51".parse().unwrap();
        listener.watch(&[there]);
        announcer.ask_another(&eth0, there).unwrap();
        assert_eq!(wait_heard(&listener).map(|h| h.address), Some(there));
    }

    #[test]
    fn s1_the_reference_address_answers_a_plain_question() {
        let net = TestNet::new("s1");
        enter(&net.a);
        let announcer = Announcer::open("eth0").unwrap();
        for (mut listener, from, to) in [
            (Listener::arp("eth0").unwrap(), "192.0.2.11", "192.0.2.41"),
            (
                Listener::nd("eth0").unwrap(),
                "2001:db8::11",
                "2001:db8::41",
            ),
        ] {
            let to: IpAddr = to.parse().unwrap();
            listener.watch(&[to]);
            announcer.ask(from.parse().unwrap(), to).unwrap();
            let heard = wait_heard(&listener).expect("an answer");
            assert_eq!((heard.address, heard.sign), (to, Sign::Use));
        }
        assert!(
            announcer
                .ask(
                    "192.0.2.11".parse().unwrap(),
                    "2001:db8::41".parse().unwrap()
                )
                .is_err()
        );
    }

    #[test]
    fn a2_a_probe_of_another_station_is_heard_as_one() {
        let net = TestNet::new("pr");
        enter(&net.a);
        let alias: IpAddr = "192.0.2.101".parse().unwrap();
        let mut listener = Listener::arp("eth0").unwrap();
        listener.watch(&[alias]);
        within(&net.b, move || {
            Announcer::open("eth0").unwrap().probe(alias).unwrap();
        })
        .join()
        .unwrap();
        let heard = wait_heard(&listener).expect("the probe");
        assert_eq!((heard.address, heard.sign), (alias, Sign::Probe));
        assert!(Announcer::open("nothing0").is_err());
        assert!(Announcer::open("lo").is_ok_and(|lo| lo.mac() == Mac([0; 6])));
    }
}
