//! The real program on a real pseudo-terminal, with a session of its own, driven like a person does.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::agent::Agent;
use backstay::tui::menu::ENTRIES;
use backstay_tests::terminal::{DOWN, ESC, LONG, Link, RIGHT, Screen, UP};

struct Place {
    _folder: tempfile::TempDir,
    socket: PathBuf,
}

fn agent() -> (Agent, Place) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let agent = Agent::serve(&socket);
    (
        agent,
        Place {
            _folder: folder,
            socket,
        },
    )
}

fn program(place: &Place) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    command
        .arg("--socket")
        .arg(&place.socket)
        .arg("--contacts")
        .arg(place.socket.with_file_name("contacts.toml"))
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("SSH_AUTH_SOCK");
    command
}

#[test]
fn every_entry_opens_and_is_left_again_and_the_terminal_is_given_back() {
    let (_agent, place) = agent();
    let mut screen = Screen::open(&program(&place), 80, 24, "echo before;");
    screen.see("web2");
    assert!(screen.screen().alternate_screen() && screen.screen().hide_cursor());
    for (n, entry) in ENTRIES.iter().enumerate() {
        screen.send(&(n + 1).to_string());
        screen.see(&format!(">{:>2}", n + 1));
        screen.send("\r");
        screen.until(entry.label, |text| {
            text.contains("Not now: ") || !text.contains("Enter open  ")
        });
        screen.settle();
        if screen.text().contains("Not now: ") {
            continue;
        }
        screen.send(ESC);
        screen.see("Enter open  ");
    }
    screen.send("q");
    assert_eq!(screen.end(), 0);
    screen.settle();
    let after = screen.screen();
    assert!(!after.alternate_screen() && !after.hide_cursor() && !after.bracketed_paste());
    assert!(
        after.contents().starts_with("before"),
        "{}",
        after.contents()
    );
}

/// Locks web1 in the menu.
fn lock(screen: &mut Screen) {
    screen.see("web2");
    screen.send("k");
    screen.see("Lock service to node");
    // For, Reason, the button.
    screen.send(DOWN);
    screen.send(DOWN);
    screen.see("others will read it");
    screen.send("disk");
    screen.send(DOWN);
    screen.see(">[ Go on ]");
    screen.send("\r");
    screen.see(">[ Cancel ]");
    screen.answer("\t");
    screen.see(">[ Go on ]");
    screen.send("\r");
}

#[test]
fn the_menu_and_the_flags_leave_the_same_document() {
    let (by_menu, place) = agent();
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    lock(&mut screen);
    screen.see("Done: lock web1");
    let text = screen.text();
    assert!(
        text.contains("backstay --socket") && text.contains("service lock web1 --reason disk"),
        "{text}"
    );
    screen.answer("\r");
    // U7: the picture follows by itself.
    screen.see("web1 locked");
    screen.send("h");
    screen.see("Move service standby to home");
    screen.send(RIGHT);
    screen.see("(2/8)");
    screen.send(DOWN);
    screen.send(RIGHT);
    screen.see("the standby");
    screen.send(DOWN);
    screen.send("\r");
    screen.see(">[ Cancel ]");
    screen.answer("\t\r");
    screen.see("Done: move web2 to sb1");
    screen.answer("\r");
    screen.see("web2 \u{2192} sb1");
    screen.send("q");
    assert_eq!(screen.end(), 0);

    let (by_flags, place) = agent();
    for words in [
        &["service", "lock", "web1", "--reason", "disk"][..],
        &["service", "move", "web2", "--to", "standby"],
    ] {
        let done = program(&place).args(words).arg("--yes").output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let same = |agent: &Agent| {
        let mut document = agent.state().document.clone();
        document.changed.at = 0;
        for service in &mut document.services {
            service.lock.iter_mut().for_each(|l| l.at = 0);
        }
        (document, agent.state().moved.clone())
    };
    assert_eq!(same(&by_menu), same(&by_flags));
    assert!(by_menu.state().document.services[0].lock.is_some());
}

#[test]
fn u6_who_is_killed_at_the_commit_has_changed_nothing_and_the_next_session_says_so() {
    let (agent, place) = agent();
    agent.state().wedged = true;
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    lock(&mut screen);
    screen.see("committing revision");
    screen.kill();
    screen.end();
    agent.state().wedged = false;
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    screen.see("n1 staged revision 2: not in effect");
    assert!(!screen.text().contains("locked"), "{}", screen.text());
    assert_eq!(agent.state().document.revision, 1);
    // And the same again works.
    lock(&mut screen);
    screen.see("Done: lock web1");
}

#[test]
fn u8_the_second_admin_is_told_who_holds_the_change_lock() {
    let (agent, place) = agent();
    agent.state().locked_by = Some("anna@desk since 12:00:00 (create the cluster x)".to_owned());
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    lock(&mut screen);
    screen.see("held by anna@desk since 12:00:00");
    assert!(
        screen.text().contains("nothing was changed"),
        "{}",
        screen.text()
    );
}

/// A terminal that vanishes: no signal (it is ignored), no spinning, no wait.
#[test]
fn a_closed_terminal_ends_it_with_sighup_ignored() {
    let (_agent, place) = agent();
    let mut screen = Screen::open(&program(&place), 80, 24, "trap '' HUP;");
    screen.see("web2");
    let busy = || {
        let all =
            nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
        Duration::from_secs(
            u64::try_from(all.user_time().tv_sec() + all.system_time().tv_sec()).unwrap(),
        )
    };
    let before = busy();
    let closed = Instant::now();
    screen.close();
    screen.end();
    println!("ended {:?} after the terminal was closed", closed.elapsed());
    // Other tests' children count too; a core that spins for LONG would not pass.
    assert!(busy().saturating_sub(before) < LONG / 2);
}

#[test]
fn u2_without_colours_what_is_marked_is_still_reversed() {
    let (_agent, place) = agent();
    let mut command = program(&place);
    command.env("NO_COLOR", "1");
    let mut screen = Screen::open(&command, 80, 24, "");
    screen.see("web2");
    let cells: Vec<_> = (0..24u16)
        .flat_map(|row| (0..80u16).map(move |column| (row, column)))
        .filter_map(|(row, column)| screen.screen().cell(row, column))
        .collect();
    assert!(cells.iter().any(|c| c.inverse()), "nothing is marked");
    assert!(
        cells.iter().all(|c| c.fgcolor() == vt100::Color::Default),
        "colours in spite of NO_COLOR"
    );
}

#[test]
fn u2_a_plain_terminal_gets_plain_signs() {
    for term in ["vt100", "linux"] {
        let (_agent, place) = agent();
        let mut command = program(&place);
        command.env("TERM", term);
        let mut screen = Screen::open(&command, 80, 24, "");
        screen.see("web2");
        assert!(screen.text().is_ascii(), "{term}:\n{}", screen.text());
    }
}

#[test]
fn u2_the_window_may_change_its_size() {
    let (_agent, place) = agent();
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    screen.see("web2");
    for (columns, rows, wanted) in [
        (60, 16, "Nodes in system"),
        (50, 10, "too small: 50x10"),
        (132, 43, "192.0.2.102/24"),
    ] {
        screen.resize(columns, rows);
        screen.see(wanted);
    }
    // Stopped by a key where no shell could bring it back: it goes on.
    screen.send("\u{1a}");
    screen.settle();
    screen.send("?");
    screen.see("Menu and picture");
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let (_agent, place) = agent();
    let done = program(&place).stdin(Stdio::null()).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("backstay status"), "{said}");
    assert!(done.stdout.is_empty());
    let mut command = program(&place);
    command.env("TERM", "dumb");
    let mut screen = Screen::open(&command, 80, 24, "");
    assert_eq!(screen.end(), 2);
}

