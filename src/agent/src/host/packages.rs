//! Which package a file came with, and which packages are installed: by dpkg, else by rpm.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use backstay_wire::rpc::PackageFact;

use super::command::{self, End};

/// How long one question may take: the first after a boot reads all lists of files.
const ANSWER: Duration = Duration::from_secs(8);
/// So many paths or names in one question: the answer must fit in what is kept of it.
const AT_ONCE: usize = 64;

/// What keeps the packages of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packager {
    /// Debian's; what fetches packages for it.
    Dpkg(&'static str),
    /// Red Hat's, SUSE's; what fetches packages for it.
    Rpm(&'static str),
}

impl Packager {
    /// That of the machine whose root this is. dpkg is a mere tool where it has installed nothing.
    pub fn of(root: &Path) -> Option<Self> {
        let has = |name: &str| root.join("usr/bin").join(name).exists();
        let installed = root.join("var/lib/dpkg/status").metadata();
        if has("dpkg-query") && installed.is_ok_and(|m| m.len() > 0) {
            let fetches = if has("apt-get") { "apt-get" } else { "dpkg" };
            return Some(Self::Dpkg(fetches));
        }
        let fetches = ["dnf", "zypper", "yum"].into_iter().find(|name| has(name));
        has("rpm").then(|| Self::Rpm(fetches.unwrap_or("rpm")))
    }

    /// What an admin types to install a package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dpkg(name) | Self::Rpm(name) => name,
        }
    }

    /// Which package each of these files came with; what came with none is left out. Each file is asked about under all
    /// its paths.
    pub async fn owners(self, files: &[(String, Vec<String>)]) -> BTreeMap<String, PackageFact> {
        match self {
            Self::Dpkg(_) => {
                let paths: Vec<&String> = files.iter().flat_map(|(_, paths)| paths).collect();
                let mut owners = BTreeMap::new();
                for part in paths.chunks(AT_ONCE) {
                    let mut words = vec!["dpkg-query", "-S"];
                    words.extend(part.iter().map(|path| path.as_str()));
                    owners.extend(parse_owners(&said(&words).await.unwrap_or_default()));
                }
                let names: BTreeSet<&String> = owners.values().collect();
                let names: Vec<String> = names.into_iter().cloned().collect();
                let versions = self.installed(&names).await;
                let fact = |paths: &Vec<String>| {
                    let name = paths.iter().find_map(|path| owners.get(path))?;
                    let version = versions.get(name).cloned().flatten()?;
                    let name = name.clone();
                    Some(PackageFact { name, version })
                };
                let found = files.iter();
                let found = found.filter_map(|(file, paths)| Some((file.clone(), fact(paths)?)));
                found.collect()
            }
            Self::Rpm(_) => {
                let mut found = BTreeMap::new();
                for (file, _) in files.iter().take(AT_ONCE) {
                    let asked = said(&["rpm", "-qf", "--qf", FORM, "--", file]).await;
                    let all = parse_versions(&asked.unwrap_or_default());
                    if let Some((name, version)) = all.into_iter().next() {
                        found.insert(file.clone(), PackageFact { name, version });
                    }
                }
                found
            }
        }
    }

    /// The installed version of each of these packages; what could not be found out is left out.
    pub async fn installed(self, names: &[String]) -> BTreeMap<String, Option<String>> {
        let names: Vec<&String> = names.iter().filter(|name| is_name(name)).collect();
        let mut found = BTreeMap::new();
        for part in names.chunks(AT_ONCE) {
            let mut words = match self {
                Self::Dpkg(_) => vec!["dpkg-query", "-W", "-f", DPKG_FORM],
                Self::Rpm(_) => vec!["rpm", "-q", "--qf", FORM],
            };
            words.push("--");
            words.extend(part.iter().map(|name| name.as_str()));
            if let Some(text) = said(&words).await {
                let versions = parse_versions(&text);
                for name in part {
                    found.insert((*name).clone(), versions.get(*name).cloned());
                }
            }
        }
        found
    }
}

/// One line for each package that is installed.
const FORM: &str = "%{NAME}\\t%{VERSION}-%{RELEASE}\\tinstalled\\n";
const DPKG_FORM: &str = "${Package}\\t${Version}\\t${db:Status-Status}\\n";

/// What a command said, also where it knew only a part (exit code 1); none: it could not be asked, or not be heard
/// out.
async fn said(words: &[&str]) -> Option<String> {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let env = [("LC_ALL".to_owned(), "C".to_owned())];
    let finished = command::run(&words, &env, ANSWER).await.ok()?;
    // rpm's code is how many it did not know.
    let ended = matches!(finished.end, End::Code(0 | 1)) || words[0] == "rpm";
    (ended && !finished.cut).then_some(finished.stdout)
}

