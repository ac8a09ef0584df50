//! What a turn of the loop costs, and what a flood changes: one loop with real sockets on loopback and a clock that
//! the test sets, in a cluster of eleven nodes of which ten are played by the test.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use backstay_core::engine::{Ask, Beat, HearsPeer, HostEvent, ServiceReport, UnitsState, phase};
use backstay_core::model::{ClusterDocument, NodeId, ServiceId};
use backstay_core::time::Mono;
use backstay_wire::{Keys, MAX_DATAGRAM, beat};
use ipnet::IpNet;
use tempfile::TempDir;

use super::receive::{AT_ONCE, PATIENCE_IN_A_CROWD};
use super::{Decider, Hands, Happened, Input, Job, Jobs, Outbox, Pulse, inputs};
use crate::samples::Log;
use crate::store::{Folders, Identity, RunFolder};
use crate::work::SimulatedHands;

const NODES: u64 = 11;
const BEAT: Duration = Duration::from_millis(50);
const NONCE: u64 = 77;
/// Rounds of beats until everything runs and was announced, which is due every minute.
const ROUNDS_TO_REST: u64 = 65 * 20;

/// Pretended hands whose clock is the test's.
#[derive(Clone, Default)]
struct ClockedHands {
    clock: Arc<AtomicU64>,
    hands: SimulatedHands,
}

impl Hands for ClockedHands {
    fn now(&self) -> Mono {
        Mono(self.clock.load(Ordering::Relaxed))
    }

    fn guard(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.hands.guard(addresses)
    }

    fn arm(&mut self, addresses: &[IpAddr], slot: u8, hold: Duration) -> Result<()> {
        self.hands.arm(addresses, slot, hold)
    }

    fn live(&mut self, addresses: &[IpAddr], slot: u8) -> Result<()> {
        self.hands.live(addresses, slot)
    }

    fn close(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.hands.close(addresses)
    }

    fn open_slot(&mut self, addresses: &[IpAddr]) -> Result<Option<u8>> {
        self.hands.open_slot(addresses)
    }

    fn mend_gate(&mut self) -> Result<Option<String>> {
        self.hands.mend_gate()
    }

    fn add_address(&mut self, address: IpNet) -> Result<()> {
        self.hands.add_address(address)
    }

    fn add_base(&mut self, address: IpNet) -> Result<()> {
        self.hands.add_base(address)
    }

    fn remove_address(&mut self, address: IpNet) -> Result<()> {
        self.hands.remove_address(address)
    }

    fn addresses(&mut self, there: &mut Vec<IpAddr>) -> Result<()> {
        self.hands.addresses(there)
    }

    fn carrier(&mut self, address: IpAddr) -> Result<Option<bool>> {
        self.hands.carrier(address)
    }

    fn announce(&mut self, addresses: &[IpNet], reply_form: bool) -> Result<()> {
        self.hands.announce(addresses, reply_form)
    }

    fn watched(&self) -> [Option<BorrowedFd<'_>>; 2] {
        self.hands.watched()
    }

    fn happened(&mut self) -> Happened {
        self.hands.happened()
    }
}

/// Does every job at once and well, and counts them.
struct CountingCrew {
    decide: Outbox,
    jobs: Arc<AtomicUsize>,
}

impl Jobs for CountingCrew {
    fn post(&self, job: Job) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        match job {
            Job::StartUnits(errand) => {
                self.decide.tell(Input::Units {
                    cluster: errand.cluster,
                    service: errand.service.id,
                    state: UnitsState::Active {
                        took: Duration::ZERO,
                    },
                });
            }
            Job::Probe {
                cluster, service, ..
            } => {
                let used = false;
                let event = HostEvent::AliasInUse { service, used };
                self.decide.tell(Input::Host(Some(cluster), event));
            }
            _ => {}
        }
    }
}

/// The loop of node 1, and the ten others.
struct Ground {
    decider: Decider,
    buffer: Box<[u8; MAX_DATAGRAM]>,
    clock: Arc<AtomicU64>,
    jobs: Arc<AtomicUsize>,
    keys: Keys,
    others: Vec<Beat>,
    /// The last beats as they were sent.
    sent: Vec<Vec<u8>>,
    socket: UdpSocket,
    to: SocketAddr,
    _folder: TempDir,
}

