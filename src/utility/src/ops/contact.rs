//! Where SSH reaches a node once the address that it was added under moves with a service (C11).

use std::net::IpAddr;

use backstay_core::model::Alias;
use backstay_core::plan::{Consequence, ConsequenceKind, Plan};

use crate::remote::Contact;
use crate::remote::contacts::Contacts;

/// Points the contacts of nodes that were added under what becomes an alias to their base addresses:
/// an alias leads to wherever the service runs, the base to that machine.
pub fn follow_bases(plan: &mut Plan) {
    let Some(system) = &mut plan.system else {
        return;
    };
    for document in plan.documents.iter().filter(|d| !d.deleted) {
        let aliases: Vec<IpAddr> = document
            .services
            .iter()
            .flat_map(|s| s.aliases.iter().map(Alias::ip))
            .collect();
        for member in &document.members {
            let node = system.nodes.iter_mut().find(|n| n.id == member.id);
            let (Some(node), Some(base)) = (node, member.bases.first()) else {
                continue;
            };
            let Ok(contact) = node.contact.parse::<Contact>() else {
                continue;
            };
            let is_alias = contact
                .host
                .parse()
                .is_ok_and(|ip: IpAddr| aliases.contains(&ip));
            if is_alias {
                let new = Contact {
                    host: base.addr().to_string(),
                    ..contact
                };
                node.contact = new.to_string();
                plan.consequences.push(Consequence {
                    kind: ConsequenceKind::Note,
                    sentence: format!(
                        "SSH reaches {} at its base {new} from now on: its old address moves with the service",
                        node.name
                    ),
                });
            }
        }
    }
}

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
