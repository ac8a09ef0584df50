//! `backstay setup`, the program itself: without a terminal, with a file of answers, on a terminal.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use backstay_tests::terminal::{Screen, Signal};

/// The program with a home of its own, so that it knows no node and no key.
fn backstay(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    command.args(arguments).args(["--socket", "/nowhere"]);
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME");
    command
        .env_remove("BACKSTAY_CONTACTS")
        .env_remove("NO_COLOR");
    command
}

fn on_a_terminal(home: &Path, arguments: &[&str]) -> Command {
    let mut command = backstay(home, arguments);
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    command
}

fn run(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = backstay(home, arguments);
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn u3_without_a_terminal_one_clear_line_and_exit_2() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, err) = run(home.path(), &["setup"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    let first = err.lines().next().unwrap();
    assert_eq!(
        first,
        "error: set-up asks questions, and nobody can be asked here; nothing was changed"
    );
    assert!(err.contains("--answers FILE"), "{err}");
    let (code, out, _) = run(home.path(), &["setup", "--output", "json"]);
    assert_eq!(code, Some(2));
    assert!(out.contains("text only"), "{out}");
}

#[test]
fn u3_a_file_of_answers_fails_with_one_clear_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.toml");
    let path = file.to_str().unwrap();
    let arguments = ["setup", "--answers", path];
    let (code, _, err) = run(home.path(), &arguments);
    assert_eq!(code, Some(2));
    assert!(err.contains("a.toml: it can't be read"), "{err}");
    std::fs::write(
        &file,
        "version = 1\nhosts = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n",
    )
    .unwrap();
    let (code, _, err) = run(home.path(), &arguments);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("the answer `cluster.name` is missing"),
        "{err}"
    );
    let text =
        "version = 1\nhosts = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n[cluster]\nname = \"shop\"\n";
    std::fs::write(&file, text).unwrap();
    let (code, out, err) = run(home.path(), &arguments);
    assert_eq!(code, Some(6), "{err}");
    assert!(
        err.contains("the answer `hosts` is wrong: 127.0.0.1:1"),
        "{err}"
    );
    assert!(out.contains("Name of the cluster shop"), "{out}");
}

#[test]
fn u3_on_a_terminal_what_fails_is_asked_again_and_ctrl_c_leaves_it_whole() {
    let home = tempfile::tempdir().unwrap();
    let record = home.path().join("answers.toml");
    let record = record.to_str().unwrap();
    let mut t = Screen::open(
        &on_a_terminal(home.path(), &["setup", "--record", record]),
        80,
        24,
        "",
    );
    t.reply("Name of the cluster [c1]:", "Shop\r");
    t.reply("not right: `Shop` is not a cluster name", "shop\r");
    t.reply("Hosts:", "127.0.0.1:1 127.0.0.1:2\r");
    t.see("Connection refused");
    t.reply("Hosts [127.0.0.1:1 127.0.0.1:2]:", "\u{3}");
    let (code, screen) = (t.end(), t.text());
    assert_eq!(code, 9, "{screen}");
    assert!(
        screen.contains("cancelled; nothing was changed"),
        "{screen}"
    );
    assert!(!t.screen().hide_cursor(), "the cursor is back");
    let text = std::fs::read_to_string(record).unwrap();
    assert!(text.contains("name = \"shop\""), "{text}");
}

/// What is typed before its question stands there is kept for it. With the line-wise terminal it was shown at
/// once, and a Ctrl-C was lost.
#[test]
fn u3_keys_that_come_before_their_question_are_neither_shown_nor_lost() {
    let home = tempfile::tempdir().unwrap();
    let mut t = Screen::open(&on_a_terminal(home.path(), &["setup"]), 80, 24, "");
    t.until("the first question", |text| text.contains("[c1]:"));
    t.send("shop\r127.0.0.1:1 127.0.0.1:2\r");
    t.reply("Hosts [127.0.0.1:1 127.0.0.1:2]:", "\u{3}");
    let (code, screen) = (t.end(), t.text());
    assert_eq!(code, 9, "{screen}");
    for once in ["shop", "Hosts: 127.0.0.1:1 127.0.0.1:2\n"] {
        assert_eq!(screen.matches(once).count(), 1, "{screen}");
    }
    assert!(t.cooked() && !t.screen().hide_cursor(), "{screen}");
}

#[test]
fn u2_who_is_ended_at_a_question_gives_the_terminal_back() {
    let home = tempfile::tempdir().unwrap();
    let mut t = Screen::open(&on_a_terminal(home.path(), &["setup"]), 80, 24, "");
    t.see("Name of the cluster [c1]:");
    assert!(!t.cooked());
    t.signal(Signal::SIGTERM);
    assert_eq!(t.end(), 9, "{}", t.text());
    assert!(t.cooked() && !t.screen().hide_cursor(), "{}", t.text());
}

#[test]
fn u3_plain_lines_on_a_dumb_terminal() {
    let home = tempfile::tempdir().unwrap();
    let mut t = Screen::open(
        &on_a_terminal(home.path(), &["setup", "--plain"]),
        80,
        24,
        "",
    );
    t.see("Step 1 of 9: the cluster");
    t.reply("a word; Return: c1", "\r");
    t.reply("words with blanks between; < goes back", "<\r");
    t.reply("a word; Return: c1", "\u{4}");
    let (code, screen) = (t.end(), t.text());
    assert_eq!(code, 9, "{screen}");
    assert!(
        screen.contains("nobody answers any more; nothing was changed"),
        "{screen}"
    );
}
