//! What runs where: services, their addresses and units.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;

use backstay_core::model::{NodeName, ServiceName, SystemRole};
use backstay_wire::rpc::{Facts, clean};
use ipnet::IpNet;

use super::{Next, ask};
use crate::setup::draft::{Draft, node_key, service_key};
use crate::setup::question::{Answer, Check, Choice, Kind, Question};
use crate::setup::suggest;

pub(super) fn services(draft: &Draft) -> Option<Next> {
    let nodes = draft.with_role(SystemRole::Regular);
    nodes.iter().find_map(|node| of_node(draft, node))
}

fn of_node(draft: &Draft, node: &NodeName) -> Option<Next> {
    let facts = draft.learned.as_ref()?.facts.get(node)?;
    if !draft.has(&node_key(node, "services")) {
        return names(draft, node, facts);
    }
    let services = draft.services(node);
    for service in &services {
        if !draft.has(&service_key(service, "alias")) {
            return alias(draft, node, service, facts);
        }
    }
    if !draft.has(&node_key(node, "base")) {
        return base(draft, node, facts);
    }
    for service in &services {
        if !draft.has(&service_key(service, "units")) {
            return units(draft, node, service, facts);
        }
        if !draft.has(&service_key(service, "priority")) {
            return priority(draft, service);
        }
        if !draft.has(&service_key(service, "fallback")) {
            return fallback(draft, service);
        }
    }
    None
}

fn names(draft: &Draft, node: &NodeName, facts: &Facts) -> Option<Next> {
    let nodes = draft.with_role(SystemRole::Regular);
    let taken: BTreeSet<ServiceName> = nodes.iter().flat_map(|n| draft.services(n)).collect();
    let mut default = suggest::service(facts, node.as_str());
    if taken.iter().any(|t| t.as_str() == default) {
        default = suggest::name(&format!("{default}-{node}")).unwrap_or(default);
    }
    let key = node_key(node, "services");
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Words(vec![default]))),
        key,
        prompt: format!("Services at home on {node}"),
        help: vec![
            "A service is what moves to the standby as a whole: units and the addresses that clients use. Usually a host has one; more are named with blanks between.".to_owned(),
        ],
        kind: Kind::Words(
            Rc::new(move |word| {
                let name = word.parse::<ServiceName>().map_err(|e| e.to_string())?;
                if taken.contains(&name) {
                    return Err(format!("another service is called {name}"));
                }
                Ok(name.into())
            }),
            Rc::new(|words| {
                let unique: BTreeSet<&String> = words.iter().collect();
                if words.is_empty() {
                    return Err("a regular node has at least one service (C1)".to_owned());
                }
                if unique.len() != words.len() {
                    return Err("one service is named twice".to_owned());
                }
                Ok(())
            }),
        ),
    })
}

/// Addresses that are an alias already, of this cluster or another.
fn aliases(draft: &Draft) -> BTreeSet<IpAddr> {
    let nodes = draft.with_role(SystemRole::Regular);
    let services = nodes.iter().flat_map(|n| draft.services(n));
    let own = services.flat_map(|s| draft.nets(&service_key(&s, "alias")));
    let taken = draft.learned.iter().flat_map(|l| &l.taken);
    own.map(|net| net.addr()).chain(taken.copied()).collect()
}

/// A typed address; a prefix that was left out is that of the subnet it is on.
fn with_prefix(word: &str, near: &[IpNet]) -> Result<IpNet, String> {
    if let Ok(net) = word.parse() {
        return Ok(net);
    }
    let bad = || {
        format!(
            "`{}` is no address; use one like 192.0.2.1/24",
            word.escape_debug()
        )
    };
    let ip: IpAddr = word.parse().map_err(|_| bad())?;
    let subnet = near.iter().find(|n| n.contains(&ip));
    subnet
        .and_then(|n| IpNet::new(ip, n.prefix_len()).ok())
        .ok_or_else(|| {
            format!("the prefix length of {ip} is missing, and no known subnet has it; use {ip}/24")
        })
}

