//! U3: the command line that does what an action does. No secrets.

use super::{Action, AddClusterNode, CreateCluster, NewService, SetCluster, SetService, Target};
use crate::model::{Failover, Fallback, Profile, Safety, SplitStops, UnitMode, WithoutMajority};

/// A command line, word by word, each quoted where a shell would read more into it.
struct Line(String);

/// A word as a shell reads it as one.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@%+[]".contains(&b);
    // `[` is a pattern to a shell, unless nothing closes it; quoted all the same where there is one.
    if !word.is_empty() && word.bytes().all(plain) && !word.contains('[') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

impl Line {
    fn new(words: &[&str]) -> Self {
        let mut line = Self("backstay".to_owned());
        for word in words {
            line.word(word);
        }
        line
    }

    fn word(&mut self, word: &str) {
        self.0.push(' ');
        self.0.push_str(&quoted(word));
    }

    fn option(&mut self, name: &str, value: Option<&str>) {
        match value {
            // Else it would be read as an option.
            Some(value) if value.starts_with('-') => self.word(&format!("{name}={value}")),
            Some(value) => {
                self.word(name);
                self.word(value);
            }
            None => {}
        }
    }
}

/// U3: the command line that does what an action does. `wall`: seconds since 1970 UTC, for times that are
/// written as what is left.
pub fn of(action: &Action, wall: u64) -> String {
    let line = match action {
        Action::AddNode { name, contact, .. } => {
            Line::new(&["node", "add", contact, "--name", name.as_str()])
        }
        Action::RemoveNode { node } => Line::new(&["node", "remove", node.as_str()]),
        Action::ReplaceNode { node, contact, .. } => {
            Line::new(&["node", "replace", node.as_str(), "--with", contact])
        }
        Action::SetRole { node, role } => {
            Line::new(&["node", "role", node.as_str(), super::nodes::word(*role)])
        }
        Action::CreateCluster(wanted) => create(wanted),
        Action::DeleteCluster { cluster } => Line::new(&["cluster", "delete", cluster.as_str()]),
        Action::AddClusterNode(wanted) => add_node(wanted),
        Action::RemoveClusterNode { cluster, node } => {
            Line::new(&["cluster", "remove-node", cluster.as_str(), node.as_str()])
        }
        Action::SetCluster(wanted) => set_cluster(wanted),
        Action::SetService(wanted) => set_service(wanted),
        Action::Move { service, to } => {
            let to = match to {
                Target::Home => "home",
                Target::Standby => "standby",
                Target::Node(node) => node.as_str(),
            };
            Line::new(&["service", "move", service.as_str(), "--to", to])
        }
        Action::Lock {
            service,
            reason,
            until,
        } => {
            let mut line = Line::new(&["service", "lock", service.as_str()]);
            let left = until.map(|until| left(until, wall));
            line.option("--for", left.as_deref());
            let reason = Some(reason.as_str()).filter(|r| !r.is_empty());
            line.option("--reason", reason);
            line
        }
        Action::Unlock { service } => Line::new(&["service", "unlock", service.as_str()]),
        Action::Maintain {
            node,
            reason,
            until,
            moves,
        } => {
            let mut line = Line::new(&["node", "maintenance", node.as_str()]);
            line.option("--for", Some(&left(*until, wall)));
            if *moves {
                line.word("--move");
            }
            let reason = Some(reason.as_str()).filter(|r| !r.is_empty());
            line.option("--reason", reason);
            line
        }
        Action::EndMaintenance { node } => {
            Line::new(&["node", "maintenance", node.as_str(), "--end"])
        }
        Action::Start { service, on } => {
            let mut line = Line::new(&["service", "start", service.as_str()]);
            line.option("--on", on.as_ref().map(crate::model::NodeName::as_str));
            line
        }
        Action::Stop { service } => Line::new(&["service", "stop", service.as_str()]),
        Action::RotateKey { cluster, .. } => Line::new(&["key", "rotate", cluster.as_str()]),
        Action::Upgrade(wanted) => {
            let mut line = Line::new(&["node", "upgrade"]);
            for node in &wanted.nodes {
                line.word(node.as_str());
            }
            line
        }
        Action::AddViewer { name, key } => {
            Line::new(&["key", "viewer", "add", key, "--name", name])
        }
        Action::RemoveViewer { name } => Line::new(&["key", "viewer", "remove", name]),
        Action::Apply { document } => {
            Line::new(&["apply", "-f", &format!("{}.toml", document.name)])
        }
    };
    line.0
}

