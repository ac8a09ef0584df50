//! U11: who may look and change nothing.

use super::draft::Draft;
use super::know::refusal;
use super::{ConsequenceKind, Plan};
use crate::model::{Problem, SystemViewer};

pub(super) fn add(mut draft: Draft<'_>, name: &str, key: &str) -> Result<Plan, Vec<Problem>> {
    let viewers = &draft.now.system.viewers;
    let known = viewers.iter().find(|v| v.name == name);
    if known.is_some_and(|v| v.key == key) {
        return draft.unchanged(format!("{name} may look already, with this key"));
    }
    draft.say(ConsequenceKind::Outage, "none: no service is touched");
    if known.is_some() {
        draft.say(
            ConsequenceKind::Irreversible,
            format!("the former key of {name} lets nobody in any more"),
        );
    }
    draft.say(
        ConsequenceKind::Note,
        format!(
            "{name} may see status, history, alarms and the audit of every node, without secrets, and change nothing; \
             every try is in the audit"
        ),
    );
    draft.say(
        ConsequenceKind::Note,
        "the key is put on every node for the user backstay-viewer, who is made where there is none; it opens no \
         shell, no forwarding and no file transfer"
            .to_owned(),
    );
    let new = SystemViewer {
        name: name.to_owned(),
        key: key.to_owned(),
        by: draft.now.by.to_owned(),
        at: draft.now.wall,
    };
    draft.system(|s| {
        s.viewers.retain(|v| v.name != new.name);
        s.viewers.push(new);
        s.viewers.sort_by(|a, b| a.name.cmp(&b.name));
    });
    draft.done()
}

pub(super) fn remove(mut draft: Draft<'_>, name: &str) -> Result<Plan, Vec<Problem>> {
    let viewers = &draft.now.system.viewers;
    if !viewers.iter().any(|v| v.name == name) {
        let names: Vec<&str> = viewers.iter().map(|v| v.name.as_str()).collect();
        let mend = if names.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there is: {}", names.join(", "))
        };
        draft.refused.push(refusal(
            "U11",
            format!("viewer {name}"),
            "nobody of that name may look",
            mend,
        ));
        return Err(draft.refused);
    }
    draft.say(ConsequenceKind::Outage, "none: no service is touched");
    draft.say(
        ConsequenceKind::Note,
        format!(
            "the key of {name} lets nobody in any more; a session that is open now goes on until it ends"
        ),
    );
    draft.system(|s| s.viewers.retain(|v| v.name != name));
    draft.done()
}
