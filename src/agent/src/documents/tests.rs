//! What is taken, refused, kept and given up.

use std::net::IpAddr;

use backstay_core::model::{
    ClusterDocument, Former, NodeId, Replacement, Role, SystemNode, SystemRole, Unit, UnitMode,
};
use backstay_wire::rpc::Code;
use backstay_wire::sealed::Subject;

use super::Keeper;
use crate::decide::{Inbox, Input, inputs};
use crate::samples::{Log, PlainMachine, Running, break_disk, cluster, deleted, identity, revised};
use crate::store::{Folders, NodeFile, RunFolder, make_folder};

struct Office {
    _folder: tempfile::TempDir,
    folders: Folders,
    keeper: Keeper,
    inbox: Inbox,
}

fn office() -> Office {
    let folder = tempfile::tempdir().unwrap();
    let folders = Folders::below(folder.path());
    make_folder(&folders.state).unwrap();
    NodeFile::in_folder(&folders.state)
        .write(&identity(1))
        .unwrap();
    let run = RunFolder::lock(&folders.run).unwrap();
    let (decide, inbox) = inputs().unwrap();
    let machine = Box::new(PlainMachine(Running::default()));
    let keeper = Keeper::open(&folders, &run, machine, decide).unwrap();
    Office {
        _folder: folder,
        folders,
        keeper,
        inbox,
    }
}

impl Office {
    fn commit(&mut self, document: &ClusterDocument) {
        self.keeper.stage(&document.to_text()).unwrap();
        let hash = hex::encode(document.hash());
        let done = self.keeper.commit(document.id, document.revision, &hash);
        assert!(done.unwrap().changed);
    }

    fn fetched(&mut self, document: &ClusterDocument) {
        let text = document.to_text();
        self.keeper
            .fetched(document.id, Subject::Cluster, document.revision, &text);
    }

    fn present(&self, document: &ClusterDocument) -> String {
        self.keeper.document(&document.name).unwrap()
    }

    /// Files of that kind.
    fn files(&self, kind: &str) -> usize {
        let files = std::fs::read_dir(self.folders.state.join("clusters")).unwrap();
        let names = files.map(|f| f.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(kind)).count()
    }

    fn told(&self, wanted: impl Fn(&Input) -> bool) -> usize {
        std::iter::from_fn(|| self.inbox.take())
            .filter(wanted)
            .count()
    }
}

/// Two texts of one revision, that with the smaller hash first.
fn rivals(of: &ClusterDocument) -> [ClusterDocument; 2] {
    let (mut a, mut b) = (revised(of), revised(of));
    a.changed.what = "left".into();
    b.changed.what = "right".into();
    if a.hash() < b.hash() { [a, b] } else { [b, a] }
}

#[test]
fn of_two_texts_of_one_revision_the_larger_hash_stands_and_the_other_is_kept() {
    let one = cluster(1);
    let [small, large] = rivals(&one);
    for (mine, theirs) in [(&small, &large), (&large, &small)] {
        let mut office = office();
        office.commit(&one);
        office.commit(mine);
        office.fetched(theirs);
        assert_eq!(office.present(&one), large.to_text());
        assert_eq!(office.files(".lost-"), 1);
    }
}

#[test]
fn a_fetched_text_that_is_old_foreign_or_against_a_rule_is_not_taken() {
    let mut office = office();
    let (one, two) = (cluster(1), revised(&cluster(1)));
    office.commit(&one);
    office.commit(&two);
    office.told(|_| true);
    office.fetched(&one);
    office.fetched(&cluster(2)); // never asked to be in it
    office
        .keeper
        .fetched(one.id, Subject::Cluster, 3, "rubbish");
    let other = revised(&revised(&cluster(2)));
    office
        .keeper
        .fetched(one.id, Subject::Cluster, 3, &other.to_text());
    let mut renamed = revised(&two);
    renamed.name = "other".parse().unwrap();
    office.fetched(&renamed); // C13
    assert_eq!(office.present(&one), two.to_text());
    assert_eq!(office.told(|i| matches!(i, Input::NotTaken { .. })), 5);
}

#[test]
fn c3_a_node_of_one_cluster_refuses_another_also_while_the_first_is_only_staged() {
    let mut office = office();
    office.keeper.stage(&cluster(1).to_text()).unwrap();
    let error = office.keeper.stage(&cluster(2).to_text()).unwrap_err();
    assert_eq!(error.rule.unwrap().to_string(), "C3");
    office.keeper.abandon(cluster(1).id).unwrap();
    assert!(office.keeper.stage(&cluster(2).to_text()).is_ok());
}

