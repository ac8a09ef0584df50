//! The state machine: what comes next follows from the draft alone.

pub(crate) mod hosts;
mod services;

use backstay_core::model::{ClusterName, NodeName, Profile, SystemRole};

use super::draft::Draft;
use super::question::{Answer, Choice, Key, Kind, Question};
use super::suggest;
use super::system::Finding;
use crate::remote::Contact;

/// Where the admin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// What the cluster is called.
    Cluster,
    /// Which hosts.
    Hosts,
    /// Their keys.
    Trust,
    /// Whether they are fit.
    Checks,
    /// Names and roles.
    Roles,
    /// Installing the agent.
    Install,
    /// What runs where.
    Services,
    /// Safety and profile.
    Settings,
    /// The plan, and yes or no.
    Summary,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::Hosts,
        Self::Trust,
        Self::Checks,
        Self::Roles,
        Self::Install,
        Self::Services,
        Self::Settings,
        Self::Summary,
    ];

    /// `Step 3 of 9: host keys`.
    pub fn title(self) -> String {
        let (number, all) = (self as usize + 1, Self::ALL.len());
        let what = match self {
            Self::Cluster => "the cluster",
            Self::Hosts => "hosts",
            Self::Trust => "host keys",
            Self::Checks => "checks",
            Self::Roles => "names and roles",
            Self::Install => "installing the agent",
            Self::Services => "services",
            Self::Settings => "settings",
            Self::Summary => "summary",
        };
        format!("Step {number} of {all}: {what}")
    }

    fn next(self, draft: &Draft) -> Option<Next> {
        match self {
            Self::Cluster => cluster(draft),
            Self::Hosts => hosts::hosts(draft),
            Self::Trust => hosts::trust(draft),
            Self::Checks => hosts::checks(draft),
            Self::Roles => hosts::roles(draft),
            Self::Install => hosts::install(draft),
            Self::Services => services::services(draft),
            Self::Settings => settings(draft),
            Self::Summary => summary(draft),
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// This is asked.
    Ask(Box<Question>),
    /// This is done.
    Do(Work),
    /// Nothing more.
    Done,
}

/// What is done between questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Find out what there is already.
    Present,
    /// Wait until a cluster that is there is healthy.
    Watch(ClusterName),
    /// See which keys hosts show.
    Look(Vec<Contact>),
    /// Check hosts, trusted by their fingerprints.
    Inspect(Vec<(Contact, String)>),
    /// Install the agent and add the hosts as nodes.
    Admit(Vec<(Contact, String, NodeName)>),
    /// Give roles.
    Assign(Vec<(NodeName, SystemRole)>),
    /// Ask the nodes what they are.
    Learn(Vec<NodeName>),
    /// Show what would be done.
    Plan,
    /// Do it, and watch.
    Create,
}

/// Where the admin is and what comes next.
pub fn next(draft: &Draft) -> (Step, Next) {
    if !draft.done {
        for step in Step::ALL {
            if let Some(next) = step.next(draft) {
                return (step, next);
            }
        }
    }
    (Step::Summary, Next::Done)
}

#[allow(clippy::unnecessary_wraps)] // as every step answers
fn ask(question: Question) -> Option<Next> {
    Some(Next::Ask(Box::new(question)))
}

fn cluster(draft: &Draft) -> Option<Next> {
    let Some(present) = &draft.present else {
        return Some(Next::Do(Work::Present));
    };
    let key = Key::of(["cluster", "name"]);
    if draft.has(&key) {
        return match draft.cluster() {
            Some(name) if draft.cluster_is_there() => Some(Next::Do(Work::Watch(name))),
            _ => None,
        };
    }
    let mut help = vec![
        "This makes a cluster of at least two hosts: regular ones, on which services are at home, and one standby that takes over from whichever fails.".to_owned(),
        "Nothing is changed before you are asked, and no service is stopped.".to_owned(),
    ];
    if !present.clusters.is_empty() {
        let names: Vec<&str> = present.clusters.iter().map(ClusterName::as_str).collect();
        help.push(format!(
            "There already: {}. Naming one goes on with it: it is watched until it is healthy.",
            names.join(", ")
        ));
    }
    let first = present.clusters.first().map_or("c1", ClusterName::as_str);
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Word(first.to_owned()))),
        key,
        prompt: "Name of the cluster".to_owned(),
        help,
        kind: Kind::Word(std::rc::Rc::new(|word| {
            let name = word.parse::<ClusterName>();
            name.map(String::from).map_err(|e| e.to_string())
        })),
    })
}

