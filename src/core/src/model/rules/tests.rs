//! Each rule refuses what it must, with its text; the sound document passes all.

use crate::model::fixture::{cluster, id, node, system};
use crate::model::*;

fn told(d: &ClusterDocument) -> Vec<String> {
    d.problems().iter().map(ToString::to_string).collect()
}

/// Changes the sound document and compares everything that is refused.
fn refused(change: impl FnOnce(&mut ClusterDocument), wanted: &[&str]) {
    let mut d = cluster();
    change(&mut d);
    assert_eq!(told(&d), wanted);
}

#[test]
fn a_sound_document_passes_and_survives_its_text() {
    let d = cluster();
    assert_eq!(told(&d), Vec::<String>::new());
    assert_eq!(ClusterDocument::parse(&d.to_text()).unwrap(), d);
}

#[test]
fn c1_one_to_ten_regular_nodes() {
    refused(
        |d| {
            d.members.retain(|m| m.role != Role::Regular);
            d.services.clear();
            d.bases.clear();
        },
        &["C1 cluster c1: it has 0 regular nodes; 1 to 10"],
    );
    refused(
        |d| {
            for n in 4..=11 {
                let name = format!("n{n}");
                let mut m = d.members[0].clone();
                m.name = node(&name);
                m.id = id(n);
                m.bases = vec![format!("192.0.2.{}/24", n + 30).parse().unwrap()];
                let mut s = d.services[0].clone();
                s.name = format!("web{n}").parse().unwrap();
                s.id = ServiceId(n as u16);
                s.nodes[0] = m.name.clone();
                s.aliases[0].address = format!("192.0.2.{}/24", n + 130).parse().unwrap();
                d.members.push(m);
                d.services.push(s);
            }
            d.members.retain(|m| m.role != Role::Witness);
            d.next_service = ServiceId(12);
        },
        &["C1 cluster c1: it has 11 regular nodes; 1 to 10"],
    );
}

#[test]
fn c2_exactly_one_standby() {
    refused(
        |d| d.members[4].role = Role::Standby,
        &[
            "C2 cluster c1: it has 2 standby nodes: sb1, w1; exactly one node with role = \"standby\"",
        ],
    );
    refused(
        |d| d.members[3].role = Role::Witness,
        &[
            "C2 cluster c1: it has no standby node; exactly one node with role = \"standby\"",
            "C1 service web1: its nodes are [n1, sb1]; two nodes: home, which is a regular node, then the standby",
            "C1 service web2: its nodes are [n2, sb1]; two nodes: home, which is a regular node, then the standby",
            "C1 service web3: its nodes are [n3, sb1]; two nodes: home, which is a regular node, then the standby",
        ],
    );
}

#[test]
fn c4_nodes_that_share_aliases_are_on_one_subnet_but_the_witness_need_not_be() {
    refused(
        |d| d.members[4].bases = vec!["198.51.100.31/24".parse().unwrap()],
        &[],
    );
    refused(
        |d| d.members[3].bases = vec!["198.51.100.21/24".parse().unwrap()],
        &[
            "C4 node sb1: its base addresses (198.51.100.21/24) are not on 192.0.2.0/24, where n1 and its service web1 are; all nodes that share aliases have a base address on one subnet: give sb1 one on 192.0.2.0/24",
        ],
    );
}

#[test]
fn c5_each_alias_is_on_the_subnet_of_its_base() {
    refused(
        |d| d.services[1].aliases[0].address = "198.51.100.2/24".parse().unwrap(),
        &[
            "C5 service web2: its alias 198.51.100.2/24 is on no subnet of n2's base addresses (192.0.2.12/24); an alias on the subnet of its home's base address",
        ],
    );
    refused(
        |d| d.services[1].aliases[0].address = "192.0.2.102/16".parse().unwrap(),
        &[
            "C5 service web2: its alias 192.0.2.102/16 has another prefix length than n2's base address 192.0.2.12/24; 192.0.2.102/24",
        ],
    );
    refused(
        |d| d.services[1].aliases[0].address = "192.0.2.102/32".parse().unwrap(),
        &[],
    );
}

#[test]
fn c6_preloaded_is_for_pairs_and_comes_later() {
    refused(
        |d| d.preloaded = true,
        &[
            "C6 preloaded: the cluster has 3 regular nodes; preloaded needs exactly one regular and one standby node",
            "P1 preloaded: it is true, which this version can't do yet (it comes later); leave it out: the standby starts the service when it takes over",
        ],
    );
}

