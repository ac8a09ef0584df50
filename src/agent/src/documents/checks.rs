//! Whether this node can be what a document wants it to be.

use backstay_core::engine::UnitsState;
use backstay_core::model::{
    ClusterDocument, Member, Problem, Role, RuleId, Service, SystemRole, SystemViewer,
};
use backstay_wire::rpc::Facts;

use crate::decide::Errand;
use crate::host::network::Wanted;
use crate::store::{Identity, Shelf};

/// What came of putting on an alias that is the machine's own again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOn {
    /// It is on the machine.
    There,
    /// Another machine has it.
    Anothers,
}

/// The machine, as far as documents concern it. May block.
pub trait Machine: Send {
    /// What it is.
    fn facts(&mut self) -> Facts;
    /// What runs here now of a service; waits no longer than a few seconds.
    fn look(&mut self, errand: &Errand) -> UnitsState;
    /// Which of these addresses, which are on its subnets and not on it, another machine has. May ask for a moment.
    fn in_use(&mut self, addresses: &[ipnet::IpNet]) -> Vec<std::net::IpAddr>;
    /// The units of these services that this node may run: systemd shall not start them by itself at boot. Of
    /// all other units that were kept from it before, it shall again.
    fn keep_from_boot(&mut self, units: &[String]) -> anyhow::Result<()>;
    /// C15: its own network configuration shall bring up at boot what this node has by its documents.
    /// Answers the aliases that are its own again and not on it, because it was booted without them.
    fn settle_network(&mut self, wanted: &Wanted) -> anyhow::Result<Vec<ipnet::IpNet>>;
    /// C15: puts such an alias on, as an ordinary address, unless another machine has it.
    fn put_on(&mut self, alias: ipnet::IpNet) -> anyhow::Result<PutOn>;
    /// C15: takes off the bases that no document gives this node any more, once no connection uses them, or at once.
    /// Whether some are left that may go later.
    fn release_bases(&mut self, wanted: &Wanted, at_once: bool) -> anyhow::Result<bool>;
    /// U11: the keys of these viewers, and no others, may look.
    fn let_in(&mut self, viewers: &[SystemViewer]) -> anyhow::Result<()>;
}

/// The document has a place for this node, or says that it has none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is a member in this role.
    In(Role),
    /// It is not, or the cluster is deleted.
    Out,
}

/// This node's place in a document.
pub fn place(document: &ClusterDocument, me: &Identity) -> Place {
    match document.member_by_id(me.id) {
        Some(member) if !document.deleted => Place::In(member.role),
        _ => Place::Out,
    }
}

/// Everything that speaks against taking a document here, except what the machine lacks. A staged document of another
/// cluster counts like a present one (C3): it may be committed at any moment. Not so one that this document begins
/// anew.
pub fn problems(document: &ClusterDocument, me: &Identity, shelf: &Shelf) -> Vec<Problem> {
    let staged = shelf.staged().filter(|s| !begins_anew(document, s, shelf));
    let mine: Vec<ClusterDocument> = shelf.present().chain(staged).cloned().collect();
    let mut problems = document.against_node(&me.name, me.id, &mine);
    // A cluster that is both present and staged is named once.
    let mut named = std::collections::BTreeSet::new();
    problems.retain(|problem| named.insert(problem.to_string()));
    let known = shelf
        .get_by_id(document.id)
        .and_then(|s| s.present.as_ref());
    if let Some(known) = known.filter(|known| known.name != document.name) {
        problems.push(problem(
            "C13",
            format!("cluster {}", document.name),
            format!("this cluster is called {} here", known.name),
            "keep its name".into(),
        ));
    }
    problems
}

/// U6: a session that ended between staging a new cluster and committing it left this behind, and somebody creates the
/// cluster of that name once more. Whoever has committed the first one refuses the second by C3, and its members are all
/// asked: so nobody has, if the second is committed at all.
fn begins_anew(document: &ClusterDocument, staged: &ClusterDocument, shelf: &Shelf) -> bool {
    let never_present = shelf
        .get(&staged.name)
        .is_none_or(|stored| stored.present.is_none());
    let asked = |m: &Member| document.member_by_id(m.id).is_some();
    never_present
        && staged.name == document.name
        && (staged.revision, document.revision) == (1, 1)
        && staged.members.iter().all(asked)
}

