//! C16: what was this machine's as a node that another machine took the place of. Nobody else tells it later: the service
//! may leave the cluster, the cluster may end, and this machine may become another node. So it is kept until a document
//! gives it to this machine again.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use backstay_core::model::{ClusterDocument, Service};
use ipnet::IpNet;

use crate::store::{Identity, read_text, remove_durably, write_durably};

/// Longest list that is read, bytes.
const LONGEST: usize = 64 * 1024;

/// The addresses, one to a line in a file of the state folder.
pub(super) struct LostAddresses {
    path: PathBuf,
    all: Vec<IpAddr>,
}

impl LostAddresses {
    /// Reads the list. A line that is no address is said and counts no longer.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn read(state: &Path) -> io::Result<Self> {
        let path = state.join("lost-addresses");
        let text = read_text(&path, LONGEST)?.unwrap_or_default();
        let mut all = Vec::new();
        for line in text.lines() {
            if let Ok(address) = line.parse() {
                all.push(address);
            } else {
                tracing::error!("{}: {line:?} is no address", path.display());
            }
        }
        Ok(Self { path, all })
    }

    pub(super) fn all(&self) -> &[IpAddr] {
        &self.all
    }

    /// Another machine has these now.
    ///
    /// # Errors
    /// The system's; then nothing has changed.
    pub(super) fn add(&mut self, more: impl Iterator<Item = IpAddr>) -> io::Result<()> {
        let mut all = self.all.clone();
        all.extend(more);
        self.keep(all)
    }

    /// A document gives this machine what it has in it. True: some of it was lost.
    ///
    /// # Errors
    /// The system's; then nothing has changed.
    pub(super) fn found(&mut self, document: &ClusterDocument, me: &Identity) -> io::Result<bool> {
        let given: Vec<IpAddr> = had(document, me).collect();
        let mut all = self.all.clone();
        all.retain(|address| !given.contains(address));
        let some = all.len() < self.all.len();
        self.keep(all)?;
        Ok(some)
    }

    fn keep(&mut self, mut all: Vec<IpAddr>) -> io::Result<()> {
        all.sort_unstable();
        all.dedup();
        if all == self.all {
            return Ok(());
        }
        if all.is_empty() {
            remove_durably(&self.path)?;
        } else {
            let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
            write_durably(&self.path, lines.join("\n").as_bytes())?;
        }
        self.all = all;
        Ok(())
    }
}

/// The addresses that were this node's by a document and are another machine's: its aliases, and its bases, too, once it
/// is in no cluster that it must hear.
pub(crate) fn lost(document: &ClusterDocument, me: &Identity, in_none: bool) -> Vec<IpAddr> {
    let Some((former, _)) = document.replaced(me.id) else {
        return Vec::new();
    };
    let bases = former.bases.iter().map(IpNet::addr);
    guarded_here(document, me)
        .chain(bases.filter(|_| in_none))
        .collect()
}

/// All that a document gives this node: aliases and bases.
pub(super) fn had(document: &ClusterDocument, me: &Identity) -> impl Iterator<Item = IpAddr> {
    let member = document.member_by_id(me.id);
    let bases = member.into_iter().flat_map(|m| &m.bases).map(IpNet::addr);
    guarded_here(document, me).chain(bases)
}

/// The aliases that a document gives this node to hold.
pub(crate) fn guarded_here(
    document: &ClusterDocument,
    me: &Identity,
) -> impl Iterator<Item = IpAddr> {
    let here = document.services.iter();
    let here = here.filter(|service| service.nodes.contains(&me.name));
    here.flat_map(Service::moving).map(|alias| alias.addr())
}
