//! Tests of the command line as a whole.

mod asked;
mod commands;
mod packages;

use clap::Parser as _;

use super::args::Arguments;
use super::context::Context;

/// As with these options, where nobody can be asked and no node is known.
fn context(options: &[&str]) -> Context {
    let line = ["backstay", "status", "--no-input", "--socket", "/nowhere"];
    let known = options.contains(&"--contacts");
    let contacts: &[&str] = if known {
        &[]
    } else {
        &["--contacts", "/nowhere/c.toml"]
    };
    let line = line.iter().chain(contacts).chain(options);
    Context::new(Arguments::parse_from(line).common).unwrap()
}
