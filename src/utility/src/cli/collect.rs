//! `backstay collect`: a support bundle.

use std::path::PathBuf;

use serde_json::json;

use super::act::may_change;
use super::context::{Context, say, say_json, who};
use crate::failure::{Exit, Failure};
use crate::ops::collect;
use crate::ops::gather::wall_ms;
use crate::output::json;
use crate::output::style::date;

pub(super) fn run(context: &Context, file: Option<PathBuf>) -> Result<Exit, Failure> {
    let file = file.unwrap_or_else(|| usual_name(wall_ms() / 1000).into());
    let gatherer = context.gatherer()?;
    context.note("asking every node how it is");
    let mut picture = gatherer.gather(&mut |line| context.note(line))?;
    // It has what viewers do not see (U11).
    may_change(&picture)?;
    let status = match gatherer.status() {
        Ok(seen) => json::status(&seen, None),
        Err(failure) => json::failure(&failure),
    };
    context.guard();
    let made = collect::write(
        &file,
        status,
        &who(),
        &mut picture,
        &context.cancel,
        &mut |line| context.note(line),
    )?;
    if context.json() {
        let mut body = json!(made);
        body["file"] = json!(file);
        say_json(&json::document("SupportBundle", body), false);
    } else {
        for (what, why) in &made.missing {
            context.note(&format!("not in it: {what}: {why}"));
        }
        let all = made.nodes.len() + picture.silent.len();
        say(&format!(
            "{} ({} KiB) has what {} of {all} nodes say, without secrets; only you can read it\n",
            file.display(),
            made.bytes.div_ceil(1024),
            made.nodes.len(),
        ));
    }
    Ok(if made.missing.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

/// With the time, so that a second one does not stand in the way of the first.
fn usual_name(wall: u64) -> String {
    let digits: String = date(wall).chars().filter(char::is_ascii_digit).collect();
    format!("backstay-support-{digits}.tar.gz")
}
