//! What crosses between Backstay's machines.
//!
//! [`beat`] is what agents send each other several times a second, [`sealed`] how they hand each other
//! documents, [`rpc`] what the maintenance utility and an agent say to each other.

pub mod rpc;
