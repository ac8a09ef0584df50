//! Bytes of a terminal as keys, wherever a read happens to end.
//!
//! Understood are the forms that xterm, the Linux console, screen, tmux and a vt100 send (xterm's Control
//! Sequences, "PC-Style Function Keys"); what is not understood is passed over as a whole, so that no part
//! of it is taken for a command.

use super::super::keys::Key;

/// Longest sequence that is put together, in bytes; a longer one is noise.
const LONGEST: usize = 64;

/// Puts keys together from bytes.
#[derive(Debug, Default)]
pub(in crate::tui) struct Decoder {
    pending: Vec<u8>,
    /// A paste in brackets: its text is typed, its Return and Escape are not.
    pasting: bool,
}

/// What the pending bytes are.
enum Found {
    /// The beginning of something.
    More,
    /// So many bytes that mean this, or nothing.
    Whole(usize, Option<Key>),
}

impl Decoder {
    /// Takes bytes and gives the keys that are complete.
    pub(in crate::tui) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in bytes {
            self.pending.push(*byte);
            self.take(&mut keys);
        }
        keys
    }

    /// Whether something is begun that time will end ([`Self::flush`]).
    pub(in crate::tui) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Nothing more came in time: a lone ESC is the key Esc, any other beginning is noise.
    pub(in crate::tui) fn flush(&mut self) -> Option<Key> {
        let pending = std::mem::take(&mut self.pending);
        (pending == [0x1b] && !self.pasting).then_some(Key::Esc)
    }

    fn take(&mut self, keys: &mut Vec<Key>) {
        while !self.pending.is_empty() {
            match look(&self.pending) {
                Found::More if self.pending.len() < LONGEST => return,
                Found::More => self.pending.clear(),
                Found::Whole(length, key) => {
                    let bytes: Vec<u8> = self.pending.drain(..length).collect();
                    match bytes.as_slice() {
                        b"\x1b[200~" => self.pasting = true,
                        b"\x1b[201~" => self.pasting = false,
                        _ => {
                            let typed = |k: &Key| !self.pasting || matches!(k, Key::Char(_));
                            keys.extend(key.filter(typed));
                        }
                    }
                }
            }
        }
    }
}

fn look(bytes: &[u8]) -> Found {
    match bytes {
        [0x1b] | [0x1b, b'O'] => Found::More,
        [0x1b, b'[', rest @ ..] => control_sequence(rest),
        [0x1b, b'O', letter, ..] => Found::Whole(3, single_shift(*letter)),
        // OSC, DCS and their like: a terminal's answer to somebody's question; up to BEL or ST.
        [0x1b, b']' | b'P' | b'X' | b'^' | b'_', rest @ ..] => control_string(rest),
        // Two of them: the first is the key.
        [0x1b, 0x1b, ..] => Found::Whole(1, Some(Key::Esc)),
        // With Alt: no key of ours, and not the letter without it either.
        [0x1b, rest @ ..] => match plain(rest) {
            Found::Whole(length, _) => Found::Whole(length + 1, None),
            Found::More => Found::More,
        },
        _ => plain(bytes),
    }
}

fn plain(bytes: &[u8]) -> Found {
    let first = bytes[0];
    let key = match first {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        0x00..=0x1f => Key::Ctrl(char::from(first | 0x60)),
        0x20..=0x7e => Key::Char(char::from(first)),
        _ => return utf8(bytes),
    };
    Found::Whole(1, Some(key))
}

fn utf8(bytes: &[u8]) -> Found {
    let length = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Found::Whole(1, None),
    };
    let there = &bytes[..bytes.len().min(length)];
    match std::str::from_utf8(there) {
        Ok(text) => {
            let typed = text.chars().next().filter(|c| !c.is_control());
            Found::Whole(length, typed.map(Key::Char))
        }
        Err(e) if e.error_len().is_none() => Found::More,
        Err(_) => Found::Whole(1, None),
    }
}

/// After `ESC O`: arrows and function keys of a keypad in application mode.
fn single_shift(letter: u8) -> Option<Key> {
    match letter {
        b'M' => Some(Key::Enter),
        b'P'..=b'S' => Some(Key::F(letter - b'P' + 1)),
        _ => arrow(letter),
    }
}

fn arrow(letter: u8) -> Option<Key> {
    Some(match letter {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'Z' => Key::BackTab,
        _ => return None,
    })
}

/// After `ESC [`: parameters, intermediates, a final byte (ECMA-48 5.4).
fn control_sequence(rest: &[u8]) -> Found {
    // The Linux console's F1 to F5: ESC [ [ A.
    if let [b'[', after @ ..] = rest {
        return match after {
            [] => Found::More,
            [letter @ b'A'..=b'E', ..] => Found::Whole(4, Some(Key::F(letter - b'A' + 1))),
            _ => Found::Whole(4, None),
        };
    }
    let Some(at) = rest.iter().position(|b| !(0x20..=0x3f).contains(b)) else {
        return Found::More;
    };
    let end = rest[at];
    if !(0x40..=0x7e).contains(&end) {
        // Broken off by something else, which counts by itself.
        return Found::Whole(2 + at, None);
    }
    let parameters = &rest[..at];
    let key = match end {
        b'~' => numbered(parameters),
        b'P'..=b'S' if parameters.starts_with(b"1;") => Some(Key::F(end - b'P' + 1)),
        // `ESC [ 1 ; 5 C` is an arrow with Ctrl: the arrow.
        _ if parameters.iter().all(|b| b.is_ascii_digit() || *b == b';') => arrow(end),
        _ => None,
    };
    Found::Whole(2 + at + 1, key)
}

