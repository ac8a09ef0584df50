//! A service survives its node, on real hosts with real sshd, systemd and kernel: each fault once.
//!
//! One lab for all tests, which run one after the other in the order of their names. Figures are judged by their
//! meaning only (two hosts answering, a lost probe, who announced last), never by how fast this machine is.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use backstay_tests::{backstay, bench, on_lab, programs, traces};
use serde_json::Value;

/// What a command that only looks says; 5 tells that it could not look everywhere.
fn json(arguments: &[&str]) -> Value {
    let mut all = vec!["--lab", "--output", "json"];
    all.extend(arguments);
    let output = backstay(&all).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 5)),
        "{arguments:?}: {}: {said}",
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lab_down() {
    let down = backstay(&["lab", "down"]).unwrap();
    assert!(
        down.status.success(),
        "{}",
        String::from_utf8_lossy(&down.stderr)
    );
}

fn once(fault: &str) {
    bench(fault, 1).unwrap();
}

#[test]
fn t01_the_lab_comes_up_with_three_services_at_home() {
    // A run that was broken off leaves its lab up: it is no part of the machine as it is without one.
    lab_down();
    let before = traces().unwrap();
    let folder = programs().unwrap();
    std::fs::write(
        folder.join("traces-before.json"),
        serde_json::to_string(&before).unwrap(),
    )
    .unwrap();
    let up = backstay(&["lab", "up", "--yes", "--extra-hosts", "2"]).unwrap();
    assert!(
        up.status.success(),
        "{}",
        String::from_utf8_lossy(&up.stderr)
    );
    let status = json(&["status"]);
    let services = status["clusters"][0]["services"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(services.len(), 3);
    for service in services {
        assert_eq!(service["state"], "running", "{service}");
        assert_eq!(
            service["running_on"],
            serde_json::json!([service["home"]]),
            "{service}"
        );
        let alias = service["addresses"][0]["address"].as_str().unwrap();
        let alias = alias.split('/').next().unwrap();
        let probe = json(&["lab", "probe", alias, "--for", "500ms"]);
        let answered: Vec<_> = probe["answered_by"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["node"].clone())
            .collect();
        assert_eq!(answered, [service["home"].clone()], "{probe}");
    }
}

#[test]
fn t02_c11_an_open_connection_lives_while_the_cluster_is_created() {
    once("create");
}

#[test]
fn t03_f2_f8_power_failure_and_return() {
    once("power");
    once("power-fast");
}

#[test]
fn t04_f11_s7_a_node_shuts_down_in_good_order_and_comes_back() {
    once("poweroff");
    once("reboot-away");
}

#[test]
fn t05_f8_a_service_moves_there_and_back() {
    once("move");
    once("fallback");
}

#[test]
fn t06_s5_a5_an_agent_is_killed_and_restarted() {
    once("agent-restart");
}

#[test]
fn t07_s5_an_agent_is_gone_or_frozen() {
    once("agent-gone");
    once("agent-freeze");
}

#[test]
fn t08_s1_the_network_is_cut() {
    once("split");
    once("cut-one");
}

#[test]
fn t09_f3_to_f6_l1_two_nodes_die() {
    once("priorities");
}

#[test]
fn t09_protocol_3_the_key_is_exchanged_unnoticed() {
    once("rotate");
}

#[test]
fn t09_s5_all_agents_are_upgraded_unnoticed() {
    once("upgrade");
}

#[test]
fn t10_u12_a_node_tells_the_same_to_who_logs_in() {
    let told = on_lab(&["lab", "ssh", "n1", "--", "backstay-agent", "status"]).unwrap();
    for service in ["web1", "web2", "web3"] {
        assert!(told.contains(service), "{told}");
    }
}

/// A host that accepts connections and never answers is `unknown` after its deadline; the others are complete.
#[test]
fn t11_u7_a_host_that_never_answers_is_unknown() {
    on_lab(&["lab", "freeze", "n3", "--host", "--for", "25s"]).unwrap();
    let nodes = json(&["node", "list", "--timeout", "12s"]);
    let nodes = nodes["nodes"].as_array().unwrap();
    let states: Vec<_> = nodes
        .iter()
        .map(|n| (n["name"].as_str(), n["state"].as_str()))
        .collect();
    let expected = [
        ("n1", "up"),
        ("n2", "up"),
        ("n3", "unknown"),
        ("sb1", "up"),
        ("w1", "up"),
    ];
    assert_eq!(
        states,
        expected.map(|(name, state)| (Some(name), Some(state)))
    );
    std::thread::sleep(Duration::from_secs(25)); // the freeze ends by itself; what follows waits for conditions
    once("cut-one");
}

#[test]
fn t12_the_demonstration_fails_a_node_and_brings_its_service_home() {
    let shown = backstay(&["lab", "up", "--yes", "--demo"]).unwrap();
    let notes = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{notes}");
    assert!(
        notes.contains("web1 went home and is answered by n1"),
        "{notes}"
    );
}

/// Some ten seconds each.
#[test]
fn t12_s5_a3_a4_other_programs_meddle() {
    once("meddle-flush");
    once("meddle-kept");
    once("meddle-address");
}

/// One run: it waits for two rounds of probes, half a minute.
#[test]
fn t12_a2_foreign_equipment_uses_the_alias() {
    once("foreign");
}

/// Forged, played again, cut short: a tenth of what `lab bench flood` sends, and a failover after it.
#[test]
fn t12_protocol_3_a_flood_of_bad_beats_changes_nothing() {
    once("flood-short");
}

/// What comes when n1 is asked for something by SSH itself, with a viewer's key, from the client's network.
fn as_viewer(key: &str, options: &[&str], command: &[&str], input: &str) -> String {
    let mut ssh = Command::new("ip");
    ssh.args(["netns", "exec", "backstay-client", "timeout", "20", "ssh"]);
    ssh.args(["-F", "none", "-i", key]);
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.args(options)
        .arg("backstay-viewer@192.0.2.11")
        .args(command);
    let pipes = ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A key that may look, on real hosts: sshd lets it start the bridge and nothing else, and the agents refuse changes.
#[test]
fn t12_u11_a_viewer_looks_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("eva");
    let key = key.to_str().unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "eva@desk", "-f", key])
        .status();
    assert!(made.unwrap().success());
    let document = || json(&["cluster", "show", "demo"])["document"]["revision"].clone();
    let before = document();
    let private = backstay(&["--lab", "--yes", "key", "viewer", "add", key]).unwrap();
    assert_eq!(private.status.code(), Some(2), "that is the private key");
    on_lab(&["key", "viewer", "add", &format!("{key}.pub")]).unwrap();
    let viewers = json(&["key", "viewer", "list"]);
    assert_eq!(viewers["viewers"][0]["name"], "eva@desk");
    assert_eq!(viewers["behind"], serde_json::json!([]));

    let viewer = |arguments: &[&str]| {
        let mut all = vec!["--lab", "--viewer", "--identity", key, "--yes"];
        all.extend(arguments);
        backstay(&all).unwrap()
    };
    for looks in [
        &["status"][..],
        &["history"],
        &["alarm", "list"],
        &["audit"],
        &["node", "list"],
        &["cluster", "show", "demo"],
    ] {
        let output = viewer(looks);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{looks:?}: {said}");
    }
    for changes in [
        &["service", "move", "web1", "--to", "standby"][..],
        &["service", "lock", "web1"],
        &["service", "stop", "web2"],
        &["service", "set", "web1", "--priority", "7"],
        &["node", "maintenance", "n1"],
        &["cluster", "set", "demo", "--fallback", "auto"],
        &["cluster", "delete", "demo"],
        &["key", "viewer", "remove", "eva@desk"],
        &["collect"],
    ] {
        let output = viewer(changes);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{changes:?}: {said}");
        assert!(said.contains("(U11)"), "{said}");
    }
    assert_eq!(document(), before, "nothing was changed");

    // Past the utility: whatever is asked of sshd, the bridge answers, and the agent refuses.
    let hello = r#"{"id":1,"method":"hello","params":{"oldest":1,"newest":1,"client":"x","user":"root@n1"}}"#;
    let claim = r#"{"bridge":{"from":"local","viewer":false}}"#;
    let lock = r#"{"id":2,"method":"lock","params":{"what":"x"}}"#;
    let said = as_viewer(key, &[], &["id"], &format!("{claim}\n{hello}\n{lock}\n"));
    assert!(
        said.contains("backstay-rpc") && said.contains("forbidden"),
        "{said}"
    );
    assert!(!said.contains("uid="), "{said}");
    let said = as_viewer(key, &["-s"], &["sftp"], "");
    assert!(said.contains("backstay-rpc"), "no file transfer: {said}");
    let said = as_viewer(key, &["-W", "127.0.0.1:22"], &[], "");
    assert!(
        said.contains("administratively prohibited"),
        "no forwarding: {said}"
    );
    let audit = json(&["audit"]);
    let entries = audit["entries"].as_array().unwrap();
    let refused = entries
        .iter()
        .rfind(|e| e["what"] == "take the change lock: x");
    let refused = refused.expect("the try is in the audit");
    assert_eq!(refused["user"], "eva@desk (viewer, says root@n1)");
    assert!(refused["result"].as_str().unwrap().contains("U11"));

    let bundle = folder.path().join("help.tar.gz");
    on_lab(&["collect", "--output-file", bundle.to_str().unwrap()]).unwrap();
    assert!(bundle.metadata().unwrap().len() > 10_000);

    on_lab(&["key", "viewer", "remove", "eva@desk"]).unwrap();
    let output = viewer(&["status"]);
    assert_eq!(output.status.code(), Some(6), "nobody is let in any more");
}

