//! Asks and does, until nothing more is to be asked or done.

use backstay_core::model::NodeName;

use super::answers::Recorder;
use super::ask::{Asker, Reply};
use super::draft::Draft;
use super::question::{Answer, Key, Question};
use super::step::{Next, Step, Work, hosts::usable, next};
use super::system::{Finding, System};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::preflight::Overrides;
use crate::output::lists::heading;
use crate::output::style::{Cell, Style, Tone};
use crate::remote::Contact;

/// A set-up on its way.
pub struct Drive<'a> {
    /// The world.
    pub system: &'a mut dyn System,
    /// Who answers.
    pub asker: &'a mut dyn Asker,
    /// Who writes the answers down.
    pub recorder: Option<Recorder>,
    /// How things are shown.
    pub style: Style,
    /// Stop before the first change.
    pub dry: bool,
    draft: Draft,
    /// What this session has changed so far.
    changed: bool,
    /// How many answers were given.
    answers: usize,
    step: Option<Step>,
    drawn: Option<(u64, String)>,
}

/// How a set-up ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many answers it took.
    pub answers: usize,
    /// It only showed what it would do.
    pub dry: bool,
}

impl<'a> Drive<'a> {
    /// A set-up that begins now.
    pub fn new(
        system: &'a mut dyn System,
        asker: &'a mut dyn Asker,
        style: Style,
        overrides: Overrides,
    ) -> Self {
        Self {
            system,
            asker,
            recorder: None,
            style,
            dry: false,
            draft: Draft::new(overrides),
            changed: false,
            answers: 0,
            step: None,
            drawn: None,
        }
    }

    /// Goes to the end.
    ///
    /// # Errors
    /// In one sentence, with whether anything was changed; the same command again goes on from there.
    pub fn run(mut self) -> Result<Outcome, Failure> {
        let end = self.go_on();
        let outcome = Outcome {
            answers: self.answers,
            dry: self.dry,
        };
        end.map(|()| outcome).map_err(|failure| self.ended(failure))
    }

    fn go_on(&mut self) -> Result<(), Failure> {
        loop {
            let (step, next) = next(&self.draft);
            let work = match next {
                Next::Done => return Ok(()),
                Next::Ask(question) => {
                    self.head(step);
                    self.ask(&question)?;
                    continue;
                }
                Next::Do(work) => work,
            };
            if self.dry && matches!(work, Work::Admit(_) | Work::Assign(_) | Work::Create) {
                return Ok(());
            }
            if !matches!(work, Work::Present) {
                self.head(step);
            }
            self.work(work)?;
        }
    }

    /// Nothing that was done is hidden behind a failure.
    fn ended(&self, failure: Failure) -> Failure {
        let again = "`backstay setup` again goes on from there";
        let failure = match (failure.exit, self.changed) {
            (Exit::Cancelled, true) => {
                let message = format!(
                    "{}; what was carried out so far stays",
                    failure.message.replace("; nothing was changed", "")
                );
                Failure { message, ..failure }
            }
            (Exit::Cancelled, false) if !failure.message.contains("nothing was changed") => {
                let message = format!("{}; nothing was changed", failure.message);
                Failure { message, ..failure }
            }
            _ => failure,
        };
        if !self.changed && failure.changed == Changed::No {
            return failure;
        }
        let hint = failure.hint.clone();
        let hint = hint.map_or_else(|| again.to_owned(), |hint| format!("{hint}\n{again}"));
        let changed = match failure.changed {
            Changed::No => Changed::Yes,
            known => known,
        };
        failure.hint(hint).changed(changed)
    }

    fn head(&mut self, step: Step) {
        if self.step == Some(step) {
            return;
        }
        let before = self.step.replace(step);
        let skipped = |s: &Step| before.is_some_and(|b| b < *s) && *s < step;
        for passed in Step::ALL.into_iter().filter(skipped) {
            self.asker.tell(&format!(
                "\n{}\n  nothing to ask: known already\n",
                self.title(passed)
            ));
        }
        self.asker.tell(&format!("\n{}\n", self.title(step)));
    }

    fn title(&self, step: Step) -> String {
        self.style.paint(&step.title(), Tone::Bold)
    }

