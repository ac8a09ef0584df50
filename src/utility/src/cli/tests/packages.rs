//! C9: what the options say about packages that nodes lack. Nothing here can be reached: whoever installs, fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstay_core::model::{
    ClusterId, Fallback, NodeId, NodeName, Profile, SplitStops, SystemNode, SystemRole, UnitMode,
};
use backstay_core::plan::{Action, CreateCluster, NewService, Secret};
use backstay_wire::rpc::{
    AddressFact, Facts, InterfaceFact, Needs, PackageFact, UnitFact, UnitNeeds,
};

use super::asked::Sceptic;
use super::context;
use crate::cli::act::looked_at;
use crate::cli::packages::{Wish, offer, told, wish};
use crate::cli::{replace, setup};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::Picture;
use crate::ops::gather::Fact;
use crate::ops::preflight::{Check, judge};

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn wanted() -> CreateCluster {
    CreateCluster {
        name: "shop".parse().unwrap(),
        id: ClusterId(7),
        key: Secret("ab".repeat(32)),
        standby: name("sb1"),
        witnesses: Vec::new(),
        services: vec![NewService {
            name: "web1".parse().unwrap(),
            node: name("n1"),
            aliases: vec!["192.0.2.101/24".parse().unwrap()],
            bases: vec!["192.0.2.11/24".parse().unwrap()],
            priority: None,
            fallback: None,
            units: vec![("web.service".to_owned(), UnitMode::Service)],
            files: Vec::new(),
        }],
        safety: None,
        profile: Profile::Lan,
        fallback: Fallback::Manual,
        split_stops: SplitStops::Home,
        reference: None,
        links: Vec::new(),
    }
}

/// n1 has the service, and sb1 lacks its package with the unit and the user that it brings.
fn picture() -> Picture {
    let mut picture = Picture::default();
    let mut system = picture.system();
    let roles = [("n1", SystemRole::Free), ("sb1", SystemRole::Standby)];
    for (id, (node, role)) in (1..).zip(roles) {
        system.nodes.push(SystemNode {
            name: name(node),
            id: NodeId(id),
            // Nobody listens there.
            contact: format!("127.0.0.{id}:1"),
            host_keys: Vec::new(),
            role,
        });
    }
    picture.system = Some(system);
    let unit = UnitFact {
        name: "web.service".to_owned(),
        active: "active".to_owned(),
        enabled: true,
    };
    for (node, address, units) in [
        ("n1", "192.0.2.101/24", vec![unit]),
        ("sb1", "192.0.2.21/24", Vec::new()),
    ] {
        let address = AddressFact {
            address: address.to_owned(),
            file: "/etc/network/interfaces".to_owned(),
            ..AddressFact::default()
        };
        let facts = Facts {
            units,
            interfaces: vec![InterfaceFact {
                name: "eth0".to_owned(),
                carrier: true,
                addresses: vec![address],
                ..InterfaceFact::default()
            }],
            ..Facts::default()
        };
        let fact = Fact {
            facts,
            asked_wall_ms: 0,
            took_ms: 0,
        };
        picture.facts.insert(name(node), fact);
    }
    let unit = UnitNeeds {
        there: true,
        user: Some("web".to_owned()),
        package: Some(PackageFact {
            name: "web".to_owned(),
            version: "1.2-3".to_owned(),
        }),
        ..UnitNeeds::default()
    };
    let has = |unit, user, package: Option<&str>| Needs {
        packager: Some("apt-get".to_owned()),
        units: BTreeMap::from([("web.service".to_owned(), unit)]),
        users: BTreeMap::from([("web".to_owned(), user)]),
        packages: BTreeMap::from([("web".to_owned(), package.map(str::to_owned))]),
        ..Needs::default()
    };
    let home = has(unit, true, Some("1.2-3"));
    let standby = has(UnitNeeds::default(), false, None);
    picture.needs = [(name("n1"), home), (name("sb1"), standby)].into();
    picture
}

fn checks() -> Vec<Check> {
    let (_, _, checks) = looked_at(&Action::CreateCluster(wanted()), &mut picture()).unwrap();
    checks
}

