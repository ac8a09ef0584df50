//! One rule, one function, one id. Rules of SPEC.md have their id there; those of the protocol are called
//! `PROTOCOL n`; those of the written text itself begin with T (T1 to T3 are the reader's).

mod addresses;
mod books;
mod members;
mod placing;
mod services;
mod system;
mod timing;

use super::{ClusterDocument, NodeId, NodeName, Problem, RuleId, SystemDocument};

/// What was found so far.
#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(
        &mut self,
        rule: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.0.push(Problem {
            rule: RuleId::of(rule),
            place: place.into(),
            what: what.into(),
            mend: mend.into(),
        });
    }
}

type Rule = fn(&ClusterDocument, &mut Found);

/// The rules that need nothing but the document, in the order in which their problems are told.
const RULES: [Rule; 35] = [
    books::t4_format,
    books::t5_sizes,
    books::t5_numbers,
    books::t6_texts,
    books::protocol_1_revisions,
    books::c7_deleted,
    members::c1_regular_nodes,
    members::c2_one_standby,
    members::c13_members,
    members::f3_capacity,
    members::f10_moves,
    members::f17_maintenance,
    members::protocol_1_former,
    members::s2_exclusive,
    members::s6_arbiter,
    members::c6_preloaded,
    members::protocol_3_keys,
    addresses::c14_base_addresses,
    addresses::c14_alias_addresses,
    addresses::c4_one_subnet,
    addresses::c5_alias_on_base_subnet,
    addresses::c13_addresses,
    addresses::s1_reference,
    addresses::a6_links_in_one_order,
    services::c13_services,
    services::c1_nodes_of_services,
    services::f12_units,
    services::f12_commands,
    services::c9_files,
    services::f3_requirements,
    services::l1_lock,
    services::l4_lock_texts,
    services::later_steps,
    services::protocol_29_bases,
    timing::protocol_36_timing,
];

impl ClusterDocument {
    /// Everything in this document that a rule refuses; empty: it is sound.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Found::default();
        for rule in RULES {
            rule(self, &mut found);
        }
        found.0
    }

    /// What the rest of the system refuses: C3, C8 and C13 by the system document and the documents of the
    /// other clusters (this cluster's own among them is passed over).
    pub fn against_system(&self, system: &SystemDocument, others: &[Self]) -> Vec<Problem> {
        let mut found = Found::default();
        placing::c8_roles(self, system, &mut found);
        placing::c3_one_cluster(self, system, &mut found);
        placing::c13_cluster_name(self, system, others, &mut found);
        for other in others.iter().filter(|o| o.id != self.id && !o.deleted) {
            placing::c13_between(self, other, &mut found);
            placing::c3_between(self, other, &mut found);
        }
        found.0
    }

    /// What a node refuses when this document is staged on it: it is somebody else (C13), or in another
    /// cluster already (C3). `mine` are the documents of the clusters that this node is in.
    pub fn against_node(&self, name: &NodeName, id: NodeId, mine: &[Self]) -> Vec<Problem> {
        let mut found = Found::default();
        placing::c13_me(self, name, id, &mut found);
        for other in mine.iter().filter(|o| o.id != self.id && !o.deleted) {
            placing::c3_me(self, other, name, id, &mut found);
            placing::c13_between(self, other, &mut found);
        }
        found.0
    }
}

impl SystemDocument {
    /// Everything in this document that a rule refuses; empty: it is sound.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Found::default();
        system::t4_format(self, &mut found);
        system::t5_sizes(self, &mut found);
        system::c13_unique(self, &mut found);
        system::contacts(self, &mut found);
        system::c3_members(self, &mut found);
        system::c8_roles(self, &mut found);
        system::u11_viewers(self, &mut found);
        found.0
    }
}

/// Each value that stands there more than once, with the places of the second and later ones.
fn repeated<K, P>(entries: impl IntoIterator<Item = (K, P)>) -> Vec<(K, P, P)>
where
    K: Ord + Clone,
    P: Clone,
{
    let mut first = std::collections::BTreeMap::new();
    let mut again = Vec::new();
    for (key, place) in entries {
        match first.get(&key) {
            Some(earlier) => again.push((key, place, P::clone(earlier))),
            None => {
                first.insert(key, place);
            }
        }
    }
    again
}

/// Neither control characters nor more than `most` characters: it will stand on terminals.
fn is_plain(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}

/// A foreign text for a sentence: bounded, without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .take(64)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
