//! The decision loop: one thread that owns the engines, the sockets of the beats, and the hands that work in
//! microseconds. Nothing in it waits for a disk, a process or a client; what may wait is a [`Job`] for another
//! thread, and comes back as an [`Input`].

mod cluster;
#[cfg(test)]
mod cost;
mod decider;
mod effects;
mod hands;
mod input;
mod inputs;
mod jobs;
mod links;
mod notice;
mod receive;
mod rejects;
#[cfg(test)]
mod tests;
mod upkeep;

pub use decider::{Decider, Pulse};
pub use hands::{Hands, Happened};
pub use input::{Inbox, Input, Outbox, SystemText, inputs};
pub use jobs::{Errand, Job, Jobs};
