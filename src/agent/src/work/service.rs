//! A service as a whole: its units and commands in order (F12, F14).

use std::time::{Duration, Instant};

use backstay_core::engine::{Stopped, UnitsState};
use backstay_core::model::{Unit, UnitMode};

use crate::decide::Errand;
use crate::host::command;
use crate::host::units::{self, Active, Permits, Started, StopLimits, StoppedBy, Units};

/// How long a unit's start may take; systemd's own limit is 90 s unless the unit says otherwise.
const START: Duration = Duration::from_mins(5);
/// How long a command that checks may take.
const CHECK: Duration = Duration::from_secs(10);

/// The units that are this service's on this node, in order.
pub(super) fn units_of(errand: &Errand) -> impl DoubleEndedIterator<Item = &Unit> {
    let here = move |unit: &&Unit| errand.at_home || unit.mode != UnitMode::HomeOnly;
    errand.service.units.iter().filter(here)
}

/// Whether a unit's failure is the service's (F12).
pub(super) fn counts(unit: &Unit) -> bool {
    unit.mode != UnitMode::Companion
}

/// Whether there is anything of this service that could run or not.
pub(super) fn can_be_looked_at(errand: &Errand) -> bool {
    units_of(errand).any(counts) || errand.service.commands.iter().any(|c| !c.check.is_empty())
}

/// Starts everything in order. What is active already is left alone.
pub(super) async fn start(errand: &Errand, units: &Units, permits: &Permits) -> UnitsState {
    let began = Instant::now();
    let mut started = false;
    for unit in units_of(errand) {
        match start_unit(unit, units, permits).await {
            Ok(()) => started = true,
            Err(why) => {
                let (service, unit_name) = (&errand.service.name, &unit.name);
                tracing::error!(%service, "unit {unit_name} was not started: {why}");
                if counts(unit) {
                    return UnitsState::Failed;
                }
            }
        }
    }
    for command in &errand.service.commands {
        if !command.check.is_empty() && succeeds(&command.check, CHECK).await.is_ok() {
            continue;
        }
        started = true;
        let limit = Duration::from_millis(command.timeout_ms.into());
        if let Err(why) = succeeds(&command.start, limit).await {
            tracing::error!(service = %errand.service.name, "start: {why}");
            return UnitsState::Failed;
        }
    }
    let took = if started {
        began.elapsed()
    } else {
        Duration::ZERO
    };
    UnitsState::Active { took }
}

async fn start_unit(unit: &Unit, units: &Units, permits: &Permits) -> Result<(), String> {
    let text = |error: units::UnitError| error.to_string();
    permits.grant(&unit.name).map_err(text)?;
    match units.start(&unit.name, START).await.map_err(text)? {
        // Nobody could tell later whether it still does its work.
        Started::Ended if counts(unit) => {
            Err("it ended at once: a oneshot needs RemainAfterExit=yes".into())
        }
        Started::Running | Started::Ended => Ok(()),
        Started::Failed(why) => Err(why),
    }
}

/// Stops everything in reverse order; waits for each and escalates (F14).
pub(super) async fn stop(errand: &Errand, units: &Units, permits: &Permits) -> UnitsState {
    let began = Instant::now();
    let mut stopped = false;
    let mut killed = false;
    let mut stuck = false;
    for command in errand.service.commands.iter().rev() {
        if !command.check.is_empty() && succeeds(&command.check, CHECK).await.is_err() {
            continue;
        }
        stopped = true;
        let limit = Duration::from_millis(command.timeout_ms.into());
        if let Err(why) = succeeds(&command.stop, limit).await {
            tracing::error!(service = %errand.service.name, "stop: {why}");
            // Only what still runs is stuck.
            stuck |= command.check.is_empty() || succeeds(&command.check, CHECK).await.is_ok();
        }
    }
    for unit in units_of(errand).rev() {
        match stop_unit(unit, units, permits).await {
            Ok(StoppedBy::Already) => {}
            Ok(by) => {
                stopped = true;
                killed |= by == StoppedBy::Kill;
            }
            Err(why) => {
                let (service, unit_name) = (&errand.service.name, &unit.name);
                tracing::error!(%service, "F14: unit {unit_name} was not stopped: {why}");
                stuck |= counts(unit);
            }
        }
    }
    if stuck {
        return UnitsState::Stuck;
    }
    UnitsState::Inactive {
        stopped: if killed {
            Stopped::Killed
        } else {
            Stopped::Gently
        },
        took: if stopped {
            began.elapsed()
        } else {
            Duration::ZERO
        },
    }
}

async fn stop_unit(unit: &Unit, units: &Units, permits: &Permits) -> Result<StoppedBy, String> {
    // First, so that its own `Restart=` does not bring it back.
    permits
        .revoke(&unit.name)
        .map_err(|error| error.to_string())?;
    match units.stop(&unit.name, StopLimits::default()).await {
        Ok(units::Stopped::Stopped { by }) => Ok(by),
        Ok(units::Stopped::Stuck { sub }) => Err(format!("even KILL did not end it ({sub})")),
        Err(units::UnitError::Missing(_)) => Ok(StoppedBy::Already),
        Err(error) => Err(error.to_string()),
    }
}

/// What runs now, without changing anything.
pub(super) async fn look(errand: &Errand, units: &Units) -> UnitsState {
    let mut running = 0;
    let mut all = 0;
    for unit in units_of(errand).filter(|unit| counts(unit)) {
        all += 1;
        let state = units.state(&unit.name).await;
        running += usize::from(state.is_ok_and(|s| is_on(s.active)));
    }
    for command in errand
        .service
        .commands
        .iter()
        .filter(|c| !c.check.is_empty())
    {
        all += 1;
        running += usize::from(succeeds(&command.check, CHECK).await.is_ok());
    }
    verdict(running, all)
}

/// A unit that is about to run, between two runs or about to end counts as running: its end is told when it comes.
pub(super) fn is_on(active: Active) -> bool {
    !active.is_stopped()
}

/// The whole, from how many of its parts run.
pub(super) fn verdict(running: usize, all: usize) -> UnitsState {
    let took = Duration::ZERO;
    if running == all {
        UnitsState::Active { took }
    } else if running == 0 {
        let stopped = Stopped::Gently;
        UnitsState::Inactive { stopped, took }
    } else {
        UnitsState::Failed
    }
}

async fn succeeds(words: &[String], limit: Duration) -> Result<(), String> {
    match command::run(words, &[], limit).await {
        Ok(end) if end.succeeded() => Ok(()),
        Ok(end) => {
            let said = end.stderr.lines().next().unwrap_or_default().to_owned();
            let program = words.first().map_or("", String::as_str);
            Err(format!("{program} ended with {:?}: {said}", end.end))
        }
        Err(error) => Err(error.to_string()),
    }
}
