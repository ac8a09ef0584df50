//! Services as systemd units: start, stop with escalation (F14), watch, describe.
//!
//! The bus is preferred; for each command that finds no bus, `systemctl` is spawned instead. All of it is
//! asynchronous and takes as long as the service takes: never awaited by the decision loop.

mod bus;
mod permit;
mod systemctl;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use permit::{Permits, valid_name};

/// Why a command about a unit could not be carried out. The unit's state is unknown then: read it again.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// Not a unit name.
    #[error("{0:?} is not the name of a systemd unit (like web.service)")]
    Name(String),
    /// There is no such unit.
    #[error("unit {0} does not exist on this machine")]
    Missing(String),
    /// systemd refused.
    #[error("systemd refused to {what} {unit}: {message}")]
    Refused {
        /// What was being done.
        what: &'static str,
        /// With which unit.
        unit: String,
        /// systemd's words.
        message: String,
    },
    /// Neither bus nor `systemctl` answers.
    #[error("systemd does not answer: {0}")]
    Unreachable(String),
    /// It took longer than it was given.
    #[error("{what} {unit} took longer than {limit:?}; it goes on")]
    Slow {
        /// What was being done.
        what: &'static str,
        /// With which unit.
        unit: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The drop-in or permit file could not be written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// systemd's `ActiveState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// Runs.
    Active,
    /// Runs and reads its configuration again.
    Reloading,
    /// Does not run.
    Inactive,
    /// Does not run, and ended badly.
    Failed,
    /// Starts.
    Activating,
    /// Stops.
    Deactivating,
    /// Anything that systemd may add.
    Other,
}

impl Active {
    fn parse(text: &str) -> Self {
        match text {
            "active" => Active::Active,
            "reloading" | "refreshing" => Active::Reloading,
            "inactive" => Active::Inactive,
            "failed" => Active::Failed,
            "activating" => Active::Activating,
            "deactivating" => Active::Deactivating,
            _ => Active::Other,
        }
    }

    /// As systemd spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Active::Active => "active",
            Active::Reloading => "reloading",
            Active::Inactive => "inactive",
            Active::Failed => "failed",
            Active::Activating => "activating",
            Active::Deactivating => "deactivating",
            Active::Other => "other",
        }
    }

    /// Nothing of the unit runs.
    pub fn is_stopped(self) -> bool {
        matches!(self, Active::Inactive | Active::Failed)
    }

    /// It does its work.
    pub fn is_running(self) -> bool {
        matches!(self, Active::Active | Active::Reloading)
    }
}

/// One unit as systemd has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// There is such a unit.
    pub exists: bool,
    /// Whether it runs.
    pub active: Active,
    /// The finer state: `running`, `exited`, `dead`, `stop-sigterm` ...
    pub sub: String,
    /// How the last run ended: `success`, `timeout`, `exit-code`, `signal` ...; empty for other than services.
    pub result: String,
    /// Whether the unit's conditions held at the last start; `None`: not started since systemd loaded it.
    pub condition: Option<bool>,
    /// How long systemd gives a stop before it kills; `None`: for ever.
    pub timeout_stop: Option<Duration>,
}

/// One `*.service` of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitEntry {
    /// Its full name.
    pub name: String,
    /// `active`, `inactive`, `failed` ...
    pub active: String,
    /// Started at boot.
    pub enabled: bool,
}

/// How a start ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Running,
    /// It did its work and ended well (a `oneshot`).
    Ended,
    /// It does not run; the text says why.
    Failed(String),
}

/// What ended a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoppedBy {
    /// It was not running.
    Already,
    /// It ended when asked to.
    Term,
    /// It had to be killed, by systemd after the unit's time or by us.
    Kill,
}

/// How a stop ended (F14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing of it runs.
    Stopped {
        /// By what.
        by: StoppedBy,
    },
    /// Even KILL did not end it in time: the alias is to be closed, the start elsewhere is allowed, alarm.
    Stuck {
        /// The finer state that it hangs in.
        sub: String,
    },
}

