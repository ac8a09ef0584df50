//! `backstay node replace`: a new machine takes the place of a dead node (C16).

use backstay_core::engine::NodeState;
use backstay_core::model::{NodeId, NodeName, Problem, RuleId};
use backstay_core::plan::{Action, Plan};

use super::act::{End, carry_out, carry_through, finish, looked_at, plan_for, show_plan};
use super::context::Context;
use super::node::{agent_path, pin, show_machine, wait_for_agent};
use crate::failure::{Exit, Failure};
use crate::ops::apply::Applied;
use crate::ops::gather::fact_of;
use crate::ops::preflight::judge;
use crate::ops::{Picture, enrol};
use crate::remote::install::{AgentBinary, install, look};
use crate::remote::ssh::Session;
use crate::remote::{Contact, HostKey, Pins, RemoteError, Target};

/// The machine that is to be the node.
struct Newcomer<'a> {
    node: &'a NodeName,
    host: &'a Contact,
    key: HostKey,
}

impl Newcomer<'_> {
    fn action(&self, id: NodeId) -> Action {
        Action::ReplaceNode {
            node: self.node.clone(),
            id,
            contact: self.host.to_string(),
            host_keys: vec![self.key.to_string()],
        }
    }
}

/// Runs the verb. Nothing but an idle agent is left on the new machine where something refuses.
pub(super) fn replace(context: &Context, node: &NodeName, host: &Contact) -> Result<Exit, Failure> {
    if context.common.install_packages {
        let what = "`node replace` installs no packages; nothing was changed";
        return Err(Failure::new(Exit::Usage, what).hint(format!(
            "without --install-packages it names what {host} lacks before the cluster is changed: install that there, then \
             the same command again"
        )));
    }
    let key = pin(context, host)?;
    let mut picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let new = Newcomer { node, host, key };
    if let Some(id) = is_it_already(&picture, &new) {
        return carry_out(context, &new.action(id), &mut picture).map(|_| Exit::Done);
    }
    must_be_silent(&picture, &new)?;
    let pins = Pins::keys([new.key.clone()]);
    let session = Session::open(host, &pins, &context.ssh)?;
    let found = look(&session)?;
    show_machine(context, host, &new.key, &found);
    let agent = AgentBinary::load(&agent_path()?)?;
    let problems = found.problems(&host.to_string(), std::env::consts::ARCH);
    judge(problems, &[], &context.overrides())?;
    // What the rules refuse comes before anything is changed on the machine.
    let first = plan_for(&new.action(NodeId(enrol::random()?)), &picture)?;
    show_plan(context, &first, &[]);
    if context.common.dry_run {
        finish(
            context,
            &first,
            &Applied::default(),
            "dry run: nothing was changed",
        );
        return Ok(Exit::Done);
    }
    context.confirm_named(&[node.as_str()], "Go on?")?;
    context.guard();
    let installed = install(&session, &host.to_string(), &found, &agent, &mut |line| {
        context.note(&format!("{node}: {line}"));
    })?;
    drop(session);
    let half = |f: Failure| {
        if installed {
            f.after_change()
                .hint("the agent is installed there; the same command again goes on from there")
        } else {
            f
        }
    };
    let target = Target::Ssh {
        contact: host.clone(),
        pins,
    };
    let mut client = wait_for_agent(context, &target)?;
    // Now the machine can say what it has.
    let fact = fact_of(&mut client).map_err(|e| half(e.into()))?;
    picture.facts.insert(node.clone(), fact);
    let id = enrol::identity(&mut client, node, &picture.system()).map_err(half)?;
    let action = new.action(id);
    picture.crew.add(node.clone(), client);
    let (plan, problems, checks) = looked_at(&action, &mut picture).map_err(half)?;
    judge(problems, &checks, &context.overrides()).map_err(half)?;
    let Some(client) = picture.crew.get(node) else {
        let gone = format!("the agent on {host} no longer answers");
        return Err(half(Failure::new(Exit::Unreachable, gone)));
    };
    enrol::enrol(client, node, id).map_err(half)?;
    context.note(&format!("{node}: the new machine knows its name"));
    let hello = client.hello().clone();
    picture.hellos.insert(node.clone(), hello);
    picture.silent.remove(node);
    let End::Done = carry_through(context, &plan, &mut picture).map_err(half)? else {
        return Ok(Exit::Done);
    };
    remember(context, &plan, &new);
    Ok(Exit::Done)
}

