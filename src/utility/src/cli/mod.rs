//! The command line.

mod act;
mod apply;
pub mod args;
mod cluster;
mod collect;
pub(crate) mod context;
mod key;
mod lab;
mod node;
mod packages;
mod replace;
mod rule;
mod service;
mod setup;
pub(crate) mod show;
pub(crate) mod spec;
#[cfg(test)]
mod tests;
mod upgrade;
mod viewer;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use args::{Arguments, Verb};
use context::Context;

use crate::failure::{Exit, Failure};
use crate::output::{json, lists};

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    // clap ends the process itself: 0 for help and version, 2 for a wrong command line.
    let arguments = Arguments::parse();
    // A line of the log would be written across the menu.
    let menu = arguments.verb.is_none() && std::io::stderr().is_terminal();
    if !menu {
        trace(arguments.common.verbose);
    }
    let style = context::style(arguments.common.color);
    let as_json = arguments.common.output == args::Output::Json;
    let exit = match run(arguments) {
        Ok(exit) => exit,
        Err(failure) => {
            let text = if as_json {
                format!("{:#}\n", json::failure(&failure))
            } else if std::io::stderr().is_terminal() {
                lists::failure_wrapped(&failure, style)
            } else {
                lists::failure(&failure, style)
            };
            // Programs read one document from standard output, also when it failed.
            let _ = if as_json {
                std::io::stdout().write_all(text.as_bytes())
            } else {
                std::io::stderr().write_all(text.as_bytes())
            };
            failure.exit
        }
    };
    let _ = std::io::stdout().flush();
    // Threads that still wait for a host that hangs end with the process.
    std::process::exit(i32::from(exit as u8))
}

fn trace(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let wanted = std::env::var("BACKSTAY_LOG").ok();
    let wanted = wanted.and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(level));
    let log = fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(log).init();
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { verb, mut common } = arguments;
    if let Some(Verb::Lab(verb)) = verb {
        return lab::run(verb, &common);
    }
    if common.lab {
        lab::enter(&mut common)?;
    }
    let context = Context::new(common)?;
    let Some(verb) = verb else {
        return crate::tui::open(&context);
    };
    context.catch_signals()?;
    dispatch(&context, verb)
}

/// Runs a verb: as typed, or as the menu wrote it.
pub(crate) fn dispatch(context: &Context, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Status { cluster, watch } => show::status(context, cluster.as_ref(), watch),
        Verb::Node(verb) => node::run(context, verb),
        Verb::Cluster(verb) => cluster::run(context, *verb),
        Verb::Service(verb) => service::run(context, verb),
        Verb::Setup {
            answers,
            record,
            plain,
        } => setup::run(context, answers, record, plain),
        Verb::Apply { file } => apply::run(context, &file),
        Verb::Alarm(args::AlarmVerb::List) => show::alarms(context),
        Verb::History {
            service,
            follow,
            limit,
        } => show::history(context, service.as_ref(), limit, follow),
        Verb::Audit { limit } => show::audit(context, limit),
        Verb::Key(args::KeyVerb::Rotate { cluster }) => key::rotate(context, cluster),
        Verb::Key(args::KeyVerb::Viewer(verb)) => viewer::run(context, verb),
        Verb::Collect { output_file } => collect::run(context, output_file),
        Verb::Rule { ids } => rule::run(context, &ids),
        Verb::Lab(_) => Ok(Exit::Done), // dealt with above
    }
}
