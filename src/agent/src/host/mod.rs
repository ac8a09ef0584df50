//! The hands: what the agent does to its machine.
//!
//! Nothing here decides anything. Every function executes one small command and reports what came of it.
//! [`gate`], [`address`] and [`announce`] lie on the failover path and are called from the decision loop's own
//! thread: synchronous, microseconds, no process spawned. [`units`] and [`command`] are asynchronous, because a
//! service's stop takes as long as it takes.

pub mod address;
pub mod announce;
pub mod clock;
pub mod command;
pub mod facts;
pub mod gate;
pub mod needs;
pub mod network;
pub mod packages;
pub mod packet;
pub mod report;
pub mod shutdown;
pub mod units;
pub mod viewers;

#[cfg(test)]
mod testnet;