/// The system knows the machine under that name, and it is up: the same command was given before.
fn is_it_already(picture: &Picture, new: &Newcomer<'_>) -> Option<NodeId> {
    let system = picture.system();
    let known = system.node(new.node)?;
    let same = known.host_keys.contains(&new.key.to_string());
    let views = picture.best_views();
    let mut nodes = views.iter().flat_map(|v| &v.nodes);
    let up = picture.hellos.contains_key(new.node)
        || nodes.any(|n| n.name == *new.node && n.state == NodeState::Up);
    (same && up).then_some(known.id)
}

/// C16: whoever answers is not dead, and nobody may have the address that the new machine is to get.
fn must_be_silent(picture: &Picture, new: &Newcomer<'_>) -> Result<(), Failure> {
    let (node, host) = (new.node, new.host);
    let what = match picture.silent.get(node) {
        Some(RemoteError::Unreachable { .. } | RemoteError::Timeout { .. }) => return Ok(()),
        // The new machine itself: it got the base address before an earlier attempt was broken off.
        Some(RemoteError::HostKeyChanged { shown, .. }) if *shown == new.key.fingerprint() => {
            return Ok(());
        }
        Some(why) => {
            let system = picture.system();
            let before = system
                .node(node)
                .and_then(|n| n.contact.parse::<Contact>().ok());
            // The same machine, installed anew, at its former address.
            if before.is_some_and(|b| (&b.host, b.port) == (&host.host, host.port)) {
                return Ok(());
            }
            format!("a machine answers where it was ({why})")
        }
        None if picture.hellos.contains_key(node) => "it answers: it is not dead".to_owned(),
        // Not in the system: the plan says so.
        None => return Ok(()),
    };
    let problem = Problem {
        rule: RuleId::of("C16"),
        place: format!("node {node}"),
        what,
        mend: "power it off first; or, if it is well, move its services, remove it and add the new machine"
            .to_owned(),
    };
    Err(Failure::new(Exit::Refused, "refused; nothing was changed").problems(vec![problem]))
}

/// By its new address, as the system has it. It is done: a file that can't be read or written is only told.
fn remember(context: &Context, plan: &Plan, new: &Newcomer<'_>) {
    let system = plan.system.as_ref();
    let contact = system.and_then(|s| s.node(new.node)?.contact.parse().ok());
    let contact = contact.as_ref().unwrap_or(new.host);
    let keys = std::slice::from_ref(&new.key);
    let kept = context.remember(|c| c.remember(new.node.as_str(), contact, keys));
    if let Err(why) = kept {
        context.note(&why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Broken off after the new machine got the base address: the same command must go on from there.
    #[test]
    fn c16_the_new_machine_may_answer_where_the_dead_one_was() {
        let key = |text: &str| text.parse::<HostKey>().unwrap();
        let (node, host) = ("n3".parse().unwrap(), "192.0.2.151".parse().unwrap());
        let new = Newcomer {
            node: &node,
            host: &host,
            key: key(
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINswx+LskTZFOBwxQKlA8fykHqtlJR69sFKlz0ofZGw9",
            ),
        };
        let refused = |shown: &HostKey| {
            let mut picture = Picture::default();
            let changed = RemoteError::HostKeyChanged {
                host: "192.0.2.13".to_owned(),
                pinned: Vec::new(),
                shown: shown.fingerprint(),
            };
            picture.silent.insert(node.clone(), changed);
            must_be_silent(&picture, &new).is_err()
        };
        assert!(!refused(&new.key));
        assert!(refused(&key(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINswx+LskTZFOBwxQKlA8fykHqtlJR69sFKlz0ofZGw8"
        )));
    }
}
