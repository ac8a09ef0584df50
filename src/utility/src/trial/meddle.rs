//! Other programs that meddle with addresses and packet filter rules, and equipment that uses an alias.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use backstay_core::engine::{ClusterView, ServiceState};
use backstay_core::time::Mono;
use backstay_lab::probe::ProbeReport;
use backstay_wire::rpc::HistoryEntry;
use nix::time::{ClockId, clock_gettime};

use super::faults::{Figures, HOME, SERVICE, STANDBY, never_two, probed, undisturbed};
use super::ground::{Ground, LIMIT, runs_on};

/// What a node may take to put right what another program changed.
const SOON: Duration = Duration::from_millis(100);
/// Flushes and loads, like `systemctl restart nftables` or a firewall's reload.
const RELOAD: &str = "printf 'flush ruleset\\ntable inet other {\\n chain input {\\n  type filter hook input priority 0; policy accept;\\n }\\n}\\n' | nft -f -";
/// The older commands, which see no tables but their own.
const OLDER: &str = "for all in iptables ip6tables arptables; do $all -F; $all -X; $all -P INPUT ACCEPT; done; \
                     iptables -t nat -F; iptables -t mangle -F; printf '*filter\\n:INPUT ACCEPT\\nCOMMIT\\n' | iptables-restore";
/// Before the agent starts: no tables, and tables as an older kernel or agent would have left them.
const NONE: &str = "nft delete table inet backstay; nft delete table arp backstay";
const ORDINARY: &str = "nft add table inet backstay; nft add table arp backstay";
const DROP_IN: &str = "/run/systemd/system/backstay-agent.service.d/trial.conf";

/// Which rule's record shows that something was put right.
const FLUSHED: &str = "S5";
const REMOVED: &str = "A3";
const INTRUDED: &str = "A4";

/// S5, on a kernel without tables that are kept: somebody flushes all packet filter rules, first on the node that may not
/// use the alias, then on the one that does.
pub(super) fn flush(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    ordinary(ground, &[HOME, STANDBY])?;
    let mut figures = Figures::new();
    let report = probed(ground, || {
        for (node, name) in [(STANDBY, "standby_ms"), (HOME, "home_ms")] {
            let took = put_right(ground, node, "nft flush ruleset", FLUSHED)?;
            figures.insert(name.to_owned(), took);
        }
        shown(ground, "gate-restored")
    })?;
    served(ground, &report)?;
    Ok((report, figures))
}

/// The same by a firewall that flushes and loads its own rules, and by one that deletes one of the tables.
pub(super) fn reload(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    ordinary(ground, &[HOME, STANDBY])?;
    let mut figures = Figures::new();
    let delete = "nft delete table inet backstay";
    let report = probed(ground, || {
        for (node, how, name) in [(STANDBY, delete, "delete_ms"), (HOME, RELOAD, "reload_ms")] {
            let took = put_right(ground, node, how, FLUSHED)?;
            figures.insert(name.to_owned(), took);
        }
        Ok(())
    });
    ground.run_in(HOME, "nft", &["delete", "table", "inet", "other"])?;
    let report = report?;
    served(ground, &report)?;
    Ok((report, figures))
}

/// PROTOCOL 38: where the kernel can, the agent keeps its tables, and none of this reaches them.
pub(super) fn kept(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    kept_tables(ground, &[HOME, STANDBY])?;
    let before = boottime();
    let report = probed(ground, || {
        for node in [STANDBY, HOME] {
            for how in ["nft flush ruleset", RELOAD, OLDER] {
                ground.run_in(node, "sh", &["-ec", how])?;
            }
            let refused = "! nft delete table inet backstay 2>/dev/null && \
                           ! nft flush set inet backstay guarded4 2>/dev/null";
            ground.run_in(node, "sh", &["-ec", refused])?;
            ground.run_in(node, "nft", &["delete", "table", "inet", "other"])?;
        }
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    })?;
    served(ground, &report)?;
    let heard = records(ground, FLUSHED)?;
    let none = heard.iter().all(|e| e.record.at < before);
    ensure!(none, "something had to be restored: {heard:?}");
    Ok((report, Figures::new()))
}

/// A3, A4: a network manager takes the alias off its holder, then puts it on a node that may not use it.
pub(super) fn address(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let alias = ground.alias(SERVICE)?;
    let interface =
        "$(ip -o -4 route show 192.0.2.0/24 | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | head -n 1)";
    let change = |what: &str| format!("ip address {what} {alias}/24 dev {interface}");
    let mut figures = Figures::new();
    let report = probed(ground, || {
        let back = put_right(ground, HOME, &change("delete"), REMOVED)?;
        let down = put_right(ground, STANDBY, &change("add"), INTRUDED)?;
        figures.insert("back_ms".to_owned(), back);
        figures.insert("down_ms".to_owned(), down);
        shown(ground, "alias-restored")
    })?;
    served(ground, &report)?;
    let list = ["-o", "address", "show"];
    let standby = ground.run_in(STANDBY, "ip", &list)?;
    ensure!(
        !standby.contains(&format!("{alias}/")),
        "still up: {standby}"
    );
    let home = ground.run_in(HOME, "ip", &list)?;
    let base = "192.0.2.11/24";
    ensure!(home.contains(base), "the base {base} is gone: {home}");
    Ok((report, figures))
}

