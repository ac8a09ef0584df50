//! C16: a new machine takes the place of a dead node.

use super::*;
use crate::model::Replacement;

const CONTACT: &str = "root@192.0.2.151:2222";

fn by() -> Action {
    with("n2", CONTACT)
}

fn with(node: &str, contact: &str) -> Action {
    Action::ReplaceNode {
        node: node.parse().unwrap(),
        id: id(0x99),
        contact: contact.to_owned(),
        host_keys: vec!["ssh-ed25519 BBBB".to_owned()],
    }
}

fn dead(of: &str) -> World {
    world().state(of, NodeState::Down)
}

#[test]
fn c16_a_new_machine_takes_name_base_and_services_of_a_dead_node() {
    let w = dead("n2").runs("web2", &["sb1"], ServiceState::Running);
    let plan = w.agreed(&by());
    let new = &plan.documents[0];
    let (was, is) = (
        w.cluster.member(&node("n2")).unwrap(),
        new.member(&node("n2")).unwrap(),
    );
    assert_eq!((is.id, is.incarnation), (id(0x99), 0));
    assert_eq!((&is.bases, is.role), (&was.bases, was.role));
    assert_eq!(new.services, w.cluster.services);
    assert!(new.epoch == new.revision, "who votes has changed");
    // Its former machine is told who it was, and that it is that no more.
    let replaced = Replacement {
        id: id(0x99),
        contact: CONTACT.to_owned(),
        host_keys: vec!["ssh-ed25519 BBBB".to_owned()],
    };
    let (former, said_by) = new.replaced(was.id).unwrap();
    assert_eq!((&former.bases, said_by), (&was.bases, &replaced));
    assert_eq!(new.against_node(&was.name, was.id, &[]), []);
    assert_ne!(new.against_node(&was.name, id(0x98), &[]), []);
    // The list follows: by its own address, which stays with it.
    let system = plan.system.as_ref().unwrap();
    let listed = system.node(&node("n2")).unwrap();
    assert_eq!((listed.id, &listed.contact), (id(0x99), &replaced.contact));
    assert_eq!(listed.host_keys, replaced.host_keys);
    // The service stays where it is.
    assert_eq!(
        said(&plan, ConsequenceKind::Outage),
        ["none for web2: it runs on sb1 and stays there"]
    );
    let base = new.bases.iter().find(|b| b.service.0 == 2).unwrap();
    assert_eq!(base.holder, Some(node("sb1")));
    assert_eq!(
        plan.command,
        "backstay node replace n2 --with root@192.0.2.151:2222"
    );
}

#[test]
fn c16_standby_witness_and_free_nodes_are_replaced_too() {
    for (of, sentence) in [
        ("sb1", "none: the services of c1 run where they are"),
        ("w1", "none: a witness carries no service"),
    ] {
        let plan = dead(of).agreed(&with(of, CONTACT));
        assert_eq!(said(&plan, ConsequenceKind::Outage), [sentence]);
        assert!(plan.warnings.is_empty());
    }
    let plan = world().agreed(&with("sb2", CONTACT));
    assert!(plan.documents.is_empty());
    let system = plan.system.unwrap();
    assert_eq!(system.node(&node("sb2")).unwrap().contact, CONTACT);
}

#[test]
fn c16_only_a_dead_node_is_replaced_and_only_by_a_machine_that_is_no_node() {
    world().refused(
        &by(),
        &[
            "C16 node n2: it is up in the cluster c1; move its services and remove it, then add the new machine; or power it off first",
        ],
    );
    world().state("n2", NodeState::Unknown).refused(
        &by(),
        &["C16 node n2: whether it is up is not known; wait until `backstay status c1` shows it up or down"],
    );
    let w = dead("n2").runs("web2", &["sb1"], ServiceState::Running);
    let other = w.system.node(&node("n3")).unwrap().contact.clone();
    w.refused(
        &with("n2", &other),
        &[&format!(
            "C13 node n2: the machine at {other} is the node n3 already; use a machine that is no node, or free that one: `backstay node remove n3`"
        )],
    );
    let mut elsewhere = w.clone();
    let there = vec!["198.51.100.7/24".parse().unwrap()];
    elsewhere.bases.insert(node("n2"), there);
    elsewhere.refused(
        &by(),
        &[
            "C4 node n2: the machine at root@192.0.2.151:2222 is not on the subnet of the base address 192.0.2.12/24; it has 198.51.100.7/24; use a machine on that subnet",
        ],
    );
}

/// U6: given once more, in the words of what holds then.
#[test]
fn c16_replaced_once_it_is_done() {
    let mut w = dead("n2").runs("web2", &["sb1"], ServiceState::Running);
    let plan = w.agreed(&by());
    w.cluster = plan.documents[0].clone();
    w.system = plan.system.unwrap();
    unchanged(&w.agreed(&by()), "n2 is that machine already");
    // The machine after that takes its place in the list, too, by whichever document a node learns of it.
    let next = Action::ReplaceNode {
        node: node("n2"),
        id: id(0x9a),
        contact: "root@192.0.2.152".to_owned(),
        host_keys: vec!["ssh-ed25519 CCCC".to_owned()],
    };
    let plan = w.agreed(&next);
    assert_eq!(plan.documents[0].former.len(), 2);
    let late = world().system.with_cluster(&plan.documents[0]).unwrap();
    assert_eq!(late.node(&node("n2")).unwrap().id, id(0x9a));
}
