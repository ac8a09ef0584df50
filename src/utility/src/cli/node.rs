//! `backstay node ...`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backstay_core::model::{ClusterDocument, NodeId, NodeName, SystemRole};
use backstay_core::plan::Action;
use serde_json::json;

use super::act::{
    End, act, carry_out, carry_through, finish, looked_at, may_change, plan_for, show_plan,
};
use super::args::{NodeVerb, RoleArgument};
use super::context::{Context, say, say_json};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::apply::Applied;
use crate::ops::gather::wall_ms;
use crate::ops::preflight::judge;
use crate::ops::{Crew, Picture, enrol, preflight};
use crate::output::style::Tone;
use crate::output::{json, lists};
use crate::remote::install::{AgentBinary, Found, install, look};
use crate::remote::ssh::Session;
use crate::remote::{Client, Contact, HostKey, Pins, RemoteError, Target};

/// How long a freshly started agent may take until it answers.
const START: Duration = Duration::from_secs(30);

/// Runs a verb.
pub(super) fn run(context: &Context, verb: NodeVerb) -> Result<Exit, Failure> {
    match verb {
        NodeVerb::List => list(context),
        NodeVerb::Show { node } => show(context, &node),
        NodeVerb::Check { node } => check(context, &node),
        NodeVerb::Add { host, name } => add(context, &super::lab::resolve(context, host)?, &name),
        NodeVerb::Remove { node } => remove(context, &node),
        NodeVerb::Upgrade { nodes, all } => super::upgrade::upgrade(context, nodes, all),
        NodeVerb::Replace { node, with } => {
            super::replace::replace(context, &node, &super::lab::resolve(context, with)?)
        }
        verb @ (NodeVerb::Maintenance { .. } | NodeVerb::Role { .. }) => {
            act(context, |_| action(verb)).map(|()| Exit::Done)
        }
    }
}

