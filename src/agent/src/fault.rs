//! Answers to calls that fail, in one form.

use backstay_core::model::{DocumentError, Problem, RuleId};
use backstay_wire::rpc::{Code, Fault};

/// A failure of a kind, with its sentence. Nothing was changed.
pub fn fault(code: Code, message: impl Into<String>) -> Fault {
    Fault {
        code,
        message: message.into(),
        rule: None,
        problems: Vec::new(),
        changed: false,
    }
}

/// A refusal by a rule.
pub fn refused(rule: &'static str, message: impl Into<String>) -> Fault {
    Fault {
        rule: Some(RuleId::of(rule)),
        ..fault(Code::Refused, message)
    }
}

/// A refusal by everything that is wrong, at once.
pub fn refused_by(problems: Vec<Problem>) -> Fault {
    let message = match problems.as_slice() {
        [one] => one.to_string(),
        all => format!("{} rules refuse", all.len()),
    };
    Fault {
        rule: problems.first().map(|p| p.rule.clone()),
        problems,
        ..fault(Code::Refused, message)
    }
}

/// The disk's failure, of a change that therefore did not come about.
pub fn disk(what: &str, error: &std::io::Error) -> Fault {
    fault(
        Code::Failed,
        format!("can't {what}: {error}; nothing was changed"),
    )
}

/// Why a text is no document.
pub fn bad_document(error: DocumentError) -> Fault {
    match error {
        DocumentError::Rules(problems) => refused_by(problems),
        other => fault(Code::Invalid, other.to_string()),
    }
}
