//! Forms: what they offer, what they show, the command lines that they make.

use backstay::tui::keys::Key::{Char, Down, Enter, Esc, Left, Right};
use backstay::tui::layers::form::{Form, Kind};
use backstay::tui::layers::{Layer, command, forms};
use backstay::tui::menu::{ENTRIES, Id};
use backstay::tui::msg::Cmd;

use super::fixture::Menu;
use super::screens::text;
use super::updates::run;

fn form(menu: &Menu) -> &Form {
    match menu.model.layers.last() {
        Some(Layer::Form(form)) => form,
        other => panic!("no form in front: {other:?}"),
    }
}

/// Every entry from its first to its last key, and the command line that comes of it.
#[test]
fn every_form_makes_the_command_line_that_does_the_same() {
    let play = |letter: char, keys: &dyn Fn(&mut Menu) -> Vec<Cmd>| {
        let mut menu = Menu::usual();
        menu.key(Char(letter));
        run(&keys(&mut menu))
    };
    let go = [Down, Enter];
    assert_eq!(
        play('a', &|m| {
            m.typed("admin@192.0.2.77:2222");
            m.key(Enter);
            m.typed("n7");
            m.keys(&go)
        }),
        "node add admin@192.0.2.77:2222 --name n7"
    );
    assert_eq!(play('r', &|m| m.keys(&go)), "node remove n9");
    assert_eq!(play('s', &|m| m.keys(&go)), "node role n9 standby");
    assert_eq!(play('f', &|m| m.keys(&go)), "node role sb9 free");
    assert_eq!(
        play('p', &|m| {
            m.keys(&[Right, Down, Right, Down]);
            m.typed("10");
            m.keys(&go)
        }),
        "service set web1 --fallback=manual --priority=10"
    );
    assert_eq!(
        play('p', &|m| {
            m.keys(&[Left, Down, Right, Right, Down]);
            m.keys(&go)
        }),
        "cluster set shop --fallback=auto"
    );
    assert_eq!(play('x', &|m| m.keys(&go)), "cluster remove-node mail m1");
    assert_eq!(play('d', &|m| m.keys(&go)), "cluster delete mail");
    assert_eq!(
        play('h', &|m| m.keys(&[Down, Down, Enter])),
        "service move web2 --to home"
    );
    assert_eq!(
        play('h', &|m| m.keys(&[Down, Right, Down, Enter])),
        "service move web2 --to standby"
    );
    assert_eq!(
        play('k', &|m| {
            m.keys(&[Right, Down]);
            m.typed("30m");
            m.key(Down);
            m.typed("-new disk");
            m.keys(&go)
        }),
        "service lock web1 --for=30m --reason=-new disk"
    );
    assert_eq!(play('u', &|m| m.keys(&go)), "service unlock web2");
    assert_eq!(
        play('m', &|m| {
            m.keys(&[Down, Right, Down]);
            m.typed("2h");
            m.key(Down);
            m.typed("new disk");
            m.keys(&go)
        }),
        "node maintenance m1 --move --for=2h --reason=new disk"
    );
    assert_eq!(
        play('m', &|m| m.keys(&[Down, Left, Down, Down, Down, Enter])),
        "node maintenance m1 --end"
    );
    let a_service = |m: &mut Menu, spec: &[&str]| {
        m.key(Enter);
        for text in spec {
            m.typed(text);
            m.key(Enter);
        }
        m.key(Enter);
    };
    let web9 = [
        "web9",
        "",
        "192.0.2.109/24",
        "192.0.2.19/24",
        "web9 log:companion",
        "5",
        "",
        "/etc/web9.conf /etc/b",
    ];
    let spec = "web9=n9,alias=192.0.2.109/24,base=192.0.2.19/24,unit=web9,unit=log:companion,\
                file=/etc/web9.conf,file=/etc/b,priority=5";
    assert_eq!(
        play('c', &|m| {
            m.typed("new");
            m.keys(&[Down, Down, Right, Down]);
            a_service(m, &web9);
            m.keys(&[Down, Right, Down, Right, Down, Enter])
        }),
        format!(
            "cluster create new --standby sb9 --service={spec} --witness=w1 --fallback=auto --profile=fast"
        )
    );
    assert_eq!(
        play('j', &|m| {
            m.keys(&[Right, Right, Down, Down]);
            a_service(m, &web9);
            m.keys(&[Down, Enter])
        }),
        format!("cluster add-node shop n9 --service={spec}")
    );
}

