//! Which hosts, whether they are who they say, whether they are fit, what they shall be.

use std::collections::BTreeSet;
use std::rc::Rc;

use backstay_core::model::{NodeName, SystemRole};

use super::{Next, Work, ask, failed};
use crate::remote::Contact;
use crate::setup::draft::{Draft, host_key};
use crate::setup::question::{Answer, Choice, Key, Kind, Question};
use crate::setup::suggest;
use crate::setup::system::{Known, Present};

/// Most hosts of one set-up: ten regular nodes, a standby, and witnesses (C1, C2).
const MOST: usize = 16;

/// Nodes that a new cluster could have.
fn at_hand(present: &Present) -> Vec<&Known> {
    let fit = |n: &&Known| n.cluster.is_none() || n.role == SystemRole::Witness;
    let nodes: Vec<&Known> = present.nodes.iter().filter(fit).collect();
    if nodes.len() <= MOST {
        nodes
    } else {
        Vec::new()
    }
}

pub(super) fn hosts(draft: &Draft) -> Option<Next> {
    let key = Key::of(["hosts"]);
    if draft.has(&key) {
        return None;
    }
    let present = draft.present.clone().unwrap_or_default();
    let free = at_hand(&present);
    let mut help = vec![
        "Each as [USER@]HOST[:PORT], with blanks between; the user is root where none is named. Your SSH key must let you in.".to_owned(),
    ];
    if !free.is_empty() {
        let names: Vec<&str> = free.iter().map(|n| n.name.as_str()).collect();
        help.push(format!("Nodes already, and at hand: {}.", names.join(", ")));
    }
    let contacts: Vec<String> = free.iter().map(|n| n.contact.clone()).collect();
    let default = (!contacts.is_empty()).then_some(Answer::Words(contacts));
    ask(Question {
        default: draft.or_before(&key, default),
        key,
        prompt: "Hosts".to_owned(),
        help,
        kind: Kind::Words(
            Rc::new(move |word| {
                let host: Contact = word.parse().map_err(|e| format!("{e}"))?;
                let same = |n: &&Known| {
                    let contact = n.contact.parse::<Contact>();
                    contact.is_ok_and(|c| (c.host, c.port) == (host.host.clone(), host.port))
                };
                match present.nodes.iter().find(same) {
                    Some(known) => usable(known, word).map(|()| host.to_string()),
                    None => Ok(host.to_string()),
                }
            }),
            Rc::new(|words| {
                let unique: BTreeSet<&String> = words.iter().collect();
                match (words.len(), unique.len()) {
                    (all, different) if all != different => {
                        Err("one host is named twice".to_owned())
                    }
                    (0 | 1, _) => {
                        Err("at least two hosts: one at home, one to stand in".to_owned())
                    }
                    (all, _) if all > MOST => Err(format!("{all} are too many: at most {MOST}")),
                    _ => Ok(()),
                }
            }),
        ),
    })
}

/// C3: a node of another cluster can't be taken.
pub(crate) fn usable(known: &Known, host: &str) -> Result<(), String> {
    match &known.cluster {
        Some(cluster) if known.role != SystemRole::Witness => Err(format!(
            "{host} is the node {}, which is in the cluster {cluster}",
            known.name
        )),
        _ => Ok(()),
    }
}

pub(super) fn trust(draft: &Draft) -> Option<Next> {
    let hosts = draft.hosts();
    let unseen = hosts.iter().filter(|h| !draft.shown.contains_key(h));
    let unseen: Vec<Contact> = unseen.cloned().collect();
    if !unseen.is_empty() {
        return Some(Next::Do(Work::Look(unseen)));
    }
    let host = hosts
        .iter()
        .find(|h| draft.known(h).is_none() && draft.print(h).is_none())?;
    let shown = draft.shown.get(host)?;
    ask(Question {
        key: host_key(host, "key"),
        prompt: format!("Is that the key of {host}?"),
        help: vec![
            format!("{host} shows the host key {} {}", shown.kind, shown.print),
            "Compare it with what its console shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub). It is pinned: from then on nothing else is taken for this host.".to_owned(),
        ],
        default: None,
        kind: Kind::HostKey(shown.print.clone()),
    })
}

pub(super) fn checks(draft: &Draft) -> Option<Next> {
    let hosts = draft.hosts();
    let new = hosts.iter().filter(|h| draft.known(h).is_none());
    let new: Vec<&Contact> = new.collect();
    let unseen = new.iter().filter(|h| !draft.inspected.contains_key(h));
    let unseen: Vec<(Contact, String)> = unseen
        .filter_map(|h| Some(((*h).clone(), draft.print(h)?.to_owned())))
        .collect();
    if !unseen.is_empty() {
        return Some(Next::Do(Work::Inspect(unseen)));
    }
    let findings = new.iter().filter_map(|h| draft.inspected.get(h));
    let findings: Vec<_> = findings.flat_map(|i| &i.findings).collect();
    failed(draft, Key::of(["checks", "hosts"]), &findings)
}

pub(super) fn roles(draft: &Draft) -> Option<Next> {
    let hosts = draft.hosts();
    for host in &hosts {
        if draft.name_of(host).is_none() {
            return name(draft, &hosts, host);
        }
        if draft.role_of(host).is_none() {
            return role(draft, &hosts, host);
        }
    }
    None
}