/// How long it is until then.
fn left(until: u64, wall: u64) -> String {
    match until.saturating_sub(wall) {
        s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

fn create(wanted: &CreateCluster) -> Line {
    let mut line = Line::new(&["cluster", "create", wanted.name.as_str()]);
    line.option("--standby", Some(wanted.standby.as_str()));
    for witness in &wanted.witnesses {
        line.option("--witness", Some(witness.as_str()));
    }
    for service in &wanted.services {
        line.option("--service", Some(&new_service(service)));
    }
    let usual = wanted.fallback == Fallback::default();
    line.option("--fallback", (!usual).then(|| fallback(wanted.fallback)));
    let usual = wanted.profile == Profile::default();
    line.option("--profile", (!usual).then(|| profile(wanted.profile)));
    line.option("--safety", wanted.safety.map(safety));
    let usual = wanted.split_stops == SplitStops::default();
    line.option(
        "--split-stops",
        (!usual).then(|| split_stops(wanted.split_stops)),
    );
    let reference = wanted.reference.map(|r| r.to_string());
    line.option("--reference", reference.as_deref());
    for link in &wanted.links {
        line.option("--link", Some(&link.to_string()));
    }
    line
}

fn add_node(wanted: &AddClusterNode) -> Line {
    let (cluster, node) = (wanted.cluster.as_str(), wanted.node.as_str());
    let mut line = Line::new(&["cluster", "add-node", cluster, node]);
    for service in &wanted.services {
        line.option("--service", Some(&new_service(service)));
    }
    line
}

/// `web1=n1,alias=A,base=B,priority=10,fallback=auto,unit=web.service`. Units that are not simply the
/// service's are written `home-only=` and `companion=`.
fn new_service(service: &NewService) -> String {
    let mut text = format!("{}={}", service.name, service.node);
    let mut add = |key: &str, value: &str| {
        text.push(',');
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    };
    for alias in &service.aliases {
        add("alias", &alias.to_string());
    }
    for base in &service.bases {
        add("base", &base.to_string());
    }
    if let Some(priority) = service.priority {
        add("priority", &priority.to_string());
    }
    if let Some(of) = service.fallback {
        add("fallback", fallback(of));
    }
    for (name, mode) in &service.units {
        let key = match mode {
            UnitMode::Service => "unit",
            UnitMode::HomeOnly => "home-only",
            UnitMode::Companion => "companion",
        };
        add(key, name);
    }
    for file in &service.files {
        add("file", file);
    }
    text
}

fn set_cluster(wanted: &SetCluster) -> Line {
    let mut line = Line::new(&["cluster", "set", wanted.cluster.as_str()]);
    line.option("--fallback", wanted.fallback.map(fallback));
    line.option("--profile", wanted.profile.map(profile));
    line.option("--safety", wanted.safety.map(safety));
    line.option("--split-stops", wanted.split_stops.map(split_stops));
    let without = wanted.without_majority.map(|w| match w {
        WithoutMajority::Stop => "stop",
        WithoutMajority::Keep => "keep",
    });
    line.option("--without-majority", without);
    line.option("--arbiter", wanted.arbiter.as_deref());
    let reference = wanted
        .reference
        .map(|r| r.map_or_else(|| "gateway".to_owned(), |r| r.to_string()));
    line.option("--reference", reference.as_deref());
    let healthy = wanted.home_healthy_ms.map(|ms| format!("{ms}ms"));
    line.option("--home-healthy", healthy.as_deref());
    let within = wanted.clocks_within_ms.map(|ms| format!("{ms}ms"));
    line.option("--clocks-within", within.as_deref());
    let moves = wanted.moves_per_hour.map(|m| m.to_string());
    line.option("--moves-per-hour", moves.as_deref());
    for (flag, subnets) in [("--link", &wanted.links), ("--no-link", &wanted.no_links)] {
        for subnet in subnets {
            line.option(flag, Some(&subnet.to_string()));
        }
    }
    line
}

fn set_service(wanted: &SetService) -> Line {
    let mut line = Line::new(&["service", "set", wanted.service.as_str()]);
    let priority = wanted.priority.map(|p| p.to_string());
    line.option("--priority", priority.as_deref());
    line.option("--fallback", wanted.fallback.map(fallback));
    let failover = wanted.failover.map(|f| match f {
        Failover::Automatic => "auto",
        Failover::Ordered => "ordered",
    });
    line.option("--failover", failover);
    for (flag, files) in [("--file", &wanted.files), ("--no-file", &wanted.no_files)] {
        for file in files {
            line.option(flag, Some(file));
        }
    }
    line
}

const fn fallback(of: Fallback) -> &'static str {
    match of {
        Fallback::Manual => "manual",
        Fallback::Automatic => "auto",
    }
}

const fn profile(of: Profile) -> &'static str {
    match of {
        Profile::Fast => "fast",
        Profile::Lan => "lan",
        Profile::Vm => "vm",
        Profile::Wan => "wan",
    }
}

const fn safety(of: Safety) -> &'static str {
    match of {
        Safety::Available => "available",
        Safety::Exclusive => "exclusive",
    }
}

const fn split_stops(of: SplitStops) -> &'static str {
    match of {
        SplitStops::Home => "home",
        SplitStops::Standby => "standby",
    }
}
