//! Finding out how things are before anything is planned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backstay_core::engine::{ClusterView, NodeState, NodeView, merge};
use backstay_core::model::{
    Changed, ClusterDocument, NodeName, SystemCluster, SystemDocument, SystemNode,
};
use backstay_core::plan::BootAddress;
use backstay_wire::rpc::{Code, Facts, Hello, Needs, Request, Status, Text, clean};
use ipnet::IpNet;

use super::Crew;
use crate::failure::{Exit, Failure};
use crate::remote::contacts::Contacts;
use crate::remote::{Client, Contact, Handle, HostKey, Pins, RemoteError, Target, fanout};

/// How much later than the one before the next contact is tried when nobody has answered.
const STAGGER: Duration = Duration::from_millis(500);

/// Reaches the nodes of a system.
#[derive(Clone)]
pub struct Gatherer {
    /// Opens sessions.
    pub handle: Handle,
    /// Where to begin, in order; the first that answers serves.
    pub entries: Vec<Target>,
    /// What this machine remembers.
    pub contacts: Contacts,
    /// Fingerprints that the admin vouched for on the command line.
    pub vouched: Vec<String>,
}

/// The facts of one machine, and when they were asked for by the clock here.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What it said.
    pub facts: Facts,
    /// The clock here in the middle of asking, ms since 1970 UTC.
    pub asked_wall_ms: u64,
    /// How long asking took, ms: the clock's uncertainty.
    pub took_ms: u64,
}

/// How things are.
#[derive(Debug, Default)]
pub struct Picture {
    /// The newest system document; none: there is no system yet.
    pub system: Option<SystemDocument>,
    /// The newest document of every cluster that answered.
    pub clusters: Vec<ClusterDocument>,
    /// What every node that answered sees.
    pub views: Vec<ClusterView>,
    /// The machines.
    pub facts: BTreeMap<NodeName, Fact>,
    /// What every node that answered said of itself.
    pub hellos: BTreeMap<NodeName, Hello>,
    /// What they have of what services need, as far as a plan asked.
    pub needs: BTreeMap<NodeName, Needs>,
    /// The open sessions.
    pub crew: Crew,
    /// Who did not answer, and why.
    pub silent: BTreeMap<NodeName, RemoteError>,
}

/// What one node answers in one go.
struct Said {
    client: Client,
    system: Option<SystemDocument>,
    documents: Vec<ClusterDocument>,
    views: Vec<ClusterView>,
    fact: Fact,
}

impl Picture {
    /// The system document, or an empty one of revision 0.
    pub fn system(&self) -> SystemDocument {
        self.system.clone().unwrap_or_else(|| SystemDocument {
            viewers: Vec::new(),
            format: 1,
            revision: 0,
            changed: Changed {
                by: String::new(),
                at: 0,
                what: "nothing yet".to_owned(),
            },
            nodes: Vec::new(),
            clusters: Vec::new(),
        })
    }

    /// The addresses of the machines with their prefixes, as the plan wants them. Aliases of clusters and
    /// link-local addresses are left out; loopback addresses the plan takes only where the services have such too.
    pub fn bases(&self) -> BTreeMap<NodeName, Vec<IpNet>> {
        let aliases: BTreeSet<_> = self
            .clusters
            .iter()
            .filter(|c| !c.deleted)
            .flat_map(|c| &c.services)
            .flat_map(|s| &s.aliases)
            .map(backstay_core::model::Alias::ip)
            .collect();
        let usable = |net: &IpNet| {
            let local = match net {
                IpNet::V4(n) => n.addr().is_link_local(),
                IpNet::V6(n) => n.addr().is_unicast_link_local(),
            };
            !local && !aliases.contains(&net.addr())
        };
        let of = |fact: &Fact| {
            let all = fact.facts.interfaces.iter().flat_map(|i| &i.addresses);
            all.filter_map(|a| a.address.parse().ok())
                .filter(usable)
                .collect()
        };
        self.facts
            .iter()
            .map(|(name, fact)| (name.clone(), of(fact)))
            .collect()
    }

    /// How the addresses of the machines come up at boot (C15), as the plan wants it.
    pub fn boot(&self) -> BTreeMap<NodeName, Vec<BootAddress>> {
        let of = |fact: &Fact| {
            let all = fact.facts.interfaces.iter().flat_map(|i| &i.addresses);
            all.filter_map(|a| {
                let net: IpNet = a.address.parse().ok()?;
                Some(BootAddress {
                    address: net.addr(),
                    file: clean(&a.file),
                    fixed: clean(&a.fixed),
                })
            })
            .collect()
        };
        let real = self.facts.iter().filter(|(_, fact)| !fact.facts.simulated);
        real.map(|(name, fact)| (name.clone(), of(fact))).collect()
    }

