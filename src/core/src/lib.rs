//! Backstay's nouns and decisions.
//!
//! Pure: nothing here reads a clock, a socket, a file or a random number, and nothing waits. Whoever
//! drives the core hands it what happened and the time, and carries out what it answers.

pub mod engine;
pub mod model;
pub mod plan;
pub mod time;
