//! An agent that lives in the test and speaks the protocol on a Unix socket, as a real one does on a node.
//! It is `n1` of the cluster `demo` (n1 to n8, sb1); the others can't be reached. It keeps the document, the
//! change lock and staged revisions, and shows what the document and its orders make of the services.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use backstay_core::engine::{
    AddressView, ClusterView, LockView, NodeState, NodeView, ServiceState, ServiceView,
};
use backstay_core::model::{
    Changed, ClusterDocument, ClusterId, Fallback, NodeId, NodeName, Profile, Safety, SplitStops,
    SystemDocument, SystemNode, SystemRole, UnitMode,
};
use backstay_core::plan::{Action, CreateCluster, NewService, Secret, Situation, plan};
use backstay_wire::rpc::{
    Call, Code, Done, Facts, Fault, Hello, History, LineSplitter, Reply, Request, Status, Text,
    parse_call, to_line,
};
use serde_json::{Value, to_value};

use super::fixture::name;

/// How often a watched state is sent.
const TICK: Duration = Duration::from_millis(50);

/// Regular nodes, each with a service.
const HOMES: u8 = 8;

/// What the agent knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) system: SystemDocument,
    pub(crate) document: ClusterDocument,
    pub(crate) staged: Option<ClusterDocument>,
    /// Where services were ordered to.
    pub(crate) moved: BTreeMap<String, NodeName>,
    /// Somebody else holds the change lock.
    pub(crate) locked_by: Option<String>,
    /// Nothing is answered yet.
    pub(crate) mute: bool,
    /// A commit is never answered.
    pub(crate) wedged: bool,
    /// Sessions since the beginning that watched.
    pub(crate) watchers: usize,
    /// When a state was first told.
    pub(crate) answered: Option<Instant>,
}

/// The agent; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Agent(Arc<Mutex<State>>);

fn documents() -> (SystemDocument, ClusterDocument) {
    let regular = (1..=HOMES).map(|n| (format!("n{n}"), SystemRole::Free));
    let others = [("n9", SystemRole::Free), ("sb1", SystemRole::Standby)];
    let others = others.map(|(n, role)| (n.to_owned(), role));
    let roles: Vec<(String, SystemRole)> = regular.chain(others).collect();
    let nodes = roles.iter().zip(1..).map(|((n, role), id)| SystemNode {
        name: name(n),
        id: NodeId(id),
        // Nobody listens there: the others are away.
        contact: format!("127.0.0.{id}:1"),
        host_keys: Vec::new(),
        role: *role,
    });
    let system = SystemDocument {
        viewers: Vec::new(),
        format: 1,
        revision: 4,
        changed: Changed {
            by: "anna@desk".to_owned(),
            at: 1,
            what: "test".to_owned(),
        },
        nodes: nodes.collect(),
        clusters: Vec::new(),
    };
    let service = |n: u8| NewService {
        name: format!("web{n}").parse().unwrap(),
        node: name(&format!("n{n}")),
        aliases: vec![format!("192.0.2.10{n}/24").parse().unwrap()],
        bases: vec![format!("192.0.2.1{n}/24").parse().unwrap()],
        priority: None,
        fallback: None,
        units: vec![("web.service".to_owned(), UnitMode::Service)],
        files: Vec::new(),
    };
    let action = Action::CreateCluster(CreateCluster {
        name: "demo".parse().unwrap(),
        id: ClusterId(7),
        key: Secret("ab".repeat(32)),
        standby: name("sb1"),
        witnesses: Vec::new(),
        services: (1..=HOMES).map(service).collect(),
        safety: Some(Safety::Available),
        profile: Profile::Lan,
        fallback: Fallback::Manual,
        split_stops: SplitStops::Home,
        reference: None,
        links: Vec::new(),
    });
    let bases = [("sb1", "192.0.2.21/24")].map(|(n, net)| (name(n), vec![net.parse().unwrap()]));
    let bases = BTreeMap::from(bases);
    let situation = Situation {
        system: &system,
        clusters: &[],
        views: &[],
        bases: &bases,
        boot: &BTreeMap::new(),
        by: "anna@desk",
        wall: 1_700_000_000,
    };
    let made = plan(&action, &situation).unwrap();
    (
        made.system.unwrap(),
        made.documents.into_iter().next().unwrap(),
    )
}

