//! Documents as text, and what can be wrong with them.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ClusterDocument, MAX_DOCUMENT, text};

/// The id of a rule, as SPEC.md has it: `C4`, `F5`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub std::borrow::Cow<'static, str>);

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
