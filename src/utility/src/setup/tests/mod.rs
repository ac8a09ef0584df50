//! U3 against hosts that live in the test: to the end, back from each question, cut off at each step,
//! recorded and replayed.

mod fake;
mod pty;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::answers::{Recorder, Replay};
use super::ask::{Asker, Reply};
use super::drive::{Drive, Outcome};
use super::plain::Plain;
use super::question::{Answer, Key, Question};
use crate::failure::{Changed, Exit, Failure};
use crate::ops::preflight::Overrides;
use crate::output::style::Style;
use fake::{Fake, pair};

/// Types what is written under a key, else Return; goes back once at the question of that number.
#[derive(Default)]
struct Script {
    typed: BTreeMap<String, Vec<String>>,
    back_at: Option<usize>,
    asked: Vec<String>,
    told: String,
}

fn script() -> Script {
    let typed = [
        ("cluster.name", "shop"),
        ("hosts", "192.0.2.101 192.0.2.21"),
        ("host.\"192.0.2.101\".key", "yes"),
        ("host.\"192.0.2.21\".key", "yes"),
        ("install", "yes"),
        ("node.n1.base", "192.0.2.11"),
        ("create", "yes"),
    ];
    let typed = typed.map(|(key, text)| (key.to_owned(), vec![text.to_owned()]));
    Script {
        typed: typed.into(),
        ..Script::default()
    }
}

impl Script {
    fn with(mut self, key: &str, typed: &[&str]) -> Self {
        let typed = typed.iter().map(ToString::to_string).collect();
        self.typed.insert(key.to_owned(), typed);
        self
    }
}

impl Asker for Script {
    fn ask(&mut self, question: &Question, _can_go_back: bool) -> Result<Reply, Failure> {
        assert!(
            self.asked.len() < 100,
            "asked without end: {:?}",
            self.asked
        );
        let number = self.asked.len();
        self.asked.push(question.key.to_string());
        if self.back_at == Some(number) {
            return Ok(Reply::Back);
        }
        // The last one typed is typed again when asked again.
        let lines = self.typed.get_mut(&question.key.to_string());
        let line = match lines {
            Some(lines) if lines.len() > 1 => lines.remove(0),
            Some(lines) => lines[0].clone(),
            None => String::new(),
        };
        question
            .read(&line)
            .map(Reply::Given)
            .map_err(|why| Failure::new(Exit::Usage, format!("{}: {why}", question.key)))
    }

    fn tell(&mut self, text: &str) {
        self.told.push_str(text);
    }

    fn wrong(&mut self, key: &Key, failure: Failure) -> Result<(), Failure> {
        writeln!(self.told, "wrong {key}: {failure}").unwrap();
        Ok(())
    }
}

fn drive(
    fake: &Fake,
    asker: &mut dyn Asker,
    recorder: Option<Recorder>,
) -> Result<Outcome, Failure> {
    let mut system = fake.clone();
    let mut drive = Drive::new(&mut system, asker, Style::default(), Overrides::default());
    drive.recorder = recorder;
    drive.run()
}

fn whole() -> (Fake, Script) {
    let (fake, mut script) = (pair(), script());
    let outcome = drive(&fake, &mut script, None).unwrap();
    assert_eq!(outcome.answers, script.asked.len());
    (fake, script)
}

#[test]
fn u3_a_pair_takes_at_most_25_answers() {
    let (fake, script) = whole();
    assert_eq!(
        script.asked,
        [
            "cluster.name",
            "hosts",
            "host.\"192.0.2.101\".key",
            "host.\"192.0.2.21\".key",
            "host.\"192.0.2.101\".name",
            "host.\"192.0.2.101\".role",
            "host.\"192.0.2.21\".name",
            "host.\"192.0.2.21\".role",
            "install",
            "node.n1.services",
            "service.web1.alias",
            "node.n1.base",
            "service.web1.units",
            "service.web1.priority",
            "service.web1.fallback",
            "cluster.profile",
            "create",
        ]
    );
    let world = fake.0.borrow();
    let made = world.committed.as_ref().unwrap();
    let command = backstay_core::plan::command_line(
        &backstay_core::plan::Action::CreateCluster(made.clone()),
        0,
    );
    assert_eq!(
        command,
        "backstay cluster create shop --standby sb1 --service web1=n1,alias=192.0.2.101/24,base=192.0.2.11/24,unit=web1.service"
    );
    assert!(world.indexed && world.watched);
}

