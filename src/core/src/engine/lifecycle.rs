//! The life-cycle of one service on one node, as a table.
//!
//! A row says: in this state, on this event, if this holds, go there, do that, and tell the admin so.
//! [`step`] finds the row; `hands.rs` carries out its actions. The diagram in ARCHITECTURE.md is made
//! from [`ROWS`] by [`diagram`].

use super::beat::phase;

/// What a service is on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Nothing here.
    #[default]
    Idle,
    /// Wanted here; waiting to be allowed.
    Waiting,
    /// Its alias is used by foreign equipment (A2).
    Conflict,
    /// Held here, open; starting.
    Starting,
    /// Held here, open; running.
    Running,
    /// Held here, open; could not be started or ended by itself.
    Failed,
    /// Closed; stopping.
    Stopping,
    /// Closed and given up; what had to stop did not (F14).
    Stuck,
}

impl Phase {
    /// The gate may be open.
    pub(super) const fn holds(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Failed)
    }

    /// Its number in beats.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Idle => phase::IDLE,
            Self::Waiting => phase::WAITING,
            Self::Conflict => phase::CONFLICT,
            Self::Starting => phase::STARTING,
            Self::Running => phase::RUNNING,
            Self::Failed => phase::FAILED,
            Self::Stopping => phase::STOPPING,
            Self::Stuck => phase::STUCK,
        }
    }
}

/// What moves a service from state to state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// It is this node's already, by the document's base (C11).
    Inherit,
    /// It is this node's by a live hold that outlived the agent; its slots are left alone (PROTOCOL 21).
    GoOn,
    /// Placement wants it here.
    Want,
    /// Placement no longer wants it here.
    Unwant,
    /// Everything that must agree agrees: it may be taken.
    Permit,
    /// Foreign equipment answers for its alias (A2).
    AliasTaken,
    /// It no longer does.
    AliasFree,
    /// All that must run runs.
    Started,
    /// A start failed, or something ended.
    Broken,
    /// Placement gives it away: order, fallback, displacement, stop, leave, split.
    GiveUp,
    /// The kernel closed the gate because this agent was held up (PROTOCOL 18).
    Lapse,
    /// Another term was taken while this node held; it goes on and needs a newer one (S1).
    Outdated,
    /// It is found running where it may not.
    Intruder,
    /// Nothing of it runs.
    Stopped,
    /// Even KILL did not stop it (F14).
    Unstoppable,
}

/// What must hold for a row to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing.
    Always,
    /// Something of the service runs here.
    UnitsRun,
    /// Nothing of it runs here.
    UnitsRest,
}

/// What is done, in this order: *persist, block, act, tell peers*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Take a new term, above all that were seen.
    TakeTerm,
    /// Give the term up for good (PROTOCOL 19, 20).
    Release,
    /// Write terms and records to memory-backed storage.
    Persist,
    /// Clear all slots.
    Close,
    /// Arm the next slot, ask for it in a beat, make it live.
    Open,
    /// Put the aliases on the interface.
    AddAddresses,
    /// Take them off.
    RemoveAddresses,
    /// Begin the announcements (A1).
    Announce,
    /// Probe the aliases (A2).
    Probe,
    /// Start the units.
    Start,
    /// Stop the units (F14).
    Stop,
    /// Run the hooks (F12).
    Hooks,
    /// Send a beat at once.
    Tell,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// In this state
    pub(super) from: Phase,
    /// on this event
    pub(super) on: Event,
    /// if this holds
    pub(super) guard: Guard,
    /// go there
    pub(super) to: Phase,
    /// and do this.
    pub(super) actions: &'static [Action],
    /// The rule behind it.
    pub(super) rule: &'static str,
    /// For the admin; `{service}`, `{node}`, `{term}` and `{why}` are filled in.
    pub(super) sentence: &'static str,
}

