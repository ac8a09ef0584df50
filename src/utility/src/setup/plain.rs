//! Questions in plain lines: numbered choices, typed answers, nothing drawn twice. For screen readers, dumb
//! terminals and whoever likes it so (`--plain`, `TERM=dumb`).

use std::fmt::Write as _;
use std::io::{BufRead, Read as _, Write};

use backstay_wire::rpc::clean;

use super::ask::{Asker, BACK, Reply};
use super::question::{Answer, Choice, Key, Kind, Question};
use crate::failure::{Exit, Failure};
use crate::output::lists;
use crate::output::style::{Style, Tone};

/// Longest line that is read, in bytes.
const LONGEST: u64 = 4096;

/// Asks on two streams.
pub struct Plain<R, W> {
    input: R,
    output: W,
    style: Style,
}

impl<R: BufRead, W: Write> Plain<R, W> {
    /// Asks there.
    pub fn new(input: R, output: W, style: Style) -> Self {
        Self {
            input,
            output,
            style,
        }
    }

    fn say(&mut self, text: &str) {
        // Whoever does not read will not answer either.
        let _ = self.output.write_all(text.as_bytes());
        let _ = self.output.flush();
    }

    /// One typed line; none: the input has ended.
    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        let read = self.input.by_ref().take(LONGEST).read_line(&mut line);
        match read {
            Ok(1..) => Ok(line),
            _ => Err(Failure::new(Exit::Cancelled, "nobody answers any more")),
        }
    }
}

/// Numbers in place of the words of choices.
fn named(choices: &[Choice], typed: &str) -> Result<String, String> {
    match typed.parse::<usize>() {
        Ok(number) => {
            let choice = number.checked_sub(1).and_then(|n| choices.get(n));
            let all = choices.len();
            choice
                .map(|c| c.word.clone())
                .ok_or_else(|| format!("{number} is not a number from 1 to {all}"))
        }
        Err(_) => Ok(typed.to_owned()),
    }
}

fn read(question: &Question, typed: &str) -> Result<Answer, String> {
    match &question.kind {
        Kind::One(choices, _) if !typed.is_empty() => question.read(&named(choices, typed)?),
        Kind::Many(_, choices, _) if !typed.is_empty() => {
            if typed == "0" {
                return question.check(Answer::Words(Vec::new()));
            }
            let words = typed.split([' ', ',']).filter(|w| !w.is_empty());
            let words = words
                .map(|w| named(choices, w))
                .collect::<Result<Vec<_>, _>>()?;
            question.check(Answer::Words(words))
        }
        _ => question.read(typed),
    }
}

/// `1`, or `a number from 1 to 4`.
fn numbers(what: &str, choices: &[Choice]) -> String {
    match choices.len() {
        1 => "1".to_owned(),
        all => format!("{what} from 1 to {all}"),
    }
}

/// What is to be typed, in one line.
fn manner(question: &Question) -> String {
    match &question.kind {
        Kind::Word(_) => "a word".to_owned(),
        Kind::Words(..) => "words with blanks between".to_owned(),
        Kind::Number(least, most) => format!("a number from {least} to {most}"),
        Kind::Yes => "yes or no".to_owned(),
        Kind::HostKey(_) => "yes, no, or the fingerprint".to_owned(),
        Kind::One(choices, other) => {
            let other = other.as_ref().map_or("", |_| ", or another by name");
            numbers("a number", choices) + other
        }
        Kind::Many(least, choices, _) => {
            let none = if *least == 0 { ", or 0 for none" } else { "" };
            numbers("numbers", choices) + ", or by name" + none
        }
    }
}

