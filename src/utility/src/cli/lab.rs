//! `backstay lab ...`: thin, over the lab's own library. What is done *with* the hosts is done by the same
//! commands that an admin gives, as processes of their own.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use backstay_core::model::Command;
use backstay_core::plan::Action;
use backstay_lab::loopback::service::Do;
use backstay_lab::loopback::{FOLDER_MARK, WHAT_IT_IS};
use backstay_lab::probe::{self, ProbeOptions, Until};
use backstay_lab::{
    DEFAULT_FOLDER, Freeze, Host, Lab, Loopback, Network, Options, Shape, Site, default_folder,
    packages,
};
use clap::Subcommand;

use super::act::act;
use super::args::{Common, Output};
use super::context::{Context, say, say_json};
use crate::failure::{Exit, Failure};
use crate::output::json;
use crate::remote::Contact;
use crate::trial;

/// What can be done with the lab.
#[derive(Debug, Subcommand)]
pub enum LabVerb {
    /// Boot the hosts, add them as nodes over SSH and create the cluster
    Up {
        /// Only the hosts, without nodes and cluster
        #[arg(long)]
        bare: bool,
        /// Then power off a node, show the failover, and fall back
        #[arg(long)]
        demo: bool,
        /// What configures the hosts' network, when they are made
        #[arg(long, default_value = "networkd")]
        network: Network,
        /// So many more hosts, x1, x2 and so on, which are no nodes: to add, or to take the place of others
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=15))]
        extra_hosts: u8,
        /// Links that beats use: with 2 each host has `eth1` on a network of its own
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        links: u8,
        /// No IPv4 at all: aliases, bases and beats are IPv6
        #[arg(long)]
        ipv6: bool,
    },
    /// Show the hosts
    Status,
    /// Run a command in a host, or a shell
    Ssh {
        /// Which
        host: String,
        /// What
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Power a host off at once; its disk is kept
    Kill {
        /// Which
        host: String,
    },
    /// Boot a host that is off
    Revive {
        /// Which
        host: String,
    },
    /// Stop the agent of a host (SIGSTOP), or the whole host
    Freeze {
        /// Which
        host: String,
        /// Go on after this time
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
        /// Every process, not only the agent
        #[arg(long = "host")]
        whole: bool,
    },
    /// Let what was stopped on a host go on
    Thaw {
        /// Which
        host: String,
    },
    /// Cut one host from another
    Cut {
        /// From this one
        from: String,
        /// To this one
        to: String,
        /// Only what the first sends to the second
        #[arg(long)]
        one_way: bool,
        /// Only on this link (1 or 2)
        #[arg(long, value_name = "N")]
        link: Option<u8>,
    },
    /// Cut a host from all others, but not from the client
    Isolate {
        /// Which
        host: String,
        /// Only on this link (1 or 2)
        #[arg(long, value_name = "N")]
        link: Option<u8>,
    },
    /// Pull a host's cables: its interfaces have no carrier
    Unplug {
        /// Which
        host: String,
        /// Only that of this link (1 or 2)
        #[arg(long, value_name = "N")]
        link: Option<u8>,
    },
    /// End every cut, and put in every cable
    Heal,
    /// Measure what a client sees of an alias
    Probe {
        /// The alias [default: that of web1]
        #[arg(default_value = "192.0.2.101", hide_default_value = true)]
        alias: IpAddr,
        /// How
        #[command(flatten)]
        options: ProbeOptions,
        /// How long; without it until interrupted
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
    },
    /// Repeat a fault, measured, until there are so many runs in a results file
    Bench {
        /// Which fault
        #[arg(value_parser = trial::NAMES)]
        name: String,
        /// How many runs in the end
        #[arg(long, default_value_t = 20)]
        runs: u32,
        /// Count the runs of this commit that are in the file already
        #[arg(long)]
        resume: bool,
        /// Where each run is appended
        #[arg(long, value_name = "FILE", default_value = "lab-results.jsonl")]
        results: PathBuf,
    },
    /// Remove everything
    Down,
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, format!("lab: {error:#}"))
}

