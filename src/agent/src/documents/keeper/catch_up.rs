//! What other members have decided is taken from them: a node that was away, or whose admin's session was lost,
//! comes to the document of the others by itself.

use std::io;

use backstay_core::model::{ClusterDocument, ClusterId, DocumentError, SystemDocument};
use backstay_wire::sealed::Subject;

use super::{Keeper, checks, newer};
use crate::decide::Input;

impl Keeper {
    /// A verified beat of another node shows that a revision which is staged here was committed there: so it is
    /// committed here too, and an admin's lost session leaves nothing half-made (U6).
    pub fn commit_seen(&mut self, cluster: ClusterId, revision: u64, hash: u64) {
        let staged = self.shelf.get_by_id(cluster).and_then(|s| s.staged.clone());
        let Some(document) = staged.filter(|d| (d.revision, d.short_hash()) == (revision, hash))
        else {
            return;
        };
        if let Err(error) = self.adopt(document.clone()) {
            return self.say_unkept((cluster, Subject::Cluster, revision), &error);
        }
        self.unkept.clear();
        tracing::info!(
            "cluster {}: revision {revision} was committed elsewhere; committed here too",
            document.name
        );
        self.list(&document);
    }

    /// Takes a text that was fetched from another member because its beat told of it.
    pub fn fetched(&mut self, cluster: ClusterId, subject: Subject, revision: u64, text: &str) {
        let taken = match subject {
            Subject::Cluster => self.take_cluster(cluster, text),
            Subject::System => self.take_system(text),
        };
        match taken {
            Ok(true) => return self.unkept.clear(),
            // Around a commit: it got here by the admin's own session while the text was on its way.
            Ok(false) => tracing::debug!("revision {revision}: this node's document is as new"),
            // The disk's fault and not the text's: it is not told, and so fetched again after a while.
            Err(why) if why.is::<io::Error>() => {
                return self.say_unkept((cluster, subject, revision), &why);
            }
            Err(why) => {
                tracing::error!(
                    "revision {revision} of another node's document is not taken: {why}"
                );
            }
        }
        self.decide.tell(Input::NotTaken {
            cluster,
            subject,
            revision,
        });
    }

    /// False: this node's is as new.
    fn take_cluster(&mut self, cluster: ClusterId, text: &str) -> anyhow::Result<bool> {
        let me = self.me.clone();
        let me = me.ok_or_else(|| anyhow::anyhow!("this machine is no node of a system"))?;
        let document = ClusterDocument::parse(text).map_err(|error| {
            newer(&me.name, &error).map_or_else(|| error.into(), anyhow::Error::new)
        })?;
        anyhow::ensure!(document.id == cluster, "it is of cluster {}", document.id);
        let stored = self.shelf.get_by_id(cluster);
        if let Some(present) = stored.and_then(|s| s.present.as_ref()) {
            let (mine, theirs) = (present.hash(), document.hash());
            if (document.revision, theirs) <= (present.revision, mine) {
                if document.revision == present.revision && theirs != mine {
                    self.lost(&document)?;
                    anyhow::bail!("two texts of one revision: this node's stands, by its hash");
                }
                return Ok(false);
            }
            if document.revision == present.revision {
                let present = present.clone();
                self.lost(&present)?;
            }
        } else if stored.is_none() {
            anyhow::bail!("this node was never asked to be in that cluster");
        }
        let problems = checks::problems(&document, &me, &self.shelf);
        if !problems.is_empty() {
            anyhow::bail!("{}", DocumentError::Rules(problems));
        }
        let name = document.name.clone();
        let lacks = checks::machine_problems(&document, &me, &self.machine.facts());
        self.adopt(document)?;
        // The cluster has decided: what the machine lacks is said, and was no reason to go on by a former text.
        for problem in lacks {
            tracing::warn!("cluster {name}: {problem}");
        }
        Ok(true)
    }

    /// False: this node's is as new.
    fn take_system(&mut self, text: &str) -> anyhow::Result<bool> {
        let document = SystemDocument::parse(text).map_err(anyhow::Error::msg)?;
        let present = self.shelf.system().map_or(0, |s| s.revision);
        if document.revision <= present {
            return Ok(false);
        }
        self.keep_system(document)?;
        Ok(true)
    }

    /// Not with each try.
    fn say_unkept(&mut self, what: (ClusterId, Subject, u64), why: &dyn core::fmt::Display) {
        if self.unkept.contains(&what) {
            return;
        }
        self.unkept.push(what);
        tracing::error!(
            "revision {} of another node's document can't be kept: {why}; tried again until it can",
            what.2
        );
    }

    fn lost(&self, document: &ClusterDocument) -> io::Result<()> {
        let path = self.shelf.keep_lost(document)?;
        tracing::error!(
            "cluster {}: two texts of revision {} were committed; the one that lost is kept as {}",
            document.name,
            document.revision,
            path.display()
        );
        Ok(())
    }
}
