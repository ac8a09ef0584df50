//! Agents on loopback: real sockets, real files, pretended machines.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Instant;

use backstay_core::engine::{ClusterView, NodeState, ServiceState};
use backstay_core::model::{ClusterDocument, NodeName};

use super::cluster::TRY_AGAIN;
use crate::samples::{Agent, break_disk, cluster, deleted, revised, system, until};

fn three(folder: &Path) -> [Agent; 3] {
    [1, 2, 3].map(|place| Agent::new(place, folder))
}

fn view(agent: &Agent) -> Option<ClusterView> {
    agent.view().into_iter().next()
}

/// The alias of service 1 or 2.
fn alias(document: &ClusterDocument, service: usize) -> IpAddr {
    document.services[service - 1].aliases[0].ip()
}

fn all_up(agent: &Agent) -> bool {
    view(agent).is_some_and(|v| v.nodes.iter().all(|n| n.state == NodeState::Up))
}

fn runs_on(agent: &Agent, service: usize, node: &str) -> bool {
    view(agent).is_some_and(|v| {
        let service = &v.services[service - 1];
        let on: Vec<&str> = service.running_on.iter().map(NodeName::as_str).collect();
        service.state == ServiceState::Running && on == [node]
    })
}

/// A cluster whose services run at home, as three agents have it.
fn running(folder: &Path, document: &ClusterDocument) -> [Agent; 3] {
    let agents = three(folder);
    for agent in &agents {
        agent.commit(document);
    }
    for agent in &agents {
        until("all nodes are up", || all_up(agent));
        until("services run at home", || {
            runs_on(agent, 1, "n1") && runs_on(agent, 2, "n2")
        });
    }
    agents
}

#[test]
fn f2_the_service_of_a_dead_node_is_taken_over_and_answers_on_one_node_only() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(11);
    let [n1, n2, sb] = running(folder.path(), &document);
    let (one, two) = (alias(&document, 1), alias(&document, 2));
    until("home answers", || {
        n1.hands.answers(one) && n2.hands.answers(two)
    });
    assert!(!sb.hands.answers(one) && !sb.hands.answers(two));
    let (machine, _) = n1.kill();
    until("the standby answers", || {
        // S5: the dead agent's permission ends in the kernel before that.
        assert!(!(machine.answers(one) && sb.hands.answers(one)));
        sb.hands.answers(one)
    });
    until("it is told", || runs_on(&n2, 1, "sb1"));
    until("A1: it is announced", || sb.hands.announced(one) >= 3);
    assert!(sb.running.has("web1") && n2.hands.answers(two));
}

#[test]
fn f11_a_node_that_leaves_hands_over_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(12);
    let [n1, n2, sb] = running(folder.path(), &document);
    let (machine, running) = (n1.hands.clone(), n1.running.clone());
    n1.leave();
    assert!(!machine.answers(alias(&document, 1)) && !running.has("web1"));
    until("the standby has it", || {
        runs_on(&n2, 1, "sb1") && runs_on(&sb, 1, "sb1")
    });
}

#[test]
fn f11_before_a_shutdown_a_node_hands_over_and_stays_until_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(15);
    let [n1, n2, sb] = running(folder.path(), &document);
    n1.hand_over();
    assert!(!n1.hands.answers(alias(&document, 1)) && !n1.running.has("web1"));
    until("the standby has it", || {
        runs_on(&n2, 1, "sb1") && runs_on(&sb, 1, "sb1")
    });
    assert!(view(&n1).is_some(), "it still answers");
    n1.leave();
}

#[test]
fn p21_a_restarted_agent_goes_on_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(13);
    let [n1, n2, sb] = running(folder.path(), &document);
    let one = alias(&document, 1);
    until("it answers", || n1.hands.answers(one));
    let term = view(&n2).unwrap().services[0].term;
    let machine = n1.kill();
    let n1 = Agent::start(1, folder.path(), machine);
    until("it is back", || all_up(&n1) && all_up(&n2));
    until("it runs", || runs_on(&n1, 1, "n1") && runs_on(&n2, 1, "n1"));
    assert!(n1.hands.answers(one) && !sb.hands.answers(one));
    assert!(view(&n2).unwrap().services[0].term <= term + 1);
}

