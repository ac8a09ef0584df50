//! `backstay node upgrade` on a machine of its own: a folder stands for it, to which every command is turned.

use super::*;

/// Runs what comes by SSH with the machine's folder in the place of the real paths. Where `FOLDER/lose` names a part of
/// a command, that one is carried out and the session dies before it can answer.
const MACHINE: &str = r#"
export PATH="FOLDER/bin:$PATH"
turned() {
  sed -e 's#/usr/lib/backstay#FOLDER/lib#g' -e 's#/etc/systemd/system#FOLDER/units#g' \
      -e 's#/run/systemd/system#FOLDER#g' -e 's#/proc/$RUNNING/exe#FOLDER/running#g'
}
case "$SSH_ORIGINAL_COMMAND" in
*" rpc") exec python3 FOLDER/agent.py ;;
"sh -s") turned | sh -s; exit ;;
esac
command=$(printf %s "$SSH_ORIGINAL_COMMAND" | turned)
if [ -s FOLDER/lose ] && printf %s "$command" | grep -q -f FOLDER/lose; then
  rm FOLDER/lose
  sh -c "$command"
  kill -9 $PPID
  exit
fi
exec bash -c "$command"
"#;

/// A restart makes the agent in the place the one that runs, unless it is the one that does not start.
const SYSTEMCTL: &str = r#"#!/bin/sh
case "$*" in
"show -P MainPID"*) [ -e FOLDER/running ] && echo 1 || echo 0 ;;
--version) echo "systemd 252" ;;
is-active*) [ -e FOLDER/crashing ] && echo activating || echo active ;;
restart*) cmp -s FOLDER/broken FOLDER/lib/backstay-agent && exit 1
  cp FOLDER/lib/backstay-agent FOLDER/running ;;
esac
"#;

/// A node of a system of its own, whose machine is a folder.
struct Machine {
    sshd: Sshd,
    /// The agent that the admin has, and what it calls itself.
    new: Vec<u8>,
    version: String,
}

