//! Builds, checks and tests Backstay: `cargo xtask test`, `cargo lab`.

mod checks;
mod fuzz;
mod packages;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

/// Builds, checks and tests Backstay.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must hold before a change lands: form, lints, licences, tests, lab.
    Test {
        /// Install the Debian packages and tools that are missing.
        #[arg(long)]
        yes: bool,
        /// Only these stages, by name.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Build the lab's binaries and bring the lab up, ending in the status; without root on loopback addresses.
    Lab {
        /// Install the Debian packages that are missing.
        #[arg(long)]
        yes: bool,
        /// Fail a node, show what happened, and fall back.
        #[arg(long)]
        demo: bool,
    },
    /// Build the lab's binaries.
    Build,
    /// Run made-up bytes against every decoder; goes on from what earlier runs found.
    Fuzz {
        /// For each target.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        minutes: u32,
        /// Only these targets, by name.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Build the agent as it is released, and refuse it if it is larger than 6 MiB.
    Size,
    /// Write the life-cycle's diagram into ARCHITECTURE.md.
    Diagram,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test { yes, only } => test(yes, &only),
        Task::Lab { yes, demo } => lab(yes, demo),
        Task::Build => build(),
        Task::Size => size(),
        Task::Fuzz { minutes, only } => fuzz::fuzz(minutes, &only),
        Task::Diagram => checks::write_diagram(&root()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a stage does; told whether it may install what is missing.
type Stage = fn(bool) -> Result<()>;

/// The stages of `cargo xtask test`, in order: what fails fast comes first.
fn test(yes: bool, only: &[String]) -> Result<()> {
    let stages: [(&str, Stage); 6] = [
        ("packages", packages::provide),
        ("fmt", |_| cargo(&["fmt", "--all", "--check"])),
        ("clippy", |_| {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])
        }),
        ("deny", checks::deny),
        ("unit", |_| {
            cargo(&[
                "test",
                "--workspace",
                "--locked",
                "--exclude",
                "backstay-tests",
            ])
        }),
        ("lab", |_| {
            build()?;
            cargo(&[
                "test",
                "--locked",
                "-p",
                "backstay-tests",
                "--",
                "--test-threads=1",
            ])
        }),
    ];
    if let Some(unknown) = only
        .iter()
        .find(|o| stages.iter().all(|(name, _)| name != o))
    {
        let names: Vec<_> = stages.iter().map(|(name, _)| *name).collect();
        bail!(
            "there is no stage `{unknown}`; the stages are {}",
            names.join(", ")
        );
    }
    for (name, run) in stages {
        if !only.is_empty() && !only.iter().any(|o| o == name) {
            continue;
        }
        println!("== {name}");
        let start = Instant::now();
        run(yes).with_context(|| format!("stage {name}"))?;
        println!("== {name}: done in {} s", start.elapsed().as_secs());
    }
    Ok(())
}

fn lab(yes: bool, demo: bool) -> Result<()> {
    // Without root there are no hosts, and nothing that they would need.
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        packages::provide(yes)?;
    }
    build()?;
    let mut command = Command::new(root().join("target/lab/backstay"));
    command.args(["lab", "up"]);
    if yes {
        command.arg("--yes");
    }
    if demo {
        command.arg("--demo");
    }
    run(command)
}

/// One profile for the binaries that the lab uses.
fn build() -> Result<()> {
    cargo(&[
        "build",
        "--locked",
        "--profile",
        "lab",
        "-p",
        "backstay",
        "-p",
        "backstay-agent",
        "-p",
        "backstay-lab",
    ])
}

/// The agent is copied to every node over SSH, perhaps a slow one.
fn size() -> Result<()> {
    const MOST: u64 = 6 * 1024 * 1024;
    cargo(&["build", "--locked", "--release", "-p", "backstay-agent"])?;
    let program = target_folder().join("release/backstay-agent");
    let size = std::fs::metadata(&program)?.len();
    println!("{}: {size} bytes", program.display());
    if size > MOST {
        bail!("the agent is larger than {MOST} bytes");
    }
    Ok(())
}

/// Where cargo puts what it builds.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(cargo_command(arguments))
}

fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    // The machine's own OpenSSL, where its headers are: building one takes minutes.
    if Path::new("/usr/include/openssl/ssl.h").exists() {
        command.env("OPENSSL_NO_VENDOR", "1");
    }
    command
}

fn run(mut command: Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("can't run {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// The top of the checkout.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
