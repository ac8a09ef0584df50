//! Whichever lab there is in a folder: real hosts, or agents on loopback addresses.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::fault::Freeze;
use crate::lab::Lab;
use crate::loopback::{Loopback, LoopbackStatus};
use crate::status::Status;

/// How long a host may take to boot on a busy machine.
const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// A lab of either kind.
#[derive(Debug, Clone)]
pub enum Site {
    /// Real hosts; with root.
    Hosts(Lab),
    /// Agents as processes of this machine; without.
    Loopback(Loopback),
}

/// Something was asked that only real hosts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnlyHosts(&'static str);

impl fmt::Display for OnlyHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lab on loopback addresses {}", self.0)
    }
}

impl std::error::Error for OnlyHosts {}

/// How the lab is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum SiteStatus {
    /// Real hosts.
    Hosts(Status),
    /// Agents on loopback addresses.
    Loopback(LoopbackStatus),
}

impl fmt::Display for SiteStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(status) => status.fmt(f),
            Self::Loopback(status) => status.fmt(f),
        }
    }
}

impl Site {
    /// The lab in this folder; errors if none is up there.
    pub fn open_in(folder: &Path) -> Result<Self> {
        if Loopback::is_in(folder) {
            Loopback::open_in(folder).map(Self::Loopback)
        } else {
            Lab::open_in(folder).map(Self::Hosts)
        }
    }

    /// Removes the lab in this folder; true if there was anything.
    pub fn down_in(folder: &Path) -> Result<bool> {
        let root = nix::unistd::geteuid().is_root();
        let hosts = !Loopback::is_in(folder) && (root || Lab::is_in(folder));
        if hosts {
            Lab::down_in(folder)
        } else {
            Loopback::down_in(folder)
        }
    }

    /// The real hosts, for what nothing else will do.
    ///
    /// # Errors
    /// There are none; "the lab on loopback addresses ..." is completed by `why_not`.
    pub fn hosts(self, why_not: &'static str) -> Result<Lab, OnlyHosts> {
        match self {
            Self::Hosts(lab) => Ok(lab),
            Self::Loopback(_) => Err(OnlyHosts(why_not)),
        }
    }

    /// How the lab is now.
    pub fn status(&self) -> Result<SiteStatus> {
        Ok(match self {
            Self::Hosts(lab) => SiteStatus::Hosts(lab.status()?),
            Self::Loopback(lab) => SiteStatus::Loopback(lab.status()),
        })
    }

    /// Takes a host's power away; its disk is kept.
    pub fn kill(&self, host: &str) -> Result<()> {
        match self {
            Self::Hosts(lab) => lab.kill(host).map(drop),
            Self::Loopback(lab) => lab.kill(host),
        }
    }

    /// Switches a host on that is off, and waits until it can be reached.
    pub fn revive(&self, host: &str) -> Result<()> {
        match self {
            Self::Hosts(lab) => {
                lab.revive(host)?;
                lab.wait_ready(host, BOOT_LIMIT)
            }
            Self::Loopback(lab) => lab.revive(host),
        }
    }

    /// Stops the agent of a host, or all its processes; with a time they go on after it.
    pub fn freeze(&self, host: &str, what: Freeze, time: Option<Duration>) -> Result<()> {
        match self {
            Self::Hosts(lab) => lab.freeze(host, what, time).map(drop),
            Self::Loopback(lab) => lab.freeze(host, what, time),
        }
    }

    /// Lets every stopped process of a host go on; true if any was stopped.
    pub fn thaw(&self, host: &str) -> Result<bool> {
        match self {
            Self::Hosts(lab) => lab.thaw(host),
            Self::Loopback(lab) => lab.thaw(host),
        }
    }
}
