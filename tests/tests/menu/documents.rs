//! What each host has on its disk.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use backstay_tests::programs;
use backstay_tests::terminal::LONG;

/// The hosts of these tests.
pub(crate) const HOSTS: [&str; 3] = ["n1", "n2", "sb1"];
/// Shows every document of a host, each under its name, and before them the number of sessions with its agent.
const SHOW: &str = "pgrep -fc '[b]ackstay-agent rpc'; cd /var/lib/backstay 2>/dev/null && \
                    for f in system.toml clusters/*.toml clusters/*.staged; \
                    do [ -e $f ] && echo \"==> $f\" && cat $f; done; true";

/// Documents by host and file.
pub(crate) type Documents = BTreeMap<String, String>;

/// Whether a line says the same whenever and on whatever machine it is written: not what is drawn anew (identities,
/// secrets, the keys of a new host) and not the time.
fn stays(line: &str) -> bool {
    let anew = ["id = \"", "secret = ", "host_keys = ", "at = ", "until = "];
    !anew.iter().any(|k| line.starts_with(k))
}

fn show(host: &str) -> Child {
    Command::new(programs().unwrap().join("backstay"))
        .args(["lab", "ssh", host, "--", SHOW])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Every document on every host, as far as it stays the same in another run.
pub(crate) fn documents() -> Documents {
    look().1
}

/// How many sessions there are with agents, and every document.
fn look() -> (usize, Documents) {
    let asked = HOSTS.map(|host| (host, show(host)));
    let (mut sessions, mut found) = (0, Documents::new());
    for (host, child) in asked {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{host}: {}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut files = text.split("==> ");
        let count = files.next().unwrap().trim();
        sessions += count.parse::<usize>().unwrap();
        for file in files {
            let (name, content) = file.split_once('\n').unwrap();
            let content: Vec<&str> = content.lines().filter(|l| stays(l)).collect();
            found.insert(format!("{host}: {name}"), content.join("\n"));
        }
    }
    (sessions, found)
}

/// Without what is staged and not in effect.
pub(crate) fn in_effect(mut all: Documents) -> Documents {
    all.retain(|name, _| !name.ends_with(".staged"));
    all
}

/// Whether the hosts have that. A node that is in no cluster hears no beats: its list may be behind, since the session
/// that would have told it has ended; it follows with the next change.
fn have(now: &Documents, wanted: &Documents) -> bool {
    let revision = |document: &str| -> Option<u64> {
        let mut lines = document.lines();
        lines
            .find_map(|l| l.strip_prefix("revision = "))?
            .parse()
            .ok()
    };
    let behind = |name: &str, document: &str| {
        let host = name.strip_suffix(": system.toml");
        let alone = host.is_some_and(|h| !wanted.contains_key(&format!("{h}: clusters/shop.toml")));
        alone && revision(&now[name]) < revision(document)
    };
    now.keys().eq(wanted.keys())
        && wanted
            .iter()
            .all(|(name, document)| now[name] == *document || behind(name, document))
}

/// U6: waits until nobody has a session any more and the hosts agree on one of these; answers which. What an ended
/// session had still sent is carried out, and who has not heard of a commit learns of it with the beats.
#[track_caller]
pub(crate) fn settled_on(wanted: [&Documents; 2]) -> usize {
    let until = Instant::now() + LONG;
    loop {
        let (sessions, found) = look();
        let now = in_effect(found);
        if sessions == 0
            && let Some(which) = wanted.iter().position(|w| have(&now, w))
        {
            return which;
        }
        assert!(
            Instant::now() < until,
            "{sessions} sessions; neither before nor after: {now:#?}\nbefore: {:#?}\nafter: {:#?}",
            wanted[0],
            wanted[1]
        );
        sleep(Duration::from_millis(100));
    }
}
