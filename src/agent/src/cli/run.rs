//! `backstay-agent run`: puts the parts together and keeps them until systemd says stop.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::mman::{MlockAllFlags, mlockall};
use sd_notify::NotifyState;
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::decide::{Decider, Hands, Input, Outbox, Pulse, inputs};
use crate::documents::{Keeper, Machine};
use crate::host::shutdown::{Delay, Said};
use crate::host::units::{Permits, Units};
use crate::serve::{Desk, listen};
use crate::store::journal::Journal;
use crate::store::{Folders, RunFolder, make_folder};
use crate::work::{Crew, RealHands, SimulatedHands, SimulatedMachine, ThisMachine, UnitsThread};

/// Its own unit: asked about when it is told to end.
const UNIT: &str = "backstay-agent.service";
/// How long systemd may take to say why the agent is to end.
const ASK: Duration = Duration::from_secs(2);
/// How long until logind is asked again, if it is not there or was restarted.
const LOGIND_AGAIN: Duration = Duration::from_secs(10);
/// Where an admin's unit files and drop-ins lie.
const UNITS: &str = "/etc/systemd/system";
/// Priority in the real-time class, 1 to 99: above ordinary work, below what keeps the kernel going.
const REAL_TIME: u8 = 10;
/// `MCL_ONFAULT` of mman.h (Linux 4.4): lock what is used, not whole reserved stacks. nix has no name for it.
const MCL_ONFAULT: i32 = 4;

/// Runs the agent until it is told to end; on a pretended machine, if one is given.
pub(super) fn run(folders: &Folders, simulated: Option<SimulatedHands>) -> Result<()> {
    let simulate = simulated.is_some();
    make_folder(&folders.state)
        .with_context(|| format!("can't make {}", folders.state.display()))?;
    let run_folder = RunFolder::lock(&folders.run)?;
    // Without root there is a limit on it, at which a later allocation would fail.
    if !simulate {
        lock_memory();
    }
    let permits = if simulate {
        Permits::below(&folders.run.join("units"), &folders.run.join("permit"))
    } else {
        Permits::below(Path::new(UNITS), &folders.run.join("permit"))
    };
    let (decide, inbox) = inputs().context("can't make the decision loop's inbox")?;
    let pulse = Pulse::default();
    let machine = ThisMachine::new(folders, permits.clone())?;
    let (hands, machine): (Box<dyn Hands>, Box<dyn Machine>) = match simulated {
        Some(hands) => {
            tracing::warn!("--simulate: addresses and gate are only pretended");
            let machine = SimulatedMachine::new(machine, hands.clone());
            (Box::new(hands), Box::new(machine))
        }
        None => (Box::new(RealHands::open()?), Box::new(machine)),
    };
    let history = Journal::open(&folders.history())?;
    let audit = Journal::open(&folders.audit())?;
    let keeper = Keeper::open(folders, &run_folder, machine, decide.clone())?;
    let keeper = Arc::new(Mutex::new(keeper));
    let units = UnitsThread::start(permits, decide.clone())?;
    let crew = Crew::start(units, Arc::clone(&keeper), history.clone(), decide.clone())?;
    let nonce = getrandom::u64().context("the system has no random numbers")?;
    let decider = Decider::new(
        hands,
        Box::new(crew),
        inbox,
        run_folder,
        pulse.clone(),
        nonce,
    );

    let desk = Desk::new(
        folders,
        keeper,
        decide.clone(),
        pulse.clone(),
        history,
        audit,
    );
    serve(folders, Arc::new(desk), decide, simulate)?;
    std::thread::Builder::new()
        .name("supervise".into())
        .spawn(move || supervise(&pulse))?;
    if !simulate {
        before_ordinary_work();
    }
    decider.run();
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    Ok(())
}

