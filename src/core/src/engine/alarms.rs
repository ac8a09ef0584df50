//! What needs a human (M1, M2): raised and cleared by condition, kept after clearing.

use core::time::Duration;

use crate::model::{ClusterDocument, KeyStage, NodeId, RuleId};
use crate::time::{Mono, span};

use super::Engine;
use super::beat::phase;
use super::lifecycle::Phase;
use super::links::{self, Far};
use super::places::Places;
use super::speak::Fetching;
use super::view::{AlarmView, NodeState, ServiceState, Severity};

/// Most alarms that are kept.
const KEPT: usize = 200;
/// An exchange of the keys takes seconds; one that takes longer than this was broken off.
const KEY_EXCHANGE: Duration = Duration::from_mins(1);

/// The kinds of alarm. Places are those of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    OnStandby,
    Flapping,
    Split,
    NodeDown,
    StandbyDown,
    DownEverywhere,
    StartFailed,
    AliasTaken,
    Stuck,
    ProtectionLost,
    GateRestored,
    AliasRestored,
    DiskBad,
    LinkDown,
    ClockLoose,
    ClocksDiffer,
    /// A6: that link, or every one.
    LinkSilent(Option<u8>, Far),
    Differs,
    Incompatible,
    KeysUnfinished,
}

#[derive(Clone, Copy, Debug)]
struct Alarm {
    kind: Kind,
    node: Option<u8>,
    service: Option<u16>,
    since: Mono,
    count: u32,
    active: bool,
}

/// All alarms of this node's view.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarms {
    kept: Vec<Alarm>,
    /// What holds now; kept for its room, which is filled anew with each beat.
    conditions: Vec<Condition>,
}

pub(super) type Condition = (Kind, Option<u8>, Option<u16>);

impl Alarms {
    /// Raises and clears by what holds now; answers what changed.
    fn set(&mut self, conditions: &[Condition], now: Mono) -> Vec<(Condition, bool)> {
        let mut changed = Vec::new();
        for alarm in self.kept.iter_mut().filter(|a| a.active) {
            let is = (alarm.kind, alarm.node, alarm.service);
            if !conditions.contains(&is) {
                alarm.active = false;
                changed.push((is, false));
            }
        }
        for &(kind, node, service) in conditions {
            let same = |a: &&mut Alarm| (a.kind, a.node, a.service) == (kind, node, service);
            match self.kept.iter_mut().find(same) {
                Some(alarm) if alarm.active => {}
                Some(alarm) => {
                    alarm.active = true;
                    alarm.since = now;
                    alarm.count += 1;
                    changed.push(((kind, node, service), true));
                }
                None => {
                    if self.kept.len() >= KEPT {
                        let old = self.kept.iter().position(|a| !a.active).unwrap_or(0);
                        self.kept.remove(old);
                    }
                    self.kept.push(Alarm {
                        kind,
                        node,
                        service,
                        since: now,
                        count: 1,
                        active: true,
                    });
                    changed.push(((kind, node, service), true));
                }
            }
        }
        changed
    }

    /// Everybody into their new places. Answers what is over because whoever it was about is gone.
    fn follow(&mut self, places: &Places, new: &ClusterDocument) -> Vec<Alarm> {
        let there = |service: &u16| new.services.iter().any(|s| s.id.0 == *service);
        let mut over = Vec::new();
        self.kept.retain_mut(|alarm| {
            let was = *alarm;
            let stays = alarm.follow(places).is_some() && was.service.as_ref().is_none_or(there);
            if !stays && was.active {
                over.push(Alarm {
                    active: false,
                    ..was
                });
            }
            stays
        });
        over
    }
}

impl Alarm {
    /// None: a member that it is about is gone.
    fn follow(&mut self, places: &Places) -> Option<()> {
        if let Some(at) = &mut self.node {
            *at = places.of_member(*at)?;
        }
        if let Kind::LinkSilent(_, Far::One(far)) = &mut self.kind {
            *far = places.of_member(*far)?;
            // The earlier member first.
            if let Some(one) = self.node.as_mut().filter(|one| **one > *far) {
                core::mem::swap(one, far);
            }
        }
        Some(())
    }
}

