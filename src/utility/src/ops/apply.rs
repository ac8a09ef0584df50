//! Carrying out a plan: as a whole or not at all (U6).
//!
//! Change lock on every reachable node concerned; every new document staged on every reachable member; all
//! of them well: committed; any refusal: abandoned everywhere. A commit that one node has seen reaches the
//! others with the beats, so the first commit is the moment at which the change takes effect.

use std::collections::{BTreeMap, BTreeSet};

use backstay_core::engine::NodeState;
use backstay_core::model::{
    ClusterDocument, ClusterId, NodeName, Problem, RuleId, SystemDocument, hash_of,
};
use backstay_core::plan::{Action, MoveOrder, Plan, StepKind};
use backstay_wire::rpc::{Code, Done, Request, Text, clean};

use super::front::{Stage, Told};
use super::{Cancel, Crew, Picture};
use crate::failure::{Changed, Exit, Failure};
use crate::output::style::date;
use crate::remote::RemoteError;

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Something was changed.
    pub changed: bool,
    /// Who has it already.
    pub on: Vec<NodeName>,
    /// Who will learn of it from the others.
    pub behind: Vec<NodeName>,
}

/// Nodes that see how a plan comes about: members of its clusters before and after, former ones.
pub fn seers(plan: &Plan, picture: &Picture) -> BTreeSet<NodeName> {
    let mut nodes = BTreeSet::new();
    for document in &plan.documents {
        nodes.extend(document.members.iter().map(|m| m.name.clone()));
        nodes.extend(leaving(document, picture).cloned());
        let before = picture.clusters.iter().find(|c| c.id == document.id);
        nodes.extend(
            before
                .iter()
                .flat_map(|c| &c.members)
                .map(|m| m.name.clone()),
        );
    }
    if let Some(order) = &plan.order {
        let cluster = picture.clusters.iter().find(|c| c.name == order.cluster);
        nodes.extend(
            cluster
                .iter()
                .flat_map(|c| &c.members)
                .map(|m| m.name.clone()),
        );
    }
    nodes
}

/// Nodes that a plan concerns: members, and everybody for a system document.
pub fn concerned(plan: &Plan, picture: &Picture) -> BTreeSet<NodeName> {
    let mut nodes = seers(plan, picture);
    if let Some(system) = &plan.system {
        nodes.extend(system.nodes.iter().map(|n| n.name.clone()));
        nodes.extend(picture.system().nodes.into_iter().map(|n| n.name));
    }
    nodes
}

/// Who is taken out by a document: who still is in the cluster. A node that has left it refuses everything of it.
fn leaving<'a>(
    document: &'a ClusterDocument,
    picture: &'a Picture,
) -> impl Iterator<Item = &'a NodeName> {
    let before = picture.clusters.iter().find(|c| c.id == document.id);
    let former = document.former.iter().filter(move |former| {
        let hello = picture.hellos.get(&former.name);
        before.is_some_and(|old| old.member_by_id(former.id).is_some())
            || hello.is_some_and(|h| h.clusters.contains_key(&document.name))
    });
    former.map(|former| &former.name)
}

/// Refusals because of nodes that don't answer: who joins, leaves or ends a cluster needs every member;
/// other changes reach an absent node with the beats. Dead nodes don't keep a node from leaving nor a cluster from
/// ending (C16): the plan says what comes of them, and they learn of it when they are back.
pub fn absent(action: &Action, plan: &Plan, picture: &Picture) -> Vec<Problem> {
    let (spares_dead, leaving) = match action {
        Action::CreateCluster(_) | Action::AddClusterNode(_) => (false, None),
        Action::RemoveClusterNode { node, .. } => (true, Some(node)),
        Action::DeleteCluster { .. } => (true, None),
        Action::Apply { .. } if members_change(plan, picture) => (false, None),
        _ => return Vec::new(),
    };
    let views = picture.best_views();
    let dead = |name: &NodeName| {
        let mut nodes = views.iter().flat_map(|v| &v.nodes);
        nodes.any(|n| n.name == *name && n.state == NodeState::Down)
    };
    // Members before and after: a cluster that ends has none any more.
    let before = |d: &ClusterDocument| picture.clusters.iter().find(|c| c.id == d.id);
    let members: BTreeSet<&NodeName> = plan
        .documents
        .iter()
        .flat_map(|d| {
            d.members
                .iter()
                .chain(before(d).into_iter().flat_map(|c| &c.members))
        })
        .map(|m| &m.name)
        .collect();
    members
        .into_iter()
        .filter(|name| Some(*name) != leaving && !(spares_dead && dead(name)))
        .filter_map(|name| Some((name, picture.silent.get(name)?)))
        .map(|(name, why)| Problem {
            rule: RuleId::of("U6"),
            place: format!("node {name}"),
            what: format!("it does not answer ({why})"),
            mend: "every member must be reachable for this; bring it back, or take it out with \
                   `backstay cluster remove-node`"
                .to_owned(),
        })
        .collect()
}