#[test]
fn forms_are_checked_as_one_types() {
    let mut menu = Menu::usual();
    menu.key(Char('a'));
    menu.typed("-x");
    let wrong = form(&menu).fields[0].wrong.clone().unwrap();
    assert!(wrong.contains("[USER@]HOST[:PORT]"), "{wrong}");
    menu.keys(&[backstay::tui::keys::Key::Ctrl('u')]);
    assert_eq!(form(&menu).fields[0].wrong, None);
    menu.typed("h");
    menu.key(Enter);
    menu.typed("N1");
    assert!(
        form(&menu).fields[1]
            .wrong
            .clone()
            .unwrap()
            .contains("lowercase")
    );
    // Nothing wrong leaves a form.
    assert!(menu.keys(&[Down, Enter]).is_empty());
    assert_eq!(form(&menu).focus, 1);
    // Nothing chosen is nothing to do.
    let mut menu = Menu::usual();
    menu.key(Char('p'));
    assert!(menu.keys(&[Down, Down, Down, Enter]).is_empty());
    assert!(
        form(&menu)
            .wrong
            .clone()
            .unwrap()
            .contains("nothing is to be changed")
    );
}

/// A form for every entry that has one can be read by the parser of the flags.
#[test]
fn what_the_menu_offers_the_flags_can_read() {
    let menu = Menu::usual();
    for entry in ENTRIES {
        let Some(form) = forms::form(entry.id, &menu.model) else {
            assert!([Id::ListClusters, Id::ChangeFailover, Id::Sync].contains(&entry.id));
            continue;
        };
        if form.fields.iter().all(|f| !f.value().is_empty()) {
            assert_eq!(
                command::readable(&command::words(entry.id, &form)),
                Ok(()),
                "{:?}",
                entry.id
            );
        }
    }
}

#[test]
fn a_form_shows_what_there_is_now() {
    let mut menu = Menu::usual();
    menu.key(Char('p'));
    let shown = |menu: &Menu| {
        let form = form(menu);
        let fallback = match &form.fields[1].kind {
            Kind::Choice { options, .. } => options[0].label.clone(),
            other => panic!("{other:?}"),
        };
        let of = form.value("of").to_owned();
        (of, fallback, form.fields[2].present.clone())
    };
    let mut seen = vec![shown(&menu)];
    assert!(text(&menu).contains("[100 "), "{}", text(&menu));
    for _ in 0..7 {
        menu.key(Right);
        seen.push(shown(&menu));
    }
    let has = |of: &str, fallback: &str, priority: &str| {
        let wanted = (of.to_owned(), fallback.to_owned(), priority.to_owned());
        assert!(seen.contains(&wanted), "{wanted:?}: {seen:?}");
    };
    has("web2", "as it is (manual)", "100");
    has("web3", "as it is (automatic)", "100");
    // A cluster's own type is in no node's view.
    has("cluster shop", "as it is", "");
    // What is not typed is not changed.
    assert!(menu.keys(&[Down, Down, Down, Enter]).is_empty());
}

#[test]
fn help_in_a_form_begins_with_that_form() {
    let mut menu = Menu::usual();
    menu.key(Char('k'));
    menu.key(backstay::tui::keys::Key::F(1));
    let screen = text(&menu);
    let lines: Vec<&str> = screen.lines().map(str::trim).collect();
    assert!(
        lines[1].starts_with("Lock service to node: fields and keys"),
        "{screen}"
    );
    assert!(lines[2].starts_with("Service  "), "{screen}");
    let forms = lines.iter().position(|l| *l == "Forms").unwrap();
    assert!(forms < 10, "{screen}");
    menu.key(Esc);
    assert_eq!(form(&menu).title, "Lock service to node");
    // From any other page too, and not twice.
    menu.keys(&[Esc, Char('A'), Char('?'), Char('?'), Esc]);
    assert!(
        text(&menu).contains("Alarms (backstay alarm list)"),
        "{}",
        text(&menu)
    );
}

#[test]
fn what_is_chosen_is_shown_whole() {
    let mut menu = Menu::usual();
    menu.keys(&[Char('h'), Down, Right]);
    let screen = text(&menu);
    for part in ["the standby (planned,", "maintain home) > (2/2)"] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
}

#[test]
fn a_key_that_needs_a_mark_says_so() {
    let mut menu = Menu::usual();
    menu.key(Char('N'));
    assert!(text(&menu).contains("Mark a node in the picture first (Tab)."));
}
