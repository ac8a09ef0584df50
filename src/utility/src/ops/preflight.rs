//! Checks with names: all run, then fail together. A warning can be overridden by its name, a refusal not.

use std::collections::BTreeSet;
use std::time::Duration;

use backstay_core::model::{
    CLOCKS_WITHIN, ClusterDocument, Member, NodeName, Problem, Role, RuleId, Service,
};
use backstay_core::plan::{Action, Plan};
use backstay_core::time::span;
use serde::Serialize;

use super::Picture;
use super::apply::{absent, concerned};
use super::gather::Fact;
use super::needs;
use crate::failure::{Exit, Failure};
use backstay_wire::rpc::clean;

/// Least room under the state folder, bytes.
pub const LEAST_DISK: u64 = 64 * 1024 * 1024;

/// The checks of a machine with a running agent, by their names, and what to do about each.
pub const MACHINE_CHECKS: [(&str, &str); 5] = [
    ("state-folder", "make /var/lib/backstay writable there"),
    (
        "gate",
        "load nf_tables there, and install the package `nftables`",
    ),
    ("disk-space", "make room there"),
    (
        "clock-not-kept",
        "let NTP keep it (`timedatectl set-ntp true`)",
    ),
    ("clocks-differ", "let NTP set them"),
];

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable: what `--ignore-check` takes.
    pub name: String,
    /// Which rule asks for it.
    pub rule: RuleId,
    /// It may be overridden.
    pub may_ignore: bool,
    /// What is wrong, with the values.
    pub sentence: String,
}

/// What the admin overrides.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// All warnings.
    pub force: bool,
    /// Those.
    pub ignore: Vec<String>,
}

impl Overrides {
    /// Whether a failed check stops the action.
    pub fn stops(&self, check: &Check) -> bool {
        !(check.may_ignore && (self.force || self.ignore.contains(&check.name)))
    }
}

pub(super) fn warning(name: &str, rule: &'static str, sentence: String) -> Check {
    Check {
        name: name.to_owned(),
        rule: RuleId::of(rule),
        may_ignore: true,
        sentence,
    }
}

/// What is wrong with one machine, whatever is planned for it.
pub fn machine(name: &NodeName, fact: &Fact, writable: bool) -> Vec<Check> {
    let facts = &fact.facts;
    let mut found = Vec::new();
    if !writable {
        found.push(Check {
            name: "state-folder".to_owned(),
            rule: RuleId::of("U6"),
            may_ignore: false,
            sentence: format!("{name} can't write its state folder: no change can be kept there"),
        });
    }
    if let Some(why) = facts.gate.as_deref().filter(|w| !w.is_empty()) {
        found.push(warning(
            "gate",
            "S5",
            format!("the kernel's gate can't be set on {name}: {}", clean(why)),
        ));
    }
    if facts.disk_free < LEAST_DISK {
        found.push(warning(
            "disk-space",
            "C9",
            format!(
                "{name} has {} MiB free under its state folder; {} MiB are needed",
                facts.disk_free / 1024 / 1024,
                LEAST_DISK / 1024 / 1024
            ),
        ));
    }
    if facts.clock_kept == Some(false) {
        found.push(warning(
            "clock-not-kept",
            "C10",
            format!("the clock of {name} is not kept by NTP"),
        ));
    }
    found
}

/// C10: how far clocks may lie apart for the strictest of these clusters.
pub fn clocks_within<'a>(documents: impl Iterator<Item = &'a ClusterDocument>) -> Duration {
    let alive = documents.filter(|d| !d.deleted);
    alive
        .map(ClusterDocument::clocks_within)
        .min()
        .unwrap_or(CLOCKS_WITHIN)
}

/// C10: how far the clocks of these machines lie apart, beyond what asking took.
pub fn clocks<'a>(
    facts: impl Iterator<Item = (&'a NodeName, &'a Fact)>,
    within: Duration,
) -> Option<Check> {
    // Each offset against the clock here is known to half the time that asking took.
    let mut earliest: Option<(i128, &NodeName)> = None;
    let mut latest: Option<(i128, &NodeName)> = None;
    for (name, fact) in facts {
        let offset = i128::from(fact.facts.wall_ms) - i128::from(fact.asked_wall_ms);
        let doubt = i128::from(fact.took_ms / 2);
        if earliest.is_none_or(|(o, _)| offset + doubt < o) {
            earliest = Some((offset + doubt, name));
        }
        if latest.is_none_or(|(o, _)| offset - doubt > o) {
            latest = Some((offset - doubt, name));
        }
    }
    let ((early, behind), (late, ahead)) = (earliest?, latest?);
    let apart = u128::try_from(late - early).unwrap_or(0);
    (apart > within.as_millis()).then(|| {
        warning(
            "clocks-differ",
            "C10",
            format!(
                "the clock of {ahead} is {apart} ms ahead of that of {behind}; {} is allowed",
                span(within)
            ),
        )
    })
}

/// The units of the services that a plan brings must exist where they shall run.
fn units(plan: &Plan, picture: &Picture) -> Vec<Check> {
    let mut found = Vec::new();
    for document in &plan.documents {
        for service in &document.services {
            for node in &service.nodes {
                let Some(fact) = picture.facts.get(node) else {
                    continue;
                };
                for unit in service.units_on(node) {
                    if !fact.facts.units.iter().any(|u| u.name == unit) {
                        found.push(warning(
                            "unit-missing",
                            "C9",
                            format!(
                                "{node} has no unit {}, which {} needs",
                                clean(unit),
                                service.name
                            ),
                        ));
                    }
                }
            }
        }
    }
    found
}

