//! Pages to read: status, alarms, history, a node, the log, the keys.

use backstay_core::model::{ClusterName, NodeName};
use backstay_wire::rpc::{Facts, HistoryEntry};

use super::super::keys::Order;
use super::super::model::Model;
use super::super::text::Text;
use super::super::view::pages;
use super::Layer;
use super::form::Form;

/// Which page.
#[derive(Clone, Debug)]
pub enum Kind {
    /// All clusters in a list.
    Clusters,
    /// One cluster in full.
    Cluster(ClusterName),
    /// All alarms.
    Alarms,
    /// What was decided when; none: it has been asked for.
    History(Option<Result<Vec<HistoryEntry>, String>>),
    /// One node, with its machine once that has answered.
    Node(NodeName, Option<Result<Box<Facts>, String>>),
    /// The session's log.
    Log,
    /// The keys; first what that form wants, where one is in front.
    Help(Option<Box<Form>>),
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Which.
    pub kind: Kind,
    /// The first line shown.
    pub top: usize,
    /// Its lines, as of the last change of what they show.
    pub lines: Vec<Text>,
}

/// Opens a page.
pub fn open(model: &mut Model, kind: Kind) {
    // What was done and decided is read from its end.
    let top = if matches!(kind, Kind::Log | Kind::History(_)) {
        usize::MAX
    } else {
        0
    };
    model.layers.push(Layer::Page(Page {
        kind,
        top,
        lines: Vec::new(),
    }));
    refresh(model);
}

/// Makes the lines of every open page anew.
pub fn refresh(model: &mut Model) {
    let mut layers = std::mem::take(&mut model.layers);
    for layer in &mut layers {
        if let Layer::Page(page) = layer {
            page.lines = pages::lines(model, &page.kind);
            page.top = page
                .top
                .min(page.lines.len().saturating_sub(pages::height(model)));
        }
    }
    model.layers = layers;
}

/// A key for the page in front.
pub fn key(model: &mut Model, order: Option<Order>) {
    let height = pages::height(model);
    let Some(Layer::Page(page)) = model.layers.last_mut() else {
        return;
    };
    let last = page.lines.len().saturating_sub(height);
    page.top = match order {
        Some(Order::Up) => page.top.saturating_sub(1),
        Some(Order::Down) => (page.top + 1).min(last),
        Some(Order::PageUp) => page.top.saturating_sub(height),
        Some(Order::PageDown) => (page.top + height).min(last),
        Some(Order::First) => 0,
        Some(Order::Last) => last,
        Some(Order::Back) => {
            model.layers.pop();
            return;
        }
        _ => return,
    };
}
