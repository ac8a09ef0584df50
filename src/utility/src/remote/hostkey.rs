//! SSH host keys: read, shown, pinned, compared byte for byte.
//!
//! libssh2's own `check` is not used: it never matches entries of the form `[host]:port`.

use core::fmt;
use core::str::FromStr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::{Contact, RemoteError};

/// Longest host key that is read, in bytes; an RSA key of 16,384 bits has about 2,100.
const MAX_KEY: usize = 8 * 1024;

/// A public host key as the SSH protocol carries it (RFC 4253, 6.6).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostKey {
    blob: Vec<u8>,
}

impl HostKey {
    /// Takes a key as it came over the wire.
    ///
    /// # Errors
    /// Its type can't be read from it.
    pub fn from_blob(blob: &[u8]) -> Result<Self, String> {
        let key = Self {
            blob: blob.to_vec(),
        };
        if blob.len() > MAX_KEY || key.name().is_empty() {
            return Err("not an SSH public key".to_owned());
        }
        Ok(key)
    }

    /// `ssh-ed25519`; what the blob itself says.
    pub fn name(&self) -> &str {
        let Some((length, rest)) = self.blob.split_first_chunk::<4>() else {
            return "";
        };
        let length = u32::from_be_bytes(*length) as usize;
        rest.get(..length)
            .and_then(|name| core::str::from_utf8(name).ok())
            .filter(|name| name.bytes().all(|b| b.is_ascii_graphic()))
            .unwrap_or("")
    }

    /// `SHA256:...`, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&self.blob))
        )
    }

    /// The algorithms by which a server can prove this key. An RSA key has three (RFC 8332).
    fn algorithms(&self) -> &str {
        match self.name() {
            "ssh-rsa" => "rsa-sha2-512,rsa-sha2-256,ssh-rsa",
            other => other,
        }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), STANDARD.encode(&self.blob))
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.fingerprint())
    }
}

impl FromStr for HostKey {
    type Err = String;

    /// Reads `ssh-ed25519 AAAA... comment`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{}` is not a host key: use the type and the base64 text, as in known_hosts",
                text.chars().take(40).collect::<String>().escape_debug()
            )
        };
        let mut parts = text.split_whitespace();
        let (Some(name), Some(blob)) = (parts.next(), parts.next()) else {
            return Err(bad());
        };
        let key = STANDARD
            .decode(blob)
            .map_err(|_| bad())
            .and_then(|blob| Self::from_blob(&blob))?;
        if key.name() == name {
            Ok(key)
        } else {
            Err(bad())
        }
    }
}

/// Which keys are right for one host. Empty: none is known, so none is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    keys: Vec<HostKey>,
    fingerprints: Vec<String>,
}

impl Pins {
    /// Whole keys.
    pub fn keys(keys: impl IntoIterator<Item = HostKey>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            fingerprints: Vec::new(),
        }
    }

    /// Also right: keys with these fingerprints (`SHA256:...`).
    #[must_use]
    pub fn or_fingerprints(mut self, fingerprints: &[String]) -> Self {
        self.fingerprints.extend_from_slice(fingerprints);
        self
    }

    /// Also right: those.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self.fingerprints.extend(other.fingerprints);
        self
    }

    /// Whether anything is pinned.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.fingerprints.is_empty()
    }

    /// The algorithms to ask the server for: only those whose keys are pinned, so that it can't show a key
    /// of another type that we could not compare. `None`: any (only a fingerprint is known, or nothing).
    pub fn algorithms(&self) -> Option<String> {
        if self.keys.is_empty() || !self.fingerprints.is_empty() {
            return None;
        }
        let mut all: Vec<&str> = Vec::new();
        for key in &self.keys {
            if !all.contains(&key.algorithms()) {
                all.push(key.algorithms());
            }
        }
        Some(all.join(","))
    }

    /// Compares what a host shows.
    ///
    /// # Errors
    /// [`RemoteError::HostKeyUnknown`] or [`RemoteError::HostKeyChanged`] with both fingerprints.
    pub fn judge(&self, host: &str, shown: &HostKey) -> Result<(), RemoteError> {
        let print = shown.fingerprint();
        if self.keys.contains(shown) || self.fingerprints.contains(&print) {
            return Ok(());
        }
        if self.is_empty() {
            return Err(RemoteError::HostKeyUnknown {
                host: host.to_owned(),
                shown: print,
            });
        }
        let pinned = self
            .keys
            .iter()
            .map(HostKey::fingerprint)
            .chain(self.fingerprints.iter().cloned())
            .collect();
        Err(RemoteError::HostKeyChanged {
            host: host.to_owned(),
            pinned,
            shown: print,
        })
    }

    /// The keys that a file in the form of `known_hosts` has for a contact. Hashed host names are not
    /// matched; lines that can't be read are passed over.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn from_known_hosts(path: &Path, contact: &Contact) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("{} can't be read: {e}", path.display()))?;
        Ok(Self::in_known_hosts(&text, contact))
    }

    fn in_known_hosts(text: &str, contact: &Contact) -> Self {
        let with_port = format!("[{}]:{}", contact.host, contact.port);
        let is_it = |name: &str| {
            name.eq_ignore_ascii_case(&with_port)
                || (contact.port == 22 && name.eq_ignore_ascii_case(&contact.host))
        };
        let keys = text.lines().filter_map(|line| {
            let line = line.trim();
            // `@revoked` and `@cert-authority` lines pin nothing.
            if line.starts_with(['#', '@']) {
                return None;
            }
            let (names, key) = line.split_once(char::is_whitespace)?;
            names.split(',').any(is_it).then(|| key.parse().ok())?
        });
        Self::keys(keys)
    }
}

