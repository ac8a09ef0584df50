//! The system document.

use super::{Found, is_plain, repeated, shown};
use crate::model::{NodeName, SystemDocument, SystemRole};

/// T4: this code knows form 1.
pub(super) fn t4_format(d: &SystemDocument, found: &mut Found) {
    if d.format != 1 {
        found.add(
            "T4",
            "format",
            format!("it is {}", d.format),
            "this version reads 1; a document of a newer version needs a newer agent",
        );
    }
}

/// T5, T6: lists and texts are bounded.
pub(super) fn t5_sizes(d: &SystemDocument, found: &mut Found) {
    for (what, have, most) in [
        ("nodes", d.nodes.len(), 1000),
        ("clusters", d.clusters.len(), 500),
        ("viewers", d.viewers.len(), 100),
    ] {
        if have > most {
            found.add(
                "T5",
                "system",
                format!("it has {have} {what}"),
                format!("at most {most}"),
            );
        }
    }
    if !is_plain(&d.changed.by, 128) || !is_plain(&d.changed.what, 300) {
        found.add(
            "T6",
            "changed",
            "`by` or `what` is too long or has control characters",
            "at most 128 and 300 characters, none of them control characters",
        );
    }
}

/// C13: names and identities are unique in the system.
pub(super) fn c13_unique(d: &SystemDocument, found: &mut Found) {
    for (name, ..) in repeated(d.nodes.iter().map(|n| (&n.name, ()))) {
        found.add(
            "C13",
            format!("node {name}"),
            "the name stands twice in the system",
            "give each node its own name",
        );
    }
    for (id, second, first) in repeated(d.nodes.iter().map(|n| (n.id, &n.name))) {
        found.add(
            "C13",
            format!("node {second}"),
            format!("its identity {id} is also {first}'s"),
            "an identity belongs to one node for all time",
        );
    }
    for (name, ..) in repeated(d.clusters.iter().map(|c| (&c.name, ()))) {
        found.add(
            "C13",
            format!("cluster {name}"),
            "the name stands twice in the system",
            "give each cluster its own name",
        );
    }
    for (id, second, first) in repeated(d.clusters.iter().map(|c| (c.id, &c.name))) {
        found.add(
            "C13",
            format!("cluster {second}"),
            format!("its identity {id} is also {first}'s"),
            "an identity belongs to one cluster for all time",
        );
    }
    for (contact, second, first) in repeated(d.nodes.iter().map(|n| (&n.contact, &n.name))) {
        found.add(
            "C13",
            format!("node {second}"),
            format!("its contact {} is also {first}'s", shown(contact)),
            "each node is another machine",
        );
    }
}

/// Contacts and host keys are what SSH understands, and nothing that a command line would take for more.
pub(super) fn contacts(d: &SystemDocument, found: &mut Found) {
    for n in &d.nodes {
        contact(&n.name, &n.contact, &n.host_keys, found);
    }
}

/// T6: how one node is reached.
pub(super) fn contact(node: &NodeName, contact: &str, host_keys: &[String], found: &mut Found) {
    let plain = |c: char| c.is_ascii_graphic() && !"'\"`$\\;|&<>(){}*?!#~,".contains(c);
    if contact.is_empty()
        || contact.len() > 255
        || contact.starts_with('-')
        || !contact.chars().all(plain)
    {
        found.add(
            "T6",
            format!("node {node}"),
            format!("its contact is `{}`", shown(contact)),
            "[USER@]HOST[:PORT]",
        );
    }
    for key in host_keys {
        let mut parts = key.split(' ');
        let (kind, data, rest) = (parts.next(), parts.next(), parts.next());
        let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
        let sound = kind.is_some_and(|k| !k.is_empty() && k.bytes().all(|b| b.is_ascii_graphic()))
            && data.is_some_and(|t| !t.is_empty() && t.bytes().all(base64))
            && rest.is_none()
            && key.len() <= 4096;
        if !sound {
            found.add(
                "T6",
                format!("node {node}"),
                format!("its host key is `{}`", shown(key)),
                "type and base64 with one space between, as in known_hosts",
            );
        }
    }
}

