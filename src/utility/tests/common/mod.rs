//! Agents that live in the test: they keep documents, locks and staged revisions like real ones, and
//! misbehave on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstay::ops::Gatherer;
use backstay::remote::contacts::Contacts;
use backstay::remote::{Connector, Deadlines, Handle, Pins, RemoteError, Target, Transport};
use backstay_core::model::{
    Changed, ClusterDocument, NodeId, NodeName, Problem, RuleId, SystemDocument, SystemNode,
    SystemRole,
};
use backstay_wire::rpc::{
    Audit, AuditEntry, Call, Code, Done, Facts, Fault, Hello, History, HistoryEntry, LineSplitter,
    Needs, Reply, Report, Request, Status, Text, UnitFact, parse_call, to_line,
};
use ipnet::IpNet;

/// How an agent behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it should.
    #[default]
    Good,
    /// Nobody can connect to it.
    Unreachable,
    /// It accepts the session and never answers.
    Wedged,
    /// It refuses to stage.
    Refuses,
    /// It breaks off when it shall stage.
    DiesAtStage,
    /// It breaks off when it is asked what services need.
    DiesAtNeeds,
    /// It breaks off when it shall commit.
    DiesAtCommit,
    /// It refuses to commit.
    RefusesCommit,
    /// It breaks off when it shall take a system document.
    DiesAtSystem,
    /// It breaks off when it is given an order.
    DiesAtOrder,
    /// Somebody else has its change lock.
    Locked,
}

/// One agent's state.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) name: Option<NodeName>,
    pub(crate) id: Option<NodeId>,
    pub(crate) role: Option<SystemRole>,
    pub(crate) manner: Manner,
    pub(crate) system: Option<SystemDocument>,
    pub(crate) documents: BTreeMap<String, ClusterDocument>,
    pub(crate) staged: Option<ClusterDocument>,
    pub(crate) locked: bool,
    /// What Watch sends, one after the other; the last is repeated.
    pub(crate) watch: Vec<Status>,
    /// Method names in the order of their calls.
    pub(crate) calls: Vec<String>,
    pub(crate) address: String,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) audit: Vec<AuditEntry>,
    pub(crate) report: Report,
    /// What it has of what services need; none: its agent is too old to say.
    pub(crate) needs: Option<Needs>,
}

/// All agents of a test, by host.
#[derive(Clone, Default)]
pub(crate) struct World(pub(crate) Arc<Mutex<BTreeMap<String, Agent>>>);

struct Wire {
    world: World,
    host: String,
    lines: LineSplitter,
    out: Vec<u8>,
    /// Id of the running watch, and how many views were sent.
    watching: Option<(u64, usize)>,
    dead: bool,
}

impl Connector for World {
    fn connect(&self, target: &Target) -> Result<Box<dyn Transport>, RemoteError> {
        let host = match target {
            Target::Ssh { contact, .. } => contact.host.clone(),
            Target::Local(path) => path.display().to_string(),
        };
        let manner = self.0.lock().unwrap().get(&host).map(|a| a.manner);
        match manner {
            None | Some(Manner::Unreachable) => Err(RemoteError::Unreachable {
                host,
                why: "no route".to_owned(),
            }),
            Some(_) => Ok(Box::new(Wire {
                world: self.clone(),
                host,
                lines: LineSplitter::new(),
                out: Vec::new(),
                watching: None,
                dead: false,
            })),
        }
    }
}

impl Wire {
    fn closed(&self) -> RemoteError {
        RemoteError::Closed {
            host: self.host.clone(),
            why: "died".to_owned(),
        }
    }

    fn answer(&mut self, call: Call) {
        let mut world = self.world.0.lock().unwrap();
        let agent = world.get_mut(&self.host).unwrap();
        if agent.manner == Manner::Wedged {
            return;
        }
        let Call { id, request } = call;
        let value = serde_json::to_value(&request).unwrap();
        agent
            .calls
            .push(value["method"].as_str().unwrap().to_owned());
        match (&request, agent.manner) {
            (Request::Stage { .. }, Manner::DiesAtStage)
            | (Request::Needs(_), Manner::DiesAtNeeds)
            | (Request::Commit { .. }, Manner::DiesAtCommit)
            | (Request::SystemPut { .. }, Manner::DiesAtSystem)
            | (Request::Move { .. }, Manner::DiesAtOrder) => {
                self.dead = true;
                return;
            }
            (Request::Watch { .. }, _) => {
                self.watching = Some((id, 0));
                return;
            }
            _ => {}
        }
        let reply = match agent.handle(request) {
            Ok(value) => Reply::Done { id, value },
            Err(error) => Reply::failed(id, error),
        };
        self.out.extend(to_line(&reply).unwrap());
    }

