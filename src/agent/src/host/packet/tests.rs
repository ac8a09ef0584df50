//! Golden bytes of every frame, and hostile ones.

use super::*;
use proptest::prelude::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 0x15]);
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

#[test]
fn a1_arp_announcements_in_both_forms() {
    let head = "ffffffffffff 020000000015 0806 0001 0800 06 04";
    let request = bytes(&format!(
        "{head} 0001 020000000015 c0000265 000000000000 c0000265"
    ));
    assert_eq!(Arp::announce_request(MAC, V4).frame().to_vec(), request);
    let reply = bytes(&format!(
        "{head} 0002 020000000015 c0000265 020000000015 c0000265"
    ));
    assert_eq!(Arp::announce_reply(MAC, V4).frame().to_vec(), reply);
    for frame in [request, reply] {
        assert_eq!(statement(&frame), Some((V4.into(), MAC, Sign::Use)));
    }
}

#[test]
fn a2_an_arp_probe_claims_nothing() {
    let probe = bytes(
        "ffffffffffff 020000000015 0806 0001 0800 06 04 0001 020000000015 00000000 000000000000 c0000265",
    );
    assert_eq!(Arp::probe(MAC, V4).frame().to_vec(), probe);
    assert_eq!(statement(&probe), Some((V4.into(), MAC, Sign::Probe)));
}

#[test]
fn s1_a_question_to_the_reference_address() {
    let ask = Arp::ask(
        MAC,
        Ipv4Addr::new(192, 0, 2, 21),
        Ipv4Addr::new(192, 0, 2, 1),
    )
    .frame();
    let expected = "ffffffffffff 020000000015 0806 0001 0800 06 04 0001 020000000015 c0000215 000000000000 c0000201";
    assert_eq!(ask.to_vec(), bytes(expected));
}

#[test]
fn a1_an_unsolicited_advertisement() {
    let frame = Neighbour::announce(MAC, V6);
    let expected = "333300000001 020000000015 86dd 60000000 0020 3a ff \
        20010db8000000000000000000123456 ff020000000000000000000000000001 \
        88 00 SUM 20000000 20010db8000000000000000000123456 02 01 020000000015";
    let sum = hex::encode(&frame[56..58]);
    assert_eq!(frame.to_vec(), bytes(&expected.replace("SUM", &sum)));
    // A message with its right checksum sums to zero.
    assert_eq!(
        checksum(V6, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), &frame[54..]),
        0
    );
    assert_eq!(statement(&frame), Some((V6.into(), MAC, Sign::Use)));
}

#[test]
fn a2_a_neighbour_probe_comes_from_nowhere() {
    let frame = Neighbour::probe(MAC, V6);
    let expected = "3333ff123456 020000000015 86dd 60000000 0018 3a ff \
        00000000000000000000000000000000 ff0200000000000000000001ff123456 \
        87 00 SUM 00000000 20010db8000000000000000000123456";
    let sum = hex::encode(&frame[56..58]);
    assert_eq!(frame.to_vec(), bytes(&expected.replace("SUM", &sum)));
    assert_eq!(statement(&frame), Some((V6.into(), MAC, Sign::Probe)));
    let from = "2001:db8::21".parse().unwrap();
    assert_eq!(
        statement(&Neighbour::ask(MAC, from, V6)),
        Some((from.into(), MAC, Sign::Use))
    );
}

#[test]
fn frames_that_crossed_a_router_or_are_cut_say_nothing() {
    let mut frame = Neighbour::announce(MAC, V6);
    frame[21] = 254;
    assert_eq!(statement(&frame), None);
    let frame = Neighbour::announce(MAC, V6);
    for len in 0..frame.len() {
        assert_eq!(statement(&frame[..len]), None, "cut to {len}");
    }
    let frame = Arp::announce_reply(MAC, V4).frame();
    for len in 0..frame.len() {
        assert_eq!(statement(&frame[..len]), None, "cut to {len}");
    }
}

proptest! {
    #[test]
    fn any_frame_is_read_without_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
        // Two thirds of them look right up to the interesting parts.
        if frame.len() > 60 && kind > 0 {
            let good: &[u8] = if kind == 1 { &Arp::probe(MAC, V4).frame()[..20] } else { &Neighbour::probe(MAC, V6)[..56] };
            frame[..good.len()].copy_from_slice(good);
            if kind == 2 {
                let payload = (frame.len() - 54) as u16;
                frame[18..20].copy_from_slice(&payload.to_be_bytes());
            }
        }
        let _ = statement(&frame);
    }
}
