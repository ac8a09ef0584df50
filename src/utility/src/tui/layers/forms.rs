//! The forms of the entries, and the command line that each of them makes. What is offered comes from the
//! picture; what is typed is checked by the model's own parsers.

use std::fmt::Write as _;

use backstay_core::engine::ServiceView;
use backstay_core::model::{ClusterName, NodeName, ServiceName, SystemRole};
use clap::Parser;

use super::super::menu::Id;
use super::super::model::Model;
use super::form::{Check, Choice, Field, Form, Kind, Purpose};
use super::present;
use crate::cli::args::Arguments;
use crate::cli::spec::{ServiceSpec, address};
use crate::remote::Contact;

fn parsed<T: std::str::FromStr<Err = E>, E: std::fmt::Display>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(|_| ()).map_err(|e| e.to_string())
}

fn addresses(text: &str) -> Result<(), String> {
    text.split_whitespace().try_for_each(address)
}

fn units(text: &str) -> Result<(), String> {
    let wrong = text.chars().find(|c| ",'\"\\".contains(*c));
    wrong.map_or(Ok(()), |c| {
        Err(format!(
            "`{c}` is in no unit's name; blanks stand between units"
        ))
    })
}

fn time(text: &str) -> Result<(), String> {
    humantime::parse_duration(text)
        .map(|_| ())
        .map_err(|_| format!("`{}` is no time; use 30m, 90s or 2h", text.escape_debug()))
}

fn priority(text: &str) -> Result<(), String> {
    text.parse::<u16>()
        .map(|_| ())
        .map_err(|_| format!("`{}` is no priority; use 0 to 65535", text.escape_debug()))
}

fn reason(text: &str) -> Result<(), String> {
    if text.chars().count() > 120 {
        return Err("at most 120 characters".to_owned());
    }
    Ok(())
}

fn text(id: &'static str, label: &'static str, needed: bool, check: Check, help: &str) -> Field {
    Field {
        id,
        label,
        help: help.to_owned(),
        kind: Kind::Text {
            value: String::new(),
            check,
        },
        present: String::new(),
        needed,
        wrong: None,
    }
}

/// A choice; marked is the one that is `wanted`, else the first.
fn choice(
    id: &'static str,
    label: &'static str,
    options: Vec<Choice>,
    wanted: Option<&str>,
    help: &str,
) -> Field {
    let at = options
        .iter()
        .position(|o| Some(o.value.as_str()) == wanted);
    // A choice of nothing is a choice, where there is one.
    let needed = options.iter().all(|o| !o.value.is_empty());
    Field {
        id,
        label,
        help: help.to_owned(),
        kind: Kind::Choice {
            options,
            at: at.unwrap_or(0),
        },
        present: String::new(),
        needed,
        wrong: None,
    }
}

fn option(value: impl Into<String>, label: impl Into<String>) -> Choice {
    Choice {
        value: value.into(),
        label: label.into(),
    }
}

fn fixed(values: &[(&str, &str)]) -> Vec<Choice> {
    values.iter().map(|(v, l)| option(*v, *l)).collect()
}

fn nodes(model: &Model, role: SystemRole) -> Vec<Choice> {
    let nodes = model.nodes_in(role).filter(|(_, clusters)| *clusters == 0);
    nodes
        .map(|(n, _)| {
            option(
                n.name.as_str(),
                format!("{} ({})", n.name, backstay_wire::rpc::clean(&n.contact)),
            )
        })
        .collect()
}

fn clusters(model: &Model) -> Vec<Choice> {
    model
        .clusters
        .iter()
        .map(|c| option(c.name.as_str(), c.name.as_str()))
        .collect()
}

fn services(model: &Model, wanted: impl Fn(&ServiceView) -> bool) -> Vec<Choice> {
    let found = model.services().filter(|(_, s)| wanted(s));
    found
        .map(|(cluster, s)| {
            option(
                s.name.as_str(),
                format!("{} ({}, {})", s.name, cluster.name, whereabouts(s)),
            )
        })
        .collect()
}

fn whereabouts(service: &ServiceView) -> String {
    let on: Vec<&str> = service.running_on.iter().map(NodeName::as_str).collect();
    match (
        on.is_empty(),
        service.running_on.as_slice() == [service.home.clone()],
    ) {
        (true, _) => "runs nowhere".to_owned(),
        (_, true) => format!("at home on {}", service.home),
        _ => format!("on {}, home {}", on.join(", "), service.home),
    }
}

