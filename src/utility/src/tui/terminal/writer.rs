//! Cells as bytes, as few as can be: the link may be slow.
//!
//! The commands are crossterm's. ratatui's own backends ask the terminal where its cursor is and reset every attribute
//! after every frame; crossterm 0.29's styles also drop REVERSED together with the colours when `NO_COLOR` is set.
//! Here nothing is ever asked, attributes are changed only where they differ, and blanks up to the margin are one
//! sequence.

use std::io::{self, Write};

use crossterm::Command;
use crossterm::cursor::{Hide, MoveRight, MoveTo, Show};
use crossterm::terminal::{self, Clear};
use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

/// Colours and attributes of a cell.
type Look = (Color, Color, Modifier);

const PLAIN: Look = (Color::Reset, Color::Reset, Modifier::empty());

/// Writes frames to a terminal.
#[derive(Debug)]
pub(in crate::tui) struct Writer<W: Write> {
    out: W,
    frame: Vec<u8>,
    size: Size,
    /// Where the terminal's cursor is, where that is known for certain.
    at: Option<(u16, u16)>,
    look: Look,
    cursor: Option<bool>,
}

impl<W: Write> Writer<W> {
    /// Nothing is known of the terminal yet but its size.
    pub(in crate::tui) fn new(out: W, size: Size) -> Self {
        Self {
            out,
            frame: Vec::new(),
            size,
            at: None,
            look: PLAIN,
            cursor: None,
        }
    }

    /// The window has another size.
    pub(in crate::tui) fn resize_to(&mut self, size: Size) {
        if self.size != size {
            (self.size, self.at) = (size, None);
        }
    }

    /// Whatever was on the terminal is not there any more.
    pub(in crate::tui) fn forget(&mut self) {
        self.at = None;
        self.cursor = None;
        self.frame.extend_from_slice(b"\x1b[m");
        self.look = PLAIN;
    }

    /// Adds one of crossterm's commands to the frame.
    fn say(&mut self, command: &impl Command) {
        let mut sequence = String::new();
        // Writing to a string cannot fail.
        let _ = command.write_ansi(&mut sequence);
        self.frame.extend_from_slice(sequence.as_bytes());
    }

    fn go(&mut self, x: u16, y: u16) {
        if self.at == Some((x, y)) {
            return;
        }
        match self.at {
            Some((from, row)) if row == y && from < x => self.say(&MoveRight(x - from)),
            _ => self.say(&MoveTo(x, y)),
        }
        self.at = Some((x, y));
    }

    fn paint(&mut self, look: Look) {
        if self.look == look {
            return;
        }
        let mut codes = String::new();
        let (fg, bg, modifier) = look;
        let mut add = |code: u8| {
            codes.push(';');
            codes.push_str(&code.to_string());
        };
        for (bit, code) in [
            (Modifier::BOLD, 1),
            (Modifier::DIM, 2),
            (Modifier::UNDERLINED, 4),
            (Modifier::REVERSED, 7),
        ] {
            if modifier.contains(bit) {
                add(code);
            }
        }
        if let Some(code) = code_of(fg) {
            add(30 + code);
        }
        if let Some(code) = code_of(bg) {
            add(40 + code);
        }
        // Without a first number it begins from nothing: 0 (ECMA-48 8.3.117).
        self.frame
            .extend_from_slice(format!("\x1b[{codes}m").as_bytes());
        self.look = look;
    }

    /// A run of changed cells on one row, beginning at `x`.
    fn run(&mut self, x: u16, y: u16, cells: &[&Cell]) {
        let right = usize::from(x) + cells.len() == usize::from(self.size.width);
        let blank = |c: &&&Cell| c.symbol() == " " && look_of(c) == PLAIN;
        let tail = cells.iter().rev().take_while(blank).count();
        // Erasing to the margin pays from four blanks on.
        let kept = if right && tail > 3 {
            cells.len() - tail
        } else {
            cells.len()
        };
        let mut column = x;
        for cell in &cells[..kept] {
            self.go(column, y);
            if !(cell.symbol() == " " && is_bare(look_of(cell)) && is_bare(self.look)) {
                self.paint(look_of(cell));
            }
            self.frame.extend_from_slice(cell.symbol().as_bytes());
            let width = u16::try_from(cell.symbol().width()).unwrap_or(1).max(1);
            column += width;
            // In the last column a terminal waits with the wrap, each in its own way.
            self.at = (column < self.size.width).then_some((column, y));
        }
        if kept < cells.len() {
            self.go(x + u16::try_from(kept).unwrap_or(0), y);
            self.paint(PLAIN);
            self.say(&Clear(terminal::ClearType::UntilNewLine));
        }
    }