#[test]
fn a6_a_second_network_is_offered_where_there_is_one_and_return_says_no() {
    let ends = |typed: Option<&str>| {
        let fake = pair();
        for (host, second) in [("192.0.2.101", 11), ("192.0.2.21", 21)] {
            let mut world = fake.0.borrow_mut();
            let host = world.hosts.get_mut(host).unwrap();
            host.second = Some(format!("198.51.100.{second}/24"));
        }
        let mut asker = script();
        if let Some(typed) = typed {
            asker = asker.with("cluster.link", &[typed]);
        }
        drive(&fake, &mut asker, None).unwrap();
        let asked = asker.asked.iter().filter(|k| *k == "cluster.link");
        assert_eq!(asked.count(), 1);
        let made = fake.0.borrow().committed.clone().unwrap();
        made.links
    };
    assert_eq!(ends(None), []);
    let subnet = "198.51.100.0/24";
    assert_eq!(ends(Some(subnet)), [subnet.parse().unwrap()]);
}

#[test]
fn u3_back_from_each_question_ends_in_the_same_place() {
    let (straight, asked) = whole();
    for number in 0..asked.asked.len() {
        let fake = pair();
        let mut asker = script();
        asker.back_at = Some(number);
        drive(&fake, &mut asker, None).unwrap();
        assert_eq!(fake.0.borrow().end(), straight.0.borrow().end(), "{number}");
        // Not back over what was carried out, nor before the beginning.
        let first_after = asked.asked.iter().position(|k| k == "node.n1.services");
        let more = if number == 0 || Some(number) == first_after {
            1
        } else {
            2
        };
        let kept = number == 0 || Some(number) == first_after;
        assert_eq!(
            asker.asked.len(),
            asked.asked.len() + more,
            "{number}: {:?}",
            asker.asked
        );
        assert_eq!(asker.told.contains("nothing to go back to"), kept);
    }
}

#[test]
fn u3_cut_off_at_each_step_and_run_again_it_ends_in_the_same_place() {
    let (straight, asked) = whole();
    let steps = straight.0.borrow().steps;
    assert_eq!(steps, 10);
    for cut in 0..steps {
        let fake = pair();
        fake.0.borrow_mut().cut = Some(cut);
        let failure = drive(&fake, &mut script(), None).unwrap_err();
        assert!(
            failure.hint.unwrap().contains("goes on from there"),
            "{cut}"
        );
        assert_ne!(failure.changed, Changed::No, "{cut}");
        let mut again = script();
        drive(&fake, &mut again, None).unwrap();
        assert_eq!(fake.0.borrow().end(), straight.0.borrow().end(), "{cut}");
        assert!(fake.0.borrow().watched, "{cut}");
        // What is there already is not asked again.
        assert!(again.asked.len() <= asked.asked.len(), "{cut}");
        if cut >= 3 {
            let about_n1 = again.asked.iter().filter(|k| k.contains("192.0.2.101"));
            let about_n1: Vec<&str> = about_n1.map(String::as_str).collect();
            assert!(
                !about_n1.contains(&"host.\"192.0.2.101\".key"),
                "{about_n1:?}"
            );
            assert!(
                !about_n1.contains(&"host.\"192.0.2.101\".name"),
                "{about_n1:?}"
            );
        }
        if cut >= 8 {
            assert_eq!(again.asked, ["cluster.name"], "{cut}");
        }
    }
}

#[test]
fn u3_what_was_recorded_replays_to_the_same_place() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.toml");
    let straight = pair();
    let recorder = Recorder::begin(&path).unwrap();
    drive(&straight, &mut script(), Some(recorder)).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let expected = format!(
        "# Answers of `backstay setup`. To replay them: backstay setup --answers {}\n{}",
        path.display(),
        include_str!("answers.toml")
    );
    assert_eq!(text, expected);
    let replayed = pair();
    let mut replay = Replay::read(&path, Box::new(|_| {})).unwrap();
    drive(&replayed, &mut replay, None).unwrap();
    assert_eq!(replayed.0.borrow().end(), straight.0.borrow().end());
    // And once more, cut off at each step of the replay.
    for cut in 0..straight.0.borrow().steps {
        let fake = pair();
        fake.0.borrow_mut().cut = Some(cut);
        for _ in 0..2 {
            let mut replay = Replay::read(&path, Box::new(|_| {})).unwrap();
            let _ = drive(&fake, &mut replay, None); // the first is cut off
        }
        assert_eq!(fake.0.borrow().end(), straight.0.borrow().end(), "{cut}");
    }
}