impl Ground {
    /// A cluster in which nothing happens but beats; `number` keeps tests apart.
    fn new(number: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let document = document(number);
        let hands = ClockedHands::default();
        let clock = Arc::clone(&hands.clock);
        clock.store(1_000_000_000, Ordering::Relaxed);
        let (decide, inbox) = inputs().unwrap();
        let jobs = Arc::new(AtomicUsize::new(0));
        let crew = Box::new(CountingCrew {
            decide: decide.clone(),
            jobs: Arc::clone(&jobs),
        });
        let run = RunFolder::lock(&Folders::below(folder.path()).run).unwrap();
        let mut decider = Decider::new(Box::new(hands), crew, inbox, run, Pulse::default(), NONCE);
        decider.gathers = false;
        let me = Identity {
            name: "n1".parse().unwrap(),
            id: NodeId(1),
            incarnation: 0,
            boot: 1,
        };
        decide.tell(Input::Enrolled {
            me: Some(me),
            lost: Vec::new(),
        });
        let keys = Keys::new(&document.keys).unwrap();
        let others = (2..=NODES).map(|n| said_by(n, &document)).collect();
        decide.tell(Input::Adopted {
            document: Box::new(document),
            fresh: true,
            units: Vec::new(),
        });
        let mut ground = Self {
            decider,
            buffer: Box::new([0; MAX_DATAGRAM]),
            clock,
            jobs,
            keys,
            others,
            sent: vec![Vec::with_capacity(MAX_DATAGRAM); NODES as usize - 1],
            socket: UdpSocket::bind((IpAddr::from([127, number, 0, 99]), 0)).unwrap(),
            to: SocketAddr::new(IpAddr::from([127, number, 0, 1]), 5980),
            _folder: folder,
        };
        ground.decider.turn(&mut ground.buffer);
        for _ in 0..ROUNDS_TO_REST {
            ground.round();
        }
        ground
    }

    /// One beat of each node; the time of one passes.
    fn round(&mut self) {
        let mut bytes = [0; MAX_DATAGRAM];
        for (said, sent) in self.others.iter_mut().zip(&mut self.sent) {
            let step = BEAT.as_nanos() as u64 / (NODES - 1);
            self.clock.fetch_add(step, Ordering::Relaxed);
            said.sequence += 1;
            let length = beat::encode(said, 0, &self.keys, &mut bytes);
            sent.clear();
            sent.extend_from_slice(&bytes[..length]);
            self.socket.send_to(sent, self.to).unwrap();
            // It lies in the socket now: the turn does not wait.
            self.decider.turn(&mut self.buffer);
        }
    }

    /// The next beats may wait for each other.
    fn gathers(&self) -> bool {
        self.patience() > Duration::ZERO
    }

    fn patience(&self) -> Duration {
        self.decider.read_at.since(self.decider.hands.now())
    }

    /// What decisions depend on and lead to.
    fn state(&self) -> String {
        let cluster = self.decider.clusters.values().next().unwrap();
        let (engine, told) = (&cluster.engine, &cluster.told);
        let jobs = self.jobs.load(Ordering::Relaxed);
        format!("{engine:#?}\n{told:?}\n{jobs} jobs")
    }
}

/// What a node that runs its service at home says, and the standby, which runs none.
fn said_by(n: u64, document: &ClusterDocument) -> Beat {
    let mut said = Beat {
        cluster: document.id,
        from: NodeId(n),
        boot: 1,
        nonce: 1_000 + n,
        revision: document.revision,
        hash: document.short_hash(),
        epoch: document.epoch,
        ..Beat::default()
    };
    for other in (1..=NODES).filter(|other| *other != n) {
        said.hears.push(HearsPeer {
            node: NodeId(other),
            age_ms: 0,
            echo: if other == 1 { NONCE } else { 1_000 + other },
        });
    }
    if n < NODES {
        let (service, term) = (ServiceId(n as u16), 1);
        said.asks.push(Ask { service, term });
        said.services.push(ServiceReport {
            service,
            phase: phase::RUNNING,
            term,
            since_ms: 0,
        });
    }
    said
}

fn document(number: u8) -> ClusterDocument {
    let mut text = format!(
        r#"
format = 1
name = "c{number}"
id = "00000000000000{number:02x}"
revision = 1
epoch = 1
safety = "available"
profile = "fast"
port = 5980
next_service = {NODES}
changed = {{ by = "test", at = 1, what = "created" }}

[[key]]
id = 1
secret = "{}"
signs = true
"#,
        "5a".repeat(32)
    );
    for n in 1..=NODES {
        let role = if n == NODES { "standby" } else { "regular" };
        let _ = write!(
            text,
            r#"
[[node]]
name = "n{n}"
id = "{n:016x}"
role = "{role}"
bases = ["127.{number}.0.{n}/24"]
"#
        );
    }
    for n in 1..NODES {
        let _ = write!(
            text,
            r#"
[[service]]
name = "web{n}"
id = {n}
nodes = ["n{n}", "n{NODES}"]
priority = {n}
[[service.alias]]
address = "127.{number}.0.1{n:02}/24"

[[base]]
service = {n}
term = 1
holder = "n{n}"
"#
        );
    }
    ClusterDocument::parse(&text).expect("the document is sound")
}

