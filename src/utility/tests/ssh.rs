//! SSH against a real sshd on loopback: host keys, hosts that hang, noisy shells, refused keys.
//!
//! Each test has its own sshd with keys of its own in a folder of its own. Needs root and Debian's
//! `openssh-server`, `openssh-client` and `python3`; without them the tests fail and say so.

#[path = "ssh/upgrade.rs"]
mod upgrade;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use backstay::remote::ssh::{Options, Session};
use backstay::remote::{Client, Contact, Deadlines, HostKey, Pins, RemoteError, Transport, client};
use serde_json::Value;
use tempfile::TempDir;

/// Speaks for an agent: the preamble, then canned results. `SYSTEM` is replaced by the system document.
const AGENT: &str = r#"
import json, sys
out = sys.stdout
out.write("NOISE")
out.write("\x01backstay-rpc\x01\n")
out.flush()
system = SYSTEM
hello = {"version": 1, "agent": "0.1.0-test", "node": "n1", "id": "0000000000000001", "role": "free",
         "clusters": {}, "system_revision": 1, "staged": {}, "writable": True}
for line in sys.stdin:
    call = json.loads(line)
    value = {"hello": hello, "system-get": {"text": system}, "status": {"clusters": []},
             "facts": {"hostname": "n1\x1b[2J"}, "lock": {"changed": True}, "unlock": {"changed": True}}.get(call["method"])
    if value is None:
        reply = {"reply": "failed", "id": call["id"], "error": {"code": "unsupported", "message": "no"}}
    else:
        reply = {"reply": "done", "id": call["id"], "value": value}
    out.write(json.dumps(reply) + "\n")
    out.flush()
"#;

/// An sshd of our own. It ends with the test.
struct Sshd {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn must(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status();
    let status = status.unwrap_or_else(|e| {
        panic!(
            "{command:?} can't be run ({e}): apt-get install openssh-server openssh-client python3"
        )
    });
    assert!(status.success(), "{command:?}: {status}");
}

fn keygen(path: &Path, kind: &str) {
    must(
        Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-f"])
            .arg(path),
    );
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Sshd {
    /// Serves `forced` (a shell command) to whoever has the test's key.
    fn start(kind: &str, forced: impl Fn(&Path) -> String) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests need root: run them with sudo"
        );
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        keygen(&at("host"), kind);
        keygen(&at("user"), "ed25519");
        fs::copy(at("user.pub"), at("authorized")).unwrap();
        let script = at("forced.sh");
        fs::write(&script, format!("#!/bin/sh\n{}\n", forced(folder.path()))).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all("/run/sshd").unwrap(); // sshd wants its empty folder
        // Another process may take the port between looking and listening: then the next is tried.
        for _ in 0..10 {
            let port = free_port();
            let config = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {h}\nAuthorizedKeysFile {a}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin prohibit-password\nForceCommand {s}\n",
                h = at("host").display(),
                a = at("authorized").display(),
                s = script.display()
            );
            fs::write(at("config"), config).unwrap();
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-e", "-f"])
                .arg(at("config"))
                .stdin(Stdio::null())
                .stderr(fs::File::create(at("log")).unwrap())
                .spawn()
                .expect("apt-get install openssh-server");
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until && child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self {
                        folder,
                        child,
                        port,
                    };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!(
            "sshd does not start: {}",
            fs::read_to_string(at("log")).unwrap_or_default()
        );
    }