/// C9: a standby that is smaller than the largest home may carry its service badly.
fn sizes(plan: &Plan, picture: &Picture) -> Vec<Check> {
    let mut found = Vec::new();
    for document in &plan.documents {
        let facts = |role| {
            let members = document.with_role(role);
            members.filter_map(|m| Some((&m.name, &picture.facts.get(&m.name)?.facts)))
        };
        for (standby, has) in facts(Role::Standby) {
            // Two machines of one size do not tell the very same: the kernel keeps some memory for itself.
            let memory = facts(Role::Regular).max_by_key(|(_, f)| f.memory);
            let least = has.memory.saturating_add(has.memory / 16);
            if let Some((home, wants)) = memory.filter(|(_, f)| has.memory > 0 && f.memory > least)
            {
                found.push(warning(
                    "standby-smaller",
                    "C9",
                    format!(
                        "{standby} has {} MiB of memory, less than {home} with {} MiB, whose services it may have to carry",
                        has.memory >> 20,
                        wants.memory >> 20
                    ),
                ));
            }
            let processors = facts(Role::Regular).max_by_key(|(_, f)| f.processors);
            if let Some((home, wants)) =
                processors.filter(|(_, f)| has.processors > 0 && f.processors > has.processors)
            {
                found.push(warning(
                    "standby-smaller",
                    "C9",
                    format!(
                        "{standby} has fewer processors ({}) than {home} ({}), whose services it may have to carry",
                        has.processors, wants.processors
                    ),
                ));
            }
        }
    }
    found
}

/// Whether a plan gives a machine something new to do: then it must be in best order.
pub(super) fn builds(plan: &Plan, picture: &Picture) -> bool {
    plan.documents.iter().any(|new| {
        let old = picture.clusters.iter().find(|c| c.id == new.id);
        let member = |m: &Member| old.is_some_and(|o| o.member_by_id(m.id).is_some());
        let service = |s: &Service| {
            let former = old.and_then(|o| o.service(s.id));
            former.is_some_and(|f| {
                (&f.nodes, &f.units, &f.files) == (&s.nodes, &s.units, &s.files)
                    && (&f.commands, &f.hooks) == (&s.commands, &s.hooks)
            })
        };
        !new.members.iter().all(member) || !new.services.iter().all(service)
    })
}

/// Everything that speaks against carrying out a plan now.
pub fn preflight(action: &Action, plan: &Plan, picture: &Picture) -> (Vec<Problem>, Vec<Check>) {
    let mut checks: Vec<Check> = plan
        .warnings
        .iter()
        .map(|w| Check {
            name: w.name.to_owned(),
            rule: w.rule.clone(),
            may_ignore: true,
            sentence: w.sentence.clone(),
        })
        .collect();
    let builds = builds(plan, picture);
    let nodes: BTreeSet<NodeName> = concerned(plan, picture);
    for name in &nodes {
        let (Some(fact), Some(hello)) = (picture.facts.get(name), picture.hellos.get(name)) else {
            continue;
        };
        // Changes that only set something must stay possible on a machine that is not in best order.
        let found = machine(name, fact, hello.writable);
        checks.extend(found.into_iter().filter(|c| builds || !c.may_ignore));
    }
    if builds {
        let facts = picture
            .facts
            .iter()
            .filter(|(name, _)| nodes.contains(name));
        checks.extend(clocks(facts, clocks_within(plan.documents.iter())));
        checks.extend(units(plan, picture));
        checks.extend(needs::lacks(plan, &picture.needs));
        checks.extend(sizes(plan, picture));
    }
    (absent(action, plan, picture), checks)
}

/// What stops the action, as one failure that lists everything.
///
/// # Errors
/// [`Exit::Refused`] with every problem and every warning that is not overridden.
pub fn judge(
    problems: Vec<Problem>,
    checks: &[Check],
    overrides: &Overrides,
) -> Result<(), Failure> {
    let stopping: Vec<&Check> = checks.iter().filter(|c| overrides.stops(c)).collect();
    if problems.is_empty() && stopping.is_empty() {
        return Ok(());
    }
    let mut all = problems;
    let ignorable: BTreeSet<&str> = stopping
        .iter()
        .filter(|c| c.may_ignore)
        .map(|c| c.name.as_str())
        .collect();
    all.extend(stopping.iter().map(|c| Problem {
        rule: c.rule.clone(),
        place: format!("check {}", c.name),
        what: c.sentence.clone(),
        mend: if c.may_ignore {
            format!("mend it, or go on with --ignore-check {}", c.name)
        } else {
            "this can't be overridden".to_owned()
        },
    }));
    let failure = Failure::new(Exit::Refused, "refused; nothing was changed");
    let failure = if ignorable.is_empty() {
        failure
    } else {
        let names: Vec<String> = ignorable
            .iter()
            .map(|n| format!("--ignore-check {n}"))
            .collect();
        failure.hint(format!("to go on all the same: {}", names.join(" ")))
    };
    Err(failure.problems(all))
}