/// What a verb that needs nothing but a plan asks for.
pub(super) fn action(verb: NodeVerb) -> Result<Action, Failure> {
    Ok(match verb {
        NodeVerb::Maintenance {
            node, end: true, ..
        } => Action::EndMaintenance { node },
        NodeVerb::Maintenance {
            node,
            time,
            moves,
            reason,
            ..
        } => Action::Maintain {
            node,
            reason,
            until: (wall_ms() / 1000).saturating_add(time.as_secs()),
            moves,
        },
        NodeVerb::Role { node, role } => {
            let role = match role {
                RoleArgument::Free => SystemRole::Free,
                RoleArgument::Standby => SystemRole::Standby,
                RoleArgument::Witness => SystemRole::Witness,
            };
            Action::SetRole { node, role }
        }
        NodeVerb::List
        | NodeVerb::Show { .. }
        | NodeVerb::Check { .. }
        | NodeVerb::Add { .. }
        | NodeVerb::Upgrade { .. }
        | NodeVerb::Replace { .. }
        | NodeVerb::Remove { .. } => {
            return Err(Failure::new(Exit::Usage, "it takes more than a plan"));
        }
    })
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let picture = context.gatherer()?.gather(&mut |_| {})?;
    if context.json() {
        let system = picture.system();
        let items: Vec<_> = system
            .nodes
            .iter()
            .map(|n| {
                let hello = picture.hellos.get(&n.name);
                json!({
                    "name": n.name, "id": n.id, "role": n.role, "contact": n.contact,
                    "answers": hello.is_some(),
                    "state": if hello.is_some() { "up" } else { "unknown" },
                    "agent": hello.map(|h| &h.agent),
                    "clusters": system.clusters_of(&n.name).map(|c| &c.name).collect::<Vec<_>>(),
                    "error": picture.silent.get(&n.name).map(ToString::to_string),
                })
            })
            .collect();
        let body = json!({"revision": system.revision, "nodes": items});
        say_json(&json::document("NodeList", body), false);
    } else {
        say(&lists::nodes(&picture, context.style));
    }
    Ok(if picture.silent.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

/// What is known of one node, or why it does not answer.
fn one(context: &Context, node: &NodeName) -> Result<Picture, Failure> {
    let picture = context.gatherer()?.gather(&mut |_| {})?;
    if picture.system().node(node).is_none() {
        return Err(Failure::new(
            Exit::Error,
            format!("there is no node {node} in the system"),
        )
        .hint("`backstay node list` shows them"));
    }
    match picture.silent.get(node) {
        Some(error) => Err(error.clone().into()),
        None => Ok(picture),
    }
}

fn show(context: &Context, node: &NodeName) -> Result<Exit, Failure> {
    let picture = one(context, node)?;
    let system = picture.system();
    let (Some(known), Some(fact), Some(hello)) = (
        system.node(node),
        picture.facts.get(node),
        picture.hellos.get(node),
    ) else {
        return Err(Failure::new(
            Exit::Unreachable,
            format!("{node} does not answer"),
        ));
    };
    if context.json() {
        let body = json!({
            "name": node, "id": known.id, "role": known.role, "contact": known.contact,
            "host_keys": known.host_keys, "hello": hello, "facts": fact.facts,
        });
        say_json(&json::document("Node", body), false);
        return Ok(Exit::Done);
    }
    let mut text = format!(
        "{}  {}  {}\n",
        context.style.paint(node.as_str(), Tone::Bold),
        lists::role(known.role),
        backstay_wire::rpc::clean(&known.contact)
    );
    for key in known
        .host_keys
        .iter()
        .filter_map(|k| k.parse::<HostKey>().ok())
    {
        let _ = writeln!(text, "  host key    {} {}", key.name(), key.fingerprint());
    }
    for (cluster, revision) in &hello.clusters {
        let _ = writeln!(text, "  cluster     {cluster}, revision {revision}");
    }
    for (cluster, revision) in &hello.staged {
        let _ = writeln!(
            text,
            "  staged      {cluster}, revision {revision}: never committed, it did not take effect"
        );
    }
    text.push_str(&lists::facts(&fact.facts, context.style));
    say(&text);
    Ok(Exit::Done)
}

fn check(context: &Context, node: &NodeName) -> Result<Exit, Failure> {
    let picture = one(context, node)?;
    let (Some(fact), Some(hello)) = (picture.facts.get(node), picture.hellos.get(node)) else {
        return Err(Failure::new(
            Exit::Unreachable,
            format!("{node} does not answer"),
        ));
    };
    let mut checks = preflight::machine(node, fact, hello.writable);
    let in_it = |d: &&ClusterDocument| d.member(node).is_some();
    let within = preflight::clocks_within(picture.clusters.iter().filter(in_it));
    let clocks = preflight::clocks(picture.facts.iter(), within);
    checks.extend(clocks.filter(|c| c.sentence.contains(node.as_str())));
    if context.json() {
        let body = json!({"node": node, "good": checks.is_empty(), "checks": checks});
        say_json(&json::document("NodeCheck", body), false);
    } else if checks.is_empty() {
        say(&format!("{node} is in order\n"));
    } else {
        for check in &checks {
            let first = format!("{} ({}): ", check.name, check.rule);
            say(&context.style.wrap(&first, &check.sentence, Tone::Warn));
        }
    }
    Ok(if checks.is_empty() {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// The agent to install: named, else the one beside this program.
pub(super) fn agent_path() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os("BACKSTAY_AGENT").filter(|v| !v.is_empty()) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|e| {
        Failure::new(Exit::Error, format!("this program can't find itself: {e}"))
            .hint("name the agent with BACKSTAY_AGENT=FILE")
    })?;
    Ok(own.with_file_name("backstay-agent"))
}

/// The key by which a new host is known from now on: vouched for by the options or by memory, else
/// confirmed by the admin.
pub(super) fn pin(context: &Context, host: &Contact) -> Result<HostKey, Failure> {
    let (shown, vouched) = shown(context, host)?;
    if !vouched {
        // Nobody vouches for it: shown, and asked for on its own. --yes is a yes to the plan, not to a key
        // that nobody has compared.
        if !context.can_ask() || context.common.yes {
            return Err(RemoteError::HostKeyUnknown {
                host: host.to_string(),
                shown: shown.fingerprint(),
            }
            .into());
        }
        context.note(&format!(
            "{host} shows the host key {} {}",
            shown.name(),
            shown.fingerprint()
        ));
        context.confirm("Is that what its console shows (ssh-keygen -lf)?")?;
        return Ok(shown);
    }
    Ok(shown)
}

/// The key that a host shows, and whether the options or memory vouch for it.
pub(super) fn shown(context: &Context, host: &Contact) -> Result<(HostKey, bool), Failure> {
    let pins = context.pins(host)?;
    let shown = Session::look(host, &context.ssh)?;
    if pins.is_empty() {
        return Ok((shown, false));
    }
    // The host may have been shown by another of its keys: ask for the pinned one.
    match pins.judge(&host.to_string(), &shown) {
        Ok(()) => Ok((shown, true)),
        Err(changed) => {
            let session = Session::open(host, &pins, &context.ssh).map_err(|e| match e {
                RemoteError::HostKeyChanged { .. } => Failure::from(changed),
                other => other.into(),
            })?;
            Ok((session.host_key().clone(), true))
        }
    }
}

pub(super) fn wait_for_agent(context: &Context, target: &Target) -> Result<Client, Failure> {
    let until = Instant::now() + START;
    let handle = context.handle();
    loop {
        match handle.open(target) {
            Ok(client) => return Ok(client),
            Err(RemoteError::NoAgent { .. } | RemoteError::Closed { .. })
                if Instant::now() < until && !context.cancel.is_set() =>
            {
                std::thread::sleep(Duration::from_millis(300));
            }
            Err(error) => {
                return Err(Failure::from(error)
                    .hint("`journalctl -u backstay-agent` there says why; then the same command again")
                    .changed(Changed::Yes));
            }
        }
    }
}

/// The system as far as it can be reached; none yet: an empty one.
fn present(context: &Context, host: &Contact) -> Result<Picture, Failure> {
    let mut gatherer = context.gatherer()?;
    // An interrupted attempt may have left the new host in memory; it is no way into the system.
    gatherer.entries.retain(|entry| match entry {
        Target::Ssh { contact, .. } => (&contact.host, contact.port) != (&host.host, host.port),
        Target::Local(_) => true,
    });
    if gatherer.entries.is_empty() {
        return Ok(Picture {
            crew: Crew::new(context.ssh.deadlines.whole()),
            ..Picture::default()
        });
    }
    gatherer.gather(&mut |line| context.note(line))
}

pub(super) fn show_machine(context: &Context, host: &Contact, key: &HostKey, found: &Found) {
    if context.json() {
        return;
    }
    context.say(&format!(
        "{host}: {}, systemd {}, {} MiB free, agent {}\n  host key {} {}\n",
        backstay_wire::rpc::clean(&found.arch),
        found
            .systemd
            .as_deref()
            .map_or("none".to_owned(), backstay_wire::rpc::clean),
        found.free_kib.unwrap_or(0) / 1024,
        if found.active {
            "running"
        } else if found.agent.is_some() {
            "installed"
        } else {
            "not there"
        },
        key.name(),
        key.fingerprint()
    ));
}

pub(super) fn add(context: &Context, host: &Contact, name: &NodeName) -> Result<Exit, Failure> {
    if context.common.sockets.contains_key(&host.host) {
        return add_running(context, host, name);
    }
    let key = pin(context, host)?;
    let pins = Pins::keys([key.clone()]);
    let target = Target::Ssh {
        contact: host.clone(),
        pins: pins.clone(),
    };
    let mut picture = present(context, host)?;
    may_change(&picture)?;
    let keys = std::slice::from_ref(&key);
    let new = Newcomer { name, host, keys };
    let session = Session::open(host, &pins, &context.ssh)?;
    let found = look(&session)?;
    show_machine(context, host, &key, &found);
    let agent = AgentBinary::load(&agent_path()?)?;
    // The identity that the system knows for this name wins over a new one: an earlier attempt may have
    // got that far, or the machine's state may have been lost.
    let known = picture.system().node(name).map(|n| n.id);
    let fresh = enrol::random()?;
    // Refusals of the rules come before anything is changed on the machine.
    let first = plan_for(&new.action(known.unwrap_or(NodeId(fresh))), &picture)?;
    if context.common.dry_run {
        let problems = found.problems(&host.to_string(), std::env::consts::ARCH);
        judge(problems, &[], &context.overrides())?;
        return carry_out(
            context,
            &new.action(known.unwrap_or(NodeId(fresh))),
            &mut picture,
        )
        .map(|_| Exit::Done);
    }
    show_plan(context, &first, &[]);
    if first.changed || !found.active {
        context.confirm(&format!(
            "Install the agent on {host} and add it as {name}?"
        ))?;
    }
    context.guard();
    let installed = install(&session, &host.to_string(), &found, &agent, &mut |line| {
        context.note(&format!("{name}: {line}"));
    })?;
    drop(session);
    let client = wait_for_agent(context, &target)?;
    new.join(context, installed, client, picture)
}

/// The lab without root: the agent runs, and there is no host to look at.
fn add_running(context: &Context, host: &Contact, name: &NodeName) -> Result<Exit, Failure> {
    let keys = &[];
    let new = Newcomer { name, host, keys };
    let mut picture = present(context, host)?;
    may_change(&picture)?;
    let known = picture.system().node(name).map(|n| n.id);
    let action = new.action(known.unwrap_or(NodeId(enrol::random()?)));
    if context.common.dry_run {
        return carry_out(context, &action, &mut picture).map(|_| Exit::Done);
    }
    show_plan(context, &plan_for(&action, &picture)?, &[]);
    context.confirm(&format!("Add {host} as {name}?"))?;
    let client = context.handle().open(&Target::Ssh {
        contact: host.clone(),
        pins: Pins::default(),
    })?;
    new.join(context, false, client, picture)
}

/// A machine that becomes a node.
struct Newcomer<'a> {
    name: &'a NodeName,
    host: &'a Contact,
    /// By which it is known from now on.
    keys: &'a [HostKey],
}

impl Newcomer<'_> {
    fn action(&self, id: NodeId) -> Action {
        Action::AddNode {
            name: self.name.clone(),
            id,
            contact: self.host.to_string(),
            host_keys: self.keys.iter().map(ToString::to_string).collect(),
        }
    }

    /// Tells its agent who it is, and the system that it is there. `installed`: its agent just was.
    fn join(
        &self,
        context: &Context,
        installed: bool,
        mut client: Client,
        mut picture: Picture,
    ) -> Result<Exit, Failure> {
        let name = self.name;
        let known = picture.system().node(name).map(|n| n.id);
        let id = match (client.hello().id, known) {
            (None, Some(known)) => known,
            _ => enrol::identity(&mut client, name, &picture.system())?,
        };
        let half = |f: Failure| {
            if installed {
                f.after_change()
                    .hint("the agent is installed; the same command again goes on from there")
            } else {
                f
            }
        };
        let enrolled = enrol::enrol(&mut client, name, id).map_err(half)?;
        context.note(&format!("{name}: it knows its name"));
        picture.hellos.insert(name.clone(), client.hello().clone());
        picture.silent.remove(name);
        picture.crew.add(name.clone(), client);
        self.remember(context)?;
        // It has been shown and agreed to.
        let (plan, problems, checks) = looked_at(&self.action(id), &mut picture).map_err(half)?;
        judge(problems, &checks, &context.overrides()).map_err(half)?;
        if plan.changed {
            carry_through(context, &plan, &mut picture).map_err(half)?;
            return Ok(Exit::Done);
        }
        finish(context, &plan, &Applied::default(), "nothing to change");
        if installed || enrolled {
            context.note(&format!(
                "{name} was in the system already; its agent was put right"
            ));
        }
        Ok(Exit::Done)
    }

    fn remember(&self, context: &Context) -> Result<(), Failure> {
        let kept = context.remember(|c| c.remember(self.name.as_str(), self.host, self.keys));
        kept.map_err(|e| {
            Failure::new(Exit::Error, e).changed(Changed::Yes).hint(
                "name another file with --contacts; the same command again goes on from there",
            )
        })
    }
}

fn remove(context: &Context, node: &NodeName) -> Result<Exit, Failure> {
    let mut picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let action = Action::RemoveNode { node: node.clone() };
    if let End::Dry = carry_out(context, &action, &mut picture)? {
        return Ok(Exit::Done);
    }
    // Last, because a machine that has forgotten the system can't be told anything any more.
    match picture.crew.get(node).map(enrol::dismiss) {
        Some(Ok(_)) => context.note(&format!(
            "{node} has forgotten the system; its agent stays installed and idle"
        )),
        Some(Err(error)) => context.note(&format!("{node} could not be told: {error}")),
        None => context.note(&format!("{node} does not answer and was not told")),
    }
    forget(context, node);
    Ok(Exit::Done)
}

/// It is removed: a file that can't be read or written is only told.
pub(super) fn forget(context: &Context, node: &NodeName) {
    if let Err(why) = context.remember(|contacts| contacts.forget(node.as_str())) {
        context.note(&why);
    }
}
