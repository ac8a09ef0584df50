//! The one kind of time that decisions know.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A reading of the machine's own boot-time clock, in nanoseconds (`CLOCK_BOOTTIME`, Linux 2.6.39).
///
/// Readings of two machines can't be compared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Mono(pub u64);

impl Mono {
    /// The reading `millis` milliseconds after the clock's start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// How long `earlier` lies back; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The reading `by` later; the clock's last reading if there is none so late.
    #[must_use]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// The reading `by` earlier; the clock's start if there is none so early.
    #[must_use]
    pub const fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }
}

const fn nanos(of: Duration) -> u64 {
    let nanos = of.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        nanos as u64
    }
}
