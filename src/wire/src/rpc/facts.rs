//! What a machine is, for preflight.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Facts about a machine; what could not be found out is absent, never guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Its own host name.
    pub hostname: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// systemd's version, if it runs it.
    pub systemd: Option<String>,
    /// Bytes of memory.
    pub memory: u64,
    /// Processors.
    pub processors: u32,
    /// Bytes free under the state folder.
    pub disk_free: u64,
    /// Wall clock, ms since 1970 UTC (C10).
    pub wall_ms: u64,
    /// Whether NTP keeps the clock (C10).
    pub clock_kept: Option<bool>,
    /// Whether the gate can be set; the text says why not.
    pub gate: Option<String>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceFact>,
    /// Its default gateways.
    pub gateways: Vec<IpAddr>,
    /// Its service units.
    pub units: Vec<UnitFact>,
    /// Its addresses and gate are only pretended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceFact {
    /// Its name.
    pub name: String,
    /// Its hardware address, `02:00:...`.
    pub mac: String,
    /// It has carrier.
    pub carrier: bool,
    /// Its addresses with prefix.
    pub addresses: Vec<AddressFact>,
    /// What configures it: `systemd-networkd`, `ifupdown`, `NetworkManager`, `netplan`; empty: unknown.
    pub manager: String,
}

/// An address on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressFact {
    /// With its prefix length.
    pub address: String,
    /// C15: the file that brings it up at boot; empty: none was found.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// C15: why no file can be changed so that it does not come up; empty: that one can.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fixed: String,
}

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitFact {
    /// Its full name.
    pub name: String,
    /// `active`, `inactive`, `failed` ...
    pub active: String,
    /// Started at boot.
    pub enabled: bool,
}
