//! From what was observed to the report. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Announcement, Dual, Gap, Losses, ProbeReport, Span};
use crate::plan::Mac;

/// Gaps shorter than this are not listed one by one.
const LISTED_GAP_NS: u64 = 10_000_000;
/// A round of questions that took longer proves nothing about one instant.
const ROUND_LIMIT_NS: u64 = 500_000;
/// A direct answer that took longer counts for the time when it was heard: the
/// host's gate let it out then.
const PROMPT_NS: u64 = 10_000_000;
/// Lists in a report end here, the newest last.
const LIST_LIMIT: usize = 500;

/// An answer to one of the regular datagrams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub number: u32,
    pub at_ns: u64,
    /// Index in [`Observed::names`].
    pub node: u16,
}

/// An answer to a datagram that was sent to one host's MAC address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Direct {
    pub round: u32,
    pub at_ns: u64,
    /// Index in [`Observed::hosts`].
    pub host: u16,
}

/// One round of asking every host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub begin_ns: u64,
    pub end_ns: u64,
}

/// Somebody claimed the address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub at_ns: u64,
    pub mac: Mac,
    pub form: super::frames::Form,
}

/// Everything that was seen; times in ns of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    pub interval_ns: u64,
    pub round_interval_ns: u64,
    pub hold_limit_ns: u64,
    /// Instant of each datagram; its index is its number.
    pub sent: Vec<u64>,
    pub answers: Vec<Answer>,
    pub names: Vec<String>,
    pub hosts: Vec<(String, Mac)>,
    pub rounds: Vec<Round>,
    pub direct: Vec<Direct>,
    pub heard: Vec<Heard>,
    /// The longest time in which the prober itself did not run as it should.
    pub receiver_held_ns: u64,
}

#[expect(clippy::cast_precision_loss, reason = "exact for some 285 years")]
fn ms(ns: u64) -> f64 {
    // Whole microseconds: what lies below is noise.
    (ns / 1000) as f64 / 1000.0
}

/// Sums of milliseconds without the dust of binary fractions.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

impl Observed {
    fn begin(&self) -> u64 {
        self.sent.first().copied().unwrap_or(0)
    }

    fn at(&self, ns: u64) -> f64 {
        ms(ns.saturating_sub(self.begin()))
    }

    fn node(&self, mac: Mac) -> Option<String> {
        self.hosts
            .iter()
            .find(|(_, of)| *of == mac)
            .map(|(name, _)| name.clone())
    }

    fn name(&self, node: u16) -> String {
        self.names
            .get(usize::from(node))
            .cloned()
            .unwrap_or_default()
    }

    /// The report over all of it.
    pub(super) fn report(&self, alias: &str) -> ProbeReport {
        let end = self.sent.last().copied().unwrap_or(0);
        let gaps = self.gaps(end);
        let longest = gaps.iter().max_by_key(|gap| gap.1 - gap.0);
        let held = self.sender_held_ns().max(self.receiver_held_ns);
        let losses = self.losses();
        let duals = self.duals();
        let announcements = self.announcements();
        let answered: BTreeSet<u32> = self.answers.iter().map(|a| a.number).collect();
        ProbeReport {
            alias: alias.to_owned(),
            began_monotonic_ns: self.begin(),
            duration_ms: self.at(end),
            interval_ms: ms(self.interval_ns),
            sent: self.sent.len() as u64,
            answered: answered.len() as u64,
            lost: (self.sent.len() - answered.len()) as u64,
            gap_ms: longest.map_or(0.0, |gap| {
                ms((gap.1 - gap.0).saturating_sub(self.interval_ns))
            }),
            gap_begin_ms: longest.map_or(0.0, |gap| self.at(gap.0)),
            gap_end_ms: longest.map_or(0.0, |gap| self.at(gap.1)),
            loss_gap_ms: ms(self.loss_gap_ns()),
            gaps: self.listed(&gaps),
            losses,
            answered_by: self.spans(),
            // Not sum(): of nothing it is -0.0.
            dual_ms: rounded(duals.iter().fold(0.0, |sum, dual| sum + dual.ms)),
            dual: last(duals),
            rounds: self.rounds.len() as u64,
            rounds_discarded: self.rounds.iter().filter(|r| !usable(r)).count() as u64,
            last_announcer: announcements.last().and_then(|a| a.node.clone()),
            announcements: last(announcements),
            address_answered_by: self.address_spans(),
            longest_hold_ms: ms(held),
            held_up: held > self.hold_limit_ns,
        }
    }

