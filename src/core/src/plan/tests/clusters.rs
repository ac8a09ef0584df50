use super::*;
use crate::model::{ClusterId, Profile, Role, ServiceId, SplitStops, SystemRole, UnitMode};

fn service(of: &str, home: &str, alias: &str, base: &str) -> NewService {
    NewService {
        name: name(of),
        node: node(home),
        aliases: vec![alias.parse().unwrap()],
        bases: vec![base.parse().unwrap()],
        priority: None,
        fallback: None,
        units: vec![("web.service".to_owned(), UnitMode::Service)],
        files: Vec::new(),
    }
}

#[test]
fn c11_a_node_that_was_reached_by_what_is_an_alias_now_is_reached_by_its_base() {
    let mut world = world();
    for (of, contact) in [("n4", "root@192.0.2.104:2222"), ("n5", "n5.example")] {
        let found = world.system.nodes.iter_mut().find(|n| n.name == node(of));
        found.unwrap().contact = contact.to_owned();
    }
    let plan = world.agreed(&Action::CreateCluster(create()));
    let system = plan.system.unwrap();
    let contact = |of| system.node(&node(of)).unwrap().contact.as_str();
    assert_eq!(contact("n4"), "root@192.0.2.14:2222");
    assert_eq!(contact("n5"), "n5.example");
}

pub(super) fn create() -> CreateCluster {
    CreateCluster {
        name: "c2".parse().unwrap(),
        id: ClusterId(0xc2),
        key: Secret("0123456789abcdef".repeat(4)),
        standby: node("sb2"),
        witnesses: vec![node("w1")],
        services: vec![
            service("db4", "n4", "192.0.2.104/24", "192.0.2.14/24"),
            service("db5", "n5", "192.0.2.105/24", "192.0.2.15/24"),
        ],
        safety: None,
        profile: Profile::Fast,
        fallback: Fallback::Automatic,
        split_stops: SplitStops::Home,
        reference: None,
        links: Vec::new(),
    }
}

