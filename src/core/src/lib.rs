//! Backstay's nouns and decisions.
//!
//! Pure: nothing here reads a clock, a socket, a file or a random number, and nothing waits. Whoever
//! drives the core hands it what happened and the time, and carries out what it answers.

/// The version of everything that is built of this source; who builds a package may put its own there.
pub const VERSION: &str = match option_env!("BACKSTAY_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

pub mod engine;
pub mod model;
pub mod plan;
pub mod time;
