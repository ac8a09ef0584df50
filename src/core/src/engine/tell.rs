//! Records of decisions (F15, U10): sentences for people.

use core::time::Duration;

use crate::model::{RuleId, SplitStops};
use crate::time::Mono;

use super::Engine;
use super::effect::{Effect, Record, Stage, Stopped};
use super::lifecycle::{self, Event, Phase};
use super::why::Why;

impl Engine {
    pub(super) fn record(
        &mut self,
        i: Option<usize>,
        rule: RuleId,
        sentence: String,
        stage: Option<Stage>,
        took: Option<Duration>,
        at: Mono,
    ) {
        self.effects.push_back(Effect::Record(Record {
            at,
            service: i.map(|i| self.services[i].id),
            term: i.map_or(0, |i| self.services[i].highest),
            rule,
            sentence,
            stage,
            took_us: took.map(|t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX)),
        }));
    }

    pub(super) fn record_row(&mut self, i: usize, row: &lifecycle::Row, rule: RuleId, now: Mono) {
        let local = &self.services[i];
        let sentence = row
            .sentence
            .replace("{service}", self.document.services[i].name.as_str())
            .replace("{node}", self.document.members[self.my].name.as_str())
            .replace("{term}", &local.hold.term.to_string())
            .replace("{why}", &self.say(local.why));
        let stage = match (row.on, row.to) {
            (Event::Permit | Event::Inherit | Event::GoOn, _) => Some(Stage::Unblocked),
            (Event::Started, Phase::Running) => Some(Stage::Healthy),
            (_, Phase::Stopping) => Some(Stage::Closed),
            _ => None,
        };
        self.record(Some(i), rule, sentence, stage, None, now);
    }

    /// The stages that lie before the opening, from what was noted at the time.
    pub(super) fn record_takeover(&mut self, i: usize, now: Mono) {
        let Why::HomeDown(home) = self.services[i].why else {
            return;
        };
        let peer = &self.peers[usize::from(home)];
        let (heard, suspected) = (peer.heard, peer.suspected);
        let name = self.document.members[usize::from(home)].name.clone();
        if let Some(heard) = heard {
            let rule = || RuleId::of("F1");
            self.record(
                Some(i),
                rule(),
                format!("{name} was last heard"),
                Some(Stage::LastHeard),
                None,
                heard,
            );
            if let Some(at) = suspected {
                let after = Some(at.since(heard));
                self.record(
                    Some(i),
                    rule(),
                    format!("{name} missed beats"),
                    Some(Stage::Suspected),
                    after,
                    at,
                );
            }
            let at = heard.after(self.document.wait()).min(now);
            let after = Some(at.since(heard));
            self.record(
                Some(i),
                rule(),
                format!("{name} counts as down"),
                Some(Stage::Confirmed),
                after,
                at,
            );
        }
        self.record(
            Some(i),
            RuleId::of("A1"),
            "the alias was announced".to_owned(),
            Some(Stage::Announced),
            None,
            now,
        );
    }

    pub(super) fn record_started(&mut self, i: usize, took: Duration, now: Mono) {
        let sentence = format!(
            "what belongs to {} was started",
            self.document.services[i].name
        );
        self.record(
            Some(i),
            RuleId::of("F2"),
            sentence,
            Some(Stage::Started),
            Some(took),
            now,
        );
    }

    pub(super) fn record_stopped(&mut self, i: usize, stopped: Stopped, took: Duration, now: Mono) {
        let how = match stopped {
            Stopped::Gently => "was stopped",
            Stopped::Killed => "did not stop in its time and was killed",
        };
        let sentence = format!("what belongs to {} {how}", self.document.services[i].name);
        self.record(Some(i), RuleId::of("F14"), sentence, None, Some(took), now);
    }

    pub(super) fn record_split(&mut self, i: usize, rival: usize, now: Mono) {
        let service = &self.document.services[i].name;
        let (me, other) = (
            &self.document.members[self.my].name,
            &self.document.members[rival].name,
        );
        let stops = match self.document.split_stops {
            _ if self.lock_of(i, now).is_some() => "the one where it is not locked",
            SplitStops::Home => "home",
            SplitStops::Standby => "the standby",
        };
        let sentence = format!(
            "{service} runs on {me} and on {other}, which see each other again; {stops} stops"
        );
        self.record(Some(i), RuleId::of("S1"), sentence, None, None, now);
    }

    /// A reason as a sentence.
    pub(super) fn say(&self, why: Why) -> String {
        let document = &self.document;
        why.sentence(
            |n| {
                document
                    .members
                    .get(usize::from(n))
                    .map_or("?", |m| m.name.as_str())
            },
            |s| {
                document
                    .services
                    .get(usize::from(s))
                    .map_or("?", |s| s.name.as_str())
            },
        )
    }
}
