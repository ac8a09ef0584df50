//! C9: what services need of the nodes that may run them. Each node is asked, then the answers are compared: a node that
//! lacks a unit is measured by the first node of the service's list that has it.

use std::collections::{BTreeMap, BTreeSet};

use backstay_core::model::{NodeName, Service, ServiceName};
use backstay_core::plan::{Consequence, ConsequenceKind, Plan};
use backstay_wire::rpc::{Asked, Needs, PackageFact, Request, UnitNeeds, clean};

use super::Picture;
use super::preflight::{Check, builds, warning};

/// What each node answered.
pub type Answers = BTreeMap<NodeName, Needs>;

/// What puts packages on Debian and its kin.
pub const APT: &str = "apt-get";

fn services(plan: &Plan) -> impl Iterator<Item = &Service> {
    plan.documents.iter().flat_map(|d| &d.services)
}

/// Asks the nodes of a plan that builds something new, in two rounds: what they have, then what others of them have.
/// A node that can't say gets a note in the plan: unknown is not fine (U7).
pub fn ask(plan: &mut Plan, picture: &mut Picture) {
    if !builds(plan, picture) {
        return;
    }
    let mut unknown = BTreeMap::new();
    for round in [first, second] {
        let mut asked = round(plan, &picture.needs);
        asked.retain(|name, asked| picture.crew.has(name) && !asked.is_empty());
        let names: Vec<NodeName> = asked.keys().cloned().collect();
        let answers = picture.crew.each(&names, move |name, client| {
            client.call::<Needs>(Request::Needs(asked[name].clone()))
        });
        for (name, answer) in answers {
            match answer {
                Ok(needs) => add(picture.needs.entry(name).or_default(), needs),
                Err(error) => {
                    unknown.insert(name.clone(), error.to_string());
                    // Nobody is there any more to stage on.
                    if error.fault().is_none() {
                        picture.silent.insert(name, error);
                    }
                }
            }
        }
    }
    for (name, why) in unknown {
        let sentence = format!(
            "whether {name} has the users, commands, packages and files that services need there is unknown: {}",
            clean(&why)
        );
        let kind = ConsequenceKind::Note;
        let note = Consequence { kind, sentence };
        if !plan.consequences.contains(&note) {
            plan.consequences.push(note);
        }
    }
}

fn add(all: &mut Needs, more: Needs) {
    all.packager = more.packager.or(all.packager.take());
    all.units.extend(more.units);
    all.users.extend(more.users);
    all.groups.extend(more.groups);
    all.programs.extend(more.programs);
    all.packages.extend(more.packages);
    all.files.extend(more.files);
}

/// What is known of a service by its document.
fn first(plan: &Plan, _: &Answers) -> BTreeMap<NodeName, Asked> {
    let mut all: BTreeMap<NodeName, Asked> = BTreeMap::new();
    for service in services(plan) {
        for node in &service.nodes {
            let asked = all.entry(node.clone()).or_default();
            put(&mut asked.units, service.units_on(node));
            put(&mut asked.programs, service.programs());
            put(&mut asked.files, service.files.iter().map(String::as_str));
        }
    }
    all
}

/// What other nodes said that it needs.
fn second(plan: &Plan, answers: &Answers) -> BTreeMap<NodeName, Asked> {
    let mut all: BTreeMap<NodeName, Asked> = BTreeMap::new();
    for service in services(plan) {
        for node in &service.nodes {
            let Some(has) = answers.get(node) else {
                continue;
            };
            let wanted = Wanted::of(service, node, answers);
            let asked = all.entry(node.clone()).or_default();
            let unsaid = |name: &&str| !has.users.contains_key(*name);
            put(&mut asked.users, wanted.users.into_iter().filter(unsaid));
            let unsaid = |name: &&str| !has.groups.contains_key(*name);
            put(&mut asked.groups, wanted.groups.into_iter().filter(unsaid));
            let unsaid = |name: &&str| !has.programs.contains_key(*name);
            put(
                &mut asked.programs,
                wanted.programs.into_iter().filter(unsaid),
            );
            put(&mut asked.packages, wanted.packages.into_keys());
        }
    }
    all
}