#[test]
fn u3_an_interrupted_record_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.toml");
    let fake = pair();
    fake.0.borrow_mut().cut = Some(7);
    for _ in 0..2 {
        let recorder = Recorder::begin(&path).unwrap();
        let _ = drive(&fake, &mut script(), Some(recorder)); // the first is cut off
    }
    let fresh = pair();
    let mut replay = Replay::read(&path, Box::new(|_| {})).unwrap();
    drive(&fresh, &mut replay, None).unwrap();
    assert_eq!(fresh.0.borrow().end(), fake.0.borrow().end());
    std::fs::write(&path, "precious").unwrap();
    assert!(
        Recorder::begin(&path)
            .unwrap_err()
            .message
            .contains("no file of answers")
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

fn replay_of(text: &str) -> Result<Outcome, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, text).unwrap();
    let mut replay = Replay::read(&path, Box::new(|_| {}))?;
    drive(&pair(), &mut replay, None)
}

#[test]
fn u3_a_missing_or_wrong_answer_is_named_in_one_line() {
    let good = include_str!("answers.toml");
    let cases = [
        (
            "version = 1",
            "version = 2",
            "its version is 2; this program reads 1",
        ),
        ("version = 1\n", "", "it has no `version = 1`"),
        (
            "name = \"shop\"",
            "name = \"Shop\"",
            "the answer `cluster.name` is wrong: `Shop` is not a cluster name",
        ),
        (
            "profile = \"lan\"",
            "",
            "the answer `cluster.profile` is missing",
        ),
        (
            "profile = \"lan\"",
            "profile = 3",
            "the answer `cluster.profile` is wrong: it must be one of: lan, fast, vm, wan",
        ),
        (
            "key = \"SHA256:192.0.2.21\"",
            "key = \"SHA256:x\"",
            "the host shows SHA256:192.0.2.21",
        ),
        (
            "role = \"standby\"",
            "role = \"regular\"",
            "`regular` is none of: standby",
        ),
        (
            "base = [\"192.0.2.11/24\"]",
            "base = [\"192.0.2.21/24\"]",
            "192.0.2.21 is an address of sb1",
        ),
        (
            "base = [\"192.0.2.11/24\"]",
            "base = [\"192.0.2.1\"]",
            "192.0.2.1 is the gateway of n1",
        ),
        (
            "base = [\"192.0.2.11/24\"]",
            "base = [\"198.51.100.7/24\"]",
            "is not on the subnet",
        ),
        (
            "base = [\"192.0.2.11/24\"]",
            "base = []",
            "one base address on 192.0.2.0/24 is needed",
        ),
        (
            "units = [\"web1.service\"]",
            "units = [\"x\"]",
            "n1 has no unit x.service",
        ),
        (
            "\"192.0.2.21\"]",
            "\"192.0.2.99\"]",
            "the answer `hosts` is wrong: 192.0.2.99: no route",
        ),
        (
            "install = true",
            "install = false",
            "the answer `install` is no; nothing was changed",
        ),
        ("hosts = [", "hosts = [[", "line "),
    ];
    for (old, new, said) in cases {
        assert!(good.contains(old), "{old}");
        let failure = replay_of(&good.replacen(old, new, 1)).unwrap_err();
        assert!(failure.message.contains(said), "{new}: {failure}");
        assert!(!failure.message.contains('\n'), "{failure}");
    }
}

