//! Beats of a member that holds the key and says whatever it likes: the engine goes on.

use std::sync::LazyLock;
use std::time::Duration;

use backstay_core::engine::{
    Answer, Ask, Beat, BeatOrder, Effect, Engine, HIGHEST_TERM, HearsPeer, HostEvent, HostFlags,
    Refused, Released, ServiceReport, Start, UnitsState, Verdict,
};
use backstay_core::model::{ClusterDocument, NodeId, ServiceId};
use backstay_core::time::Mono;

const TEXT: &str = include_str!("../corpus/cluster/lab.toml");
/// Beats that are taken from one input.
const MOST: usize = 64;

static DOCUMENT: LazyLock<ClusterDocument> =
    LazyLock::new(|| ClusterDocument::parse(TEXT).expect("the document is sound"));

/// Takes values from made-up bytes; zeros when they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// Small numbers and the largest ones, which matter most.
    fn number(&mut self) -> u64 {
        match self.u8() {
            255 => u64::MAX,
            254 => u64::MAX - 1,
            253 => u64::MAX / 2,
            small => u64::from(small),
        }
    }

    /// What gets past the decoder.
    fn term(&mut self) -> u64 {
        self.number().min(HIGHEST_TERM)
    }

    /// A member, or one that is none.
    fn node(&mut self) -> NodeId {
        let members = &DOCUMENT.members;
        let at = usize::from(self.u8()) % (members.len() + 1);
        members.get(at).map_or(NodeId(0xdead), |m| m.id)
    }

    fn service(&mut self) -> ServiceId {
        ServiceId(u16::from(self.u8() % 5))
    }

    fn verdict(&mut self) -> Verdict {
        let why = [
            Refused::Heard,
            Refused::Newer,
            Refused::Document,
            Refused::Revision,
            Refused::Promise,
            Refused::Other,
        ];
        match self.u8() % 4 {
            0 => Verdict::Yes,
            1 => Verdict::Would,
            2 => Verdict::No,
            _ => Verdict::Refused(
                why[usize::from(self.u8()) % why.len()],
                self.number() as u32,
            ),
        }
    }

    fn beat(&mut self, sequence: u64) -> Beat {
        let flags = self.u8();
        let mut said = Beat {
            cluster: DOCUMENT.id,
            from: self.node(),
            boot: 1,
            sequence,
            nonce: 9,
            revision: DOCUMENT.revision,
            hash: DOCUMENT.short_hash(),
            epoch: DOCUMENT.epoch,
            leaving: flags & 1 != 0,
            silent: flags & 2 != 0,
            listening: flags & 4 != 0,
            host: HostFlags {
                gate_lost: flags & 8 != 0,
                disk_bad: flags & 16 != 0,
                clock_loose: flags & 32 != 0,
                link_down: flags & 64 != 0,
                gate_restored: flags & 128 != 0,
                ..HostFlags::default()
            },
            ..Beat::default()
        };
        if flags & 128 != 0 {
            said.revision = self.number();
            said.system_revision = self.number();
            said.boot = self.number();
            said.sequence = self.number();
        }
        // Anything else is not heard at all.
        for member in &DOCUMENT.members {
            said.hears.push(HearsPeer {
                node: member.id,
                age_ms: 0,
                echo: 9,
            });
        }
        for _ in 0..self.u8() % 4 {
            let (service, term) = (self.service(), self.term());
            match self.u8() % 6 {
                0 => said.services.push(ServiceReport {
                    service,
                    phase: self.u8() % 10,
                    term,
                    since_ms: self.number() as u32,
                }),
                1 => said.asks.push(Ask { service, term }),
                2 => said.would.push(service),
                3 => said.released.push(Released {
                    service,
                    term,
                    successor: self.flag().then(|| self.node()),
                }),
                4 => said.answers.push(Answer {
                    asker: self.node(),
                    boot: 1,
                    sequence: self.number(),
                    service,
                    term,
                    verdict: self.verdict(),
                }),
                _ => said.orders.push(BeatOrder {
                    service,
                    at_term: term,
                    target: self.node(),
                    number: self.number(),
                }),
            }
        }
        said
    }
}

/// Beats to the engine of a member.
pub(crate) fn beats(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let member = usize::from(bytes.u8()) % DOCUMENT.members.len();
    let start = Start {
        boot: 1,
        nonce: 9,
        fresh: bytes.flag(),
        ..Start::default()
    };
    let mut now = Mono::from_millis(1_000);
    let me = DOCUMENT.members[member].id;
    let mut engine = Engine::new(me, start, DOCUMENT.clone(), now);
    carry_out(&mut engine, now);
    for sequence in 1..=MOST as u64 {
        if bytes.0.is_empty() {
            break;
        }
        now = now.after(Duration::from_millis(u64::from(bytes.u8()) * 20));
        if now >= engine.poll_timer(now) {
            engine.handle_timer(now);
            carry_out(&mut engine, now);
        }
        let said = bytes.beat(sequence);
        engine.handle_beat(&said, bytes.u8(), now);
        carry_out(&mut engine, now);
    }
    let view = engine.view(now);
    assert_eq!(view.services.len(), DOCUMENT.services.len());
}

/// Does what the engine wants, well and at once; it comes to an end.
fn carry_out(engine: &mut Engine, now: Mono) {
    for _ in 0..4096 {
        let Some(effect) = engine.poll_effect() else {
            return;
        };
        let took = Duration::ZERO;
        match effect {
            Effect::StartUnits(service) => {
                engine.handle_units(service, UnitsState::Active { took }, now);
            }
            Effect::StopUnits(service) => {
                let stopped = backstay_core::engine::Stopped::Gently;
                engine.handle_units(service, UnitsState::Inactive { stopped, took }, now);
            }
            Effect::Probe { service, .. } => {
                let used = false;
                engine.handle_host(HostEvent::AliasInUse { service, used }, now);
            }
            Effect::SendBeats => {
                engine.beat(now);
            }
            _ => {}
        }
    }
    panic!("the effects of one input do not end");
}
