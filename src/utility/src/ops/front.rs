//! What an operation tells and asks, for whoever stands in front of it: the menu, or nobody but the terminal.

use std::ops::Deref;

use backstay_core::model::NodeName;
use backstay_core::plan::{Plan, StepKind};

use super::apply::Applied;
use super::preflight::Check;
use crate::failure::Failure;

/// How far nodes are with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It begins on these nodes.
    Begins,
    /// They have done it.
    Done,
    /// They have not; they will learn of it from the others.
    Behind,
}

/// One line on how an operation goes, and which step of the plan it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// For people; may be empty where only the step matters.
    pub line: String,
    /// Which step, which nodes, how far.
    pub step: Option<(StepKind, Vec<NodeName>, Stage)>,
}

impl Told {
    /// A line about no step in particular.
    pub fn line(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            step: None,
        }
    }

    /// With the step that it is about.
    #[must_use]
    pub fn of(mut self, kind: StepKind, on: &[NodeName], stage: Stage) -> Self {
        self.step = Some((kind, on.to_vec(), stage));
        self
    }
}

impl Deref for Told {
    type Target = str;

    fn deref(&self) -> &str {
        &self.line
    }
}

/// Who stands in front of an operation. Called on the operation's own thread.
pub trait Front: Send + Sync {
    /// A line on how it goes, or a step that goes on.
    fn told(&self, told: &Told);

    /// U5: what will be done and what comes of it; the checks that were found not in order with it.
    fn plan(&self, plan: &Plan, checks: &[Check]);

    /// Asks whether to go on, and waits for the answer.
    ///
    /// # Errors
    /// The answer is no.
    fn confirm(&self, question: &str) -> Result<(), Failure>;

    /// How it ended, where it ended well.
    fn finished(&self, plan: &Plan, applied: &Applied, sentence: &str);
}