/// C3: members are nodes; a regular or standby node is in one cluster only.
pub(super) fn c3_members(d: &SystemDocument, found: &mut Found) {
    for c in &d.clusters {
        for (name, ..) in repeated(c.members.iter().map(|m| (m, ()))) {
            found.add(
                "C13",
                format!("cluster {}", c.name),
                format!("its member {name} stands twice"),
                "once is enough",
            );
        }
        for member in c.members.iter().filter(|m| d.node(m).is_none()) {
            found.add(
                "C8",
                format!("cluster {}", c.name),
                format!("its member {member} is not in the system"),
                "members are nodes of the system",
            );
        }
    }
    for n in d.nodes.iter().filter(|n| n.role != SystemRole::Witness) {
        let names: Vec<&str> = d.clusters_of(&n.name).map(|c| c.name.as_str()).collect();
        if names.len() > 1 {
            found.add(
                "C3",
                format!("node {}", n.name),
                format!("it is in {} clusters: {}", names.len(), names.join(", ")),
                "a regular or standby node belongs to one cluster only; a witness may serve several",
            );
        }
    }
}

/// C8: a free node is in no cluster, a regular one in one.
pub(super) fn c8_roles(d: &SystemDocument, found: &mut Found) {
    for n in &d.nodes {
        let cluster = d.clusters_of(&n.name).next();
        match (n.role, cluster) {
            (SystemRole::Free, Some(c)) => found.add(
                "C8",
                format!("node {}", n.name),
                format!("it is free and in the cluster {}", c.name),
                "a member is regular, standby or witness",
            ),
            (SystemRole::Regular, None) => found.add(
                "C8",
                format!("node {}", n.name),
                "it is regular and in no cluster",
                "a node outside clusters is free, standby or witness",
            ),
            _ => {}
        }
    }
}

/// Kinds of public keys that sshd knows (sshd(8), `authorized_keys`).
const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// U11: each viewer has a name and a key of their own, and neither says more to sshd than that: they stand in a file
/// that lets people in.
pub(super) fn u11_viewers(d: &SystemDocument, found: &mut Found) {
    for v in &d.viewers {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"@._-".contains(&b);
        if v.name.is_empty() || v.name.len() > 64 || !v.name.bytes().all(plain) {
            found.add(
                "U11",
                format!("viewer {}", shown(&v.name)),
                "that is no name for a viewer",
                "1 to 64 letters, digits and `@._-`",
            );
        }
        let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
        let sound = v.key.split_once(' ').is_some_and(|(kind, data)| {
            KINDS.contains(&kind) && data.len() >= 32 && data.bytes().all(base64)
        });
        if !sound || v.key.len() > 4096 {
            found.add(
                "U11",
                format!("viewer {}", shown(&v.name)),
                format!("the key is `{}`", shown(&v.key)),
                format!(
                    "the line of a public key as in id_ed25519.pub: one of {}, a space, base64",
                    KINDS.join(", ")
                ),
            );
        }
        if !is_plain(&v.by, 128) {
            found.add(
                "T6",
                format!("viewer {}", shown(&v.name)),
                "`by` is too long or has control characters",
                "at most 128 characters, none of them control characters",
            );
        }
    }
    for (name, ..) in repeated(d.viewers.iter().map(|v| (&v.name, ()))) {
        found.add(
            "U11",
            format!("viewer {}", shown(name)),
            "the name stands twice in the system",
            "give each viewer a name of their own",
        );
    }
    for (_, second, first) in repeated(d.viewers.iter().map(|v| (&v.key, &v.name))) {
        found.add(
            "U11",
            format!("viewer {}", shown(second)),
            format!("the key is also {}'s", shown(first)),
            "a key belongs to one viewer, or the audit could not tell them apart",
        );
    }
}
