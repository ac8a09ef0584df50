//! Making replies and faults.

use backstay_core::model::{Problem, RuleId};
use serde::Serialize;

use super::{Code, Fault, Reply};

impl Fault {
    /// A failure before which nothing was changed.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            rule: None,
            problems: Vec::new(),
            changed: false,
        }
    }

    /// A rule refuses; nothing was changed.
    pub fn refused(rule: RuleId, message: impl Into<String>) -> Self {
        Self {
            rule: Some(rule),
            ..Self::new(Code::Refused, message)
        }
    }

    /// Rules refuse, for all of these reasons; nothing was changed. The message is the first, and how many
    /// more there are; none at all is still a refusal.
    pub fn refused_for(problems: Vec<Problem>) -> Self {
        let message = match problems.as_slice() {
            [] => "refused".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        Self {
            rule: problems.first().map(|problem| problem.rule.clone()),
            problems,
            ..Self::new(Code::Refused, message)
        }
    }

    /// The same, but something was changed before it failed.
    #[must_use]
    pub fn after_change(self) -> Self {
        Self {
            changed: true,
            ..self
        }
    }
}

impl Reply {
    /// The end of a call, with its result. A result that has no form in JSON is itself a failure.
    pub fn done(id: u64, result: &impl Serialize) -> Self {
        match serde_json::to_value(result) {
            Ok(value) => Self::Done { id, value },
            Err(error) => Self::failed(id, no_form(&error)),
        }
    }

    /// Something before the end of a call. What has no form in JSON ends it as a failure.
    pub fn progress(id: u64, value: &impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => Self::Progress { id, value },
            Err(error) => Self::failed(id, no_form(&error)),
        }
    }

    /// The end of a call that failed.
    pub fn failed(id: u64, error: Fault) -> Self {
        Self::Failed { id, error }
    }

    /// Of which call.
    pub fn id(&self) -> u64 {
        match self {
            Self::Progress { id, .. } | Self::Done { id, .. } | Self::Failed { id, .. } => *id,
        }
    }
}

fn no_form(error: &serde_json::Error) -> Fault {
    Fault::new(
        Code::Failed,
        format!("the result can't be written: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_rule_and_counts_the_rest() {
        let problem = |rule, place: &str| Problem {
            rule: RuleId::of(rule),
            place: place.to_owned(),
            what: "is 3".to_owned(),
            mend: "use 1".to_owned(),
        };
        let one = Fault::refused_for(vec![problem("C2", "node a")]);
        assert_eq!(one.to_string(), "C2 node a: is 3; use 1");
        let two = Fault::refused_for(vec![problem("C2", "node a"), problem("C4", "b")]);
        assert_eq!(two.to_string(), "C2 node a: is 3; use 1 (and 1 more)");
        assert_eq!(
            (two.code, two.rule),
            (Code::Refused, Some(RuleId::of("C2")))
        );
        assert!(!two.changed);
    }

    #[test]
    fn a_result_without_a_form_is_a_failure_not_a_panic() {
        let keys_no_text = std::collections::BTreeMap::from([(vec![1], 2)]);
        let reply = Reply::done(7, &keys_no_text);
        assert_eq!(reply.id(), 7);
        assert!(matches!(reply, Reply::Failed { error, .. } if error.code == Code::Failed));
    }
}
