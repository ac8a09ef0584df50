//! Each action's plan and each refusal's text, by rule.

mod boot;
mod changes;
mod clusters;
mod goals;
mod keys;
mod maintenance;
mod replace;
mod services;
mod upgrade;
mod viewers;

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::*;
use crate::engine::{
    AddressView, ClusterView, LockView, NodeState, NodeView, ServiceState, ServiceView,
};
use crate::model::fixture::{cluster, id, node, system};
use crate::model::{
    ClusterDocument, Fallback, Lock, NodeName, Safety, ServiceName, SystemDocument,
};

const WALL: u64 = 1_800_000_100;

/// The lab's cluster as its nodes see it, all well; tests change what they need.
#[derive(Clone)]
struct World {
    system: SystemDocument,
    cluster: ClusterDocument,
    view: Option<ClusterView>,
    bases: BTreeMap<NodeName, Vec<IpNet>>,
    boot: BTreeMap<NodeName, Vec<BootAddress>>,
}

fn world() -> World {
    let cluster = cluster();
    World {
        system: system(),
        view: Some(view(&cluster)),
        cluster,
        boot: BTreeMap::new(),
        bases: [
            ("sb1", vec!["192.0.2.21/24"]),
            ("sb2", vec!["10.9.9.9/16", "192.0.2.22/24"]),
            ("w1", vec!["192.0.2.31/24"]),
        ]
        .into_iter()
        .map(|(n, b)| (node(n), b.iter().map(|b| b.parse().unwrap()).collect()))
        .collect(),
    }
}

fn view(d: &ClusterDocument) -> ClusterView {
    ClusterView {
        name: d.name.clone(),
        revision: d.revision,
        safety: Safety::Available,
        preloaded: false,
        seen_by: node("sb1"),
        nodes: d
            .members
            .iter()
            .map(|m| NodeView {
                name: m.name.clone(),
                role: m.role,
                state: NodeState::Up,
                age_ms: Some(10),
                revision: Some(d.revision),
                notes: Vec::new(),
                addresses: Vec::new(),
                maintenance: None,
            })
            .collect(),
        services: d
            .services
            .iter()
            .map(|s| ServiceView {
                name: s.name.clone(),
                home: s.home().unwrap().clone(),
                running_on: vec![s.home().unwrap().clone()],
                state: ServiceState::Running,
                priority: s.priority,
                fallback: d.fallback_of(s),
                lock: None::<LockView>,
                addresses: Vec::<AddressView>::new(),
                age_ms: Some(10),
                term: 3,
                reason: String::new(),
                on: BTreeMap::new(),
            })
            .collect(),
        alarms: Vec::new(),
        advice: String::new(),
    }
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

impl World {
    fn seen(&mut self, service: &str) -> &mut ServiceView {
        let view = self.view.as_mut().unwrap();
        view.services
            .iter_mut()
            .find(|s| s.name == name(service))
            .unwrap()
    }

    fn runs(mut self, service: &str, on: &[&str], state: ServiceState) -> Self {
        let seen = self.seen(service);
        seen.running_on = on.iter().map(|n| node(n)).collect();
        seen.state = state;
        self
    }

    fn state(mut self, of: &str, state: NodeState) -> Self {
        let view = self.view.as_mut().unwrap();
        for n in view.nodes.iter_mut().filter(|n| n.name == node(of)) {
            n.state = state;
        }
        self
    }

    fn document(mut self, change: impl FnOnce(&mut ClusterDocument)) -> Self {
        change(&mut self.cluster);
        self
    }

    fn locked(self, service: &str, at: &str) -> Self {
        self.document(|d| {
            let s = d.services.iter_mut().find(|s| s.name == name(service));
            s.unwrap().lock = Some(Lock {
                node: node(at),
                by: "eve@desk".to_owned(),
                at: WALL - 50,
                reason: "reboot".to_owned(),
                until: None,
            });
        })
    }

    fn unseen(mut self) -> Self {
        self.view = None;
        self
    }

    fn plan(&self, action: &Action) -> Result<Plan, Vec<Problem>> {
        let views: Vec<ClusterView> = self.view.iter().cloned().collect();
        plan(
            action,
            &Situation {
                system: &self.system,
                clusters: core::slice::from_ref(&self.cluster),
                views: &views,
                bases: &self.bases,
                boot: &self.boot,
                by: "adam@desk",
                wall: WALL,
            },
        )
    }

    #[track_caller]
    fn agreed(&self, action: &Action) -> Plan {
        let plan = self.plan(action).unwrap();
        // Whatever is planned is sound, newer by one, and ends in waiting for it.
        for d in &plan.documents {
            assert_eq!(d.problems(), []);
            assert_eq!(ClusterDocument::parse(&d.to_text()).unwrap(), *d);
            assert!(d.epoch <= d.revision && d.changed.by == "adam@desk");
            // U6: the nodes that commit it list it in the same words.
            assert_eq!(plan.system, self.system.with_cluster(d));
        }
        if plan.changed {
            assert_eq!(plan.steps.last().unwrap().kind, StepKind::Watch);
            assert!(plan.command.starts_with("backstay "), "{}", plan.command);
        } else {
            assert!(plan.documents.is_empty() && plan.steps.is_empty() && plan.order.is_none());
        }
        plan
    }

    #[track_caller]
    fn refused(&self, action: &Action, wanted: &[&str]) {
        let refused = self.plan(action).expect_err("must be refused");
        let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(refused, wanted);
    }
}

/// The sentences of one kind.
fn said(plan: &Plan, kind: ConsequenceKind) -> Vec<&str> {
    plan.consequences
        .iter()
        .filter(|c| c.kind == kind)
        .map(|c| c.sentence.as_str())
        .collect()
}

#[track_caller]
fn unchanged(plan: &Plan, sentence: &str) {
    assert!(!plan.changed);
    assert_eq!(said(plan, ConsequenceKind::Note), [sentence]);
}
