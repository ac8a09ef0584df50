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

/// A time for people: `0.3 s`, `300 s`, `30 min`, `2 h`, `7 d`. Exact: what is no whole number of the larger unit, or
/// fewer than two of them, is told in the smaller one, and below ten minutes in seconds, as settings are.
pub fn span(time: Duration) -> String {
    let ms = time.as_millis();
    let whole = |unit: u128| ms.is_multiple_of(unit).then_some(ms / unit);
    let units = [
        (86_400_000, 2, "d"),
        (3_600_000, 2, "h"),
        (60_000, 10, "min"),
    ];
    let found = units.into_iter().find_map(|(unit, least, name)| {
        let count = whole(unit).filter(|count| *count >= least)?;
        Some(format!("{count} {name}"))
    });
    found.unwrap_or_else(|| {
        if let Some(seconds) = whole(1_000) {
            return format!("{seconds} s");
        }
        let exact = format!("{}.{:03}", ms / 1_000, ms % 1_000);
        format!("{} s", exact.trim_end_matches('0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well_and_are_exact() {
        let told = [
            300,
            8_000,
            300_000,
            540_000,
            600_000,
            601_000,
            5_400_000,
            604_800_000,
        ]
        .map(|ms| span(Duration::from_millis(ms)));
        let expected = [
            "0.3 s", "8 s", "300 s", "540 s", "10 min", "601 s", "90 min", "7 d",
        ];
        assert_eq!(told, expected);
    }
}