    /// From one answer to the next, with who gave them; the begin and the end of
    /// the measurement count as answers, so that silence there is seen.
    fn gaps(&self, end: u64) -> Vec<(u64, u64, Option<u16>, Option<u16>)> {
        if self.sent.is_empty() {
            return Vec::new();
        }
        let mut marks = vec![(self.begin(), None)];
        marks.extend(self.answers.iter().map(|a| (a.at_ns, Some(a.node))));
        marks.sort_unstable();
        let latest = marks.last().map_or(end, |mark| mark.0.max(end));
        marks.push((latest, None));
        marks
            .windows(2)
            .map(|w| (w[0].0, w[1].0, w[0].1, w[1].1))
            .collect()
    }

    fn listed(&self, gaps: &[(u64, u64, Option<u16>, Option<u16>)]) -> Vec<Gap> {
        let long = gaps
            .iter()
            .filter(|g| g.1 - g.0 > LISTED_GAP_NS + self.interval_ns);
        last(
            long.map(|(from, to, before, after)| Gap {
                begin_ms: self.at(*from),
                end_ms: self.at(*to),
                ms: ms((to - from).saturating_sub(self.interval_ns)),
                before: before.map(|n| self.name(n)),
                after: after.map(|n| self.name(n)),
            })
            .collect(),
        )
    }

    /// The longest time between the sending of two datagrams that were answered,
    /// beyond the interval: what was lost, whenever the answers came.
    fn loss_gap_ns(&self) -> u64 {
        let numbers: BTreeSet<u32> = self.answers.iter().map(|a| a.number).collect();
        let times: Vec<u64> = numbers
            .iter()
            .filter_map(|number| self.sent.get(*number as usize).copied())
            .collect();
        let longest = times.windows(2).map(|w| w[1].saturating_sub(w[0])).max();
        longest.unwrap_or(0).saturating_sub(self.interval_ns)
    }

    fn losses(&self) -> Vec<Losses> {
        let answered: BTreeSet<u32> = self.answers.iter().map(|a| a.number).collect();
        let mut found: Vec<Losses> = Vec::new();
        let mut open: Option<(u32, u32)> = None;
        let mut close = |open: &mut Option<(u32, u32)>| {
            if let Some((first, last)) = open.take() {
                found.push(Losses {
                    first: u64::from(first),
                    count: u64::from(last - first) + 1,
                    begin_ms: self.at(self.sent[first as usize]),
                    end_ms: self.at(self.sent[last as usize]),
                });
            }
        };
        for number in (0..).take(self.sent.len()) {
            if answered.contains(&number) {
                close(&mut open);
            } else {
                open = Some((open.map_or(number, |(first, _)| first), number));
            }
        }
        close(&mut open);
        last(found)
    }

    fn spans(&self) -> Vec<Span> {
        let mut answers = self.answers.clone();
        answers.sort_unstable_by_key(|a| a.at_ns);
        last(joined(
            answers.iter().map(|a| (a.at_ns, self.name(a.node))),
            |ns| self.at(ns),
        ))
    }

    fn address_spans(&self) -> Vec<Span> {
        let answers = self
            .heard
            .iter()
            .filter(|h| h.form == super::frames::Form::Answer);
        let named = answers.map(|h| {
            (
                h.at_ns,
                self.node(h.mac).unwrap_or_else(|| h.mac.to_string()),
            )
        });
        last(joined(named, |ns| self.at(ns)))
    }

    fn announcements(&self) -> Vec<Announcement> {
        use super::frames::Form;
        self.heard
            .iter()
            .filter_map(|heard| {
                let form = match heard.form {
                    Form::ArpRequest => "arp-request",
                    Form::ArpReply => "arp-reply",
                    Form::Advertisement => "advertisement",
                    Form::Answer => return None,
                };
                Some(Announcement {
                    at_ms: self.at(heard.at_ns),
                    mac: heard.mac.to_string(),
                    node: self.node(heard.mac),
                    form: form.to_owned(),
                })
            })
            .collect()
    }

