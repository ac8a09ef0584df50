//! Everything that the menu knows and shows. Pure: no terminal, no clock.

use std::collections::BTreeMap;

use backstay_core::engine::{ClusterView, NodeState, ServiceView, Severity, merge};
use backstay_core::model::{
    Changed, ClusterName, NodeName, Role, ServiceName, SystemDocument, SystemNode, SystemRole,
};

use super::layers::Layer;
use super::layers::operation::Operation;
use super::picture::Row;
use super::theme::Theme;

/// U7: what was not heard for so long is unknown, ms. A node tells its view at least every 2 s.
pub const UNKNOWN_MS: u64 = 10_000;
/// From this age on it is shown, ms.
const AGED_MS: u64 = 4_000;
/// Most lines of the session's log.
const LOG: usize = 1_000;

/// A cluster as far as it is known.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Who is in it by the system document.
    pub members: Vec<NodeName>,
    /// What was seen last, other nodes' own words put in.
    pub view: Option<ClusterView>,
    /// The seer's own view.
    seen: Option<ClusterView>,
    /// What nodes say of themselves that the seer does not hear, and when they said so.
    own_words: Vec<(u64, ClusterView)>,
    /// When it was seen, ms.
    pub heard: Option<u64>,
    /// Why nobody of it answers.
    pub lost: Option<String>,
    /// Which revision who made.
    pub changed: Option<(u64, Changed)>,
    /// U6: staged revisions that no node has committed.
    pub staged: Vec<(NodeName, u64)>,
}

/// How old what is known is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Just seen.
    Live,
    /// Seen so long ago, ms.
    Old(u64),
    /// Not seen for too long, or never: unknown, never its last state.
    Unknown,
}

impl Cluster {
    fn new(name: ClusterName) -> Self {
        Self {
            name,
            members: Vec::new(),
            view: None,
            seen: None,
            own_words: Vec::new(),
            heard: None,
            lost: None,
            changed: None,
            staged: Vec::new(),
        }
    }

    /// How old what is known of it is.
    pub fn age(&self, now: u64) -> Age {
        match self.heard.map(|heard| now.saturating_sub(heard)) {
            None => Age::Unknown,
            Some(ms) if ms >= UNKNOWN_MS => Age::Unknown,
            Some(ms) if ms >= AGED_MS => Age::Old(ms),
            Some(_) => Age::Live,
        }
    }

    /// What is known of it now; nothing where that is too old.
    pub fn known(&self, now: u64) -> Option<&ClusterView> {
        self.view.as_ref().filter(|_| self.age(now) != Age::Unknown)
    }

    fn put_together(&mut self, now: u64) {
        self.own_words
            .retain(|(at, _)| now.saturating_sub(*at) < 3 * UNKNOWN_MS);
        let Some(seen) = &self.seen else { return };
        // A word about a node that the seer hears again is outdated.
        let unheard = |view: &ClusterView| {
            let there = seen.nodes.iter().find(|n| n.name == view.seen_by);
            there.is_some_and(|n| matches!(n.state, NodeState::Down | NodeState::Unknown))
        };
        let words = self.own_words.iter().map(|(_, view)| view);
        let words = words.filter(|v| unheard(v) && v.revision <= seen.revision);
        let mut all: Vec<ClusterView> = words.cloned().collect();
        // The last of the newest is the ground.
        all.push(seen.clone());
        self.view = if all.len() == 1 {
            all.pop()
        } else {
            merge(&all)
        };
    }
}

/// Which pane of the home screen has the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// The entries.
    #[default]
    Menu,
    /// The clusters.
    Picture,
}

/// The home screen.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// Which pane has the keys.
    pub pane: Pane,
    /// Which entry is marked.
    pub entry: usize,
    /// A number that is being typed.
    pub number: String,
    /// Which row of the picture is marked.
    pub row: usize,
    /// The first row shown.
    pub top: usize,
    /// Only rows with this text are shown.
    pub filter: String,
    /// The filter is being typed.
    pub filtering: bool,
}

/// Everything that the menu knows and shows.
#[derive(Debug)]
pub struct Model {
    /// How things look.
    pub theme: Theme,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Now, ms since the menu opened.
    pub now: u64,
    /// Now, seconds since 1970 UTC.
    pub wall: u64,
    /// Options before the verb with which the menu was called; the equivalent command has them too.
    pub options: Vec<String>,
    /// The system; none: not known yet, or there is none.
    pub system: Option<SystemDocument>,
    /// An agent answered, with or without a system.
    pub answered: bool,
    /// Why no known node answers.
    pub no_entry: Option<crate::Failure>,
    /// U11: that node knows the key as a viewer's.
    pub viewer: Option<NodeName>,
    /// The clusters by name.
    pub clusters: Vec<Cluster>,
    /// U6: clusters that a node has staged and that were never created.
    pub leftovers: Vec<(NodeName, ClusterName)>,
    /// The rows of the picture, made anew when what they show changes.
    pub rows: Vec<Row>,
    /// The home screen.
    pub home: Home,
    /// What lies over it, the last in front.
    pub layers: Vec<Layer>,
    /// What goes on, or has just ended.
    pub operation: Option<Operation>,
    /// One sentence over the hints, until the next key.
    pub toast: Option<String>,
    /// What was said in this session: when, s since 1970 UTC, and what.
    pub log: Vec<(u64, String)>,
    /// The screen shows something else than the model says.
    pub dirty: bool,
}

