//! What is done with made-up bytes: each target reads them as one kind of input from outside and checks what must hold
//! whatever they are. A target panics where it does not.
//!
//! `cargo xtask fuzz` looks for such bytes by coverage; an ordinary test runs those that are kept in `corpus/`.

mod datagrams;
mod engine;
mod files;
mod frames;
mod lines;
mod texts;

/// A target: its name, which is that of its folder in `corpus/`, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("beat", datagrams::beat),
    ("sealed", datagrams::sealed),
    ("engine", engine::beats),
    ("call", lines::call),
    ("reply", lines::reply),
    ("cluster", texts::cluster),
    ("system", texts::system),
    ("journal", files::journal),
    ("run-state", files::run_state),
    ("frame", frames::frame),
];

/// What a terminal or a log may be shown.
fn assert_printable(text: &str) {
    let bad = text.chars().find(|c| c.is_control() && *c != '\n');
    assert!(bad.is_none(), "{bad:?} in {text:?}");
}