fn open() -> Result<Site, Failure> {
    let folder = default_folder();
    Site::open_in(&folder).map_err(|e| {
        let roots = Path::new(DEFAULT_FOLDER);
        failed(format!("{e:#}")).hint(if folder != roots && Lab::is_in(roots) {
            "root has one: use it as root, or with sudo"
        } else {
            "`backstay lab up --yes` brings it up"
        })
    })
}

/// The lab of real hosts; "the lab on loopback addresses ..." is completed by `why_not`.
fn hosts(why_not: &'static str) -> Result<Lab, Failure> {
    open()?.hosts(why_not).map_err(|e| {
        Failure::new(Exit::Refused, e.to_string())
            .hint("take it down and bring it up as root, or with sudo: then it has real hosts")
    })
}

/// For a sentence.
fn on_link(link: Option<u8>) -> String {
    link.map_or_else(String::new, |link| format!(" on link {link}"))
}

/// Why no network can be cut there.
const NO_NETWORK: &str =
    "has no network to cut: all agents talk over the loopback interface of this machine";
/// Why nothing can be measured there.
const NO_FIGURES: &str =
    "has nothing to measure: alias addresses and the gate are simulated, and no frame is ever sent";

/// Runs a verb.
pub(super) fn run(verb: LabVerb, common: &Common) -> Result<Exit, Failure> {
    // anyhow shows its chain of causes only in the alternate form.
    let plain = |e: anyhow::Error| failed(format!("{e:#}"));
    match verb {
        LabVerb::Up {
            bare,
            demo,
            network,
            extra_hosts,
            links,
            ipv6,
        } => {
            let made = Options {
                network,
                extra_hosts,
                shape: Shape { links, ipv6 },
                demo: true,
                ..Options::default()
            };
            return up(common, bare, demo, &made);
        }
        LabVerb::Down => {
            let was = Site::down_in(&default_folder()).map_err(plain)?;
            say(if was {
                "removed\n"
            } else {
                "there was no lab\n"
            });
        }
        LabVerb::Status => {
            let status = open()?.status().map_err(plain)?;
            if common.output == Output::Json {
                say_json(&json::document("LabStatus", &status), false);
            } else {
                say(&status.to_string());
            }
        }
        LabVerb::Ssh { host, command } => {
            let lab = hosts("has no hosts to log in to: each is only an agent's process")?;
            let status = lab.ssh(&host, &command).map_err(plain)?;
            // The far command's own status is what the caller wants to see.
            process::exit(status.code().unwrap_or(1));
        }
        LabVerb::Kill { host } => {
            open()?.kill(&host).map_err(plain)?;
            eprintln!("{host} is off; its disk is kept");
        }
        LabVerb::Revive { host } => {
            open()?.revive(&host).map_err(plain)?;
            eprintln!("{host} is on and can be reached");
        }
        LabVerb::Freeze { host, time, whole } => {
            let what = if whole { Freeze::Host } else { Freeze::Agent };
            open()?.freeze(&host, what, time).map_err(plain)?;
            let what = if whole { "every process" } else { "the agent" };
            let until = time.map_or_else(
                || format!("until `lab thaw {host}`"),
                |t| format!("for {}", humantime::format_duration(t)),
            );
            eprintln!("{what} of {host} is stopped {until}");
        }
        LabVerb::Thaw { host } => {
            let any = open()?.thaw(&host).map_err(plain)?;
            let truth = if any { "goes on" } else { "was not stopped" };
            eprintln!("{host} {truth}");
        }
        LabVerb::Cut {
            from,
            to,
            one_way,
            link,
        } => {
            let lab = hosts(NO_NETWORK)?;
            lab.cut(&from, &to, one_way, link).map_err(plain)?;
            let way = if one_way { "" } else { ", nor the other way" };
            let on = on_link(link);
            eprintln!("nothing gets from {from} to {to}{way}{on}, until `lab heal`");
        }
        LabVerb::Isolate { host, link } => {
            hosts(NO_NETWORK)?.isolate(&host, link).map_err(plain)?;
            let on = on_link(link);
            eprintln!("{host} hears no other host{on}, only the client, until `lab heal`");
        }
        LabVerb::Unplug { host, link } => {
            hosts(NO_NETWORK)?.unplug(&host, link).map_err(plain)?;
            let on = on_link(link);
            eprintln!("{host} has no carrier{on}, until `lab heal`");
        }
        LabVerb::Heal => {
            hosts(NO_NETWORK)?.heal().map_err(plain)?;
            eprintln!("no cut is left, and every cable is in");
        }
        LabVerb::Bench {
            name,
            runs,
            resume,
            results,
        } => {
            hosts(NO_FIGURES)?;
            let mut note = |line: &str| eprintln!("{line}");
            let summary = trial::bench(&name, runs, resume, results, &mut note).map_err(plain)?;
            if common.output == Output::Json {
                say_json(&json::document("LabBench", &summary), false);
            } else {
                say(&summary.to_string());
            }
        }
        LabVerb::Probe {
            alias,
            options,
            time,
        } => {
            let until = Until {
                time,
                ..Until::default()
            };
            let report = probe::run(&hosts(NO_FIGURES)?, alias, &options, until).map_err(plain)?;
            if common.output == Output::Json {
                say_json(&json::document("LabProbe", &report), false);
            } else {
                say(&report.to_string());
            }
        }
    }
    Ok(Exit::Done)
}

