//! Hosts that live in the test: installed, enrolled, listed and clustered step by step, and cut off
//! between any two.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use backstay_core::model::{ClusterName, NodeId, NodeName, SystemRole};
use backstay_core::plan::CreateCluster;
use backstay_wire::rpc::{AddressFact, Facts, InterfaceFact, UnitFact};

use crate::failure::{Changed, Exit, Failure};
use crate::remote::Contact;
use crate::setup::system::{Finding, Inspected, Known, Learned, Present, Shown, System, Trip};

/// One host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Host {
    pub(super) hostname: String,
    pub(super) address: String,
    /// On a second interface.
    pub(super) second: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) installed: bool,
    pub(super) enrolled: Option<NodeName>,
    /// In the system's index, with its role.
    pub(super) listed: Option<SystemRole>,
    /// A check that fails, and how often it still does.
    pub(super) fails: Option<(String, bool, usize)>,
    /// Shows the key of that host in place of its own.
    pub(super) clone_of: Option<String>,
}

/// All hosts, and the cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) committed: Option<CreateCluster>,
    pub(super) indexed: bool,
    pub(super) watched: bool,
    /// What was done so far; cut off before this one.
    pub(super) steps: usize,
    pub(super) cut: Option<usize>,
    pub(super) refused: usize,
}

#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Rc<RefCell<World>>);

pub(super) fn pair() -> Fake {
    let fake = Fake::default();
    for (host, hostname, unit) in [
        ("192.0.2.101", "n1.example.org", Some("web1.service")),
        ("192.0.2.21", "sb1", None),
    ] {
        fake.0.borrow_mut().hosts.insert(
            host.to_owned(),
            Host {
                hostname: hostname.to_owned(),
                address: format!("{host}/24"),
                unit: unit.map(str::to_owned),
                ..Host::default()
            },
        );
    }
    fake
}

impl World {
    /// Everything that is there to compare.
    pub(super) fn end(&self) -> (BTreeMap<String, Host>, Option<CreateCluster>, bool) {
        let mut committed = self.committed.clone();
        if let Some(c) = &mut committed {
            // Drawn at random.
            c.id = backstay_core::model::ClusterId(0);
        }
        (self.hosts.clone(), committed, self.indexed)
    }

    /// One thing that is done; a session that is killed does no more.
    fn step(&mut self) -> Result<(), Failure> {
        if self.cut == Some(self.steps) {
            self.cut = None;
            return Err(Failure::new(Exit::Error, "killed").changed(Changed::Unknown));
        }
        self.steps += 1;
        Ok(())
    }

    fn print(host: &str) -> String {
        format!("SHA256:{host}")
    }
}

fn finding(host: &str, check: &str, fails: Option<bool>) -> Finding {
    Finding {
        host: host.to_owned(),
        check: check.to_owned(),
        wrong: fails.map(|_| format!("{check} is bad on {host}")),
        mend: format!("mend {check}"),
        may_ignore: fails == Some(true),
    }
}

impl Host {
    /// Its finding of a phase: warnings come after the agent runs, refusals before.
    fn finding(&mut self, host: &str, check: &str) -> Finding {
        match &mut self.fails {
            Some((name, may_ignore, times)) if name == check && *times > 0 => {
                *times -= 1;
                finding(host, check, Some(*may_ignore))
            }
            _ => finding(host, check, None),
        }
    }
}

impl System for Fake {
    fn present(&mut self) -> Result<Present, Failure> {
        let world = self.0.borrow();
        let id = |name: &NodeName| NodeId(name.as_str().bytes().map(u64::from).sum());
        let nodes = world.hosts.iter().filter_map(|(host, h)| {
            let (name, role) = (h.enrolled.clone()?, h.listed?);
            let member = world.committed.as_ref();
            let member =
                member.filter(|c| c.standby == name || c.services.iter().any(|s| s.node == name));
            Some(Known {
                id: id(&name),
                name,
                contact: host.clone(),
                prints: vec![World::print(host)],
                role,
                cluster: member.map(|c| c.name.clone()),
            })
        });
        Ok(Present {
            nodes: nodes.collect(),
            clusters: world.committed.iter().map(|c| c.name.clone()).collect(),
        })
    }

    fn look(&mut self, hosts: &[Contact]) -> Vec<Result<Shown, Failure>> {
        let world = self.0.borrow();
        let look = |host: &Contact| match world.hosts.get(&host.host) {
            Some(h) => Ok(Shown {
                kind: "ssh-ed25519".to_owned(),
                print: World::print(h.clone_of.as_ref().unwrap_or(&host.host)),
                // What was installed is remembered.
                vouched: h.enrolled.is_some(),
            }),
            None => Err(Failure::new(Exit::Unreachable, format!("{host}: no route"))),
        };
        hosts.iter().map(look).collect()
    }

