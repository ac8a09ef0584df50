//! What each message makes of the model. Pure: no terminal, no clock, no network.

use backstay_core::engine::ClusterView;
use backstay_wire::rpc::clean;

use super::keys::{Key, Order, Place, find};
use super::layers::page::{self, Kind};
use super::layers::{Layer, form, forms, leave, operation, pick, place, present};
use super::menu::{Danger, ENTRIES, Entry, Id, why_not};
use super::model::{Age, Model, Pane};
use super::msg::{Cmd, Event, Msg};
use super::picture::rows;
use super::view::home;
use crate::failure::Failure;

/// Longest text of the filter, in characters.
const LONGEST: usize = 64;

/// Takes a message into the model; what is to be done comes back.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Cmd> {
    model.now = msg.at;
    model.wall = msg.wall;
    match msg.event {
        Event::Drawn => {
            seen(model);
            return Vec::new();
        }
        Event::Tick => tick(model),
        Event::Key(key) => {
            model.dirty = true;
            return pressed(model, key);
        }
        event => {
            model.dirty = true;
            let cmds = happened(model, event);
            follow(model);
            return cmds;
        }
    }
    Vec::new()
}

/// What is on the screen now can be answered a little later.
fn seen(model: &mut Model) {
    let now = model.now;
    match model.layers.last_mut() {
        Some(Layer::Operation) => {
            if let Some(operation) = &mut model.operation {
                operation.guard.seen(now);
            }
        }
        Some(Layer::Leave(leave)) => leave.guard.seen(now),
        _ => {}
    }
}

/// Time alone changes something only where an age is shown.
fn tick(model: &mut Model) {
    let now = model.now;
    let lively = |age| matches!(age, Age::Live);
    if model.clusters.iter().any(|c| !lively(c.age(now))) || model.no_entry.is_some() {
        model.dirty = true;
        follow(model);
    }
}

fn happened(model: &mut Model, event: Event) -> Vec<Cmd> {
    match event {
        Event::Resized(columns, rows) => {
            model.size = (columns, rows);
            return vec![Cmd::Redraw];
        }
        Event::Resumed => return vec![Cmd::Resume],
        Event::Gone => return vec![Cmd::Stop, Cmd::Quit],
        Event::System(system) => {
            (model.answered, model.no_entry) = (true, None);
            if let Some(system) = system {
                model.take_system(*system);
            }
        }
        Event::NoEntry(failure) => model.no_entry = Some(*failure),
        Event::Viewer(node) => model.viewer = node,
        Event::View(view) => model.take_view(harmless(*view)),
        Event::OwnWords(name, views) => {
            model.take_own_words(&name, views.into_iter().map(harmless).collect());
        }
        Event::Lost(name, why) => model.cluster_mut(&name).lost = Some(clean(&why)),
        Event::Revision(name, revision, changed, staged) => {
            let cluster = model.cluster_mut(&name);
            cluster.changed = Some((revision, *changed));
            cluster.staged = staged;
        }
        Event::Leftovers(node, clusters) => {
            let all = clusters.into_iter().map(|c| (node.clone(), c));
            model.leftovers = all.collect();
        }
        Event::Told(told) => operation::told(model, &told),
        Event::Plan(plan, checks) => operation::planned(model, *plan, checks),
        Event::Ask(question) => operation::asks(model, question),
        Event::Finished(sentence, behind) => operation::finished(model, sentence, behind),
        Event::Ended(result) => return operation::ended(model, result.map_err(|f| *f)),
        Event::History(found) => history(model, found),
        Event::Facts(name, found) => {
            for layer in &mut model.layers {
                if let Layer::Page(page) = layer
                    && let Kind::Node(node, facts) = &mut page.kind
                    && *node == name
                {
                    *facts = Some(found.clone());
                }
            }
        }
        Event::Key(_) | Event::Tick | Event::Drawn => {}
    }
    Vec::new()
}

