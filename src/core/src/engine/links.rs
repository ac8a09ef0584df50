//! A6: which links beats come over, and what a link without carrier means.
//!
//! A link is silent between two nodes that hear each other on another one. Every node says which links it
//! misses of whom, so each has the whole picture and all tell the same: one alarm for one thing that is broken.

use core::time::Duration;

use arrayvec::ArrayVec;

use crate::model::{ClusterDocument, MAX_MEMBERS, Member, NodeId};
use crate::time::Mono;

use super::Engine;
use super::alarms::{Condition, Kind};
use super::beat::SilentLinks;

/// Most links that beats use: the first of a node's base addresses.
pub const MAX_LINKS: usize = 4;
/// How long the link of the aliases may be without carrier before another node is given what needs it.
pub(super) const CARRIER_LOST: Duration = Duration::from_secs(1);
/// More silent pairs than this on one link are told as one.
const FEW_PAIRS: usize = 3;

/// A bit for each silent link of a pair, the earlier member first.
type Pairs = [[u8; MAX_MEMBERS]; MAX_MEMBERS];

/// Where a silent link leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Far {
    /// To that member.
    One(u8),
    /// To every other that has this link.
    All,
    /// Between several, without order.
    Several,
}

/// What is silent, told only once it has been the same for a while: nodes notice one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkWatch {
    seen: Pairs,
    since: Mono,
    told: Pairs,
    told_at: Mono,
}

impl LinkWatch {
    /// Members go by place: with others in their places nothing is known yet.
    pub(super) fn keep(&mut self, old: &ClusterDocument, new: &ClusterDocument) {
        let ids = |d: &ClusterDocument| d.members.iter().map(|m| m.id).collect::<Vec<_>>();
        if ids(old) != ids(new) {
            *self = Self::default();
        }
    }
}

/// The links that two nodes share, a bit for each.
fn shared(one: &Member, other: &Member) -> u8 {
    let pairs = one.bases.iter().zip(&other.bases).take(MAX_LINKS);
    let same = pairs.map(|(a, b)| a.addr().is_ipv4() == b.addr().is_ipv4());
    same.enumerate()
        .fold(0, |bits, (link, is)| bits | u8::from(is) << link)
}

impl Engine {
    /// The links that this node shares with member `at` and does not hear it on.
    fn misses(&self, at: usize, now: Mono) -> u8 {
        let members = &self.document.members;
        let both = shared(&members[self.my], &members[at]);
        let new = now.since(self.started) < self.bounds.down * 2;
        if both.count_ones() < 2 || (new && self.peers[at].heard.is_none()) {
            return 0;
        }
        let late = |link: &usize| match self.peers[at].links[*link] {
            Some(heard) => now.since(heard) >= self.bounds.down,
            None => !new,
        };
        let links = (0..MAX_LINKS).filter(|link| both & 1 << link != 0);
        links.filter(late).fold(0, |bits, link| bits | 1 << link)
    }

    /// What this node says of it.
    pub(super) fn speak_of_links(&self, said: &mut ArrayVec<SilentLinks, MAX_MEMBERS>, now: Mono) {
        said.clear();
        if self.my == usize::MAX {
            return;
        }
        for at in self.others() {
            let links = self.misses(at, now);
            if links != 0 {
                let node = self.peers[at].id;
                said.push(SilentLinks { node, links });
            }
        }
    }

    /// Once a beat: takes in what this node and the others miss.
    pub(super) fn watch_links(&mut self, now: Mono) {
        let mut seen = Pairs::default();
        let mut miss = |one: usize, other: usize, links: u8| {
            // A main link without carrier has an alarm of its own.
            let told = self.is_unplugged(one) || self.is_unplugged(other);
            seen[one.min(other)][one.max(other)] |= links & !u8::from(told);
        };
        for at in self.others().filter(|at| self.is_here(*at, now)) {
            miss(self.my, at, self.misses(at, now));
            for SilentLinks { node, links } in &self.peers[at].last.silent_links {
                // Of itself it is told by what this node hears, and by what it says of this node.
                let whom = self.place_of(*node).filter(|whom| *whom != at);
                if let Some(whom) = whom.filter(|whom| self.is_here(*whom, now)) {
                    let members = &self.document.members;
                    miss(at, whom, links & shared(&members[at], &members[whom]));
                }
            }
        }
        let watch = &mut self.links;
        if watch.seen != seen {
            watch.seen = seen;
            watch.since = now;
        }
        // What never comes to rest is told all the same, now and then.
        let (rest, longest) = (self.bounds.down, self.bounds.down * 10);
        if now.since(watch.since) >= rest || now.since(watch.told_at) >= longest {
            watch.told = watch.seen;
            watch.told_at = now;
        }
    }

    fn is_unplugged(&self, at: usize) -> bool {
        if at == self.my {
            !self.host.link_up()
        } else {
            self.peers[at].last.host.link_down
        }
    }

