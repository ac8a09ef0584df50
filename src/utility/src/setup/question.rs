//! Questions as data: what is asked, what is a right answer, what Return gives.

use std::fmt;
use std::rc::Rc;

/// The name of a question, and its place in the answers file: `host."192.0.2.101".name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<String>);

impl Key {
    /// From its parts, outermost first.
    pub fn of<const N: usize>(parts: [&str; N]) -> Self {
        Self(parts.iter().map(ToString::to_string).collect())
    }

    /// The key of something within this.
    #[must_use]
    pub fn and(&self, part: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(part.to_owned());
        Self(parts)
    }

    /// Its parts, outermost first.
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl From<&[String]> for Key {
    fn from(parts: &[String]) -> Self {
        Self(parts.to_vec())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        for (n, part) in self.0.iter().enumerate() {
            let dot = if n == 0 { "" } else { "." };
            if !part.is_empty() && part.chars().all(bare) {
                write!(f, "{dot}{part}")?;
            } else {
                write!(f, "{dot}\"{}\"", part.escape_default())?;
            }
        }
        Ok(())
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One word.
    Word(String),
    /// Several.
    Words(Vec<String>),
    /// A number.
    Number(u64),
    /// Yes or no.
    Yes(bool),
}

impl Answer {
    /// As it is shown and typed.
    pub fn shown(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Words(words) => words.join(" "),
            Self::Number(number) => number.to_string(),
            Self::Yes(true) => "yes".to_owned(),
            Self::Yes(false) => "no".to_owned(),
        }
    }
}

/// Whether a word is right; gives it as it shall be kept, or says in one line what would be right.
pub type Check = Rc<dyn Fn(&str) -> Result<String, String>>;

/// Whether several right words are right together, or in one line what would be.
pub type Together = Rc<dyn Fn(&[String]) -> Result<(), String>>;

/// One of several possible answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is kept.
    pub word: String,
    /// What is shown.
    pub label: String,
}

impl Choice {
    /// A choice whose label begins with its word.
    pub fn new(word: impl Into<String>, says: &str) -> Self {
        let word = word.into();
        let label = match says {
            "" => word.clone(),
            says => format!("{word}: {says}"),
        };
        Self { word, label }
    }
}

/// What kind of answer is right.
#[derive(Clone)]
pub enum Kind {
    /// A word, typed.
    Word(Check),
    /// Any number of words, typed with blanks between; each is checked, then all together.
    Words(Check, Together),
    /// A number from the first to the second.
    Number(u64, u64),
    /// Yes or no.
    Yes,
    /// One of these; or, with a check, another one that is typed.
    One(Vec<Choice>, Option<Check>),
    /// At least so many of these; or, with a check, others that are typed.
    Many(usize, Vec<Choice>, Option<Check>),
    /// Whether this is the host's key: its fingerprint is kept.
    HostKey(String),
}

/// One question.
#[derive(Clone)]
pub struct Question {
    /// Its name.
    pub key: Key,
    /// One short line.
    pub prompt: String,
    /// What one should know before answering, a paragraph for each.
    pub help: Vec<String>,
    /// What Return gives.
    pub default: Option<Answer>,
    /// What is right.
    pub kind: Kind,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({}: {})", self.key, self.prompt)
    }
}

fn bounded(number: u64, least: u64, most: u64) -> Result<Answer, String> {
    if (least..=most).contains(&number) {
        Ok(Answer::Number(number))
    } else {
        Err(format!("{number} is not a number from {least} to {most}"))
    }
}

fn among(choices: &[Choice], other: Option<&Check>, word: &str) -> Result<String, String> {
    if choices.iter().any(|c| c.word == word) {
        return Ok(word.to_owned());
    }
    if let Some(check) = other {
        return check(word);
    }
    let words: Vec<&str> = choices.iter().map(|c| c.word.as_str()).collect();
    Err(format!(
        "`{}` is none of: {}",
        word.escape_debug(),
        words.join(", ")
    ))
}

impl Question {
    /// The answer as it is kept, if it is a right one.
    ///
    /// # Errors
    /// One line on what would be right.
    pub fn check(&self, answer: Answer) -> Result<Answer, String> {
        match (&self.kind, answer) {
            (Kind::Word(check), Answer::Word(word)) => check(&word).map(Answer::Word),
            (Kind::Words(check, all), Answer::Words(words)) => {
                let words = words.iter().map(|w| check(w));
                let words = words.collect::<Result<Vec<_>, _>>()?;
                all(&words)?;
                Ok(Answer::Words(words))
            }
            (Kind::Number(least, most), Answer::Number(number)) => bounded(number, *least, *most),
            (Kind::Yes, Answer::Yes(yes)) => Ok(Answer::Yes(yes)),
            (Kind::One(choices, other), Answer::Word(word)) => {
                among(choices, other.as_ref(), &word).map(Answer::Word)
            }
            (Kind::Many(least, ..), Answer::Words(words)) if words.len() < *least => {
                Err(format!("at least {least} is needed"))
            }
            (Kind::Many(_, choices, other), Answer::Words(words)) => words
                .iter()
                .map(|w| among(choices, other.as_ref(), w))
                .collect::<Result<_, _>>()
                .map(Answer::Words),
            (Kind::HostKey(shown), Answer::Word(print)) if print == *shown => {
                Ok(Answer::Word(print))
            }
            (Kind::HostKey(shown), Answer::Word(print)) => Err(format!(
                "the answer is {}, but the host shows {shown}",
                print.escape_debug()
            )),
            (kind, _) => Err(format!("it must be {}", kind.wanted())),
        }
    }

