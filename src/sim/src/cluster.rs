//! The cluster of a seed: who is in it, and what its document says.

use backstay_core::model::{
    Alias, Base, Changed, ClusterDocument, ClusterId, Failover, Fallback, MAX_MOVES_PER_HOUR,
    Member, NodeId, NodeName, Profile, Role, Safety, Service, ServiceId, SplitStops, Timing,
    Topology, WithoutMajority,
};

use crate::rng::Rng;

/// What a name must be like.
const GOOD: &str = "names of letters and digits are names";

/// The name of member `at` of a cluster with that many regular nodes.
fn name_of(at: usize, regular: usize) -> NodeName {
    let name = match at.checked_sub(regular) {
        None => format!("n{}", at + 1),
        Some(0) => "sb1".to_owned(),
        Some(w) => format!("w{w}"),
    };
    name.parse().expect(GOOD)
}

/// The document of a seed: `n-plus-one`, `available`, of `size` nodes if given, else 3 to 11.
pub(crate) fn document(rng: &mut Rng, size: Option<usize>) -> ClusterDocument {
    let size = size.unwrap_or_else(|| {
        // Small clusters are cheap and find most; large ones must be among them.
        let most = rng.pick(&[4, 5, 7, 11]);
        rng.between(3, most) as usize
    });
    let witness = size > 3 && rng.chance(300) || size == 3 && rng.chance(150) || size > 11;
    let regular = (size - 1 - usize::from(witness)).clamp(1, 10);
    let links = rng.pick(&[1, 1, 1, 2]);
    let profile = rng.pick(&[
        Profile::Lan,
        Profile::Lan,
        Profile::Lan,
        Profile::Vm,
        Profile::Wan,
        Profile::Fast,
    ]);
    let members: Vec<_> = (0..size)
        .map(|at| member(rng, at, regular, links))
        .collect();
    let services: Vec<_> = (0..regular).map(|at| service(rng, at, regular)).collect();
    let bases = (services.iter())
        .map(|s| Base {
            service: s.id,
            term: 1,
            holder: s.home().cloned(),
        })
        .collect();
    ClusterDocument {
        format: 1,
        name: "sim".parse().expect(GOOD),
        id: ClusterId(7),
        revision: 1,
        epoch: 1,
        changed: Changed {
            by: "sim".to_owned(),
            at: 0,
            what: "create".to_owned(),
        },
        deleted: false,
        topology: Topology::NPlusOne,
        safety: Safety::Available,
        without_majority: WithoutMajority::Stop,
        split_stops: rng.pick(&[SplitStops::Home, SplitStops::Standby]),
        preloaded: false,
        fallback: rng.pick(&[Fallback::Manual, Fallback::Automatic]),
        // F10. Nothing is drawn for it: a seed means the cluster that it always meant.
        moves_per_hour: [2, MAX_MOVES_PER_HOUR][(size + links) % 2],
        profile,
        timing: Timing {
            boot_wait_ms: Some(rng.between(2_000, 10_000) as u32),
            home_healthy_ms: Some(rng.between(2_000, 20_000) as u32),
            cold_start_ms: Some(rng.between(2_000, 20_000) as u32),
            ..Timing::default()
        },
        reference: None,
        arbiter: String::new(),
        port: 5980,
        next_service: ServiceId(regular as u16 + 1),
        keys: Vec::new(),
        members,
        services,
        former: Vec::new(),
        bases,
    }
}

fn member(rng: &mut Rng, at: usize, regular: usize, links: usize) -> Member {
    let role = match at.checked_sub(regular) {
        None => Role::Regular,
        Some(0) => Role::Standby,
        Some(_) => Role::Witness,
    };
    let base = |link: usize| format!("192.0.{}.{}/24", 2 + link, 11 + at);
    Member {
        name: name_of(at, regular),
        id: NodeId(0x100 + at as u64),
        incarnation: 1,
        role,
        bases: (0..links)
            .map(|l| base(l).parse().expect("an address"))
            .collect(),
        capacity: if role == Role::Standby {
            rng.between(1, 2) as u16
        } else {
            1
        },
        labels: Vec::new(),
        maintenance: None,
    }
}

fn service(rng: &mut Rng, at: usize, regular: usize) -> Service {
    let alias = format!("192.0.2.{}/24", 101 + at);
    Service {
        name: format!("web{}", at + 1).parse().expect(GOOD),
        id: ServiceId(at as u16 + 1),
        nodes: vec![name_of(at, regular), name_of(regular, regular)],
        priority: rng.pick(&[10, 20, 20, 30]),
        fallback: rng.pick(&[None, Some(Fallback::Manual), Some(Fallback::Automatic)]),
        failover: rng.pick(&[
            Failover::Automatic,
            Failover::Automatic,
            Failover::Automatic,
            Failover::Automatic,
            Failover::Automatic,
            Failover::Ordered,
        ]),
        instances: backstay_core::model::Instances::One,
        stopped: false,
        lock: None,
        requires: Vec::new(),
        files: Vec::new(),
        aliases: vec![Alias {
            address: alias.parse().expect("an address"),
            kind: backstay_core::model::AddressKind::Alias,
        }],
        units: Vec::new(),
        commands: Vec::new(),
        hooks: Vec::new(),
        data: Vec::new(),
    }
}
