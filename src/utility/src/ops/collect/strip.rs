//! Taking secrets out of texts. Documents are stripped by their structure first; what was in them, and what looks like a
//! secret, is taken out of every other text too: a log may repeat it.

use std::collections::BTreeSet;

use backstay_core::model::ClusterDocument;
use regex::{Captures, Regex};
use serde_json::Value;

/// What stands where a secret was.
const STRIPPED: &str = "(stripped)";
/// A shorter text is an ordinary word, and would be found everywhere.
const SHORTEST: usize = 6;
/// What a secret is called.
const NAMES: &str =
    r"password|passwd|passphrase|pwd|secret|token|api[_-]?key|authorization|credentials?|cookie";

/// Takes secrets out of texts.
pub struct Strip {
    /// Longest first: one may be part of another.
    known: Vec<String>,
    anywhere: Regex,
    named: Regex,
    name: Regex,
}

impl Strip {
    /// What these documents hold is known to be secret.
    ///
    /// # Panics
    /// Never: the patterns are constants, and a test reads them.
    pub fn of(clusters: &[ClusterDocument]) -> Self {
        let mut known = BTreeSet::new();
        for secret in clusters.iter().flat_map(|c| c.stripped().1) {
            // `--password=x`, `X-Token: x`, `user:x@host`: a log may have the last part alone.
            let parts = secret.split(['=', ':', '@', ' ', '/', '"', '\'']);
            known.extend(parts.filter(|p| p.len() >= 2 * SHORTEST).map(str::to_owned));
            known.extend(secret.split_once('=').map(|(_, value)| value.to_owned()));
            known.insert(secret);
        }
        // What every text speaks of is no secret, though a hook may be told it.
        let mut common = BTreeSet::new();
        for cluster in clusters {
            common.insert(cluster.name.as_str());
            common.extend(cluster.members.iter().map(|m| m.name.as_str()));
            common.extend(cluster.services.iter().map(|s| s.name.as_str()));
            let units = cluster.services.iter().flat_map(|s| &s.units);
            common.extend(units.map(|u| u.name.as_str()));
        }
        known.retain(|s| !common.contains(s.as_str()));
        let mut known: Vec<String> = known.into_iter().filter(|s| s.len() >= SHORTEST).collect();
        known.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let regex = |pattern: &str| Regex::new(pattern).expect("a constant");
        Self {
            known,
            // Credentials of a URL; a private key; 32 bytes as hexadecimal digits, as keys of beats are.
            anywhere: regex(
                r#"(?is)(?P<url>[a-z][a-z0-9+.-]*://)[^/\s@"']+@|-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)|\b[0-9a-f]{64}\b"#,
            ),
            named: regex(&format!(
                r#"(?i)(?P<name>(?:--[a-z0-9_-]*(?:{NAMES})[a-z0-9_-]*\s+|[a-z0-9_-]*(?:{NAMES})[a-z0-9_-]*["']?\s*[=:]\s*)["']?(?:bearer\s+|basic\s+)?)[^\s"',;}}\]]+"#
            )),
            name: regex(&format!("(?i)(?:{NAMES})")),
        }
    }

    /// A text of a node: whatever is called a secret goes, too.
    pub fn text(&self, text: &str) -> String {
        let text = self.document(text);
        self.named
            .replace_all(&text, "${name}(stripped)")
            .into_owned()
    }

    /// A document, whose structure must stay.
    pub fn document(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            if text.contains(secret) {
                text = text.replace(secret, STRIPPED);
            }
        }
        let without = |found: &Captures<'_>| match found.name("url") {
            Some(url) => format!("{}{STRIPPED}@", url.as_str()),
            None => STRIPPED.to_owned(),
        };
        self.anywhere.replace_all(&text, without).into_owned()
    }

    /// Every text in a value.
    pub fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|v| self.json(v)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(text) if self.name.is_match(key) && key != "secrets" => {
                            STRIPPED.clone_into(text);
                        }
                        value => self.json(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_goes_and_what_is_around_it_stays() {
        let strip = Strip::of(&[]);
        let key = "0f".repeat(32);
        for (text, left) in [
            (
                "told https://ann:hunter22@example.org/x ok",
                "told https://(stripped)@example.org/x ok",
            ),
            (
                "curl -H 'Authorization: Bearer abc.def' http://h",
                "curl -H 'Authorization: Bearer (stripped)' http://h",
            ),
            (
                "password=\"hunter22\" user=ann",
                "password=\"(stripped)\" user=ann",
            ),
            (
                "mysql --password hunter22 -u x",
                "mysql --password (stripped) -u x",
            ),
            ("n1 up at 192.0.2.1", "n1 up at 192.0.2.1"),
            (&format!("key {key}."), "key (stripped)."),
            (
                "x -----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY----- y",
                "x (stripped) y",
            ),
            ("-----BEGIN PRIVATE KEY-----\ncut off", "(stripped)"),
        ] {
            assert_eq!(strip.text(text), left);
        }
        let mut value = json!({"api_token": "hunter22", "list": ["token: hunter22"], "n": 7});
        strip.json(&mut value);
        let said = value.to_string();
        assert!(!said.contains("hunter22") && said.contains(":7"), "{said}");
    }
}
