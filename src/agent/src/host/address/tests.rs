//! Addresses and links against the real kernel, in namespaces of our own.

use super::watch::event_of;
use super::*;
use crate::host::testnet::{TestNet, enter, sh};

fn alias4() -> IpNet {
    "192.0.2.101/24".parse().unwrap()
}

fn alias6() -> IpNet {
    "2001:db8::101/64".parse().unwrap()
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn adding_and_removing_twice_is_fine_and_own_traffic_keeps_the_base_address() {
    let net = TestNet::new("ad");
    enter(&net.a);
    let mut network = Network::open().unwrap();
    let eth0 = network
        .carrier_of(addr("192.0.2.11"))
        .unwrap()
        .expect("eth0 carries the base");
    assert!(
        eth0.name == "eth0" && eth0.up && eth0.carrier && eth0.mac.is_some(),
        "{eth0:?}"
    );
    for net in [alias4(), alias6()] {
        assert_eq!(network.add(eth0.index, net).unwrap(), Outcome::Changed);
        assert_eq!(network.add(eth0.index, net).unwrap(), Outcome::Already);
    }
    let now = network.carrier_of(addr("192.0.2.101")).unwrap().unwrap();
    let find = |net: IpNet| {
        *now.addresses
            .iter()
            .find(|address| address.net == net)
            .unwrap()
    };
    assert!(find(alias4()).secondary);
    assert!(find(alias6()).deprecated && !find(alias6()).tentative);
    assert_eq!(source_for(addr("192.0.2.41")), Some(addr("192.0.2.11")));
    assert_eq!(source_for(addr("2001:db8::41")), Some(addr("2001:db8::11")));
    for net in [alias4(), alias6()] {
        assert_eq!(network.remove(&eth0, net).unwrap(), Outcome::Changed);
        assert_eq!(network.remove(&eth0, net).unwrap(), Outcome::Already);
    }
    // The subnet is still reachable after the IPv6 alias without a prefix route has gone.
    assert_eq!(source_for(addr("2001:db8::41")), Some(addr("2001:db8::11")));
    assert!(network.add(9_999, alias4()).is_err());
}

#[test]
fn c11_the_subnet_stays_in_reach_when_the_address_that_became_the_alias_goes() {
    let net = TestNet::new("base6");
    enter(&net.a);
    let mut network = Network::open().unwrap();
    let eth0 = network
        .carrier_of(addr("2001:db8::11"))
        .unwrap()
        .expect("eth0 carries it");
    let base: IpNet = "2001:db8::77/64".parse().unwrap();
    assert_eq!(
        network.add_base(eth0.index, base).unwrap(),
        Outcome::Changed
    );
    assert_eq!(
        network.add_base(eth0.index, base).unwrap(),
        Outcome::Already
    );
    let configured = "2001:db8::11/64".parse().unwrap();
    assert_eq!(network.remove(&eth0, configured).unwrap(), Outcome::Changed);
    assert_eq!(source_for(addr("2001:db8::41")), Some(base.addr()));
}

#[test]
fn removing_the_first_address_of_a_subnet_leaves_the_others() {
    let net = TestNet::new("promote");
    enter(&net.a);
    sh(
        "sysctl -q -w net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.eth0.promote_secondaries=0",
    );
    let mut network = Network::open().unwrap();
    let eth0 = network.carrier_of(addr("192.0.2.11")).unwrap().unwrap();
    network.add(eth0.index, alias4()).unwrap();
    network
        .remove(&eth0, "192.0.2.11/24".parse().unwrap())
        .unwrap();
    let now = network
        .carrier_of(addr("192.0.2.101"))
        .unwrap()
        .expect("the alias moved up");
    assert!(!now.carries(addr("192.0.2.11")));
}

#[test]
fn subnet_and_gateway_are_found() {
    let net = TestNet::new("gw");
    enter(&net.a);
    sh("ip route add default via 192.0.2.1 dev eth0 metric 200");
    sh("ip route add default via 192.0.2.2 dev eth0 metric 100");
    sh("ip -6 route add default via 2001:db8::1 dev eth0 metric 300");
    let mut network = Network::open().unwrap();
    let (eth0, net) = network.subnet_of(addr("192.0.2.200")).unwrap().unwrap();
    assert_eq!(
        (eth0.name.as_str(), net.to_string().as_str()),
        ("eth0", "192.0.2.11/24")
    );
    assert!(network.subnet_of(addr("198.51.100.1")).unwrap().is_none());
    let expected = [addr("192.0.2.2"), addr("192.0.2.1"), addr("2001:db8::1")];
    assert_eq!(network.gateways(Some(eth0.index)).unwrap(), expected);
    assert!(network.gateways(Some(9_999)).unwrap().is_empty());
    assert_eq!(network.gateways(None).unwrap(), expected);
}

#[test]
fn a3_an_address_removed_behind_our_back_and_a_lost_carrier_are_heard() {
    let net = TestNet::new("ev");
    enter(&net.a);
    let mut network = Network::open().unwrap();
    let eth0 = network.carrier_of(addr("192.0.2.11")).unwrap().unwrap();
    network.add(eth0.index, alias4()).unwrap();
    let mut watch = NetworkWatch::open().unwrap();
    sh("ip addr del 192.0.2.101/24 dev eth0");
    sh(&format!("ip -n {} link set eth0 down", net.b));
    let mut events = Vec::new();
    let begin = std::time::Instant::now();
    let lost = |event: &NetworkEvent| matches!(event, NetworkEvent::Link { name, carrier: false, .. } if name == "eth0");
    while !events.iter().any(lost) {
        assert!(begin.elapsed().as_secs() < 10, "{events:?}");
        watch.read(&mut events).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let removed = |event: &NetworkEvent| matches!(event, NetworkEvent::AddressRemoved { address, .. } if address.net == alias4());
    assert!(events.iter().any(removed), "{events:?}");
    assert!(
        !network
            .carrier_of(addr("192.0.2.11"))
            .unwrap()
            .unwrap()
            .carrier
    );
}

#[test]
fn a_flood_of_events_ends_in_an_overrun() {
    let net = TestNet::new("over");
    enter(&net.a);
    let mut watch = NetworkWatch::open().unwrap();
    watch.socket.set_rx_buf_sz(2_304).unwrap();
    let mut network = Network::open().unwrap();
    let eth0 = network.carrier_of(addr("192.0.2.11")).unwrap().unwrap();
    for _ in 0..200 {
        network.add(eth0.index, alias4()).unwrap();
        network.remove(&eth0, alias4()).unwrap();
    }
    let mut events = Vec::new();
    watch.read(&mut events).unwrap();
    assert!(events.contains(&NetworkEvent::Overrun));
}

#[test]
fn any_bytes_are_read_without_panic() {
    use proptest::prelude::*;
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 16u16..24, len in 16u32..300)| {
        let mut bytes = bytes;
        if bytes.len() >= 16 {
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        }
        prop_assert!(messages(&bytes).filter_map(event_of).count() <= bytes.len());
    });
}
