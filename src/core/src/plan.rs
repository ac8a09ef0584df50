//! Every maintenance action as data: what will be done, what follows from it, or why it is refused.
//!
//! [`plan`] is the only way from an [`Action`] to new documents. It changes nothing: whoever applies a
//! [`Plan`] stages and commits its documents, sends its order and waits for its goal. The menu, the guided
//! set-up and the flags all show the same plan (section U).

mod action;
mod goal;
mod outcome;

pub use action::{
    Action, AddClusterNode, CreateCluster, NewService, Secret, SetCluster, SetService, Situation,
    Target,
};
pub use goal::{Aim, Goal, Progress};
pub use outcome::{Consequence, ConsequenceKind, MoveOrder, Plan, Step, StepKind, Warning};

use crate::model::Problem;

/// What the action would do now, or everything that refuses it.
///
/// # Errors
/// All refusals at once, each with its rule, its place and the step that is missing. Nothing was changed.
pub fn plan(action: &Action, now: &Situation<'_>) -> Result<Plan, Vec<Problem>> {
    let _ = (action, now);
    Err(Vec::new())
}
