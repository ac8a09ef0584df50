//! `backstay lab up --demo`: a node fails, what happened is shown, and the service goes home.

use anyhow::Result;

use super::ground::{Ground, runs_on};

/// Fails n1, shows the timeline, and falls back.
pub fn demo(say: &mut dyn FnMut(&str)) -> Result<()> {
    let ground = Ground::open()?;
    ground.settle()?;
    say("n1 loses its power now");
    ground.lab.kill("n1")?;
    ground.wait("the standby runs web1", |v| runs_on(v, "web1", "sb1"))?;
    let (node, _) = ground.count("web1")?;
    say(&format!("web1 is answered by {node}, on the same address"));
    say(ground.look(&["status"])?.trim_end());
    say(ground.look(&["history", "web1"])?.trim_end());
    say("n1 is switched on again; web1 stays where it is until it is ordered home");
    ground.settle()?;
    let (node, _) = ground.count("web1")?;
    say(&format!("web1 went home and is answered by {node}"));
    say(ground.look(&["status"])?.trim_end());
    Ok(())
}
