use super::*;
use crate::model::{Failover, Filling, Profile, ServiceId, Written, differences, is_epoch_change};

#[test]
fn f7_a_changed_fallback_says_who_returns() {
    let mut wanted = SetCluster::of("c1".parse().unwrap());
    wanted.fallback = Some(Fallback::Automatic);
    let action = Action::SetCluster(wanted);
    let away = world().runs("web1", &["sb1"], ServiceState::Running);
    let plan = away.agreed(&action);
    assert_eq!(plan.command, "backstay cluster set c1 --fallback auto");
    let d = &plan.documents[0];
    assert_eq!(
        (d.fallback, d.revision, d.epoch),
        (Fallback::Automatic, 5, 1)
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        [
            "web1 returns from sb1 to n1 as soon as n1 has been healthy for 300 s: it is away while it stops there and starts here"
        ]
    );
    assert_eq!(said(&plan, ConsequenceKind::Fallback).len(), 3);
    let mut same = world();
    same.cluster = d.clone();
    unchanged(&same.agreed(&action), "c1 is set so already");
}

#[test]
fn protocol_1_another_profile_begins_an_epoch() {
    let mut wanted = SetCluster::of("c1".parse().unwrap());
    wanted.home_healthy_ms = Some(8_000);
    let plan = world().agreed(&Action::SetCluster(wanted));
    assert_eq!(
        plan.command,
        "backstay cluster set c1 --home-healthy 8000ms"
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Fallback),
        ["automatic fallback waits until home has been healthy for 8 s (before: 300 s)"]
    );
    let mut wanted = SetCluster::of("c1".parse().unwrap());
    wanted.profile = Some(Profile::Fast);
    let action = Action::SetCluster(wanted);
    let plan = world().agreed(&action);
    let d = &plan.documents[0];
    assert_eq!((d.revision, d.epoch, d.bases[0].term), (5, 5, 3));
    assert_eq!(
        said(&plan, ConsequenceKind::Protection),
        ["a silent node counts as down after 0.3 s (before: 3 s)"]
    );
    world().unseen().refused(
        &action,
        &["U7 cluster c1: none of its nodes says what runs where; reach one of its nodes first: `backstay node list` tells their contacts"],
    );
}

#[test]
fn c12_a_change_that_is_better_made_at_a_quiet_time_says_so() {
    let quiet = |change: fn(&mut SetCluster)| {
        let mut wanted = SetCluster::of("c1".parse().unwrap());
        change(&mut wanted);
        let plan = world().agreed(&Action::SetCluster(wanted));
        let when = said(&plan, ConsequenceKind::LowTraffic);
        when.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        quiet(|wanted| wanted.profile = Some(Profile::Vm)),
        [
            "better when little is going on: a service that fails within 15 s of the change waits that long"
        ]
    );
    assert_eq!(quiet(|wanted| wanted.moves_per_hour = Some(9)), [""; 0]);
}

#[test]
fn a6_a_further_link_is_each_nodes_own_address_on_a_subnet() {
    let mut w = world();
    let link: IpNet = "198.51.100.0/24".parse().unwrap();
    for (name, last) in [("n1", 11), ("n2", 12), ("n3", 13), ("sb1", 21)] {
        let own = format!("198.51.100.{last}/24").parse().unwrap();
        w.bases.entry(node(name)).or_default().push(own);
    }
    let mut wanted = SetCluster::of("c1".parse().unwrap());
    wanted.links = vec![link];
    let action = Action::SetCluster(wanted);
    let plan = w.agreed(&action);
    assert_eq!(
        plan.command,
        "backstay cluster set c1 --link 198.51.100.0/24"
    );
    let d = &plan.documents[0];
    let bases = |of: &str| {
        let member = d.member(&node(of)).unwrap();
        member
            .bases
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(bases("n2"), ["192.0.2.12/24", "198.51.100.12/24"]);
    assert_eq!(bases("sb1"), ["192.0.2.21/24", "198.51.100.21/24"]);
    assert_eq!(bases("w1"), ["192.0.2.31/24"]);
    assert_eq!(
        said(&plan, ConsequenceKind::Protection),
        [
            "beats use 198.51.100.0/24 as well: a node counts as silent only when it is on every link (A6)"
        ]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Note),
        ["w1 has no address on 198.51.100.0/24: its beats do not use this link"]
    );
    let mut with = w.clone();
    with.cluster = d.clone();
    unchanged(&with.agreed(&action), "c1 is set so already");
    let mut back = SetCluster::of("c1".parse().unwrap());
    back.no_links = vec![link];
    let plan = with.agreed(&Action::SetCluster(back));
    assert_eq!(plan.documents[0].members, w.cluster.members);

    w.bases.remove(&node("n3"));
    w.refused(
        &action,
        &["A6 node n3: no address of it on 198.51.100.0/24 is known; give the machine an address there, or see with `backstay node check n3` whether it answers"],
    );
    let mut first = SetCluster::of("c1".parse().unwrap());
    first.no_links = vec!["192.0.2.0/24".parse().unwrap()];
    world().refused(
        &Action::SetCluster(first),
        &["A6 node n1: 192.0.2.0/24 is its first link, where the aliases are; the subnet of a further link"],
    );
}

