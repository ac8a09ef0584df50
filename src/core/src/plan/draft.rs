//! A plan while it is being made: refusals, consequences and new documents are gathered; at the end either
//! all refusals come out or the plan.

use std::collections::BTreeSet;

use super::know::{Whereabouts, names, refusal};
use super::truth;
use super::{
    Action, Aim, Consequence, ConsequenceKind, Goal, MoveOrder, Plan, Situation, Step, StepKind,
    Warning, command,
};
use crate::engine::NodeState;
use crate::model::{
    Base, Changed, ClusterDocument, Former, Member, NodeName, Problem, RuleId, SystemDocument,
    differences, is_epoch_change,
};

/// Former nodes that a document keeps at most; the oldest go first.
const MOST_FORMER: usize = 64;

pub(super) struct Draft<'a> {
    pub(super) now: Situation<'a>,
    pub(super) refused: Vec<Problem>,
    plan: Plan,
}

impl<'a> Draft<'a> {
    pub(super) fn new(action: &Action, now: Situation<'a>, title: impl Into<String>) -> Self {
        Self {
            now,
            refused: Vec::new(),
            plan: Plan {
                title: title.into(),
                changed: true,
                documents: Vec::new(),
                system: None,
                order: None,
                steps: Vec::new(),
                consequences: Vec::new(),
                warnings: Vec::new(),
                differences: Vec::new(),
                goal: Goal::default(),
                truth: truth::of(action, &now),
                command: command::of(action, now.wall),
            },
        }
    }