#[test]
fn an_order_moves_a_service_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(14);
    let [n1, n2, sb] = running(folder.path(), &document);
    for (to, seen_by) in [("sb1", &n1), ("n1", &sb)] {
        // F9 and the like may refuse for a moment; an admin would ask again too.
        until("the order is taken", || {
            let (reply, answer) = tokio::sync::oneshot::channel();
            n2.decide.tell(super::Input::Move {
                cluster: document.name.clone(),
                service: "web1".parse().unwrap(),
                to: to.parse().unwrap(),
                reply,
            });
            answer.blocking_recv().unwrap().is_ok()
        });
        until("it runs there", || {
            runs_on(seen_by, 1, to) && runs_on(&n2, 1, to)
        });
    }
    assert!(n1.running.has("web1") && !sb.running.has("web1"));
}

#[test]
fn u6_a_commit_that_one_node_saw_reaches_all() {
    let folder = tempfile::tempdir().unwrap();
    let one = cluster(15);
    let [n1, n2, sb] = running(folder.path(), &one);
    let two = revised(&one);
    // Staged on two, committed on one; the third never heard of it and must fetch it.
    sb.keeper.lock().unwrap().stage(&two.to_text()).unwrap();
    n1.commit(&two);
    for agent in [&n1, &n2, &sb] {
        until("the revision is there", || {
            view(agent).is_some_and(|v| v.revision == 2)
        });
        let text = agent.keeper.lock().unwrap().document(&one.name).unwrap();
        assert_eq!(text, two.to_text());
        assert!(agent.keeper.lock().unwrap().hello().staged.is_empty());
    }
    until("nothing moved", || {
        runs_on(&n2, 1, "n1") && runs_on(&sb, 2, "n2")
    });
}

#[test]
fn a_node_that_only_staged_the_cluster_joins_when_a_beat_proves_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(16);
    let [n1, n2, sb] = three(folder.path());
    sb.keeper
        .lock()
        .unwrap()
        .stage(&document.to_text())
        .unwrap();
    n1.commit(&document);
    n2.commit(&document);
    until("it joined", || all_up(&sb) && all_up(&n1));
}

/// A disk that was full for a while costs that while, and no restart of the agent.
#[test]
fn u6_a_node_whose_disk_fails_comes_to_the_document_of_the_others_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let one = cluster(22);
    let [n1, n2, sb] = running(folder.path(), &one);
    let two = revised(&one);
    let (began, before) = (Instant::now(), n1.handed_in());
    let disk = break_disk(&n1.folders);
    for agent in [&n2, &sb] {
        agent.commit(&two);
    }
    until("it was tried", || n1.handed_in() > before);
    assert_eq!(view(&n1).unwrap().revision, 1);
    disk.mend();
    until("it is there", || view(&n1).is_some_and(|v| v.revision == 2));
    let tries = n1.handed_in() - before;
    assert!((tries - 1) * TRY_AGAIN <= began.elapsed(), "{tries} tries");
}

#[test]
fn u6_a_node_whose_disk_failed_as_the_cluster_was_committed_joins_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(23);
    let [n1, n2, sb] = three(folder.path());
    let staged = sb.keeper.lock().unwrap().stage(&document.to_text());
    staged.unwrap();
    let disk = break_disk(&sb.folders);
    n1.commit(&document);
    n2.commit(&document);
    until("it was tried", || sb.handed_in() > 0);
    assert!(sb.view().is_empty());
    disk.mend();
    until("it joined", || all_up(&sb) && all_up(&n1));
}

#[test]
fn the_newest_system_document_reaches_all() {
    let folder = tempfile::tempdir().unwrap();
    let [n1, n2, sb] = running(folder.path(), &cluster(17));
    n2.keeper
        .lock()
        .unwrap()
        .put_system(&system(4).to_text())
        .unwrap();
    for agent in [&n1, &n2, &sb] {
        until("it is there", || {
            let text = agent.keeper.lock().unwrap().system();
            text.is_ok_and(|text| text == system(4).to_text())
        });
    }
}

