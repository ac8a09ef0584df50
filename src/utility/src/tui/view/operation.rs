//! An operation: consequences, question, progress, result.

use backstay_core::plan::Plan;
use backstay_wire::rpc::clean;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::layers::leave::Leave;
use super::super::layers::operation::{Operation, Outcome, Phase};
use super::super::model::Model;
use super::super::text::{Text, cut, wrap};
use super::{body, put};
use crate::output::plan::{changes, kind_word};
use crate::output::style::Tone;

/// Lines of the question and its buttons.
const QUESTION: u16 = 3;

/// Draws the operation; where the cursor is.
pub(super) fn draw(model: &Model, buffer: &mut Buffer) -> Option<(u16, u16)> {
    let operation = model.operation.as_ref()?;
    let whole = body(model);
    let area = Rect {
        x: 1,
        width: whole.width - 2,
        ..whole
    };
    let columns = usize::from(area.width);
    put(
        buffer,
        area,
        0,
        &Text::new(cut(&operation.title, columns), Tone::Bold),
        model,
    );
    let (lines, foot) = match &operation.phase {
        Phase::Working if operation.steps.iter().any(|s| s.begun) => {
            (progress(model, operation, columns), 0)
        }
        Phase::Working => (notes(operation, columns), 0),
        Phase::Asking(_) => (consequences(operation, columns), QUESTION),
        Phase::Over(outcome) => (result(model, operation, outcome, columns), 0),
    };
    let below = area.height - foot;
    let room = Rect {
        y: area.y + 1,
        height: below.saturating_sub(1),
        ..area
    };
    // What an operation says last is what counts while it works.
    let last = lines.len().saturating_sub(usize::from(room.height));
    let top = if matches!(operation.phase, Phase::Working) {
        last
    } else {
        operation.scroll.min(last)
    };
    for (row, line) in (0..room.height).zip(&lines[top..]) {
        put(buffer, room, row, line, model);
    }
    if top < last && foot > 0 {
        let more = format!("Down shows {} more", last - top);
        let row = room.height.saturating_sub(1);
        put(
            buffer,
            room,
            row,
            &Text::new(super::pad(&more, columns), Tone::Warn),
            model,
        );
    }
    let Phase::Asking(question) = &operation.phase else {
        return None;
    };
    ask(
        model,
        operation,
        question,
        Rect {
            y: area.y + below,
            height: foot,
            ..area
        },
        buffer,
    )
}

/// U5: what will be done and what comes of it; before there is a plan, what was found.
fn consequences(operation: &Operation, columns: usize) -> Vec<Text> {
    let Some(plan) = &operation.plan else {
        return notes(operation, columns);
    };
    let mut lines = plan_lines(plan, columns);
    for check in &operation.checks {
        let text = format!("{} ({}, {})", check.sentence, check.rule, check.name);
        lines.extend(wrap("  warning   ", &clean(&text), Tone::Bad, columns));
    }
    lines
}

fn plan_lines(plan: &Plan, columns: usize) -> Vec<Text> {
    let mut lines = Vec::new();
    for consequence in &plan.consequences {
        let (word, tone) = kind_word(consequence.kind);
        lines.extend(wrap(
            &format!("  {word:<9} "),
            &clean(&consequence.sentence),
            tone,
            columns,
        ));
    }
    for difference in changes(plan) {
        lines.extend(wrap(
            "  change    ",
            &clean(&difference.to_string()),
            Tone::Plain,
            columns,
        ));
    }
    for step in &plan.steps {
        lines.extend(wrap(
            "  step      ",
            &clean(&step.sentence),
            Tone::Dim,
            columns,
        ));
    }
    lines
}

fn notes(operation: &Operation, columns: usize) -> Vec<Text> {
    let mut lines: Vec<Text> = Vec::new();
    for note in &operation.notes {
        lines.extend(wrap("  ", &clean(note), Tone::Plain, columns));
    }
    if lines.is_empty() {
        lines.push(Text::new(
            "  asking every node how things are...",
            Tone::Dim,
        ));
    }
    lines
}

/// Each step with the nodes that have done it, then what was said last.
fn progress(model: &Model, operation: &Operation, columns: usize) -> Vec<Text> {
    let mut lines = Vec::new();
    let steps = operation.plan.iter().flat_map(|p| &p.steps);
    for (step, how) in steps.zip(&operation.steps) {
        let all = step.on.iter().all(|n| how.done.contains(n));
        let (sign, tone) = match (how.begun, how.over || all && !step.on.is_empty()) {
            (_, true) => ("done", Tone::Good),
            (true, false) => ("now ", Tone::Bold),
            (false, false) => ("then", Tone::Dim),
        };
        let first = format!("  {sign} ");
        let mut said = wrap(&first, &clean(&step.sentence), tone, columns);
        if how.begun && !step.on.is_empty() {
            let dot = |tone| model.theme.signs.dot(tone);
            let nodes: Vec<String> = step
                .on
                .iter()
                .map(|n| match (how.done.contains(n), how.behind.contains(n)) {
                    (true, _) => format!("{} {n}", dot(Tone::Good)),
                    (false, true) => format!("{} {n} later", dot(Tone::Bad)),
                    (false, false) => format!("{} {n}", dot(Tone::Warn)),
                })
                .collect();
            said.extend(wrap("       ", &nodes.join("  "), Tone::Plain, columns));
        }
        lines.extend(said);
    }
    lines.push(Text::default());
    if operation.stopping {
        let said = "stopping before the next step; what was committed stays and goes on by itself";
        lines.extend(wrap("  ", said, Tone::Warn, columns));
    } else if let Some(note) = operation.notes.last() {
        lines.extend(wrap("  ", &clean(note), Tone::Plain, columns));
    }
    lines
}