/// What this machine lacks to be the member that the document says: its subnets and the units.
pub fn machine_problems(document: &ClusterDocument, me: &Identity, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(member) = document.member_by_id(me.id).filter(|_| !document.deleted) else {
        return problems;
    };
    let present: Vec<ipnet::IpNet> = facts
        .interfaces
        .iter()
        .flat_map(|i| &i.addresses)
        .filter_map(|a| a.address.parse().ok())
        .collect();
    for base in &member.bases {
        // C11: the base may be new; then the address that becomes the alias shows the interface.
        let on_subnet = |a: &ipnet::IpNet| a.contains(&base.addr()) || base.contains(&a.addr());
        if !present.iter().any(on_subnet) {
            problems.push(problem(
                "C5",
                format!("node {}", me.name),
                format!("no interface of this machine is on the subnet of the base address {base}"),
                "use an address of a subnet that the machine is on".into(),
            ));
        }
    }
    for service in &document.services {
        for unit in units_here(service, member) {
            if !facts.units.iter().any(|u| u.name == unit) {
                problems.push(problem(
                    "C9",
                    format!("service {}", service.name),
                    format!("node {} has no unit {unit}", me.name),
                    "install it there, or take it out of the service".into(),
                ));
            }
        }
    }
    problems
}

/// C13: base addresses that this machine is to take and another machine has.
pub fn taken_bases(
    document: &ClusterDocument,
    me: &Identity,
    machine: &mut dyn Machine,
) -> Vec<Problem> {
    let Some(member) = document.member_by_id(me.id).filter(|_| !document.deleted) else {
        return Vec::new();
    };
    let facts = machine.facts();
    let here = facts.interfaces.iter().flat_map(|i| &i.addresses);
    let here: Vec<ipnet::IpNet> = here.filter_map(|a| a.address.parse().ok()).collect();
    let missing = |base: &&ipnet::IpNet| !here.iter().any(|a| a.addr() == base.addr());
    let new: Vec<ipnet::IpNet> = member.bases.iter().filter(missing).copied().collect();
    if new.is_empty() {
        return Vec::new();
    }
    let used = machine.in_use(&new).into_iter();
    used.map(|base| {
        problem(
            "C13",
            format!("node {}", me.name),
            format!("another machine has its base address {base}"),
            "power that machine off, or use another address".into(),
        )
    })
    .collect()
}

/// F12: the units of a service that may be started on that member.
pub fn units_here<'a>(service: &'a Service, member: &'a Member) -> impl Iterator<Item = &'a str> {
    let listed = service.nodes.contains(&member.name);
    let units = service.units_on(&member.name);
    units.filter(move |_| listed)
}

/// All units of a document that this node may start.
pub fn units_of(document: &ClusterDocument, me: &Identity) -> Vec<String> {
    let Some(member) = document.member_by_id(me.id).filter(|_| !document.deleted) else {
        return Vec::new();
    };
    let all = document.services.iter();
    all.flat_map(|service| units_here(service, member))
        .map(str::to_owned)
        .collect()
}

/// C16: units that this node started until another machine took its place.
pub fn units_lost(document: &ClusterDocument, me: &Identity) -> Vec<String> {
    let Some((former, _)) = document.replaced(me.id) else {
        return Vec::new();
    };
    let services = document.services.iter();
    services
        .filter(|service| service.nodes.contains(&former.name))
        .flat_map(|service| &service.units)
        .map(|unit| unit.name.clone())
        .collect()
}

/// What the system says that this node is.
pub fn role(me: Option<&Identity>, shelf: &Shelf) -> SystemRole {
    let listed = me.and_then(|me| shelf.system()?.node(&me.name));
    listed.map_or(SystemRole::Free, |node| node.role)
}

fn problem(rule: &'static str, place: String, what: String, mend: String) -> Problem {
    Problem {
        rule: RuleId::of(rule),
        place,
        what,
        mend,
    }
}
