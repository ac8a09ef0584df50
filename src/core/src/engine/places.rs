//! Members and services go by their place in the document. With another document what is kept of them moves along.

use crate::model::{ClusterDocument, NodeName};
use crate::time::Mono;

use super::Engine;

/// Where everybody of one document is in the next. By name: a machine that takes a dead one's place has its name (C16).
#[derive(Debug)]
pub(super) struct Places {
    members: Vec<Option<u8>>,
    services: Vec<Option<u8>>,
}

impl Places {
    pub(super) fn new(old: &ClusterDocument, new: &ClusterDocument) -> Self {
        let member = |name: &NodeName| new.members.iter().position(|m| m.name == *name);
        let service = |id| new.services.iter().position(|s| s.id == id);
        let small = |at: Option<usize>| u8::try_from(at?).ok();
        let members = old.members.iter().map(|m| small(member(&m.name)));
        let services = old.services.iter().map(|s| small(service(s.id)));
        Self {
            members: members.collect(),
            services: services.collect(),
        }
    }

    /// The new place of a member; none: it is gone.
    pub(super) fn of_member(&self, at: u8) -> Option<u8> {
        *self.members.get(usize::from(at))?
    }

    /// The new place of a service.
    pub(super) fn of_service(&self, at: u8) -> Option<u8> {
        *self.services.get(usize::from(at))?
    }
}

impl Engine {
    /// Before the present document gives way to a new one.
    pub(super) fn move_places(&mut self, new: &ClusterDocument, now: Mono) {
        let places = Places::new(&self.document, new);
        for local in &mut self.services {
            local.why.follow(&places);
        }
        self.move_alarms(&places, new, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::why::Why;
    use crate::engine::{Effect, Start};
    use crate::model::fixture;

    /// `n1`, whom nobody answers, after ten seconds.
    fn alone() -> Engine {
        let start = Start {
            boot: 1,
            incarnation: 0,
            nonce: 7,
            run: None,
            fresh: true,
            open: Vec::new(),
        };
        let mut engine = Engine::new(fixture::id(1), start, fixture::cluster(), Mono(0));
        run(&mut engine, 0, 10_000);
        engine
    }

    /// Lets the time go on; what was recorded of alarms.
    fn run(engine: &mut Engine, from_ms: u64, until_ms: u64) -> Vec<String> {
        for at in (from_ms..=until_ms).step_by(100) {
            engine.handle_timer(Mono::from_millis(at));
        }
        let all = core::iter::from_fn(|| engine.poll_effect());
        let records = all.filter_map(|effect| match effect {
            Effect::Record(record) => Some(record.sentence),
            _ => None,
        });
        records.filter(|said| said.starts_with("alarm")).collect()
    }

    /// Node and service are taken out, and whoever comes after them has another place.
    fn without_n2(engine: &Engine) -> ClusterDocument {
        let mut next = engine.document.clone();
        next.revision += 1;
        next.members.remove(1);
        next.services.remove(1);
        next.bases.remove(1);
        next
    }

    fn silent_nodes(engine: &Engine, at_ms: u64) -> Vec<(String, u64, u32)> {
        let alarms = engine.view(Mono::from_millis(at_ms)).alarms;
        let down = alarms.iter().filter(|a| a.id == "node-down" && a.active);
        let named = down.map(|a| (a.node.as_ref().unwrap().to_string(), a.age_ms, a.count));
        named.collect()
    }

    #[test]
    fn m1_alarms_go_with_their_nodes_when_one_before_them_is_removed() {
        let mut engine = alone();
        let before = silent_nodes(&engine, 10_000);
        assert_eq!(before.len(), 3, "{before:?}");
        let next = without_n2(&engine);
        engine.handle_document(next, Mono::from_millis(10_000));
        let said = run(&mut engine, 10_000, 10_000);
        assert!(
            said.contains(&"alarm over: n2 is not heard".to_owned()),
            "it is over: {said:?}"
        );
        let mut others = said
            .iter()
            .filter(|s| !s.contains("n2") && !s.contains("web2"));
        assert_eq!(others.next(), None);
        let said = run(&mut engine, 10_000, 12_000);
        assert!(said.is_empty(), "nothing else has changed: {said:?}");
        let expected = before.into_iter().filter(|(name, ..)| name != "n2");
        assert_eq!(
            silent_nodes(&engine, 10_000),
            expected.collect::<Vec<_>>(),
            "first time and count stay"
        );
    }

    #[test]
    fn f15_a_reason_goes_on_naming_the_same_node_and_service() {
        let mut engine = alone();
        engine.services[2].why = Why::HomeDown(2);
        engine.services[0].why = Why::NoRoom(2);
        let next = without_n2(&engine);
        let say = |e: &Engine| [0, 2].map(|i: usize| e.say(e.services[i].why));
        let before = say(&engine);
        engine.move_places(&next, Mono(0));
        engine.document = next;
        assert_eq!(say(&engine), before);
        assert!(before[1].contains("n3"), "{before:?}");
    }
}