fn history(model: &mut Model, found: Result<Vec<backstay_wire::rpc::HistoryEntry>, Box<Failure>>) {
    let found = found.map_err(|f| f.message.clone());
    for layer in &mut model.layers {
        if let Layer::Page(page) = layer
            && let Kind::History(entries) = &mut page.kind
        {
            *entries = Some(found.clone());
            // The newest stands last.
            page.top = usize::MAX;
        }
    }
}

/// What another machine says changes nothing on this terminal but what it covers.
fn harmless(mut view: ClusterView) -> ClusterView {
    let tidy = |text: &mut String| {
        // Most texts are in order; they are not written anew.
        if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) || text.len() > 1_000 {
            *text = clean(text);
        }
    };
    tidy(&mut view.advice);
    for node in &mut view.nodes {
        node.notes
            .iter_mut()
            .chain(&mut node.addresses)
            .for_each(tidy);
    }
    for service in &mut view.services {
        tidy(&mut service.reason);
        service
            .addresses
            .iter_mut()
            .for_each(|a| tidy(&mut a.address));
        service.on.values_mut().for_each(tidy);
        if let Some(lock) = &mut service.lock {
            tidy(&mut lock.by);
            tidy(&mut lock.reason);
        }
    }
    for alarm in &mut view.alarms {
        tidy(&mut alarm.cause);
        tidy(&mut alarm.action);
        tidy(&mut alarm.id);
    }
    view
}

/// The rows of the picture and of open pages follow what is known.
fn follow(model: &mut Model) {
    model.rows = rows(model);
    let last = model.rows.len().saturating_sub(1);
    model.home.row = model.home.row.min(last);
    home::keep_in_sight(model);
    page::refresh(model);
}

fn pressed(model: &mut Model, key: Key) -> Vec<Cmd> {
    model.toast = None;
    let here = place(model);
    let order = find(here, key);
    match order {
        Some(Order::Redraw) => return vec![Cmd::Redraw],
        Some(Order::Suspend) => return vec![Cmd::Suspend],
        _ => {}
    }
    match here {
        Place::Home => return at_home(model, key, order),
        Place::Filter => filtering(model, key, order),
        Place::Form | Place::Page if order == Some(Order::Help) => help(model),
        Place::Form => {
            let cmds = form::key(model, key, order);
            present::refresh(model);
            return cmds;
        }
        Place::Pick => {
            pick::key(model, key, order);
            present::refresh(model);
        }
        Place::Page => page::key(model, order),
        Place::Confirm if matches!(model.layers.last(), Some(Layer::Leave(_))) => {
            return leave::key(model, order);
        }
        Place::Confirm | Place::Progress | Place::Outcome => {
            return operation::key(model, key, order);
        }
    }
    Vec::new()
}

/// The keys, first those of the form in front.
fn help(model: &mut Model) {
    let form = match model.layers.last() {
        Some(Layer::Form(form)) => Some(Box::new(form.clone())),
        Some(Layer::Page(page)) if matches!(page.kind, Kind::Help(_)) => return,
        _ => None,
    };
    page::open(model, Kind::Help(form));
}