impl Model {
    /// Nothing is known yet.
    pub fn new(theme: Theme, size: (u16, u16), wall: u64, options: Vec<String>) -> Self {
        Self {
            theme,
            size,
            now: 0,
            wall,
            options,
            system: None,
            answered: false,
            no_entry: None,
            viewer: None,
            clusters: Vec::new(),
            leftovers: Vec::new(),
            rows: Vec::new(),
            home: Home::default(),
            layers: Vec::new(),
            operation: None,
            toast: None,
            log: Vec::new(),
            dirty: true,
        }
    }

    /// The cluster of that name, made if need be.
    pub fn cluster_mut(&mut self, name: &ClusterName) -> &mut Cluster {
        let at = match self.clusters.binary_search_by(|c| c.name.cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.clusters.insert(at, Cluster::new(name.clone()));
                at
            }
        };
        &mut self.clusters[at]
    }

    /// The cluster of that name.
    pub fn cluster(&self, name: &ClusterName) -> Option<&Cluster> {
        let at = self.clusters.binary_search_by(|c| c.name.cmp(name)).ok()?;
        Some(&self.clusters[at])
    }

    /// Takes over the system document: clusters that it does not name any more are gone.
    pub fn take_system(&mut self, system: SystemDocument) {
        if self
            .system
            .as_ref()
            .is_some_and(|s| s.revision > system.revision)
        {
            return;
        }
        self.clusters
            .retain(|c| system.clusters.iter().any(|s| s.name == c.name));
        for known in &system.clusters {
            self.cluster_mut(&known.name)
                .members
                .clone_from(&known.members);
        }
        self.system = Some(system);
    }

    /// Takes over what a node sees of a cluster.
    pub fn take_view(&mut self, view: ClusterView) {
        let now = self.now;
        let cluster = self.cluster_mut(&view.name.clone());
        cluster.heard = Some(now);
        cluster.lost = None;
        let (staged, revision) = (&mut cluster.staged, view.revision);
        staged.retain(|(_, s)| *s > revision);
        cluster.seen = Some(view);
        cluster.put_together(now);
    }

    /// Takes over what nodes say of themselves that the seer does not hear.
    pub fn take_own_words(&mut self, name: &ClusterName, views: Vec<ClusterView>) {
        let now = self.now;
        let cluster = self.cluster_mut(name);
        for view in views.into_iter().filter(|v| v.name == *name) {
            cluster.own_words.retain(|(_, v)| v.seen_by != view.seen_by);
            cluster.own_words.push((now, view));
        }
        cluster.put_together(now);
    }

    /// The nodes of the system in a role, and how many clusters they are in.
    pub fn nodes_in(&self, role: SystemRole) -> impl Iterator<Item = (&SystemNode, usize)> {
        let system = self.system.as_ref();
        let nodes = system.into_iter().flat_map(|s| &s.nodes);
        nodes.filter(move |n| n.role == role).map(move |n| {
            let clusters = system.map_or(0, |s| s.clusters_of(&n.name).count());
            (n, clusters)
        })
    }

    /// Every service that is known now, with its cluster.
    pub fn services(&self) -> impl Iterator<Item = (&Cluster, &ServiceView)> {
        self.clusters.iter().flat_map(|c| {
            let view = c.known(self.now);
            view.into_iter()
                .flat_map(|v| &v.services)
                .map(move |s| (c, s))
        })
    }

    /// Members that could leave a cluster: regular nodes and witnesses, with whether it is the last regular
    /// one (C7).
    pub fn leavers(&self) -> Vec<(&ClusterName, &NodeName, bool)> {
        let mut found = Vec::new();
        for cluster in &self.clusters {
            let Some(view) = cluster.known(self.now) else {
                continue;
            };
            let regular = view
                .nodes
                .iter()
                .filter(|n| n.role == Role::Regular)
                .count();
            for node in view.nodes.iter().filter(|n| n.role != Role::Standby) {
                let last = regular == 1 && node.role == Role::Regular;
                found.push((&cluster.name, &node.name, last));
            }
        }
        found
    }

    /// Active alarms, with their number by urgency: (critical and major, others).
    pub fn alarms(&self) -> (usize, usize) {
        let views = self.clusters.iter().filter_map(|c| c.known(self.now));
        let active = views.flat_map(|v| &v.alarms).filter(|a| a.active);
        active.fold((0, 0), |(bad, other), alarm| {
            if alarm.severity >= Severity::Major {
                (bad + 1, other)
            } else {
                (bad, other + 1)
            }
        })
    }

    /// What is marked in the picture: cluster, node, service.
    pub fn marked(
        &self,
    ) -> (
        Option<&ClusterName>,
        Option<&NodeName>,
        Option<&ServiceName>,
    ) {
        self.rows
            .get(self.home.row)
            .map_or((None, None, None), |row| row.names(self))
    }

    /// An operation goes on.
    pub fn is_working(&self) -> bool {
        self.operation.as_ref().is_some_and(|o| !o.is_over())
    }

    /// Writes a line into the session's log.
    pub fn note(&mut self, line: impl Into<String>) {
        if self.log.len() >= LOG {
            self.log.remove(0);
        }
        self.log.push((self.wall, line.into()));
    }

    /// Where every node of the system is a member.
    pub fn memberships(&self) -> BTreeMap<&NodeName, Vec<&ClusterName>> {
        let mut found: BTreeMap<&NodeName, Vec<&ClusterName>> = BTreeMap::new();
        for cluster in &self.clusters {
            for member in &cluster.members {
                found.entry(member).or_default().push(&cluster.name);
            }
        }
        found
    }
}
