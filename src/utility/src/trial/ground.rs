//! The lab with its cluster, and how to bring it to a known state.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use backstay_core::engine::{ClusterView, NodeState, ServiceState, ServiceView};
use backstay_lab::serve::{HTTP_PORT, TimeLine};
use backstay_lab::{HostState, Lab, Shape, demo_services};

use crate::failure::Exit;

/// The lab's cluster.
pub const CLUSTER: &str = "demo";
/// How long anything may take before a trial gives up.
pub(super) const LIMIT: Duration = Duration::from_mins(2);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(300);

/// What an admin would type to make the cluster of the lab's hosts, without the program's name.
pub fn create_command(shape: Shape) -> Vec<String> {
    let at = |last: &str| {
        if shape.ipv6 {
            format!("2001:db8::{last}/64")
        } else {
            format!("192.0.2.{last}/24")
        }
    };
    let mut command = create_on(at, |n| format!(",unit=web{n}.service"));
    if let Some(network) = shape.second_network() {
        command.extend(["--link".to_owned(), network.to_owned()]);
    }
    command
}

/// The same on another network, and with something else behind each service.
pub fn create_on(at: impl Fn(&str) -> String, rest: impl Fn(u8) -> String) -> Vec<String> {
    let mut command =
        format!("cluster create {CLUSTER} --standby sb1 --witness w1 --safety available");
    for n in 1..=3 {
        let (alias, base) = (at(&format!("10{n}")), at(&format!("1{n}")));
        let rest = rest(n);
        let _ = write!(
            command,
            " --service web{n}=n{n},alias={alias},base={base},priority={n}0{rest}"
        );
    }
    // The hosts share this machine's clock; NTP has no way in.
    command.push_str(" --ignore-check clock-not-kept");
    command.split(' ').map(str::to_owned).collect()
}

/// The lab, and this program to drive it with.
pub struct Ground {
    /// The hosts.
    pub lab: Lab,
    program: PathBuf,
}

impl Ground {
    /// The lab that is up.
    pub fn open() -> Result<Self> {
        Ok(Self {
            lab: Lab::open()?,
            program: std::env::current_exe()?,
        })
    }

    /// Runs this program with these arguments, as an admin would; answers what it printed.
    pub fn backstay(&self, arguments: &[&str]) -> Result<String> {
        self.run(arguments, None, &[Exit::Done])
    }

    /// The same with another agent to install.
    pub fn backstay_with_agent(&self, agent: &Path, arguments: &[&str]) -> Result<String> {
        self.run(arguments, Some(agent), &[Exit::Done])
    }

    /// The same for what only looks, while a host may be off.
    pub fn look(&self, arguments: &[&str]) -> Result<String> {
        self.run(arguments, None, &[Exit::Done, Exit::Partly])
    }

