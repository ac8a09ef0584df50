//! What is on the screen, sign for sign, in every size and look; styles asserted on cells.

use std::fmt::Write as _;

use backstay::tui::keys::Key::{self, Char, Down, Enter, Esc, Tab};
use backstay::tui::msg::{Cmd, Event};
use backstay::tui::theme::Theme;
use backstay::tui::view::view;
use backstay::{Exit, Failure};
use backstay_core::engine::{Record, Stage as StageOf};
use backstay_core::model::RuleId;
use backstay_core::plan::{Consequence, ConsequenceKind, Goal, Plan, Step, StepKind};
use backstay_core::time::Mono;
use backstay_wire::rpc::HistoryEntry;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::fixture::{LOOKS, Menu, mail, name, shop, theme};
use backstay::ops::front::{Stage, Told};

fn drawn(menu: &Menu) -> Buffer {
    let (columns, rows) = menu.model.size;
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view(&menu.model, frame)).unwrap();
    terminal.backend().buffer().clone()
}

pub(crate) fn text(menu: &Menu) -> String {
    let buffer = drawn(menu);
    let mut out = String::new();
    for row in 0..buffer.area.height {
        let mut line = String::new();
        let mut column = 0;
        while column < buffer.area.width {
            let symbol = buffer[(column, row)].symbol();
            line.push_str(symbol);
            column += u16::try_from(backstay::tui::text::width(symbol).max(1)).unwrap();
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// Compares with the kept screen; `REWRITE=1` keeps the new one, to be reviewed as a difference.
fn same(file: &str, screen: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/menu/screens")
        .join(file);
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, screen).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        screen, kept,
        "{file}: REWRITE=1 takes what came; look at the difference"
    );
}

fn plan() -> Plan {
    let say = |kind, sentence: &str| Consequence {
        kind,
        sentence: sentence.to_owned(),
    };
    let step = |kind, on: &[&str], sentence: &str| Step {
        kind,
        on: on.iter().map(|n| name(n)).collect(),
        sentence: sentence.to_owned(),
    };
    Plan {
        title: "delete the cluster shop".to_owned(),
        changed: true,
        documents: Vec::new(),
        system: None,
        order: None,
        steps: vec![
            step(
                StepKind::Stage,
                &["n1", "n3", "sb1"],
                "stage revision 8 of shop",
            ),
            step(
                StepKind::Commit,
                &["n1", "n3", "sb1"],
                "commit revision 8 of shop",
            ),
            step(StepKind::Watch, &[], "wait until no node shows the cluster"),
        ],
        consequences: vec![
            say(
                ConsequenceKind::Outage,
                "no service is stopped; the aliases stay where they are as ordinary addresses",
            ),
            say(
                ConsequenceKind::Protection,
                "nobody takes over any more when one of n1, n2, n3 fails",
            ),
            say(
                ConsequenceKind::Irreversible,
                "the history of the cluster's failovers ends",
            ),
        ],
        warnings: Vec::new(),
        differences: Vec::new(),
        truth: "it is so".to_owned(),
        goal: Goal::default(),
        command: "backstay cluster delete shop".to_owned(),
    }
}

/// From the menu to the question of `delete cluster`.
fn asked(menu: &mut Menu) {
    menu.key(Char('d'));
    menu.keys(&[Down, Enter]);
    // The second of three clusters does not answer; shop is the third.
    menu.event(Event::Told(Told::line("p1: p1 can't be reached: no route")));
    menu.event(Event::Plan(Box::new(plan()), Vec::new()));
    menu.event(Event::Ask("Go on?".to_owned()));
}

fn choose_shop(menu: &mut Menu) {
    menu.key(Char('d'));
    menu.keys(&[Key::Right, Key::Right, Down, Enter]);
    menu.event(Event::Plan(Box::new(plan()), Vec::new()));
    menu.event(Event::Ask("Go on?".to_owned()));
}

fn working(menu: &mut Menu) {
    choose_shop(menu);
    menu.typed("shop");
    menu.key(Enter);
    let nodes = [name("n1"), name("n3"), name("sb1")];
    let told =
        |line: &str, kind, on: &[_], stage| Event::Told(Told::line(line).of(kind, on, stage));
    menu.event(told(
        "staging revision 8 of shop on n1, n3, sb1",
        StepKind::Stage,
        &nodes,
        Stage::Begins,
    ));
    menu.event(told("", StepKind::Stage, &nodes, Stage::Done));
    menu.event(told(
        "committing revision 8 of shop",
        StepKind::Commit,
        &nodes,
        Stage::Begins,
    ));
    menu.event(told("", StepKind::Commit, &nodes[..1], Stage::Done));
    menu.event(told(
        "sb1 will learn of it from the others",
        StepKind::Commit,
        &nodes[2..],
        Stage::Behind,
    ));
}

type Scene = (&'static str, fn(&mut Menu));

/// Every kind of screen.
const SCENES: &[Scene] = &[
    ("home", |_| {}),
    ("picture", |menu| {
        menu.key(Tab);
        menu.keys(&[Down; 9]);
    }),
    ("find", |menu| {
        menu.key(Char('/'));
        menu.typed("web2");
    }),
    ("form", |menu| {
        menu.key(Char('c'));
        menu.typed("Bad");
    }),
    ("pick", |menu| {
        menu.key(Char('k'));
        menu.key(Key::PageDown);
        menu.typed("n");
    }),
    ("consequences", choose_shop),
    ("progress", working),
    ("result", |menu| {
        working(menu);
        menu.event(Event::Finished("done".to_owned(), vec![name("n2")]));
        menu.event(Event::Ended(Ok(Exit::Done)));
    }),
    ("locked", |menu| {
        asked(menu);
        let said = "n1: the change lock is held by anna@desk since 12:00:00 (create the cluster x); nothing was changed";
        let failure =
            Failure::new(Exit::Locked, said).hint("wait until they are done, or ask them");
        menu.event(Event::Ended(Err(Box::new(failure))));
    }),
    ("alarms", |menu| {
        menu.key(Char('A'));
    }),
    ("status", |menu| {
        menu.key(Char('t'));
        menu.keys(&[Key::Right, Key::Right, Enter, Enter]);
    }),
    ("help", |menu| {
        menu.key(Char('?'));
    }),
];

#[test]
fn every_screen_in_every_size_and_look() {
    for (size, label) in [
        ((80, 24), "80x24"),
        ((132, 43), "132x43"),
        ((60, 16), "60x16"),
    ] {
        for (look, color, unicode) in LOOKS {
            let mut all = String::new();
            for (scene, play) in SCENES {
                let mut menu = Menu::new(size, theme(color, unicode));
                play(&mut menu);
                let screen = text(&menu);
                let widest = screen.lines().map(backstay::tui::text::width).max();
                assert!(widest <= Some(usize::from(size.0)), "{scene} at {label}");
                assert!(
                    !screen.chars().any(|c| c.is_control() && c != '\n'),
                    "{scene} at {label}"
                );
                if !unicode {
                    assert!(screen.is_ascii(), "{scene} at {label}: {screen}");
                }
                let _ = writeln!(all, "== {scene}\n{screen}");
            }
            // Without colours the signs are the same: one text serves both.
            let look = if look == "colour" { "mono" } else { look };
            same(&format!("{label}-{look}.txt"), &all);
        }
    }
}

fn find(buffer: &Buffer, wanted: &str) -> (u16, u16) {
    for row in 0..buffer.area.height {
        let cells: Vec<&Cell> = (0..buffer.area.width).map(|c| &buffer[(c, row)]).collect();
        let line: String = cells.iter().map(|c| c.symbol()).collect();
        if let Some(at) = line.find(wanted) {
            let column = line[..at].chars().count();
            return (u16::try_from(column).unwrap(), row);
        }
    }
    panic!("{wanted} is not on the screen");
}

fn look(menu: &Menu, wanted: &str) -> (Color, Modifier) {
    let buffer = drawn(menu);
    let cell = &buffer[find(&buffer, wanted)];
    (cell.fg, cell.modifier)
}

#[test]
fn selection_alarm_and_danger_are_seen_with_and_without_colours() {
    for (_, color, unicode) in LOOKS {
        let theme: Theme = theme(color, unicode);
        let bad = if color { Color::Red } else { Color::Reset };
        let menu = Menu::new((80, 24), theme);
        // What is marked: reversed, and a sign before it.
        assert!(look(&menu, "> 1 a Add node").1.contains(Modifier::REVERSED));
        // What is out of order: bold, red where there are colours, and a word.
        let alarm = look(&menu, "! MAJOR");
        assert_eq!(alarm.0, bad);
        assert!(alarm.1.contains(Modifier::BOLD));
        assert_eq!(look(&menu, "down").0, bad);
        // What can't be used: dim, and no letter.
        assert!(look(&menu, "16 - Sync").1.contains(Modifier::DIM));
        // Consequences without return, and the button.
        let mut menu = Menu::new((80, 24), theme);
        choose_shop(&mut menu);
        assert!(look(&menu, ">[ Cancel ]").1.contains(Modifier::REVERSED));
        assert_eq!(look(&menu, "the history of").0, bad);
        menu.typed("shop");
        let go = look(&menu, ">[ Go on ]");
        assert_eq!(go.0, bad);
        assert!(go.1.contains(Modifier::REVERSED | Modifier::BOLD));
    }
}

#[test]
fn u7_what_is_not_heard_any_more_is_unknown() {
    let mut menu = Menu::usual();
    menu.at = 6_000;
    menu.event(Event::Tick);
    assert!(text(&menu).contains("6.0 s old"), "{}", text(&menu));
    // An alarm is as true as before; that all is well is not.
    assert!(
        text(&menu).contains("Now: shop: bring n2 back"),
        "{}",
        text(&menu)
    );
    let mut well = shop();
    well.alarms.clear();
    well.advice = "nothing to do: all is well".to_owned();
    menu.event(Event::View(Box::new(well)));
    let screen = text(&menu);
    assert!(
        screen.contains("Now: no answer from mail for 6.0 s"),
        "{screen}"
    );
    menu.event(Event::View(Box::new(shop())));
    menu.event(Event::View(Box::new(mail())));
    menu.at += 6_000;
    menu.at += 5_000;
    menu.event(Event::Tick);
    let screen = text(&menu);
    assert!(screen.contains("3 clusters unknown"), "{screen}");
    assert!(screen.contains("n1        unknown"), "{screen}");
    assert!(
        !screen.contains("web2"),
        "U7: the last state is not shown: {screen}"
    );
    menu.key(Char('t'));
    menu.keys(&[Key::Right, Key::Right, Enter, Enter]);
    assert!(text(&menu).contains("nothing was heard for too long"));
}

#[test]
fn a_window_that_is_too_small_says_so_and_recovers() {
    let mut menu = Menu::usual();
    menu.event(Event::Resized(59, 20));
    assert!(text(&menu).starts_with("too small: 59x20, needed 60x16"));
    menu.event(Event::Resized(10, 2));
    assert!(text(&menu).starts_with("too small"));
    menu.event(Event::Resized(80, 24));
    assert!(text(&menu).contains("Add node"));
    // No size at all makes it stumble.
    for (columns, rows) in (1..140).step_by(7).zip((1..50).step_by(3).cycle()) {
        menu.event(Event::Resized(columns, rows));
        for (_, play) in SCENES {
            let mut menu = Menu::new((columns, rows), theme(true, true));
            play(&mut menu);
            text(&menu);
            menu.keys(&[Esc, Esc, Esc]);
        }
    }
}

#[test]
fn the_equivalent_command_is_on_the_result() {
    let mut menu = Menu::usual();
    menu.model.options = vec!["--lab".to_owned()];
    working(&mut menu);
    menu.event(Event::Finished("done".to_owned(), Vec::new()));
    menu.event(Event::Ended(Ok(Exit::Done)));
    let screen = text(&menu);
    assert!(
        screen.contains("Done: delete the cluster shop."),
        "{screen}"
    );
    assert!(
        screen.contains("backstay --lab cluster delete shop"),
        "{screen}"
    );
}

/// U10, with times of a machine whose clock is out of its mind too.
#[test]
fn a_failover_is_shown_as_bars() {
    let stages = [
        (1, 0, StageOf::LastHeard),
        (2, 1_000, StageOf::Confirmed),
        (3, 1_600, StageOf::Started),
        (4, 1_600, StageOf::Healthy),
    ];
    let entries = |scale: u64| {
        let entry = |(id, ms, stage)| HistoryEntry {
            id,
            node: name(if id == 1 { "n1" } else { "sb1" }),
            cluster: "shop".parse().unwrap(),
            service: Some("web2".parse().unwrap()),
            wall_ms: 1_700_000_000_000_u64.saturating_add(scale.saturating_mul(ms)),
            record: Record {
                at: Mono::from_millis(50_000 + ms),
                service: None,
                term: 4,
                rule: RuleId::of("F2"),
                sentence: "as it should".to_owned(),
                stage: Some(stage),
                took_us: None,
            },
        };
        stages.map(entry).to_vec()
    };
    let mut menu = Menu::new((80, 24), theme(false, false));
    assert_eq!(menu.key(Char('H')), [Cmd::History]);
    menu.event(Event::History(Ok(entries(1))));
    let screen = text(&menu);
    for line in [
        "web2 (shop), term 4, 1600 ms in all",
        "0 ms #............... last heard n1",
        "1000 ms ##########...... confirmed  sb1",
        "1600 ms ..........###### started    sb1",
        "1600 ms ...............# healthy    sb1",
    ] {
        assert!(screen.contains(line), "{line}:\n{screen}");
    }
    menu.event(Event::History(Ok(entries(u64::MAX))));
    assert!(text(&menu).contains("in all"));
}