#[test]
fn u6_a_new_cluster_that_was_staged_and_never_committed_can_be_begun_anew() {
    let mut office = office();
    let left = cluster(1);
    office.keeper.stage(&left.to_text()).unwrap();
    let mut anew = left.clone();
    anew.id = backstay_core::model::ClusterId(left.id.0 + 1000);
    // Not all who may have committed the first are asked.
    let mut fewer = anew.clone();
    fewer.services.pop();
    fewer.bases.pop();
    fewer.members.remove(1);
    assert_eq!(fewer.problems(), []);
    let error = office.keeper.stage(&fewer.to_text()).unwrap_err();
    assert_eq!(error.rule.unwrap().to_string(), "C3");
    office.keeper.stage(&anew.to_text()).unwrap();
    let first = hex::encode(left.hash());
    assert!(office.keeper.commit(left.id, 1, &first).is_err());
    let hash = hex::encode(anew.hash());
    assert!(office.keeper.commit(anew.id, 1, &hash).unwrap().changed);
    // Committed, it is a cluster like any other.
    assert!(office.keeper.stage(&left.to_text()).is_err());
}

#[test]
fn a_commit_needs_the_very_text_that_was_staged_and_is_repeatable() {
    let mut office = office();
    let one = cluster(1);
    let hash = hex::encode(one.hash());
    let unstaged = office.keeper.commit(one.id, 1, &hash).unwrap_err();
    assert_eq!(unstaged.code, Code::Unknown);
    office.keeper.stage(&one.to_text()).unwrap();
    let other = hex::encode(revised(&one).hash());
    assert!(office.keeper.commit(one.id, 1, &other).is_err());
    assert!(office.keeper.commit(one.id, 1, &hash).unwrap().changed);
    assert!(!office.keeper.commit(one.id, 1, &hash).unwrap().changed);
}

#[test]
fn u6_a_commit_that_came_by_a_beat_first_is_no_error_for_the_one_who_calls() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    for next in [revised(&one), deleted(&revised(&one))] {
        office.keeper.stage(&next.to_text()).unwrap();
        let hash = next.short_hash();
        office.keeper.commit_seen(next.id, next.revision, hash);
        let hash = hex::encode(next.hash());
        let done = office.keeper.commit(next.id, next.revision, &hash);
        assert!(!done.unwrap().changed);
    }
    assert!(office.keeper.hello().clusters.is_empty());
}

#[test]
fn an_unwritable_disk_is_said_and_changes_are_refused_with_nothing_changed() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    assert!(office.keeper.try_disk());
    office.told(|_| true);
    let disk = break_disk(&office.folders);
    std::fs::create_dir(office.folders.state.join("writable.unfinished")).unwrap();
    assert!(!office.keeper.try_disk() && !office.keeper.hello().writable);
    let error = office.keeper.stage(&revised(&one).to_text()).unwrap_err();
    assert_eq!((error.code, error.changed), (Code::Failed, false));
    assert!(error.message.contains("nothing was changed"));
    assert_eq!(office.told(|i| matches!(i, Input::Adopted { .. })), 0);
    disk.mend();
    std::fs::remove_dir(office.folders.state.join("writable.unfinished")).unwrap();
    assert!(office.keeper.try_disk());
    office.commit(&revised(&one));
}

/// A full disk is no reason of the text's: nothing says that it is not to be fetched again, and the log has one line.
#[test]
fn u6_what_the_disk_did_not_take_is_taken_once_it_can() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    let two = revised(&one);
    office.told(|_| true);
    let log = Log::default();
    tracing::subscriber::with_default(log.subscriber(), || {
        let disk = break_disk(&office.folders);
        for _ in 0..3 {
            office.fetched(&two);
        }
        assert_eq!(office.present(&one), one.to_text());
        assert_eq!(office.told(|_| true), 0);
        disk.mend();
        office.fetched(&two);
    });
    assert_eq!(office.present(&one), two.to_text());
    assert_eq!(office.told(|i| matches!(i, Input::Adopted { .. })), 1);
    assert_eq!(log.text().lines().count(), 1, "{}", log.text());
}

#[test]
fn u6_a_commit_that_was_seen_is_made_once_the_disk_can() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    let two = revised(&one);
    office.keeper.stage(&two.to_text()).unwrap();
    let log = Log::default();
    tracing::subscriber::with_default(log.subscriber(), || {
        let mut seen = || {
            let hash = two.short_hash();
            office.keeper.commit_seen(two.id, two.revision, hash);
        };
        let disk = break_disk(&office.folders);
        seen();
        seen();
        disk.mend();
        let errors = log.text();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        seen();
    });
    assert_eq!(office.present(&one), two.to_text());
    assert!(office.keeper.hello().staged.is_empty());
}

