//! Text in columns: a sign may take two of them, and what comes from other machines may be anything.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar;

use super::theme::Theme;
use crate::output::style::{Cell, Tone, widths};

/// One line in parts, each with its tone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<(String, Tone)>);

impl Text {
    /// A line in one tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self(vec![(text.into(), tone)])
    }

    /// A part more.
    #[must_use]
    pub fn with(mut self, text: impl Into<String>, tone: Tone) -> Self {
        self.0.push((text.into(), tone));
        self
    }

    /// As it is drawn.
    pub fn line(&self, theme: Theme) -> Line<'static> {
        let parts = self.0.iter();
        parts
            .map(|(text, tone)| Span::styled(theme.signs.fit(text), theme.tone(*tone)))
            .collect::<Vec<_>>()
            .into()
    }

    /// Cut where it is wider than that.
    #[must_use]
    pub fn fit(self, columns: usize) -> Self {
        let mut used = 0;
        let mut fitted = Self::default();
        for (part, tone) in self.0 {
            let part = cut(&part, columns.saturating_sub(used));
            used += width(&part);
            fitted = fitted.with(part, tone);
        }
        fitted
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| width(text)).sum()
    }
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// At most so many columns; what is cut ends in `~`.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 0;
    for c in text.chars() {
        let more = c.width().unwrap_or(0);
        if used + more + 1 > columns {
            break;
        }
        used += more;
        short.push(c);
    }
    if columns > 0 {
        short.push('~');
    }
    short
}

/// Exactly so many columns: cut, or with blanks behind.
pub fn pad(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns);
    let missing = columns.saturating_sub(width(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// A text broken at blanks into lines of at most `columns`, the first after `first`, the others after as
/// many blanks. A word that is too long is broken where the line ends.
pub fn wrap(first: &str, text: &str, tone: Tone, columns: usize) -> Vec<Text> {
    let indent = width(first);
    let room = columns.saturating_sub(indent).max(8);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one line");
        let used = width(last);
        if used > 0 && used + 1 + width(word) <= room {
            last.push(' ');
            last.push_str(word);
            continue;
        }
        if used > 0 {
            lines.push(String::new());
        }
        for c in word.chars() {
            let last = lines.last_mut().expect("there is always one line");
            if width(last) + c.width().unwrap_or(0) > room {
                lines.push(String::new());
            }
            lines.last_mut().expect("there is always one line").push(c);
        }
    }
    let before = " ".repeat(indent);
    let with = |(n, line): (usize, String)| {
        let head = if n == 0 { first } else { before.as_str() };
        Text::new(head, Tone::Plain).with(line, tone)
    };
    lines.into_iter().enumerate().map(with).collect()
}

/// Rows as aligned columns with two blanks between, at most `columns` wide together: the widest is cut first.
pub fn table(indent: usize, rows: &[Vec<Cell>], columns: usize) -> Vec<Text> {
    let widths = widths(rows, columns.saturating_sub(indent), width);
    let line = |row: &Vec<Cell>| {
        let mut line = Text::new(" ".repeat(indent), Tone::Plain);
        for (n, (cell, columns)) in row.iter().zip(&widths).enumerate() {
            let last = n + 1 == row.len();
            let text = if last {
                cut(&cell.text, *columns)
            } else {
                pad(&cell.text, columns + 2)
            };
            line = line.with(text, cell.tone);
        }
        line
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_signs_take_two_columns() {
        assert_eq!(cut("日本語です", 7), "日本語~");
        assert_eq!(cut("日本語です", 6), "日本~");
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(pad("日本語です", 4), "日~ ");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn text_is_wrapped_and_nothing_is_lost() {
        let lines = wrap(
            "do: ",
            "take the node out 日本語日本語日本語日本語",
            Tone::Plain,
            16,
        );
        assert!(lines.iter().all(|l| l.width() <= 16), "{lines:?}");
        let all = lines.iter().flat_map(|l| &l.0);
        let all: String = all.flat_map(|(text, _)| text.split_whitespace()).collect();
        assert_eq!(all, "do:takethenodeout日本語日本語日本語日本語");
    }
}
