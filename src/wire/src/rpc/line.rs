//! Lines: out of a stream of bytes, and into one.

use std::io::{self, Read, Write};

use serde::Serialize;

use super::{MAX_LINE, PREAMBLE};

/// Most bytes of a login shell's noise that are skipped before [`PREAMBLE`].
pub const MAX_NOISE: usize = 64 * 1024;

/// Why the lines end. The session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A line does not end.
    #[error("a line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The preamble does not come.
    #[error(
        "more than {MAX_NOISE} bytes came before the agent spoke; does a login script print something?"
    )]
    Noise,
}

impl From<LineError> for io::Error {
    fn from(error: LineError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Cuts what arrives into lines, without reading anything itself. Take all lines after each
/// [`push`](Self::push): then it never holds more than [`MAX_LINE`] bytes and what was pushed last.
#[derive(Clone, Debug, Default)]
pub struct LineSplitter {
    buffer: Vec<u8>,
    /// Everything before is done with.
    start: usize,
    /// No line ends between `start` and here.
    searched: usize,
    /// Bytes of noise so far; none: lines have begun.
    noise: Option<usize>,
    broken: Option<LineError>,
}

impl LineSplitter {
    /// Lines from the first byte on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lines begin after [`PREAMBLE`]; at most [`MAX_NOISE`] bytes may come before it.
    pub fn after_preamble() -> Self {
        Self {
            noise: Some(0),
            ..Self::default()
        }
    }

    /// Takes what arrived, in whatever pieces.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole line, without its end (`\n`); none: more must be pushed first. After an error there
    /// is nothing but that error.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if !self.past_noise()? {
            return Ok(None);
        }
        let end = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map(|at| self.searched + at);
        if end.unwrap_or(self.buffer.len()) - self.start > MAX_LINE {
            return Err(self.fail(LineError::TooLong));
        }
        self.searched = self.buffer.len();
        let Some(end) = end else { return Ok(None) };
        let line = self.buffer[self.start..end].to_vec();
        self.start = end + 1;
        self.searched = self.start;
        Ok(Some(line))
    }

    /// Nothing is left over: if the stream ends here, it ends well.
    pub fn is_empty(&self) -> bool {
        self.noise.is_none() && self.start == self.buffer.len()
    }

    fn past_noise(&mut self) -> Result<bool, LineError> {
        let Some(skipped) = self.noise else {
            return Ok(true);
        };
        let mark = PREAMBLE.as_bytes();
        let found = self
            .buffer
            .windows(mark.len())
            .position(|part| part == mark);
        // Without it, the end of what is there may be its beginning.
        let noise = found.unwrap_or_else(|| (self.buffer.len() + 1).saturating_sub(mark.len()));
        if skipped + noise > MAX_NOISE {
            return Err(self.fail(LineError::Noise));
        }
        if found.is_some() {
            self.noise = None;
            self.start = noise + mark.len();
            self.searched = self.start;
        } else {
            self.noise = Some(skipped + noise);
            self.buffer.drain(..noise);
        }
        Ok(found.is_some())
    }

    fn fail(&mut self, error: LineError) -> LineError {
        *self = Self {
            broken: Some(error),
            ..Self::default()
        };
        error
    }
}

/// Lines from anything that blocks: a socket, a pipe, an SSH channel. A time limit of the stream comes
/// through as its error, and reading can go on after it: nothing is lost.
#[derive(Debug)]
pub struct LineReader<R> {
    inner: R,
    splitter: LineSplitter,
}

impl<R: Read> LineReader<R> {
    /// Lines from the first byte on.
    pub fn new(inner: R) -> Self {
        let splitter = LineSplitter::new();
        Self { inner, splitter }
    }

    /// Lines begin after [`PREAMBLE`].
    pub fn after_preamble(inner: R) -> Self {
        let splitter = LineSplitter::after_preamble();
        Self { inner, splitter }
    }

    /// The next line, without its end; none: the stream has ended.
    ///
    /// # Errors
    /// The stream's; [`io::ErrorKind::InvalidData`] with a [`LineError`];
    /// [`io::ErrorKind::UnexpectedEof`] if it ends within a line or before the preamble.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut chunk = [0; 8192];
        loop {
            if let Some(line) = self.splitter.next_line()? {
                return Ok(Some(line));
            }
            match self.inner.read(&mut chunk) {
                Ok(0) if self.splitter.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.splitter.push(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// One line, with its end.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if it has no form in JSON or the other side would not read it for its
/// length; nothing of it may be sent then.
pub fn to_line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::from)?;
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong.into());
    }
    line.push(b'\n');
    Ok(line)
}

