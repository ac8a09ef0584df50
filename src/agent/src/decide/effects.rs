//! Carrying out what an engine decides.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use backstay_core::engine::{Effect, GateOp, Record};
use backstay_core::model::{ClusterId, NodeId, ServiceId};
use backstay_core::time::Mono;
use backstay_wire::rpc::HistoryEntry;
use backstay_wire::sealed::Subject;
use backstay_wire::{MAX_DATAGRAM, beat};

use super::cluster::Cluster;
use super::decider::Decider;
use super::jobs::{Errand, Job};
use crate::documents::fetch::Fetch;
use crate::host::clock::wall_ms;

/// The same kind of failure is said once in this time.
const SAY_EVERY: Duration = Duration::from_secs(10);

impl Decider {
    /// Carries out one effect to its end, or hands it to whoever will.
    pub(super) fn execute(&mut self, id: ClusterId, effect: &Effect) -> Result<()> {
        let cluster = self.clusters.get_mut(&id).context("no such cluster")?;
        if !matches!(effect, Effect::SendBeats | Effect::Gate(_)) {
            self.pulse.changed();
        }
        match effect {
            Effect::Persist => self
                .run
                .write(id, &cluster.engine.run_state())
                .context("can't keep the run state"),
            Effect::Gate(op) => self.gate(id, *op),
            Effect::AddAddresses(service) => {
                for alias in cluster.paper.aliases(*service) {
                    self.hands
                        .add_address(*alias)
                        .with_context(|| format!("can't add {alias}"))?;
                }
                Ok(())
            }
            Effect::RemoveAddresses(service) => {
                for alias in cluster.paper.aliases(*service) {
                    self.hands
                        .remove_address(*alias)
                        .with_context(|| format!("can't remove {alias}"))?;
                }
                Ok(())
            }
            Effect::DropAlias(alias) => {
                let closed = self.hands.close(&[alias.addr()]);
                let removed = self.hands.remove_address(*alias);
                if removed.is_err() {
                    self.lost.push(alias.addr()); // it stays, and no document guards it any more
                }
                removed
                    .and(closed)
                    .with_context(|| format!("can't drop {alias}"))
            }
            Effect::Announce {
                service,
                reply_form,
            } => self
                .hands
                .announce(cluster.paper.aliases(*service), *reply_form)
                .context("can't announce"),
            Effect::Probe { service, former } => {
                let job = probe(cluster, *service, *former);
                self.jobs.post(job);
                Ok(())
            }
            Effect::CheckReference => {
                let document = &cluster.paper.document;
                let base = cluster.paper.mine.first().context("no base address")?;
                self.jobs.post(Job::CheckReference {
                    cluster: id,
                    reference: document.reference,
                    base: base.ip(),
                    within: document.wait() / 2,
                });
                Ok(())
            }
            Effect::StartUnits(service) => self.errand(id, *service, Job::StartUnits),
            Effect::StopUnits(service) => self.errand(id, *service, Job::StopUnits),
            Effect::RunHooks { service, returned } => {
                let returned = *returned;
                self.errand(id, *service, |errand| Job::RunHooks { errand, returned })
            }
            Effect::SendBeats => {
                self.send_beats(id);
                Ok(())
            }
            Effect::FetchDocument { from, revision } => {
                self.begin_fetch(id, Subject::Cluster, *from, *revision);
                Ok(())
            }
            Effect::FetchSystem { from, revision } => {
                self.begin_fetch(id, Subject::System, *from, *revision);
                Ok(())
            }
            Effect::Record(record) => {
                let job = Job::Record(entry(cluster, record));
                self.jobs.post(job);
                Ok(())
            }
            Effect::HandedOver => {
                cluster.handed_over = true;
                Ok(())
            }
        }
    }

    fn errand(
        &mut self,
        id: ClusterId,
        service: ServiceId,
        job: impl FnOnce(Errand) -> Job,
    ) -> Result<()> {
        let cluster = self.clusters.get(&id).context("no such cluster")?;
        let errand = cluster.errand(service).context("no such service")?;
        self.jobs.post(job(errand));
        Ok(())
    }

    fn gate(&mut self, id: ClusterId, op: GateOp) -> Result<()> {
        let cluster = self.clusters.get(&id).context("no such cluster")?;
        let paper = &cluster.paper;
        let hold = paper.document.hold();
        match op {
            GateOp::Guard => self.guard(),
            GateOp::Arm { service, slot } => self.hands.arm(paper.alias_ips(service), slot, hold),
            GateOp::Live { service, slot } => self.hands.live(paper.alias_ips(service), slot),
            GateOp::Close { service } => self.hands.close(paper.alias_ips(service)),
        }
    }

    /// Guards what all documents together give this node to hold, and what another machine has now (C16).
    pub(super) fn guard(&mut self) -> Result<()> {
        let is_base = |address: &IpAddr| {
            let mut mine = self.clusters.values().flat_map(|c| &c.paper.mine);
            mine.any(|base| base.ip() == *address)
        };
        let mut all: Vec<IpAddr> = (self.clusters.values())
            .flat_map(|c| c.services_here().map(|s| c.paper.alias_ips(s.id)))
            .flatten()
            .chain(self.lost.iter().filter(|lost| !is_base(lost)))
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        self.hands.guard(&all)
    }