/// Once for each change; the long series is `backstay lab bench kills --runs 210`. A machine that was replaced comes
/// back in it, too (C16).
#[test]
fn t13_u6_c16_something_is_killed_in_the_middle_of_every_change() {
    bench("kills", 7).unwrap();
}

/// A package with a program, a unit of a user of its own, and an installation that starts it.
const TINY: &str = r"set -e; umask 022; d=/opt/tiny; mkdir -p $d/p/DEBIAN $d/p/usr/sbin $d/p/lib/systemd/system; cd $d
printf 'Package: backstay-tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a test\n' > p/DEBIAN/control
printf '#!/bin/sh\nid tiny >/dev/null 2>&1 || useradd --system tiny\nsystemctl daemon-reload\nsystemctl start tiny.service || true\n' > p/DEBIAN/postinst
printf '#!/bin/sh\nexec sleep infinity\n' > p/usr/sbin/tiny
printf '[Service]\nUser=tiny\nExecStart=/usr/sbin/tiny\n[Install]\nWantedBy=multi-user.target\n' > p/lib/systemd/system/tiny.service
chmod 755 p/DEBIAN/postinst p/usr/sbin/tiny; dpkg-deb --root-owner-group --build p tiny.deb
";
/// It as the only source of packages that is new.
const SOURCE: &str = r#"{ dpkg-deb -f tiny.deb; echo "Filename: ./tiny.deb"; echo "Size: $(stat -c %s tiny.deb)"; echo "SHA256: $(sha256sum tiny.deb | cut -d' ' -f1)"; } > Packages
echo 'deb [trusted=yes] file:/opt/tiny ./' > /etc/apt/sources.list.d/tiny.list
apt-get update -o Dir::Etc::sourcelist=sources.list.d/tiny.list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
"#;