#[test]
fn c7_a_deleted_cluster_has_nobody() {
    refused(
        |d| d.deleted = true,
        &[
            "C7 cluster c1: it is deleted and has 5 nodes and 3 services; a deleted cluster has none; its nodes stand under `former`",
        ],
    );
    refused(
        |d| {
            d.deleted = true;
            d.members.clear();
            d.services.clear();
            d.bases.clear();
        },
        &[],
    );
}

#[test]
fn c13_names_and_addresses_stand_once() {
    refused(
        |d| {
            d.members[1].bases = vec!["192.0.2.101/24".parse().unwrap()];
            d.services[1].aliases[0].address = "192.0.2.103/24".parse().unwrap();
        },
        &[
            "C13 address 192.0.2.101: it is node n2's base address and service web1's alias; each address belongs to one node or one service",
            "C13 address 192.0.2.103: it is service web2's alias and service web3's alias; each address belongs to one node or one service",
        ],
    );
    refused(
        |d| {
            d.members[4].id = id(1);
            d.services[1].name = "web1".parse().unwrap();
            d.services[2].id = ServiceId(9);
            d.bases.clear();
        },
        &[
            "C13 node w1: its identity 0000000000000001 is also n1's; an identity belongs to one node for all time; `backstay node show` tells it",
            "C13 service web1: the name stands twice in this cluster; give each service its own name",
            "C13 service web3: its number 9 is not below next_service, 4; next_service is above every number ever given in this cluster",
        ],
    );
}

#[test]
fn c14_addresses_are_lists_of_both_families_and_each_is_a_machines_own() {
    refused(
        |d| {
            for (n, m) in d.members.iter_mut().enumerate() {
                m.bases
                    .push(format!("2001:db8::{}/64", n + 1).parse().unwrap());
                m.bases
                    .push(format!("198.51.100.{}/24", n + 1).parse().unwrap());
            }
            d.services[0].aliases.push(Alias {
                address: "2001:db8::101/64".parse().unwrap(),
                kind: AddressKind::Alias,
            });
        },
        &[],
    );
    let mend = "an address of one machine, with its prefix length";
    for (address, why) in [
        ("0.0.0.0/24", "is the unspecified address"),
        ("224.0.0.9/24", "is a multicast address"),
        (
            "fe80::1/64",
            "is link-local, which means nothing without its interface",
        ),
        ("192.0.2.0/24", "is the subnet itself, not an address in it"),
        ("192.0.2.255/24", "is the subnet's broadcast address"),
    ] {
        refused(
            |d| d.members[4].bases = vec![address.parse().unwrap()],
            &[&format!(
                "C14 node w1: its base address {address} {why}; {mend}"
            )],
        );
    }
    refused(
        |d| d.members[4].bases.clear(),
        &[
            "C14 node w1: it has no base address; the address that stays with the machine, with its prefix length",
        ],
    );
}

#[test]
fn f3_capacity_priority_and_requirements() {
    refused(
        |d| (d.members[3].capacity, d.moves_per_hour) = (0, 0),
        &[
            "F3 node sb1: its capacity is 0; 1 to 32 services that it carries at once",
            "F10 moves_per_hour: it is 0; 1 to 20 moves of a service within an hour, before it asks for a human",
        ],
    );
    refused(
        |d| {
            d.services[0].requires = vec!["disk".to_owned()];
            d.members[0].labels = vec!["disk".to_owned()];
        },
        &[
            "F3 service web1: it requires the label disk, which sb1 has not; give the node the label, or take the requirement out",
        ],
    );
}

#[test]
fn f12_units_are_units_of_one_service() {
    for (name, why) in [
        ("web", "does not end in .service"),
        ("../web.service", "is a path"),
        ("a/b.service", "is a path"),
        ("web;reboot.service", "has characters that no unit name has"),
        (".service", "does not end in .service"),
        ("web@.service", "is a template or begins with a sign"),
        ("-x.service", "is a template or begins with a sign"),
    ] {
        refused(
            |d| d.services[0].units[0].name = name.to_owned(),
            &[&format!(
                "F12 service web1: its unit `{name}` {why}; the full name of a service unit, such as web.service"
            )],
        );
    }
    refused(
        |d| {
            d.services[1].nodes[0] = node("n1");
            d.members.retain(|m| m.name != node("n2"));
            d.services[1].aliases[0].address = "192.0.2.102/24".parse().unwrap();
            d.bases.clear();
        },
        &[
            "F12 service web2: its unit web.service is also web1's on n1; a unit belongs to one of a node's services: stopping one would stop the other",
        ],
    );
    refused(
        |d| {
            d.members[3].capacity = 2;
            d.services[2].units[0].name = "other.service".to_owned();
        },
        &[
            "F12 service web2: its unit web.service is also web1's on sb1; a unit belongs to one of a node's services: stopping one would stop the other",
        ],
    );
}

