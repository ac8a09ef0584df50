//! The menu in front of an operation, in place of the terminal.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use backstay_core::plan::Plan;

use super::super::msg::Event;
use super::Post;
use crate::failure::Failure;
use crate::ops::Cancel;
use crate::ops::apply::Applied;
use crate::ops::front::{Front, Told};
use crate::ops::preflight::Check;

/// Tells the model and waits for its answers.
pub(super) struct MenuFront {
    post: Post,
    answers: Mutex<Receiver<bool>>,
    cancel: Cancel,
}

impl MenuFront {
    pub(super) fn shared(post: Post, answers: Receiver<bool>, cancel: Cancel) -> Arc<dyn Front> {
        Arc::new(Self {
            post,
            answers: Mutex::new(answers),
            cancel,
        })
    }
}

impl Front for MenuFront {
    fn told(&self, told: &Told) {
        self.post.tell(Event::Told(told.clone()));
    }

    fn plan(&self, plan: &Plan, checks: &[Check]) {
        let event = Event::Plan(Box::new(plan.clone()), checks.to_vec());
        self.post.tell(event);
    }

    fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.cancel.is_set() {
            return Err(Failure::cancelled());
        }
        self.post.tell(Event::Ask(question.to_owned()));
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // The menu has ended: that is a no.
        if answers.recv().unwrap_or(false) {
            Ok(())
        } else {
            Err(Failure::cancelled())
        }
    }

    fn finished(&self, _: &Plan, applied: &Applied, sentence: &str) {
        let event = Event::Finished(sentence.to_owned(), applied.behind.clone());
        self.post.tell(event);
    }
}
