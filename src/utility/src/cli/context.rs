//! What every command needs: how to reach the nodes, how to show things, how to ask and be interrupted.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::args::{Color, Common, Output};
use crate::between;
use crate::failure::{Exit, Failure};
use crate::ops::front::{Front, Told};
use crate::ops::preflight::Overrides;
use crate::ops::{Cancel, Gatherer};
use crate::output::style::{Style, Tone};
use crate::remote::contacts::Contacts;
use crate::remote::{Contact, Deadlines, Handle, Network, Pins, Target, VIEWER, ssh};

/// How long a change may take to come about unless told otherwise.
const PATIENCE: Duration = Duration::from_mins(2);

/// What every command needs.
#[derive(Clone)]
pub(crate) struct Context {
    /// The common options.
    pub(crate) common: Common,
    /// How to show things.
    pub(crate) style: Style,
    /// Set when the admin breaks off.
    pub(crate) cancel: Cancel,
    /// While it is set, breaking off is looked at by whoever works; else it ends the program.
    guarded: Arc<AtomicBool>,
    /// What is said when it ends the program.
    parting: Arc<Mutex<&'static str>>,
    /// How SSH is spoken.
    pub(crate) ssh: Arc<ssh::Options>,
    /// Where contacts are remembered.
    pub(crate) contacts_path: Option<PathBuf>,
    /// Who is told and asked; none: whoever sits at the terminal.
    pub(crate) front: Option<Arc<dyn Front>>,
}

/// Whether the locale can show signs beyond ASCII.
pub(crate) fn locale_is_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    // The order of setlocale(3).
    let locale = set("LC_ALL")
        .or_else(|| set("LC_CTYPE"))
        .or_else(|| set("LANG"));
    locale.is_some_and(|l| {
        let l = l.to_ascii_lowercase();
        l.contains("utf-8") || l.contains("utf8")
    })
}

/// How things are shown, by flags, terminal and environment.
pub(crate) fn style(color: Color) -> Style {
    let terminal = std::io::stdout().is_terminal();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    Style {
        color: match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color && !dumb,
        },
        unicode: locale_is_utf8() && std::env::var_os("TERM").is_none_or(|t| t != "linux"),
    }
}

/// Who sits here: `user@host`.
pub(crate) fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid());
    let user = user
        .ok()
        .flatten()
        .map_or_else(|| nix::unistd::getuid().to_string(), |u| u.name);
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|h| h.into_string().ok());
    // As root over sudo, the one who sits there is meant.
    let user = std::env::var("SUDO_USER")
        .ok()
        .filter(|u| !u.is_empty())
        .unwrap_or(user);
    backstay_wire::rpc::clean(&format!(
        "{user}@{}",
        host.unwrap_or_else(|| "?".to_owned())
    ))
}

impl Context {
    /// Puts together what the options say.
    ///
    /// # Errors
    /// A file that they name can't be read.
    pub(crate) fn new(common: Common) -> Result<Self, Failure> {
        let style = style(common.color);
        let mut deadlines = Deadlines::default();
        if let Some(limit) = common.timeout {
            deadlines = deadlines.at_most(limit.max(Duration::from_secs(1)));
        }
        let contacts_path = common.contacts.clone().or_else(Contacts::usual_path);
        let mut context = Self {
            style,
            cancel: Cancel::default(),
            guarded: Arc::new(AtomicBool::new(false)),
            parting: Arc::new(Mutex::new("cancelled; nothing was changed")),
            ssh: Arc::new(ssh::Options {
                identities: common.identity.clone(),
                deadlines,
                jump: None,
            }),
            contacts_path,
            front: None,
            common,
        };
        if let Some(jump) = context.common.jump.clone() {
            let pins = context.pins(&jump)?;
            context.ssh = Arc::new(ssh::Options {
                jump: Some((jump, pins)),
                ..(*context.ssh).clone()
            });
        }
        Ok(context)
    }

