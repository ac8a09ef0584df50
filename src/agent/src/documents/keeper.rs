//! The one place where documents are taken, refused, kept and given up.

mod catch_up;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use backstay_core::model::{
    ClusterDocument, ClusterId, ClusterName, DocumentError, NodeId, NodeName, SystemDocument,
};
use backstay_wire::rpc::{Code, Done, Facts, Fault, Hello, NEWEST};
use backstay_wire::sealed::Subject;

use super::checks::{self, Machine, Place};
use super::lost::{LostFile, guarded_here};
use super::network::NetworkWork;
use crate::decide::{Errand, Input, Outbox, SystemText};
use crate::fault::{bad_document, disk, fault, refused};
use crate::host::clock;
use crate::store::{Folders, Identity, NodeFile, RunFolder, Shelf};

const CHANGED: Done = Done { changed: true };
const UNCHANGED: Done = Done { changed: false };

/// Keeps this node's documents. Its methods wait for the disk: never call them from the decision loop.
pub struct Keeper {
    folders: Folders,
    node: NodeFile,
    pub(super) me: Option<Identity>,
    pub(super) shelf: Shelf,
    pub(super) machine: Box<dyn Machine>,
    decide: Outbox,
    writable: bool,
    pub(super) network: NetworkWork,
    pub(super) lost: LostFile,
    /// U11: why the viewers' keys are not as the system document has them.
    shut_out: Option<String>,
    /// What others have decided and the disk did not take; each is said once.
    unkept: Vec<(ClusterId, Subject, u64)>,
}

impl Keeper {
    /// Reads what is kept, counts this start (PROTOCOL 21) and tells the decision loop.
    ///
    /// # Errors
    /// The state folder can't be read, or the start can't be counted: an agent that can't tell its own boots
    /// apart must not speak.
    pub fn open(
        folders: &Folders,
        run: &RunFolder,
        machine: Box<dyn Machine>,
        decide: Outbox,
    ) -> anyhow::Result<Self> {
        let shelf = Shelf::open(&folders.state)?;
        let node = NodeFile::in_folder(&folders.state);
        let me = node.count_start(run)?;
        let mut keeper = Self {
            folders: folders.clone(),
            node,
            me,
            shelf,
            machine,
            decide,
            writable: true,
            network: NetworkWork::default(),
            lost: LostFile::read(&folders.state)?,
            shut_out: None,
            unkept: Vec::new(),
        };
        keeper.tell_all();
        keeper.prepare_boot();
        keeper.settle_network();
        keeper.put_on_missing();
        keeper.let_viewers_in();
        Ok(keeper)
    }

    /// Everything that is kept, for a decision loop that knows nothing yet.
    fn tell_all(&mut self) {
        self.tell_identity();
        self.tell_system();
        let all: Vec<_> = self.shelf.present().cloned().collect();
        for document in all {
            self.tell_adopted(document, false);
        }
        // C15: an agent that was killed while it left its last cluster may have left what it gave back closed.
        if !self.shelf.has_unreadable() && self.shelf.present().next().is_none() {
            self.decide.tell(Input::InNone);
        }
        self.tell_staged();
    }

    pub(super) fn tell_identity(&self) {
        let in_none = self.shelf.present().next().is_none();
        let (me, lost) = (self.me.clone(), self.lost_for_good(in_none));
        self.decide.tell(Input::Enrolled { me, lost });
    }

    /// With what runs here now: an engine speaks only when it knows.
    fn tell_adopted(&mut self, document: ClusterDocument, fresh: bool) {
        let Some(me) = &self.me else { return };
        let here = document.services.iter();
        let here = here.filter(|service| service.nodes.contains(&me.name));
        let errands = here.map(|service| Errand {
            cluster: document.id,
            service: Arc::new(service.clone()),
            node: me.name.clone(),
            at_home: service.home() == Some(&me.name),
        });
        let units = errands
            .map(|errand| (errand.service.id, self.machine.look(&errand)))
            .collect();
        self.decide.tell(Input::Adopted {
            document: Box::new(document),
            fresh,
            units,
        });
    }

