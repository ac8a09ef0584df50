//! Whole clusters on a virtual clock with faults: the same engine that the agents run, on a model of
//! machines, kernel gates and a network that loses, doubles and cuts. By seed: equal seeds, equal runs.

mod checks;
mod cluster;
mod driver;
mod faults;
mod machine;
mod net;
mod node;
mod rng;
mod settle;
mod units;
mod world;

use core::num::NonZero;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

pub use machine::Ns;
pub use world::{Failure, Options};

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// A broken rule, if one was found.
    pub failure: Option<Failure>,
    /// The rows of the life-cycle table that were taken, as bits.
    pub rows: u64,
    /// How many nodes the cluster had.
    pub nodes: usize,
    /// How many faults and orders there were.
    pub faults: u32,
    /// How often it was looked whether all had come to rest in its place.
    pub quiets: u32,
    /// Virtual time, ns.
    pub lasted: Ns,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
    /// The words that ask for the same again.
    pub flags: &'static str,
}

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Some(failure) = &self.failure else {
            return write!(f, "seed {} kept the rules", self.seed);
        };
        write!(
            f,
            "seed {} ({} nodes): {} broken at {:.3} s: {}\n  again: cargo run -p backstay-sim -- --trace{} --seeds {}",
            self.seed,
            self.nodes,
            failure.rule,
            core::time::Duration::from_nanos(failure.at).as_secs_f64(),
            failure.what,
            self.flags,
            self.seed
        )
    }
}

/// Runs one seed to its end or to the first broken rule.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut world = world::World::new(seed, options);
    let failure = world.run();
    Outcome {
        seed,
        failure,
        rows: world.rows,
        nodes: world.nodes.len(),
        faults: world.script.faults,
        quiets: world.script.quiets,
        lasted: world.now,
        trace: world.trace,
        flags: match (options.maintenance, options.refusals) {
            (false, false) => "",
            (true, false) => " --maintenance",
            (false, true) => " --refusals",
            (true, true) => " --maintenance --refusals",
        },
    }
}

/// Runs seeds on every core; answers what became of them, in order.
pub fn run_all(seeds: Range<u64>, options: impl Fn(u64) -> Options + Sync) -> Vec<Outcome> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push(run(seed, options(seed)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|outcome| outcome.seed);
    all
}
