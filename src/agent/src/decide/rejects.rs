//! Datagrams that were dropped: counted, and said at most once a minute.

use core::fmt::Write as _;
use core::time::Duration;

use backstay_core::time::Mono;
use backstay_wire::Reject;

const SAY_EVERY: Duration = Duration::from_mins(1);

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Its form or signature.
    Bad(Reject),
    /// Of a cluster that this node is not in.
    Cluster,
    /// Of a node that is not in the cluster.
    Stranger,
    /// A piece or question that does not fit.
    Misfit,
    /// More questions than are answered.
    Flood,
}

const KINDS: usize = Reject::COUNT + 4;

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    counts: [u64; KINDS],
    kinds: [Option<Dropped>; KINDS],
    say_at: Option<Mono>,
}

impl Rejects {
    pub(super) fn count(&mut self, why: Dropped, now: Mono) {
        let at = match why {
            Dropped::Bad(reject) => reject.index(),
            Dropped::Cluster => Reject::COUNT,
            Dropped::Stranger => Reject::COUNT + 1,
            Dropped::Misfit => Reject::COUNT + 2,
            Dropped::Flood => Reject::COUNT + 3,
        };
        self.counts[at] += 1;
        self.kinds[at] = Some(why);
        // The first is said soon, those that come with it together.
        self.say_at.get_or_insert(now.after(Duration::from_secs(1)));
    }

    /// What to say now, if it is time.
    pub(super) fn summary(&mut self, now: Mono) -> Option<String> {
        if self.say_at.is_none_or(|at| now < at) {
            return None;
        }
        if self.counts.iter().all(|count| *count == 0) {
            self.say_at = None;
            return None;
        }
        let mut said = String::from("datagrams dropped since last said:");
        for (count, kind) in self.counts.iter_mut().zip(&self.kinds) {
            if let (Some(kind), 1..) = (kind, *count) {
                let _ = write!(said, " {count} {kind},");
            }
            *count = 0;
        }
        said.pop();
        self.say_at = Some(now.after(SAY_EVERY));
        Some(said)
    }
}

impl core::fmt::Display for Dropped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bad(reject) => write!(f, "{reject}"),
            Self::Cluster => f.write_str("of another cluster"),
            Self::Stranger => f.write_str("of a node that is not in the cluster"),
            Self::Misfit => f.write_str("of a document that was not asked for"),
            Self::Flood => f.write_str("questions too many"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_bad_datagrams_is_one_line_a_minute() {
        let mut rejects = Rejects::default();
        let mut lines = Vec::new();
        for ms in 0..130_000 {
            let now = Mono::from_millis(ms);
            rejects.count(Dropped::Bad(Reject::Mac), now);
            rejects.count(Dropped::Stranger, now);
            lines.extend(rejects.summary(now));
        }
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].ends_with("1001 forged or damaged, 1001 of a node that is not in the cluster")
        );
        assert!(lines[1].contains("60000 forged"), "{lines:?}");
    }
}