/// A2: equipment outside the cluster takes the alias of a node that dies: the service is not started while it is there.
pub(super) fn foreign(ground: &Ground) -> Result<(ProbeReport, Figures)> {
    let mut waited = Duration::ZERO;
    let report = probed(ground, || {
        ground.lab.kill(HOME)?;
        let equipment = Equipment::plug_in(ground)?;
        ground.wait("A2: the alias is in use and the service is blocked", |v| {
            blocked(v) && v.alarms.iter().any(|a| a.id == "alias-in-use" && a.active)
        })?;
        // Longer than it is until it is probed again.
        std::thread::sleep(Duration::from_secs(12));
        ground.wait("A2: it is still blocked", blocked)?;
        equipment.unplug()?;
        let gone = Instant::now();
        ground.wait("it is free: the standby runs it", |v| {
            runs_on(v, SERVICE, STANDBY)
        })?;
        waited = gone.elapsed();
        Ok(())
    })?;
    never_two(&report)?;
    let alarm = |v: &ClusterView| v.alarms.iter().any(|a| a.id == "alias-in-use" && !a.active);
    ground.wait("the alarm is over", alarm)?;
    let figures = Figures::from([("freed_s".to_owned(), waited.as_secs_f64())]);
    Ok((report, figures))
}

fn blocked(view: &ClusterView) -> bool {
    let mut services = view.services.iter();
    let service = services.find(|s| s.name.as_str() == SERVICE);
    service.is_some_and(|s| s.state == ServiceState::Blocked && s.running_on.is_empty())
}

/// Equipment that is in no cluster (the lab's own gateway) and uses the alias.
struct Equipment<'a>(&'a Ground, String);

impl<'a> Equipment<'a> {
    fn plug_in(ground: &'a Ground) -> Result<Self> {
        let alias = format!("{}/32", ground.alias(SERVICE)?);
        ground.lab.gateway_address("add", &alias)?;
        Ok(Self(ground, alias))
    }

    fn unplug(&self) -> Result<()> {
        self.0.lab.gateway_address("delete", &self.1)
    }
}

impl Drop for Equipment<'_> {
    fn drop(&mut self) {
        let _ = self.unplug(); // it may have been before
    }
}

/// The client saw nothing of it, and the service is where it was.
fn served(ground: &Ground, report: &ProbeReport) -> Result<()> {
    undisturbed(report)?;
    ground
        .wait("it runs at home", |v| runs_on(v, SERVICE, HOME))
        .map(drop)
}

fn shown(ground: &Ground, alarm: &str) -> Result<()> {
    ground
        .wait("M2: the alarm is raised", |v| {
            v.alarms.iter().any(|a| a.id == alarm && a.active)
        })
        .map(drop)
}

fn boottime() -> Mono {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Mono(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

fn records(ground: &Ground, rule: &str) -> Result<Vec<HistoryEntry>> {
    let text = ground.backstay(&["history", "--limit", "200", "--output", "json"])?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let entries: Vec<HistoryEntry> = serde_json::from_value(json["entries"].clone())?;
    let made = |e: &HistoryEntry| {
        let said = &e.record.sentence;
        e.record.rule.to_string() == rule && !said.starts_with("alarm")
    };
    Ok(entries.into_iter().filter(made).collect())
}

/// Runs a command on a host and waits for the record that its doing was put right; how long that took in ms, from before
/// the command was run. All hosts share this machine's clock.
fn put_right(ground: &Ground, node: &str, how: &str, rule: &str) -> Result<f64> {
    let before = boottime();
    ground.run_in(node, "sh", &["-ec", how])?;
    let until = Instant::now() + LIMIT;
    let record = loop {
        let mut all = records(ground, rule)?.into_iter();
        let after = |e: &HistoryEntry| e.node.as_str() == node && e.record.at > before;
        if let Some(found) = all.find(after) {
            break found.record;
        }
        ensure!(
            Instant::now() < until,
            "{how} on {node}: no record of {rule}"
        );
        std::thread::sleep(SOON);
    };
    Ok(record.at.since(before).as_secs_f64() * 1_000.0)
}

/// The node's agent starts anew over ordinary tables.
fn ordinary(ground: &Ground, nodes: &[&str]) -> Result<()> {
    anew(ground, nodes, &format!("{NONE}; {ORDINARY}"))
}

/// The node's agent starts anew and makes tables that it keeps.
fn kept_tables(ground: &Ground, nodes: &[&str]) -> Result<()> {
    anew(ground, nodes, NONE)
}

fn anew(ground: &Ground, nodes: &[&str], first: &str) -> Result<()> {
    for node in nodes {
        // systemd restarts it by itself; until then the old one's state is still shown, and the drop-in has to stay.
        let script = format!(
            "mkdir -p $(dirname {DROP_IN}); printf '%s\\n' '[Service]' 'ExecStartPre=-/bin/sh -c \"{first}\"' > {DROP_IN}; systemctl daemon-reload; \
             was=$(systemctl show -P MainPID backstay-agent); systemctl kill --signal=KILL backstay-agent; \
             for i in $(seq 300); do now=$(systemctl show -P MainPID backstay-agent); \
             if [ $now != 0 ] && [ $now != $was ] && systemctl is-active -q backstay-agent; then break; fi; sleep 0.1; done; \
             systemctl is-active -q backstay-agent; rm {DROP_IN}; systemctl daemon-reload"
        );
        ground.run_in(node, "sh", &["-ec", &script])?;
    }
    ground.settle()
}
