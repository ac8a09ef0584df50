//! The lab without root: real agents on loopback addresses, as a user who may do nothing special.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use backstay_tests::programs;
use serde_json::Value;

/// How long anything may take; usually it is there within seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// The usual number of the user `nobody`.
const NOBODY: u32 = 65534;

/// An unprivileged user with the programs and nothing else.
struct User {
    home: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        let user = Self {
            home: tempfile::tempdir().unwrap(),
        };
        for program in ["backstay", "backstay-agent", "backstay-lab"] {
            std::fs::copy(programs().unwrap().join(program), user.at(program)).unwrap();
        }
        if is_root() {
            chown(user.home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        user
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Where the lab goes of itself.
    fn lab(&self) -> PathBuf {
        self.at("backstay-lab.d/backstay-lab")
    }

    /// `backstay` as that user, without a terminal and with little in its environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.at("backstay"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.at("backstay-lab.d"))
            .current_dir("/")
            .stdin(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY); // and no other group: std drops them too
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {}: {said}",
            output.status
        );
        said
    }

    /// The cluster as `status` tells it, as soon as it is so.
    fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + LIMIT;
        loop {
            let output = self.run(&["--lab", "status", "--output", "json"]);
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let cluster = &status["clusters"][0];
            if is(cluster) {
                return cluster.clone();
            }
            assert!(Instant::now() < until, "still not: {what}; {cluster:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until web1 runs on that node alone, and the node answers on its alias.
    fn wait_for_web1_on(&self, node: &str) {
        self.wait(&format!("web1 on {node}"), |cluster| {
            let web1 = named(&cluster["services"], "web1");
            web1["state"] == "running"
                && web1["running_on"] == serde_json::json!([node])
                && answered_by(web1).as_deref() == Some(node)
        });
    }

    /// Processes of the lab, and what is left of its folder.
    fn traces(&self) -> Vec<String> {
        let mark = format!("BACKSTAY_LAB_OF={}", self.lab().display());
        let marked = |process: &Path| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|v| v == mark.as_bytes())
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut found: Vec<String> = processes
            .map(|entry| entry.path())
            .filter(|path| marked(path))
            .map(|path| path.display().to_string())
            .collect();
        let files = std::fs::read_dir(self.at("backstay-lab.d"))
            .unwrap()
            .flatten();
        found.extend(files.map(|entry| entry.path().display().to_string()));
        found
    }
}

/// Whether this test has to become somebody else first.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The entry of that name; null: there is none.
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list.as_array().into_iter().flatten();
    let mut found = found.filter(|entry| entry["name"] == name);
    found.next().unwrap_or(&Value::Null)
}

/// Who answers on a service's alias over HTTP; none: nobody.
fn answered_by(service: &Value) -> Option<String> {
    let alias = service["addresses"][0]["address"].as_str()?;
    let alias = alias.split('/').next()?.parse().ok()?;
    let address = SocketAddr::new(alias, 8000);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1)?).ok()?;
    Some(body["node"].as_str()?.to_owned())
}

