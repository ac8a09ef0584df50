//! The operations that are cut off: what each needs first, its command, and how one sees that it took effect.

use anyhow::{Context as _, Result, ensure};
use backstay_core::engine::{ClusterView, NodeState, ServiceState, ServiceView};
use backstay_core::model::{ClusterDocument, NodeName, SystemRole};
use backstay_lab::{HostState, Service};

use super::super::ground::{CLUSTER, Ground, LIMIT, create_command, runs_on};
use super::look::{Look, Which};
use crate::failure::Exit;

/// The node that comes and goes. Two hosts take turns in being it.
const NODE: &str = "r1";
const HOSTS: [&str; 2] = ["x1", "x2"];
/// Its service, and the addresses.
const SERVICE: &str = "web4";
const ALIAS: [u8; 4] = [192, 0, 2, 104];
const WITH: &str = "web4=r1,alias=192.0.2.104/24,base=192.0.2.14/24,unit=web4.service";
/// The hosts share this machine's clock, NTP has no way in; and an alias that was given back is on its host, and in no file.
const IGNORED: [&str; 4] = [
    "--ignore-check",
    "clock-not-kept",
    "--ignore-check",
    "host-network",
];

/// A change that is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    AddNode,
    Set,
    Replace,
    RemoveNode,
    Role,
    Delete,
}

/// Makes the node that comes and goes, where it was never made.
pub(super) fn lay_out(ground: &Ground) -> Result<()> {
    for host in HOSTS {
        ensure!(
            ground.lab.host(host).is_ok(),
            "this needs two more hosts: `backstay lab up --extra-hosts 2`"
        );
    }
    power_on(ground)?;
    let service = Service {
        name: SERVICE.to_owned(),
        home: HOSTS[0].to_owned(),
        standby: "sb1".to_owned(),
        addresses: vec![ALIAS.into()],
    };
    for host in [HOSTS[0], HOSTS[1], "sb1"] {
        ground.lab.put_service(&service, host)?;
    }
    let nodes = ground.look(&["node", "list", "--output", "json"])?;
    if !nodes.contains(&format!("\"{NODE}\"")) {
        ground.backstay(&["node", "add", HOSTS[0], "--name", NODE])?;
    }
    Ok(())
}

fn power_on(ground: &Ground) -> Result<()> {
    for host in ground.lab.status()?.hosts {
        if host.state == HostState::Off {
            ground.lab.revive(&host.name)?;
            ground.lab.wait_ready(&host.name, LIMIT)?;
        }
    }
    Ok(())
}

