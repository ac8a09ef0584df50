//! One operation from its consequences to its result (U5): shown, asked, watched, told.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use backstay_core::model::{NodeName, Problem};
use backstay_core::plan::{Plan, StepKind, quoted};

use super::super::keys::{Key, Order, Place};
use super::super::model::Model;
use super::super::msg::Cmd;
use super::{Guard, Layer};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::front::{Stage, Told};
use crate::ops::preflight::Check;

/// Most lines that are kept of what an operation says.
const NOTES: usize = 200;

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It looks, plans or works; nothing is asked.
    Working,
    /// It asks this; the plan, if there is one, is shown with it.
    Asking(String),
    /// It is over.
    Over(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Well, or not.
    pub well: bool,
    /// One sentence that says what is true now.
    pub sentence: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// Warnings that alone stood against it, by name.
    pub may_ignore: Vec<String>,
    /// It may go through if it is planned anew.
    pub again: bool,
}

/// How far a step of the plan is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// It has begun.
    pub begun: bool,
    /// The next one has begun, or all is over.
    pub over: bool,
    /// Who has done it.
    pub done: BTreeSet<NodeName>,
    /// Who will learn of it from the others.
    pub behind: BTreeSet<NodeName>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What is done, in a few words.
    pub title: String,
    /// The command line that does it.
    pub words: Vec<String>,
    /// How far it is.
    pub phase: Phase,
    /// What it would do.
    pub plan: Option<Plan>,
    /// What was found not in order with the plan.
    pub checks: Vec<Check>,
    /// How far each step of the plan is.
    pub steps: Vec<Progress>,
    /// What it said.
    pub notes: Vec<String>,
    /// The name that has to be typed.
    pub to_type: Option<String>,
    /// What has been typed of it.
    pub typed: String,
    /// The other button than Cancel is marked.
    pub go: bool,
    /// It was told to stop before its next step.
    pub stopping: bool,
    /// Who will learn of it later.
    behind: Vec<NodeName>,
    /// What it said when it had done it.
    finished: Option<String>,
    /// The first line shown of what does not fit.
    pub scroll: usize,
    /// When what is in front was seen first.
    pub guard: Guard,
}

impl Operation {
    /// It begins.
    pub fn new(title: String, words: Vec<String>, to_type: Option<String>) -> Self {
        Self {
            title,
            words,
            phase: Phase::Working,
            plan: None,
            checks: Vec::new(),
            steps: Vec::new(),
            notes: Vec::new(),
            to_type,
            typed: String::new(),
            go: false,
            stopping: false,
            behind: Vec::new(),
            finished: None,
            scroll: 0,
            guard: Guard::default(),
        }
    }

