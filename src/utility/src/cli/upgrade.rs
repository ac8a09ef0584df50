//! `backstay node upgrade`.

use std::path::Path;
use std::process::Command;

use backstay_core::model::NodeName;
use backstay_core::plan::{Action, FoundAgent, UpgradeNodes};
use backstay_wire::rpc::clean;
use serde_json::json;

use super::act::{Agreed, agree};
use super::context::{Context, say, say_json};
use super::node::agent_path;
use crate::failure::{Exit, Failure};
use crate::ops::preflight;
use crate::ops::upgrade::{Roll, look_at, roll};
use crate::output::json;
use crate::remote::install::AgentBinary;

/// Puts the agent beside this program on the nodes, one after the other.
pub(super) fn upgrade(context: &Context, nodes: Vec<NodeName>, all: bool) -> Result<Exit, Failure> {
    if !context.common.sockets.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            "the lab on loopback has no hosts to put an agent on; nothing was changed",
        )
        .hint("as root, `backstay lab up` makes real hosts"));
    }
    let path = agent_path()?;
    let agent = AgentBinary::load(&path)?;
    let version = version_of(&path);
    let gatherer = context.gatherer()?;
    let mut picture = gatherer.gather(&mut |line| context.note(line))?;
    let nodes = if all {
        picture.system().nodes.into_iter().map(|n| n.name).collect()
    } else {
        nodes
    };
    let ssh = (&gatherer, &context.ssh);
    let found = look_at(&nodes, &picture, ssh, &mut |line| context.note(line));
    let mut problems = Vec::new();
    let mut agents = std::collections::BTreeMap::new();
    for (name, machine) in &found {
        let current = agent.runs_on(machine);
        if !current {
            problems.extend(machine.problems(name.as_str(), agent.arch()));
        }
        let hello = picture.hellos.get(name);
        let version = hello.map_or_else(|| "unknown".to_owned(), |h| clean(&h.agent));
        agents.insert(name.clone(), FoundAgent { version, current });
    }
    preflight::judge(problems, &[], &context.overrides())?;
    let before = agents.clone();
    let action = Action::Upgrade(UpgradeNodes {
        nodes: nodes.clone(),
        version: version.clone(),
        found: agents,
    });
    let Agreed::Go(plan, _) = agree(context, &action, &mut picture)? else {
        return Ok(Exit::Done);
    };
    context.guard();
    let how = Roll {
        gatherer: &gatherer,
        ssh: &context.ssh,
        agent: &agent,
        version: &version,
        patience: context.patience(),
        cancel: &context.cancel,
    };
    let done = roll(&plan, &mut picture, &how, &mut |told| context.told(told))?;
    let sentence = format!("done: {}", plan.truth);
    if context.json() {
        let nodes: Vec<_> = (before.iter())
            .map(|(name, agent)| {
                let changed = done.contains(name);
                let after = if changed { &version } else { &agent.version };
                json!({"name": name, "before": agent.version, "after": after, "changed": changed})
            })
            .collect();
        let body = json!({
            "changed": true, "dry_run": false, "message": sentence, "on": done,
            "behind": [], "nodes": nodes, "plan": plan,
        });
        say_json(&json::document("Result", body), false);
    } else {
        say(&format!("{sentence}\n"));
    }
    Ok(Exit::Done)
}

/// What the agent calls itself; one for another architecture can't be asked here.
fn version_of(path: &Path) -> String {
    let said = Command::new(path).arg("--version").output();
    let said = said.ok().filter(|o| o.status.success());
    let text = said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let word = text.as_deref().and_then(|t| t.split_whitespace().last());
    word.map_or_else(|| backstay_core::VERSION.to_owned(), clean)
}
