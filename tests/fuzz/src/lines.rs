//! The agent protocol: lines from a client, lines from an agent, in whatever pieces.

use backstay_wire::rpc::{
    LineSplitter, MAX_LINE, Unreadable, clean, parse_call, parse_reply, to_line,
};

use super::assert_printable;

/// Lines of a client, as the agent reads them.
pub(crate) fn call(bytes: &[u8]) {
    for line in lines(LineSplitter::new(), bytes) {
        match parse_call(&line) {
            Ok(call) => {
                let again = to_line(&call).expect("what was read can be written");
                let again = parse_call(again.trim_ascii_end());
                assert_eq!(again.as_ref(), Ok(&call));
            }
            Err(unreadable) => refused(unreadable),
        }
    }
}

/// Lines of an agent after a login shell's noise, as the utility reads them.
pub(crate) fn reply(bytes: &[u8]) {
    let after = lines(LineSplitter::after_preamble(), bytes);
    for line in after.iter().map(Vec::as_slice).chain([bytes]) {
        match parse_reply(line) {
            Ok(reply) => {
                let again = to_line(&reply).expect("what was read can be written");
                let again = parse_reply(again.trim_ascii_end());
                // Not always the same: a fraction, which the protocol has none of, may lose its last digit.
                assert_eq!(again.map(|reply| reply.id()), Ok(reply.id()));
            }
            Err(unreadable) => refused(unreadable),
        }
    }
}

fn refused(unreadable: Unreadable) {
    assert_printable(&unreadable.fault.message);
    let answer = to_line(&unreadable.reply()).expect("an answer can be written");
    assert!(parse_reply(answer.trim_ascii_end()).is_ok());
}

/// All lines: the same whether the bytes come at once or in pieces.
fn lines(splitter: LineSplitter, bytes: &[u8]) -> Vec<Vec<u8>> {
    let cut = bytes.first().map_or(1, |n| 1 + usize::from(*n % 31));
    let (mut whole, mut torn) = (splitter.clone(), splitter);
    whole.push(bytes);
    let mut at_once = Vec::new();
    while let Ok(Some(line)) = whole.next_line() {
        at_once.push(line);
    }
    let mut in_pieces = Vec::new();
    for piece in bytes.chunks(cut) {
        torn.push(piece);
        while let Ok(Some(line)) = torn.next_line() {
            assert!(line.len() <= MAX_LINE);
            in_pieces.push(line);
        }
    }
    assert_eq!(at_once, in_pieces);
    for line in &at_once {
        assert_printable(&clean(&String::from_utf8_lossy(line)));
    }
    at_once
}
