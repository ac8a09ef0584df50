//! Documents as text, and what can be wrong with them.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::{ClusterDocument, MAX_DOCUMENT, text};

/// The id of a rule, as SPEC.md has it: `C4`, `F5`, `PROTOCOL 36`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RuleId(pub std::borrow::Cow<'static, str>);

/// Most bytes of an id that comes from elsewhere.
const LONGEST_RULE: usize = 32;

/// Other machines name rules, too, and what they name is shown: what can't be an id becomes `?`. It is no reason to refuse
/// the rest of what they say; a newer version may have rules that are written otherwise.
impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let told = String::deserialize(deserializer)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b" .-".contains(&b);
        Ok(
            if (1..=LONGEST_RULE).contains(&told.len()) && told.bytes().all(plain) {
                Self(told.into())
            } else {
                Self::of("?")
            },
        )
    }
}

impl RuleId {
    /// A rule that the code names.
    pub const fn of(id: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(id))
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing wrong: the rule, the place, what it is and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{rule} {place}: {what}; {mend}")]
pub struct Problem {
    /// Which rule refuses.
    pub rule: RuleId,
    /// Where: `service web1`, `node n1`.
    pub place: String,
    /// What was found, with the value.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

/// Why a text is not a cluster document. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is longer than a document may be.
    #[error("the document is {0} bytes long; at most {MAX_DOCUMENT} are read")]
    TooLong(usize),
    /// It is not the text of a document.
    #[error("the document can't be read: {0}")]
    Text(String),
    /// It breaks rules; all of them are here.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Rules(Vec<Problem>),
}

impl ClusterDocument {
    /// Reads a written document and checks it against every rule that needs nothing else.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let (document, mut problems): (Self, _) = text::read(text, &text::CLUSTER)?;
        problems.extend(document.problems());
        if problems.is_empty() {
            Ok(document)
        } else {
            Err(DocumentError::Rules(problems))
        }
    }

    /// Reads a written document without its rules: for [`plan::Action::Apply`](crate::plan::Action),
    /// whose plan checks them once the secrets are filled in.
    ///
    /// # Errors
    /// Everything that is wrong with the text, at once.
    pub fn read(text: &str) -> Result<Self, DocumentError> {
        match text::read(text, &text::CLUSTER)? {
            (document, unknown) if unknown.is_empty() => Ok(document),
            (_, unknown) => Err(DocumentError::Rules(unknown)),
        }
    }

    /// The document as text: the form that is stored, sent and hashed.
    pub fn to_text(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// The document without its secrets, to be shown.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        for key in &mut shown.keys {
            "not shown".clone_into(&mut key.secret);
        }
        shown
    }

    /// U11: the document for who may only look, and for a support bundle; with what was taken out of it. An argument of
    /// a command may be a password, so that only the programs' names stay.
    #[must_use]
    pub fn stripped(&self) -> (Self, Vec<String>) {
        const STRIPPED: &str = "not shown";
        let mut shown = self.clone();
        let mut out = Vec::new();
        let mut hide = |text: &mut String| out.push(std::mem::replace(text, STRIPPED.to_owned()));
        for key in &mut shown.keys {
            hide(&mut key.secret);
        }
        for service in &mut shown.services {
            let commands = service.commands.iter_mut();
            let commands = commands.flat_map(|c| [&mut c.start, &mut c.stop, &mut c.check]);
            let hooks = service.hooks.iter_mut().map(|h| &mut h.run);
            for words in commands.chain(hooks) {
                words.iter_mut().skip(1).for_each(&mut hide);
            }
        }
        if shown.arbiter.contains('@') {
            hide(&mut shown.arbiter);
        }
        (shown, out)
    }

    /// SHA-256 of the text.
    pub fn hash(&self) -> [u8; 32] {
        hash_of(&self.to_text())
    }

    /// The first eight bytes of the hash, as beats carry it.
    pub fn short_hash(&self) -> u64 {
        let hash = self.hash();
        u64::from_be_bytes([
            hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7],
        ])
    }
}

/// SHA-256 of a document's text.
pub fn hash_of(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An id comes from other machines and is shown as it is.
    #[test]
    fn what_can_t_be_the_id_of_a_rule_is_shown_harmlessly() {
        let read = |told: &str| {
            let text = serde_json::to_string(told).unwrap();
            serde_json::from_str::<RuleId>(&text).unwrap().to_string()
        };
        for id in ["C4", "PROTOCOL 36", "T1", "S1.2-b"] {
            assert_eq!(read(id), id);
        }
        let long = "A".repeat(LONGEST_RULE + 1);
        for told in [
            "",
            "S1\u{1b}[2J",
            "\u{9b}2J",
            "S1\nerror: no",
            "S\u{202e}1",
            &long,
        ] {
            assert_eq!(read(told), "?", "{told:?}");
        }
        // A whole answer is read in spite of it.
        let problem = r#"{"rule":"\u001b]0;x\u0007","place":"p","what":"w","mend":"m"}"#;
        let problem: Problem = serde_json::from_str(problem).unwrap();
        assert_eq!(problem.to_string(), "? p: w; m");
    }
}
