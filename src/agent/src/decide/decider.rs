//! The loop itself: wait, timers, inputs, datagrams, upkeep.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backstay_core::engine::{Engine, HostEvent};
use backstay_core::model::ClusterId;
use backstay_core::time::Mono;
use backstay_wire::MAX_DATAGRAM;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use smallvec::SmallVec;
use tokio::sync::{oneshot, watch};

use super::cluster::{Cluster, Fetches, Paper};
use super::hands::Hands;
use super::input::{Inbox, SystemText};
use super::jobs::Jobs;
use super::links::Links;
use super::notice::Notice;
use super::rejects::Rejects;
use crate::store::{Identity, RunFolder};

/// The loop turns at least this often: the watchdog hears of it.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// How long a hand-over may take (F11); a service whose stop takes longer is left to systemd.
const HAND_OVER: Duration = Duration::from_mins(8);
/// The last beats say what was given up; the first of them may be lost.
const LINGER: Duration = Duration::from_millis(1200);
/// Sockets that are waited at without an allocation: those of a witness of a dozen clusters with four links each.
const USUAL_SOCKETS: usize = 64;
/// Effects that one input may have; more is a defect that must not stop the loop.
const MOST_EFFECTS: usize = 4096;

/// Shows that the loop turns, and that something changed.
#[derive(Clone, Debug)]
pub struct Pulse {
    turns: Arc<AtomicU64>,
    changes: watch::Sender<u64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            turns: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Pulse {
    /// How often the loop has turned.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Changes with every decision.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }
}

/// A staged document of which only beats that prove its commitment are of interest.
pub(super) struct Beside {
    pub(super) paper: Paper,
    pub(super) fetches: Fetches,
    /// When the keeper was last told that its commitment was seen.
    pub(super) seen: Option<Mono>,
}

/// What every engine must know of the machine, also one that is made later.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Machine {
    pub(super) clock_kept: Option<bool>,
    pub(super) disk: Option<HostEvent>,
    pub(super) gate: Option<HostEvent>,
}

/// The decision loop.
pub struct Decider {
    pub(super) hands: Box<dyn Hands>,
    pub(super) jobs: Box<dyn Jobs>,
    pub(super) inbox: Inbox,
    pub(super) run: RunFolder,
    pub(super) pulse: Pulse,
    pub(super) me: Option<Identity>,
    pub(super) nonce: u64,
    pub(super) clusters: BTreeMap<ClusterId, Cluster>,
    pub(super) staged: BTreeMap<ClusterId, Beside>,
    pub(super) notices: BTreeMap<ClusterId, Notice>,
    pub(super) system: SystemText,
    pub(super) system_hash: u64,
    pub(super) links: Links,
    pub(super) rejects: Rejects,
    pub(super) machine: Machine,
    /// Until then beats gather: their sockets don't end the wait.
    pub(super) read_at: Mono,
    /// Until then they gather for a moment only.
    pub(super) crowded_until: Mono,
    /// Something came when the sockets were read last.
    pub(super) heard: bool,
    /// Whether beats ever gather; not where a test's clock stands still while the loop waits.
    pub(super) gathers: bool,
    pub(super) look_at: Mono,
    /// The addresses of this machine; kept for its room.
    pub(super) there: Vec<IpAddr>,
    /// C16: addresses that another machine has now.
    pub(super) lost: Vec<IpAddr>,
    pub(super) gate_at: Mono,
    pub(super) failed_said: BTreeMap<&'static str, Mono>,
    pub(super) leaving: Option<Mono>,
    /// Who waits until everything is handed over.
    pub(super) awaited: Option<oneshot::Sender<()>>,
    /// The loop ends when everything is handed over.
    pub(super) ends: bool,
    /// When the last beats after a hand-over have been sent.
    pub(super) over_at: Option<Mono>,
    pub(super) exit: bool,
}

impl Decider {
    /// A loop without clusters; the keeper tells it of them. `nonce`: drawn at random for this start.
    pub fn new(
        hands: Box<dyn Hands>,
        jobs: Box<dyn Jobs>,
        inbox: Inbox,
        run: RunFolder,
        pulse: Pulse,
        nonce: u64,
    ) -> Self {
        Self {
            hands,
            jobs,
            inbox,
            run,
            pulse,
            me: None,
            nonce,
            clusters: BTreeMap::new(),
            staged: BTreeMap::new(),
            notices: BTreeMap::new(),
            system: SystemText::default(),
            system_hash: 0,
            links: Links::default(),
            rejects: Rejects::default(),
            machine: Machine::default(),
            read_at: Mono::default(),
            crowded_until: Mono::default(),
            heard: false,
            gathers: true,
            look_at: Mono::default(),
            there: Vec::new(),
            lost: Vec::new(),
            gate_at: Mono::default(),
            failed_said: BTreeMap::new(),
            leaving: None,
            awaited: None,
            ends: false,
            over_at: None,
            exit: false,
        }
    }

    /// Turns until it is told to leave or exit.
    pub fn run(mut self) {
        let mut buffer = Box::new([0; MAX_DATAGRAM]);
        while !self.is_over() {
            self.turn(&mut buffer);
        }
    }

    /// One turn. In a steady cluster it allocates nothing: an allocation may wait for the kernel, and decisions may
    /// not.
    pub(super) fn turn(&mut self, buffer: &mut [u8; MAX_DATAGRAM]) {
        self.pulse.turns.fetch_add(1, Ordering::Relaxed);
        let deadline = self.deadline();
        let readable = self.wait(deadline);
        // Timers first: after a pause the engines must know of it before they hear what queued up.
        self.timers();
        if readable.inbox {
            self.take_inputs();
        }
        if readable.links {
            self.take_datagrams(buffer);
        }
        if readable.hands {
            self.take_happened();
        }
        self.ask_for_pieces();
        self.upkeep();
        self.say_rejects();
    }

