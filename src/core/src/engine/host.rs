//! The machine, as the engine was told of it.

use core::time::Duration;

use crate::time::Mono;

use super::beat::HostFlags;

/// M1: how long after the last time it shows that others meddle with this machine: long enough for who comes to look,
/// and for a program that does so again and again to be one alarm.
const RESTORED_SHOWN: Duration = Duration::from_mins(1);

/// What is known of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// Since when the link of the aliases has no carrier.
    pub(super) link_down_since: Option<Mono>,
    pub(super) gate_ok: bool,
    /// When others last changed the gate, and it was restored.
    pub(super) gate_restored: Option<Mono>,
    /// When others last changed what aliases are up, and it was put right.
    pub(super) alias_restored: Option<Mono>,
    pub(super) disk_ok: bool,
    /// The run state could be written the last time.
    pub(super) run_ok: bool,
    pub(super) clock_kept: bool,
    /// Milliseconds since 1970 UTC, at this reading.
    pub(super) wall: Option<(u64, Mono)>,
    /// What the reference address said last; `None` inside: there is none.
    pub(super) reference: Option<(Option<bool>, Mono)>,
    pub(super) reference_asked: Option<Mono>,
}

impl Host {
    /// Carrier came or went.
    pub(super) fn link(&mut self, up: bool, now: Mono) {
        self.link_down_since = (!up).then(|| self.link_down_since.unwrap_or(now));
    }

    /// The link of the aliases has carrier.
    pub(super) const fn link_up(&self) -> bool {
        self.link_down_since.is_none()
    }

    /// As others are told.
    pub(super) fn flags(&self, now: Mono) -> HostFlags {
        let lately = |at: Option<Mono>| at.is_some_and(|at| now.since(at) < RESTORED_SHOWN);
        HostFlags {
            gate_lost: !self.gate_ok,
            gate_restored: lately(self.gate_restored),
            alias_restored: lately(self.alias_restored),
            disk_bad: !self.disk_ok || !self.run_ok,
            clock_loose: !self.clock_kept,
            link_down: !self.link_up(),
        }
    }
}
