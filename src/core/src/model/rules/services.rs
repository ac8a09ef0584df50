//! Services: where they may run, what runs, and who held them.

use super::{Found, is_plain, repeated, shown};
use crate::model::{
    AddressKind, ClusterDocument, Instances, NodeName, Role, Service, ServiceId, Unit, UnitMode,
};

fn place(s: &Service) -> String {
    format!("service {}", s.name)
}

/// C13: names and numbers of services are unique, and numbers are never given again.
pub(super) fn c13_services(d: &ClusterDocument, found: &mut Found) {
    for (name, ..) in repeated(d.services.iter().map(|s| (&s.name, ()))) {
        found.add(
            "C13",
            format!("service {name}"),
            "the name stands twice in this cluster",
            "give each service its own name",
        );
    }
    for (id, second, first) in repeated(d.services.iter().map(|s| (s.id, &s.name))) {
        found.add(
            "C13",
            format!("service {second}"),
            format!("its number {} is also {first}'s", id.0),
            "give each service its own number",
        );
    }
    for s in &d.services {
        if s.id >= d.next_service {
            found.add(
                "C13",
                place(s),
                format!(
                    "its number {} is not below next_service, {}",
                    s.id.0, d.next_service.0
                ),
                "next_service is above every number ever given in this cluster",
            );
        }
    }
}

/// C1 and the table of words: a service's nodes are its home, a regular node, and the standby.
pub(super) fn c1_nodes_of_services(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        let mut known = true;
        for name in &s.nodes {
            if d.member(name).is_none() {
                known = false;
                found.add(
                    "C1",
                    place(s),
                    format!("its node {name} is not in the cluster"),
                    "nodes of this cluster: home, then the standby",
                );
            }
        }
        if !known {
            continue;
        }
        let roles: Vec<Role> = s
            .nodes
            .iter()
            .filter_map(|n| d.member(n))
            .map(|m| m.role)
            .collect();
        if roles != [Role::Regular, Role::Standby] {
            let names: Vec<&str> = s.nodes.iter().map(NodeName::as_str).collect();
            found.add(
                "C1",
                place(s),
                format!("its nodes are [{}]", names.join(", ")),
                "two nodes: home, which is a regular node, then the standby",
            );
        }
    }
    // A regular node without a service would vote and do nothing: say so rather than keep it.
    for m in d.with_role(Role::Regular) {
        if !d.services.iter().any(|s| s.home() == Some(&m.name)) {
            found.add(
                "C1",
                format!("node {}", m.name),
                "it is regular and home of no service",
                "give it a service, or make it a witness",
            );
        }
    }
}

/// Why a text is no name of a service unit (systemd.unit(5)); none: it is one.
fn bad_unit(name: &str) -> Option<&'static str> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let stem = name.strip_suffix(".service");
    if name.len() > 255 {
        Some("is longer than 255 characters")
    } else if name.contains('/') || name.contains("..") {
        Some("is a path")
    } else if !name.bytes().all(safe) {
        Some("has characters that no unit name has")
    } else if stem.is_none_or(str::is_empty) {
        Some("does not end in .service")
    } else if stem.is_some_and(|s| s.starts_with(['.', '@', '-']) || s.ends_with('@')) {
        Some("is a template or begins with a sign")
    } else {
        None
    }
}

/// F12: units are units, each of one service only.
pub(super) fn f12_units(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        for u in &s.units {
            if let Some(why) = bad_unit(&u.name) {
                found.add(
                    "F12",
                    place(s),
                    format!("its unit `{}` {why}", shown(&u.name)),
                    "the full name of a service unit, such as web.service",
                );
            }
        }
        for (name, ..) in repeated(s.units.iter().map(|u| (&u.name, ()))) {
            found.add(
                "F12",
                place(s),
                format!("its unit {} stands twice", shown(name)),
                "once is enough",
            );
        }
    }
    // Two services may use one unit name on different homes; the standby has it only once, which matters
    // where it carries more than one service.
    let carries_more = d.with_role(Role::Standby).any(|m| m.capacity > 1);
    for (n, s) in d.services.iter().enumerate() {
        for first in &d.services[..n] {
            let same_home = s.home() == first.home();
            let clash = s.units.iter().find(|u| {
                let goes_along = |v: &Unit| {
                    v.name == u.name
                        && (same_home
                            || (carries_more
                                && u.mode != UnitMode::HomeOnly
                                && v.mode != UnitMode::HomeOnly))
                };
                first.units.iter().any(goes_along)
            });
            if let Some(unit) = clash {
                let node = if same_home { s.home() } else { s.nodes.last() };
                found.add(
                    "F12",
                    place(s),
                    format!(
                        "its unit {} is also {}'s on {}",
                        shown(&unit.name),
                        first.name,
                        node.map_or("the same node", |n| n.as_str())
                    ),
                    "a unit belongs to one of a node's services: stopping one would stop the other",
                );
            }
        }
    }
}

