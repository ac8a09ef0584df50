//! How long one frame of the menu takes with 10,000 services: at most 16 ms.

use std::collections::BTreeMap;

use backstay::output::style::Style;
use backstay::tui::keys::Key;
use backstay::tui::model::Model;
use backstay::tui::msg::{Event, Msg};
use backstay::tui::theme::Theme;
use backstay::tui::update::update;
use backstay::tui::view::view;
use backstay_core::engine::{
    AddressView, ClusterView, NodeState, NodeView, ServiceState, ServiceView,
};
use backstay_core::model::{Fallback, NodeName, Role, Safety};
use criterion::{Criterion, criterion_group, criterion_main};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const CLUSTERS: usize = 100;
const SERVICES: usize = 100;

fn node(name: &str, role: Role) -> NodeView {
    NodeView {
        name: name.parse().unwrap(),
        role,
        state: NodeState::Up,
        age_ms: Some(100),
        revision: Some(1),
        notes: Vec::new(),
        addresses: vec!["192.0.2.11".to_owned()],
        maintenance: None,
    }
}

fn cluster(c: usize) -> ClusterView {
    let mut nodes: Vec<NodeView> = (0..9)
        .map(|n| node(&format!("c{c}-n{n}"), Role::Regular))
        .collect();
    nodes.push(node(&format!("c{c}-sb"), Role::Standby));
    let services = (0..SERVICES).map(|s| {
        let home: NodeName = nodes[s % 9].name.clone();
        ServiceView {
            name: format!("c{c}-s{s}").parse().unwrap(),
            running_on: vec![home.clone()],
            home,
            state: ServiceState::Running,
            priority: 100,
            fallback: Fallback::Manual,
            lock: None,
            addresses: vec![AddressView {
                address: "192.0.2.101/24".to_owned(),
            }],
            age_ms: Some(100),
            term: 1,
            reason: String::new(),
            on: BTreeMap::new(),
        }
    });
    ClusterView {
        name: format!("c{c}").parse().unwrap(),
        revision: 1,
        safety: Safety::Available,
        preloaded: false,
        seen_by: nodes[0].name.clone(),
        services: services.collect(),
        nodes,
        alarms: Vec::new(),
        advice: "nothing to do".to_owned(),
    }
}

fn full() -> Model {
    let theme = Theme {
        signs: Style {
            color: true,
            unicode: true,
        },
    };
    let mut model = Model::new(theme, (132, 43), 0, Vec::new());
    for c in 0..CLUSTERS {
        tell(&mut model, Event::View(Box::new(cluster(c))));
    }
    tell(&mut model, Event::Key(Key::Tab));
    model
}

fn tell(model: &mut Model, event: Event) {
    update(
        model,
        Msg {
            at: 0,
            wall: 0,
            event,
        },
    );
}

fn frame(c: &mut Criterion) {
    let mut model = full();
    let mut terminal = Terminal::new(TestBackend::new(132, 43)).unwrap();
    c.bench_function("frame of 10,000 services", |b| {
        b.iter(|| terminal.draw(|f| view(&model, f)).map(|_| ()).unwrap());
    });
    c.bench_function("page down and frame", |b| {
        b.iter(|| {
            tell(&mut model, Event::Key(Key::PageDown));
            terminal.draw(|f| view(&model, f)).map(|_| ()).unwrap();
        });
    });
    c.bench_function("a cluster's news and frame", |b| {
        b.iter(|| {
            tell(&mut model, Event::View(Box::new(cluster(50))));
            terminal.draw(|f| view(&model, f)).map(|_| ()).unwrap();
        });
    });
}

criterion_group!(benches, frame);
criterion_main!(benches);
