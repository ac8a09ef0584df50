//! One cluster as the decision loop has it: the engine and what is derived from its document.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use backstay_core::engine::{Engine, MAX_LINKS};
use backstay_core::model::{ClusterDocument, ClusterId, NodeId, NodeName, Service, ServiceId};
use backstay_core::time::Mono;
use backstay_wire::sealed::{Subject, short_hash};
use backstay_wire::{KeyError, Keys};
use ipnet::IpNet;

use super::jobs::Errand;
use crate::documents::fetch::Fetch;

/// Former nodes are told of newer documents as long as they were heard in this time.
pub(super) const FORMER_HEARD: Duration = Duration::from_secs(10);
/// Pieces of documents that are answered in [`PIECES_EVERY`]: what one fetch at full speed needs.
const PIECES: u32 = 512;
const PIECES_EVERY: Duration = Duration::from_millis(200);
/// How long after it went to the keeper a text is tried again that the disk did not take.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A document with what the loop needs of it at hand.
#[derive(Debug)]
pub(super) struct Paper {
    pub(super) document: ClusterDocument,
    pub(super) keys: Keys,
    /// As it is handed to others.
    pub(super) text: Arc<str>,
    pub(super) hash: u64,
    /// This node's bases, one for each link.
    pub(super) mine: Vec<SocketAddr>,
    /// The other nodes, former ones too.
    pub(super) others: Vec<Other>,
    /// C16: this node's bases, where another machine had them before.
    pub(super) taken_over: Vec<IpNet>,
    /// What the gate guards, for each service.
    aliases: Vec<Aliases>,
    /// The services that only the revision before this one had: what ran of them here is stopped.
    ended: Vec<Service>,
}

/// The addresses of a service that move by the gate.
#[derive(Debug)]
struct Aliases {
    service: ServiceId,
    /// With prefix.
    nets: Vec<IpNet>,
    ips: Vec<IpAddr>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) id: NodeId,
    /// One address for each link.
    pub(super) at: Vec<SocketAddr>,
    /// It was taken out of the cluster.
    pub(super) former: bool,
}

impl Paper {
    /// # Errors
    /// Keys that can't be used; rules have refused them before.
    pub(super) fn new(document: ClusterDocument, me: NodeId) -> Result<Self, KeyError> {
        let keys = Keys::new(&document.keys)?;
        let text: Arc<str> = document.to_text().into();
        let port = document.port;
        let at = |bases: &[IpNet]| -> Vec<SocketAddr> {
            let address = |base: &IpNet| SocketAddr::new(base.addr(), port);
            bases.iter().take(MAX_LINKS).map(address).collect()
        };
        let former = document.former.iter().find(|f| f.id == me);
        let mine = document
            .member_by_id(me)
            .map(|m| at(&m.bases))
            .or_else(|| former.map(|f| at(&f.bases)));
        let members = document.members.iter().map(|m| (m.id, at(&m.bases), false));
        let former = document.former.iter().map(|f| (f.id, at(&f.bases), true));
        let others = members
            .chain(former)
            .filter(|(id, ..)| *id != me)
            .map(|(id, at, former)| Other { id, at, former })
            .collect();
        let aliases = document.services.iter().map(Aliases::of).collect();
        let mut replacements = document.former.iter().filter_map(|f| f.replaced.as_ref());
        let taken_over = document
            .member_by_id(me)
            .filter(|_| replacements.any(|by| by.id == me))
            .map(|m| m.bases.clone());
        Ok(Self {
            keys,
            aliases,
            hash: short_hash(&text),
            text,
            mine: mine.unwrap_or_default(),
            taken_over: taken_over.unwrap_or_default(),
            others,
            ended: Vec::new(),
            document,
        })
    }

    /// This one in the place of an earlier revision.
    pub(super) fn after(mut self, former: &Self) -> Self {
        let before = former.document.services.iter();
        let ended = before.filter(|s| self.document.service(s.id).is_none());
        self.ended = ended.cloned().collect();
        self
    }

    pub(super) fn other(&self, id: NodeId) -> Option<&Other> {
        self.others.iter().find(|o| o.id == id)
    }

    /// The addresses that the gate guards for a service, with prefix.
    pub(super) fn aliases(&self, service: ServiceId) -> &[IpNet] {
        self.aliases_of(service).map_or(&[], |a| &a.nets)
    }

    /// The same without prefix.
    pub(super) fn alias_ips(&self, service: ServiceId) -> &[IpAddr] {
        self.aliases_of(service).map_or(&[], |a| &a.ips)
    }

    fn aliases_of(&self, service: ServiceId) -> Option<&Aliases> {
        self.aliases.iter().find(|a| a.service == service)
    }

    /// From which of this node's addresses to which of the other's, for each link that both have (A6). Where the
    /// other has fewer links, what it has is reached over the first.
    pub(super) fn ways<'a>(
        &'a self,
        other: &'a Other,
    ) -> impl Iterator<Item = (u8, SocketAddr, SocketAddr)> + 'a {
        let pairs = self.mine.iter().zip(&other.at).enumerate();
        pairs
            .filter(|(_, (mine, theirs))| mine.is_ipv4() == theirs.is_ipv4())
            .map(|(link, (mine, theirs))| (link as u8, *mine, *theirs))
    }

    /// Which link a socket is.
    pub(super) fn link(&self, local: SocketAddr) -> Option<u8> {
        let at = self.mine.iter().position(|mine| *mine == local)?;
        Some(at as u8)
    }
}