const FALLBACKS: &[(&str, &str)] = &[
    ("", "as it is"),
    ("manual", "manual: on an order"),
    ("auto", "automatic: as soon as home has recovered"),
];

/// The form of an entry; none: it needs none.
pub fn form(id: Id, model: &Model) -> Option<Form> {
    let (cluster, node, service) = model.marked();
    let cluster = cluster.map(ClusterName::as_str);
    let node = node.map(NodeName::as_str);
    let service = service.map(ServiceName::as_str);
    let name_help = "1 to 32 lowercase letters, digits and `-`";
    let fields = match id {
        Id::AddNode => vec![
            text(
                "host",
                "Host",
                true,
                parsed::<Contact, _>,
                "[USER@]HOST[:PORT] where SSH reaches the machine; the user is root where none is named",
            ),
            text("name", "Name", true, parsed::<NodeName, _>, name_help),
        ],
        Id::RemoveNode => vec![choice(
            "node",
            "Node",
            nodes(model, SystemRole::Free),
            node,
            "only free nodes can be removed",
        )],
        Id::MakeStandby => vec![choice(
            "node",
            "Node",
            nodes(model, SystemRole::Free),
            node,
            "it will stand in for the nodes of one cluster",
        )],
        Id::FreeStandby => vec![choice(
            "node",
            "Node",
            nodes(model, SystemRole::Standby),
            node,
            "standby nodes of no cluster",
        )],
        Id::ShowStatus | Id::DeleteCluster => vec![choice(
            "cluster",
            "Cluster",
            clusters(model),
            cluster,
            "which",
        )],
        Id::CreateCluster => create(model, name_help),
        Id::ChangeFallback => vec![
            choice(
                "of",
                "Of",
                changeable(model),
                service.or(cluster),
                "a service, or the cluster's own fallback type",
            ),
            choice(
                "fallback",
                "Fallback",
                fixed(FALLBACKS),
                None,
                "how it returns home",
            ),
            text(
                "priority",
                "Priority",
                false,
                priority,
                "of a service: lower is more important; empty: as it is",
            ),
        ],
        Id::JoinCluster => vec![
            choice("cluster", "Cluster", clusters(model), cluster, "which"),
            choice(
                "node",
                "Node",
                nodes(model, SystemRole::Free),
                node,
                "a free node becomes a regular one",
            ),
            service_list(),
        ],
        Id::LeaveCluster => vec![choice(
            "member",
            "Node",
            leavers(model),
            node,
            "regular nodes and witnesses",
        )],
        Id::MoveHome => {
            let away = |s: &ServiceView| {
                !s.running_on.is_empty() && s.running_on.as_slice() != [s.home.clone()]
            };
            let mut all = services(model, away);
            all.extend(services(model, |s| !away(s)));
            vec![
                choice(
                    "service",
                    "Service",
                    all,
                    service,
                    "those away from home come first",
                ),
                choice(
                    "to",
                    "To",
                    fixed(&[
                        ("home", "home"),
                        (
                            "standby",
                            "the standby (planned, to try or to maintain home)",
                        ),
                    ]),
                    None,
                    "it stops there and starts here",
                ),
            ]
        }
        Id::Lock => vec![
            choice(
                "service",
                "Service",
                services(model, |s| s.lock.is_none()),
                service,
                "it is locked to the node where it runs now",
            ),
            text(
                "for",
                "For",
                false,
                time,
                "it ends by itself after this time, as 30m; empty: until unlocked",
            ),
            text("reason", "Reason", false, reason, "others will read it"),
        ],
        Id::Unlock => vec![choice(
            "service",
            "Service",
            services(model, |s| s.lock.is_some()),
            service,
            "services that are locked",
        )],
        Id::ListClusters | Id::ChangeFailover | Id::Sync => return None,
    };
    let entry = super::super::menu::ENTRIES.iter().find(|e| e.id == id)?;
    let mut form = Form {
        purpose: Purpose::Entry(id),
        title: entry.label.to_owned(),
        fields,
        focus: 0,
        wrong: None,
    };
    present::fill(model, &mut form);
    Some(form)
}

fn service_list() -> Field {
    Field {
        id: "services",
        label: "Services",
        help: "Enter adds one, Backspace takes the last one away".to_owned(),
        kind: Kind::Services(Vec::new()),
        present: String::new(),
        needed: true,
        wrong: None,
    }
}

