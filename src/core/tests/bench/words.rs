//! The commands of a transcript.

use std::fmt::Write as _;
use std::time::Duration;

use backstay_core::engine::{Engine, HostEvent, Order, OrderKind, Presence, Stopped, UnitsState};
use backstay_core::model::{
    ClusterDocument, Fallback, Former, Key, Lock, Maintenance, NodeId, Profile, Replacement,
    ServiceId,
};

use super::{Bench, Event, Node};

const MS: u64 = 1_000_000;

/// `300ms`, `5s`.
fn time(text: &str) -> u64 {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, MS),
        None => (text.strip_suffix('s').expect("ms or s"), 1_000 * MS),
    };
    number.parse::<u64>().expect("a number") * unit
}

fn maintain(document: &mut ClusterDocument, node: &str, work: Option<Maintenance>) {
    let member = (document.members.iter_mut()).find(|m| m.name.as_str() == node);
    member.expect("a member").maintenance = work;
}

/// `2`, or `2!`: the one that signs.
fn key(word: &str) -> Key {
    Key {
        id: word.trim_end_matches('!').parse().expect("a number"),
        secret: "ab".repeat(32),
        signs: word.ends_with('!'),
    }
}

/// C16: another machine takes the place of a node; what it held is the standby's.
fn replace(document: &mut ClusterDocument, node: &str) {
    let member = (document.members.iter_mut()).find(|m| m.name.as_str() == node);
    let member = member.expect("a member");
    let id = NodeId(member.id.0 + 0x100);
    document.former.push(Former {
        name: member.name.clone(),
        id: member.id,
        bases: member.bases.clone(),
        alias: None,
        replaced: Some(Replacement {
            id,
            contact: "new".to_owned(),
            host_keys: Vec::new(),
        }),
    });
    member.id = id;
    document.epoch = document.revision;
    for base in &mut document.bases {
        if base.holder.as_ref().is_some_and(|h| h.as_str() == node) {
            base.holder = Some("sb1".parse().expect("a name"));
            base.term = 2;
        }
    }
}