#[test]
fn u3_a_failed_check_is_mended_or_overridden_by_its_name() {
    // Mended after the first look.
    let fake = pair();
    fake.0
        .borrow_mut()
        .hosts
        .get_mut("192.0.2.21")
        .unwrap()
        .fails = Some(("nft".to_owned(), false, 1));
    let mut asker = script();
    drive(&fake, &mut asker, None).unwrap();
    assert!(asker.asked.contains(&"checks.hosts".to_owned()));
    assert!(
        asker
            .told
            .contains("nft: nft is bad on 192.0.2.21; mend nft"),
        "{}",
        asker.told
    );
    // A warning that stays is overridden.
    let warned = |fake: &Fake| {
        fake.0
            .borrow_mut()
            .hosts
            .get_mut("192.0.2.101")
            .unwrap()
            .fails = Some(("clock-not-kept".to_owned(), true, 99));
    };
    let fake = pair();
    warned(&fake);
    let mut asker = script().with("checks.nodes", &["again", "ignore"]);
    drive(&fake, &mut asker, None).unwrap();
    let asked: BTreeSet<&String> = asker.asked.iter().collect();
    assert_eq!(asker.asked.len(), asked.len() + 1);
    // From the beginning: not even asked.
    let fake = pair();
    warned(&fake);
    let (mut system, mut asker) = (fake.clone(), script());
    let overrides = Overrides {
        force: false,
        ignore: vec!["clock-not-kept".to_owned()],
    };
    Drive::new(&mut system, &mut asker, Style::default(), overrides)
        .run()
        .unwrap();
    assert!(!asker.asked.contains(&"checks.nodes".to_owned()));
}

#[test]
fn u3_what_turns_out_wrong_is_asked_again() {
    let fake = pair();
    fake.0.borrow_mut().refused = 1;
    let mut asker = script().with(
        "hosts",
        &["192.0.2.99 192.0.2.21", "192.0.2.101 192.0.2.21"],
    );
    drive(&fake, &mut asker, None).unwrap();
    assert!(
        asker.told.contains("wrong hosts: 192.0.2.99: no route"),
        "{}",
        asker.told
    );
    assert!(
        asker.told.contains("wrong cluster.profile: refused"),
        "{}",
        asker.told
    );
    assert!(fake.0.borrow().watched);
}

#[test]
fn u3_clones_with_one_host_key_are_told_apart_first() {
    let fake = pair();
    let mut hosts = fake.0.borrow().hosts.clone();
    hosts.get_mut("192.0.2.21").unwrap().clone_of = Some("192.0.2.101".to_owned());
    fake.0.borrow_mut().hosts = hosts;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, include_str!("answers.toml")).unwrap();
    let mut replay = Replay::read(&path, Box::new(|_| {})).unwrap();
    let failure = drive(&fake, &mut replay, None).unwrap_err();
    assert!(
        failure.message.contains("show the same host key"),
        "{failure}"
    );
    assert!(failure.hint.unwrap().contains("ssh-keygen -A"));
    assert_eq!(fake.0.borrow().steps, 0);
}

#[test]
fn u3_a_dry_run_stops_before_the_first_change() {
    let fake = pair();
    let (mut system, mut asker) = (fake.clone(), script());
    let mut drive = Drive::new(
        &mut system,
        &mut asker,
        Style::default(),
        Overrides::default(),
    );
    drive.dry = true;
    assert!(drive.run().unwrap().dry);
    assert_eq!(fake.0.borrow().steps, 0);
}

/// The whole path in plain lines: the text is compared, so that a change of it is read by somebody.
#[test]
fn u3_plain_lines_from_beginning_to_end() {
    let typed =
        "shop\n192.0.2.101 192.0.2.21\nyes\ny\n\n1\n\n\nyes\n\n1\n192.0.2.11\n\n\n2\n<\n1\n\nyes\n";
    let fake = pair();
    let mut out = Vec::new();
    let mut plain = Plain::new(typed.as_bytes(), &mut out, Style::default());
    drive(&fake, &mut plain, None).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains('\u{1b}'), "nothing moves the cursor");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    if std::env::var_os("REWRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/setup/tests/plain.txt");
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, include_str!("plain.txt"));
    let (straight, _) = whole();
    assert_eq!(fake.0.borrow().end(), straight.0.borrow().end());
}

#[test]
fn an_answer_knows_how_it_is_shown() {
    assert_eq!(Answer::Yes(true).shown(), "yes");
    assert_eq!(Answer::Words(vec!["a".into(), "b".into()]).shown(), "a b");
}