    fn next_view(&mut self) {
        if let Some((id, sent)) = self.watching {
            let world = self.world.0.lock().unwrap();
            let agent = &world[&self.host];
            if let Some(status) = agent.watch.get(sent) {
                self.out
                    .extend(to_line(&Reply::progress(id, status)).unwrap());
                self.watching = Some((id, sent + 1));
            }
        }
    }
}

fn json(value: impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap()
}

impl Agent {
    fn handle(&mut self, request: Request) -> Result<serde_json::Value, Fault> {
        let done = |changed| Ok(json(Done { changed }));
        match request {
            Request::Hello { .. } => Ok(json(Hello {
                version: 1,
                agent: "test".to_owned(),
                node: self.name.clone(),
                id: self.id,
                role: self.role.unwrap_or(SystemRole::Free),
                clusters: self
                    .documents
                    .values()
                    .map(|d| (d.name.clone(), d.revision))
                    .collect(),
                system_revision: self.system.as_ref().map_or(0, |s| s.revision),
                staged: self
                    .staged
                    .iter()
                    .map(|d| (d.name.clone(), d.revision))
                    .collect(),
                writable: true,
                viewer: false,
            })),
            Request::SystemGet => match &self.system {
                Some(system) => Ok(json(Text {
                    text: system.to_text(),
                })),
                None => Err(Fault::new(Code::Unknown, "there is none")),
            },
            Request::DocumentGet { cluster } => match self.documents.get(cluster.as_str()) {
                Some(document) => Ok(json(Text {
                    text: document.to_text(),
                })),
                None => Err(Fault::new(Code::Unknown, "there is none")),
            },
            // What a watch would send first.
            Request::Status => Ok(json(self.watch.first().cloned().unwrap_or(Status {
                clusters: Vec::new(),
            }))),
            Request::Facts => Ok(json(Facts {
                disk_free: 1 << 40,
                wall_ms: backstay::ops::gather::wall_ms(),
                interfaces: vec![backstay_wire::rpc::InterfaceFact {
                    name: "eth0".to_owned(),
                    carrier: true,
                    addresses: vec![backstay_wire::rpc::AddressFact {
                        address: self.address.clone(),
                        file: "/etc/network/interfaces".to_owned(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                units: vec![UnitFact {
                    name: "web.service".to_owned(),
                    active: "active".to_owned(),
                    enabled: true,
                }],
                ..Facts::default()
            })),
            Request::Lock { .. } if self.manner == Manner::Locked => Err(Fault::new(
                Code::Locked,
                "the change lock is held by anna@desk since 12:00:00 (create the cluster x)",
            )),
            Request::Lock { .. } => {
                self.locked = true;
                done(true)
            }
            Request::Unlock => {
                self.locked = false;
                done(true)
            }
            Request::Stage { .. } if self.manner == Manner::Refuses => {
                Err(Fault::refused_for(vec![Problem {
                    rule: RuleId::of("C3"),
                    place: "node sb1".to_owned(),
                    what: "it is in the cluster other".to_owned(),
                    mend: "take it out there first".to_owned(),
                }]))
            }
            Request::Stage { text } => {
                assert!(self.locked, "U8: staged without the change lock");
                let document = ClusterDocument::parse(&text).unwrap();
                let present = self.documents.get(document.name.as_str());
                if let Some(present) = present.filter(|p| p.revision >= document.revision) {
                    return Err(Fault::new(
                        Code::Refused,
                        format!("cluster {} has a newer revision here", present.name),
                    ));
                }
                self.staged = Some(document);
                done(true)
            }
            Request::Commit { .. } if self.manner == Manner::RefusesCommit => {
                Err(Fault::new(Code::Failed, "no space left on device"))
            }
            Request::Commit { hash, .. } => {
                let staged = self.staged.take().expect("committed without staging");
                assert_eq!(hash, hex::encode(staged.hash()));
                self.documents.insert(staged.name.to_string(), staged);
                done(true)
            }
            Request::Abandon { .. } => {
                self.staged = None;
                done(true)
            }
            Request::Dismiss => {
                (self.name, self.id) = (None, None);
                done(true)
            }
            Request::SystemPut { text } => {
                self.system = Some(SystemDocument::parse(&text).unwrap());
                done(true)
            }
            Request::History { follow: false, .. } => Ok(json(History {
                entries: self.history.clone(),
            })),
            Request::Audit { .. } => Ok(json(Audit {
                entries: self.audit.clone(),
            })),
            Request::Report => Ok(json(self.report.clone())),
            Request::Needs(_) if self.needs.is_some() => Ok(json(self.needs.clone())),
            other => Err(Fault::new(Code::Unsupported, format!("{other:?}"))),
        }
    }
}

impl Transport for Wire {
    fn send(&mut self, bytes: &[u8], _deadline: Instant) -> Result<(), RemoteError> {
        if self.dead {
            return Err(self.closed());
        }
        self.lines.push(bytes);
        while let Some(line) = self.lines.next_line().unwrap() {
            self.answer(parse_call(&line).unwrap());
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> Result<usize, RemoteError> {
        if self.dead {
            return Err(self.closed());
        }
        if self.out.is_empty() {
            self.next_view();
        }
        if self.out.is_empty() {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            return Err(RemoteError::Timeout {
                host: self.host.clone(),
                during: "an answer",
                after: Duration::from_secs(1),
            });
        }
        into.append(&mut self.out);
        Ok(into.len())
    }

    fn noisy(&self) -> bool {
        false
    }
}

/// `n1` free, `n2` free, `sb1` standby, in one system, at hosts of the same names.
pub(crate) fn world() -> World {
    let roles = [
        ("n1", SystemRole::Free),
        ("n2", SystemRole::Free),
        ("sb1", SystemRole::Standby),
    ];
    let nodes = roles.iter().zip(1..).map(|((name, role), id)| SystemNode {
        name: name.parse().unwrap(),
        id: NodeId(id),
        contact: (*name).to_owned(),
        host_keys: Vec::new(),
        role: *role,
    });
    let system = SystemDocument {
        viewers: Vec::new(),
        format: 1,
        revision: 5,
        changed: Changed {
            by: "me@here".to_owned(),
            at: 1,
            what: "test".to_owned(),
        },
        nodes: nodes.collect(),
        clusters: Vec::new(),
    };
    let world = World::default();
    for ((name, role), id) in roles.into_iter().zip(1..) {
        let agent = Agent {
            name: Some(name.parse().unwrap()),
            id: Some(NodeId(id)),
            role: Some(role),
            system: Some(system.clone()),
            address: format!("192.0.2.10{id}/24"),
            ..Agent::default()
        };
        world.0.lock().unwrap().insert(name.to_owned(), agent);
    }
    world
}

impl World {
    pub(crate) fn manner(&self, host: &str, manner: Manner) {
        self.0.lock().unwrap().get_mut(host).unwrap().manner = manner;
    }

    pub(crate) fn with<T>(&self, host: &str, look: impl FnOnce(&mut Agent) -> T) -> T {
        look(self.0.lock().unwrap().get_mut(host).unwrap())
    }

    /// Begins at `n1`. `limit` bounds every step.
    pub(crate) fn gatherer(&self, limit: Duration) -> Gatherer {
        Gatherer {
            handle: Handle {
                connector: Arc::new(self.clone()),
                deadlines: Deadlines::default().at_most(limit),
                user: "me@here".to_owned(),
            },
            entries: ["n1", "n2"].map(target).to_vec(),
            contacts: Contacts::default(),
            vouched: Vec::new(),
        }
    }
}

pub(crate) fn target(host: &str) -> Target {
    Target::Ssh {
        contact: host.parse().unwrap(),
        pins: Pins::default(),
    }
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