#[test]
fn without_root_a_service_survives_its_agent_and_goes_home() {
    let user = User::new();
    let runtime = user.at("backstay-lab.d");
    std::fs::create_dir(&runtime).unwrap();
    if is_root() {
        chown(&runtime, Some(NOBODY), Some(NOBODY)).unwrap();
    }

    let said = user.done(&["lab", "up"]);
    for word in ["not root", "Simulated", "gate", "Real", "sudo"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let cluster = user.wait("an answer", |cluster| !cluster.is_null());
    let services = cluster["services"].as_array().unwrap();
    assert_eq!(services.len(), 3, "{services:?}");
    for service in services {
        assert_eq!(service["state"], "running", "{service}");
        assert_eq!(service["running_on"], serde_json::json!([service["home"]]));
        assert_eq!(answered_by(service).as_deref(), service["home"].as_str());
    }

    // F2, F8.
    user.done(&["lab", "kill", "n1"]);
    user.wait_for_web1_on("sb1");
    user.done(&["lab", "revive", "n1"]);
    user.wait("n1 up", |cluster| {
        named(&cluster["nodes"], "n1")["state"] == "up"
    });
    user.done(&["--lab", "--yes", "service", "move", "web1", "--to", "home"]);
    user.wait_for_web1_on("n1");

    key_rotation_without_a_member(&user);

    // F2 again: one that is frozen comes back, sees that it was held up, and gives up what another has.
    user.done(&["lab", "freeze", "n1", "--for", "6s"]);
    user.wait_for_web1_on("sb1");

    for verb in [
        &["lab", "cut", "n1", "sb1"][..],
        &["lab", "ssh", "n1"],
        &["lab", "probe"],
        &["lab", "bench", "power"],
    ] {
        let refused = user.run(verb);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(4), "{verb:?}: {said}");
        assert!(said.contains("loopback") && said.contains("root"), "{said}");
    }

    assert!(!user.traces().is_empty());
    user.done(&["lab", "down"]);
    assert_eq!(user.traces(), Vec::<String>::new());

    // Killed half-way: while nodes are added, by a command of its own each.
    let mut up = user
        .command(&["lab", "up"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stderr.take().unwrap()).lines();
    let half_way = lines
        .map_while(Result::ok)
        .any(|line| line.contains("node add n2"));
    up.kill().unwrap();
    up.wait().unwrap();
    assert!(half_way, "`up` ended before it added a node");
    user.done(&["lab", "down"]);
    assert_eq!(user.traces(), Vec::<String>::new());
}

/// PROTOCOL 3: a member that is away is named; left behind on the admin's word, it gets the key once it is back, and no
/// secret is shown anywhere.
fn key_rotation_without_a_member(user: &User) {
    let keys = |user: &User| {
        let shown = user.run(&["--lab", "cluster", "show", "demo", "--output", "json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        shown["document"]["key"].as_array().unwrap().clone()
    };
    let rotate = ["--lab", "--yes", "key", "rotate", "demo"];
    let first = keys(user);
    user.done(&["lab", "kill", "w1"]);
    user.wait("w1 down", |cluster| {
        named(&cluster["nodes"], "w1")["state"] == "down"
    });
    let refused = user.run(&rotate);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(
        said.contains("member-away") && said.contains("w1"),
        "{said}"
    );
    assert_eq!(keys(user), first, "refused, nothing was changed");
    let mut without = rotate.to_vec();
    without.extend(["--ignore-check", "member-away"]);
    let done = user.run(&without);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let silent = said.lines().filter(|line| line.starts_with("w1: "));
    assert_eq!(silent.count(), 1, "told once for all its steps: {said}");
    let second = keys(user);
    assert_ne!(second[0]["id"], first[0]["id"]);
    assert_eq!(second.len(), 1);
    assert_eq!(second[0]["secret"], "not shown");

    user.done(&["lab", "revive", "w1"]);
    let until = Instant::now() + LIMIT;
    // Bringing it up to date is part of what is agreed to: without a yes it stays as it is, as often as one asks.
    let mut asked = 0;
    while asked < 2 {
        let unasked = user.run(&["--lab", "--no-input", "key", "rotate", "demo"]);
        let plan = String::from_utf8_lossy(&unasked.stdout);
        if plan.contains("not up to date, and getting revision") {
            assert_eq!(unasked.status.code(), Some(2), "{plan}");
            asked += 1;
        }
        assert!(Instant::now() < until, "w1 does not answer: {plan}");
    }
    let until = Instant::now() + LIMIT;
    while !user.run(&rotate).status.success() {
        assert!(Instant::now() < until, "w1 gets no key");
    }
    user.wait("w1 up", |cluster| {
        named(&cluster["nodes"], "w1")["state"] == "up"
    });
    assert_eq!(keys(user).len(), 1);
}