/// Bytes over the terminal: a first screen of 2 KiB, 200 a key, 1 KiB a refresh.
fn costs(link: Option<Link>) {
    let (agent, place) = agent();
    agent.state().mute = true;
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    if let Some(link) = link {
        screen.over(link);
    }
    screen.see("asking...");
    println!("before anybody answers: {} bytes", screen.bytes());
    let first = screen.cost(|s| {
        agent.state().mute = false;
        s.see("web2");
    });
    println!("first screen after the status: {first} bytes");
    assert!(first <= 2048, "{first} bytes");
    let keys = [
        DOWN, DOWN, "8", "1", "2", "\t", DOWN, DOWN, UP, "\t", "/", "w", "e", "\u{7f}",
    ];
    for key in keys {
        let cost = screen.cost(|s| s.send(key));
        println!("{key:?}: {cost} bytes");
        assert!(cost <= 200, "{key:?}: {cost} bytes");
    }
    // Without the filter the picture is another one.
    let whole = screen.cost(|s| s.send(ESC));
    println!("the filter taken away: {whole} bytes");
    assert!(whole <= 1024, "{whole} bytes");
    let refresh = screen.cost(|s| {
        let mut state = agent.state();
        state
            .moved
            .insert("web2".to_owned(), super::fixture::name("sb1"));
        drop(state);
        s.see("web2 \u{2192} sb1");
    });
    println!("refresh: {refresh} bytes");
    assert!(refresh <= 1024, "{refresh} bytes");
    // A form and the way back are more than a key, and less than a screen.
    let form = screen.cost(|s| s.send("a"));
    let back = screen.cost(|s| s.send(ESC));
    println!("form: {form}, back: {back} bytes");
    assert!(form <= 1024 && back <= 1024, "{form} and {back} bytes");
    screen.send("q");
    assert_eq!(screen.end(), 0);
}

#[test]
fn u2_every_key_costs_little() {
    costs(None);
}

/// What waits for such a line is drawn once, as it is then; and the keys get through.
#[test]
fn u2_a_line_of_9600_baud_and_200_ms_is_enough() {
    costs(Some(Link {
        // A start and a stop bit around each byte.
        bytes_per_second: 960,
        round_trip: Duration::from_millis(200),
    }));
}

/// How long the first picture takes is for the reader of the log; the benchmark of the menu has its parts.
#[test]
fn u7_the_first_answer_is_shown_at_once() {
    let (agent, place) = agent();
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    screen.until("web2", |text| text.contains("web2"));
    let answered = agent.state().answered.unwrap();
    println!(
        "first frame {:?} after the first answer",
        answered.elapsed()
    );
}

/// One session for each cluster, and one for the system document.
#[test]
fn the_picture_comes_by_a_stream() {
    let (agent, place) = agent();
    let mut screen = Screen::open(&program(&place), 80, 24, "");
    screen.see("web2");
    for n in 0..5 {
        let to = if n % 2 == 0 { "sb1" } else { "n2" };
        agent
            .state()
            .moved
            .insert("web2".to_owned(), super::fixture::name(to));
        screen.see(if n % 2 == 0 {
            "web2 \u{2192} sb1"
        } else {
            "n2   up      web2"
        });
    }
    assert_eq!(agent.state().watchers, 1);
}
