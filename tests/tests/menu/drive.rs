//! The menu on a real pseudo-terminal, driven by what stands on its screen.

use std::process::Command;

use backstay_tests::programs;
use backstay_tests::terminal::{DOWN, ESC, RIGHT, Screen};

/// Columns of the entries and of the rule beside them; a form stands to the right.
const BESIDE: usize = 38;

/// Columns of a field's mark and name.
const LABEL: usize = 11;

/// What goes into a field of a form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    /// A text.
    Text(&'static str, &'static str),
    /// A choice, by what its label begins with.
    Choice(&'static str, &'static str),
    /// A service, in a form of its own.
    Service(&'static [Field]),
}

/// One entry of U1 from its key to its last one, and the command that does the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The key that opens it.
    pub(crate) key: char,
    /// As it is listed.
    pub(crate) label: &'static str,
    /// What the picture must show first, so that the form offers it.
    pub(crate) needs: &'static str,
    /// Its form.
    pub(crate) form: &'static [Field],
    /// The name that has to be typed.
    pub(crate) to_type: &'static str,
    /// The command.
    pub(crate) flags: &'static str,
}

/// The line of a form that has the keys, from its mark on.
fn focus(text: &str) -> String {
    let rest = |line: &str| line.chars().skip(BESIDE).collect::<String>();
    let mut rests = text.lines().map(rest);
    rests.find(|r| r.starts_with('>')).unwrap_or_default()
}

/// Whether an operation is over.
pub(crate) fn is_over(text: &str) -> bool {
    text.contains("The same by command:") || text.contains("To do it by command:")
}

/// The menu.
pub(crate) struct Menu {
    pub(crate) screen: Screen,
}

impl Menu {
    /// Opens it as an admin does, with these options.
    pub(crate) fn open(options: &[&str]) -> Self {
        let mut command = Command::new(programs().unwrap().join("backstay"));
        command
            .arg("--lab")
            .args(options)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env_remove("SSH_AUTH_SOCK");
        let mut screen = Screen::open(&command, 80, 24, "");
        // Until somebody has answered, nothing is known against any entry.
        screen.until("the menu", |text| {
            text.contains("Enter open") && !text.contains("asking...")
        });
        Self { screen }
    }

    /// Waits until the entry can be used and the picture shows that.
    #[track_caller]
    pub(crate) fn ready(&mut self, entry: &Entry) {
        let listed = format!(" {} {}", entry.key, entry.label);
        self.screen.until(&listed, |text| {
            text.contains(&listed) && text.contains(entry.needs)
        });
    }

    /// Opens an entry, fills in its form, and presses its button.
    #[track_caller]
    pub(crate) fn fill(&mut self, entry: &Entry) {
        self.ready(entry);
        self.screen.send(&entry.key.to_string());
        self.screen
            .until("the form", |text| text.contains("[ Go on ]"));
        self.fields(entry.form);
        self.go_to("[ Go on ]");
        self.screen.send("\r");
        self.screen
            .until("the operation", |text| focus(text).is_empty());
    }

    #[track_caller]
    fn fields(&mut self, fields: &[Field]) {
        for field in fields {
            match field {
                Field::Text(label, value) => {
                    self.go_to(label);
                    self.screen.send(value);
                    self.screen.until(value, |text| focus(text).contains(value));
                }
                Field::Choice(label, value) => {
                    self.go_to(label);
                    self.choose(value);
                }
                Field::Service(fields) => {
                    self.go_to("Services");
                    self.screen.send("\r");
                    self.screen
                        .until("its form", |text| focus(text).starts_with(">Name"));
                    self.fields(fields);
                    self.go_to("[ Go on ]");
                    self.screen.send("\r");
                    self.screen
                        .until("the service", |text| text.contains("Enter adds one more"));
                }
            }
        }
    }

    /// Down to a field, or to the button.
    #[track_caller]
    fn go_to(&mut self, label: &str) {
        let wanted = format!(">{label}");
        loop {
            let here = focus(&self.screen.text());
            if here.starts_with(&wanted) {
                return;
            }
            self.screen.send(DOWN);
            self.screen.until(&wanted, |text| {
                ![here.clone(), String::new()].contains(&focus(text))
            });
        }
    }

