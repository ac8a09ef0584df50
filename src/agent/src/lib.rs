//! The daemon on each node: the engine plus the hands.

pub mod cli;
pub mod decide;
pub mod documents;
pub mod fault;
pub mod host;
#[cfg(test)]
mod samples;
pub mod serve;
pub mod store;
pub mod work;
