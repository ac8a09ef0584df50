//! What the prober found. Times `*_ms` without a word for length are counted
//! from the first datagram ([`ProbeReport::began_monotonic_ns`]).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a client saw of one address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The address.
    pub alias: String,
    /// Instant of the first datagram, in ns of `CLOCK_MONOTONIC`.
    pub began_monotonic_ns: u64,
    /// From the first datagram to the last.
    pub duration_ms: f64,
    /// Time between datagrams.
    pub interval_ms: f64,
    /// Datagrams sent.
    pub sent: u64,
    /// Of these, answered.
    pub answered: u64,
    /// Of these, not answered.
    pub lost: u64,
    /// The longest time without an answer, beyond the interval.
    pub gap_ms: f64,
    /// When that began: the last answer before it.
    pub gap_begin_ms: f64,
    /// When that ended: the first answer after it.
    pub gap_end_ms: f64,
    /// The longest time between the sending of two datagrams that were answered,
    /// beyond the interval. Shorter than `gap_ms` if answers came late.
    pub loss_gap_ms: f64,
    /// Every time of more than 10 ms without an answer (the last 500).
    pub gaps: Vec<Gap>,
    /// Which datagrams were lost (the last 500 stretches).
    pub losses: Vec<Losses>,
    /// Who answered when (the last 500 changes).
    pub answered_by: Vec<Span>,
    /// How long more than one host answered.
    pub dual_ms: f64,
    /// When that was, and which (the last 500).
    pub dual: Vec<Dual>,
    /// How often every host was asked directly.
    pub rounds: u64,
    /// Of these, disregarded because asking took too long.
    pub rounds_discarded: u64,
    /// Host that announced the address last, if one did and it is of the lab.
    pub last_announcer: Option<String>,
    /// Gratuitous ARP and unsolicited advertisements (the last 500).
    pub announcements: Vec<Announcement>,
    /// Who answered "who has the address" when: name, or MAC address of a stranger.
    pub address_answered_by: Vec<Span>,
    /// The longest time in which the prober itself did not get to run.
    pub longest_hold_ms: f64,
    /// Whether that is too long for the other figures to be believed.
    pub held_up: bool,
}

/// A time without an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// The last answer before it.
    pub begin_ms: f64,
    /// The first answer after it.
    pub end_ms: f64,
    /// How long, beyond the interval.
    pub ms: f64,
    /// Who answered before; none at the begin of the measurement.
    pub before: Option<String>,
    /// Who answered after; none at its end.
    pub after: Option<String>,
}

/// Datagrams in a row that were not answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Number of the first, counted from 0.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// When the first was sent.
    pub begin_ms: f64,
    /// When the last was sent.
    pub end_ms: f64,
}

/// Answers in a row from the same node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its name.
    pub node: String,
    /// The first of them.
    pub begin_ms: f64,
    /// The last of them.
    pub end_ms: f64,
    /// How many.
    pub answers: u64,
}

/// A time in which more than one host answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dual {
    /// Its begin.
    pub begin_ms: f64,
    /// Its end.
    pub end_ms: f64,
    /// How long.
    pub ms: f64,
    /// Which.
    pub nodes: BTreeSet<String>,
}

/// The address was announced to all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// When.
    pub at_ms: f64,
    /// The MAC address that was announced.
    pub mac: String,
    /// The host of the lab that has it.
    pub node: Option<String>,
    /// `arp-request`, `arp-reply` or `advertisement`.
    pub form: String,
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} datagrams in {:.1} s, {} lost, longest gap {:.1} ms, two hosts answering {:.1} ms",
            self.alias,
            self.sent,
            self.duration_ms / 1e3,
            self.lost,
            self.gap_ms,
            self.dual_ms
        )?;
        for span in &self.answered_by {
            writeln!(
                f,
                "  {:<16} answered {:>9.1} to {:>9.1} ms",
                span.node, span.begin_ms, span.end_ms
            )?;
        }
        if let Some(announcement) = self.announcements.last() {
            let node = announcement.node.as_deref().unwrap_or(&announcement.mac);
            writeln!(
                f,
                "  announced last by {node} at {:.1} ms ({})",
                announcement.at_ms, announcement.form
            )?;
        }
        if self.held_up {
            writeln!(
                f,
                "  the prober itself was held up for {:.1} ms: repeat the run",
                self.longest_hold_ms
            )?;
        }
        Ok(())
    }
}