    /// Every node on every link; each datagram is made once for a link.
    fn send_beats(&mut self, id: ClusterId) {
        let now = self.hands.now();
        let Some(cluster) = self.clusters.get_mut(&id) else {
            return;
        };
        if cluster.must_defend(now)
            && let Err(error) = self.hands.announce(&cluster.paper.taken_over, false)
        {
            tracing::warn!("can't announce the base address: {error:#}");
        }
        let said = cluster.engine.beat(now);
        let mut bytes = [0; MAX_DATAGRAM];
        for link in 0..cluster.paper.mine.len() as u8 {
            let length = beat::encode(said, link, &cluster.paper.keys, &mut bytes);
            let Some(bytes) = bytes.get(..length) else {
                continue;
            };
            for other in &cluster.paper.others {
                let former = cluster.heard.get(&other.id);
                if other.former
                    && former.is_none_or(|at| now.since(*at) > super::cluster::FORMER_HEARD)
                {
                    continue;
                }
                for (_, from, to) in cluster.paper.ways(other).filter(|(l, ..)| *l == link) {
                    self.links.send(from, to, bytes);
                }
            }
        }
    }

    fn begin_fetch(&mut self, id: ClusterId, subject: Subject, from: NodeId, revision: u64) {
        let now = self.hands.now();
        let (Some(cluster), Some(me)) = (self.clusters.get_mut(&id), &self.me) else {
            return;
        };
        if !cluster.fetches.may_fetch(subject, revision, now) {
            return;
        }
        let told = cluster.told.get(&from).copied();
        let hash = told
            .filter(|(told, ..)| subject == Subject::Cluster && *told == revision)
            .map(|(_, hash, _)| hash);
        let others: Vec<NodeId> = cluster.has(subject, revision).collect();
        let slot = cluster.fetches.slot(subject);
        match slot {
            Some(fetch) if fetch.revision() >= revision => fetch.also_at(from),
            _ => {
                let what = (id, subject);
                let mut fetch = Fetch::new(me.id, what, (revision, hash), from, now);
                for other in others {
                    fetch.also_at(other);
                }
                *slot = Some(fetch);
            }
        }
    }

    /// Says that an effect failed, the same kind not with every beat.
    pub(super) fn say_failed(&mut self, effect: &Effect, error: &anyhow::Error) {
        let kind = match effect {
            Effect::Persist => "persist",
            Effect::Gate(_) => "gate",
            Effect::AddAddresses(_) | Effect::RemoveAddresses(_) | Effect::DropAlias(_) => {
                "addresses"
            }
            Effect::Announce { .. } => "announce",
            _ => "other",
        };
        let now = self.hands.now();
        if may_say(&mut self.failed_said, kind, now) {
            tracing::error!("{error:#}");
        }
    }
}

/// Whether something of that kind may be said again.
pub(super) fn may_say(
    said: &mut std::collections::BTreeMap<&'static str, Mono>,
    kind: &'static str,
    now: Mono,
) -> bool {
    let last = said.get(kind);
    let may = last.is_none_or(|at| now.since(*at) >= SAY_EVERY);
    if may {
        said.insert(kind, now);
    }
    may
}

/// A2: only equipment outside the cluster is foreign, so no other node that may hold the alias counts, whether or not
/// this one already knows that it does.
fn probe(cluster: &Cluster, service: ServiceId, former: Option<NodeId>) -> Job {
    let document = &cluster.paper.document;
    let nodes = cluster.service(service).map_or(&[][..], |s| &s.nodes[..]);
    let may_hold = nodes.iter().filter_map(|name| document.member(name));
    let known = may_hold.map(|member| member.id).chain(former);
    let bases = known
        .filter_map(|id| cluster.paper.other(id))
        .flat_map(|other| other.at.iter().map(SocketAddr::ip));
    Job::Probe {
        cluster: cluster.id(),
        service,
        aliases: cluster.paper.aliases(service).to_vec(),
        ours: bases.collect(),
        mine: cluster.paper.mine.iter().map(SocketAddr::ip).collect(),
        within: document.wait() / 2,
    }
}

/// F15: a record for the journal, and the same for the log.
fn entry(cluster: &Cluster, record: &Record) -> HistoryEntry {
    let service = record.service.and_then(|id| cluster.service(id));
    let service = service.map(|service| service.name.clone());
    let document = &cluster.paper.document;
    match &service {
        Some(service) => tracing::info!(
            cluster = %document.name, %service, rule = %record.rule, "{}", record.sentence
        ),
        None => {
            tracing::info!(cluster = %document.name, rule = %record.rule, "{}", record.sentence);
        }
    }
    HistoryEntry {
        id: 0,
        node: cluster.me.clone(),
        cluster: document.name.clone(),
        service,
        wall_ms: wall_ms(),
        record: record.clone(),
    }
}
