//! Profiles and the times they stand for.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A named set of times, by what lies between the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Beat 50 ms, hold 200 ms, wait 300 ms.
    Fast,
    /// Beat 0.5 s, hold 2 s, wait 3 s.
    #[default]
    Lan,
    /// Beat 1 s, hold 9 s, wait 15 s: for guests that are paused now and then.
    Vm,
    /// Beat 2 s, hold 18 s, wait 30 s.
    Wan,
}

/// The times of one cluster; each left out is the profile's or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Time between two beats, ms (20 to 10,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beat_ms: Option<u32>,
    /// H: how long an armed slot lasts, ms (at least three beats).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u32>,
    /// W: how long a voter waits after the last ask it acknowledged, ms (see PROTOCOL rule 36).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u32>,
    /// A5: how long a starting node listens at most, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_wait_ms: Option<u32>,
    /// F9: how long home must have been healthy before automatic fallback, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_healthy_ms: Option<u32>,
    /// How long the standby waits for a home that was never heard since its own boot, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start_ms: Option<u32>,
    /// C10: how far clocks may be apart, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clocks_within_ms: Option<u32>,
}

impl Profile {
    /// Beat, H and W of this profile.
    pub const fn times(self) -> (Duration, Duration, Duration) {
        let (beat, hold, wait) = match self {
            Self::Fast => (50, 200, 300),
            Self::Lan => (500, 2_000, 3_000),
            Self::Vm => (1_000, 9_000, 15_000),
            Self::Wan => (2_000, 18_000, 30_000),
        };
        (
            Duration::from_millis(beat),
            Duration::from_millis(hold),
            Duration::from_millis(wait),
        )
    }
}