/// A name that both kinds of package may have (Debian Policy 5.6.7; RPM's is wider only in capitals and `_`), and that
/// no command takes for an option or a pattern.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+.-_".contains(&b);
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(plain)
}

/// `dpkg-query -S`: `a, b:amd64: /path`; of several packages the first counts.
fn parse_owners(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        if line.starts_with("diversion by ") || line.starts_with("local diversion ") {
            return None;
        }
        let (packages, path) = line.split_once(": ")?;
        let first = packages.split(", ").next()?;
        let name = first.split(':').next()?;
        is_name(name).then(|| (path.to_owned(), name.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn parse_versions(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let mut words = line.split('\t');
        let (name, version) = (words.next()?, words.next()?);
        let is = words.next() == Some("installed") && is_name(name) && !version.is_empty();
        is.then(|| (name.to_owned(), version.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// All paths under which packages may have listed a file: as it is named, where it really is, and both with the other
/// form of a merged `/usr` (dpkg's lists keep the form that each package was built with). May wait for the disk.
pub fn paths_of(file: &str) -> Vec<String> {
    let mut paths = vec![file.to_owned()];
    let real = std::fs::canonicalize(file).ok();
    paths.extend(real.and_then(|real| real.into_os_string().into_string().ok()));
    for path in paths.clone() {
        let other = match path.strip_prefix("/usr") {
            Some(rest) => rest.to_owned(),
            None => format!("/usr{path}"),
        };
        let merged = |path: &str| {
            ["/bin/", "/sbin/", "/lib"]
                .iter()
                .any(|m| path.starts_with(m))
        };
        if merged(&other) || merged(&path) {
            paths.push(other);
        }
    }
    // dpkg takes these for patterns.
    paths.retain(|path| path.starts_with('/') && !path.contains(['*', '?', '[', '\\', '\n']));
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    paths
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn c9_answers_of_dpkg_are_read() {
        let text = "diversion by dash from: /bin/sh\ndiversion by dash to: /bin/sh.distrib\n\
            dash: /bin/sh\nlibc6:amd64, libc6:i386: /lib/x: y\n-x: /bad\nnonsense\n";
        let owners = parse_owners(text);
        assert_eq!(owners["/bin/sh"], "dash");
        assert_eq!(owners["/lib/x: y"], "libc6");
        assert_eq!(owners.len(), 2, "{owners:?}");
        let versions =
            "dash\t0.5.12-2\tinstalled\ngone\t1.0\tconfig-files\nbare\t\tnot-installed\n";
        let versions = parse_versions(versions);
        assert_eq!(
            versions.into_iter().collect::<Vec<_>>(),
            [("dash".into(), "0.5.12-2".into())]
        );
    }

    #[test]
    fn c9_no_name_is_an_option_or_a_pattern() {
        for good in [
            "nginx",
            "libstdc++6",
            "g++",
            "0ad",
            "python3.11",
            "NetworkManager",
            "a_b",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-y", "+x", "a b", "a*", "a:amd64", "a/b", "ä", "a\n"] {
            assert!(!is_name(bad), "{bad}");
        }
        assert_eq!(
            paths_of("/usr/sbin/no-such"),
            ["/usr/sbin/no-such", "/sbin/no-such"]
        );
        assert_eq!(
            paths_of("/sbin/no-such"),
            ["/sbin/no-such", "/usr/sbin/no-such"]
        );
        assert_eq!(paths_of("/opt/no-such"), ["/opt/no-such"]);
        assert_eq!(paths_of("/opt/no*"), [""; 0]);
    }

    #[test]
    fn c9_a_machine_is_dpkgs_where_dpkg_installed_something() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(Packager::of(root.path()), None);
        put("usr/bin/dpkg-query", "");
        put("usr/bin/rpm", "");
        put("var/lib/dpkg/status", "");
        assert_eq!(Packager::of(root.path()), Some(Packager::Rpm("rpm")));
        put("usr/bin/dnf", "");
        assert_eq!(Packager::of(root.path()).unwrap().name(), "dnf");
        put("var/lib/dpkg/status", "Package: x\n");
        assert_eq!(Packager::of(root.path()), Some(Packager::Dpkg("dpkg")));
        put("usr/bin/apt-get", "");
        assert_eq!(Packager::of(root.path()), Some(Packager::Dpkg("apt-get")));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(text in ".{0,300}") {
            let _ = (parse_owners(&text), parse_versions(&text), is_name(&text));
        }
    }
}
