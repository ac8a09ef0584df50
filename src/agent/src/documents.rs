//! How a document comes to hold on this node: staged and committed by an admin's tool, or fetched from
//! another node because a beat told of a newer one (anti-entropy).
//!
//! A revision is checked, then on disk, then told to the decision loop; never in another order.

pub mod checks;
pub mod fetch;
mod keeper;
mod lost;
mod network;
#[cfg(test)]
mod tests;

pub use checks::{Machine, PutOn};
pub use keeper::Keeper;
pub(crate) use lost::lost;
