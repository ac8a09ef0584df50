//! Several real hosts on one machine, for demonstration and tests.
//!
//! Each host is a whole Debian booted by systemd in a `systemd-nspawn`
//! container: own root (an overlay over the machine's), own network namespace,
//! own sshd, journal and D-Bus. A bridge in a namespace of its own joins them on
//! 192.0.2.0/24 and `2001:db8::/64`, with no way out. Nothing is added to the
//! machine's own network: whoever talks to the hosts does so from the namespace
//! `backstay-client` ([`Lab::enter_client_network`], [`Lab::connect`]).
//!
//! [`Lab`] brings the hosts up, fails them and takes everything away again;
//! [`probe::Probe`] measures what a client sees; [`mod@bench`] repeats a fault and
//! keeps the figures. The lab needs root and a few Debian packages
//! ([`packages::missing`]). It knows nothing of Backstay itself: agents are
//! installed over SSH like on any other host.
//!
//! Without root there is [`Loopback`]: the same agents as processes of this
//! machine, on loopback addresses. [`Site`] is either.

pub mod bench;
mod clean;
mod fault;
mod flood;
mod lab;
pub mod loopback;
mod manager;
mod net;
pub mod packages;
mod plan;
pub mod probe;
mod process;
mod root;
mod rules;
mod run;
pub mod serve;
mod service;
mod site;
mod state;
mod status;
pub mod supervise;

pub use fault::{Agent, Freeze, PowerOff};
pub use lab::{Lab, Options, SshTarget};
pub use loopback::Loopback;
pub use manager::Network;
pub use plan::{CLIENT, Host, Kind, MOST_LINKS, Mac, SWITCH, Shape, fleet};
pub use rules::Cut;
pub use service::{Service, demo_services};
pub use site::{OnlyHosts, Site, SiteStatus};
pub use state::{DEFAULT_FOLDER, FOLDER_VARIABLE, default_folder};
pub use status::{HostState, HostStatus, Status};
