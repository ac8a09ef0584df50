//! systemd over D-Bus (`org.freedesktop.systemd1`, see its manual page of that name, section 5).

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio::time::timeout;
use zbus::fdo::{PropertiesChangedStream, PropertiesProxy};
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, connection, names::InterfaceName};

use super::{Active, UnitEntry, UnitError, UnitState, microseconds};

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
    fn unref_unit(&self, name: &str) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
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

/// One connection, made when first needed and again after it was lost.
#[derive(Debug)]
pub(super) struct Bus {
    connection: Mutex<Option<Connection>>,
}

/// Signals about one unit.
pub(super) struct Signals(PropertiesChangedStream);

impl Signals {
    /// Waits for a change; `false` when the connection is gone.
    pub(super) async fn next_change(&mut self) -> bool {
        self.0.next().await.is_some()
    }
}

impl Bus {
    pub(super) fn new() -> Self {
        Bus {
            connection: Mutex::new(None),
        }
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

    pub(super) async fn state(&self, unit: &str) -> Tried<UnitState> {
        self.with("read", unit, async |connection| {
            let path = manager(&connection).await?.load_unit(unit).await?;
            let properties = properties(&connection, &path).await?;
            let general = properties.get_all(InterfaceName::try_from(UNIT)?).await?;
            // Mounts, timers and so on have no such interface.
            let service = if unit.ends_with(".service") {
                properties
                    .get_all(InterfaceName::try_from(SERVICE)?)
                    .await
                    .unwrap_or_default()
            } else {
                HashMap::new()
            };
            Ok(unit_state(&general, &service))
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
                let mut removed = manager.receive_job_removed().await?;
                if job == Job::Start {
                    // Else systemd may unload a unit that has ended, and with it how it ended, before the state
                    // is read. See `let_go`.
                    manager.ref_unit(unit).await?;
                }
                let path = match job {
                    Job::Start => manager.start_unit(unit, "replace").await?,
                    Job::Stop => manager.stop_unit(unit, "replace").await?,
                };
                let wait = async {
                    while let Some(signal) = removed.next().await {
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

    /// Lets systemd unload a unit again after a start.
    pub(super) async fn let_go(&self, unit: &str) {
        // Refused if the start was done another way: then there is nothing to let go.
        let _ = self
            .with("let go of", unit, async |connection| {
                manager(&connection).await?.unref_unit(unit).await
            })
            .await;
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
            let path = manager(&connection).await?.load_unit(unit).await?;
            let property = properties(&connection, &path).await?;
            let job = property.get(InterfaceName::try_from(UNIT)?, "Job").await?;
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
        let path = manager(&connection)
            .await
            .ok()?
            .load_unit(unit)
            .await
            .ok()?;
        let properties = properties(&connection, &path).await.ok()?;
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

async fn properties(
    connection: &Connection,
    path: &OwnedObjectPath,
) -> zbus::Result<PropertiesProxy<'static>> {
    PropertiesProxy::builder(connection)
        .destination(DESTINATION)
        .path(path.clone())
        .build()
        .await
}

/// Picks what is wanted from a unit's properties; what is missing or of another type counts as unknown.
fn unit_state(
    general: &HashMap<String, OwnedVariant>,
    service: &HashMap<String, OwnedVariant>,
) -> UnitState {
    let text = |map: &HashMap<String, OwnedVariant>, key: &str| {
        map.get(key)
            .and_then(|value| value.downcast_ref::<&str>().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let number = |key: &str| {
        service
            .get(key)
            .and_then(|value| value.downcast_ref::<u64>().ok())
    };
    let judged = general
        .get("ConditionTimestampMonotonic")
        .and_then(|value| value.downcast_ref::<u64>().ok())
        .is_some_and(|at| at > 0);
    UnitState {
        exists: !matches!(text(general, "LoadState").as_str(), "not-found" | ""),
        active: Active::parse(&text(general, "ActiveState")),
        sub: text(general, "SubState"),
        result: text(service, "Result"),
        condition: judged
            .then(|| {
                general
                    .get("ConditionResult")
                    .and_then(|value| value.downcast_ref::<bool>().ok())
            })
            .flatten(),
        timeout_stop: number("TimeoutStopUSec").and_then(microseconds),
        main_pid: service
            .get("MainPID")
            .and_then(|value| value.downcast_ref::<u32>().ok())
            .unwrap_or(0),
    }
}
