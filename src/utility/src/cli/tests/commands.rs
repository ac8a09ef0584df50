//! U3: the printed command lines, parsed as clap and the specs have it, make the same document.

use std::collections::BTreeMap;

use backstay_core::engine::{ClusterView, NodeState, NodeView, ServiceState, ServiceView};
use backstay_core::model::{
    Changed, ClusterDocument, ClusterId, ClusterName, Failover, Fallback, Lock, NodeId, NodeName,
    Profile, Role, SplitStops, SystemDocument, SystemNode, SystemRole, UnitMode, WithoutMajority,
};
use backstay_core::plan::{
    Action, CreateCluster, NewService, Secret, SetCluster, Situation, commands, plan,
};
use clap::Parser as _;
use ipnet::IpNet;
use proptest::prelude::*;

use crate::cli::args::{Arguments, Verb};
use crate::ops::Picture;

const BY: &str = "me@here";
const WALL: u64 = 1_700_000_000;

/// As a POSIX shell reads a line of plain words and words in single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    let mut signs = line.chars();
    while let Some(c) = signs.next() {
        match c {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            '\\' if !quoted => {
                word.extend(signs.next());
                begun = true;
            }
            c => {
                assert!(quoted || !"$`\"*?[&;|<>(){}!#~\n".contains(c), "{line}");
                word.push(c);
                begun = true;
            }
        }
    }
    words.extend(begun.then_some(word));
    words
}

fn system(homes: usize) -> SystemDocument {
    let names = (1..=homes).map(|n| (format!("n{n}"), SystemRole::Free));
    let rest = [("sb1", SystemRole::Standby), ("w1", SystemRole::Witness)];
    let rest = rest.map(|(name, role)| (name.to_owned(), role));
    SystemDocument {
        viewers: Vec::new(),
        format: 1,
        revision: 3,
        changed: Changed {
            by: BY.to_owned(),
            at: 1,
            what: "test".to_owned(),
        },
        nodes: (1..)
            .zip(names.chain(rest))
            .map(|(id, (name, role))| SystemNode {
                contact: name.clone(),
                name: name.parse().unwrap(),
                id: NodeId(id),
                host_keys: Vec::new(),
                role,
            })
            .collect(),
        clusters: Vec::new(),
    }
}

/// All is well, and each service runs where its lock is, else at home.
fn view(document: &ClusterDocument, at: &BTreeMap<String, NodeName>) -> ClusterView {
    ClusterView {
        name: document.name.clone(),
        revision: document.revision,
        safety: document.safety,
        preloaded: false,
        seen_by: "sb1".parse().unwrap(),
        nodes: document
            .members
            .iter()
            .map(|m| NodeView {
                name: m.name.clone(),
                role: m.role,
                state: NodeState::Up,
                age_ms: Some(1),
                revision: Some(document.revision),
                notes: Vec::new(),
                addresses: Vec::new(),
                maintenance: None,
            })
            .collect(),
        services: document
            .services
            .iter()
            .map(|s| ServiceView {
                name: s.name.clone(),
                home: s.home().unwrap().clone(),
                running_on: vec![at.get(s.name.as_str()).or(s.home()).unwrap().clone()],
                state: ServiceState::Running,
                priority: s.priority,
                fallback: document.fallback_of(s),
                lock: None,
                addresses: Vec::new(),
                age_ms: Some(1),
                term: 1,
                reason: String::new(),
                on: BTreeMap::new(),
            })
            .collect(),
        alarms: Vec::new(),
        advice: String::new(),
    }
}

/// Takes an action into account; a move only changes where a service runs.
pub(super) struct Ground {
    system: SystemDocument,
    pub(super) clusters: Vec<ClusterDocument>,
    at: BTreeMap<String, NodeName>,
}

impl Ground {
    fn new(homes: usize) -> Self {
        Self {
            system: system(homes),
            clusters: Vec::new(),
            at: BTreeMap::new(),
        }
    }

    fn carry_out(&mut self, action: &Action) {
        let views: Vec<_> = self.clusters.iter().map(|c| view(c, &self.at)).collect();
        let net = |text: &str| vec![text.parse::<IpNet>().unwrap()];
        let bases = [("sb1", "192.0.2.21/24"), ("w1", "198.51.100.31/24")]
            .map(|(name, base)| (name.parse().unwrap(), net(base)));
        let plan = plan(
            action,
            &Situation {
                system: &self.system,
                clusters: &self.clusters,
                views: &views,
                bases: &bases.into(),
                boot: &BTreeMap::new(),
                by: BY,
                wall: WALL,
            },
        )
        .unwrap();
        if let Some(order) = &plan.order {
            self.at.insert(order.service.to_string(), order.to.clone());
        }
        if let Some(document) = plan.documents.into_iter().next() {
            self.clusters = vec![document];
        }
        self.system = plan.system.unwrap_or(self.system.clone());
    }

