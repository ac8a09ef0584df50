//! systemd over D-Bus (`org.freedesktop.systemd1`, see its manual page of that name, section 5).

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio::time::timeout;
use zbus::fdo::{DBusProxy, PropertiesChangedStream, PropertiesProxy};
use zbus::message::Type;
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, connection};

use super::{Active, JobEnd, UnitEntry, UnitError, UnitState, microseconds};

const DESTINATION: &str = "org.freedesktop.systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// systemd answers in milliseconds; a bus that takes longer than this is as good as none.
const ANSWER: Duration = Duration::from_secs(10);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn ref_unit(&self, name: &str) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn list_unit_files_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<(String, String)>>;
    #[allow(clippy::type_complexity)] // systemd's signature
    fn list_units_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<
        Vec<(
            String,
            String,
            String,
            String,
            String,
            String,
            OwnedObjectPath,
            u32,
            String,
            OwnedObjectPath,
        )>,
    >;
    #[zbus(property(emits_changed_signal = "false"))]
    fn system_state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Job",
    default_service = "org.freedesktop.systemd1"
)]
trait Job {
    #[zbus(property(emits_changed_signal = "false"))]
    fn job_type(&self) -> zbus::Result<String>;
}

/// The two jobs that the agent asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Start,
    Stop,
}

impl Job {
    fn verb(self) -> &'static str {
        match self {
            Job::Start => "start",
            Job::Stop => "stop",
        }
    }
}

/// Whether the bus could be asked at all.
pub(super) enum Tried<T> {
    Done(Result<T, UnitError>),
    NoBus,
}

/// One connection, made when first needed and again after it was lost. By the message bus and not by systemd's own
/// socket, where systemd names itself as sender in a way that `zbus` refuses (6.2).
#[derive(Debug, Default)]
pub(super) struct Bus {
    connection: Mutex<Option<Connection>>,
}

/// Signals about one unit.
pub(super) struct Signals(PropertiesChangedStream);

impl Signals {
    /// The state that the next signal tells; `None` when the connection is gone.
    pub(super) async fn next_change(&mut self) -> Option<Active> {
        loop {
            let signal = self.0.next().await?;
            let Ok(args) = signal.args() else { continue };
            let told = args.changed_properties.get("ActiveState");
            if let Some(state) = told.and_then(|state| state.downcast_ref::<&str>().ok()) {
                return Some(Active::parse(state));
            }
        }
    }
}

