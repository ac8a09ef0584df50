//! PROTOCOL 3: the key that beats and documents are signed with is exchanged in the running system, as keepalived
//! rolls out its HMAC (`vrrp_auth_hmac.h`: receive, permissive, enforce). Each step is a revision, and is planned only
//! where every member has the one before: so whatever is signed is understood by everybody at every moment.

use super::draft::Draft;
use super::know::{names, refusal};
use super::{Aim, ConsequenceKind, Plan, Secret, Situation, StepKind};
use crate::engine::NodeState;
use crate::model::{ClusterDocument, ClusterName, Key, KeyStage, NodeName, Problem};

/// The check that is overridden by who goes on without a member: it can't learn of the change by itself.
pub const MEMBER_AWAY: &str = "member-away";

pub(super) fn rotate(
    mut draft: Draft<'_>,
    cluster: &ClusterName,
    secret: &Secret,
    behind: &[NodeName],
) -> Result<Plan, Vec<Problem>> {
    let found = draft.now.cluster(cluster);
    let Some(old) = draft.check(found) else {
        return Err(draft.refused);
    };
    let (mut have, away) = confirmed(&draft.now, old);
    if have.is_empty() {
        draft.refused.push(refusal(
            "PROTOCOL 3",
            format!("cluster {cluster}"),
            "none of its nodes is heard",
            "reach one of its nodes first: `backstay node list` tells their contacts",
        ));
        return Err(draft.refused);
    }
    let new = next_step(&mut draft, old, secret);
    draft.say(
        ConsequenceKind::Outage,
        "none: each node understands the old and the new key until the last one has the new",
    );
    let (mut first, away): (Vec<_>, Vec<_>) = away.into_iter().partition(|n| behind.contains(n));
    catch_up(&mut draft, old, &first);
    left_behind(&mut draft, old, &away);
    let revision = old.revision.saturating_add(1);
    draft.document(Some(old), new);
    have.append(&mut first);
    draft.aim(Aim::Has {
        cluster: cluster.clone(),
        revision,
        nodes: have,
    });
    draft.done()
}

/// Who has the present revision by its own word, and who has not.
fn confirmed(now: &Situation<'_>, document: &ClusterDocument) -> (Vec<NodeName>, Vec<NodeName>) {
    let seen = |name: &NodeName| {
        let view = now.view(document).ok()?;
        view.nodes.iter().find(|n| n.name == *name)
    };
    let has = |name: &NodeName| {
        seen(name).is_some_and(|n| {
            let current = n.revision.is_some_and(|r| r >= document.revision);
            n.state == NodeState::Up && current
        })
    };
    let all = document.members.iter().map(|m| m.name.clone());
    all.partition(has)
}

fn next_step(draft: &mut Draft<'_>, old: &ClusterDocument, secret: &Secret) -> ClusterDocument {
    let mut new = old.clone();
    let name = &old.name;
    match old.key_stage() {
        KeyStage::Settled => {
            let id = free_id(&old.keys);
            draft.retitle(format!(
                "exchange the key of {name}, 1 of 3: all get key {id}"
            ));
            draft.say(
                ConsequenceKind::Note,
                "three revisions: every node gets the new key; then it signs; then the old one is dropped. Each waits until every node has the one before",
            );
            new.keys.push(Key {
                id,
                secret: secret.0.clone(),
                signs: false,
            });
        }
        KeyStage::Known => {
            let last = new.keys.len().saturating_sub(1);
            for (at, key) in new.keys.iter_mut().enumerate() {
                key.signs = at == last;
            }
            let id = new.keys.last().map_or(0, |k| k.id);
            draft.retitle(format!(
                "exchange the key of {name}, 2 of 3: key {id} signs"
            ));
        }
        KeyStage::Signs => {
            let dropped: Vec<String> = (old.keys.iter().filter(|k| !k.signs))
                .map(|k| k.id.to_string())
                .collect();
            let dropped = dropped.join(", ");
            draft.retitle(format!(
                "exchange the key of {name}, 3 of 3: drop key {dropped}"
            ));
            new.keys.retain(|key| key.signs);
            if !old.former.is_empty() {
                let former = names(old.former.iter().map(|f| &f.name));
                draft.say(
                    ConsequenceKind::Note,
                    format!("a node that was taken out while it was off ({former}) does not learn of that from the others any more"),
                );
            }
        }
    }
    new
}

/// The next number that no key has.
fn free_id(keys: &[Key]) -> u8 {
    let last = keys.last().map_or(0, |k| k.id);
    let after = (1..=u8::MAX).map(|n| last.wrapping_add(n));
    let mut free = after.filter(|id| keys.iter().all(|k| k.id != *id));
    free.next().unwrap_or_default()
}

/// Who was left behind by an earlier exchange and answers the admin is no reason to wait.
fn catch_up(draft: &mut Draft<'_>, old: &ClusterDocument, first: &[NodeName]) {
    if first.is_empty() {
        return;
    }
    let (who, revision, name) = (names(first), old.revision, &old.name);
    draft.say(
        ConsequenceKind::Note,
        format!("not up to date, and getting revision {revision} of {name} first: {who}"),
    );
    let sentence = format!("bring {who} up to revision {revision} of {name}");
    draft.step(StepKind::CatchUp, first.to_vec(), sentence);
}

/// A node without the key that signs hears nobody and is heard by nobody: nothing tells it from one that is cut off.
fn left_behind(draft: &mut Draft<'_>, old: &ClusterDocument, away: &[NodeName]) {
    for node in away {
        let view = draft.now.view(old).ok();
        let seen = view.and_then(|v| v.nodes.iter().find(|n| n.name == *node));
        let why = match seen.filter(|n| n.state == NodeState::Up) {
            Some(n) => format!(
                "has revision {} of {}, not {}",
                n.revision.map_or("none".to_owned(), |r| r.to_string()),
                old.name,
                old.revision
            ),
            None => "is not heard".to_owned(),
        };
        draft.warn(
            MEMBER_AWAY,
            "PROTOCOL 3",
            format!(
                "{node} {why}: left without the new key it hears nobody on its return, and may start its services beside the others (S1). Bring it back first, or take it out of the cluster; left behind, it gets the key from the next `backstay key rotate {}` that reaches it",
                old.name
            ),
        );
    }
}

/// What is true after the step.
pub(super) fn truth(cluster: &ClusterName, now: &Situation<'_>) -> String {
    let Ok(document) = now.cluster(cluster) else {
        return String::new();
    };
    match document.key_stage() {
        KeyStage::Settled => format!("every node of {cluster} has the new key"),
        KeyStage::Known => format!("the nodes of {cluster} sign with the new key"),
        KeyStage::Signs => format!("{cluster} has a new key, and the old one is worth nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_twice_at_a_time() {
        let key = |id| Key {
            id,
            secret: String::new(),
            signs: false,
        };
        assert_eq!(free_id(&[key(1)]), 2);
        assert_eq!(free_id(&[key(0), key(255)]), 1);
    }
}
