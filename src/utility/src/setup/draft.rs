//! What was answered and found so far. Everything else follows from it, so going back is taking answers
//! away, and resuming is finding more to begin with.

use std::collections::BTreeMap;

use backstay_core::model::{
    ClusterId, ClusterName, Fallback, NodeName, Profile, ServiceName, SplitStops, SystemRole,
    UnitMode,
};
use backstay_core::plan::{CreateCluster, NewService, Secret};
use ipnet::IpNet;

use super::question::{Answer, Key, Question};
use super::suggest;
use super::system::{Finding, Inspected, Known, Learned, Present, Shown};
use crate::ops::preflight::Overrides;
use crate::remote::Contact;

/// The state of a set-up.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    answers: BTreeMap<Key, Answer>,
    /// In which order they were given.
    order: Vec<Key>,
    /// Taken back: what is offered when asked again.
    taken_back: BTreeMap<Key, Answer>,
    /// Answers before this one have been carried out.
    floor: usize,
    /// What the admin overrides from the beginning.
    pub overrides: Overrides,
    /// The system.
    pub present: Option<Present>,
    /// What hosts show.
    pub shown: BTreeMap<Contact, Shown>,
    /// What hosts are.
    pub inspected: BTreeMap<Contact, Inspected>,
    /// What the nodes are.
    pub learned: Option<Learned>,
    /// The plan was shown as the answers are now.
    pub planned: bool,
    /// The end.
    pub done: bool,
}

/// A word of a host's key in the answers.
pub(super) fn host_key(host: &Contact, what: &str) -> Key {
    Key::of(["host", &host.to_string(), what])
}

pub(super) fn service_key(service: &ServiceName, what: &str) -> Key {
    Key::of(["service", service.as_str(), what])
}

pub(super) fn node_key(node: &NodeName, what: &str) -> Key {
    Key::of(["node", node.as_str(), what])
}

/// A word of the answers as the thing it names; it was checked when it was given.
fn read<T: std::str::FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

impl Draft {
    /// Nothing yet.
    pub fn new(overrides: Overrides) -> Self {
        Self {
            overrides,
            ..Self::default()
        }
    }

    /// Takes a checked answer.
    pub fn give(&mut self, question: &Question, answer: Answer) {
        let again = answer == Answer::Word("again".to_owned());
        if again && question.key.parts()[0] == "checks" {
            self.inspected.clear();
            self.learned = None;
            return;
        }
        if self.answers.insert(question.key.clone(), answer).is_none() {
            self.order.push(question.key.clone());
        }
    }

    /// Whether there is an answer that can be taken back.
    pub fn can_go_back(&self) -> bool {
        self.order.len() > self.floor
    }

    /// Takes the last answer back. It is what Return gives when it is asked for again.
    pub fn back(&mut self) {
        if !self.can_go_back() {
            return;
        }
        if let Some(key) = self.order.pop()
            && let Some(answer) = self.answers.remove(&key)
        {
            self.taken_back.insert(key, answer);
        }
        self.planned = false;
    }

    /// Takes answers back up to and with this one.
    pub fn back_to(&mut self, key: &Key) {
        while self.answers.contains_key(key) && self.can_go_back() {
            self.back();
        }
    }

    /// What was answered so far has been carried out: nothing of it can be taken back.
    pub fn carried_out(&mut self) {
        self.floor = self.order.len();
    }

    /// The answers in the order in which they were given.
    pub fn answers(&self) -> impl Iterator<Item = (&Key, &Answer)> {
        let known = |key| self.answers.get(key).map(|answer| (key, answer));
        self.order.iter().filter_map(known)
    }

    /// What Return gives: what was answered before, else this.
    pub(super) fn or_before(&self, key: &Key, default: Option<Answer>) -> Option<Answer> {
        // A yes is not given by Return.
        let before = self.taken_back.get(key);
        let before = before.filter(|answer| !matches!(answer, Answer::Yes(_)));
        before.cloned().or(default)
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.answers.contains_key(key)
    }