fn view(alarm: &Alarm, document: &ClusterDocument, now: Mono) -> AlarmView {
    let node = alarm
        .node
        .and_then(|n| document.members.get(usize::from(n)))
        .map(|m| m.name.clone());
    let service = alarm
        .service
        .and_then(|s| document.services.iter().find(|x| x.id.0 == s));
    let service = service.map(|s| s.name.clone());
    let n = node.as_ref().map_or("?", |n| n.as_str());
    let s = service.as_ref().map_or("?", |s| s.as_str());
    let (id, severity, rule, mut cause, mut action) = describe(alarm.kind, n, s);
    if let Kind::LinkSilent(link, far) = alarm.kind {
        (cause, action) = links::describe(document, alarm.node, link, far);
    }
    if alarm.kind == Kind::ClocksDiffer {
        cause = format!("{cause} by more than {}", span(document.clocks_within()));
    }
    AlarmView {
        id: id.to_owned(),
        severity,
        node,
        service,
        rule: RuleId::of(rule),
        cause,
        action,
        age_ms: u64::try_from(now.since(alarm.since).as_millis()).unwrap_or(u64::MAX),
        count: alarm.count,
        active: alarm.active,
        quiet: false,
    }
}

fn describe(
    kind: Kind,
    n: &str,
    s: &str,
) -> (&'static str, Severity, &'static str, String, String) {
    use Severity::{Critical, Major, Minor, Warning};
    let status = "see `backstay status`";
    match kind {
        Kind::OnStandby => (
            "service-on-standby",
            Minor,
            "M2",
            format!("{s} runs on {n}, not at home"),
            format!("mend its home, then `backstay service move {s} --to home`"),
        ),
        Kind::Flapping => (
            "flapping",
            Major,
            "F10",
            format!("{s} keeps moving; it stays on {n} and does not return home by itself for now"),
            format!(
                "find out why its home fails (`backstay history {s}`), then `backstay service move {s} --to home`"
            ),
        ),
        Kind::Split => (
            "split",
            Critical,
            "S1",
            format!("{s} runs on two nodes"),
            "mend the network between them; one stops by itself".to_owned(),
        ),
        Kind::NodeDown => (
            "node-down",
            Major,
            "F1",
            format!("{n} is not heard"),
            bring_back(n),
        ),
        Kind::StandbyDown => (
            "standby-down",
            Critical,
            "M2",
            format!("the standby {n} is not heard: nothing can fail over"),
            bring_back(n),
        ),
        Kind::DownEverywhere => (
            "service-down",
            Critical,
            "M2",
            format!("{s} runs nowhere"),
            status.to_owned(),
        ),
        Kind::StartFailed => (
            "service-failed",
            Critical,
            "F13",
            format!("{s} could not be started or has ended on {n}"),
            format!("on {n}: `systemctl status` and `journalctl` of its units"),
        ),
        Kind::AliasTaken => (
            "alias-in-use",
            Critical,
            "A2",
            format!("equipment outside the cluster uses the alias address of {s}"),
            "find it by its hardware address and take the address off it".to_owned(),
        ),
        Kind::Stuck => (
            "stop-failed",
            Critical,
            "F14",
            format!("{s} could not be stopped on {n}, not even by KILL; its alias is closed there"),
            format!("look at {n}; a reboot ends it"),
        ),
        Kind::ProtectionLost => (
            "protection-lost",
            Critical,
            "S5",
            format!(
                "the kernel's gate can't be set on {n}: what runs there goes on, but an agent that hangs would not close its alias, and {n} takes nothing over"
            ),
            format!(
                "on {n}: is the package nftables installed? See `nft list ruleset` and `journalctl -u backstay-agent`"
            ),
        ),
        Kind::GateRestored => (
            "gate-restored",
            Major,
            "S5",
            format!(
                "protection was lost on {n}: another program removed or changed Backstay's packet filter rules; they are restored"
            ),
            format!(
                "find out which: `backstay history` says when; a firewall on {n} should load tables of its own and not flush the whole ruleset"
            ),
        ),
        Kind::AliasRestored => (
            "alias-restored",
            Minor,
            "A3",
            format!("another program put up or removed alias addresses on {n}; that was put right"),
            format!(
                "find out which: `backstay history` says when; no network manager on {n} may have the alias in its configuration"
            ),
        ),
        Kind::DiskBad => (
            "disk",
            Major,
            "F15",
            format!(
                "the state folder of {n} can't be written; services go on, changes are refused"
            ),
            format!("make room in /var/lib/backstay and /run on {n}"),
        ),
        Kind::LinkDown => (
            "link-down",
            Major,
            "A6",
            format!("the link of {n} has no carrier"),
            format!("look at the cabling of {n}"),
        ),
        Kind::ClocksDiffer => (
            "clocks-differ",
            Warning,
            "C10",
            format!("the clock of {n} differs from the others'"),
            format!(
                "on {n}: `timedatectl`; locks and maintenance may end there at another moment than elsewhere"
            ),
        ),
        Kind::ClockLoose => (
            "clock",
            Warning,
            "C10",
            format!("the clock of {n} is not kept by NTP"),
            format!("on {n}: `timedatectl set-ntp true`"),
        ),
        Kind::LinkSilent(..) => ("beat-link", Minor, "A6", String::new(), String::new()),
        Kind::Differs => (
            "configuration-differs",
            Warning,
            "M2",
            format!("{n} has another revision of the configuration"),
            "it catches up by itself; if it does not, see `backstay node show`".to_owned(),
        ),
        Kind::Incompatible => (
            "incompatible-agent",
            Critical,
            "M2",
            format!(
                "incompatible agent version on {n}: what it says is not understood here, so it counts as down"
            ),
            format!("give all nodes one version: `backstay node upgrade {n}`"),
        ),
        Kind::KeysUnfinished => (
            "key-rotation",
            Warning,
            "PROTOCOL 3",
            "keys: rotation begun, not finished".to_owned(),
            "`backstay key rotate` goes on from there".to_owned(),
        ),
    }
}

