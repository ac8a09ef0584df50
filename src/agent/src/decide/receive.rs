//! What comes over the network. All of it is hostile until its signature holds.

use std::net::SocketAddr;
use std::time::Duration;

use backstay_core::engine::Beat;
use backstay_core::model::{ClusterId, NodeId};
use backstay_core::time::Mono;
use backstay_wire::sealed::{self, Message, NONCE, Piece, Subject, Want};
use backstay_wire::{Kind, MAX_DATAGRAM, Reject, beat, peek_cluster, peek_foreign};

use super::cluster::{Fetches, Paper, TRY_AGAIN};
use super::decider::{Beside, Decider};
use super::jobs::Job;
use super::links::Links;
use super::rejects::Dropped;
use crate::documents::fetch::Fetch;

/// Datagrams that are read from one socket before timers are looked at again.
pub(super) const AT_ONCE: usize = 64;
/// Who yields that many at once may fill the socket's buffer within the patience of a calm cluster: small datagrams take
/// more than a kilobyte each there. For so long what comes waits only a fraction of that.
const CROWDED: Duration = Duration::from_secs(1);
pub(super) const PATIENCE_IN_A_CROWD: Duration = Duration::from_millis(2);

impl Decider {
    pub(super) fn take_datagrams(&mut self, buffer: &mut [u8; MAX_DATAGRAM]) {
        let (mut heard, mut more) = (false, false);
        for place in 0..self.links.count() {
            for count in 1..=AT_ONCE {
                let Some((length, local)) = self.links.receive(place, buffer) else {
                    break;
                };
                heard = true;
                more |= count == AT_ONCE;
                let now = self.hands.now();
                let bytes = buffer.get(..length).unwrap_or_default();
                if let Err(why) = self.datagram(bytes, local, now) {
                    self.rejects.count(why, now);
                }
            }
        }
        let now = self.hands.now();
        // Who fills a socket must not keep beats out of it. What was staged or is to be told to somebody is waited for.
        // Where nothing came twice nothing gathers; once is a gap between beats, and who ends it would have to wake up
        // everybody.
        let gathers = core::mem::replace(&mut self.heard, heard) || heard;
        let alone = !more && self.staged.is_empty() && self.notices.is_empty();
        let clusters = self.clusters.values().filter(|_| alone && gathers);
        let patience = clusters.map(|c| c.engine.patience(now)).min();
        let patience = patience.unwrap_or_default();
        if more {
            self.crowded_until = now.after(CROWDED);
        }
        self.read_at = now.after(if now < self.crowded_until {
            patience.min(PATIENCE_IN_A_CROWD)
        } else {
            patience
        });
    }

    /// Says what was dropped, at most once a minute.
    pub(super) fn say_rejects(&mut self) {
        let now = self.hands.now();
        if let Some(summary) = self.rejects.summary(now) {
            tracing::warn!("{summary}");
        }
    }

    fn datagram(&mut self, bytes: &[u8], local: SocketAddr, now: Mono) -> Result<(), Dropped> {
        let kind = Kind::of(bytes).ok_or(Dropped::Bad(Reject::Magic))?;
        let id = peek_cluster(bytes).ok_or(Dropped::Bad(Reject::Short))?;
        if let Some(cluster) = self.clusters.get_mut(&id) {
            if let Some(from) = peek_foreign(bytes) {
                cluster.engine.handle_foreign(from, now);
            }
            // A base may be on several links' sockets only by its own address.
            cluster.paper.link(local).ok_or(Dropped::Cluster)?;
            return match kind {
                Kind::Beat => {
                    let (said, link) =
                        beat::decode(bytes, &cluster.paper.keys).map_err(Dropped::Bad)?;
                    self.beat(id, &said, link, now)
                }
                Kind::Sealed => {
                    let message = sealed::open(bytes, &cluster.paper.keys).map_err(Dropped::Bad)?;
                    self.sealed(id, message, now)
                }
            };
        }
        if let Some(beside) = self.staged.get_mut(&id) {
            return match kind {
                Kind::Beat => {
                    let (said, _) =
                        beat::decode(bytes, &beside.paper.keys).map_err(Dropped::Bad)?;
                    let me = self.me.as_ref().ok_or(Dropped::Cluster)?.id;
                    let seen = beside.hear(&said, me, now)?;
                    if seen {
                        self.jobs.post(commit_seen(id, &said));
                    }
                    Ok(())
                }
                Kind::Sealed => match sealed::open(bytes, &beside.paper.keys) {
                    Ok(Message::Piece(piece)) => self.piece(id, &piece, now),
                    Ok(Message::Want(_)) => Ok(()),
                    Err(reject) => Err(Dropped::Bad(reject)),
                },
            };
        }
        self.noticed(id, kind, bytes, now)
    }

    fn beat(&mut self, id: ClusterId, said: &Beat, link: u8, now: Mono) -> Result<(), Dropped> {
        let cluster = self.clusters.get_mut(&id).ok_or(Dropped::Cluster)?;
        let other = cluster.paper.other(said.from).ok_or(Dropped::Stranger)?;
        cluster.heard.insert(said.from, now);
        if !other.former {
            let told = (said.revision, said.hash, said.system_revision);
            cluster.told.insert(said.from, told);
        }
        // What was staged here and committed there is at hand: nothing needs to be fetched.
        if let Some(beside) = self.staged.get_mut(&id)
            && beside.is_committed(said)
            && beside.is_to_be_told(now)
        {
            self.jobs.post(commit_seen(id, said));
        }
        self.drive(id, |engine, now| engine.handle_beat(said, link, now));
        Ok(())
    }

