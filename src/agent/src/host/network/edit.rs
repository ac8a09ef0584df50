//! Addresses in a configuration file, found and exchanged in place: whatever else stands there stays as it is, comments
//! and all. Text in, text out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use backstay_core::model::AtBoot;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ifupdown, keyfile, netplan, networkd};

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// interfaces(5).
    Ifupdown,
    /// netplan(5).
    Netplan,
    /// systemd.network(5) and its drop-ins.
    Networkd,
    /// nm-settings-keyfile(5).
    Keyfile,
}

/// A place where a file gives the machine an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Of the whole text.
    pub(super) range: Range<usize>,
    pub(super) address: IpAddr,
    /// As written behind a slash; none: another line says it, or nobody.
    pub(super) prefix: Option<u8>,
}

/// An alias that gave way to a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// What stood there.
    pub alias: IpNet,
    /// What stands there now.
    pub base: IpNet,
    /// At which of the places where the base stands; nowhere: the lines are commented out.
    pub nth: Vec<usize>,
}

impl Format {
    pub(super) fn spots(self, text: &str) -> Vec<Spot> {
        match self {
            Self::Ifupdown => ifupdown::spots(text),
            Self::Netplan => netplan::spots(text),
            Self::Networkd => networkd::spots(text),
            Self::Keyfile => keyfile::spots(text),
        }
    }

    /// Whether the file gives the machine that address.
    pub fn gives(self, text: &str, address: IpAddr) -> bool {
        self.spots(text).iter().any(|spot| spot.address == address)
    }

    /// The text with bases in place of aliases, and what was exchanged: an alias that the file does not give is not.
    ///
    /// # Errors
    /// What in the file can't be changed.
    pub fn away(self, text: &str, wanted: &[AtBoot]) -> Result<(String, Vec<Swapped>), String> {
        if self == Self::Ifupdown {
            return ifupdown::away(text, wanted);
        }
        // An address that is written twice is put on once (networkd, NetworkManager and netplan all drop the second), so
        // that two aliases of one base need no more than this.
        Ok(exchange(text, &self.spots(text), wanted))
    }

    /// The text with the aliases again in place of the bases; and which could not be given back.
    pub fn back(self, text: &str, swapped: &[Swapped]) -> (String, Vec<IpNet>) {
        let spots = self.spots(text);
        let mut lost = Vec::new();
        let mut by_place: BTreeMap<usize, String> = BTreeMap::new();
        for one in swapped.iter().filter(|s| !s.nth.is_empty()) {
            let at_base: Vec<usize> = (0..spots.len())
                .filter(|i| spots[*i].address == one.base.addr())
                .collect();
            let found = one.nth.iter().filter_map(|nth| at_base.get(*nth));
            let mut any = false;
            for place in found {
                by_place.insert(*place, written(&spots[*place], one.alias));
                any = true;
            }
            if !any && !spots.iter().any(|s| s.address == one.alias.addr()) {
                lost.push(one.alias);
            }
        }
        let mut text = rebuild(text, &spots, &by_place);
        for one in swapped.iter().filter(|s| s.nth.is_empty()) {
            match ifupdown::uncomment(&text, one.alias.addr()) {
                Some(with) => text = with,
                None => lost.push(one.alias),
            }
        }
        (text, lost)
    }
}

/// Replaces every alias that stands in one of the spots by its base.
pub(super) fn exchange(text: &str, spots: &[Spot], wanted: &[AtBoot]) -> (String, Vec<Swapped>) {
    let mut by_place = BTreeMap::new();
    let mut swapped: Vec<Swapped> = Vec::new();
    let mut seen: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (place, spot) in spots.iter().enumerate() {
        let found = wanted.iter().find(|w| w.alias.addr() == spot.address);
        let after = found.map_or(spot.address, |w| w.base.addr());
        let count = seen.entry(after).or_default();
        let nth = *count;
        *count += 1;
        let Some(AtBoot { alias, base }) = found.copied() else {
            continue;
        };
        by_place.insert(place, written(spot, base));
        // With the prefix that the file has: so it comes back as it was.
        let alias = spot.prefix.and_then(|p| IpNet::new(alias.addr(), p).ok());
        let alias = alias.unwrap_or_else(|| found.map_or(base, |w| w.alias));
        match swapped.iter_mut().find(|s| s.alias == alias) {
            Some(known) => known.nth.push(nth),
            None => swapped.push(Swapped {
                alias,
                base,
                nth: vec![nth],
            }),
        }
    }
    (rebuild(text, spots, &by_place), swapped)
}

