//! Documents for tests: the lab's cluster.

use super::*;

/// An identity for tests.
pub(crate) const fn id(n: u64) -> NodeId {
    NodeId(n)
}

/// A node's name.
pub(crate) fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

/// `n1 n2 n3` with `web1 web2 web3`, `sb1`, `w1`, at revision 4.
pub(crate) fn cluster() -> ClusterDocument {
    let member = |name: &str, n: u64, role, base: &str| Member {
        name: node(name),
        id: id(n),
        incarnation: 0,
        role,
        bases: vec![base.parse().unwrap()],
        capacity: 1,
        labels: Vec::new(),
        maintenance: None,
    };
    let service = |n: u16| Service {
        name: format!("web{n}").parse().unwrap(),
        id: ServiceId(n),
        nodes: vec![node(&format!("n{n}")), node("sb1")],
        priority: n * 10,
        fallback: None,
        failover: Failover::Automatic,
        instances: Instances::One,
        stopped: false,
        lock: None,
        requires: Vec::new(),
        files: Vec::new(),
        aliases: vec![Alias {
            address: format!("192.0.2.10{n}/24").parse().unwrap(),
            kind: AddressKind::Alias,
        }],
        units: vec![Unit {
            name: "web.service".to_owned(),
            mode: UnitMode::Service,
        }],
        commands: Vec::new(),
        hooks: Vec::new(),
        data: Vec::new(),
    };
    ClusterDocument {
        format: 1,
        name: "c1".parse().unwrap(),
        id: ClusterId(0xc1),
        revision: 4,
        epoch: 1,
        changed: Changed {
            by: "admin@desk".to_owned(),
            at: 1_800_000_000,
            what: "create the cluster".to_owned(),
        },
        deleted: false,
        topology: Topology::NPlusOne,
        safety: Safety::Available,
        without_majority: WithoutMajority::Stop,
        split_stops: SplitStops::Home,
        preloaded: false,
        fallback: Fallback::Manual,
        moves_per_hour: super::USUAL_MOVES,
        profile: Profile::Lan,
        timing: Timing::default(),
        reference: None,
        arbiter: String::new(),
        port: 5980,
        next_service: ServiceId(4),
        keys: vec![Key {
            id: 1,
            secret: "00112233445566778899aabbccddeeff".repeat(2),
            signs: true,
        }],
        members: vec![
            member("n1", 1, Role::Regular, "192.0.2.11/24"),
            member("n2", 2, Role::Regular, "192.0.2.12/24"),
            member("n3", 3, Role::Regular, "192.0.2.13/24"),
            member("sb1", 21, Role::Standby, "192.0.2.21/24"),
            member("w1", 31, Role::Witness, "192.0.2.31/24"),
        ],
        services: vec![service(1), service(2), service(3)],
        former: Vec::new(),
        bases: (1..=3)
            .map(|n| Base {
                service: ServiceId(n),
                term: 1,
                holder: Some(node(&format!("n{n}"))),
            })
            .collect(),
    }
}

/// A document in which every key has a value that is written; not all of it is sound.
pub(crate) fn everything() -> ClusterDocument {
    let mut d = cluster();
    d.deleted = true;
    d.preloaded = true;
    d.moves_per_hour = 5;
    d.timing = Timing {
        beat_ms: Some(100),
        hold_ms: Some(400),
        wait_ms: Some(600),
        boot_wait_ms: Some(20_000),
        home_healthy_ms: Some(60_000),
        cold_start_ms: Some(30_000),
        clocks_within_ms: Some(2_000),
    };
    d.reference = Some("192.0.2.1".parse().unwrap());
    d.arbiter = "https://etcd.example".to_owned();
    d.port = 6000;
    d.former = vec![Former {
        name: node("n9"),
        id: id(9),
        bases: vec!["192.0.2.19/24".parse().unwrap()],
        alias: Some("192.0.2.109/24".parse().unwrap()),
        replaced: Some(super::Replacement {
            id: id(10),
            contact: "root@192.0.2.19".to_owned(),
            host_keys: vec!["ssh-ed25519 AAAA".to_owned()],
        }),
    }];
    let m = &mut d.members[0];
    m.incarnation = 1;
    m.capacity = 2;
    m.labels = vec!["disk".to_owned()];
    m.maintenance = Some(Maintenance {
        by: "admin@desk".to_owned(),
        at: 1_800_000_000,
        reason: "reboot".to_owned(),
        until: 1_800_001_800,
        moves: true,
    });
    let s = &mut d.services[0];
    s.fallback = Some(Fallback::Automatic);
    s.failover = Failover::Ordered;
    s.instances = Instances::All;
    s.stopped = true;
    s.lock = Some(Lock {
        node: node("n1"),
        by: "admin@desk".to_owned(),
        at: 1_800_000_000,
        reason: "reboot".to_owned(),
        until: Some(1_800_001_800),
    });
    s.requires = vec!["disk".to_owned()];
    s.files = vec!["/etc/web.conf".to_owned()];
    s.aliases[0].kind = AddressKind::Dns;
    s.units[0].mode = UnitMode::Companion;
    s.commands = vec![Command {
        start: vec!["/bin/true".to_owned()],
        stop: vec!["/bin/true".to_owned()],
        check: vec!["/bin/true".to_owned()],
        timeout_ms: 1000,
    }];
    s.hooks = vec![Hook {
        after: HookMoment::Takeover,
        run: vec!["/bin/true".to_owned()],
    }];
    s.data = vec![DataSet {
        name: "db".to_owned(),
        paths: vec!["/var/lib/web".to_owned()],
        direction: Direction::MasterToAll,
        targets: vec![node("sb1")],
    }];
    d
}

/// The system of [`cluster`], with the free nodes `n4` and `n5` and the standby `sb2`.
pub(crate) fn system() -> SystemDocument {
    let node_of = |name: &str, n: u64, role| SystemNode {
        name: node(name),
        id: id(n),
        contact: format!("root@{name}.example"),
        host_keys: vec![format!("ssh-ed25519 AAAA{n}")],
        role,
    };
    SystemDocument {
        viewers: vec![SystemViewer {
            name: "ann@desk".to_owned(),
            key: format!("ssh-ed25519 AAAA{}", "b".repeat(64)),
            by: "admin@desk".to_owned(),
            at: 1_800_000_000,
        }],
        format: 1,
        revision: 7,
        changed: cluster().changed,
        nodes: vec![
            node_of("n1", 1, SystemRole::Regular),
            node_of("n2", 2, SystemRole::Regular),
            node_of("n3", 3, SystemRole::Regular),
            node_of("n4", 4, SystemRole::Free),
            node_of("n5", 5, SystemRole::Free),
            node_of("sb1", 21, SystemRole::Standby),
            node_of("sb2", 22, SystemRole::Standby),
            node_of("w1", 31, SystemRole::Witness),
        ],
        clusters: vec![SystemCluster {
            name: "c1".parse().unwrap(),
            id: ClusterId(0xc1),
            members: ["n1", "n2", "n3", "sb1", "w1"].map(node).to_vec(),
        }],
    }
}
