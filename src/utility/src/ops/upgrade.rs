//! Another agent on running nodes, one after the other: a node is left only when every member hears it and nothing has
//! moved; where that does not come about its former agent is put back and the roll ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_core::model::NodeName;
use backstay_core::plan::{Plan, Progress, StepKind};
use backstay_wire::rpc::{Request, Status, clean};

use super::apply::{list, lock, unlock};
use super::front::{Stage, Told};
use super::{Cancel, Gatherer, Picture};
use crate::failure::{Changed, Exit, Failure};
use crate::remote::install::{AgentBinary, Found, look};
use crate::remote::ssh::{self, Session};
use crate::remote::upgrade::{put_back, replace};
use crate::remote::{RemoteError, Target, fanout};

/// How often it is looked whether a node is well.
const LOOK: Duration = Duration::from_millis(300);

/// How the nodes are reached, and what they get.
pub struct Roll<'a> {
    /// Opens sessions with agents.
    pub gatherer: &'a Gatherer,
    /// Opens sessions with machines.
    pub ssh: &'a Arc<ssh::Options>,
    /// What they get.
    pub agent: &'a AgentBinary,
    /// What that calls itself.
    pub version: &'a str,
    /// How long a node may take until it is well.
    pub patience: Duration,
    /// Looked at between two nodes.
    pub cancel: &'a Cancel,
}

/// Opens a session with the machine of a node.
pub(super) fn open(
    name: &NodeName,
    picture: &Picture,
    gatherer: &Gatherer,
    options: &ssh::Options,
) -> Result<Session, Failure> {
    let system = picture.system();
    let node = system.node(name).ok_or_else(|| {
        Failure::new(
            Exit::Error,
            format!("there is no node {name} in the system"),
        )
    })?;
    match gatherer.target_of(node)? {
        Target::Ssh { contact, pins } => Ok(Session::open(&contact, &pins, options)?),
        Target::Local(_) => Err(Failure::new(
            Exit::Error,
            format!("{name} is not reached by SSH"),
        )),
    }
}

/// The machines as they are, all at once; who can't be looked at is left out and said, unless its agent did not answer
/// either: then that is told already.
pub fn look_at(
    nodes: &[NodeName],
    picture: &Picture,
    (gatherer, options): (&Gatherer, &Arc<ssh::Options>),
    report: &mut dyn FnMut(&str),
) -> BTreeMap<NodeName, Found> {
    let system = picture.system();
    let known = nodes.iter().filter(|n| system.node(n).is_some());
    let known: Vec<NodeName> = known.cloned().collect();
    let targets: Vec<_> = (known.iter().filter_map(|n| system.node(n)))
        .map(|node| gatherer.target_of(node))
        .collect();
    let own = Arc::clone(options);
    let work = move |target: Result<Target, RemoteError>| -> Result<Found, Failure> {
        match target? {
            Target::Ssh { contact, pins } => look(&Session::open(&contact, &pins, &own)?),
            Target::Local(_) => Err(Failure::new(Exit::Error, "it is not reached by SSH")),
        }
    };
    let mut found = BTreeMap::new();
    let limit = options.deadlines.whole();
    fanout(targets, limit, work, |index, said| {
        let name = &known[index];
        match said {
            Some(Ok(machine)) => {
                found.insert(name.clone(), machine);
            }
            _ if picture.silent.contains_key(name) => {}
            Some(Err(failure)) => report(&format!("{name}: {}", failure.message)),
            None => report(&format!("{name}: it did not answer in time")),
        }
    });
    found
}

/// Carries out a plan that somebody agreed to.
///
/// # Errors
/// Says which nodes have the new agent, which their former one, and which were not touched.
pub fn roll(
    plan: &Plan,
    picture: &mut Picture,
    roll: &Roll<'_>,
    report: &mut dyn FnMut(&Told),
) -> Result<Vec<NodeName>, Failure> {
    let steps = plan.steps.iter().filter(|s| s.kind == StepKind::Upgrade);
    let order: Vec<NodeName> = steps.flat_map(|s| s.on.clone()).collect();
    let all: Vec<NodeName> = picture.crew.names().cloned().collect();
    lock(&mut picture.crew, &all, &plan.title, report)?;
    let mut done: Vec<NodeName> = Vec::new();
    let mut result = Ok(());
    for name in &order {
        if roll.cancel.is_set() {
            result = Err(Failure::cancelled());
            break;
        }
        let on = std::slice::from_ref(name);
        let mut begins = Told::line(format!("{name}: agent {}", roll.version));
        begins = begins.of(StepKind::Upgrade, on, Stage::Begins);
        report(&begins);
        result = one(name, plan, picture, roll, &all, report);
        if result.is_err() {
            break;
        }
        report(&Told::line("").of(StepKind::Upgrade, on, Stage::Done));
        done.push(name.clone());
    }
    unlock(&mut picture.crew, &all);
    match result {
        Ok(()) => Ok(done),
        Err(failure) => Err(stopped(failure, &done, &order)),
    }
}