fn alias(draft: &Draft, node: &NodeName, service: &ServiceName, facts: &Facts) -> Option<Next> {
    let taken = aliases(draft);
    let found = suggest::addresses(facts);
    let near: Vec<IpNet> = found.iter().map(|(net, _)| *net).collect();
    let free: Vec<(IpNet, &str)> = found
        .into_iter()
        .filter(|(net, _)| !taken.contains(&net.addr()))
        .collect();
    // The address by which the admin came is probably the one that others know too.
    let mut hosts = draft.hosts().into_iter();
    let contact = hosts.find(|h| draft.name_of(h).as_ref() == Some(node));
    let contact = contact.and_then(|c| c.host.parse::<IpAddr>().ok());
    let by_contact = free.iter().find(|(net, _)| Some(net.addr()) == contact);
    let default = by_contact.or(free.first()).map(|(net, _)| net.to_string());
    let choices = free
        .iter()
        .map(|(net, interface)| Choice {
            word: net.to_string(),
            label: format!("{net} on {}", clean(interface)),
        })
        .collect();
    let key = service_key(service, "alias");
    let other: Check = Rc::new(move |word| {
        let net = with_prefix(word, &near)?;
        if taken.contains(&net.addr()) {
            return Err(format!("{} is an alias or base already (C13)", net.addr()));
        }
        Ok(net.to_string())
    });
    ask(Question {
        default: draft.or_before(&key, default.map(|d| Answer::Words(vec![d]))),
        key,
        prompt: format!("Address that clients of {service} use today"),
        help: vec![
            "The address that clients use today becomes the alias address, which moves with the service: no client is reconfigured, and no connection breaks now (C11).".to_owned(),
        ],
        kind: Kind::Many(1, choices, Some(other)),
    })
}

/// Who has an address, as far as it is known.
fn holder(draft: &Draft, node: &NodeName, ip: IpAddr) -> Option<String> {
    if aliases(draft).contains(&ip) {
        return Some("an alias or base already".to_owned());
    }
    let nodes = draft.with_role(SystemRole::Regular);
    let mut others = nodes.iter().filter(|n| *n != node);
    if let Some(other) = others.find(|n| {
        let bases = draft.nets(&node_key(n, "base"));
        bases.iter().any(|b| b.addr() == ip)
    }) {
        return Some(format!("the base of {other}"));
    }
    let facts = draft.learned.iter().flat_map(|l| &l.facts);
    facts.into_iter().find_map(|(name, facts)| {
        let has = suggest::addresses(facts)
            .iter()
            .any(|(net, _)| net.addr() == ip);
        if facts.gateways.contains(&ip) {
            Some(format!("the gateway of {name}"))
        } else if has && name != node {
            Some(format!("an address of {name}"))
        } else {
            None
        }
    })
}

fn base(draft: &Draft, node: &NodeName, facts: &Facts) -> Option<Next> {
    let services = draft.services(node);
    let aliases: Vec<IpNet> = services
        .iter()
        .flat_map(|s| draft.nets(&service_key(s, "alias")))
        .collect();
    let mut subnets: Vec<IpNet> = aliases.iter().map(IpNet::trunc).collect();
    subnets.sort_unstable();
    subnets.dedup();
    let named: Vec<String> = subnets.iter().map(ToString::to_string).collect();
    // An address of its own beside the aliases is its base already.
    let has: Vec<String> = suggest::addresses(facts)
        .into_iter()
        .map(|(net, _)| net)
        .filter(|net| subnets.contains(&net.trunc()) && holder(draft, node, net.addr()).is_none())
        .map(|net| net.to_string())
        .collect();
    let covers = |bases: &[String]| {
        subnets.iter().all(|s| {
            let mut nets = bases.iter().filter_map(|b| b.parse::<IpNet>().ok());
            nets.any(|b| b.trunc() == *s)
        })
    };
    let default = covers(&has).then_some(Answer::Words(has));
    let key = node_key(node, "base");
    let (draft_then, node_then) = (draft.clone(), node.clone());
    let check: Check = Rc::new(move |word| {
        let net = with_prefix(word, &aliases)?;
        let (ip, subnet) = (
            net.addr(),
            aliases.iter().find(|a| a.trunc() == net.trunc()),
        );
        let Some(subnet) = subnet else {
            return Err(format!(
                "{net} is not on the subnet of an alias of {node_then} (C5)"
            ));
        };
        if !suggest::is_host_of(*subnet, ip) {
            return Err(format!("{ip} is no host's address on {}", subnet.trunc()));
        }
        match holder(&draft_then, &node_then, ip) {
            Some(who) => Err(format!("{ip} is {who}")),
            None => Ok(net.to_string()),
        }
    });
    let wanted = subnets.clone();
    ask(Question {
        default: draft.or_before(&key, default),
        key,
        prompt: format!("Base address of {node}"),
        help: vec![format!(
            "The address that stays with the machine, on {}: how {node} itself is reached from now on, since the alias moves. It must be one that nobody uses: what the nodes have is checked, other equipment can't be seen from here.",
            named.join(" and ")
        )],
        kind: Kind::Words(
            check,
            Rc::new(move |bases| {
                let lacks = wanted.iter().find(|s| {
                    let mut nets = bases.iter().filter_map(|b| b.parse::<IpNet>().ok());
                    !nets.any(|b| b.trunc() == **s)
                });
                match lacks {
                    Some(subnet) => Err(format!("one base address on {subnet} is needed (C5)")),
                    None => Ok(()),
                }
            }),
        ),
    })
}

