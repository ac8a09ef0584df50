//! Looking after what others may have changed: addresses (A3, A4), links, the gate.

use std::net::IpAddr;
use std::time::Duration;

use backstay_core::engine::{HostEvent, Presence};
use backstay_core::model::ClusterId;
use ipnet::IpNet;

use super::decider::Decider;
use super::effects::may_say;

/// How often addresses and links are looked at though nothing was told.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the gate is verified though nothing was told.
const VERIFY_EVERY: Duration = Duration::from_secs(10);
/// How often it is tried again to restore one that is lost.
const MEND_EVERY: Duration = Duration::from_secs(1);

impl Decider {
    pub(super) fn take_happened(&mut self) {
        let happened = self.hands.happened();
        if happened.gate {
            self.verify_gate();
        }
        if happened.network {
            self.look();
        }
    }

    pub(super) fn upkeep(&mut self) {
        let now = self.hands.now();
        if now >= self.look_at {
            self.look();
        }
        if now >= self.gate_at {
            self.verify_gate();
        }
    }

    /// Compares the machine with what the engines decided, and tells them.
    pub(super) fn look(&mut self) {
        let now = self.hands.now();
        self.look_at = now.after(LOOK_EVERY);
        if self.clusters.is_empty() && self.staged.is_empty() {
            return;
        }
        let mut there = core::mem::take(&mut self.there);
        match self.hands.addresses(&mut there) {
            Ok(()) => self.compare(&there),
            Err(error) => {
                if may_say(&mut self.failed_said, "look", now) {
                    tracing::error!("the addresses of this machine can't be read: {error:#}");
                }
            }
        }
        self.there = there;
    }

    fn compare(&mut self, there: &[IpAddr]) {
        self.mend_bases(there);
        let mut at = 0;
        while let Some(id) = self.cluster_at(at) {
            at += 1;
            self.tell_link(id);
            for place in 0.. {
                let Some(cluster) = self.clusters.get(&id) else {
                    break;
                };
                let Some(service) = cluster.services_here().nth(place).map(|s| s.id) else {
                    break;
                };
                let aliases = cluster.paper.alias_ips(service);
                if aliases.is_empty() {
                    continue;
                }
                let present = aliases.iter().filter(|alias| there.contains(alias));
                let present = match present.count() {
                    0 => Presence::None,
                    n if n == aliases.len() => Presence::All,
                    _ => Presence::Some,
                };
                let event = HostEvent::AliasPresent { service, present };
                self.drive(id, |engine, now| engine.handle_host(event, now));
            }
        }
    }

    /// The base address stays with the node, whatever its network configuration says.
    fn mend_bases(&mut self, there: &[IpAddr]) {
        let present = self.clusters.values().map(|c| &c.paper);
        let papers = present.chain(self.staged.values().map(|b| &b.paper));
        let Some(me) = self.me.as_ref().map(|me| me.id) else {
            return;
        };
        let missing: Vec<IpNet> = papers
            .filter_map(|paper| paper.document.member_by_id(me))
            .flat_map(|member| member.bases.iter().copied())
            .filter(|base| !there.contains(&base.addr()))
            .collect();
        for base in missing {
            let now = self.hands.now();
            match self.hands.add_base(base) {
                Ok(()) => {
                    tracing::info!("base address {base} was missing; put on");
                    // Another machine may have had it a moment ago (C16).
                    for reply_form in [false, true] {
                        if let Err(error) = self.hands.announce(&[base], reply_form) {
                            tracing::warn!("can't announce {base}: {error:#}");
                        }
                    }
                }
                Err(error) if may_say(&mut self.failed_said, "base", now) => {
                    tracing::error!(
                        "base address {base} is missing and can't be put on: {error:#}"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// The link of the aliases is that of the main base (C5).
    fn tell_link(&mut self, id: ClusterId) {
        let main = self.clusters.get(&id).and_then(|c| c.paper.mine.first());
        let Some(main) = main.copied() else { return };
        // What can't be read is no news: a link that is taken for lost gives services away.
        let Ok(up) = self.hands.carrier(main.ip()) else {
            return;
        };
        let up = up.unwrap_or(false);
        let Some(cluster) = self.clusters.get_mut(&id) else {
            return;
        };
        if cluster.carrier.replace(up) != Some(up) {
            let event = HostEvent::Link { up };
            self.drive(id, |engine, now| engine.handle_host(event, now));
        }
    }

    /// Restores a gate that others changed. The engines renew at once what they hold: the slots went with it.
    fn verify_gate(&mut self) {
        let now = self.hands.now();
        self.gate_at = now.after(VERIFY_EVERY);
        if self.clusters.is_empty() {
            return;
        }
        match self.hands.mend_gate() {
            Ok(None) => self.tell_gate(true),
            Ok(Some(wrong)) => {
                let took = self.hands.now().since(now);
                tracing::error!("S5: the gate was changed ({wrong}); restored in {took:?}");
                self.drive_all(|engine, now| {
                    engine.handle_host(HostEvent::GateRestored { took }, now);
                });
                self.tell_gate(true);
            }
            Err(error) => {
                if may_say(&mut self.failed_said, "verify", now) {
                    tracing::error!("S5: no protection: the gate can't be restored: {error:#}");
                }
                self.gate_at = now.after(MEND_EVERY);
                self.tell_gate(false);
            }
        }
    }

    fn tell_gate(&mut self, intact: bool) {
        let event = HostEvent::Gate { intact };
        self.machine.gate = Some(event);
        self.drive_all(|engine, now| engine.handle_host(event, now));
    }
}
