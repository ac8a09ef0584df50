//! What other threads told.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use backstay_core::engine::{ClusterView, Engine, HostEvent, Order, OrderKind, Start, UnitsState};
use backstay_core::model::{
    ClusterDocument, ClusterId, ClusterName, NodeName, ServiceId, ServiceName,
};
use backstay_wire::rpc::{Code, Fault};
use backstay_wire::sealed::short_hash;

use super::cluster::{Cluster, FORMER_HEARD, Fetches, Paper};
use super::decider::{Beside, Decider};
use super::input::{Input, SystemText};
use super::jobs::Job;
use super::notice::Notice;
use crate::documents::lost;
use crate::fault::fault;
use crate::host::clock::wall_ms;

/// Inputs that are taken before timers are looked at again.
const AT_ONCE: usize = 256;

impl Decider {
    pub(super) fn take_inputs(&mut self) {
        self.inbox.rest();
        for _ in 0..AT_ONCE {
            let Some(input) = self.inbox.take() else {
                return;
            };
            self.input(input);
        }
        self.inbox.rouse();
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Enrolled { me, lost } => {
                self.me = me;
                self.lost = lost;
            }
            Input::Adopted {
                document,
                fresh,
                units,
            } => self.adopt(*document, fresh, &units),
            Input::Left(document) => self.leave(&document),
            Input::InNone => {
                if let Err(error) = self.guard() {
                    tracing::error!("the gate can't be lifted from what was given back: {error:#}");
                }
            }
            Input::Staged(documents) => self.stage(documents),
            Input::Notices(documents) => self.notice(documents),
            Input::System(system) => self.take_system(system),
            Input::NotTaken {
                cluster,
                subject,
                revision,
            } => {
                let fetches = match (
                    self.clusters.get_mut(&cluster),
                    self.staged.get_mut(&cluster),
                ) {
                    (Some(cluster), _) => &mut cluster.fetches,
                    (None, Some(beside)) => &mut beside.fetches,
                    (None, None) => return,
                };
                fetches.refused(subject, revision);
            }
            Input::Units {
                cluster,
                service,
                state,
            } => {
                self.pulse.changed();
                self.drive(cluster, |engine, now| {
                    engine.handle_units(service, state, now);
                });
            }
            Input::Host(Some(cluster), event) => {
                self.drive(cluster, |engine, now| engine.handle_host(event, now));
            }
            Input::Host(None, event) => self.machine(event),
            Input::Move {
                cluster,
                service,
                to,
                reply,
            } => {
                // Whoever asked may be gone; the order stands.
                let _ = reply.send(self.order(&cluster, &service, &to));
            }
            Input::View(reply) => {
                let _ = reply.send(self.view());
            }
            Input::HandOver(over) => {
                self.hand_over();
                self.awaited = Some(over);
            }
            Input::Leave => {
                self.hand_over();
                self.ends = true;
            }
            Input::Exit => self.exit = true,
        }
    }

    fn hand_over(&mut self) {
        self.leaving.get_or_insert(self.hands.now());
        self.drive_all(|engine, now| engine.handle_host(HostEvent::Leave, now));
    }

    pub(super) fn view(&self) -> Vec<ClusterView> {
        let now = self.hands.now();
        self.clusters.values().map(|c| c.engine.view(now)).collect()
    }

    /// Something that concerns every cluster, also one that comes later.
    fn machine(&mut self, event: HostEvent) {
        match event {
            HostEvent::Clock { kept, .. } => self.machine.clock_kept = Some(kept),
            HostEvent::Disk { .. } => self.machine.disk = Some(event),
            HostEvent::Gate { .. } => self.machine.gate = Some(event),
            _ => {}
        }
        self.drive_all(|engine, now| engine.handle_host(event, now));
    }

    fn take_system(&mut self, system: SystemText) {
        let revision = system.revision;
        self.system_hash = short_hash(&system.text);
        self.system = system;
        self.drive_all(|engine, _| engine.handle_system(revision));
    }

    /// A revision holds: its engine hears of it or comes to life.
    fn adopt(&mut self, document: ClusterDocument, fresh: bool, units: &[(ServiceId, UnitsState)]) {
        let Some(me) = &self.me else { return };
        let id = document.id;
        let paper = match Paper::new(document.clone(), me.id) {
            Ok(paper) => paper,
            Err(error) => {
                tracing::error!("cluster {}: {error}; it is not joined", document.name);
                return;
            }
        };
        let known: Vec<ServiceId> = if let Some(cluster) = self.clusters.get_mut(&id) {
            let paper = paper.after(&cluster.paper);
            let former = core::mem::replace(&mut cluster.paper, paper);
            cluster.fetches.begin_anew();
            self.open_links();
            self.drive(id, |engine, now| engine.handle_document(document, now));
            former.document.services.iter().map(|s| s.id).collect()
        } else {
            self.begin(paper, fresh);
            Vec::new()
        };
        for (service, state) in units {
            if !known.contains(service) {
                self.drive(id, |engine, now| engine.handle_units(*service, *state, now));
            }
        }
        self.watch_units(id);
        self.look();
        self.pulse.changed();
    }

    /// A cluster of which this node becomes a member, or was one before the agent's start.
    fn begin(&mut self, paper: Paper, fresh: bool) {
        let Some(me) = self.me.clone() else { return };
        let id = paper.document.id;
        // Before the gate is read: what is open then is open at least as long as the engine takes it to be.
        let now = self.hands.now();
        let open = self.open_now(&paper);
        let start = Start {
            boot: me.boot,
            incarnation: me.incarnation,
            nonce: self.nonce,
            run: self.run.read(id),
            fresh,
            open,
        };
        let mut engine = Engine::new(me.id, start, paper.document.clone(), now);
        engine.handle_system(self.system.revision);
        let cluster = Cluster {
            engine,
            deadline: now,
            paper,
            me: me.name,
            told: BTreeMap::new(),
            heard: BTreeMap::new(),
            fetches: Fetches::default(),
            handed_over: false,
            carrier: None,
        };
        self.clusters.insert(id, cluster);
        self.drain(id);
        self.open_links();
        let known = self.machine;
        let clock = known.clock_kept.map(|kept| {
            let wall_ms = wall_ms();
            HostEvent::Clock { kept, wall_ms }
        });
        for event in [clock, known.disk, known.gate].into_iter().flatten() {
            self.drive(id, |engine, now| engine.handle_host(event, now));
        }
        if self.leaving.is_some() {
            self.drive(id, |engine, now| engine.handle_host(HostEvent::Leave, now));
        }
    }

    /// Services whose aliases the kernel lets pass now: a restarted agent goes on with them (PROTOCOL 21).
    fn open_now(&mut self, paper: &Paper) -> Vec<(ServiceId, u8)> {
        let mut open = Vec::new();
        for service in &paper.document.services {
            if let Ok(Some(slot)) = self.hands.open_slot(paper.alias_ips(service.id)) {
                open.push((service.id, slot));
            }
        }
        open
    }

    /// C7, C15: no longer a member. What is up stays up, as ordinary addresses outside the gate.
    fn leave(&mut self, document: &ClusterDocument) {
        let id = document.id;
        let all_heard = self.clusters.get(&id).is_some_and(|c| self.hears_all(c));
        let last = document.clone();
        self.drive(id, |engine, now| engine.handle_document(last, now));
        let Some(cluster) = self.clusters.remove(&id) else {
            return;
        };
        if let Err(error) = self.give_up(&cluster, document) {
            tracing::error!("what belongs to another machine now can't be given up: {error:#}");
        }
        if let Err(error) = self.guard() {
            tracing::error!(
                "the gate can't be lifted from the aliases of a cluster that was left: {error:#}"
            );
        }
        if let Err(error) = self.run.forget(id) {
            tracing::warn!("the run state of a cluster that was left stays: {error}");
        }
        self.jobs.post(Job::WatchUnits(id, Vec::new()));
        self.jobs.post(Job::Left { all_heard });
        self.open_links();
        self.pulse.changed();
    }

    /// C7: whether no other member is away, who would have to be told over a base that the node does not have for ever.
    fn hears_all(&self, cluster: &Cluster) -> bool {
        let recent = FORMER_HEARD.as_millis();
        let nodes = cluster.engine.view(self.hands.now()).nodes;
        let mut others = nodes.iter().filter(|n| n.name != cluster.me);
        others.all(|n| n.age_ms.is_some_and(|age| u128::from(age) < recent))
    }

    /// C16: another machine took the place of this one, which may still have run things, cut off from the others: all
    /// of it is closed, taken off and stopped.
    fn give_up(&mut self, cluster: &Cluster, document: &ClusterDocument) -> anyhow::Result<()> {
        let Some(me) = &self.me else { return Ok(()) };
        let in_none = self.clusters.is_empty();
        let lost = lost(document, me, in_none);
        let Some((former, _)) = document.replaced(me.id) else {
            return Ok(());
        };
        self.lost.extend(&lost);
        // The newer text may not have its service any more.
        let here = cluster.services_here();
        (self.lost).extend(here.flat_map(|s| cluster.paper.alias_ips(s.id)));
        self.guard()?;
        let mut result = self.hands.close(&lost);
        for service in cluster.services_here() {
            if let Some(errand) = cluster.errand(service.id) {
                self.jobs.post(Job::StopUnits(errand));
            }
            for alias in cluster.paper.aliases(service.id) {
                result = result.and(self.hands.remove_address(*alias));
            }
        }
        for base in former.bases.iter().filter(|_| in_none) {
            result = result.and(self.hands.remove_address(*base));
        }
        result
    }

    fn stage(&mut self, documents: Vec<ClusterDocument>) {
        let Some(me) = &self.me else { return };
        let me = me.id;
        self.staged.clear();
        for document in documents {
            let id = document.id;
            if let Ok(paper) = Paper::new(document, me) {
                let beside = Beside {
                    paper,
                    fetches: Fetches::default(),
                    seen: None,
                };
                self.staged.insert(id, beside);
            }
        }
        self.open_links();
        self.look();
    }

    fn notice(&mut self, documents: Vec<ClusterDocument>) {
        let Some(me) = self.me.as_ref().map(|me| me.id) else {
            return;
        };
        let papers = documents
            .into_iter()
            .filter_map(|document| Paper::new(document, me).ok());
        self.notices = papers
            .map(|paper| (paper.document.id, Notice::new(paper)))
            .collect();
        self.open_links();
    }

    /// The sockets that all documents together need. A staged one counts: its commitment may come over them.
    fn open_links(&mut self) {
        let present = self.clusters.values().flat_map(|c| &c.paper.mine);
        let staged = self.staged.values().flat_map(|b| &b.paper.mine);
        let notices = self.notices.values().flat_map(|n| &n.paper.mine);
        let all = present.chain(staged).chain(notices);
        let mut wanted: Vec<SocketAddr> = all.copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.links.want(&wanted);
    }

    fn watch_units(&mut self, id: ClusterId) {
        let Some(cluster) = self.clusters.get(&id) else {
            return;
        };
        let here = cluster.services_here();
        let errands = here.filter_map(|s| cluster.errand(s.id)).collect();
        self.jobs.post(Job::WatchUnits(id, errands));
    }

    fn order(
        &mut self,
        cluster: &ClusterName,
        service: &ServiceName,
        to: &NodeName,
    ) -> Result<(), Fault> {
        let unknown = |what: String| fault(Code::Unknown, what);
        let mut all = self.clusters.values();
        let found = all.find(|c| c.paper.document.name == *cluster);
        let found =
            found.ok_or_else(|| unknown(format!("this node is not in a cluster {cluster}")))?;
        let document = &found.paper.document;
        let service = document
            .services
            .iter()
            .find(|s| s.name == *service)
            .ok_or_else(|| unknown(format!("cluster {cluster} has no service {service}")))?;
        let target = document
            .member(to)
            .ok_or_else(|| unknown(format!("cluster {cluster} has no node {to}")))?;
        let order = Order {
            service: service.id,
            kind: OrderKind::MoveTo(target.id),
        };
        let id = document.id;
        self.drive(id, |engine, now| engine.handle_order(order, now))
            .unwrap_or(Ok(()))
            .map_err(|problem| Fault::refused_for(vec![problem]))
    }
}