fn units(draft: &Draft, node: &NodeName, service: &ServiceName, facts: &Facts) -> Option<Next> {
    let services = draft.services(node);
    let taken: BTreeSet<String> = services
        .iter()
        .filter_map(|s| draft.words(&service_key(s, "units")))
        .flatten()
        .cloned()
        .collect();
    let standby = draft.with_role(SystemRole::Standby).into_iter().next();
    let there = standby
        .as_ref()
        .and_then(|s| draft.learned.as_ref()?.facts.get(s));
    let lacks = |name: &str| there.is_some_and(|f| !f.units.iter().any(|u| u.name == name));
    let choices: Vec<Choice> = suggest::units(facts)
        .into_iter()
        .filter(|u| !taken.contains(&u.name))
        .map(|u| {
            let missing = match &standby {
                Some(standby) if lacks(&u.name) => format!("; not on {standby}"),
                _ => String::new(),
            };
            Choice {
                word: u.name.clone(),
                label: clean(&format!("{}: {}{missing}", u.name, u.active)),
            }
        })
        .collect();
    let mut default = suggest::units_of(facts, service.as_str());
    default.retain(|u| !taken.contains(u));
    let known: BTreeSet<String> = facts.units.iter().map(|u| u.name.clone()).collect();
    let home = node.clone();
    let other: Check = Rc::new(move |word| {
        let full = if word.contains('.') {
            word.to_owned()
        } else {
            format!("{word}.service")
        };
        if taken.contains(&full) {
            return Err(format!("{full} belongs to another service of {home} (F12)"));
        }
        if !known.contains(&full) {
            return Err(format!("{home} has no unit {}", full.escape_debug()));
        }
        Ok(full)
    });
    let key = service_key(service, "units");
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Words(default))),
        key,
        prompt: format!("Units of {service}"),
        help: vec![format!(
            "systemd units that start and stop with {service}, in this order. The standby needs them too. None: only the addresses move."
        )],
        kind: Kind::Many(0, choices, Some(other)),
    })
}

fn priority(draft: &Draft, service: &ServiceName) -> Option<Next> {
    let key = service_key(service, "priority");
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Number(100))),
        key,
        prompt: format!("Priority of {service}"),
        help: vec![
            "If more nodes fail than the standby carries, the lowest value goes first.".to_owned(),
        ],
        kind: Kind::Number(0, u64::from(u16::MAX)),
    })
}

fn fallback(draft: &Draft, service: &ServiceName) -> Option<Next> {
    let key = service_key(service, "fallback");
    let choices = vec![
        Choice::new("manual", "it stays on the standby until you order it home"),
        Choice::new("automatic", "once home has been healthy for 300 s"),
    ];
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Word("manual".to_owned()))),
        key,
        prompt: format!("How {service} returns home"),
        help: Vec::new(),
        kind: Kind::One(choices, None),
    })
}
