//! U6: the utility, an agent or a whole node is killed at a random moment of a change. Afterwards the change took
//! effect as a whole or not at all, all nodes agree, clients are served, and the same command goes through.

mod look;
mod moment;
mod operation;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use backstay_lab::bench::{self, RunOutcome, Series, Summary};
use backstay_lab::probe::{Probe, ProbeOptions};
use backstay_lab::{Agent, HostState};

use self::look::{Look, Which};
use self::moment::{Dice, Moment, Phase};
use self::operation::Operation;
use super::faults::{Figures, never_two};
use super::ground::{CLUSTER, Ground, LIMIT, at_rest};
use crate::failure::Exit;

/// All series after each other.
pub(super) const ALL: &str = "kills";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

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
        let mut phases = Vec::new();
        bench::bench(&series, &mut line, |run| {
            if phases.is_empty() {
                phases = Phase::measure(&ground, operation)?;
            }
            Ok(RunOutcome::Figures(one(&ground, operation, run, &phases)?))
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

/// One run. Each victim is killed in each phase in turn.
fn one(ground: &Ground, operation: Operation, run: u32, phases: &[Phase]) -> Result<Figures> {
    let command = operation.prepare(ground)?;
    let before = Look::settled(ground, operation, None)?.0;
    let mut dice = Dice::new(operation, run);
    let turn = run as usize - 1;
    let victim = [Victim::Utility, Victim::Agent, Victim::Node][turn % 3];
    let phase = turn / 3 % phases.len();
    let moment = phases[phase].moment(&mut dice);
    let on = running(ground)?;
    let host = &on[dice.below(on.len())];
    let context = || {
        format!(
            "{} while `backstay {}`, {moment}",
            match victim {
                Victim::Utility => "the utility killed".to_owned(),
                Victim::Agent => format!("the agent of {host} killed"),
                Victim::Node => format!("{host} powered off"),
            },
            command.join(" "),
        )
    };

    let alias = ground.alias(["web1", "web2", "web3"][dice.below(3)])?;
    let probe = Probe::start(&ground.lab, alias, &ProbeOptions::default())?;
    let done = killed(ground, &command, victim, host, moment)
        .and_then(|killed| Ok((killed, settle(ground, operation, &before, &command)?)));
    // What went wrong first is told first: a lab that is gone ends its prober, too.
    let report = probe.finish();
    let (killed, settled) = done.with_context(context)?;
    let report = report?;
    never_two(&report).with_context(context)?;
    operation.clear(ground).with_context(context)?;

    Ok(Figures::from([
        ("victim".to_owned(), f64::from(victim as u8)),
        ("phase".to_owned(), f64::from(u32::try_from(phase)?)),
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
    moment: Moment,
) -> Result<Duration> {
    let agent = ground.lab.agent(host)?;
    let began = Instant::now();
    let mut child = ground.spawn_telling(command)?;
    moment.come(&mut child)?;
    match victim {
        Victim::Utility => child.kill()?,
        // One that is not there, or just starts again, is as good as killed.
        Victim::Agent => drop(agent.is_some_and(Agent::kill)),
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
    if which == Which::Before {
        operation.ready(ground)?;
    }
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
