//! A plan before it is carried out (U5).

use std::fmt::Write as _;

use backstay_core::model::Difference;
use backstay_core::plan::{ConsequenceKind, Plan};

use super::style::{Style, Tone};
use crate::ops::preflight::{Check, Overrides};
use backstay_wire::rpc::clean;

/// What will be done and what comes of it.
pub fn plan(plan: &Plan, checks: &[Check], overrides: &Overrides, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", style.paint(&clean(&plan.title), Tone::Bold));
    for difference in changes(plan) {
        out.push_str(&style.wrap("  change    ", &clean(&difference.to_string()), Tone::Plain));
    }
    for step in &plan.steps {
        out.push_str(&style.wrap("  step      ", &clean(&step.sentence), Tone::Plain));
    }
    for consequence in &plan.consequences {
        let (word, tone) = kind_word(consequence.kind);
        out.push_str(&style.wrap(
            &format!("  {word:<9} "),
            &clean(&consequence.sentence),
            tone,
        ));
    }
    for check in checks.iter().filter(|c| !overrides.stops(c)) {
        let text = format!("{} ({}, {})", check.sentence, check.rule, check.name);
        out.push_str(&style.wrap("  override  ", &clean(&text), Tone::Bad));
    }
    out
}

/// The differences worth a line. What comes or goes whole, a member, a service, a lock, is told by the
/// consequences; only who wrote a document themselves wants to see it key by key.
pub fn changes(plan: &Plan) -> impl Iterator<Item = &Difference> {
    let written = plan.command.starts_with("backstay apply");
    let whole = |d: &&Difference| {
        [", lock, ", ", maintenance, "]
            .iter()
            .any(|w| d.place.contains(w))
    };
    let changed =
        move |d: &&Difference| written || (d.before.is_some() && d.after.is_some() && !whole(d));
    plan.differences.iter().filter(changed)
}

/// A kind of consequence as a word.
pub const fn kind_word(kind: ConsequenceKind) -> (&'static str, Tone) {
    match kind {
        ConsequenceKind::Outage => ("outage", Tone::Warn),
        ConsequenceKind::Displacement => ("displaces", Tone::Bad),
        ConsequenceKind::Unlock => ("unlock", Tone::Warn),
        ConsequenceKind::Fallback => ("fallback", Tone::Plain),
        ConsequenceKind::Irreversible => ("no return", Tone::Bad),
        ConsequenceKind::Protection => ("protects", Tone::Warn),
        ConsequenceKind::LowTraffic => ("when", Tone::Warn),
        ConsequenceKind::Note => ("note", Tone::Plain),
    }
}