    fn ask(&mut self, question: &Question) -> Result<(), Failure> {
        let can_go_back = self.draft.can_go_back();
        match self.asker.ask(question, can_go_back)? {
            Reply::Back | Reply::Given(Answer::Yes(false)) if can_go_back => {
                // The answers above stay on the screen; what follows is asked again.
                self.asker.tell("  back:\n");
                self.draft.back();
            }
            Reply::Back | Reply::Given(Answer::Yes(false)) => {
                self.asker.tell(
                    "There is nothing to go back to: what came before has been carried out.\n",
                );
            }
            Reply::Given(answer) => {
                self.answers += 1;
                self.draft.give(question, answer);
                if let Some(recorder) = &mut self.recorder {
                    recorder.write(&self.draft, question)?;
                }
            }
        }
        Ok(())
    }

    fn work(&mut self, work: Work) -> Result<(), Failure> {
        match work {
            Work::Present => self.draft.present = Some(self.system.present()?),
            Work::Watch(cluster) => {
                self.asker
                    .tell(&format!("{cluster} is there already; watching it.\n"));
                self.system.watch(&cluster)?;
                self.draft.done = true;
            }
            Work::Look(hosts) => self.look(&hosts)?,
            Work::Inspect(hosts) => self.inspect(&hosts)?,
            Work::Admit(hosts) => {
                for (host, print, name) in hosts {
                    self.draft.carried_out();
                    let done = self.system.admit(&host, &print, &name);
                    self.changed |= done.is_ok();
                    done?;
                }
                self.draft.present = Some(self.system.present()?);
                self.known_now()?;
            }
            Work::Assign(roles) => {
                for (node, role) in roles {
                    self.draft.carried_out();
                    self.system.assign(&node, role)?;
                    self.changed = true;
                }
                self.draft.present = Some(self.system.present()?);
            }
            Work::Learn(nodes) => self.learn(&nodes)?,
            Work::Plan => self.plan()?,
            Work::Create => {
                let wanted = self.wanted()?;
                let ignored = self.draft.ignored();
                self.draft.carried_out();
                self.system.create(&wanted, &ignored)?;
                self.changed = true;
                self.draft.done = true;
            }
        }
        Ok(())
    }

    /// Who was added must be found again in the system, or it would be added for ever.
    fn known_now(&self) -> Result<(), Failure> {
        let hosts = self.draft.hosts();
        match hosts.iter().find(|h| self.draft.known(h).is_none()) {
            None => Ok(()),
            Some(host) => Err(Failure::new(
                Exit::Error,
                format!("{host} was added, but the system does not show it"),
            )
            .hint("`backstay node list` shows the nodes")),
        }
    }

    /// Says what came of an answer, and asks that question again.
    fn again(&mut self, key: &Key, failure: Failure) -> Result<(), Failure> {
        self.asker.wrong(key, failure)?;
        self.draft.back_to(key);
        Ok(())
    }