/// What to do about checks that failed; none: nothing stops.
fn failed(draft: &Draft, key: Key, findings: &[&Finding]) -> Option<Next> {
    let stopping: Vec<_> = findings.iter().filter(|f| draft.stops(f, &key)).collect();
    if stopping.is_empty() {
        return None;
    }
    let mut choices = vec![Choice::new("again", "run the checks again, after mending")];
    if stopping.iter().all(|f| f.may_ignore) {
        let mut names: Vec<&str> = stopping.iter().map(|f| f.check.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let says = format!("go on all the same (--ignore-check {})", names.join(", "));
        choices.push(Choice::new("ignore", &says));
    }
    ask(Question {
        key,
        prompt: "Checks failed".to_owned(),
        help: Vec::new(),
        default: Some(Answer::Word("again".to_owned())),
        kind: Kind::One(choices, None),
    })
}

fn settings(draft: &Draft) -> Option<Next> {
    let key = Key::of(["cluster", "profile"]);
    if draft.has(&key) {
        return link(draft);
    }
    let trips = draft.learned.as_ref().map(|l| l.trips.as_slice());
    let (fits, figure) = suggest::profile(trips.unwrap_or_default());
    let choice = |profile: Profile, word: &str, says: &str| {
        let suggested = if profile == fits { "; suggested" } else { "" };
        Choice::new(word, &format!("{says}{suggested}"))
    };
    let choices = [
        choice(Profile::Lan, "lan", "the standby takes over after 3 s"),
        choice(
            Profile::Fast,
            "fast",
            "after 0.3 s; needs an undisturbed network and machines of its own",
        ),
        choice(
            Profile::Vm,
            "vm",
            "after 15 s; for guests that are paused now and then",
        ),
        choice(
            Profile::Wan,
            "wan",
            "after 30 s; for nodes on different networks",
        ),
    ];
    let word = match fits {
        Profile::Fast => "fast",
        Profile::Lan => "lan",
        Profile::Vm => "vm",
        Profile::Wan => "wan",
    };
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Word(word.to_owned()))),
        key,
        prompt: "How soon a silent node counts as failed".to_owned(),
        help: vec![
            "Safety is `available`: while the network between them is cut, home and standby may both run a service; afterwards home stops its own. (`exclusive`, which never lets two run, comes with a later version.)".to_owned(),
            format!("{figure} Later: `backstay cluster set C --profile P`."),
        ],
        kind: Kind::One(choices.to_vec(), None),
    })
}

/// A6: asked only where there is one.
fn link(draft: &Draft) -> Option<Next> {
    let key = Key::of(["cluster", "link"]);
    let further = draft.further_links();
    if further.is_empty() || draft.has(&key) {
        return None;
    }
    let mut choices = vec![Choice::new("no", "only over the network of the services")];
    choices.extend(
        further
            .iter()
            .map(|net| Choice::new(net.to_string(), "over this one, too")),
    );
    ask(Question {
        default: draft.or_before(&key, Some(Answer::Word("no".to_owned()))),
        key,
        prompt: "A second network for the nodes to hear each other".to_owned(),
        help: vec![
            "Each node has an address there, on another interface. If one of two networks fails, nothing moves and an alarm says so. Later: `backstay cluster set C --link SUBNET`.".to_owned(),
        ],
        kind: Kind::One(choices, None),
    })
}

fn summary(draft: &Draft) -> Option<Next> {
    if !draft.planned {
        return Some(Next::Do(Work::Plan));
    }
    let key = Key::of(["create"]);
    if draft.has(&key) {
        return Some(Next::Do(Work::Create));
    }
    ask(Question {
        key,
        prompt: "Create the cluster now?".to_owned(),
        help: Vec::new(),
        default: None,
        kind: Kind::Yes,
    })
}
