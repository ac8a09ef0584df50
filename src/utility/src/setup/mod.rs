//! Guided set-up (U3): from bare hosts to a healthy cluster.
//!
//! [`step::next`] says what comes next by the [`draft::Draft`] alone, so going back, recording and resuming
//! are one thing each: answers are taken away, written down, or no longer needed because the system already
//! is so. [`drive::Drive`] asks an [`ask::Asker`] (prompts, plain lines, a file of answers) and does what is
//! between questions by a [`system::System`]; every change there is a plan like that of the flags.

pub mod answers;
pub mod ask;
pub mod draft;
pub mod drive;
pub mod plain;
pub mod prompts;
pub mod question;
pub mod step;
pub mod suggest;
pub mod system;

#[cfg(test)]
mod tests;
