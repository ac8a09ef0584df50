//! Keys, and the one table by which they are dispatched and from which the help is made.

use std::fmt;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A sign.
    Char(char),
    /// A letter with Ctrl.
    Ctrl(char),
    /// F1 to F12.
    F(u8),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Tab with Shift.
    BackTab,
    /// Backspace.
    Backspace,
    /// Del.
    Delete,
    /// Arrow.
    Up,
    /// Arrow.
    Down,
    /// Arrow.
    Left,
    /// Arrow.
    Right,
    /// Pos1.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Char(' ') => f.write_str("Space"),
            Self::Char(c) => write!(f, "{c}"),
            Self::Ctrl(c) => write!(f, "Ctrl-{}", c.to_ascii_uppercase()),
            Self::F(n) => write!(f, "F{n}"),
            Self::Enter => f.write_str("Enter"),
            Self::Esc => f.write_str("Esc"),
            Self::Tab => f.write_str("Tab"),
            Self::BackTab => f.write_str("Shift-Tab"),
            Self::Backspace => f.write_str("Backspace"),
            Self::Delete => f.write_str("Del"),
            Self::Up => f.write_str("Up"),
            Self::Down => f.write_str("Down"),
            Self::Left => f.write_str("Left"),
            Self::Right => f.write_str("Right"),
            Self::Home => f.write_str("Home"),
            Self::End => f.write_str("End"),
            Self::PageUp => f.write_str("PgUp"),
            Self::PageDown => f.write_str("PgDn"),
        }
    }
}

/// What is in front, as far as keys mean something different there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The menu and the picture.
    Home,
    /// The filter is being typed.
    Filter,
    /// A form.
    Form,
    /// A list to choose from.
    Pick,
    /// Consequences, a question: something to say yes or no to.
    Confirm,
    /// An operation at work.
    Progress,
    /// How an operation ended.
    Outcome,
    /// A page to read.
    Page,
}

/// What a key orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One up.
    Up,
    /// One down.
    Down,
    /// To the left, or the choice before.
    Left,
    /// To the right, or the next choice.
    Right,
    /// A screenful up.
    PageUp,
    /// A screenful down.
    PageDown,
    /// The first.
    First,
    /// The last.
    Last,
    /// The one that is marked.
    Open,
    /// The next field or pane.
    Next,
    /// The field or pane before.
    Previous,
    /// Out of here.
    Back,
    /// Filter nodes and services.
    Filter,
    /// Take away the sign before, or the last service of a list.
    Erase,
    /// Take away the whole text.
    EraseAll,
    /// A list of what can be chosen.
    List,
    /// Stop before the next step.
    Stop,
    /// Leave it going on.
    Detach,
    /// Back to the operation that goes on.
    Operation,
    /// Go on in spite of warnings.
    Override,
    /// The same, planned anew.
    Again,
    /// The alarms.
    Alarms,
    /// What was decided when.
    History,
    /// The node that is marked.
    Node,
    /// What was done in this session.
    Log,
    /// The keys.
    Help,
    /// Draw everything anew.
    Redraw,
    /// Stop the program, as a shell does.
    Suspend,
    /// End.
    Quit,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Where.
    pub places: &'static [Place],
    /// Any of these.
    pub keys: &'static [Key],
    /// What it orders.
    pub order: Order,
    /// What the help says.
    pub help: &'static str,
    /// In the line of hints; empty: only in the help.
    pub hint: &'static str,
}

use Key::{
    BackTab, Backspace, Char, Ctrl, Delete, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp,
    Right, Tab, Up,
};
use Place::{Confirm, Filter, Form, Outcome, Page, Pick, Progress};

const LISTS: &[Place] = &[Place::Home, Pick, Page, Progress, Confirm];
/// Where a hint would take the room of another that counts more.
const SCREENFULS: &[Place] = &[Place::Home, Pick, Progress, Confirm];
const EVERYWHERE: &[Place] = &[
    Place::Home,
    Filter,
    Form,
    Pick,
    Confirm,
    Progress,
    Outcome,
    Page,
];

const fn row(
    places: &'static [Place],
    keys: &'static [Key],
    order: Order,
    hint: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        places,
        keys,
        order,
        help,
        hint,
    }
}