    fn is_over(&mut self) -> bool {
        let Some(since) = self.leaving.filter(|_| !self.exit) else {
            return self.exit;
        };
        let now = self.hands.now();
        let handed_over = self.clusters.values().all(|c| c.handed_over);
        let late = now.since(since) > HAND_OVER;
        if (handed_over || late)
            && let Some(over) = self.awaited.take()
        {
            let _ = over.send(()); // whoever waited may have given up
        }
        if !self.ends {
            return false;
        }
        if late && !handed_over {
            tracing::error!("F11: not everything could be handed over in {HAND_OVER:?}");
        }
        if handed_over {
            let beats = self.clusters.values().map(|c| c.paper.document.beat());
            let linger = beats.max().unwrap_or_default() * 2;
            let over = *self.over_at.get_or_insert(now.after(linger.min(LINGER)));
            return now >= over;
        }
        late
    }

    /// When the next thing is due that nothing from outside announces.
    fn deadline(&self) -> Mono {
        let now = self.hands.now();
        let engines = self.clusters.values().map(|c| c.deadline);
        let fetches = self.clusters.values().map(|c| &c.fetches);
        let fetches = fetches.chain(self.staged.values().map(|b| &b.fetches));
        let all = engines.chain(fetches.filter_map(Fetches::due));
        all.fold(
            now.after(LONGEST_SLEEP).min(self.look_at.max(now)),
            Mono::min,
        )
    }

    fn wait(&self, until: Mono) -> Readable {
        let gathered = self.read_at.min(until);
        if self.gathers && self.hands.now() < gathered {
            // Awake for whatever reason: what has gathered by then is read, too.
            return Readable {
                links: true,
                ..self.poll(gathered, false)
            };
        }
        self.poll(until, true)
    }

    fn poll(&self, until: Mono, links: bool) -> Readable {
        let timeout = TimeSpec::from_duration(until.since(self.hands.now()));
        let poll = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = SmallVec::<[PollFd<'_>; USUAL_SOCKETS]>::new();
        fds.push(poll(self.inbox.as_fd()));
        fds.extend(self.links.all().filter(|_| links).map(poll));
        let hands_from = fds.len();
        fds.extend(self.hands.watched().into_iter().flatten().map(poll));
        // Interrupted or not: whatever is readable is read, whatever is due is done.
        if ppoll(&mut fds, Some(timeout), None).is_err() {
            return Readable::default();
        }
        let any = |fds: &[PollFd<'_>]| fds.iter().any(|fd| fd.any().unwrap_or(true));
        Readable {
            inbox: any(&fds[..1]),
            links: any(&fds[1..hands_from]),
            hands: any(&fds[hands_from..]),
        }
    }

    fn timers(&mut self) {
        let mut at = 0;
        while let Some(id) = self.cluster_at(at) {
            self.catch_up(id);
            at += 1;
        }
    }

    /// The clusters by their place, for loops that change them: none comes or goes meanwhile.
    pub(super) fn cluster_at(&self, place: usize) -> Option<ClusterId> {
        self.clusters.keys().nth(place).copied()
    }

    /// Tells an engine that its time has come, if it has. Whether there is such an engine.
    fn catch_up(&mut self, id: ClusterId) -> bool {
        let now = self.hands.now();
        let Some(cluster) = self.clusters.get_mut(&id) else {
            return false;
        };
        if now >= cluster.deadline {
            cluster.engine.handle_timer(now);
            self.drain(id);
        }
        true
    }

    /// Hands something to an engine and carries out what it decides.
    pub(super) fn drive<R>(
        &mut self,
        id: ClusterId,
        input: impl FnOnce(&mut Engine, Mono) -> R,
    ) -> Option<R> {
        if !self.catch_up(id) {
            return None;
        }
        let now = self.hands.now();
        let cluster = self.clusters.get_mut(&id)?;
        let answer = input(&mut cluster.engine, now);
        self.drain(id);
        Some(answer)
    }

    /// Carries out effects, each to its end before the next: *persist, block, act, tell peers*.
    pub(super) fn drain(&mut self, id: ClusterId) {
        for _ in 0..MOST_EFFECTS {
            let Some(cluster) = self.clusters.get_mut(&id) else {
                return;
            };
            let Some(effect) = cluster.engine.poll_effect() else {
                let now = self.hands.now();
                cluster.deadline = cluster.engine.poll_timer(now);
                return;
            };
            if let Err(error) = self.execute(id, &effect) {
                self.say_failed(&effect, &error);
                let now = self.hands.now();
                if let Some(cluster) = self.clusters.get_mut(&id) {
                    cluster.engine.handle_failed(&effect, now);
                }
            }
        }
        tracing::error!("cluster {id}: more than {MOST_EFFECTS} effects of one input");
        if let Some(cluster) = self.clusters.get_mut(&id) {
            cluster.deadline = self.hands.now().after(Duration::from_millis(10));
        }
    }

    /// The same for every cluster.
    pub(super) fn drive_all(&mut self, input: impl Fn(&mut Engine, Mono)) {
        let mut at = 0;
        while let Some(id) = self.cluster_at(at) {
            self.drive(id, &input);
            at += 1;
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Readable {
    inbox: bool,
    links: bool,
    hands: bool,
}
