//! Questions on a terminal, by dialoguer. Its open problems are kept away from here: no prompt or item is
//! wider than the screen (what wraps is not cleared, dialoguer#295, #20), text is read key by key (its
//! line-wise reader never ends at the end of input, dialoguer#159), and right answers are told from wrong
//! ones here, not by its validators.

use backstay_wire::rpc::clean;
use dialoguer::console::Term;
use dialoguer::{Confirm, Input, MultiSelect, Select};

use super::ask::{Asker, BACK, Reply};
use super::question::{Answer, Choice, Key, Kind, Question};
use crate::between::Between;
use crate::failure::{Exit, Failure};
use crate::output::lists;
use crate::output::style::{Style, Tone};

const OTHER: &str = "another: type it";
const GO_BACK: &str = "< back";
/// What the keys do in a list: said once, at the first.
const IN_LISTS: &str = "Keys: Up and Down choose, Return takes, Space marks where there may be several, Esc goes back, Ctrl-C ends.";
/// The same where text is typed. Esc is no key there: dialoguer does not hear it.
const IN_TEXTS: &str = "Keys: Return takes what was typed, or else what stands in brackets; `<` and Return goes back; `?` and Return says this; Ctrl-C ends.";

/// Asks on a terminal.
pub struct Prompts {
    term: Term,
    style: Style,
    /// Which keys have been told.
    told: Vec<&'static str>,
    _between: Between,
}

fn ended(error: dialoguer::Error) -> Failure {
    let dialoguer::Error::IO(error) = error;
    if error.kind() == std::io::ErrorKind::Interrupted {
        // Ctrl-C: the signal's own handler ends the program with its own words.
        Between::interrupted();
        std::thread::sleep(std::time::Duration::from_secs(30));
    }
    Failure::new(Exit::Cancelled, "nobody answers any more")
}

impl Prompts {
    /// Asks there.
    pub fn new(term: Term, style: Style) -> Self {
        Self {
            term,
            style,
            told: Vec::new(),
            _between: Between::questions(),
        }
    }

    /// A text as one line that leaves room for `more` columns.
    fn line(&self, text: &str, more: usize) -> String {
        let width = usize::from(self.term.size().1).max(20) - 1;
        let text = self.style.fit(&clean(text));
        text.chars().take(width.saturating_sub(more)).collect()
    }

    fn items(&self, choices: &[Choice], extra: &[Option<&str>]) -> Vec<String> {
        let labels = choices.iter().map(|c| self.line(&c.label, 6));
        let extra = extra.iter().flatten().map(ToString::to_string);
        labels.chain(extra).collect()
    }

    fn select(
        &self,
        question: &Question,
        choices: &[Choice],
        other: bool,
        can_go_back: bool,
    ) -> Result<Reply, Failure> {
        let items = self.items(
            choices,
            &[other.then_some(OTHER), can_go_back.then_some(GO_BACK)],
        );
        let first = match &question.default {
            Some(Answer::Word(word)) => choices.iter().position(|c| c.word == *word),
            _ => None,
        };
        let chosen = Select::new()
            .with_prompt(self.line(&question.prompt, 2))
            .items(&items)
            .default(first.unwrap_or(0))
            .report(false)
            .interact_on_opt(&self.term)
            .map_err(ended)?;
        match chosen {
            Some(n) if n < choices.len() => {
                let word = choices[n].word.clone();
                self.echo(question, &word);
                Ok(Reply::Given(Answer::Word(word)))
            }
            Some(n) if other && n == choices.len() => self.text(question, can_go_back),
            _ => Ok(Reply::Back),
        }
    }

    fn several(
        &self,
        question: &Question,
        choices: &[Choice],
        other: bool,
        can_go_back: bool,
    ) -> Result<Reply, Failure> {
        let picked = match &question.default {
            Some(Answer::Words(words)) => words.as_slice(),
            _ => &[],
        };
        // What is not among the choices has to be typed.
        if choices.is_empty() || !picked.iter().all(|w| choices.iter().any(|c| c.word == *w)) {
            return self.text(question, can_go_back);
        }
        let items = self.items(choices, &[other.then_some(OTHER)]);
        let mut flags: Vec<bool> = choices.iter().map(|c| picked.contains(&c.word)).collect();
        flags.resize(items.len(), false);
        let prompt = format!("{} (space marks, Esc goes back)", question.prompt);
        let chosen = MultiSelect::new()
            .with_prompt(self.line(&prompt, 2))
            .items(&items)
            .defaults(&flags)
            .report(false)
            .interact_on_opt(&self.term)
            .map_err(ended)?;
        let Some(chosen) = chosen else {
            return Ok(Reply::Back);
        };
        if chosen.contains(&choices.len()) {
            return self.text(question, can_go_back);
        }
        let words = chosen.iter().map(|n| choices[*n].word.clone()).collect();
        let answer = Answer::Words(words);
        self.echo(question, &answer.shown());
        Ok(Reply::Given(answer))
    }

