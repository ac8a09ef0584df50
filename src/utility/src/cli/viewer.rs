//! `backstay key viewer ...`: who may look and change nothing (U11).

use std::io::Read as _;
use std::path::Path;

use backstay_core::plan::Action;
use serde_json::json;

use super::act::act;
use super::args::ViewerVerb;
use super::context::{Context, say, say_json};
use crate::failure::{Exit, Failure};
use crate::output::json;
use crate::output::style::{Cell, Tone, date};

/// Longest file that is read as a key, bytes.
const LONGEST: u64 = 64 * 1024;

/// Runs a verb.
pub(super) fn run(context: &Context, verb: ViewerVerb) -> Result<Exit, Failure> {
    match verb {
        ViewerVerb::List => list(context),
        ViewerVerb::Add { key, name } => {
            let (key, comment) = public_key(&text_of(&key)?)?;
            let Some(name) = name.or(comment) else {
                return Err(usage(
                    "whose key it is can't be seen in it",
                    "give --name WHO",
                ));
            };
            act(context, |_| Ok(Action::AddViewer { name, key })).map(|()| Exit::Done)
        }
        ViewerVerb::Remove { name } => {
            act(context, |_| Ok(Action::RemoveViewer { name })).map(|()| Exit::Done)
        }
    }
}

fn usage(what: impl Into<String>, hint: &str) -> Failure {
    Failure::new(Exit::Usage, what).hint(hint)
}

/// What was named: a key itself, a file with one, or standard input.
fn text_of(named: &str) -> Result<String, Failure> {
    if named.contains(' ') {
        return Ok(named.to_owned());
    }
    let from: Box<dyn std::io::Read> = if named == "-" {
        Box::new(std::io::stdin())
    } else {
        let file = std::fs::File::open(Path::new(named));
        Box::new(file.map_err(|e| {
            usage(
                format!("{named} can't be read: {e}"),
                "name the file of a public key, as id_ed25519.pub",
            )
        })?)
    };
    let mut text = String::new();
    let read = from.take(LONGEST).read_to_string(&mut text);
    read.map_err(|e| usage(format!("{named} is no public key: {e}"), PUBLIC))?;
    Ok(text)
}

const PUBLIC: &str = "name the file of a public key, as id_ed25519.pub";

/// Kind and data of the one key in a text, and its comment. The plan's rules check them (U11).
fn public_key(text: &str) -> Result<(String, Option<String>), Failure> {
    // Never to be shown or sent.
    if text.contains("PRIVATE KEY") {
        return Err(usage(
            "that is the private key, which belongs to its owner alone; nothing was sent",
            PUBLIC,
        ));
    }
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|l| !l.is_empty() && !l.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(usage("there is not just one key in it", PUBLIC));
    };
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(kind), Some(data), comment) => {
            Ok((format!("{kind} {data}"), comment.map(str::to_owned)))
        }
        _ => Err(usage("that is no public key", PUBLIC)),
    }
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let picture = context.gatherer()?.gather(&mut |line| context.note(line))?;
    let system = picture.system();
    // A node that was away may let in whom the system does not know any more.
    let behind: Vec<_> = picture
        .hellos
        .iter()
        .filter(|(_, hello)| hello.system_revision < system.revision)
        .map(|(name, _)| name)
        .collect();
    if context.json() {
        let body = json!({
            "viewers": system.viewers,
            "behind": behind,
            "silent": picture.silent.keys().collect::<Vec<_>>(),
        });
        say_json(&json::document("ViewerList", body), false);
    } else if system.viewers.is_empty() {
        say("no viewers: `backstay key viewer add FILE` lets somebody look\n");
    } else {
        let rows: Vec<Vec<Cell>> = system
            .viewers
            .iter()
            .map(|v| {
                vec![
                    Cell::new(v.name.clone(), Tone::Bold),
                    fingerprint(&v.key).into(),
                    format!("by {}, {}", v.by, date(v.at)).into(),
                ]
            })
            .collect();
        say(&context.style.table(0, &rows));
    }
    for name in &behind {
        context.note(&format!("{name} does not know this list yet"));
    }
    Ok(if picture.silent.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

fn fingerprint(key: &str) -> String {
    let parsed = key.parse::<crate::remote::HostKey>();
    parsed.map_or_else(
        |_| key.split(' ').next().unwrap_or_default().to_owned(),
        |key| format!("{} {}", key.name(), key.fingerprint()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u11_one_public_key_is_read_and_a_private_one_is_never_repeated() {
        let (key, comment) = public_key("# mine\nssh-ed25519 AAAAC3 ann@desk\n").unwrap();
        assert_eq!(key, "ssh-ed25519 AAAAC3");
        assert_eq!(comment.as_deref(), Some("ann@desk"));
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter22\n";
        let said = public_key(private).unwrap_err();
        assert!(said.message.contains("private key") && !said.message.contains("hunter22"));
        for no_key in ["", "ssh-ed25519", "ssh-rsa A\nssh-rsa B\n"] {
            assert_eq!(public_key(no_key).unwrap_err().exit, Exit::Usage);
        }
    }
}
