//! What a support bundle has of this machine. Every text is bounded; what can't be had says why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Most of the log, bytes: with the rest, and with what JSON adds, it stays within a line of the protocol.
const LOG: usize = 256 * 1024;
/// Most of any other text, bytes.
const OTHER: usize = 32 * 1024;
/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Most files that are listed.
const FILES: usize = 300;

/// What is asked, by the name under which it is told.
const ASKED: [(&str, &[&str]); 8] = [
    ("addresses", &["ip", "-details", "address"]),
    ("routes", &["ip", "route", "show", "table", "all"]),
    ("neighbours", &["ip", "neighbour"]),
    ("gate-inet", &["nft", "list", "table", "inet", "backstay"]),
    ("gate-arp", &["nft", "list", "table", "arp", "backstay"]),
    ("clock", &["timedatectl", "show"]),
    (
        "units",
        &[
            "systemctl",
            "--no-pager",
            "--full",
            "status",
            "--lines=0",
            "backstay-agent.service",
            "backstay-gate.service",
        ],
    ),
    (
        "failed-units",
        &[
            "systemctl",
            "--no-pager",
            "--plain",
            "--failed",
            "list-units",
        ],
    ),
];

/// The newest lines first: what is cut off is the oldest.
const NEWEST_FIRST: &[&str] = &[
    "journalctl",
    "--no-pager",
    "--quiet",
    "--reverse",
    "--output=short-iso-precise",
    "--since=-24h",
    "--unit=backstay-agent.service",
    "--unit=backstay-gate.service",
];

/// Collects everything, one after the other: a busy machine is not to notice.
pub async fn collect(state: &Path) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let (log, cut) = output(NEWEST_FIRST, LOG).await;
    let mut lines: Vec<&str> = log.lines().collect();
    if cut {
        lines.pop(); // only its beginning
        lines.push("(older lines were left out)");
    }
    lines.reverse();
    parts.insert("log".to_owned(), lines.join("\n"));
    for (name, words) in ASKED {
        let (mut text, cut) = output(words, OTHER).await;
        if cut {
            text.push_str("\n(the rest was left out)");
        }
        parts.insert(name.to_owned(), text);
    }
    let state = state.to_owned();
    let files = tokio::task::spawn_blocking(move || files(&state)).await;
    parts.insert("files".to_owned(), files.unwrap_or_default());
    parts
}

/// What a command says, at most so many bytes, and whether that was not all.
async fn output(words: &[&str], most: usize) -> (String, bool) {
    let child = Command::new(words[0])
        .args(&words[1..])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return (format!("{} can't be run: {error}", words[0]), false),
    };
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return (String::new(), false);
    };
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    // Each is closed as soon as it is read: who says more than is asked for is ended by that.
    let read = async {
        tokio::join!(
            read_from(out, most as u64 + 1, &mut said),
            read_from(err, 4096, &mut complained)
        )
    };
    let late = tokio::time::timeout(LIMIT, read).await.is_err();
    let cut = said.len() > most;
    said.truncate(most);
    let mut text = printable(&said);
    if !complained.is_empty() {
        let _ = write!(text, "\n{}: {}", words[0], printable(&complained).trim());
    }
    if late {
        let _ = write!(text, "\n{} took longer than {LIMIT:?}", words[0]);
    }
    (text, cut)
}

/// What can't be read is missing: what was read before it stays.
async fn read_from(pipe: impl AsyncRead + Unpin, most: u64, into: &mut Vec<u8>) {
    let _ = pipe.take(most).read_to_end(into).await;
}

/// Without control characters but newline and tab.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .filter(|&c| c == '\n' || c == '\t' || !c.is_control())
        .collect()
}

/// Names, sizes and ages of what the agent keeps; nothing of what is in it.
fn files(state: &Path) -> String {
    let mut lines = Vec::new();
    for folder in [state.to_owned(), state.join("clusters")] {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.into_iter().flatten().flatten().take(FILES) {
            let Ok(there) = entry.metadata() else {
                continue;
            };
            let since = there.modified().ok();
            let since = since.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
            lines.push(format!(
                "{:>12} {:>12} {}",
                there.len(),
                since.map_or(0, |t| t.as_secs()),
                printable(entry.path().to_string_lossy().as_bytes())
            ));
        }
    }
    lines.sort();
    format!("bytes, changed (s since 1970), name\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_command_says_is_bounded_and_a_missing_one_is_named() {
        let (text, cut) = output(&["yes", "line\u{7}"], 100).await;
        assert!(
            cut && text.len() <= 100 && !text.contains('\u{7}'),
            "{text}"
        );
        let (text, cut) = output(&["sh", "-c", "echo out; echo err >&2"], 100).await;
        assert_eq!((text.as_str(), cut), ("out\n\nsh: err", false));
        let (text, _) = output(&["/no/such/program"], 100).await;
        assert!(text.contains("can't be run"), "{text}");
    }

    #[tokio::test]
    async fn files_are_named_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("node.toml"), "secret = 1").unwrap();
        let said = files(folder.path());
        assert!(
            said.contains("node.toml") && !said.contains("secret"),
            "{said}"
        );
    }
}
