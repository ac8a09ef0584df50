//! What crosses between Backstay's machines.
//!
//! [`beat`] is what agents send each other several times a second, [`sealed`] how they hand each other
//! documents; both are datagrams of one UDP port ([`datagram`]) under the cluster's [`Keys`]. [`rpc`] is
//! what the maintenance utility and an agent say to each other.
//!
//! Nothing here reads a clock, draws randomness or opens a socket. Whatever comes from another machine is
//! taken for hostile: every size is bounded and no input panics.

pub mod beat;
pub mod datagram;
mod keys;
pub mod rpc;
pub mod sealed;

pub use datagram::{Kind, MAX_DATAGRAM, Reject, peek_cluster, peek_foreign};
pub use keys::{KeyError, Keys, MAX_KEYS};