    /// One view of each cluster: of the newest revision, then of whoever hears most.
    pub fn best_views(&self) -> Vec<ClusterView> {
        best_views(&self.views)
    }
}

/// One view of each cluster: of the newest revision, then of whoever hears most nodes, then of whoever knows of most
/// that they are gone: an agent that has just started does not.
pub fn best_views(views: &[ClusterView]) -> Vec<ClusterView> {
    let worth = |v: &ClusterView| {
        (
            v.revision,
            v.nodes.iter().filter(|n| !is_doubtful(n)).count(),
            v.nodes
                .iter()
                .filter(|n| n.state == NodeState::Down)
                .count(),
        )
    };
    let mut best: BTreeMap<_, &ClusterView> = BTreeMap::new();
    for view in views {
        let slot = best.entry(view.name.clone()).or_insert(view);
        if worth(view) > worth(slot) {
            *slot = view;
        }
    }
    best.into_values().cloned().collect()
}

/// One picture of each cluster: the best view, with every other node's own word about itself.
fn merged(views: &[ClusterView]) -> Vec<ClusterView> {
    let whole = best_views(views).into_iter().map(|best| {
        let own = views
            .iter()
            .filter(|v| v.name == best.name && v.seen_by != best.seen_by);
        let mut all: Vec<ClusterView> = own.cloned().collect();
        all.push(best.clone());
        merge(&all).unwrap_or(best)
    });
    whole.collect()
}

/// Not heard by whoever was asked.
pub fn is_doubtful(node: &NodeView) -> bool {
    matches!(node.state, NodeState::Down | NodeState::Unknown)
}

/// The wall clock here, ms since 1970 UTC.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// "There is none here" is an answer too.
fn optional<T>(answer: Result<T, RemoteError>) -> Result<Option<T>, RemoteError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is(Code::Unknown) => Ok(None),
        Err(e) => Err(e),
    }
}

fn bad_document(client: &Client, why: &str) -> RemoteError {
    RemoteError::Protocol {
        host: client.label().to_owned(),
        why: backstay_wire::rpc::clean(why),
    }
}

/// The system document of one node.
///
/// # Errors
/// The session broke, or what came is no system document.
pub fn system_of(client: &mut Client) -> Result<Option<SystemDocument>, RemoteError> {
    match optional(client.call::<Text>(Request::SystemGet))? {
        Some(text) if !text.text.is_empty() => SystemDocument::parse(&text.text)
            .map(Some)
            .map_err(|e| bad_document(client, &e)),
        _ => Ok(None),
    }
}

/// What a machine is.
///
/// # Errors
/// The session broke.
pub fn fact_of(client: &mut Client) -> Result<Fact, RemoteError> {
    let (before, wall) = (Instant::now(), wall_ms());
    let facts = client.call::<Facts>(Request::Facts)?;
    let took_ms = u64::try_from(before.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Fact {
        facts,
        asked_wall_ms: wall + took_ms / 2,
        took_ms,
    })
}

fn ask_everything(mut client: Client) -> Result<Said, RemoteError> {
    let system = system_of(&mut client)?;
    let mut documents = Vec::new();
    let names: Vec<_> = client.hello().clusters.keys().cloned().collect();
    for cluster in names {
        if let Some(text) = optional(client.call::<Text>(Request::DocumentGet { cluster }))? {
            let document = ClusterDocument::read(&text.text)
                .map_err(|e| bad_document(&client, &e.to_string()))?;
            documents.push(document);
        }
    }
    let views = client.call::<Status>(Request::Status)?.clusters;
    let fact = fact_of(&mut client)?;
    Ok(Said {
        client,
        system,
        documents,
        views,
        fact,
    })
}

impl Gatherer {
    /// Which keys are right for a host, by the system document, by memory and by the admin's word.
    fn pins(&self, contact: &Contact, node: Option<&SystemNode>) -> Pins {
        let written = node.map_or_else(Pins::default, |n| {
            Pins::keys(n.host_keys.iter().filter_map(|k| k.parse::<HostKey>().ok()))
        });
        let known = if written.is_empty() {
            self.contacts.pins_for(contact)
        } else {
            written
        };
        known.or_fingerprints(&self.vouched)
    }

    /// How a node of the system is reached.
    ///
    /// # Errors
    /// Its contact in the system document is none.
    pub fn target_of(&self, node: &SystemNode) -> Result<Target, RemoteError> {
        let contact: Contact =
            node.contact
                .parse()
                .map_err(
                    |e: crate::remote::contact::BadContact| RemoteError::Unreachable {
                        host: node.name.to_string(),
                        why: e.to_string(),
                    },
                )?;
        let pins = self.pins(&contact, Some(node));
        Ok(Target::Ssh { contact, pins })
    }