    fn inspect(&mut self, hosts: &[(Contact, String)]) -> Vec<Result<Inspected, Failure>> {
        let mut world = self.0.borrow_mut();
        let mut inspect = |(host, print): &(Contact, String)| {
            assert_eq!(*print, World::print(&host.host), "trusted by its key");
            let h = world.hosts.get_mut(&host.host).unwrap();
            let id = |name: &NodeName| NodeId(name.as_str().bytes().map(u64::from).sum());
            Ok(Inspected {
                hostname: h.hostname.clone(),
                enrolled: h.enrolled.clone().map(|name| (name.clone(), id(&name))),
                findings: vec![
                    finding(&host.host, "ssh", None),
                    h.finding(&host.host, "nft"),
                ],
            })
        };
        hosts.iter().map(&mut inspect).collect()
    }

    fn admit(&mut self, host: &Contact, _print: &str, name: &NodeName) -> Result<(), Failure> {
        let mut world = self.0.borrow_mut();
        world.step()?;
        world.hosts.get_mut(&host.host).unwrap().installed = true;
        world.step()?;
        let h = world.hosts.get_mut(&host.host).unwrap();
        assert!(
            h.enrolled.is_none() || h.enrolled.as_ref() == Some(name),
            "named twice"
        );
        h.enrolled = Some(name.clone());
        world.step()?;
        world.hosts.get_mut(&host.host).unwrap().listed = Some(SystemRole::Free);
        Ok(())
    }

    fn assign(&mut self, node: &NodeName, role: SystemRole) -> Result<(), Failure> {
        let mut world = self.0.borrow_mut();
        world.step()?;
        let mut hosts = world.hosts.values_mut();
        hosts
            .find(|h| h.enrolled.as_ref() == Some(node))
            .unwrap()
            .listed = Some(role);
        Ok(())
    }

    fn learn(&mut self, nodes: &[NodeName]) -> Result<Learned, Failure> {
        let mut world = self.0.borrow_mut();
        let mut learned = Learned::default();
        for h in world.hosts.values_mut() {
            let Some(name) = h.enrolled.clone().filter(|n| nodes.contains(n)) else {
                continue;
            };
            learned
                .findings
                .push(h.finding(name.as_str(), "clock-not-kept"));
            learned.trips.push(Trip {
                node: name.clone(),
                usual_us: 1_000,
                longest_us: 3_500,
            });
            let cables = [("eth0", Some(&h.address)), ("eth1", h.second.as_ref())];
            let interfaces = cables.into_iter().filter_map(|(name, address)| {
                Some(InterfaceFact {
                    name: name.to_owned(),
                    addresses: vec![AddressFact {
                        address: address?.clone(),
                        file: "/etc/network/interfaces".to_owned(),
                        ..Default::default()
                    }],
                    ..InterfaceFact::default()
                })
            });
            let units = h.unit.iter().map(|unit| UnitFact {
                name: unit.clone(),
                active: "active".to_owned(),
                enabled: true,
            });
            learned.facts.insert(
                name,
                Facts {
                    units: units.collect(),
                    gateways: vec!["192.0.2.1".parse().unwrap()],
                    interfaces: interfaces.collect(),
                    ..Facts::default()
                },
            );
        }
        Ok(learned)
    }

    fn plan(&mut self, wanted: &CreateCluster, _ignore: &[String]) -> Result<String, Failure> {
        let mut world = self.0.borrow_mut();
        if world.refused > 0 {
            world.refused -= 1;
            return Err(Failure::new(
                Exit::Refused,
                "refused by the rules; nothing was changed",
            ));
        }
        Ok(format!("create the cluster {}\n", wanted.name))
    }

    fn create(&mut self, wanted: &CreateCluster, _ignore: &[String]) -> Result<(), Failure> {
        let mut world = self.0.borrow_mut();
        assert!(world.committed.is_none(), "created twice");
        world.step()?;
        world.committed = Some(wanted.clone());
        world.step()?;
        world.indexed = true;
        world.step()?;
        world.watched = true;
        Ok(())
    }

    fn watch(&mut self, cluster: &ClusterName) -> Result<(), Failure> {
        let mut world = self.0.borrow_mut();
        assert_eq!(world.committed.as_ref().map(|c| &c.name), Some(cluster));
        world.indexed = true;
        world.step()?;
        world.watched = true;
        Ok(())
    }

    fn draw(&mut self) -> Result<(u64, String), Failure> {
        Ok((self.0.borrow().steps as u64, "ab".repeat(32)))
    }
}
