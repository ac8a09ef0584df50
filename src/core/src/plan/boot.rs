//! C15: what becomes of the hosts' own network configuration.

use std::collections::BTreeSet;

use super::ConsequenceKind;
use super::draft::Draft;
use crate::engine::NodeState;
use crate::model::{Alias, AtBoot, ClusterDocument, NodeName, Service};

/// The aliases of new services no longer come up on their homes by themselves.
pub(super) fn taken(draft: &mut Draft<'_>, document: &ClusterDocument, added: &[Service]) {
    for (home, pair) in pairs(document, added) {
        let Some(known) = draft.now.boot.get(home) else {
            continue;
        };
        let Some(at) = known.iter().find(|a| a.address == pair.alias.addr()) else {
            continue; // It is not there now.
        };
        if at.fixed.is_empty() && !at.file.is_empty() {
            let sentence = format!(
                "{home}: {}: {} becomes {} at boot; the former file is kept (C15)",
                at.file, pair.alias, pair.base
            );
            draft.say(ConsequenceKind::Note, sentence);
            continue;
        }
        let why = if at.fixed.is_empty() {
            "its agent does not tell which file brings it up"
        } else {
            &at.fixed
        };
        let sentence = format!(
            "{} can't be kept away from {home} at boot by its own network configuration: {why}; the gate keeps it closed there until {home} may have it",
            pair.alias.addr()
        );
        draft.warn("host-network", "C15", sentence);
    }
}

/// The aliases of services that leave from home are ordinary addresses again.
pub(super) fn given_back(draft: &mut Draft<'_>, old: &ClusterDocument, leaving: &[&Service]) {
    let leaving: Vec<Service> = leaving.iter().map(|s| (*s).clone()).collect();
    let mut bases = BTreeSet::new();
    for (home, pair) in pairs(old, &leaving) {
        let Some(known) = draft.now.boot.get(home) else {
            continue;
        };
        let at = known.iter().find(|a| a.address == pair.base.addr());
        if let Some(at) = at.filter(|a| !a.file.is_empty()) {
            let sentence = format!(
                "{home}: {}: {} comes up at boot again (C15)",
                at.file, pair.alias
            );
            draft.say(ConsequenceKind::Note, sentence);
        }
        if !bases.insert((home, pair.base)) {
            continue;
        }
        let mut others = old.members.iter().filter(|m| m.name != *home);
        let heard = |name| {
            matches!(
                draft.now.state(old, name),
                NodeState::Up | NodeState::Suspect
            )
        };
        let when = if others.all(|m| heard(&m.name)) {
            "as soon as no connection uses it, after 10 min at the latest"
        } else {
            "with the next boot: who is away learns over it that the cluster has changed"
        };
        let sentence = format!(
            "{home} gives up its base address {} {when}, unless it had it before",
            pair.base.addr()
        );
        draft.say(ConsequenceKind::Note, sentence);
    }
}

/// The aliases of these services, each with its home and the base in its place.
fn pairs<'d>(
    document: &'d ClusterDocument,
    services: &[Service],
) -> impl Iterator<Item = (&'d NodeName, AtBoot)> {
    let homes: BTreeSet<&NodeName> = services.iter().filter_map(Service::home).collect();
    let aliases: BTreeSet<_> = services
        .iter()
        .flat_map(|s| &s.aliases)
        .map(Alias::ip)
        .collect();
    let members = document.members.iter().map(|m| &m.name);
    let homes: Vec<&NodeName> = members.filter(|name| homes.contains(name)).collect();
    homes
        .into_iter()
        .flat_map(|home| {
            document
                .at_boot(home)
                .into_iter()
                .map(move |pair| (home, pair))
        })
        .filter(move |(_, pair)| aliases.contains(&pair.alias.addr()))
}
