//! How things look on this terminal: sixteen colours or none, Unicode or ASCII.
//!
//! Colour is never the only sign: what is marked also has a `>`, what is out of order also says so.

use ratatui::style::{Color, Modifier, Style};

use crate::output::style::{Style as Signs, Tone};

/// The looks of one terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours, and signs beyond ASCII.
    pub signs: Signs,
}

/// What a terminal says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    /// `TERM`.
    pub term: &'a str,
    /// Colours are welcome by flag and environment.
    pub color: bool,
    /// Colours were asked for by name: `--color always`.
    pub forced: bool,
    /// The locale is UTF-8.
    pub utf8: bool,
}

impl Theme {
    /// The theme for a terminal; none: it can't show the menu at all.
    pub fn choose(claims: Claims<'_>) -> Option<Self> {
        let kind = claims.term.split('-').next().unwrap_or("");
        // "unknown" is what a login without a terminal type has.
        if matches!(kind, "" | "dumb" | "unknown") {
            return None;
        }
        let old = kind.starts_with("vt1") || kind.starts_with("vt2") || kind == "ansi";
        let mono = old || claims.term.ends_with("-m") || claims.term.ends_with("-mono");
        Some(Self {
            signs: Signs {
                color: claims.forced || claims.color && !mono,
                // The console has not all the signs, a vt100 none of them.
                unicode: claims.utf8 && !old && kind != "linux",
            },
        })
    }

    /// A tone's look.
    pub const fn tone(self, tone: Tone) -> Style {
        let plain = Style::new();
        match (tone, self.signs.color) {
            (Tone::Plain, _) | (Tone::Good, false) => plain,
            (Tone::Dim, _) => plain.add_modifier(Modifier::DIM),
            (Tone::Bold, _) | (Tone::Bad, false) => plain.add_modifier(Modifier::BOLD),
            (Tone::Good, true) => plain.fg(Color::Green),
            (Tone::Warn, true) => plain.fg(Color::Yellow),
            (Tone::Warn, false) => plain.add_modifier(Modifier::UNDERLINED),
            (Tone::Bad, true) => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// What is marked.
    pub const fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Before what is marked, so that it is seen without attributes too.
    pub const fn marker(self, selected: bool) -> &'static str {
        if selected { ">" } else { " " }
    }

    /// The line between two panes.
    pub const fn rule(self) -> &'static str {
        if self.signs.unicode { "\u{2502}" } else { "|" }
    }

    /// From home to where it runs.
    pub fn away(self) -> &'static str {
        self.signs.arrow()
    }

    /// At the standby: from whom it came.
    pub const fn from(self) -> &'static str {
        if self.signs.unicode { "\u{2190}" } else { "<-" }
    }

    /// One part of a bar, `full` or not.
    pub const fn bar(self, full: bool) -> &'static str {
        match (self.signs.unicode, full) {
            (true, true) => "\u{2588}",
            (true, false) => "\u{b7}",
            (false, true) => "#",
            (false, false) => ".",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(term: &str, color: bool, utf8: bool) -> Option<(bool, bool)> {
        let claims = Claims {
            term,
            color,
            utf8,
            forced: false,
        };
        Theme::choose(claims).map(|t| (t.signs.color, t.signs.unicode))
    }

    #[test]
    fn u2_every_terminal_gets_what_it_can_show() {
        assert_eq!(chosen("xterm-256color", true, true), Some((true, true)));
        assert_eq!(chosen("screen", true, true), Some((true, true)));
        assert_eq!(chosen("tmux-256color", true, false), Some((true, false)));
        assert_eq!(chosen("linux", true, true), Some((true, false)));
        assert_eq!(chosen("vt100", true, true), Some((false, false)));
        assert_eq!(chosen("xterm-mono", true, true), Some((false, true)));
        // NO_COLOR and --color never come as `color: false`.
        assert_eq!(chosen("xterm", false, true), Some((false, true)));
        for none in ["", "dumb", "unknown"] {
            assert_eq!(chosen(none, true, true), None);
        }
    }

    #[test]
    fn what_is_marked_is_reversed_without_colours_too() {
        for color in [true, false] {
            let theme = Theme {
                signs: Signs {
                    color,
                    unicode: false,
                },
            };
            assert!(theme.selected().has_modifier(Modifier::REVERSED));
            let bad = theme.tone(Tone::Bad);
            assert_eq!(bad.fg, color.then_some(Color::Red));
            assert!(bad.has_modifier(Modifier::BOLD));
        }
    }
}