    fn agent(kind: &str, noise: &str, system: &str) -> Self {
        Self::start(kind, |folder| {
            let text = AGENT
                .replace("NOISE", noise)
                .replace("SYSTEM", &serde_json::to_string(system).unwrap());
            let path = folder.join("agent.py");
            fs::write(&path, text).unwrap();
            format!("exec python3 {}", path.display())
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn contact(&self) -> Contact {
        format!("127.0.0.1:{}", self.port).parse().unwrap()
    }

    fn host_key(&self) -> HostKey {
        fs::read_to_string(self.path("host.pub"))
            .unwrap()
            .parse()
            .unwrap()
    }

    fn options(&self) -> Options {
        Options {
            identities: vec![self.path("user")],
            deadlines: quick(),
            jump: None,
        }
    }

    fn client(&self) -> Result<Client, RemoteError> {
        let pins = Pins::keys([self.host_key()]);
        let session = Session::open(&self.contact(), &pins, &self.options())?;
        let transport: Box<dyn Transport> = Box::new(session.start("whatever")?);
        client::Client::greet(transport, "n1".to_owned(), quick(), "me@here")
    }
}

fn quick() -> Deadlines {
    Deadlines::default()
}

fn backstay(arguments: &[&str], home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(arguments)
        // Any program of this machine: nothing is installed here.
        .env("BACKSTAY_AGENT", "/bin/true")
        .args(["--socket", "/nonexistent/agent.sock", "--no-input"])
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("BACKSTAY_CONTACTS")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_agent_behind_a_noisy_shell_is_understood() {
    let sshd = Sshd::agent("ed25519", "Welcome!\\nLast login: never\\n", "");
    let client = sshd.client().unwrap();
    assert_eq!(client.hello().agent, "0.1.0-test");
}

/// A host key that no sshd here has.
fn another_key() -> HostKey {
    let folder = tempfile::tempdir().unwrap();
    keygen(&folder.path().join("old"), "ed25519");
    let text = fs::read_to_string(folder.path().join("old.pub")).unwrap();
    text.parse().unwrap()
}

#[test]
fn a_changed_host_key_is_refused_with_both_fingerprints() {
    let sshd = Sshd::agent("ed25519", "", "");
    let old = another_key();
    let error = Session::open(&sshd.contact(), &Pins::keys([old.clone()]), &sshd.options())
        .err()
        .unwrap();
    assert!(
        matches!(error, RemoteError::HostKeyChanged { .. }),
        "{error}"
    );
    let said = error.to_string();
    assert!(said.contains(&old.fingerprint()), "{said}");
    assert!(said.contains(&sshd.host_key().fingerprint()), "{said}");
}

#[test]
fn a_host_key_of_another_type_is_refused_with_both_fingerprints() {
    // The pinned type is all that is offered, so the handshake itself fails; both must be shown still.
    let sshd = Sshd::agent("ecdsa", "", "");
    let old = another_key();
    let error = Session::open(&sshd.contact(), &Pins::keys([old.clone()]), &sshd.options())
        .err()
        .unwrap();
    let said = error.to_string();
    assert!(
        matches!(error, RemoteError::HostKeyChanged { .. }),
        "{said}"
    );
    assert!(said.contains(&old.fingerprint()), "{said}");
    assert!(said.contains(&sshd.host_key().fingerprint()), "{said}");
}

#[test]
fn a_changed_host_key_ends_the_program_with_6() {
    let sshd = Sshd::agent("ed25519", "", "");
    let home = tempfile::tempdir().unwrap();
    keygen(&home.path().join("old"), "ed25519");
    let key = fs::read_to_string(home.path().join("old.pub")).unwrap();
    let known = home.path().join("known");
    fs::write(&known, format!("[127.0.0.1]:{} {key}", sshd.port)).unwrap();
    let user = sshd.path("user");
    let contact = sshd.contact().to_string();
    let out = backstay(
        &[
            "status",
            "--contact",
            &contact,
            "--known-hosts",
            known.to_str().unwrap(),
            "--identity",
            user.to_str().unwrap(),
        ],
        home.path(),
    );
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(6), "{said}");
    assert_eq!(said.matches("SHA256:").count(), 2, "{said}");
    assert!(
        said.contains(&sshd.host_key().fingerprint()) && said.contains("hint:"),
        "{said}"
    );
}

#[test]
fn a_refused_key_ends_the_program_with_6_and_says_what_was_tried() {
    let sshd = Sshd::agent("ed25519", "", "");
    let home = tempfile::tempdir().unwrap();
    keygen(&home.path().join("stranger"), "ed25519");
    let contact = sshd.contact().to_string();
    let out = backstay(
        &[
            "status",
            "--contact",
            &contact,
            "--host-key",
            &sshd.host_key().fingerprint(),
            "--identity",
            home.path().join("stranger").to_str().unwrap(),
        ],
        home.path(),
    );
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(6), "{said}");
    assert!(
        said.contains("none of the keys") && said.contains("stranger"),
        "{said}"
    );
}

#[test]
fn an_unknown_host_key_is_refused_even_with_yes() {
    let sshd = Sshd::agent("ed25519", "", "");
    let home = tempfile::tempdir().unwrap();
    let contact = sshd.contact().to_string();
    let out = backstay(
        &["node", "add", &contact, "--name", "n1", "--yes"],
        home.path(),
    );
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(6), "{said}");
    assert!(said.contains(&sshd.host_key().fingerprint()), "{said}");
}

#[test]
fn u5_who_adds_a_node_sees_the_plan_before_the_question() {
    let sshd = Sshd::start("ed25519", |_| {
        "cat >/dev/null; echo uid=0; echo host=m1; echo arch=x86_64; echo systemd=252; echo end=yes"
            .to_owned()
    });
    let home = tempfile::tempdir().unwrap();
    let (contact, key) = (sshd.contact().to_string(), sshd.host_key().fingerprint());
    let user = sshd.path("user");
    let user = user.to_str().unwrap();
    let out = backstay(
        &[
            "node",
            "add",
            &contact,
            "--name",
            "n9",
            "--host-key",
            &key,
            "--identity",
            user,
        ],
        home.path(),
    );
    let (shown, said) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("this needs a yes"), "{said}");
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let step = format!("step make the machine at {contact} the node n9");
    assert!(shown.contains(&step), "{shown}");
}

