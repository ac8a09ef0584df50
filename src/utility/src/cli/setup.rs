//! `backstay setup`: the guided set-up over real hosts. Every change is made as the flags make it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backstay_core::model::{Alias, CLOCKS_WITHIN, ClusterName, NodeName, SystemRole};
use backstay_core::plan::{Action, Aim, CreateCluster, Goal, Plan, command_line};
use backstay_wire::rpc::{Request, Text};
use dialoguer::console::Term;

use super::act::{act, carry_out, carry_through, looked_at, plan_for};
use super::cluster::document_of;
use super::context::{Context, say};
use super::{lab, node, packages};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::preflight::{self, judge, preflight};
use crate::ops::watch::watch;
use crate::ops::{Picture, enrol};
use crate::output::plan as shown;
use crate::output::style::Tone;
use crate::remote::install::{AgentBinary, look};
use crate::remote::ssh::Session;
use crate::remote::{Contact, HostKey, Pins, RemoteError, Target, fanout};
use crate::setup::answers::{Recorder, Replay};
use crate::setup::ask::Asker;
use crate::setup::drive::Drive;
use crate::setup::plain::Plain;
use crate::setup::prompts::Prompts;
use crate::setup::system::{Finding, Inspected, Known, Learned, Present, Shown, System, Trip};

/// How often a node is asked when the way to it is measured.
const QUESTIONS: usize = 20;
/// What a breaking off says once something was done.
const PARTED: &str =
    "cancelled; what was carried out so far stays; `backstay setup` again goes on from there";

/// Runs the set-up.
pub(super) fn run(
    context: &Context,
    answers: Option<PathBuf>,
    record: Option<PathBuf>,
    plain: bool,
) -> Result<Exit, Failure> {
    if context.json() {
        return Err(
            Failure::new(Exit::Usage, "set-up speaks text only; nothing was changed")
                .hint("programs use the commands that its summary shows"),
        );
    }
    let mut asker = asker(context, answers, plain)?;
    let recorder = record.map(|path| Recorder::begin(&path)).transpose()?;
    // Its questions are the set-up's own.
    let mut own = context.clone();
    own.common.yes = true;
    let mut world = World { context: own };
    let mut drive = Drive::new(&mut world, &mut *asker, context.style, context.overrides());
    drive.recorder = recorder;
    drive.dry = context.common.dry_run;
    let outcome = drive.run()?;
    say(if outcome.dry {
        "dry run: nothing was changed\n"
    } else {
        "set up and healthy; `backstay status` shows it\n"
    });
    Ok(Exit::Done)
}

fn asker(
    context: &Context,
    answers: Option<PathBuf>,
    plain: bool,
) -> Result<Box<dyn Asker>, Failure> {
    if let Some(path) = answers {
        return Ok(Box::new(Replay::read(&path, Box::new(say))?));
    }
    if !context.can_ask() {
        return Err(Failure::new(
            Exit::Usage,
            "set-up asks questions, and nobody can be asked here; nothing was changed",
        )
        .hint("run it on a terminal, or give --answers FILE (`--record FILE` makes one)"));
    }
    let dumb = std::env::var_os("TERM").is_none_or(|t| t == "dumb" || t.is_empty());
    if plain || dumb {
        let input = BufReader::new(std::io::stdin());
        return Ok(Box::new(Plain::new(
            input,
            std::io::stderr(),
            context.style,
        )));
    }
    Ok(Box::new(Prompts::new(Term::stderr(), context.style)))
}

/// The real hosts.
struct World {
    context: Context,
}

/// Trusted by a fingerprint that was compared.
fn trusting(context: &Context, print: &str) -> Context {
    let mut trusting = context.clone();
    trusting.common.host_key.push(print.to_owned());
    trusting
}

fn ignoring(context: &Context, names: &[String]) -> Context {
    let mut ignoring = context.clone();
    ignoring.common.ignore_check.extend_from_slice(names);
    ignoring
}

/// Does the same with all hosts at once; one that hangs is given up.
fn at_once<I: Clone + Send + 'static, T: Send + 'static>(
    context: &Context,
    items: &[I],
    name: impl Fn(&I) -> String,
    work: impl Fn(I) -> Result<T, Failure> + Send + Sync + 'static,
) -> Vec<Result<T, Failure>> {
    let limit = context.ssh.deadlines.whole();
    let late = |item: &I| {
        Err(Failure::from(RemoteError::Timeout {
            host: name(item),
            during: "all steps together",
            after: limit,
        }))
    };
    let mut answers: Vec<Result<T, Failure>> = items.iter().map(late).collect();
    fanout(items.to_vec(), limit, work, |index, answer| {
        if let Some(answer) = answer {
            answers[index] = answer;
        }
    });
    answers
}

