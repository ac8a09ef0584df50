//! A system on paper: three clusters, one of them silent; a failover, a lock, alarms, and hostile texts.

use std::collections::BTreeMap;

use backstay::output::style::Style;
use backstay::tui::keys::Key;
use backstay::tui::model::Model;
use backstay::tui::msg::{Cmd, Event, Msg};
use backstay::tui::theme::Theme;
use backstay::tui::update::update;
use backstay_core::engine::{
    AddressView, AlarmView, ClusterView, LockView, NodeState, NodeView, ServiceState, ServiceView,
    Severity,
};
use backstay_core::model::{
    Changed, ClusterId, Fallback, NodeId, NodeName, Role, RuleId, Safety, SystemCluster,
    SystemDocument, SystemNode, SystemRole,
};

pub(crate) fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn node(n: &str, role: Role, state: NodeState, age_ms: u64, address: &str) -> NodeView {
    NodeView {
        name: name(n),
        role,
        state,
        age_ms: Some(age_ms),
        revision: Some(7),
        notes: Vec::new(),
        addresses: vec![address.to_owned()],
        maintenance: None,
    }
}

pub(crate) fn service(
    n: &str,
    home: &str,
    on: &[&str],
    state: ServiceState,
    alias: &str,
) -> ServiceView {
    ServiceView {
        name: n.parse().unwrap(),
        home: name(home),
        running_on: on.iter().map(|n| name(n)).collect(),
        state,
        priority: 100,
        fallback: Fallback::Manual,
        lock: None,
        addresses: vec![AddressView {
            address: alias.to_owned(),
        }],
        age_ms: Some(100),
        term: 4,
        reason: String::new(),
        on: BTreeMap::new(),
    }
}

/// `n2` is dead, its service on the standby and locked there; texts of other machines are hostile.
pub(crate) fn shop() -> ClusterView {
    let mut web2 = service(
        "web2",
        "n2",
        &["sb1"],
        ServiceState::Running,
        "192.0.2.102/24",
    );
    web2.reason
        .push_str("F2: n2 is down\u{1b}[2J\r\nsb1 took over \u{202e}evil\u{202c}");
    web2.lock = Some(LockView {
        node: name("sb1"),
        by: "anna@desk\u{7}".to_owned(),
        at: 1_700_000_000,
        reason: "ディスク交換 (new disk)".to_owned(),
        until: None,
    });
    let mut web3 = service(
        "web3",
        "n3",
        &["n3"],
        ServiceState::Running,
        "192.0.2.103/24",
    );
    web3.fallback = Fallback::Automatic;
    ClusterView {
        name: "shop".parse().unwrap(),
        revision: 7,
        safety: Safety::Available,
        preloaded: false,
        seen_by: name("n1"),
        nodes: vec![
            node("n1", Role::Regular, NodeState::Up, 0, "192.0.2.11"),
            node("n2", Role::Regular, NodeState::Down, 724_000, "192.0.2.12"),
            node("n3", Role::Regular, NodeState::Up, 100, "192.0.2.13"),
            node("sb1", Role::Standby, NodeState::Up, 100, "192.0.2.21"),
            node("w1", Role::Witness, NodeState::Suspect, 1_200, "192.0.2.31"),
        ],
        services: vec![
            service(
                "web1",
                "n1",
                &["n1"],
                ServiceState::Running,
                "192.0.2.101/24",
            ),
            web2,
            web3,
            service("log3", "n3", &[], ServiceState::Failed, "192.0.2.113/24"),
        ],
        alarms: vec![
            AlarmView {
                id: "node-down".to_owned(),
                severity: Severity::Major,
                node: Some(name("n2")),
                service: None,
                rule: RuleId::of("F1"),
                cause: "n2 is down".to_owned(),
                action: "look at its power and its network".to_owned(),
                age_ms: 724_000,
                count: 1,
                active: true,
                quiet: false,
            },
            AlarmView {
                id: "service-on-standby".to_owned(),
                severity: Severity::Minor,
                node: Some(name("sb1")),
                service: Some("web2".parse().unwrap()),
                rule: RuleId::of("M2"),
                cause: "web2 runs on the standby sb1".to_owned(),
                action: "move it home once n2 is well: `backstay service move web2 --to home`"
                    .to_owned(),
                age_ms: 721_000,
                count: 1,
                active: true,
                quiet: false,
            },
        ],
        advice: "bring n2 back: look at its power and its network".to_owned(),
    }
}

