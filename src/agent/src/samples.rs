//! Documents, machines and whole agents for tests.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use backstay_core::engine::{ClusterView, HostEvent, Stopped, UnitsState};
use backstay_core::model::{ClusterDocument, Former, Member, NodeId, SystemDocument, SystemViewer};
use backstay_wire::rpc::{AddressFact, Facts, InterfaceFact};
use tokio::sync::oneshot;
use tracing_subscriber::fmt::MakeWriter;

use crate::decide::{Decider, Errand, Input, Job, Jobs, Outbox, Pulse, inputs};
use crate::documents::{Keeper, Machine};
use crate::host::network::Wanted;
use crate::store::{Folders, Identity, NodeFile, RunFolder, make_folder};
use crate::work::SimulatedHands;

/// Two regular nodes and a standby, each with one base on loopback; `number` keeps clusters of one test apart.
pub(crate) fn cluster(number: u8) -> ClusterDocument {
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
next_service = 3
changed = {{ by = "test", at = 1, what = "created" }}

[timing]
boot_wait_ms = 1000
cold_start_ms = 1000
home_healthy_ms = 500

[[key]]
id = 1
secret = "{}"
signs = true
"#,
        "5a".repeat(32)
    );
    let nodes = [("n1", "regular"), ("n2", "regular"), ("sb1", "standby")];
    for (place, (name, role)) in (1..).zip(nodes) {
        let _ = write!(
            text,
            r#"
[[node]]
name = "{name}"
id = "{}"
role = "{role}"
bases = ["127.{number}.0.{place}/24"]
"#,
            node(place)
        );
        if role == "regular" {
            let _ = write!(
                text,
                r#"
[[service]]
name = "web{place}"
id = {place}
nodes = ["{name}", "sb1"]
priority = {place}
[[service.alias]]
address = "127.{number}.0.10{place}/24"

[[base]]
service = {place}
term = 1
holder = "{name}"
"#
            );
        }
    }
    ClusterDocument::parse(&text).expect("the sample is sound")
}

/// The next revision of a document.
pub(crate) fn revised(document: &ClusterDocument) -> ClusterDocument {
    let mut next = document.clone();
    next.revision += 1;
    next.changed.what = "revised".into();
    next
}

/// C7: the revision that ends the cluster.
pub(crate) fn deleted(document: &ClusterDocument) -> ClusterDocument {
    let mut gone = revised(document);
    gone.deleted = true;
    let former = |m: Member| Former {
        name: m.name,
        id: m.id,
        bases: m.bases,
        alias: None,
        replaced: None,
    };
    gone.former = gone.members.drain(..).map(former).collect();
    gone.services.clear();
    gone.bases.clear();
    gone
}

/// The identity of the sample's node of that place: 1 is n1, 3 the standby.
pub(crate) fn node(place: u64) -> NodeId {
    NodeId(0xa0 + place)
}

/// Who the sample's node of that place is.
pub(crate) fn identity(place: u64) -> Identity {
    let name = match place {
        3 => "sb1".to_owned(),
        place => format!("n{place}"),
    };
    Identity {
        name: name.parse().expect("a name"),
        id: node(place),
        incarnation: 0,
        boot: 0,
    }
}

/// A system document of that revision.
pub(crate) fn system(revision: u64) -> SystemDocument {
    SystemDocument::parse(&format!(
        "format = 1\nrevision = {revision}\nchanged = {{ by = \"test\", at = 1, what = \"x\" }}\n"
    ))
    .expect("the sample is sound")
}

/// The lines of the log, without times.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + use<> {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(self.clone())
            .without_time()
            .finish()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// No cluster's document can be kept until it is mended.
pub(crate) struct BrokenDisk {
    clusters: PathBuf,
    away: PathBuf,
}

pub(crate) fn break_disk(folders: &Folders) -> BrokenDisk {
    let clusters = folders.state.join("clusters");
    let away = folders.state.join("away");
    fs::rename(&clusters, &away).unwrap();
    // A file in the way: root ignores permissions, not this.
    fs::write(&clusters, b"").unwrap();
    BrokenDisk { clusters, away }
}