#[test]
fn a6_networks_come_in_one_order() {
    let mut d = crate::model::fixture::cluster();
    let more = |d: &mut ClusterDocument, of: &str, last: u8, first: bool| {
        let member = d.members.iter_mut().find(|m| m.name == node(of)).unwrap();
        let base = format!("198.51.100.{last}/24").parse().unwrap();
        let at = usize::from(!first);
        member.bases.insert(at, base);
    };
    more(&mut d, "n1", 11, false);
    more(&mut d, "sb1", 21, false);
    assert!(d.problems().is_empty(), "{:?}", d.problems());
    more(&mut d, "n2", 12, true);
    let all = d.problems();
    assert!(
        !all.is_empty() && all.iter().all(|p| p.rule.0 == "A6"),
        "{all:?}"
    );
}

#[test]
fn s6_an_arbiter_and_exclusive_are_refused_together() {
    let mut wanted = SetCluster::of("c1".parse().unwrap());
    wanted.arbiter = Some("https://etcd".to_owned());
    wanted.safety = Some(Safety::Exclusive);
    world().refused(
        &Action::SetCluster(wanted),
        &[
            "S3 safety: it is exclusive, which this version can't keep yet (it comes later); use available: two holders are possible while the network is cut (S1)",
            "S6 arbiter: it is `https://etcd`, and this version can't ask an arbiter yet (it comes later); leave it out",
        ],
    );
}

#[test]
fn f10_the_guard_is_set_and_told() {
    let mut wanted = SetCluster::of("c1".parse().unwrap());
    wanted.moves_per_hour = Some(4);
    let plan = world().agreed(&Action::SetCluster(wanted.clone()));
    assert_eq!(plan.command, "backstay cluster set c1 --moves-per-hour 4");
    assert_eq!(
        said(&plan, ConsequenceKind::Fallback),
        [
            "a service that has moved 4 times within an hour no longer returns home by itself until it was at rest or is ordered (before: 2; F10)"
        ]
    );
    assert_eq!(plan.documents[0].epoch, 1, "who may hold what is the same");
    wanted.moves_per_hour = Some(21);
    world().refused(
        &Action::SetCluster(wanted),
        &["F10 moves_per_hour: it is 21; 1 to 20 moves of a service within an hour, before it asks for a human"],
    );
}

#[test]
fn c9_static_files_are_listed_and_taken_off_the_list() {
    let mut wanted = SetService::of(name("web1"));
    wanted.files = vec!["/etc/web.conf".to_owned(), "/etc/a b".to_owned()];
    let w = world();
    let plan = w.agreed(&Action::SetService(wanted.clone()));
    assert_eq!(
        plan.command,
        "backstay service set web1 --file /etc/web.conf --file '/etc/a b'"
    );
    assert_eq!(plan.documents[0].services[0].files, wanted.files);
    assert_eq!(
        said(&plan, ConsequenceKind::Note),
        [
            "static files of web1 are compared on n1 and sb1 now and when a node joins, and never copied: /etc/web.conf, /etc/a b (C9)"
        ]
    );
    let listed = |files: &[&str]| {
        let files: Vec<String> = files.iter().map(ToString::to_string).collect();
        world().document(|d| d.services[0].files = files)
    };
    unchanged(
        &listed(&["/etc/a b", "/etc/web.conf"]).agreed(&Action::SetService(wanted.clone())),
        "web1 is set so already",
    );
    wanted.no_files = vec!["/etc/gone".to_owned()];
    let plan = listed(&["/etc/gone"]).agreed(&Action::SetService(wanted));
    assert_eq!(
        plan.documents[0].services[0].files,
        ["/etc/web.conf", "/etc/a b"]
    );
}

