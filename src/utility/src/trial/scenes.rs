//! Trials that are more than one fault.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use backstay_core::engine::{NodeState, NodeView, ServiceState};
use backstay_lab::probe::ProbeReport;

use super::faults::{Figures, HOME, SERVICE, STANDBY, never_two, probed, split, undisturbed};
use super::ground::{CLUSTER, Ground, LIMIT, at_home, create_command, runs_on};

/// C11: the cluster is made while clients talk through the present address: a TCP connection that is open
/// lives on, and no probe is lost.
pub(super) fn create(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    ground.backstay(&["cluster", "delete", CLUSTER])?;
    let mut echo = Echo::open(ground)?;
    echo.say("before")?;
    let report = probed(ground, || {
        let command = create_command(ground.lab.shape());
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        ground.backstay(&command)?;
        echo.say("after")?;
        ground.wait("every service at home", |v| v.services.iter().all(at_home))?;
        echo.say("still")
    })?;
    undisturbed(&report)?;
    Ok((report, Figures::new()))
}

/// S1, then F9: after the split the service returns by itself, once home has been well for long enough.
pub(super) fn split_then_automatic(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    ground.backstay(&["cluster", "set", CLUSTER, "--home-healthy", "8s"])?;
    ground.backstay(&["service", "set", SERVICE, "--fallback", "auto"])?;
    let tried = split(ground).and_then(|done| {
        let healed = Instant::now();
        ground.wait("F9: it runs at home again, by itself", |v| {
            v.services.iter().all(at_home)
        })?;
        Ok((done, healed.elapsed()))
    });
    ground.backstay(&["service", "set", SERVICE, "--fallback", "manual"])?;
    ground.backstay(&["cluster", "set", CLUSTER, "--home-healthy", "5m"])?;
    let ((report, mut figures), returned) = tried?;
    figures.insert("returned_s".to_owned(), returned.as_secs_f64());
    Ok((report, figures))
}

/// S7: home is restarted while its service is away: its own network configuration brings the alias up, which the
/// gate keeps closed, and clients of the standby see nothing of it.
pub(super) fn reboot_away(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    ground.backstay(&["service", "move", SERVICE, "--to", "standby"])?;
    let report = probed(ground, || {
        ground.run_in(HOME, "systemctl", &["--no-block", "poweroff"])?;
        ground.lab.wait_off(HOME, LIMIT)?;
        ground.lab.revive(HOME)?;
        ground.lab.wait_ready(HOME, LIMIT)?;
        ground.wait("home is up again", |v| {
            let up = |n: &NodeView| n.name.as_str() == HOME && n.state == NodeState::Up;
            v.nodes.iter().any(up) && runs_on(v, SERVICE, STANDBY)
        })?;
        // Longer than it asks whether the alias is in use.
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    })?;
    undisturbed(&report)?;
    Ok((report, Figures::new()))
}

/// F3 to F6 and L1 with real nodes: two die, the more important service has the standby; a locked one stays.
pub(super) fn priorities(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let state = |service: &'static str, state: ServiceState| {
        move |v: &backstay_core::engine::ClusterView| {
            v.services
                .iter()
                .any(|s| s.name.as_str() == service && s.state == state && s.running_on.is_empty())
        }
    };
    let report = probed(ground, || {
        ground.lab.kill("n2")?;
        ground.wait("F2: the standby carries web2", |v| {
            runs_on(v, "web2", "sb1")
        })?;
        ground.lab.kill("n1")?;
        ground.wait("F5: web1 displaces web2", |v| runs_on(v, "web1", "sb1"))?;
        ground.wait(
            "F6: web2 is shown displaced",
            state("web2", ServiceState::Displaced),
        )?;
        ground.lab.revive("n2")?;
        ground.wait("F6: web2 runs at home again", |v| runs_on(v, "web2", "n2"))?;
        ground.settle()?;
        ground.backstay(&["service", "lock", "web3", "--reason", "trial"])?;
        ground.lab.kill("n3")?;
        ground.wait(
            "L1: web3 runs nowhere, though the standby is free",
            state("web3", ServiceState::Failed),
        )?;
        ground.backstay(&["service", "unlock", "web3"])?;
        ground
            .wait("L2, F2: unlocked, it is taken over", |v| {
                runs_on(v, "web3", "sb1")
            })
            .map(drop)
    })?;
    never_two(&report)?;
    Ok((report, Figures::new()))
}

/// A TCP connection through the address that clients use: an SSH session that gives back what it is told.
pub(super) struct Echo {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Echo {
    pub(super) fn open(ground: &Ground) -> Result<Self> {
        let target = ground.lab.ssh_target("n1")?;
        let mut child = ground
            .lab
            .client_command("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "GlobalKnownHostsFile=none",
                "-i",
            ])
            .arg(&target.identity)
            .args([
                "-o",
                &format!("UserKnownHostsFile={}", target.known_hosts.display()),
            ])
            .args([
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "ServerAliveInterval=2",
            ])
            .arg(format!("root@{}", ground.alias("web1")?))
            .arg("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().context("no way in")?;
        let from = BufReader::new(child.stdout.take().context("no way out")?);
        Ok(Self { child, to, from })
    }

    /// Says a word and hears it again.
    pub(super) fn say(&mut self, word: &str) -> Result<()> {
        writeln!(self.to, "{word}")?;
        self.to.flush()?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        ensure!(
            line.trim_end() == word,
            "the connection through the alias broke: `{}`",
            line.trim_end()
        );
        Ok(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
