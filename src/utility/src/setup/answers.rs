//! The answers file: what was answered, to be looked at, changed and replayed. No secrets.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use backstay_wire::rpc::clean;
use toml::{Table, Value};

use super::ask::{Asker, Reply};
use super::draft::Draft;
use super::question::{Answer, Key, Kind, Question};
use crate::failure::{Exit, Failure};

/// The form of the file.
const VERSION: i64 = 1;
/// Longest file that is read, in bytes.
const MOST: u64 = 256 * 1024;

/// What every file of answers begins with.
const HEAD: &str = "# Answers of `backstay setup`.";

/// Writes the answers while they are given: an interrupted session leaves those that it had, and the next
/// one adds its own.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    /// Of earlier sessions.
    earlier: Vec<(Key, Answer)>,
    /// What was asked, by key.
    asked: Vec<(Key, String)>,
}

impl Recorder {
    /// Begins a file, or goes on with one of an earlier session.
    ///
    /// # Errors
    /// There is a file of another kind, or it can't be made.
    pub fn begin(path: &Path) -> Result<Self, Failure> {
        let bad = |why: String| {
            let name = clean(&path.display().to_string());
            Failure::new(Exit::Usage, format!("{name}: {why}; nothing was changed"))
        };
        let mut earlier = Vec::new();
        match std::fs::read_to_string(path) {
            Ok(text) if text.starts_with(HEAD) => {
                let replay = Replay::of(path, &text, Box::new(|_| {}))?;
                collect(&Key::of([]), &replay.table, &mut earlier);
            }
            Ok(_) => return Err(bad("it is there, and no file of answers".to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(bad(format!("it can't be read ({e})"))),
        }
        let recorder = Self {
            path: path.to_owned(),
            earlier,
            asked: Vec::new(),
        };
        recorder.save(&Draft::default())?;
        Ok(recorder)
    }

    /// Writes all answers, whole or not at all, readable by their owner only.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&mut self, draft: &Draft, question: &Question) -> Result<(), Failure> {
        let said = match &question.kind {
            Kind::One(_, None) | Kind::Number(..) => {
                format!("{} ({})", question.prompt, question.kind.wanted())
            }
            _ => question.prompt.clone(),
        };
        self.asked.retain(|(key, _)| *key != question.key);
        self.asked.push((question.key.clone(), said));
        self.save(draft)
    }

    fn save(&self, draft: &Draft) -> Result<(), Failure> {
        let text = self.text(draft);
        let beside = self
            .path
            .with_extension(format!("new-{}", std::process::id()));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&beside, &self.path));
        written.map_err(|e| {
            let _ = std::fs::remove_file(&beside); // what could not be renamed is of no use
            Failure::new(
                Exit::Usage,
                format!(
                    "the answers can't be written to {}: {e}",
                    self.path.display()
                ),
            )
        })
    }

    fn text(&self, draft: &Draft) -> String {
        let mut text = format!(
            "{HEAD} To replay them: backstay setup --answers {}\nversion = {VERSION}\n",
            clean(&self.path.display().to_string())
        );
        let mut answers: Vec<(&Key, &Answer)> = draft.answers().collect();
        let earlier = self.earlier.iter().map(|(key, answer)| (key, answer));
        answers.extend(earlier.filter(|(key, _)| draft.answers().all(|(k, _)| k != *key)));
        // TOML has what belongs to no table first.
        let mut tables: Vec<&[String]> = vec![&[]];
        for (key, _) in &answers {
            let (_, table) = key.parts().split_last().unwrap_or_else(|| unreachable!());
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        for table in tables {
            if !table.is_empty() {
                let _ = writeln!(text, "\n[{}]", Key::from(table));
            }
            for (key, answer) in &answers {
                if key.parts().split_last().map(|(_, t)| t) == Some(table) {
                    let prompt = self.asked.iter().find(|(asked, _)| asked == *key);
                    let prompt = prompt.map_or("Of an earlier session.", |(_, p)| p.as_str());
                    let _ = writeln!(text, "# {}", clean(prompt));
                    let last = key.parts().last().map_or("", String::as_str);
                    let _ = writeln!(text, "{} = {}", Key::of([last]), value(answer));
                }
            }
        }
        text
    }
}

/// All answers of a file.
fn collect(place: &Key, table: &Table, found: &mut Vec<(Key, Answer)>) {
    for (name, value) in table.iter().filter(|(name, _)| *name != "version") {
        let key = place.and(name);
        match value {
            Value::Table(inner) => collect(&key, inner, found),
            value => found.extend(answer(value).map(|a| (key, a))),
        }
    }
}