fn name(draft: &Draft, hosts: &[Contact], host: &Contact) -> Option<Next> {
    let nodes = draft.present.iter().flat_map(|p| &p.nodes);
    let mut taken: BTreeSet<NodeName> = nodes.map(|n| n.name.clone()).collect();
    taken.extend(hosts.iter().filter_map(|h| draft.name_of(h)));
    let hostname = draft.inspected.get(host).map(|i| i.hostname.as_str());
    let fits = |name: &String| name.parse::<NodeName>().is_ok_and(|n| !taken.contains(&n));
    let default = suggest::name(hostname.unwrap_or_default())
        .filter(fits)
        .or_else(|| (1..=u16::MAX).map(|n| format!("n{n}")).find(fits));
    let key = host_key(host, "name");
    ask(Question {
        default: draft.or_before(&key, default.map(Answer::Word)),
        key,
        prompt: format!("Name of {host} as a node"),
        help: Vec::new(),
        kind: Kind::Word(Rc::new(move |word| {
            let name = word.parse::<NodeName>().map_err(|e| e.to_string())?;
            if taken.contains(&name) {
                return Err(format!("another node is called {name}"));
            }
            Ok(name.into())
        })),
    })
}

fn role(draft: &Draft, hosts: &[Contact], host: &Contact) -> Option<Next> {
    let name = draft.name_of(host)?;
    let others = |role| {
        let mut others = hosts.iter().filter(|h| *h != host);
        others.find(|h| draft.role_of(h) == Some(role))
    };
    let standby = others(SystemRole::Standby).and_then(|h| draft.name_of(h));
    let has_regular = others(SystemRole::Regular).is_some();
    // The one asked last settles whether there is one of each.
    let last = hosts
        .iter()
        .all(|h| h == host || draft.role_of(h).is_some());
    let spare = ["sb", "standby", "spare", "backup"];
    let looks_spare = spare.iter().any(|s| name.as_str().starts_with(s));
    let default = if standby.is_none() && (last || looks_spare) {
        "standby"
    } else {
        "regular"
    };
    let key = host_key(host, "role");
    let choices = [
        Choice::new("regular", "services are at home here"),
        Choice::new("standby", "takes over from whichever regular node fails"),
        Choice::new("witness", "only watches, and votes later"),
        Choice::new("free", "a node of the system, not of this cluster"),
    ];
    // C1, C2: a cluster has one standby and at least one regular node.
    let fits = |c: &Choice| match (c.word.as_str(), &standby) {
        ("standby", Some(_)) => false,
        ("standby", None) => !last || has_regular,
        (_, None) if last => false,
        ("regular", _) => true,
        _ => !last || has_regular,
    };
    let help = standby
        .as_ref()
        .map(|s| format!("{s} is the standby; a cluster has one."));
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Word(default.to_owned()))),
        key,
        prompt: format!("Role of {name}"),
        help: help.into_iter().collect(),
        kind: Kind::One(choices.into_iter().filter(fits).collect(), None),
    })
}

pub(super) fn install(draft: &Draft) -> Option<Next> {
    let hosts = draft.hosts();
    let new: Vec<(Contact, String, NodeName)> = hosts
        .iter()
        .filter(|h| draft.known(h).is_none())
        .filter_map(|h| Some((h.clone(), draft.print(h)?.to_owned(), draft.name_of(h)?)))
        .collect();
    let roles: Vec<(NodeName, SystemRole)> = hosts
        .iter()
        .filter_map(|h| {
            let wanted = draft.role_of(h)?;
            let is = draft.known(h).map_or(SystemRole::Free, |k| k.role);
            let lacks = matches!(wanted, SystemRole::Standby | SystemRole::Witness) && is != wanted;
            Some((draft.name_of(h).filter(|_| lacks)?, wanted))
        })
        .collect();
    let key = Key::of(["install"]);
    if (!new.is_empty() || !roles.is_empty()) && !draft.has(&key) {
        return ask(Question {
            key,
            prompt: "Go on with that?".to_owned(),
            help: announce(&new, &roles),
            default: None,
            kind: Kind::Yes,
        });
    }
    if !new.is_empty() {
        return Some(Next::Do(Work::Admit(new)));
    }
    if !roles.is_empty() {
        return Some(Next::Do(Work::Assign(roles)));
    }
    let members = draft.members();
    let all = |l: &crate::setup::system::Learned| members.iter().all(|m| l.facts.contains_key(m));
    let Some(learned) = draft.learned.as_ref().filter(|l| all(l)) else {
        return Some(Next::Do(Work::Learn(members)));
    };
    let findings: Vec<_> = learned.findings.iter().collect();
    failed(draft, Key::of(["checks", "nodes"]), &findings)
}

/// U5: what comes of it, before it is done.
fn announce(new: &[(Contact, String, NodeName)], roles: &[(NodeName, SystemRole)]) -> Vec<String> {
    let mut said = Vec::new();
    if !new.is_empty() {
        let names: Vec<String> = new
            .iter()
            .map(|(host, _, name)| format!("{name} ({host})"))
            .collect();
        said.push(format!(
            "The agent is installed on {} and started; they become nodes of the system. Nothing else there is stopped or changed.",
            names.join(", ")
        ));
    }
    for (name, role) in roles {
        said.push(format!(
            "{name} becomes {}.",
            crate::output::lists::role(*role)
        ));
    }
    said.push("To undo it: `backstay node role N free`, `backstay node remove N`.".to_owned());
    said
}
