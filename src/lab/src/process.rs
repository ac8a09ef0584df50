//! Finding the lab's processes in /proc. A process is named by its id and its
//! start time, because ids are used again.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process that can be told from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Process id in the machine's own namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot (proc(5), stat field 22).
    pub start: u64,
}

impl Process {
    /// This very process.
    pub(crate) fn current() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// The living process with this id; a zombie does not count.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let (state, _, start) = stat(pid)?;
        (state != 'Z' && state != 'X').then_some(Self { pid, start })
    }

    /// Whether it still runs.
    pub(crate) fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal if it still runs; true if sent.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        self.alive() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// Whether it is stopped (SIGSTOP).
    pub(crate) fn stopped(self) -> bool {
        stat(self.pid).is_some_and(|(state, _, start)| state == 'T' && start == self.start)
    }

    /// Its program, if it can be told.
    pub(crate) fn program(self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// The name that the kernel keeps (at most 15 bytes).
    pub(crate) fn name(self) -> Option<String> {
        let name = fs::read_to_string(format!("/proc/{}/comm", self.pid)).ok()?;
        Some(name.trim_end().to_owned())
    }

    /// Its command line.
    pub(crate) fn arguments(self) -> Vec<String> {
        let raw = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        raw.split(|byte| *byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect()
    }

    /// A variable of the environment with which its program was started.
    pub(crate) fn environment(self, variable: &str) -> Option<String> {
        let raw = fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        raw.split(|byte| *byte == 0).find_map(|entry| {
            let value = entry
                .strip_prefix(variable.as_bytes())?
                .strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    }

    /// The namespace of a kind ("pid", "net") that it is in, as the kernel names it.
    pub(crate) fn namespace(self, kind: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/{kind}", self.pid)).ok()
    }

    /// The machine's root as this process sees it.
    pub(crate) fn root(self) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join("root")
    }

    /// PID 1 of the container that this `systemd-nspawn` runs.
    pub(crate) fn container_init(self) -> Option<Self> {
        all().into_iter().find(|process| {
            stat(process.pid).is_some_and(|(_, parent, _)| parent == self.pid)
                && is_init(process.pid)
        })
    }

    /// Every process of the container of which this is PID 1, itself included.
    pub(crate) fn container(self) -> Vec<Self> {
        let Some(mine) = self.namespace("pid") else {
            return Vec::new();
        };
        all()
            .into_iter()
            .filter(|process| process.namespace("pid").as_ref() == Some(&mine))
            .collect()
    }
}

/// All living processes.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::of)
        .collect()
}

/// State, parent and start time.
fn stat(pid: i32) -> Option<(char, i32, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, i32, u64)> {
    // The name is in parentheses and may itself contain blanks and parentheses.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((state, parent, start))
}

/// Whether a process is the first of a process namespace other than ours.
fn is_init(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| nested_init(&text))
}

fn nested_init(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .is_some_and(|ids| {
            let ids: Vec<&str> = ids.split_ascii_whitespace().collect();
            ids.len() > 1 && ids.last() == Some(&"1")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_blanks() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 9876 1 1";
        assert_eq!(parse_stat(line), Some(('S', 7, 9876)));
        assert_eq!(parse_stat("42 (x"), None);
        assert_eq!(parse_stat("42 (x) S"), None);
    }

    #[test]
    fn only_a_nested_first_process_is_a_containers_init() {
        assert!(nested_init("Name:\tx\nNSpid:\t4711\t1\n"));
        assert!(!nested_init("NSpid:\t1\n"));
        assert!(!nested_init("NSpid:\t4711\t12\n"));
        assert!(!nested_init(""));
    }

    #[test]
    fn this_process_is_alive_and_another_with_its_id_is_not() {
        let me = Process::current().unwrap();
        assert!(me.alive());
        let other = Process {
            start: me.start + 1,
            ..me
        };
        assert!(!other.alive());
        assert!(!me.stopped());
        assert_eq!(me.environment("NO_SUCH_VARIABLE"), None);
        let cargo = me.environment("CARGO_MANIFEST_DIR");
        assert_eq!(cargo, std::env::var("CARGO_MANIFEST_DIR").ok());
        assert!(all().contains(&me));
    }
}
