//! Two network namespaces joined by a cable, for tests against the real kernel.
//!
//! Needs root and the packages iproute2 and nftables; a test fails naming them if they are missing.

use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// A node's side (`a`, 192.0.2.11/24 and `2001:db8::11/64` on `eth0`) and a client's side (`b`, .41).
pub(crate) struct TestNet {
    pub(crate) a: String,
    pub(crate) b: String,
}

/// Runs a command and fails with its words.
pub(crate) fn sh(words: &str) {
    let mut parts = words.split_whitespace();
    let program = parts.next().unwrap();
    let output = Command::new(program)
        .args(parts)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}: as root, install it: apt-get install iproute2 nftables")
        });
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`{words}` failed: {complaint} (this test needs root and iproute2, nftables)"
    );
}

impl TestNet {
    /// Makes the pair; `tag` is unique within the test program.
    pub(crate) fn new(tag: &str) -> Self {
        let root = nix::unistd::geteuid().is_root();
        assert!(
            root,
            "this test makes network namespaces: run it as root, with the packages iproute2 and nftables"
        );
        let pid = std::process::id();
        let net = TestNet {
            a: format!("backstay-t-{pid}-{tag}-a"),
            b: format!("backstay-t-{pid}-{tag}-b"),
        };
        let (a, b) = (&net.a, &net.b);
        sh(&format!("ip netns add {a}"));
        sh(&format!("ip netns add {b}"));
        for ns in [a, b] {
            sh(&format!(
                "ip netns exec {ns} sysctl -q -w net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0"
            ));
        }
        sh(&format!(
            "ip -n {a} link add eth0 type veth peer name eth0 netns {b}"
        ));
        for (ns, host) in [(a, "11"), (b, "41")] {
            sh(&format!("ip -n {ns} link set lo up"));
            sh(&format!("ip -n {ns} link set eth0 up"));
            sh(&format!("ip -n {ns} addr add 192.0.2.{host}/24 dev eth0"));
            sh(&format!(
                "ip -n {ns} addr add 2001:db8::{host}/64 dev eth0 nodad"
            ));
        }
        net
    }
}

impl Drop for TestNet {
    fn drop(&mut self) {
        for ns in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", ns]).output();
        }
    }
}

/// Moves the calling thread into a namespace. Sockets and processes made from here on belong to it.
pub(crate) fn enter(ns: &str) {
    let file = std::fs::File::open(format!("/run/netns/{ns}")).expect("namespace exists");
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).expect("root may change namespaces");
}

/// Runs something in a namespace on a thread of its own.
pub(crate) fn within<T: Send + 'static>(
    ns: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let ns = ns.to_owned();
    thread::spawn(move || {
        enter(&ns);
        work()
    })
}
