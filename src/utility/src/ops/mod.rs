//! What an admin can do with a system: *validate, preflight, show, confirm, apply, watch*.
//!
//! Nothing here touches the terminal or the environment: who calls hands in what is needed and shows what
//! comes back.

pub mod apply;
pub mod catch_up;
pub mod collect;
pub mod contact;
pub mod crew;
pub mod enrol;
pub mod front;
pub mod gather;
pub mod lookout;
pub mod needs;
pub mod packages;
pub mod preflight;
pub mod upgrade;
pub mod watch;

#[cfg(test)]
mod scale;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use crew::Crew;
pub use gather::{Gatherer, Picture};

/// Set when the admin breaks off; looked at wherever something waits.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// The admin broke off.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the admin broke off.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