fn create(model: &Model, name_help: &str) -> Vec<Field> {
    let mut witnesses = vec![option("", "none")];
    // A witness may serve several clusters.
    let of_system = model.nodes_in(SystemRole::Witness);
    witnesses.extend(of_system.map(|(n, _)| option(n.name.as_str(), n.name.as_str())));
    vec![
        text("name", "Name", true, parsed::<ClusterName, _>, name_help),
        choice(
            "standby",
            "Standby",
            nodes(model, SystemRole::Standby),
            None,
            "the node that stands in (C2)",
        ),
        choice(
            "witness",
            "Witness",
            witnesses,
            None,
            "a node that only votes and watches",
        ),
        service_list(),
        choice(
            "fallback",
            "Fallback",
            fixed(&FALLBACKS[1..]),
            None,
            "how services return home, unless they say otherwise (F7)",
        ),
        choice(
            "profile",
            "Profile",
            fixed(&[
                ("lan", "lan: the standby takes over after 3 s"),
                ("fast", "fast: after 0.3 s"),
                (
                    "vm",
                    "vm: after 15 s, for guests that are paused now and then",
                ),
                ("wan", "wan: after 30 s"),
            ]),
            None,
            "how fast a failure is seen",
        ),
    ]
}

fn changeable(model: &Model) -> Vec<Choice> {
    let mut all = services(model, |_| true);
    let of_clusters = model.clusters.iter().map(|c| {
        // A service and a cluster may have one name.
        option(
            format!("cluster {}", c.name),
            format!(
                "cluster {}: its services without a type of their own",
                c.name
            ),
        )
    });
    all.extend(of_clusters);
    all
}

fn leavers(model: &Model) -> Vec<Choice> {
    let found = model.leavers().into_iter();
    found
        .map(|(cluster, node, last)| {
            let end = if last {
                ": its last regular node, the cluster ends (C7)"
            } else {
                ""
            };
            option(
                format!("{cluster} {node}"),
                format!("{node} of {cluster}{end}"),
            )
        })
        .collect()
}

/// The form of one service, for a new cluster or for a node that joins one.
pub fn service(model: &Model, below: &Form) -> Form {
    let joins = below.value("node");
    let homes = nodes(model, SystemRole::Free);
    let homes = homes
        .into_iter()
        .filter(|n| joins.is_empty() || n.value == joins)
        .collect();
    Form {
        purpose: Purpose::Service,
        title: "A service".to_owned(),
        fields: vec![
            text(
                "name",
                "Name",
                true,
                parsed::<ServiceName, _>,
                "1 to 32 lowercase letters, digits and `-`",
            ),
            choice(
                "home",
                "Home",
                homes,
                None,
                "the regular node where it runs",
            ),
            text(
                "alias",
                "Alias",
                true,
                addresses,
                "the address that clients use today, with prefix: it moves with the service (C11)",
            ),
            text(
                "base",
                "Base",
                false,
                addresses,
                "a new address that stays with the node; only a second service of one home has none",
            ),
            text(
                "units",
                "Units",
                false,
                units,
                "its systemd units, blanks between; NAME:companion or NAME:home-only",
            ),
            text(
                "priority",
                "Priority",
                false,
                priority,
                "lower is more important; empty: 100",
            ),
            choice(
                "fallback",
                "Fallback",
                fixed(&[("", "as the cluster"), FALLBACKS[1], FALLBACKS[2]]),
                None,
                "how it returns home",
            ),
        ],
        focus: 0,
        wrong: None,
    }
}

/// The service as the command line has it.
///
/// # Errors
/// It can't be read there.
pub fn spec(form: &Form) -> Result<String, String> {
    let mut spec = format!("{}={}", form.value("name"), form.value("home"));
    let lists = [("alias", "alias"), ("base", "base"), ("units", "unit")];
    for (id, key) in lists {
        for value in form.value(id).split_whitespace() {
            let _ = write!(spec, ",{key}={value}");
        }
    }
    for key in ["priority", "fallback"] {
        if !form.value(key).is_empty() {
            let _ = write!(spec, ",{key}={}", form.value(key));
        }
    }
    spec.parse::<ServiceSpec>().map(|_| spec)
}

