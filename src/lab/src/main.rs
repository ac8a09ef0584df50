//! `backstay-lab`: the lab without the maintenance utility, and the programs
//! that the lab itself runs (supervisor, demonstration service, prober).

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use backstay_lab::loopback::service::Do;
use backstay_lab::probe::{self, Probe, ProbeOptions, Until};
use backstay_lab::serve::{self, ServeOptions};
use backstay_lab::{
    Freeze, Lab, Loopback, Network, Options, Shape, Site, default_folder, packages, supervise,
};
use clap::{Parser, Subcommand};
use nix::time::{ClockId, clock_gettime};

#[derive(Parser)]
#[command(
    version,
    about = "Several real hosts on one machine, for demonstration and tests"
)]
struct Arguments {
    /// Folder of the lab; without it that of the environment, else /var/lib/backstay-lab.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make the hosts and boot them.
    Up {
        /// Install Debian packages that are missing.
        #[arg(long)]
        yes: bool,
        /// Also install and start the demonstration services.
        #[arg(long)]
        demo: bool,
        /// Bare hosts beyond the usual five (0 to 15).
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=15))]
        extra_hosts: u8,
        /// What configures the hosts' network.
        #[arg(long, default_value = "networkd")]
        network: Network,
        /// Links of each host (1 or 2).
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        links: u8,
        /// No IPv4 at all.
        #[arg(long)]
        ipv6: bool,
    },
    /// Remove everything.
    Down,
    /// Show the hosts.
    Status,
    /// Run a command in a host, or a shell.
    Ssh {
        host: String,
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Run a command in the client's network.
    Client {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Power off at once; the disk is kept.
    Kill { host: String },
    /// Boot a host that is off.
    Revive { host: String },
    /// Stop the agent of a host, or all its processes.
    Freeze {
        host: String,
        /// Go on after this time.
        #[arg(long = "for", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
        /// Stop every process, not only the agent.
        #[arg(long = "host")]
        all: bool,
    },
    /// Let stopped processes go on.
    Thaw {
        host: String,
        #[arg(long, hide = true, value_parser = humantime::parse_duration)]
        after: Option<Duration>,
        #[arg(long, hide = true)]
        detach: bool,
    },
    /// Cut one from another: hosts, `client`, `gateway`.
    Cut {
        from: String,
        to: String,
        /// Only what the first sends to the second.
        #[arg(long)]
        one_way: bool,
        /// Only on this link.
        #[arg(long)]
        link: Option<u8>,
    },
    /// Cut a host from all others, but not from the client.
    Isolate {
        host: String,
        /// Only on this link.
        #[arg(long)]
        link: Option<u8>,
    },
    /// Pull a host's cables.
    Unplug {
        host: String,
        /// Only that of this link.
        #[arg(long)]
        link: Option<u8>,
    },
    /// End every cut, and put in every cable.
    Heal,
    /// Measure what a client sees of an address.
    Probe {
        alias: IpAddr,
        #[command(flatten)]
        options: ProbeOptions,
        /// How long; without it until interrupted.
        #[arg(long = "for", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
        /// Say at once when another node answers.
        #[arg(long)]
        live: bool,
        #[arg(long, hide = true)]
        until_end_of_input: bool,
    },
    /// Install the demonstration services web1, web2, web3.
    Demo,
    /// The demonstration service.
    Serve(ServeOptions),
    /// Start, stop or check a demonstration service (agents of the lab without root run this).
    #[command(hide = true)]
    Service { what: Do, name: String },
    /// Look after a host (the lab runs this).
    #[command(hide = true)]
    Host {
        name: String,
        #[arg(long)]
        detach: bool,
    },
    /// Become a host (the lab runs this).
    #[command(hide = true)]
    Boot { name: String },
}

fn main() -> ExitCode {
    let began = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let arguments = Arguments::parse();
    match run(arguments, began) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("backstay-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, began: Duration) -> Result<ExitCode> {
    let folder = arguments.folder.unwrap_or_else(default_folder);
    let json = arguments.json;
    let site = || Site::open_in(&folder);
    let lab = || anyhow::Ok(site()?.hosts("has no hosts with a network and a shell of their own")?);
    match arguments.verb {
        Verb::Up {
            yes,
            demo,
            extra_hosts,
            network,
            links,
            ipv6,
        } => {
            if yes {
                packages::install(&packages::missing(network))?;
            }
            let options = Options {
                folder: Some(folder.clone()),
                program: None,
                extra_hosts,
                shape: Shape { links, ipv6 },
                demo,
                network,
            };
            let lab = Lab::up(&options, &mut |line| eprintln!("{line}"))?;
            show(&lab.status()?, json)?;
        }
        Verb::Down => {
            let text = if Site::down_in(&folder)? {
                "removed"
            } else {
                "there was no lab"
            };
            eprintln!("{text}");
        }
        Verb::Status => show(&site()?.status()?, json)?,
        Verb::Ssh { host, command } => return Ok(code(lab()?.ssh(&host, &command)?)),
        Verb::Client { command } => {
            let (program, rest) = command.split_first().context("no command")?;
            return Ok(code(lab()?.client_command(program).args(rest).status()?));
        }
        Verb::Kill { host } => match site()? {
            Site::Hosts(lab) => show(&lab.kill(&host)?, json)?,
            Site::Loopback(lab) => lab.kill(&host)?,
        },
        Verb::Revive { host } => site()?.revive(&host)?,
        Verb::Freeze { host, time, all } => {
            let what = if all { Freeze::Host } else { Freeze::Agent };
            site()?.freeze(&host, what, time)?;
        }
        Verb::Thaw {
            host,
            after,
            detach,
        } => thaw(&folder, &host, after, detach)?,
        Verb::Cut {
            from,
            to,
            one_way,
            link,
        } => lab()?.cut(&from, &to, one_way, link)?,
        Verb::Isolate { host, link } => lab()?.isolate(&host, link)?,
        Verb::Unplug { host, link } => lab()?.unplug(&host, link)?,
        Verb::Heal => lab()?.heal()?,
        Verb::Probe {
            alias,
            options,
            time,
            live,
            until_end_of_input,
        } => {
            let lab = lab()?;
            let report = match time {
                Some(time) if !live && !until_end_of_input => {
                    let probe = Probe::start(&lab, alias, &options)?;
                    std::thread::sleep(time);
                    probe.finish()?
                }
                time => {
                    let end_of_input = until_end_of_input;
                    let until = Until {
                        time,
                        end_of_input,
                        live,
                    };
                    probe::run(&lab, alias, &options, until)?
                }
            };
            show(&report, json)?;
        }
        Verb::Demo => lab()?.install_demo()?,
        Verb::Serve(options) => {
            serve::serve(
                &options,
                u64::try_from(began.as_nanos()).unwrap_or(u64::MAX),
            )?;
        }
        Verb::Service { what, name } => Loopback::service(&folder, &name, what)?,
        Verb::Host { name, detach } => supervise::host(&folder, &name, detach)?,
        Verb::Boot { name } => supervise::boot(&folder, &name)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Thaws, at once or later; with `detach` in the background, so that whoever
/// asked need not stay.
fn thaw(folder: &Path, host: &str, after: Option<Duration>, detach: bool) -> Result<()> {
    if detach {
        std::process::Command::new(std::env::current_exe()?)
            .arg("--folder")
            .arg(folder)
            .args(["thaw", host, "--after"])
            .arg(format!("{}us", after.unwrap_or_default().as_micros()))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        return Ok(());
    }
    if let Some(after) = after {
        nix::unistd::setsid()?;
        std::thread::sleep(after);
    }
    Site::open_in(folder)?.thaw(host).map(drop)
}

fn show<T: serde::Serialize + std::fmt::Display>(value: &T, json: bool) -> Result<()> {
    let text = if json {
        serde_json::to_string(value)? + "\n"
    } else {
        value.to_string()
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever read this has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn code(status: std::process::ExitStatus) -> ExitCode {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
