//! How things end: exit codes and the one failure type that every operation returns.

use backstay_core::model::Problem;
use backstay_wire::rpc::Code;
use serde::Serialize;

use crate::remote::RemoteError;

/// The exit codes of the program (a contract: add, do not change).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Exit {
    /// Done, or there was nothing to change.
    Done = 0,
    /// Something failed.
    Error = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Refused by preflight or by a rule; nothing was changed.
    Refused = 4,
    /// A read or fan-out answered partly. Never a change.
    Partly = 5,
    /// A host can't be reached, shows the wrong key or lets us not in.
    Unreachable = 6,
    /// What was waited for did not come about in time.
    Timeout = 7,
    /// U8: somebody else holds the change lock.
    Locked = 8,
    /// The admin said no or broke off.
    Cancelled = 9,
}

/// The exit codes as the help shows them.
pub const EXIT_HELP: &str = "\
Exit codes:
  0  done (also: nothing to change)    6  unreachable or not authorised
  1  error                             7  timeout
  2  usage                             8  change lock held by somebody else
  4  refused by a check or a rule      9  cancelled
  5  partly (reads only, never a change)";

/// Whether anything was changed before it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Changed {
    /// Nothing was.
    #[default]
    No,
    /// It took effect.
    Yes,
    /// Can't be said now; the next session will see.
    Unknown,
}

/// Why an operation did not end well: one line, what to do, everything that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Everything that is wrong, where that is more than one sentence.
    pub problems: Vec<Problem>,
    /// Whether anything was changed.
    pub changed: Changed,
    /// The same order may go through if it is planned anew.
    pub again: bool,
}

impl Failure {
    /// A failure that changed nothing.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            problems: Vec::new(),
            changed: Changed::No,
            again: false,
        }
    }

    /// With the offer to plan the same anew.
    #[must_use]
    pub const fn again(mut self) -> Self {
        self.again = true;
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With everything that is wrong.
    #[must_use]
    pub fn problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// With whether anything was changed.
    #[must_use]
    pub const fn changed(mut self, changed: Changed) -> Self {
        self.changed = changed;
        self
    }

    /// The same, where something else had taken effect before: it does not say that nothing was changed.
    #[must_use]
    pub fn after_change(self) -> Self {
        let mut message = self.message;
        for end in [
            "; nothing was changed",
            ", nothing was changed",
            "; nothing of yours was done",
        ] {
            message = message.replace(end, "");
        }
        Self { message, ..self }.changed(Changed::Yes)
    }

    /// Cancelled before anything was changed.
    pub fn cancelled() -> Self {
        Self::new(Exit::Cancelled, "cancelled; nothing was changed")
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let exit = match &error {
            RemoteError::Fault { fault, .. } => match fault.code {
                Code::Refused | Code::Forbidden | Code::Invalid => Exit::Refused,
                Code::Locked => Exit::Locked,
                Code::Unsupported | Code::Unknown | Code::Failed | Code::Other => Exit::Error,
            },
            RemoteError::Protocol { .. } => Exit::Error,
            RemoteError::Unreachable { .. }
            | RemoteError::Timeout { .. }
            | RemoteError::HostKeyChanged { .. }
            | RemoteError::HostKeyUnknown { .. }
            | RemoteError::NotAuthorised { .. }
            | RemoteError::NoAgent { .. }
            | RemoteError::Closed { .. } => Exit::Unreachable,
        };
        let problems = error.fault().map_or_else(Vec::new, |f| f.problems.clone());
        let changed = match error.fault() {
            Some(fault) if fault.changed => Changed::Yes,
            _ => Changed::No,
        };
        let hint = error.hint();
        Self {
            exit,
            message: error.to_string(),
            hint,
            problems,
            changed,
            again: false,
        }
    }
}