/// Every key but the letters and numbers of the menu's entries (`menu::ENTRIES`), and signs that are typed.
pub const TABLE: &[Binding] = &[
    row(
        &[Place::Home],
        &[Enter],
        Order::Open,
        "open",
        "open the entry or what is marked",
    ),
    row(
        &[Place::Home],
        &[Tab, BackTab, Left, Right],
        Order::Next,
        "menu/picture",
        "from the menu to the picture and back",
    ),
    row(
        &[Place::Home],
        &[Char('/')],
        Order::Filter,
        "find",
        "show only clusters, nodes and services whose name or address has the text",
    ),
    row(
        &[Place::Home],
        &[Char('A')],
        Order::Alarms,
        "alarms",
        "alarms, with what to do",
    ),
    row(
        &[Place::Home],
        &[Char('H')],
        Order::History,
        "history",
        "what was decided when; a failover as bars",
    ),
    row(
        &[Place::Home],
        &[Char('N')],
        Order::Node,
        "",
        "the node that is marked in the picture",
    ),
    row(
        &[Place::Home],
        &[Char('L')],
        Order::Log,
        "",
        "what was done and said in this session",
    ),
    row(
        &[Place::Home],
        &[Char('o')],
        Order::Operation,
        "",
        "back to the operation that goes on",
    ),
    row(
        &[Place::Home],
        &[Char('?'), F(1)],
        Order::Help,
        "help",
        "the keys",
    ),
    row(
        &[Place::Home],
        &[Esc],
        Order::Back,
        "",
        "take the filter away",
    ),
    row(
        &[Place::Home],
        &[Char('q'), F(10), Ctrl('c'), Ctrl('d')],
        Order::Quit,
        "quit",
        "end; what goes on in the cluster goes on",
    ),
    row(
        &[Filter],
        &[Enter, Down, Tab],
        Order::Open,
        "keep",
        "keep the filter",
    ),
    row(
        &[Filter],
        &[Esc, Ctrl('c')],
        Order::Back,
        "take away",
        "take the filter away",
    ),
    row(
        &[Form],
        &[Enter],
        Order::Open,
        "next",
        "the next field; on the button: go on",
    ),
    row(&[Form], &[Tab, Down], Order::Next, "", "the next field"),
    row(
        &[Form],
        &[BackTab, Up],
        Order::Previous,
        "",
        "the field before",
    ),
    row(&[Form], &[Left], Order::Left, "", "the choice before"),
    row(&[Form], &[Right], Order::Right, "choose", "the next choice"),
    row(
        &[Form],
        &[PageDown, F(2)],
        Order::List,
        "list",
        "all choices, to be searched",
    ),
    row(&[Form], &[F(1)], Order::Help, "help", "the keys"),
    row(
        &[Form],
        &[Esc, Ctrl('c')],
        Order::Back,
        "cancel",
        "back to the menu; nothing is done",
    ),
    row(
        &[Form, Filter, Pick, Confirm],
        &[Backspace, Delete],
        Order::Erase,
        "",
        "take away the last sign, or the last service",
    ),
    row(
        &[Form, Filter, Pick, Confirm],
        &[Ctrl('u')],
        Order::EraseAll,
        "",
        "take away the whole text",
    ),
    row(
        &[Pick],
        &[Enter],
        Order::Open,
        "take",
        "take the one that is marked",
    ),
    row(
        &[Pick],
        &[Esc, Ctrl('c')],
        Order::Back,
        "back",
        "back to the form",
    ),
    row(
        &[Confirm],
        &[Left, Right, Tab, BackTab],
        Order::Next,
        "choose",
        "from Cancel to the other button and back",
    ),
    row(
        &[Confirm],
        &[Enter],
        Order::Open,
        "press",
        "press the button that is marked",
    ),
    row(
        &[Confirm],
        &[Esc, Ctrl('c')],
        Order::Back,
        "cancel",
        "no; nothing is done",
    ),
    row(
        &[Progress],
        &[Char('s')],
        Order::Stop,
        "stop before the next step",
        "stop before the next step; what was committed stays",
    ),
    row(
        &[Progress],
        &[Char('d'), Esc],
        Order::Detach,
        "detach",
        "back to the menu; it goes on",
    ),
    row(
        &[Outcome],
        &[Enter, Esc, Ctrl('c')],
        Order::Back,
        "close",
        "back to the menu",
    ),
    row(
        &[Outcome],
        &[Char('w')],
        Order::Override,
        "",
        "the same again in spite of the warnings",
    ),
    row(
        &[Outcome],
        &[Char('p')],
        Order::Again,
        "",
        "the same, planned anew after somebody else's change",
    ),
    row(
        &[Page],
        &[Esc, Enter, Char('q'), Ctrl('c')],
        Order::Back,
        "back",
        "back",
    ),
    row(LISTS, &[Up], Order::Up, "", "up"),
    row(LISTS, &[Down], Order::Down, "", "down"),
    row(LISTS, &[PageUp], Order::PageUp, "", "a screenful up"),
    row(
        SCREENFULS,
        &[PageDown],
        Order::PageDown,
        "",
        "a screenful down",
    ),
    row(
        &[Page],
        &[PageDown],
        Order::PageDown,
        "scroll",
        "a screenful down",
    ),
    row(&[Page], &[Char('?'), F(1)], Order::Help, "help", "the keys"),
    row(
        &[Place::Home, Page, Pick],
        &[Home],
        Order::First,
        "",
        "to the beginning",
    ),
    row(
        &[Place::Home, Page, Pick],
        &[End],
        Order::Last,
        "",
        "to the end",
    ),
    row(
        EVERYWHERE,
        &[Ctrl('l')],
        Order::Redraw,
        "",
        "draw the screen anew",
    ),
    row(
        EVERYWHERE,
        &[Ctrl('z')],
        Order::Suspend,
        "",
        "leave the terminal to the shell; `fg` comes back",
    ),
];

/// What a key orders there.
pub fn find(place: Place, key: Key) -> Option<Order> {
    let mut here = TABLE.iter().filter(|b| b.places.contains(&place));
    here.find(|b| b.keys.contains(&key)).map(|b| b.order)
}

/// The line of hints: `Enter open  Tab menu/picture`.
pub fn hints(place: Place) -> impl Iterator<Item = (Key, &'static str)> {
    TABLE
        .iter()
        .filter(move |b| b.places.contains(&place) && !b.hint.is_empty())
        .map(|b| (b.keys[0], b.hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::menu::ENTRIES;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for place in EVERYWHERE {
            let here = TABLE.iter().filter(|b| b.places.contains(place));
            let mut seen = Vec::new();
            for key in here.flat_map(|b| b.keys) {
                assert!(!seen.contains(key), "{key} twice in {place:?}");
                seen.push(*key);
            }
            if *place == Place::Home {
                for entry in ENTRIES {
                    assert!(!seen.contains(&Char(entry.key)), "{} is taken", entry.key);
                }
            }
        }
    }

    #[test]
    fn what_is_typed_is_no_order() {
        for place in [Place::Form, Place::Filter, Place::Pick, Place::Confirm] {
            for c in ' '..='~' {
                assert_eq!(find(place, Char(c)), None, "{c} in {place:?}");
            }
        }
    }
}