macro_rules! rows {
    ($($from:ident, $on:ident $(if $guard:ident)? => $to:ident [$($action:ident)*] $rule:literal $sentence:literal;)*) => {
        &[$(Row {
            from: Phase::$from,
            on: Event::$on,
            guard: rows!(@guard $($guard)?),
            to: Phase::$to,
            actions: &[$(Action::$action),*],
            rule: $rule,
            sentence: $sentence,
        }),*]
    };
    (@guard) => { Guard::Always };
    (@guard $guard:ident) => { Guard::$guard };
}

/// The table.
#[rustfmt::skip]
pub(super) static ROWS: &[Row] = rows! {
    Idle, Inherit => Starting [Persist Open AddAddresses Start]
        "C11" "{service} runs here on {node} and is now held, under term {term}";
    Idle, GoOn => Starting [Persist AddAddresses Start Tell]
        "A5" "{service} goes on here on {node}, under term {term}";
    Idle, Want => Waiting [Probe Tell]
        "F2" "{service} is wanted on {node} ({why}); waiting to be allowed";
    Idle, Intruder => Stopping [Close RemoveAddresses Stop Tell]
        "A4" "{service} was found running on {node}, where it may not run ({why}); stopping it";

    Waiting, Unwant if UnitsRest => Idle [RemoveAddresses Tell]
        "F2" "{service} is not taken by {node}: {why}";
    Waiting, Unwant if UnitsRun => Stopping [Close RemoveAddresses Stop Tell]
        "S5" "{service} stops on {node}: {why}";
    Waiting, Permit => Starting [TakeTerm Persist Open AddAddresses Announce Start]
        "F2" "{service} is taken by {node} under term {term}: {why}";
    Waiting, AliasTaken => Conflict [Tell]
        "A2" "{service} is not started on {node}: equipment outside the cluster uses its alias address";
    Conflict, AliasFree => Waiting [Tell]
        "A2" "the alias address of {service} is free again; {node} waits to be allowed";
    Conflict, Unwant if UnitsRest => Idle [RemoveAddresses Tell]
        "F2" "{service} is not taken by {node}: {why}";
    Conflict, Unwant if UnitsRun => Stopping [Close RemoveAddresses Stop Tell]
        "S5" "{service} stops on {node}: {why}";

    Starting, Started => Running [Hooks Tell]
        "F2" "{service} runs on {node}";
    Starting, Broken => Failed [Tell]
        "F13" "{service} could not be started on {node}";
    Starting, GiveUp => Stopping [Close RemoveAddresses Stop Tell]
        "F8" "{service} leaves {node}: {why}";
    Starting, Lapse => Waiting [Release Persist Close Tell]
        "S5" "the hold of {service} on {node} ran out while this agent was held up; the kernel closed its alias";
    Starting, Outdated => Starting [TakeTerm Persist Open]
        "S1" "{service} stays on {node}, now under term {term}";

    Running, Broken => Failed [Tell]
        "F13" "{service} ended by itself on {node}";
    Running, GiveUp => Stopping [Close RemoveAddresses Stop Tell]
        "F8" "{service} leaves {node}: {why}";
    Running, Lapse => Waiting [Release Persist Close Tell]
        "S5" "the hold of {service} on {node} ran out while this agent was held up; the kernel closed its alias";
    Running, Outdated => Running [TakeTerm Persist Open]
        "S1" "{service} stays on {node}, now under term {term}";

    Failed, Started => Running [Tell]
        "F13" "{service} runs on {node} again";
    Failed, GiveUp => Stopping [Close RemoveAddresses Stop Tell]
        "F8" "{service} leaves {node}: {why}";
    Failed, Lapse => Waiting [Release Persist Close Tell]
        "S5" "the hold of {service} on {node} ran out while this agent was held up; the kernel closed its alias";
    Failed, Outdated => Failed [TakeTerm Persist Open]
        "S1" "{service} stays on {node}, now under term {term}";

    Stopping, Stopped => Idle [Release Persist Tell]
        "F14" "{service} has stopped on {node}";
    Stopping, Unstoppable => Stuck [Release Persist Tell]
        "F14" "{service} could not be stopped on {node}, not even by KILL; its alias is closed there and it may start elsewhere";
    Stuck, Stopped => Idle [Tell]
        "F14" "what was left of {service} on {node} has ended";
};

