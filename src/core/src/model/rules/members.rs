//! Who is in the cluster, and how it is protected.

use core::time::Duration;

use super::{Found, is_plain, repeated};
use crate::model::{ClusterDocument, MAX_MOVES_PER_HOUR, Role, Safety};
use crate::time::span;

/// Most regular nodes (C1).
const MOST_REGULAR: usize = 10;

/// C1: 1 to 10 regular nodes.
pub(super) fn c1_regular_nodes(d: &ClusterDocument, found: &mut Found) {
    let regular = d.with_role(Role::Regular).count();
    if !d.deleted && !(1..=MOST_REGULAR).contains(&regular) {
        found.add(
            "C1",
            format!("cluster {}", d.name),
            format!("it has {regular} regular nodes"),
            format!("1 to {MOST_REGULAR}"),
        );
    }
}

/// C2: exactly one standby.
pub(super) fn c2_one_standby(d: &ClusterDocument, found: &mut Found) {
    let names: Vec<&str> = d
        .with_role(Role::Standby)
        .map(|m| m.name.as_str())
        .collect();
    if !d.deleted && names.len() != 1 {
        let what = if names.is_empty() {
            "it has no standby node".to_owned()
        } else {
            format!("it has {} standby nodes: {}", names.len(), names.join(", "))
        };
        found.add(
            "C2",
            format!("cluster {}", d.name),
            what,
            "exactly one node with role = \"standby\"",
        );
    }
}

/// C13: names and identities of nodes are unique.
pub(super) fn c13_members(d: &ClusterDocument, found: &mut Found) {
    for (name, ..) in repeated(d.members.iter().map(|m| (&m.name, ()))) {
        found.add(
            "C13",
            format!("node {name}"),
            "the name stands twice in this cluster",
            "give each node its own name",
        );
    }
    for (id, second, first) in repeated(d.members.iter().map(|m| (m.id, &m.name))) {
        found.add(
            "C13",
            format!("node {second}"),
            format!("its identity {id} is also {first}'s"),
            "an identity belongs to one node for all time; `backstay node show` tells it",
        );
    }
}

/// F3: what a standby carries; the others carry nothing that is not theirs.
pub(super) fn f3_capacity(d: &ClusterDocument, found: &mut Found) {
    for m in d.with_role(Role::Standby) {
        if !(1..=32).contains(&m.capacity) {
            found.add(
                "F3",
                format!("node {}", m.name),
                format!("its capacity is {}", m.capacity),
                "1 to 32 services that it carries at once",
            );
        }
    }
}

/// F10: how many moves an hour are borne.
pub(super) fn f10_moves(d: &ClusterDocument, found: &mut Found) {
    if !(1..=MAX_MOVES_PER_HOUR).contains(&d.moves_per_hour) {
        found.add(
            "F10",
            "moves_per_hour",
            format!("it is {}", d.moves_per_hour),
            format!("1 to {MAX_MOVES_PER_HOUR} moves of a service within an hour, before it asks for a human"),
        );
    }
}

/// The longest maintenance; what takes longer is begun anew, by somebody who looks.
const LONGEST_MAINTENANCE: u64 = 7 * 24 * 3600;

/// F17: maintenance says who and why, and ends by itself.
pub(super) fn f17_maintenance(d: &ClusterDocument, found: &mut Found) {
    for m in &d.members {
        let Some(work) = &m.maintenance else { continue };
        let place = format!("node {}", m.name);
        if work.by.is_empty() || !is_plain(&work.by, 128) || !is_plain(&work.reason, 160) {
            found.add(
                "F17",
                &place,
                "its maintenance's `by` or `reason` is empty, too long or has control characters",
                "who began it (1 to 128 characters) and why (at most 160)",
            );
        }
        let lasts = work.until.saturating_sub(work.at);
        if !(1..=LONGEST_MAINTENANCE).contains(&lasts) {
            found.add(
                "F17",
                &place,
                format!("its maintenance lasts {}", span(Duration::from_secs(lasts))),
                format!(
                    "1 s to {}; what takes longer is begun again",
                    span(Duration::from_secs(LONGEST_MAINTENANCE))
                ),
            );
        }
    }
}

