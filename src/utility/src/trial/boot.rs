//! C15 and S7 on real hosts: their own network configuration, whatever manages it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use backstay_core::engine::{NodeState, NodeView};
use backstay_lab::probe::ProbeReport;

use super::faults::{Figures, STANDBY, never_two, probed, probed_at, undisturbed};
use super::ground::{CLUSTER, Ground, LIMIT, at_home, create_command, runs_on};
use super::scenes::Echo;

/// Each home with its service.
const HOMES: [(&str, &str); 3] = [("n1", "web1"), ("n2", "web2"), ("n3", "web3")];

/// A home's configuration, as the agent's record names it.
struct Conf {
    host: &'static str,
    path: String,
    former: String,
    alias: String,
    base: String,
}

/// The cluster is deleted: files and addresses as before. It is created again: at boot the base comes up and the alias
/// does not, though no agent runs. With the former file in place the alias does come up, and the gate keeps it closed.
pub(super) fn host_network(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let confs: Vec<Conf> = HOMES
        .iter()
        .map(|(host, _)| Conf::of(ground, host))
        .collect::<Result<_>>()?;
    let former: Vec<String> = confs
        .iter()
        .map(|c| c.read(ground, &c.former))
        .collect::<Result<_>>()?;
    let mut echo = Echo::open(ground)?;
    echo.say("before")?;
    let deleted = probed(ground, || {
        ground.backstay(&["cluster", "delete", CLUSTER])?;
        for conf in &confs {
            conf.wait_for(ground, "only the alias", |c, there| {
                there.contains(&c.alias) && !there.contains(&c.base)
            })?;
        }
        echo.say("deleted")
    })?;
    undisturbed(&deleted)?;
    for (conf, former) in confs.iter().zip(&former) {
        ensure!(
            conf.read(ground, &conf.path)? == *former && !conf.exists(ground, &conf.former)?,
            "{}: {} is not as it was before",
            conf.host,
            conf.path
        );
    }
    let created = probed(ground, || {
        let command = create_command(ground.lab.shape());
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        ground.backstay(&command)?;
        ground.wait("every service at home", |v| v.services.iter().all(at_home))?;
        echo.say("created")
    })?;
    undisturbed(&created)?;
    for (conf, former) in confs.iter().zip(&former) {
        let text = conf.read(ground, &conf.path)?;
        ensure!(
            text == former.replace(&conf.alias, &conf.base)
                && conf.read(ground, &conf.former)? == *former,
            "{}: {} says {text}",
            conf.host,
            conf.path
        );
    }
    let mut figures = Figures::from([
        ("delete_gap_ms".to_owned(), deleted.gap_ms),
        ("create_gap_ms".to_owned(), created.gap_ms),
    ]);
    let mut reports = vec![created, deleted];
    for (conf, (host, service)) in confs.iter().zip(HOMES) {
        let seen = failed_over(ground, conf, host, service)?;
        for (what, report) in ["failover", "boot", "former"].iter().zip(&seen) {
            figures.insert(format!("{host}_{what}_gap_ms"), report.gap_ms);
        }
        let dual = seen.iter().map(|report| report.dual_ms).sum();
        figures.insert(format!("{host}_dual_ms"), dual);
        reports.extend(seen);
    }
    let standby = probed(ground, || {
        reboot(ground, STANDBY)?;
        ground.wait("every node up", |v| {
            v.nodes.iter().all(|n| n.state == NodeState::Up)
        })?;
        Ok(())
    })?;
    undisturbed(&standby)?;
    figures.insert("standby_boot_gap_ms".to_owned(), standby.gap_ms);
    reports.push(standby);
    // A run in which the prober was held up anywhere is repeated.
    let worst = reports.iter().position(|r| r.held_up).unwrap_or(0);
    Ok((reports.swap_remove(worst), figures))
}