/// Checks that a text has the form of a fingerprint.
///
/// # Errors
/// What would be right.
pub fn fingerprint(text: &str) -> Result<String, String> {
    let digest = text
        .strip_prefix("SHA256:")
        .map(|t| t.trim_end_matches('='));
    match digest.map(|d| STANDARD_NO_PAD.decode(d)) {
        Some(Ok(bytes)) if bytes.len() == 32 => {
            Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(bytes)))
        }
        _ => Err("a fingerprint is SHA256: and 43 signs, as `ssh-keygen -lf` shows it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with ssh-keygen for this test; its fingerprint is what `ssh-keygen -lf` showed.
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINswx+LskTZFOBwxQKlA8fykHqtlJR69sFKlz0ofZGw9";
    const PRINT: &str = "SHA256:vkbrRPUsMEmYGygQgq4vgsUXbe9+iDgYJIo40UfdqtA";

    fn contact(text: &str) -> Contact {
        text.parse().unwrap()
    }

    #[test]
    fn the_fingerprint_is_the_one_that_ssh_shows() {
        let key: HostKey = KEY.parse().unwrap();
        assert_eq!(key.fingerprint(), PRINT);
        assert_eq!(key.to_string(), KEY);
        assert_eq!(fingerprint(PRINT), Ok(PRINT.to_owned()));
        assert!(fingerprint("MD5:00:11").is_err());
    }

    #[test]
    fn a_key_that_lies_about_its_type_is_refused() {
        assert!(
            KEY.replace("ssh-ed25519", "ssh-rsa")
                .parse::<HostKey>()
                .is_err()
        );
        assert!("ssh-ed25519 AAAA".parse::<HostKey>().is_err());
        assert!("ssh-ed25519".parse::<HostKey>().is_err());
        assert!(HostKey::from_blob(&[0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    #[test]
    fn known_hosts_match_with_and_without_port() {
        let text = format!(
            "# comment\n[n1]:2222,192.0.2.1 {KEY}\nn2 {KEY} me\n@revoked n3 {KEY}\nnonsense\n"
        );
        let has = |c: &str| !Pins::in_known_hosts(&text, &contact(c)).is_empty();
        assert!(has("n1:2222") && has("192.0.2.1") && has("n2"));
        assert!(!has("n1") && !has("n2:2222") && !has("n3") && !has("192.0.2.1:2222"));
    }

    #[test]
    fn only_the_pinned_type_is_asked_for() {
        let key: HostKey = KEY.parse().unwrap();
        assert_eq!(
            Pins::keys([key]).algorithms().as_deref(),
            Some("ssh-ed25519")
        );
        assert_eq!(Pins::default().algorithms(), None);
    }

    #[test]
    fn a_changed_key_is_refused_with_both_fingerprints() {
        let key: HostKey = KEY.parse().unwrap();
        let mut blob = key.blob.clone();
        *blob.last_mut().unwrap() ^= 1;
        let other = HostKey::from_blob(&blob).unwrap();
        let said = Pins::keys([key])
            .judge("n1", &other)
            .unwrap_err()
            .to_string();
        assert!(
            said.contains(PRINT) && said.contains(&other.fingerprint()),
            "{said}"
        );
        assert!(
            Pins::default()
                .or_fingerprints(&[PRINT.to_owned()])
                .judge("n1", &other)
                .is_err()
        );
    }
}