#[test]
fn s7_what_this_node_may_hold_is_on_the_list_for_the_next_boot() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    let list = std::fs::read_to_string(office.folders.guarded()).unwrap();
    // n1 may hold web1; web2 is n2's and the standby's.
    assert!(list.contains("127.1.0.101") && !list.contains("127.1.0.102"));
    office.commit(&deleted(&one));
    let list = std::fs::read_to_string(office.folders.guarded()).unwrap();
    assert!(!list.contains("127.1.0.101"), "{list}");
}

/// The list of clusters is written by whoever committed, not only by the session that ordered it; and what that
/// session writes next is the same text, which is no second change.
#[test]
fn u6_who_commits_lists_the_cluster_as_the_plan_does() {
    let mut office = office();
    let one = cluster(1);
    let mut system = crate::samples::system(4);
    office.keeper.put_system(&system.to_text()).unwrap();
    // A list without its members is too old.
    office.commit(&one);
    assert_eq!(office.keeper.system().unwrap(), system.to_text());
    let mut office = self::office();
    system.nodes = one
        .members
        .iter()
        .map(|m| SystemNode {
            name: m.name.clone(),
            id: m.id,
            contact: m.name.to_string(),
            host_keys: Vec::new(),
            role: match m.role {
                Role::Standby => SystemRole::Standby,
                _ => SystemRole::Free,
            },
        })
        .collect();
    office.keeper.put_system(&system.to_text()).unwrap();
    let next = system.with_cluster(&one).unwrap();
    assert_eq!(next.revision, 5);
    office.commit(&one);
    assert_eq!(office.keeper.system().unwrap(), next.to_text());
    let same = office.keeper.put_system(&next.to_text()).unwrap();
    assert!(!same.changed);
    // Nothing of the list changes with the next revision.
    office.commit(&revised(&one));
    assert_eq!(office.keeper.system().unwrap(), next.to_text());
}

/// T4: what an older agent does not know is refused as a whole, by a sentence that says what to do; what it has stays.
#[test]
fn t4_a_document_of_a_newer_version_is_refused_and_nothing_is_lost() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    let next = revised(&one);
    let unknown = next
        .to_text()
        .replacen("format = 1\n", "format = 1\ncolour = 3\n", 1);
    let newer = next.to_text().replacen("format = 1\n", "format = 2\n", 1);
    for text in [unknown, newer] {
        let error = office.keeper.stage(&text).unwrap_err();
        assert_eq!(error.code, Code::Refused);
        assert!(
            error.message.contains("backstay node upgrade n1") && error.problems.is_empty(),
            "{error}"
        );
        office
            .keeper
            .fetched(one.id, Subject::Cluster, next.revision, &text);
        assert_eq!(office.present(&one), one.to_text());
        assert_eq!(office.files(".staged"), 0);
    }
}

/// S7: an older agent that was put back can't read the document: what the gate guards at the next boot stays.
#[test]
fn s7_what_cannot_be_read_goes_on_being_guarded() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    let guarded = std::fs::read(office.folders.guarded()).unwrap();
    assert!(!guarded.is_empty());
    let path = office
        .folders
        .state
        .join("clusters")
        .join(format!("{}.toml", one.name));
    let newer = std::fs::read_to_string(&path).unwrap() + "\n[colour]\nred = 1\n";
    std::fs::write(&path, &newer).unwrap();
    let (decide, _inbox) = inputs().unwrap();
    let machine = Box::new(PlainMachine(Running::default()));
    let Office {
        folders, keeper, ..
    } = office;
    drop(keeper);
    let run = RunFolder::lock(&folders.run).unwrap();
    let keeper = Keeper::open(&folders, &run, machine, decide).unwrap();
    assert!(keeper.document(&one.name).is_err(), "it is not made up");
    assert_eq!(std::fs::read(folders.guarded()).unwrap(), guarded);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        newer,
        "and not destroyed"
    );
}

/// Another machine has the name and the addresses of this node.
fn replaced(by: &ClusterDocument) -> ClusterDocument {
    let mut document = revised(by);
    let member = document.members.iter_mut().find(|m| m.id == identity(1).id);
    let member = member.unwrap();
    let new = NodeId(0x99);
    document.former.push(Former {
        name: member.name.clone(),
        id: member.id,
        bases: member.bases.clone(),
        alias: None,
        replaced: Some(Replacement {
            id: new,
            contact: "root@192.0.2.99".into(),
            host_keys: Vec::new(),
        }),
    });
    member.id = new;
    document
}