/// A service that came with a package: everything that the standby lacks of it is told at once; its own apt-get installs
/// the package and starts nothing. Some ten seconds.
#[test]
fn t13b_c9_what_a_standby_lacks_is_told_and_installed() {
    let on = |host: &str, script: &str| on_lab(&["lab", "ssh", host, "--", script]).unwrap();
    on(
        "n3",
        &format!(
            "{TINY}dpkg -i tiny.deb; echo one > /etc/tiny.conf; systemctl is-active tiny.service"
        ),
    );
    on("sb1", &format!("{TINY}{SOURCE}"));
    let create = "--lab --yes cluster create tiny --standby sb1 \
                  --service tiny=n3,alias=192.0.2.103/24,base=192.0.2.13/24,unit=tiny.service,file=/etc/tiny.conf \
                  --ignore-check clock-not-kept --ignore-check host-network";
    let create: Vec<&str> = create.split_whitespace().collect();
    let refused = |more: &[&str]| {
        let output = backstay(&[&create[..], more].concat()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        let names = said
            .lines()
            .filter_map(|line| line.strip_prefix("  C9  check "));
        let mut names: Vec<String> = names
            .filter_map(|rest| Some(rest.split(':').next()?.to_owned()))
            .collect();
        names.sort();
        (names, said)
    };
    let (names, said) = refused(&[]);
    assert_eq!(
        names,
        [
            "command-missing",
            "file-differs",
            "package-missing",
            "unit-missing",
            "user-missing"
        ],
        "{said}"
    );
    let (names, said) = refused(&["--install-packages"]);
    assert_eq!(names, ["file-differs"], "{said}");
    let state = "systemctl is-active tiny.service; systemctl is-enabled tiny.service; ls /run/systemd/system; echo one > /etc/tiny.conf";
    let state = on("sb1", state);
    assert!(state.starts_with("inactive\n"), "{state}");
    assert!(
        !state.contains("masked") && !state.contains("tiny.service\n"),
        "{state}"
    );
    on_lab(&create[2..]).unwrap();
    let shown = json(&["service", "show", "tiny"]);
    assert_eq!(shown["files"], serde_json::json!(["/etc/tiny.conf"]));
    assert_eq!(shown["running_on"], serde_json::json!(["n3"]));
    let audit = json(&["audit"]).to_string();
    assert!(
        audit.contains("install backstay-tiny (1.0 on n3) on sb1"),
        "{audit}"
    );
    on_lab(&["cluster", "delete", "tiny"]).unwrap();
}

#[track_caller]
fn eventually(what: &str, is: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_mins(2);
    while !is() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Waits until the cluster is seen like that.
#[track_caller]
fn until(what: &str, is: impl Fn(&Value) -> bool) {
    eventually(what, || is(&json(&["status"])));
}

fn state<'a>(status: &'a Value, node: &str) -> Option<&'a str> {
    let nodes = status["clusters"][0]["nodes"].as_array()?;
    nodes.iter().find(|n| n["name"] == node)?["state"].as_str()
}

