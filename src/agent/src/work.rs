//! What the decision loop lets others do, and the threads that do it.

mod ask;
mod hooks;
mod machine;
mod service;
mod simulated;
mod units;

pub use machine::{RealHands, ThisMachine};
pub use simulated::{SimulatedHands, SimulatedMachine};
pub use units::UnitsThread;

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backstay_core::engine::HostEvent;
use backstay_wire::rpc::HistoryEntry;

use crate::decide::{Input, Job, Jobs, Outbox};
use crate::documents::Keeper;
use crate::host::clock;
use crate::store::journal::Journal;

/// How often clock and disk are looked at (C10).
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Sends each job to its thread.
pub struct Crew {
    units: UnitsThread,
    keeper: Sender<Job>,
    history: Journal<HistoryEntry>,
    decide: Outbox,
}

impl Crew {
    /// Starts the thread that hands fetched documents to the keeper and looks at disk and clock.
    ///
    /// # Errors
    /// The system's, if no thread can be started.
    pub fn start(
        units: UnitsThread,
        keeper: Arc<Mutex<Keeper>>,
        history: Journal<HistoryEntry>,
        decide: Outbox,
    ) -> std::io::Result<Self> {
        let (sender, jobs) = channel();
        let tell = decide.clone();
        std::thread::Builder::new()
            .name("documents".into())
            .spawn(move || {
                look_at_machine(&keeper, &tell);
                loop {
                    match jobs.recv_timeout(LOOK_EVERY) {
                        Ok(job) => documents(&keeper, job),
                        Err(RecvTimeoutError::Timeout) => look_at_machine(&keeper, &tell),
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })?;
        Ok(Self {
            units,
            keeper: sender,
            history,
            decide,
        })
    }
}

impl Jobs for Crew {
    fn post(&self, job: Job) {
        match job {
            Job::StartUnits(_) | Job::StopUnits(_) | Job::WatchUnits(..) | Job::RunHooks { .. } => {
                self.units.post(job);
            }
            Job::Probe { .. } | Job::CheckReference { .. } => ask::post(job, &self.decide),
            Job::Fetched { .. } | Job::CommitSeen { .. } | Job::Left { .. } => {
                // Gone only when the whole agent ends.
                let _ = self.keeper.send(job);
            }
            Job::Record(entry) => self.history.put(entry),
        }
    }
}

fn documents(keeper: &Mutex<Keeper>, job: Job) {
    let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    match job {
        Job::Fetched {
            cluster,
            subject,
            revision,
            text,
        } => keeper.fetched(cluster, subject, revision, &text),
        Job::CommitSeen {
            cluster,
            revision,
            hash,
        } => keeper.commit_seen(cluster, revision, hash),
        Job::Left { all_heard } => keeper.left(all_heard),
        _ => {}
    }
}

/// C10, and whether the state folder can be written.
fn look_at_machine(keeper: &Mutex<Keeper>, decide: &Outbox) {
    let writable = {
        let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.look_at_network();
        keeper.try_disk()
    };
    decide.tell(Input::Host(None, HostEvent::Disk { writable }));
    // A machine that does not say whether its clock is kept is not accused of it.
    let kept = clock::clock_kept().unwrap_or(true);
    let wall_ms = clock::wall_ms();
    decide.tell(Input::Host(None, HostEvent::Clock { kept, wall_ms }));
}
