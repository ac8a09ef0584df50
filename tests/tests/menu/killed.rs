//! U6: the utility is killed in the middle of what it was told in the menu.

use std::thread::sleep;
use std::time::Duration;

use super::documents::{Documents, documents, in_effect, settled_on};
use super::drive::{Entry, Menu, is_over};
use super::entries::{CLUSTER, NODES};
use super::{CLOCK, bare_lab, by_flags, flags};

/// When it is killed: as soon as it asks, so long after the last key, or when its screen says that. Where it was
/// quicker than its screen, it is killed at its end: whole or not at all holds for any moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    Asked,
    After(u64),
    At(&'static str),
}

pub(crate) const MOMENTS: [Moment; 11] = [
    Moment::At("committing revision"),
    Moment::After(60),
    Moment::At("staging revision"),
    Moment::After(20),
    Moment::At("writing revision"),
    Moment::After(150),
    Moment::At("taking the change lock"),
    Moment::After(0),
    Moment::At("now  wait until"),
    Moment::After(400),
    Moment::Asked,
];

/// Begins an entry in the menu and kills the utility at that moment.
fn kill(entry: &Entry, moment: Moment) {
    let mut menu = Menu::open(&[CLOCK]);
    menu.fill(entry);
    if let Moment::Asked = moment {
        menu.screen
            .until("[ Cancel ]", |text| text.contains("[ Cancel ]"));
    } else {
        menu.agree(entry);
        menu.screen.send("\r");
    }
    match moment {
        Moment::After(ms) => sleep(Duration::from_millis(ms)),
        Moment::At(mark) => menu
            .screen
            .until(mark, |text| text.contains(mark) || is_over(text)),
        Moment::Asked => {}
    }
    menu.screen.kill();
    menu.screen.end();
}

/// What the picture of the next session must say: the revision in effect, or that there is no cluster; and what was
/// staged on the node that it asks.
fn truth(now: &Documents) -> Vec<String> {
    let revision = |document: &String| {
        let mut lines = document.lines();
        let number = lines.find_map(|l| l.strip_prefix("revision = "));
        number.unwrap().to_owned()
    };
    let present = now.get("n1: clusters/shop.toml").map(revision);
    let staged = now.get("n1: clusters/shop.staged").map(revision);
    match (present, staged) {
        (Some(r), Some(next)) => vec![
            format!("available  revision {r}"),
            format!("n1 staged revision {next}"),
        ],
        (Some(r), None) => vec![format!("available  revision {r}")],
        // A cluster that never was is named: it has no picture to stand in.
        (None, Some(_)) => vec![
            "0 clusters, 3 nodes".to_owned(),
            "n1 staged shop".to_owned(),
        ],
        (None, None) => vec!["0 clusters, 3 nodes".to_owned()],
    }
}

/// Kills it there; sees what the next session says, and does the same once more where it had not taken effect.
fn cut_off(entry: &Entry, moment: Moment, before: &Documents, after: &Documents) {
    kill(entry, moment);
    let which = settled_on([before, after]);
    let left = documents();
    let said = truth(&left);
    println!(
        "{:<32} {moment:?}: {said:?}",
        entry.flags.split(" --").next().unwrap()
    );
    let mut menu = Menu::open(&[CLOCK]);
    menu.screen.until(&said.join(" and "), |text| {
        said.iter().all(|s| text.contains(s.as_str()))
    });
    // An order is in no document: given once more it is carried out, or there is nothing to do.
    if entry.key == 'h' {
        menu.again(entry);
    } else if which == 0 {
        menu.whole(entry);
    }
    menu.quit();
    assert_eq!(settled_on([after, after]), 0);
    let staged: Vec<String> = documents()
        .into_keys()
        .filter(|n| n.ends_with(".staged"))
        .collect();
    assert!(staged.is_empty(), "{staged:?} is left");
}

/// One life of a cluster with an end of the session in each entry; `first`: the moment of the first.
pub(crate) fn life(first: usize) {
    let expected: Vec<Documents> = by_flags().iter().cloned().map(in_effect).collect();
    bare_lab();
    NODES.iter().for_each(flags);
    for (n, entry) in CLUSTER.iter().enumerate() {
        let at = NODES.len() + n;
        // The ways back are the same as the ways there.
        if entry.key == 'u' || entry.flags.ends_with("--to home") {
            flags(entry);
        } else {
            let moment = MOMENTS[(first + n) % MOMENTS.len()];
            cut_off(entry, moment, &expected[at - 1], &expected[at]);
        }
    }
}
