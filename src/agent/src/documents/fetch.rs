//! Fetching one document, piece by piece, from whoever has it. Knows no socket: it says what to ask of whom.

use core::time::Duration;

use backstay_core::model::{ClusterId, NodeId};
use backstay_core::time::Mono;
use backstay_wire::sealed::{Assembly, Misfit, Piece, Subject, Want};

/// How long an answer may take before it is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How many times one source is asked in vain before the next is.
const TRIES: u32 = 4;
/// How many times it is asked in vain in all before the fetch ends; a later beat begins a new one.
const MOST_TRIES: u32 = 40;
/// Pieces asked for at once: 16 KiB, less than any receive buffer.
const AT_ONCE: usize = 16;

/// One fetch.
#[derive(Debug)]
pub struct Fetch {
    assembly: Assembly,
    sources: Vec<NodeId>,
    source: usize,
    /// Asked since the last piece that helped.
    tries: u32,
    /// Asked for and not come.
    under_way: usize,
    due: Mono,
}

impl Fetch {
    /// Of that revision. `hash`: of the text that a beat told of, where known; `from` told of it.
    pub fn new(
        me: NodeId,
        (cluster, subject): (ClusterId, Subject),
        (revision, hash): (u64, Option<u64>),
        from: NodeId,
        now: Mono,
    ) -> Self {
        Self {
            assembly: Assembly::new(cluster, subject, revision, hash, me),
            sources: vec![from],
            source: 0,
            tries: 0,
            under_way: 0,
            due: now,
        }
    }

    /// Which document.
    pub fn subject(&self) -> Subject {
        self.assembly.subject()
    }

    /// Which revision.
    pub fn revision(&self) -> u64 {
        self.assembly.revision()
    }

    /// Another node has it too.
    pub fn also_at(&mut self, node: NodeId) {
        if !self.sources.contains(&node) {
            self.sources.push(node);
        }
    }

    /// When [`Self::ask`] has something to say.
    pub fn due(&self) -> Mono {
        self.due
    }

    /// Nobody has answered for long.
    pub fn is_hopeless(&self) -> bool {
        self.tries > MOST_TRIES
    }

    /// Whom to ask for what, now.
    pub fn ask(&mut self, now: Mono) -> Option<(NodeId, Vec<Want>)> {
        if now < self.due {
            return None;
        }
        if self.tries > 0 && self.tries.is_multiple_of(TRIES) {
            self.source = (self.source + 1) % self.sources.len();
        }
        self.tries += 1;
        self.due = now.after(AGAIN);
        let wants: Vec<Want> = self.assembly.wants().take(AT_ONCE).collect();
        self.under_way = wants.len();
        Some((*self.sources.get(self.source)?, wants))
    }

    /// Takes a piece; the last yields the text.
    pub fn take(&mut self, piece: &Piece, now: Mono) -> Result<Option<String>, Misfit> {
        let text = self.assembly.take(piece)?;
        self.tries = 0;
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way == 0 {
            self.due = now;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use backstay_wire::sealed::short_hash;

    use super::*;

    const ME: NodeId = NodeId(1);
    const CLUSTER: ClusterId = ClusterId(9);

    fn fetch(text: &str) -> Fetch {
        let what = (CLUSTER, Subject::Cluster);
        Fetch::new(ME, what, (5, Some(short_hash(text))), NodeId(2), Mono(0))
    }

    /// Lets the fetch run against one holder, losing what `lost` says; the text and the time it took.
    fn run(text: &str, mut lost: impl FnMut() -> bool) -> (Option<String>, Mono) {
        let mut fetch = fetch(text);
        let mut now = Mono(0);
        while !fetch.is_hopeless() {
            now = now.max(fetch.due());
            let (_, wants) = fetch.ask(now).unwrap();
            for want in wants {
                let piece = want.answer(5, short_hash(text), text).unwrap();
                if !lost()
                    && let Some(text) = fetch.take(&piece, now).unwrap()
                {
                    return (Some(text), now);
                }
            }
        }
        (None, now)
    }

    #[test]
    fn a_long_document_comes_without_waiting_where_nothing_is_lost() {
        let text = "x".repeat(200_000);
        assert_eq!(run(&text, || false), (Some(text.clone()), Mono(0)));
    }

    #[test]
    fn lost_pieces_are_asked_for_again() {
        let text = "y".repeat(100_000);
        let mut count = 0;
        let (fetched, took) = run(&text, || {
            count += 1;
            count % 3 == 0
        });
        assert_eq!(fetched, Some(text));
        assert!(took > Mono(0));
    }

    #[test]
    fn a_dead_source_gives_way_to_the_next_and_the_end_is_bounded() {
        let mut fetch = fetch("text");
        fetch.also_at(NodeId(3));
        fetch.also_at(NodeId(3));
        let mut asked = Vec::new();
        while !fetch.is_hopeless() {
            let (whom, _) = fetch.ask(fetch.due()).unwrap();
            asked.push(whom.0);
        }
        assert_eq!(asked[..10], [2, 2, 2, 2, 3, 3, 3, 3, 2, 2]);
        assert_eq!(asked.len(), MOST_TRIES as usize + 1);
        assert!(fetch.due() < Mono::from_millis(10_000));
    }
}
