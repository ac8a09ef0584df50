//! The beat's layout is a contract between agents of different versions: pinned by golden vectors, bent by
//! generated ones.

mod common;

use backstay_core::engine::{
    AgentVersion, Answer, Ask, Beat, BeatOrder, HIGHEST_TERM, HearsPeer, HostFlags, MAX_MOVES,
    MoveReport, Refused, Released, ServiceReport, SilentLinks, Verdict, phase,
};
use backstay_core::model::{ClusterId, MAX_MEMBERS, MAX_SERVICES, NodeId, ServiceId};
use backstay_wire::beat::{decode, encode};
use backstay_wire::{Keys, Kind, MAX_DATAGRAM, Reject, peek_cluster, peek_foreign};
use common::{golden, key, keys, resign};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes_of(beat: &Beat, link: u8, keys: &Keys) -> Vec<u8> {
    let mut out = [0xaa; MAX_DATAGRAM];
    let length = encode(beat, link, keys, &mut out);
    out[..length].to_vec()
}

/// An agent that has just started and knows nothing.
fn smallest() -> Beat {
    Beat {
        cluster: ClusterId(0x0102_0304_0506_0708),
        from: NodeId(0x1112_1314_1516_1718),
        boot: 1,
        sequence: 1,
        nonce: 0x2122_2324_2526_2728,
        listening: true,
        silent: true,
        ..Beat::default()
    }
}

/// A home in a cluster of three, in an ordinary second.
fn usual() -> Beat {
    let (n1, sb1, w1) = (NodeId(0xa1), NodeId(0xb1), NodeId(0xc1));
    Beat {
        cluster: ClusterId(0xfeed_face_cafe_beef),
        from: n1,
        incarnation: 2,
        boot: 17,
        sequence: 123_456,
        nonce: u64::MAX,
        revision: 9,
        hash: 0x0011_2233_4455_6677,
        epoch: 7,
        system_revision: 4,
        services: [ServiceReport {
            service: ServiceId(1),
            phase: phase::RUNNING,
            term: 5,
            since_ms: 3_600_000,
        }]
        .into_iter()
        .collect(),
        asks: [Ask {
            service: ServiceId(1),
            term: 5,
        }]
        .into_iter()
        .collect(),
        hears: [(sb1, 120, 0x5b), (w1, u32::MAX, 0)]
            .into_iter()
            .map(|(node, age_ms, echo)| HearsPeer { node, age_ms, echo })
            .collect(),
        ..Beat::default()
    }
}

/// A bit of everything.
fn busy() -> Beat {
    let n1 = NodeId(0xa1);
    let answer = |service, verdict| Answer {
        asker: n1,
        boot: 17,
        sequence: 123_456,
        service: ServiceId(service),
        term: 5,
        verdict,
    };
    Beat {
        from: NodeId(0xb1),
        leaving: true,
        host: HostFlags {
            gate_lost: true,
            disk_bad: false,
            clock_loose: true,
            link_down: true,
            gate_restored: false,
            alias_restored: false,
        },
        would: [ServiceId(3), ServiceId(0x0405)].into_iter().collect(),
        released: [(6, Some(n1)), (7, None), (8, Some(NodeId(0)))]
            .into_iter()
            .map(|(service, successor)| Released {
                service: ServiceId(service),
                term: 11,
                successor,
            })
            .collect(),
        answers: [
            answer(1, Verdict::Yes),
            answer(2, Verdict::Would),
            answer(3, Verdict::No),
            answer(4, Verdict::Refused(Refused::Other, 0)),
            answer(5, Verdict::Refused(Refused::Heard, 2_400)),
            answer(6, Verdict::Refused(Refused::Newer, 1)),
            answer(7, Verdict::Refused(Refused::Document, 2)),
            answer(8, Verdict::Refused(Refused::Revision, 3)),
            answer(9, Verdict::Refused(Refused::Promise, u32::MAX)),
        ]
        .into_iter()
        .collect(),
        orders: [BeatOrder {
            service: ServiceId(1),
            at_term: 5,
            target: n1,
            number: 99,
        }]
        .into_iter()
        .collect(),
        ..usual()
    }
}

