//! The decisions of one node in one cluster.
//!
//! Whoever drives an [`Engine`] keeps this contract:
//!
//! 1. Call a `handle_*` with what happened and the time, then [`Engine::poll_effect`] until it
//!    answers `None`, carrying out each effect *in order and to its end* before the next is taken.
//!    The order is the safety rule: *persist, block, act, tell peers*.
//! 2. An effect that can't be carried out is told by [`Engine::handle_failed`] before the next is
//!    taken.
//! 3. Then ask [`Engine::poll_timer`] and call [`Engine::handle_timer`] no later than it says. A
//!    driver that was held up calls `handle_timer` first, before it hands in what queued up.
//!
//! Same inputs, same outputs.

mod beat;
mod effect;
mod view;

pub use beat::{
    Answer, Ask, Beat, BeatOrder, HearsPeer, HostFlags, Refused, Released, ServiceReport, Verdict,
    phase,
};
pub use effect::{
    Effect, GateOp, HostEvent, Order, OrderKind, Record, RunHold, RunRecord, RunState, Stage,
    Stopped, UnitsState,
};
pub use view::{
    AddressView, AlarmView, ClusterView, LockView, NodeState, NodeView, ServiceState, ServiceView,
    Severity,
};
