//! A support bundle: what somebody needs who was not there, in one file without secrets.

mod strip;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use backstay_core::model::NodeName;
use backstay_wire::rpc::{Audit, History, Report, Request, clean};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};

pub use strip::Strip;

use super::gather::Fact;
use super::{Cancel, Picture};
use crate::failure::{Exit, Failure};
use crate::output::json;
use crate::remote::{Client, RemoteError};

/// Newest decisions and actions of each node; a line of the protocol bounds their bytes.
const ENTRIES: u32 = 5_000;
/// Nodes that are asked at once: what they say is in memory until it is written.
const AT_ONCE: usize = 8;
/// Most bytes before they are packed; nodes that come later are named as left out.
const MOST: usize = 256 * 1024 * 1024;

/// What is in a bundle.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Contents {
    /// The file's size, bytes.
    pub bytes: u64,
    /// Whose words are in it.
    pub nodes: Vec<NodeName>,
    /// What is not in it, and why.
    pub missing: BTreeMap<String, String>,
}

/// What one node says.
struct Said {
    history: Result<History, RemoteError>,
    audit: Result<Audit, RemoteError>,
    report: Result<Report, RemoteError>,
}

fn ask(client: &mut Client) -> Said {
    let limit = ENTRIES;
    Said {
        report: client.call(Request::Report),
        history: client.call(Request::History {
            service: None,
            limit,
            follow: false,
        }),
        audit: client.call(Request::Audit { limit }),
    }
}

/// Writes a bundle to a file that is not there yet: whole, or not at all. `status`: as `status --output json` tells it;
/// `by`: who asked for it. `report` gets a line for each step.
///
/// # Errors
/// The file can't be written, or the admin broke off; then nothing is left of it.
pub fn write(
    path: &Path,
    status: Value,
    by: &str,
    picture: &mut Picture,
    cancel: &Cancel,
    report: &mut dyn FnMut(&str),
) -> Result<Contents, Failure> {
    let failed = |e: &io::Error| {
        Failure::new(
            Exit::Error,
            format!("{} can't be written: {e}", path.display()),
        )
    };
    if path.exists() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} is there already; nothing was changed", path.display()),
        )
        .hint("name another file with --output-file"));
    }
    let beside = beside(path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|e| failed(&e))?;
    let mut bundle = Bundle::new(file, path, Strip::of(&picture.clusters));
    let written = bundle
        .fill(status, by, picture, cancel, report)
        .and_then(|()| bundle.end().map_err(|e| failed(&e)))
        .and_then(|contents| {
            // Fails where it has come to be there meanwhile.
            std::fs::hard_link(&beside, path).map_err(|e| failed(&e))?;
            Ok(contents)
        });
    // What is left of it only takes room.
    let _ = std::fs::remove_file(&beside);
    written
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.unfinished", std::process::id()));
    path.with_file_name(name)
}

struct Bundle {
    tar: tar::Builder<GzEncoder<File>>,
    /// The folder that everything is in.
    root: String,
    strip: Strip,
    /// Bytes so far, before they are packed.
    size: usize,
    contents: Contents,
}