    pub(super) fn word(&self, key: &Key) -> Option<&str> {
        match self.answers.get(key)? {
            Answer::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn words(&self, key: &Key) -> Option<&[String]> {
        match self.answers.get(key)? {
            Answer::Words(words) => Some(words),
            _ => None,
        }
    }

    /// The cluster's name.
    pub fn cluster(&self) -> Option<ClusterName> {
        self.word(&Key::of(["cluster", "name"])).and_then(read)
    }

    /// The cluster is there already: an earlier session made it.
    pub fn cluster_is_there(&self) -> bool {
        let present = self.present.as_ref();
        present.is_some_and(|p| {
            self.cluster()
                .is_some_and(|name| p.clusters.contains(&name))
        })
    }

    /// The hosts, in the order in which they were named.
    pub fn hosts(&self) -> Vec<Contact> {
        let words = self.words(&Key::of(["hosts"])).unwrap_or_default();
        words.iter().filter_map(|w| read(w)).collect()
    }

    /// The node of the system that a host is: by contact, by host key, or by what its agent says.
    pub fn known(&self, host: &Contact) -> Option<&Known> {
        let print = self.shown.get(host).map(|s| &s.print);
        let inspected = self.inspected.get(host);
        let id = inspected.and_then(|i| i.enrolled.as_ref()).map(|e| e.1);
        let same = |n: &&Known| {
            let contact = n.contact.parse::<Contact>();
            contact.is_ok_and(|c| (&c.host, c.port) == (&host.host, host.port))
                || print.is_some_and(|p| n.prints.contains(p))
                || id == Some(n.id)
        };
        self.present.iter().flat_map(|p| &p.nodes).find(same)
    }

    /// The fingerprint by which a host is trusted: answered, else vouched for.
    pub(super) fn print(&self, host: &Contact) -> Option<&str> {
        let shown = self.shown.get(host).filter(|s| s.vouched);
        self.word(&host_key(host, "key"))
            .or(shown.map(|s| s.print.as_str()))
    }

    /// A host's name as a node: the system's, its agent's, else as answered.
    pub fn name_of(&self, host: &Contact) -> Option<NodeName> {
        if let Some(known) = self.known(host) {
            return Some(known.name.clone());
        }
        let inspected = self.inspected.get(host);
        let enrolled = inspected.and_then(|i| i.enrolled.as_ref());
        enrolled
            .map(|(name, _)| name.clone())
            .or_else(|| self.word(&host_key(host, "name")).and_then(read))
    }

    /// What a host shall be: a standby and a witness are what they are, else as answered.
    pub fn role_of(&self, host: &Contact) -> Option<SystemRole> {
        match self.known(host).map(|k| k.role) {
            Some(role @ (SystemRole::Standby | SystemRole::Witness)) => Some(role),
            _ => match self.word(&host_key(host, "role"))? {
                "regular" => Some(SystemRole::Regular),
                "standby" => Some(SystemRole::Standby),
                "witness" => Some(SystemRole::Witness),
                _ => Some(SystemRole::Free),
            },
        }
    }

    /// The hosts of a role, by their names.
    pub fn with_role(&self, role: SystemRole) -> Vec<NodeName> {
        let hosts = self.hosts();
        let of = hosts.iter().filter(|h| self.role_of(h) == Some(role));
        of.filter_map(|h| self.name_of(h)).collect()
    }

    /// All nodes of the new cluster.
    pub fn members(&self) -> Vec<NodeName> {
        let roles = [
            SystemRole::Regular,
            SystemRole::Standby,
            SystemRole::Witness,
        ];
        roles
            .iter()
            .flat_map(|role| self.with_role(*role))
            .collect()
    }

    /// The services of a node.
    pub fn services(&self, node: &NodeName) -> Vec<ServiceName> {
        let words = self.words(&node_key(node, "services")).unwrap_or_default();
        words.iter().filter_map(|w| read(w)).collect()
    }

    /// The answered addresses of that name.
    pub(super) fn nets(&self, key: &Key) -> Vec<IpNet> {
        let words = self.words(key).unwrap_or_default();
        words.iter().filter_map(|w| read(w)).collect()
    }

    /// A6: subnets that could be a second link. A witness may be without.
    pub(super) fn further_links(&self) -> Vec<IpNet> {
        let homes = self.with_role(SystemRole::Regular);
        let services = homes.iter().flat_map(|n| self.services(n));
        let used: Vec<IpNet> = services
            .flat_map(|s| self.nets(&service_key(&s, "alias")))
            .collect();
        let standby = self.with_role(SystemRole::Standby);
        let facts = self.learned.as_ref().map(|l| &l.facts);
        let machines: Option<Vec<_>> = homes
            .iter()
            .chain(&standby)
            .map(|n| facts?.get(n))
            .collect();
        suggest::links(&machines.unwrap_or_default(), &used)
    }

    /// Whether a finding stops the set-up.
    pub fn stops(&self, finding: &Finding, checks: &Key) -> bool {
        let ignored = self.overrides.force
            || self.overrides.ignore.contains(&finding.check)
            || self.word(checks) == Some("ignore");
        finding.wrong.is_some() && !(finding.may_ignore && ignored)
    }

    /// The names of warnings that are overridden by answers.
    pub fn ignored(&self) -> Vec<String> {
        let learned = self.learned.iter().flat_map(|l| &l.findings);
        let wrong = learned.filter(|f| f.wrong.is_some() && f.may_ignore);
        match self.word(&Key::of(["checks", "nodes"])) {
            Some("ignore") => wrong.map(|f| f.check.clone()).collect(),
            _ => Vec::new(),
        }
    }

    fn new_service(&self, node: &NodeName, name: ServiceName, first: bool) -> NewService {
        let base = node_key(node, "base");
        let units = self.words(&service_key(&name, "units")).unwrap_or_default();
        let priority = match self.answers.get(&service_key(&name, "priority")) {
            Some(Answer::Number(number)) => u16::try_from(*number).ok(),
            _ => None,
        };
        // The cluster's own type is manual: only what differs is said of a service.
        let automatic = self.word(&service_key(&name, "fallback")) == Some("automatic");
        NewService {
            node: node.clone(),
            aliases: self.nets(&service_key(&name, "alias")),
            // The bases are the home's: its first service names them.
            bases: if first { self.nets(&base) } else { Vec::new() },
            priority: priority.filter(|p| *p != 100),
            fallback: automatic.then_some(Fallback::Automatic),
            units: units
                .iter()
                .map(|u| (u.clone(), UnitMode::Service))
                .collect(),
            files: Vec::new(),
            name,
        }
    }

    /// The cluster that the answers describe; none while some are missing.
    pub fn wanted(&self, id: u64, key: String) -> Option<CreateCluster> {
        let services = self
            .with_role(SystemRole::Regular)
            .into_iter()
            .flat_map(|node| {
                let names = self.services(&node).into_iter().enumerate();
                names
                    .map(|(n, name)| self.new_service(&node, name, n == 0))
                    .collect::<Vec<_>>()
            });
        let link = Key::of(["cluster", "link"]);
        Some(CreateCluster {
            name: self.cluster()?,
            id: ClusterId(id),
            key: Secret(key),
            standby: self.with_role(SystemRole::Standby).into_iter().next()?,
            witnesses: self.with_role(SystemRole::Witness),
            services: services.collect(),
            safety: None,
            profile: match self.word(&Key::of(["cluster", "profile"]))? {
                "fast" => Profile::Fast,
                "vm" => Profile::Vm,
                "wan" => Profile::Wan,
                _ => Profile::Lan,
            },
            fallback: Fallback::Manual,
            split_stops: SplitStops::Home,
            reference: None,
            links: self
                .word(&link)
                .filter(|word| *word != "no")
                .and_then(read)
                .into_iter()
                .collect(),
        })
    }
}
