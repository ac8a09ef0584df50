//! What every host has on its disk, and whether they agree.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use backstay_core::model::{ClusterDocument, NodeId, SystemDocument};

use super::super::ground::{CLUSTER, Ground, LIMIT};
use super::operation::Operation;
use super::{LOOK, running};

/// Shows every document of a host, each under its name, and before them the number of sessions with its agent.
const SHOW: &str = "pgrep -fc '[b]ackstay-agent rpc'; cd /var/lib/backstay 2>/dev/null && \
                    for f in node.toml system.toml clusters/*.toml clusters/*.staged; \
                    do [ -e $f ] && echo \"==> $f\" && cat $f; done; true";

/// Whether a change is in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Before,
    After,
}

/// What is in effect, and the files of each host that is on.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The document of the cluster; none: there is no such cluster.
    pub(super) document: Option<ClusterDocument>,
    /// The newest list of the system.
    pub(super) system: Option<SystemDocument>,
    hosts: BTreeMap<String, BTreeMap<String, String>>,
}

impl Look {
    /// What the hosts have now, and how many sessions there are with their agents.
    fn now(ground: &Ground) -> Result<(Self, usize)> {
        let mut asked = Vec::new();
        for host in running(ground)? {
            let mut command = ground.lab.host_command(&host, "sh")?;
            let command = command.args(["-c", SHOW]).stdin(Stdio::null());
            let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
            asked.push((host, command.spawn()?));
        }
        let (mut look, mut sessions) = (Self::default(), 0);
        for (host, child) in asked {
            let output = child.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut files = text.split("==> ");
            let count = files.next().unwrap_or_default().trim().parse::<usize>();
            sessions += count.with_context(|| format!("{host} can't be looked at"))?;
            let files = files.filter_map(|f| f.split_once('\n'));
            let files = files.map(|(name, content)| (name.to_owned(), content.to_owned()));
            look.hosts.insert(host, files.collect());
        }
        let file = format!("clusters/{CLUSTER}.toml");
        let documents = look.files(&file);
        let documents = documents.filter_map(|(_, text)| ClusterDocument::read(text).ok());
        look.document = documents.max_by_key(|d| d.revision);
        let systems = look.files("system.toml");
        let systems = systems.filter_map(|(_, text)| SystemDocument::parse(text).ok());
        look.system = systems.max_by_key(|s| s.revision);
        Ok((look, sessions))
    }

    /// That file of each host that has it.
    fn files<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.hosts.iter();
        all.filter_map(move |(host, files)| Some((host.as_str(), files.get(name)?.as_str())))
    }

    /// Which host is that node.
    pub(super) fn host_of(&self, id: NodeId) -> Option<&str> {
        let line = format!("id = \"{id}\"");
        let mut all = self.files("node.toml");
        all.find(|(_, text)| text.lines().any(|l| l == line))
            .map(|(host, _)| host)
    }

    /// What is staged, by host.
    pub(super) fn staged(&self) -> Vec<String> {
        let all = self.hosts.iter().flat_map(|(host, files)| {
            let staged = files.keys().filter(|f| f.ends_with(".staged"));
            staged.map(move |f| format!("{host}: {f}"))
        });
        all.collect()
    }

    /// What they do not agree about, of those that must: the cluster's members have its newest document and the same
    /// list, in which they stand as in the document; nobody else has a document.
    fn disagreement(&self) -> Option<String> {
        let file = format!("clusters/{CLUSTER}.toml");
        let has: BTreeMap<&str, &str> = self.files(&file).collect();
        let Some(document) = &self.document else {
            let listed = self.system.as_ref()?.clusters.iter();
            return (listed.map(|c| c.name.as_str()).any(|c| c == CLUSTER))
                .then(|| "the list has a cluster that nobody is in".to_owned());
        };
        let text = document.to_text();
        let lists: BTreeMap<&str, &str> = self.files("system.toml").collect();
        let mut list = None;
        let mut members = Vec::new();
        for member in &document.members {
            // One that is off, or was replaced and has not come back.
            let Some(host) = self.host_of(member.id) else {
                continue;
            };
            members.push(host);
            if has.get(host) != Some(&text.as_str()) {
                return Some(format!("{host} has not revision {}", document.revision));
            }
            let mine = lists.get(host).copied();
            if *list.get_or_insert(mine) != mine {
                return Some(format!("{host} has another list than others"));
            }
        }
        if let Some(other) = has.keys().find(|host| !members.contains(host)) {
            return Some(format!("{other} is no member and has a document"));
        }
        let system = self.system.as_ref()?;
        let listed =
            |m: &backstay_core::model::Member| system.node(&m.name).is_some_and(|n| n.id == m.id);
        let members = document.members.iter().map(|m| &m.name);
        let cluster = system.clusters.iter().find(|c| c.id == document.id);
        let same = cluster.is_some_and(|c| c.members.iter().eq(members));
        (!same || !document.members.iter().all(listed))
            .then(|| "the list says something else than the document".to_owned())
    }

    /// Waits until nobody has a session any more and the hosts agree; answers what they have then and, compared with
    /// `before`, which it is.
    ///
    /// # Errors
    /// They do not agree, or on something that was neither before nor wanted.
    pub(super) fn settled(
        ground: &Ground,
        operation: Operation,
        before: Option<&Self>,
    ) -> Result<(Self, Which)> {
        let until = Instant::now() + LIMIT;
        loop {
            let (now, sessions) = Self::now(ground)?;
            let open = match now.disagreement() {
                None if sessions == 0 => {
                    let Some(before) = before else {
                        return Ok((now, Which::Before));
                    };
                    match operation.which(before, &now) {
                        Some(which) => return Ok((now, which)),
                        None => "neither before nor after".to_owned(),
                    }
                }
                None => format!("{sessions} sessions"),
                Some(why) => why,
            };
            if Instant::now() > until {
                let revision = |l: &Self| l.document.as_ref().map(|d| d.revision);
                bail!(
                    "the nodes do not settle: {open} (revision {:?}, before {:?}); {:#?}",
                    revision(&now),
                    before.map(revision),
                    now.hosts
                );
            }
            std::thread::sleep(LOOK);
        }
    }
}
