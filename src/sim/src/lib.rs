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
    }
}