/// Lets every command that follows in this process talk to the lab's hosts.
pub(super) fn enter(common: &mut Common) -> Result<(), Failure> {
    let contacts = |lab: &Path| lab.join("contacts.toml");
    let lab = match open()? {
        Site::Hosts(lab) => lab,
        Site::Loopback(lab) => {
            let socket = |host: &Host| (host.name.clone(), lab.socket(&host.name));
            common.sockets = lab.hosts().iter().map(socket).collect();
            common
                .contacts
                .get_or_insert_with(|| contacts(lab.folder()));
            return Ok(());
        }
    };
    let first = lab
        .hosts()
        .first()
        .ok_or_else(|| failed("it has no hosts"))?;
    let target = lab
        .ssh_target(&first.name)
        .map_err(|e| failed(format!("{e:#}")))?;
    if common.identity.is_empty() {
        common.identity.push(target.identity);
    }
    common.known_hosts.get_or_insert(target.known_hosts);
    common
        .contacts
        .get_or_insert_with(|| contacts(lab.folder()));
    lab.enter_client_network()
        .map_err(|e| failed(format!("{e:#}")))
}

/// A host of the lab by its name; any other as it is.
pub(super) fn resolve(context: &Context, contact: Contact) -> Result<Contact, Failure> {
    if !context.common.lab {
        return Ok(contact);
    }
    let Site::Hosts(lab) = open()? else {
        return Ok(contact);
    };
    if lab.host(&contact.host).is_err() {
        return Ok(contact);
    }
    let target = lab
        .ssh_target(&contact.host)
        .map_err(|e| failed(format!("{e:#}")))?;
    Ok(Contact {
        host: target.address.to_string(),
        port: target.port,
        ..contact
    })
}

fn up(common: &Common, bare: bool, demo: bool, options: &Options) -> Result<Exit, Failure> {
    if !nix::unistd::geteuid().is_root() {
        if options.shape != Shape::default() {
            return Err(Failure::new(
                Exit::Refused,
                "--links and --ipv6 need real hosts; nothing was started",
            )
            .hint("use it as root, or with sudo"));
        }
        return up_on_loopback(common, bare, demo);
    }
    let missing = packages::missing(options.network);
    if !missing.is_empty() {
        if !common.yes {
            return Err(
                failed(format!("packages are missing: {}", missing.join(", ")))
                    .hint(format!("{}; or give --yes", packages::remedy(&missing))),
            );
        }
        packages::install(&missing).map_err(|e| failed(format!("{e:#}")))?;
    }
    if !bare && is_up()? {
        eprintln!("the lab is up already");
    } else {
        // What an `up` that was cut short has left is of no use.
        Lab::down_in(&default_folder()).map_err(|e| failed(format!("{e:#}")))?;
        bring_up(bare, options)?;
    }
    if bare {
        return Ok(Exit::Done);
    }
    if demo {
        trial::demo(&mut |line| eprintln!("{line}")).map_err(|e| failed(format!("{e:#}")))?;
    }
    end_in_status()
}