    /// The first entry that answers. A slow one delays the others by [`STAGGER`] only.
    ///
    /// # Errors
    /// None answered; the error is the first entry's, with the others in its hint.
    pub fn enter(&self) -> Result<Client, Failure> {
        if self.entries.is_empty() {
            return Err(
                Failure::new(Exit::Unreachable, "no node is known to this machine").hint(
                    "name one with --contact HOST, or begin with `backstay node add HOST --name N`",
                ),
            );
        }
        let (said, heard) = mpsc::channel();
        let mut waiting = self.entries.iter().cloned().enumerate();
        let mut running = 0_usize;
        let mut errors: BTreeMap<usize, RemoteError> = BTreeMap::new();
        let give_up = Instant::now()
            + self.handle.deadlines.whole()
            + STAGGER * u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        loop {
            let next = waiting.next();
            let more = next.is_some();
            if let Some((index, target)) = next {
                let (handle, said) = (self.handle.clone(), said.clone());
                std::thread::spawn(move || {
                    // Nobody listens any more once another has answered.
                    let _ = said.send((index, handle.open(&target)));
                });
                running += 1;
            }
            let patience = if more {
                STAGGER
            } else {
                give_up.saturating_duration_since(Instant::now())
            };
            if running == 0 && !more {
                break;
            }
            match heard.recv_timeout(patience) {
                Ok((_, Ok(client))) => return Ok(client),
                Ok((index, Err(error))) => {
                    errors.insert(index, error);
                    running -= 1;
                }
                Err(RecvTimeoutError::Timeout) if more => {}
                Err(_) => break,
            }
        }
        let mut errors = errors.into_values();
        let first = errors.next().map_or_else(
            || {
                Failure::new(
                    Exit::Unreachable,
                    "none of the known nodes answered in time",
                )
            },
            Failure::from,
        );
        let others: Vec<String> = errors.map(|e| e.to_string()).collect();
        Err(if others.is_empty() {
            first
        } else {
            let hint = first.hint.clone().unwrap_or_default();
            first.hint(format!("{hint}\nalso tried: {}", others.join("; ")))
        })
    }

    /// Asks every node of the system everything that a plan needs. `report` hears of each node that does
    /// not answer.
    ///
    /// # Errors
    /// No entry answers. Nodes that don't answer are no error; they are in [`Picture::silent`].
    pub fn gather(&self, report: &mut dyn FnMut(&str)) -> Result<Picture, Failure> {
        let entry = self.enter()?;
        let limit = self.handle.deadlines.whole();
        let mut picture = Picture {
            crew: Crew::new(limit),
            ..Picture::default()
        };
        let label = entry.label().to_owned();
        let said = ask_everything(entry)?;
        let Some(name) = said.client.hello().node.clone() else {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("the agent on {label} belongs to no system yet"),
            )
            .hint(format!("`backstay node add {label} --name N` adds it")));
        };
        picture.take(name, said);
        // A newer document may name nodes that the one before did not.
        loop {
            let missing: Vec<SystemNode> = picture
                .system()
                .nodes
                .into_iter()
                .filter(|n| !picture.crew.has(&n.name) && !picture.silent.contains_key(&n.name))
                .collect();
            if missing.is_empty() {
                return Ok(picture);
            }
            self.ask(missing, &mut picture, report);
        }
    }

    fn ask(&self, nodes: Vec<SystemNode>, picture: &mut Picture, report: &mut dyn FnMut(&str)) {
        let me = self.clone();
        let asked = nodes.clone();
        fanout(
            nodes,
            self.handle.deadlines.whole(),
            move |node: SystemNode| {
                let client = me.handle.open(&me.target_of(&node)?)?;
                // Somebody else behind a known address must not be taken for the node.
                if client.hello().id != Some(node.id) {
                    return Err(RemoteError::Protocol {
                        host: node.name.to_string(),
                        why: match &client.hello().node {
                            Some(other) => format!("it says that it is node {other}"),
                            None => "its agent belongs to no system".to_owned(),
                        },
                    });
                }
                ask_everything(client)
            },
            |index, result| {
                let name = asked[index].name.clone();
                match result {
                    Some(Ok(said)) => picture.take(name, said),
                    Some(Err(error)) => {
                        report(&format!("{name}: {error}"));
                        picture.silent.insert(name, error);
                    }
                    None => {
                        let error = RemoteError::Timeout {
                            host: name.to_string(),
                            during: "all steps together",
                            after: self.handle.deadlines.whole(),
                        };
                        report(&format!("{name}: {error}"));
                        picture.silent.insert(name, error);
                    }
                }
            },
        );
    }

    /// Status with as few sessions as possible: one node knows its clusters; for each cluster that it does
    /// not know, one member is asked. Clusters of which nobody answers are in the second list, with why.
    ///
    /// # Errors
    /// No entry answers.
    pub fn status(&self) -> Result<Seen, Failure> {
        let mut entry = self.enter()?;
        let mut views = entry.call::<Status>(Request::Status)?.clusters;
        let system = system_of(&mut entry)?;
        let mut unseen = Vec::new();
        let mut sessions = vec![entry];
        let others: Vec<SystemCluster> = system
            .iter()
            .flat_map(|s| s.clusters.iter().cloned())
            .filter(|cluster| views.iter().all(|v| v.name != cluster.name))
            .collect();
        let asked = others.clone();
        let entries: Vec<Self> = others
            .iter()
            .map(|c| self.within(c, system.as_ref()))
            .collect();
        let ask = |there: Self| -> Result<_, Failure> {
            let mut client = there.enter()?;
            let status = client.call::<Status>(Request::Status)?;
            Ok((status, client))
        };
        fanout(
            entries,
            self.handle.deadlines.whole(),
            ask,
            |index, said| {
                let silent = || Failure::new(Exit::Timeout, "none of its nodes answered in time");
                match said.unwrap_or_else(|| Err(silent())) {
                    Ok((status, client)) => {
                        views.extend(status.clusters);
                        sessions.push(client);
                    }
                    Err(why) => unseen.push((asked[index].clone(), why)),
                }
            },
        );
        if let Some(system) = &system {
            let words = self.own_words(&views, system);
            views.extend(words);
        }
        Ok(Seen {
            views: merged(&views),
            unseen,
            system,
            sessions,
        })
    }
}