/// What there is now, for whoever has to go on.
fn stopped(failure: Failure, done: &[NodeName], order: &[NodeName]) -> Failure {
    let begun = done.len() + usize::from(failure.exit != Exit::Cancelled);
    let untouched = order.get(begun..).unwrap_or_default();
    let mut message = if failure.exit == Exit::Cancelled {
        "broken off between two nodes".to_owned()
    } else {
        failure.message.clone()
    };
    for (what, nodes) in [("upgraded and well", done), ("not touched", untouched)] {
        if !nodes.is_empty() {
            message = format!("{message}; {what}: {}", list(nodes));
        }
    }
    let changed = match failure.changed {
        Changed::No if !done.is_empty() => Changed::Yes,
        changed => changed,
    };
    Failure { message, ..failure }.changed(changed)
}

fn one(
    name: &NodeName,
    plan: &Plan,
    picture: &mut Picture,
    roll: &Roll<'_>,
    all: &[NodeName],
    report: &mut dyn FnMut(&Told),
) -> Result<(), Failure> {
    let of = |f: Failure| {
        let message = format!("{name}: {}", f.message);
        Failure { message, ..f }
    };
    let mut say = |line: &str| report(&Told::line(format!("{name}: {line}")));
    let session = open(name, picture, roll.gatherer, roll.ssh).map_err(of)?;
    let found = look(&session).map_err(of)?;
    let put = replace(&session, roll.agent, &found, &mut say);
    picture.crew.remove(name);
    let (why, replaced) = match put {
        Ok(replaced) => match well(
            name,
            plan,
            picture,
            (roll, Some(roll.version)),
            all,
            &mut say,
        ) {
            Ok(()) => return Ok(()),
            Err(why) => (Failure::new(Exit::Error, why), replaced),
        },
        Err((failure, _)) if failure.changed == Changed::No => return Err(of(failure)),
        Err(put) => put,
    };
    say(&format!("{}; going back to its former agent", why.message));
    // The answer may be missing because the session broke.
    drop(session);
    let back = open(name, picture, roll.gatherer, roll.ssh)
        .and_then(|session| put_back(&session, &replaced));
    let failed = |said: String| of(Failure::new(Exit::Error, format!("{}{said}", why.message)));
    let look_now = format!("look at {name} now: `systemctl status backstay-agent`");
    let back = match back {
        Ok(Some(back)) => back,
        Ok(None) => {
            let said = "; no former agent is kept there, so the one in place stays".to_owned();
            return Err(failed(said).hint(look_now).changed(Changed::Yes));
        }
        Err(worse) => {
            let said = format!(
                ", and its former agent could not be put back: {}",
                worse.message
            );
            return Err(failed(said).hint(look_now).changed(Changed::Yes));
        }
    };
    let (after, changed) = match well(name, plan, picture, (roll, None), all, &mut say) {
        Ok(()) => (", and it is well".to_owned(), Changed::No),
        Err(still) => (format!(", but {still}"), Changed::Yes),
    };
    Err(failed(format!("; {back}{after}"))
        .hint("`journalctl -u backstay-agent` there says why")
        .changed(changed))
}

/// Waits until the node's agent answers as that version, and every member sees all as it was. Else: why not.
fn well(
    name: &NodeName,
    plan: &Plan,
    picture: &mut Picture,
    (roll, version): (&Roll<'_>, Option<&str>),
    all: &[NodeName],
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let until = Instant::now() + roll.patience;
    let mut missing = String::new();
    loop {
        let now = match look_round(name, plan, picture, (roll, version), all) {
            Progress::Reached => return Ok(()),
            Progress::Hopeless(why) => return Err(clean(&why)),
            Progress::Waiting(what) => clean(&what),
        };
        if now != missing {
            say(&format!("waiting: {now}"));
            missing = now;
        }
        if Instant::now() >= until {
            let limit = roll.patience.as_secs();
            return Err(format!("not well after {limit} s: {missing}"));
        }
        std::thread::sleep(LOOK);
    }
}

fn look_round(
    name: &NodeName,
    plan: &Plan,
    picture: &mut Picture,
    (roll, version): (&Roll<'_>, Option<&str>),
    all: &[NodeName],
) -> Progress {
    for lost in all
        .iter()
        .filter(|n| !picture.crew.has(n))
        .cloned()
        .collect::<BTreeSet<_>>()
    {
        let system = picture.system();
        let Some(node) = system.node(&lost) else {
            continue;
        };
        let target = roll.gatherer.target_of(node);
        match target.and_then(|target| roll.gatherer.handle.open(&target)) {
            Ok(client) => picture.crew.add(lost, client),
            Err(error) => return Progress::Waiting(format!("{lost} does not answer ({error})")),
        }
    }
    let says = picture
        .crew
        .get(name)
        .map(|client| client.hello().agent.clone());
    if let (Some(says), Some(version)) = (says, version)
        && says != version
    {
        return Progress::Hopeless(format!("its agent says that it is {says}, not {version}"));
    }
    let answers = picture
        .crew
        .each(all, |_, client| client.call::<Status>(Request::Status));
    for (eye, answer) in answers {
        let status = match answer {
            Ok(status) => status,
            Err(error) => return Progress::Waiting(format!("{eye} does not answer ({error})")),
        };
        for view in status.clusters {
            match plan.goal.of(&view.name).reached(&[view]) {
                Progress::Reached => {}
                Progress::Waiting(what) => {
                    return Progress::Waiting(format!("{what} (seen by {eye})"));
                }
                Progress::Hopeless(why) => {
                    return Progress::Hopeless(format!("{why} (seen by {eye})"));
                }
            }
        }
    }
    Progress::Reached
}
