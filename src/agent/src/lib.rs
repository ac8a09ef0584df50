//! The daemon on each node: the engine plus the hands.

#[cfg(test)]
mod samples;
pub mod store;