impl Bus {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The connection; `None` while there is no bus.
    pub(super) async fn connection(&self) -> Option<Connection> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_closed()) {
            return Some(connection.clone());
        }
        *held = None;
        let connecting = connection::Builder::system().method_timeout(ANSWER).build();
        let connection = timeout(ANSWER, connecting).await.ok()?.ok()?;
        // Without a subscriber systemd sends no signals. A bus without systemd behind it is of no use.
        let manager = manager(&connection).await.ok()?;
        manager.subscribe().await.ok()?;
        // One rule for all jobs of this connection: adding one for each would cost a round trip.
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface("org.freedesktop.systemd1.Manager")
            .member("JobRemoved")
            .build();
        let bus = DBusProxy::new(&connection).await.ok()?;
        bus.add_match_rule(rule.ok()?).await.ok()?;
        *held = Some(connection.clone());
        Some(connection)
    }

    /// Runs one piece of work if there is a bus. A failure of the transport drops the connection, and the caller
    /// goes another way.
    async fn with<T, F>(
        &self,
        what: &'static str,
        unit: &str,
        work: impl FnOnce(Connection) -> F,
    ) -> Tried<T>
    where
        F: Future<Output = zbus::Result<T>>,
    {
        let Some(connection) = self.connection().await else {
            return Tried::NoBus;
        };
        match work(connection).await {
            Ok(value) => Tried::Done(Ok(value)),
            Err(zbus::Error::MethodError(name, message, _)) => {
                let message = message.unwrap_or_else(|| name.to_string());
                Tried::Done(Err(UnitError::Refused {
                    what,
                    unit: unit.to_owned(),
                    message,
                }))
            }
            Err(error) => {
                tracing::debug!(%error, what, unit, "the bus failed");
                *self.connection.lock().await = None;
                Tried::NoBus
            }
        }
    }

    /// Reads what is wanted of a unit, each property by itself and all at once: reading all properties of a
    /// service makes systemd read dozens of control group files, which takes longer than starting it.
    pub(super) async fn state(&self, unit: &str) -> Tried<UnitState> {
        self.with("read", unit, async |connection| {
            let path = unit_path(unit);
            let get = |interface, name| get(&connection, &path, interface, name);
            let (load, active, sub, condition, judged, result, stop) = tokio::join!(
                get(UNIT, "LoadState"),
                get(UNIT, "ActiveState"),
                get(UNIT, "SubState"),
                get(UNIT, "ConditionResult"),
                get(UNIT, "ConditionTimestampMonotonic"),
                get(SERVICE, "Result"),
                get(SERVICE, "TimeoutStopUSec"),
            );
            let judged = number(judged?.as_ref()).is_some_and(|at| at > 0);
            let condition = condition?.and_then(|v| v.downcast_ref::<bool>().ok());
            Ok(UnitState {
                exists: !matches!(text(load?.as_ref()).as_str(), "not-found" | ""),
                active: Active::parse(&text(active?.as_ref())),
                sub: text(sub?.as_ref()),
                result: text(result?.as_ref()),
                condition: condition.filter(|_| judged),
                timeout_stop: number(stop?.as_ref()).and_then(microseconds),
            })
        })
        .await
    }

    /// What is to be known after a job, in two questions at once.
    pub(super) async fn end(&self, unit: &str) -> Tried<JobEnd> {
        self.with("read", unit, async |connection| {
            let path = unit_path(unit);
            let (active, result) = tokio::join!(
                get(&connection, &path, UNIT, "ActiveState"),
                get(&connection, &path, SERVICE, "Result"),
            );
            Ok(JobEnd {
                active: Active::parse(&text(active?.as_ref())),
                result: text(result?.as_ref()),
            })
        })
        .await
    }

    pub(super) async fn list(&self) -> Tried<Vec<UnitEntry>> {
        self.with("list", "units", async |connection| {
            let manager = manager(&connection).await?;
            let files = manager
                .list_unit_files_by_patterns(&[], &["*.service"])
                .await?;
            let loaded = manager.list_units_by_patterns(&[], &["*.service"]).await?;
            let active: HashMap<String, String> =
                loaded.into_iter().map(|unit| (unit.0, unit.3)).collect();
            let entry = |(path, state): (String, String)| {
                let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
                let active = active
                    .get(&name)
                    .cloned()
                    .unwrap_or_else(|| "inactive".to_owned());
                UnitEntry {
                    name,
                    active,
                    enabled: state.starts_with("enabled"),
                }
            };
            Ok(files.into_iter().map(entry).collect())
        })
        .await
    }

    /// Queues a job (mode `replace`) and waits until systemd has removed it; gives its result (`done`, `failed`,
    /// `timeout`, `canceled`, `dependency`, `skipped`).
    pub(super) async fn job(&self, unit: &str, job: Job, limit: Duration) -> Tried<Option<String>> {
        let waited = self
            .with(job.verb(), unit, async |connection| {
                let manager = manager(&connection).await?;
                // Before the job exists, or its end could be missed.
                let mut heard = MessageStream::from(&connection);
                let path = match job {
                    Job::Start => manager.start_unit(unit, "replace").await?,
                    Job::Stop => manager.stop_unit(unit, "replace").await?,
                };
                let wait = async {
                    while let Some(message) = heard.next().await {
                        let Some(signal) = message.ok().and_then(JobRemoved::from_message) else {
                            continue;
                        };
                        let Ok(args) = signal.args() else { continue };
                        if *args.job() == path {
                            return Some(args.result().clone());
                        }
                    }
                    // The bus went away; the job goes on and the caller reads the state again.
                    None
                };
                Ok(timeout(limit, wait).await)
            })
            .await;
        match waited {
            Tried::Done(Ok(Ok(result))) => Tried::Done(Ok(result)),
            Tried::Done(Ok(Err(_))) => Tried::Done(Err(UnitError::Slow {
                what: job.verb(),
                unit: unit.to_owned(),
                limit,
            })),
            Tried::Done(Err(error)) => Tried::Done(Err(error)),
            Tried::NoBus => Tried::NoBus,
        }
    }

    /// Keeps systemd from unloading a unit, as long as this connection lives: else it reads the unit's files again
    /// at each start, and forgets how a unit ended before its state is read. `false` while there is no bus.
    pub(super) async fn hold(&self, unit: &str) -> bool {
        let Some(connection) = self.connection().await else {
            return false;
        };
        match manager(&connection).await {
            Ok(manager) => manager.ref_unit(unit).await.is_ok(),
            Err(_) => false,
        }
    }

    pub(super) async fn kill(&self, unit: &str, signal: i32) -> Tried<()> {
        self.with("kill", unit, async |connection| {
            manager(&connection)
                .await?
                .kill_unit(unit, "all", signal)
                .await
        })
        .await
    }

    pub(super) async fn reload(&self) -> Tried<()> {
        self.with("reload", "all units", async |connection| {
            manager(&connection).await?.reload().await
        })
        .await
    }

    pub(super) async fn system_state(&self) -> Tried<String> {
        self.with("read", "the system state", async |connection| {
            manager(&connection).await?.system_state().await
        })
        .await
    }

    pub(super) async fn version(&self) -> Tried<String> {
        self.with("read", "the version", async |connection| {
            manager(&connection).await?.version().await
        })
        .await
    }

    pub(super) async fn pending_job(&self, unit: &str) -> Tried<Option<String>> {
        self.with("read the job of", unit, async |connection| {
            let Some(job) = get(&connection, &unit_path(unit), UNIT, "Job").await? else {
                return Ok(None);
            };
            let (id, path) = <(u32, OwnedObjectPath)>::try_from(job)?;
            if id == 0 {
                return Ok(None);
            }
            let job = JobProxy::builder(&connection)
                .path(path)
                .cache_properties(CacheProperties::No)
                .build()
                .await?;
            // It may end between the two questions.
            Ok(job.job_type().await.ok())
        })
        .await
    }

    /// Signals about a unit; `None` while there is no bus.
    pub(super) async fn changes(&self, unit: &str) -> Option<Signals> {
        let connection = self.connection().await?;
        self.hold(unit).await;
        let properties = PropertiesProxy::builder(&connection)
            .destination(DESTINATION)
            .path(unit_path(unit))
            .build()
            .await
            .ok()?;
        properties
            .receive_properties_changed()
            .await
            .ok()
            .map(Signals)
    }
}

