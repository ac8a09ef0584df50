//! What the set-up needs of the world. The command line has the real one, the tests have theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backstay_core::model::{ClusterName, NodeId, NodeName, SystemRole};
use backstay_core::plan::CreateCluster;
use backstay_wire::rpc::Facts;

use crate::failure::Failure;
use crate::remote::Contact;

/// A node that the system has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: NodeName,
    /// Its identity.
    pub id: NodeId,
    /// How it is reached.
    pub contact: String,
    /// Fingerprints of its host keys.
    pub prints: Vec<String>,
    /// What it is.
    pub role: SystemRole,
    /// The cluster that it is in.
    pub cluster: Option<ClusterName>,
}

/// The system as it is when somebody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Its nodes.
    pub nodes: Vec<Known>,
    /// Its clusters.
    pub clusters: Vec<ClusterName>,
}

/// What a host shows before anything is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its key's type.
    pub kind: String,
    /// Its key's fingerprint.
    pub print: String,
    /// Somebody vouched for that key before: memory, a file, an option.
    pub vouched: bool,
}

/// How one check of one machine went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The machine, as the admin calls it.
    pub host: String,
    /// Stable; what `--ignore-check` takes.
    pub check: String,
    /// What is wrong; none: nothing.
    pub wrong: Option<String>,
    /// What to do about it.
    pub mend: String,
    /// It may be overridden.
    pub may_ignore: bool,
}

/// What a host was found to be before it is a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// What it calls itself.
    pub hostname: String,
    /// What its agent says it is, if it has one: an earlier attempt got so far.
    pub enrolled: Option<(NodeName, NodeId)>,
    /// The checks.
    pub findings: Vec<Finding>,
}

/// How long a node takes to answer, from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// Which.
    pub node: NodeName,
    /// The middle one of all, in microseconds.
    pub usual_us: u64,
    /// The longest.
    pub longest_us: u64,
}

/// What is known of the nodes once their agents run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The machines.
    pub facts: BTreeMap<NodeName, Facts>,
    /// The checks.
    pub findings: Vec<Finding>,
    /// How far away they are.
    pub trips: Vec<Trip>,
    /// Addresses that clusters of the system use already.
    pub taken: BTreeSet<IpAddr>,
}

/// The world.
pub trait System {
    /// The system as it is now; none yet: an empty one.
    ///
    /// # Errors
    /// There is one, and none of its nodes answers.
    fn present(&mut self) -> Result<Present, Failure>;

    /// Which keys these hosts show, asked all at once. Nothing secret is used.
    fn look(&mut self, hosts: &[Contact]) -> Vec<Result<Shown, Failure>>;

    /// Checks hosts whose keys are trusted now (by fingerprint), all at once.
    fn inspect(&mut self, hosts: &[(Contact, String)]) -> Vec<Result<Inspected, Failure>>;

    /// Installs the agent and makes the host a node; what is done already is left alone.
    ///
    /// # Errors
    /// With whether anything was changed.
    fn admit(&mut self, host: &Contact, print: &str, name: &NodeName) -> Result<(), Failure>;

    /// Gives a free node its role.
    ///
    /// # Errors
    /// With whether anything was changed.
    fn assign(&mut self, node: &NodeName, role: SystemRole) -> Result<(), Failure>;

    /// Asks these nodes what they are and how far away.
    ///
    /// # Errors
    /// One of them does not answer.
    fn learn(&mut self, nodes: &[NodeName]) -> Result<Learned, Failure>;

    /// What would be done, what comes of it, and the command that does the same, as text; warnings with
    /// the names in `ignore` are overridden.
    ///
    /// # Errors
    /// The rules or a check refuse it, with everything that is wrong.
    fn plan(&mut self, wanted: &CreateCluster, ignore: &[String]) -> Result<String, Failure>;

    /// Creates the cluster and stays until it is healthy.
    ///
    /// # Errors
    /// With whether anything was changed.
    fn create(&mut self, wanted: &CreateCluster, ignore: &[String]) -> Result<(), Failure>;

    /// Puts right what an interrupted session left half told, and stays until the cluster is healthy.
    ///
    /// # Errors
    /// It does not get so in time.
    fn watch(&mut self, cluster: &ClusterName) -> Result<(), Failure>;

    /// 64 random bits and a key, for a new cluster.
    ///
    /// # Errors
    /// The kernel has none.
    fn draw(&mut self) -> Result<(u64, String), Failure>;
}