    /// Who this node is.
    pub fn identity(&self) -> Option<&Identity> {
        self.me.as_ref()
    }

    /// The machine.
    pub fn facts(&mut self) -> Facts {
        self.machine.facts()
    }

    /// The answer to a client's first call.
    pub fn hello(&self) -> Hello {
        let revision = |d: &ClusterDocument| (d.name.clone(), d.revision);
        Hello {
            version: NEWEST,
            agent: backstay_core::VERSION.to_owned(),
            node: self.in_system().map(|me| me.name.clone()),
            id: self.in_system().map(|me| me.id),
            role: checks::role(self.me.as_ref(), &self.shelf),
            clusters: self.shelf.present().map(revision).collect(),
            system_revision: self.shelf.system().map_or(0, |s| s.revision),
            staged: self
                .shelf
                .staged()
                .map(revision)
                .collect::<BTreeMap<_, _>>(),
            writable: self.writable,
            viewer: false,
        }
    }

    /// Who this node is, unless another machine took its place (C16): then it is free to become a new one.
    fn in_system(&self) -> Option<&Identity> {
        let busy = self.shelf.present().chain(self.shelf.staged()).count() > 0;
        let replaced =
            |me: &&Identity| self.shelf.last_texts().any(|d| d.replaced(me.id).is_some());
        self.me.as_ref().filter(|me| busy || !replaced(me))
    }

    /// Finds out by writing whether the state folder can be written; a change is said.
    pub fn try_disk(&mut self) -> bool {
        let result = Shelf::try_write(&self.folders.state);
        let writable = result.is_ok();
        let folder = self.folders.state.display();
        match result {
            Ok(()) if !self.writable => tracing::info!("{folder} can be written again"),
            Err(error) if self.writable => tracing::error!(
                "{folder} can't be written: {error}; services go on, changes are refused until it can"
            ),
            _ => {}
        }
        self.writable = writable;
        writable
    }

    /// Makes this machine a node of a system.
    pub fn enrol(&mut self, name: NodeName, id: NodeId) -> Result<Done, Fault> {
        if let Some(me) = self.in_system() {
            if me.name == name && me.id == id {
                return Ok(UNCHANGED);
            }
            return Err(refused(
                "C13",
                format!(
                    "this machine is node {} ({}) already: remove that node from its system first",
                    me.name, me.id
                ),
            ));
        }
        // Beyond what any start of this machine's agent was numbered until now.
        let boot = clock::wall_ms() / 1000;
        let identity = Identity {
            name,
            id,
            incarnation: 0,
            boot,
        };
        self.node
            .write(&identity)
            .map_err(|e| disk("keep the node's identity", &e))?;
        let identity = identity.numbered(1);
        self.me = Some(identity);
        self.tell_identity();
        Ok(CHANGED)
    }

    /// C8: forgets the system; only a node that is in no cluster may.
    pub fn dismiss(&mut self) -> Result<Done, Fault> {
        let name = |d: &ClusterDocument| d.name.clone();
        let present = self.shelf.present().next().map(name);
        if let Some(cluster) = present.or_else(|| self.shelf.staged().next().map(name)) {
            return Err(refused(
                "C8",
                format!("this node is in cluster {cluster}: remove it from there first"),
            ));
        }
        if self.me.is_none() {
            return Ok(UNCHANGED);
        }
        self.node
            .remove()
            .and_then(|()| self.shelf.remove_system())
            .map_err(|e| disk("forget the node's identity", &e))?;
        self.me = None;
        self.tell_identity();
        self.tell_system();
        self.let_viewers_in();
        Ok(CHANGED)
    }

    /// The system document.
    pub fn system(&self) -> Result<String, Fault> {
        let system = self.shelf.system();
        system
            .map(SystemDocument::to_text)
            .ok_or_else(|| fault(Code::Unknown, "this node has no system document yet"))
    }