#[test]
fn c11_a_new_cluster_carries_its_homes_on_without_interruption() {
    let plan = world().agreed(&Action::CreateCluster(create()));
    let d = &plan.documents[0];
    assert_eq!((d.revision, d.epoch, d.next_service), (1, 1, ServiceId(3)));
    assert_eq!(d.safety, Safety::Available);
    // PROTOCOL 29: home holds what it serves already.
    let records: Vec<_> = d
        .bases
        .iter()
        .map(|b| (b.service.0, b.term, b.holder.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(records, [(1, 1, "n4"), (2, 1, "n5")]);
    // Of a machine's addresses the one beside the services counts.
    let standby = d.with_role(Role::Standby).next().unwrap();
    assert_eq!(standby.bases, ["192.0.2.22/24".parse::<IpNet>().unwrap()]);
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        [
            "none: the aliases are the addresses that clients use today; no service is restarted and no connection breaks (C11)"
        ]
    );
    let kinds: Vec<_> = plan.steps.iter().map(|s| s.kind).collect();
    assert_eq!(
        kinds,
        [
            StepKind::Stage,
            StepKind::Commit,
            StepKind::System,
            StepKind::Watch
        ]
    );
    assert_eq!(plan.steps[0].on, ["n4", "n5", "sb2", "w1"].map(node));
    let s = plan.system.as_ref().unwrap();
    assert_eq!(s.problems(), []);
    assert_eq!(s.node(&node("n4")).unwrap().role, SystemRole::Regular);
    assert_eq!(s.revision, 8);
    assert_eq!(
        plan.command,
        "backstay cluster create c2 --standby sb2 --witness w1 --service db4=n4,alias=192.0.2.104/24,base=192.0.2.14/24,unit=web.service --service db5=n5,alias=192.0.2.105/24,base=192.0.2.15/24,unit=web.service --fallback auto --profile fast"
    );
    assert!(!format!("{plan:?} {:?}", create()).contains("0123456789abcdef"));
}

#[test]
fn s3_creation_says_which_safety_and_why() {
    let protection = |c: CreateCluster| {
        let plan = world().agreed(&Action::CreateCluster(c));
        said(&plan, ConsequenceKind::Protection)[0].to_owned()
    };
    assert_eq!(
        protection(create()),
        "safety is available: with 4 voters exclusive would be the default, but it comes later; two holders are possible while the network is cut (S1, S3)"
    );
    let mut pair = create();
    pair.services.truncate(1);
    pair.witnesses.clear();
    assert_eq!(
        protection(pair),
        "safety is available, the default for 2 voters: two nodes may run a service while the network between them is cut (S1, S3)"
    );
    let mut wanted = create();
    wanted.safety = Some(Safety::Exclusive);
    world().refused(
        &Action::CreateCluster(wanted),
        &["S3 safety: it is exclusive, which this version can't keep yet (it comes later); use available: two holders are possible while the network is cut (S1)"],
    );
}

#[test]
fn c_rules_refuse_a_new_cluster_all_at_once_with_the_missing_steps() {
    let mut wanted = create();
    wanted.name = "c1".parse().unwrap();
    wanted.standby = node("n4");
    wanted.witnesses = vec![node("w9")];
    wanted.key = Secret("ab".to_owned());
    wanted.services = vec![
        service("web2", "n2", "192.0.2.102/24", "192.0.2.12/24"),
        service("db5", "n5", "198.51.100.5/24", "192.0.2.15/24"),
    ];
    wanted.services[1].units[0].0 = "web".to_owned();
    world().refused(
        &Action::CreateCluster(wanted),
        &[
            "C14 node n4: its addresses are not known: it did not say them; reach it first: `backstay node check n4`",
            "C14 node w9: its addresses are not known: it did not say them; reach it first: `backstay node check w9`",
            "PROTOCOL 3 key 1: its secret has 2 characters, 2 of them hexadecimal digits; 32 random bytes as 64 hexadecimal digits; `not shown` is understood by `backstay apply` alone",
            "C4 node n4: its base addresses () are not on 192.0.2.0/24, where n2 and its service web2 are; all nodes that share aliases have a base address on one subnet: give n4 one on 192.0.2.0/24",
            "C5 service db5: its alias 198.51.100.5/24 is on no subnet of n5's base addresses (192.0.2.15/24); an alias on the subnet of its home's base address",
            "F12 service db5: its unit `web` does not end in .service; the full name of a service unit, such as web.service",
            "C8 node n4: it is free in the system, not standby; make it one with `backstay node role n4 standby` first",
            "C8 node w9: it is not in the system; add it with `backstay node add HOST --name w9` first",
            "C3 node n2: it is in the cluster c1 already; a regular or standby node belongs to one cluster only; a witness may serve several",
            "C13 cluster c1: another cluster has this name; a name that no cluster of the system has",
            "C13 service web2: the cluster c1 has a service of this name; a name that no service of the system has",
            "C13 address 192.0.2.102: it is service web2's alias here and service web2's alias in the cluster c1; an address that nothing else in the system has",
        ],
    );
    let mut none = create();
    none.services.clear();
    world().refused(
        &Action::CreateCluster(none),
        &["C1 cluster c2: no service is given; at least one: --service NAME=NODE,alias=A,base=B"],
    );
}

#[test]
fn c13_a_cluster_that_does_not_answer_is_a_warning_by_name() {
    let mut w = world();
    w.system.clusters[0].name = "c7".parse().unwrap();
    w.system.clusters[0].members.clear();
    for n in w
        .system
        .nodes
        .iter_mut()
        .filter(|n| n.role == SystemRole::Regular)
    {
        n.role = SystemRole::Free;
    }
    w.cluster.deleted = true;
    let plan = w.agreed(&Action::CreateCluster(create()));
    let warning = &plan.warnings[0];
    assert_eq!(warning.name, "unseen-cluster");
    assert_eq!(
        warning.sentence,
        "no node of c7 answers, so its names and addresses can't be compared with the new ones"
    );
}

fn add(at: &str) -> Action {
    Action::AddClusterNode(AddClusterNode {
        cluster: "c1".parse().unwrap(),
        node: node(at),
        services: vec![service("web4", at, "192.0.2.104/24", "192.0.2.14/24")],
    })
}

#[test]
fn protocol_29_a_node_joins_and_the_others_hold_what_they_hold() {
    let w = world().runs("web2", &["sb1"], ServiceState::Running).runs(
        "web3",
        &[],
        ServiceState::Failed,
    );
    let plan = w.agreed(&add("n4"));
    let d = &plan.documents[0];
    assert_eq!((d.revision, d.epoch, d.next_service), (5, 5, ServiceId(5)));
    let records: Vec<_> = d
        .bases
        .iter()
        .map(|b| (b.service.0, b.term, b.holder.as_ref().map(NodeName::as_str)))
        .collect();
    assert_eq!(
        records,
        [
            (1, 3, Some("n1")),
            (2, 3, Some("sb1")),
            (3, 3, None),
            (4, 1, Some("n4"))
        ]
    );
    assert!(
        plan.differences
            .iter()
            .any(|d| d.place == "service web4" && d.before.is_none())
    );
    // Who holds what must be known.
    world()
        .runs("web2", &["n2", "sb1"], ServiceState::Split)
        .runs("web3", &[], ServiceState::Starting)
        .refused(
            &add("n4"),
            &[
                "S1 service web2: two nodes run it: n2, sb1; mend the network between them first: then one of them stops by itself",
                "PROTOCOL 29 service web3: it is just being started or stopped, and this change must know who holds it; try again when `backstay status` shows it settled",
            ],
        );
    world().refused(
        &add("n2"),
        &["C3 node n2: it is in the cluster c1 already; to give it another service, change the written document and use `backstay apply`"],
    );
    world().refused(
        &add("sb2"),
        &["C8 node sb2: it is standby in the system, not free; make it one with `backstay node role sb2 free` first"],
    );
}

pub(super) fn remove(at: &str) -> Action {
    Action::RemoveClusterNode {
        cluster: "c1".parse().unwrap(),
        node: node(at),
    }
}

#[test]
fn c15_a_node_leaves_with_its_service_at_home_and_unlocked() {
    let plan = world().agreed(&remove("n2"));
    let d = &plan.documents[0];
    assert!(d.member(&node("n2")).is_none() && d.services.len() == 2);
    assert_eq!(d.former[0].name, node("n2"));
    assert_eq!((d.revision, d.epoch, d.bases.len()), (5, 5, 2));
    assert!(plan.steps[0].on.contains(&node("n2")));
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["none for web2: its addresses stay on n2 as ordinary ones, without interruption (C15)"]
    );
    let s = plan.system.as_ref().unwrap();
    assert_eq!(s.node(&node("n2")).unwrap().role, SystemRole::Free);
    // The host's own network configuration knows the former alias, and nothing of the base address.
    let mut by_base = world();
    by_base.system.nodes[1].contact = "root@192.0.2.12:22".to_owned();
    let plan = by_base.agreed(&remove("n2"));
    let s = plan.system.as_ref().unwrap();
    assert_eq!(s.node(&node("n2")).unwrap().contact, "root@192.0.2.102:22");
    assert!(
        said(&plan, ConsequenceKind::Note)
            .iter()
            .any(|note| note.contains("reached at root@192.0.2.102:22"))
    );
    world()
        .runs("web2", &["sb1"], ServiceState::Running)
        .locked("web2", "sb1")
        .refused(
            &remove("n2"),
            &[
                "L1 service web2: it is locked to sb1 by eve@desk (reboot); unlock it with `backstay service unlock web2` first",
                "C15 service web2: it is away from home: it runs on sb1; move it home with `backstay service move web2 --to home` first",
            ],
        );
    world().refused(
        &remove("sb1"),
        &["C2 node sb1: it is the standby of c1, which can't be without one; to end the cluster use `backstay cluster delete c1`"],
    );
    world().refused(
        &remove("n9"),
        &["C3 node n9: it is not in the cluster c1; its nodes: n1, n2, n3, sb1, w1"],
    );
    let mut again = world();
    again.cluster = d.clone();
    unchanged(
        &again.agreed(&remove("n2")),
        "n2 is not in the cluster c1 any more",
    );
    // And back: no longer former, with a new number for its service.
    again.system = plan.system.unwrap();
    again.view = Some(view(&again.cluster));
    let mut back = add("n2");
    if let Action::AddClusterNode(a) = &mut back {
        a.services[0] = service("web2", "n2", "192.0.2.102/24", "192.0.2.12/24");
    }
    let back = again.agreed(&back);
    assert!(back.documents[0].former.is_empty());
    assert_eq!(back.documents[0].services[2].id, ServiceId(4));
}

