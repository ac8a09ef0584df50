//! A cluster of ten regular nodes and a standby in which nothing happens but beats: what an engine does nearly
//! always.

use std::fmt::Write as _;
use std::time::Duration;

use backstay_core::engine::{Beat, Effect, Engine, HostEvent, Start, UnitsState};
use backstay_core::model::{ClusterDocument, NodeId};
use backstay_core::time::Mono;

const REGULAR: u64 = 10;
const STANDBY: u64 = REGULAR + 1;
const BEAT: Duration = Duration::from_millis(500);
/// Rounds of beats after which nothing is on its way any more: listening, starts and announcements are over.
const ROUNDS: u64 = 200;

/// The standby's engine, which has most to look at, and the beats of all others.
pub(crate) struct Steady {
    pub(crate) engine: Engine,
    /// The last beat of each other.
    pub(crate) others: Vec<Beat>,
    next: usize,
    pub(crate) now: Mono,
    timer: Mono,
    /// Beats that the engine had sent.
    pub(crate) sent: u64,
    /// Effects that a steady cluster has no reason for.
    pub(crate) surprises: u64,
}

impl Steady {
    pub(crate) fn new() -> Self {
        let document = document();
        let mut engines: Vec<Engine> = (1..=STANDBY)
            .map(|n| {
                let start = Start {
                    boot: 1,
                    nonce: n,
                    fresh: true,
                    ..Start::default()
                };
                Engine::new(NodeId(n), start, document.clone(), Mono(0))
            })
            .collect();
        let mut beats = Vec::new();
        let mut now = Mono(0);
        for round in 0..ROUNDS {
            now = Mono(0).after(BEAT * round as u32);
            beats = engines.iter_mut().map(|e| turn(e, now)).collect();
            for (from, beat) in beats.iter().enumerate() {
                for (to, engine) in engines.iter_mut().enumerate() {
                    if from != to {
                        engine.handle_beat(beat, 0, now);
                        carry_out(engine, now);
                    }
                }
            }
        }
        beats.pop();
        let mut engine = engines.pop().expect("the standby is the last");
        let timer = engine.poll_timer(now);
        Self {
            engine,
            others: beats,
            next: 0,
            now,
            timer,
            sent: 0,
            surprises: 0,
        }
    }

    /// The next beat of another node, and the timer when it is due, as an agent hands them in.
    pub(crate) fn step(&mut self) {
        self.now = self.now.after(BEAT / REGULAR as u32);
        let beat = &mut self.others[self.next];
        self.next = (self.next + 1) % REGULAR as usize;
        beat.sequence += 1;
        if self.now >= self.timer {
            self.engine.handle_timer(self.now);
            self.drain();
        }
        let beat = &self.others[(self.next + REGULAR as usize - 1) % REGULAR as usize];
        self.engine.handle_beat(beat, 0, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::SendBeats => {
                    self.sent += u64::from(self.engine.beat(self.now).sequence > 0);
                }
                _ => self.surprises += 1,
            }
        }
        self.timer = self.engine.poll_timer(self.now);
    }
}

/// Lets the timer of an engine come, and answers its beat.
fn turn(engine: &mut Engine, now: Mono) -> Beat {
    engine.handle_timer(now);
    carry_out(engine, now);
    engine.beat(now).clone()
}

/// Does well whatever an engine wants.
fn carry_out(engine: &mut Engine, now: Mono) {
    while let Some(effect) = engine.poll_effect() {
        match effect {
            Effect::StartUnits(service) => {
                let took = Duration::ZERO;
                engine.handle_units(service, UnitsState::Active { took }, now);
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
    engine.poll_timer(now);
}

fn document() -> ClusterDocument {
    let mut text = format!(
        r#"
format = 1
name = "c1"
id = "00000000000000c1"
revision = 1
epoch = 1
safety = "available"
profile = "lan"
port = 5980
next_service = {STANDBY}
changed = {{ by = "test", at = 1, what = "created" }}

[[key]]
id = 1
secret = "{}"
signs = true
"#,
        "5a".repeat(32)
    );
    for n in 1..=STANDBY {
        let role = if n == STANDBY { "standby" } else { "regular" };
        let _ = write!(
            text,
            r#"
[[node]]
name = "n{n}"
id = "{n:016x}"
role = "{role}"
bases = ["192.0.2.{n}/24"]
"#
        );
    }
    for n in 1..=REGULAR {
        let _ = write!(
            text,
            r#"
[[service]]
name = "web{n}"
id = {n}
nodes = ["n{n}", "n{STANDBY}"]
priority = {n}
[[service.alias]]
address = "192.0.2.{}/24"

[[base]]
service = {n}
term = 1
holder = "n{n}"
"#,
            100 + n
        );
    }
    ClusterDocument::parse(&text).expect("the document is sound")
}