#[test]
fn a_machine_without_agent_is_told_apart() {
    let sshd = Sshd::start("ed25519", |_| {
        "echo 'no such program' >&2; exit 127".to_owned()
    });
    let error = sshd.client().unwrap_err();
    assert!(matches!(error, RemoteError::NoAgent { .. }), "{error}");
    assert!(error.to_string().contains("no such program"), "{error}");
}

#[test]
fn a_command_is_run_to_its_end_with_input_and_status() {
    let sshd = Sshd::start("ed25519", |_| {
        "exec sh -c \"$SSH_ORIGINAL_COMMAND\"".to_owned()
    });
    let pins = Pins::keys([sshd.host_key()]);
    let session = Session::open(&sshd.contact(), &pins, &sshd.options()).unwrap();
    let limit = Duration::from_mins(1);
    let big = vec![b'x'; 3_000_000];
    let out = session
        .run("cat >/dev/null; echo got", &big, limit)
        .unwrap();
    assert_eq!((out.status, out.text().as_str()), (0, "got"));
    let out = session.run("cksum", &big, limit).unwrap();
    assert!(out.text().ends_with(" 3000000"), "{}", out.text());
    let out = session.run("echo bad >&2; exit 3", &[], limit).unwrap();
    assert_eq!((out.status, out.complaint().as_str()), (3, "bad"));
    // A command that a signal kills has no status at all.
    let out = session
        .run("echo bad >&2; kill -SEGV $$", &[], limit)
        .unwrap();
    assert_ne!(out.status, 0);
    assert_eq!(out.complaint(), "killed by SIGSEGV");
    let error = session
        .run("sleep 5", &[], Duration::from_millis(300))
        .unwrap_err();
    assert!(matches!(error, RemoteError::Timeout { .. }), "{error}");
}