#[test]
fn c16_a_dead_node_leaves_only_when_named_as_such() {
    let dead = world()
        .runs("web2", &["sb1"], ServiceState::Running)
        .state("n2", NodeState::Down);
    let plan = dead.agreed(&remove("n2"));
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(
        (plan.warnings[0].name, plan.warnings[0].sentence.as_str()),
        (
            "dead-node",
            "n2 is dead and is removed by force: it can't give its addresses back. If it comes back it learns of this from the others and is free; until then, where it runs on cut off from them, it uses its addresses beside whoever has them; make sure that n2 is powered off"
        )
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["web2 stops on sb1 for good: its home n2 is down and can't take it back"]
    );
    // Unknown is not dead.
    world()
        .runs("web2", &["sb1"], ServiceState::Running)
        .state("n2", NodeState::Unknown)
        .refused(
            &remove("n2"),
            &["C15 service web2: it is away from home: it runs on sb1; move it home with `backstay service move web2 --to home` first"],
        );
}

#[test]
fn c7_the_last_regular_node_takes_the_cluster_with_it() {
    let pair = world().document(|d| {
        d.members
            .retain(|m| !["n2", "n3"].contains(&m.name.as_str()));
        d.services.truncate(1);
        d.bases.truncate(1);
    });
    let plan = pair.agreed(&remove("n1"));
    let d = &plan.documents[0];
    assert!(d.deleted && d.members.is_empty() && d.services.is_empty() && d.former.len() == 3);
    assert_eq!(
        said(&plan, ConsequenceKind::Irreversible)[0],
        "n1 is the last regular node: the cluster c1 ends with it (C7)"
    );
    assert_eq!(
        plan.goal.aims,
        [Aim::Gone {
            cluster: "c1".parse().unwrap()
        }]
    );
}

