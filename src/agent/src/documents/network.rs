//! C15: what the documents make of the machine's own network configuration. Level, not edge: whatever was missed is made
//! up for.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use backstay_core::model::{Alias, AtBoot};
use ipnet::IpNet;

use super::Keeper;
use super::checks::PutOn;
use crate::host::network::Wanted;

/// After this time a base goes although connections use it.
const PATIENCE: Duration = Duration::from_mins(10);

/// How often an alias that is missing is tried to be put on.
const AGAIN: Duration = Duration::from_mins(1);

/// What is still to be done.
#[derive(Debug, Default)]
pub(super) struct NetworkWork {
    /// The files could not be brought to what is wanted.
    undone: bool,
    /// Since when bases that are left over may go; none: they stay until the next boot. A member that was away when
    /// this node left is told of it over the base (C7).
    pub(super) leaving: Option<Instant>,
    /// The aliases of the cluster that was left last.
    pub(super) given_back: Vec<IpAddr>,
    /// Aliases that are the machine's own again and not on it.
    missing: Vec<IpNet>,
    /// When they are tried to be put on next.
    next_try: Option<Instant>,
}

impl Keeper {
    /// Brings the configuration files to what the documents say. Failing is said and tried again.
    pub(super) fn settle_network(&mut self) {
        if self.shelf.has_unreadable() {
            return; // what an agent that was put back can't read may have an alias
        }
        let wanted = self.wanted();
        let settled = self.machine.settle_network(&wanted);
        let undone = settled.is_err();
        match settled {
            Ok(missing) => {
                if !missing.is_empty() {
                    self.network.next_try.get_or_insert(Instant::now() + AGAIN);
                }
                self.network.missing = missing;
            }
            Err(error) if !self.network.undone => tracing::error!(
                "C15: the host's network configuration is not yet what it should be: {error:#}; the gate keeps the aliases closed at boot"
            ),
            Err(_) => {}
        }
        self.network.undone = undone;
    }

    /// What the machine was booted without and has again. The decision loop has let go of it by now: it takes off what
    /// its cluster's node may not use (A4).
    pub(super) fn put_on_missing(&mut self) {
        let services = self.shelf.present().flat_map(|d| &d.services);
        let moving: Vec<IpAddr> = services.flat_map(|s| &s.aliases).map(Alias::ip).collect();
        let mut missing = core::mem::take(&mut self.network.missing);
        missing.retain(|alias| !moving.contains(&alias.addr()));
        missing.retain(|alias| match self.machine.put_on(*alias) {
            Ok(PutOn::There) => false,
            Ok(PutOn::Anothers) => {
                tracing::error!(
                    "C15: {alias} was this machine's and stays off: another machine has it"
                );
                false
            }
            Err(error) => {
                tracing::error!(
                    "C15: {alias} is not on this machine yet: {error:#}; tried again in a minute"
                );
                true
            }
        });
        self.network.next_try = (!missing.is_empty()).then(|| Instant::now() + AGAIN);
        self.network.missing = missing;
    }

    /// What could not be done before, and bases that nobody uses any more.
    pub fn look_at_network(&mut self) {
        let again = (self.network.next_try).is_some_and(|at| at <= Instant::now());
        if self.network.undone || again {
            self.settle_network();
            self.put_on_missing();
        }
        let Some(since) = self.network.leaving else {
            return;
        };
        let wanted = self.wanted();
        let at_once = since.elapsed() >= PATIENCE;
        match self.machine.release_bases(&wanted, at_once) {
            Ok(true) => {}
            Ok(false) => self.network.leaving = None,
            Err(error) => {
                tracing::error!("C15: a base address can't be taken off: {error:#}");
                self.network.leaving = None;
            }
        }
    }

    /// This node has left a cluster.
    pub fn left(&mut self, all_heard: bool) {
        self.put_on_missing();
        if all_heard {
            self.network.leaving = Some(Instant::now());
        } else {
            tracing::warn!(
                "C15: the base address stays until the next boot: a member was not heard, and is told over it that this node has left (C7)"
            );
        }
    }

    /// The aliases of this node's services, each with the base in its place.
    pub(super) fn at_boot(&self) -> Vec<AtBoot> {
        let Some(me) = &self.me else {
            return Vec::new();
        };
        let present = self.shelf.present();
        present.flat_map(|d| d.at_boot(&me.name)).collect()
    }

    pub(super) fn wanted(&self) -> Wanted {
        let lost = self.lost.lost().addresses.iter().copied();
        let Some(me) = &self.me else {
            return Wanted {
                taken: lost.collect(),
                ..Wanted::default()
            };
        };
        let documents = self.shelf.present().chain(self.shelf.staged());
        let members = documents.filter_map(|d| d.member_by_id(me.id));
        let left = self.shelf.left().flat_map(|d| &d.services);
        Wanted {
            at_boot: self.at_boot(),
            taken: (left.flat_map(|s| &s.aliases).map(Alias::ip))
                .chain(lost)
                .collect(),
            bases: members.flat_map(|m| m.bases.iter().copied()).collect(),
            given_back: self.network.given_back.clone(),
        }
    }
}
