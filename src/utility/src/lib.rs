//! The maintenance utility: one plan behind menu, set-up and flags.
//!
//! [`remote`] reaches agents, [`ops`] does what an admin wants with them (and knows no terminal),
//! [`output`] turns what they say into text and JSON, [`cli`] is the command line, [`tui`] the menu.

mod between;
pub mod cli;
pub mod failure;
pub mod ops;
pub mod output;
pub mod remote;
pub mod setup;
pub mod trial;
pub mod tui;

pub use failure::{Changed, Exit, Failure};