#[test]
fn u7_hosts_that_hang_are_unknown_after_their_deadline_while_others_complete() {
    // One accepts TCP and never speaks, one accepts SSH and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let asleep = Sshd::start("ed25519", |_| "exec cat > /dev/null".to_owned());
    let key = asleep.host_key();
    let node = |name: &str, id: u8, port: u16, key: &HostKey| {
        format!(
            "[[node]]\nname = \"{name}\"\nid = \"{id:016x}\"\ncontact = \"127.0.0.1:{port}\"\n\
             host_keys = [\"{key}\"]\nrole = \"free\"\n"
        )
    };
    let mut system =
        "format = 1\nrevision = 1\n[changed]\nby = \"me\"\nat = 0\nwhat = \"x\"\n".to_owned();
    system.push_str(&node("n2", 2, mute.local_addr().unwrap().port(), &key));
    system.push_str(&node("n3", 3, asleep.port, &key));
    // The agent's own entry is not connected to: the session to it is there already.
    system.push_str(&node("n1", 1, 9, &key));
    let good = Sshd::agent("ed25519", "", &system);
    // Both daemons must let the one key in.
    fs::copy(good.path("user.pub"), asleep.path("authorized")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let contact = good.contact().to_string();
    let began = Instant::now();
    let out = backstay(
        &[
            "node",
            "list",
            "--output",
            "json",
            "--timeout",
            "2s",
            "--contact",
            &contact,
            "--host-key",
            &good.host_key().fingerprint(),
            "--identity",
            good.path("user").to_str().unwrap(),
        ],
        home.path(),
    );
    let took = began.elapsed();
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(5), "{said}{}", text(&out.stderr));
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&json["apiVersion"], &json["kind"]),
        (&"backstay/v1".into(), &"NodeList".into())
    );
    let answers: Vec<(&str, bool)> = json["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (n["name"].as_str().unwrap(), n["answers"].as_bool().unwrap()))
        .collect();
    assert_eq!(answers, [("n2", false), ("n3", false), ("n1", true)]);
    for n in [0, 1] {
        let why = json["nodes"][n]["error"].as_str().unwrap();
        assert!(why.contains("did not answer within"), "{why}");
    }
    // Far from the thousand seconds that the sleeper sleeps; the exact time is the machine's.
    assert!(took < Duration::from_mins(1), "{took:?}");
}

#[test]
fn a_jump_host_is_gone_through() {
    let jump = Sshd::start("ed25519", |_| "exec true".to_owned());
    let target = Sshd::agent("ed25519", "", "");
    // One key for both.
    fs::copy(target.path("user.pub"), jump.path("authorized")).unwrap();
    let options = Options {
        jump: Some((jump.contact(), Pins::keys([jump.host_key()]))),
        ..target.options()
    };
    let pins = Pins::keys([target.host_key()]);
    let session = Session::open(&target.contact(), &pins, &options).unwrap();
    let transport: Box<dyn Transport> = Box::new(session.start("whatever").unwrap());
    let client = Client::greet(transport, "n1".to_owned(), quick(), "me@here").unwrap();
    assert_eq!(client.hello().agent, "0.1.0-test");
}

#[test]
fn an_answer_that_comes_together_with_a_complaint_is_not_missed() {
    let sshd = Sshd::start("ed25519", |_| {
        "while read line; do echo complaint >&2; echo answer; done".to_owned()
    });
    let pins = Pins::keys([sshd.host_key()]);
    let session = Session::open(&sshd.contact(), &pins, &sshd.options()).unwrap();
    let mut channel = session.start("whatever").unwrap();
    let mut got = Vec::new();
    // One in a few thousand came so that nobody was woken for it; it was seen when the time was over.
    for asked in 1..=10_000 {
        let deadline = Instant::now() + Duration::from_secs(20);
        channel.send(b"go on\n", deadline).unwrap();
        while got.len() < asked * "answer\n".len() {
            channel.receive(&mut got, deadline).unwrap();
        }
        assert!(Instant::now() < deadline, "answer {asked} was missed");
    }
}