#[test]
fn f3_f5_a_new_priority_says_who_goes_before_whom() {
    let mut wanted = SetService::of(name("web3"));
    wanted.priority = Some(5);
    wanted.failover = Some(Failover::Ordered);
    let w = world()
        .runs("web1", &["sb1"], ServiceState::Running)
        .runs("web3", &[], ServiceState::Displaced)
        .state("n1", NodeState::Down)
        .state("n3", NodeState::Down);
    let plan = w.agreed(&Action::SetService(wanted));
    assert_eq!(
        plan.command,
        "backstay service set web3 --priority 5 --failover ordered"
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Displacement),
        ["web3 goes before web1, web2 from now on (F3, F5)"]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["web1 stops on sb1 at once and makes room for web3 (priority 5 before 10, F5)"]
    );
    assert_eq!(
        said(&plan, ConsequenceKind::Note),
        ["not heard now, and learning of revision 5 on return: n1, n3"]
    );
    unchanged(
        &world().agreed(&Action::SetService(SetService::of(name("web1")))),
        "web1 is set so already",
    );
}

fn apply(document: ClusterDocument) -> Action {
    Action::Apply {
        document: Box::new(document),
    }
}

#[test]
fn u8_apply_takes_the_shown_document_with_its_changes() {
    let shown = world().cluster.without_secrets();
    unchanged(
        &world().agreed(&apply(shown.clone())),
        "c1 is as written already",
    );
    let mut written = shown.clone();
    written.services[0].priority = 15;
    written.services[1].units[0].name = "other.service".to_owned();
    let plan = world().agreed(&apply(written));
    let d = &plan.documents[0];
    assert_eq!(d.keys, world().cluster.keys);
    assert_eq!((d.revision, d.epoch), (5, 1));
    let told: Vec<String> = plan.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "service web1, priority: 10 -> 15",
            "service web2, unit other.service: new: name other.service",
            "service web2, unit web.service: gone: name web.service",
        ]
    );
    let mut old = shown.clone();
    old.revision = 3;
    world().refused(
        &apply(old),
        &["U8 cluster c1: the document is a change to revision 3; the cluster has revision 4 by now, by admin@desk (create the cluster); show the cluster again and write the change into that"],
    );
    let mut deleted = shown;
    deleted.deleted = true;
    world().refused(
        &apply(deleted),
        &["C7 cluster c1: the document says that it is deleted; use `backstay cluster delete c1`"],
    );
}

#[test]
fn c15_l1_c13_apply_refuses_what_the_actions_refuse() {
    let w = world()
        .runs("web1", &["sb1"], ServiceState::Running)
        .locked("web3", "n3");
    let mut written = w.cluster.without_secrets();
    // web1 leaves while away, web2 is locked elsewhere, web3's number is given to another.
    let mut reused = written.services[2].clone();
    reused.lock = None;
    reused.name = name("new3");
    written.services[1].lock = Some(Lock {
        node: node("sb1"),
        by: "adam@desk".to_owned(),
        at: WALL,
        reason: String::new(),
        until: None,
    });
    written.services[2] = reused;
    let first = written.services.remove(0);
    written.members.retain(|m| Some(&m.name) != first.home());
    w.refused(
        &apply(written),
        &[
            "L1 service web2: the document locks it to sb1, but it runs on n2; a service is locked where it runs: locking never moves",
            "C13 service web3: the document calls it new3; a service keeps its name; to rename it, take it out and add it with a new number",
            "C15 service web1: the document leaves it out, and it is away from home: it runs on sb1; move it home with `backstay service move web1 --to home` first",
        ],
    );
}

