//! What comes into the model and what it wants done. Time comes in with every message.

use backstay_core::engine::ClusterView;
use backstay_core::model::{Changed, ClusterName, NodeName, SystemDocument, SystemNode};
use backstay_core::plan::Plan;
use backstay_wire::rpc::{Facts, HistoryEntry};

use super::keys::Key;
use crate::failure::{Exit, Failure};
use crate::ops::front::Told;
use crate::ops::preflight::Check;

/// Something that happened, and when.
#[derive(Debug)]
pub struct Msg {
    /// Milliseconds since the menu opened.
    pub at: u64,
    /// Seconds since 1970 UTC.
    pub wall: u64,
    /// What.
    pub event: Event,
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A key.
    Key(Key),
    /// The window has that many columns and rows.
    Resized(u16, u16),
    /// The program was stopped and goes on: the terminal was somebody else's.
    Resumed,
    /// Time passes.
    Tick,
    /// What the model showed last is on the screen now.
    Drawn,
    /// The terminal has vanished, or the program shall end.
    Gone,
    /// The system as a node knows it; none: there is none yet.
    System(Option<Box<SystemDocument>>),
    /// None of the known nodes answers.
    NoEntry(Box<Failure>),
    /// U11: that node knows the key as a viewer's; none: it may change things.
    Viewer(Option<NodeName>),
    /// What a node sees of a cluster.
    View(Box<ClusterView>),
    /// What nodes say of themselves that the seer of a cluster does not hear (S1).
    OwnWords(ClusterName, Vec<ClusterView>),
    /// Nobody of that cluster answers now, and why.
    Lost(ClusterName, String),
    /// U6: who made the revision that a cluster has, and what nodes have staged and never committed.
    Revision(ClusterName, u64, Box<Changed>, Vec<(NodeName, u64)>),
    /// U6: clusters that were never created, as a node has them staged.
    Leftovers(NodeName, Vec<ClusterName>),
    /// How the operation goes.
    Told(Told),
    /// U5: what the operation would do, and what was found not in order.
    Plan(Box<Plan>, Vec<Check>),
    /// The operation asks.
    Ask(String),
    /// The operation has done it; who will learn of it later.
    Finished(String, Vec<NodeName>),
    /// The operation is over.
    Ended(Result<Exit, Box<Failure>>),
    /// The decisions of all nodes that answer.
    History(Result<Vec<HistoryEntry>, Box<Failure>>),
    /// A machine.
    Facts(NodeName, Result<Box<Facts>, String>),
}

/// What the model wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cmd {
    /// Run this command line, told and asked here.
    Run(Vec<String>),
    /// The answer to what the operation asked.
    Answer(bool),
    /// Stop the operation before its next step.
    Stop,
    /// Ask every node for its decisions.
    History,
    /// Ask a machine what it is.
    Facts(Box<SystemNode>),
    /// Read the system document anew.
    Refresh,
    /// Draw the whole screen anew.
    Redraw,
    /// Take the terminal again.
    Resume,
    /// Leave the terminal to the shell until it says otherwise.
    Suspend,
    /// End.
    Quit,
}
