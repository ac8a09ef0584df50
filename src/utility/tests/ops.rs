//! Gather, apply and watch with agents that live in the test.

#[path = "ops/catch_up.rs"]
mod catch_up;
#[path = "ops/collect.rs"]
mod collect;
mod common;
#[path = "ops/join.rs"]
mod join;
#[path = "ops/standby.rs"]
mod standby;
#[path = "ops/watch.rs"]
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use backstay::ops::apply::apply;
use backstay::ops::{Cancel, Picture, contact, preflight};
use backstay::remote::contacts::Contacts;
use backstay::{Changed, Exit, Failure};
use backstay_core::engine::ServiceState;
use backstay_core::model::{
    ClusterDocument, ClusterId, Fallback, Former, NodeName, Profile, Safety, SplitStops, UnitMode,
};
use backstay_core::plan::{
    Action, CreateCluster, MoveOrder, NewService, Plan, Secret, SetService, Situation, plan,
};
use common::{Manner, World, net, world};

const LONG: Duration = Duration::from_secs(20);

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn create() -> Action {
    let service = |n: u8| NewService {
        name: format!("web{n}").parse().unwrap(),
        node: name(&format!("n{n}")),
        aliases: vec![net(&format!("192.0.2.10{n}/24"))],
        bases: vec![net(&format!("192.0.2.1{n}/24"))],
        priority: None,
        fallback: None,
        units: vec![("web.service".to_owned(), UnitMode::Service)],
        files: Vec::new(),
    };
    Action::CreateCluster(CreateCluster {
        name: "demo".parse().unwrap(),
        id: ClusterId(7),
        key: Secret("ab".repeat(32)),
        standby: name("sb1"),
        witnesses: Vec::new(),
        services: vec![service(1), service(2)],
        safety: Some(Safety::Available),
        profile: Profile::Lan,
        fallback: Fallback::Manual,
        split_stops: SplitStops::Home,
        reference: None,
        links: Vec::new(),
    })
}

fn gather(world: &World, limit: Duration) -> Picture {
    world.gatherer(limit).gather(&mut |_| {}).unwrap()
}

fn planned(picture: &Picture) -> Plan {
    plan_of(&create(), picture)
}

fn plan_of(action: &Action, picture: &Picture) -> Plan {
    let (system, views, bases) = (picture.system(), picture.best_views(), picture.bases());
    let situation = Situation {
        system: &system,
        clusters: &picture.clusters,
        views: &views,
        bases: &bases,
        boot: &BTreeMap::new(),
        by: "me@here",
        wall: 1_700_000_000,
    };
    plan(action, &situation).unwrap()
}

fn carry_out(world: &World) -> Result<(), Failure> {
    let mut picture = gather(world, LONG);
    let plan = planned(&picture);
    apply(&plan, &mut picture, &Cancel::default(), &mut |_| {}).map(|_| ())
}

fn nothing_changed(world: &World) {
    for host in ["n1", "n2", "sb1"] {
        world.with(host, |a| {
            assert!(a.documents.is_empty(), "{host} has a document");
            assert_eq!(a.system.as_ref().unwrap().revision, 5, "{host}");
            // Who died can't be told; its staged revision is never committed.
            if a.manner == Manner::Good {
                assert!(a.staged.is_none(), "{host} kept a staged revision");
                assert!(!a.locked, "{host} kept the change lock");
            }
        });
    }
}

#[test]
fn u6_a_change_is_staged_everywhere_then_committed_everywhere() {
    let world = world();
    carry_out(&world).unwrap();
    for host in ["n1", "n2", "sb1"] {
        world.with(host, |a| {
            assert_eq!(a.documents["demo"].revision, 1);
            assert_eq!(a.system.as_ref().unwrap().clusters.len(), 1);
            assert!(!a.locked);
            let order: Vec<&str> = a
                .calls
                .iter()
                .map(String::as_str)
                .filter(|c| ["lock", "stage", "commit", "system-put", "unlock"].contains(c))
                .collect();
            assert_eq!(
                order,
                ["lock", "stage", "commit", "system-put", "unlock"],
                "{host}"
            );
        });
    }
}