fn executable(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Machine {
    /// The former agent runs, and older units are there.
    fn start() -> Self {
        let sshd = Sshd::start("ed25519", |folder| {
            let folder = folder.to_str().unwrap();
            let open = |name: &str| format!("open(\"{folder}/{name}\").read()");
            let agent = AGENT
                .replace("NOISE", "")
                .replace("SYSTEM", &open("system.toml"))
                .replace("\"0.1.0-test\"", &open("says"));
            fs::write(format!("{folder}/agent.py"), agent).unwrap();
            MACHINE.replace("FOLDER", folder)
        });
        let folder = sshd.folder.path().to_str().unwrap().to_owned();
        for name in ["bin", "lib", "units"] {
            fs::create_dir(sshd.path(name)).unwrap();
        }
        executable(
            &sshd.path("bin/systemctl"),
            SYSTEMCTL.replace("FOLDER", &folder),
        );
        executable(&sshd.path("bin/nft"), "#!/bin/sh\n");
        for unit in ["agent", "gate"] {
            fs::write(sshd.path(&format!("units/backstay-{unit}.service")), "old").unwrap();
        }
        fs::write(sshd.path("lib/backstay-agent"), "old").unwrap();
        fs::write(sshd.path("running"), "old").unwrap();
        let system = format!(
            "format = 1\nrevision = 1\n[changed]\nby = \"me\"\nat = 0\nwhat = \"x\"\n[[node]]\nname = \"n1\"\n\
             id = \"{:016x}\"\ncontact = \"127.0.0.1:{}\"\nhost_keys = [\"{}\"]\nrole = \"free\"\n",
            1,
            sshd.port,
            sshd.host_key()
        );
        fs::write(sshd.path("system.toml"), system).unwrap();
        // Any program that says its version will do for an agent.
        let new = fs::read("/bin/true").unwrap();
        let said = Command::new("/bin/true").arg("--version").output().unwrap();
        let version = text(&said.stdout);
        let version = version.split_whitespace().last().unwrap().to_owned();
        let machine = Self { sshd, new, version };
        machine.says(&machine.version);
        machine
    }

    /// What the agent there calls itself, whichever it is.
    fn says(&self, version: &str) {
        fs::write(self.sshd.path("says"), version).unwrap();
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.sshd.path(name), bytes).unwrap();
    }

    /// As the utility left it that was killed after it had put the new agent and one of the units in their places.
    fn broken_off(&self) {
        self.put("lib/backstay-agent", &self.new);
        self.put("lib/backstay-agent.former", b"old");
        self.put("units/backstay-agent.service", b"newer");
        self.put("units/backstay-agent.service.former", b"old");
    }

    /// The units that belong to the new agent.
    fn put_units(&self) {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
        for unit in ["agent", "gate"] {
            let name = format!("backstay-{unit}.service");
            let text = fs::read(assets.join(&name)).unwrap();
            self.put(&format!("units/{name}"), &text);
        }
    }

    /// What stands there, and what runs: the former agent, the new one, or another.
    fn stands(&self) -> [&'static str; 4] {
        let which = |name: &str| match fs::read(self.sshd.path(name)) {
            Ok(bytes) if bytes == b"old" => "old",
            Ok(bytes) if bytes == self.new => "new",
            Ok(bytes) if text(&bytes).contains("[Unit]") => "unit",
            Ok(_) => "other",
            Err(_) => "none",
        };
        [
            which("lib/backstay-agent"),
            which("running"),
            which("units/backstay-agent.service"),
            which("units/backstay-gate.service"),
        ]
    }

    /// Gives the command; its exit status, and what it says as JSON.
    fn upgrade(&self) -> (i32, Value) {
        let home = tempfile::tempdir().unwrap();
        let agent = home.path().join("backstay-agent");
        executable(&agent, &self.new);
        let out = Command::new(env!("CARGO_BIN_EXE_backstay"))
            .args(["node", "upgrade", "n1", "--yes", "--no-input"])
            .args(["--output", "json", "--socket", "/nonexistent/agent.sock"])
            .args(["--contact", &self.sshd.contact().to_string()])
            .args(["--host-key", &self.sshd.host_key().fingerprint()])
            .arg("--identity")
            .arg(self.sshd.path("user"))
            .env("HOME", home.path())
            .env("BACKSTAY_AGENT", &agent)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("BACKSTAY_CONTACTS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&out.stdout);
        let json = serde_json::from_str(&said)
            .unwrap_or_else(|e| panic!("{e}: {said}{}", text(&out.stderr)));
        (out.status.code().unwrap(), json)
    }

    /// Gives the command, which fails; its message, and whether anything was changed.
    fn fails(&self) -> (String, String) {
        let (status, json) = self.upgrade();
        assert_eq!(status, 1, "{json}");
        let said = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        (said("message"), said("changed"))
    }
}

#[test]
fn a_new_agent_takes_the_place_of_one_that_is_kept() {
    let machine = Machine::start();
    let (status, json) = machine.upgrade();
    assert_eq!((status, &json["changed"]), (0, &true.into()), "{json}");
    assert_eq!(machine.stands(), ["new", "new", "unit", "unit"]);
    let kept = |name: &str| fs::read(machine.sshd.path(name)).unwrap();
    assert!(kept("lib/backstay-agent.former") == b"old");
    assert!(kept("units/backstay-agent.service.former") == b"old");
}

#[test]
fn an_agent_that_is_not_well_gives_way_to_its_former_one() {
    let machine = Machine::start();
    // Of an earlier upgrade: nothing goes back to that.
    machine.put("lib/backstay-agent.former", b"ancient");
    machine.put("units/backstay-gate.service.former", b"ancient");
    machine.says("other");
    let (message, changed) = machine.fails();
    assert!(
        message.ends_with("; its former agent is back, and it is well"),
        "{message}"
    );
    assert_eq!(changed, "no", "{message}");
    assert_eq!(machine.stands(), ["old", "old", "old", "old"]);
}

#[test]
fn an_upgrade_that_was_broken_off_can_still_go_back() {
    // The new agent starts and is not well; it does not start; and so where it had been restarted already: it is dead,
    // or just being started once more.
    for case in 0..4 {
        let machine = Machine::start();
        machine.broken_off();
        machine.says("other");
        if case > 0 {
            machine.put("broken", &machine.new);
        }
        if case == 2 {
            fs::remove_file(machine.sshd.path("running")).unwrap();
        }
        if case == 3 {
            machine.put_units();
            machine.put("running", &machine.new);
            machine.put("crashing", b"");
        }
        let (message, changed) = machine.fails();
        assert!(
            message.ends_with("; its former agent is back, and it is well"),
            "{message}"
        );
        assert_eq!(changed, "no", "{message}");
        let gate = if case == 3 { "unit" } else { "old" };
        assert_eq!(machine.stands(), ["old", "old", "old", gate], "{case}");
    }
}

#[test]
fn an_upgrade_that_was_broken_off_is_finished_by_another_build() {
    let mut machine = Machine::start();
    machine.broken_off();
    machine.new.extend(b"another build");
    let (status, json) = machine.upgrade();
    assert_eq!(status, 0, "{json}");
    assert_eq!(machine.stands(), ["new", "new", "unit", "unit"]);
    let kept = |name: &str| fs::read(machine.sshd.path(name)).unwrap();
    assert!(
        kept("lib/backstay-agent.former") == b"old",
        "what ran, not what never did"
    );
    assert!(kept("units/backstay-agent.service.former") == b"old");
}

#[test]
fn a_restart_that_fails_with_no_former_agent_is_told_so() {
    let machine = Machine::start();
    machine.put("lib/backstay-agent", &machine.new);
    machine.put("broken", &machine.new);
    machine.put_units();
    let (message, changed) = machine.fails();
    assert!(
        message.ends_with("no former agent is kept there, so the one in place stays"),
        "{message}"
    );
    assert_eq!(changed, "yes", "{message}");
    assert_eq!(machine.stands(), ["new", "old", "unit", "unit"]);
}

#[test]
fn a_lost_answer_does_not_leave_an_agent_that_nobody_has_seen_run() {
    let machine = Machine::start();
    machine.put("lose", br"agent\.next [^ ]*/backstay-agent && sync");
    let (message, _) = machine.fails();
    assert!(
        message.ends_with("; its former agent is back, and it is well"),
        "{message}"
    );
    assert_eq!(machine.stands(), ["old", "old", "old", "old"]);
}

#[test]
fn an_agent_that_crashes_there_is_not_put_in_the_place() {
    let mut machine = Machine::start();
    // ELF's entry point: a jump to nowhere (elf.h, e_entry).
    machine.new[24..32].fill(0);
    let (message, changed) = machine.fails();
    assert!(
        message.ends_with("the new agent does not run there: killed by SIGSEGV"),
        "{message}"
    );
    assert_eq!(changed, "no", "{message}");
    assert_eq!(machine.stands(), ["old", "old", "old", "old"]);
    assert!(!machine.sshd.path("lib/backstay-agent.next").exists());
}