impl BrokenDisk {
    pub(crate) fn mend(self) {
        fs::remove_file(&self.clusters).unwrap();
        fs::rename(&self.away, &self.clusters).unwrap();
    }
}

/// What runs on a pretended machine; shared by whoever starts and whoever looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Arc<Mutex<Vec<String>>>);

impl Running {
    pub(crate) fn set(&self, errand: &Errand, on: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name| *name != errand.service.name.as_str());
        if on {
            all.push(errand.service.name.to_string());
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|running| running == name)
    }
}

/// A machine that has every loopback subnet and no unit.
pub(crate) struct PlainMachine(pub(crate) Running);

impl Machine for PlainMachine {
    fn facts(&mut self) -> Facts {
        let address = "127.0.0.1/8".to_owned();
        Facts {
            interfaces: vec![InterfaceFact {
                name: "lo".into(),
                addresses: vec![AddressFact {
                    address,
                    ..AddressFact::default()
                }],
                ..InterfaceFact::default()
            }],
            ..Facts::default()
        }
    }

    fn look(&mut self, errand: &Errand) -> UnitsState {
        if self.0.has(errand.service.name.as_str()) {
            let took = Duration::ZERO;
            return UnitsState::Active { took };
        }
        stopped()
    }

    fn in_use(&mut self, _: &[ipnet::IpNet]) -> Vec<IpAddr> {
        Vec::new()
    }

    fn keep_from_boot(&mut self, _: &[String]) -> anyhow::Result<()> {
        Ok(())
    }

    fn settle_network(&mut self, _: &Wanted) -> anyhow::Result<Vec<ipnet::IpNet>> {
        Ok(Vec::new())
    }

    fn put_on(&mut self, _: ipnet::IpNet) -> anyhow::Result<crate::documents::PutOn> {
        Ok(crate::documents::PutOn::There)
    }

    fn release_bases(&mut self, _: &Wanted, _: bool) -> anyhow::Result<bool> {
        Ok(false)
    }

    fn let_in(&mut self, _: &[SystemViewer]) -> anyhow::Result<()> {
        Ok(())
    }
}

fn stopped() -> UnitsState {
    UnitsState::Inactive {
        stopped: Stopped::Gently,
        took: Duration::ZERO,
    }
}

/// Does every job at once and well.
struct WillingCrew {
    running: Running,
    keeper: Arc<Mutex<Keeper>>,
    handed_in: Arc<AtomicUsize>,
    decide: Outbox,
}

impl WillingCrew {
    fn keeper(&self, does: impl FnOnce(&mut Keeper) + Send + 'static) {
        let (keeper, handed_in) = (Arc::clone(&self.keeper), Arc::clone(&self.handed_in));
        std::thread::spawn(move || {
            does(&mut keeper.lock().unwrap_or_else(PoisonError::into_inner));
            handed_in.fetch_add(1, Ordering::Relaxed);
        });
    }
}

impl Jobs for WillingCrew {
    fn post(&self, job: Job) {
        let units = |errand: &Errand, state| {
            self.decide.tell(Input::Units {
                cluster: errand.cluster,
                service: errand.service.id,
                state,
            });
        };
        match job {
            Job::StartUnits(errand) => {
                self.running.set(&errand, true);
                let took = Duration::from_millis(1);
                units(&errand, UnitsState::Active { took });
            }
            Job::StopUnits(errand) => {
                self.running.set(&errand, false);
                units(&errand, stopped());
            }
            Job::Probe {
                cluster, service, ..
            } => {
                let used = false;
                let event = HostEvent::AliasInUse { service, used };
                self.decide.tell(Input::Host(Some(cluster), event));
            }
            Job::CheckReference { cluster, .. } => {
                let answered = Some(true);
                let event = HostEvent::Reference { answered };
                self.decide.tell(Input::Host(Some(cluster), event));
            }
            Job::Fetched {
                cluster,
                subject,
                revision,
                text,
            } => self.keeper(move |k| k.fetched(cluster, subject, revision, &text)),
            Job::CommitSeen {
                cluster,
                revision,
                hash,
            } => self.keeper(move |k| k.commit_seen(cluster, revision, hash)),
            Job::WatchUnits(..) | Job::RunHooks { .. } | Job::Left { .. } | Job::Record(_) => {}
        }
    }
}