/// Writes one line at once and flushes it.
///
/// # Errors
/// Those of [`to_line`], before anything is written; the stream's.
pub fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&to_line(message)?)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(splitter: &mut LineSplitter) -> Result<Vec<String>, LineError> {
        let mut lines = Vec::new();
        while let Some(line) = splitter.next_line()? {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_found_in_whatever_pieces_they_come() {
        let stream = b"one\ntwo\n\nthree\nfo";
        for size in 1..stream.len() {
            let mut splitter = LineSplitter::new();
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                splitter.push(piece);
                got.extend(lines(&mut splitter).unwrap());
            }
            assert_eq!(got, ["one", "two", "", "three"], "{size} at a time");
            assert!(!splitter.is_empty());
            splitter.push(b"ur\n");
            assert_eq!(lines(&mut splitter).unwrap(), ["four"]);
            assert!(splitter.is_empty());
        }
    }

    #[test]
    fn a_line_is_bounded_whether_it_ends_or_not() {
        let longest = vec![b'x'; MAX_LINE];
        let mut splitter = LineSplitter::new();
        splitter.push(&longest);
        assert_eq!(splitter.next_line(), Ok(None));
        splitter.push(b"\n");
        assert_eq!(splitter.next_line(), Ok(Some(longest.clone())));
        for end in ["x", "x\n"] {
            splitter = LineSplitter::new();
            splitter.push(&longest);
            splitter.push(end.as_bytes());
            assert_eq!(splitter.next_line(), Err(LineError::TooLong));
            splitter.push(b"\nfine\n");
            assert_eq!(splitter.next_line(), Err(LineError::TooLong), "it stays so");
            assert!(splitter.buffer.is_empty());
        }
    }

    #[test]
    fn noise_before_the_preamble_is_skipped() {
        let begun = &PREAMBLE[..PREAMBLE.len() - 1];
        for noise in [
            "",
            "Welcome!\nLast login\n",
            "\u{1}",
            begun,
            "\u{1b}]0;t\u{7}",
        ] {
            let stream = format!("{noise}{PREAMBLE}one\ntwo\n");
            for size in 1..stream.len() {
                let mut splitter = LineSplitter::after_preamble();
                assert!(!splitter.is_empty());
                let mut got = Vec::new();
                for piece in stream.as_bytes().chunks(size) {
                    splitter.push(piece);
                    got.extend(lines(&mut splitter).unwrap());
                }
                assert_eq!(got, ["one", "two"], "{noise:?}, {size} at a time");
            }
        }
    }

    #[test]
    fn noise_is_bounded() {
        let most = vec![b'\n'; MAX_NOISE];
        let mut splitter = LineSplitter::after_preamble();
        for piece in most.chunks(1_000) {
            splitter.push(piece);
            assert_eq!(splitter.next_line(), Ok(None));
        }
        splitter.push(PREAMBLE.as_bytes());
        splitter.push(b"one\n");
        assert_eq!(splitter.next_line(), Ok(Some(b"one".to_vec())));
        let mut splitter = LineSplitter::after_preamble();
        splitter.push(&most);
        splitter.push(b"!");
        splitter.push(PREAMBLE.as_bytes());
        assert_eq!(splitter.next_line(), Err(LineError::Noise));
    }

    /// Gives one byte, then an error, and so on.
    struct Halting<'a>(&'a [u8], bool);

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.read(&mut buffer[..1])
        }
    }

    #[test]
    fn reading_goes_on_after_a_time_limit() {
        let stream = format!("hi\n{PREAMBLE}one\ntwo\n");
        let mut reader = LineReader::after_preamble(Halting(stream.as_bytes(), false));
        let mut got = Vec::new();
        let mut halts = 0;
        loop {
            match reader.next_line() {
                Ok(Some(line)) => got.push(line),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    halts += 1;
                }
            }
        }
        assert_eq!(got, [b"one", b"two"]);
        assert_eq!(halts, stream.len() + 1);
    }

    #[test]
    fn a_stream_that_ends_too_early_is_an_error() {
        let mut cut = LineReader::new(&b"one\ntw"[..]);
        assert_eq!(cut.next_line().unwrap(), Some(b"one".to_vec()));
        let kind = cut.next_line().unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::UnexpectedEof);
        let mut silent = LineReader::after_preamble(&b"bash: no such command\n"[..]);
        let kind = silent.next_line().unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_would_not_be_read_is_not_written() {
        let mut out = Vec::new();
        write(&mut out, &"a\nb").unwrap();
        assert_eq!(out, b"\"a\\nb\"\n");
        let error = write(&mut out, &"x".repeat(MAX_LINE)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(out.len(), 7);
    }
}
