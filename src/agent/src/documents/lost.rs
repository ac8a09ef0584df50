//! C16: what was this machine's as a node that another machine took the place of. Nobody else tells it later: the service
//! may leave the cluster, the cluster may end, and this machine may become another node. So it is kept until a document
//! gives it to this machine again.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use backstay_core::model::{ClusterDocument, Service};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Keeper, checks};
use crate::store::{Identity, read_text, remove_durably, write_durably};

/// Longest list that is read, bytes.
const LONGEST: usize = 256 * 1024;

/// What another machine has now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Lost {
    /// Aliases and bases: they stay closed.
    pub(super) addresses: Vec<IpAddr>,
    /// They are kept from starting at boot.
    pub(super) units: Vec<String>,
}

impl Lost {
    /// All that a document gives this node.
    pub(super) fn by(document: &ClusterDocument, me: &Identity) -> Self {
        let member = document.member_by_id(me.id);
        let bases = member.into_iter().flat_map(|m| &m.bases).map(IpNet::addr);
        Self {
            addresses: guarded_here(document, me).chain(bases).collect(),
            units: checks::units_of(document, me),
        }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.addresses.extend(more.addresses);
        self.units.extend(more.units);
    }

    pub(super) fn without(&mut self, given: &Self) {
        (self.addresses).retain(|address| !given.addresses.contains(address));
        self.units.retain(|unit| !given.units.contains(unit));
    }
}

/// `lost.toml` in the state folder.
pub(super) struct LostFile {
    path: PathBuf,
    lost: Lost,
}

impl LostFile {
    /// Reads what is kept.
    ///
    /// # Errors
    /// The system's, and a file that is damaged: what it names must not be taken up again.
    pub(super) fn read(state: &Path) -> Result<Self> {
        let path = state.join("lost.toml");
        let read = || -> Result<Lost> {
            let text = read_text(&path, LONGEST)?;
            Ok(toml::from_str(&text.unwrap_or_default())?)
        };
        let lost = read().with_context(|| format!("can't read {}", path.display()))?;
        Ok(Self { path, lost })
    }

    pub(super) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Another machine has these now.
    ///
    /// # Errors
    /// The system's; then nothing has changed.
    pub(super) fn add(&mut self, more: Lost) -> io::Result<()> {
        let mut lost = self.lost.clone();
        lost.add(more);
        self.keep(lost)
    }

    /// A document gives this machine what it has in it. True: some of it was lost.
    ///
    /// # Errors
    /// The system's; then nothing has changed.
    pub(super) fn found(&mut self, document: &ClusterDocument, me: &Identity) -> io::Result<bool> {
        let mut lost = self.lost.clone();
        lost.without(&Lost::by(document, me));
        let some = lost != self.lost;
        self.keep(lost)?;
        Ok(some)
    }

    fn keep(&mut self, mut lost: Lost) -> io::Result<()> {
        lost.addresses.sort_unstable();
        lost.addresses.dedup();
        lost.units.sort_unstable();
        lost.units.dedup();
        if lost == self.lost {
            return Ok(());
        }
        if lost == Lost::default() {
            remove_durably(&self.path)?;
        } else {
            let text = toml::to_string(&lost).map_err(io::Error::other)?;
            write_durably(&self.path, text.as_bytes())?;
        }
        self.lost = lost;
        Ok(())
    }
}

impl Keeper {
    /// C16: by this document another machine took the place of this one.
    pub(super) fn lose(&mut self, document: &ClusterDocument) -> io::Result<()> {
        let Some(me) = &self.me else { return Ok(()) };
        let mut all = Lost {
            addresses: lost(document, me, true),
            units: checks::units_lost(document, me),
        };
        // The newer text may not have its service any more.
        let stored = self.shelf.get_by_id(document.id);
        if let Some(before) = stored.and_then(|s| s.present.as_ref()) {
            all.add(Lost::by(before, me));
        }
        for other in self.shelf.present().filter(|d| d.id != document.id) {
            all.without(&Lost::by(other, me));
        }
        self.lost.add(all)
    }

    /// What a document gives this machine is not another's. Failing is said: the list is too long then, and what the
    /// document gives goes before it.
    pub(super) fn find(&mut self, document: &ClusterDocument) {
        let Some(me) = &self.me else { return };
        match self.lost.found(document, me) {
            Ok(true) => self.tell_identity(),
            Ok(false) => {}
            Err(error) => tracing::error!("what this machine has again counts as lost: {error}"),
        }
    }

    /// C16: what another machine has now.
    pub(super) fn lost_for_good(&self, in_none: bool) -> Vec<IpAddr> {
        let mut all = self.lost.lost().addresses.clone();
        if let Some(me) = &self.me {
            let left = self.shelf.last_texts();
            all.extend(left.flat_map(|left| lost(left, me, in_none)));
        }
        all
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

/// The aliases that a document gives this node to hold.
pub(crate) fn guarded_here(
    document: &ClusterDocument,
    me: &Identity,
) -> impl Iterator<Item = IpAddr> {
    let here = document.services.iter();
    let here = here.filter(|service| service.nodes.contains(&me.name));
    here.flat_map(Service::moving).map(|alias| alias.addr())
}