    /// This program with these arguments, to be started as an admin would.
    pub(super) fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--lab", "--yes"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Begins this program with these arguments; what it says of its progress can be read.
    pub(super) fn spawn_telling(&self, arguments: &[String]) -> Result<Child> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn();
        child.with_context(|| format!("can't run backstay {}", arguments.join(" ")))
    }

    fn run(&self, arguments: &[&str], agent: Option<&Path>, well: &[Exit]) -> Result<String> {
        let output = self
            .command(arguments)
            .envs(agent.map(|path| ("BACKSTAY_AGENT", path)))
            .output()
            .with_context(|| format!("can't run backstay {}", arguments.join(" ")))?;
        let code = output.status.code();
        ensure!(
            well.iter().any(|exit| code == Some(i32::from(*exit as u8))),
            "backstay {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The cluster as `backstay status` tells it.
    pub fn status(&self) -> Result<ClusterView> {
        self.status_of(CLUSTER)
    }

    fn status_of(&self, cluster: &str) -> Result<ClusterView> {
        let text = self.backstay(&["status", cluster, "--output", "json"])?;
        let json: serde_json::Value = serde_json::from_str(&text)?;
        let cluster = json["clusters"].get(0).context("status names no cluster")?;
        Ok(serde_json::from_value(cluster.clone())?)
    }

    /// Looks until `is` holds.
    pub fn wait(&self, what: &str, is: impl FnMut(&ClusterView) -> bool) -> Result<ClusterView> {
        self.wait_in(CLUSTER, what, is)
    }

    /// The same at another cluster than the usual one.
    pub(super) fn wait_in(
        &self,
        cluster: &str,
        what: &str,
        mut is: impl FnMut(&ClusterView) -> bool,
    ) -> Result<ClusterView> {
        let until = Instant::now() + LIMIT;
        let mut last;
        loop {
            match self.status_of(cluster) {
                Ok(view) if is(&view) => return Ok(view),
                Ok(view) => {
                    let places = view.services.iter().map(|s| {
                        format!(
                            "{} {:?} on {:?} ({})",
                            s.name, s.state, s.running_on, s.reason
                        )
                    });
                    let nodes = view
                        .nodes
                        .iter()
                        .map(|n| format!("{} {:?} {:?}", n.name, n.state, n.notes));
                    last = nodes.chain(places).collect::<Vec<_>>().join("; ");
                }
                Err(error) => last = format!("{error:#}"),
            }
            if Instant::now() >= until {
                bail!(
                    "after {} s still not: {what}; last seen: {last}",
                    LIMIT.as_secs()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Everything on, nothing cut, every service at home.
    pub fn settle(&self) -> Result<()> {
        self.lab.heal()?;
        for host in self.lab.status()?.hosts {
            match host.state {
                HostState::Off => {
                    self.lab.revive(&host.name)?;
                    self.lab.wait_ready(&host.name, LIMIT)?;
                }
                HostState::Frozen => {
                    self.lab.thaw(&host.name)?;
                }
                HostState::Running => {}
            }
        }
        let view = self.wait("every node up", |v| {
            v.nodes
                .iter()
                .all(|n| n.state == NodeState::Up && n.notes.is_empty())
                && v.services.iter().all(at_rest)
        })?;
        for service in view
            .services
            .iter()
            .filter(|s| s.running_on != [s.home.clone()])
        {
            self.move_home(service.name.as_str())?;
        }
        self.wait("every service at home", |v| v.services.iter().all(at_home))?;
        Ok(())
    }

    /// A node that has just come back is heard by the one that was asked a moment before it is by all: until then the
    /// move is refused (F2).
    fn move_home(&self, service: &str) -> Result<()> {
        let until = Instant::now() + LIMIT;
        loop {
            match self.backstay(&["service", "move", service, "--to", "home"]) {
                Err(error) if refused(&error) && Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                done => return done.map(drop),
            }
        }
    }

    /// The alias of a demonstration service.
    pub fn alias(&self, service: &str) -> Result<IpAddr> {
        let found = demo_services().into_iter().find(|s| s.name == service);
        let found = found.with_context(|| format!("no demonstration service {service}"))?;
        found
            .addresses
            .iter()
            .find(|address| address.is_ipv6() == self.lab.shape().ipv6)
            .copied()
            .context("it has no address")
    }

    /// How long systemd took for the service's last start or stop on a host, in ms, if it was done after `after_ns`
    /// of `CLOCK_MONOTONIC`: a start from the check of its conditions until it said that it is ready, a stop from
    /// its first signal until nothing of it was left. `None`: the host was booted since, and systemd has forgotten.
    pub fn unit_time(
        &self,
        host: &str,
        service: &str,
        event: Event,
        after_ns: u64,
    ) -> Result<Option<f64>> {
        let (from, to) = match event {
            Event::Start => (
                "ConditionTimestampMonotonic",
                "ActiveEnterTimestampMonotonic",
            ),
            Event::Stop => (
                "ActiveExitTimestampMonotonic",
                "InactiveEnterTimestampMonotonic",
            ),
        };
        let at = |property: &str| -> Result<u64> {
            let unit = format!("{service}.service");
            let shown = self.run_in(host, "systemctl", &["show", "-P", property, &unit])?;
            Ok(shown.trim().parse::<u64>()? * 1_000)
        };
        let (from, to) = (at(from)?, at(to)?);
        Ok((from <= to && from >= after_ns).then(|| ms(to - from)))
    }

    /// The same by the service's own report: a start from `main` until it can answer, a stop from the signal until
    /// it ends.
    pub fn own_time(&self, host: &str, service: &str, event: Event, after_ns: u64) -> Result<f64> {
        let event = event.name();
        let output = self
            .lab
            .host_command(host, "cat")?
            .arg(format!("/var/lib/{service}/times.jsonl"))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text
            .lines()
            .filter_map(|l| serde_json::from_str::<TimeLine>(l).ok());
        let line = lines.rfind(|l| l.event == event && l.monotonic_ns >= after_ns);
        Ok(line
            .with_context(|| format!("{service} reports no {event} on {host}"))?
            .took_ms)
    }

    /// Adds one to the service's counter by its alias; answers node and counter.
    pub fn count(&self, service: &str) -> Result<(String, u64)> {
        let address = SocketAddr::new(self.alias(service)?, HTTP_PORT);
        let mut stream = self.lab.connect(address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let body = text.split("\r\n\r\n").nth(1).context("no answer")?;
        let json: serde_json::Value = serde_json::from_str(body)?;
        let node = json["node"].as_str().context("no node")?.to_owned();
        Ok((node, json["counter"].as_u64().context("no counter")?))
    }

    /// Runs a command in a host; answers what it printed.
    pub fn run_in(&self, host: &str, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .lab
            .host_command(host, program)?
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "{program} {} in {host}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What a service reports the time of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was started.
    Start,
    /// It was stopped.
    Stop,
}

impl Event {
    /// As the demonstration service writes it.
    fn name(self) -> &'static str {
        match self {
            Event::Start => "start",
            Event::Stop => "stop",
        }
    }
}

fn ms(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1_000.0
}

/// One node runs it, and nothing moves.
pub(super) fn at_rest(service: &ServiceView) -> bool {
    service.state == ServiceState::Running && service.running_on.len() == 1
}

/// By a rule: nothing was changed.
fn refused(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("refused by the rules")
}

/// It runs at home.
pub(super) fn at_home(service: &ServiceView) -> bool {
    at_rest(service) && service.running_on[0] == service.home
}

/// That service runs on that node, and nothing of it moves.
pub(super) fn runs_on(view: &ClusterView, service: &str, node: &str) -> bool {
    let found = view.services.iter().find(|s| s.name.as_str() == service);
    found.is_some_and(|s| at_rest(s) && s.running_on[0].as_str() == node)
}
