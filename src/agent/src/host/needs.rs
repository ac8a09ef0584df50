//! What this machine has of what services need: units, users, programs, packages, static files (C9). What can't be
//! found out is absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use backstay_wire::rpc::{Asked, FileFact, Needs, ProgramFact, UnitNeeds};
use nix::libc;
use sha2::{Digest as _, Sha256};

use super::command::{self, End};
use super::packages::{Packager, paths_of};
use super::units::valid_name;

/// How long one command may take.
const ANSWER: Duration = Duration::from_secs(5);
/// A static file is a configuration, not data.
const LARGEST_FILE: u64 = 16 << 20;
/// All of them together, of one question.
const ALL_FILES: u64 = 64 << 20;

/// What of a unit matters here.
const PROPERTIES: &str =
    "LoadState,FragmentPath,User,Group,DynamicUser,RootDirectory,RootImage,ExecStartPre,ExecStart";

/// Looks at everything that is asked, and at what the units need by themselves. Bounded by what is asked.
pub async fn answer(asked: &Asked) -> Needs {
    let mut needs = Needs::default();
    let mut fragments = BTreeMap::new();
    for name in &asked.units {
        if let Some((unit, fragment)) = unit(name).await {
            fragments.insert(name.clone(), fragment);
            needs.units.insert(name.clone(), unit);
        }
    }
    let own = |of: fn(&UnitNeeds) -> Vec<String>| needs.units.values().flat_map(of);
    let users: BTreeSet<String> = own(|u| u.user.iter().cloned().collect())
        .chain(asked.users.iter().cloned())
        .collect();
    let groups: BTreeSet<String> = own(|u| u.group.iter().cloned().collect())
        .chain(asked.groups.iter().cloned())
        .collect();
    let programs: BTreeSet<String> = own(|u| u.programs.clone())
        .chain(asked.programs.iter().cloned())
        .collect();
    needs.users = entries("passwd", users).await;
    needs.groups = entries("group", groups).await;
    let files = asked.files.clone();
    let disk = tokio::task::spawn_blocking(move || Disk::look(programs, fragments, files)).await;
    let Ok(disk) = disk else { return needs };
    needs.files = disk.files;
    needs.programs = disk.programs;
    let Some(packager) = Packager::of(Path::new("/")) else {
        return needs;
    };
    needs.packager = Some(packager.name().to_owned());
    let owners = packager.owners(&disk.owned).await;
    for (path, program) in &mut needs.programs {
        program.package = owners.get(path).cloned();
    }
    for (name, fragment) in disk.fragments {
        if let Some(unit) = needs.units.get_mut(&name) {
            unit.package = owners.get(&fragment).cloned();
        }
    }
    needs.packages = packager.installed(&asked.packages).await;
    needs
}

/// What has to be read from the disk.
struct Disk {
    programs: BTreeMap<String, ProgramFact>,
    files: BTreeMap<String, FileFact>,
    /// Which file each unit is.
    fragments: BTreeMap<String, String>,
    /// Files that a package may have brought, with all their paths.
    owned: Vec<(String, Vec<String>)>,
}

impl Disk {
    fn look(
        programs: BTreeSet<String>,
        fragments: BTreeMap<String, String>,
        files: Vec<String>,
    ) -> Self {
        let mut room = ALL_FILES;
        let known = fragments.values().chain(&programs).collect::<BTreeSet<_>>();
        let owned = known.into_iter().map(|f| (f.clone(), paths_of(f)));
        let owned = owned.filter(|(_, paths)| !paths.is_empty()).collect();
        let program = |path: String| {
            let runs = runs(&path);
            let package = None;
            (path, ProgramFact { runs, package })
        };
        Self {
            owned,
            fragments,
            programs: programs.into_iter().map(program).collect(),
            files: files
                .into_iter()
                .map(|path| {
                    let fact = file(&path, &mut room);
                    (path, fact)
                })
                .collect(),
        }
    }
}

