//! What a datagram costs before the engine hears of it: sound, forged, and not worth a look. A flood must cost less than
//! what the wire can carry of it.

use backstay_core::engine::{Ask, Beat, HearsPeer, ServiceReport, phase};
use backstay_core::model::{ClusterId, Key, NodeId, ServiceId};
use backstay_wire::{Keys, MAX_DATAGRAM, beat};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// What a node that runs one service says in a cluster of eleven.
fn usual() -> Beat {
    let (service, term) = (ServiceId(1), 3);
    let mut said = Beat {
        cluster: ClusterId(0xc1),
        from: NodeId(1),
        boot: 4,
        sequence: 1_000,
        nonce: 5,
        revision: 6,
        ..Beat::default()
    };
    said.asks.push(Ask { service, term });
    said.services.push(ServiceReport {
        service,
        phase: phase::RUNNING,
        term,
        since_ms: 60_000,
    });
    for n in 2..=11 {
        said.hears.push(HearsPeer {
            node: NodeId(n),
            age_ms: 200,
            echo: n,
        });
    }
    said
}

fn datagrams(c: &mut Criterion) {
    let key = Key {
        id: 1,
        secret: "5a".repeat(32),
        signs: true,
    };
    let keys = Keys::new(&[key]).unwrap();
    let said = usual();
    let mut out = [0; MAX_DATAGRAM];
    let length = beat::encode(&said, 0, &keys, &mut out);
    let sound = out[..length].to_vec();
    let mut forged = sound.clone();
    forged[40] ^= 1;
    let mut group = c.benchmark_group(format!("beat of {length} bytes"));
    group.throughput(Throughput::Elements(1));
    group.bench_function("written and signed", |b| {
        b.iter(|| beat::encode(black_box(&said), 0, &keys, &mut out));
    });
    group.bench_function("verified and read", |b| {
        b.iter(|| beat::decode(black_box(&sound), &keys).is_ok());
    });
    group.bench_function("forged", |b| {
        b.iter(|| beat::decode(black_box(&forged), &keys).is_ok());
    });
    group.bench_function("cut short", |b| {
        b.iter(|| beat::decode(black_box(&sound[..length - 1]), &keys).is_ok());
    });
    group.finish();
}

criterion_group!(benches, datagrams);
criterion_main!(benches);