fn node() -> Result<NodeName> {
    Ok(NODE.parse()?)
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

impl Operation {
    /// In the order in which each leaves what the next needs.
    pub(super) const ALL: [Self; 7] = [
        Self::Create,
        Self::AddNode,
        Self::Set,
        Self::Replace,
        Self::RemoveNode,
        Self::Role,
        Self::Delete,
    ];

    /// The name of its series.
    pub(super) fn series(self) -> &'static str {
        super::NAMES[1 + self as usize]
    }

    /// What its command says on its way, of what moments are counted from.
    pub(super) fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Role => &["change lock", "writing revision"],
            Self::Replace => &[
                "knows its name",
                "change lock",
                "staging revision",
                "committing revision",
                "writing revision",
            ],
            _ => &[
                "change lock",
                "staging revision",
                "committing revision",
                "writing revision",
            ],
        }
    }

    /// How it may end when it is given once more after it took effect: nothing to change, or a refusal that says so.
    pub(super) fn already(self) -> &'static [Exit] {
        match self {
            Self::Create | Self::AddNode | Self::Delete => &[Exit::Refused],
            Self::Set | Self::Replace | Self::RemoveNode | Self::Role => &[Exit::Done],
        }
    }

    /// Brings about what it needs; its command.
    pub(super) fn prepare(self, ground: &Ground) -> Result<Vec<String>> {
        let is = rest(ground)?;
        let joined = |d: &ClusterDocument| d.members.iter().any(|m| m.name.as_str() == NODE);
        let joined = is.document.as_ref().is_some_and(joined);
        let there = is.document.is_some();
        match self {
            Self::Create if there => drop(ground.backstay(&["cluster", "delete", CLUSTER])?),
            Self::Create => {}
            _ if !there => create(ground)?,
            _ => {}
        }
        match self {
            Self::AddNode | Self::Role if joined => {
                ground.backstay(&["cluster", "remove-node", CLUSTER, NODE])?;
            }
            Self::Replace | Self::RemoveNode if !joined => {
                free(ground, &is)?;
                ground.backstay(&add_node())?;
            }
            _ => {}
        }
        Ok(match self {
            Self::Create => create_command(ground.lab.shape()),
            Self::AddNode => {
                free(ground, &is)?;
                strings(&add_node())
            }
            // Another one each time.
            Self::Set => {
                let seconds = 100 + is.document.map_or(0, |d| d.revision);
                let healthy = format!("{seconds}s");
                strings(&["cluster", "set", CLUSTER, "--home-healthy", &healthy])
            }
            Self::Replace => {
                let spare = spare(&rest(ground)?)?;
                kill(ground, &spare)?;
                let with = ["node", "replace", NODE, "--with", &spare];
                strings(&[&with[..], &IGNORED].concat())
            }
            Self::RemoveNode => strings(&["cluster", "remove-node", CLUSTER, NODE]),
            Self::Role => {
                let role = match role(&is)? {
                    SystemRole::Witness => "free",
                    _ => "witness",
                };
                strings(&["node", "role", NODE, role])
            }
            Self::Delete => strings(&["cluster", "delete", CLUSTER]),
        })
    }

    /// Brings about that it can be given once more. A standby that has just booted does not know yet what it will carry,
    /// and nobody else does: refused (U7). Services that were taken over meanwhile must be home (C15).
    pub(super) fn ready(self, ground: &Ground) -> Result<()> {
        if matches!(self, Self::Delete | Self::RemoveNode) {
            ground.settle()?;
        } else if self == Self::Replace {
            ground.wait("it is settled what became of its service", |v| {
                let settled = |s: &ServiceView| {
                    matches!(s.state, ServiceState::Running | ServiceState::Displaced)
                };
                let mut services = v.services.iter();
                is_down(v) && services.any(|s| s.name.as_str() == SERVICE && settled(s))
            })?;
        }
        Ok(())
    }

    /// What it may have left to be done. A machine that was replaced comes back: it learns of it, and is free.
    pub(super) fn clear(self, ground: &Ground) -> Result<()> {
        if self != Self::Replace {
            return Ok(());
        }
        power_on(ground)?;
        let (now, _) = Look::settled(ground, self, None)?;
        let old = spare(&now)?;
        let addresses = ground.run_in(&old, "ip", &["-o", "address"])?;
        for gone in [" 192.0.2.104/", " 192.0.2.14/"] {
            ensure!(
                !addresses.contains(gone),
                "{old} was replaced and has{gone}: {addresses}"
            );
        }
        Ok(())
    }

    /// Which of both the hosts have; none: something else.
    pub(super) fn which(self, before: &Look, now: &Look) -> Option<Which> {
        if self == Self::Role {
            let revision = |look: &Look| look.system.as_ref().map(|s| s.revision);
            let (was, is) = (revision(before)?, revision(now)?);
            return match is.checked_sub(was)? {
                0 => Some(Which::Before),
                1 => Some(Which::After),
                _ => None,
            };
        }
        match (&before.document, &now.document) {
            (None, None) => Some(Which::Before),
            (Some(was), Some(is)) if was == is => Some(Which::Before),
            (Some(was), Some(is)) if is.id == was.id && is.revision == was.revision + 1 => {
                Some(Which::After)
            }
            (None, Some(is)) if is.revision == 1 => Some(Which::After),
            (Some(_), None) if self == Self::Delete => Some(Which::After),
            _ => None,
        }
    }
}

fn add_node() -> Vec<&'static str> {
    let add = ["cluster", "add-node", CLUSTER, NODE, "--service", WITH];
    [&add[..], &IGNORED].concat()
}

fn create(ground: &Ground) -> Result<()> {
    let command = create_command(ground.lab.shape());
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    ground.backstay(&command).map(drop)
}

fn role(is: &Look) -> Result<SystemRole> {
    let system = is.system.as_ref().context("no system")?;
    Ok(system
        .node(&node()?)
        .context("it is not in the system")?
        .role)
}

/// A witness becomes free.
fn free(ground: &Ground, is: &Look) -> Result<()> {
    if role(is)? == SystemRole::Witness {
        ground.backstay(&["node", "role", NODE, "free"])?;
    }
    Ok(())
}

/// Everything on, all agree, every service at home.
fn rest(ground: &Ground) -> Result<Look> {
    power_on(ground)?;
    let (look, _) = Look::settled(ground, Operation::Set, None)?;
    if look.document.is_some() {
        ground.settle()?;
    }
    Ok(look)
}

/// The host that is not the node now.
fn spare(is: &Look) -> Result<String> {
    let system = is.system.as_ref().context("no system")?;
    let id = system.node(&node()?).context("it is not in the system")?.id;
    let host = is.host_of(id).context("no host is it")?;
    let other = HOSTS.into_iter().find(|h| *h != host);
    Ok(other.context("no host is spare")?.to_owned())
}

/// The node's power fails; its service is taken over.
fn kill(ground: &Ground, spare: &str) -> Result<()> {
    let host = HOSTS.into_iter().find(|h| *h != spare);
    ground.lab.kill(host.context("no host is it")?)?;
    ground.wait("the standby runs its service", |v| {
        is_down(v) && runs_on(v, SERVICE, "sb1")
    })?;
    Ok(())
}

/// The node is.
fn is_down(view: &ClusterView) -> bool {
    let mut nodes = view.nodes.iter();
    nodes.any(|n| n.name.as_str() == NODE && n.state == NodeState::Down)
}