fn inspect(
    context: &Context,
    host: &Contact,
    print: &str,
    arch: &str,
) -> Result<Inspected, Failure> {
    let finding = |check: &str, wrong: Option<String>, mend: &str| Finding {
        host: host.to_string(),
        check: check.to_owned(),
        wrong,
        mend: mend.to_owned(),
        may_ignore: false,
    };
    if context.common.sockets.contains_key(&host.host) {
        let target = Target::Ssh {
            contact: host.clone(),
            pins: Pins::default(),
        };
        let client = context.handle().open(&target)?;
        return Ok(Inspected {
            hostname: host.host.clone(),
            enrolled: client.hello().node.clone().zip(client.hello().id),
            findings: vec![finding("agent", None, "")],
        });
    }
    let reached = lab::resolve(context, host.clone())?;
    let pins = Pins::default().or_fingerprints(&[print.to_owned()]);
    let session = match Session::open(&reached, &pins, &context.ssh) {
        Ok(session) => session,
        Err(error) => {
            let mend = error
                .hint()
                .unwrap_or_else(|| "see that SSH lets you in".to_owned());
            return Ok(Inspected {
                findings: vec![finding("ssh", Some(error.to_string()), &mend)],
                ..Inspected::default()
            });
        }
    };
    let found = look(&session)?;
    let mut findings = vec![finding("ssh", None, "")];
    for (check, wrong) in found.checks(arch) {
        let (what, mend) = wrong.unzip();
        findings.push(finding(check, what, mend.unwrap_or_default()));
    }
    let mut enrolled = None;
    if found.active {
        let target = Target::Ssh {
            contact: reached,
            pins,
        };
        // An agent that does not answer is installed anew.
        if let Ok(client) = context.handle().open(&target) {
            enrolled = client.hello().node.clone().zip(client.hello().id);
        }
    }
    Ok(Inspected {
        hostname: found.hostname,
        enrolled,
        findings,
    })
}

impl World {
    fn gather(&self) -> Result<Picture, Failure> {
        let note = &mut |line: &str| self.context.note(line);
        self.context.gatherer()?.gather(note)
    }

    /// After something was done: breaking off says so.
    fn parted<T>(&self, done: Result<T, Failure>) -> Result<T, Failure> {
        if done.is_ok() {
            self.context.unguard(PARTED);
        }
        done
    }
}

/// The plan in words, if nothing stops it. Nothing is changed: packages that the flag wants come with [`System::create`].
pub(super) fn proposal(
    context: &Context,
    wanted: &CreateCluster,
    picture: &mut Picture,
) -> Result<String, Failure> {
    let action = Action::CreateCluster(wanted.clone());
    let (plan, problems, mut checks) = looked_at(&action, picture)?;
    let packages = packages::foreseen(context, &plan, picture, &mut checks);
    let overrides = context.overrides();
    judge(problems, &checks, &overrides).map_err(|f| packages::hinted(f, &plan, picture))?;
    let mut text = shown::plan(&plan, &checks, &overrides, context.style);
    for words in packages {
        let line = format!("{words}: installed before anything else, then all is checked again");
        text.push_str(&context.style.wrap("  packages  ", &line, Tone::Warn));
    }
    let title = context.style.paint("the same by commands", Tone::Bold);
    let _ = writeln!(text, "{title}");
    for line in commands(picture, &plan, wanted) {
        // Whole, to be copied: not wrapped.
        let _ = writeln!(text, "  {}", backstay_wire::rpc::clean(&line));
    }
    Ok(text)
}

fn present(picture: &Picture) -> Present {
    let system = picture.system();
    let living = || picture.clusters.iter().filter(|c| !c.deleted);
    let cluster_of = |node: &NodeName| {
        let listed = system.clusters_of(node).next().map(|c| c.name.clone());
        // The index may be behind.
        listed.or_else(|| {
            living()
                .find(|c| c.member(node).is_some())
                .map(|c| c.name.clone())
        })
    };
    let prints = |keys: &[String]| {
        let keys = keys.iter().filter_map(|k| k.parse::<HostKey>().ok());
        keys.map(|k| k.fingerprint()).collect()
    };
    let mut clusters: Vec<ClusterName> = system.clusters.iter().map(|c| c.name.clone()).collect();
    clusters.extend(living().map(|c| c.name.clone()));
    clusters.sort();
    clusters.dedup();
    Present {
        nodes: system
            .nodes
            .iter()
            .map(|n| Known {
                name: n.name.clone(),
                id: n.id,
                contact: n.contact.clone(),
                prints: prints(&n.host_keys),
                role: n.role,
                cluster: cluster_of(&n.name),
            })
            .collect(),
        clusters,
    }
}

