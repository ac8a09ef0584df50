//! The thread that starts, stops and watches services. It speaks to systemd, which may take its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backstay_core::engine::UnitsState;
use backstay_core::model::{ClusterId, ServiceId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinHandle;

use super::hooks;
use super::service::{self, counts, units_of};
use crate::decide::{Errand, Input, Job, Outbox};
use crate::host::units::{Active, Permits, Units};

/// How often commands that check are run.
const CHECK_EVERY: Duration = Duration::from_secs(5);

type Key = (ClusterId, ServiceId);

/// The thread's end for jobs.
#[derive(Clone, Debug)]
pub struct UnitsThread {
    jobs: UnboundedSender<Job>,
}

impl UnitsThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, if it has no thread or descriptor left.
    pub fn start(permits: Permits, decide: Outbox) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, jobs) = unbounded_channel();
        std::thread::Builder::new()
            .name("units".into())
            .spawn(move || runtime.block_on(Workshop::new(permits, decide).run(jobs)))?;
        Ok(Self { jobs: sender })
    }

    /// Have it done; never waits.
    pub fn post(&self, job: Job) {
        // Gone only when the whole agent ends.
        let _ = self.jobs.send(job);
    }
}

/// What was said last of a service, shared between who starts and stops it and who watches it.
#[derive(Debug, Default)]
struct Said {
    /// A start or stop is under way, and will say how it ended.
    busy: bool,
    /// All that must run does.
    active: Option<bool>,
}

/// One service being started, stopped or watched.
#[derive(Default)]
struct Bench {
    said: Arc<Mutex<Said>>,
    /// The start or stop under way; a later order replaces it.
    work: Option<JoinHandle<()>>,
    watch: Option<JoinHandle<()>>,
    watched: Option<Errand>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for task in self.work.iter().chain(&self.watch) {
            task.abort();
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Start,
    Stop,
}

struct Workshop {
    units: Units,
    permits: Permits,
    decide: Outbox,
    benches: BTreeMap<Key, Bench>,
}

impl Workshop {
    fn new(permits: Permits, decide: Outbox) -> Self {
        Self {
            units: Units::new(),
            permits,
            decide,
            benches: BTreeMap::new(),
        }
    }

    async fn run(mut self, mut jobs: UnboundedReceiver<Job>) {
        while let Some(job) = jobs.recv().await {
            match job {
                Job::StartUnits(errand) => self.work(errand, Work::Start).await,
                Job::StopUnits(errand) => self.work(errand, Work::Stop).await,
                Job::WatchUnits(cluster, errands) => self.watch(cluster, errands),
                Job::RunHooks { errand, returned } => {
                    tokio::spawn(hooks::run(errand, returned));
                }
                _ => {}
            }
        }
    }

    /// Begins a start or stop. What was under way for this service is given up first: systemd replaces its own
    /// job, a command's process group is ended.
    async fn work(&mut self, errand: Errand, work: Work) {
        let key = (errand.cluster, errand.service.id);
        let bench = self.benches.entry(key).or_default();
        if let Some(former) = bench.work.take() {
            former.abort();
            let _ = former.await;
        }
        lock(&bench.said).busy = true;
        let said = Arc::clone(&bench.said);
        let (units, permits) = (self.units.clone(), self.permits.clone());
        let decide = self.decide.clone();
        bench.work = Some(tokio::spawn(async move {
            let state = match work {
                Work::Start => service::start(&errand, &units, &permits).await,
                Work::Stop => service::stop(&errand, &units, &permits).await,
            };
            let mut said = lock(&said);
            said.busy = false;
            said.active = Some(matches!(state, UnitsState::Active { .. }));
            tell(&decide, key, state);
        }));
    }

    fn watch(&mut self, cluster: ClusterId, errands: Vec<Errand>) {
        let wanted: BTreeSet<Key> = errands.iter().map(|e| (cluster, e.service.id)).collect();
        for (key, bench) in &mut self.benches {
            if key.0 == cluster && !wanted.contains(key) {
                bench.watched = None;
                if let Some(watch) = bench.watch.take() {
                    watch.abort();
                }
            }
        }
        for errand in errands {
            let key = (cluster, errand.service.id);
            let bench = self.benches.entry(key).or_default();
            if bench.watched.as_ref() == Some(&errand) {
                continue;
            }
            if let Some(former) = bench.watch.take() {
                former.abort();
            }
            bench.watched = Some(errand.clone());
            if service::can_be_looked_at(&errand) {
                let said = Arc::clone(&bench.said);
                let watch = watch(errand, self.units.clone(), self.decide.clone(), said);
                bench.watch = Some(tokio::spawn(watch));
            }
        }
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(decide: &Outbox, (cluster, service): Key, state: UnitsState) {
    decide.tell(Input::Units {
        cluster,
        service,
        state,
    });
}

/// Tells when what runs of a service changes without an order: from all to not all and back.
async fn watch(errand: Errand, units: Units, decide: Outbox, said: Arc<Mutex<Said>>) {
    let key = (errand.cluster, errand.service.id);
    let (sender, mut changes) = channel::<Active>(64);
    let mut watches = Watches(Vec::new());
    for companion in units_of(&errand).filter(|unit| !counts(unit)) {
        units.hold(&companion.name).await; // what is watched is held by its watch
    }
    for unit in units_of(&errand).filter(|unit| counts(unit)) {
        watches.0.push(units.watch(&unit.name, sender.clone()));
    }
    loop {
        // A change is a reason to look, and so is that none came for a while: commands tell nothing.
        let change = tokio::time::timeout(CHECK_EVERY, changes.recv()).await;
        if matches!(change, Ok(Some(Active::Deactivating))) {
            continue; // its end is told too
        }
        if lock(&said).busy {
            continue;
        }
        let state = service::look(&errand, &units).await;
        let active = matches!(state, UnitsState::Active { .. });
        let mut said = lock(&said);
        if said.busy {
            continue; // ordered meanwhile: how that ends is told
        }
        match said.active.replace(active) {
            // The engine knows it from its start.
            None => {}
            Some(known) if known == active => {}
            Some(_) if active => tell(&decide, key, state),
            Some(_) => {
                let (cluster, name) = (errand.cluster, &errand.service.name);
                tracing::warn!(%cluster, service = %name, "what must run of it has ended");
                tell(&decide, key, UnitsState::Failed);
            }
        }
    }
}

/// Ends its tasks with itself.
struct Watches(Vec<JoinHandle<()>>);

impl Drop for Watches {
    fn drop(&mut self) {
        for watch in &self.0 {
            watch.abort();
        }
    }
}
