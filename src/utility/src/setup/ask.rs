//! Who answers: a person at a terminal, a person with a screen reader, a file.

use super::question::{Answer, Key, Question};
use crate::failure::Failure;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A right answer.
    Given(Answer),
    /// The question before once more.
    Back,
}

/// What one types to go back where text is asked for.
pub const BACK: &str = "<";

/// Answers questions.
pub trait Asker {
    /// The answer; a wrong one is told and asked for again.
    ///
    /// # Errors
    /// Nobody answers any more, or a file has no right answer.
    fn ask(&mut self, question: &Question, can_go_back: bool) -> Result<Reply, Failure>;

    /// Shows something.
    fn tell(&mut self, text: &str);

    /// An answer that was right by itself has turned out to be wrong. Who can answer differently is told.
    ///
    /// # Errors
    /// Nobody can.
    fn wrong(&mut self, key: &Key, failure: Failure) -> Result<(), Failure>;
}
