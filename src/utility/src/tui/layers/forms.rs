//! The forms of the entries. What is offered comes from the picture; what is typed is checked by the model's own
//! parsers.

use std::fmt::Write as _;

use backstay_core::engine::ServiceView;
use backstay_core::model::{ClusterName, NodeName, ServiceName, SystemRole};

use super::super::menu::Id;
use super::super::model::Model;
use super::form::{Check, Choice, Field, Form, Kind, Purpose};
use super::present;
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

fn files(text: &str) -> Result<(), String> {
    let full = |path: &str| path.starts_with('/') && !path.contains(',');
    let wrong = text.split_whitespace().find(|path| !full(path));
    wrong.map_or(Ok(()), |path| {
        let path = path.escape_debug();
        Err(format!(
            "`{path}` is no full path without commas; use /etc/web.conf"
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
        Id::Maintain => maintain(model, node),
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

/// F17: of any node of a cluster.
fn maintain(model: &Model, marked: Option<&str>) -> Vec<Field> {
    let seen = model.clusters.iter().filter_map(|c| c.view.as_ref());
    let members = seen.flat_map(|c| c.nodes.iter().map(move |n| (c, n)));
    let nodes = members.map(|(cluster, n)| {
        let work = n.maintenance.as_ref().map_or("", |_| ", in maintenance");
        option(
            n.name.as_str(),
            format!("{} ({}{work})", n.name, cluster.name),
        )
    });
    let mut nodes: Vec<Choice> = nodes.collect();
    nodes.sort_by(|a, b| a.value.cmp(&b.value));
    nodes.dedup_by(|a, b| a.value == b.value); // a witness may serve several
    vec![
        choice("node", "Node", nodes, marked, "the node to be worked on"),
        choice(
            "work",
            "What",
            fixed(&[
                ("", "begin: what it carries is locked there"),
                ("--move", "begin: what it carries goes to another node"),
                ("--end", "it has ended"),
            ]),
            None,
            "its alarms are quiet, and nothing returns to it by itself",
        ),
        text(
            "for",
            "For",
            false,
            time,
            "it ends by itself after this time; empty: 30m",
        ),
        text("reason", "Reason", false, reason, "others will read it"),
    ]
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
            text(
                "files",
                "Files",
                false,
                files,
                "static files that must be the same on all its nodes: full paths, blanks between (C9)",
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
    let lists = [
        ("alias", "alias"),
        ("base", "base"),
        ("units", "unit"),
        ("files", "file"),
    ];
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