/// A unit after a job.
#[derive(Debug)]
struct JobEnd {
    active: Active,
    /// See [`UnitState::result`].
    result: String,
}

/// A stop that takes longer than this is asked how long it may take.
const STOPS_LONG: Duration = Duration::from_millis(500);

/// How long a stop may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopLimits {
    /// Waited beyond the unit's own `TimeoutStopSec`, within which systemd itself kills.
    pub margin: Duration,
    /// Waited at most before KILL, whatever the unit says (it may say "for ever").
    pub most: Duration,
    /// Waited after KILL.
    pub kill: Duration,
}

impl Default for StopLimits {
    fn default() -> Self {
        StopLimits {
            margin: Duration::from_secs(5),
            most: Duration::from_mins(5),
            kill: Duration::from_secs(10),
        }
    }
}

impl StopLimits {
    /// How long to wait for a stop before KILL.
    fn before_kill(&self, timeout_stop: Option<Duration>) -> Duration {
        timeout_stop.map_or(self.most, |unit| {
            unit.saturating_add(self.margin).min(self.most)
        })
    }
}

/// How often a watched unit is read though no signal came.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// The way to systemd. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Units {
    bus: Arc<bus::Bus>,
}

impl Units {
    /// Nothing is opened yet: each command connects if needed, again after the bus was restarted, and falls back
    /// to `systemctl` while there is no bus.
    pub fn new() -> Self {
        Units {
            bus: Arc::new(bus::Bus::new()),
        }
    }

