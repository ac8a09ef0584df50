//! Colours, signs and tables that fit 80 columns.

use std::fmt::Write as _;

/// Widest line, in columns.
pub const WIDTH: usize = 80;

/// What the terminal can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Colours are welcome.
    pub color: bool,
    /// Signs beyond ASCII can be shown.
    pub unicode: bool,
}

/// How a cell is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As any text.
    #[default]
    Plain,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Out of order.
    Bad,
}

/// One cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

impl Cell {
    /// A cell with a tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl Style {
    /// A text in a tone.
    pub fn paint(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Dim => "2",
            Tone::Bold => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if self.color && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// The service is away from home.
    pub fn arrow(self) -> &'static str {
        if self.unicode { "\u{2192}" } else { "->" }
    }

    /// In order, out of order, not known.
    pub fn dot(self, tone: Tone) -> &'static str {
        match (self.unicode, tone) {
            (true, Tone::Good) => "\u{25cf}",
            (true, Tone::Bad) => "\u{25cb}",
            (true, _) => "\u{25cc}",
            (false, Tone::Good) => "*",
            (false, Tone::Bad) => "x",
            (false, _) => "?",
        }
    }

    /// Text fit for the terminal: without signs that it can't show.
    pub fn fit(self, text: &str) -> String {
        if self.unicode {
            text.to_owned()
        } else {
            text.chars()
                .map(|c| if c.is_ascii() { c } else { '?' })
                .collect()
        }
    }

    /// Rows as aligned lines, each with `indent` blanks before it and at most [`WIDTH`] wide: columns that
    /// are too wide are cut, the widest first.
    pub fn table(self, indent: usize, rows: &[Vec<Cell>]) -> String {
        let room = WIDTH.saturating_sub(indent);
        let widths = widths(rows, room, |text| text.chars().count());
        let mut out = String::new();
        for row in rows {
            let mut line = " ".repeat(indent);
            let mut owed = 0;
            for (cell, width) in row.iter().zip(&widths) {
                let text = cut(&self.fit(&cell.text), *width);
                let length = text.chars().count();
                // Blanks are written before the next text only, so that no line ends in any.
                if length > 0 {
                    line.push_str(&" ".repeat(owed));
                    line.push_str(&self.paint(&text, cell.tone));
                    owed = 0;
                }
                owed += width - length + 2;
            }
            let _ = writeln!(out, "{}", if line.trim().is_empty() { "" } else { &line });
        }
        out
    }

    /// A text broken at blanks into lines of at most [`WIDTH`], the first after `first`, the others after
    /// as many blanks.
    pub fn wrap(self, first: &str, text: &str, tone: Tone) -> String {
        let indent = first.chars().count();
        let room = WIDTH.saturating_sub(indent).max(20);
        let mut lines: Vec<String> = vec![String::new()];
        for word in self.fit(text).split_whitespace() {
            let last = lines.last_mut().expect("there is always one line");
            let used = last.chars().count();
            if used == 0 {
                *last = cut(word, room);
            } else if used + 1 + word.chars().count() <= room {
                last.push(' ');
                last.push_str(word);
            } else {
                lines.push(cut(word, room));
            }
        }
        let mut out = String::new();
        for (n, line) in lines.iter().enumerate() {
            let before = if n == 0 {
                first.to_owned()
            } else {
                " ".repeat(indent)
            };
            let _ = writeln!(out, "{before}{}", self.paint(line, tone));
        }
        out
    }
}

/// At most `width` signs; what is cut ends in `~`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('~');
    short
}

/// How old something is: `0.2 s`, `12 s`, `3 min`, `5 h`, `2 d`.
pub fn age(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// Seconds since 1970 as `2026-05-01 12:00:00 UTC`.
pub fn date(seconds: u64) -> String {
    // humantime refuses years beyond 9999 by panicking.
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(253_402_300_799));
    let text = humantime::format_rfc3339_seconds(at).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

/// How wide the columns of a table are that has so much room, with two blanks between them: the widest gives way first,
/// down to four. `measure` says how many columns of the terminal a text takes.
pub fn widths(rows: &[Vec<Cell>], room: usize, measure: impl Fn(&str) -> usize) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; count];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = measure(&cell.text).max(*widest);
        }
    }
    let room = room.saturating_sub(2 * count.saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max_by_key(|w| **w).filter(|w| **w > 4) else {
            break;
        };
        *widest -= 1;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_to_eighty_columns() {
        let rows = vec![
            vec!["a".into(), "x".repeat(60).into(), "y".repeat(40).into()],
            vec!["bb".into(), Cell::default(), "z".into()],
        ];
        let text = Style::default().table(2, &rows);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        assert!(text.contains('~') && !text.lines().any(|l| l.ends_with(' ')));
    }

    #[test]
    fn ages_and_dates_read_well() {
        assert_eq!(
            [0, 999, 12_345, 180_000, 7_200_000, 400_000_000].map(age),
            ["0.0 s", "0.9 s", "12 s", "3 min", "2 h", "4 d"]
        );
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert!(date(u64::MAX).starts_with("9999"));
    }
}