/// The command line that does what the form says.
pub fn words(id: Id, form: &Form) -> Vec<String> {
    let v = |id: &str| form.value(id).to_owned();
    let line = |words: &[&str]| -> Vec<String> { words.iter().map(|w| (*w).to_owned()).collect() };
    let (node, cluster, service) = (v("node"), v("cluster"), v("service"));
    let mut words = match id {
        Id::AddNode => line(&["node", "add", &v("host"), "--name", &v("name")]),
        Id::RemoveNode => line(&["node", "remove", &node]),
        Id::MakeStandby => line(&["node", "role", &node, "standby"]),
        Id::FreeStandby => line(&["node", "role", &node, "free"]),
        Id::ListClusters => line(&["cluster", "list"]),
        Id::ShowStatus => line(&["status", &cluster]),
        Id::CreateCluster => line(&["cluster", "create", &v("name"), "--standby", &v("standby")]),
        Id::ChangeFallback => match v("of").strip_prefix("cluster ") {
            Some(cluster) => line(&["cluster", "set", cluster]),
            None => line(&["service", "set", &v("of")]),
        },
        Id::JoinCluster => line(&["cluster", "add-node", &cluster, &node]),
        Id::LeaveCluster => {
            let mut words = line(&["cluster", "remove-node"]);
            words.extend(v("member").split(' ').map(str::to_owned));
            words
        }
        Id::DeleteCluster => line(&["cluster", "delete", &cluster]),
        Id::MoveHome => line(&["service", "move", &service, "--to", &v("to")]),
        Id::Lock => line(&["service", "lock", &service]),
        Id::Unlock => line(&["service", "unlock", &service]),
        Id::ChangeFailover | Id::Sync => Vec::new(),
    };
    for spec in form.services() {
        words.push(format!("--service={spec}"));
    }
    // With `=`, since a reason may begin with a dash.
    for id in [
        "witness", "fallback", "profile", "priority", "for", "reason",
    ] {
        if !form.value(id).is_empty() {
            words.push(format!("--{id}={}", form.value(id)));
        }
    }
    words
}

/// Whether the command line can be read.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub fn readable(words: &[String]) -> Result<(), String> {
    let line = std::iter::once("backstay").chain(words.iter().map(String::as_str));
    Arguments::try_parse_from(line).map(|_| ()).map_err(|e| {
        let text = e.to_string();
        let first = text
            .lines()
            .find(|l| !l.trim().is_empty())
            .unwrap_or_default();
        let first = first.strip_prefix("error: ").unwrap_or(first);
        if e.kind() == clap::error::ErrorKind::MissingRequiredArgument {
            "nothing is to be changed yet: choose a type, or give a priority".to_owned()
        } else {
            first.to_owned()
        }
    })
}

/// The name that has to be typed before it is done.
pub fn to_type(id: Id, form: &Form) -> Option<String> {
    match id {
        Id::DeleteCluster => Some(form.value("cluster").to_owned()),
        Id::LeaveCluster => form.value("member").split(' ').nth(1).map(str::to_owned),
        _ => None,
    }
}

/// What is done, in a few words.
pub fn title(id: Id, form: &Form) -> String {
    let v = |id: &str| form.value(id);
    match id {
        Id::AddNode => format!("add {} as {}", v("host"), v("name")),
        Id::RemoveNode => format!("remove {} from the system", v("node")),
        Id::MakeStandby => format!("make {} standby", v("node")),
        Id::FreeStandby => format!("make {} free", v("node")),
        Id::ListClusters | Id::ChangeFailover | Id::Sync | Id::ShowStatus => String::new(),
        Id::CreateCluster => format!("create the cluster {}", v("name")),
        Id::ChangeFallback => format!("change settings of {}", v("of")),
        Id::JoinCluster => format!("add {} to the cluster {}", v("node"), v("cluster")),
        Id::LeaveCluster => match v("member").split_once(' ') {
            Some((cluster, node)) => format!("remove {node} from the cluster {cluster}"),
            None => String::new(),
        },
        Id::DeleteCluster => format!("delete the cluster {}", v("cluster")),
        Id::MoveHome if v("to") == "home" => format!("move {} home", v("service")),
        Id::MoveHome => format!("move {} to the {}", v("service"), v("to")),
        Id::Lock => format!("lock {}", v("service")),
        Id::Unlock => format!("unlock {}", v("service")),
    }
}