#[test]
fn c9_files_are_full_paths() {
    let files = |files: &[&str]| files.iter().map(ToString::to_string).collect();
    refused(
        |d| d.services[0].files = files(&["/etc/web.conf", "/etc/web/a..b"]),
        &[],
    );
    for bad in ["etc/web.conf", "/etc/", "/etc/../passwd", "/etc/a,b"] {
        refused(
            |d| d.services[0].files = files(&[bad]),
            &[&format!(
                "C9 service web1: its file is `{bad}`; the full path of a file, at most 1,024 characters, without commas, `..` and control characters"
            )],
        );
    }
    refused(
        |d| d.services[0].files = files(&["/etc/a", "/etc/a"]),
        &["C9 service web1: its file /etc/a stands twice; once is enough"],
    );
    refused(
        |d| d.services[0].files = (0..65).map(|n| format!("/etc/{n}")).collect(),
        &["T5 service web1: it has 65 files; at most 64"],
    );
}

#[test]
fn f12_commands_are_full_paths() {
    let command = |start: &[&str], stop: &[&str]| Command {
        start: start.iter().map(ToString::to_string).collect(),
        stop: stop.iter().map(ToString::to_string).collect(),
        check: Vec::new(),
        timeout_ms: 1000,
    };
    refused(
        |d| d.services[0].commands = vec![command(&["/bin/web", "start"], &["/bin/web", "stop"])],
        &[],
    );
    refused(
        |d| {
            d.services[0].commands = vec![command(&["web"], &[])];
            d.services[0].commands[0].timeout_ms = 5;
            d.services[0].hooks = vec![Hook {
                after: HookMoment::Takeover,
                run: vec!["/bin/../sbin/x".to_owned()],
            }];
        },
        &[
            "F12 service web1: its start command is `web`; a program by its full path, then its arguments; no shell reads it",
            "F12 service web1: its stop command is empty; a program by its full path, then its arguments; no shell reads it",
            "F12 service web1: its hook command is `/bin/../sbin/x`; a program by its full path, then its arguments; no shell reads it",
            "F14 service web1: a command's timeout_ms is 5; 100 to 3,600,000 ms",
        ],
    );
}

#[test]
fn l1_a_lock_is_where_the_service_may_run() {
    let lock = |at: &str| Lock {
        node: node(at),
        by: "admin@desk".to_owned(),
        at: 10,
        reason: String::new(),
        until: None,
    };
    refused(|d| d.services[0].lock = Some(lock("sb1")), &[]);
    refused(
        |d| d.services[0].lock = Some(lock("n2")),
        &["L1 service web1: it is locked to n2, where it may not run; one of its nodes: n1, sb1"],
    );
    refused(
        |d| {
            d.services[0].lock = Some(Lock {
                until: Some(9),
                by: "a\u{1b}[2J".to_owned(),
                ..lock("n1")
            });
        },
        &[
            "L4 service web1: its lock's `by` or `reason` is empty, too long or has control characters; who locked it (1 to 128 characters) and why (at most 200)",
            "L3 service web1: its lock ends at 9, before it began at 10; an end after the beginning, in seconds since 1970 UTC, or none",
        ],
    );
}

#[test]
fn s2_s3_exclusive_needs_three_voters_and_comes_later() {
    refused(
        |d| d.safety = Safety::Exclusive,
        &[
            "S3 safety: it is exclusive, which this version can't keep yet (it comes later); use available: two holders are possible while the network is cut (S1)",
        ],
    );
    refused(
        |d| {
            d.safety = Safety::Exclusive;
            d.members
                .retain(|m| ["n1", "sb1"].contains(&m.name.as_str()));
            d.services.truncate(1);
            d.bases.truncate(1);
        },
        &[
            "S2 safety: it is exclusive with 2 voters; exclusive needs a majority of at least three voters: add a node or a witness, or use available",
            "S3 safety: it is exclusive, which this version can't keep yet (it comes later); use available: two holders are possible while the network is cut (S1)",
        ],
    );
}