fn at_home(model: &mut Model, key: Key, order: Option<Order>) -> Vec<Cmd> {
    if let Key::Char(digit @ '0'..='9') = key {
        number(model, digit);
        return Vec::new();
    }
    model.home.number.clear();
    match order {
        Some(
            Order::Up | Order::Down | Order::PageUp | Order::PageDown | Order::First | Order::Last,
        ) => {
            home::step(model, order);
        }
        Some(Order::Next) => {
            model.home.pane = match model.home.pane {
                Pane::Menu => Pane::Picture,
                Pane::Picture => Pane::Menu,
            };
        }
        Some(Order::Open) if model.home.pane == Pane::Picture => return open_marked(model),
        Some(Order::Open) => return open(model, ENTRIES[model.home.entry]),
        Some(Order::Filter) => model.home.filtering = true,
        Some(Order::Back) => {
            model.home.filter.clear();
            follow(model);
        }
        Some(Order::Alarms) => page::open(model, Kind::Alarms),
        Some(Order::Log) => page::open(model, Kind::Log),
        Some(Order::Help) => help(model),
        Some(Order::History) => {
            page::open(model, Kind::History(None));
            return vec![Cmd::History];
        }
        Some(Order::Node) => return open_node(model),
        Some(Order::Operation) if model.operation.is_some() => model.layers.push(Layer::Operation),
        Some(Order::Quit) if model.is_working() => {
            model.layers.push(Layer::Leave(leave::Leave::default()));
        }
        Some(Order::Quit) => return vec![Cmd::Quit],
        _ => {
            let entry = ENTRIES.iter().position(|e| key == Key::Char(e.key));
            if let Some(at) = entry {
                model.home.entry = at;
                return open(model, ENTRIES[at]);
            }
        }
    }
    Vec::new()
}

/// Entries can be named by number: 1 and then 2 mark the twelfth.
fn number(model: &mut Model, digit: char) {
    model.home.pane = Pane::Menu;
    model.home.number.push(digit);
    let marked = |text: &str| {
        text.parse()
            .ok()
            .filter(|n| (1..=ENTRIES.len()).contains(n))
    };
    if marked(&model.home.number).is_none() {
        model.home.number = digit.to_string();
    }
    if let Some(n) = marked(&model.home.number) {
        model.home.entry = n - 1;
    }
}

fn open(model: &mut Model, entry: Entry) -> Vec<Cmd> {
    if let Some(why) = why_not(entry.id, model) {
        model.toast = Some(format!("Not now: {why}."));
        return Vec::new();
    }
    if entry.id == Id::ListClusters {
        page::open(model, Kind::Clusters);
        return Vec::new();
    }
    if entry.id == Id::ShowStatus {
        if let Some(name) = model
            .marked()
            .0
            .cloned()
            .filter(|_| model.home.pane == Pane::Picture)
        {
            page::open(model, Kind::Cluster(name));
            return Vec::new();
        }
        if let [only] = model.clusters.as_slice() {
            let name = only.name.clone();
            page::open(model, Kind::Cluster(name));
            return Vec::new();
        }
    }
    debug_assert!(entry.danger != Danger::None || entry.id == Id::ShowStatus);
    if let Some(form) = forms::form(entry.id, model) {
        model.layers.push(Layer::Form(form));
    }
    Vec::new()
}

fn open_marked(model: &mut Model) -> Vec<Cmd> {
    match model.marked() {
        (_, Some(_), _) => open_node(model),
        (Some(name), None, _) => {
            let name = name.clone();
            page::open(model, Kind::Cluster(name));
            Vec::new()
        }
        (None, None, _) => Vec::new(),
    }
}

fn open_node(model: &mut Model) -> Vec<Cmd> {
    let Some(name) = model.marked().1.cloned() else {
        model.toast = Some("Mark a node in the picture first (Tab).".to_owned());
        return Vec::new();
    };
    let known = model.system.as_ref().and_then(|s| s.node(&name)).cloned();
    page::open(model, Kind::Node(name, None));
    known.map(|n| Cmd::Facts(Box::new(n))).into_iter().collect()
}

fn filtering(model: &mut Model, key: Key, order: Option<Order>) {
    match (order, key) {
        (Some(Order::Open), _) => {
            model.home.filtering = false;
            model.home.pane = Pane::Picture;
        }
        (Some(Order::Back), _) => {
            model.home.filtering = false;
            model.home.filter.clear();
        }
        (Some(Order::Erase), _) => {
            model.home.filter.pop();
        }
        (Some(Order::EraseAll), _) => model.home.filter.clear(),
        (_, Key::Char(c)) if model.home.filter.chars().count() < LONGEST => {
            model.home.filter.push(c);
        }
        _ => return,
    }
    (model.home.row, model.home.top) = (0, 0);
    follow(model);
}