fn written(spot: &Spot, address: IpNet) -> String {
    match spot.prefix {
        Some(_) => address.to_string(),
        None => address.addr().to_string(),
    }
}

fn rebuild(text: &str, spots: &[Spot], by_place: &BTreeMap<usize, String>) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    for (place, new) in by_place {
        let range = &spots[*place].range;
        out.push_str(&text[at..range.start]);
        out.push_str(new);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Lines with the place where each begins; line ends are not part of them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let begin = at;
        at += line.len();
        (begin, line.trim_end_matches(['\n', '\r']))
    })
}

/// A line `key=value` of a file in sections.
pub(super) struct Entry<'a> {
    /// Without its brackets; empty before the first.
    pub(super) section: &'a str,
    pub(super) key: &'a str,
    /// All that stands behind the sign.
    pub(super) value: &'a str,
    /// Where in the text the value begins.
    pub(super) value_at: usize,
}

/// The entries of a file in sections. A comment is an entry, too: its key is no one's.
pub(super) fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    lines(text).filter_map(move |(begin, line)| {
        let bare = line.trim();
        if let Some(name) = bare.strip_prefix('[').and_then(|b| b.strip_suffix(']')) {
            section = name;
        }
        let (key, value) = line.split_once('=')?;
        Some(Entry {
            section,
            key: key.trim(),
            value,
            value_at: begin + key.len() + 1,
        })
    })
}

/// Reads `A` or `A/N` as an address; `begin` is where the word stands in the text.
pub(super) fn spot(word: &str, begin: usize) -> Option<Spot> {
    let (address, prefix) = match word.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
        None => (word, None),
    };
    Some(Spot {
        range: begin..begin + word.len(),
        address: address.parse().ok()?,
        prefix,
    })
}

/// The words of a line with the place where each begins; what is in `between` parts them.
pub(super) fn words<'a>(
    line: &'a str,
    begin: usize,
    between: impl Fn(char) -> bool + 'a,
) -> impl Iterator<Item = (usize, &'a str)> {
    line.split(between)
        .map(move |word| {
            (
                begin + (word.as_ptr() as usize - line.as_ptr() as usize),
                word,
            )
        })
        .filter(|(_, word)| !word.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn at_boot(alias: &str, base: &str) -> AtBoot {
        AtBoot {
            alias: alias.parse().unwrap(),
            base: base.parse().unwrap(),
        }
    }

    /// Exchanges, finds nothing more to exchange, and gives back what was there, byte by byte.
    pub(in super::super) fn there_and_back(
        format: Format,
        text: &str,
        wanted: &[AtBoot],
    ) -> String {
        let (after, swapped) = format.away(text, wanted).unwrap();
        assert_eq!(swapped.len(), wanted.len(), "{after}");
        for pair in wanted {
            assert!(!format.gives(&after, pair.alias.addr()), "{after}");
            assert!(format.gives(&after, pair.base.addr()), "{after}");
        }
        assert_eq!(format.away(&after, wanted), Ok((after.clone(), Vec::new())));
        let (before, lost) = format.back(&after, &swapped);
        assert_eq!((before.as_str(), lost), (text, Vec::new()));
        after
    }

    #[test]
    fn c15_an_admins_changes_stay_when_an_alias_is_given_back() {
        let text = "[Network]\nAddress=192.0.2.101/24\n";
        let wanted = [at_boot("192.0.2.101/24", "192.0.2.11/24")];
        let (after, swapped) = Format::Networkd.away(text, &wanted).unwrap();
        let changed = after.replace("[Network]\n", "[Network]\nDNS=192.0.2.2\n");
        let (given, lost) = Format::Networkd.back(&changed, &swapped);
        assert_eq!(given, "[Network]\nDNS=192.0.2.2\nAddress=192.0.2.101/24\n");
        assert!(lost.is_empty());
        let (_, lost) = Format::Networkd.back("[Network]\nDHCP=yes\n", &swapped);
        assert_eq!(lost, [wanted[0].alias]);
    }

    #[test]
    fn c15_a_file_that_does_not_give_the_alias_stays_as_it_is() {
        let text = "[Network]\nAddress=192.0.2.21/24\n";
        let wanted = [at_boot("192.0.2.101/24", "192.0.2.11/24")];
        assert_eq!(
            Format::Networkd.away(text, &wanted),
            Ok((text.to_owned(), Vec::new()))
        );
    }
}
