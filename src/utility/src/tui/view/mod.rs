//! The model as a frame. Pure: the same model, the same cells.

mod form;
pub mod home;
mod operation;
pub mod pages;
pub mod picture;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::keys::hints;
use super::layers::{Layer, place};
use super::menu::{ENTRIES, why_not};
use super::model::{Age, Cluster, Model, Pane};
use super::text::{Text, cut, pad, width};
use crate::output::status::what_now;
use crate::output::style::{Tone, age};

/// Smallest window that can show the menu: columns, rows.
pub const SMALLEST: (u16, u16) = (60, 16);
/// Rows above the body and below it.
const ABOVE: u16 = 1;
const BELOW: u16 = 3;

/// Where the body is.
pub fn body(model: &Model) -> Rect {
    let (columns, rows) = model.size;
    Rect::new(0, ABOVE, columns, rows.saturating_sub(ABOVE + BELOW))
}

/// Draws everything.
pub fn view(model: &Model, frame: &mut Frame<'_>) {
    let (columns, rows) = model.size;
    let area = frame.area();
    if columns < SMALLEST.0 || rows < SMALLEST.1 {
        too_small(model, frame.buffer_mut());
        return;
    }
    // The window may have changed since the model was told.
    if area.width < columns || area.height < rows {
        return;
    }
    let buffer = frame.buffer_mut();
    title(model, buffer);
    let cursor = match model.layers.last() {
        Some(Layer::Page(page)) => {
            pages::draw(model, page, buffer);
            None
        }
        Some(Layer::Operation) => operation::draw(model, buffer),
        Some(Layer::Leave(leave)) => {
            home::draw(model, buffer);
            operation::draw_leave(model, *leave, buffer);
            None
        }
        Some(Layer::Form(form)) => {
            let side = home::draw_menu_beside(model, buffer);
            form::draw(model, form, side, buffer)
        }
        Some(Layer::Pick(pick)) => {
            let side = home::draw_menu_beside(model, buffer);
            Some(form::draw_pick(model, pick, side, buffer))
        }
        None => {
            home::draw(model, buffer);
            None
        }
    };
    help(model, buffer);
    now(model, buffer);
    let cursor = hint_line(model, buffer).or(cursor);
    if let Some(at) = cursor {
        frame.set_cursor_position(at);
    }
}

/// A line of text at a place, cut at the margin of `area`.
fn put(buffer: &mut Buffer, area: Rect, row: u16, text: &Text, model: &Model) {
    if row < area.height {
        buffer.set_line(area.x, area.y + row, &text.line(model.theme), area.width);
    }
}

fn too_small(model: &Model, buffer: &mut Buffer) {
    let area = buffer.area;
    let (columns, rows) = SMALLEST;
    let said = format!(
        "too small: {}x{}, needed {columns}x{rows}",
        model.size.0, model.size.1
    );
    for (row, line) in (0..).zip([said.as_str(), "q ends"]) {
        let line = cut(line, usize::from(area.width));
        put(buffer, area, row, &Text::new(line, Tone::Plain), model);
    }
}

fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

fn title(model: &Model, buffer: &mut Buffer) {
    let mut line = Text::new(" Backstay", Tone::Bold);
    if let Some(system) = &model.system {
        let counts = format!(
            "  {}, {}",
            count(system.clusters.len(), "cluster"),
            count(system.nodes.len(), "node")
        );
        line = line.with(counts, Tone::Plain);
    }
    let (bad, other) = model.alarms();
    if bad + other > 0 {
        let tone = if bad > 0 { Tone::Bad } else { Tone::Warn };
        line = line
            .with("  ", Tone::Plain)
            .with(count(bad + other, "alarm"), tone);
    }
    if model.is_working() && !matches!(model.layers.last(), Some(Layer::Operation)) {
        line = line.with("  (o: an operation goes on)", Tone::Warn);
    }
    let (fresh, tone) = freshness(model);
    let columns = usize::from(model.size.0);
    let room = columns.saturating_sub(line.width() + 2);
    let fresh = cut(&fresh, room);
    let blanks = columns.saturating_sub(line.width() + width(&fresh) + 1);
    line = line.with(" ".repeat(blanks), Tone::Plain).with(fresh, tone);
    put(buffer, Rect::new(0, 0, model.size.0, 1), 0, &line, model);
}

