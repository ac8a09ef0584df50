//! A list to choose from, searched as one types.

use super::super::keys::{Key, Order};
use super::super::model::Model;
use super::Layer;
use super::form::{Choice, Kind};

/// A list over a form.
#[derive(Clone, Debug)]
pub struct Pick {
    /// What is chosen.
    pub title: String,
    /// All there is.
    options: Vec<Choice>,
    /// What has been typed.
    pub filter: String,
    /// Which of those that fit is marked.
    pub at: usize,
}

impl Pick {
    /// With one of them marked.
    pub fn new(title: &str, options: Vec<Choice>, at: usize) -> Self {
        Self {
            title: title.to_owned(),
            options,
            filter: String::new(),
            at,
        }
    }

    /// Those that fit, with their place among all.
    pub fn fitting(&self) -> Vec<(usize, &Choice)> {
        let wanted = self.filter.to_lowercase();
        let all = self.options.iter().enumerate();
        all.filter(|(_, c)| c.label.to_lowercase().contains(&wanted))
            .collect()
    }
}

/// A key for the list in front.
pub fn key(model: &mut Model, key: Key, order: Option<Order>) {
    let page = usize::from(model.size.1).saturating_sub(6).max(1);
    let Some(Layer::Pick(pick)) = model.layers.last_mut() else {
        return;
    };
    let last = pick.fitting().len().saturating_sub(1);
    match (order, key) {
        (Some(Order::Up), _) => pick.at = pick.at.saturating_sub(1),
        (Some(Order::Down), _) => pick.at = (pick.at + 1).min(last),
        (Some(Order::PageUp), _) => pick.at = pick.at.saturating_sub(page),
        (Some(Order::PageDown), _) => pick.at = (pick.at + page).min(last),
        (Some(Order::First), _) => pick.at = 0,
        (Some(Order::Last), _) => pick.at = last,
        (Some(Order::Erase), _) => {
            pick.filter.pop();
            pick.at = 0;
        }
        (Some(Order::EraseAll), _) => {
            pick.filter.clear();
            pick.at = 0;
        }
        (Some(Order::Back), _) => {
            model.layers.pop();
        }
        (Some(Order::Open), _) => take(model),
        (_, Key::Char(c)) => {
            pick.filter.push(c);
            pick.at = 0;
        }
        _ => {}
    }
}

fn take(model: &mut Model) {
    let Some(Layer::Pick(pick)) = model.layers.pop() else {
        return;
    };
    let chosen = pick.fitting().get(pick.at).map(|(place, _)| *place);
    if let (Some(chosen), Some(Layer::Form(form))) = (chosen, model.layers.last_mut())
        && let Some(field) = form.fields.get_mut(form.focus)
        && let Kind::Choice { at, .. } = &mut field.kind
    {
        *at = chosen;
        form.focus += 1;
    }
}