    fn sealed(&mut self, id: ClusterId, message: Message, now: Mono) -> Result<(), Dropped> {
        match message {
            Message::Want(want) => self.answer(id, &want, now),
            Message::Piece(piece) => self.piece(id, &piece, now),
        }
    }

    /// Pieces go where the document says that the asker is, not where the question came from: it may have been
    /// played again.
    fn answer(&mut self, id: ClusterId, want: &Want, now: Mono) -> Result<(), Dropped> {
        let cluster = self.clusters.get_mut(&id).ok_or(Dropped::Cluster)?;
        let other = cluster.paper.other(want.from).ok_or(Dropped::Stranger)?;
        let paper = &cluster.paper;
        let piece = match want.subject {
            Subject::Cluster => want.answer(paper.document.revision, paper.hash, &paper.text),
            Subject::System => {
                want.answer(self.system.revision, self.system_hash, &self.system.text)
            }
        };
        // It has become another revision meanwhile: the asker hears so from the next beat.
        let Some(piece) = piece else { return Ok(()) };
        if !cluster.fetches.may_answer(now) {
            return Err(Dropped::Flood);
        }
        send_sealed(&self.links, paper, other.id, &Message::Piece(piece));
        Ok(())
    }

    fn piece(&mut self, id: ClusterId, piece: &Piece, now: Mono) -> Result<(), Dropped> {
        let fetches = match (self.clusters.get_mut(&id), self.staged.get_mut(&id)) {
            (Some(cluster), _) => &mut cluster.fetches,
            (None, Some(beside)) => &mut beside.fetches,
            (None, None) => return Err(Dropped::Cluster),
        };
        let slot = fetches.slot(piece.subject);
        // One that comes late or twice is no reason for a line in the log.
        let Some(fetch) = slot else { return Ok(()) };
        if let Some(text) = fetch.take(piece, now).map_err(|_| Dropped::Misfit)? {
            *slot = None;
            fetches.handed_in(piece.subject, piece.revision, now);
            self.jobs.post(Job::Fetched {
                cluster: id,
                subject: piece.subject,
                revision: piece.revision,
                text,
            });
        }
        Ok(())
    }

    /// Asks for what is due.
    pub(super) fn ask_for_pieces(&mut self) {
        let now = self.hands.now();
        let clusters = self
            .clusters
            .values_mut()
            .map(|c| (&c.paper, &mut c.fetches));
        let staged = self.staged.values_mut().map(|b| (&b.paper, &mut b.fetches));
        for (paper, fetches) in clusters.chain(staged) {
            for subject in [Subject::Cluster, Subject::System] {
                ask(&self.links, paper, fetches, subject, now);
            }
        }
    }
}

impl Beside {
    /// Whether this beat proves that what is staged here is committed.
    fn is_committed(&self, said: &Beat) -> bool {
        (said.revision, said.hash) == (self.paper.document.revision, self.paper.hash)
    }

    /// Its commitment was seen: once is enough, unless the disk fails.
    fn is_to_be_told(&mut self, now: Mono) -> bool {
        let due = self.seen.is_none_or(|at| now.since(at) >= TRY_AGAIN);
        if due {
            self.seen = Some(now);
        }
        due
    }

    /// A beat of a cluster that this node is to join. True: the staged document is committed, and
    /// that is to be told.
    fn hear(&mut self, said: &Beat, me: NodeId, now: Mono) -> Result<bool, Dropped> {
        self.paper.other(said.from).ok_or(Dropped::Stranger)?;
        if self.is_committed(said) {
            return Ok(self.is_to_be_told(now));
        }
        let what = (said.cluster, Subject::Cluster);
        let wanted = self.fetches.may_fetch(what.1, said.revision, now);
        if said.revision > self.paper.document.revision && wanted {
            // The cluster went on without this node: what holds now decides.
            match &mut self.fetches.cluster {
                Some(fetch) if fetch.revision() >= said.revision => fetch.also_at(said.from),
                slot => {
                    let text = (said.revision, Some(said.hash));
                    *slot = Some(Fetch::new(me, what, text, said.from, now));
                }
            }
        }
        Ok(false)
    }
}

fn commit_seen(cluster: ClusterId, said: &Beat) -> Job {
    Job::CommitSeen {
        cluster,
        revision: said.revision,
        hash: said.hash,
    }
}

fn ask(links: &Links, paper: &Paper, fetches: &mut Fetches, subject: Subject, now: Mono) {
    let slot = fetches.slot(subject);
    let Some(fetch) = slot else { return };
    if fetch.is_hopeless() {
        *slot = None;
        return;
    }
    let Some((whom, wants)) = fetch.ask(now) else {
        return;
    };
    for want in wants {
        send_sealed(links, paper, whom, &Message::Want(want));
    }
}

/// Sends over every link: the receiver takes the first that comes.
pub(super) fn send_sealed(links: &Links, paper: &Paper, to: NodeId, message: &Message) {
    let mut nonce = [0; NONCE];
    let Some(other) = paper.other(to) else { return };
    if getrandom::fill(&mut nonce).is_err() {
        return;
    }
    let bytes = sealed::seal(message, &paper.keys, nonce);
    for (_, from, to) in paper.ways(other) {
        links.send(from, to, &bytes);
    }
}