impl<R: BufRead, W: Write> Asker for Plain<R, W> {
    fn ask(&mut self, question: &Question, can_go_back: bool) -> Result<Reply, Failure> {
        let mut text = String::new();
        for paragraph in &question.help {
            text.push_str(&self.style.wrap("", &clean(paragraph), Tone::Plain));
        }
        let _ = writeln!(text, "{}", self.style.fit(&clean(&question.prompt)));
        if let Kind::One(choices, _) | Kind::Many(_, choices, _) = &question.kind {
            for (n, choice) in (1..).zip(choices) {
                let label = self.style.fit(&clean(&choice.label));
                let _ = writeln!(text, "  {n}. {label}");
            }
        }
        let default = question.default.as_ref().map(Answer::shown);
        let default = default.filter(|d| !d.is_empty());
        let mut hint = manner(question);
        if let Some(default) = default {
            let _ = write!(hint, "; Return: {}", clean(&default));
        }
        if can_go_back {
            let _ = write!(hint, "; {BACK} goes back");
        }
        text.push_str(&self.style.wrap("", &hint, Tone::Plain));
        text.push_str("> ");
        self.say(&text);
        loop {
            let typed = self.line()?;
            match typed.trim() {
                BACK if can_go_back => return Ok(Reply::Back),
                BACK => self.say("There is nothing to go back to.\n> "),
                typed => match read(question, typed) {
                    Ok(answer) => return Ok(Reply::Given(answer)),
                    Err(why) => {
                        let why = self.style.wrap("Not right: ", &clean(&why), Tone::Plain);
                        self.say(&format!("{why}> "));
                    }
                },
            }
        }
    }

    fn tell(&mut self, text: &str) {
        self.say(text);
    }

    fn wrong(&mut self, _key: &Key, failure: Failure) -> Result<(), Failure> {
        let text = lists::failure(&failure, self.style);
        self.say(&text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: Kind, default: Answer) -> Question {
        Question {
            key: Key::of(["x"]),
            prompt: "Role of n1\u{1b}[2J".to_owned(),
            help: vec!["A host.".to_owned()],
            default: Some(default),
            kind,
        }
    }

    fn ask(typed: &str, question: &Question) -> (Result<Reply, Failure>, String) {
        let mut out = Vec::new();
        let mut plain = Plain::new(typed.as_bytes(), &mut out, Style::default());
        let reply = plain.ask(question, true);
        (reply, String::from_utf8(out).unwrap())
    }

    fn roles() -> Question {
        let choices = [("regular", "home"), ("standby", "stands in")];
        let choices = choices.map(|(word, says)| Choice::new(word, says));
        question(
            Kind::One(choices.to_vec(), None),
            Answer::Word("regular".to_owned()),
        )
    }

    #[test]
    fn choices_are_numbered_and_nothing_moves_the_cursor() {
        let (reply, text) = ask("3\nx\n2\n", &roles());
        assert_eq!(
            reply.unwrap(),
            Reply::Given(Answer::Word("standby".to_owned()))
        );
        assert_eq!(
            text,
            "A host.\nRole of n1\n  1. regular: home\n  2. standby: stands in\n\
             a number from 1 to 2; Return: regular; < goes back\n> \
             Not right: 3 is not a number from 1 to 2\n> \
             Not right: `x` is none of: regular, standby\n> "
        );
    }

    #[test]
    fn return_takes_the_default_and_a_sign_goes_back() {
        let default = Reply::Given(Answer::Word("regular".to_owned()));
        assert_eq!(ask("\n", &roles()).0.unwrap(), default);
        assert_eq!(ask("<\n", &roles()).0.unwrap(), Reply::Back);
        assert_eq!(ask("", &roles()).0.unwrap_err().exit, Exit::Cancelled);
    }

    #[test]
    fn several_are_named_by_numbers_or_words() {
        let choices = [("a", ""), ("b", "")].map(|(word, says)| Choice::new(word, says));
        let many = question(
            Kind::Many(0, choices.to_vec(), None),
            Answer::Words(vec!["a".to_owned()]),
        );
        for (typed, words) in [
            ("2 1\n", &["b", "a"][..]),
            ("b\n", &["b"]),
            ("0\n", &[]),
            ("\n", &["a"]),
        ] {
            let words = words.iter().map(ToString::to_string).collect();
            assert_eq!(
                ask(typed, &many).0.unwrap(),
                Reply::Given(Answer::Words(words))
            );
        }
    }
}
