//! Units of services on the machines: starts, stops, and how they go wrong.

use backstay_core::engine::UnitsState;

use crate::machine::{MS, Ns, Units};
use crate::node::Input;
use crate::world::{Event, World};

impl World {
    pub(crate) fn start_units(&mut self, n: usize, s: usize) {
        let takes = self.rng.between(1, self.temper.start / MS) * MS;
        match self.nodes[n].units[s] {
            Units::Off | Units::Failed => self.set_units(n, s, Units::Starting, takes),
            Units::Starting => {}
            Units::On => self.tell_units(
                n,
                s,
                UnitsState::Active {
                    took: core::time::Duration::ZERO,
                },
            ),
            Units::Stopping { .. } => self.nodes[n].units[s] = Units::Stopping { again: true },
            Units::Stuck => self.tell_units(n, s, UnitsState::Failed),
        }
    }

    pub(crate) fn stop_units(&mut self, n: usize, s: usize) {
        let takes = self.rng.between(1, self.temper.stop / MS) * MS;
        match self.nodes[n].units[s] {
            Units::On | Units::Starting => {
                self.set_units(n, s, Units::Stopping { again: false }, takes);
            }
            Units::Off | Units::Failed => {
                self.nodes[n].units[s] = Units::Off;
                let found = Units::Off.found();
                self.tell_units(n, s, found);
            }
            Units::Stopping { .. } => self.nodes[n].units[s] = Units::Stopping { again: false },
            Units::Stuck => {
                self.nodes[n].told_stuck[s] = true;
                self.tell_units(n, s, UnitsState::Stuck);
            }
        }
    }

    /// Units begin to change; done after so long.
    fn set_units(&mut self, n: usize, s: usize, to: Units, takes: Ns) {
        let node = &mut self.nodes[n];
        node.units[s] = to;
        node.units_since[s] = self.now;
        node.units_stamp[s] += 1;
        let stamp = node.units_stamp[s];
        self.post(takes, Event::Units(n, s, stamp));
    }

    pub(crate) fn units_done(&mut self, n: usize, s: usize, stamp: u64) {
        if self.nodes[n].units_stamp[s] != stamp {
            return;
        }
        let took = core::time::Duration::from_nanos(self.now - self.nodes[n].units_since[s]);
        let (to, state) = match self.nodes[n].units[s] {
            Units::Starting if self.rng.chance(self.temper.fails) => {
                (Units::Failed, UnitsState::Failed)
            }
            Units::Starting => (Units::On, UnitsState::Active { took }),
            Units::Stopping { .. } if self.rng.chance(self.temper.sticks) => {
                self.nodes[n].told_stuck[s] = true;
                (Units::Stuck, UnitsState::Stuck)
            }
            Units::Stopping { again } => {
                let stopped = if self.rng.chance(100) {
                    backstay_core::engine::Stopped::Killed
                } else {
                    backstay_core::engine::Stopped::Gently
                };
                if again {
                    self.nodes[n].units[s] = Units::Off;
                    self.start_units(n, s);
                    return;
                }
                (Units::Off, UnitsState::Inactive { stopped, took })
            }
            _ => return,
        };
        self.nodes[n].units[s] = to;
        self.note(n, || format!("units of web{} are {to:?}", s + 1));
        self.tell_units(n, s, state);
    }

    /// What was stuck or failed is mended by itself or by hand.
    pub(crate) fn mend_units(&mut self, n: usize, s: usize) {
        match self.nodes[n].units[s] {
            Units::Stuck => {
                // Whoever mends it starts it again where it is held.
                let held = self.nodes[n].is_open(s, self.now);
                let to = if held { Units::On } else { Units::Off };
                self.nodes[n].units[s] = to;
                self.nodes[n].told_stuck[s] = false;
                let found = to.found();
                self.tell_units(n, s, found);
            }
            Units::Failed => {
                self.nodes[n].units[s] = Units::On;
                let found = Units::On.found();
                self.tell_units(n, s, found);
            }
            _ => {}
        }
    }

    pub(crate) fn tell_units(&mut self, n: usize, s: usize, state: UnitsState) {
        let id = self.first.services[s].id;
        let life = self.nodes[n].life;
        self.post(MS / 10, Event::Input(n, life, Input::Units(id, state)));
    }
}
