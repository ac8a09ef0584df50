//! The host's own network configuration: at boot the base comes up and the alias does not (C15).
//!
//! The files are changed, never the running system (C12): ifupdown, netplan, systemd-networkd and NetworkManager read them
//! again at the next boot, or when they are restarted. What each of them takes down then is put back (A3).

mod edit;
mod files;
mod ifupdown;
mod keyfile;
mod netplan;
mod networkd;
mod recognise;
mod sessions;

pub use edit::{Format, Swapped};
pub use files::{BootFiles, Wanted};
pub use recognise::{Origin, manager, origin};
pub use sessions::in_use;
