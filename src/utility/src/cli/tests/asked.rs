//! What is shown and asked before a change, and what is told after it.

use std::sync::{Arc, Mutex};

use backstay_core::model::NodeId;
use backstay_core::plan::{Action, Plan};

use super::commands::pair;
use super::context;
use crate::cli::{act, node};
use crate::failure::{Exit, Failure};
use crate::ops::Picture;
use crate::ops::apply::Applied;
use crate::ops::front::{Front, Told};
use crate::ops::preflight::Check;

/// Keeps what it is told and asked, and says no.
#[derive(Default)]
pub(super) struct Sceptic(Mutex<Vec<String>>);

impl Sceptic {
    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Front for Sceptic {
    fn told(&self, told: &Told) {
        self.0.lock().unwrap().push(format!("told {}", told.line));
    }

    fn plan(&self, plan: &Plan, _: &[Check]) {
        let step = &plan.steps[0].sentence;
        self.0.lock().unwrap().push(format!("plan {step}"));
    }

    fn confirm(&self, question: &str) -> Result<(), Failure> {
        self.0.lock().unwrap().push(format!("asked {question}"));
        Err(Failure::cancelled())
    }

    fn finished(&self, _: &Plan, _: &Applied, sentence: &str) {
        self.0.lock().unwrap().push(format!("done {sentence}"));
    }
}

#[test]
fn u5_a_node_of_the_lab_on_loopback_is_asked_for_after_its_plan() {
    let front = Arc::new(Sceptic::default());
    let mut context = context(&[]);
    context.front = Some(Arc::clone(&front) as Arc<dyn Front>);
    let socket = ("h1".to_owned(), "/nowhere/agent.sock".into());
    context.common.sockets = [socket].into();
    let (host, name) = ("h1".parse().unwrap(), "n1".parse().unwrap());
    let failure = node::add(&context, &host, &name).unwrap_err();
    assert_eq!(failure.exit, Exit::Cancelled);
    assert_eq!(
        front.heard(),
        [
            "plan make the machine at h1 the node n1",
            "asked Add h1 as n1?"
        ]
    );
}

/// `apply -f` ends what `cluster remove-node` ends.
#[test]
fn u5_a_written_document_without_a_member_has_its_name_typed() {
    let written = pair().clusters.remove(0);
    let mut present = written.clone();
    let mut second = present.members[0].clone();
    (second.name, second.id) = ("n2".parse().unwrap(), NodeId(99));
    present.members.push(second);
    let mut picture = Picture::default();
    let apply = Action::Apply {
        document: Box::new(written.clone()),
    };
    // One that is made, one that loses a member, one that only changes.
    assert_eq!(act::ends(&apply, &picture), [""; 0]);
    picture.clusters = vec![present.clone()];
    assert_eq!(act::ends(&apply, &picture), ["n2"]);
    picture.clusters = vec![written];
    assert_eq!(act::ends(&apply, &picture), [""; 0]);
}

#[test]
fn contacts_that_can_t_be_read_any_more_do_not_undo_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("contacts.toml");
    std::fs::write(&path, "[[node").unwrap();
    let front = Arc::new(Sceptic::default());
    let mut context = context(&["--contacts", path.to_str().unwrap()]);
    context.front = Some(Arc::clone(&front) as Arc<dyn Front>);
    node::forget(&context, &"n1".parse().unwrap());
    let heard = front.heard();
    assert!(
        heard.len() == 1 && heard[0].contains("contacts.toml is not a list of contacts"),
        "{heard:?}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[[node");
}
