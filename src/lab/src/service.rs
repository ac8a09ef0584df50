//! Installing the demonstration services in the hosts.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::plan::fleet;
use crate::run::run;

/// One demonstration service: where it lives and what address is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name, also of its unit (`web1.service`) and its folder (`/var/lib/web1`).
    pub name: String,
    /// Host on which it is started and enabled.
    pub home: String,
    /// Host on which its unit is present, but neither started nor enabled.
    pub standby: String,
    /// Addresses that move with it. It binds to them whether they are there or
    /// not, so that several services fit on one host.
    pub addresses: Vec<IpAddr>,
}

/// `web1` at `n1`, `web2` at `n2`, `web3` at `n3`, each with `sb1` to stand in.
pub fn demo_services() -> Vec<Service> {
    (1..=3)
        .zip(fleet(0))
        .map(|(number, home)| Service {
            name: format!("web{number}"),
            addresses: vec![home.address().into(), home.address6().into()],
            home: home.name,
            standby: "sb1".to_owned(),
        })
        .collect()
}

impl Service {
    /// Its systemd unit. `%H` is the name of the host where it runs. The niceness
    /// is for the figures: the hosts share their processors with whatever else
    /// the machine does.
    fn unit(&self) -> String {
        let name = &self.name;
        let mut addresses = String::new();
        for address in &self.addresses {
            // Writing to a string cannot fail.
            let _ = write!(addresses, " --address {address}");
        }
        format!(
            "[Unit]\nDescription=Demonstration service {name}\n\n\
             [Service]\nType=notify\nNotifyAccess=main\nStateDirectory={name}\n\
             ExecStart=/usr/local/bin/backstay-lab serve --name %H --service {name} --state /var/lib/{name}/counter{addresses}\n\
             Nice=-10\nRestart=on-failure\nTimeoutStopSec=5\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        )
    }
}

impl Lab {
    /// Installs a service on its home (started, enabled) and on its standby.
    /// Both hosts must be on.
    pub fn install_service(&self, service: &Service) -> Result<()> {
        for name in [&service.home, &service.standby] {
            self.put_service(service, name)?;
        }
        self.systemctl(
            &service.home,
            &["enable", "--now", "--quiet", &service.name],
        )
    }

    /// Puts the unit of a service on a host, which must be on. It is neither started nor enabled.
    pub fn put_service(&self, service: &Service, host: &str) -> Result<()> {
        let init = self.need_init(self.host(host)?)?;
        let unit = init
            .root()
            .join("etc/systemd/system")
            .join(format!("{}.service", service.name));
        fs::write(&unit, service.unit())
            .with_context(|| format!("cannot write the unit of {} in {host}", service.name))?;
        self.systemctl(host, &["daemon-reload"])
    }

    fn systemctl(&self, host: &str, arguments: &[&str]) -> Result<()> {
        let mut command: Command = self.host_command(host, "systemctl")?;
        run(command.args(arguments)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_binds_only_to_its_own_addresses() {
        let services = demo_services();
        let names: Vec<&str> = services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["web1", "web2", "web3"]);
        let unit = services[1].unit();
        assert!(
            unit.contains("--address 192.0.2.102 --address 2001:db8::102\n"),
            "{unit}"
        );
        assert!(unit.contains("--name %H"), "{unit}");
        assert!(unit.contains("/var/lib/web2/counter"), "{unit}");
        assert_eq!(
            (services[2].home.as_str(), services[2].standby.as_str()),
            ("n3", "sb1")
        );
    }
}