impl Agent {
    /// Serves on a socket until the test ends.
    pub(crate) fn serve(socket: &Path) -> Self {
        let (system, document) = documents();
        let agent = Self(Arc::new(Mutex::new(State {
            system,
            document,
            staged: None,
            moved: BTreeMap::new(),
            locked_by: None,
            mute: false,
            wedged: false,
            watchers: 0,
            answered: None,
        })));
        let listener = UnixListener::bind(socket).unwrap();
        let all = agent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let agent = all.clone();
                std::thread::spawn(move || agent.session(stream));
            }
        });
        agent
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn session(&self, mut stream: UnixStream) {
        stream.set_read_timeout(Some(TICK)).unwrap();
        let mut lines = LineSplitter::new();
        let mut watch: Option<(u64, Option<Status>, u32)> = None;
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => lines.push(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
            if self.state().mute {
                continue;
            }
            let mut out = Vec::new();
            while let Some(line) = lines.next_line().unwrap() {
                let Call { id, request } = parse_call(&line).unwrap();
                if let Request::Watch { .. } = request {
                    self.state().watchers += 1;
                    watch = Some((id, None, 0));
                } else if let Some(answer) = self.answer(request) {
                    let reply = match answer {
                        Ok(value) => Reply::Done { id, value },
                        Err(fault) => Reply::failed(id, fault),
                    };
                    out.extend(to_line(&reply).unwrap());
                }
            }
            if let Some((id, last, quiet)) = &mut watch {
                let now = Status {
                    clusters: vec![self.view()],
                };
                *quiet += 1;
                // At a change, and every 2 s, as a real one does.
                if last.as_ref() != Some(&now) || *quiet > 40 {
                    out.extend(to_line(&Reply::progress(*id, &now)).unwrap());
                    (*last, *quiet) = (Some(now), 0);
                }
            }
            if stream.write_all(&out).is_err() {
                return;
            }
        }
    }

    /// None: it never answers.
    fn answer(&self, request: Request) -> Option<Result<Value, Fault>> {
        let view = self.view();
        let mut state = self.state();
        if let Request::Status = request {
            state.answered.get_or_insert_with(Instant::now);
        }
        let done = |changed| Ok(to_value(Done { changed }).unwrap());
        Some(match request {
            Request::Hello { .. } => Ok(to_value(Hello {
                version: 1,
                agent: "test".to_owned(),
                node: Some(name("n1")),
                id: Some(NodeId(1)),
                role: SystemRole::Regular,
                clusters: BTreeMap::from([(state.document.name.clone(), state.document.revision)]),
                system_revision: state.system.revision,
                staged: state
                    .staged
                    .iter()
                    .map(|s| (s.name.clone(), s.revision))
                    .collect(),
                writable: true,
                viewer: false,
            })
            .unwrap()),
            Request::SystemGet => Ok(to_value(Text {
                text: state.system.to_text(),
            })
            .unwrap()),
            Request::DocumentGet { .. } => Ok(to_value(Text {
                text: state.document.to_text(),
            })
            .unwrap()),
            Request::Status => Ok(to_value(Status {
                clusters: vec![view],
            })
            .unwrap()),
            Request::Facts => Ok(to_value(Facts {
                hostname: "n1".to_owned(),
                disk_free: 1 << 40,
                wall_ms: backstay::ops::gather::wall_ms(),
                ..Facts::default()
            })
            .unwrap()),
            Request::History { .. } => Ok(to_value(History {
                entries: Vec::new(),
            })
            .unwrap()),
            Request::Lock { .. } => match &state.locked_by {
                Some(owner) => Err(Fault::new(
                    Code::Locked,
                    format!("the change lock is held by {owner}"),
                )),
                None => done(true),
            },
            Request::Unlock => done(true),
            Request::Stage { text } => {
                state.staged = Some(ClusterDocument::parse(&text).unwrap());
                done(true)
            }
            Request::Commit { .. } if state.wedged => return None,
            Request::Commit { hash, .. } => {
                let staged = state.staged.take().expect("committed without staging");
                assert_eq!(hash, hex::encode(staged.hash()));
                state.document = staged;
                done(true)
            }
            Request::Abandon { .. } => {
                state.staged = None;
                done(true)
            }
            Request::Move { service, to, .. } => {
                state.moved.insert(service.to_string(), to);
                done(true)
            }
            other => Err(Fault::new(Code::Unsupported, format!("{other:?}"))),
        })
    }

    fn view(&self) -> ClusterView {
        let state = self.state();
        let nodes = state.document.members.iter().map(|member| NodeView {
            name: member.name.clone(),
            role: member.role,
            state: NodeState::Up,
            age_ms: Some(0),
            revision: Some(state.document.revision),
            notes: Vec::new(),
            addresses: Vec::new(),
            maintenance: None,
        });
        let services = state.document.services.iter().map(|s| {
            let home = s.home().unwrap().clone();
            let at = state.moved.get(s.name.as_str()).unwrap_or(&home);
            ServiceView {
                name: s.name.clone(),
                running_on: vec![at.clone()],
                home,
                state: ServiceState::Running,
                priority: s.priority,
                fallback: s.fallback.unwrap_or(state.document.fallback),
                lock: s.lock.as_ref().map(|l| LockView {
                    node: l.node.clone(),
                    by: l.by.clone(),
                    at: l.at,
                    reason: l.reason.clone(),
                    until: l.until,
                }),
                addresses: s
                    .aliases
                    .iter()
                    .map(|a| AddressView {
                        address: a.address.to_string(),
                    })
                    .collect(),
                age_ms: Some(0),
                term: 3,
                reason: String::new(),
                on: BTreeMap::new(),
            }
        });
        ClusterView {
            name: state.document.name.clone(),
            revision: state.document.revision,
            safety: state.document.safety,
            preloaded: false,
            seen_by: name("n1"),
            nodes: nodes.collect(),
            services: services.collect(),
            alarms: Vec::new(),
            advice: "nothing to do".to_owned(),
        }
    }
}