    /// Takes a system document from a client.
    pub fn put_system(&mut self, text: &str) -> Result<Done, Fault> {
        self.enrolled()?;
        let document = SystemDocument::parse(text).map_err(|e| fault(Code::Invalid, e))?;
        let present = self.shelf.system();
        if present == Some(&document) {
            return Ok(UNCHANGED);
        }
        let present = present.map_or(0, |s| s.revision);
        if document.revision <= present {
            return Err(fault(
                Code::Refused,
                format!(
                    "the system document here has revision {present}, that of the call is {}: read it again and change that",
                    document.revision
                ),
            ));
        }
        self.keep_system(document)
            .map_err(|e| disk("keep the system document", &e))?;
        // U11: whoever put it must not be told that somebody may look, or may no more, when it is not so.
        match self.shut_out.take() {
            None => Ok(CHANGED),
            Some(why) => Err(fault(Code::Failed, why).after_change()),
        }
    }

    /// A cluster document with its secrets.
    pub fn document(&self, cluster: &ClusterName) -> Result<String, Fault> {
        Ok(self.present(cluster)?.to_text())
    }

    /// U11: the same for who may only look.
    pub fn stripped(&self, cluster: &ClusterName) -> Result<String, Fault> {
        Ok(self.present(cluster)?.stripped().0.to_text())
    }

    fn present(&self, cluster: &ClusterName) -> Result<&ClusterDocument, Fault> {
        let present = self.shelf.get(cluster).and_then(|s| s.present.as_ref());
        present.ok_or_else(|| {
            fault(
                Code::Unknown,
                format!("this node is not in a cluster {cluster}"),
            )
        })
    }

    /// Checks a revision against rules and this machine, and keeps it beside the present one.
    pub fn stage(&mut self, text: &str) -> Result<Done, Fault> {
        let me = self.enrolled()?.clone();
        let document = ClusterDocument::parse(text)
            .map_err(|error| newer(&me.name, &error).unwrap_or_else(|| bad_document(error)))?;
        let mut problems = checks::problems(&document, &me, &self.shelf);
        problems.extend(checks::machine_problems(
            &document,
            &me,
            &self.machine.facts(),
        ));
        if !problems.is_empty() {
            return Err(Fault::refused_for(problems));
        }
        let stored = self.shelf.get(&document.name);
        let present = stored.and_then(|s| s.present.as_ref());
        if let Some(present) = present.filter(|p| p.revision >= document.revision) {
            return Err(fault(
                Code::Refused,
                format!(
                    "cluster {} has revision {} here, the staged one would be {}: read it again and change that",
                    present.name, present.revision, document.revision
                ),
            ));
        }
        if present.is_none() && self.shelf.former(document.id) == Some(&document) {
            return Ok(UNCHANGED);
        }
        let fresh = present.is_none();
        if fresh && checks::place(&document, &me) == Place::Out {
            return Err(refused(
                "C3",
                format!(
                    "node {} is neither in cluster {} nor to become so",
                    me.name, document.name
                ),
            ));
        }
        if stored.and_then(|s| s.staged.as_ref()) == Some(&document) {
            return Ok(UNCHANGED);
        }
        if fresh {
            let taken = checks::taken_bases(&document, &me, self.machine.as_mut());
            if !taken.is_empty() {
                return Err(Fault::refused_for(taken));
            }
        }
        self.shelf
            .stage(document)
            .map_err(|e| disk("keep the staged document", &e))?;
        self.settle_network();
        self.tell_staged();
        Ok(CHANGED)
    }

