//! Nodes that an admin works on (F17). The document says which; the wall clock ends it, as it ends locks.
//!
//! What such a node carries is locked to it, which the document's locks do, or goes to another node. It still
//! takes over what would run nowhere else (F2): half-done work is better than no service. But nothing
//! returns to it by itself, and its alarms are quiet: shown, not asked about.

use crate::model::{Maintenance, NodeId};
use crate::time::Mono;

use super::Engine;
use super::alarms::Kind;
use super::links::Far;
use super::view::MaintenanceView;

impl Engine {
    /// What member `at` is in maintenance for.
    pub(super) fn maintenance_of(&self, at: usize, now: Mono) -> Option<&Maintenance> {
        let work = self.document.members.get(at)?.maintenance.as_ref()?;
        let over = self.wall(now).is_some_and(|wall| wall >= work.until);
        (!over).then_some(work)
    }

    /// Who gets service `i`, held here, because this node gives away what it carries: the first in its list
    /// that has room and is not worked on itself. Nobody: it stays.
    pub(super) fn heir_in_maintenance(&self, i: usize, now: Mono) -> Option<NodeId> {
        let work = self.maintenance_of(self.my, now).filter(|m| m.moves)?;
        if self.lock_of(i, now).is_some() || self.services[i].given_away == Some(work.at) {
            return None; // L1; and what came back since had nowhere else to be
        }
        let nodes = self.services[i].plan.nodes.iter();
        let heir = nodes.map(|n| usize::from(*n)).find(|&to| {
            to != self.my && self.maintenance_of(to, now).is_none() && self.can_take(to, i, now)
        });
        heir.map(|to| self.peers[to].id)
    }

    /// The member whose maintenance makes that alarm quiet. Never quiet: what no work on a node explains.
    pub(super) fn quieted_by(
        &self,
        kind: Kind,
        node: Option<u8>,
        service: Option<u16>,
        now: Mono,
    ) -> Option<usize> {
        let i = self.services.iter().position(|l| Some(l.id.0) == service);
        let of = match kind {
            Kind::Split | Kind::AliasTaken | Kind::Flapping => None,
            // It is away because its home is worked on.
            Kind::OnStandby => i.and_then(|i| self.services[i].plan.home),
            // It waits for the node that it is locked to.
            Kind::DownEverywhere => i.and_then(|i| self.lock_of(i, now)),
            // Either end explains it.
            Kind::LinkSilent(_, Far::One(far)) => {
                let ends = [node, Some(far)].into_iter().flatten();
                ends.min_by_key(|at| self.maintenance_of(usize::from(*at), now).is_none())
            }
            _ => node,
        };
        let at = usize::from(of?);
        self.maintenance_of(at, now).map(|_| at)
    }

    /// As shown with member `at`, and a sentence for people.
    pub(super) fn show_maintenance(
        &self,
        at: usize,
        now: Mono,
    ) -> Option<(MaintenanceView, String)> {
        let work = self.maintenance_of(at, now)?;
        let view = MaintenanceView {
            by: work.by.clone(),
            at: work.at,
            reason: work.reason.clone(),
            until: work.until,
            moves: work.moves,
        };
        let left = self.wall(now).map(|wall| work.until.saturating_sub(wall));
        let left = left.map_or_else(String::new, |s| format!(" in {} min", s.div_ceil(60)));
        let why = if work.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", work.reason)
        };
        let note = format!(
            "in maintenance by {}{why}; it ends by itself{left}",
            work.by
        );
        Some((view, note))
    }
}
