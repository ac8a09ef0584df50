//! The prompts on a real pseudo-terminal, with the screen that a person would see.

use std::process::Command;

use dialoguer::console::Term;

use super::fake::pair;
use super::{Drive, Overrides, Style};
use crate::setup::prompts::Prompts;
use backstay_tests::terminal::{DOWN, ESC, Screen, UP};

/// What the tests below run on a terminal of their own.
#[test]
#[ignore = "run by the tests below, on a pseudo-terminal"]
fn child() {
    let fake = pair();
    let mut system = fake.clone();
    let mut prompts = Prompts::new(Term::stderr(), Style::default());
    let drive = Drive::new(
        &mut system,
        &mut prompts,
        Style::default(),
        Overrides::default(),
    );
    let outcome = drive.run().unwrap();
    let world = fake.0.borrow();
    let made = world.committed.clone().unwrap();
    let action = backstay_core::plan::Action::CreateCluster(made);
    let command = backstay_core::plan::command_line(&action, 0);
    eprintln!("in {} answers: {command}\nthe end", outcome.answers);
}

fn wizard() -> Screen {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "setup::tests::pty::child",
        "--ignored",
        "--nocapture",
    ]);
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    Screen::open(&command, 80, 24, "")
}

#[test]
fn u3_the_prompts_lead_to_a_cluster_with_keys_alone() {
    let mut t = wizard();
    t.reply("Name of the cluster [c1]:", "shop\r");
    // The keys are told once where text is typed, once at the first list, and whenever one asks.
    t.reply("Hosts:", "?\r");
    t.see("`?` and Return says this");
    t.reply("Hosts:", "192.0.2.101 192.0.2.21\r");
    t.reply("Is that the key of 192.0.2.101?", "y\r");
    assert!(!t.text().contains("not right"), "{}", t.text());
    t.reply("Is that the key of 192.0.2.21?", "y\r");
    t.reply("Name of 192.0.2.101 as a node [n1]:", "\r");
    t.see("Keys: Up and Down choose");
    t.reply("Role of n1:", "\r");
    // Back to the role of n1, where Return gives what was chosen.
    t.reply("Name of 192.0.2.21 as a node [sb1]:", "<\r");
    t.reply("> regular: services are at home here", "\r");
    t.reply("Name of 192.0.2.21 as a node [sb1]:", "\r");
    t.reply("Role of sb1:", "\r");
    t.reply("Go on with that?", "y\r");
    t.reply("Services at home on n1 [web1]:", "\r");
    t.reply("[x] 192.0.2.101/24 on eth0", "\r");
    t.reply("Base address of n1:", "192.0.2.300\r");
    t.reply("not right: `192.0.2.300` is no address", "192.0.2.11\r");
    t.reply("[x] web1.service: active; not on sb1", "\r");
    t.reply("Priority of web1 [100]:", "\r");
    t.reply("> manual: it stays", DOWN);
    t.reply("> automatic: once", "\r");
    // Esc goes back; the answer before is where the marker is.
    t.reply("> lan: the standby takes over after 3 s; suggested", ESC);
    t.reply("> automatic: once", &format!("{UP}\r"));
    t.reply("> lan: the standby", "\r");
    t.reply("Create the cluster now?", "y\r");
    t.see("the end");
    let (code, screen) = (t.end(), t.text());
    assert_eq!(code, 0, "{screen}");
    // What wraps on the screen is one line all the same.
    let line = screen.replace('\n', "");
    assert!(
        line.contains("base=192.0.2.11/24,unit=web1.service"),
        "{screen}"
    );
    assert!(!line.contains("fallback="), "{screen}");
    assert!(!t.screen().hide_cursor(), "the cursor is back");
}

#[test]
fn u3_a_no_goes_back_and_never_on() {
    let mut t = wizard();
    t.reply("Name of the cluster [c1]:", "\r");
    t.reply("Hosts:", "192.0.2.101 192.0.2.21\r");
    t.reply("Is that the key of 192.0.2.101?", "n\r");
    t.reply("Hosts [192.0.2.101 192.0.2.21]:", "<\r");
    t.reply("Hosts: <", "other\r");
    t.see("Name of the cluster: other");
    t.kill();
    assert_ne!(t.end(), 0);
}