fn put<'a>(list: &mut Vec<String>, names: impl Iterator<Item = &'a str>) {
    for name in names {
        if !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
    }
}

/// What a service needs on one of its nodes.
#[derive(Default)]
struct Wanted<'a> {
    users: BTreeSet<&'a str>,
    groups: BTreeSet<&'a str>,
    programs: BTreeSet<&'a str>,
    /// With what the first node that has it says of it.
    packages: BTreeMap<&'a str, (&'a PackageFact, &'a NodeName)>,
}

impl<'a> Wanted<'a> {
    fn of(service: &'a Service, node: &NodeName, answers: &'a Answers) -> Self {
        let mut wanted = Self::default();
        for unit in service.units_on(node) {
            let has = |node: &NodeName| -> Option<&'a UnitNeeds> {
                answers.get(node)?.units.get(unit).filter(|u| u.there)
            };
            let first = service.nodes.iter().find_map(|n| Some((n, has(n)?)));
            // By its own words where it has the unit; else as if it got the other's.
            if let Some(unit) = has(node).or(first.map(|(_, unit)| unit)) {
                wanted.users.extend(unit.user.as_deref());
                wanted.groups.extend(unit.group.as_deref());
                wanted
                    .programs
                    .extend(unit.programs.iter().map(String::as_str));
            }
            if let Some((of, unit)) = first {
                let programs = unit.programs.iter();
                let programs = programs.filter_map(|p| answers[of].programs.get(p));
                let brought = programs.filter_map(|p| p.package.as_ref());
                for package in brought.chain(&unit.package) {
                    wanted
                        .packages
                        .entry(&package.name)
                        .or_insert((package, of));
                }
            }
        }
        for program in service.programs() {
            wanted.programs.insert(program);
            let brought = |n: &'a NodeName| {
                let package = answers.get(n)?.programs.get(program)?.package.as_ref()?;
                Some((package, n))
            };
            if let Some((package, of)) = service.nodes.iter().find_map(brought) {
                wanted
                    .packages
                    .entry(&package.name)
                    .or_insert((package, of));
            }
        }
        // Names of packages mean the same only within one kind of system.
        let kind_of = |node: &NodeName| answers.get(node).and_then(kind);
        let here = kind_of(node);
        wanted
            .packages
            .retain(|_, (_, of)| here.is_some() && kind_of(of) == here);
        wanted
    }
}

/// Which kind of packages a machine has.
fn kind(needs: &Needs) -> Option<&'static str> {
    match needs.packager.as_deref()? {
        APT | "dpkg" => Some("deb"),
        "dnf" | "yum" | "zypper" | "rpm" => Some("rpm"),
        _ => None,
    }
}

/// A package that a node lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPackage {
    /// Who lacks it.
    pub node: NodeName,
    /// Its name.
    pub package: String,
    /// `1.22.1-9 on n1`.
    pub known: String,
}

/// The packages that nodes lack, and which services need them.
pub fn missing_packages(plan: &Plan, answers: &Answers) -> Vec<(MissingPackage, Vec<ServiceName>)> {
    let mut missing: BTreeMap<(&NodeName, &str), (String, Vec<ServiceName>)> = BTreeMap::new();
    for service in services(plan) {
        for node in &service.nodes {
            for (name, (package, of)) in Wanted::of(service, node, answers).packages {
                if answers.get(node).and_then(|has| has.packages.get(name)) == Some(&None) {
                    let known = || format!("{} on {of}", clean(&package.version));
                    let entry = missing.entry((node, name));
                    let (_, services) = entry.or_insert_with(|| (known(), Vec::new()));
                    services.push(service.name.clone());
                }
            }
        }
    }
    let lacks = |((node, name), (known, services)): ((&NodeName, &str), (String, _))| {
        let package = clean(name);
        let node = node.clone();
        (
            MissingPackage {
                node,
                package,
                known,
            },
            services,
        )
    };
    missing.into_iter().map(lacks).collect()
}

