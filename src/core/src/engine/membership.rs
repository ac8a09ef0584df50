//! Who is heard (F1), and what they last said.

use core::time::Duration;

use crate::model::{NodeId, ServiceId};
use crate::time::Mono;

use super::beat::{Beat, ServiceReport, phase};
use super::links::MAX_LINKS;
use super::view::NodeState;

/// Another member of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    /// Its last verified beat. Empty before the first.
    pub(super) last: Box<Beat>,
    /// When it was last heard on any link, proven fresh.
    pub(super) heard: Option<Mono>,
    /// When it was last heard on each link (A6).
    pub(super) links: [Option<Mono>; MAX_LINKS],
    /// Highest sequence seen on each link in its present boot.
    marks: [u64; MAX_LINKS],
    boot: u64,
    /// Its nonce, to be echoed; moves with its boot, before freshness is proven.
    pub(super) nonce: u64,
    /// Since when it has been in order without a break (F9).
    pub(super) well_since: Option<Mono>,
    /// C10: by how much its clock is ahead of this node's; none: not known.
    pub(super) clock_ahead_ms: Option<i64>,
    /// When its silence was first noticed, for the timeline.
    pub(super) suspected: Option<Mono>,
    /// When a beat came in its name that is not read here (M2). Unverified.
    pub(super) foreign: Option<Mono>,
}

/// What became of a beat that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was made now, and news.
    Fresh,
    /// It does not prove that it was made after this agent's start; answer, so that the next one can.
    Unproven,
    /// Seen before, or of a former life of the peer.
    Old,
}

/// The bounds of silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Two and a half beats: suspect.
    pub(super) suspect: Duration,
    /// W: down.
    pub(super) down: Duration,
}

impl Peer {
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            last: Box::default(),
            heard: None,
            links: [None; MAX_LINKS],
            marks: [0; MAX_LINKS],
            boot: 0,
            nonce: 0,
            well_since: None,
            clock_ahead_ms: None,
            suspected: None,
            foreign: None,
        }
    }

    /// Takes a verified beat of this peer in, if it is news and was made after `my_nonce` was drawn.
    pub(super) fn hear(
        &mut self,
        beat: &Beat,
        me: NodeId,
        my_nonce: u64,
        link: u8,
        now: Mono,
    ) -> Heard {
        let link = usize::from(link) % MAX_LINKS;
        if beat.boot < self.boot || (beat.boot == self.boot && beat.sequence <= self.marks[link]) {
            return Heard::Old;
        }
        let proven = beat
            .hears
            .iter()
            .any(|h| h.node == me && h.echo == my_nonce);
        if !proven {
            // The mark stays: only a proven beat may move it.
            self.nonce = beat.nonce;
            return Heard::Unproven;
        }
        if beat.boot > self.boot {
            self.boot = beat.boot;
            self.marks = [0; MAX_LINKS];
        }
        self.nonce = beat.nonce;
        self.marks[link] = beat.sequence;
        self.links[link] = Some(now);
        self.heard = Some(now);
        self.suspected = None;
        // With two links each beat comes twice; the second copy says nothing new.
        if beat.sequence >= self.last.sequence || beat.boot != self.last.boot {
            self.last.as_mut().clone_from(beat);
        }
        Heard::Fresh
    }

    /// A beat came in its name, a moment ago, that is not read here (M2).
    pub(super) fn is_foreign(&self, bounds: Bounds, now: Mono) -> bool {
        self.foreign.is_some_and(|at| now.since(at) < bounds.down)
    }

    /// How long it has been silent; none: never heard.
    pub(super) fn silence(&self, now: Mono) -> Option<Duration> {
        self.heard.map(|at| now.since(at))
    }

    pub(super) fn state(&self, bounds: Bounds, now: Mono) -> NodeState {
        match self.silence(now) {
            None => NodeState::Unknown,
            Some(silence) if silence >= bounds.down => NodeState::Down,
            Some(silence) if silence >= bounds.suspect => NodeState::Suspect,
            Some(_) if self.last.leaving => NodeState::Leaving,
            Some(_) => NodeState::Up,
        }
    }

    /// Heard within the suspect bound.
    pub(super) fn is_up(&self, bounds: Bounds, now: Mono) -> bool {
        self.silence(now).is_some_and(|s| s < bounds.suspect)
    }

    /// Not heard for W, or never.
    pub(super) fn is_down(&self, bounds: Bounds, now: Mono) -> bool {
        self.silence(now).is_none_or(|s| s >= bounds.down)
    }

    /// Up, of one mind with this node, and fit to be given a service.
    pub(super) fn is_able(&self, bounds: Bounds, revision: u64, now: Mono) -> bool {
        self.is_fit(bounds, now) && self.last.revision == revision
    }

    /// Up and in order (F9).
    pub(super) fn is_fit(&self, bounds: Bounds, now: Mono) -> bool {
        let said = &self.last;
        self.is_up(bounds, now)
            && !said.leaving
            && !said.silent
            && !said.listening
            && !said.host.gate_lost
            && !said.host.link_down
    }

    /// What it last said of a service.
    pub(super) fn report(&self, service: ServiceId) -> ServiceReport {
        let found = self.last.services.iter().find(|r| r.service == service);
        found.copied().unwrap_or(ServiceReport {
            service,
            ..ServiceReport::default()
        })
    }

    /// It claims the service and is not known to be gone.
    pub(super) fn claims(&self, service: ServiceId, bounds: Bounds, now: Mono) -> bool {
        !self.is_down(bounds, now) && is_claim(self.report(service).phase)
    }

    /// Its gate may be open for the service, and it is not known to be gone.
    pub(super) fn holds(&self, service: ServiceId, bounds: Bounds, now: Mono) -> bool {
        !self.is_down(bounds, now) && is_hold(self.report(service).phase)
    }

    /// Silence that fell into this node's own pause is not the peer's.
    pub(super) fn forgive(&mut self, pause: Duration) {
        for at in [&mut self.heard, &mut self.well_since]
            .into_iter()
            .chain(&mut self.links)
        {
            *at = at.map(|t| t.after(pause));
        }
    }
}

/// Open, or on the way out with the stop still pending (F14).
pub(super) const fn is_claim(code: u8) -> bool {
    is_hold(code) || code == phase::STOPPING
}

/// Open.
pub(super) const fn is_hold(code: u8) -> bool {
    matches!(code, phase::STARTING | phase::RUNNING | phase::FAILED)
}
