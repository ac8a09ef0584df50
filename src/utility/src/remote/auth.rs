//! Proving who we are: named key files, else ssh-agent and the usual key files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::ssh::Options;
use super::{Contact, RemoteError};
use backstay_wire::rpc::clean;

/// The key files that `ssh` looks for too.
const USUAL: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

fn usual_files() -> Vec<PathBuf> {
    let Some(home) = std::env::var_os("HOME") else {
        return Vec::new();
    };
    let folder = Path::new(&home).join(".ssh");
    let files = USUAL.iter().map(|name| folder.join(name));
    files.filter(|path| path.is_file()).collect()
}

/// Authenticates with the first key that the host takes.
///
/// # Errors
/// [`RemoteError::NotAuthorised`] with what was tried; a timeout.
pub(super) fn authenticate(
    session: &mut ssh2::Session,
    contact: &Contact,
    options: &Options,
    until: Instant,
) -> Result<(), RemoteError> {
    let began = Instant::now();
    let mut tried = Vec::new();
    let mut attempt = |session: &ssh2::Session,
                       what: String,
                       with: &dyn Fn(&ssh2::Session) -> Result<(), ssh2::Error>|
     -> Result<bool, RemoteError> {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        if left == 0 {
            return Err(timeout(contact, began));
        }
        session.set_timeout(u32::try_from(left).unwrap_or(u32::MAX));
        match with(session) {
            Ok(()) if session.authenticated() => {
                tracing::info!("{contact} lets {} in with {what}", contact.user);
                Ok(true)
            }
            Ok(()) => {
                tried.push(format!("{what}: not enough"));
                Ok(false)
            }
            Err(_) if Instant::now() >= until => Err(timeout(contact, began)),
            Err(e) => {
                tried.push(format!("{what}: {}", clean(e.message())));
                Ok(false)
            }
        }
    };
    if options.identities.is_empty()
        && let Ok(mut agent) = session.agent()
        && agent.connect().is_ok()
        && agent.list_identities().is_ok()
    {
        for identity in agent.identities().unwrap_or_default() {
            let what = format!("ssh-agent's {}", clean(identity.comment()));
            if attempt(session, what, &|_| agent.userauth(&contact.user, &identity))? {
                return Ok(());
            }
        }
    }
    let files = if options.identities.is_empty() {
        usual_files()
    } else {
        options.identities.clone()
    };
    for file in files {
        let what = file.display().to_string();
        if attempt(session, what, &|s| {
            s.userauth_pubkey_file(&contact.user, None, &file, None)
        })? {
            return Ok(());
        }
    }
    if tried.is_empty() {
        tried.push("ssh-agent has none and ~/.ssh holds none".to_owned());
    }
    Err(RemoteError::NotAuthorised {
        host: contact.to_string(),
        user: contact.user.clone(),
        tried: tried.join("; "),
    })
}

fn timeout(contact: &Contact, began: Instant) -> RemoteError {
    RemoteError::Timeout {
        host: contact.to_string(),
        during: "SSH authentication",
        after: began.elapsed(),
    }
}