impl Bundle {
    fn new(file: File, path: &Path, strip: Strip) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let root = name.trim_end_matches(".tar.gz");
        Self {
            tar: tar::Builder::new(GzEncoder::new(file, Compression::default())),
            root: if root.is_empty() { "backstay" } else { root }.to_owned(),
            strip,
            size: 0,
            contents: Contents::default(),
        }
    }

    fn fill(
        &mut self,
        status: Value,
        by: &str,
        picture: &mut Picture,
        cancel: &Cancel,
        report: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        for (node, why) in &picture.silent {
            self.miss(format!("node {node}"), &why.to_string());
        }
        self.json("status.json", status)?;
        if let Some(system) = &picture.system {
            self.document("system.toml", &system.to_text())?;
        }
        for cluster in &picture.clusters {
            let (stripped, _) = cluster.stripped();
            self.document(
                &format!("clusters/{}.toml", cluster.name),
                &stripped.to_text(),
            )?;
        }
        let names: Vec<NodeName> = picture.crew.names().cloned().collect();
        for some in names.chunks(AT_ONCE) {
            if cancel.is_set() {
                return Err(Failure::cancelled());
            }
            if self.size > MOST {
                let why = format!("the bundle has more than {} MiB already", MOST >> 20);
                for node in some {
                    self.miss(format!("node {node}"), &why);
                }
                continue;
            }
            let list = super::apply::list(some);
            report(&format!("asking {list} for history, audit and log"));
            let answers = picture.crew.each(some, |_, client| Ok(ask(client)));
            for (name, said) in answers {
                match said {
                    Ok(said) => {
                        self.node(&name, said, picture)?;
                        self.contents.nodes.push(name);
                    }
                    Err(error) => self.miss(format!("node {name}"), &error.to_string()),
                }
            }
        }
        let about = json!({
            "utility": env!("CARGO_PKG_VERSION"),
            "made_at": super::gather::wall_ms() / 1000,
            "by": by,
            "nodes": self.contents.nodes,
            "missing": self.contents.missing,
            "secrets": "stripped: keys, arguments of commands and hooks, credentials in addresses",
        });
        self.json("about.json", json::document("SupportBundle", about))
    }

    fn node(&mut self, name: &NodeName, said: Said, picture: &Picture) -> Result<(), Failure> {
        let folder = format!("nodes/{name}");
        if let Some(hello) = picture.hellos.get(name) {
            self.json(&format!("{folder}/hello.json"), json!(hello))?;
        }
        if let Some(Fact {
            facts,
            asked_wall_ms,
            took_ms,
        }) = picture.facts.get(name)
        {
            let clock = json!({"asked_wall_ms": asked_wall_ms, "took_ms": took_ms});
            let facts = json!({"facts": facts, "clock_here": clock});
            self.json(&format!("{folder}/facts.json"), facts)?;
        }
        match said.history {
            Ok(history) => self.lines(&format!("{folder}/history.jsonl"), &history.entries)?,
            Err(error) => self.miss(format!("{folder}/history.jsonl"), &error.to_string()),
        }
        match said.audit {
            Ok(audit) => self.lines(&format!("{folder}/audit.jsonl"), &audit.entries)?,
            Err(error) => self.miss(format!("{folder}/audit.jsonl"), &error.to_string()),
        }
        match said.report {
            Ok(report) => {
                for (part, text) in report.parts {
                    // A name from another machine is no path.
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
                    let part: String = part.chars().filter(|c| plain(*c)).take(40).collect();
                    let text = self.strip.text(&text);
                    self.put(&format!("{folder}/{part}.txt"), text.as_bytes())?;
                }
            }
            Err(error) => self.miss(format!("{folder}: log, gate, network"), &error.to_string()),
        }
        Ok(())
    }

    fn miss(&mut self, what: String, why: &str) {
        self.contents
            .missing
            .insert(what, clean(&self.strip.text(why)));
    }

    fn json(&mut self, name: &str, mut value: Value) -> Result<(), Failure> {
        self.strip.json(&mut value);
        self.put(name, format!("{value:#}\n").as_bytes())
    }

    fn lines(&mut self, name: &str, entries: &[impl Serialize]) -> Result<(), Failure> {
        let mut text = String::new();
        for entry in entries {
            let mut value = json!(entry);
            self.strip.json(&mut value);
            text.push_str(&value.to_string());
            text.push('\n');
        }
        self.put(name, text.as_bytes())
    }

    fn document(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let text = self.strip.document(text);
        self.put(name, text.as_bytes())
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(super::gather::wall_ms() / 1000);
        self.size += bytes.len();
        let name = format!("{}/{name}", self.root);
        let put = self.tar.append_data(&mut header, name, bytes);
        put.map_err(|e| Failure::new(Exit::Error, format!("the bundle can't be written: {e}")))
    }

    fn end(self) -> io::Result<Contents> {
        let mut file = self.tar.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        Ok(Contents {
            bytes,
            ..self.contents
        })
    }
}
