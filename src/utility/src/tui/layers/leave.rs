//! Ending while an operation goes on.

use super::super::keys::Order;
use super::super::model::Model;
use super::super::msg::Cmd;
use super::{Guard, Layer};

/// Whether to end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leave {
    /// The other button than Stay is marked.
    pub go: bool,
    /// When it was seen first.
    pub guard: Guard,
}

/// A key for the question in front.
pub fn key(model: &mut Model, order: Option<Order>) -> Vec<Cmd> {
    let now = model.now;
    let Some(Layer::Leave(leave)) = model.layers.last_mut() else {
        return Vec::new();
    };
    if !leave.guard.open(now) {
        return Vec::new();
    }
    match order {
        Some(Order::Next) => leave.go = !leave.go,
        Some(Order::Open) if leave.go => return vec![Cmd::Stop, Cmd::Quit],
        Some(Order::Open | Order::Back) => {
            model.layers.pop();
        }
        _ => {}
    }
    Vec::new()
}