    /// Gathers the refusal, if it is one.
    pub(super) fn check<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                // Two services of an unseen cluster are one refusal.
                if !self.refused.contains(&problem) {
                    self.refused.push(problem);
                }
                None
            }
        }
    }

    /// What the action itself has said better is not said again by the document's rules.
    fn add_untold(&mut self, mut problems: Vec<Problem>) {
        let told = |p: &Problem| {
            let same = |r: &Problem| r.place == p.place && r.rule == p.rule;
            self.refused.iter().any(same)
        };
        problems.retain(|p| !told(p));
        self.refused.append(&mut problems);
    }

    pub(super) fn retitle(&mut self, title: String) {
        self.plan.title = title;
    }

    pub(super) fn say(&mut self, kind: ConsequenceKind, sentence: impl Into<String>) {
        self.plan.consequences.push(Consequence {
            kind,
            sentence: sentence.into(),
        });
    }

    /// How many consequences have been said.
    pub(super) fn said(&self) -> usize {
        self.plan.consequences.len()
    }

    pub(super) fn has_said(&self, sentence: &str) -> bool {
        self.plan
            .consequences
            .iter()
            .any(|c| c.sentence == sentence)
    }

    /// The index is to be written.
    pub(super) fn has_system(&self) -> bool {
        self.plan.system.is_some()
    }

    pub(super) fn warn(&mut self, name: &'static str, rule: &'static str, sentence: String) {
        self.plan.warnings.push(Warning {
            name,
            rule: RuleId::of(rule),
            sentence,
        });
    }

    pub(super) fn step(&mut self, kind: StepKind, on: Vec<NodeName>, sentence: impl Into<String>) {
        self.plan.steps.push(Step {
            kind,
            on,
            sentence: sentence.into(),
        });
    }

    pub(super) fn aim(&mut self, aim: Aim) {
        self.plan.goal.aims.push(aim);
    }

    /// Nothing is to be done; the sentence says why.
    pub(super) fn unchanged(mut self, sentence: impl Into<String>) -> Result<Plan, Vec<Problem>> {
        if !self.refused.is_empty() {
            return Err(self.refused);
        }
        self.plan.changed = false;
        self.plan.consequences.clear();
        self.plan.warnings.clear();
        self.say(ConsequenceKind::Note, sentence);
        Ok(self.plan)
    }

    pub(super) fn done(mut self) -> Result<Plan, Vec<Problem>> {
        if !self.refused.is_empty() {
            return Err(self.refused);
        }
        self.step(StepKind::Watch, Vec::new(), "wait until it has come about");
        Ok(self.plan)
    }

    /// A new revision of a cluster (`old`: none: a new cluster): gets its number, epoch and base records, is
    /// checked against every rule, and will be staged and committed on all whom it concerns.
    pub(super) fn document(&mut self, old: Option<&ClusterDocument>, mut new: ClusterDocument) {
        new.changed = self.changed();
        if let Some(old) = old {
            new.revision = old.revision.saturating_add(1);
            keep_former(old, &mut new);
        }
        if old.is_none_or(|old| is_epoch_change(old, &new)) {
            new.epoch = new.revision;
            new.bases = self.base_records(old, &new);
        }
        let mut problems = new.problems();
        if !new.deleted {
            let system = self.now.system.with_replaced(&new);
            problems.extend(new.against_system(&system, self.now.clusters));
            self.warn_of_unseen(&new);
        }
        self.add_untold(problems);
        self.stage_and_commit(old, &new);
        if let Some(old) = old {
            self.plan.differences.extend(differences(old, &new));
        }
        self.plan.documents.push(new);
    }

    pub(super) fn changed(&self) -> Changed {
        Changed {
            by: self.now.by.to_owned(),
            at: self.now.wall,
            what: self.plan.title.clone(),
        }
    }

    /// C13 can't be checked against what does not answer; the nodes themselves check it once more when
    /// the document is staged.
    fn warn_of_unseen(&mut self, new: &ClusterDocument) {
        let unseen: Vec<&str> = self
            .now
            .unseen()
            .filter(|name| **name != new.name)
            .map(crate::model::ClusterName::as_str)
            .collect();
        let old = self.now.clusters.iter().find(|c| c.id == new.id);
        let adds = new.services.iter().any(|s| {
            old.and_then(|o| o.service(s.id))
                .is_none_or(|o| o.aliases != s.aliases)
        });
        if !unseen.is_empty() && adds {
            let sentence = format!(
                "no node of {} answers, so its names and addresses can't be compared with the new ones",
                unseen.join(", ")
            );
            self.warn("unseen-cluster", "C13", sentence);
        }
    }

    /// PROTOCOL 29: who holds what when the epoch begins. A new service is held by its home, where it runs
    /// already (C11); term 1 is above any that its number ever had, since numbers are never given again.
    fn base_records(&mut self, old: Option<&ClusterDocument>, new: &ClusterDocument) -> Vec<Base> {
        let mut records = Vec::new();
        for service in &new.services {
            let Some((old, former)) = old.and_then(|o| Some((o, o.service(service.id)?))) else {
                records.push(Base {
                    service: service.id,
                    term: 1,
                    holder: service.home().filter(|_| !service.stopped).cloned(),
                });
                continue;
            };
            let seen = self.now.seen(old, former);
            let at = self.now.whereabouts(old, former);
            let (Some(seen), Some(at)) = (self.check(seen), self.check(at)) else {
                continue;
            };
            let holder = match at {
                Whereabouts::At(node) => Some(node.clone()),
                Whereabouts::Nowhere => None,
                Whereabouts::Between => {
                    self.refused.push(refusal(
                        "PROTOCOL 29",
                        format!("service {}", service.name),
                        "it is just being started or stopped, and this change must know who holds it",
                        "try again when `backstay status` shows it settled",
                    ));
                    continue;
                }
            };
            records.push(Base {
                service: service.id,
                term: seen.term,
                holder,
            });
        }
        records
    }

    fn stage_and_commit(&mut self, old: Option<&ClusterDocument>, new: &ClusterDocument) {
        let members: BTreeSet<&NodeName> = old
            .iter()
            .flat_map(|o| &o.members)
            .chain(&new.members)
            .map(|m| &m.name)
            .collect();
        let on: Vec<NodeName> = members.into_iter().cloned().collect();
        let away: Vec<NodeName> = on
            .iter()
            .filter(|n| {
                old.is_some_and(|o| {
                    let replaced = o.member(n).is_none_or(|m| new.replaced(m.id).is_some());
                    !replaced
                        && matches!(self.now.state(o, n), NodeState::Down | NodeState::Unknown)
                })
            })
            .cloned()
            .collect();
        let what = format!("revision {} of {}", new.revision, new.name);
        self.step(
            StepKind::Stage,
            on.clone(),
            format!("check {what} on every node that answers"),
        );
        self.step(StepKind::Commit, on, format!("make {what} the present one"));
        // Who has not the key can't learn of it: the exchange of keys says so itself.
        let same_keys = old.is_none_or(|old| old.keys == new.keys);
        if !away.is_empty() && same_keys {
            self.say(
                ConsequenceKind::Note,
                format!(
                    "not heard now, and learning of revision {} on return: {}",
                    new.revision,
                    names(&away)
                ),
            );
        }
        if !new.deleted {
            self.aim(Aim::Revision {
                cluster: new.name.clone(),
                revision: new.revision,
            });
        }
    }

    /// The system document as it will be; checked, and put to every node.
    pub(super) fn system(&mut self, change: impl FnOnce(&mut SystemDocument)) {
        let mut new = self.now.system.clone();
        change(&mut new);
        new.revision = new.revision.saturating_add(1);
        new.changed = self.changed();
        self.add_untold(new.problems());
        let on = new.nodes.iter().map(|n| n.name.clone()).collect();
        self.step(
            StepKind::System,
            on,
            format!("tell every node revision {} of the system", new.revision),
        );
        self.plan.system = Some(new);
    }

    /// The system document with that cluster as its document has it.
    pub(super) fn system_of(&mut self, cluster: &ClusterDocument) {
        if !self.refused.is_empty() {
            return; // The index would only be refused for the same reasons once more.
        }
        // As it will be committed, former nodes and all.
        let planned = self.plan.documents.iter().find(|d| d.id == cluster.id);
        let Some(listed) = self.now.system.with_cluster(planned.unwrap_or(cluster)) else {
            return;
        };
        for (before, after) in self.now.system.nodes.iter().zip(&listed.nodes) {
            if before.contact != after.contact {
                let sentence = format!(
                    "{} is reached at {} from now on, no more at {}",
                    after.name, after.contact, before.contact
                );
                self.say(ConsequenceKind::Note, sentence);
            }
        }
        self.system(move |system| {
            (system.nodes, system.clusters) = (listed.nodes, listed.clusters);
        });
    }

    pub(super) fn order(&mut self, order: MoveOrder, from: Vec<NodeName>) {
        self.step(
            StepKind::Order,
            from,
            format!("order {} to {}", order.service, order.to),
        );
        self.plan.order = Some(order);
    }
}

/// Who is in the old document and not in the new one is former; who is back is not. Where the new one says by whom
/// a node was replaced, that stays (C16).
fn keep_former(old: &ClusterDocument, new: &mut ClusterDocument) {
    let gone: Vec<&Member> = old
        .members
        .iter()
        .filter(|m| new.member_by_id(m.id).is_none())
        .collect();
    let mut former: Vec<Former> = old
        .former
        .iter()
        .filter(|f| new.member_by_id(f.id).is_none() && !gone.iter().any(|m| m.id == f.id))
        .cloned()
        .collect();
    let replaced = |id| new.replaced(id).map(|(_, by)| by.clone());
    former.extend(gone.into_iter().map(|m| {
        Former {
            replaced: replaced(m.id),
            alias: old
                .services
                .iter()
                .filter(|s| s.home() == Some(&m.name))
                .flat_map(|s| &s.aliases)
                .map(|a| a.address)
                .next(),
            name: m.name.clone(),
            id: m.id,
            bases: m.bases.clone(),
        }
    }));
    let excess = former.len().saturating_sub(MOST_FORMER);
    former.drain(..excess);
    new.former = former;
}