/// Gives this thread the real-time class. It is for decisions alone, and so comes last: what a start costs, its sandbox
/// included, would take a processor away from the services for 20 ms and more.
fn before_ordinary_work() {
    let class = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let set = ThreadPriorityValue::try_from(REAL_TIME).and_then(|priority| {
        let priority = ThreadPriority::Crossplatform(priority);
        set_thread_priority_and_policy(thread_native_id(), priority, class)
            .map_err(|error| error.to_string())
    });
    if let Err(error) = set {
        tracing::warn!("no real-time class: {error}; a busy machine may hold up decisions");
    }
}

/// A page of the failover path that was swapped out would cost more than the failover.
fn lock_memory() {
    let flags = MlockAllFlags::MCL_CURRENT
        | MlockAllFlags::MCL_FUTURE
        | MlockAllFlags::from_bits_retain(MCL_ONFAULT);
    if let Err(error) = mlockall(flags) {
        tracing::warn!(
            "memory can't be locked: {error}; the agent may be slow when memory is short"
        );
    }
}

/// The thread that serves clients and hears signals.
fn serve(folders: &Folders, desk: Arc<Desk>, decide: Outbox, simulate: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = folders.socket();
    let listener = {
        let _inside = runtime.enter();
        listen(&path).with_context(|| format!("can't listen at {}", path.display()))?
    };
    let signals = {
        let _inside = runtime.enter();
        [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]
    };
    std::thread::Builder::new()
        .name("serve".into())
        .spawn(move || {
            runtime.block_on(async move {
                let [mut term, mut int, mut hup] = signals;
                tokio::spawn(desk.serve(listener));
                if !simulate {
                    tokio::spawn(before_shutdown(decide.clone()));
                }
                loop {
                    tokio::select! {
                        _ = term.recv() => {}
                        _ = int.recv() => {}
                        // A lost terminal or a habit of other daemons: nothing to read again.
                        _ = hup.recv() => continue,
                    }
                    decide.tell(how_to_end().await);
                }
            });
        })?;
    Ok(())
}

/// F11: at a shutdown the services are handed over before systemd begins to stop units, if logind is there to wait
/// for it. Where it is not, the agent's own stop hands over.
async fn before_shutdown(decide: Outbox) {
    loop {
        match Delay::take().await {
            Ok(mut delay) => {
                while let Some(said) = delay.next().await {
                    match said {
                        Said::Begins => {
                            tracing::info!("F11: the machine is shut down: handing over");
                            let (over, is_over) = oneshot::channel();
                            decide.tell(Input::HandOver(over));
                            let _ = is_over.await;
                            delay.let_go();
                        }
                        // systemd starts the next agent at once, and that one stays.
                        Said::CalledOff => {
                            decide.tell(Input::Exit);
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "logind can't be asked to wait"),
        }
        tokio::time::sleep(LOGIND_AGAIN).await;
    }
}

/// F11: a restart or upgrade leaves the holds as they are; the next agent goes on with them. A stop, a shutdown, or
/// whatever can't be told hands over.
async fn how_to_end() -> Input {
    let units = Units::new();
    let ask = async {
        let job = units.pending_job(UNIT).await;
        let restart = matches!(&job, Ok(Some(job)) if job.contains("restart"));
        restart
            && units
                .system_state()
                .await
                .is_ok_and(|state| state != "stopping")
    };
    // At a shutdown the bus may be gone already: then nothing is waited for.
    let restart = tokio::time::timeout(ASK, ask).await.unwrap_or(false);
    if restart {
        tracing::info!("restarting: what is held stays held");
        Input::Exit
    } else {
        tracing::info!("F11: stopping: handing over");
        Input::Leave
    }
}

/// Tells systemd that the agent is ready, and that it lives: only while the decision loop turns.
fn supervise(pulse: &Pulse) {
    let every = sd_notify::watchdog_enabled().map_or(Duration::from_secs(5), |limit| limit / 4);
    let mut turns = pulse.turns();
    // Not systemd's: nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    loop {
        std::thread::sleep(every);
        let now = pulse.turns();
        if now != turns {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        turns = now;
    }
}