/// PROTOCOL 1: a node that is out is out.
pub(super) fn protocol_1_former(d: &ClusterDocument, found: &mut Found) {
    for f in &d.former {
        if let Some(member) = d.member_by_id(f.id) {
            found.add(
                "PROTOCOL 1",
                format!("former node {}", f.name),
                format!("its identity {} is the member {}'s", f.id, member.name),
                "take it out of `former`: it is back",
            );
        }
    }
    for (id, second, first) in repeated(d.former.iter().map(|f| (f.id, &f.name))) {
        found.add(
            "PROTOCOL 1",
            format!("former node {second}"),
            format!("its identity {id} stands twice under `former`, also as {first}"),
            "once is enough",
        );
    }
}

/// S2, S3: exclusive needs three voters, and comes later.
pub(super) fn s2_exclusive(d: &ClusterDocument, found: &mut Found) {
    if d.safety != Safety::Exclusive {
        return;
    }
    let voters = d.members.len();
    if voters < 3 {
        found.add(
            "S2",
            "safety",
            format!("it is exclusive with {voters} voters"),
            "exclusive needs a majority of at least three voters: add a node or a witness, or use available",
        );
    }
    found.add(
        "S3",
        "safety",
        "it is exclusive, which this version can't keep yet (it comes later)",
        "use available: two holders are possible while the network is cut (S1)",
    );
}

/// S6: an arbiter comes with exclusive.
pub(super) fn s6_arbiter(d: &ClusterDocument, found: &mut Found) {
    if !d.arbiter.is_empty() {
        found.add(
            "S6",
            "arbiter",
            format!(
                "it is `{}`, and this version can't ask an arbiter yet (it comes later)",
                super::shown(&d.arbiter)
            ),
            "leave it out",
        );
    }
}

/// C6, P1: preloaded is for pairs, and comes later.
pub(super) fn c6_preloaded(d: &ClusterDocument, found: &mut Found) {
    if !d.preloaded {
        return;
    }
    let regular = d.with_role(Role::Regular).count();
    if regular != 1 {
        found.add(
            "C6",
            "preloaded",
            format!("the cluster has {regular} regular nodes"),
            "preloaded needs exactly one regular and one standby node",
        );
    }
    found.add(
        "P1",
        "preloaded",
        "it is true, which this version can't do yet (it comes later)",
        "leave it out: the standby starts the service when it takes over",
    );
}

/// PROTOCOL 3: beats are signed with one key and verified with any.
pub(super) fn protocol_3_keys(d: &ClusterDocument, found: &mut Found) {
    let rule = "PROTOCOL 3";
    let signing = d.keys.iter().filter(|k| k.signs).count();
    if signing != 1 {
        found.add(
            rule,
            "key",
            format!("{signing} of {} keys sign", d.keys.len()),
            "exactly one key with signs = true",
        );
    }
    for (id, ..) in repeated(d.keys.iter().map(|k| (k.id, ()))) {
        found.add(
            rule,
            format!("key {id}"),
            "its id stands twice",
            "give each key its own id",
        );
    }
    for k in &d.keys {
        let digits = k.secret.bytes().filter(u8::is_ascii_hexdigit).count();
        if digits != 64 || k.secret.len() != 64 {
            found.add(
                rule,
                format!("key {}", k.id),
                format!("its secret has {} characters, {digits} of them hexadecimal digits", k.secret.chars().count()),
                "32 random bytes as 64 hexadecimal digits; `not shown` is understood by `backstay apply` alone",
            );
        } else if k.secret.bytes().all(|b| b == k.secret.as_bytes()[0]) {
            found.add(
                rule,
                format!("key {}", k.id),
                "its secret is one digit repeated",
                "32 random bytes as 64 hexadecimal digits",
            );
        }
    }
}
