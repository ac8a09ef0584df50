//! The machine's clocks.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`). Never goes back, whatever is done to the
/// wall clock. All of the engine's times are of this clock.
pub fn boottime_ns() -> u64 {
    // It cannot fail: the clock exists since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
        u64::try_from(Duration::from(now).as_nanos()).unwrap_or(0)
    })
}

/// The wall clock: ms since 1970 UTC; 0 before that.
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Whether something keeps the wall clock right (C10); `None` if this machine does not say.
///
/// systemd-timesyncd leaves a file when it has synchronised. chrony and ntpd tell the kernel instead, which can be
/// asked only by `adjtimex`; where neither file exists, whether one of them runs is the best answer.
pub fn clock_kept() -> Option<bool> {
    kept_below(Path::new("/"))
}

fn kept_below(root: &Path) -> Option<bool> {
    if root.join("run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let daemons = [
        "run/chrony/chronyd.pid",
        "run/chrony/chronyd.sock",
        "run/chronyd.pid",
        "run/ntpd.pid",
        "run/openntpd.pid",
    ];
    if daemons.iter().any(|file| root.join(file).exists()) {
        return Some(true);
    }
    // timesyncd runs but has not synchronised (yet).
    root.join("run/systemd/timesync").exists().then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_goes_forward() {
        let first = boottime_ns();
        let second = boottime_ns();
        assert!(first > 0 && second >= first);
        assert!(wall_ms() > 1_600_000_000_000);
    }

    #[test]
    fn c10_a_clock_is_kept_when_timesyncd_says_so() {
        let root = std::env::temp_dir().join(format!("backstay-t-{}-clock", std::process::id()));
        let run = root.join("run/systemd/timesync");
        std::fs::create_dir_all(&run).unwrap();
        assert_eq!(kept_below(&root.join("nothing")), None);
        assert_eq!(kept_below(&root), Some(false));
        std::fs::write(run.join("synchronized"), "").unwrap();
        assert_eq!(kept_below(&root), Some(true));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