/// Whether a cluster gets other members than it has.
fn members_change(plan: &Plan, picture: &Picture) -> bool {
    let ids = |d: &ClusterDocument| d.members.iter().map(|m| m.id).collect::<BTreeSet<_>>();
    plan.documents.iter().any(|new| {
        let old = picture.clusters.iter().find(|c| c.id == new.id);
        old.is_none_or(|old| ids(old) != ids(new))
    })
}

/// Carries out a plan whose consequences have been accepted. `report` gets one line for each step.
///
/// # Errors
/// Says in one sentence whether anything was changed; [`Exit::Locked`] names owner and since when (U8).
pub fn apply(
    plan: &Plan,
    picture: &mut Picture,
    cancel: &Cancel,
    report: &mut dyn FnMut(&Told),
) -> Result<Applied, Failure> {
    if !plan.changed {
        return Ok(Applied::default());
    }
    let concerned = concerned(plan, picture);
    let reachable: Vec<NodeName> = concerned
        .iter()
        .filter(|name| picture.crew.has(name))
        .cloned()
        .collect();
    let behind: Vec<NodeName> = concerned
        .iter()
        .filter(|name| !picture.crew.has(name))
        .cloned()
        .collect();
    if reachable.is_empty() {
        return Err(Failure::new(
            Exit::Unreachable,
            "none of the nodes concerned answers; nothing was changed",
        ));
    }
    let parties = parties(plan, picture, &reachable);
    let crew = &mut picture.crew;
    lock(crew, &reachable, &plan.title, report)?;
    let result = carry_out(plan, crew, (&reachable, &parties), cancel, report);
    unlock(crew, &reachable);
    result.map(|on| Applied {
        changed: true,
        on,
        behind,
    })
}

/// U8. In the order of names, so that two admins can't each hold what the other waits for.
pub(super) fn lock(
    crew: &mut Crew,
    nodes: &[NodeName],
    what: &str,
    report: &mut dyn FnMut(&Told),
) -> Result<(), Failure> {
    report(&Told::line(format!(
        "taking the change lock on {}",
        list(nodes)
    )));
    for (at, name) in nodes.iter().enumerate() {
        let Some(client) = crew.get(name) else {
            continue;
        };
        let request = Request::Lock {
            what: what.to_owned(),
        };
        if let Err(error) = client.call::<Done>(request) {
            unlock(crew, &nodes[..at]);
            let failure = Failure::from(error);
            let message = format!("{}; nothing was changed", failure.message);
            let hint = if failure.exit == Exit::Locked {
                "wait until they are done, or ask them; a session that ends gives its lock back"
                    .to_owned()
            } else {
                failure.hint.clone().unwrap_or_default()
            };
            return Err(Failure { message, ..failure }.hint(hint));
        }
    }
    Ok(())
}

pub(super) fn unlock(crew: &mut Crew, nodes: &[NodeName]) {
    // A lock that can't be given back ends with the session.
    let _ = crew.each(nodes, |_, client| client.call::<Done>(Request::Unlock));
}