/// Who has left a cluster refuses everything of it, and is no reason against a change of those who are still in it.
#[test]
fn u6_who_has_left_is_not_asked_again() {
    let world = world();
    carry_out(&world).unwrap();
    let mut document = gather(&world, LONG).clusters.remove(0);
    let gone = document.members.remove(1);
    assert_eq!(gone.name, name("n2"));
    document.services.truncate(1);
    document.bases.truncate(1);
    document.former.push(Former {
        name: gone.name,
        id: gone.id,
        bases: gone.bases,
        alias: None,
        replaced: None,
    });
    document.revision += 1;
    for host in ["n1", "sb1"] {
        let left = document.clone();
        world.with(host, |a| a.documents.insert("demo".to_owned(), left));
    }
    world.with("n2", |a| {
        a.documents.clear();
        a.calls.clear();
    });
    world.manner("n2", Manner::Refuses);
    let mut picture = gather(&world, LONG);
    let mut wanted = SetService::of("web1".parse().unwrap());
    wanted.priority = Some(5);
    let plan = plan_of(&Action::SetService(wanted), &picture);
    apply(&plan, &mut picture, &Cancel::default(), &mut |_| {}).unwrap();
    world.with("n2", |a| {
        assert!(!a.calls.iter().any(|c| c == "lock" || c == "stage"));
    });
    world.with("n1", |a| assert_eq!(a.documents["demo"].revision, 3));
}

/// Where preflight refuses to bring a cluster to that document.
fn refused(picture: &Picture, document: ClusterDocument) -> Vec<String> {
    let (system, bases) = (picture.system(), picture.bases());
    let action = Action::Apply {
        document: Box::new(document),
    };
    let situation = Situation {
        system: &system,
        clusters: &picture.clusters,
        views: &[],
        bases: &bases,
        boot: &BTreeMap::new(),
        by: "me@here",
        wall: 1_700_000_000,
    };
    let plan = plan(&action, &situation).unwrap();
    let (problems, _) = preflight::preflight(&action, &plan, picture);
    problems.into_iter().map(|p| p.place).collect()
}

#[test]
fn u6_a_written_document_that_changes_members_needs_all_of_them() {
    let new = planned(&gather(&world(), LONG)).documents.remove(0);
    let one_away = world();
    one_away.manner("n2", Manner::Unreachable);
    assert_eq!(refused(&gather(&one_away, LONG), new), ["node n2"]);
    // A setting reaches an absent node with the beats.
    let created = world();
    carry_out(&created).unwrap();
    created.manner("n2", Manner::Unreachable);
    let picture = gather(&created, LONG);
    let mut document = picture.clusters[0].clone();
    document.services[0].priority = 5;
    assert!(refused(&picture, document).is_empty());
}

#[test]
fn u6_one_refusal_abandons_everywhere() {
    let world = world();
    world.manner("sb1", Manner::Refuses);
    let failure = carry_out(&world).unwrap_err();
    assert_eq!(
        (failure.exit, failure.changed),
        (Exit::Refused, Changed::No)
    );
    assert!(failure.message.contains("nothing was changed"), "{failure}");
    assert_eq!(failure.problems[0].rule.to_string(), "C3");
    nothing_changed(&world);
}

/// Every member refuses, for one reason: it is told once.
#[test]
fn u8_who_was_overtaken_is_told_once_by_whom() {
    let world = world();
    let mut picture = gather(&world, LONG);
    let plan = planned(&picture);
    let mut theirs = plan.documents[0].clone();
    theirs.changed.by = "anna@desk".to_owned();
    theirs.changed.at = 1_700_000_000;
    theirs.changed.what = "create the cluster demo\u{1b}[2J".to_owned();
    for host in ["n1", "n2", "sb1"] {
        let theirs = theirs.clone();
        world.with(host, |a| a.documents.insert("demo".to_owned(), theirs));
    }
    let failure = apply(&plan, &mut picture, &Cancel::default(), &mut |_| {}).unwrap_err();
    assert_eq!(
        (failure.exit, failure.changed),
        (Exit::Refused, Changed::No)
    );
    assert!(failure.again);
    let said = &failure.message;
    assert!(
        said.starts_with(
            "somebody changed demo while you decided (revision 1: create the cluster demo"
        ),
        "{said}"
    );
    assert!(
        said.ends_with("by anna@desk, 2023-11-14 22:13:20 UTC); nothing of yours was done"),
        "{said}"
    );
    assert!(!said.contains('\u{1b}'), "{said}");
    for host in ["n1", "n2", "sb1"] {
        world.with(host, |a| assert!(a.staged.is_none() && !a.locked, "{host}"));
    }
}