    /// Lets Ctrl-C, a hang-up and an order to end be dealt with.
    ///
    /// # Errors
    /// The handler can't be set.
    pub(crate) fn catch_signals(&self) -> Result<(), Failure> {
        let (cancel, guarded) = (self.cancel.clone(), Arc::clone(&self.guarded));
        let parting = Arc::clone(&self.parting);
        let style = self.style;
        ctrlc::set_handler(move || {
            cancel.set();
            if !guarded.load(Ordering::SeqCst) {
                between::give_back();
                let said = parting.lock().map_or("cancelled", |said| *said);
                let said = style.wrap("", said, Tone::Plain);
                let _ = write!(std::io::stderr(), "\n{said}");
                std::process::exit(i32::from(Exit::Cancelled as u8));
            }
        })
        .map_err(|e| Failure::new(Exit::Error, format!("signals can't be caught: {e}")))
    }

    /// From here on breaking off is looked at by whoever works.
    pub(crate) fn guard(&self) {
        self.guarded.store(true, Ordering::SeqCst);
    }

    /// From here on breaking off ends the program again, with these words.
    pub(super) fn unguard(&self, said: &'static str) {
        if let Ok(mut parting) = self.parting.lock() {
            *parting = said;
        }
        self.guarded.store(false, Ordering::SeqCst);
    }