/// F12: commands and hooks name a program by its full path.
pub(super) fn f12_commands(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        let mut check = |what: &str, line: &[String], needed: bool| {
            let why = match line.first() {
                None if needed => Some("is empty".to_owned()),
                Some(program) if !program.starts_with('/') || program.contains("/../") => {
                    Some(format!("is `{}`", shown(program)))
                }
                Some(_) if line.len() > 64 || line.iter().any(|a| a.len() > 4096) => {
                    Some("is longer than 64 arguments of 4,096 bytes".to_owned())
                }
                Some(_) if line.iter().any(|a| a.contains('\0')) => {
                    Some("holds a NUL byte".to_owned())
                }
                None | Some(_) => None,
            };
            if let Some(why) = why {
                found.add(
                    "F12",
                    place(s),
                    format!("its {what} command {why}"),
                    "a program by its full path, then its arguments; no shell reads it",
                );
            }
        };
        for c in &s.commands {
            check("start", &c.start, true);
            check("stop", &c.stop, true);
            check("check", &c.check, false);
        }
        for h in &s.hooks {
            check("hook", &h.run, true);
        }
        for c in &s.commands {
            if !(100..=3_600_000).contains(&c.timeout_ms) {
                found.add(
                    "F14",
                    place(s),
                    format!("a command's timeout_ms is {}", c.timeout_ms),
                    "100 to 3,600,000 ms",
                );
            }
        }
    }
}

/// C9: static files are named by their full path, so that every node means the same one. Flags separate by commas.
pub(super) fn c9_files(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        for file in &s.files {
            let full = file.starts_with('/') && !file.ends_with('/');
            let plain = is_plain(file, 1024) && !file.contains(',');
            if !full || !plain || file.split('/').any(|part| part == "..") {
                found.add(
                    "C9",
                    place(s),
                    format!("its file is `{}`", shown(file)),
                    "the full path of a file, at most 1,024 characters, without commas, `..` and control characters",
                );
            }
        }
        for (file, ..) in repeated(s.files.iter().map(|f| (f, ()))) {
            found.add(
                "C9",
                place(s),
                format!("its file {} stands twice", shown(file)),
                "once is enough",
            );
        }
    }
}

/// F3: a node carries what a service requires.
pub(super) fn f3_requirements(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        for m in s.nodes.iter().filter_map(|n| d.member(n)) {
            for label in s.requires.iter().filter(|l| !m.labels.contains(l)) {
                found.add(
                    "F3",
                    place(s),
                    format!(
                        "it requires the label {}, which {} has not",
                        shown(label),
                        m.name
                    ),
                    "give the node the label, or take the requirement out",
                );
            }
        }
    }
}

/// L1: a service is locked where it may run.
pub(super) fn l1_lock(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        if let Some(lock) = &s.lock
            && !s.nodes.contains(&lock.node)
        {
            let names: Vec<&str> = s.nodes.iter().map(NodeName::as_str).collect();
            found.add(
                "L1",
                place(s),
                format!("it is locked to {}, where it may not run", lock.node),
                format!("one of its nodes: {}", names.join(", ")),
            );
        }
    }
}

/// L4, L3: a lock says who, when and why, and ends after it began.
pub(super) fn l4_lock_texts(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        let Some(lock) = &s.lock else { continue };
        if lock.by.is_empty() || !is_plain(&lock.by, 128) || !is_plain(&lock.reason, 200) {
            found.add(
                "L4",
                place(s),
                "its lock's `by` or `reason` is empty, too long or has control characters",
                "who locked it (1 to 128 characters) and why (at most 200)",
            );
        }
        if lock.until.is_some_and(|until| until <= lock.at) {
            found.add(
                "L3",
                place(s),
                format!(
                    "its lock ends at {}, before it began at {}",
                    lock.until.unwrap_or_default(),
                    lock.at
                ),
                "an end after the beginning, in seconds since 1970 UTC, or none",
            );
        }
    }
}

/// What the form has room for and this version can't do yet: refused rather than passed over in silence.
pub(super) fn later_steps(d: &ClusterDocument, found: &mut Found) {
    for s in &d.services {
        if s.instances == Instances::All {
            found.add(
                "F1",
                place(s),
                "instances is all, which this version can't do yet (it comes later)",
                "leave it out: one node runs the service at a time",
            );
        }
        for a in s.aliases.iter().filter(|a| a.kind != AddressKind::Alias) {
            found.add(
                "C14",
                place(s),
                format!(
                    "the kind of {} is not `alias`, which this version can't do yet (it comes later)",
                    a.address
                ),
                "leave `kind` out: the address moves with the service",
            );
        }
        for data in &s.data {
            found.add(
                "D1",
                place(s),
                format!(
                    "the data set `{}` would not be copied: this version can't do that yet (it comes later)",
                    shown(&data.name)
                ),
                "leave it out, and see to the data by other means",
            );
        }
    }
}

/// PROTOCOL 29: who held what is said once for each service, and it may run there.
pub(super) fn protocol_29_bases(d: &ClusterDocument, found: &mut Found) {
    let rule = "PROTOCOL 29";
    let at = |id: ServiceId| format!("base record of service {}", id.0);
    for (id, ..) in repeated(d.bases.iter().map(|b| (b.service, ()))) {
        found.add(
            rule,
            at(id),
            "it stands twice",
            "one record for each service",
        );
    }
    for b in &d.bases {
        let Some(s) = d.service(b.service) else {
            found.add(
                rule,
                at(b.service),
                "no service has this number",
                "take the record out",
            );
            continue;
        };
        match &b.holder {
            Some(holder) if !s.nodes.contains(holder) => found.add(
                rule,
                at(b.service),
                format!("its holder {holder} may not run {}", s.name),
                "one of the service's nodes, or none",
            ),
            Some(_) if b.term == 0 => found.add(
                rule,
                at(b.service),
                "it has a holder under term 0",
                "a holder has a term of 1 or more",
            ),
            _ => {}
        }
    }
}
