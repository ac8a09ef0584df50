//! Answers to calls that fail, in one form.

use backstay_core::model::{DocumentError, RuleId};
use backstay_wire::rpc::{Code, Fault};

/// A failure of a kind, with its sentence. Nothing was changed.
pub fn fault(code: Code, message: impl Into<String>) -> Fault {
    Fault::new(code, message)
}

/// A refusal by a rule.
pub fn refused(rule: &'static str, message: impl Into<String>) -> Fault {
    Fault::refused(RuleId::of(rule), message)
}

/// The disk's failure, of a change that therefore did not come about.
pub fn disk(what: &str, error: &std::io::Error) -> Fault {
    let message = format!("can't {what}: {error}; nothing was changed");
    fault(Code::Failed, message)
}

/// Why a text is no document.
pub fn bad_document(error: DocumentError) -> Fault {
    match error {
        DocumentError::Rules(problems) => Fault::refused_for(problems),
        other => fault(Code::Invalid, other.to_string()),
    }
}