async fn manager(connection: &Connection) -> zbus::Result<ManagerProxy<'static>> {
    ManagerProxy::builder(connection)
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

/// One property; none where the unit has no such interface (mounts and timers are no services).
async fn get(
    connection: &Connection,
    path: &str,
    interface: &str,
    name: &str,
) -> zbus::Result<Option<OwnedVariant>> {
    let properties = "org.freedesktop.DBus.Properties";
    let asked = connection
        .call_method(
            Some(DESTINATION),
            path,
            Some(properties),
            "Get",
            &(interface, name),
        )
        .await;
    match asked {
        Ok(reply) => Ok(Some(reply.body().deserialize()?)),
        Err(zbus::Error::MethodError(..)) if interface == SERVICE => Ok(None),
        Err(error) => Err(error),
    }
}

/// The object of a unit: its name, with every byte but letters and digits, and a digit in front, as `_` and two
/// hexadecimal digits (`sd_bus_path_encode(3)`). systemd loads the unit when it is asked by this path.
fn unit_path(unit: &str) -> String {
    use std::fmt::Write as _;
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}"); // writing to a string cannot fail
        }
    }
    path
}

/// Empty where it is missing or no text.
fn text(value: Option<&OwnedVariant>) -> String {
    value
        .and_then(|v| v.downcast_ref::<&str>().ok())
        .unwrap_or_default()
        .to_owned()
}

fn number(value: Option<&OwnedVariant>) -> Option<u64> {
    value.and_then(|v| v.downcast_ref::<u64>().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_by_its_escaped_name() {
        assert_eq!(
            unit_path("web-1@a.service"),
            "/org/freedesktop/systemd1/unit/web_2d1_40a_2eservice"
        );
        assert_eq!(
            unit_path("1.service"),
            "/org/freedesktop/systemd1/unit/_31_2eservice"
        );
    }
}