#[test]
fn c15_apply_gives_no_service_what_another_has() {
    let w = world();
    let mut written = w.cluster.without_secrets();
    let first = written.services[0].aliases[0].address;
    let second = core::mem::replace(&mut written.services[1].aliases[0].address, first);
    written.services[0].aliases[0].address = second;
    w.refused(
        &apply(written),
        &[
            "C15 service web2: the document gives it 192.0.2.101, which web1 has; take it from web1 first, with one document, and give it to web2 with the next, when no machine has it any more",
            "C15 service web1: the document gives it 192.0.2.102, which web2 has; take it from web2 first, with one document, and give it to web1 with the next, when no machine has it any more",
        ],
    );
}

#[test]
fn c15_apply_takes_no_alias_from_a_service_that_is_away() {
    let w = world().runs("web1", &["sb1"], ServiceState::Running);
    let mut written = w.cluster.without_secrets();
    written.services[0].aliases[0].address = "192.0.2.111/24".parse().unwrap();
    w.refused(
        &apply(written),
        &[
            "C15 service web1: the document takes an alias from it, and it is away from home: it runs on sb1; move it home with `backstay service move web1 --to home` first",
        ],
    );
}

#[test]
fn c15_apply_gives_what_a_leaving_service_had_to_none_of_another_home() {
    let w = world();
    let mut written = w.cluster.without_secrets();
    let left = written.services.remove(0);
    written.members.retain(|m| Some(&m.name) != left.home());
    let mut new = written.services[0].clone();
    (new.id, new.name) = (written.next_service, name("web9"));
    new.units.clear();
    new.aliases[0].address = left.aliases[0].address;
    written.services.push(new);
    w.refused(
        &apply(written),
        &[
            "C15 service web9: the document gives it 192.0.2.101, which web1 has; take it from web1 first, with one document, and give it to web9 with the next, when no machine has it any more",
        ],
    );
}

#[test]
fn c11_apply_makes_a_cluster_that_is_not_there() {
    let mut w = world();
    let written = w.cluster.clone();
    w.cluster.deleted = true;
    w.system.clusters.clear();
    for n in &mut w.system.nodes {
        if n.role == crate::model::SystemRole::Regular {
            n.role = crate::model::SystemRole::Free;
        }
    }
    w.cluster.id = crate::model::ClusterId(1);
    let plan = w.agreed(&apply(written));
    let d = &plan.documents[0];
    assert_eq!((d.revision, d.epoch, d.bases.len()), (1, 1, 3));
    assert_eq!(plan.command, "backstay apply -f c1.toml");
    let mut hidden = d.without_secrets();
    hidden.name = "c3".parse().unwrap();
    w.refused(
        &apply(hidden),
        &["PROTOCOL 3 key 1: its secret is not shown in the document, and there is no cluster yet that has it; 32 random bytes as 64 hexadecimal digits"],
    );
}

#[test]
fn protocol_1_what_begins_an_epoch_and_what_does_not() {
    let old = cluster();
    let case = |change: fn(&mut ClusterDocument)| {
        let mut new = old.clone();
        change(&mut new);
        is_epoch_change(&old, &new)
    };
    let begins: [fn(&mut ClusterDocument); 8] = [
        |d| d.members[0].incarnation = 1,
        |d| drop(d.members.pop()),
        |d| d.services[0].aliases.clear(),
        |d| d.services[0].nodes.reverse(),
        |d| d.timing.hold_ms = Some(1900),
        |d| d.timing.wait_ms = Some(3100),
        |d| d.safety = Safety::Exclusive,
        |d| d.arbiter = "x".to_owned(),
    ];
    for (n, change) in begins.into_iter().enumerate() {
        assert!(case(change), "{n}");
    }
    let goes_on: [fn(&mut ClusterDocument); 7] = [
        |d| d.revision += 1,
        |d| d.services.reverse(),
        |d| d.services[0].priority = 1,
        |d| d.services[0].stopped = true,
        |d| d.members[0].bases.clear(),
        |d| d.fallback = Fallback::Automatic,
        |d| d.next_service = ServiceId(90),
    ];
    for (n, change) in goes_on.into_iter().enumerate() {
        assert!(!case(change), "{n}");
    }
}