    /// Makes a staged revision the present one. `hash`: SHA-256 of its text, in hexadecimal digits.
    pub fn commit(&mut self, cluster: ClusterId, revision: u64, hash: &str) -> Result<Done, Fault> {
        self.enrolled()?;
        let is_it = |d: &ClusterDocument| d.revision == revision && hex::encode(d.hash()) == hash;
        let stored = self.shelf.get_by_id(cluster);
        // It may have got here before the call, by a beat of a node that was told first.
        let holds = stored.and_then(|s| s.present.as_ref());
        if holds
            .or_else(|| self.shelf.former(cluster))
            .is_some_and(is_it)
        {
            return Ok(UNCHANGED);
        }
        let staged = stored.and_then(|s| s.staged.as_ref()).filter(|d| is_it(d));
        let Some(document) = staged.cloned() else {
            return Err(fault(
                Code::Unknown,
                format!("revision {revision} with that hash was not staged here: stage it first"),
            ));
        };
        self.adopt(document.clone())
            .map_err(|e| disk("commit the document", &e))?;
        self.list(&document);
        Ok(CHANGED)
    }

    /// U6: the list of clusters and nodes follows the commit at once. Whoever ordered it writes the very same text
    /// next, and may end before. A list that does not know the members yet is too old to be continued.
    fn list(&mut self, document: &ClusterDocument) {
        let next = self.shelf.system().and_then(|s| s.with_cluster(document));
        let next = next.filter(|next| next.problems().is_empty());
        if let Some(Err(error)) = next.map(|next| self.keep_system(next)) {
            tracing::error!(
                "cluster {}: the system's list can't be kept: {error}",
                document.name
            );
        }
    }

    /// Forgets a staged revision.
    pub fn abandon(&mut self, cluster: ClusterId) -> Result<Done, Fault> {
        let staged = self
            .shelf
            .get_by_id(cluster)
            .and_then(|s| s.staged.as_ref());
        let Some(name) = staged.filter(|d| d.id == cluster).map(|d| d.name.clone()) else {
            return Ok(UNCHANGED);
        };
        let changed = self
            .shelf
            .abandon(&name)
            .map_err(|e| disk("forget the staged document", &e))?;
        self.network.leaving = Some(Instant::now());
        self.tell_staged();
        Ok(Done { changed })
    }

    /// Puts a checked revision in force: gate at boot, disk, decision loop.
    fn adopt(&mut self, document: ClusterDocument) -> std::io::Result<()> {
        let in_it = |me| checks::place(&document, me) != Place::Out;
        if !self.me.as_ref().is_some_and(in_it) {
            return self.leave(&document);
        }
        let fresh = self
            .shelf
            .get_by_id(document.id)
            .is_none_or(|s| s.present.is_none());
        // S7: what it may hold is closed at the next boot, even if this one ends between two lines of this.
        self.write_guarded(Some(&document))?;
        self.shelf.adopt(document.clone())?;
        self.find(&document);
        self.prepare_boot();
        self.settle_network();
        self.tell_adopted(document, fresh);
        self.tell_staged();
        Ok(())
    }

    /// C7, C15: stops being a member. The addresses stay where they are, as ordinary ones.
    fn leave(&mut self, document: &ClusterDocument) -> std::io::Result<()> {
        let replaced = self
            .me
            .as_ref()
            .map(|me| document.replaced(me.id).is_some());
        // C16: what another machine has now is not this one's at boot either.
        let mine = if replaced == Some(true) {
            self.lose(document)?;
            Vec::new()
        } else {
            self.at_boot()
        };
        self.network.given_back = mine.into_iter().map(|pair| pair.alias.addr()).collect();
        self.network.leaving = None;
        self.shelf.leave(document)?;
        self.prepare_boot();
        self.settle_network();
        let me = self.me.as_ref();
        if let Some((former, by)) = me.and_then(|me| document.replaced(me.id)) {
            tracing::warn!(
                "cluster {}: another machine, {}, took the place of this one as {}, by revision {}: what was its is closed and stopped, its addresses stay closed, and it is free",
                document.name,
                by.contact,
                former.name,
                document.revision
            );
        } else {
            tracing::info!(
                "cluster {}: this node is no longer in it, by revision {}",
                document.name,
                document.revision
            );
        }
        self.decide.tell(Input::Left(Box::new(document.clone())));
        self.tell_staged();
        Ok(())
    }

