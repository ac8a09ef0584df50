//! Tables that nobody else can change.

use std::process::Command;

use super::super::{BootLoad, boot_load, check as check_skeleton, write_guarded};
use super::{Bench, Changes, Gate as _, GateWatch, LONG, NativeGate, Verdict, both, sh, unlock};

/// Whether a command succeeds.
fn can(command: &str) -> bool {
    let status = Command::new("sh").args(["-c", command]).status();
    status.unwrap().success()
}

/// PROTOCOL 38, on kernels from 6.9 on; the lab's and CI's are newer.
#[test]
fn s5_nobody_else_can_flush_or_change_a_gate_that_is_kept() {
    let bench = Bench::new("keep");
    let list = std::env::temp_dir().join(format!("guarded-{}.nft", std::process::id()));
    write_guarded(&list, &both()).unwrap();
    assert_eq!(boot_load(&list).unwrap(), BootLoad::Loaded);
    assert!(bench.silent(both()[0]), "closed before any agent runs");
    let mut gate = NativeGate::open_and_keep().unwrap();
    let mut watch = GateWatch::open(gate.writers()).unwrap();
    let mut check = |gate: &mut NativeGate| {
        assert!(gate.keeps());
        assert!(can("nft flush ruleset"), "others are not disturbed");
        assert!(!can("nft delete table inet backstay 2>&1"));
        assert!(!can("nft flush set inet backstay guarded4 2>&1"));
        assert!(!can("nft add rule inet backstay to4 accept 2>&1"));
        assert_eq!(watch.changed_by_others().unwrap(), Changes::Ours);
        assert_eq!(gate.verify().unwrap(), Verdict::Intact);
        assert_eq!(gate.guarded().unwrap(), both());
        check_skeleton().unwrap();
        // S7: loading at boot again, by hand, while an agent runs.
        assert_eq!(boot_load(&list).unwrap(), BootLoad::Kept);
    };
    gate.install().unwrap();
    gate.guard(&both()).unwrap();
    check(&mut gate);
    unlock(&mut gate, &both(), 0, LONG);
    gate.install().unwrap();
    check(&mut gate);
    assert!(bench.answered(both()[0]), "laid again, it cut nothing");
    // The agent is gone: the gate stays as it is, and the next one goes on with it.
    drop(gate);
    assert!(bench.answered(both()[0]));
    let mut next = NativeGate::open_and_keep().unwrap();
    next.install().unwrap();
    assert!(next.keeps() && next.state(both()[0]).unwrap().open());
    next.close(&both()).unwrap();
    assert!(bench.silent(both()[0]));
    next.remove().unwrap();
    assert_eq!(next.verify().unwrap(), Verdict::Missing);
    std::fs::remove_file(list).unwrap();
}

/// What an older agent or kernel left is used as it is: making it anew would lose what it holds.
#[test]
fn ordinary_tables_are_kept_as_they_are() {
    let bench = Bench::new("old");
    let mut old = NativeGate::open().unwrap();
    old.install().unwrap();
    old.guard(&both()).unwrap();
    unlock(&mut old, &both(), 0, LONG);
    drop(old);
    let mut gate = NativeGate::open_and_keep().unwrap();
    gate.install().unwrap();
    assert!(!gate.keeps() && gate.state(both()[0]).unwrap().open());
    assert!(bench.answered(both()[0]));
    sh("nft flush ruleset");
    assert_eq!(gate.verify().unwrap(), Verdict::Missing);
    gate.install().unwrap();
    assert!(gate.keeps(), "made anew, it is kept");
}