/// Home loses power and boots twice while its service is away, without an agent: by its new configuration, then by its
/// former one.
fn failed_over(
    ground: &Ground,
    conf: &Conf,
    host: &str,
    service: &str,
) -> Result<[ProbeReport; 3]> {
    ground.run_in(host, "systemctl", &["disable", "backstay-agent"])?;
    let fallen = probed_at(ground, service, || {
        ground.lab.kill(host)?;
        ground.wait("the standby runs it", |v| runs_on(v, service, STANDBY))?;
        Ok(())
    })?;
    never_two(&fallen)?;
    let new = probed_at(ground, service, || {
        ground.lab.revive(host)?;
        ground.lab.wait_ready(host, LIMIT)?;
        conf.wait_for(ground, "the base and not the alias", |c, there| {
            there.contains(&c.base) && !there.contains(&c.alias)
        })
    })?;
    undisturbed(&new)?;
    ground.run_in(host, "cp", &["-p", &conf.former, &conf.path])?;
    let former = probed_at(ground, service, || {
        reboot(ground, host)?;
        conf.wait_for(ground, "the alias, by the former file", |c, there| {
            there.contains(&c.alias) && !there.contains(&c.base)
        })?;
        // S7: up, and closed. But NetworkManager announces it, by frames that no gate sees; clients are told better when
        // the holder speaks again (A1).
        std::thread::sleep(Duration::from_secs(1));
        ground.run_in(host, "systemctl", &["enable", "--now", "backstay-agent"])?;
        ground.wait("home is up again", |v| {
            let up = |n: &NodeView| n.name.as_str() == host && n.state == NodeState::Up;
            v.nodes.iter().any(up) && runs_on(v, service, STANDBY)
        })?;
        conf.wait_for(ground, "the base and not the alias (A4)", |c, there| {
            there.contains(&c.base) && !there.contains(&c.alias)
        })
    })?;
    never_two(&former)?;
    ensure!(
        !conf.read(ground, &conf.path)?.contains(&conf.alias),
        "{host}: the alias is still in {}",
        conf.path
    );
    ground.backstay(&["service", "move", service, "--to", "home"])?;
    ground.wait("it runs at home", |v| v.services.iter().all(at_home))?;
    Ok([fallen, new, former])
}

fn reboot(ground: &Ground, host: &str) -> Result<()> {
    ground.run_in(host, "systemctl", &["--no-block", "poweroff"])?;
    ground.lab.wait_off(host, LIMIT)?;
    ground.lab.revive(host)?;
    ground.lab.wait_ready(host, LIMIT)
}

impl Conf {
    fn of(ground: &Ground, host: &'static str) -> Result<Self> {
        let record = ground.run_in(host, "cat", &["/var/lib/backstay/network.toml"])?;
        let record: toml::Table = record.parse()?;
        let path = record["file"][0]["path"].as_str();
        let path = path.with_context(|| format!("{host} names no file: {record}"))?;
        let (folder, name) = path.rsplit_once('/').context("no folder")?;
        let known = ground.lab.host(host)?;
        Ok(Self {
            host,
            former: format!("{folder}/.{name}.before-backstay"),
            path: path.to_owned(),
            alias: known.address().to_string(),
            base: known.base().to_string(),
        })
    }

    fn read(&self, ground: &Ground, path: &str) -> Result<String> {
        ground.run_in(self.host, "cat", &[path])
    }

    fn exists(&self, ground: &Ground, path: &str) -> Result<bool> {
        let mut command = ground.lab.host_command(self.host, "test")?;
        Ok(command.args(["-e", path]).status()?.success())
    }

    fn wait_for(
        &self,
        ground: &Ground,
        what: &str,
        is: impl Fn(&Self, &[String]) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + LIMIT;
        loop {
            let shown = ground.run_in(self.host, "ip", &["-o", "-4", "address", "show", "eth0"])?;
            let there: Vec<String> = shown
                .lines()
                .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next())
                .map(str::to_owned)
                .collect();
            if is(self, &there) {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("{}: not {what}, but {}", self.host, there.join(" "));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}