/// One sentence that is true now, then everything else.
fn result(model: &Model, operation: &Operation, outcome: &Outcome, columns: usize) -> Vec<Text> {
    let tone = if outcome.well { Tone::Good } else { Tone::Bad };
    let mut lines = vec![Text::default()];
    lines.extend(wrap("", &clean(&outcome.sentence), tone, columns));
    for problem in &outcome.problems {
        let text = format!("{}: {}; {}", problem.place, problem.what, problem.mend);
        lines.extend(wrap(
            &format!("  {:<3} ", problem.rule.to_string()),
            &clean(&text),
            Tone::Plain,
            columns,
        ));
    }
    if let Some(hint) = &outcome.hint {
        for hint in hint.lines() {
            lines.extend(wrap("  hint: ", &clean(hint), Tone::Plain, columns));
        }
    }
    lines.push(Text::default());
    if !outcome.may_ignore.is_empty() {
        let names = outcome.may_ignore.join(", ");
        let text =
            format!("w goes on in spite of: {names}. What comes of it is shown again first.");
        lines.extend(wrap("  ", &text, Tone::Bad, columns));
        lines.push(Text::default());
    }
    if outcome.again {
        let text = "p plans it anew, on what there is now. What comes of it is shown first.";
        lines.extend(wrap("  ", text, Tone::Bold, columns));
        lines.push(Text::default());
    }
    let head = if outcome.well {
        "The same by command:"
    } else {
        "To do it by command:"
    };
    lines.extend(wrap("", head, Tone::Dim, columns));
    lines.extend(wrap(
        "  ",
        &operation.command(&model.options),
        Tone::Plain,
        columns,
    ));
    lines
}

fn ask(
    model: &Model,
    operation: &Operation,
    question: &str,
    area: Rect,
    buffer: &mut Buffer,
) -> Option<(u16, u16)> {
    let columns = usize::from(area.width);
    put(
        buffer,
        area,
        0,
        &Text::new(cut(question, columns), Tone::Bold),
        model,
    );
    let mut cursor = None;
    if let Some(name) = &operation.to_type {
        let before = Text::new(format!("Type {name} to go on: "), Tone::Bad);
        let column = u16::try_from(before.width() + operation.typed.len()).unwrap_or(0);
        cursor = Some((area.x + column.min(area.width - 1), area.y + 1));
        let tone = if operation.is_typed() {
            Tone::Good
        } else {
            Tone::Plain
        };
        put(
            buffer,
            area,
            1,
            &before.with(operation.typed.clone(), tone),
            model,
        );
    }
    let go = if operation.is_typed() {
        Tone::Bad
    } else {
        Tone::Dim
    };
    buttons(
        model,
        ["Cancel", "Go on"],
        operation.go,
        go,
        Rect {
            y: area.y + 2,
            ..area
        },
        buffer,
    );
    cursor
}

/// Two buttons; the focus begins on the first, which does nothing.
fn buttons(
    model: &Model,
    names: [&str; 2],
    second: bool,
    danger: Tone,
    area: Rect,
    buffer: &mut Buffer,
) {
    let mut column = area.x;
    for (name, marked, tone) in [(names[0], !second, Tone::Plain), (names[1], second, danger)] {
        let text = Text::new(format!("{}[ {name} ]", model.theme.marker(marked)), tone);
        let width = u16::try_from(text.width()).unwrap_or(0);
        let place = Rect {
            x: column,
            width: area.width.min(width),
            height: 1,
            ..area
        };
        put(buffer, place, 0, &text, model);
        if marked {
            buffer.set_style(place, model.theme.selected());
        }
        column += width + 2;
    }
}

/// Whether to end although something goes on.
pub(super) fn draw_leave(model: &Model, leave: Leave, buffer: &mut Buffer) {
    let whole = body(model);
    let title = model.operation.as_ref().map_or("", |o| o.title.as_str());
    let said = [
        format!("{title} still goes on."),
        "Not committed yet: it is given up, nothing changes.".to_owned(),
        "Committed: it takes effect without this menu.".to_owned(),
    ];
    let area = Rect {
        y: whole.y + whole.height - 5,
        height: 5,
        x: 1,
        width: whole.width - 2,
    };
    let blank = " ".repeat(usize::from(area.width));
    for row in 0..area.height {
        put(
            buffer,
            area,
            row,
            &Text::new(blank.clone(), Tone::Plain),
            model,
        );
    }
    for (row, line) in (1..).zip(said) {
        put(
            buffer,
            area,
            row,
            &Text::new(cut(&line, usize::from(area.width)), Tone::Bold),
            model,
        );
    }
    buttons(
        model,
        ["Stay", "End"],
        leave.go,
        Tone::Bad,
        Rect {
            y: area.y + 4,
            height: 1,
            ..area
        },
        buffer,
    );
}
