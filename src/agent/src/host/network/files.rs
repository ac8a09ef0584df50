//! Which configuration files were changed, and changing them: the former file is kept beside the new one, and each is
//! there whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use backstay_core::model::AtBoot;
use backstay_wire::sealed::short_hash;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::edit::{Format, Swapped};
use super::recognise::{LONGEST, find, manager};
use crate::host::address::Interface;
use crate::store::{read_text, remove_durably, write_durably};

/// How the former file is called, behind a dot and the name of the present one. Hidden: `source interfaces.d/*` and
/// NetworkManager would read it, too.
const FORMER: &str = "before-backstay";

/// What the configuration shall say, and which addresses the machine is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of all clusters that this node is in.
    pub at_boot: Vec<AtBoot>,
    /// Aliases that this node may have had and that others have now: they are not given back (C16).
    pub taken: Vec<IpAddr>,
    /// This node's base addresses by all present and staged documents.
    pub bases: Vec<IpNet>,
    /// Aliases that this node had until it left a cluster a moment ago.
    pub given_back: Vec<IpAddr>,
}

/// What was done, kept under the state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// Bases that this machine did not have before: gone again when it is no longer a member.
    bases: Vec<IpNet>,
    /// Aliases that are this machine's own again and were not on it yet.
    missing: Vec<IpNet>,
    file: Vec<Changed>,
}

/// A file that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    path: PathBuf,
    format: Format,
    /// Hash of the text that was written.
    written: String,
    swapped: Vec<Swapped>,
}

/// The host's configuration files.
#[derive(Debug)]
pub struct BootFiles {
    root: PathBuf,
    record: PathBuf,
}

impl BootFiles {
    /// Of the machine whose root that is; what was changed is kept in `state`.
    pub fn new(root: &Path, state: &Path) -> Self {
        Self {
            root: root.to_owned(),
            record: state.join("network.toml"),
        }
    }

