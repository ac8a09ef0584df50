//! The daemon on each node: the engine plus the hands.

pub mod host;
