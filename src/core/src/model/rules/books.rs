//! What a document says of itself.

use super::{Found, is_plain};
use crate::model::{ClusterDocument, MAX_ALIASES, MAX_MEMBERS, MAX_SERVICES};

/// The largest whole number that the text form holds.
const MOST: u64 = i64::MAX as u64;

/// T4: this code knows form 1.
pub(super) fn t4_format(d: &ClusterDocument, found: &mut Found) {
    if d.format != 1 {
        found.add(
            "T4",
            "format",
            format!("it is {}", d.format),
            "this version reads 1; a document of a newer version needs a newer agent",
        );
    }
}

/// T5: lists are bounded, so that beats and memory are.
pub(super) fn t5_sizes(d: &ClusterDocument, found: &mut Found) {
    let mut bound = |place: String, what: &str, have: usize, most: usize| {
        if have > most {
            found.add(
                "T5",
                place,
                format!("it has {have} {what}"),
                format!("at most {most}"),
            );
        }
    };
    let cluster = || format!("cluster {}", d.name);
    bound(cluster(), "members", d.members.len(), MAX_MEMBERS);
    bound(cluster(), "services", d.services.len(), MAX_SERVICES);
    bound(cluster(), "keys", d.keys.len(), 4);
    bound(cluster(), "former nodes", d.former.len(), 64);
    bound(cluster(), "base records", d.bases.len(), MAX_SERVICES);
    for m in &d.members {
        let place = || format!("node {}", m.name);
        bound(place(), "base addresses", m.bases.len(), 8);
        bound(place(), "labels", m.labels.len(), 16);
    }
    for s in &d.services {
        let place = || format!("service {}", s.name);
        bound(place(), "alias addresses", s.aliases.len(), MAX_ALIASES);
        bound(place(), "units", s.units.len(), 16);
        bound(place(), "commands", s.commands.len(), 16);
        bound(place(), "hooks", s.hooks.len(), 16);
        bound(place(), "data sets", s.data.len(), 16);
        bound(place(), "required labels", s.requires.len(), 16);
        bound(place(), "files", s.files.len(), 64);
    }
}

/// T5: no number is above what the text form holds, so that every document can be written.
pub(super) fn t5_numbers(d: &ClusterDocument, found: &mut Found) {
    let locks = d
        .services
        .iter()
        .filter_map(|s| Some((s, s.lock.as_ref()?)));
    let locks = locks.flat_map(|(s, l)| {
        [l.at, l.until.unwrap_or_default()].map(|n| (format!("service {}, lock", s.name), n))
    });
    let terms = d
        .bases
        .iter()
        .map(|b| (format!("base record of service {}", b.service.0), b.term));
    let works = d
        .members
        .iter()
        .filter_map(|m| Some((m, m.maintenance.as_ref()?)));
    let works = works
        .flat_map(|(m, w)| [w.at, w.until].map(|n| (format!("node {}, maintenance", m.name), n)));
    let changed = core::iter::once(("changed, at".to_owned(), d.changed.at));
    for (place, number) in changed.chain(works).chain(locks).chain(terms) {
        if number > MOST {
            found.add(
                "T5",
                place,
                format!("it says {number}"),
                format!("0 to {MOST}"),
            );
        }
    }
}

/// T6: texts that are shown hold no control characters and end.
pub(super) fn t6_texts(d: &ClusterDocument, found: &mut Found) {
    let texts = [
        ("changed, by", &d.changed.by, 128),
        ("changed, what", &d.changed.what, 300),
        ("arbiter", &d.arbiter, 200),
    ];
    for (place, text, most) in texts {
        if !is_plain(text, most) {
            found.add(
                "T6",
                place,
                format!(
                    "it has {} characters or control characters",
                    text.chars().count()
                ),
                format!("at most {most} characters, none of them control characters"),
            );
        }
    }
    for f in &d.former {
        if let Some(by) = &f.replaced {
            super::system::contact(&f.name, &by.contact, &by.host_keys, found);
        }
    }
    let labels = d.members.iter().flat_map(|m| {
        m.labels
            .iter()
            .map(move |l| (format!("node {}", m.name), l))
    });
    let required = d.services.iter().flat_map(|s| {
        s.requires
            .iter()
            .map(move |l| (format!("service {}", s.name), l))
    });
    for (place, label) in labels.chain(required) {
        if label.is_empty() || !is_plain(label, 32) {
            found.add(
                "T6",
                place,
                format!("the label `{}`", super::shown(label)),
                "1 to 32 characters, none of them control characters",
            );
        }
    }
}

/// PROTOCOL 1: the epoch is a revision that was.
pub(super) fn protocol_1_revisions(d: &ClusterDocument, found: &mut Found) {
    if d.revision == 0 || d.revision > MOST {
        found.add(
            "PROTOCOL 1",
            "revision",
            format!("it is {}", d.revision),
            format!("1 to {MOST}, one more with each change"),
        );
    }
    if d.epoch == 0 || d.epoch > d.revision {
        found.add(
            "PROTOCOL 1",
            "epoch",
            format!("it is {}", d.epoch),
            format!(
                "1 to the revision, {}: the last revision that changed who may vote or hold",
                d.revision
            ),
        );
    }
}

/// C7: the notice of a cluster's end has nobody in it.
pub(super) fn c7_deleted(d: &ClusterDocument, found: &mut Found) {
    if d.deleted && !(d.members.is_empty() && d.services.is_empty()) {
        found.add(
            "C7",
            format!("cluster {}", d.name),
            format!(
                "it is deleted and has {} nodes and {} services",
                d.members.len(),
                d.services.len()
            ),
            "a deleted cluster has none; its nodes stand under `former`",
        );
    }
}