    fn confirm(&self, question: &Question) -> Result<Reply, Failure> {
        let prompt = format!("{} (Esc goes back)", question.prompt);
        let yes = Confirm::new()
            .with_prompt(self.line(&prompt, 8))
            .wait_for_newline(true)
            .interact_on_opt(&self.term)
            .map_err(ended)?;
        Ok(match (yes, &question.kind) {
            (Some(true), Kind::HostKey(shown)) => Reply::Given(Answer::Word(shown.clone())),
            (Some(true), _) => Reply::Given(Answer::Yes(true)),
            _ => Reply::Back,
        })
    }

    fn text(&self, question: &Question, can_go_back: bool) -> Result<Reply, Failure> {
        loop {
            let mut input = Input::<String>::new()
                .with_prompt(self.line(&question.prompt, 30))
                .allow_empty(true);
            let default = question.default.as_ref().map(Answer::shown);
            if let Some(default) = default.filter(|d| !d.is_empty()) {
                input = input.default(self.style.fit(&clean(&default)));
            }
            let typed = input.interact_text_on(&self.term).map_err(ended)?;
            if typed.trim() == "?" {
                self.show(&self.style.wrap("  ", IN_TEXTS, Tone::Dim));
                continue;
            }
            if typed.trim() == BACK {
                if can_go_back {
                    return Ok(Reply::Back);
                }
                self.show("There is nothing to go back to.\n");
                continue;
            }
            match question.read(&typed) {
                Ok(answer) => return Ok(Reply::Given(answer)),
                Err(why) => self.show(&self.style.wrap("  not right: ", &clean(&why), Tone::Warn)),
            }
        }
    }

    fn keys(&mut self, kind: &Kind) {
        let keys = match kind {
            Kind::One(..) | Kind::Many(..) => IN_LISTS,
            Kind::Word(_) | Kind::Words(..) | Kind::Number(..) => IN_TEXTS,
            // These say it themselves.
            Kind::Yes | Kind::HostKey(_) => return,
        };
        if !self.told.contains(&keys) {
            self.told.push(keys);
            self.show(&self.style.wrap("  ", keys, Tone::Dim));
        }
    }

    fn echo(&self, question: &Question, answer: &str) {
        self.show(&format!(
            "{}: {}\n",
            self.line(&question.prompt, 2),
            clean(answer)
        ));
    }

    fn show(&self, text: &str) {
        // A terminal that is gone shows in the next question.
        let _ = self.term.write_str(text);
    }
}

impl Asker for Prompts {
    fn ask(&mut self, question: &Question, can_go_back: bool) -> Result<Reply, Failure> {
        for paragraph in &question.help {
            self.show(&self.style.wrap("  ", &clean(paragraph), Tone::Dim));
        }
        self.keys(&question.kind);
        loop {
            let reply = match &question.kind {
                Kind::One(choices, other) => {
                    self.select(question, choices, other.is_some(), can_go_back)?
                }
                Kind::Many(_, choices, other) => {
                    self.several(question, choices, other.is_some(), can_go_back)?
                }
                Kind::Yes | Kind::HostKey(_) => self.confirm(question)?,
                Kind::Word(_) | Kind::Words(..) | Kind::Number(..) => {
                    self.text(question, can_go_back)?
                }
            };
            match reply {
                Reply::Back => return Ok(Reply::Back),
                Reply::Given(answer) => match question.check(answer) {
                    Ok(answer) => return Ok(Reply::Given(answer)),
                    Err(why) => {
                        self.show(&self.style.wrap("  not right: ", &clean(&why), Tone::Warn));
                    }
                },
            }
        }
    }

    fn tell(&mut self, text: &str) {
        self.show(text);
    }

    fn wrong(&mut self, _key: &Key, failure: Failure) -> Result<(), Failure> {
        self.show(&lists::failure(&failure, self.style));
        Ok(())
    }
}