/// It is a file that somebody may execute.
fn runs(path: &str) -> bool {
    let there = std::fs::metadata(path);
    path.starts_with('/') && there.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What a unit says of itself, and in which file; none: systemd could not be asked.
async fn unit(name: &str) -> Option<(UnitNeeds, String)> {
    valid_name(name).ok()?;
    let words = [
        "systemctl",
        "--no-pager",
        "show",
        "--property",
        PROPERTIES,
        "--",
        name,
    ];
    let words = words.map(str::to_owned);
    let env = [("LC_ALL".to_owned(), "C".to_owned())];
    let shown = command::run(&words, &env, ANSWER).await.ok()?;
    (shown.succeeded() && !shown.cut).then(|| parse_unit(&shown.stdout))
}

fn parse_unit(text: &str) -> (UnitNeeds, String) {
    let lines = || text.lines().filter_map(|line| line.split_once('='));
    let value = |key: &str| {
        let found = lines().find(|(name, value)| *name == key && !value.is_empty());
        found.map(|(_, value)| value.to_owned())
    };
    // A number needs no entry; who is made up at the start has none yet.
    let made_up = value("DynamicUser").as_deref() == Some("yes");
    let named = |key| value(key).filter(|name| !made_up && name.parse::<u32>().is_err());
    // Paths in a root of the unit's own are not this machine's.
    let own_root = value("RootDirectory")
        .or_else(|| value("RootImage"))
        .is_some();
    let mut programs: Vec<String> = lines()
        .filter(|(key, _)| !own_root && matches!(*key, "ExecStart" | "ExecStartPre"))
        .filter_map(|(_, command)| program(command))
        .collect();
    programs.dedup();
    let unit = UnitNeeds {
        there: !matches!(value("LoadState").as_deref(), None | Some("not-found")),
        user: named("User"),
        group: named("Group"),
        programs,
        package: None,
    };
    (unit, value("FragmentPath").unwrap_or_default())
}

/// `{ path=/usr/sbin/web ; argv[]=... ; ignore_errors=no ; ...`: the program, unless systemd goes on without it.
fn program(command: &str) -> Option<String> {
    let (path, rest) = command.strip_prefix("{ path=")?.split_once(" ; argv[]=")?;
    let (_, ignored) = rest.rsplit_once(" ; ignore_errors=")?;
    (path.starts_with('/') && !ignored.starts_with("yes")).then(|| path.to_owned())
}

/// Whether these are in a database of nsswitch.conf(5), by getent(1): a directory service counts, too.
async fn entries(database: &str, names: BTreeSet<String>) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    let odd = |c: char| c.is_control() || c == ':';
    for name in names
        .into_iter()
        .filter(|n| !n.is_empty() && !n.contains(odd))
    {
        let words = ["getent", database, "--", &name].map(str::to_owned);
        let asked = command::run(&words, &[], ANSWER).await;
        // 2: there is none of that name; others: it could not be looked up.
        match asked.map(|finished| finished.end) {
            Ok(End::Code(0)) => found.insert(name, true),
            Ok(End::Code(2)) => found.insert(name, false),
            _ => continue,
        };
    }
    found
}

/// The hash of a static file. `room` is how much may still be read.
fn file(path: &str, room: &mut u64) -> FileFact {
    let without = |why: &str| FileFact {
        why: why.to_owned(),
        ..FileFact::default()
    };
    if !path.starts_with('/') {
        return without("it is no full path");
    }
    // Looked at before it is opened: to open a device may do something.
    let size = match std::fs::metadata(path) {
        Ok(there) if there.is_file() => there.len(),
        Ok(_) => return without("it is no ordinary file"),
        Err(error) if error.kind() == ErrorKind::NotFound => return without("it is not there"),
        Err(error) => return without(&error.to_string()),
    };
    let most = LARGEST_FILE.min(*room);
    if size > most {
        return without("it is too large to be compared");
    }
    match hash(path, most) {
        Ok(Some((sha256, size))) => {
            *room -= size;
            FileFact {
                sha256: Some(sha256),
                size,
                why: String::new(),
            }
        }
        Ok(None) => without("it is too large to be compared"),
        Err(error) => without(&error.to_string()),
    }
}