/// The checks of machines with running agents, good and bad.
fn findings(picture: &Picture, nodes: &[NodeName]) -> Vec<Finding> {
    let facts = || {
        picture
            .facts
            .iter()
            .filter(|(name, _)| nodes.contains(name))
    };
    let clocks = preflight::clocks(facts(), CLOCKS_WITHIN);
    let mut found = Vec::new();
    for (name, fact) in facts() {
        let writable = picture.hellos.get(name).is_none_or(|h| h.writable);
        let mut wrong = preflight::machine(name, fact, writable);
        let concerned = |c: &&preflight::Check| {
            let mut words = c.sentence.split([' ', ';']);
            words.any(|word| word == name.as_str())
        };
        wrong.extend(clocks.iter().filter(concerned).cloned());
        for (check, mend) in preflight::MACHINE_CHECKS {
            let failed = wrong.iter().find(|c| c.name == check);
            found.push(Finding {
                host: name.to_string(),
                check: check.to_owned(),
                wrong: failed.map(|c| c.sentence.clone()),
                mend: mend.to_owned(),
                may_ignore: failed.is_some_and(|c| c.may_ignore),
            });
        }
    }
    found
}

fn measure(picture: &mut Picture, nodes: &[NodeName]) -> Vec<Trip> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let trips = picture.crew.each(nodes, move |_, client| {
        let mut all = Vec::new();
        for _ in 0..QUESTIONS {
            let began = Instant::now();
            match client.call::<Text>(Request::SystemGet) {
                Err(error) if error.fault().is_none() => return Err(error),
                _ => all.push(micros(began.elapsed())),
            }
        }
        all.sort_unstable();
        Ok(all)
    });
    let trip = |(node, all): (NodeName, Result<Vec<u64>, RemoteError>)| {
        let all = all.ok()?;
        Some(Trip {
            node,
            usual_us: *all.get(all.len() / 2)?,
            longest_us: *all.last()?,
        })
    };
    trips.into_iter().filter_map(trip).collect()
}

/// U3: the commands that do the same, from bare hosts on.
fn commands(picture: &Picture, plan: &Plan, wanted: &CreateCluster) -> Vec<String> {
    let system = picture.system();
    let homes: BTreeSet<&NodeName> = wanted.services.iter().map(|s| &s.node).collect();
    let mut lines = Vec::new();
    let mut members: Vec<&NodeName> = homes.into_iter().collect();
    members.push(&wanted.standby);
    members.extend(&wanted.witnesses);
    for node in members.iter().filter_map(|name| system.node(name)) {
        let add = Action::AddNode {
            name: node.name.clone(),
            id: node.id,
            contact: node.contact.clone(),
            host_keys: Vec::new(),
        };
        lines.push(command_line(&add, 0));
    }
    let roles = [(&wanted.standby, SystemRole::Standby)].into_iter();
    let witnesses = wanted.witnesses.iter().map(|w| (w, SystemRole::Witness));
    for (node, role) in roles.chain(witnesses) {
        let node = node.clone();
        lines.push(command_line(&Action::SetRole { node, role }, 0));
    }
    lines.push(plan.command.clone());
    lines
}

impl System for World {
    fn present(&mut self) -> Result<Present, Failure> {
        if self.context.gatherer()?.entries.is_empty() {
            return Ok(Present::default());
        }
        self.gather().map(|picture| present(&picture))
    }

    fn look(&mut self, hosts: &[Contact]) -> Vec<Result<Shown, Failure>> {
        let context = self.context.clone();
        at_once(&self.context, hosts, ToString::to_string, move |host| {
            if context.common.sockets.contains_key(&host.host) {
                // The lab without root: an agent of this machine has no host key.
                return Ok(Shown {
                    kind: "socket".to_owned(),
                    print: format!("{host} on this machine"),
                    vouched: true,
                });
            }
            let host = lab::resolve(&context, host)?;
            let (key, vouched) = node::shown(&context, &host)?;
            Ok(Shown {
                kind: key.name().to_owned(),
                print: key.fingerprint(),
                vouched,
            })
        })
    }

