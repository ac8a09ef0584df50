//! What every command needs: how to reach the nodes, how to show things, how to ask and be interrupted.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dialoguer::console::Term;

use super::args::{Color, Common, Output};
use crate::failure::{Exit, Failure};
use crate::ops::preflight::Overrides;
use crate::ops::{Cancel, Gatherer};
use crate::output::style::Style;
use crate::remote::contacts::Contacts;
use crate::remote::{Contact, Deadlines, Handle, Network, Pins, Target, ssh};

/// How long a change may take to come about unless told otherwise.
const PATIENCE: Duration = Duration::from_mins(2);

/// What every command needs.
#[derive(Clone)]
pub(super) struct Context {
    /// The common options.
    pub(super) common: Common,
    /// How to show things.
    pub(super) style: Style,
    /// Set when the admin breaks off.
    pub(super) cancel: Cancel,
    /// While it is set, breaking off is looked at by whoever works; else it ends the program.
    guarded: Arc<AtomicBool>,
    /// How SSH is spoken.
    pub(super) ssh: Arc<ssh::Options>,
    /// Where contacts are remembered.
    pub(super) contacts_path: Option<PathBuf>,
}

fn utf8_locale() -> bool {
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
pub(super) fn style(color: Color) -> Style {
    let terminal = std::io::stdout().is_terminal();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    Style {
        color: match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color && !dumb,
        },
        unicode: utf8_locale() && std::env::var_os("TERM").is_none_or(|t| t != "linux"),
    }
}

/// Who sits here: `user@host`.
pub(super) fn who() -> String {
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
    pub(super) fn new(common: Common) -> Result<Self, Failure> {
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
            ssh: Arc::new(ssh::Options {
                identities: common.identity.clone(),
                deadlines,
                jump: None,
            }),
            contacts_path,
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
    pub(super) fn catch_signals(&self) -> Result<(), Failure> {
        let (cancel, guarded) = (self.cancel.clone(), Arc::clone(&self.guarded));
        ctrlc::set_handler(move || {
            cancel.set();
            if !guarded.load(Ordering::SeqCst) {
                // A question may be open, with the cursor hidden.
                let _ = Term::stderr().show_cursor();
                let _ = writeln!(std::io::stderr(), "\ncancelled; nothing was changed");
                std::process::exit(i32::from(Exit::Cancelled as u8));
            }
        })
        .map_err(|e| Failure::new(Exit::Error, format!("signals can't be caught: {e}")))
    }

    /// From here on breaking off is looked at by whoever works.
    pub(super) fn guard(&self) {
        self.guarded.store(true, Ordering::SeqCst);
    }

    /// What this machine remembers.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub(super) fn contacts(&self) -> Result<Contacts, Failure> {
        match &self.contacts_path {
            Some(path) => Contacts::load(path).map_err(|e| Failure::new(Exit::Error, e)),
            None => Ok(Contacts::default()),
        }
    }

    /// Which keys are right for a host by what this machine remembers and the options say.
    ///
    /// # Errors
    /// A file can't be read.
    pub(super) fn pins(&self, contact: &Contact) -> Result<Pins, Failure> {
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

    /// Opens sessions.
    pub(super) fn handle(&self) -> Handle {
        let network = Network {
            ssh: Arc::clone(&self.ssh),
            sockets: self.common.sockets.clone(),
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
    pub(super) fn gatherer(&self) -> Result<Gatherer, Failure> {
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
    pub(super) fn patience(&self) -> Duration {
        self.common.timeout.unwrap_or(PATIENCE)
    }

    /// What the admin overrides.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            force: self.common.force,
            ignore: self.common.ignore_check.clone(),
        }
    }

    /// Whether the answer is JSON.
    pub(super) fn json(&self) -> bool {
        self.common.output == Output::Json
    }

    /// A line on how it goes, beside the answer.
    pub(super) fn note(&self, line: &str) {
        if !self.common.quiet {
            // Nobody may be there to read it; the work goes on.
            let _ = writeln!(std::io::stderr(), "{}", self.style.fit(line));
        }
    }

    /// Asks whether to go on. The answer that Return gives is no.
    ///
    /// # Errors
    /// No, or nobody can be asked.
    pub(super) fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.common.yes {
            return Ok(());
        }
        if !self.can_ask() {
            return Err(Failure::new(
                Exit::Usage,
                "this needs a yes, and nobody can be asked; nothing was changed",
            )
            .hint("look at it with --dry-run, then give --yes"));
        }
        let asked = dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact_opt();
        match asked {
            Ok(Some(true)) => Ok(()),
            _ => Err(Failure::cancelled()),
        }
    }

    /// Whether somebody is there to answer.
    pub(super) fn can_ask(&self) -> bool {
        !self.common.no_input
            && !self.json()
            && std::io::stdin().is_terminal()
            && std::io::stderr().is_terminal()
    }
}

/// The answer.
pub(super) fn say(text: &str) {
    // Nobody may be there to read it any more (`| head`); that is no error of ours.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// The answer as JSON, on one line where it is one of many.
pub(super) fn say_json(value: &serde_json::Value, one_line: bool) {
    let text = if one_line {
        value.to_string()
    } else {
        format!("{value:#}")
    };
    say(&(text + "\n"));
}