    /// The answer in a typed line; an empty one takes the default.
    ///
    /// # Errors
    /// One line on what would be right.
    pub fn read(&self, typed: &str) -> Result<Answer, String> {
        let typed = typed.trim();
        if typed.is_empty() {
            // Several may also be none.
            return match (&self.default, &self.kind) {
                (Some(default), _) => self.check(default.clone()),
                (None, Kind::Words(..) | Kind::Many(..)) => self.check(Answer::Words(Vec::new())),
                (None, kind) => Err(format!("this needs an answer: {}", kind.wanted())),
            };
        }
        let words = || {
            let words = typed.split([' ', '\t', ',']).filter(|w| !w.is_empty());
            words.map(str::to_owned).collect()
        };
        self.check(match &self.kind {
            Kind::Word(_) | Kind::One(..) => Answer::Word(typed.to_owned()),
            Kind::Words(..) | Kind::Many(..) => Answer::Words(words()),
            Kind::Number(..) => match typed.parse() {
                Ok(number) => Answer::Number(number),
                Err(_) => return Err(format!("it must be {}", self.kind.wanted())),
            },
            Kind::Yes => Answer::Yes(yes_or_no(typed)?),
            // As ssh has it: yes, or the fingerprint itself.
            Kind::HostKey(shown) => match yes_or_no(typed) {
                Ok(true) => Answer::Word(shown.clone()),
                Ok(false) => {
                    return Err("then go back and take the host out, or break off".to_owned());
                }
                Err(_) => Answer::Word(typed.to_owned()),
            },
        })
    }
}

fn yes_or_no(typed: &str) -> Result<bool, String> {
    match typed.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err("answer yes or no".to_owned()),
    }
}

impl Kind {
    /// What is right, in words.
    pub fn wanted(&self) -> String {
        let words = |choices: &[Choice]| {
            let words: Vec<&str> = choices.iter().map(|c| c.word.as_str()).collect();
            words.join(", ")
        };
        match self {
            Self::Word(_) => "text".to_owned(),
            Self::Words(..) => "a list of words".to_owned(),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Yes => "true or false".to_owned(),
            Self::One(choices, None) => format!("one of: {}", words(choices)),
            Self::One(choices, Some(_)) => format!("one of: {}; or another", words(choices)),
            Self::Many(_, choices, None) => format!("a list out of: {}", words(choices)),
            Self::Many(_, choices, Some(_)) => format!("a list, as of: {}", words(choices)),
            Self::HostKey(_) => "the fingerprint of its host key".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: Kind, default: Option<Answer>) -> Question {
        Question {
            key: Key::of(["host", "192.0.2.1", "x"]),
            prompt: "P".to_owned(),
            help: Vec::new(),
            default,
            kind,
        }
    }

    #[test]
    fn a_key_is_a_place_in_a_toml_file() {
        assert_eq!(
            Key::of(["host", "root@[::1]:2\"2", "name"]).to_string(),
            "host.\"root@[::1]:2\\\"2\".name"
        );
    }

    #[test]
    fn return_takes_the_default_and_what_is_wrong_is_told() {
        let ask = question(Kind::Number(1, 9), Some(Answer::Number(5)));
        assert_eq!(ask.read(" "), Ok(Answer::Number(5)));
        assert_eq!(ask.read("7"), Ok(Answer::Number(7)));
        for bad in ["0", "10", "x"] {
            assert!(ask.read(bad).unwrap_err().contains("1 to 9"));
        }
        assert!(
            question(Kind::Yes, None)
                .read("")
                .unwrap_err()
                .contains("needs")
        );
        let ask = question(Kind::One(vec![Choice::new("a", "x")], None), None);
        assert_eq!(ask.read("a"), Ok(Answer::Word("a".to_owned())));
        assert!(ask.read("b").unwrap_err().contains("none of: a"));
        assert!(ask.check(Answer::Yes(true)).is_err());
    }

    #[test]
    fn a_host_key_is_kept_by_its_fingerprint_only() {
        let ask = question(Kind::HostKey("SHA256:abc".to_owned()), None);
        let right = Ok(Answer::Word("SHA256:abc".to_owned()));
        assert_eq!(ask.read("yes"), right);
        assert_eq!(ask.read("SHA256:abc"), right);
        assert!(ask.read("no").unwrap_err().contains("go back"));
        assert!(ask.read("SHA256:abd").unwrap_err().contains("SHA256:abc"));
    }
}
