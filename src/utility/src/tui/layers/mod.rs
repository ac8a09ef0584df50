//! What lies over the home screen, one over the other; the last has the keys.

pub mod command;
pub mod form;
pub mod forms;
pub mod leave;
pub mod operation;
pub mod page;
pub mod pick;
pub mod present;

use super::keys::Place;
use super::model::Model;

/// One layer.
#[derive(Clone, Debug)]
pub enum Layer {
    /// Fields to fill in.
    Form(form::Form),
    /// A list to choose from, for the form below.
    Pick(pick::Pick),
    /// [`Model::operation`]: its consequences, questions, progress and end.
    Operation,
    /// A page to read.
    Page(page::Page),
    /// Whether to end although something goes on.
    Leave(leave::Leave),
}

/// What keys mean now.
pub fn place(model: &Model) -> Place {
    match model.layers.last() {
        None if model.home.filtering => Place::Filter,
        None => Place::Home,
        Some(Layer::Form(_)) => Place::Form,
        Some(Layer::Pick(_)) => Place::Pick,
        Some(Layer::Page(_)) => Place::Page,
        Some(Layer::Leave(_)) => Place::Confirm,
        Some(Layer::Operation) => model
            .operation
            .as_ref()
            .map_or(Place::Outcome, operation::Operation::place),
    }
}

/// A dialog that opens by itself must not take the key that was meant for what was there before: keys count
/// only this long after it was seen, ms.
pub const GUARD_MS: u64 = 300;

/// When a dialog was seen first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard(Option<u64>);

impl Guard {
    /// It is on the screen.
    pub fn seen(&mut self, now: u64) {
        self.0.get_or_insert(now);
    }

    /// Whether a key pressed now is meant for it.
    pub fn open(self, now: u64) -> bool {
        self.0
            .is_some_and(|seen| now.saturating_sub(seen) >= GUARD_MS)
    }
}
