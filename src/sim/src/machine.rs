//! A machine without its agent: clock, kernel gate, addresses, units. All of it in true time.

use core::time::Duration;

use backstay_core::engine::{GateOp, Stopped, UnitsState};
use backstay_core::time::Mono;

use crate::rng::Rng;

/// True time since the simulation's start, ns.
pub type Ns = u64;
/// One millisecond.
pub(crate) const MS: Ns = 1_000_000;
/// One second.
pub(crate) const SEC: Ns = 1_000 * MS;
/// How late the kernel may be to close an expired slot.
pub(crate) const JIFFY: Ns = 4 * MS;

/// A duration in nanoseconds.
pub(crate) fn ns(of: Duration) -> Ns {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

/// A machine's boot-time clock: its own start and its own rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Its reading at `origin`.
    pub(crate) base: u64,
    /// True time of that reading; a frozen machine's moves on by the freeze.
    pub(crate) origin: Ns,
    /// How much too fast, parts per million.
    pub(crate) ppm: i64,
}

impl Clock {
    const MILLION: i128 = 1_000_000;

    /// What it shows at that true time.
    pub(crate) fn read(&self, at: Ns) -> Mono {
        let passed = i128::from(at.saturating_sub(self.origin));
        let shown = passed + passed * i128::from(self.ppm) / Self::MILLION;
        Mono(self.base + u64::try_from(shown).unwrap_or(0))
    }

    /// The true time at which it shows at least that.
    pub(crate) fn when(&self, shown: Mono) -> Ns {
        let ahead = shown.0.saturating_sub(self.base);
        self.origin + self.lasts(ahead) + 1
    }

    /// How long this much of its time truly lasts.
    pub(crate) fn lasts(&self, local: u64) -> Ns {
        let truly = i128::from(local) * Self::MILLION / (Self::MILLION + i128::from(self.ppm));
        u64::try_from(truly).unwrap_or(u64::MAX)
    }
}

/// One slot of the kernel's gate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    armed: Ns,
    until: Option<Ns>,
    live: bool,
}

/// The kernel's gate of one service's aliases (PROTOCOL 37).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gate {
    slots: [Slot; GateOp::SLOTS as usize],
    /// When the last slot that was live runs or ran out.
    open_until: Ns,
}

impl Gate {
    /// A guarded alias passes only if some slot is armed and live.
    pub(crate) fn is_open(&self, now: Ns) -> bool {
        let open = |s: &Slot| s.live && s.until.is_some_and(|u| u > now);
        self.slots.iter().any(open)
    }

    /// A slot that was live lasts, or would if it had not been flushed or had been armed again.
    pub(crate) const fn is_due_open(&self, now: Ns) -> bool {
        self.open_until > now
    }

    /// PROTOCOL 14.
    pub(crate) const fn arm(&mut self, slot: u8, now: Ns, until: Ns) {
        self.slots[slot as usize] = Slot {
            armed: now,
            until: Some(until),
            live: false,
        };
    }

    /// PROTOCOL 16. An expired slot is no longer in the armed set; to be live helps it nothing. True: it
    /// is open again, by a slot that was armed more than `grace` after it had closed.
    pub(crate) fn live(&mut self, slot: u8, now: Ns, grace: Ns) -> bool {
        let slot = &mut self.slots[slot as usize];
        slot.live = true;
        let until = slot.until.unwrap_or_default();
        let anew = until > now && slot.armed > self.open_until + grace;
        self.open_until = self.open_until.max(until);
        anew
    }

    /// The slot that is live with the most time left.
    pub(crate) fn newest(&self, now: Ns) -> Option<u8> {
        let live = |s: &&Slot| s.live && s.until.is_some_and(|u| u > now);
        let newest = self.slots.iter().filter(live).max_by_key(|s| s.until)?;
        let at = self.slots.iter().position(|s| s.until == newest.until)?;
        u8::try_from(at).ok()
    }

    /// All slots are cleared.
    pub(crate) fn close(&mut self) {
        self.slots = Default::default();
        self.open_until = 0;
    }

    /// It was refused to arm a slot until then or to make it live: its holder goes on under the same term and may open it again.
    pub(crate) fn miss(&mut self, until: Ns) {
        if self.open_until > 0 {
            self.open_until = self.open_until.max(until);
        }
    }

    /// Another program took all slots away; nothing of it has expired.
    pub(crate) fn flush(&mut self) {
        self.slots = Default::default();
    }

    /// A machine that stood still for `by` finds its slots' time standing where it was.
    pub(crate) fn shift(&mut self, by: Ns) {
        for slot in &mut self.slots {
            slot.until = slot.until.map(|u| u + by);
        }
        self.open_until += by;
    }
}

/// What a service's units are on one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Units {
    /// Nothing runs.
    #[default]
    Off,
    /// Being started.
    Starting,
    /// All run.
    On,
    /// A start failed or something ended.
    Failed,
    /// Being stopped; `again`: to be started after it.
    Stopping {
        /// To be started after it.
        again: bool,
    },
    /// Not even KILL ended it.
    Stuck,
}

impl Units {
    /// Something of it takes room on its machine (F3).
    pub(crate) const fn takes_room(self) -> bool {
        matches!(self, Self::Starting | Self::On | Self::Stopping { .. })
    }

    /// What an agent finds that has just started.
    pub(crate) const fn found(self) -> UnitsState {
        match self {
            Self::Starting | Self::On | Self::Stopping { .. } | Self::Stuck => UnitsState::Active {
                took: Duration::ZERO,
            },
            Self::Failed => UnitsState::Failed,
            Self::Off => UnitsState::Inactive {
                stopped: Stopped::Gently,
                took: Duration::ZERO,
            },
        }
    }
}

/// How starts and stops of units go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    /// The longest start.
    pub(crate) start: Ns,
    /// The longest stop.
    pub(crate) stop: Ns,
    /// Starts that fail, of 1,000.
    pub(crate) fails: u64,
    /// Stops that never end, of 1,000.
    pub(crate) sticks: u64,
}

impl Temper {
    /// Of that seed.
    pub(crate) fn of(rng: &mut Rng) -> Self {
        Self {
            start: rng.pick(&[50, 500, 2_000, 4_000]) * MS,
            stop: rng.pick(&[20, 300, 1_500, 4_000]) * MS,
            fails: rng.pick(&[0, 0, 30]),
            sticks: rng.pick(&[0, 0, 30]),
        }
    }
}
