//! U6: the utility, an agent or a whole node is killed at a random moment of a change. Afterwards the change took
//! effect as a whole or not at all, all nodes agree, clients are served, and the same command goes through.

mod look;
mod operation;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use backstay_lab::HostState;
use backstay_lab::bench::{self, RunOutcome, Series, Summary};
use backstay_lab::probe::{Probe, ProbeOptions};

use self::look::{Look, Which};
use self::operation::Operation;
use super::faults::{Figures, never_two};
use super::ground::{CLUSTER, Ground, LIMIT, at_rest};
use crate::failure::Exit;

/// All series after each other.
pub(super) const ALL: &str = "kills";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// What a change takes at most on a quiet machine, from the start of the utility.
const USUAL: Duration = Duration::from_secs(3);
/// The longest that is waited after the utility said what the moment is counted from.
const WITHIN: Duration = Duration::from_millis(200);

/// The names of the series.
pub(super) const NAMES: [&str; 8] = [
    ALL,
    "kill-create",
    "kill-add-node",
    "kill-set",
    "kill-replace",
    "kill-remove-node",
    "kill-role",
    "kill-delete",
];

/// Repeats the series of that name, or all of them, until there are `runs` runs in the results file.
pub(super) fn bench(
    name: &str,
    runs: u32,
    resume: bool,
    results: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Summary> {
    let ground = Ground::open()?;
    operation::lay_out(&ground)?;
    let chosen = Operation::ALL.into_iter();
    let chosen: Vec<Operation> = chosen
        .filter(|o| name == ALL || o.series() == name)
        .collect();
    let each = runs.div_ceil(u32::try_from(chosen.len())?);
    let mut lines = Vec::new();
    for operation in chosen {
        let series = Series {
            name: operation.series().to_owned(),
            runs: each,
            resume,
            results: results.to_owned(),
            commit: bench::commit(),
        };
        let mut line = |run: &bench::RunLine| {
            say(&run.to_string());
            lines.push(run.clone());
        };
        bench::bench(&series, &mut line, |run| {
            Ok(RunOutcome::Figures(one(&ground, operation, run)?))
        })?;
    }
    Ok(Summary::of(name, &lines))
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Utility,
    Agent,
    Node,
}

/// Numbers that look random and are the same for the same run (splitmix64).
struct Dice(u64);

impl Dice {
    fn new(operation: Operation, run: u32) -> Self {
        Self((operation as u64) << 32 | u64::from(run))
    }

    /// From 0 up to but not `most`.
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % most.max(1) as u64) as usize
    }

    fn time(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as usize) as u64)
    }
}

/// One run.
fn one(ground: &Ground, operation: Operation, run: u32) -> Result<Figures> {
    let command = operation.prepare(ground)?;
    let before = Look::settled(ground, operation, None)?.0;
    let mut dice = Dice::new(operation, run);
    let victim = [Victim::Utility, Victim::Agent, Victim::Node][(run as usize - 1) % 3];
    let marks = operation.marks();
    let mark = dice
        .below(marks.len() + 1)
        .checked_sub(1)
        .map(|at| marks[at]);
    let wait = dice.time(if mark.is_some() { WITHIN } else { USUAL });
    let on = running(ground)?;
    let host = &on[dice.below(on.len())];
    let context = || {
        format!(
            "{} while `backstay {}`, {} ms after {}",
            match victim {
                Victim::Utility => "the utility killed".to_owned(),
                Victim::Agent => format!("the agent of {host} killed"),
                Victim::Node => format!("{host} powered off"),
            },
            command.join(" "),
            wait.as_millis(),
            mark.unwrap_or("its start"),
        )
    };

    let alias = ground.alias(["web1", "web2", "web3"][dice.below(3)])?;
    let probe = Probe::start(&ground.lab, alias, &ProbeOptions::default())?;
    let done = killed(ground, &command, victim, host, (mark, wait))
        .and_then(|killed| Ok((killed, settle(ground, operation, &before, &command)?)));
    // What went wrong first is told first: a lab that is gone ends its prober, too.
    let report = probe.finish();
    let (killed, settled) = done.with_context(context)?;
    let report = report?;
    never_two(&report).with_context(context)?;
    operation.clear(ground).with_context(context)?;

    Ok(Figures::from([
        ("victim".to_owned(), f64::from(victim as u8)),
        ("killed_ms".to_owned(), killed.as_secs_f64() * 1_000.0),
        (
            "took_effect".to_owned(),
            f64::from(u8::from(settled.which == Which::After)),
        ),
        ("settled_s".to_owned(), settled.after.as_secs_f64()),
        ("gap_ms".to_owned(), report.gap_ms),
    ]))
}