/// SHA-256 and size; none: it is larger than that.
fn hash(path: &str, most: u64) -> std::io::Result<Option<(String, u64)>> {
    // Whatever has come in its place meanwhile is not waited for.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let mut file = file.take(most + 1);
    let (mut sum, mut size) = (Sha256::new(), 0);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        size += length as u64;
        sum.update(&chunk[..length]);
    }
    Ok((size <= most).then(|| (hex::encode(sum.finalize()), size)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn c9_what_a_unit_needs_is_read() {
        let text = "User=web\nGroup=\nDynamicUser=no\nLoadState=loaded\n\
            FragmentPath=/lib/systemd/system/web.service\nRootDirectory=\nRootImage=\n\
            ExecStartPre={ path=/usr/bin/maybe ; argv[]=/usr/bin/maybe ; ignore_errors=yes ; start_time=[n/a] }\n\
            ExecStart={ path=/usr/sbin/web ; argv[]=/usr/sbin/web a ; ignore_errors=yes ; b ; ignore_errors=no ; start_time=[n/a] }\n";
        let (unit, fragment) = parse_unit(text);
        assert!(unit.there && unit.group.is_none());
        assert_eq!(unit.user.as_deref(), Some("web"));
        assert_eq!(unit.programs, ["/usr/sbin/web"]);
        assert_eq!(fragment, "/lib/systemd/system/web.service");
        let (unit, _) = parse_unit(&text.replace("DynamicUser=no", "DynamicUser=yes"));
        assert_eq!(unit.user, None);
        let (unit, _) = parse_unit(&text.replace("User=web", "User=1000"));
        assert_eq!(unit.user, None);
        let (unit, _) = parse_unit(&text.replace("RootImage=", "RootImage=/srv/web.raw"));
        assert!(unit.programs.is_empty());
        for gone in ["LoadState=not-found\nFragmentPath=\n", ""] {
            assert!(!parse_unit(gone).0.there);
        }
    }

    #[tokio::test]
    async fn c9_users_programs_and_their_packages_are_found_here() {
        let asked = Asked {
            users: vec![
                "root".into(),
                "no-such-user".into(),
                "-x".into(),
                "a:b".into(),
            ],
            groups: vec!["root".into()],
            programs: vec![
                "/bin/sh".into(),
                "/no/such".into(),
                "/etc/passwd".into(),
                "sh".into(),
            ],
            packages: vec!["dpkg".into(), "no-such-package".into(), "-x".into()],
            ..Asked::default()
        };
        let needs = answer(&asked).await;
        let users: Vec<(&str, bool)> = needs
            .users
            .iter()
            .map(|(n, is)| (n.as_str(), *is))
            .collect();
        assert_eq!(
            users,
            [("-x", false), ("no-such-user", false), ("root", true)]
        );
        assert!(needs.groups["root"]);
        let runs: Vec<bool> = asked
            .programs
            .iter()
            .map(|p| needs.programs[p].runs)
            .collect();
        assert_eq!(runs, [true, false, false, false]);
        // The tests run on Debian, as CI does.
        assert!(needs.programs["/bin/sh"].package.is_some(), "{needs:?}");
        assert!(needs.packages["dpkg"].is_some(), "{needs:?}");
        assert_eq!(needs.packages["no-such-package"], None);
        assert!(!needs.packages.contains_key("-x"));
    }

    #[test]
    fn c9_only_ordinary_files_of_a_bounded_size_are_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let mut room = ALL_FILES;
        std::fs::write(path("a"), "abc").unwrap();
        std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
        for same in ["a", "link"] {
            let fact = file(&path(same), &mut room);
            // FIPS 180-2, appendix B.1.
            let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
            assert_eq!((fact.sha256.as_deref(), fact.size), (Some(known), 3));
        }
        assert_eq!(room, ALL_FILES - 6);
        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::create(path("large"))
            .unwrap()
            .set_len(LARGEST_FILE + 1)
            .unwrap();
        for (name, why) in [
            ("none", "it is not there"),
            ("pipe", "it is no ordinary file"),
            ("large", "it is too large to be compared"),
        ] {
            let fact = file(&path(name), &mut room);
            assert_eq!((fact.sha256, fact.why.as_str()), (None, why), "{name}");
        }
        assert_eq!(file("/dev/zero", &mut room).why, "it is no ordinary file");
        assert_eq!(file("etc/passwd", &mut room).why, "it is no full path");
        assert_eq!(
            file(&path("a"), &mut 2).why,
            "it is too large to be compared"
        );
    }

    proptest! {
        #[test]
        fn any_words_of_systemd_are_read_without_panic(text in ".{0,300}") {
            let _ = (parse_unit(&text), program(&text));
        }
    }
}
