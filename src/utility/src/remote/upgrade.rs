//! Another agent in the place of one that runs, over SSH; the former one is kept until the next.

use std::time::Duration;

use backstay_wire::rpc::clean;

use super::AGENT_PATH;
use super::install::{AGENT_UNIT, AgentBinary, FILES, Found, STEP, differs, put, step};
use super::ssh::Session;
use crate::failure::{Changed, Exit, Failure};

/// A restart: the former process may be asked to end first.
const RESTART: Duration = Duration::from_mins(2);

/// What was put on a machine, or may have been: an answer can be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// The files that have their former one beside them.
    files: Vec<&'static str>,
    /// The agent was to be restarted.
    restarted: bool,
}

/// Puts the agent and its units in the place of the present ones and restarts it. The new agent must run there
/// before anything is replaced.
///
/// # Errors
/// What failed. [`Changed::No`]: the present agent is in its place and was left alone. Else [`put_back`] is due: it
/// gets what was replaced by then.
pub fn replace(
    session: &Session,
    agent: &AgentBinary,
    found: &Found,
    report: &mut dyn FnMut(&str),
) -> Result<Replaced, (Failure, Replaced)> {
    let mut done = Replaced::default();
    match replace_all(session, agent, found, &mut done, report) {
        Ok(()) => Ok(done),
        Err(failure) if done == Replaced::default() => Err((failure, done)),
        Err(failure) => Err((failure.changed(Changed::Yes), done)),
    }
}

fn replace_all(
    session: &Session,
    agent: &AgentBinary,
    found: &Found,
    done: &mut Replaced,
    report: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let broken_off = found.broken_off(agent.hash());
    if broken_off {
        report(
            "the last upgrade may not have been finished here: it goes on, and can still go back to the agent that was kept",
        );
        done.files.push(AGENT_PATH);
        done.files.extend(FILES.map(|(path, _)| path));
    }
    if found.agent.as_deref() != Some(agent.hash()) {
        report(&format!(
            "uploading the agent ({} KiB)",
            agent.bytes().len() / 1024
        ));
        let next = format!("{AGENT_PATH}.next");
        put(session, &next, "0755", agent.bytes(), agent.hash())?;
        must_run(session, &next)?;
        if !broken_off {
            // Former units of an earlier upgrade are not what this one goes back to.
            let units = FILES.map(|(path, _)| format!("{path}.former")).join(" ");
            let keep = format!("rm -f {units} && {}", kept(AGENT_PATH));
            step(session, "keeping the present agent", &keep, &[], STEP)?;
            done.files.push(AGENT_PATH);
        }
        let swap = format!("mv {next} {AGENT_PATH} && sync $(dirname {AGENT_PATH})");
        step(session, "putting the agent in its place", &swap, &[], STEP)?;
    }
    for (path, text) in FILES {
        let Some(hash) = differs(session, path, text)? else {
            continue;
        };
        report(&format!("writing {path}"));
        let keep = if broken_off {
            format!("[ -e {path}.former ] || ln {path} {path}.former")
        } else {
            kept(path)
        };
        step(session, &format!("keeping {path}"), &keep, &[], STEP)?;
        if !broken_off {
            done.files.push(path);
        }
        put(session, path, "0644", text.as_bytes(), &hash)?;
    }
    report("restarting the agent");
    done.restarted = true;
    restart(session)
}

/// The command that keeps a file that is about to be replaced by renaming: at every moment there is one in the place.
fn kept(path: &str) -> String {
    format!("rm -f {path}.former && ln {path} {path}.former")
}

/// An agent for another processor, say, is not to be found out by the node's service.
fn must_run(session: &Session, next: &str) -> Result<(), Failure> {
    let says = session.run(&format!("{next} --version"), &[], STEP)?;
    let why = match says.status {
        0 if !says.text().trim().is_empty() => return Ok(()),
        0 => "it does not say its version".to_owned(),
        _ => clean(&says.complaint()),
    };
    // It would only take room.
    let _ = session.run(&format!("rm -f {next}"), &[], STEP);
    Err(Failure::new(
        Exit::Error,
        format!("the new agent does not run there: {why}"),
    ))
}

fn restart(session: &Session) -> Result<(), Failure> {
    let command = format!("systemctl daemon-reload && systemctl restart {AGENT_UNIT}");
    step(session, "restarting the agent", &command, &[], RESTART)
        .map(drop)
        .map_err(|f| f.hint("`journalctl -u backstay-agent` there says why"))
}

/// Puts the former files back, as far as they are there, and restarts the agent then. What is back, for people; none:
/// there was no former file.
///
/// # Errors
/// It could not be done: the machine needs somebody.
pub fn put_back(session: &Session, replaced: &Replaced) -> Result<Option<&'static str>, Failure> {
    let mut back = Vec::new();
    for path in &replaced.files {
        let command =
            format!("[ ! -e {path}.former ] || {{ mv {path}.former {path} && echo back; }}");
        let what = format!("putting the former {path} back");
        let said = step(session, &what, &command, &[], STEP)?;
        if said.lines().any(|line| line == "back") {
            back.push(*path);
        }
    }
    if back.is_empty() {
        return Ok(None);
    }
    let _ = session.run(&format!("systemctl reset-failed {AGENT_UNIT}"), &[], STEP);
    restart(session)?;
    Ok(Some(if back.contains(&AGENT_PATH) {
        "its former agent is back"
    } else {
        "the former units of its agent are back"
    }))
}