fn carry_out(
    plan: &Plan,
    crew: &mut Crew,
    (reachable, parties): (&[NodeName], &Parties),
    cancel: &Cancel,
    report: &mut dyn FnMut(&Told),
) -> Result<Vec<NodeName>, Failure> {
    let mut on: BTreeSet<NodeName> = BTreeSet::new();
    let mut staged: Vec<&ClusterDocument> = Vec::new();
    if cancel.is_set() {
        return Err(Failure::cancelled());
    }
    for document in &plan.documents {
        let members = &parties[&document.id];
        let line = format!(
            "staging revision {} of {} on {}",
            document.revision,
            document.name,
            list(members)
        );
        report(&Told::line(line).of(StepKind::Stage, members, Stage::Begins));
        let text = document.to_text();
        let answers = crew.each(members, move |_, client| {
            client.call::<Done>(Request::Stage { text: text.clone() })
        });
        staged.push(document);
        let refused = refusals(&answers, members);
        report(&Told::line("").of(StepKind::Stage, &well(&answers), Stage::Done));
        if !refused.is_empty() || cancel.is_set() {
            abandon(crew, &staged, parties);
            return Err(if refused.is_empty() {
                Failure::cancelled()
            } else {
                overtaken(crew, document, &refused).unwrap_or_else(|| not_staged(refused))
            });
        }
    }
    // From here on breaking off is not looked at: the change is made whole.
    for (at, document) in plan.documents.iter().enumerate() {
        let members = &parties[&document.id];
        let done = commit(document, crew, members, report);
        match done {
            Ok(nodes) => on.extend(nodes),
            Err(failure) => {
                if failure.changed == Changed::No {
                    abandon(crew, &staged[at..], parties);
                }
                return Err(if on.is_empty() {
                    failure
                } else {
                    failure.after_change()
                });
            }
        }
    }
    if let Some(system) = &plan.system {
        on.extend(put_system(system, crew, reachable, !on.is_empty(), report)?);
    }
    if let Some(order) = &plan.order {
        let committed = !on.is_empty();
        let given = give_order(order, crew, reachable, report);
        on.insert(given.map_err(|f| if committed { f.after_change() } else { f })?);
    }
    Ok(on.into_iter().collect())
}

/// To whom each document goes.
type Parties = BTreeMap<ClusterId, Vec<NodeName>>;

/// The members of each document that are reachable, and those that it takes out.
fn parties(plan: &Plan, picture: &Picture, reachable: &[NodeName]) -> Parties {
    let of = |document: &ClusterDocument| {
        let members = document.members.iter().map(|m| &m.name);
        let all: BTreeSet<&NodeName> = members.chain(leaving(document, picture)).collect();
        let here = reachable.iter().filter(|n| all.contains(n));
        (document.id, here.cloned().collect())
    };
    plan.documents.iter().map(of).collect()
}

/// Who did it.
fn well(answers: &BTreeMap<NodeName, Result<Done, RemoteError>>) -> Vec<NodeName> {
    let done = answers.iter().filter(|(_, answer)| answer.is_ok());
    done.map(|(name, _)| name.clone()).collect()
}

/// Who refused or broke off, or gave no answer at all.
fn refusals(
    answers: &BTreeMap<NodeName, Result<Done, RemoteError>>,
    asked: &[NodeName],
) -> Vec<(NodeName, RemoteError)> {
    asked
        .iter()
        .filter_map(|name| match answers.get(name) {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some((name.clone(), error.clone())),
            None => Some((
                name.clone(),
                RemoteError::Closed {
                    host: name.to_string(),
                    why: "its session has ended".to_owned(),
                },
            )),
        })
        .collect()
}

/// A node that answered "no" has not done it; one that broke off may have.
fn all_said_no(refused: &[(NodeName, RemoteError)]) -> bool {
    let no = |e: &RemoteError| e.fault().is_some_and(|f| !f.changed);
    refused.iter().all(|(_, error)| no(error))
}

