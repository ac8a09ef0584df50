//! Keeping an eye on a system: who does not answer any more is left for the next one, and whoever shows what
//! was seen never waits for it.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use backstay_core::model::SystemDocument;
use backstay_wire::rpc::{Request, Status};

use super::gather::{Seen, best_views};
use super::{Cancel, Gatherer};
use crate::failure::{Exit, Failure};
use crate::remote::Client;

/// How often is asked.
const EVERY: Duration = Duration::from_millis(500);
/// How long to wait before asking again when nobody answers.
const AGAIN: Duration = Duration::from_secs(1);
/// A node that takes longer than this for its view is left for the next.
const PATIENCE: Duration = Duration::from_secs(2);

/// What comes of asking.
#[derive(Debug)]
pub enum News {
    /// What is seen now. The sessions stay with whoever asks.
    Seen(Box<Seen>),
    /// These did not answer; others are asked.
    Silent(Vec<String>),
    /// Nobody answers.
    Failed(Failure),
}

/// Asks until it is told not to, on a thread of its own.
///
/// # Errors
/// There is no thread to be had.
pub fn keep(gatherer: Gatherer, cancel: Cancel) -> Result<Receiver<News>, Failure> {
    let (news, heard) = channel();
    let thread = std::thread::Builder::new().name("lookout".to_owned());
    thread
        .spawn(move || Lookout { gatherer, news }.ask(&cancel))
        .map_err(|e| Failure::new(Exit::Error, format!("nothing can be watched: {e}")))?;
    Ok(heard)
}

struct Lookout {
    gatherer: Gatherer,
    news: Sender<News>,
}

impl Lookout {
    fn ask(mut self, cancel: &Cancel) {
        let deadlines = &mut self.gatherer.handle.deadlines;
        deadlines.request = deadlines.request.min(PATIENCE);
        let mut sessions = Vec::new();
        let mut before: Option<Seen> = None;
        while !cancel.is_set() {
            // The sessions are kept as long as they answer; else everything is looked up anew.
            let same = before.take().filter(|seen| seen.unseen.is_empty());
            let fresh = same.and_then(|seen| self.again(seen, &mut sessions));
            let now = fresh.map_or_else(
                || {
                    self.gatherer.status().map(|mut seen| {
                        sessions = std::mem::take(&mut seen.sessions);
                        seen
                    })
                },
                Ok,
            );
            let pause = if now.is_ok() { EVERY } else { AGAIN };
            let news = match now {
                Ok(seen) => {
                    before = Some(without_sessions(&seen));
                    News::Seen(Box::new(seen))
                }
                Err(failure) => News::Failed(failure),
            };
            // Nobody looks any more.
            if self.news.send(news).is_err() {
                return;
            }
            pause_for(pause, cancel);
        }
    }

    /// Asks the sessions once more; nothing where one of them does not answer.
    fn again(&mut self, mut seen: Seen, sessions: &mut [Client]) -> Option<Seen> {
        let mut views = Vec::new();
        let mut silent = Vec::new();
        for session in sessions.iter_mut() {
            match session.call::<Status>(Request::Status) {
                Ok(status) => views.extend(status.clusters),
                Err(_) => silent.push(session),
            }
        }
        if silent.is_empty() {
            // A cluster that came or went shows only when the system document is read anew.
            let same = !views.is_empty() || seen.views.is_empty();
            seen.views = best_views(&views);
            return same.then_some(seen);
        }
        let called = |s: &&mut Client| {
            let node = s.hello().node.as_ref();
            node.map_or_else(|| s.label().to_owned(), ToString::to_string)
        };
        let names = silent.iter().map(called).collect();
        let labels: BTreeSet<String> = silent.iter().map(|s| s.label().to_owned()).collect();
        // Whoever listens no more is found out with the next view.
        let _ = self.news.send(News::Silent(names));
        self.leave(&labels, seen.system.as_ref());
        None
    }

    /// From now on others are asked first: every node of the system is a way in.
    fn leave(&mut self, silent: &BTreeSet<String>, system: Option<&SystemDocument>) {
        for node in system.iter().flat_map(|s| &s.nodes) {
            if let Ok(target) = self.gatherer.target_of(node)
                && !(self.gatherer.entries.iter()).any(|e| e.label() == target.label())
            {
                self.gatherer.entries.push(target);
            }
        }
        let entries = &mut self.gatherer.entries;
        entries.sort_by_key(|e| silent.contains(&e.label()));
    }
}

fn without_sessions(seen: &Seen) -> Seen {
    Seen {
        views: seen.views.clone(),
        unseen: seen.unseen.clone(),
        system: seen.system.clone(),
        sessions: Vec::new(),
    }
}

fn pause_for(time: Duration, cancel: &Cancel) {
    let until = Instant::now() + time;
    while !cancel.is_set() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}
