//! Documents on their way: sealed messages, and putting them together again against every kind of piece.

mod common;

use arrayvec::ArrayVec;
use backstay_core::model::{ClusterId, MAX_DOCUMENT, NodeId};
use backstay_wire::sealed::{
    Assembly, Message, Misfit, NONCE, PIECE, Piece, Subject, Want, open, seal, short_hash,
};
use backstay_wire::{Keys, Kind, MAX_DATAGRAM, Reject, peek_cluster};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use common::{derived, golden, key, keys};
use proptest::collection::vec;
use proptest::prelude::*;

const CLUSTER: ClusterId = ClusterId(0xfeed_face_cafe_beef);
const ME: NodeId = NodeId(0xb1);

fn nonce() -> [u8; NONCE] {
    core::array::from_fn(|i| i as u8)
}

fn want(offset: u32) -> Want {
    Want {
        cluster: CLUSTER,
        subject: Subject::Cluster,
        revision: 9,
        hash: Some(0x0011_2233_4455_6677),
        offset,
        from: ME,
    }
}

fn piece() -> Piece {
    Piece {
        cluster: CLUSTER,
        subject: Subject::System,
        revision: 4,
        hash: 0x8899_aabb_ccdd_eeff,
        total: 2_000,
        offset: 1_024,
        bytes: b"revision = 4\n".iter().copied().collect(),
    }
}