/// The row for this state and event, with its number.
pub(super) fn step(from: Phase, on: Event, units_run: bool) -> Option<(usize, &'static Row)> {
    ROWS.iter().enumerate().find(|(_, row)| {
        row.from == from
            && row.on == on
            && match row.guard {
                Guard::Always => true,
                Guard::UnitsRun => units_run,
                Guard::UnitsRest => !units_run,
            }
    })
}

/// The table as a Mermaid state diagram.
pub fn diagram() -> String {
    use core::fmt::Write as _;
    let mut text = String::from("stateDiagram-v2\n    [*] --> Idle\n");
    for row in ROWS {
        let guard = match row.guard {
            Guard::Always => "",
            Guard::UnitsRun => " [it runs here]",
            Guard::UnitsRest => " [nothing runs here]",
        };
        let _ = writeln!(
            text,
            "    {:?} --> {:?}: {:?}{guard}",
            row.from, row.to, row.on
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 8] = [
        Phase::Idle,
        Phase::Waiting,
        Phase::Conflict,
        Phase::Starting,
        Phase::Running,
        Phase::Failed,
        Phase::Stopping,
        Phase::Stuck,
    ];

    fn reachable(from: Phase) -> Vec<Phase> {
        let mut seen = vec![from];
        let mut at = 0;
        while at < seen.len() {
            let from = seen[at];
            for row in ROWS.iter().filter(|r| r.from == from) {
                if !seen.contains(&row.to) {
                    seen.push(row.to);
                }
            }
            at += 1;
        }
        seen
    }

    #[test]
    fn every_state_can_come_to_rest_and_to_run() {
        for phase in ALL {
            let seen = reachable(phase);
            assert!(seen.contains(&Phase::Idle), "{phase:?} never rests");
            assert!(seen.contains(&Phase::Running), "{phase:?} never runs");
        }
    }

    /// Whatever two nodes are to a service, one of them can be brought to leave and the other to run.
    #[test]
    fn every_pair_of_states_has_an_exit() {
        for one in ALL {
            for other in ALL {
                let exit = ROWS
                    .iter()
                    .any(|r| r.to != r.from && (r.from == one || r.from == other));
                assert!(exit, "{one:?} with {other:?}");
                if one.holds() && other.holds() {
                    assert!(
                        step(one, Event::GiveUp, true).is_some(),
                        "S1: {one:?} can't yield"
                    );
                    assert!(
                        step(other, Event::Outdated, true).is_some(),
                        "S1: {other:?} can't stay"
                    );
                }
            }
        }
    }

    #[test]
    fn a_state_that_holds_can_lapse_and_be_given_up() {
        for phase in ALL.into_iter().filter(|p| p.holds()) {
            for event in [Event::GiveUp, Event::Lapse, Event::Outdated] {
                assert!(step(phase, event, true).is_some(), "{phase:?} {event:?}");
            }
        }
    }

    /// *persist, block, act, tell peers*
    #[test]
    fn the_order_of_effects_is_kept_in_every_row() {
        let rank = |a: &Action| match a {
            Action::TakeTerm | Action::Release => 0,
            Action::Persist => 1,
            Action::Close | Action::Open => 2,
            Action::Tell => 9,
            _ => 5,
        };
        for row in ROWS {
            let ranks: Vec<_> = row.actions.iter().map(rank).collect();
            assert!(
                ranks.is_sorted(),
                "{:?} on {:?}: {:?}",
                row.from,
                row.on,
                row.actions
            );
        }
    }

    #[test]
    fn no_row_hides_another() {
        for (i, row) in ROWS.iter().enumerate() {
            let found = [true, false]
                .iter()
                .any(|run| step(row.from, row.on, *run).is_some_and(|(at, _)| at == i));
            assert!(found, "{:?} on {:?} is never taken", row.from, row.on);
        }
    }
}
