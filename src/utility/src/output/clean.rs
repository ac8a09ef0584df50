//! Texts of other machines, made fit to be shown.

/// Longest text of another machine that is shown, in signs.
const MOST: usize = 300;

/// One line without control signs and without signs that change the direction of what follows; at most
/// 300 signs.
pub fn clean(text: &str) -> String {
    let shown = text.trim().chars().map(|c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') => {
            '?'
        }
        c => c,
    });
    let mut line: String = shown.clone().take(MOST).collect();
    if shown.count() > MOST {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}1m\0"), "a?[2Jb  c?d?1m?");
        assert_eq!(clean(&"x".repeat(1000)).len(), 303);
    }
}
