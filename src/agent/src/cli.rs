//! The agent's command line.

mod bridge;
mod run;
mod status;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::host::gate::{BootLoad, boot_load};
use crate::store::Folders;
use crate::work::SimulatedHands;

/// The daemon of Backstay on each node.
#[derive(Debug, Parser)]
#[command(name = "backstay-agent", version = backstay_core::VERSION, about)]
struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Command,
}

/// Where the agent keeps its files.
#[derive(Debug, Args)]
struct Places {
    /// Folder that survives reboots
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        default_value = "/var/lib/backstay"
    )]
    state: PathBuf,
    /// Folder that ends with the boot
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        default_value = "/run/backstay"
    )]
    run: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the agent; systemd does this
    Run(RunArgs),
    /// Connect standard input and output to the agent's socket; SSH does this
    Rpc {
        /// Allow looking only
        #[arg(long)]
        viewer: bool,
        /// Whose key it is, for the audit
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
    },
    /// Show what this node knows of its clusters
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Close guarded addresses; systemd does this before the network comes up
    GateLoad,
}

/// How to be the agent.
#[derive(Debug, Args)]
struct RunArgs {
    /// Allow a terminal
    #[arg(long)]
    foreground: bool,
    /// Without root: addresses and gate are only pretended, so beats need loopback addresses
    #[arg(long)]
    simulate: bool,
    /// An address of the pretended machine, as its own network configuration would have it; repeatable
    #[arg(long = "address", value_name = "ADDR/LEN", requires = "simulate")]
    addresses: Vec<IpNet>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let folders = Folders {
        state: cli.places.state,
        run: cli.places.run,
    };
    let done = match cli.command {
        Command::Run(args) => start(&folders, &args),
        Command::Rpc { viewer, name } => bridge::run(&folders, viewer, name),
        Command::Status { json } => status::run(&folders, json),
        Command::GateLoad => gate_load(&folders),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backstay-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(folders: &Folders, args: &RunArgs) -> Result<()> {
    if std::io::stdin().is_terminal() && !args.foreground {
        bail!(
            "`run` is for systemd (systemctl start backstay-agent); on a terminal it needs --foreground"
        );
    }
    begin_log();
    let simulated = args.simulate.then(|| SimulatedHands::with(&args.addresses));
    let ran = run::run(folders, simulated);
    if ran.is_err() && std::env::var_os("NOTIFY_SOCKET").is_some() {
        // systemd starts it again at once, which is right after a crash and not where starting itself fails.
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
    ran
}

/// To standard error; `BACKSTAY_LOG` says what: a level, or `TARGET=LEVEL`, several by comma.
fn begin_log() {
    let wanted = std::env::var("BACKSTAY_LOG").ok();
    let wanted = wanted.and_then(|text| text.parse::<Targets>().ok());
    let usual = || {
        let all = Targets::new().with_default(LevelFilter::INFO);
        all.with_target("zbus", LevelFilter::WARN)
    };
    let log = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let log = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().boxed() // journald has its own
    } else {
        log.boxed()
    };
    tracing_subscriber::registry()
        .with(wanted.unwrap_or_else(usual))
        .with(log)
        .init();
}

/// S7: before the network. A failure is systemd's to show; the agent guards again when it comes up.
fn gate_load(folders: &Folders) -> Result<()> {
    match boot_load(&folders.guarded())? {
        BootLoad::Loaded => println!("guarded addresses are closed"),
        BootLoad::NothingGuarded => println!("this node guards no address"),
        BootLoad::Kept => println!("the agent runs and keeps the gate; nothing to load"),
    }
    Ok(())
}
