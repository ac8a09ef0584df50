//! C7: a cluster that is no more. Who was away when it was deleted still sends its beats, and is told.

use std::time::Duration;

use backstay_core::engine::{Beat, HearsPeer};
use backstay_core::model::ClusterId;
use backstay_core::time::Mono;
use backstay_wire::sealed::{self, Message, Subject};
use backstay_wire::{Kind, MAX_DATAGRAM, beat};

use super::cluster::{Fetches, Paper};
use super::decider::Decider;
use super::receive::send_sealed;
use super::rejects::Dropped;

/// How often one deleted cluster is answered at most.
const TELL_EVERY: Duration = Duration::from_millis(20);

/// The last text of a deleted cluster.
pub(super) struct Notice {
    pub(super) paper: Paper,
    answers: Fetches,
    told: Option<Mono>,
}

impl Notice {
    pub(super) fn new(paper: Paper) -> Self {
        Self {
            paper,
            answers: Fetches::default(),
            told: None,
        }
    }
}

impl Decider {
    /// A datagram of a cluster that this node is not in: perhaps of one that is deleted.
    pub(super) fn noticed(
        &mut self,
        id: ClusterId,
        kind: Kind,
        bytes: &[u8],
        now: Mono,
    ) -> Result<(), Dropped> {
        let notice = self.notices.get_mut(&id).ok_or(Dropped::Cluster)?;
        let keys = &notice.paper.keys;
        match kind {
            Kind::Beat => {
                let (said, _) = beat::decode(bytes, keys).map_err(Dropped::Bad)?;
                self.tell_deleted(id, &said, now)
            }
            Kind::Sealed => {
                let message = sealed::open(bytes, keys).map_err(Dropped::Bad)?;
                let Message::Want(want) = message else {
                    return Ok(());
                };
                let paper = &notice.paper;
                if want.subject != Subject::Cluster || paper.other(want.from).is_none() {
                    return Err(Dropped::Stranger);
                }
                if !notice.answers.may_answer(now) {
                    return Err(Dropped::Flood);
                }
                let revision = paper.document.revision;
                if let Some(piece) = want.answer(revision, paper.hash, &paper.text) {
                    send_sealed(&self.links, paper, want.from, &Message::Piece(piece));
                }
                Ok(())
            }
        }
    }

    /// Says by a beat that asks, answers and holds nothing which revision there is to fetch.
    fn tell_deleted(&mut self, id: ClusterId, said: &Beat, now: Mono) -> Result<(), Dropped> {
        let me = self.me.as_ref().ok_or(Dropped::Cluster)?;
        let notice = self.notices.get_mut(&id).ok_or(Dropped::Cluster)?;
        let paper = &notice.paper;
        let other = paper.other(said.from).ok_or(Dropped::Stranger)?;
        let soon = notice.told.is_some_and(|at| now.since(at) < TELL_EVERY);
        if said.revision >= paper.document.revision || soon {
            return Ok(());
        }
        notice.told = Some(now);
        let mut answer = Beat {
            cluster: id,
            from: me.id,
            incarnation: me.incarnation,
            boot: me.boot,
            // Beyond any that the engine counted in this boot, and growing.
            sequence: now.0,
            nonce: self.nonce,
            revision: paper.document.revision,
            hash: paper.hash,
            epoch: paper.document.epoch,
            silent: true,
            listening: true,
            ..Beat::default()
        };
        answer.hears.push(HearsPeer {
            node: said.from,
            age_ms: 0,
            echo: said.nonce,
        });
        let mut bytes = [0; MAX_DATAGRAM];
        for (link, from, to) in paper.ways(other) {
            let length = beat::encode(&answer, link, &paper.keys, &mut bytes);
            self.links
                .send(from, to, bytes.get(..length).unwrap_or_default());
        }
        Ok(())
    }
}
