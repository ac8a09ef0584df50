//! Transcripts: commands and the full log that they must give, reviewed as differences.
//!
//! Each block of a file is commands, a line `----`, and what is expected, up to an empty line.
//! `REWRITE=1 cargo test -p backstay-core --test transcripts` writes what came out in its place.

#![allow(clippy::disallowed_methods)] // a test reads and writes its files; the core does not

mod bench;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Runs one transcript; answers it as it came out.
fn replay(text: &str) -> String {
    let mut bench = bench::Bench::default();
    let mut out = String::new();
    let mut expected = false;
    for line in text.lines() {
        if expected {
            if line.is_empty() {
                expected = false;
                out.push('\n');
            }
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line == "----" {
            expected = true;
            for said in bench.told() {
                out.push_str(&said);
                out.push('\n');
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            bench.command(line);
        }
    }
    out.trim_end().to_owned() + "\n"
}

#[test]
fn every_transcript_is_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of transcripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 10, "transcripts are missing");
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut differs = String::new();
    for path in names {
        let text = fs::read_to_string(&path).expect("a transcript");
        let came = replay(&text);
        if came == text {
            continue;
        }
        if rewrite {
            fs::write(&path, &came).expect("to write the transcript");
            continue;
        }
        let first = (text.lines().zip(came.lines()).enumerate())
            .find(|(_, (was, is))| was != is)
            .map_or_else(String::new, |(at, (was, is))| {
                format!("line {}:\n  expected {was}\n  came     {is}", at + 1)
            });
        let _ = writeln!(differs, "{}: {first}", path.display());
    }
    assert!(
        differs.is_empty(),
        "\n{differs}REWRITE=1 takes what came; look at the difference"
    );
}