#[test]
fn turns_of_the_loop_in_a_steady_cluster_allocate_nothing() {
    let mut ground = Ground::new(40);
    let jobs = ground.jobs.load(Ordering::Relaxed);
    // A minute and more: beats of all, own beats with the slots of the gate, the looks at addresses and gate, an
    // announcement.
    let info = allocation_counter::measure(|| {
        for _ in 0..65 * 20 {
            ground.round();
        }
        ground.decider.gathers = true;
        ground.round();
    });
    assert_eq!(ground.jobs.load(Ordering::Relaxed), jobs, "not steady");
    assert!(ground.gathers());
    assert_eq!(info.count_total, 0, "{info:?}");
}

/// Datagrams of the flood that are in the socket before a turn reads them, beside the beats.
const FLOOD_AT_ONCE: usize = 50;
/// Rounds of beats while the flood comes: a little less than two minutes.
const ROUNDS: usize = 119 * 20;
/// Rounds after it, until all that was dropped has been said.
const ROUNDS_AFTER: usize = 6 * 20;
const FLOOD: usize = 1_000_000;

/// One hostile datagram: forged, of another cluster, under another key, cut short, noise, or played again.
fn hostile(n: usize, sent: &[Vec<u8>], out: &mut Vec<u8>) {
    let whole = &sent[n % sent.len()];
    out.clear();
    out.extend_from_slice(whole);
    let at = n.wrapping_mul(2_654_435_761) >> 7;
    match n % 7 {
        0 => out[24 + at % (whole.len() - 24)] ^= 1 << (n % 8), // forged
        1 => out.truncate(at % whole.len()),                    // cut short
        2 => out[23] ^= 0x5a,                                   // another cluster
        3 => out[5] = 9,                                        // another key
        4 => out[..4].copy_from_slice(b"BsDc"),                 // a beat that says it is sealed
        5 => out.iter_mut().for_each(|byte| *byte ^= at as u8 | 1), // noise
        _ => {}                                                 // played again
    }
}

/// The cluster after two minutes, with that many hostile datagrams among the beats, and the log.
fn after_two_minutes(flood: usize) -> (String, String) {
    let log = Log::default();
    let state = tracing::subscriber::with_default(log.subscriber(), || {
        let mut ground = Ground::new(41);
        log.clear(); // what the start said
        let mut datagram = Vec::new();
        let mut made = 0;
        for round in 1..=ROUNDS {
            ground.round();
            while made < flood * round / ROUNDS {
                for n in made..flood.min(made + FLOOD_AT_ONCE) {
                    hostile(n, &ground.sent, &mut datagram);
                    ground.socket.send_to(&datagram, ground.to).unwrap();
                }
                made = flood.min(made + FLOOD_AT_ONCE);
                ground.decider.turn(&mut ground.buffer);
            }
        }
        for _ in 0..ROUNDS_AFTER {
            ground.round();
        }
        ground.state()
    });
    (state, log.text())
}

/// Patience is for a calm cluster, not for who fills the buffer: what genuine beats then find no room in.
#[test]
fn a_socket_that_yields_no_end_is_read_on_at_once() {
    let mut ground = Ground::new(42);
    ground.decider.gathers = true;
    ground.round();
    assert!(ground.gathers(), "a calm cluster");
    let mut datagram = Vec::new();
    for n in 0..2 * AT_ONCE + 40 {
        hostile(n, &ground.sent, &mut datagram);
        ground.socket.send_to(&datagram, ground.to).unwrap();
    }
    // Each turn looks at the timers first.
    for full in [true, true, false] {
        ground.decider.turn(&mut ground.buffer);
        assert_eq!(ground.gathers(), !full);
    }
    let left = ground.decider.links.receive(0, &mut ground.buffer);
    assert_eq!(left, None);
    // Between two turns that find little more may come than there is room for, too.
    assert_eq!(ground.patience(), PATIENCE_IN_A_CROWD);
    for _ in 0..20 {
        ground.round();
    }
    assert!(ground.patience() > PATIENCE_IN_A_CROWD, "it is over");
}

/// How many datagrams were dropped, by the log.
fn dropped(log: &str) -> usize {
    let counts = log
        .split([' ', ','])
        .filter_map(|word| word.parse::<usize>().ok());
    counts.sum()
}

#[test]
fn a_million_forged_cut_or_replayed_datagrams_change_nothing_and_are_three_lines() {
    let (quiet, silence) = after_two_minutes(0);
    let (flooded, log) = after_two_minutes(FLOOD);
    assert!(quiet == flooded, "{quiet}\n---- flooded ----\n{flooded}");
    assert_eq!(silence, "");
    assert_eq!(log.lines().count(), 3, "{log}");
    // Every one was read; those played again are sound, and old to the engine.
    let played_again = (0..FLOOD).filter(|n| n % 7 == 6).count();
    assert_eq!(dropped(&log), FLOOD - played_again, "{log}");
}