    fn inspect(&mut self, hosts: &[(Contact, String)]) -> Vec<Result<Inspected, Failure>> {
        // Without the agent's program there is nothing to go on with.
        let agent = node::agent_path().and_then(|path| AgentBinary::load(&path));
        let arch = match agent {
            Ok(agent) => agent.arch(),
            Err(failure) => return hosts.iter().map(|_| Err(failure.clone())).collect(),
        };
        let context = self.context.clone();
        let name = |(host, _): &(Contact, String)| host.to_string();
        at_once(&self.context, hosts, name, move |(host, print)| {
            inspect(&context, &host, &print, arch)
        })
    }

    fn admit(&mut self, host: &Contact, print: &str, name: &NodeName) -> Result<(), Failure> {
        let context = trusting(&self.context, print);
        let host = lab::resolve(&context, host.clone())?;
        self.parted(node::add(&context, &host, name).map(|_| ()))
    }

    fn assign(&mut self, node: &NodeName, role: SystemRole) -> Result<(), Failure> {
        let action = Action::SetRole {
            node: node.clone(),
            role,
        };
        self.parted(act(&self.context, |_| Ok(action)))
    }

    fn learn(&mut self, nodes: &[NodeName]) -> Result<Learned, Failure> {
        let mut picture = self.gather()?;
        for node in nodes {
            if let Some(error) = picture.silent.get(node) {
                return Err(error.clone().into());
            }
        }
        let facts = picture
            .facts
            .iter()
            .filter(|(name, _)| nodes.contains(name));
        let facts = facts
            .map(|(name, fact)| (name.clone(), fact.facts.clone()))
            .collect();
        let living = picture.clusters.iter().filter(|c| !c.deleted);
        let taken = living
            .flat_map(|c| {
                let aliases = c.services.iter().flat_map(|s| &s.aliases).map(Alias::ip);
                let bases = c
                    .members
                    .iter()
                    .flat_map(|m| &m.bases)
                    .map(ipnet::IpNet::addr);
                aliases.chain(bases).collect::<Vec<_>>()
            })
            .collect();
        Ok(Learned {
            facts,
            findings: findings(&picture, nodes),
            trips: measure(&mut picture, nodes),
            taken,
        })
    }

    fn plan(&mut self, wanted: &CreateCluster, ignore: &[String]) -> Result<String, Failure> {
        let context = ignoring(&self.context, ignore);
        proposal(&context, wanted, &mut self.gather()?)
    }

    fn create(&mut self, wanted: &CreateCluster, ignore: &[String]) -> Result<(), Failure> {
        let context = ignoring(&self.context, ignore);
        let mut picture = self.gather()?;
        let action = Action::CreateCluster(wanted.clone());
        let (mut plan, mut problems, mut checks) = looked_at(&action, &mut picture)?;
        let mut installed = false;
        if problems.is_empty() {
            // Setup has its own way to ask: here only the flag does it.
            installed = packages::offer(&context, &mut plan, &mut picture, (&checks, false))?;
        }
        if installed {
            (problems, checks) = preflight(&action, &plan, &picture);
        }
        let told = packages::told(installed);
        judge(problems, &checks, &context.overrides()).map_err(&told)?;
        let done = carry_through(&context, &plan, &mut picture);
        self.parted(done.map(|_| ()).map_err(told))
    }

    fn watch(&mut self, cluster: &ClusterName) -> Result<(), Failure> {
        let mut picture = self.gather()?;
        let document = document_of(&picture, cluster)?.clone();
        // Whoever made it may have been cut off before the system's index was written.
        let action = Action::Apply {
            document: Box::new(document.clone()),
        };
        if plan_for(&action, &picture)?.changed {
            carry_out(&self.context, &action, &mut picture)?;
            picture = self.gather()?;
        }
        let eyes: Vec<NodeName> = document.members.iter().map(|m| m.name.clone()).collect();
        let mut aims = vec![Aim::Up {
            cluster: cluster.clone(),
            nodes: eyes.clone(),
        }];
        let run = document.services.iter().filter(|s| !s.stopped);
        aims.extend(run.map(|s| Aim::Runs {
            cluster: cluster.clone(),
            service: s.name.clone(),
            on: None,
            since_term: 0,
        }));
        let context = &self.context;
        let note = &mut |line: &str| context.note(line);
        let (goal, crew) = (Goal { aims }, &mut picture.crew);
        context.guard();
        let seen = watch(
            &goal,
            crew,
            &eyes,
            context.patience(),
            &context.cancel,
            note,
        );
        // Only watched: nothing was changed by that.
        seen.map_err(|f| f.changed(Changed::No))
    }

    fn draw(&mut self) -> Result<(u64, String), Failure> {
        Ok((enrol::random()?, enrol::random_key()?))
    }
}
