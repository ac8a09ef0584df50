//! The menu on real hosts: every entry of U1 from its first key to its last, cut off on the way, and beside another
//! admin. One test after the other in the order of their names.

mod documents;
mod drive;
mod entries;
mod killed;

use std::sync::OnceLock;

use backstay_tests::{backstay, on_lab};

use documents::{Documents, documents};
use drive::Field::Choice;
use drive::{Entry, Menu};
use entries::{AWAY, CLUSTER, NODES};

/// What is not of this test's concern: the hosts share this machine's clock, and NTP has no way in.
const CLOCK: &str = "--ignore-check=clock-not-kept";

/// New hosts.
fn bare_lab() {
    let up = backstay(&["lab", "up", "--bare", "--yes"]).unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(up.status.success(), "{said}");
}

fn all() -> impl Iterator<Item = Entry> {
    NODES.into_iter().chain(CLUSTER).chain(AWAY)
}

fn flags(entry: &Entry) {
    let mut words: Vec<&str> = vec![CLOCK];
    words.extend(entry.flags.split(' '));
    on_lab(&words).unwrap();
}

/// What each entry leaves on the hosts when it is done by its flags; found out once.
fn by_flags() -> &'static [Documents] {
    static FOUND: OnceLock<Vec<Documents>> = OnceLock::new();
    FOUND.get_or_init(|| {
        bare_lab();
        let done = all().map(|entry| {
            flags(&entry);
            documents()
        });
        done.collect()
    })
}

#[test]
fn t01_u1_menu_and_flags_leave_the_same_documents() {
    bare_lab();
    let mut menu = Menu::open(&[]);
    menu.not_now('y', "copying data comes with a later version");
    menu.not_now('b', "preloading comes with a later version");
    let mut by_menu = Vec::new();
    for entry in all() {
        let command = menu.whole(&entry);
        // What a warning stood against is ignored by name.
        let told = command.replace(CLOCK, "");
        by_menu.push((entry, told, documents()));
        if entry.key == 'j' {
            menu.page('l', &["shop", "n1 sb1 n2", "web1 web2"]);
            menu.page('t', &["shop", "web1", "web2", "192.0.2.102"]);
        }
    }
    menu.quit();
    for ((entry, _, documents), by_flags) in by_menu.iter().zip(by_flags()) {
        assert_eq!(documents, by_flags, "after {}", entry.flags);
    }
    let told: Vec<&str> = by_menu.iter().map(|(_, told, _)| told.as_str()).collect();
    let typed = |entry: Entry| format!("backstay --lab {}", entry.flags).replace(' ', "");
    assert_eq!(told, all().map(typed).collect::<Vec<String>>());
}

/// In CI each entry is cut off at one moment; with `BACKSTAY_ALL_MOMENTS` set, each at every moment.
#[test]
fn t02_u6_killed_at_any_moment_it_took_effect_as_a_whole_or_not_at_all() {
    let lives = if std::env::var_os("BACKSTAY_ALL_MOMENTS").is_some() {
        killed::MOMENTS.len()
    } else {
        1
    };
    (0..lives).for_each(killed::life);
}

/// A second admin at the same time: the first stands in the middle, since one agent does not answer for a while.
#[test]
fn t03_u8_the_second_admin_is_told_who_holds_the_change_lock_and_since_when() {
    let create = &CLUSTER[0];
    let standby = Entry {
        form: &[Choice("Node", "n2")],
        needs: "n2",
        ..NODES[3]
    };
    bare_lab();
    NODES.iter().for_each(flags);
    let mut first = Menu::open(&[CLOCK]);
    let mut second = Menu::open(&[CLOCK]);
    for (menu, entry) in [(&mut first, create), (&mut second, &standby)] {
        menu.fill(entry);
        menu.agree(entry);
    }
    // Until the second was told, far shorter than its watchdog, which would end it.
    on_lab(&["lab", "freeze", "sb1"]).unwrap();
    first.screen.send("\r");
    first.screen.see("taking the change lock on n1, n2, sb1");
    second.screen.send("\r");
    // It is wrapped.
    let told = second.result();
    on_lab(&["lab", "thaw", "sb1"]).unwrap();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "root@",
        "holds the change lock of this node for",
        "create the cluster shop",
        "nothing was changed",
    ] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    let done = first.result();
    assert!(done.contains("Done: create the cluster shop"), "{done}");
    // The same again goes through.
    second.whole(&standby);
    first.quit();
    second.quit();
}

#[test]
fn t99_down() {
    assert!(backstay(&["lab", "down"]).unwrap().status.success());
}