/// U7: how old the picture is.
fn freshness(model: &Model) -> (String, Tone) {
    if let (Some(_), false) = (
        &model.no_entry,
        model.clusters.iter().any(|c| c.known(model.now).is_some()),
    ) {
        return ("nobody answers".to_owned(), Tone::Bad);
    }
    let ages: Vec<Age> = model.clusters.iter().map(|c| c.age(model.now)).collect();
    let unknown = ages.iter().filter(|a| **a == Age::Unknown).count();
    let oldest = ages.iter().filter_map(|a| match a {
        Age::Old(ms) => Some(*ms),
        _ => None,
    });
    match (oldest.max(), unknown) {
        (_, n) if n > 0 && model.answered => {
            (format!("{} unknown", count(n, "cluster")), Tone::Bad)
        }
        (Some(ms), _) => (format!("{} old", age(ms / 1000 * 1000)), Tone::Warn),
        _ if model.answered => ("live".to_owned(), Tone::Good),
        _ => ("asking...".to_owned(), Tone::Dim),
    }
}

/// What the marked entry or row means.
fn help(model: &Model, buffer: &mut Buffer) {
    let line = match (&model.toast, model.layers.last(), model.home.pane) {
        (Some(toast), ..) => Text::new(toast.clone(), Tone::Warn),
        (None, Some(_), _) => return,
        (None, None, Pane::Menu) => {
            let entry = ENTRIES[model.home.entry];
            match why_not(entry.id, model) {
                Some(why) => Text::new(format!("Not now: {why}."), Tone::Warn),
                None => Text::new(entry.help, Tone::Plain),
            }
        }
        (None, None, Pane::Picture) => picture::detail(model),
    };
    let area = Rect::new(1, model.size.1 - 3, model.size.0 - 2, 1);
    put(buffer, area, 0, &line.fit(usize::from(area.width)), model);
}

fn now(model: &Model, buffer: &mut Buffer) {
    let views: Vec<_> = model
        .clusters
        .iter()
        .filter_map(|c| c.known(model.now))
        .collect();
    let unseen = model.clusters.len() > views.len();
    let (text, tone) = match &model.no_entry {
        Some(failure) if views.is_empty() => {
            let hint = failure
                .hint
                .as_deref()
                .and_then(|h| h.lines().next())
                .unwrap_or_default();
            (format!("{}; {hint}", failure.message), Tone::Bad)
        }
        _ if !model.answered => ("asking the nodes how things are".to_owned(), Tone::Plain),
        _ if is_silent(model) => (unanswered(model), Tone::Warn),
        _ => what_now(&views, unseen, model.system.as_ref()),
    };
    let columns = usize::from(model.size.0) - 2;
    let line = Text::new("Now: ", Tone::Bold).with(cut(&text, columns - 5), tone);
    put(
        buffer,
        Rect::new(1, model.size.1 - 2, model.size.0 - 2, 1),
        0,
        &line,
        model,
    );
}

/// U7: what is old can't say that all is well. Alarms stay what they are.
fn is_silent(model: &Model) -> bool {
    let (bad, other) = model.alarms();
    let old = |c: &Cluster| matches!(c.age(model.now), Age::Old(_));
    bad + other == 0 && model.clusters.iter().any(old)
}

fn unanswered(model: &Model) -> String {
    let old = model
        .clusters
        .iter()
        .filter_map(|c| match c.age(model.now) {
            Age::Old(ms) => Some((ms, &c.name)),
            _ => None,
        });
    old.max().map_or_else(String::new, |(ms, name)| {
        let old = age(ms / 1000 * 1000);
        format!("no answer from {name} for {old}; its next node is asked")
    })
}

/// The keys; where the filter is being typed, that.
fn hint_line(model: &Model, buffer: &mut Buffer) -> Option<(u16, u16)> {
    let row = model.size.1 - 1;
    let area = Rect::new(1, row, model.size.0 - 2, 1);
    let mut line = Text::default();
    let mut cursor = None;
    if model.home.filtering && model.layers.is_empty() {
        let room = usize::from(area.width) / 2;
        line = line
            .with("Find: ", Tone::Bold)
            .with(cut(&model.home.filter, room), Tone::Plain);
        cursor = Some((area.x + u16::try_from(line.width()).unwrap_or(0), row));
        line = line.with("   ", Tone::Plain);
    }
    for (key, hint) in hints(place(model)) {
        let part = format!("{key} {hint}  ");
        if line.width() + width(&part) <= usize::from(area.width) {
            line = line
                .with(format!("{key} "), Tone::Bold)
                .with(pad(hint, width(hint) + 2), Tone::Dim);
        }
    }
    put(buffer, area, 0, &line, model);
    cursor
}