    /// Which way a command would take now: `dbus` or `systemctl`.
    pub async fn backend(&self) -> &'static str {
        if self.bus.connection().await.is_some() {
            "dbus"
        } else {
            "systemctl"
        }
    }

    /// Reads one unit.
    pub async fn state(&self, unit: &str) -> Result<UnitState, UnitError> {
        valid_name(unit)?;
        match self.bus.state(unit).await {
            bus::Tried::Done(result) => result,
            bus::Tried::NoBus => systemctl::state(unit).await,
        }
    }

    /// All `*.service` units, sorted by name.
    pub async fn list(&self) -> Result<Vec<UnitEntry>, UnitError> {
        let mut list = match self.bus.list().await {
            bus::Tried::Done(result) => result?,
            bus::Tried::NoBus => systemctl::list().await?,
        };
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// Starts a unit and waits until its job is done and its state is read again. Nothing is asked beforehand: a
    /// unit that runs already is left alone by systemd itself, and a failover waits for every question.
    pub async fn start(&self, unit: &str, limit: Duration) -> Result<Started, UnitError> {
        valid_name(unit)?;
        let job = match self.bus.job(unit, bus::Job::Start, limit).await {
            bus::Tried::Done(result) => result,
            bus::Tried::NoBus => systemctl::start(unit, limit).await,
        };
        if self.end(unit).await?.active.is_running() {
            return Ok(Started::Running);
        }
        let after = self.state(unit).await?;
        if !after.exists {
            return Err(UnitError::Missing(unit.to_owned()));
        }
        Ok(started(&after, job?.as_deref()))
    }

    /// What is to be known after a job.
    async fn end(&self, unit: &str) -> Result<JobEnd, UnitError> {
        match self.bus.end(unit).await {
            bus::Tried::Done(result) => result,
            bus::Tried::NoBus => {
                let UnitState { active, result, .. } = systemctl::state(unit).await?;
                Ok(JobEnd { active, result })
            }
        }
    }

    /// Stops a unit: asks, waits its time, kills, waits again (F14).
    pub async fn stop(&self, unit: &str, limits: StopLimits) -> Result<Stopped, UnitError> {
        valid_name(unit)?;
        let asked = async {
            match self.bus.job(unit, bus::Job::Stop, limits.most).await {
                bus::Tried::Done(result) => result.map(drop),
                bus::Tried::NoBus => systemctl::stop(unit, limits.most).await,
            }
        };
        // Few stops take so long that their limit is of interest, and a question now would hold this one up: systemd
        // answers all of them before it begins a job.
        let bounded = async {
            tokio::time::sleep(STOPS_LONG).await;
            let before = self.state(unit).await?;
            let limit = limits.before_kill(before.timeout_stop);
            tokio::time::sleep(limit).await;
            Ok::<_, UnitError>(())
        };
        let asked = tokio::select! {
            asked = asked => asked,
            Ok(()) = bounded => Err(UnitError::Slow { what: "stop", unit: unit.to_owned(), limit: limits.most }),
        };
        let after = self.end(unit).await?;
        if after.active.is_stopped() {
            let by = if after.result == "timeout" {
                StoppedBy::Kill
            } else {
                StoppedBy::Term
            };
            return Ok(Stopped::Stopped { by });
        }
        if let Err(error @ UnitError::Refused { .. }) = asked {
            return Err(error);
        }
        self.kill(unit, nix::libc::SIGKILL).await?;
        let killed = Instant::now();
        loop {
            let now = self.state(unit).await?;
            if now.active.is_stopped() {
                return Ok(Stopped::Stopped {
                    by: StoppedBy::Kill,
                });
            }
            if killed.elapsed() >= limits.kill {
                return Ok(Stopped::Stuck { sub: now.sub });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends a signal to all processes of a unit.
    pub async fn kill(&self, unit: &str, signal: i32) -> Result<(), UnitError> {
        valid_name(unit)?;
        match self.bus.kill(unit, signal).await {
            bus::Tried::Done(result) => result,
            bus::Tried::NoBus => systemctl::kill(unit, signal).await,
        }
    }

    /// The type of the job that waits or runs for a unit: `start`, `stop`, `restart` ...; `None`: no job. Asked
    /// about its own unit when it is told to end, this tells the agent a restart from a stop.
    pub async fn pending_job(&self, unit: &str) -> Result<Option<String>, UnitError> {
        valid_name(unit)?;
        match self.bus.pending_job(unit).await {
            bus::Tried::Done(result) => result,
            bus::Tried::NoBus => systemctl::pending_job(unit).await,
        }
    }

    /// The machine's state: `running`, `degraded`, `starting`, `stopping` ... `stopping` means shutdown or reboot.
    pub async fn system_state(&self) -> Result<String, UnitError> {
        match self.bus.system_state().await {
            bus::Tried::Done(result) => result,
            bus::Tried::NoBus => systemctl::system_state().await,
        }
    }

    /// systemd's version as it says it, such as `252.39-1~deb12u2`; only from the bus.
    pub async fn version(&self) -> Option<String> {
        match self.bus.version().await {
            bus::Tried::Done(result) => result.ok(),
            bus::Tried::NoBus => None,
        }
    }

    /// Makes systemd read its unit files again.
    pub async fn reload(&self) -> Result<(), UnitError> {
        match self.bus.reload().await {
            bus::Tried::Done(result) => result,
            bus::Tried::NoBus => systemctl::reload().await,
        }
    }

    /// Keeps systemd from unloading a unit (see its `RefUnit`); nothing happens while there is no bus.
    pub async fn hold(&self, unit: &str) {
        if valid_name(unit).is_ok() {
            self.bus.hold(unit).await;
        }
    }

    /// Reports whether a unit runs, now and at every change, until the receiver is dropped. Changes come by signal,
    /// which itself tells the state: to ask at each would hold up the job that the signal is about. Besides, the
    /// state is read every two seconds, which covers a bus that is away and lost signals.
    pub fn watch(&self, unit: &str, changes: mpsc::Sender<Active>) -> JoinHandle<()> {
        let (units, unit) = (self.clone(), unit.to_owned());
        tokio::spawn(async move {
            let mut known = None;
            let mut signals = None;
            while !changes.is_closed() {
                if signals.is_none() {
                    signals = units.bus.changes(&unit).await;
                }
                let mut told = match units.end(&unit).await {
                    Ok(end) => Some(end.active),
                    Err(error) => {
                        tracing::debug!(%unit, %error, "cannot read a watched unit");
                        None
                    }
                };
                let again = tokio::time::Instant::now() + READ_AGAIN;
                loop {
                    if let Some(active) = told.filter(|active| known != Some(*active)) {
                        known = Some(active);
                        if changes.send(active).await.is_err() {
                            return;
                        }
                    }
                    let pause = tokio::time::sleep_until(again);
                    let Some(stream) = signals.as_mut() else {
                        pause.await;
                        break;
                    };
                    told = tokio::select! {
                        told = stream.next_change() => told,
                        () = pause => break,
                        () = changes.closed() => return,
                    };
                    if told.is_none() {
                        signals = None;
                        // A bus that has just gone away must not be asked in a tight loop.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        break;
                    }
                }
            }
        })
    }
}

impl Default for Units {
    fn default() -> Self {
        Units::new()
    }
}

/// What a start has come to, from the state after it and the job's result.
fn started(state: &UnitState, job: Option<&str>) -> Started {
    let job = job.unwrap_or("done");
    if state.active.is_running() {
        return Started::Running;
    }
    match state.condition {
        Some(false) => return Started::Failed("a condition of the unit does not hold".to_owned()),
        // systemd has already unloaded it, and what it knew is gone.
        None if state.active == Active::Inactive => {
            return Started::Failed(
                "it ended at once, or a condition of the unit does not hold".to_owned(),
            );
        }
        Some(true) | None => {}
    }
    match (state.active, job) {
        (Active::Inactive, "done") if matches!(state.result.as_str(), "" | "success") => {
            Started::Ended
        }
        (active, job) => Started::Failed(format!(
            "job {job}, unit {} ({}), result {}",
            active.as_str(),
            state.sub,
            if state.result.is_empty() {
                "unknown"
            } else {
                &state.result
            }
        )),
    }
}

/// systemd's microseconds; the largest number means "for ever".
fn microseconds(value: u64) -> Option<Duration> {
    (value != u64::MAX).then(|| Duration::from_micros(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(active: Active, result: &str, condition: Option<bool>) -> UnitState {
        UnitState {
            exists: true,
            active,
            sub: "dead".to_owned(),
            result: result.to_owned(),
            condition,
            timeout_stop: None,
        }
    }

    #[test]
    fn a_start_is_judged_by_the_state_after_it() {
        assert_eq!(
            started(&state(Active::Active, "success", Some(true)), Some("done")),
            Started::Running
        );
        assert_eq!(
            started(
                &state(Active::Inactive, "success", Some(true)),
                Some("done")
            ),
            Started::Ended
        );
        // systemd calls a start whose condition fails "done".
        let a5 = started(
            &state(Active::Inactive, "success", Some(false)),
            Some("done"),
        );
        assert!(matches!(a5, Started::Failed(why) if why.contains("condition")));
        assert!(matches!(
            started(
                &state(Active::Failed, "exit-code", Some(true)),
                Some("failed")
            ),
            Started::Failed(_)
        ));
        assert!(matches!(
            started(&state(Active::Activating, "success", Some(true)), None),
            Started::Failed(_)
        ));
    }

    #[test]
    fn f14_a_stop_waits_the_units_time_and_never_for_ever() {
        let limits = StopLimits {
            most: Duration::from_secs(100),
            ..StopLimits::default()
        };
        assert_eq!(
            limits.before_kill(Some(Duration::from_secs(20))),
            Duration::from_secs(25)
        );
        assert_eq!(
            limits.before_kill(Some(Duration::from_mins(15))),
            Duration::from_secs(100)
        );
        assert_eq!(
            limits.before_kill(microseconds(u64::MAX)),
            Duration::from_secs(100)
        );
    }
}