#[test]
fn c9_the_plan_of_a_set_up_installs_nothing_and_says_what_will_be() {
    let propose = |options: &[&str]| {
        let mut options = options.to_vec();
        options.push("--yes");
        setup::proposal(&context(&options), &wanted(), &mut picture())
    };
    let refused = propose(&[]).unwrap_err();
    let mut places: Vec<&str> = refused.problems.iter().map(|p| p.place.as_str()).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "check package-missing",
            "check unit-missing",
            "check user-missing"
        ]
    );
    assert!(refused.message.contains("nothing was changed"));
    for options in [
        &["--install-packages"][..],
        &["--install-packages", "--dry-run"],
        &["--install-packages", "--force"],
    ] {
        let text = propose(options).unwrap();
        let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            said.contains("packages web (1.2-3 on n1) on sb1: installed before anything else"),
            "{text}"
        );
    }
}

#[test]
fn c9_the_flag_goes_before_force_and_an_override_before_the_question() {
    let is = |options: &[&str]| {
        let mut context = context(options);
        // Somebody can be asked.
        context.front = Some(Arc::new(Sceptic::default()));
        wish(&context, &checks(), true)
    };
    assert_eq!(is(&[]), Wish::Ask);
    assert_eq!(is(&["--install-packages", "--force"]), Wish::Install);
    assert_eq!(is(&["--install-packages", "--yes"]), Wish::Install);
    for options in [
        &["--force"][..],
        &["--yes"],
        &["--ignore-check", "package-missing"],
    ] {
        assert_eq!(is(options), Wish::Leave, "{options:?}");
    }
    let nothing = wish(&context(&["--install-packages"]), &[], true);
    assert_eq!(nothing, Wish::Leave);
}

fn offered(options: &[&str]) -> (Result<bool, Failure>, &'static str) {
    let (context, mut picture) = (context(options), picture());
    let (mut plan, _, checks) = looked_at(&Action::CreateCluster(wanted()), &mut picture).unwrap();
    let done = offer(&context, &mut plan, &mut picture, (&checks, true));
    (done, context.parting())
}

#[test]
fn c9_the_flag_alone_is_no_yes_to_the_plan() {
    let (done, parting) = offered(&["--install-packages"]);
    let failure = done.unwrap_err();
    assert_eq!((failure.exit, failure.changed), (Exit::Usage, Changed::No));
    assert!(failure.message.contains("nothing was changed"), "{failure}");
    assert!(failure.hint.unwrap().contains("--yes"));
    assert_eq!(parting, "cancelled; nothing was changed");
    let (done, _) = offered(&["--install-packages", "--yes", "--dry-run"]);
    assert_eq!(done, Ok(false));
}

/// apt-get goes on to its end when the session ends.
#[test]
fn c9_who_breaks_off_once_it_was_begun_is_told_that_packages_stay() {
    let (done, parting) = offered(&["--install-packages", "--yes"]);
    assert_eq!(done.unwrap_err().exit, Exit::Unreachable);
    assert_eq!(
        parting,
        "cancelled; packages whose installation was begun stay"
    );
}

#[test]
fn c9_a_refusal_after_an_installation_says_that_packages_were_changed() {
    let refused = || {
        let options = context(&[]);
        judge(Vec::new(), &checks(), &options.overrides()).unwrap_err()
    };
    assert_eq!(told(false)(refused()), refused());
    let said = told(true)(refused());
    assert_eq!(said.message, "refused; nothing but packages was changed");
    assert_eq!(said.changed, Changed::Yes);
    let unknown = Failure::new(Exit::Error, "x").changed(Changed::Unknown);
    assert_eq!(told(true)(unknown).changed, Changed::Unknown);
}

#[test]
fn c9_a_replacement_says_that_it_installs_no_packages() {
    let context = context(&["--install-packages", "--yes"]);
    let host = "127.0.0.1:1".parse().unwrap();
    let failure = replace::replace(&context, &name("n1"), &host).unwrap_err();
    assert_eq!((failure.exit, failure.changed), (Exit::Usage, Changed::No));
    assert!(
        failure.message.contains("installs no packages"),
        "{failure}"
    );
}
