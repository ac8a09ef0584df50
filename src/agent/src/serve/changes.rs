//! U8: one session at a time changes documents.

use std::sync::{Mutex, PoisonError};

use backstay_wire::rpc::{Code, Fault};

use crate::fault::fault;

/// Who holds the lock.
#[derive(Clone, Debug)]
struct Owner {
    session: u64,
    user: String,
    from: String,
    what: String,
    /// ms since 1970 UTC.
    since: u64,
}

/// The change lock of this node.
#[derive(Debug, Default)]
pub(super) struct ChangeLock(Mutex<Option<Owner>>);

impl ChangeLock {
    /// Takes it for a session; whether it was free before.
    pub(super) fn take(
        &self,
        session: u64,
        (user, from): (&str, &str),
        what: &str,
        now_ms: u64,
    ) -> Result<bool, Fault> {
        let mut owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*owner {
            Some(owner) if owner.session != session => return Err(locked(owner, now_ms)),
            Some(_) => return Ok(false),
            None => {}
        }
        *owner = Some(Owner {
            session,
            user: user.to_owned(),
            from: from.to_owned(),
            what: what.to_owned(),
            since: now_ms,
        });
        Ok(true)
    }

    /// Gives it back; whether this session had it.
    pub(super) fn give_back(&self, session: u64) -> bool {
        let mut owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let had = owner.as_ref().is_some_and(|o| o.session == session);
        if had {
            *owner = None;
        }
        had
    }

    /// Nobody else has it.
    pub(super) fn not_others(&self, session: u64, now_ms: u64) -> Result<(), Fault> {
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*owner {
            Some(owner) if owner.session != session => Err(locked(owner, now_ms)),
            _ => Ok(()),
        }
    }

    /// This session has it.
    pub(super) fn is_mine(&self, session: u64, now_ms: u64) -> Result<(), Fault> {
        self.not_others(session, now_ms)?;
        let owner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*owner {
            Some(_) => Ok(()),
            None => Err(fault(
                Code::Locked,
                "this session does not hold the change lock: take it first (lock)",
            )),
        }
    }
}

fn locked(owner: &Owner, now_ms: u64) -> Fault {
    let seconds = now_ms.saturating_sub(owner.since) / 1000;
    fault(
        Code::Locked,
        format!(
            "{} (from {}) holds the change lock of this node for {seconds} s: {}",
            owner.user, owner.from, owner.what
        ),
    )
}
