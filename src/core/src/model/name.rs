//! Names that admins give and identities that machines give.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name, in bytes.
const MAX_NAME: usize = 32;

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a {kind} name: use 1 to 32 lowercase letters, digits and `-`, beginning with a letter or digit", .text.escape_debug())]
pub struct BadName {
    kind: &'static str,
    text: String,
}

fn check(kind: &'static str, text: &str) -> Result<(), BadName> {
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if begins && rest && text.len() <= MAX_NAME {
        Ok(())
    } else {
        let text = text.chars().take(64).collect();
        Err(BadName { kind, text })
    }
}

macro_rules! name {
    ($type:ident, $kind:literal) => {
        #[doc = concat!("The name of a ", $kind, ": 1 to 32 lowercase letters, digits and `-`.")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                check($kind, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                check($kind, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(NodeName, "node");
name!(ServiceName, "service");
name!(ClusterName, "cluster");

impl NodeName {
    /// What is shown where a broken document names no node.
    pub(crate) fn nobody() -> Self {
        Self("nobody".to_owned())
    }
}

macro_rules! id {
    ($type:ident, $what:literal) => {
        #[doc = $what]
        ///
        /// Written as 16 hexadecimal digits: the text formats have no unsigned 64-bit integers.
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            Serialize,
            Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
                match u64::from_str_radix(&text, 16) {
                    Ok(id) if digits => Ok(Self(id)),
                    _ => Err(format!(
                        "`{}` is not an identity: use 16 hexadecimal digits",
                        text.chars().take(32).collect::<String>().escape_debug()
                    )),
                }
            }
        }
    };
}

id!(
    NodeId,
    "A node's identity: drawn at random when it is added to the system, never given again."
);
id!(
    ClusterId,
    "A cluster's identity: drawn at random when it is created."
);

/// A service's number within its cluster: counted up, never given again in that cluster.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ServiceId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lowercase_and_bounded() {
        assert!("n1".parse::<NodeName>().is_ok());
        for bad in ["", "-n", "N1", "n 1", "n\u{1b}[2J", &"n".repeat(33)] {
            let said = bad.parse::<NodeName>().unwrap_err().to_string();
            assert!(
                said.contains("node name") && !said.contains('\u{1b}'),
                "{said}"
            );
        }
    }

    #[test]
    fn an_identity_survives_text() {
        let id = NodeId(u64::MAX - 1);
        assert_eq!(NodeId::try_from(String::from(id)), Ok(id));
        assert!(NodeId::try_from("+00000000000000f".to_owned()).is_err());
    }
}
