//! Forms and lists to choose from.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::layers::form::{Field, Form, Kind};
use super::super::layers::pick::Pick;
use super::super::model::Model;
use super::super::text::{Text, cut, pad, width, wrap};
use super::put;
use crate::output::style::Tone;

/// Columns of the fields' names.
const LABEL: usize = 9;

/// A line, whether it belongs to the field with the keys, and where the cursor stands in it.
struct Line {
    text: Text,
    here: bool,
    cursor: Option<usize>,
}

/// Draws a form; where the cursor is.
pub(super) fn draw(
    model: &Model,
    form: &Form,
    area: Rect,
    buffer: &mut Buffer,
) -> Option<(u16, u16)> {
    let columns = usize::from(area.width);
    put(
        buffer,
        area,
        0,
        &Text::new(form.title.clone(), Tone::Bold),
        model,
    );
    let mut lines = Vec::new();
    for (at, field) in form.fields.iter().enumerate() {
        field_lines(model, field, at == form.focus, columns, &mut lines);
    }
    lines.push(Line {
        text: Text::default(),
        here: false,
        cursor: None,
    });
    let on_button = form.focus == form.fields.len();
    let button = format!("{}[ Go on ]", model.theme.marker(on_button));
    lines.push(Line {
        text: Text::new(button, Tone::Bold),
        here: on_button,
        cursor: None,
    });
    if let Some(wrong) = &form.wrong {
        let said = wrap("  ", wrong, Tone::Bad, columns);
        lines.extend(said.into_iter().map(|text| Line {
            text,
            here: on_button,
            cursor: None,
        }));
    } else if on_button {
        let said = wrap(
            "  ",
            "shows what comes of it; nothing is done yet",
            Tone::Dim,
            columns,
        );
        lines.extend(said.into_iter().map(|text| Line {
            text,
            here: true,
            cursor: None,
        }));
    }
    place(model, &lines, area, buffer)
}

/// Puts the lines below the heading, with those of the focus in sight.
fn place(model: &Model, lines: &[Line], area: Rect, buffer: &mut Buffer) -> Option<(u16, u16)> {
    let height = usize::from(area.height).saturating_sub(2);
    let last = lines.iter().rposition(|l| l.here).unwrap_or(0);
    let top = (last + 1).saturating_sub(height);
    let mut cursor = None;
    for (row, line) in (2..area.height).zip(&lines[top..]) {
        put(buffer, area, row, &line.text, model);
        if let Some(column) = line.cursor {
            let column = u16::try_from(column)
                .unwrap_or(0)
                .min(area.width.saturating_sub(1));
            cursor = Some((area.x + column, area.y + row));
        }
    }
    cursor
}

fn field_lines(model: &Model, field: &Field, here: bool, columns: usize, lines: &mut Vec<Line>) {
    let marker = model.theme.marker(here);
    let tone = if here { Tone::Bold } else { Tone::Plain };
    let head = Text::new(format!("{marker}{} ", pad(field.label, LABEL)), tone);
    let room = columns.saturating_sub(head.width() + 3);
    match &field.kind {
        Kind::Text { value, .. } => {
            // The end of a long text is what is being typed.
            let mut shown = value.as_str();
            while width(shown) > room {
                shown = &shown[shown.chars().next().map_or(1, char::len_utf8)..];
            }
            let cursor = here.then(|| head.width() + 1 + width(shown));
            let (shown, shade) = if value.is_empty() {
                (field.present.as_str(), Tone::Dim)
            } else {
                (shown, Tone::Plain)
            };
            let text = head
                .with("[", Tone::Dim)
                .with(pad(shown, room), shade)
                .with("]", Tone::Dim);
            lines.push(Line { text, here, cursor });
        }
        Kind::Choice { options, at } => {
            let label = options
                .get(*at)
                .map_or("nothing to choose", |c| c.label.as_str());
            let (first, text) = match (options.len(), here) {
                (0 | 1, _) | (_, false) => (" ", label.to_owned()),
                _ => ("< ", format!("{label} > ({}/{})", at + 1, options.len())),
            };
            let name = head.0[0].0.trim_end().to_owned();
            let first = format!("{}{first}", pad(&name, LABEL + 2));
            // What is chosen is shown whole, however little room there is.
            let mut said = wrap(&first, &text, Tone::Plain, columns);
            said[0].0[0].1 = tone;
            lines.extend(said.into_iter().map(|text| Line {
                text,
                here,
                cursor: None,
            }));
        }
        Kind::Services(specs) => {
            let button = if specs.is_empty() {
                " (none yet: Enter adds one)"
            } else {
                " (Enter adds one more)"
            };
            let text = head.with(cut(button, room + 2), Tone::Dim);
            lines.push(Line {
                text,
                here,
                cursor: None,
            });
            for spec in specs {
                let said = wrap("   ", spec, Tone::Plain, columns);
                lines.extend(said.into_iter().map(|text| Line {
                    text,
                    here,
                    cursor: None,
                }));
            }
        }
    }
    let below = match &field.wrong {
        Some(wrong) => wrap("   ", wrong, Tone::Bad, columns),
        None if here => wrap("   ", &field.help, Tone::Dim, columns),
        None => return,
    };
    lines.extend(below.into_iter().map(|text| Line {
        text,
        here,
        cursor: None,
    }));
}

/// Draws a list to choose from; where the cursor is.
pub(super) fn draw_pick(model: &Model, pick: &Pick, area: Rect, buffer: &mut Buffer) -> (u16, u16) {
    let fitting = pick.fitting();
    let columns = usize::from(area.width);
    let head = format!("{}: {} ", pick.title, fitting.len());
    put(buffer, area, 0, &Text::new(head, Tone::Bold), model);
    let filter = cut(&pick.filter, columns.saturating_sub(8));
    let cursor = 6 + u16::try_from(width(&filter)).unwrap_or(0);
    let line = Text::new("Find: ", Tone::Dim).with(filter, Tone::Plain);
    put(buffer, area, 1, &line, model);
    let height = usize::from(area.height).saturating_sub(2);
    let top = (pick.at + 1).saturating_sub(height);
    for (row, (n, (_, choice))) in (2..area.height).zip(fitting.iter().enumerate().skip(top)) {
        let marked = n == pick.at;
        let text = format!(
            "{} {}",
            model.theme.marker(marked),
            cut(&choice.label, columns.saturating_sub(2))
        );
        let wide = u16::try_from(width(&text))
            .unwrap_or(area.width)
            .min(area.width);
        put(buffer, area, row, &Text::new(text, Tone::Plain), model);
        if marked {
            let line = Rect {
                y: area.y + row,
                height: 1,
                width: wide,
                ..area
            };
            buffer.set_style(line, model.theme.selected());
        }
    }
    (
        area.x + cursor.min(area.width.saturating_sub(1)),
        area.y + 1,
    )
}