/// The hosts that are on.
fn running(ground: &Ground) -> Result<Vec<String>> {
    let hosts = ground.lab.status()?.hosts.into_iter();
    let on = hosts.filter(|h| h.state == HostState::Running);
    Ok(on.map(|h| h.name).collect())
}

/// Begins the command and kills at that moment; answers when that was. The command has ended then.
fn killed(
    ground: &Ground,
    command: &[String],
    victim: Victim,
    host: &str,
    (mark, wait): (Option<&str>, Duration),
) -> Result<Duration> {
    let began = Instant::now();
    let mut child = ground
        .command(command)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let lines = lines_of(&mut child)?;
    if let Some(mark) = mark {
        until_said(&lines, mark)?;
    }
    std::thread::sleep(wait);
    match victim {
        Victim::Utility => child.kill()?,
        Victim::Agent => {
            let kill = [
                "kill",
                "--kill-whom=main",
                "--signal=KILL",
                "backstay-agent",
            ];
            // One that is not there, or just starts again, is as good as killed.
            let _ = ground.run_in(host, "systemctl", &kill);
        }
        Victim::Node => {
            ground.lab.kill(host)?;
        }
    }
    let at = began.elapsed();
    let until = Instant::now() + LIMIT;
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            bail!("`backstay {}` did not end", command.join(" "));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if victim == Victim::Node {
        ground.lab.revive(host)?;
        ground.lab.wait_ready(host, LIMIT)?;
    }
    Ok(at)
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

/// Until it has said that, or has ended.
fn until_said(lines: &Receiver<String>, mark: &str) -> Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains(mark) => return Ok(()),
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => bail!("it never said `{mark}`"),
        }
    }
}

/// How it ended.
struct Settled {
    which: Which,
    after: Duration,
}

/// It took effect or not, everybody agrees, status says so, and the same command goes through.
fn settle(
    ground: &Ground,
    operation: Operation,
    before: &Look,
    command: &[String],
) -> Result<Settled> {
    let began = Instant::now();
    let (now, which) = Look::settled(ground, operation, Some(before))?;
    let after = began.elapsed();
    status_says(ground, &now)?;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let again = ground.command(command).output()?;
    let exit = again.status.code();
    let well: &[Exit] = match which {
        Which::Before => &[Exit::Done],
        Which::After => operation.already(),
    };
    ensure!(
        well.iter().any(|e| exit == Some(i32::from(*e as u8))),
        "it settled on {which:?}, and then `backstay {}`: {}: {}",
        words.join(" "),
        again.status,
        String::from_utf8_lossy(&again.stderr).trim()
    );
    let (last, which_then) = Look::settled(ground, operation, Some(before))?;
    ensure!(
        which_then == Which::After,
        "the second time it had no effect"
    );
    let staged = last.staged();
    ensure!(staged.is_empty(), "still staged: {}", staged.join(", "));
    served(ground, &last)?;
    Ok(Settled { which, after })
}

/// The next session is told the revision that is in effect, or that there is no such cluster.
fn status_says(ground: &Ground, now: &Look) -> Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let text = ground.look(&["status", "--output", "json"])?;
        let json: serde_json::Value = serde_json::from_str(&text)?;
        let all = json["clusters"].as_array().cloned().unwrap_or_default();
        let said = all.iter().find(|c| c["name"] == CLUSTER);
        let said = said.and_then(|c| c["revision"].as_u64());
        let is = now.document.as_ref().map(|d| d.revision);
        if said == is {
            return Ok(());
        }
        // A node that was just off may be the one that is asked, and not have learned of it yet.
        ensure!(
            Instant::now() < until,
            "status says revision {said:?}, the nodes have {is:?}"
        );
        std::thread::sleep(LOOK);
    }
}

/// Every service answers by its alias.
fn served(ground: &Ground, now: &Look) -> Result<()> {
    if now.document.is_some() {
        ground.wait("every service runs", |v| v.services.iter().all(at_rest))?;
    }
    let until = Instant::now() + LIMIT;
    let mut places = BTreeMap::new();
    for service in ["web1", "web2", "web3"] {
        loop {
            match ground.count(service) {
                Ok((node, _)) => break drop(places.insert(service, node)),
                // Announced a moment ago, or its home has just booted.
                Err(_) if Instant::now() < until => std::thread::sleep(LOOK),
                Err(error) => return Err(error.context(format!("{service} does not answer"))),
            }
        }
    }
    Ok(())
}