#[test]
fn c8_after_deletion_the_standby_stays_standby_until_freed() {
    let mut w = world();
    let delete = Action::DeleteCluster {
        cluster: "c1".parse().unwrap(),
    };
    let plan = w.agreed(&delete);
    assert!(
        said(&plan, ConsequenceKind::Note).contains(
            &"sb1 stays standby until it is freed with `backstay node role sb1 free` (C8)"
        )
    );
    let s = plan.system.unwrap();
    assert!(s.clusters.is_empty());
    assert_eq!(s.node(&node("n1")).unwrap().role, SystemRole::Free);
    assert_eq!(s.node(&node("sb1")).unwrap().role, SystemRole::Standby);
    assert_eq!(s.node(&node("w1")).unwrap().role, SystemRole::Witness);
    w.system = s;
    w.cluster = plan.documents[0].clone();
    w.refused(
        &Action::RemoveNode { node: node("sb1") },
        &["C8 node sb1: it has the role standby; free it with `backstay node role sb1 free` first (a node is removed from the system only when it is free)"],
    );
    let plan = w.agreed(&Action::SetRole {
        node: node("sb1"),
        role: SystemRole::Free,
    });
    w.system = plan.system.unwrap();
    let plan = w.agreed(&Action::RemoveNode { node: node("sb1") });
    assert!(plan.system.unwrap().node(&node("sb1")).is_none());
    w.refused(
        &delete,
        &["C13 cluster c1: there is no such cluster in the system; `backstay cluster list` tells their names"],
    );
}

