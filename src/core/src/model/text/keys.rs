//! The keys of the written documents, with the kind and range of each value.

use super::Kind::{
    Address, Cluster, Flag, Identity, List, Network, Node, Secret, Service, Table, Tables, Text,
    Whole, Word,
};
use super::{Key, Need};

const fn needed(name: &'static str, kind: super::Kind) -> Key {
    Key {
        name,
        need: Need::Always,
        kind,
    }
}

/// Kept by Backstay: what a person wrote may leave it out.
const fn kept(name: &'static str, kind: super::Kind) -> Key {
    Key {
        name,
        need: Need::Stored,
        kind,
    }
}

const fn may(name: &'static str, kind: super::Kind) -> Key {
    Key {
        name,
        need: Need::Never,
        kind,
    }
}

/// The largest whole number that TOML guarantees.
const MOST: u64 = i64::MAX as u64;
const MOST_16: u64 = u16::MAX as u64;
const MOST_32: u64 = u32::MAX as u64;

/// The cluster document.
pub(in super::super) static CLUSTER: [Key; 25] = [
    needed("format", Whole(1, MOST_32)),
    needed("name", Cluster),
    kept("id", Identity),
    kept("revision", Whole(1, MOST)),
    kept("epoch", Whole(1, MOST)),
    kept("changed", Table(&CHANGED)),
    may("deleted", Flag),
    may("topology", Word(&["n-plus-one"])),
    needed("safety", Word(&["available", "exclusive"])),
    may("without_majority", Word(&["stop", "keep"])),
    may("split_stops", Word(&["home", "standby"])),
    may("preloaded", Flag),
    may("fallback", FALLBACK),
    may("moves_per_hour", Whole(0, MOST_16)),
    may("profile", Word(&["fast", "lan", "vm", "wan"])),
    may("timing", Table(&TIMING)),
    may("reference", Address),
    may("arbiter", Text),
    may("port", Whole(1, MOST_16)),
    kept("next_service", Whole(0, MOST_16)),
    may("key", Tables(&KEY)),
    may("node", Tables(&MEMBER)),
    may("service", Tables(&SERVICE)),
    may("former", Tables(&FORMER)),
    may("base", Tables(&BASE)),
];

const FALLBACK: super::Kind = Word(&["manual", "automatic", "auto"]);

static CHANGED: [Key; 3] = [
    needed("by", Text),
    needed("at", Whole(0, MOST)),
    needed("what", Text),
];

static TIMING: [Key; 7] = [
    may("beat_ms", Whole(0, MOST_32)),
    may("hold_ms", Whole(0, MOST_32)),
    may("wait_ms", Whole(0, MOST_32)),
    may("boot_wait_ms", Whole(0, MOST_32)),
    may("home_healthy_ms", Whole(0, MOST_32)),
    may("cold_start_ms", Whole(0, MOST_32)),
    may("clocks_within_ms", Whole(0, MOST_32)),
];

static KEY: [Key; 3] = [
    needed("id", Whole(0, 255)),
    needed("secret", Secret),
    may("signs", Flag),
];

static MEMBER: [Key; 8] = [
    needed("name", Node),
    kept("id", Identity),
    may("incarnation", Whole(0, MOST_32)),
    needed("role", Word(&["regular", "standby", "witness"])),
    needed("bases", List(&Network)),
    may("capacity", Whole(0, MOST_16)),
    may("labels", List(&Text)),
    may("maintenance", Table(&MAINTENANCE)),
];

static MAINTENANCE: [Key; 5] = [
    needed("by", Text),
    needed("at", Whole(0, MOST)),
    may("reason", Text),
    needed("until", Whole(0, MOST)),
    may("moves", Flag),
];

static SERVICE: [Key; 16] = [
    needed("name", Service),
    kept("id", Whole(0, MOST_16)),
    needed("nodes", List(&Node)),
    may("priority", Whole(0, MOST_16)),
    may("fallback", FALLBACK),
    may("failover", Word(&["automatic", "auto", "ordered"])),
    may("instances", Word(&["one", "all"])),
    may("stopped", Flag),
    may("lock", Table(&LOCK)),
    may("requires", List(&Text)),
    may("files", List(&Text)),
    may("alias", Tables(&ALIAS)),
    may("unit", Tables(&UNIT)),
    may("command", Tables(&COMMAND)),
    may("hook", Tables(&HOOK)),
    may("data", Tables(&DATA)),
];

static LOCK: [Key; 5] = [
    needed("node", Node),
    needed("by", Text),
    needed("at", Whole(0, MOST)),
    may("reason", Text),
    may("until", Whole(0, MOST)),
];

static ALIAS: [Key; 2] = [
    needed("address", Network),
    may("kind", Word(&["alias", "dns", "hook", "none"])),
];

static UNIT: [Key; 2] = [
    needed("name", Text),
    may("mode", Word(&["service", "home_only", "companion"])),
];

static COMMAND: [Key; 4] = [
    needed("start", List(&Text)),
    needed("stop", List(&Text)),
    may("check", List(&Text)),
    may("timeout_ms", Whole(0, MOST_32)),
];

static HOOK: [Key; 2] = [
    needed("after", Word(&["takeover", "return"])),
    needed("run", List(&Text)),
];

static DATA: [Key; 4] = [
    needed("name", Text),
    needed("paths", List(&Text)),
    may(
        "direction",
        Word(&["home-to-standby", "master-to-all", "both-with-conflict"]),
    ),
    may("targets", List(&Node)),
];

static FORMER: [Key; 5] = [
    needed("name", Node),
    needed("id", Identity),
    needed("bases", List(&Network)),
    may("alias", Network),
    may("replaced", Table(&REPLACEMENT)),
];

static REPLACEMENT: [Key; 3] = [
    needed("id", Identity),
    needed("contact", Text),
    may("host_keys", List(&Text)),
];

static BASE: [Key; 3] = [
    needed("service", Whole(0, MOST_16)),
    needed("term", Whole(0, MOST)),
    may("holder", Node),
];

/// The system document.
pub(in super::super) static SYSTEM: [Key; 6] = [
    needed("format", Whole(1, MOST_32)),
    needed("revision", Whole(1, MOST)),
    needed("changed", Table(&CHANGED)),
    may("node", Tables(&SYSTEM_NODE)),
    may("cluster", Tables(&SYSTEM_CLUSTER)),
    may("viewer", Tables(&SYSTEM_VIEWER)),
];

static SYSTEM_VIEWER: [Key; 4] = [
    needed("name", Text),
    needed("key", Text),
    needed("by", Text),
    needed("at", Whole(0, MOST)),
];

static SYSTEM_NODE: [Key; 5] = [
    needed("name", Node),
    needed("id", Identity),
    needed("contact", Text),
    may("host_keys", List(&Text)),
    needed("role", Word(&["free", "regular", "standby", "witness"])),
];

static SYSTEM_CLUSTER: [Key; 3] = [
    needed("name", Cluster),
    needed("id", Identity),
    may("members", List(&Node)),
];