fn end_in_status() -> Result<Exit, Failure> {
    let mut status = vec!["status".to_owned()];
    if std::io::stdout().is_terminal() {
        status.push("--watch".to_owned());
    }
    step(&status)?;
    Ok(Exit::Done)
}

/// The lab's cluster was made. What is out of order in it is for the admin to see.
fn is_up() -> Result<bool, Failure> {
    if Site::open_in(&default_folder()).is_err() {
        return Ok(false);
    }
    let status = ["status", trial::CLUSTER, "--output", "json"].map(str::to_owned);
    let output = own(&status)?.output().map_err(failed)?;
    Ok(output.status.success())
}

/// Boots the hosts, adds the nodes over SSH and creates the cluster.
fn bring_up(bare: bool, options: &Options) -> Result<(), Failure> {
    Lab::up(options, &mut |line| eprintln!("{line}")).map_err(|e| failed(format!("{e:#}")))?;
    if !bare {
        for command in build_commands(trial::create_command(options.shape)) {
            step(&command)?;
        }
    }
    Ok(())
}

/// Without root: says so, starts the agents, and goes the same way from there.
fn up_on_loopback(common: &Common, bare: bool, demo: bool) -> Result<Exit, Failure> {
    eprintln!("you are not root: {WHAT_IT_IS}");
    if demo {
        return Err(Failure::new(
            Exit::Refused,
            "--demo needs real hosts; nothing was started",
        )
        .hint("bring it up without --demo, then try `backstay lab kill n1`"));
    }
    let folder = default_folder();
    if !bare && is_up()? {
        eprintln!("the lab is up already");
        return end_in_status();
    }
    Site::down_in(&folder).map_err(|e| failed(format!("{e:#}")))?;
    let lab = Loopback::up(&folder, &mut |line| eprintln!("{line}"))
        .map_err(|e| failed(format!("{e:#}")))?;
    if bare {
        return Ok(Exit::Done);
    }
    let network = lab.network();
    let create = trial::create_on(|last| format!("{network}.{last}/24"), |_| String::new());
    for command in build_commands(create) {
        step(&command)?;
    }
    give_commands(common, &lab)?;
    end_in_status()
}

/// Writes into the cluster how its services are started and stopped where there is no systemd. They run already.
fn give_commands(common: &Common, lab: &Loopback) -> Result<(), Failure> {
    eprintln!(
        "the services of {} are started and stopped by commands:",
        trial::CLUSTER
    );
    let mut common = common.clone();
    common.yes = true;
    enter(&mut common)?;
    act(&Context::new(common)?, |picture| {
        let found = picture
            .clusters
            .iter()
            .find(|c| c.name.as_str() == trial::CLUSTER);
        let mut document = found
            .cloned()
            .ok_or_else(|| failed("its cluster is not there"))?;
        for service in &mut document.services {
            let words = |what| lab.service_command(service.name.as_str(), what);
            service.commands = vec![Command {
                start: words(Do::Start),
                stop: words(Do::Stop),
                check: words(Do::Check),
                timeout_ms: 20_000,
            }];
        }
        Ok(Action::Apply {
            document: Box::new(document),
        })
    })
}

/// What an admin would type to make the cluster of the lab; the last word is `create`.
fn build_commands(create: Vec<String>) -> Vec<Vec<String>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let mut all = Vec::new();
    for host in ["n1", "n2", "n3", "sb1", "w1"] {
        all.push(words(&format!("node add {host} --name {host}")));
    }
    all.push(words("node role sb1 standby"));
    all.push(words("node role w1 witness"));
    all.push(create);
    all
}

fn own(arguments: &[String]) -> Result<process::Command, Failure> {
    let mut command = process::Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["--lab", "--yes"]).args(arguments);
    if Loopback::is_in(&default_folder()) {
        // So that `down` ends it too, should we be killed.
        command.env(FOLDER_MARK, default_folder());
    }
    Ok(command)
}

/// Runs this program once more, on the lab.
fn step(arguments: &[String]) -> Result<(), Failure> {
    eprintln!("$ backstay {}", arguments.join(" "));
    let status = own(arguments)?.status().map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(format!(
            "`backstay {}` failed ({status})",
            arguments.join(" ")
        )))
    }
}