    fn look(&mut self, hosts: &[Contact]) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for (host, shown) in hosts.iter().zip(self.system.look(hosts)) {
            match shown {
                Ok(shown) => {
                    self.draft.shown.insert(host.clone(), shown);
                    let known = self.draft.known(host);
                    let taken = known.and_then(|k| usable(k, &host.to_string()).err());
                    failures.extend(taken.map(|why| Failure::new(Exit::Refused, why)));
                }
                Err(failure) => failures.push(failure),
            }
        }
        failures.extend(self.clones());
        let known = |h: &Contact| self.draft.known(h).is_some() || self.draft.print(h).is_some();
        if failures.is_empty() && self.draft.hosts().iter().all(known) {
            self.asker.tell("  all known\n");
        }
        self.first_of(failures)
    }

    /// Machines made from one image show one key: whoever has it can pass for all of them.
    fn clones(&self) -> Option<Failure> {
        let hosts = self.draft.hosts();
        let print = |host| self.draft.shown.get(host).map(|s| &s.print);
        let mut pairs = hosts.iter().enumerate();
        let (first, other) = pairs.find_map(|(n, host)| {
            let mut before = hosts[..n].iter();
            let same = before.find(|b| print(b).is_some() && print(b) == print(host))?;
            Some((same, host))
        })?;
        let said =
            format!("{first} and {other} show the same host key: they are one machine, or clones");
        let mend = format!(
            "on a clone make keys of its own: rm /etc/ssh/ssh_host_*; ssh-keygen -A; then look again ({other})"
        );
        Some(Failure::new(Exit::Refused, said).hint(mend))
    }

    fn inspect(&mut self, hosts: &[(Contact, String)]) -> Result<(), Failure> {
        let mut failures = Vec::new();
        let mut findings = Vec::new();
        for ((host, _), inspected) in hosts.iter().zip(self.system.inspect(hosts)) {
            match inspected {
                Ok(inspected) => {
                    findings.extend(inspected.findings.clone());
                    self.draft.inspected.insert(host.clone(), inspected);
                }
                Err(failure) => failures.push(failure),
            }
        }
        self.table(&findings);
        self.first_of(failures)
    }

    /// All failures are told; the hosts are asked for again, and looked at anew.
    fn first_of(&mut self, failures: Vec<Failure>) -> Result<(), Failure> {
        let mut failures = failures.into_iter();
        let Some(mut first) = failures.next() else {
            return Ok(());
        };
        for other in failures {
            first.message = format!("{}; {}", first.message, other.message);
        }
        self.draft.shown.clear();
        self.again(&Key::of(["hosts"]), first)
    }

    fn learn(&mut self, nodes: &[NodeName]) -> Result<(), Failure> {
        self.asker
            .tell("Asking the nodes what they are and how far away.\n");
        let learned = self.system.learn(nodes)?;
        self.table(&learned.findings);
        self.draft.learned = Some(learned);
        Ok(())
    }

    fn wanted(&mut self) -> Result<backstay_core::plan::CreateCluster, Failure> {
        let (id, key) = match &self.drawn {
            Some(drawn) => drawn.clone(),
            None => self.drawn.insert(self.system.draw()?).clone(),
        };
        let wanted = self.draft.wanted(id, key);
        wanted.ok_or_else(|| Failure::new(Exit::Error, "the answers describe no cluster"))
    }

    fn plan(&mut self) -> Result<(), Failure> {
        let wanted = self.wanted()?;
        match self.system.plan(&wanted, &self.draft.ignored()) {
            Ok(text) => {
                self.asker.tell(&text);
                self.draft.planned = true;
                Ok(())
            }
            Err(failure) => self.again(&Key::of(["cluster", "profile"]), failure),
        }
    }

    /// One line for each host, one column for each check, then what failed and how to mend it.
    fn table(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        let mut checks: Vec<&str> = Vec::new();
        let mut hosts: Vec<&str> = Vec::new();
        for f in findings {
            if !checks.contains(&f.check.as_str()) {
                checks.push(&f.check);
            }
            if !hosts.contains(&f.host.as_str()) {
                hosts.push(&f.host);
            }
        }
        let mut rows = vec![heading(&["HOST"])];
        let columns: Vec<&str> = checks.iter().map(|c| column(c)).collect();
        rows[0].extend(heading(&columns));
        for host in &hosts {
            let mut row = vec![Cell::from(*host)];
            row.extend(checks.iter().map(|check| {
                let of = |f: &&Finding| f.host == **host && f.check == **check;
                match findings.iter().find(of).map(|f| f.wrong.is_some()) {
                    Some(false) => Cell::new("ok", Tone::Good),
                    Some(true) => Cell::new("FAILED", Tone::Bad),
                    None => Cell::new("-", Tone::Dim),
                }
            }));
            rows.push(row);
        }
        let mut text = self.style.table(2, &rows);
        for f in findings {
            if let Some(wrong) = &f.wrong {
                let what = format!("{wrong}; {}", f.mend);
                let first = format!("  {}: ", f.check);
                text.push_str(&self.style.wrap(&first, &what, Tone::Warn));
            }
        }
        self.asker.tell(&text);
    }
}

/// What is looked at, where a check is named after what would be wrong.
fn column(check: &str) -> &str {
    match check {
        "clock-not-kept" => "clock kept",
        "clocks-differ" => "clocks agree",
        other => other,
    }
}