#[test]
fn u6_a_session_that_dies_while_staging_abandons_everywhere() {
    let world = world();
    world.manner("n2", Manner::DiesAtStage);
    let failure = carry_out(&world).unwrap_err();
    assert_eq!(
        (failure.exit, failure.changed),
        (Exit::Unreachable, Changed::No)
    );
    nothing_changed(&world);
}

#[test]
fn u6_breaking_off_before_the_commit_changes_nothing() {
    let world = world();
    let mut picture = gather(&world, LONG);
    let plan = planned(&picture);
    let cancel = Cancel::default();
    cancel.set();
    let failure = apply(&plan, &mut picture, &cancel, &mut |_| {}).unwrap_err();
    assert_eq!(
        (failure.exit, failure.changed),
        (Exit::Cancelled, Changed::No)
    );
    nothing_changed(&world);
}

#[test]
fn u6_a_commit_that_one_node_confirms_took_effect() {
    let world = world();
    world.manner("n2", Manner::DiesAtCommit);
    carry_out(&world).unwrap();
    assert_eq!(world.with("n1", |a| a.documents.len()), 1);
    assert_eq!(world.with("n2", |a| a.documents.len()), 0);
}

#[test]
fn u6_a_commit_that_nobody_confirms_is_said_to_be_unknown() {
    let world = world();
    for host in ["n1", "n2", "sb1"] {
        world.manner(host, Manner::DiesAtCommit);
    }
    let failure = carry_out(&world).unwrap_err();
    assert_eq!(failure.changed, Changed::Unknown);
    assert!(failure.message.contains("not known"), "{failure}");
}

/// The line may drop after the agent has done it and before it says so.
#[test]
fn u6_what_nobody_confirms_is_said_to_be_unknown() {
    let world = world();
    carry_out(&world).unwrap();
    let picture = gather(&world, LONG);
    let mut wanted = SetService::of("web1".parse().unwrap());
    wanted.priority = Some(5);
    let mut plan = plan_of(&Action::SetService(wanted), &picture);
    plan.documents.clear();
    let given = |plan: &Plan, manners: [Manner; 3]| {
        for (host, manner) in ["n1", "n2", "sb1"].into_iter().zip(manners) {
            world.manner(host, manner);
        }
        let mut picture = gather(&world, LONG);
        let failure = apply(plan, &mut picture, &Cancel::default(), &mut |_| {}).unwrap_err();
        assert_eq!(failure.changed, Changed::Unknown, "{failure}");
        failure.message
    };
    plan.system = Some(picture.system());
    let said = given(&plan, [Manner::DiesAtSystem; 3]);
    assert!(
        said.starts_with(
            "no node confirmed the system document; whether it took effect is not known ("
        ),
        "{said}"
    );
    plan.system = None;
    plan.order = Some(MoveOrder {
        cluster: "demo".parse().unwrap(),
        service: "web1".parse().unwrap(),
        to: name("sb1"),
    });
    // Refused by the next one: it may be so because the first has done it.
    let first = [Manner::Good, Manner::Good, Manner::DiesAtOrder];
    for manners in [[Manner::DiesAtOrder; 3], first] {
        let said = given(&plan, manners);
        assert!(
            said.starts_with("no node confirmed the order (")
                && said.ends_with("); whether it took effect is not known"),
            "{said}"
        );
    }
}

#[test]
fn u8_the_second_admin_is_told_who_holds_the_lock_and_since_when() {
    let world = world();
    world.manner("n2", Manner::Locked);
    let failure = carry_out(&world).unwrap_err();
    assert_eq!(failure.exit, Exit::Locked);
    assert!(
        failure.message.contains("anna@desk since 12:00:00"),
        "{failure}"
    );
    nothing_changed(&world);
    assert!(
        !world.with("n1", |a| a.locked),
        "the lock that was had already is given back"
    );
}

#[test]
fn u7_a_wedged_node_is_unknown_and_the_others_are_gathered() {
    let world = world();
    world.manner("sb1", Manner::Wedged);
    let picture = gather(&world, Duration::from_millis(300));
    let silent: Vec<&str> = picture.silent.keys().map(NodeName::as_str).collect();
    assert_eq!(silent, ["sb1"]);
    assert_eq!(picture.crew.names().count(), 2);
}

#[test]
fn the_next_contact_serves_when_the_first_does_not_answer() {
    for manner in [Manner::Unreachable, Manner::Wedged] {
        let world = world();
        world.manner("n1", manner);
        let client = world.gatherer(Duration::from_secs(3)).enter().unwrap();
        assert_eq!(client.hello().node, Some(name("n2")));
    }
}

