//! What this machine remembers follows the system document: a node that was added under an address that
//! has become an alias is reached at its base (C11, the plan's doing).

use backstay_core::plan::Plan;

use crate::remote::contacts::Contacts;

/// Brings what this machine remembers up to the new system document; whether anything was changed.
pub fn remember(plan: &Plan, contacts: &mut Contacts) -> bool {
    let mut changed = false;
    for node in plan.system.iter().flat_map(|s| &s.nodes) {
        let known = contacts
            .nodes
            .iter_mut()
            .find(|n| n.name == node.name.as_str());
        if let Some(known) = known
            && known.contact != node.contact
        {
            known.contact.clone_from(&node.contact);
            changed = true;
        }
    }
    changed
}