/// Every list full.
fn fullest() -> Beat {
    let n = MAX_SERVICES;
    Beat {
        services: [ServiceReport::default(); MAX_SERVICES].into(),
        asks: [Ask::default(); MAX_SERVICES].into(),
        would: [ServiceId(n as u16); MAX_SERVICES].into(),
        released: [Released::default(); MAX_SERVICES].into(),
        answers: [Answer::default(); MAX_SERVICES].into(),
        hears: [HearsPeer::default(); MAX_MEMBERS].into(),
        orders: [BeatOrder::default(); 4].into(),
        moves: [MoveReport::default(); MAX_MOVES].into(),
        agent: AgentVersion {
            major: 1,
            minor: 2,
            patch: 3,
        },
        ..usual()
    }
}

/// Name, what it says, on which link.
fn vectors() -> [(&'static str, Beat, u8); 3] {
    [
        ("beat-smallest.hex", smallest(), 0),
        ("beat-usual.hex", usual(), 1),
        ("beat-busy.hex", busy(), 255),
    ]
}

#[test]
fn golden_vectors_are_written_and_read_bit_for_bit() {
    for (name, beat, link) in vectors() {
        let written = bytes_of(&beat, link, &keys());
        let pinned = golden(name, &written);
        assert_eq!(hex::encode(&written), hex::encode(&pinned), "{name}");
        assert_eq!(decode(&pinned, &keys()), Ok((beat, link)), "{name}");
    }
}

#[test]
fn every_truncation_is_rejected() {
    for (name, beat, link) in vectors() {
        let bytes = bytes_of(&beat, link, &keys());
        for length in 0..bytes.len() {
            let got = decode(&bytes[..length], &keys());
            assert_eq!(got, Err(Reject::Short), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn every_flipped_bit_is_rejected() {
    for (name, beat, link) in vectors() {
        let mut bytes = bytes_of(&beat, link, &keys());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, &keys()).is_err(), "{name}, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn trailing_bytes_are_rejected() {
    let mut bytes = bytes_of(&usual(), 0, &keys());
    bytes.push(0);
    assert_eq!(decode(&bytes, &keys()), Err(Reject::Layout));
}

#[test]
fn a_beat_forged_under_another_key_is_rejected() {
    let bytes = bytes_of(&usual(), 0, &keys());
    let other = Keys::new(&[key(7, 0x99, true)]).unwrap();
    assert_eq!(decode(&bytes, &other), Err(Reject::Mac));
    let unknown = Keys::new(&[key(8, 0x42, true)]).unwrap();
    assert_eq!(decode(&bytes, &unknown), Err(Reject::Key));
}

#[test]
fn a_key_is_exchanged_without_a_lost_beat() {
    let (old, new) = (0x42, 0x43);
    let of = |list: &[(u8, u8, bool)]| {
        let list: Vec<_> = list
            .iter()
            .map(|&(id, s, signs)| key(id, s, signs))
            .collect();
        Keys::new(&list).unwrap()
    };
    // Nodes are one step apart at most, as the document reaches them.
    let steps = [
        of(&[(1, old, true)]),
        of(&[(1, old, true), (2, new, false)]),
        of(&[(1, old, false), (2, new, true)]),
        of(&[(2, new, true)]),
    ];
    for pair in steps.windows(2) {
        for (from, to) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            assert!(decode(&bytes_of(&usual(), 0, from), to).is_ok());
        }
    }
    let far = decode(&bytes_of(&usual(), 0, &steps[0]), &steps[3]);
    assert_eq!(far, Err(Reject::Key));
}

#[test]
fn cheap_checks_name_what_is_wrong() {
    let good = bytes_of(&usual(), 0, &keys());
    assert_eq!(decode(b"", &keys()), Err(Reject::Short));
    assert_eq!(decode(b"GET / HTTP/1.1", &keys()), Err(Reject::Magic));
    let mut newer = good.clone();
    newer[4] = 2;
    assert_eq!(decode(&newer, &keys()), Err(Reject::Version));
    let mut huge = vec![0; MAX_DATAGRAM + 1];
    huge[..good.len()].copy_from_slice(&good);
    huge[8..10].copy_from_slice(&((MAX_DATAGRAM + 1) as u16).to_be_bytes());
    assert_eq!(decode(&huge, &keys()), Err(Reject::Layout));
}

#[test]
fn kind_and_cluster_are_seen_before_the_keys_are_known() {
    let bytes = bytes_of(&usual(), 0, &keys());
    assert_eq!(Kind::of(&bytes), Some(Kind::Beat));
    assert_eq!(peek_cluster(&bytes), Some(usual().cluster));
}

#[test]
fn m2_a_beat_of_another_format_names_its_sender_and_no_other_does() {
    let mut bytes = bytes_of(&usual(), 0, &keys());
    assert_eq!(peek_foreign(&bytes), None, "of this format: to be verified");
    bytes[4] = 2;
    assert_eq!(peek_foreign(&bytes), Some(usual().from));
    assert_eq!(decode(&bytes, &keys()), Err(Reject::Version));
    assert_eq!(peek_foreign(&bytes[..31]), None);
    bytes[..4].copy_from_slice(b"BsDc");
    assert_eq!(peek_foreign(&bytes), None, "no beat");
}

/// What the version before wrote is read, and what it did not say is not made up.
#[test]
fn a_beat_without_its_agents_version_is_read() {
    assert!(
        usual().agent.is_unknown(),
        "the vectors are older than that list"
    );
    let newer = Beat {
        agent: AgentVersion::own(),
        ..usual()
    };
    let bytes = bytes_of(&newer, 0, &keys());
    assert_eq!(decode(&bytes, &keys()), Ok((newer, 0)));
    assert_eq!(bytes.len(), bytes_of(&usual(), 0, &keys()).len() + 10);
}

/// C10.
#[test]
fn c10_a_beat_says_its_senders_clock_or_nothing_of_it() {
    assert_eq!(usual().wall_ms, 0, "the vectors are older than that list");
    let newer = Beat {
        wall_ms: 0x0102_0304_0506_0708,
        ..usual()
    };
    let bytes = bytes_of(&newer, 0, &keys());
    let list = [11, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    assert!(bytes.windows(12).any(|w| w == list), "pinned");
    assert_eq!(bytes.len(), bytes_of(&usual(), 0, &keys()).len() + 12);
    assert_eq!(decode(&bytes, &keys()), Ok((newer, 0)));
}

#[test]
fn sizes_stay_in_their_bounds() {
    assert_eq!(bytes_of(&fullest(), 0, &keys()).len(), 3886);
    let fuller = Beat {
        silent_links: [SilentLinks::default(); MAX_MEMBERS].into(),
        wall_ms: u64::MAX,
        ..fullest()
    };
    assert_eq!(bytes_of(&fuller, 0, &keys()).len(), 4046);
    assert_eq!(
        decode(&bytes_of(&fullest(), 3, &keys()), &keys()),
        Ok((fullest(), 3))
    );
    // Ten homes, one standby and a witness, all seen by the standby that answers all of them.
    let mut large = fullest();
    large.services.truncate(10);
    large.asks.truncate(1);
    large.would.truncate(10);
    large.released.truncate(10);
    large.answers.truncate(10);
    large.hears.truncate(11);
    large.orders.truncate(1);
    large.moves.truncate(6);
    assert!(bytes_of(&large, 0, &keys()).len() <= 1_400);
}

/// The lists of [`usual`] begin here.
const LISTS: usize = 92;

/// A signed beat whose lists are these bytes.
fn with_lists(lists: &[u8]) -> Vec<u8> {
    let mut bytes = bytes_of(&usual(), 0, &keys());
    bytes.truncate(LISTS);
    bytes.extend_from_slice(lists);
    resign(bytes)
}

#[test]
fn what_newer_agents_append_is_skipped() {
    let ask = [0, 1, 0, 0, 0, 0, 0, 0, 0, 5];
    // An ask with three bytes more, twice; and a list of a type that nobody knows yet.
    let mut lists = vec![2, 13, 0, 2];
    for _ in 0..2 {
        lists.extend_from_slice(&ask);
        lists.extend_from_slice(&[0xff; 3]);
    }
    lists.extend_from_slice(&[200, 3, 0, 1, 9, 9, 9]);
    let (beat, _) = decode(&with_lists(&lists), &keys()).unwrap();
    assert_eq!(beat.asks.as_slice(), &[usual().asks[0]; 2]);
    assert_eq!(beat.services.len(), 0);

    // A header with five bytes more, and flags that nobody knows yet.
    let mut bytes = bytes_of(&usual(), 0, &keys());
    bytes.truncate(bytes.len() - 16);
    bytes[7] += 5;
    bytes[12] = 0x80;
    bytes[14] = 0x80;
    bytes.splice(LISTS..LISTS, [7; 5]);
    assert_eq!(decode(&resign(bytes), &keys()), Ok((usual(), 0)));
}

#[test]
fn an_unknown_verdict_is_a_no_and_an_unknown_reason_another_one() {
    let mut answer = vec![5, 40, 0, 1];
    answer.extend_from_slice(&[0; 34]);
    answer.extend_from_slice(&[77, 1, 0, 0, 0, 9]);
    let (beat, _) = decode(&with_lists(&answer), &keys()).unwrap();
    assert_eq!(beat.answers[0].verdict, Verdict::No);
    answer[38] = 3;
    answer[39] = 200;
    let (beat, _) = decode(&with_lists(&answer), &keys()).unwrap();
    assert_eq!(beat.answers[0].verdict, Verdict::Refused(Refused::Other, 9));
}

#[test]
fn badly_laid_out_lists_are_rejected_even_under_the_right_key() {
    let would = [3, 2, 0, 1, 0, 9];
    assert!(decode(&with_lists(&would), &keys()).is_ok());
    let twice = [would, would].concat();
    let twice_unknown = [200, 0, 0, 0, 200, 0, 0, 0];
    let mut many = vec![3, 2, 0, MAX_SERVICES as u8 + 1];
    many.extend_from_slice(&[0; (MAX_SERVICES + 1) * 2]);
    let cases: [(&str, &[u8]); 7] = [
        ("a list twice", &twice),
        ("an unknown list twice", &twice_unknown),
        ("entries shorter than version 1 has them", &[3, 1, 0, 1, 9]),
        ("entries of no length", &[3, 0, 255, 255]),
        ("more entries than bytes", &[3, 2, 0, 2, 0, 9]),
        ("more entries than there can be", &many),
        ("half a list", &[3, 2, 0]),
    ];
    for (what, lists) in cases {
        assert_eq!(
            decode(&with_lists(lists), &keys()),
            Err(Reject::Layout),
            "{what}"
        );
    }
    for header in [0_u16, 91, 0xffff] {
        let mut bytes = bytes_of(&usual(), 0, &keys());
        bytes.truncate(bytes.len() - 16);
        bytes[6..8].copy_from_slice(&header.to_be_bytes());
        assert_eq!(
            decode(&resign(bytes), &keys()),
            Err(Reject::Layout),
            "{header}"
        );
    }
}

/// Nobody could take a service any more above the last term there is, on any node that heard of it.
#[test]
fn a_term_above_which_there_is_soon_none_is_refused_even_under_the_right_key() {
    let with = |term| {
        let mut said = Beat::default();
        let service = ServiceId(1);
        said.asks.push(Ask { service, term });
        bytes_of(&said, 0, &keys())
    };
    assert!(decode(&with(HIGHEST_TERM), &keys()).is_ok());
    for term in [HIGHEST_TERM + 1, u64::MAX] {
        assert_eq!(decode(&with(term), &keys()), Err(Reject::Layout));
    }
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn service() -> impl Strategy<Value = ServiceId> {
    any::<u16>().prop_map(ServiceId)
}

fn term() -> impl Strategy<Value = u64> {
    prop_oneof![0..=HIGHEST_TERM, Just(HIGHEST_TERM)]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let reason = prop::sample::select(vec![
        Refused::Heard,
        Refused::Newer,
        Refused::Document,
        Refused::Revision,
        Refused::Promise,
        Refused::Other,
    ]);
    prop_oneof![
        Just(Verdict::Yes),
        Just(Verdict::Would),
        Just(Verdict::No),
        (reason, any::<u32>()).prop_map(|(reason, ms)| Verdict::Refused(reason, ms)),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    (node(), any::<(u64, u64)>(), term(), service(), verdict()).prop_map(
        |(asker, (boot, sequence), term, service, verdict)| Answer {
            asker,
            boot,
            sequence,
            service,
            term,
            verdict,
        },
    )
}

fn any_beat() -> impl Strategy<Value = Beat> {
    let report =
        (service(), term(), any::<(u8, u32)>()).prop_map(|(service, term, (phase, since_ms))| {
            ServiceReport {
                service,
                phase,
                term,
                since_ms,
            }
        });
    let ask = (service(), term()).prop_map(|(service, term)| Ask { service, term });
    let released =
        (service(), term(), prop::option::of(node())).prop_map(|(service, term, successor)| {
            Released {
                service,
                term,
                successor,
            }
        });
    let hears = (node(), any::<(u32, u64)>()).prop_map(|(node, (age_ms, echo))| HearsPeer {
        node,
        age_ms,
        echo,
    });
    let order =
        (service(), node(), term(), any::<u64>()).prop_map(|(service, target, at_term, number)| {
            BeatOrder {
                service,
                at_term,
                target,
                number,
            }
        });
    let moved = (service(), term(), any::<u32>()).prop_map(|(service, term, left_ms)| MoveReport {
        service,
        term,
        left_ms,
    });
    let silent = (node(), any::<u8>()).prop_map(|(node, links)| SilentLinks { node, links });
    let lists = (
        vec(report, 0..=MAX_SERVICES),
        vec(ask, 0..=MAX_SERVICES),
        vec(service(), 0..=MAX_SERVICES),
        vec(released, 0..=MAX_SERVICES),
        vec(answer(), 0..=MAX_SERVICES),
        vec(hears, 0..=MAX_MEMBERS),
        vec(order, 0..=4),
        vec(moved, 0..=MAX_MOVES),
        vec(silent, 0..=MAX_MEMBERS),
    );
    let flags = any::<[bool; 9]>();
    let fixed = (any::<[u64; 9]>(), any::<u32>(), any::<[u16; 3]>());
    (fixed, flags, lists).prop_map(|((n, incarnation, v), f, l)| Beat {
        cluster: ClusterId(n[0]),
        from: NodeId(n[1]),
        incarnation,
        boot: n[2],
        sequence: n[3],
        nonce: n[4],
        revision: n[5],
        hash: n[6],
        epoch: n[7],
        system_revision: n[8],
        leaving: f[0],
        silent: f[1],
        listening: f[2],
        host: HostFlags {
            gate_lost: f[3],
            disk_bad: f[4],
            clock_loose: f[5],
            link_down: f[6],
            gate_restored: f[7],
            alias_restored: f[8],
        },
        services: l.0.into_iter().collect(),
        asks: l.1.into_iter().collect(),
        would: l.2.into_iter().collect(),
        released: l.3.into_iter().collect(),
        answers: l.4.into_iter().collect(),
        hears: l.5.into_iter().collect(),
        orders: l.6.into_iter().collect(),
        moves: l.7.into_iter().collect(),
        agent: AgentVersion {
            major: v[0],
            minor: v[1],
            patch: v[2],
        },
        silent_links: l.8.into_iter().collect(),
        wall_ms: u64::from(v[0]) << 30,
    })
}

proptest! {
    #[test]
    fn any_beat_survives_the_wire(beat in any_beat(), link in any::<u8>()) {
        let bytes = bytes_of(&beat, link, &keys());
        prop_assert_eq!(decode(&bytes, &keys()), Ok((beat, link)));
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..2 * MAX_DATAGRAM)) {
        prop_assert!(decode(&bytes, &keys()).is_err());
        peek_cluster(&bytes);
    }

    /// Past the MAC, where only a faulty member gets.
    #[test]
    fn no_lists_panic(lists in vec(any::<u8>(), 0..1024)) {
        if let Err(reject) = decode(&with_lists(&lists), &keys()) {
            prop_assert_eq!(reject, Reject::Layout);
        }
    }

    /// Likewise, with bytes that nearly make sense.
    #[test]
    fn no_changed_byte_panics(beat in any_beat(), changes in vec(any::<(u16, u8)>(), 1..8)) {
        let mut bytes = bytes_of(&beat, 0, &keys());
        bytes.truncate(bytes.len() - 16);
        for (at, to) in changes {
            let at = 6 + usize::from(at) % (bytes.len() - 6);
            bytes[at] = to;
        }
        if let Err(reject) = decode(&resign(bytes), &keys()) {
            prop_assert_eq!(reject, Reject::Layout);
        }
    }
}