impl Bench {
    /// Does what one line says.
    pub(crate) fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["cluster", rest @ ..] => self.cluster(rest),
            ["run", long] => self.advance(time(long)),
            ["skip", long] => {
                self.advance(time(long));
                self.told();
            }
            ["kill", node] => {
                let n = self.member(node);
                self.power_off(n);
            }
            ["revive", node] => {
                let n = self.member(node);
                self.nodes[n].off = false;
                self.nodes[n].life += 1;
                self.post(0, Event::Begin(n, false));
            }
            ["crash", node] => {
                let n = self.member(node);
                self.nodes[n].engine = None;
                self.nodes[n].life += 1;
            }
            ["restart", node] => {
                let n = self.member(node);
                self.nodes[n].life += 1;
                self.post(0, Event::Begin(n, false));
            }
            ["pause", node, long] => {
                let n = self.member(node);
                self.nodes[n].paused = true;
                self.post(time(long), Event::Resume(n));
            }
            ["cut", one, other] => {
                let (one, other) = (self.member(one), self.member(other));
                self.cuts.extend([(one, other, None), (other, one, None)]);
            }
            ["cut", one, other, "link", link] => {
                let (one, other) = (self.member(one), self.member(other));
                let link = Some(link.parse::<u8>().expect("a number") - 1);
                self.cuts.extend([(one, other, link), (other, one, link)]);
            }
            ["carrier", node, is @ ("off" | "on")] => {
                let n = self.member(node);
                let up = *is == "on";
                self.nodes[n].unplugged = !up;
                self.feed(n, |e, now| e.handle_host(HostEvent::Link { up }, now));
            }
            ["clock", node, ahead] => {
                let n = self.member(node);
                self.nodes[n].clock_ahead = time(ahead) / MS;
                self.tell_clock(n);
            }
            ["isolate", node] => {
                let n = self.member(node);
                self.isolated.insert(n);
            }
            ["heal"] => {
                self.cuts.clear();
                self.isolated.clear();
                self.disturbed();
            }
            ["leave", node] => {
                let n = self.member(node);
                if self.nodes[n].engine.is_none() {
                    return self.power_off(n); // nobody is there to hand over
                }
                self.nodes[n].leaving = true;
                self.feed(n, |e, now| e.handle_host(HostEvent::Leave, now));
            }
            ["order", service, target, "at", node] => self.order(service, target, node),
            ["sticky", node] => {
                let n = self.member(node);
                self.nodes[n].sticky = true;
            }
            ["unstick", service, node] => {
                let (n, id) = (self.member(node), self.service(service));
                self.nodes[n].sticky = false;
                if self.nodes[n].open.contains(&id) {
                    return; // whoever mends it leaves it running where it is held
                }
                let state = UnitsState::Inactive {
                    stopped: Stopped::Killed,
                    took: core::time::Duration::ZERO,
                };
                self.post(0, Event::Units(n, id, state));
            }
            ["end", service, node] => {
                let (n, id) = (self.member(node), self.service(service));
                self.post(0, Event::Units(n, id, UnitsState::Failed));
            }
            ["again", service, node] => {
                let (n, id) = (self.member(node), self.service(service));
                if self.nodes[n].open.contains(&id) {
                    let took = Duration::ZERO;
                    self.post(0, Event::Units(n, id, UnitsState::Active { took }));
                }
            }
            ["disk", node, is @ ("full" | "free")] => {
                let n = self.member(node);
                self.nodes[n].full = *is == "full";
            }
            ["foreign", service] => {
                let id = self.service(service);
                self.foreign.insert(id);
            }
            ["unforeign", service] => {
                let id = self.service(service);
                self.foreign.remove(&id);
            }
            ["strange", from, "at", node] => {
                let (n, from) = (self.member(node), self.member(from));
                let from = self.doc().members[from].id;
                self.feed(n, |e, now| e.handle_foreign(from, now));
            }
            ["alias", service, node, state] => {
                let (n, service) = (self.member(node), self.service(service));
                let present = match *state {
                    "found" => Presence::All,
                    "partly" => Presence::Some,
                    _ => Presence::None,
                };
                self.feed(n, |e, now| {
                    e.handle_host(HostEvent::AliasPresent { service, present }, now);
                });
            }
            ["flush", node] => {
                let n = self.member(node);
                self.nodes[n].slots.clear();
                let took = Duration::from_millis(12);
                self.feed(n, |e, now| {
                    e.handle_host(HostEvent::GateRestored { took }, now);
                });
            }
            ["gate", node, state] => {
                let n = self.member(node);
                let intact = *state == "back";
                self.nodes[n].gateless = !intact;
                self.nodes[n].slots.clear();
                self.feed(n, |e, now| e.handle_host(HostEvent::Gate { intact }, now));
            }
            ["document", node, rest @ ..] => self.change(node, rest),
            ["status", node] => self.status(node),
            ["nodes", node] => self.list_nodes(node),
            _ => panic!("no such command: {line}"),
        }
    }

    fn member(&self, name: &str) -> usize {
        let at = (self.doc().members.iter()).position(|m| m.name.as_str() == name);
        at.unwrap_or_else(|| panic!("no node {name}"))
    }

    fn service(&self, name: &str) -> ServiceId {
        let service = (self.doc().services.iter()).find(|s| s.name.as_str() == name);
        service.unwrap_or_else(|| panic!("no service {name}")).id
    }

    /// `cluster n1=10 n2=20 sb1 [w1] [split=standby] [fallback=auto] [capacity=2] [links=2] [no-reference]`
    fn cluster(&mut self, words: &[&str]) {
        let (mut members, mut services, mut bases) = (String::new(), String::new(), String::new());
        let (mut split, mut fallback, mut capacity) = ("home", "manual", "1");
        let mut count = 0_u16;
        self.links = 1;
        for word in words {
            match word.split_once('=') {
                Some(("split", which)) => split = which,
                Some(("fallback", which)) => fallback = which,
                Some(("capacity", number)) => capacity = number,
                Some(("links", number)) => self.links = number.parse().expect("a number"),
                _ => {}
            }
        }
        for word in words {
            let role = match word.split_once('=') {
                None if *word == "no-reference" => {
                    self.no_reference = true;
                    continue;
                }
                None if word.starts_with('w') => "witness",
                None => "standby",
                Some((name, priority)) if name.starts_with('n') => {
                    count += 1;
                    let _ = write!(
                        services,
                        "[[service]]\nname = \"web{}\"\nid = {count}\nnodes = [\"{name}\", \"sb1\"]\npriority = {priority}\n\
                         [[service.alias]]\naddress = \"192.0.2.{}/24\"\n",
                        &name[1..],
                        100 + count
                    );
                    let _ = write!(
                        bases,
                        "[[base]]\nservice = {count}\nterm = 1\nholder = \"{name}\"\n"
                    );
                    "regular"
                }
                Some(_) => continue,
            };
            let name = word.split('=').next().unwrap_or_default();
            let at = self.nodes.len() + 11;
            let more = if self.links > 1 {
                format!(", \"198.51.100.{at}/24\"")
            } else {
                String::new()
            };
            let room = if role == "standby" { capacity } else { "1" };
            let _ = write!(
                members,
                "[[node]]\nname = \"{name}\"\nid = \"{at:016x}\"\nrole = \"{role}\"\nbases = [\"192.0.2.{at}/24\"{more}]\ncapacity = {room}\n"
            );
            self.nodes.push(Node::default());
        }
        let text = format!(
            "format = 1\nname = \"c\"\nid = \"0000000000000001\"\nrevision = 1\nepoch = 1\nsafety = \"available\"\n\
             split_stops = \"{split}\"\nfallback = \"{fallback}\"\nnext_service = 99\n\
             [changed]\nby = \"admin\"\nat = 0\nwhat = \"create\"\n\
             [timing]\nhome_healthy_ms = 5000\nboot_wait_ms = 5000\ncold_start_ms = 10000\n{members}{services}{bases}"
        );
        let document: ClusterDocument = toml::from_str(&text).expect("a document");
        self.document = Some(document.clone());
        for (n, node) in self.nodes.iter_mut().enumerate() {
            node.document = Some(document.clone());
            let here = document.services.iter();
            node.running = here
                .filter(|s| s.home() == Some(&document.members[n].name))
                .map(|s| s.id)
                .collect();
        }
        for n in 0..self.nodes.len() {
            self.post(20 * MS * n as u64, Event::Begin(n, true));
        }
    }

    fn order(&mut self, service: &str, target: &str, node: &str) {
        let (n, to) = (self.member(node), self.member(target));
        let order = Order {
            service: self.service(service),
            kind: OrderKind::MoveTo(self.doc().members[to].id),
        };
        let mut said = Ok(());
        self.feed(n, |e: &mut Engine, now| said = e.handle_order(order, now));
        let said = said.map_or_else(|p| format!("refused: {p}"), |()| "accepted".to_owned());
        self.say(n, &format!("(order {said})"));
    }

    /// C10.
    pub(super) fn tell_clock(&mut self, n: usize) {
        let ahead = self.nodes[n].clock_ahead;
        self.feed(n, |e, now| {
            let kept = true;
            let wall_ms = 1_800_000_000_000 + now.0 / MS + ahead;
            e.handle_host(HostEvent::Clock { kept, wall_ms }, now);
        });
    }

    /// A new revision, committed at one node.
    fn change(&mut self, node: &str, words: &[&str]) {
        let n = self.member(node);
        let mut document = self.nodes[n].document.clone().expect("a document");
        document.revision += 1;
        let at = 1_800_000_000 + self.now / 1_000_000_000;
        let name = words.get(1).copied().unwrap_or_default();
        let found = document
            .services
            .iter_mut()
            .find(|s| s.name.as_str() == name);
        match (words, found) {
            (["lock", _, node, until @ ..], Some(service)) => {
                service.lock = Some(Lock {
                    node: node.parse().expect("a name"),
                    by: "admin".to_owned(),
                    at,
                    reason: "work".to_owned(),
                    until: until.first().map(|t| at + time(t) / 1_000_000_000),
                });
            }
            (["maintain", node, lasts, moves @ ..], _) => {
                let work = Maintenance {
                    by: "admin".to_owned(),
                    at,
                    reason: "work".to_owned(),
                    until: at + time(lasts) / 1_000_000_000,
                    moves: moves == ["move"],
                };
                maintain(&mut document, node, Some(work));
            }
            (["keys", ids @ ..], _) => {
                document.keys = ids.iter().map(|id| key(id)).collect();
            }
            (["replace", node], _) => replace(&mut document, node),
            (["without", _], Some(service)) => {
                let id = service.id;
                document.services.retain(|s| s.id != id);
                document.bases.retain(|b| b.service != id);
            }
            (["end-maintenance", node], _) => maintain(&mut document, node, None),
            (["unlock", _], Some(service)) => service.lock = None,
            (["stop", _], Some(service)) => service.stopped = true,
            (["start", _], Some(service)) => service.stopped = false,
            (["profile", "fast"], _) => {
                document.profile = Profile::Fast;
                document.epoch = document.revision; // PROTOCOL 1: H and W are of the epoch
                document.bases.clear(); // nobody gets anything by it
            }
            (["fallback", "auto"], _) => document.fallback = Fallback::Automatic,
            (["fallback", "manual"], _) => document.fallback = Fallback::Manual,
            _ => panic!("no such change: {words:?}"),
        }
        self.hand_document(n, document);
    }

    fn list_nodes(&mut self, node: &str) {
        let n = self.member(node);
        let now = backstay_core::time::Mono(self.now);
        let Some(engine) = &self.nodes[n].engine else {
            return self.say(n, "(no agent)");
        };
        let nodes = engine.view(now).nodes;
        let nodes: Vec<String> = (nodes.iter())
            .map(|n| format!("{} {:?}", n.name, n.state))
            .collect();
        self.log.push(format!("     {}", nodes.join(", ")));
    }

    fn status(&mut self, node: &str) {
        let n = self.member(node);
        let now = backstay_core::time::Mono(self.now);
        let Some(engine) = &self.nodes[n].engine else {
            return self.say(n, "(no agent)");
        };
        let view = engine.view(now);
        for service in &view.services {
            let on: Vec<_> = service.running_on.iter().map(ToString::to_string).collect();
            let lock = service
                .lock
                .as_ref()
                .map_or(String::new(), |l| format!(" locked to {}", l.node));
            let line = format!(
                "     {} {:?} on [{}]{lock}: {}",
                service.name,
                service.state,
                on.join(", "),
                service.reason
            );
            self.log.push(line.trim_end().to_owned());
        }
        for alarm in view.alarms.iter().filter(|a| a.active) {
            self.log.push(format!(
                "     {:?} {}: {}",
                alarm.severity, alarm.id, alarm.cause
            ));
        }
        self.log.push(format!("     {}", view.advice));
    }
}