pub(crate) fn mail() -> ClusterView {
    ClusterView {
        name: "mail".parse().unwrap(),
        revision: 3,
        safety: Safety::Available,
        preloaded: false,
        seen_by: name("m1"),
        nodes: vec![
            node("m1", Role::Regular, NodeState::Up, 0, "192.0.2.51"),
            node("msb", Role::Standby, NodeState::Up, 10, "192.0.2.52"),
        ],
        services: vec![service(
            "imap",
            "m1",
            &["m1"],
            ServiceState::Running,
            "192.0.2.151/24",
        )],
        alarms: Vec::new(),
        advice: "nothing to do".to_owned(),
    }
}

pub(crate) fn system() -> SystemDocument {
    let roles = [
        ("m1", SystemRole::Regular),
        ("msb", SystemRole::Standby),
        ("n1", SystemRole::Regular),
        ("n2", SystemRole::Regular),
        ("n3", SystemRole::Regular),
        ("n9", SystemRole::Free),
        ("p1", SystemRole::Regular),
        ("psb", SystemRole::Standby),
        ("sb1", SystemRole::Standby),
        ("sb9", SystemRole::Standby),
        ("w1", SystemRole::Witness),
    ];
    let nodes = roles.iter().zip(1..).map(|((n, role), id)| SystemNode {
        name: name(n),
        id: NodeId(id),
        contact: format!("192.0.2.{id}"),
        host_keys: Vec::new(),
        role: *role,
    });
    let cluster = |n: &str, id, members: &[&str]| SystemCluster {
        name: n.parse().unwrap(),
        id: ClusterId(id),
        members: members.iter().map(|m| name(m)).collect(),
    };
    SystemDocument {
        viewers: Vec::new(),
        format: 1,
        revision: 12,
        changed: Changed {
            by: "anna@desk".to_owned(),
            at: 1_700_000_000,
            what: "test".to_owned(),
        },
        nodes: nodes.collect(),
        clusters: vec![
            cluster("mail", 1, &["m1", "msb"]),
            cluster("print", 2, &["p1", "psb"]),
            cluster("shop", 3, &["n1", "n2", "n3", "sb1", "w1"]),
        ],
    }
}

/// Colours and Unicode, no colours, no colours and ASCII.
pub(crate) const LOOKS: [(&str, bool, bool); 3] = [
    ("colour", true, true),
    ("mono", false, true),
    ("ascii", false, false),
];

pub(crate) fn theme(color: bool, unicode: bool) -> Theme {
    Theme {
        signs: Style { color, unicode },
    }
}

/// A menu whose time and events the test makes.
pub(crate) struct Menu {
    pub(crate) model: Model,
    pub(crate) at: u64,
}

impl Menu {
    /// Nothing has been heard yet.
    pub(crate) fn silent(size: (u16, u16), theme: Theme) -> Self {
        Self {
            model: Model::new(theme, size, 1_700_000_100, Vec::new()),
            at: 0,
        }
    }

    /// Everything has been heard that will be; `print` is silent.
    pub(crate) fn new(size: (u16, u16), theme: Theme) -> Self {
        let mut menu = Self::silent(size, theme);
        menu.event(Event::System(Some(Box::new(system()))));
        menu.event(Event::View(Box::new(shop())));
        menu.event(Event::View(Box::new(mail())));
        menu.event(Event::Lost(
            "print".parse().unwrap(),
            "p1 can't be reached: no route".to_owned(),
        ));
        menu
    }

    pub(crate) fn usual() -> Self {
        Self::new((80, 24), theme(true, true))
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<Cmd> {
        update(
            &mut self.model,
            Msg {
                at: self.at,
                wall: 1_700_000_100 + self.at / 1000,
                event,
            },
        )
    }

    /// A key that comes long after what is on the screen was seen.
    pub(crate) fn key(&mut self, key: Key) -> Vec<Cmd> {
        self.event(Event::Drawn);
        self.at += 400;
        self.event(Event::Key(key))
    }

    pub(crate) fn keys(&mut self, keys: &[Key]) -> Vec<Cmd> {
        keys.iter().flat_map(|key| self.key(*key)).collect()
    }

    pub(crate) fn typed(&mut self, text: &str) -> Vec<Cmd> {
        text.chars().flat_map(|c| self.key(Key::Char(c))).collect()
    }
}
