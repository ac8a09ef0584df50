//! Why a service is as it is on this node: small enough to copy, made a sentence only to be shown (F15).

use crate::model::RuleId;

use super::places::Places;

/// The place of what is in the document no more.
const NOBODY: u8 = u8::MAX;

/// A reason. Members and services by their place in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The agent has just started.
    JustStarted,
    /// A5.
    GoesOn,
    /// A5.
    Listening,
    /// PROTOCOL 23.
    Silent,
    /// PROTOCOL 18.
    HeldUp,
    /// This node is its home and nobody else has it.
    AtHome,
    /// F2.
    HomeDown(u8),
    /// F14.
    HomeStuck(u8),
    /// S5.
    HomeUnprotected(u8),
    /// F11.
    HomeLeaves(u8),
    /// That node has it.
    HeldBy(u8),
    /// F8.
    GivenTo(u8),
    /// L1.
    Locked(u8),
    /// F16.
    Stopped,
    /// The document gives this node no part in it.
    NoPart,
    /// Home is there and will run it.
    HomeUp,
    /// It moves on order only.
    OrderedOnly,
    /// An admin ordered it.
    Ordered(u8),
    /// F9.
    HomeHealthy,
    /// F10.
    Restless,
    /// F17.
    Maintenance(u8),
    /// A6: the link of the aliases of that node.
    NoCarrier(u8),
    /// F11.
    Leaving,
    /// S1.
    Split(u8),
    /// F5: by that service.
    Displaced(u8),
    /// F3: that service has the room.
    NoRoom(u8),
    /// The last holder's waiting time runs.
    LastHolder,
    /// Others are asked whether they agree.
    Asking,
    /// Another node still hears the holder.
    OthersHear,
    /// PROTOCOL, cold start.
    NeverHeard(u8),
    /// S1: own link or reference.
    CutOff,
    /// S5.
    NoGate,
    /// PROTOCOL 17.
    Unwritten,
}

impl Why {
    /// The rule behind it.
    pub(super) const fn rule(self) -> RuleId {
        RuleId::of(match self {
            Self::JustStarted | Self::GoesOn | Self::Listening | Self::Silent => "A5",
            Self::AtHome | Self::HomeDown(_) | Self::HomeUp | Self::NoPart => "F2",
            Self::HomeLeaves(_) | Self::Leaving => "F11",
            Self::NoCarrier(_) => "A6",
            Self::HeldUp
            | Self::HeldBy(_)
            | Self::LastHolder
            | Self::NoGate
            | Self::Unwritten
            | Self::HomeUnprotected(_) => "S5",
            Self::Locked(_) => "L1",
            Self::Stopped => "F16",
            Self::HomeStuck(_) => "F14",
            Self::OrderedOnly | Self::Ordered(_) | Self::GivenTo(_) => "F8",
            Self::HomeHealthy => "F9",
            Self::Restless => "F10",
            Self::Maintenance(_) => "F17",
            Self::Split(_)
            | Self::Asking
            | Self::OthersHear
            | Self::CutOff
            | Self::NeverHeard(_) => "S1",
            Self::Displaced(_) => "F5",
            Self::NoRoom(_) => "F3",
        })
    }

    /// The same by a new document.
    pub(super) fn follow(&mut self, places: &Places) {
        match self {
            Self::HomeDown(n)
            | Self::HomeStuck(n)
            | Self::HomeUnprotected(n)
            | Self::HomeLeaves(n)
            | Self::HeldBy(n)
            | Self::GivenTo(n)
            | Self::Locked(n)
            | Self::Ordered(n)
            | Self::Maintenance(n)
            | Self::NoCarrier(n)
            | Self::Split(n)
            | Self::NeverHeard(n) => *n = places.of_member(*n).unwrap_or(NOBODY),
            Self::Displaced(s) | Self::NoRoom(s) => {
                *s = places.of_service(*s).unwrap_or(NOBODY);
            }
            Self::JustStarted
            | Self::GoesOn
            | Self::Listening
            | Self::Silent
            | Self::HeldUp
            | Self::AtHome
            | Self::Stopped
            | Self::NoPart
            | Self::HomeUp
            | Self::OrderedOnly
            | Self::HomeHealthy
            | Self::Restless
            | Self::Leaving
            | Self::LastHolder
            | Self::Asking
            | Self::OthersHear
            | Self::CutOff
            | Self::NoGate
            | Self::Unwritten => {}
        }
    }

    /// The sentence; `node` and `service` give names to places.
    pub(super) fn sentence<'a>(
        self,
        node: impl Fn(u8) -> &'a str,
        service: impl Fn(u8) -> &'a str,
    ) -> String {
        match self {
            Self::JustStarted => "the agent has just started".to_owned(),
            Self::GoesOn => "it ran here when the agent started".to_owned(),
            Self::Listening => "this node has started and listens for who holds what".to_owned(),
            Self::Silent => "this machine has restarted and waits until no former hold of its own can count".to_owned(),
            Self::HeldUp => "this agent was held up and listens for what it missed".to_owned(),
            Self::AtHome => "this is its home and nobody else runs it".to_owned(),
            Self::HomeDown(n) => format!("its home {} is not heard", node(n)),
            Self::HomeStuck(n) => format!("its home {} could not stop it and has closed its alias", node(n)),
            Self::HomeUnprotected(n) => format!("the kernel's gate can't be set on its home {}, which so may not take it", node(n)),
            Self::HomeLeaves(n) => format!("its home {} is stopping in good order", node(n)),
            Self::HeldBy(n) => format!("{} has it", node(n)),
            Self::GivenTo(n) => format!("it was given to {}", node(n)),
            Self::Locked(n) => format!("it is locked to {}", node(n)),
            Self::Stopped => "an admin stopped it".to_owned(),
            Self::NoPart => "this node is not in its list".to_owned(),
            Self::HomeUp => "its home is there".to_owned(),
            Self::OrderedOnly => "it moves only on order".to_owned(),
            Self::Ordered(n) => format!("an admin ordered it to {}", node(n)),
            Self::Maintenance(n) => format!("{} is in maintenance", node(n)),
            Self::Restless => "it keeps moving: it stays until an admin orders it home, or it has been at rest for long enough".to_owned(),
            Self::HomeHealthy => "its home has been healthy long enough".to_owned(),
            Self::NoCarrier(n) => format!("the link of {} has no carrier", node(n)),
            Self::Leaving => "this node is stopping in good order".to_owned(),
            Self::Split(n) => format!("{} runs it too", node(n)),
            Self::Displaced(s) => format!("{} is more important and needs the place", service(s)),
            Self::NoRoom(s) => format!("the standby has no room: it carries {}", service(s)),
            Self::LastHolder => "the waiting time since its last holder was heard has not run out".to_owned(),
            Self::Asking => "the other nodes are being asked".to_owned(),
            Self::OthersHear => "another node still hears its holder".to_owned(),
            Self::NeverHeard(n) => format!("its home {} was never heard since this machine started", node(n)),
            Self::CutOff => "this node hears nobody, and its own link or reference address does not answer: it may be the one cut off".to_owned(),
            Self::NoGate => "the kernel's gate can't be set here".to_owned(),
            Self::Unwritten => "what must outlive the agent can't be written here (/run)".to_owned(),
        }
    }
}
