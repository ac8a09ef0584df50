//! The home screen: the entries, and all clusters as a picture.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::keys::Order;
use super::super::menu::{ENTRIES, Entry, why_not};
use super::super::model::{Model, Pane};
use super::super::text::{Text, cut};
use super::{body, picture, put};
use crate::output::style::Tone;

/// Columns of the entries.
const MENU: u16 = 36;
/// Columns of a row of the picture that are marked.
const NAME: u16 = 16;
/// From this width on both panes are shown.
const BOTH: u16 = 76;

/// Draws both panes, or the one with the keys where there is no room for both.
pub(super) fn draw(model: &Model, buffer: &mut Buffer) {
    let (menu, picture) = panes(model);
    if let Some(area) = menu {
        draw_menu(model, area, buffer);
    }
    if let Some(area) = picture {
        if area.x > 0 {
            rule(model, area.x - 2, buffer);
        }
        draw_picture(model, area, buffer);
    }
}

/// Draws the entries where there is room beside something else, and says where that goes.
pub(super) fn draw_menu_beside(model: &Model, buffer: &mut Buffer) -> Rect {
    let whole = body(model);
    if model.size.0 < BOTH {
        return whole;
    }
    draw_menu(
        model,
        Rect {
            width: MENU,
            ..whole
        },
        buffer,
    );
    rule(model, MENU, buffer);
    beside(whole)
}

fn beside(whole: Rect) -> Rect {
    let from = MENU + 2;
    Rect {
        x: from,
        width: whole.width - from,
        ..whole
    }
}

fn panes(model: &Model) -> (Option<Rect>, Option<Rect>) {
    let whole = body(model);
    if model.size.0 >= BOTH {
        return (
            Some(Rect {
                width: MENU,
                ..whole
            }),
            Some(beside(whole)),
        );
    }
    match model.home.pane {
        Pane::Menu if !model.home.filtering => (Some(whole), None),
        _ => (None, Some(whole)),
    }
}

fn rule(model: &Model, column: u16, buffer: &mut Buffer) {
    let area = body(model);
    let line = Text::new(model.theme.rule(), Tone::Plain);
    for row in 0..area.height {
        put(
            buffer,
            Rect {
                x: column,
                width: 1,
                ..area
            },
            row,
            &line,
            model,
        );
    }
}

fn draw_menu(model: &Model, area: Rect, buffer: &mut Buffer) {
    let has_keys = model.home.pane == Pane::Menu && model.layers.is_empty();
    let mut lines: Vec<(Text, bool)> = Vec::new();
    let mut marked = 0;
    for (at, entry) in ENTRIES.iter().enumerate() {
        if !entry.group.is_empty() {
            lines.push((Text::new(format!(" {}", entry.group), Tone::Bold), false));
        }
        if at == model.home.entry {
            marked = lines.len();
        }
        lines.push((
            entry_line(model, at, entry),
            at == model.home.entry && has_keys,
        ));
    }
    let height = usize::from(area.height);
    let top = (marked + 2)
        .saturating_sub(height)
        .min(lines.len().saturating_sub(height));
    for (row, (line, marked)) in (0..).zip(lines.into_iter().skip(top).take(height)) {
        put(buffer, area, row, &line, model);
        if marked {
            let width = u16::try_from(line.width())
                .unwrap_or(area.width)
                .min(area.width);
            let row = Rect {
                y: area.y + row,
                height: 1,
                width,
                ..area
            };
            buffer.set_style(row, model.theme.selected());
        }
    }
}

fn entry_line(model: &Model, at: usize, entry: &Entry) -> Text {
    let marked = at == model.home.entry;
    // Before anybody has answered nothing is known against any; else each would be sent twice.
    let asking = !model.answered && model.no_entry.is_none();
    let (key, tone) = match why_not(entry.id, model).filter(|_| !asking) {
        // Without colours too it is seen that there is no key for it now.
        Some(_) => ('-', Tone::Dim),
        None => (entry.key, Tone::Plain),
    };
    let marker = model.theme.marker(marked);
    Text::new(format!("{marker}{:>2} {key} {}", at + 1, entry.label), tone)
}

fn draw_picture(model: &Model, area: Rect, buffer: &mut Buffer) {
    if model.rows.is_empty() {
        let said = match (
            &model.no_entry,
            model.answered,
            model.home.filter.is_empty(),
        ) {
            (_, _, false) => "nothing has that text in its name or address",
            (Some(_), ..) => "nobody answers; asking again",
            (None, false, _) => "asking...",
            (None, true, _) => "no nodes and no clusters yet",
        };
        put(buffer, area, 0, &Text::new(said, Tone::Dim), model);
        return;
    }
    let has_keys = model.home.pane == Pane::Picture && model.layers.is_empty();
    let shown = model.rows.iter().enumerate().skip(model.home.top);
    for (row, (at, content)) in (0..area.height).zip(shown) {
        let marked = at == model.home.row && has_keys;
        let line = Text::new(model.theme.marker(marked), Tone::Plain);
        let mut line = picture::row(model, *content, usize::from(area.width) - 1)
            .0
            .into_iter()
            .fold(line, |line, (text, tone)| line.with(text, tone));
        if row + 1 == area.height && at + 1 < model.rows.len() {
            let more = format!(" {} more below", model.rows.len() - at);
            line = Text::new(cut(&more, usize::from(area.width)), Tone::Dim);
        }
        put(buffer, area, row, &line, model);
        if marked {
            // The name is enough to be seen, and a row is sent again twice with each step.
            let width = area.width.min(NAME);
            let row = Rect {
                y: area.y + row,
                height: 1,
                width,
                ..area
            };
            buffer.set_style(row, model.theme.selected());
        }
    }
}

/// A step in the pane with the keys.
pub fn step(model: &mut Model, order: Option<Order>) {
    let height = usize::from(body(model).height);
    let (at, count) = match model.home.pane {
        Pane::Menu => (&mut model.home.entry, ENTRIES.len()),
        Pane::Picture => (&mut model.home.row, model.rows.len()),
    };
    let last = count.saturating_sub(1);
    *at = match order {
        Some(Order::Up) => at.saturating_sub(1),
        Some(Order::Down) => (*at + 1).min(last),
        Some(Order::PageUp) => at.saturating_sub(height.saturating_sub(1)),
        Some(Order::PageDown) => (*at + height.saturating_sub(1)).min(last),
        Some(Order::First) => 0,
        Some(Order::Last) => last,
        _ => *at,
    };
    keep_in_sight(model);
}

/// Moves the picture so that the marked row is on the screen, and not under the line that says what is below.
pub fn keep_in_sight(model: &mut Model) {
    let height = usize::from(body(model).height).max(2);
    let (row, rows) = (model.home.row, model.rows.len());
    let seen = if rows > height { height - 1 } else { height };
    let top = model.home.top.min(rows.saturating_sub(height)).min(row);
    model.home.top = if row >= rows.saturating_sub(1) {
        rows.saturating_sub(height)
    } else {
        top.max((row + 1).saturating_sub(seen))
    };
}
