//! One target under libFuzzer, by its name in `BACKSTAY_FUZZ`; `cargo xtask fuzz` runs it.
#![no_main]

use std::sync::LazyLock;

use backstay_fuzz::TARGETS;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("BACKSTAY_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let Some((_, run)) = found else {
        eprintln!("BACKSTAY_FUZZ=`{wanted}` names no target");
        std::process::exit(2);
    };
    *run
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