#[test]
fn two_texts_of_one_revision_become_one_and_the_other_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let one = cluster(18);
    let [n1, n2, sb] = running(folder.path(), &one);
    let (mut left, mut right) = (revised(&one), revised(&one));
    left.changed.what = "by the left hand".into();
    right.changed.what = "by the right hand".into();
    // Both at once, as when the network was cut.
    let (a, b) = (left.clone(), right.clone());
    std::thread::scope(|scope| {
        let staged = |agent: &Agent, text: &ClusterDocument| {
            let mut keeper = agent.keeper.lock().unwrap();
            // The other may be there already: then it came too late to be committed at all.
            let staged = keeper.stage(&text.to_text());
            staged.is_ok()
                && keeper
                    .commit(text.id, text.revision, &hex::encode(text.hash()))
                    .is_ok()
        };
        let (n1, n2) = (&n1, &n2);
        scope.spawn(move || staged(n1, &a));
        scope.spawn(move || staged(n2, &b));
    });
    until("all have one", || {
        let texts = [&n1, &n2, &sb].map(|a| a.keeper.lock().unwrap().document(&one.name).unwrap());
        texts[0] == texts[1] && texts[1] == texts[2] && texts[0] != one.to_text()
    });
    let won = n1.keeper.lock().unwrap().document(&one.name).unwrap();
    assert!(won == left.to_text() || won == right.to_text());
}

#[test]
fn c7_a_deleted_cluster_ends_and_the_address_stays_as_an_ordinary_one() {
    let folder = tempfile::tempdir().unwrap();
    let one = cluster(19);
    let [n1, n2, sb] = running(folder.path(), &one);
    until("it answers", || n1.hands.answers(alias(&one, 1)));
    let gone = deleted(&one);
    for agent in [&n1, &n2, &sb] {
        agent.commit(&gone);
    }
    for agent in [&n1, &n2, &sb] {
        until("it is left", || agent.view().is_empty());
        assert!(agent.keeper.lock().unwrap().hello().clusters.is_empty());
    }
    assert!(n1.hands.answers(alias(&one, 1)) && n1.running.has("web1"));
    assert!(!sb.hands.answers(alias(&one, 1)));
}

#[test]
fn c7_a_node_that_was_away_when_the_cluster_was_deleted_learns_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let one = cluster(21);
    let [n1, n2, sb] = running(folder.path(), &one);
    let machine = n2.kill();
    let gone = deleted(&one);
    for agent in [&n1, &sb] {
        agent.commit(&gone);
        until("it is left", || agent.view().is_empty());
    }
    // Also after a restart, from disk.
    let n1 = Agent::start(1, folder.path(), n1.kill());
    drop(sb);
    let n2 = Agent::start(2, folder.path(), machine);
    until("it is left there too", || {
        n2.keeper.lock().unwrap().hello().clusters.is_empty()
    });
    until("and its engine is gone", || n2.view().is_empty());
    assert!(n2.running.has("web2") && n1.view().is_empty());
}

#[test]
fn forged_and_foreign_datagrams_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let document = cluster(20);
    let [n1, n2, _sb] = running(folder.path(), &document);
    let socket = UdpSocket::bind("127.20.0.99:0").unwrap();
    let to = "127.20.0.1:5980";
    let mut beat = vec![0_u8; 200];
    beat[..4].copy_from_slice(b"BsBt");
    beat[16..24].copy_from_slice(&document.id.0.to_be_bytes());
    for length in 0..beat.len() {
        socket.send_to(&beat[..length], to).unwrap();
    }
    beat[..4].copy_from_slice(b"BsDc");
    for _ in 0..2000 {
        let _ = socket.send_to(&beat, to);
    }
    let turns = n1.pulse.turns();
    until("the loop turns on", || n1.pulse.turns() > turns + 10);
    assert!(all_up(&n1) && all_up(&n2));
    assert!(runs_on(&n2, 1, "n1"));
}
