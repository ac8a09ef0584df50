//! U7 for a large system: 1,000 nodes in 100 clusters behind a transport that is only pretended; some are off,
//! some accept a session and never speak.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use backstay_core::engine::{ClusterView, NodeState, NodeView};
use backstay_core::model::{
    Changed, ClusterId, NodeId, Role, Safety, SystemCluster, SystemDocument, SystemNode, SystemRole,
};
use backstay_wire::rpc::{Call, Hello, Reply, Request, Status, Text, parse_call, to_line};

use super::Gatherer;
use crate::remote::contacts::Contacts;
use crate::remote::{Connector, Contact, Deadlines, Handle, Pins, RemoteError, Target, Transport};

const CLUSTERS: u64 = 100;
const NODES: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Off,
    Wedged,
}

/// The first contacts of 20 clusters: the worst place.
fn health(cluster: u64, node: u64) -> Health {
    match (cluster, node) {
        (0..10, 0) => Health::Off,
        (10..20, 0) => Health::Wedged,
        _ => Health::Well,
    }
}

fn name(cluster: u64, node: u64) -> String {
    format!("c{cluster}-n{node}")
}

fn system() -> SystemDocument {
    let all = (0..CLUSTERS).flat_map(|c| (0..NODES).map(move |n| (c, n)));
    SystemDocument {
        viewers: Vec::new(),
        format: 1,
        revision: 1,
        changed: Changed {
            by: "admin@test".to_owned(),
            at: 0,
            what: String::new(),
        },
        nodes: all
            .map(|(c, n)| SystemNode {
                name: name(c, n).parse().unwrap(),
                id: NodeId(c * NODES + n + 1),
                contact: format!("root@{}", name(c, n)),
                host_keys: Vec::new(),
                role: if n == 9 {
                    SystemRole::Standby
                } else {
                    SystemRole::Regular
                },
            })
            .collect(),
        clusters: (0..CLUSTERS)
            .map(|c| SystemCluster {
                name: format!("c{c}").parse().unwrap(),
                id: ClusterId(c + 1),
                members: (0..NODES).map(|n| name(c, n).parse().unwrap()).collect(),
            })
            .collect(),
    }
}

fn view(cluster: u64, by: u64) -> ClusterView {
    let node = |n| NodeView {
        name: name(cluster, n).parse().unwrap(),
        role: if n == 9 { Role::Standby } else { Role::Regular },
        state: if health(cluster, n) == Health::Well {
            NodeState::Up
        } else {
            NodeState::Down
        },
        age_ms: Some(100),
        revision: Some(1),
        notes: Vec::new(),
        addresses: Vec::new(),
        maintenance: None,
    };
    ClusterView {
        name: format!("c{cluster}").parse().unwrap(),
        revision: 1,
        safety: Safety::Available,
        preloaded: false,
        seen_by: name(cluster, by).parse().unwrap(),
        nodes: (0..NODES).map(node).collect(),
        services: Vec::new(),
        alarms: Vec::new(),
        advice: String::new(),
    }
}

/// Nodes by their contact, and which of them were reached.
struct Fake {
    text: Arc<str>,
    nodes: BTreeMap<String, (u64, u64)>,
    reached: Mutex<Vec<String>>,
}

impl Connector for Fake {
    fn connect(&self, target: &Target) -> Result<Box<dyn Transport>, RemoteError> {
        let label = target.label();
        let (cluster, node) = self.nodes[&label];
        self.reached.lock().unwrap().push(label.clone());
        match health(cluster, node) {
            Health::Off => Err(RemoteError::Unreachable {
                host: label,
                why: "no route to host".to_owned(),
            }),
            health => Ok(Box::new(Agent {
                text: Arc::clone(&self.text),
                cluster,
                node,
                wedged: health == Health::Wedged,
                out: Vec::new(),
            })),
        }
    }
}

struct Agent {
    text: Arc<str>,
    cluster: u64,
    node: u64,
    wedged: bool,
    out: Vec<u8>,
}