    /// What an admin would type.
    fn type_in(&mut self, line: &str) {
        let arguments =
            Arguments::try_parse_from(words(line)).unwrap_or_else(|e| panic!("{line}: {e}"));
        let action = match arguments.verb.expect("a verb") {
            Verb::Cluster(verb) => crate::cli::cluster::action(*verb, &Picture::default()),
            Verb::Service(verb) => crate::cli::service::action(verb),
            Verb::Node(verb) => crate::cli::node::action(verb),
            other => panic!("{other:?}"),
        };
        let mut action = action.unwrap();
        if let Action::Maintain { until, .. } = &mut action {
            // It is typed at WALL; the flag counts from the machine's clock.
            *until = WALL + until.saturating_sub(crate::ops::gather::wall_ms() / 1000);
        }
        self.carry_out(&action);
    }
}

/// What the two must have in common: not what is drawn at random, counted or timed.
fn comparable(document: &ClusterDocument) -> String {
    let mut d = document.clone();
    d.id = ClusterId(0);
    (d.revision, d.epoch) = (1, 1);
    d.keys.clear();
    d.bases.clear();
    d.changed.what.clear();
    for lock in d.services.iter_mut().filter_map(|s| s.lock.as_mut()) {
        lock.until = lock.until.map(|_| 0);
    }
    for work in d.members.iter_mut().filter_map(|m| m.maintenance.as_mut()) {
        work.until = 0;
    }
    d.to_text()
}

fn mode() -> impl Strategy<Value = UnitMode> {
    prop_oneof![
        Just(UnitMode::Service),
        Just(UnitMode::HomeOnly),
        Just(UnitMode::Companion)
    ]
}

fn either() -> impl Strategy<Value = Fallback> {
    prop_oneof![Just(Fallback::Manual), Just(Fallback::Automatic)]
}

type Rest = (bool, Option<(bool, String, bool)>, bool);

fn service() -> impl Strategy<Value = (NewService, Rest)> {
    let unit = ("[a-z]{1,3}[-:_.@\\\\]?[a-z0-9]{1,3}\\.service", mode());
    let new = (
        any::<Option<u16>>(),
        proptest::option::of(either()),
        proptest::collection::btree_map("[a-z]{1,4}", unit, 0..3),
        proptest::collection::btree_set("/[a-z' =]{1,4}[a-z]", 0..3),
    );
    let new = new.prop_map(|(priority, fallback, units, files)| NewService {
        name: "x".parse().unwrap(),
        node: "n1".parse().unwrap(),
        aliases: Vec::new(),
        bases: Vec::new(),
        priority,
        fallback,
        // Unique by a word in front.
        units: units
            .into_iter()
            .map(|(word, (name, mode))| (format!("{word}{name}"), mode))
            .collect(),
        files: files.into_iter().collect(),
    });
    let lock = (any::<bool>(), "[ -~]{0,20}", any::<bool>());
    (
        new,
        (any::<bool>(), proptest::option::of(lock), any::<bool>()),
    )
}

