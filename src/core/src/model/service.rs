//! A service: what runs at home and the standby can take over.

use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{NodeName, ServiceId, ServiceName};

/// What moves between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Unique in the system (C13).
    pub name: ServiceName,
    /// Unique in the cluster for all time.
    pub id: ServiceId,
    /// Where it may run, best first; the first is its home.
    pub nodes: Vec<NodeName>,
    /// Lower is more important (F3).
    #[serde(default = "default_priority")]
    pub priority: u16,
    /// Overrides the cluster's (F7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Whether a failure moves it, or only an order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failover: Failover,
    /// How many nodes run it at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instances: Instances,
    /// F16: an admin stopped it; it runs nowhere until started.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stopped: bool,
    /// L1: it is pinned to a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// Labels a node must carry to run it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// C9: static files that must be the same on all its nodes, by full path. Backstay compares them and copies nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The addresses that move with it.
    #[serde(default, rename = "alias", skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
    /// systemd units, started in this order and stopped in reverse.
    #[serde(default, rename = "unit", skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<Unit>,
    /// Plain commands for machines or services without units.
    #[serde(default, rename = "command", skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// F12: told after a move.
    #[serde(default, rename = "hook", skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// What must go along.
    #[serde(default, rename = "data", skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataSet>,
}

/// The priority of a service that names none.
pub(crate) const fn default_priority() -> u16 {
    100
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Service {
    /// The first node of the list.
    pub fn home(&self) -> Option<&NodeName> {
        self.nodes.first()
    }

    /// The addresses that move with it by the gate, with prefix.
    pub fn moving(&self) -> impl Iterator<Item = IpNet> {
        let moves = self.aliases.iter();
        let moves = moves.filter(|alias| alias.kind == AddressKind::Alias);
        moves.map(|alias| alias.address)
    }

    /// F12: the units that may be started on one of its nodes.
    pub fn units_on(&self, node: &NodeName) -> impl Iterator<Item = &str> {
        let home = self.home() == Some(node);
        let units = self.units.iter();
        let units = units.filter(move |unit| home || unit.mode != UnitMode::HomeOnly);
        units.map(|unit| unit.name.as_str())
    }

    /// The programs of its commands and hooks.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        let commands = self.commands.iter();
        let lines = commands.flat_map(|c| [&c.start, &c.stop, &c.check]);
        let lines = lines.chain(self.hooks.iter().map(|h| &h.run));
        lines.filter_map(|line| Some(line.first()?.as_str()))
    }
}

/// When a service returns home (F7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// On an admin's order.
    #[default]
    Manual,
    /// When home has been healthy long enough (F9).
    #[serde(alias = "auto")]
    Automatic,
}

/// What moves a service off a failed home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failover {
    /// The failure itself (F2).
    #[default]
    #[serde(alias = "auto")]
    Automatic,
    /// An admin's order only.
    Ordered,
}

/// How many nodes run a service at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instances {
    /// One.
    #[default]
    One,
    /// All of its nodes.
    All,
}

/// A service pinned to the node where it runs (L1, L4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Where.
    pub node: NodeName,
    /// Who asked for it.
    pub by: String,
    /// When, seconds since 1970 UTC.
    pub at: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// L3: when it ends by itself, seconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// An address that moves with the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// With its prefix length, as it is put on the interface.
    pub address: IpNet,
    /// How clients follow it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: AddressKind,
}

impl Alias {
    /// The address without its prefix.
    pub fn ip(&self) -> IpAddr {
        self.address.addr()
    }
}

/// How clients follow a service's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressKind {
    /// The address moves.
    #[default]
    Alias,
    /// A DNS name is changed.
    Dns,
    /// A hook tells outside equipment.
    Hook,
    /// Clients know both.
    None,
}

/// A systemd unit of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Its full name, `web.service`.
    pub name: String,
    /// Where it is started (F12).
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: UnitMode,
}

/// Where a unit of a service is started (F12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitMode {
    /// With the service; its failure is the service's.
    #[default]
    Service,
    /// Not on the standby.
    HomeOnly,
    /// With the service wherever it runs; its failure is only told.
    Companion,
}

/// A plain command pair, for what has no unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments; no shell.
    pub start: Vec<String>,
    /// Program and arguments; no shell.
    pub stop: Vec<String>,
    /// Exits 0 while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// How long start and stop may take, ms.
    #[serde(default = "default_command_ms")]
    pub timeout_ms: u32,
}

const fn default_command_ms() -> u32 {
    90_000
}

/// A command that tells outside equipment (F12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// After what.
    pub after: HookMoment,
    /// Program and arguments; no shell. The service's name and the node's name are appended.
    pub run: Vec<String>,
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookMoment {
    /// The standby has the service.
    Takeover,
    /// Home has it again.
    Return,
}

/// A piece of a service's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// Unique in the service.
    pub name: String,
    /// Folders and files.
    pub paths: Vec<String>,
    /// Which way it goes.
    #[serde(default)]
    pub direction: Direction,
    /// Which nodes get it; none named: the service's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<NodeName>,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From home to the standby; back on fallback.
    #[default]
    HomeToStandby,
    /// From one to all.
    MasterToAll,
    /// Both ways; a conflict is shown.
    BothWithConflict,
}
