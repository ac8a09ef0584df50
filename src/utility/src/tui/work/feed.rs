//! The live picture: one session for each cluster, over which its state streams; nothing is polled but,
//! now and then, the revision of the system document.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use backstay_core::engine::ClusterView;
use backstay_core::model::{ClusterDocument, ClusterName, NodeName, SystemDocument};
use backstay_wire::rpc::{Request, Status, Text};

use super::super::msg::Event;
use super::Post;
use crate::cli::context::Context;
use crate::ops::gather::system_of;
use crate::ops::{Cancel, Gatherer};
use crate::remote::{Client, Target};

/// Least time between two views of a cluster, ms.
const EVERY_MS: u32 = 250;
/// How often a watcher looks at other things than its stream.
const TICK: Duration = Duration::from_millis(200);
/// An agent that says nothing for so long is given up; it promises a view every 2 s.
const SILENCE: Duration = Duration::from_secs(8);
/// How long to wait before the next contact is tried.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the system document is looked at.
const SYSTEM: Duration = Duration::from_secs(10);
/// How often nodes are asked themselves that the others do not hear (S1).
const DOUBT: Duration = Duration::from_secs(10);

/// The thread that watches the system, and through it those that watch the clusters.
pub(super) struct Feed {
    nudge: Sender<()>,
    stop: Cancel,
}

impl Feed {
    /// Begins to watch.
    pub(super) fn start(context: &Context, post: &Post) -> Self {
        let (nudge, nudged) = channel();
        let stop = Cancel::default();
        let system = System {
            context: context.clone(),
            post: post.clone(),
            nudged,
            stop: stop.clone(),
            watchers: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new().name("system".to_owned());
        if let Err(why) = thread.spawn(move || system.watch()) {
            let told = crate::ops::front::Told::line(format!("nothing can be watched: {why}"));
            post.tell(Event::Told(told));
        }
        Self { nudge, stop }
    }

    /// Looks at the system document now.
    pub(super) fn refresh(&self) {
        // It is gone where no thread was to be had.
        let _ = self.nudge.send(());
    }

    /// No more.
    pub(super) fn stop(&self) {
        self.stop.set();
        self.refresh();
    }
}

struct System {
    context: Context,
    post: Post,
    nudged: Receiver<()>,
    stop: Cancel,
    /// Who watches each cluster, by its members: with others it is watched anew.
    watchers: BTreeMap<ClusterName, (Vec<NodeName>, Cancel)>,
}

impl System {
    fn watch(mut self) {
        while !self.stop.is_set() {
            // Read anew each time: a first node may have been added.
            let entered = self.context.gatherer().and_then(|g| Ok((g.enter()?, g)));
            match entered {
                Ok((client, gatherer)) => self.follow(client, &gatherer),
                Err(failure) => {
                    if !self.post.tell(Event::NoEntry(Box::new(failure))) {
                        return;
                    }
                }
            }
            let _ = self.nudged.recv_timeout(AGAIN);
        }
        self.watchers.values().for_each(|(_, stop)| stop.set());
    }

    /// Until the session breaks.
    fn follow(&mut self, mut client: Client, gatherer: &Gatherer) {
        let entry = client.hello().node.clone();
        let viewer = entry.clone().filter(|_| client.hello().viewer);
        self.post.tell(Event::Viewer(viewer));
        // The first picture does not wait for sessions of its own.
        if let Ok(status) = client.call::<Status>(Request::Status) {
            for view in status.clusters {
                self.post.tell(Event::View(Box::new(view)));
            }
        }
        let mut known = None;
        while !self.stop.is_set() {
            let Ok(system) = system_of(&mut client) else {
                return;
            };
            if client.ask_again().is_err() {
                return;
            }
            self.tell_leftovers(&client, system.as_ref());
            let revision = system.as_ref().map(|s| s.revision);
            if known != Some(revision) {
                known = Some(revision);
                if let Some(system) = &system {
                    self.assign(system, gatherer, entry.as_ref());
                }
                if !self.post.tell(Event::System(system.map(Box::new))) {
                    return;
                }
            }
            let _ = self.nudged.recv_timeout(SYSTEM);
        }
    }

    /// U6: a cluster that was staged and never committed is in no list, and keeps its node from any other.
    fn tell_leftovers(&self, client: &Client, system: Option<&SystemDocument>) {
        let hello = client.hello();
        let Some(node) = hello.node.clone() else {
            return;
        };
        let listed = |name: &&ClusterName| {
            let mut all = system.into_iter().flat_map(|s| &s.clusters);
            all.any(|c| c.name == **name)
        };
        let staged = hello.staged.keys().filter(|name| !listed(name));
        let staged = staged.filter(|name| !hello.clusters.contains_key(*name));
        self.post
            .tell(Event::Leftovers(node, staged.cloned().collect()));
    }