fn vectors() -> [(&'static str, Message); 3] {
    let any = Want {
        hash: None,
        subject: Subject::System,
        ..want(0)
    };
    [
        ("sealed-want.hex", Message::Want(want(3_072))),
        ("sealed-want-any.hex", Message::Want(any)),
        ("sealed-piece.hex", Message::Piece(piece())),
    ]
}

#[test]
fn golden_vectors_are_sealed_and_opened_bit_for_bit() {
    for (name, message) in vectors() {
        let sealed = seal(&message, &keys(), nonce());
        let pinned = golden(name, &sealed);
        assert_eq!(hex::encode(&sealed), hex::encode(&pinned), "{name}");
        assert_eq!(open(&pinned, &keys()), Ok(message), "{name}");
    }
}

#[test]
fn every_truncation_flip_and_addition_is_rejected() {
    for (name, message) in vectors() {
        let mut bytes = seal(&message, &keys(), nonce());
        for length in 0..bytes.len() {
            let got = open(&bytes[..length], &keys());
            assert_eq!(got, Err(Reject::Short), "{name} cut to {length} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bytes, &keys()).is_err(), "{name}, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes.push(0);
        assert_eq!(open(&bytes, &keys()), Err(Reject::Layout), "{name}");
    }
}

#[test]
fn a_message_sealed_under_another_key_is_rejected() {
    let bytes = seal(&Message::Want(want(0)), &keys(), nonce());
    let other = Keys::new(&[key(7, 0x99, true)]).unwrap();
    assert_eq!(open(&bytes, &other), Err(Reject::Mac));
    let unknown = Keys::new(&[key(8, 0x42, true)]).unwrap();
    assert_eq!(open(&bytes, &unknown), Err(Reject::Key));
}

#[test]
fn a_sealed_message_shows_its_cluster_and_nothing_else() {
    let bytes = seal(&Message::Piece(piece()), &keys(), nonce());
    assert_eq!(Kind::of(&bytes), Some(Kind::Sealed));
    assert_eq!(peek_cluster(&bytes), Some(CLUSTER));
    assert!(!bytes.windows(8).any(|part| part == b"revision"));
    assert!(
        !format!("{:?}", piece()).contains("114"),
        "bytes are not shown"
    );
    assert_eq!(
        backstay_wire::beat::decode(&bytes, &keys()),
        Err(Reject::Magic)
    );
}

#[test]
fn the_longest_message_fits_any_network() {
    let full = Piece {
        bytes: [0xff; PIECE].into(),
        ..piece()
    };
    assert_eq!(seal(&Message::Piece(full), &keys(), nonce()).len(), 1_116);
}

/// What a member that builds its messages wrongly would send.
fn forge(open: &[u8]) -> Vec<u8> {
    let mut out = b"BsDc\x01\x07\0\x30".to_vec();
    out.extend_from_slice(&((48 + open.len() + 16) as u16).to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&CLUSTER.0.to_be_bytes());
    out.extend_from_slice(&nonce());
    let cipher = XChaCha20Poly1305::new_from_slice(&derived(b"backstay sealed 1")).unwrap();
    let payload = Payload {
        msg: open,
        aad: &out,
    };
    let sealed = cipher.encrypt(&XNonce::from(nonce()), payload).unwrap();
    out.extend_from_slice(&sealed);
    out
}

/// A want as it looks inside.
fn inside() -> Vec<u8> {
    let mut open = vec![1, 1];
    open.extend_from_slice(&9_u64.to_be_bytes());
    open.extend_from_slice(&0x0011_2233_4455_6677_u64.to_be_bytes());
    open.extend_from_slice(&3_072_u32.to_be_bytes());
    open.extend_from_slice(&ME.0.to_be_bytes());
    open
}

#[test]
fn what_newer_agents_append_is_ignored_and_what_they_invent_is_told_apart() {
    let mut longer = inside();
    longer.extend_from_slice(&[1, 2, 3]);
    assert_eq!(
        open(&forge(&longer), &keys()),
        Ok(Message::Want(want(3_072)))
    );
    let mut invented = inside();
    invented[0] = 3;
    assert_eq!(open(&forge(&invented), &keys()), Err(Reject::Version));
}

#[test]
fn bad_insides_are_rejected_even_under_the_right_key() {
    let good = inside();
    for length in 0..good.len() {
        assert_eq!(open(&forge(&good[..length]), &keys()), Err(Reject::Layout));
    }
    let mut subject = good.clone();
    subject[1] = 3;
    assert_eq!(open(&forge(&subject), &keys()), Err(Reject::Layout));
    // A piece that says more bytes than follow, and one longer than a piece may be.
    for (said, there) in [(10_u16, 9), (PIECE as u16 + 1, PIECE + 1)] {
        let mut piece = vec![2, 1];
        piece.extend_from_slice(&[0; 24]);
        piece.extend_from_slice(&said.to_be_bytes());
        piece.extend_from_slice(&vec![0; there]);
        assert_eq!(open(&forge(&piece), &keys()), Err(Reject::Layout));
    }
}

fn text_of(length: usize) -> String {
    (0..length)
        .map(|i| char::from(b'a' + (i / 7 % 26) as u8))
        .collect()
}

fn assembly(text: &str) -> Assembly {
    Assembly::new(CLUSTER, Subject::Cluster, 9, Some(short_hash(text)), ME)
}

/// The piece at this place, as an honest holder sends it.
fn honest(text: &str, index: usize) -> Piece {
    let want = Want {
        hash: None,
        ..want((index * PIECE) as u32)
    };
    want.answer(9, short_hash(text), text).unwrap()
}

#[test]
fn a_document_is_asked_for_piece_by_piece_until_it_is_there() {
    for length in [1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE, MAX_DOCUMENT] {
        let text = text_of(length);
        let hash = short_hash(&text);
        let mut assembly = assembly(&text);
        let mut asked = 0;
        let got = loop {
            let want = assembly.next_want().expect("not all is there");
            asked += 1;
            let piece = want.answer(9, hash, &text).unwrap();
            if let Some(got) = assembly.take(&piece).unwrap() {
                break got;
            }
        };
        assert_eq!(got, text);
        assert_eq!(asked, length.div_ceil(PIECE));
        assert_eq!(assembly.next_want(), None);
        assert_eq!(assembly.take(&honest(&text, 0)), Ok(None), "a late one");
    }
}

#[test]
fn without_a_known_hash_the_first_piece_decides() {
    let (text, other) = (text_of(3_000), "x".repeat(3_000));
    let mut assembly = Assembly::new(CLUSTER, Subject::Cluster, 9, None, ME);
    assert_eq!(assembly.next_want().unwrap().hash, None);
    assert_eq!(assembly.take(&honest(&text, 1)), Ok(None));
    assert_eq!(assembly.take(&honest(&other, 0)), Err(Misfit::Other));
    let wants: Vec<Want> = assembly.wants().collect();
    assert_eq!(
        wants.iter().map(|w| w.offset).collect::<Vec<_>>(),
        [0, 2_048]
    );
    assert!(wants.iter().all(|w| w.hash == Some(short_hash(&text))));
    assert_eq!(assembly.take(&honest(&text, 2)), Ok(None));
    assert_eq!(assembly.take(&honest(&text, 0)), Ok(Some(text)));
}

#[test]
fn without_a_known_hash_a_later_revision_is_as_good() {
    let text = text_of(1_500);
    let hash = short_hash(&text);
    let mut assembly = Assembly::new(CLUSTER, Subject::System, 9, None, ME);
    let want = assembly.next_want().unwrap();
    assert_eq!(want.answer(8, hash, &text), None, "an older one is not");
    let mut older = want.answer(9, hash, &text).unwrap();
    older.revision = 8;
    assert_eq!(assembly.take(&older), Err(Misfit::Other));
    let later = want.answer(11, hash, &text).unwrap();
    assert_eq!(assembly.take(&later), Ok(None));
    assert_eq!(assembly.revision(), 11);
    // From now on it is that text and no other.
    let want = assembly.next_want().unwrap();
    assert_eq!((want.revision, want.hash), (11, Some(hash)));
    let last = want.answer(11, hash, &text).unwrap();
    let mut another = last.clone();
    another.revision = 12;
    assert_eq!(assembly.take(&another), Err(Misfit::Other));
    assert_eq!(assembly.take(&last), Ok(Some(text)));
    assert_eq!(assembly.revision(), 11);
}

#[test]
fn hostile_pieces_are_refused_and_do_no_harm() {
    let text = text_of(3_000);
    let good = honest(&text, 1);
    let with = |change: &dyn Fn(&mut Piece)| {
        let mut piece = good.clone();
        change(&mut piece);
        piece
    };
    let short: ArrayVec<u8, PIECE> = good.bytes[1..].iter().copied().collect();
    let cases = vec![
        (with(&|p| p.cluster = ClusterId(1)), Misfit::Other),
        (with(&|p| p.subject = Subject::System), Misfit::Other),
        (with(&|p| p.revision = 10), Misfit::Other),
        (with(&|p| p.hash += 1), Misfit::Other),
        (with(&|p| p.total = 0), Misfit::Size(0)),
        (with(&|p| p.total = u32::MAX), Misfit::Size(u32::MAX)),
        (with(&|p| p.total = 262_145), Misfit::Size(262_145)),
        (with(&|p| p.total = 3_001), Misfit::Total),
        (with(&|p| p.total = 2_999), Misfit::Total),
        (with(&|p| p.offset = 1_023), Misfit::Place),
        (with(&|p| p.offset = 3_072), Misfit::Place),
        (with(&|p| p.offset = u32::MAX), Misfit::Place),
        (with(&|p| p.offset = 2_048), Misfit::Place),
        (with(&|p| p.bytes = short.clone()), Misfit::Place),
        (with(&|p| p.bytes.clear()), Misfit::Place),
        (with(&|p| p.bytes[5] ^= 1), Misfit::Differs),
    ];
    let mut assembly = assembly(&text);
    assert_eq!(assembly.take(&good), Ok(None));
    for (piece, misfit) in &cases {
        assert_eq!(assembly.take(piece), Err(*misfit), "{piece:?}");
        assert_eq!(assembly.wants().count(), 2, "{piece:?}");
    }
    assert_eq!(assembly.take(&honest(&text, 0)), Ok(None));
    assert_eq!(assembly.take(&honest(&text, 2)), Ok(Some(text)));
}

#[test]
fn pieces_that_do_not_make_the_document_begin_it_again() {
    let text = text_of(1_500);
    let mut assembly = assembly(&text);
    for bad in [b'!', 0xff] {
        let mut wrong = honest(&text, 0);
        wrong.bytes[3] = bad;
        assert_eq!(assembly.take(&wrong), Ok(None));
        assert_eq!(assembly.take(&honest(&text, 1)), Err(Misfit::Text));
        assert_eq!(assembly.next_want().map(|w| w.offset), Some(0));
    }
    // A wrong size that came first is forgotten with the rest.
    let mut cut = honest(&text, 0);
    cut.total = PIECE as u32;
    assert_eq!(assembly.take(&cut), Err(Misfit::Text));
    assert_eq!(assembly.take(&honest(&text, 0)), Ok(None));
    assert_eq!(assembly.take(&honest(&text, 1)), Ok(Some(text)));
}

#[test]
fn a_holder_answers_only_what_it_has() {
    let text = text_of(2_500);
    let hash = short_hash(&text);
    let ask = |offset| Want {
        hash: Some(hash),
        ..want(offset)
    };
    assert!(ask(2_048).answer(9, hash, &text).is_some());
    assert_eq!(ask(2_048).answer(10, hash, &text), None, "a later revision");
    assert_eq!(ask(2_048).answer(9, hash + 1, &text), None, "another text");
    for offset in [1, 2_500, 3_072, u32::MAX] {
        assert_eq!(ask(offset).answer(9, hash, &text), None, "{offset}");
    }
}

/// An honest piece of [`text_of`] 3,000 bytes, or one that lies in one respect.
fn any_piece() -> impl Strategy<Value = Piece> {
    let number = prop_oneof![
        Just(3_000_u32),
        Just(1_024),
        Just(2_048),
        Just(0),
        any::<u32>()
    ];
    let bytes = vec(any::<u8>(), 0..=PIECE);
    (0..3_usize, 0..8, number, bytes).prop_map(|(index, lie, number, bytes)| {
        let mut piece = honest(&text_of(3_000), index);
        match lie {
            0 => piece.total = number,
            1 => piece.offset = number,
            2 => piece.hash = u64::from(number),
            3 => piece.bytes = bytes.into_iter().collect(),
            4 => piece.bytes[0] ^= 1,
            _ => {}
        }
        piece
    })
}

proptest! {
    #[test]
    fn any_message_survives_the_wire(
        (cluster, revision, hash) in any::<(u64, u64, u64)>(),
        (system, is_want) in any::<(bool, bool)>(),
        (total, offset, from) in any::<(u32, u32, u64)>(),
        bytes in vec(any::<u8>(), 0..=PIECE),
        nonce in any::<[u8; NONCE]>(),
    ) {
        let cluster = ClusterId(cluster);
        let subject = if system { Subject::System } else { Subject::Cluster };
        let message = if is_want {
            let hash = Some(hash).filter(|&hash| hash != 0);
            Message::Want(Want { cluster, subject, revision, hash, offset, from: NodeId(from) })
        } else {
            let bytes = bytes.into_iter().collect();
            Message::Piece(Piece { cluster, subject, revision, hash, total, offset, bytes })
        };
        prop_assert_eq!(open(&seal(&message, &keys(), nonce), &keys()), Ok(message));
    }

    #[test]
    fn no_bytes_panic(mut bytes in vec(any::<u8>(), 0..2 * MAX_DATAGRAM), ours in any::<bool>()) {
        if ours && bytes.len() > 10 {
            let length = bytes.len() as u16;
            bytes[..8].copy_from_slice(b"BsDc\x01\x07\0\x30");
            bytes[8..10].copy_from_slice(&length.to_be_bytes());
        }
        prop_assert!(open(&bytes, &keys()).is_err());
    }

    /// Past the tag, where only a faulty member gets.
    #[test]
    fn no_inside_panics(mut inside in vec(any::<u8>(), 0..1_200), what in 0..4_u8) {
        if let Some(first) = inside.first_mut() {
            *first = what;
        }
        if let Err(reject) = open(&forge(&inside), &keys()) {
            prop_assert!(matches!(reject, Reject::Layout | Reject::Version));
        }
    }

    /// Whatever comes, with the hash known and unknown: what is handed out is what has that hash, it is
    /// handed out once, and until then there is something to ask for.
    #[test]
    fn no_pieces_confuse_an_assembly(pieces in vec(any_piece(), 0..24), known in any::<bool>()) {
        let text = text_of(3_000);
        let hash = Some(short_hash(&text)).filter(|_| known);
        let mut assembly = Assembly::new(CLUSTER, Subject::Cluster, 9, hash, ME);
        let mut done = false;
        for piece in pieces {
            if let Ok(Some(got)) = assembly.take(&piece) {
                prop_assert!(!done);
                prop_assert_eq!(&got, &text);
                done = true;
            }
            prop_assert_eq!(assembly.next_want().is_none(), done);
        }
    }
}