    /// S7, A5: what the next boot must find. Failing is said; the present boot goes on.
    fn prepare_boot(&mut self) {
        // An older agent that was put back may not be able to read what it guards: the present list stays.
        if self.shelf.has_unreadable() {
            tracing::error!(
                "a document can't be read: the gate's list for the next boot stays as it is"
            );
        } else if let Err(error) = self.write_guarded(None) {
            tracing::error!("the gate's list for the next boot can't be written: {error}");
        }
        let Some(me) = &self.me else { return };
        let units: Vec<String> = self
            .shelf
            .present()
            .flat_map(|document| checks::units_of(document, me))
            .chain(
                self.shelf
                    .last_texts()
                    .flat_map(|d| checks::units_lost(d, me)),
            )
            .chain(self.lost.lost().units.iter().cloned())
            .collect();
        if let Err(error) = self.machine.keep_from_boot(&units) {
            tracing::error!(
                "can't keep systemd from starting {} by itself at boot: {error:#}",
                units.join(", ")
            );
        }
    }

    /// Writes the list of addresses that this node may hold, together with those of a document to come.
    fn write_guarded(&self, more: Option<&ClusterDocument>) -> std::io::Result<()> {
        let present = || self.shelf.present().chain(more);
        let mut all: Vec<IpAddr> = (self.me.iter())
            .flat_map(|me| present().flat_map(|document| guarded_here(document, me)))
            .collect();
        all.extend(self.lost_for_good(present().next().is_none()));
        all.sort_unstable();
        all.dedup();
        crate::host::gate::write_guarded(&self.folders.guarded(), &all)
    }

    fn keep_system(&mut self, document: SystemDocument) -> std::io::Result<()> {
        self.shelf.put_system(document)?;
        self.tell_system();
        self.let_viewers_in();
        Ok(())
    }

    /// U11: as the system document has it, and nobody else. Failing is said; the next document or start tries again.
    fn let_viewers_in(&mut self) {
        let viewers = self.shelf.system().map_or(&[][..], |s| &s.viewers);
        let done = self.machine.let_in(viewers);
        self.shut_out = done.err().map(|error| {
            let why = format!("the viewers' keys can't be kept: {error:#}");
            tracing::error!("{why}");
            why
        });
    }

    fn tell_system(&self) {
        let text = self.shelf.system().map(|system| SystemText {
            revision: system.revision,
            text: system.to_text().into(),
        });
        self.decide.tell(Input::System(text.unwrap_or_default()));
    }

    fn tell_staged(&self) {
        let staged = self.shelf.staged().cloned().collect();
        self.decide.tell(Input::Staged(staged));
        let notices = self.shelf.notices().cloned().collect();
        self.decide.tell(Input::Notices(notices));
    }

    fn enrolled(&self) -> Result<&Identity, Fault> {
        self.me.as_ref().ok_or_else(|| {
            fault(
                Code::Refused,
                "this machine is not a node of a system yet: add it with `backstay node add`",
            )
        })
    }
}

/// A document that says more than this agent knows was made by a newer version (T1, T4). Nothing of it is dropped: it is
/// refused as a whole, and what is kept here stays.
fn newer(me: &NodeName, error: &DocumentError) -> Option<Fault> {
    let DocumentError::Rules(problems) = error else {
        return None;
    };
    let unknown = problems
        .iter()
        .find(|p| ["T1", "T4"].contains(&p.rule.0.as_ref()))?;
    Some(refused(
        "T4",
        format!(
            "agent {} does not know what a newer document says ({}: {}); upgrade it: `backstay node upgrade {me}`",
            backstay_core::VERSION,
            unknown.place,
            unknown.what
        ),
    ))
}