fn numbered(parameters: &[u8]) -> Option<Key> {
    let first = parameters.split(|b| *b == b';').next()?;
    let number: u8 = std::str::from_utf8(first).ok()?.parse().ok()?;
    Some(match number {
        1 | 7 => Key::Home,
        3 => Key::Delete,
        4 | 8 => Key::End,
        5 => Key::PageUp,
        6 => Key::PageDown,
        11..=15 => Key::F(number - 10),
        17..=21 => Key::F(number - 11),
        23 | 24 => Key::F(number - 12),
        _ => return None,
    })
}

fn control_string(rest: &[u8]) -> Found {
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            0x07 | 0x18 | 0x1a => return Found::Whole(2 + at + 1, None),
            0x1b => {
                return match rest.get(at + 1) {
                    None => Found::More,
                    Some(b'\\') => Found::Whole(2 + at + 2, None),
                    // Not ended in good order: what begins here counts by itself.
                    Some(_) => Found::Whole(2 + at, None),
                };
            }
            _ => {}
        }
    }
    Found::More
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCES: &[(&[u8], Option<Key>)] = &[
        (b"a", Some(Key::Char('a'))),
        (b"\r", Some(Key::Enter)),
        (b"\t", Some(Key::Tab)),
        (b"\x7f", Some(Key::Backspace)),
        (b"\x08", Some(Key::Backspace)),
        (b"\x03", Some(Key::Ctrl('c'))),
        (b"\x1b[A", Some(Key::Up)),
        (b"\x1b[B", Some(Key::Down)),
        (b"\x1b[C", Some(Key::Right)),
        (b"\x1b[D", Some(Key::Left)),
        (b"\x1bOA", Some(Key::Up)),
        (b"\x1bOB", Some(Key::Down)),
        (b"\x1bOH", Some(Key::Home)),
        (b"\x1b[H", Some(Key::Home)),
        (b"\x1b[1~", Some(Key::Home)),
        (b"\x1b[7~", Some(Key::Home)),
        (b"\x1b[F", Some(Key::End)),
        (b"\x1b[4~", Some(Key::End)),
        (b"\x1b[3~", Some(Key::Delete)),
        (b"\x1b[5~", Some(Key::PageUp)),
        (b"\x1b[6~", Some(Key::PageDown)),
        (b"\x1b[Z", Some(Key::BackTab)),
        (b"\x1bOP", Some(Key::F(1))),
        (b"\x1b[11~", Some(Key::F(1))),
        (b"\x1b[[A", Some(Key::F(1))),
        (b"\x1b[15~", Some(Key::F(5))),
        (b"\x1b[21~", Some(Key::F(10))),
        (b"\x1b[24~", Some(Key::F(12))),
        (b"\x1b[1;5C", Some(Key::Right)),
        (b"\x1b[3;2~", Some(Key::Delete)),
        ("é".as_bytes(), Some(Key::Char('é'))),
        ("日".as_bytes(), Some(Key::Char('日'))),
        ("🙂".as_bytes(), Some(Key::Char('🙂'))),
        (b"\x1b[?1;2c", None),
        (b"\x1b[24;80R", None),
        (b"\x1b]11;rgb:0000/0000/0000\x07", None),
        (b"\x1bP1$r0m\x1b\\", None),
        (b"\x1ba", None),
    ];

    #[test]
    fn every_sequence_is_read_wherever_it_is_split() {
        for (bytes, key) in SEQUENCES {
            let wanted: Vec<Key> = (*key).into_iter().chain([Key::Char('x')]).collect();
            for at in 0..=bytes.len() {
                let mut decoder = Decoder::default();
                let mut keys = decoder.feed(&bytes[..at]);
                keys.extend(decoder.feed(&bytes[at..]));
                keys.extend(decoder.feed(b"x"));
                assert_eq!(keys, wanted, "{bytes:?} split at {at}");
                assert!(!decoder.is_pending(), "{bytes:?}");
            }
            let mut decoder = Decoder::default();
            let mut keys: Vec<Key> = bytes.iter().flat_map(|b| decoder.feed(&[*b])).collect();
            keys.extend(decoder.feed(b"x"));
            assert_eq!(keys, wanted, "{bytes:?} byte by byte");
        }
    }

    #[test]
    fn a_lone_escape_is_a_key_once_nothing_follows() {
        let mut decoder = Decoder::default();
        assert!(decoder.feed(b"\x1b").is_empty());
        assert!(decoder.is_pending());
        assert_eq!(decoder.flush(), Some(Key::Esc));
        assert!(!decoder.is_pending());
        assert_eq!(decoder.feed(b"\x1b\x1b[A"), [Key::Esc, Key::Up]);
        // An arrow that was cut off for good is no key, and not a `[` either.
        assert!(decoder.feed(b"\x1b[").is_empty());
        assert_eq!(decoder.flush(), None);
    }

    #[test]
    fn what_is_pasted_is_typed_and_orders_nothing() {
        let mut decoder = Decoder::default();
        let keys = decoder.feed(b"\x1b[200~n1\r\x1bq\x1b[201~\r");
        assert_eq!(keys, [Key::Char('n'), Key::Char('1'), Key::Enter]);
    }

    #[test]
    fn noise_has_an_end() {
        let mut decoder = Decoder::default();
        assert!(
            decoder
                .feed(&[b"\x1b[".as_slice(), &[b'1'; 500]].concat())
                .len()
                < 500
        );
        decoder.flush();
        assert_eq!(decoder.feed(b"q"), [Key::Char('q')]);
        assert_eq!(
            decoder.feed(b"\xff\xc3(q"),
            [Key::Char('('), Key::Char('q')]
        );
    }
}
