//! When something is killed: every phase of a change has its turn, and in it any moment is as likely as another.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::super::ground::{Ground, LIMIT};
use super::operation::Operation;

/// Numbers that look random and are the same for the same run (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(operation: Operation, run: u32) -> Self {
        Self((operation as u64) << 32 | u64::from(run))
    }

    /// From 0 up to but not `most`.
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most.max(1) as u64) as usize
    }
}

/// A part of a change: from what its command says, or from its start, until it says the next or has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    mark: Option<&'static str>,
    takes: Duration,
}

/// When something is killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    mark: Option<&'static str>,
    wait: Duration,
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = self.mark.unwrap_or("its start");
        write!(
            f,
            "{:.1} ms after {mark}",
            self.wait.as_secs_f64() * 1_000.0
        )
    }
}

impl Phase {
    /// Carries the change out once and undisturbed: its phases. How long they take differs from machine to machine, and
    /// some are a thousand times as long as others.
    pub(super) fn measure(ground: &Ground, operation: Operation) -> Result<Vec<Self>> {
        let command = operation.prepare(ground)?;
        let mut began = Instant::now();
        let mut child = ground.spawn_telling(&command)?;
        let lines = lines_of(&mut child)?;
        let (mut phases, mut mark) = (Vec::new(), None);
        for next in operation.marks() {
            if until_said(&lines, next)? {
                let now = Instant::now();
                phases.push(Self {
                    mark,
                    takes: now - began,
                });
                (began, mark) = (now, Some(*next));
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "backstay {}: {status}", command.join(" "));
        phases.push(Self {
            mark,
            takes: began.elapsed(),
        });
        operation.clear(ground)?;
        Ok(phases)
    }

    /// A moment in it.
    pub(super) fn moment(self, dice: &mut Dice) -> Moment {
        let wait = dice.below(self.takes.as_micros() as usize);
        Moment {
            mark: self.mark,
            wait: Duration::from_micros(wait as u64),
        }
    }
}

impl Moment {
    /// Waits for it in a command that was just begun.
    pub(super) fn come(self, child: &mut Child) -> Result<()> {
        let lines = lines_of(child)?;
        if let Some(mark) = self.mark {
            until_said(&lines, mark)?;
        }
        std::thread::sleep(self.wait);
        Ok(())
    }
}

/// What the command says, line by line, as it says it.
fn lines_of(child: &mut Child) -> Result<Receiver<String>> {
    let from = child.stderr.take().context("no way out")?;
    let (say, heard) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Nobody listens any more once the moment has come.
            let _ = say.send(line);
        }
    });
    Ok(heard)
}

/// Until it has said that; not, if it has ended before.
fn until_said(lines: &Receiver<String>, mark: &str) -> Result<bool> {
    let until = Instant::now() + LIMIT;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(mark) => return Ok(true),
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Err(RecvTimeoutError::Timeout) => bail!("it never said `{mark}`"),
        }
    }
}