#[test]
fn differences_show_that_a_secret_changed_but_not_the_secret() {
    let old = cluster();
    let mut new = old.clone();
    new.keys[0].secret = "ff00".repeat(16);
    let told = differences(&old, &new);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].place, "key 1, secret");
    let text = told[0].to_string();
    assert!(
        !text.contains(&old.keys[0].secret) && !text.contains(&new.keys[0].secret),
        "{text}"
    );
    assert!(text.starts_with("key 1, secret: (hash "), "{text}");
}

/// A document as text without what Backstay keeps by itself.
fn bare(document: &ClusterDocument) -> String {
    let text = document.to_text();
    let mut table: toml::Table = text.parse().unwrap();
    for key in [
        "id",
        "revision",
        "epoch",
        "changed",
        "next_service",
        "key",
        "base",
    ] {
        table.remove(key);
    }
    for list in ["node", "service"] {
        for entry in table[list].as_array_mut().unwrap() {
            entry.as_table_mut().unwrap().remove("id");
        }
    }
    table.to_string()
}

fn completed(w: &World, text: &str, present: bool) -> ClusterDocument {
    Written::read(text)
        .unwrap()
        .complete(&Filling {
            present: present.then_some(&w.cluster),
            system: &w.system,
            id: crate::model::ClusterId(0x77),
            key: &"ab".repeat(32),
        })
        .unwrap()
}

#[test]
fn c11_apply_fills_in_what_the_writer_left_out() {
    let mut w = world();
    let text = bare(&w.cluster);
    unchanged(
        &w.agreed(&apply(completed(&w, &text, true))),
        "c1 is as written already",
    );
    // One service more keeps the numbers of the others.
    let more = format!(
        "{text}\n[[service]]\nname = \"db2\"\nnodes = [\"n2\", \"sb1\"]\n[[service.alias]]\naddress = \"192.0.2.112/24\"\n"
    );
    let plan = w.agreed(&apply(completed(&w, &more, true)));
    let numbers: Vec<u16> = plan.documents[0].services.iter().map(|s| s.id.0).collect();
    assert_eq!(
        (numbers, plan.documents[0].next_service.0),
        (vec![1, 2, 3, 4], 5)
    );
    // No such cluster: the same text makes it, if its nodes are in the system.
    w.cluster.deleted = true;
    w.system.clusters.clear();
    for n in &mut w.system.nodes {
        if n.role == crate::model::SystemRole::Regular {
            n.role = crate::model::SystemRole::Free;
        }
    }
    let plan = w.agreed(&apply(completed(&w, &text, false)));
    let d = &plan.documents[0];
    assert_eq!(
        (d.id.0, d.revision, d.epoch, d.next_service.0),
        (0x77, 1, 1, 4)
    );
    assert_eq!(d.keys[0].secret, "ab".repeat(32));
    assert_eq!(d.members, w.cluster.members);
    w.system.nodes.retain(|n| n.name != node("n3"));
    w.refused(
        &apply(completed(&w, &text, false)),
        &["C8 node n3: it is not in the system; add it with `backstay node add HOST --name n3` first"],
    );
}

#[test]
fn u6_apply_of_what_is_written_puts_a_forgotten_index_right() {
    let mut w = world();
    w.system.clusters.clear();
    let plan = w.agreed(&apply(w.cluster.without_secrets()));
    assert!(plan.documents.is_empty() && plan.changed);
    assert_eq!(plan.system.unwrap().clusters, system().clusters);
}

#[test]
fn t1_to_t3_what_is_wrong_with_a_written_document_has_its_line() {
    let w = world();
    let text = bare(&w.cluster).replace("192.0.2.101/24", "198.51.100.7/24");
    let written = Written::read(&format!("{text}\ncolour = 1\n")).unwrap();
    let line = |what: &str| 1 + text.lines().position(|l| l == what).unwrap();
    assert_eq!(written.unknown().len(), 1);
    let document = completed(&w, &text, true);
    let problems = w.plan(&apply(document)).unwrap_err();
    let told: Vec<String> = problems
        .into_iter()
        .map(|p| written.located(p).place)
        .collect();
    assert!(
        told.contains(&format!("line {}, service web1", line("[[service]]"))),
        "{told:?}"
    );
}
