use super::clusters::{create, remove};
use super::*;

fn at(address: &str, file: &str, fixed: &str) -> BootAddress {
    BootAddress {
        address: address.parse().unwrap(),
        file: file.to_owned(),
        fixed: fixed.to_owned(),
    }
}

fn world_with(boot: &[(&str, BootAddress)]) -> World {
    let mut world = world();
    for (of, address) in boot {
        let known = world.boot.entry(node(of)).or_default();
        known.push(address.clone());
    }
    world
}

fn notes(plan: &Plan) -> Vec<&str> {
    let all = plan.consequences.iter();
    all.filter(|c| c.kind == ConsequenceKind::Note)
        .map(|c| c.sentence.as_str())
        .collect()
}

#[test]
fn c15_the_plan_names_the_files_that_change() {
    let lan = "/etc/network/interfaces";
    let world = world_with(&[
        ("n4", at("192.0.2.104", lan, "")),
        ("n5", at("192.0.2.55", "/etc/netplan/50.yaml", "")),
    ]);
    let plan = world.agreed(&Action::CreateCluster(create()));
    let told = "n4: /etc/network/interfaces: 192.0.2.104/24 becomes 192.0.2.14/24 at boot; the former file is kept (C15)";
    assert!(notes(&plan).contains(&told), "{:?}", notes(&plan));
    // n5 does not have its alias now, so nothing brings it up.
    assert!(!notes(&plan).iter().any(|n| n.starts_with("n5:")));
    assert!(!plan.warnings.iter().any(|w| w.name == "host-network"));
}

#[test]
fn c15_an_alias_that_no_file_can_keep_away_at_boot_is_a_warning_with_a_name() {
    let dhcp = "no file of netplan has it; it may come from DHCP, or was put on by hand";
    let world = world_with(&[
        ("n4", at("192.0.2.104", "", dhcp)),
        ("n5", at("192.0.2.105", "", "")),
    ]);
    let plan = world.agreed(&Action::CreateCluster(create()));
    let told: Vec<(&str, &str)> = plan
        .warnings
        .iter()
        .map(|w| (w.name, w.sentence.as_str()))
        .collect();
    let gate = "the gate keeps it closed there until";
    assert_eq!(
        told,
        [
            ("host-network", format!("192.0.2.104 can't be kept away from n4 at boot by its own network configuration: {dhcp}; {gate} n4 may have it").as_str()),
            ("host-network", format!("192.0.2.105 can't be kept away from n5 at boot by its own network configuration: its agent does not tell which file brings it up; {gate} n5 may have it").as_str()),
        ]
    );
}

#[test]
fn c15_the_plan_says_what_is_given_back() {
    let mut world = world_with(&[("n2", at("192.0.2.12", "/etc/netplan/50.yaml", ""))]);
    let plan = world.agreed(&remove("n2"));
    for told in [
        "n2: /etc/netplan/50.yaml: 192.0.2.102/24 comes up at boot again (C15)",
        "n2 gives up its base address 192.0.2.12 as soon as no connection uses it, after 10 min at the latest, unless it had it before",
    ] {
        assert!(notes(&plan).contains(&told), "{:?}", notes(&plan));
    }
    world = world.state("n3", NodeState::Down);
    let plan = world.agreed(&remove("n2"));
    let told = "n2 gives up its base address 192.0.2.12 with the next boot: who is away learns over it that the cluster has changed, unless it had it before";
    assert!(notes(&plan).contains(&told), "{:?}", notes(&plan));
}