/// A whole agent but for its machine: files, keeper, decision loop, sockets on loopback.
pub(crate) struct Agent {
    pub(crate) folders: Folders,
    pub(crate) keeper: Arc<Mutex<Keeper>>,
    handed_in: Arc<AtomicUsize>,
    pub(crate) decide: Outbox,
    pub(crate) pulse: Pulse,
    pub(crate) hands: SimulatedHands,
    pub(crate) running: Running,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts the agent of the sample's node of that place, with its files below `folder`. `machine`: what an
    /// earlier agent left on the machine.
    pub(crate) fn start(place: u64, folder: &Path, machine: (SimulatedHands, Running)) -> Self {
        let folders = Folders::below(&folder.join(place.to_string()));
        make_folder(&folders.state).unwrap();
        let node = NodeFile::in_folder(&folders.state);
        if node.read().unwrap().is_none() {
            node.write(&identity(place)).unwrap();
        }
        let (hands, running) = machine;
        let run = RunFolder::lock(&folders.run).unwrap();
        let (decide, inbox) = inputs().unwrap();
        let pulse = Pulse::default();
        let plain = Box::new(PlainMachine(running.clone()));
        let keeper = Keeper::open(&folders, &run, plain, decide.clone()).unwrap();
        let keeper = Arc::new(Mutex::new(keeper));
        let handed_in = Arc::default();
        let crew = Box::new(WillingCrew {
            running: running.clone(),
            keeper: Arc::clone(&keeper),
            handed_in: Arc::clone(&handed_in),
            decide: decide.clone(),
        });
        let nonce = getrandom::u64().unwrap();
        let own = Box::new(hands.clone());
        let decider = Decider::new(own, crew, inbox, run, pulse.clone(), nonce);
        let thread = Some(std::thread::spawn(move || decider.run()));
        Self {
            folders,
            keeper,
            handed_in,
            decide,
            pulse,
            hands,
            running,
            thread,
        }
    }

    /// With nothing on its machine.
    pub(crate) fn new(place: u64, folder: &Path) -> Self {
        Self::start(place, folder, Default::default())
    }

    /// Stages and commits a document here, as the utility does.
    pub(crate) fn commit(&self, document: &ClusterDocument) {
        let mut keeper = self.keeper.lock().unwrap();
        keeper.stage(&document.to_text()).unwrap();
        let hash = hex::encode(document.hash());
        keeper
            .commit(document.id, document.revision, &hash)
            .unwrap();
    }

    pub(crate) fn view(&self) -> Vec<ClusterView> {
        let (reply, answer) = oneshot::channel();
        self.decide.tell(Input::View(reply));
        answer.blocking_recv().expect("the loop lives")
    }

    /// How often its keeper was told of something that others have decided.
    pub(crate) fn handed_in(&self) -> u32 {
        u32::try_from(self.handed_in.load(Ordering::Relaxed)).expect("not that often")
    }

    /// Ends the agent like kill -9; what it left on the machine.
    pub(crate) fn kill(mut self) -> (SimulatedHands, Running) {
        self.end(Input::Exit);
        (self.hands.clone(), self.running.clone())
    }

    /// Has it hand over everything, as before a shutdown; it goes on.
    pub(crate) fn hand_over(&self) {
        let (over, is_over) = tokio::sync::oneshot::channel();
        self.decide.tell(Input::HandOver(over));
        is_over.blocking_recv().expect("everything is handed over");
    }

    /// Ends the agent in good order.
    pub(crate) fn leave(mut self) {
        self.end(Input::Leave);
    }

    fn end(&mut self, how: Input) {
        self.decide.tell(how);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the loop ends well");
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.decide.tell(Input::Exit);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until something holds; for as long as a very slow machine may need.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_mins(1), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
