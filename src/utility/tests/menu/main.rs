//! The menu: what it makes of messages, what it shows, and how it behaves on a real pseudo-terminal.

mod agent;
mod fixture;
mod forms;
mod screens;
mod terminal;
mod updates;
