//! Real faults on the lab's hosts, measured: behind `backstay lab up --demo` and `backstay lab bench`.
//!
//! Everything an admin would do is done as an admin does it: by this program's own command line.

mod boot;
mod cold;
mod cost;
mod demo;
mod faults;
mod flood;
mod ground;
mod kills;
mod links;
mod meddle;
mod scenes;
mod upkeep;
mod work;

pub use demo::demo;
pub use ground::{CLUSTER, Ground, create_command, create_on};

use std::path::PathBuf;

use backstay_lab::bench::Summary;

/// The names of what can be repeated: faults, and series of kills.
pub const NAMES: [&str; faults::NAMES.len() + kills::NAMES.len()] = {
    let mut names = [""; faults::NAMES.len() + kills::NAMES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = if at < faults::NAMES.len() {
            faults::NAMES[at]
        } else {
            kills::NAMES[at - faults::NAMES.len()]
        };
        at += 1;
    }
    names
};

/// Repeats a fault, or a series of kills, until there are `runs` runs in the results file.
///
/// # Errors
/// A run shows what must never be; what was before it is kept.
pub fn bench(
    name: &str,
    runs: u32,
    resume: bool,
    results: PathBuf,
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<Summary> {
    if kills::NAMES.contains(&name) {
        kills::bench(name, runs, resume, &results, say)
    } else {
        faults::bench(name, runs, resume, results, say)
    }
}