    /// Times in which more than one host answered.
    fn duals(&self) -> Vec<Dual> {
        let mut by_round: BTreeMap<usize, BTreeSet<u16>> = BTreeMap::new();
        for direct in &self.direct {
            if let Some(round) = self.round_of(direct) {
                by_round.entry(round).or_default().insert(direct.host);
            }
        }
        let mut found: Vec<Dual> = Vec::new();
        let mut previous = None;
        for (round, hosts) in by_round.into_iter().filter(|(_, hosts)| hosts.len() > 1) {
            let begin = self.rounds[round].begin_ns;
            let end = self
                .rounds
                .get(round + 1)
                .map_or(begin + self.round_interval_ns, |next| next.begin_ns);
            let nodes: BTreeSet<String> = hosts
                .iter()
                .filter_map(|host| {
                    self.hosts
                        .get(usize::from(*host))
                        .map(|(name, _)| name.clone())
                })
                .collect();
            let lasted = ms(end - begin);
            match found.last_mut() {
                Some(dual) if previous == round.checked_sub(1) && dual.nodes == nodes => {
                    dual.end_ms = self.at(end);
                    dual.ms = rounded(dual.ms + lasted);
                }
                _ => found.push(Dual {
                    begin_ms: self.at(begin),
                    end_ms: self.at(end),
                    ms: lasted,
                    nodes,
                }),
            }
            previous = Some(round);
        }
        found
    }

    /// The round that an answer proves something about.
    fn round_of(&self, direct: &Direct) -> Option<usize> {
        let asked = direct.round as usize;
        let round = self.rounds.get(asked)?;
        let index = if direct.at_ns.saturating_sub(round.begin_ns) <= PROMPT_NS {
            asked
        } else {
            self.rounds
                .partition_point(|r| r.begin_ns <= direct.at_ns)
                .checked_sub(1)?
        };
        usable(&self.rounds[index]).then_some(index)
    }

    fn sender_held_ns(&self) -> u64 {
        let longest = self
            .sent
            .windows(2)
            .map(|w| w[1].saturating_sub(w[0]))
            .max();
        longest.unwrap_or(0).saturating_sub(self.interval_ns)
    }
}

fn usable(round: &Round) -> bool {
    round.end_ns.saturating_sub(round.begin_ns) <= ROUND_LIMIT_NS
}

fn joined(answers: impl Iterator<Item = (u64, String)>, at: impl Fn(u64) -> f64) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (ns, node) in answers {
        match spans.last_mut() {
            Some(span) if span.node == node => {
                span.end_ms = at(ns);
                span.answers += 1;
            }
            _ => spans.push(Span {
                node,
                begin_ms: at(ns),
                end_ms: at(ns),
                answers: 1,
            }),
        }
    }
    spans
}

