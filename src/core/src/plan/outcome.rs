//! What a plan says.

use serde::Serialize;

use super::Goal;
use crate::model::{ClusterDocument, ClusterName, NodeName, RuleId, ServiceName, SystemDocument};

/// An action that nothing refuses: what to do, in order, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The action in one line, as the audit log and the document keep it.
    pub title: String,
    /// Something is to be done at all; else the rest is empty and the sentence is in `consequences`.
    pub changed: bool,
    /// New revisions, to be staged on every reachable member and then committed. With secrets.
    #[serde(skip)]
    pub documents: Vec<ClusterDocument>,
    /// The new system document, to be put to every reachable node after the commits.
    #[serde(skip)]
    pub system: Option<SystemDocument>,
    /// An order to send after the commits.
    pub order: Option<MoveOrder>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// U5: what will come of it; shown before anything is done.
    pub consequences: Vec<Consequence>,
    /// Checks that failed and may be overridden by name; each stops the action unless it is.
    pub warnings: Vec<Warning>,
    /// U5: how the new documents differ from the present ones.
    pub differences: Vec<crate::model::Difference>,
    /// What to wait for.
    pub goal: Goal,
    /// What is true once the goal is reached.
    pub truth: String,
    /// U3: the command that does the same. No secrets.
    pub command: String,
}

/// A service to be moved, or started where it runs nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoveOrder {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Which service.
    pub service: ServiceName,
    /// Where to.
    pub to: NodeName,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What kind.
    pub kind: StepKind,
    /// On which nodes.
    pub on: Vec<NodeName>,
    /// For people.
    pub sentence: String,
}

/// The kinds of step, each a call of the agent protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// The machine becomes a node.
    Enrol,
    /// A member that can't learn the present revision from the others gets it.
    CatchUp,
    /// Every member checks the new revision and keeps it beside the present one.
    Stage,
    /// The staged revision becomes the present one.
    Commit,
    /// The new system document goes to every node.
    System,
    /// The order is given to one node.
    Order,
    /// The node gets another agent.
    Upgrade,
    /// The machine forgets the system.
    Dismiss,
    /// The goal is waited for.
    Watch,
}

/// U5: one thing that comes of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Consequence {
    /// What kind.
    pub kind: ConsequenceKind,
    /// For people, with the names and values.
    pub sentence: String,
}

/// The kinds of consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsequenceKind {
    /// A service is away for a while, or: none is.
    Outage,
    /// A service is displaced by another (F5).
    Displacement,
    /// What may happen by itself once a lock is gone (L2).
    Unlock,
    /// Fallback by itself, or not (F7).
    Fallback,
    /// It can't be taken back.
    Irreversible,
    /// What protects the services is less, or other, than before.
    Protection,
    /// C12: better done when traffic is low.
    LowTraffic,
    /// Worth knowing.
    Note,
}

/// A check that failed but may be overridden: `--ignore-check NAME`, or all of them: `--force`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable: `dead-node`, `unseen-cluster` ...
    pub name: &'static str,
    /// Which rule asks for it.
    pub rule: RuleId,
    /// For people, with the names and values.
    pub sentence: String,
}