#[test]
fn c16_a_node_that_was_replaced_keeps_what_it_lost_closed_and_is_free() {
    let mut office = office();
    let one = cluster(1);
    office.commit(&one);
    let me = identity(1);
    let guarded_file = office.folders.guarded();
    let guarded = |address: &IpAddr| {
        let text = std::fs::read_to_string(&guarded_file).unwrap();
        let mut words = text.split([' ', ',', '\n']);
        words.any(|word| word == address.to_string())
    };
    let bases = &one.member_by_id(me.id).unwrap().bases;
    let (alias, base) = (one.services[0].aliases[0].ip(), bases[0].addr());
    assert!(guarded(&alias) && !guarded(&base));
    let after = replaced(&one);
    office.fetched(&after);
    assert!(office.keeper.document(&one.name).is_err());
    assert_eq!(office.told(|i| matches!(i, Input::Left(_))), 1);
    assert!(guarded(&alias) && guarded(&base));
    // It may become a new node; one that merely left a cluster may not.
    assert_eq!(office.keeper.hello().node, None);
    let name: backstay_core::model::NodeName = "again".parse().unwrap();
    assert!(
        office
            .keeper
            .enrol(name.clone(), NodeId(7))
            .unwrap()
            .changed
    );
    assert_eq!(office.keeper.hello().node, Some(name.clone()));
    assert!(
        office
            .keeper
            .enrol("other".parse().unwrap(), NodeId(8))
            .is_err()
    );
}

/// The old machine is switched on long after: its service has left the cluster, and the machine becomes another node.
#[test]
fn c16_what_was_lost_is_kept_whatever_becomes_of_the_service_and_of_the_machine() {
    let mut office = office();
    office.commit(&cluster(1));
    let mut one = revised(&cluster(1));
    one.services[0].units.push(Unit {
        name: "web1.service".into(),
        mode: UnitMode::Service,
    });
    office.fetched(&one);
    let me = identity(1);
    let guarded_file = office.folders.guarded();
    let guarded = |address: IpAddr| {
        let text = std::fs::read_to_string(&guarded_file).unwrap();
        let mut words = text.split([' ', ',', '\n']);
        words.any(|word| word == address.to_string())
    };
    let alias = one.services[0].aliases[0].ip();
    let base = one.member_by_id(me.id).unwrap().bases[0].addr();
    let mut after = replaced(&one);
    after.services.remove(0);
    after.bases.remove(0);
    after.members.retain(|m| m.name != me.name); // the replacement has left the cluster, too
    office.fetched(&after);
    assert!(office.keeper.document(&one.name).is_err());
    assert!(guarded(alias) && guarded(base));
    let new = NodeId(7);
    office.keeper.enrol(me.name.clone(), new).unwrap();
    let with_it = |mut document: ClusterDocument| {
        let member = document.members.iter_mut().find(|m| m.id == me.id);
        member.unwrap().id = new;
        document
    };
    let other = with_it(cluster(2));
    office.commit(&other);
    assert!(guarded(alias) && guarded(base), "it is in another cluster");
    office.fetched(&deleted(&other));
    assert!(guarded(alias) && guarded(base), "and in none again");
    office.keeper.dismiss().unwrap();
    assert!(guarded(alias) && guarded(base), "and no node at all");
    assert!(office.keeper.wanted().taken.contains(&alias));
    assert_eq!(office.keeper.lost.lost().units, ["web1.service"]);
    office.keeper.enrol(me.name.clone(), new).unwrap();
    // A document that gives them to this machine makes them its own again.
    let mut given = with_it(cluster(1));
    (given.id, given.name) = (cluster(3).id, cluster(3).name);
    office.commit(&given);
    assert!(guarded(alias) && !guarded(base));
    assert!(office.keeper.lost.lost().addresses.is_empty());
}

/// C15, C16: killed while it left its last cluster, an agent may have left the gate closed for what was given back.
#[test]
fn c15_a_start_in_no_cluster_guards_only_what_another_machine_has() {
    let told_at_start = |office: Office| {
        let Office {
            folders, keeper, ..
        } = &office;
        let (decide, inbox) = inputs().unwrap();
        let machine = Box::new(PlainMachine(Running::default()));
        let run = folders.run.with_extension("again");
        let run = RunFolder::lock(&run).unwrap();
        assert!(keeper.identity().is_some());
        Keeper::open(folders, &run, machine, decide).unwrap();
        let all = std::iter::from_fn(|| inbox.take());
        let mut told = (Vec::new(), false);
        for input in all {
            match input {
                Input::Enrolled { lost, .. } => told.0 = lost,
                Input::InNone => told.1 = true,
                _ => {}
            }
        }
        told
    };
    assert_eq!(told_at_start(office()), (Vec::new(), true));
    let one = cluster(1);
    let mut member = office();
    member.commit(&one);
    assert_eq!(told_at_start(member), (Vec::new(), false));
    let mut left = office();
    left.commit(&one);
    left.fetched(&replaced(&one));
    let (lost, in_none) = told_at_start(left);
    assert!(in_none && lost.contains(&one.services[0].aliases[0].ip()));
}