#[test]
fn c8_roles_change_only_from_free_and_each_refusal_names_the_missing_step() {
    let role = |of: &str, role| Action::SetRole {
        node: node(of),
        role,
    };
    let plan = world().agreed(&role("n4", SystemRole::Standby));
    assert_eq!(plan.command, "backstay node role n4 standby");
    unchanged(
        &world().agreed(&role("sb2", SystemRole::Standby)),
        "sb2 is standby already",
    );
    for (action, wanted) in [
        (
            role("n9", SystemRole::Standby),
            "C8 node n9: it is not in the system; add it with `backstay node add HOST --name n9` first",
        ),
        (
            role("sb1", SystemRole::Free),
            "C8 node sb1: it is the standby of the cluster c1; delete the cluster with `backstay cluster delete c1` first (a node is freed when it is in no cluster)",
        ),
        (
            role("n1", SystemRole::Standby),
            "C8 node n1: it is a regular node in the cluster c1; take it out with `backstay cluster remove-node c1 n1` first (a standby is made from a free node)",
        ),
        (
            role("sb2", SystemRole::Witness),
            "C8 node sb2: it has the role standby; free it with `backstay node role sb2 free` first (a witness is made from a free node)",
        ),
        (
            role("n4", SystemRole::Regular),
            "C8 node n4: a node becomes regular with its first service; use `backstay cluster create` or `backstay cluster add-node`",
        ),
        (
            Action::RemoveNode { node: node("sb1") },
            "C8 node sb1: it is the standby of the cluster c1; delete the cluster with `backstay cluster delete c1`, then free it with `backstay node role sb1 free` (a node is removed from the system only when it is free)",
        ),
        (
            Action::RemoveNode { node: node("w1") },
            "C8 node w1: it is a witness in the cluster c1; take it out with `backstay cluster remove-node c1 w1` first (a node is removed from the system only when it is free)",
        ),
    ] {
        world().refused(&action, &[wanted]);
    }
}

#[test]
fn c13_a_node_is_added_once() {
    let add = |name: &str, n, contact: &str| Action::AddNode {
        name: node(name),
        id: id(n),
        contact: contact.to_owned(),
        host_keys: vec!["ssh-ed25519 AAAA".to_owned()],
    };
    let plan = world().agreed(&add("n6", 6, "root@[2001:db8::6]:22"));
    assert_eq!(plan.steps[0].kind, StepKind::Enrol);
    assert_eq!(
        plan.command,
        "backstay node add 'root@[2001:db8::6]:22' --name n6"
    );
    let s = plan.system.unwrap();
    assert_eq!(s.node(&node("n6")).unwrap().role, SystemRole::Free);
    world().refused(
        &add("n4", 6, "root@other"),
        &["C13 node n4: another machine has this name in the system (root@n4.example); use another name, or remove it with `backstay node remove n4` first"],
    );
    world().refused(
        &add("n6", 4, "root@n4.example"),
        &[
            "C13 node n6: its identity 0000000000000004 is also n4's; an identity belongs to one node for all time",
            "C13 node n6: its contact root@n4.example is also n4's; each node is another machine",
        ],
    );
    let plan = world().agreed(&add("n4", 4, "root@n4.example"));
    assert_eq!(plan.title, "change how n4 is reached");
}