fn last<T>(mut list: Vec<T>) -> Vec<T> {
    if list.len() > LIST_LIMIT {
        list.drain(..list.len() - LIST_LIMIT);
    }
    list
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole microseconds")]
mod tests {
    use super::super::frames::Form;
    use super::*;

    const MS: u64 = 1_000_000;

    /// 500 datagrams, 2 ms apart, each answered 0.1 ms later by n1, but those
    /// from `gap` on by sb1, and those in `gap` by nobody.
    fn observed(gap: std::ops::Range<u32>) -> Observed {
        let sent: Vec<u64> = (0..500).map(|n| 7 * MS + n * 2 * MS).collect();
        let answers = (0..500)
            .filter(|number| !gap.contains(number))
            .map(|number| Answer {
                number,
                at_ns: sent[number as usize] + MS / 10,
                node: u16::from(number >= gap.end),
            })
            .collect();
        Observed {
            interval_ns: 2 * MS,
            round_interval_ns: 5 * MS,
            hold_limit_ns: 20 * MS,
            sent,
            answers,
            names: vec!["n1".into(), "sb1".into()],
            hosts: vec![("n1".into(), Mac::of(101)), ("sb1".into(), Mac::of(21))],
            ..Observed::default()
        }
    }

    #[test]
    fn a_gap_is_the_time_between_answers_beyond_the_interval() {
        let report = observed(100..250).report("192.0.2.101");
        assert_eq!((report.sent, report.answered, report.lost), (500, 350, 150));
        assert_eq!(report.gap_ms, 300.0);
        assert_eq!(report.loss_gap_ms, 300.0);
        assert_eq!((report.gap_begin_ms, report.gap_end_ms), (198.1, 500.1));
        assert_eq!(report.gaps.len(), 1);
        assert_eq!(report.gaps[0].before.as_deref(), Some("n1"));
        assert_eq!(report.gaps[0].after.as_deref(), Some("sb1"));
        assert_eq!(report.losses.len(), 1);
        assert_eq!((report.losses[0].first, report.losses[0].count), (100, 150));
        let by: Vec<&str> = report.answered_by.iter().map(|s| s.node.as_str()).collect();
        assert_eq!(by, ["n1", "sb1"]);
        assert!(!report.held_up);
    }

    #[test]
    fn silence_at_the_end_is_a_gap_too() {
        let report = observed(300..500).report("a");
        assert_eq!(report.gap_ms, 397.9);
        assert_eq!(report.gaps[0].after, None);
        let report = observed(0..500).report("a");
        assert_eq!((report.answered, report.gap_ms), (0, 996.0));
    }

    #[test]
    fn nothing_observed_is_an_empty_report() {
        let report = Observed::default().report("a");
        assert!(report.dual_ms.is_sign_positive());
        assert_eq!((report.sent, report.lost, report.gap_ms), (0, 0, 0.0));
    }

    #[test]
    fn a_prober_that_was_held_up_says_so() {
        let mut observed = observed(500..500);
        for time in &mut observed.sent[200..] {
            *time += 25 * MS;
        }
        let report = observed.report("a");
        assert!(report.held_up);
        assert_eq!(report.longest_hold_ms, 25.0);
    }

    fn rounds(answering: impl Fn(u32) -> Vec<u16>) -> Observed {
        let mut seen = observed(500..500);
        for round in 0..100 {
            let begin_ns = 7 * MS + u64::from(round) * 5 * MS;
            seen.rounds.push(Round {
                begin_ns,
                end_ns: begin_ns + MS / 10,
            });
            for host in answering(round) {
                seen.direct.push(Direct {
                    round,
                    at_ns: begin_ns + MS,
                    host,
                });
            }
        }
        seen
    }

    #[test]
    fn two_hosts_that_answer_one_round_are_dual() {
        let handed_over = rounds(|round| vec![u16::from(round >= 50)]);
        assert_eq!(handed_over.report("a").dual_ms, 0.0);
        let both = rounds(|round| {
            if (40..50).contains(&round) {
                vec![0, 1]
            } else {
                vec![0]
            }
        });
        let report = both.report("a");
        assert_eq!(report.dual_ms, 50.0);
        assert_eq!(report.dual.len(), 1);
        assert_eq!(
            report.dual[0].nodes,
            BTreeSet::from(["n1".to_owned(), "sb1".to_owned()])
        );
    }

    #[test]
    fn a_round_that_took_long_proves_nothing() {
        let mut both = rounds(|round| if round == 40 { vec![0, 1] } else { vec![0] });
        both.rounds[40].end_ns += MS;
        let report = both.report("a");
        assert_eq!((report.dual_ms, report.rounds_discarded), (0.0, 1));
    }

    #[test]
    fn a_late_answer_counts_when_it_is_heard() {
        let mut thawed = rounds(|round| vec![u16::from(round >= 50)]);
        // n1 was asked in round 10 and let its answer out in round 80.
        thawed.direct.push(Direct {
            round: 10,
            at_ns: thawed.rounds[80].begin_ns + MS,
            host: 0,
        });
        let report = thawed.report("a");
        assert_eq!(report.dual_ms, 5.0);
        assert_eq!(report.dual[0].begin_ms, 400.0);
    }

    #[test]
    fn the_last_announcer_is_named() {
        let mut observed = observed(500..500);
        for (at, octet, form) in [
            (10, 101, Form::ArpReply),
            (20, 21, Form::ArpRequest),
            (30, 101, Form::Answer),
        ] {
            observed.heard.push(Heard {
                at_ns: at * MS,
                mac: Mac::of(octet),
                form,
            });
        }
        let report = observed.report("a");
        assert_eq!(report.last_announcer.as_deref(), Some("sb1"));
        assert_eq!(report.announcements.len(), 2);
        assert_eq!(report.address_answered_by[0].node, "n1");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ProbeReport>(&json).unwrap(), report);
    }
}