/// What a check found: the check's name, the node, what it lacks, what to do.
type Lack = (&'static str, NodeName, String, String);

/// Everything that nodes lack of what services need there, but units: which of these there are, the machines' facts say.
pub fn lacks(plan: &Plan, answers: &Answers) -> Vec<Check> {
    let mut all: BTreeMap<Lack, Vec<ServiceName>> = BTreeMap::new();
    for (missing, services) in missing_packages(plan, answers) {
        let MissingPackage {
            node,
            package,
            known,
        } = missing;
        let packager = answers[&node].packager.as_deref();
        let mend = match packager {
            Some(name @ (APT | "dnf" | "yum" | "zypper")) => {
                format!("`{name} install {package}` there installs it")
            }
            _ => "install it there".to_owned(),
        };
        let what = format!("no package {package} ({known})");
        all.insert(("package-missing", node, what, mend), services);
    }
    for service in services(plan) {
        for node in &service.nodes {
            let Some(has) = answers.get(node) else {
                continue;
            };
            let mut lacks = |check, what: String, mend: String| {
                let all = all.entry((check, node.clone(), what, mend)).or_default();
                all.push(service.name.clone());
            };
            let wanted = Wanted::of(service, node, answers);
            for (what, names, known) in [
                ("user", &wanted.users, &has.users),
                ("group", &wanted.groups, &has.groups),
            ] {
                for name in names.iter().filter(|n| known.get(**n) == Some(&false)) {
                    let mend = "make it there, or install the package that does".to_owned();
                    lacks("user-missing", format!("no {what} {name}"), mend);
                }
            }
            for path in wanted.programs {
                if has.programs.get(path).is_some_and(|p| !p.runs) {
                    let what = format!("no program {path}");
                    let mend = "put it there, and let it be executed".to_owned();
                    lacks("command-missing", what, mend);
                }
            }
            for path in &service.files {
                if let Some(what) = differs(service, node, path, answers) {
                    let mend = "copy it there, or take it off the service's list";
                    lacks("file-differs", what, mend.to_owned());
                }
            }
        }
    }
    let check = |((name, node, what, mend), services): (Lack, Vec<ServiceName>)| {
        let need = if services.len() == 1 { "needs" } else { "need" };
        let services: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
        let services = services.join(" and ");
        let sentence = format!("{node} has {what}, which {services} {need}; {mend}");
        warning(name, "C9", clean(&sentence))
    };
    all.into_iter().map(check).collect()
}

/// What is wrong with a static file of a service on one of its nodes. The first node that has it is right.
fn differs(service: &Service, node: &NodeName, path: &str, answers: &Answers) -> Option<String> {
    let here = answers.get(node)?.files.get(path)?;
    let Some(hash) = &here.sha256 else {
        return Some(format!("no {path} that can be compared ({})", here.why));
    };
    let of = |n: &NodeName| answers.get(n)?.files.get(path)?.sha256.as_ref();
    let right = service.nodes.iter().find_map(|n| Some((n, of(n)?)));
    right
        .filter(|(_, right)| *right != hash)
        .map(|(of, _)| format!("another {path} than {of}"))
}

#[cfg(test)]
mod tests {
    use backstay_core::model::{
        ClusterId, Fallback, Profile, SplitStops, SystemDocument, SystemNode, SystemRole, UnitMode,
    };
    use backstay_core::plan::{Action, CreateCluster, NewService, Secret, Situation, plan};
    use backstay_wire::rpc::{FileFact, ProgramFact};

    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    /// web1 at home on n1, web2 on n2, sb1 stands in.
    fn planned() -> Plan {
        let service = |n: u8| NewService {
            name: format!("web{n}").parse().unwrap(),
            node: name(&format!("n{n}")),
            aliases: vec![format!("192.0.2.10{n}/24").parse().unwrap()],
            bases: vec![format!("192.0.2.1{n}/24").parse().unwrap()],
            priority: None,
            fallback: None,
            units: vec![
                ("web.service".to_owned(), UnitMode::Service),
                (format!("only{n}.service"), UnitMode::HomeOnly),
            ],
            files: vec!["/etc/web.conf".to_owned()],
        };
        let node = |(id, (of, role)): (u64, (&str, SystemRole))| SystemNode {
            name: name(of),
            id: backstay_core::model::NodeId(id),
            contact: of.to_owned(),
            host_keys: Vec::new(),
            role,
        };
        let roles = [
            ("n1", SystemRole::Free),
            ("n2", SystemRole::Free),
            ("sb1", SystemRole::Standby),
        ];
        let picture = Picture::default();
        let system = SystemDocument {
            revision: 5,
            nodes: (1..).zip(roles).map(node).collect(),
            ..picture.system()
        };
        let bases = BTreeMap::from([(name("sb1"), vec!["192.0.2.21/24".parse().unwrap()])]);
        let situation = Situation {
            system: &system,
            clusters: &[],
            views: &[],
            bases: &bases,
            boot: &BTreeMap::new(),
            by: "me@here",
            wall: 1_700_000_000,
        };
        let action = Action::CreateCluster(CreateCluster {
            name: "demo".parse().unwrap(),
            id: ClusterId(7),
            key: Secret("ab".repeat(32)),
            standby: name("sb1"),
            witnesses: Vec::new(),
            services: vec![service(1), service(2)],
            safety: None,
            profile: Profile::Lan,
            fallback: Fallback::Manual,
            split_stops: SplitStops::Home,
            reference: None,
            links: Vec::new(),
        });
        plan(&action, &situation).unwrap()
    }

    fn package() -> PackageFact {
        PackageFact {
            name: "web".to_owned(),
            version: "1.2-3".to_owned(),
        }
    }

    /// A machine that has everything.
    fn whole() -> Needs {
        let unit = UnitNeeds {
            there: true,
            user: Some("web".to_owned()),
            group: Some("www".to_owned()),
            programs: vec!["/usr/sbin/web".to_owned()],
            package: Some(package()),
        };
        let program = ProgramFact {
            runs: true,
            package: Some(package()),
        };
        let file = FileFact {
            sha256: Some("ab".repeat(32)),
            size: 5,
            why: String::new(),
        };
        Needs {
            packager: Some(APT.to_owned()),
            units: BTreeMap::from([("web.service".to_owned(), unit)]),
            users: BTreeMap::from([("web".to_owned(), true)]),
            groups: BTreeMap::from([("www".to_owned(), true)]),
            programs: BTreeMap::from([("/usr/sbin/web".to_owned(), program)]),
            packages: BTreeMap::from([("web".to_owned(), Some("1.2-3".to_owned()))]),
            files: BTreeMap::from([("/etc/web.conf".to_owned(), file)]),
        }
    }

    /// A machine that has nothing, and says so.
    fn bare() -> Needs {
        let why = "it is not there".to_owned();
        let file = FileFact {
            why,
            ..FileFact::default()
        };
        Needs {
            packager: Some(APT.to_owned()),
            units: BTreeMap::from([("web.service".to_owned(), UnitNeeds::default())]),
            users: BTreeMap::from([("web".to_owned(), false)]),
            groups: BTreeMap::from([("www".to_owned(), false)]),
            programs: BTreeMap::from([("/usr/sbin/web".to_owned(), ProgramFact::default())]),
            packages: BTreeMap::from([("web".to_owned(), None)]),
            files: BTreeMap::from([("/etc/web.conf".to_owned(), file)]),
        }
    }

    fn answers(all: [Needs; 3]) -> Answers {
        ["n1", "n2", "sb1"].map(name).into_iter().zip(all).collect()
    }

    fn said(all: [Needs; 3]) -> Vec<String> {
        let checks = lacks(&planned(), &answers(all)).into_iter();
        let said = checks.inspect(|c| assert!(c.may_ignore && c.rule.to_string() == "C9"));
        said.map(|c| format!("{}: {}", c.name, c.sentence))
            .collect()
    }

    #[test]
    fn c9_a_standby_that_lacks_everything_is_told_all_at_once_and_one_that_has_it_nothing() {
        assert_eq!(said([whole(), whole(), whole()]), [""; 0]);
        assert_eq!(
            said([whole(), whole(), bare()]),
            [
                "command-missing: sb1 has no program /usr/sbin/web, which web1 and web2 need; put it there, and let it be executed",
                "file-differs: sb1 has no /etc/web.conf that can be compared (it is not there), which web1 and web2 need; copy it there, or take it off the service's list",
                "package-missing: sb1 has no package web (1.2-3 on n1), which web1 and web2 need; `apt-get install web` there installs it",
                "user-missing: sb1 has no group www, which web1 and web2 need; make it there, or install the package that does",
                "user-missing: sb1 has no user web, which web1 and web2 need; make it there, or install the package that does",
            ]
        );
    }

    #[test]
    fn c9_what_is_not_known_is_no_lack_and_what_differs_names_both() {
        // Nothing was answered, or by an older agent.
        assert_eq!(lacks(&planned(), &Answers::new()), []);
        assert_eq!(said([whole(), whole(), Needs::default()]), [""; 0]);
        // Names of packages of another kind of system say nothing.
        let mut other = whole();
        (other.packager, other.packages) = (Some("dnf".to_owned()), bare().packages);
        assert_eq!(said([whole(), whole(), other]), [""; 0]);
        let mut differs = whole();
        let file = differs.files.get_mut("/etc/web.conf").unwrap();
        file.sha256 = Some("cd".repeat(32));
        let said = said([whole(), whole(), differs]);
        assert!(
            said[0].starts_with("file-differs: sb1 has another /etc/web.conf than n1, "),
            "{said:?}"
        );
    }

    /// C16: a machine that takes a dead one's place is measured by the standby.
    #[test]
    fn c9_a_new_home_is_measured_by_the_standby() {
        let said = said([bare(), whole(), whole()]);
        assert!(
            said.iter()
                .any(|s| s.contains("n1 has no package web (1.2-3 on sb1), which web1 needs")),
            "{said:?}"
        );
        assert!(
            said.iter().any(|s| s.contains("n1 has no user web")),
            "{said:?}"
        );
    }

    #[test]
    fn c9_a_unit_of_the_nodes_own_counts_by_its_own_words() {
        let mut own = whole();
        let unit = own.units.get_mut("web.service").unwrap();
        (unit.user, unit.group) = (Some("www-data".to_owned()), None);
        own.users = BTreeMap::from([("web".to_owned(), false), ("www-data".to_owned(), true)]);
        assert_eq!(said([whole(), whole(), own.clone()]), [""; 0]);
        own.users.insert("www-data".to_owned(), false);
        let said = said([whole(), whole(), own]);
        assert!(said[0].contains("sb1 has no user www-data"), "{said:?}");
    }

    #[test]
    fn c9_nodes_are_asked_for_what_others_need() {
        let plan = planned();
        let asked = first(&plan, &Answers::new());
        assert_eq!(asked[&name("n1")].units, ["web.service", "only1.service"]);
        assert_eq!(
            asked[&name("sb1")].units,
            ["web.service"],
            "F12: the others stay at home"
        );
        assert_eq!(asked[&name("sb1")].files, ["/etc/web.conf"]);
        let mut silent = bare();
        (silent.users, silent.groups) = (BTreeMap::new(), BTreeMap::new());
        (silent.programs, silent.packages) = (BTreeMap::new(), BTreeMap::new());
        let asked = second(&plan, &answers([whole(), whole(), silent]));
        let sb1 = &asked[&name("sb1")];
        assert_eq!(
            (&sb1.users[..], &sb1.groups[..]),
            (&["web".to_owned()][..], &["www".to_owned()][..])
        );
        assert_eq!(
            (&sb1.programs[..], &sb1.packages[..]),
            (&["/usr/sbin/web".to_owned()][..], &["web".to_owned()][..])
        );
        assert!(asked[&name("n1")].users.is_empty(), "it said so already");
    }
}