    /// What keys mean.
    pub fn place(&self) -> Place {
        match self.phase {
            Phase::Working => Place::Progress,
            Phase::Asking(_) => Place::Confirm,
            Phase::Over(_) => Place::Outcome,
        }
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Whether the name that has to be typed is there, where one has to be.
    pub fn is_typed(&self) -> bool {
        self.to_type.as_ref().is_none_or(|name| *name == self.typed)
    }

    /// Whether Return can't be meant: another name was begun, or none where the button needs it.
    fn is_misnamed(&self) -> bool {
        !self.is_typed() && (self.go || !self.typed.is_empty())
    }

    /// Who has typed the name wants to go on; who has not can't.
    fn follow_name(&mut self) {
        if self.to_type.is_some() {
            self.go = self.is_typed();
        }
    }

    fn turn(&mut self, phase: Phase) {
        self.phase = phase;
        // The focus is on Cancel, and keys that were on their way are not meant for what is new.
        self.go = false;
        self.typed.clear();
        self.scroll = 0;
        self.guard = Guard::default();
    }

    fn advance(&mut self, kind: StepKind, nodes: &[NodeName], stage: Stage) {
        let steps = self.plan.iter().flat_map(|p| &p.steps);
        let places = steps.enumerate().filter(|(_, s)| s.kind == kind);
        let Some((at, _)) = places.last() else { return };
        match stage {
            Stage::Begins => {
                for (n, step) in self.steps.iter_mut().enumerate() {
                    let same = self.plan.as_ref().is_some_and(|p| p.steps[n].kind == kind);
                    step.over |= n < at && !same;
                    step.begun |= n < at || same;
                }
            }
            Stage::Done => self.steps[at].done.extend(nodes.iter().cloned()),
            Stage::Behind => self.steps[at].behind.extend(nodes.iter().cloned()),
        }
    }

    /// The command that does the same, as it was run.
    pub fn command(&self, options: &[String]) -> String {
        let planned = self.plan.as_ref().map_or_else(
            || {
                let words: Vec<String> = self.words.iter().map(|w| quoted(w)).collect();
                format!("backstay {}", words.join(" "))
            },
            |plan| plan.command.clone(),
        );
        let verb = planned
            .strip_prefix("backstay")
            .unwrap_or(&planned)
            .to_owned();
        let ignored = self
            .words
            .iter()
            .filter(|w| w.starts_with("--ignore-check="));
        let mut line = "backstay".to_owned();
        for option in options {
            line.push(' ');
            line.push_str(option);
        }
        line.push_str(&verb);
        for word in ignored {
            line.push(' ');
            line.push_str(word);
        }
        line
    }
}

/// The operation says how it goes.
pub fn told(model: &mut Model, told: &Told) {
    if !told.line.is_empty() {
        model.note(told.line.clone());
    }
    let Some(operation) = &mut model.operation else {
        return;
    };
    if !told.line.is_empty() {
        if operation.notes.len() >= NOTES {
            operation.notes.remove(0);
        }
        operation.notes.push(told.line.clone());
    }
    if let Some((kind, nodes, stage)) = &told.step {
        operation.advance(*kind, nodes, *stage);
    }
}

/// U5: the operation has been planned.
pub fn planned(model: &mut Model, plan: Plan, checks: Vec<Check>) {
    if let Some(operation) = &mut model.operation {
        operation.steps = vec![Progress::default(); plan.steps.len()];
        operation.plan = Some(plan);
        operation.checks = checks;
    }
}

/// The operation asks.
pub fn asks(model: &mut Model, question: String) {
    if let Some(operation) = &mut model.operation {
        operation.turn(Phase::Asking(question));
    }
    // It needs an answer: it comes to the front, but not over a form that is being filled in.
    let shown = model.layers.iter().any(|l| matches!(l, Layer::Operation));
    if !shown && model.layers.is_empty() {
        model.layers.push(Layer::Operation);
    }
}

/// The operation has done it.
pub fn finished(model: &mut Model, sentence: String, behind: Vec<NodeName>) {
    if let Some(operation) = &mut model.operation {
        operation.finished = Some(sentence);
        operation.behind = behind;
    }
}

/// The operation is over.
pub fn ended(model: &mut Model, result: Result<Exit, Failure>) -> Vec<Cmd> {
    let Some(operation) = &mut model.operation else {
        return Vec::new();
    };
    let outcome = match result {
        Ok(_) => well(operation),
        Err(failure) => failed(operation, failure),
    };
    let line = outcome.sentence.clone();
    if outcome.well {
        operation
            .steps
            .iter_mut()
            .for_each(|s| (s.begun, s.over) = (true, true));
    }
    operation.turn(Phase::Over(outcome));
    model.note(line.clone());
    let in_front = matches!(model.layers.last(), Some(Layer::Operation));
    if !in_front {
        model.layers.retain(|l| !matches!(l, Layer::Operation));
        model.toast = Some(line);
    }
    vec![Cmd::Refresh]
}

fn well(operation: &Operation) -> Outcome {
    let title = operation
        .plan
        .as_ref()
        .map_or(&operation.title, |p| &p.title);
    let title = backstay_wire::rpc::clean(title);
    let mut sentence = match operation.finished.as_deref() {
        None | Some("done") => format!("Done: {title}."),
        Some(said) => match said.strip_prefix("done: ") {
            Some(truth) => format!("Done: {title}. Now {truth}."),
            None => format!("{title}: {said}."),
        },
    };
    if !operation.behind.is_empty() {
        let names = crate::ops::apply::list(&operation.behind);
        let _ = write!(sentence, " {names} will learn of it when back.");
    }
    Outcome {
        well: true,
        sentence,
        hint: None,
        problems: Vec::new(),
        may_ignore: Vec::new(),
        again: false,
    }
}

fn failed(operation: &Operation, failure: Failure) -> Outcome {
    let ignorable: BTreeSet<&str> = operation
        .checks
        .iter()
        .filter(|c| c.may_ignore)
        .map(|c| c.name.as_str())
        .collect();
    // U4: only warnings can be overridden; one rule among them and nothing is offered.
    let is_warning = |p: &Problem| {
        p.place
            .strip_prefix("check ")
            .is_some_and(|n| ignorable.contains(n))
    };
    let offered = failure.exit == Exit::Refused
        && failure.changed == Changed::No
        && !failure.problems.is_empty()
        && failure.problems.iter().all(is_warning);
    Outcome {
        well: false,
        sentence: failure.message,
        // What the flags hint at is a key here.
        hint: (failure.hint).filter(|h| !offered && !failure.again && !h.is_empty()),
        again: failure.again,
        problems: failure.problems,
        may_ignore: if offered {
            ignorable.into_iter().map(str::to_owned).collect()
        } else {
            Vec::new()
        },
    }
}

/// A key for the operation in front.
pub fn key(model: &mut Model, key: Key, order: Option<Order>) -> Vec<Cmd> {
    let now = model.now;
    let Some(operation) = &mut model.operation else {
        model.layers.pop();
        return Vec::new();
    };
    match &operation.phase {
        Phase::Working => return working(model, order),
        _ if !operation.guard.open(now) => return Vec::new(),
        Phase::Over(_) => return over(model, order),
        Phase::Asking(_) => {}
    }
    match (order, key) {
        (Some(Order::Next), _) => operation.go = !operation.go,
        (Some(Order::Up | Order::PageUp), _) => {
            operation.scroll = operation.scroll.saturating_sub(3);
        }
        (Some(Order::Down | Order::PageDown), _) => operation.scroll += 3,
        (Some(Order::Erase), _) => {
            operation.typed.pop();
            operation.follow_name();
        }
        (Some(Order::EraseAll), _) => {
            operation.typed.clear();
            operation.follow_name();
        }
        (Some(Order::Open), _) if operation.is_misnamed() => {
            let name = operation.to_type.clone().unwrap_or_default();
            model.toast = Some(format!("That is not the name: it is {name}."));
        }
        (Some(Order::Open), _) => {
            let go = operation.go;
            return answer(model, go);
        }
        (Some(Order::Back), _) => return answer(model, false),
        (None, Key::Char(c)) if operation.to_type.is_some() && operation.typed.len() < 64 => {
            operation.typed.push(c);
            operation.follow_name();
        }
        _ => {}
    }
    Vec::new()
}

fn answer(model: &mut Model, yes: bool) -> Vec<Cmd> {
    if let Some(operation) = &mut model.operation {
        operation.turn(Phase::Working);
    }
    vec![Cmd::Answer(yes)]
}

fn working(model: &mut Model, order: Option<Order>) -> Vec<Cmd> {
    match order {
        Some(Order::Stop) => {
            if let Some(operation) = &mut model.operation {
                operation.stopping = true;
            }
            vec![Cmd::Stop]
        }
        Some(Order::Detach) => {
            model.layers.pop();
            model.toast = Some("It goes on; o shows it.".to_owned());
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn over(model: &mut Model, order: Option<Order>) -> Vec<Cmd> {
    let (ignorable, again) = match model.operation.as_ref().map(|o| &o.phase) {
        Some(Phase::Over(outcome)) => (outcome.may_ignore.clone(), outcome.again),
        _ => (Vec::new(), false),
    };
    match order {
        Some(Order::Back) => {
            model.layers.pop();
            model.operation = None;
            Vec::new()
        }
        // With the warnings named as the flags name them.
        Some(Order::Override) if !ignorable.is_empty() => anew(model, &ignorable),
        Some(Order::Again) if again => anew(model, &[]),
        _ => Vec::new(),
    }
}

/// The same again, planned anew.
fn anew(model: &mut Model, ignored: &[String]) -> Vec<Cmd> {
    let Some(old) = model.operation.take() else {
        return Vec::new();
    };
    model.layers.pop();
    let mut words = old.words;
    words.extend(ignored.iter().map(|name| format!("--ignore-check={name}")));
    super::form::begin(model, old.title, words, old.to_type)
}