/// U8: refused because somebody else was quicker. Every member says the same, so it is told once, with who it was.
fn overtaken(
    crew: &mut Crew,
    mine: &ClusterDocument,
    refused: &[(NodeName, RemoteError)],
) -> Option<Failure> {
    let plainly = |e: &RemoteError| {
        let fault = e.fault().filter(|f| f.code == Code::Refused);
        fault.is_some_and(|f| f.problems.is_empty())
    };
    let asked = refused.iter().filter(|(_, e)| plainly(e));
    let asked: Vec<NodeName> = asked.map(|(name, _)| name.clone()).collect();
    let cluster = mine.name.clone();
    let answers = crew.each(&asked, move |_, client| {
        let cluster = cluster.clone();
        client.call::<Text>(Request::DocumentGet { cluster })
    });
    let texts = answers.into_values().filter_map(Result::ok);
    let documents = texts.filter_map(|t| ClusterDocument::read(&t.text).ok());
    let newer = documents.filter(|d| d.id == mine.id && d.revision >= mine.revision);
    let theirs = newer.max_by_key(|d| d.revision)?;
    Some(
        Failure::new(
            Exit::Refused,
            format!(
                "somebody changed {} while you decided (revision {}: {}, by {}, {}); nothing of yours was done",
                theirs.name,
                theirs.revision,
                clean(&theirs.changed.what),
                clean(&theirs.changed.by),
                date(theirs.changed.at)
            ),
        )
        .hint("give the same order again: it is planned anew on what there is now")
        .again(),
    )
}

fn not_staged(refused: Vec<(NodeName, RemoteError)>) -> Failure {
    let mut problems: Vec<Problem> = Vec::new();
    let mut said = Vec::new();
    let mut exit = Exit::Refused;
    for (name, error) in refused {
        match error.fault() {
            Some(fault) if !fault.problems.is_empty() => {
                for problem in &fault.problems {
                    // Most refusals are every member's.
                    if !problems.contains(problem) {
                        problems.push(problem.clone());
                    }
                }
                said.push(format!("{name} refuses"));
            }
            Some(fault) => {
                exit = Failure::from(error.clone()).exit;
                said.push(format!("{name} refuses: {fault}"));
            }
            None => {
                exit = Exit::Unreachable;
                said.push(error.to_string());
            }
        }
    }
    Failure::new(
        exit,
        format!(
            "{}; abandoned everywhere, nothing was changed",
            said.join("; ")
        ),
    )
    .problems(problems)
}

fn abandon(crew: &mut Crew, documents: &[&ClusterDocument], parties: &Parties) {
    for document in documents {
        let cluster = document.id;
        // Who can't be told keeps a staged revision that is never committed; the next stage replaces it.
        let _ = crew.each(&parties[&cluster], move |_, client| {
            client.call::<Done>(Request::Abandon { cluster })
        });
    }
}

fn commit(
    document: &ClusterDocument,
    crew: &mut Crew,
    members: &[NodeName],
    report: &mut dyn FnMut(&Told),
) -> Result<Vec<NodeName>, Failure> {
    let line = format!(
        "committing revision {} of {}",
        document.revision, document.name
    );
    report(&Told::line(line).of(StepKind::Commit, members, Stage::Begins));
    let (cluster, revision) = (document.id, document.revision);
    let hash = hex::encode(hash_of(&document.to_text()));
    let answers = crew.each(members, move |_, client| {
        client.call::<Done>(Request::Commit {
            cluster,
            revision,
            hash: hash.clone(),
        })
    });
    let refused = refusals(&answers, members);
    let done = well(&answers);
    report(&Told::line("").of(StepKind::Commit, &done, Stage::Done));
    for (name, error) in &refused {
        if !done.is_empty() {
            let line = format!("{name} will learn of it from the others ({error})");
            let late = std::slice::from_ref(name);
            report(&Told::line(line).of(StepKind::Commit, late, Stage::Behind));
        }
    }
    if !done.is_empty() {
        return Ok(done);
    }
    let why: Vec<String> = refused.iter().map(|(_, e)| e.to_string()).collect();
    Err(if all_said_no(&refused) {
        Failure::new(
            Exit::Error,
            format!(
                "no node committed it ({}); nothing was changed",
                why.join("; ")
            ),
        )
    } else {
        Failure::new(
            Exit::Error,
            format!(
                "no node confirmed the commit ({}); whether it took effect is not known",
                why.join("; ")
            ),
        )
        .hint("`backstay cluster show` says which revision the nodes have")
        .changed(Changed::Unknown)
    })
}

