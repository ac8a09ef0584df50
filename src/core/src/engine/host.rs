//! The machine, as the engine was told of it.

use crate::time::Mono;

use super::beat::HostFlags;

/// What is known of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    pub(super) link_up: bool,
    pub(super) gate_ok: bool,
    pub(super) disk_ok: bool,
    pub(super) clock_kept: bool,
    /// Seconds since 1970 UTC, at this reading.
    pub(super) wall: Option<(u64, Mono)>,
    /// What the reference address said last; `None` inside: there is none.
    pub(super) reference: Option<(Option<bool>, Mono)>,
    pub(super) reference_asked: Option<Mono>,
}

impl Host {
    /// As others are told.
    pub(super) const fn flags(&self) -> HostFlags {
        HostFlags {
            gate_lost: !self.gate_ok,
            disk_bad: !self.disk_ok,
            clock_loose: !self.clock_kept,
            link_down: !self.link_up,
        }
    }
}