    /// One watcher for each cluster.
    fn assign(&mut self, system: &SystemDocument, gatherer: &Gatherer, entry: Option<&NodeName>) {
        let members = |name: &ClusterName| {
            system
                .clusters
                .iter()
                .find(|c| c.name == *name)
                .map(|c| &c.members)
        };
        self.watchers.retain(|name, (watched, stop)| {
            let same = members(name) == Some(watched);
            if !same {
                stop.set();
            }
            same
        });
        for cluster in &system.clusters {
            if self.watchers.contains_key(&cluster.name) {
                continue;
            }
            let stop = Cancel::default();
            let watcher = Watcher {
                name: cluster.name.clone(),
                gatherer: Gatherer {
                    entries: contacts(&cluster.members, system, gatherer, entry),
                    ..gatherer.clone()
                },
                system: system.clone(),
                post: self.post.clone(),
                stop: stop.clone(),
                doubted: None,
            };
            let thread = std::thread::Builder::new().name(format!("watch-{}", cluster.name));
            // Without a thread the cluster stays unknown, and is tried again with the next document.
            if thread.spawn(move || watcher.watch()).is_ok() {
                self.watchers
                    .insert(cluster.name.clone(), (cluster.members.clone(), stop));
            }
        }
    }
}

/// How the members of a cluster are reached, in order: the way that was found first, if it leads to one.
fn contacts(
    members: &[NodeName],
    system: &SystemDocument,
    gatherer: &Gatherer,
    entry: Option<&NodeName>,
) -> Vec<Target> {
    let mut entries = Vec::new();
    if entry.is_some_and(|e| members.contains(e)) {
        let local = |t: &&Target| matches!(t, Target::Local(_));
        entries.extend(gatherer.entries.iter().filter(local).cloned());
    }
    let nodes = system.nodes.iter().filter(|n| members.contains(&n.name));
    entries.extend(nodes.filter_map(|n| gatherer.target_of(n).ok()));
    entries
}

/// Why a watcher's stream ended.
enum End {
    /// The cluster has a newer revision, or another node shall be asked.
    Anew,
    /// Nobody is left to tell.
    Over,
}

struct Watcher {
    name: ClusterName,
    gatherer: Gatherer,
    system: SystemDocument,
    post: Post,
    stop: Cancel,
    doubted: Option<Instant>,
}

impl Watcher {
    fn watch(mut self) {
        while !self.stop.is_set() {
            match self.gatherer.enter() {
                Ok(client) => match self.stream(client) {
                    Ok(End::Anew) => continue,
                    Ok(End::Over) => return,
                    // Another contact first, next time.
                    Err(_) => {
                        if !self.gatherer.entries.is_empty() {
                            self.gatherer.entries.rotate_left(1);
                        }
                    }
                },
                Err(failure) => {
                    if !self
                        .post
                        .tell(Event::Lost(self.name.clone(), failure.message))
                    {
                        return;
                    }
                }
            }
            self.pause(AGAIN);
        }
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stop.is_set() && Instant::now() < until {
            std::thread::sleep(TICK.min(time));
        }
    }

    fn stream(&mut self, mut client: Client) -> Result<End, crate::remote::RemoteError> {
        let revision = self.tell_revision(&mut client)?;
        let mut last = Instant::now();
        let name = self.name.clone();
        let end = client.stream(
            Request::Watch { every_ms: EVERY_MS },
            TICK,
            |status: Option<Status>| {
                if self.stop.is_set() {
                    return ControlFlow::Break(End::Over);
                }
                let Some(status) = status else {
                    return if last.elapsed() > SILENCE {
                        ControlFlow::Break(End::Anew)
                    } else {
                        ControlFlow::Continue(())
                    };
                };
                last = Instant::now();
                let Some(view) = status.clusters.into_iter().find(|v| v.name == name) else {
                    return ControlFlow::Continue(());
                };
                let newer = revision.is_some_and(|r| view.revision > r);
                self.doubt(&view);
                if !self.post.tell(Event::View(Box::new(view))) {
                    return ControlFlow::Break(End::Over);
                }
                // Who made the new revision is asked on a session of its own: this one only streams.
                if newer {
                    ControlFlow::Break(End::Anew)
                } else {
                    ControlFlow::Continue(())
                }
            },
        )?;
        Ok(end.unwrap_or(End::Anew))
    }

    /// U6: who made the revision that the node has, and what it has staged and never committed.
    fn tell_revision(
        &self,
        client: &mut Client,
    ) -> Result<Option<u64>, crate::remote::RemoteError> {
        let hello = client.hello().clone();
        let request = Request::DocumentGet {
            cluster: self.name.clone(),
        };
        let text = match client.call::<Text>(request) {
            Ok(text) => text.text,
            // A member that does not know its cluster yet.
            Err(e) if e.fault().is_some() => return Ok(None),
            Err(e) => return Err(e),
        };
        let Ok(document) = ClusterDocument::read(&text) else {
            return Ok(None);
        };
        let staged = hello
            .staged
            .get(&self.name)
            .filter(|s| **s > document.revision);
        let staged = staged.zip(hello.node).map(|(s, node)| (node, *s));
        self.post.tell(Event::Revision(
            self.name.clone(),
            document.revision,
            Box::new(document.changed),
            staged.into_iter().collect(),
        ));
        Ok(Some(document.revision))
    }

    /// S1: a node that is not heard may be cut off and run its services. It is asked itself, on the side.
    fn doubt(&mut self, view: &ClusterView) {
        let due = self.doubted.is_none_or(|at| at.elapsed() > DOUBT);
        if !due || !view.nodes.iter().any(crate::ops::gather::is_doubtful) {
            return;
        }
        self.doubted = Some(Instant::now());
        let (gatherer, system, post) = (
            self.gatherer.clone(),
            self.system.clone(),
            self.post.clone(),
        );
        let (name, view) = (self.name.clone(), view.clone());
        let thread = std::thread::Builder::new().name("doubt".to_owned());
        // Without a thread it is asked the next time.
        let _ = thread.spawn(move || {
            let said = gatherer.own_words(std::slice::from_ref(&view), &system);
            if !said.is_empty() {
                post.tell(Event::OwnWords(name, said));
            }
        });
    }
}