/// The standby is replaced, a regular node and the cluster with a dead member are removed by force; whoever comes back
/// is told so, is in no cluster, and has none of the addresses.
#[test]
fn t14_c16_the_dead_are_replaced_or_removed_and_come_back_harmless() {
    let create = "cluster create demo --standby sb1 --witness w1 --ignore-check clock-not-kept \
                  --service web1=n1,alias=192.0.2.101/24,base=192.0.2.11/24,unit=web1.service \
                  --service web2=n2,alias=192.0.2.102/24,base=192.0.2.12/24,unit=web2.service";
    let create: Vec<&str> = create.split_whitespace().collect();
    on_lab(&create).unwrap();
    // One of the two is a node since the series of kills.
    let nodes = json(&["node", "list"]).to_string();
    let spare = if nodes.contains("192.0.2.151") {
        "x2"
    } else {
        "x1"
    };
    // In no cluster any more.
    let free = |host: &str| {
        let look = ["lab", "ssh", host, "--", "ls", "/var/lib/backstay/clusters"];
        eventually(host, || !on_lab(&look).unwrap().contains(".toml"));
    };
    on_lab(&["lab", "kill", "sb1"]).unwrap();
    until("sb1 is down", |s| state(s, "sb1") == Some("down"));
    let clock = ["--ignore-check", "clock-not-kept"];
    on_lab(&[&["node", "replace", "sb1", "--with", spare], &clock[..]].concat()).unwrap();
    until("sb1 is up", |s| state(s, "sb1") == Some("up"));
    // The old one had 192.0.2.21 from its own network configuration, and gives it up.
    on_lab(&["lab", "revive", "sb1"]).unwrap();
    let has = |host: &str, address: &str| {
        let hosts = json(&["lab", "status"])["hosts"].clone();
        let hosts = hosts.as_array().unwrap();
        let host = hosts.iter().find(|h| h["name"] == host).unwrap();
        host["addresses"]
            .to_string()
            .contains(&format!("{address}/"))
    };
    eventually("the old sb1 has no address of the new one", || {
        !has("sb1", "192.0.2.21")
    });
    on_lab(&["lab", "kill", "n2"]).unwrap();
    until("the new standby has web2", |s| {
        s["clusters"][0]["services"][1]["running_on"] == serde_json::json!(["sb1"])
    });
    let refused = backstay(&["--lab", "--yes", "cluster", "remove-node", "demo", "n2"]).unwrap();
    assert_eq!(refused.status.code(), Some(4), "it must be named as dead");
    on_lab(&["cluster", "remove-node", "demo", "n2", "--force"]).unwrap();
    eventually("the standby has stopped web2 for good", || {
        let look = "lab ssh HOST -- systemctl show -p ActiveState --value web2.service";
        let look: Vec<&str> = look
            .split(' ')
            .map(|w| if w == "HOST" { spare } else { w })
            .collect();
        !has(spare, "192.0.2.102") && on_lab(&look).unwrap().trim() == "inactive"
    });
    on_lab(&["lab", "revive", "n2"]).unwrap();
    free("n2");
    eventually("n2 has its address again", || has("n2", "192.0.2.102"));
    on_lab(&["lab", "kill", "n1"]).unwrap();
    until("n1 is down", |s| state(s, "n1") == Some("down"));
    on_lab(&["cluster", "delete", "demo", "--force"]).unwrap();
    eventually("the standby has no alias any more", || {
        !has(spare, "192.0.2.101")
    });
    on_lab(&["lab", "revive", "n1"]).unwrap();
    free("n1");
    eventually("n1 has its address again", || has("n1", "192.0.2.101"));
}

#[test]
fn t99_down_leaves_nothing_behind() {
    lab_down();
    let folder = programs().unwrap();
    let before: Vec<String> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("traces-before.json")).unwrap())
            .unwrap();
    assert_eq!(traces().unwrap(), before);
}
