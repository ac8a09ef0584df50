//! A6: a further link for beats is a subnet on which the nodes have addresses of their own.

use ipnet::IpNet;

use super::draft::Draft;
use super::know::refusal;
use super::{ConsequenceKind, SetCluster};
use crate::model::{ClusterDocument, Member, Role};

/// The address that a node has on a subnet, as its machine says.
fn own(draft: &Draft<'_>, node: &Member, subnet: &IpNet) -> Option<IpNet> {
    let all = draft.now.bases.get(&node.name)?;
    all.iter()
        .find(|base| subnet.contains(&base.addr()))
        .copied()
}

fn is_on(member: &Member, subnet: &IpNet) -> bool {
    member.bases.iter().any(|b| subnet.contains(&b.addr()))
}

/// Gives each node the base address that it has on each of these subnets. A witness may be without.
pub(super) fn add(draft: &mut Draft<'_>, new: &mut ClusterDocument, subnets: &[IpNet]) {
    for subnet in subnets {
        let subnet = subnet.trunc();
        for at in 0..new.members.len() {
            let member = &new.members[at];
            if is_on(member, &subnet) {
                continue;
            }
            match own(draft, member, &subnet) {
                Some(base) => new.members[at].bases.push(base),
                None if member.role == Role::Witness => draft.say(
                    ConsequenceKind::Note,
                    format!(
                        "{} has no address on {subnet}: its beats do not use this link",
                        member.name
                    ),
                ),
                None => draft.refused.push(refusal(
                    "A6",
                    format!("node {}", member.name),
                    format!("no address of it on {subnet} is known"),
                    format!("give the machine an address there, or see with `backstay node check {}` whether it answers", member.name),
                )),
            }
        }
    }
}

/// The subnets of a cluster's further links, as its standby is on them.
pub(super) fn further(document: &ClusterDocument) -> Vec<IpNet> {
    let standby = document.with_role(Role::Standby).next();
    let bases = standby.iter().flat_map(|s| s.bases.iter().skip(1));
    bases.map(IpNet::trunc).collect()
}

/// A node that joins uses the links that the others use, as far as it is on them.
pub(super) fn join(draft: &mut Draft<'_>, old: &ClusterDocument, member: &mut Member) {
    for subnet in further(old) {
        if is_on(member, &subnet) {
            continue;
        }
        let Some(base) = own(draft, member, &subnet) else {
            draft.say(
                ConsequenceKind::Protection,
                format!(
                    "{} has no address on {subnet}: its beats do not use this link",
                    member.name
                ),
            );
            return; // links are told apart by their order
        };
        member.bases.push(base);
    }
}

/// What `cluster set` asks for.
pub(super) fn set(draft: &mut Draft<'_>, new: &mut ClusterDocument, wanted: &SetCluster) {
    for subnet in &wanted.no_links {
        let subnet = subnet.trunc();
        for member in &mut new.members {
            if member
                .bases
                .first()
                .is_some_and(|main| subnet.contains(&main.addr()))
            {
                draft.refused.push(refusal(
                    "A6",
                    format!("node {}", member.name),
                    format!("{subnet} is its first link, where the aliases are"),
                    "the subnet of a further link",
                ));
                return;
            }
            member.bases.retain(|b| !subnet.contains(&b.addr()));
        }
    }
    add(draft, new, &wanted.links);
}

/// U5: what comes of more or fewer links.
pub(super) fn effects(draft: &mut Draft<'_>, old: &ClusterDocument, new: &ClusterDocument) {
    let (before, after) = (further(old), further(new));
    for subnet in after.iter().filter(|s| !before.contains(s)) {
        draft.say(
            ConsequenceKind::Protection,
            format!("beats use {subnet} as well: a node counts as silent only when it is on every link (A6)"),
        );
    }
    for subnet in before.iter().filter(|s| !after.contains(s)) {
        draft.say(
            ConsequenceKind::Protection,
            format!("beats no longer use {subnet}"),
        );
    }
}