fn put_system(
    system: &SystemDocument,
    crew: &mut Crew,
    reachable: &[NodeName],
    committed: bool,
    report: &mut dyn FnMut(&Told),
) -> Result<Vec<NodeName>, Failure> {
    let line = format!(
        "writing revision {} of the system document",
        system.revision
    );
    report(&Told::line(line).of(StepKind::System, reachable, Stage::Begins));
    let text = system.to_text();
    let answers = crew.each(reachable, move |_, client| {
        client.call::<Done>(Request::SystemPut { text: text.clone() })
    });
    let refused = refusals(&answers, reachable);
    let done = well(&answers);
    report(&Told::line("").of(StepKind::System, &done, Stage::Done));
    for (name, error) in &refused {
        let line = format!("{name} has not taken it: {error}");
        let late = std::slice::from_ref(name);
        report(&Told::line(line).of(StepKind::System, late, Stage::Behind));
    }
    if !done.is_empty() {
        return Ok(done);
    }
    let why: Vec<String> = refused.iter().map(|(_, e)| e.to_string()).collect();
    let half = |e: &RemoteError| e.fault().is_some_and(|f| f.changed);
    let half = refused.iter().any(|(_, e)| half(e));
    let sure = all_said_no(&refused);
    let (said, changed) = match (committed, half) {
        (true, _) if sure => (
            "the cluster was changed, but no node took the system document",
            Changed::Yes,
        ),
        (true, _) => (
            "the cluster was changed, but no node confirmed the system document",
            Changed::Yes,
        ),
        (false, true) => (
            "the system document was taken, but not carried out whole",
            Changed::Yes,
        ),
        (false, false) if sure => (
            "no node took the system document; nothing was changed",
            Changed::No,
        ),
        (false, false) => (
            "no node confirmed the system document; whether it took effect is not known",
            Changed::Unknown,
        ),
    };
    Err(Failure::new(Exit::Error, format!("{said} ({})", why.join("; "))).changed(changed))
}

/// One node is enough: it carries the order on with its beats. The target first, then whoever answers.
fn give_order(
    order: &MoveOrder,
    crew: &mut Crew,
    reachable: &[NodeName],
    report: &mut dyn FnMut(&Told),
) -> Result<NodeName, Failure> {
    let line = format!("ordering {} to {}", order.service, order.to);
    let to = std::slice::from_ref(&order.to);
    report(&Told::line(line).of(StepKind::Order, to, Stage::Begins));
    let target = reachable.iter().filter(|n| **n == order.to);
    let others = reachable.iter().filter(|n| **n != order.to);
    let mut lost: Vec<String> = Vec::new();
    for name in target.chain(others) {
        let Some(client) = crew.get(name) else {
            continue;
        };
        let request = Request::Move {
            cluster: order.cluster.clone(),
            service: order.service.clone(),
            to: order.to.clone(),
        };
        match client.call::<Done>(request) {
            Ok(_) => {
                report(&Told::line("").of(StepKind::Order, to, Stage::Done));
                return Ok(name.clone());
            }
            // A refusal is the answer; another node would only say the same.
            Err(error) if error.fault().is_some() && lost.is_empty() => return Err(error.into()),
            Err(error) => {
                report(&Told::line(format!("{name}: {error}")));
                lost.push(error.to_string());
                if error.fault().is_some() {
                    break;
                }
            }
        }
    }
    Err(if lost.is_empty() {
        Failure::new(
            Exit::Unreachable,
            "no node took the order; nothing was changed",
        )
    } else {
        // Whoever broke off may have taken it before.
        Failure::new(
            Exit::Unreachable,
            format!(
                "no node confirmed the order ({}); whether it took effect is not known",
                lost.join("; ")
            ),
        )
        .hint("`backstay status` says where the service runs")
        .changed(Changed::Unknown)
    })
}

/// Names in one line.
pub fn list(nodes: &[NodeName]) -> String {
    nodes
        .iter()
        .map(NodeName::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
