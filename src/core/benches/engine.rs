//! How many beats of a steady cluster of eleven nodes one core takes: at least 1,000,000 a second, each with the
//! questions for effects and timer that an agent asks, and with this node's own beats in between.

#[path = "../tests/steady/mod.rs"]
mod steady;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use steady::Steady;

fn beats(c: &mut Criterion) {
    let mut steady = Steady::new();
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    group.bench_function("beat of eleven nodes", |b| b.iter(|| steady.step()));
    group.finish();
    assert_eq!(steady.surprises, 0, "the cluster is not steady");
}

criterion_group!(benches, beats);
criterion_main!(benches);