#[test]
fn what_comes_later_is_refused_not_passed_over() {
    refused(
        |d| {
            d.arbiter = "https://etcd".to_owned();
            d.services[0].instances = Instances::All;
            d.services[0].aliases[0].kind = AddressKind::Dns;
            d.services[0].data = vec![DataSet {
                name: "db".to_owned(),
                paths: Vec::new(),
                direction: Direction::HomeToStandby,
                targets: Vec::new(),
            }];
        },
        &[
            "S6 arbiter: it is `https://etcd`, and this version can't ask an arbiter yet (it comes later); leave it out",
            "F1 service web1: instances is all, which this version can't do yet (it comes later); leave it out: one node runs the service at a time",
            "C14 service web1: the kind of 192.0.2.101/24 is not `alias`, which this version can't do yet (it comes later); leave `kind` out: the address moves with the service",
            "D1 service web1: the data set `db` would not be copied: this version can't do that yet (it comes later); leave it out, and see to the data by other means",
        ],
    );
}

#[test]
fn protocol_1_revision_epoch_and_former() {
    refused(
        |d| {
            d.format = 2;
            d.epoch = 5;
            d.former = vec![Former {
                name: node("n1"),
                id: id(1),
                bases: Vec::new(),
                alias: None,
                replaced: None,
            }];
        },
        &[
            "T4 format: it is 2; this version reads 1; a document of a newer version needs a newer agent",
            "PROTOCOL 1 epoch: it is 5; 1 to the revision, 4: the last revision that changed who may vote or hold",
            "PROTOCOL 1 former node n1: its identity 0000000000000001 is the member n1's; take it out of `former`: it is back",
        ],
    );
}

#[test]
fn protocol_3_one_key_signs_and_no_secret_is_told() {
    refused(
        |d| {
            d.keys[0].signs = false;
            d.keys.push(Key {
                id: 1,
                secret: "geheim".to_owned(),
                signs: false,
            });
        },
        &[
            "PROTOCOL 3 key: 0 of 2 keys sign; exactly one key with signs = true",
            "PROTOCOL 3 key 1: its id stands twice; give each key its own id",
            "PROTOCOL 3 key 1: its secret has 6 characters, 2 of them hexadecimal digits; 32 random bytes as 64 hexadecimal digits; `not shown` is understood by `backstay apply` alone",
        ],
    );
}

#[test]
fn protocol_29_base_records() {
    refused(
        |d| {
            d.bases[0].holder = Some(node("n2"));
            d.bases[1].term = 0;
            d.bases[2].service = ServiceId(7);
        },
        &[
            "PROTOCOL 29 base record of service 1: its holder n2 may not run web1; one of the service's nodes, or none",
            "PROTOCOL 29 base record of service 2: it has a holder under term 0; a holder has a term of 1 or more",
            "PROTOCOL 29 base record of service 7: no service has this number; take the record out",
        ],
    );
}

#[test]
fn protocol_36_every_profile_leaves_room_and_less_is_refused() {
    for profile in [Profile::Fast, Profile::Lan, Profile::Vm, Profile::Wan] {
        refused(|d| d.profile = profile, &[]);
    }
    refused(
        |d| {
            d.timing.beat_ms = Some(100);
            d.timing.hold_ms = Some(299);
            d.timing.wait_ms = Some(349);
        },
        &[
            "PROTOCOL 36 timing, hold_ms: it is 299 ms with a beat of 100 ms; at least three beats, 300 ms, so that one lost beat ends no hold",
            "PROTOCOL 36 timing, wait_ms: it is 349 ms with a hold of 299 ms; at least 350 ms, so that the old holder's gate has closed before another opens",
        ],
    );
    refused(
        |d| {
            d.timing.beat_ms = Some(19);
            d.timing.hold_ms = Some(600_001);
            d.timing.wait_ms = Some(700_000);
        },
        &[
            "PROTOCOL 36 timing, beat_ms: it is 19 ms; 20 to 10000 ms",
            "PROTOCOL 36 timing, hold_ms: it is 600001 ms; 60 to 600000 ms",
            "PROTOCOL 36 timing, wait_ms: it is 700000 ms; 100 to 600000 ms",
        ],
    );
}

#[test]
fn t5_every_number_can_be_written() {
    refused(
        |d| d.bases[0].term = u64::MAX,
        &["T5 base record of service 1: it says 18446744073709551615; 0 to 9223372036854775807"],
    );
    refused(
        |d| {
            d.services[0].lock = Some(Lock {
                node: node("n1"),
                by: "admin@desk".to_owned(),
                at: 10,
                reason: String::new(),
                until: Some(u64::MAX),
            });
        },
        &["T5 service web1, lock: it says 18446744073709551615; 0 to 9223372036854775807"],
    );
}

#[test]
fn t5_lists_are_bounded() {
    refused(
        |d| {
            d.members[0].labels = vec!["x".to_owned(); 17];
            d.changed.what = "x\ny".to_owned();
        },
        &[
            "T5 node n1: it has 17 labels; at most 16",
            "T6 changed, what: it has 3 characters or control characters; at most 300 characters, none of them control characters",
        ],
    );
}