impl Engine {
    /// All alarms, the worst first.
    pub(super) fn view_alarms(&self, now: Mono) -> Vec<AlarmView> {
        let mut views: Vec<_> = (self.alarms.kept.iter())
            .map(|a| self.view_alarm(a, now))
            .collect();
        views.sort_by_key(|v| (!v.active, core::cmp::Reverse(v.severity), v.age_ms));
        views
    }

    fn view_alarm(&self, alarm: &Alarm, now: Mono) -> AlarmView {
        let mut shown = view(alarm, &self.document, now);
        if let Some(at) = self.quieted_by(alarm.kind, alarm.node, alarm.service, now) {
            let node = &self.document.members[at].name;
            shown.quiet = true;
            shown.severity = Severity::Warning;
            shown.cause = format!("{} (quiet: {node} is in maintenance)", shown.cause);
        }
        shown
    }

    /// Once a beat: raises and clears, and records what changed.
    pub(super) fn refresh_alarms(&mut self, now: Mono) {
        if self.my == usize::MAX {
            return;
        }
        let mut conditions = core::mem::take(&mut self.alarms.conditions);
        conditions.clear();
        self.watch_links(now);
        self.node_conditions(&mut conditions, now);
        self.link_conditions(&mut conditions);
        self.service_conditions(&mut conditions, now);
        if self.document.key_stage() != KeyStage::Settled && now.since(self.adopted) >= KEY_EXCHANGE
        {
            conditions.push((Kind::KeysUnfinished, None, None));
        }
        let changed = self.alarms.set(&conditions, now);
        self.alarms.conditions = conditions;
        for ((kind, node, service), raised) in changed {
            let alarm = Alarm {
                kind,
                node,
                service,
                since: now,
                count: 1,
                active: raised,
            };
            self.record_alarm(&alarm, now);
        }
    }

    /// A new document is about to hold: alarms go with their members.
    pub(super) fn move_alarms(&mut self, places: &Places, new: &ClusterDocument, now: Mono) {
        for alarm in self.alarms.follow(places, new) {
            self.record_alarm(&alarm, now);
        }
    }

    /// Its beginning or its end.
    fn record_alarm(&mut self, alarm: &Alarm, now: Mono) {
        // Whether it is quiet (F17) may differ at its end, which is found by the same words.
        let shown = view(alarm, &self.document, now);
        let word = if alarm.active { "alarm" } else { "alarm over" };
        let sentence = format!("{word}: {}", shown.cause);
        let mut services = self.services.iter();
        let i = services.position(|l| Some(l.id.0) == alarm.service);
        self.record(i, shown.rule, sentence, None, None, now);
    }

    /// A beat of a format that is not read here came in that node's name. Unverified: it only names the reason why a
    /// node is not heard (M2).
    pub fn handle_foreign(&mut self, from: NodeId, now: Mono) {
        let bounds = self.bounds;
        let peer = self.peers.iter_mut().find(|p| p.id == from);
        if let Some(peer) = peer.filter(|p| !p.is_up(bounds, now)) {
            peer.foreign = Some(now);
        }
    }