/// One cluster.
pub(super) struct Cluster {
    pub(super) engine: Engine,
    /// When the engine wants to be called next.
    pub(super) deadline: Mono,
    pub(super) paper: Paper,
    pub(super) me: NodeName,
    /// What each node said of its documents last: the cluster's revision and hash, the system's revision.
    pub(super) told: BTreeMap<NodeId, (u64, u64, u64)>,
    /// When each other node was last heard, former ones too.
    pub(super) heard: BTreeMap<NodeId, Mono>,
    pub(super) fetches: Fetches,
    pub(super) handed_over: bool,
    pub(super) carrier: Option<bool>,
}

impl Cluster {
    pub(super) fn id(&self) -> ClusterId {
        self.paper.document.id
    }

    pub(super) fn service(&self, id: ServiceId) -> Option<&Service> {
        let paper = &self.paper;
        let ended = || paper.ended.iter().find(|s| s.id == id);
        paper.document.service(id).or_else(ended)
    }

    /// What others need to know to work on a service.
    pub(super) fn errand(&self, service: ServiceId) -> Option<Errand> {
        let service = self.service(service)?;
        Some(Errand {
            cluster: self.id(),
            at_home: service.home() == Some(&self.me),
            node: self.me.clone(),
            service: Arc::new(service.clone()),
        })
    }

    /// C16: the machine that had this node's base address before is back and may have just drawn what the others send
    /// to it, until it has learned that it was replaced. Then somebody who was heard falls silent.
    pub(super) fn must_defend(&self, now: Mono) -> bool {
        let beat = self.paper.document.beat();
        let fell_silent = |id: &NodeId| {
            let age = self.heard.get(id).map(|at| now.since(*at));
            age.is_some_and(|age| age > beat * 2 && age < FORMER_HEARD)
        };
        !self.paper.taken_over.is_empty()
            && self
                .paper
                .others
                .iter()
                .any(|o| !o.former && fell_silent(&o.id))
    }

    /// The services that this node may run.
    pub(super) fn services_here(&self) -> impl Iterator<Item = &Service> {
        let all = self.paper.document.services.iter();
        all.filter(|s| s.nodes.contains(&self.me))
    }

    /// Who has that revision of that document, by its own word.
    pub(super) fn has(&self, subject: Subject, revision: u64) -> impl Iterator<Item = NodeId> + '_ {
        self.told
            .iter()
            .filter(move |(_, (cluster, _, system))| match subject {
                Subject::Cluster => *cluster == revision,
                Subject::System => *system == revision,
            })
            .map(|(id, _)| *id)
    }
}

impl Aliases {
    fn of(service: &Service) -> Self {
        let nets: Vec<IpNet> = service.moving().collect();
        Self {
            service: service.id,
            ips: nets.iter().map(IpNet::addr).collect(),
            nets,
        }
    }
}

/// What is being fetched, and how much is answered.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    pub(super) cluster: Option<Fetch>,
    pub(super) system: Option<Fetch>,
    /// What was fetched whole, and until when it is let alone; none: it was refused.
    done: Vec<(Subject, u64, Option<Mono>)>,
    answered: u32,
    since: Mono,
}

impl Fetches {
    pub(super) fn slot(&mut self, subject: Subject) -> &mut Option<Fetch> {
        match subject {
            Subject::Cluster => &mut self.cluster,
            Subject::System => &mut self.system,
        }
    }

    /// Whether that revision is worth fetching now.
    pub(super) fn may_fetch(&self, subject: Subject, revision: u64, now: Mono) -> bool {
        let of_it = |(s, r, _): &&(Subject, u64, _)| (*s, *r) == (subject, revision);
        let mut done = self.done.iter().filter(of_it);
        done.all(|(.., until)| until.is_some_and(|at| now >= at))
    }

    /// The whole text went to the keeper. Unless that takes or refuses it, its disk failed.
    pub(super) fn handed_in(&mut self, subject: Subject, revision: u64, now: Mono) {
        self.done.retain(|(s, _, at)| *s != subject || at.is_none());
        let again = now.after(TRY_AGAIN);
        self.done.push((subject, revision, Some(again)));
    }

    /// The keeper refused it: it is not fetched again.
    pub(super) fn refused(&mut self, subject: Subject, revision: u64) {
        self.done
            .retain(|(s, r, _)| (*s, *r) != (subject, revision));
        self.done.push((subject, revision, None));
    }

    /// By another document what was refused may be sound.
    pub(super) fn begin_anew(&mut self) {
        self.done.clear();
    }

    /// When the next question is due.
    pub(super) fn due(&self) -> Option<Mono> {
        let all = self.cluster.iter().chain(&self.system);
        all.map(Fetch::due).min()
    }

    /// Bounds what a played-again question can make this node send.
    pub(super) fn may_answer(&mut self, now: Mono) -> bool {
        if now.since(self.since) >= PIECES_EVERY {
            self.since = now;
            self.answered = 0;
        }
        self.answered += 1;
        self.answered <= PIECES
    }
}
