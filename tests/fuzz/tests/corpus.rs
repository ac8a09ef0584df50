//! Every input that is kept runs once, and so does what is made of it by cutting and flipping.

use std::fs;
use std::path::Path;

use backstay_fuzz::TARGETS;

fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    files
        .map(|file| file.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn every_kept_input_of_every_target_holds() {
    for (target, run) in TARGETS {
        let kept = kept(target);
        assert!(!kept.is_empty(), "{target} has no kept input");
        for (path, bytes) in kept {
            println!("{path}"); // shown if it fails
            run(&bytes);
        }
    }
}

#[test]
fn a_kept_input_that_is_cut_or_flipped_holds_too() {
    for (target, run) in TARGETS {
        for (path, bytes) in kept(target) {
            println!("{path}");
            let step = bytes.len() / 50 + 1;
            for at in (0..bytes.len()).step_by(step) {
                run(&bytes[..at]);
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                run(&flipped);
            }
        }
    }
}

#[test]
fn every_folder_of_kept_inputs_belongs_to_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for folder in fs::read_dir(corpus).unwrap() {
        let name = folder.unwrap().file_name();
        let known = TARGETS.iter().any(|(target, _)| name == *target);
        assert!(known, "{} is no target", name.display());
    }
}
