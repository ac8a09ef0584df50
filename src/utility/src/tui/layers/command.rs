//! The command line that each form makes, and how it is asked about.

use clap::Parser;

use super::super::menu::Id;
use super::form::Form;
use crate::cli::args::Arguments;

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
        Id::Maintain => {
            let mut words = line(&["node", "maintenance", &node]);
            words.extend(Some(v("work")).filter(|work| !work.is_empty()));
            words
        }
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
        Id::Maintain if v("work") == "--end" => format!("end maintenance of {}", v("node")),
        Id::Maintain => format!("begin maintenance of {}", v("node")),
    }
}