fn cluster() -> impl Strategy<Value = (CreateCluster, SetCluster, Vec<Rest>)> {
    let settings = (
        either(),
        prop_oneof![
            Just(Profile::Fast),
            Just(Profile::Lan),
            Just(Profile::Vm),
            Just(Profile::Wan)
        ],
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (proptest::collection::vec(service(), 1..4), settings).prop_map(
        |(mut services, (fallback, profile, home, witness, reference, keep))| {
            for (n, (service, _)) in (1_u8..).zip(&mut services) {
                service.name = format!("web{n}").parse().unwrap();
                service.node = format!("n{n}").parse().unwrap();
                service.aliases = vec![format!("192.0.2.10{n}/24").parse().unwrap()];
                service.bases = vec![format!("192.0.2.1{n}/24").parse().unwrap()];
            }
            let (services, rest) = services.into_iter().unzip();
            let name: ClusterName = "shop".parse().unwrap();
            let create = CreateCluster {
                name: name.clone(),
                id: ClusterId(7),
                key: Secret("ab".repeat(32)),
                standby: "sb1".parse().unwrap(),
                witnesses: witness.then(|| "w1".parse().unwrap()).into_iter().collect(),
                services,
                safety: None,
                profile,
                fallback,
                split_stops: if home {
                    SplitStops::Home
                } else {
                    SplitStops::Standby
                },
                reference: reference.then(|| "192.0.2.1".parse().unwrap()),
                links: Vec::new(),
            };
            let set = SetCluster {
                without_majority: keep.then_some(WithoutMajority::Keep),
                ..SetCluster::of(name)
            };
            (create, set, rest)
        },
    )
}

fn made(create: CreateCluster, set: SetCluster, rest: &[Rest]) -> Ground {
    let mut ground = Ground::new(create.services.len());
    let names: Vec<_> = create.services.iter().map(|s| s.name.clone()).collect();
    ground.carry_out(&Action::CreateCluster(create));
    if set.without_majority.is_some() {
        ground.carry_out(&Action::SetCluster(set));
    }
    // The standby has room for one: only the last may be away from home.
    let last = names.last().cloned();
    for (name, (ordered, lock, stopped)) in names.iter().zip(rest) {
        let document = &mut ground.clusters[0];
        let standby = document
            .with_role(Role::Standby)
            .next()
            .unwrap()
            .name
            .clone();
        let service = document.services.iter_mut().find(|s| s.name == *name);
        let service = service.unwrap();
        if *ordered {
            service.failover = Failover::Ordered;
        }
        service.stopped = *stopped;
        service.lock = lock.as_ref().map(|(home, reason, ends)| Lock {
            node: if *home || Some(name) != last.as_ref() {
                service.home().unwrap().clone()
            } else {
                standby
            },
            by: BY.to_owned(),
            at: WALL,
            reason: reason.clone(),
            until: ends.then_some(WALL + 1800),
        });
    }
    ground
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn u3_the_printed_commands_make_the_same_document((create, set, rest) in cluster()) {
        let homes = create.services.len();
        let document = made(create, set, &rest).clusters.remove(0);
        prop_assert_eq!(document.problems(), []);
        let found = commands(&document, WALL);
        prop_assert!(found.beyond.is_empty());
        let mut again = Ground::new(homes);
        for line in &found.lines {
            again.type_in(line);
        }
        prop_assert_eq!(comparable(&again.clusters[0]), comparable(&document), "{:#?}", found.lines);
    }
}

/// A pair with one service.
pub(super) fn pair() -> Ground {
    let service = NewService {
        name: "web1".parse().unwrap(),
        node: "n1".parse().unwrap(),
        aliases: vec!["192.0.2.101/24".parse().unwrap()],
        bases: vec!["192.0.2.11/24".parse().unwrap()],
        priority: None,
        fallback: None,
        units: Vec::new(),
        files: Vec::new(),
    };
    let mut ground = Ground::new(1);
    ground.carry_out(&Action::CreateCluster(CreateCluster {
        name: "shop".parse().unwrap(),
        id: ClusterId(7),
        key: Secret("ab".repeat(32)),
        standby: "sb1".parse().unwrap(),
        witnesses: Vec::new(),
        services: vec![service],
        safety: None,
        profile: Profile::Lan,
        fallback: Fallback::Manual,
        split_stops: SplitStops::Home,
        reference: None,
        links: Vec::new(),
    }));
    ground
}

#[test]
fn f17_the_printed_maintenance_is_the_same_and_its_end_stands_alone() {
    for moves in [false, true] {
        let mut ground = pair();
        ground.carry_out(&Action::Maintain {
            node: "n1".parse().unwrap(),
            reason: "new disk".to_owned(),
            until: WALL + 1800,
            moves,
        });
        let document = ground.clusters[0].clone();
        let mut again = Ground::new(1);
        for line in commands(&document, WALL).lines {
            again.type_in(&line);
        }
        assert_eq!(comparable(&again.clusters[0]), comparable(&document));
    }
    let mut ground = pair();
    ground.type_in("backstay node maintenance n1");
    assert!(ground.clusters[0].members[0].maintenance.is_some());
    for with in ["--for 5m", "--move", "--reason x"] {
        let line = format!("backstay node maintenance n1 --end {with}");
        assert!(Arguments::try_parse_from(words(&line)).is_err(), "{line}");
    }
}

#[test]
fn u3_times_that_flags_say_are_printed_and_nothing_is_beyond_them() {
    let mut ground = pair();
    ground.carry_out(&Action::SetCluster(SetCluster {
        home_healthy_ms: Some(600_000),
        clocks_within_ms: Some(2_500),
        ..SetCluster::of("shop".parse().unwrap())
    }));
    let document = ground.clusters.remove(0);
    let found = commands(&document, WALL);
    assert_eq!(found.beyond, [""; 0]);
    let mut again = Ground::new(1);
    for line in &found.lines {
        again.type_in(line);
    }
    assert_eq!(comparable(&again.clusters[0]), comparable(&document));
}

#[test]
fn u3_what_no_flag_says_is_named() {
    let mut document = pair().clusters.remove(0);
    assert_eq!(
        commands(&document, WALL).lines,
        [
            "backstay cluster create shop --standby sb1 --service web1=n1,alias=192.0.2.101/24,base=192.0.2.11/24 --safety available"
        ]
    );
    document.port = 6000;
    document.timing.beat_ms = Some(100);
    document.members[1].capacity = 2;
    assert_eq!(
        commands(&document, WALL).beyond,
        ["timing", "port 6000", "node sb1, capacity 2"]
    );
}