    fn node_conditions(&self, conditions: &mut Vec<Condition>, now: Mono) {
        use crate::model::Role;
        let wrong_clocks = self.wrong_clocks(now);
        // A commit reaches all within a beat or two: only what lasts is worth a word.
        let settled = now.since(self.adopted) > self.bounds.down;
        let mut behind = false;
        for (at, member) in self.document.members.iter().enumerate() {
            let mut raise = |kind| conditions.push((kind, Some(at as u8), None));
            let flags = if at == self.my {
                self.host.flags(now)
            } else {
                let peer = &self.peers[at];
                let never = peer.heard.is_none() && now.since(self.started) < self.bounds.down * 2;
                match self.peers[at].state(self.bounds, now) {
                    NodeState::Down | NodeState::Unknown if peer.is_foreign(self.bounds, now) => {
                        raise(Kind::Incompatible);
                        continue;
                    }
                    NodeState::Down | NodeState::Unknown if never => continue,
                    NodeState::Down | NodeState::Unknown => {
                        raise(if member.role == Role::Standby {
                            Kind::StandbyDown
                        } else {
                            Kind::NodeDown
                        });
                        continue;
                    }
                    _ => {}
                }
                let theirs = (peer.last.revision, peer.last.hash);
                let mine = (self.document.revision, self.hash);
                if theirs < mine && settled {
                    raise(Kind::Differs);
                }
                behind |= theirs > mine;
                peer.last.host
            };
            for (set, kind) in [
                (flags.gate_lost, Kind::ProtectionLost),
                (flags.gate_restored, Kind::GateRestored),
                (flags.alias_restored, Kind::AliasRestored),
                (flags.disk_bad, Kind::DiskBad),
                (flags.clock_loose, Kind::ClockLoose),
                (wrong_clocks & (1 << at) != 0, Kind::ClocksDiffer),
                (flags.link_down, Kind::LinkDown),
            ] {
                if set {
                    raise(kind);
                }
            }
        }
        let long = |f: Fetching| now.since(f.since) > self.bounds.down;
        if behind && self.fetch.is_some_and(long) {
            conditions.push((Kind::Differs, Some(self.my as u8), None));
        }
    }

    fn service_conditions(&self, conditions: &mut Vec<Condition>, now: Mono) {
        for (i, local) in self.services.iter().enumerate() {
            let id = Some(local.id.0);
            let seen = self.see_service(i, now);
            match seen.state {
                ServiceState::Split => conditions.push((Kind::Split, None, id)),
                ServiceState::Displaced => conditions.push((Kind::DownEverywhere, None, id)),
                ServiceState::Failed => match seen.running_on.first() {
                    Some(place) => conditions.push((Kind::StartFailed, Some(*place), id)),
                    None => conditions.push((Kind::DownEverywhere, None, id)),
                },
                ServiceState::Blocked => conditions.push((Kind::AliasTaken, None, id)),
                _ => {}
            }
            if let [one] = seen.running_on.as_slice()
                && Some(*one) != local.plan.home
            {
                conditions.push((Kind::OnStandby, Some(*one), id));
                if self.is_kept_away(i, &seen, now) {
                    conditions.push((Kind::Flapping, Some(*one), id));
                }
            }
            let stuck = seen
                .on
                .iter()
                .filter(|(_, code)| *code == Some(phase::STUCK));
            conditions.extend(stuck.map(|(place, _)| (Kind::Stuck, Some(*place), id)));
            let here = (Kind::Stuck, Some(self.my as u8), id);
            if local.phase == Phase::Stuck && !conditions.contains(&here) {
                conditions.push(here);
            }
        }
    }
}

/// A node that may be dead for good (C16).
fn bring_back(node: &str) -> String {
    format!(
        "look at {node}: power, network, `systemctl status backstay-agent`; if it is lost, `backstay node replace {node} --with HOST`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    #[test]
    fn a6_a_silent_link_keeps_its_two_ends_in_their_new_places() {
        let old = fixture::cluster();
        let mut new = old.clone();
        new.members.swap(0, 3);
        let mut alarms = Alarms::default();
        let silent = |one, other| (Kind::LinkSilent(None, Far::One(other)), Some(one), None);
        alarms.set(&[silent(0, 1)], Mono(0));
        assert!(alarms.follow(&Places::new(&old, &new), &new).is_empty());
        // The earlier member comes first, as conditions have it.
        assert!(alarms.set(&[silent(1, 3)], Mono(1)).is_empty(), "no other");
    }
}
