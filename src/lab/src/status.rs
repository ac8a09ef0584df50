//! How the lab is now.

use std::fmt::{self, Write as _};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::lab::Lab;
use crate::net;
use crate::plan::{Host, Kind, Mac};
use crate::rules::Cut;

/// How a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// On.
    Running,
    /// On, but every process is stopped.
    Frozen,
    /// Off: never booted, powered off, killed.
    Off,
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Off => "off",
        })
    }
}

/// One host, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Host name.
    pub name: String,
    /// What it is meant to become.
    pub kind: Kind,
    /// How it is.
    pub state: HostState,
    /// Its PID 1, as the machine counts, while it is on.
    pub pid: Option<i32>,
    /// Processes of it that are stopped.
    pub stopped_processes: usize,
    /// How often it has been booted.
    pub boots: u32,
    /// How its last run ended, while it is off.
    pub ended: Option<String>,
    /// MAC address of its `eth0`.
    pub mac: Mac,
    /// Addresses it has now, `address/length`, link-local left out.
    pub addresses: Vec<String>,
}

/// The whole lab, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its folder.
    pub folder: String,
    /// Its hosts.
    pub hosts: Vec<HostStatus>,
    /// What is cut.
    pub cuts: Vec<Cut>,
}

impl Lab {
    /// How the lab is now.
    pub fn status(&self) -> Result<Status> {
        let hosts: Result<Vec<HostStatus>> =
            self.hosts().iter().map(|h| self.host_status(h)).collect();
        Ok(Status {
            folder: self.folder().display().to_string(),
            hosts: hosts?,
            cuts: self.cuts()?,
        })
    }

    fn host_status(&self, host: &Host) -> Result<HostStatus> {
        let running = self.folder.running(&host.name)?;
        let init = self.init(host);
        let stopped = init.map_or(0, |init| {
            init.container().into_iter().filter(|p| p.stopped()).count()
        });
        Ok(HostStatus {
            name: host.name.clone(),
            kind: host.kind,
            state: match init {
                None => HostState::Off,
                Some(init) if init.stopped() => HostState::Frozen,
                Some(_) => HostState::Running,
            },
            pid: init.map(|init| init.pid),
            stopped_processes: stopped,
            boots: running.as_ref().map_or(0, |r| r.boots),
            ended: running.and_then(|r| r.ended).filter(|_| init.is_none()),
            mac: host.mac(),
            addresses: init.map(|_| net::addresses(host)).unwrap_or_default(),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<5} {:<8} {:>8} {:>5}  addresses",
            "host", "state", "pid", "boots"
        )?;
        for host in &self.hosts {
            let pid = host
                .pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let mut notes = host.addresses.join(" ");
            if host.stopped_processes > 0 {
                write!(notes, " ({} stopped)", host.stopped_processes)?;
            }
            if let Some(ended) = &host.ended {
                notes.push_str(ended);
            }
            writeln!(
                f,
                "{:<5} {:<8} {pid:>8} {:>5}  {notes}",
                host.name, host.state, host.boots
            )?;
        }
        for cut in &self.cuts {
            let link = cut
                .link
                .map_or_else(String::new, |l| format!(" on link {l}"));
            writeln!(f, "cut: {} is not heard by {}{link}", cut.from, cut.to)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_state_addresses_and_cuts() {
        let host = |name: &str, state, pid, ended: Option<&str>| HostStatus {
            name: name.into(),
            kind: Kind::Regular,
            state,
            pid,
            stopped_processes: 0,
            boots: 1,
            ended: ended.map(Into::into),
            mac: Mac::of(1),
            addresses: pid
                .map(|_| "192.0.2.101/24".to_owned())
                .into_iter()
                .collect(),
        };
        let status = Status {
            folder: "/var/lib/backstay-lab".into(),
            hosts: vec![
                host("n1", HostState::Running, Some(42), None),
                host("n2", HostState::Off, None, Some("powered off")),
            ],
            cuts: vec![Cut::new("n1", "sb1", None)],
        };
        assert_eq!(
            status.to_string(),
            "host  state         pid boots  addresses\n\
             n1    running        42     1  192.0.2.101/24\n\
             n2    off             -     1  powered off\n\
             cut: n1 is not heard by sb1\n"
        );
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }
}