#[test]
fn another_machine_behind_a_known_address_is_not_taken_for_the_node() {
    let world = world();
    world.with("n2", |a| a.id = Some(backstay_core::model::NodeId(99)));
    let picture = gather(&world, LONG);
    assert!(
        picture.silent[&name("n2")]
            .to_string()
            .contains("it says that it is node n2")
    );
}

#[test]
fn u6_creating_needs_every_member() {
    let world = world();
    let picture = gather(&world, LONG);
    let plan = planned(&picture);
    world.manner("sb1", Manner::Unreachable);
    let now = gather(&world, LONG);
    let (problems, _) = preflight::preflight(&create(), &plan, &now);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place, "node sb1");
    let all = preflight::Overrides {
        force: true,
        ignore: Vec::new(),
    };
    let failure = preflight::judge(problems, &[], &all).unwrap_err();
    assert_eq!(
        failure.exit,
        Exit::Refused,
        "--force overrides warnings only"
    );
}

#[test]
fn u6_ending_a_cluster_needs_every_member_that_it_had() {
    let world = world();
    carry_out(&world).unwrap();
    world.manner("n2", Manner::Unreachable);
    let picture = gather(&world, LONG);
    let action = Action::DeleteCluster {
        cluster: "demo".parse().unwrap(),
    };
    let mut views = watch::view(ServiceState::Running, &["n1"], 1).clusters;
    let mut web2 = views[0].services[0].clone();
    web2.name = "web2".parse().unwrap();
    web2.home = name("n2");
    web2.running_on = vec![name("n2")];
    views[0].services.push(web2);
    let (system, bases) = (picture.system(), picture.bases());
    let situation = Situation {
        system: &system,
        clusters: &picture.clusters,
        views: &views,
        bases: &bases,
        boot: &BTreeMap::new(),
        by: "me@here",
        wall: 1_700_000_000,
    };
    let plan = plan(&action, &situation).unwrap();
    let (problems, _) = preflight::preflight(&action, &plan, &picture);
    let places: Vec<&str> = problems.iter().map(|p| p.place.as_str()).collect();
    assert_eq!(places, ["node n2"]);
}

#[test]
fn c9_c10_warnings_are_named_and_overridden_by_name() {
    let world = world();
    let mut picture = gather(&world, LONG);
    let plan = planned(&picture);
    picture.facts.get_mut(&name("n2")).unwrap().facts.wall_ms += 60_000;
    picture
        .facts
        .get_mut(&name("sb1"))
        .unwrap()
        .facts
        .units
        .clear();
    let (problems, checks) = preflight::preflight(&create(), &plan, &picture);
    let mut wide = plan.clone();
    wide.documents[0].timing.clocks_within_ms = Some(120_000);
    let (_, allowed) = preflight::preflight(&create(), &wide, &picture);
    assert!(allowed.iter().all(|c| c.name == "unit-missing"));
    let mut names: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
    names.dedup();
    assert_eq!(names, ["clocks-differ", "unit-missing"]);
    assert!(
        checks[0].sentence.contains("clock of n2")
            && checks[0].sentence.ends_with("; 1 s is allowed"),
        "{}",
        checks[0].sentence
    );
    let some = preflight::Overrides {
        force: false,
        ignore: vec!["clocks-differ".to_owned()],
    };
    let failure = preflight::judge(problems.clone(), &checks, &some).unwrap_err();
    assert!(
        failure
            .problems
            .iter()
            .all(|p| p.place == "check unit-missing"),
        "{failure:?}"
    );
    let all = preflight::Overrides {
        force: true,
        ignore: Vec::new(),
    };
    preflight::judge(problems, &checks, &all).unwrap();
}

#[test]
fn c11_a_node_added_under_what_becomes_an_alias_is_reached_at_its_base() {
    let world = world();
    let mut picture = gather(&world, LONG);
    let mut system = picture.system();
    system.nodes[0].contact = "192.0.2.101:2222".to_owned();
    picture.system = Some(system);
    let plan = planned(&picture);
    let mut contacts = Contacts::default();
    let old = "192.0.2.101:2222".parse().unwrap();
    contacts.remember("n1", &old, &[]);
    assert!(contact::remember(&plan, &mut contacts));
    assert_eq!(contacts.nodes[0].contact, "192.0.2.11:2222");
    assert!(!contact::remember(&plan, &mut contacts));
}