impl Gatherer {
    /// The same, by the members of one cluster.
    fn within(&self, cluster: &SystemCluster, system: Option<&SystemDocument>) -> Self {
        let nodes = system.iter().flat_map(|s| &s.nodes);
        let entries = nodes
            .filter(|n| cluster.members.contains(&n.name))
            .filter_map(|n| self.target_of(n).ok())
            .collect();
        Self {
            entries,
            ..self.clone()
        }
    }
}

/// How long a node that others do not hear may take to answer: usually it is off.
const DOUBTFUL: Duration = Duration::from_millis(1_500);

impl Gatherer {
    /// S1: a node that is not heard by whoever was asked may be cut off and run its services. It is asked itself.
    pub fn own_words(&self, views: &[ClusterView], system: &SystemDocument) -> Vec<ClusterView> {
        let best = best_views(views);
        let doubtful: BTreeSet<&NodeName> = best
            .iter()
            .flat_map(|v| v.nodes.iter().filter(|n| is_doubtful(n)))
            .map(|n| &n.name)
            .collect();
        let nodes = system.nodes.iter();
        let nodes = nodes.filter(|n| doubtful.contains(&n.name)).cloned();
        let me = self.clone();
        let ask = move |node: SystemNode| {
            let mut client = me.handle.open(&me.target_of(&node).ok()?).ok()?;
            client.call::<Status>(Request::Status).ok()
        };
        let mut words = Vec::new();
        fanout(nodes.collect(), DOUBTFUL, ask, |_, said| {
            words.extend(said.flatten().into_iter().flat_map(|s| s.clusters));
        });
        words
    }
}

/// What [`Gatherer::status`] found.
#[derive(Debug)]
pub struct Seen {
    /// One view of each cluster.
    pub views: Vec<ClusterView>,
    /// U7: clusters of which nobody answered: unknown, never their last state.
    pub unseen: Vec<(SystemCluster, Failure)>,
    /// The system as the entry knows it.
    pub system: Option<SystemDocument>,
    /// The sessions that were used, to go on with.
    pub sessions: Vec<Client>,
}

impl Picture {
    fn take(&mut self, name: NodeName, said: Said) {
        if let Some(system) = said.system
            && self
                .system
                .as_ref()
                .is_none_or(|s| system.revision > s.revision)
        {
            self.system = Some(system);
        }
        for document in said.documents {
            match self.clusters.iter_mut().find(|c| c.id == document.id) {
                Some(known) if document.revision > known.revision => *known = document,
                Some(_) => {}
                None => self.clusters.push(document),
            }
        }
        self.views.extend(said.views);
        self.facts.insert(name.clone(), said.fact);
        self.hellos
            .insert(name.clone(), said.client.hello().clone());
        self.crew.add(name, said.client);
    }
}