fn value(answer: &Answer) -> Value {
    match answer {
        Answer::Word(word) => Value::String(word.clone()),
        Answer::Words(words) => Value::Array(words.iter().cloned().map(Value::String).collect()),
        Answer::Number(number) => Value::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
        Answer::Yes(yes) => Value::Boolean(*yes),
    }
}

/// Answers questions out of a file. Each answer serves once: one that does not help is not tried again.
pub struct Replay {
    path: String,
    table: Table,
    used: Vec<Key>,
    tell: Box<dyn FnMut(&str)>,
}

impl Replay {
    /// Reads a file of answers.
    ///
    /// # Errors
    /// One clear line on what is wrong with it.
    pub fn read(path: &Path, tell: Box<dyn FnMut(&str)>) -> Result<Self, Failure> {
        let shown = clean(&path.display().to_string());
        let bad =
            |why: String| Failure::new(Exit::Usage, format!("{shown}: {why}; nothing was changed"));
        let file = std::fs::File::open(path).map_err(|e| bad(format!("it can't be read ({e})")))?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MOST), &mut text)
            .map_err(|e| bad(format!("it can't be read ({e})")))?;
        Self::of(path, &text, tell)
    }

    fn of(path: &Path, text: &str, tell: Box<dyn FnMut(&str)>) -> Result<Self, Failure> {
        let shown = clean(&path.display().to_string());
        let bad =
            |why: String| Failure::new(Exit::Usage, format!("{shown}: {why}; nothing was changed"));
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e
                .span()
                .map(|s| text[..s.start.min(text.len())].lines().count().max(1));
            let line = line.map_or_else(String::new, |n| format!("line {n}: "));
            bad(format!("{line}{}", clean(e.message())))
        })?;
        match table.get("version").and_then(Value::as_integer) {
            Some(VERSION) => Ok(Self {
                path: shown,
                table,
                used: Vec::new(),
                tell,
            }),
            Some(other) => Err(bad(format!(
                "its version is {other}; this program reads {VERSION}"
            ))),
            None => Err(bad(format!("it has no `version = {VERSION}`"))),
        }
    }

    fn find(&self, key: &Key) -> Option<&Value> {
        let (last, tables) = key.parts().split_last()?;
        let mut table = &self.table;
        for part in tables {
            table = table.get(part)?.as_table()?;
        }
        table.get(last)
    }

    fn refuse(&self, key: &Key, why: &str) -> Failure {
        Failure::new(
            Exit::Usage,
            format!("{}: the answer `{key}` {why}", self.path),
        )
    }
}

fn answer(value: &Value) -> Option<Answer> {
    Some(match value {
        Value::String(word) => Answer::Word(word.clone()),
        Value::Integer(number) => Answer::Number(u64::try_from(*number).ok()?),
        Value::Boolean(yes) => Answer::Yes(*yes),
        Value::Array(words) => {
            let words = words.iter().map(|w| w.as_str().map(str::to_owned));
            Answer::Words(words.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

impl Asker for Replay {
    fn ask(&mut self, question: &Question, _can_go_back: bool) -> Result<Reply, Failure> {
        let key = &question.key;
        let Some(value) = self.find(key) else {
            let why = format!(
                "is missing ({}: {})",
                question.prompt,
                question.kind.wanted()
            );
            return Err(self.refuse(key, &why));
        };
        if self.used.contains(key) {
            return Err(self.refuse(key, &format!("did not help ({})", question.prompt)));
        }
        let wrong = || format!("is wrong: it must be {}", question.kind.wanted());
        let given = answer(value).ok_or_else(|| self.refuse(key, &wrong()))?;
        let given = question
            .check(given)
            .map_err(|why| self.refuse(key, &format!("is wrong: {}", clean(&why))))?;
        let line = format!("{} {}\n", question.prompt, given.shown());
        (self.tell)(&line);
        self.used.push(key.clone());
        // A no in a file is what was meant: nothing more is asked.
        if given == Answer::Yes(false) {
            return Err(Failure::new(
                Exit::Cancelled,
                format!("{}: the answer `{key}` is no", self.path),
            ));
        }
        Ok(Reply::Given(given))
    }

    fn tell(&mut self, text: &str) {
        (self.tell)(text);
    }

    fn wrong(&mut self, key: &Key, failure: Failure) -> Result<(), Failure> {
        let message = format!(
            "{}: the answer `{key}` is wrong: {}",
            self.path, failure.message
        );
        Err(Failure { message, ..failure })
    }
}