impl Agent {
    fn answer(&self, request: Request) -> serde_json::Value {
        match request {
            Request::Hello { newest, .. } => serde_json::to_value(Hello {
                version: newest,
                agent: "fake".to_owned(),
                node: Some(name(self.cluster, self.node).parse().unwrap()),
                id: Some(NodeId(self.cluster * NODES + self.node + 1)),
                role: SystemRole::Regular,
                clusters: BTreeMap::new(),
                system_revision: 1,
                staged: BTreeMap::new(),
                writable: true,
                viewer: false,
            }),
            Request::Status => serde_json::to_value(Status {
                clusters: vec![view(self.cluster, self.node)],
            }),
            Request::SystemGet => serde_json::to_value(Text {
                text: self.text.to_string(),
            }),
            other => panic!("nobody asks for {other:?} here"),
        }
        .unwrap()
    }
}

impl Transport for Agent {
    fn send(&mut self, bytes: &[u8], _: Instant) -> Result<(), RemoteError> {
        let Call { id, request } = parse_call(bytes.trim_ascii_end()).unwrap();
        let value = self.answer(request);
        self.out
            .extend(to_line(&Reply::Done { id, value }).unwrap());
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> Result<usize, RemoteError> {
        if self.wedged || self.out.is_empty() {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            return Err(RemoteError::Timeout {
                host: name(self.cluster, self.node),
                during: "waiting for an answer",
                after: deadline.elapsed(),
            });
        }
        into.append(&mut self.out);
        Ok(into.len())
    }

    fn noisy(&self) -> bool {
        false
    }
}

/// Prints how long it took and the most memory that this process ever had; a time is no matter for a test.
#[test]
fn u7_the_status_of_a_large_system_is_complete_though_nodes_are_off_or_wedged() {
    let system = system();
    assert_eq!(system.problems(), []);
    let contact = |node: &SystemNode| node.contact.parse::<Contact>().unwrap();
    let places = (0..CLUSTERS).flat_map(|c| (0..NODES).map(move |n| (c, n)));
    let fake = Arc::new(Fake {
        text: system.to_text().into(),
        nodes: (system.nodes.iter().map(|n| contact(n).to_string()))
            .zip(places)
            .collect(),
        reached: Mutex::default(),
    });
    let gatherer = Gatherer {
        handle: Handle {
            connector: fake.clone(),
            deadlines: Deadlines::default(),
            user: "admin@test".to_owned(),
        },
        entries: vec![Target::Ssh {
            contact: contact(&system.nodes[105]),
            pins: Pins::default(),
        }],
        contacts: Contacts::default(),
        vouched: Vec::new(),
    };
    let began = Instant::now();
    let seen = gatherer.status().unwrap();
    let took = began.elapsed();
    assert!(seen.unseen.is_empty(), "{:?}", seen.unseen);
    let names: BTreeSet<_> = seen.views.iter().map(|v| v.name.to_string()).collect();
    assert_eq!(names.len(), 100);
    let down = seen.views.iter().flat_map(|v| &v.nodes);
    let down = down.filter(|n| n.state == NodeState::Down).count();
    assert_eq!(down, 20, "who is off or wedged is never shown as well");
    // One session for each cluster, one more where its first contact is off or wedged, and one try of each of
    // those for its own word.
    let reached = fake.reached.lock().unwrap().len();
    assert!(reached <= 100 + 20 + 20, "{reached} sessions");
    let memory = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = memory.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    eprintln!("1,000 nodes: {took:?}, {reached} sessions, {peak}");
}

/// C16: an agent that was started after a node died does not know whether it is up, and is asked first.
#[test]
fn c16_of_two_views_the_one_counts_that_knows_who_is_gone() {
    let (mut fresh, knowing) = (view(0, 1), view(0, 2));
    fresh.nodes[0].state = NodeState::Unknown;
    let best = super::gather::best_views(&[fresh, knowing]);
    assert_eq!(best[0].nodes[0].state, NodeState::Down);
}