    fn is_here(&self, at: usize, now: Mono) -> bool {
        at == self.my || self.peers[at].is_up(self.bounds, now)
    }

    fn place_of(&self, node: NodeId) -> Option<usize> {
        self.document.members.iter().position(|m| m.id == node)
    }

    /// One alarm for each thing that is broken: a link everywhere, a node's link, a link between two.
    pub(super) fn link_conditions(&self, conditions: &mut Vec<Condition>) {
        let members = &self.document.members;
        let mut left = self.links.told;
        for one in 0..members.len() {
            for other in one + 1..members.len() {
                let both = shared(&members[one], &members[other]);
                if both != 0 && left[one][other] == both {
                    left[one][other] = 0;
                    let kind = Kind::LinkSilent(None, Far::One(other as u8));
                    conditions.push((kind, Some(one as u8), None));
                }
            }
        }
        for link in 0..MAX_LINKS {
            let mut raise = |node: Option<usize>, far| {
                let kind = Kind::LinkSilent(Some(link as u8), far);
                conditions.push((kind, node.map(|n| n as u8), None));
            };
            let silent = left.iter().flatten().any(|bits| bits & 1 << link != 0);
            if silent {
                self.group(link, &left, &mut raise);
            }
        }
    }

    /// What is silent on one link, in as few words as it takes.
    fn group(&self, link: usize, silent: &Pairs, raise: &mut impl FnMut(Option<usize>, Far)) {
        let members = &self.document.members;
        let bit = 1 << link;
        let is_silent = |a: usize, b: usize| silent[a.min(b)][a.max(b)] & bit != 0;
        // Silent, and not silent, of those that share the link with it.
        let count = |one: usize| {
            let others = (0..members.len()).filter(|other| {
                *other != one && shared(&members[one], &members[*other]) & bit != 0
            });
            others.fold((0_usize, 0_usize), |(silent, not), other| {
                if is_silent(one, other) {
                    (silent + 1, not)
                } else {
                    (silent, not + 1)
                }
            })
        };
        let counts: ArrayVec<_, MAX_MEMBERS> = (0..members.len()).map(count).collect();
        let cut_off = |one: &usize| counts[*one].0 >= 2 && counts[*one].1 == 0;
        if counts.iter().all(|(_, not)| *not == 0) && (0..members.len()).any(|n| cut_off(&n)) {
            raise(None, Far::All);
            return;
        }
        for one in (0..members.len()).filter(cut_off) {
            raise(Some(one), Far::All);
        }
        let mut pairs = ArrayVec::<(usize, usize), { FEW_PAIRS + 1 }>::new();
        for one in (0..members.len()).filter(|n| !cut_off(n)) {
            for other in (one + 1..members.len()).filter(|n| !cut_off(n)) {
                if is_silent(one, other) && !pairs.is_full() {
                    pairs.push((one, other));
                }
            }
        }
        if pairs.len() > FEW_PAIRS {
            raise(None, Far::Several);
            return;
        }
        for (one, other) in pairs {
            raise(Some(one), Far::One(other as u8));
        }
    }

    /// The link of the aliases has been without carrier for too long.
    pub(super) fn has_no_carrier(&self, now: Mono) -> bool {
        let since = self.host.link_down_since;
        since.is_some_and(|at| now.since(at) >= CARRIER_LOST)
    }
}

/// Cause and what to do.
pub(super) fn describe(
    document: &ClusterDocument,
    node: Option<u8>,
    link: Option<u8>,
    far: Far,
) -> (String, String) {
    let member = |at: u8| document.members.get(usize::from(at));
    let name = |at: u8| member(at).map_or("?", |m| m.name.as_str());
    let Some(link) = link else {
        let (one, other) = match (node, far) {
            (Some(one), Far::One(other)) => (name(one), name(other)),
            _ => ("?", "?"),
        };
        return (
            format!("{one} and {other} hear each other on no link; other nodes hear both"),
            format!("look at the networks between {one} and {other}"),
        );
    };
    let number = link + 1;
    let address = |at: u8| {
        let base = member(at).and_then(|m| m.bases.get(usize::from(link)));
        base.map_or_else(|| name(at).to_owned(), |b| b.addr().to_string())
    };
    match (node, far) {
        (Some(one), Far::One(other)) => (
            format!("{}: link {number} to {} is silent", name(one), name(other)),
            format!(
                "look at the network between {} and {}; beats go on over another link",
                address(one),
                address(other)
            ),
        ),
        (Some(one), _) => (
            format!("{}: link {number} is silent", name(one)),
            format!(
                "look at the cable and the address {} of {}; beats go on over another link",
                address(one),
                name(one)
            ),
        ),
        (None, Far::Several) => (
            format!("link {number} is silent between several nodes"),
            format!("look at the network of link {number}; beats go on over another link"),
        ),
        (None, _) => (
            format!("link {number} is silent between all nodes"),
            format!("look at the switch of link {number}; beats go on over another link"),
        ),
    }
}
