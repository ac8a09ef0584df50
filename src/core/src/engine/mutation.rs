//! Rules that tests break on purpose, to prove that the simulator finds it. The feature `mutations` is
//! asked for by tests only; without it every question below is answered with a constant `false`.

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// S5: takes without waiting W and without asking anybody.
    TakesAtOnce,
    /// PROTOCOL 18: goes on after a pause as if its hold had not run out.
    IgnoresLapse,
    /// F3, F5: room and priority do not count.
    IgnoresRoom,
    /// L1: locks do not count.
    IgnoresLocks,
    /// F14: starts while another still stops.
    IgnoresStops,
    /// PROTOCOL 17, 35: goes on as if what failed had been done.
    IgnoresFailures,
}

#[cfg(feature = "mutations")]
impl super::Engine {
    /// Breaks that rule from now on.
    pub fn mutate(&mut self, mutation: Mutation) {
        self.mutation = Some(mutation);
    }
}

impl super::Engine {
    /// That rule is broken.
    #[cfg(feature = "mutations")]
    pub(super) fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// No rule is broken.
    #[cfg(not(feature = "mutations"))]
    #[allow(clippy::unused_self)] // as with the feature
    pub(super) const fn breaks(&self, _mutation: Mutation) -> bool {
        false
    }
}
