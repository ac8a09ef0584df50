//! Another agent in the place of one that runs, over SSH; the former one is kept until the next.

use std::time::Duration;

use backstay_wire::rpc::clean;

use super::AGENT_PATH;
use super::install::{AGENT_UNIT, AgentBinary, FILES, Found, STEP, differs, put, step};
use super::ssh::Session;
use crate::failure::{Changed, Exit, Failure};

/// A restart: the former process may be asked to end first.
const RESTART: Duration = Duration::from_mins(2);

/// What was put on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// The files that have a former one beside them.
    files: Vec<&'static str>,
}

/// Puts the agent and its units in the place of the present ones and restarts it. The new agent must run there
/// before anything is replaced.
///
/// # Errors
/// What failed. [`Changed::No`]: the former agent is in its place, and runs. Else [`put_back`] is due: it gets what
/// was replaced by then.
pub fn replace(
    session: &Session,
    agent: &AgentBinary,
    found: &Found,
    report: &mut dyn FnMut(&str),
) -> Result<Replaced, (Failure, Replaced)> {
    let mut done = Replaced { files: Vec::new() };
    match replace_all(session, agent, found, &mut done, report) {
        Ok(()) => Ok(done),
        Err(failure) if done.files.is_empty() => Err((failure, done)),
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
    if found.agent.as_deref() != Some(agent.hash()) {
        report(&format!(
            "uploading the agent ({} KiB)",
            agent.bytes().len() / 1024
        ));
        let next = format!("{AGENT_PATH}.next");
        put(session, &next, "0755", agent.bytes(), agent.hash())?;
        let says = session.run(&format!("{next} --version"), &[], STEP)?;
        if says.status != 0 {
            // It would only take room.
            let _ = session.run(&format!("rm -f {next}"), &[], STEP);
            return Err(Failure::new(
                Exit::Error,
                format!(
                    "the new agent does not run there: {}",
                    clean(&says.complaint())
                ),
            ));
        }
        // The link first: at every moment there is an agent in the place, and after it a former one.
        let swap = format!(
            "rm -f {AGENT_PATH}.former && ln {AGENT_PATH} {AGENT_PATH}.former && mv {next} {AGENT_PATH} && sync $(dirname {AGENT_PATH})"
        );
        step(session, "putting the agent in its place", &swap, &[], STEP)?;
        done.files.push(AGENT_PATH);
    }
    for (path, text) in FILES {
        let Some(hash) = differs(session, path, text)? else {
            continue;
        };
        report(&format!("writing {path}"));
        let keep = format!("cp -p {path} {path}.former");
        step(session, &format!("keeping {path}"), &keep, &[], STEP)?;
        put(session, path, "0644", text.as_bytes(), &hash)?;
        done.files.push(path);
    }
    report("restarting the agent");
    restart(session)
}

fn restart(session: &Session) -> Result<(), Failure> {
    let command = format!("systemctl daemon-reload && systemctl restart {AGENT_UNIT}");
    step(session, "restarting the agent", &command, &[], RESTART)
        .map(drop)
        .map_err(|f| f.hint("`journalctl -u backstay-agent` there says why"))
}

/// Puts the former files back and restarts the former agent.
///
/// # Errors
/// It could not be done: the machine needs somebody.
pub fn put_back(session: &Session, replaced: &Replaced) -> Result<(), Failure> {
    for path in &replaced.files {
        let back = format!("mv {path}.former {path}");
        step(
            session,
            &format!("putting the former {path} back"),
            &back,
            &[],
            STEP,
        )?;
    }
    let _ = session.run(&format!("systemctl reset-failed {AGENT_UNIT}"), &[], STEP);
    restart(session)
}