    fn see_cursor(&mut self, seen: bool) {
        if self.cursor != Some(seen) {
            if seen {
                self.say(&Show);
            } else {
                self.say(&Hide);
            }
            self.cursor = Some(seen);
        }
    }
}

fn look_of(cell: &Cell) -> Look {
    (cell.fg, cell.bg, cell.modifier)
}

/// A blank shows nothing of it.
fn is_bare((_, bg, modifier): Look) -> bool {
    bg == Color::Reset && !modifier.intersects(Modifier::REVERSED | Modifier::UNDERLINED)
}

/// The eight colours that every terminal with colours has.
const fn code_of(color: Color) -> Option<u8> {
    Some(match color {
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray | Color::White => 7,
        _ => return None,
    })
}

impl<W: Write> Backend for Writer<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut run: Vec<&Cell> = Vec::new();
        let (mut begin, mut next) = ((0, 0), (0, 0));
        for (x, y, cell) in content {
            if run.is_empty() || (x, y) != next {
                self.run(begin.0, begin.1, &run);
                run.clear();
                begin = (x, y);
            }
            run.push(cell);
            let wide = cell.symbol().width() > 1;
            next = (x + 1, y);
            if wide {
                // The cell under the second half is not handed over: the run ends here.
                self.run(begin.0, begin.1, &run);
                run.clear();
            }
        }
        self.run(begin.0, begin.1, &run);
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.see_cursor(false);
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.see_cursor(true);
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        // Never asked of the terminal: its answer may take a second, or not come.
        Ok(self.at.unwrap_or_default().into())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.go(x, y);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.paint(PLAIN);
        self.say(&Clear(terminal::ClearType::All));
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        // The menu always has the whole screen.
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size,
            pixels: Size::default(),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        // One write for a frame: nothing half drawn where the link has packets.
        let frame = std::mem::take(&mut self.frame);
        if frame.is_empty() {
            return Ok(());
        }
        self.out.write_all(&frame)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::style::Style;
    use ratatui::text::Line;

    use super::*;

    fn frames(draws: &[&[(u16, u16, &str, Style)]]) -> Vec<Vec<u8>> {
        let writer = Writer::new(Vec::new(), Size::new(20, 4));
        let mut terminal = Terminal::new(writer).unwrap();
        let mut frames = Vec::new();
        for texts in draws {
            terminal
                .draw(|frame| {
                    for (x, y, text, style) in *texts {
                        let line = Line::styled((*text).to_owned(), *style);
                        frame.buffer_mut().set_line(*x, *y, &line, 20);
                    }
                })
                .unwrap();
            frames.push(std::mem::take(&mut terminal.backend_mut().out));
        }
        frames
    }

    #[test]
    fn a_terminal_shows_what_was_drawn() {
        let red = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        let drawn = frames(&[
            &[
                (0, 0, "hello", red),
                (3, 2, "日本 wide", Style::new()),
                (15, 3, "right", reversed),
            ],
            &[
                (0, 0, "hi", Style::new()),
                (3, 2, "x本 wide", Style::new()),
                (15, 3, "right", reversed),
            ],
        ]);
        let size = |n| std::num::NonZeroU16::new(n).unwrap();
        let mut parser = vt100::Parser::new(size(4), size(20), 0);
        parser.process(&drawn[0]);
        let screen = parser.screen();
        assert_eq!(
            screen.contents(),
            "hello\n\n   日本 wide\n               right"
        );
        assert!(screen.cell(0, 0).unwrap().bold() && screen.cell(3, 15).unwrap().inverse());
        assert_eq!(screen.cell(0, 4).unwrap().fgcolor(), vt100::Color::Idx(1));
        assert!(screen.hide_cursor());
        parser.process(&drawn[1]);
        let text = parser.screen().contents();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["hi", "", "   x本 wide", "               right"]);
        assert!(
            drawn[1].len() <= 40,
            "{:?}",
            String::from_utf8_lossy(&drawn[1])
        );
    }

    #[test]
    fn what_has_not_changed_costs_nothing() {
        let same: &[(u16, u16, &str, Style)] = &[(0, 0, "same", Style::new())];
        let drawn = frames(&[same, same]);
        assert!(drawn[1].is_empty(), "{:?}", drawn[1]);
    }

    #[test]
    fn nothing_is_asked_of_the_terminal() {
        // DSR, DA and their like end in n or c; OSC questions hold a `?;`.
        let drawn = frames(&[&[(0, 0, "text", Style::new())]]).concat();
        let text = String::from_utf8(drawn).unwrap();
        assert!(
            !text.contains("\u{1b}[6n") && !text.contains("\u{1b}[c") && !text.contains("\u{1b}]")
        );
    }
}