    /// What is said to whoever breaks off now.
    #[cfg(test)]
    pub(super) fn parting(&self) -> &'static str {
        *self.parting.lock().unwrap()
    }

    /// What this machine remembers.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub(crate) fn contacts(&self) -> Result<Contacts, Failure> {
        match &self.contacts_path {
            Some(path) => Contacts::load(path).map_err(|e| Failure::new(Exit::Error, e)),
            None => Ok(Contacts::default()),
        }
    }

    /// Changes what this machine remembers.
    ///
    /// # Errors
    /// The file can't be read or written; it stays as it is.
    pub(super) fn remember(&self, change: impl FnOnce(&mut Contacts)) -> Result<(), String> {
        let Some(path) = &self.contacts_path else {
            return Ok(());
        };
        let before = Contacts::load(path)?;
        let mut contacts = before.clone();
        change(&mut contacts);
        if contacts == before {
            return Ok(());
        }
        contacts.save(path)
    }

    /// Which keys are right for a host by what this machine remembers and the options say.
    ///
    /// # Errors
    /// A file can't be read.
    pub(crate) fn pins(&self, contact: &Contact) -> Result<Pins, Failure> {
        let mut pins = self
            .contacts()?
            .pins_for(contact)
            .or_fingerprints(&self.common.host_key);
        if let Some(path) = &self.common.known_hosts {
            let known = Pins::from_known_hosts(path, contact);
            pins = pins.or(known.map_err(|e| Failure::new(Exit::Usage, e))?);
        }
        Ok(pins)
    }

    /// U11: whether to log in as a viewer, everywhere: a viewer's key opens nothing else.
    fn is_viewer(&self) -> bool {
        self.common.viewer || self.common.contact.iter().any(|c| c.user == VIEWER)
    }

    /// Opens sessions.
    pub(crate) fn handle(&self) -> Handle {
        let network = Network {
            ssh: Arc::clone(&self.ssh),
            sockets: self.common.sockets.clone(),
            user: self.is_viewer().then_some(VIEWER),
        };
        Handle {
            connector: Arc::new(network),
            deadlines: self.ssh.deadlines,
            user: who(),
        }
    }

    /// Reaches the system: through the named contacts, else this machine's agent, else what is remembered.
    ///
    /// # Errors
    /// A file can't be read.
    pub(crate) fn gatherer(&self) -> Result<Gatherer, Failure> {
        let contacts = self.contacts()?;
        let mut entries = Vec::new();
        for contact in &self.common.contact {
            entries.push(Target::Ssh {
                contact: contact.clone(),
                pins: self.pins(contact)?,
            });
        }
        if entries.is_empty() {
            if !self.common.lab && self.common.socket.exists() {
                entries.push(Target::Local(self.common.socket.clone()));
            }
            for known in &contacts.nodes {
                let contact: Contact = known.contact.parse().map_err(|e| {
                    let path = self.contacts_path.clone().unwrap_or_default();
                    Failure::new(Exit::Error, format!("{}: {e}", path.display()))
                })?;
                let pins = self.pins(&contact)?;
                entries.push(Target::Ssh { contact, pins });
            }
        }
        Ok(Gatherer {
            handle: self.handle(),
            entries,
            contacts,
            vouched: self.common.host_key.clone(),
        })
    }

    /// How long a change may take to come about.
    pub(crate) fn patience(&self) -> Duration {
        self.common.timeout.unwrap_or(PATIENCE)
    }

    /// What the admin overrides.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            force: self.common.force,
            ignore: self.common.ignore_check.clone(),
        }
    }

    /// Whether the answer is JSON.
    pub(crate) fn json(&self) -> bool {
        self.common.output == Output::Json
    }

    /// Whether everything is to be said.
    pub(crate) fn full(&self) -> bool {
        self.common.verbose > 0
    }

    /// A line on how it goes, beside the answer.
    pub(crate) fn note(&self, line: &str) {
        self.told(&Told::line(line));
    }

    /// How an operation goes.
    pub(crate) fn told(&self, told: &Told) {
        if let Some(front) = &self.front {
            front.told(told);
        } else if !self.common.quiet && !told.line.is_empty() {
            let line = &told.line;
            // Nobody may be there to read it; the work goes on.
            let _ = writeln!(std::io::stderr(), "{}", self.style.fit(line));
        }
    }

    /// Asks whether to go on. The answer that Return gives is no.
    ///
    /// # Errors
    /// No, or nobody can be asked.
    pub(crate) fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.common.yes {
            return Ok(());
        }
        if let Some(front) = &self.front {
            return front.confirm(question);
        }
        if !self.can_ask() {
            return Err(Failure::new(
                Exit::Usage,
                "this needs a yes, and nobody can be asked; nothing was changed",
            )
            .hint("look at it with --dry-run, then give --yes"));
        }
        between::asks();
        let asked = dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact_opt();
        match asked {
            Ok(Some(true)) => Ok(()),
            _ => Err(Failure::cancelled()),
        }
    }

    /// Asks for the name of everything that ends, where something does; else whether to go on. The menu has asked for it
    /// before.
    ///
    /// # Errors
    /// No, or nobody can be asked.
    pub(crate) fn confirm_named(&self, names: &[&str], question: &str) -> Result<(), Failure> {
        if names.is_empty() || self.common.yes || self.front.is_some() || !self.can_ask() {
            return self.confirm(question);
        }
        between::asks();
        names.iter().try_for_each(|name| self.typed(name))
    }

    fn typed(&self, name: &str) -> Result<(), Failure> {
        loop {
            let typed = dialoguer::Input::<String>::new()
                .with_prompt(format!("Type {name} to go on; nothing cancels"))
                .allow_empty(true)
                .interact_text();
            match typed.as_deref().map(|typed| named(typed, name)) {
                Ok(Named::Right) => return Ok(()),
                Ok(Named::Other) => self.note(&format!("that is not the name: it is {name}")),
                Ok(Named::Nothing) | Err(_) => return Err(Failure::cancelled()),
            }
        }
    }

    /// The answer, or a part of it, on the terminal; a line beside it where somebody else stands in front.
    pub(crate) fn say(&self, text: &str) {
        match &self.front {
            Some(_) => text.lines().for_each(|line| self.note(line)),
            None => say(text),
        }
    }

    /// Whether somebody is there to answer.
    pub(crate) fn can_ask(&self) -> bool {
        if self.front.is_some() {
            return true;
        }
        !self.common.no_input
            && !self.json()
            && std::io::stdin().is_terminal()
            && std::io::stderr().is_terminal()
    }
}

/// What was typed where a name is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Right,
    Other,
    Nothing,
}

fn named(typed: &str, name: &str) -> Named {
    match typed.trim() {
        "" => Named::Nothing,
        typed if typed == name => Named::Right,
        _ => Named::Other,
    }
}

/// The answer.
pub(crate) fn say(text: &str) {
    // Nobody may be there to read it any more (`| head`); that is no error of ours.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// The answer as JSON, on one line where it is one of many.
pub(crate) fn say_json(value: &serde_json::Value, one_line: bool) {
    let text = if one_line {
        value.to_string()
    } else {
        format!("{value:#}")
    };
    say(&(text + "\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_name_is_the_name() {
        for (typed, meant) in [
            ("shop", Named::Right),
            (" shop ", Named::Right),
            ("sho", Named::Other),
            ("y", Named::Other),
            ("Shop", Named::Other),
            (" ", Named::Nothing),
        ] {
            assert_eq!(named(typed, "shop"), meant, "{typed:?}");
        }
    }
}
