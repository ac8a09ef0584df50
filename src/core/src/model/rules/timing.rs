//! Times.

use core::time::Duration;

use super::Found;
use crate::model::ClusterDocument;

/// rho: how far two machines' clocks may run apart, in thousandths. Crystals keep 0.1; a guest under a bad
/// hypervisor may reach 1.
const RHO_THOUSANDTHS: u128 = 1;

/// `t_close` + delta of PROTOCOL 36: 10 ms for a jiffy at 100 Hz, 30 ms for a tick that is stalled, 10 ms
/// from the decision to the kernel.
const CLOSE_AND_ACT: Duration = Duration::from_millis(50);

/// The least W for an H: (1+rho)/(1-rho) H + (1+rho)(`t_close` + delta).
pub(super) fn least_wait(hold: Duration) -> Duration {
    let up = 1000 + RHO_THOUSANDTHS;
    let down = 1000 - RHO_THOUSANDTHS;
    let hold_us = (hold.as_micros() * up).div_ceil(down);
    let act_us = (CLOSE_AND_ACT.as_micros() * up).div_ceil(1000);
    Duration::from_micros(u64::try_from(hold_us + act_us).unwrap_or(u64::MAX))
}

/// PROTOCOL 36: W leaves room for H; H for three beats; each is in its range.
pub(super) fn protocol_36_timing(d: &ClusterDocument, found: &mut Found) {
    let ms = |t: Duration| t.as_millis();
    let ranges = [
        ("beat_ms", d.beat(), 20, 10_000),
        ("hold_ms", d.hold(), 60, 600_000),
        ("wait_ms", d.wait(), 100, 600_000),
        ("boot_wait_ms", d.boot_wait(), 0, 600_000),
        ("home_healthy_ms", d.home_healthy(), 0, 86_400_000),
        ("cold_start_ms", d.cold_start(), 0, 3_600_000),
        ("clocks_within_ms", d.clocks_within(), 50, 3_600_000),
    ];
    for (key, value, least, most) in ranges {
        if !(least..=most).contains(&ms(value)) {
            found.add(
                "PROTOCOL 36",
                format!("timing, {key}"),
                format!("it is {} ms", ms(value)),
                format!("{least} to {most} ms"),
            );
        }
    }
    if d.hold() < d.beat() * 3 {
        found.add(
            "PROTOCOL 36",
            "timing, hold_ms",
            format!(
                "it is {} ms with a beat of {} ms",
                ms(d.hold()),
                ms(d.beat())
            ),
            format!(
                "at least three beats, {} ms, so that one lost beat ends no hold",
                ms(d.beat() * 3)
            ),
        );
    }
    let least = least_wait(d.hold());
    if d.wait() < least {
        found.add(
            "PROTOCOL 36",
            "timing, wait_ms",
            format!(
                "it is {} ms with a hold of {} ms",
                ms(d.wait()),
                ms(d.hold())
            ),
            format!(
                "at least {} ms, so that the old holder's gate has closed before another opens",
                least.as_micros().div_ceil(1000)
            ),
        );
    }
}
