//! Text of other machines, made fit for a terminal.

use std::iter::Peekable;
use std::str::Chars;

/// Longest text that [`clean`] returns, in characters.
pub const MAX_CLEAN: usize = 1_000;

/// The text as one line that changes nothing on a terminal but what it covers: without control characters
/// and whole escape sequences (ECMA-48), without marks that turn the direction of text around or that nobody
/// sees (Unicode UAX 9; CVE-2021-42574), line ends and tabs as spaces, cut with `...` after [`MAX_CLEAN`]
/// characters. For everything that is shown and was said by another machine.
pub fn clean(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut shown = String::new();
    let mut count = 0;
    while let Some(c) = chars.next() {
        let kept = match c {
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            '\u{1b}' => {
                skip_escape(&mut chars);
                continue;
            }
            '\u{9b}' => {
                skip_control_sequence(&mut chars);
                continue;
            }
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => {
                skip_control_string(&mut chars);
                continue;
            }
            c if c.is_control() || is_hidden(c) => continue,
            c => c,
        };
        if count == MAX_CLEAN {
            // Three of the characters make room, so that the bound holds.
            let end = shown.char_indices().nth(MAX_CLEAN - 3);
            shown.truncate(end.map_or(shown.len(), |(at, _)| at));
            shown.push_str("...");
            break;
        }
        shown.push(kept);
        count += 1;
    }
    shown
}

/// Turns text around, or takes no room: the format characters of Unicode.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// After ESC.
fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_control_string(chars);
        }
        _ => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

/// After CSI: parameters and intermediates up to the final character. Anything else ends it, as it does in
/// terminals.
fn skip_control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// After OSC, DCS and their like: up to BEL or ST. Any other control character ends it too, so that no
/// unfinished one swallows the lines after it.
fn skip_control_string(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| !c.is_control()).is_some() {}
    // ESC \ is an escape sequence and leaves by itself; so do BEL and the one-character ST.
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_stays() {
        for text in [
            "",
            "web1 runs on sb1",
            "Größe 5 µs – 日本語 🙂",
            "[31m",
            "a\\b",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn escape_sequences_go_as_a_whole() {
        for (text, shown) in [
            ("\u{1b}[2J\u{1b}[1;31mred\u{1b}[0m!", "red!"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}Pq#0;1\u{9c}sixel", "sixel"),
            ("\u{9b}2Jc1 \u{9d}0;t\u{9c}x", "c1 x"),
            ("\u{1b}(Bcharset\u{1b}c", "charset"),
            ("\u{1b}[?25lhide", "hide"),
            ("\u{1b}[12", ""),
            ("\u{1b}[é", "é"),
            ("\u{1b}\u{1b}[1mtwice", "twice"),
            ("\u{1b}]0;never ends\nnext line", " next line"),
            ("end\u{1b}", "end"),
        ] {
            assert_eq!(clean(text), shown, "{text:?}");
        }
    }

    #[test]
    fn nothing_turns_hides_or_overwrites() {
        assert_eq!(clean("a\rb\u{8}c\0d\u{7f}e"), "abcde");
        assert_eq!(clean("one\ntwo\tthree"), "one two three");
        assert_eq!(
            clean("\u{202e}gnp.exe\u{202c} \u{2066}x\u{2069}"),
            "gnp.exe x"
        );
        assert_eq!(clean("n\u{200b}1\u{feff}\u{e0041}"), "n1");
    }

    #[test]
    fn length_is_bounded() {
        assert_eq!(clean(&"x".repeat(MAX_CLEAN)), "x".repeat(MAX_CLEAN));
        let cut = clean(&"ä".repeat(MAX_CLEAN + 1));
        assert_eq!(cut.chars().count(), MAX_CLEAN);
        assert!(cut.ends_with("ä..."));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_harmless_line(text in any::<String>()) {
            let shown = clean(&text);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_hidden(c)));
            prop_assert!(shown.chars().count() <= MAX_CLEAN);
            prop_assert_eq!(clean(&shown), shown);
        }
    }
}