    /// Brings the files to what is wanted. Done already: nothing is written. Answers which aliases are this machine's
    /// again and not on it: it was booted by the configuration that was taken back. They are answered until that is
    /// settled ([`BootFiles::is_settled`]).
    ///
    /// # Errors
    /// What could not be done; the rest was.
    pub fn settle(&self, wanted: &Wanted, interfaces: &[Interface]) -> Result<Vec<IpNet>> {
        let mut kept = self.kept()?;
        self.note_bases(&mut kept, wanted, interfaces)?;
        self.note_missing(&mut kept, wanted, interfaces)?;
        let mut failed = Vec::new();
        let mut settled: Vec<IpAddr> = Vec::new();
        for place in (0..kept.file.len()).rev() {
            let mut here = wanted.at_boot.clone();
            let others = kept.file[place].swapped.iter();
            let others = others.filter(|s| wanted.taken.contains(&s.alias.addr()));
            here.extend(others.map(|s| AtBoot {
                alias: s.alias,
                base: s.base,
            }));
            match self.again(&mut kept, place, &here) {
                Ok(still) => settled.extend(still),
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
        for pair in &wanted.at_boot {
            if settled.contains(&pair.alias.addr()) {
                continue;
            }
            if let Err(error) = self.begin(&mut kept, *pair, &wanted.at_boot, interfaces) {
                failed.push(format!("{}: {error:#}", pair.alias));
            }
        }
        if failed.is_empty() {
            Ok(kept.missing)
        } else {
            Err(anyhow!("{}", failed.join("; ")))
        }
    }

    /// An alias that was answered as missing is on the machine, or another machine has it.
    ///
    /// # Errors
    /// The system's.
    pub fn is_settled(&self, alias: IpNet) -> Result<()> {
        let mut kept = self.kept()?;
        kept.missing.retain(|known| *known != alias);
        self.keep(&kept)
    }

    /// The bases that the agent has put on and that no document gives this node any more.
    pub fn left_over(&self, wanted: &Wanted) -> Vec<IpNet> {
        let kept = self.kept().unwrap_or_default();
        let mut bases = kept.bases;
        bases.retain(|base| !wanted.bases.contains(base));
        bases
    }

    /// A base is off the machine.
    ///
    /// # Errors
    /// The system's.
    pub fn forget_base(&self, base: IpNet) -> Result<()> {
        let mut kept = self.kept()?;
        kept.bases.retain(|known| *known != base);
        self.keep(&kept)
    }

    /// A base that is not on the machine yet will be put on by the agent.
    fn note_bases(&self, kept: &mut Kept, wanted: &Wanted, interfaces: &[Interface]) -> Result<()> {
        let before = kept.bases.clone();
        let carried = |base: &IpNet| interfaces.iter().any(|i| i.carries(base.addr()));
        // What went with a boot is not ours any more.
        kept.bases
            .retain(|b| wanted.bases.contains(b) || carried(b));
        for base in &wanted.bases {
            if !carried(base) && !kept.bases.contains(base) {
                kept.bases.push(*base);
            }
        }
        if kept.bases != before {
            self.keep(kept)?;
        }
        Ok(())
    }

    /// On record before the file is taken back, which tells of it no more.
    fn note_missing(
        &self,
        kept: &mut Kept,
        wanted: &Wanted,
        interfaces: &[Interface],
    ) -> Result<()> {
        let swapped = kept.file.iter().flat_map(|f| &f.swapped);
        let mut all: Vec<IpNet> = swapped.map(|s| s.alias).collect();
        all.extend(&kept.missing);
        all.sort_unstable();
        all.dedup();
        let elsewhere = |alias: IpAddr| {
            let stays = wanted.at_boot.iter().any(|w| w.alias.addr() == alias);
            stays || wanted.taken.contains(&alias) || interfaces.iter().any(|i| i.carries(alias))
        };
        all.retain(|alias| !elsewhere(alias.addr()));
        if all != kept.missing {
            kept.missing = all;
            self.keep(kept)?;
        }
        Ok(())
    }

    /// A file that was changed before: to what is wanted now. Answers which aliases are out of it.
    fn again(&self, kept: &mut Kept, place: usize, wanted: &[AtBoot]) -> Result<Vec<IpAddr>> {
        let entry = kept.file[place].clone();
        let path = self.inside(&entry.path);
        let former_path = former_of(&path);
        let name = entry.path.display();
        let current = read_text(&path, LONGEST).with_context(|| format!("{name}"))?;
        let Some(current) = current else {
            tracing::warn!(
                "{name} is gone; its former text stays as {}",
                former_path.display()
            );
            kept.file.remove(place);
            self.keep(kept)?;
            return Ok(Vec::new());
        };
        let former = read_text(&former_path, LONGEST).with_context(|| format!("{name}"))?;
        let untouched = hash(&current) == entry.written;
        let before = match &former {
            Some(former) if untouched => former.clone(),
            // An admin has changed it since: that stays.
            _ => {
                let (before, lost) = entry.format.back(&current, &entry.swapped);
                for alias in lost {
                    tracing::warn!("{name} was changed and no longer has the place of {alias}");
                }
                before
            }
        };
        let (next, swapped) = entry
            .format
            .away(&before, wanted)
            .map_err(|why| anyhow!("{name} can't be changed: {why}"))?;
        let out: Vec<IpAddr> = swapped.iter().map(|s| s.alias.addr()).collect();
        if swapped.is_empty() {
            if before != current {
                replace(&path, &before)?;
                tracing::info!("C15: {name} is as it was before");
            }
            kept.file.remove(place);
            self.keep(kept)?;
            remove_durably(&former_path)?;
            return Ok(out);
        }
        if next == current && swapped == entry.swapped {
            return Ok(out);
        }
        if former.as_deref() != Some(before.as_str()) {
            copy(&path, &former_path, &before)?;
        }
        self.write(kept, &path, &next, Some(place), swapped, entry.format)?;
        Ok(out)
    }

    /// An alias that no file was changed for yet.
    fn begin(
        &self,
        kept: &mut Kept,
        pair: AtBoot,
        wanted: &[AtBoot],
        interfaces: &[Interface],
    ) -> Result<()> {
        let of = |ip: IpAddr| interfaces.iter().find(|i| i.carries(ip));
        let interface = of(pair.alias.addr()).or_else(|| of(pair.base.addr()));
        let interface = interface.context("no interface has it or its base")?;
        let Some(by) = manager(interface.index, &interface.name, &self.root) else {
            return Ok(()); // preflight said so; the gate keeps it closed
        };
        let Some((path, format)) = find(by, pair.alias.addr(), &self.root) else {
            return Ok(()); // it does not come up at boot
        };
        let path = fs::canonicalize(&path).unwrap_or(path);
        if kept.file.iter().any(|f| self.inside(&f.path) == path) {
            return Ok(()); // changed together with another alias, or said why not
        }
        let name = path.display().to_string();
        let text = read_text(&path, LONGEST)?.unwrap_or_default();
        let (next, swapped) = format
            .away(&text, wanted)
            .map_err(|why| anyhow!("{name} can't be changed: {why}"))?;
        copy(&path, &former_of(&path), &text)?;
        self.write(kept, &path, &next, None, swapped, format)
    }

    /// What will be written is on record before it is: after a power failure between the two the file counts as
    /// changed by somebody else, and is brought to the same.
    fn write(
        &self,
        kept: &mut Kept,
        path: &Path,
        text: &str,
        place: Option<usize>,
        swapped: Vec<Swapped>,
        format: Format,
    ) -> Result<()> {
        let outside = Path::new("/").join(path.strip_prefix(&self.root).unwrap_or(path));
        for one in &swapped {
            tracing::info!(
                "C15: {}: {} comes up at boot in place of {}; the former file is {}",
                outside.display(),
                one.base,
                one.alias,
                former_of(&outside).display()
            );
        }
        let entry = Changed {
            path: outside,
            format,
            written: hash(text),
            swapped,
        };
        match place {
            Some(place) => kept.file[place] = entry,
            None => kept.file.push(entry),
        }
        self.keep(kept)?;
        replace(path, text)
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn kept(&self) -> Result<Kept> {
        let text = read_text(&self.record, LONGEST).context("what was changed is not known")?;
        let Some(text) = text else {
            return Ok(Kept::default());
        };
        toml::from_str(&text).with_context(|| format!("{} can't be read", self.record.display()))
    }

    fn keep(&self, kept: &Kept) -> Result<()> {
        if *kept == Kept::default() {
            return Ok(remove_durably(&self.record)?);
        }
        let text = toml::to_string(kept)?;
        Ok(write_durably(&self.record, text.as_bytes())?)
    }
}

fn hash(text: &str) -> String {
    format!("{:016x}", short_hash(text))
}

fn hidden(path: &Path, end: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{end}"))
}

fn former_of(path: &Path) -> PathBuf {
    hidden(path, FORMER)
}

fn replace(path: &Path, text: &str) -> Result<()> {
    copy(path, path, text)
}

/// Writes a text with owner and mode of a file that is there: NetworkManager reads none that others could.
fn copy(like: &Path, to: &Path, text: &str) -> Result<()> {
    let written = || -> io::Result<()> {
        let pattern = fs::metadata(like)?;
        let beside = hidden(to, "unfinished");
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        let done = (|| {
            fchown(&file, Some(pattern.uid()), Some(pattern.gid()))?;
            file.set_permissions(fs::Permissions::from_mode(pattern.mode() & 0o7777))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, to)
        })();
        if done.is_err() {
            let _ = fs::remove_file(&beside);
        }
        done?;
        let folder = to.parent().unwrap_or(Path::new("/"));
        fs::File::open(folder)?.sync_all()
    };
    written().with_context(|| format!("{} can't be written", to.display()))
}

#[cfg(test)]
mod tests {
    use super::super::edit::tests::at_boot;
    use super::super::recognise::tests::root_with;
    use super::*;
    use crate::host::address::Address;

    const LAN: &str =
        "# Ours.\n[Match]\nName=eth0\n[Network]\nAddress=192.0.2.101/24\nAddress=192.0.2.102/24\n";
    const PATH: &str = "etc/systemd/network/lan.network";

    struct Host {
        root: tempfile::TempDir,
        files: BootFiles,
    }

    impl Host {
        fn new() -> Self {
            let state = "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/lan.network\n";
            let root = root_with(&[
                (PATH, LAN),
                ("run/systemd/netif/links/2", state),
                ("state/x", ""),
            ]);
            fs::set_permissions(root.path().join(PATH), fs::Permissions::from_mode(0o640)).unwrap();
            let files = BootFiles::new(root.path(), &root.path().join("state"));
            Self { root, files }
        }

        fn text(&self) -> String {
            fs::read_to_string(self.root.path().join(PATH)).unwrap()
        }

        fn former(&self) -> Option<String> {
            fs::read_to_string(former_of(&self.root.path().join(PATH))).ok()
        }

        fn settle(&self, at_boot: &[AtBoot]) {
            let wanted = Wanted {
                at_boot: at_boot.to_vec(),
                bases: at_boot.iter().map(|w| w.base).collect(),
                ..Wanted::default()
            };
            self.files.settle(&wanted, &[eth0()]).unwrap();
        }
    }

    fn eth0() -> Interface {
        let address = |net: &str| Address {
            net: net.parse().unwrap(),
            secondary: false,
            deprecated: false,
            tentative: false,
        };
        Interface {
            index: 2,
            name: "eth0".into(),
            mac: None,
            up: true,
            carrier: true,
            loopback: false,
            addresses: vec![address("192.0.2.101/24"), address("192.0.2.102/24")],
        }
    }

    fn one() -> AtBoot {
        at_boot("192.0.2.101/24", "192.0.2.11/24")
    }

    fn two() -> AtBoot {
        at_boot("192.0.2.102/24", "192.0.2.12/24")
    }

    #[test]
    fn c15_the_former_file_is_kept_and_comes_back_byte_by_byte() {
        let host = Host::new();
        host.settle(&[one()]);
        assert_eq!(host.text(), LAN.replace("2.101/", "2.11/"));
        assert_eq!(host.former().as_deref(), Some(LAN));
        let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o777;
        let path = host.root.path().join(PATH);
        assert_eq!((mode(&path), mode(&former_of(&path))), (0o640, 0o640));
        let written = fs::metadata(&path).unwrap().ino();
        host.settle(&[one()]);
        assert_eq!(fs::metadata(&path).unwrap().ino(), written, "written again");
        host.settle(&[one(), two()]);
        assert_eq!(
            host.text(),
            LAN.replace("2.101/", "2.11/").replace("2.102/", "2.12/")
        );
        host.settle(&[two()]);
        assert_eq!(host.text(), LAN.replace("2.102/", "2.12/"));
        host.settle(&[]);
        assert_eq!((host.text().as_str(), host.former()), (LAN, None));
        let folder = path.parent().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    }

    #[test]
    fn c15_what_an_admin_changed_meanwhile_stays() {
        let host = Host::new();
        host.settle(&[one()]);
        let path = host.root.path().join(PATH);
        fs::write(&path, host.text() + "DNS=192.0.2.2\n").unwrap();
        host.settle(&[one()]);
        assert!(
            host.text().contains("Address=192.0.2.11/24"),
            "{}",
            host.text()
        );
        host.settle(&[one(), two()]);
        host.settle(&[]);
        assert_eq!(host.text(), format!("{LAN}DNS=192.0.2.2\n"));
        assert_eq!(host.former(), None);
    }

    #[test]
    fn c15_an_alias_that_came_back_into_the_file_is_taken_out_again() {
        let host = Host::new();
        host.settle(&[one()]);
        // As after a power failure before the file was written, or by an admin's old copy.
        fs::write(host.root.path().join(PATH), LAN).unwrap();
        host.settle(&[one()]);
        assert_eq!(host.text(), LAN.replace("2.101/", "2.11/"));
        host.settle(&[]);
        assert_eq!((host.text().as_str(), host.former()), (LAN, None));
    }

    #[test]
    fn c16_an_alias_that_another_node_has_now_is_not_given_back() {
        let host = Host::new();
        host.settle(&[one()]);
        let wanted = Wanted {
            taken: vec![one().alias.addr()],
            ..Wanted::default()
        };
        host.files.settle(&wanted, &[eth0()]).unwrap();
        assert_eq!(host.text(), LAN.replace("2.101/", "2.11/"));
    }

    #[test]
    fn c15_an_alias_that_the_machine_was_booted_without_is_missing() {
        let host = Host::new();
        host.settle(&[one()]);
        let mut booted = eth0();
        booted.addresses[0].net = one().base;
        let there = [booted];
        let missing = |wanted: &Wanted| host.files.settle(wanted, &there).unwrap();
        let member = Wanted {
            at_boot: vec![one()],
            ..Wanted::default()
        };
        assert!(missing(&member).is_empty(), "still an alias");
        let replaced = Wanted {
            taken: vec![one().alias.addr()],
            ..Wanted::default()
        };
        assert!(missing(&replaced).is_empty(), "C16: another's now");
        let deleted = Wanted::default();
        assert_eq!(missing(&deleted), [one().alias]);
        assert_eq!(host.text(), LAN);
        assert_eq!(missing(&deleted), [one().alias], "the agent was killed");
        host.files.is_settled(one().alias).unwrap();
        assert!(missing(&deleted).is_empty());
        host.settle(&[one()]);
        let there = host.files.settle(&deleted, &[eth0()]).unwrap();
        assert!(there.is_empty(), "it is there");
    }

    #[test]
    fn c15_only_bases_that_were_put_on_are_left_over() {
        let host = Host::new();
        let already = at_boot("192.0.2.101/24", "192.0.2.102/24");
        host.settle(&[one(), already]);
        assert_eq!(host.files.left_over(&Wanted::default()), [one().base]);
        let wanted = Wanted {
            bases: vec![one().base],
            ..Wanted::default()
        };
        assert!(host.files.left_over(&wanted).is_empty());
        host.files.forget_base(one().base).unwrap();
        assert!(host.files.left_over(&Wanted::default()).is_empty());
    }

    #[test]
    fn c15_what_cannot_be_written_is_said_and_nothing_is_lost() {
        let host = Host::new();
        let beside = hidden(&former_of(&host.root.path().join(PATH)), "unfinished");
        // Root ignores permissions, but not a folder in the way.
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("x"), "").unwrap();
        let wanted = Wanted {
            at_boot: vec![one()],
            ..Wanted::default()
        };
        let said = host
            .files
            .settle(&wanted, &[eth0()])
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with("192.0.2.101/24: ") && said.contains("can't be written"),
            "{said}"
        );
        assert_eq!(host.text(), LAN);
    }
}
