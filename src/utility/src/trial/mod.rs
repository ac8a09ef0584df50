//! Real faults on the lab's hosts, measured: behind `backstay lab up --demo` and `backstay lab bench`.
//!
//! Everything an admin would do is done as an admin does it: by this program's own command line.

mod boot;
mod demo;
mod faults;
mod ground;
mod scenes;
mod upkeep;

pub use demo::demo;
pub use faults::{NAMES, bench};
pub use ground::{CLUSTER, Ground, create_command, create_on};
