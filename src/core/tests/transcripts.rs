//! Transcripts: commands and the full log that they must give, reviewed as differences.
//!
//! Each block of a file is commands, a line `----`, and what is expected, up to an empty line.
//! `REWRITE=1 cargo test -p backstay-core --test transcripts` writes what came out in its place.

#![allow(clippy::disallowed_methods)] // a test reads and writes its files; the core does not

mod bench;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;

use bench::interrupt::{Tally, interrupted};

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

/// The commands of a transcript.
fn commands(text: &str) -> Rc<[String]> {
    let mut expected = false;
    let told = |line: &&str| {
        expected = *line == "----" || (expected && !line.is_empty());
        !expected && !line.is_empty() && !line.starts_with('#')
    };
    text.lines().filter(told).map(str::to_owned).collect()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of transcripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 10, "transcripts are missing");
    names
}

/// PROTOCOL 21 to 23, invariant 10: whatever effect a node dies at, it comes back to a lawful state. Repetitions in a
/// stretch of steady beats are left out; `EVERY=1` has them too, `ONLY=f11` picks transcripts.
#[test]
fn protocol_21_every_transcript_survives_an_interruption_at_every_effect() {
    let every = std::env::var_os("EVERY").is_some();
    let only = std::env::var("ONLY").unwrap_or_default();
    let name =
        |path: &PathBuf| (path.file_stem().unwrap_or_default().to_string_lossy()).into_owned();
    let queue: Vec<_> = (files().into_iter())
        .filter(|path| name(path).starts_with(&only))
        .collect();
    let queue = Mutex::new(queue);
    let all = Mutex::new(Tally::default());
    let work = || {
        while let Some(path) = queue.lock().expect("a queue").pop() {
            let text = fs::read_to_string(&path).expect("a transcript");
            let tally = interrupted(&commands(&text), every, false);
            let (name, broken) = (name(&path), tally.broken.len());
            println!(
                "{name}: {} runs, {} end as the transcript, {broken} broke a rule",
                tally.runs, tally.same
            );
            let mut all = all.lock().expect("a tally");
            all.runs += tally.runs;
            all.same += tally.same;
            let told = tally.broken.iter().take(20);
            all.broken
                .extend(told.map(|line| format!("{name}: {line}")));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let all = all.into_inner().expect("a tally");
    println!(
        "{} interrupted runs, {} end as the transcript",
        all.runs, all.same
    );
    assert!(all.broken.is_empty(), "\n{}", all.broken.join("\n"));
    assert!(all.runs > 0, "nothing was interrupted");
}

/// The checks of the interrupted runs can fail.
#[test]
fn protocol_35_to_write_nothing_is_found_by_an_interruption() {
    let script = [
        "cluster n1=10 n2=20 sb1",
        "run 5s",
        "order web1 sb1 at n2",
        "run 5s",
    ];
    let script = script.map(str::to_owned).into_iter().collect();
    let broken = interrupted(&script, false, true).broken;
    assert!(
        broken.iter().any(|b| b.contains("PROTOCOL 17")),
        "{broken:?}"
    );
}

#[test]
fn every_transcript_is_as_written() {
    let names = files();
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
