//! How the lab without root is now.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Loopback, WHAT_IT_IS};
use crate::plan::{Host, Kind};
use crate::status::HostState;

/// One host, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopbackHost {
    /// Host name.
    pub name: String,
    /// What it is meant to become.
    pub kind: Kind,
    /// How its agent is.
    pub state: HostState,
    /// The agent's process, while it is on.
    pub pid: Option<i32>,
    /// The address on which its agent hears the others.
    pub base: Ipv4Addr,
    /// What its agent says.
    pub log: String,
}

/// The whole lab, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopbackStatus {
    /// Its folder.
    pub folder: String,
    /// What is simulated.
    pub note: String,
    /// Its hosts.
    pub hosts: Vec<LoopbackHost>,
}

impl Loopback {
    /// How the lab is now.
    pub fn status(&self) -> LoopbackStatus {
        LoopbackStatus {
            folder: self.folder().display().to_string(),
            note: WHAT_IT_IS.to_owned(),
            hosts: self.hosts().iter().map(|h| self.host_status(h)).collect(),
        }
    }

    fn host_status(&self, host: &Host) -> LoopbackHost {
        let agent = self.agent(host);
        let (_, base) = host.on_loopback(self.state.network);
        let log = self.folder.host(&host.name).join("agent.log");
        LoopbackHost {
            name: host.name.clone(),
            kind: host.kind,
            state: match agent {
                None => HostState::Off,
                Some(agent) if agent.stopped() => HostState::Frozen,
                Some(_) => HostState::Running,
            },
            pid: agent.map(|agent| agent.pid),
            base,
            log: log.display().to_string(),
        }
    }
}

impl fmt::Display for LoopbackStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<5} {:<8} {:>8}  {:<13} log",
            "host", "state", "pid", "base"
        )?;
        for host in &self.hosts {
            let pid = host.pid.map_or_else(|| "-".to_owned(), |p| p.to_string());
            writeln!(
                f,
                "{:<5} {:<8} {pid:>8}  {:<13} {}",
                host.name,
                host.state,
                host.base.to_string(),
                host.log
            )?;
        }
        writeln!(f, "{}", self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_ends_in_what_is_simulated() {
        let host = |name: &str, state, pid| LoopbackHost {
            name: name.into(),
            kind: Kind::Regular,
            state,
            pid,
            base: Ipv4Addr::new(127, 98, 2, 11),
            log: "/tmp/lab/n1/agent.log".into(),
        };
        let status = LoopbackStatus {
            folder: "/tmp/lab".into(),
            note: WHAT_IT_IS.into(),
            hosts: vec![
                host("n1", HostState::Running, Some(42)),
                host("n2", HostState::Off, None),
            ],
        };
        assert_eq!(
            status.to_string(),
            format!(
                "host  state         pid  base          log\n\
                 n1    running        42  127.98.2.11   /tmp/lab/n1/agent.log\n\
                 n2    off             -  127.98.2.11   /tmp/lab/n1/agent.log\n\
                 {WHAT_IT_IS}\n"
            )
        );
    }
}