    /// To the right until that is chosen.
    #[track_caller]
    fn choose(&mut self, value: &str) {
        loop {
            let here = focus(&self.screen.text());
            let chosen: String = here.chars().skip(LABEL).collect();
            if chosen.trim_start_matches(['<', ' ']).starts_with(value) {
                return;
            }
            assert!(here.contains('<'), "{value} is not offered: {here}");
            self.screen.send(RIGHT);
            self.screen.until(value, |text| focus(text) != here);
        }
    }

    /// Sees the consequences and marks the button that agrees; `w` where only warnings stand against it.
    #[track_caller]
    pub(crate) fn agree(&mut self, entry: &Entry) {
        let asked = |text: &str| text.contains(">[ Cancel ]");
        let warned = |text: &str| text.contains("w goes on in spite of");
        self.screen
            .until(">[ Cancel ]", |text| asked(text) || is_over(text));
        if warned(&self.screen.text()) {
            self.screen.answer("w");
            self.screen.until(">[ Cancel ]", |text| {
                asked(text) || is_over(text) && !warned(text)
            });
        }
        let text = self.screen.text();
        assert!(asked(&text), "nothing is asked:\n{text}");
        // The right name marks the button.
        let keys = if entry.to_type.is_empty() {
            "\t"
        } else {
            entry.to_type
        };
        self.screen.answer(keys);
        self.screen
            .until(">[ Go on ]", |text| text.contains(">[ Go on ]"));
    }

    /// Sees how it ended; the screen is left.
    #[track_caller]
    pub(crate) fn result(&mut self) -> String {
        self.screen.until("the result", is_over);
        let text = self.screen.text();
        self.screen.answer("\r");
        self.screen
            .until("the menu", |text| text.contains("Enter open"));
        text
    }

    /// An entry from its first key to its last; the command that the result shows, without blanks, since it is wrapped.
    #[track_caller]
    pub(crate) fn whole(&mut self, entry: &Entry) -> String {
        self.fill(entry);
        self.agree(entry);
        self.screen.send("\r");
        let result = self.result();
        assert!(result.contains("Done: "), "{}:\n{result}", entry.flags);
        command_of(&result)
    }

    /// An entry once more, which may have been done already.
    #[track_caller]
    pub(crate) fn again(&mut self, entry: &Entry) {
        self.fill(entry);
        let nothing = |text: &str| is_over(text) && text.contains("nothing to change");
        self.screen.until("a question or the end", |text| {
            text.contains(">[ Cancel ]") || nothing(text)
        });
        if !nothing(&self.screen.text()) {
            self.agree(entry);
            self.screen.send("\r");
        }
        let result = self.result();
        assert!(
            result.contains("Done: ") || nothing(&result),
            "{}:\n{result}",
            entry.flags
        );
    }

    /// An entry that can't be used says why.
    #[track_caller]
    pub(crate) fn not_now(&mut self, key: char, why: &str) {
        self.screen.send(&key.to_string());
        let said = format!("Not now: {why}");
        self.screen.until(&said, |text| text.contains(&said));
    }

    /// A page that shows that, and back.
    #[track_caller]
    pub(crate) fn page(&mut self, key: char, shows: &[&str]) {
        self.screen.send(&key.to_string());
        self.screen.until(&shows.join(" and "), |text| {
            !text.contains("Enter open") && shows.iter().all(|s| text.contains(s))
        });
        self.screen.send(ESC);
        self.screen
            .until("the menu", |text| text.contains("Enter open"));
    }

    /// Leaves by its key.
    #[track_caller]
    pub(crate) fn quit(mut self) {
        self.screen.send("q");
        assert_eq!(self.screen.end(), 0);
    }
}

fn command_of(result: &str) -> String {
    let lines = result.lines();
    let mut after = lines.skip_while(|line| !is_over(line)).skip(1);
    let indented = after
        .by_ref()
        .take_while(|line| line.starts_with("   ") && !line.trim().is_empty());
    indented.collect::<String>().replace(' ', "")
}