fn other() -> ClusterDocument {
    let mut other = cluster();
    other.id = ClusterId(0xc2);
    other.name = "c2".parse().unwrap();
    other.members = vec![other.members[4].clone()];
    other.services.clear();
    other
}

fn against(d: &ClusterDocument, s: &SystemDocument, others: &[ClusterDocument]) -> Vec<String> {
    let problems = d.against_system(s, others);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn c3_c13_against_the_other_clusters_but_a_witness_serves_several() {
    let mut s = system();
    assert_eq!(against(&cluster(), &s, &[cluster(), other()]), [""; 0]);
    let mut o = other();
    o.members.push(cluster().members[1].clone());
    o.services = vec![cluster().services[1].clone()];
    s.clusters.push(SystemCluster {
        name: "c2".parse().unwrap(),
        id: o.id,
        members: vec![node("n2"), node("w1")],
    });
    let already = "C3 node n2: it is in the cluster c2 already; a regular or standby node belongs to one cluster only; a witness may serve several";
    let address = "C13 address 192.0.2.102: it is service web2's alias here and service web2's alias in the cluster c2; an address that nothing else in the system has";
    let name = "C13 service web2: the cluster c2 has a service of this name; a name that no service of the system has";
    assert_eq!(
        against(&cluster(), &s, &[o.clone()]),
        [already, name, address]
    );
    // The node itself knows, whatever the index says.
    let said = |problems: Vec<Problem>| -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        said(cluster().against_node(&node("n2"), id(2), &[o])),
        [
            "C3 node n2: this machine is in the cluster c2 already; take it out of c2 first; only a witness may serve several clusters",
            name,
            address,
        ]
    );
    assert_eq!(
        said(cluster().against_node(&node("w1"), id(31), &[other()])),
        [""; 0]
    );
    assert_eq!(
        said(cluster().against_node(&node("n2"), id(77), &[])),
        [
            "C13 node n2: the document takes it for n2 (0000000000000002); this machine is n2 (000000000000004d); the name and identity under which this machine was added to the system"
        ]
    );
}

#[test]
fn c8_roles_in_the_system_and_the_missing_step() {
    let mut s = system();
    s.nodes[5].role = SystemRole::Free; // sb1
    s.nodes[7].role = SystemRole::Standby; // w1
    s.nodes[0].role = SystemRole::Witness; // n1
    s.nodes.remove(2); // n3
    assert_eq!(
        against(&cluster(), &s, &[]),
        [
            "C8 node n1: it is witness in the system, not free; make it one with `backstay node role n1 free` first",
            "C8 node n3: it is not in the system; add it with `backstay node add HOST --name n3` first",
            "C8 node sb1: it is free in the system, not standby; make it one with `backstay node role sb1 standby` first",
            "C8 node w1: it is standby in the system, not witness; free it with `backstay node role w1 free`, then make it one with `backstay node role w1 witness` first",
        ]
    );
}

#[test]
fn the_system_document_has_its_rules() {
    let told = |s: &SystemDocument| -> Vec<String> {
        s.problems().iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&system()), [""; 0]);
    let mut s = system();
    s.nodes[3].name = node("n5");
    s.nodes[0].role = SystemRole::Free;
    s.nodes[4].role = SystemRole::Regular;
    s.nodes[1].contact = "-oProxyCommand=x".to_owned();
    s.nodes[2].host_keys = vec!["ssh-rsa".to_owned()];
    s.clusters[0].members.push(node("n8"));
    s.clusters.push(SystemCluster {
        name: "c2".parse().unwrap(),
        id: ClusterId(0xc1),
        members: vec![node("n2")],
    });
    assert_eq!(
        told(&s),
        [
            "C13 node n5: the name stands twice in the system; give each node its own name",
            "C13 cluster c2: its identity 00000000000000c1 is also c1's; an identity belongs to one cluster for all time",
            "T6 node n2: its contact is `-oProxyCommand=x`; [USER@]HOST[:PORT]",
            "T6 node n3: its host key is `ssh-rsa`; type and base64 with one space between, as in known_hosts",
            "C8 cluster c1: its member n8 is not in the system; members are nodes of the system",
            "C3 node n2: it is in 2 clusters: c1, c2; a regular or standby node belongs to one cluster only; a witness may serve several",
            "C8 node n1: it is free and in the cluster c1; a member is regular, standby or witness",
            "C8 node n5: it is regular and in no cluster; a node outside clusters is free, standby or witness",
        ]
    );
}
