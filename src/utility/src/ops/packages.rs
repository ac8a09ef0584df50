//! C9: installing the packages that a node lacks, by its own apt-get, over SSH. The services that are to stand by are kept
//! from being started by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backstay_core::model::NodeName;
use backstay_core::plan::Plan;
use backstay_wire::rpc::clean;

use super::apply::{lock, unlock};
use super::front::Told;
use super::gather::fact_of;
use super::needs::{APT, Answers, MissingPackage, missing_packages};
use super::upgrade::open;
use super::{Gatherer, Picture};
use crate::failure::{Changed, Exit, Failure};
use crate::remote::ssh;

/// How long apt-get may take: it fetches, too.
const LIMIT: Duration = Duration::from_mins(10);
/// So many of its last lines are told where it names no error.
const LAST: usize = 2;

/// What is to be installed on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Where.
    pub node: NodeName,
    /// What.
    pub packages: Vec<MissingPackage>,
    /// Units of services that may run there: the installation shall start none of them.
    units: BTreeSet<String>,
}

impl Order {
    /// `web (1.2-3 on n1) and db (4 on n2) on sb1`.
    pub fn words(&self) -> String {
        let words = self.packages.iter();
        let words: Vec<String> = words
            .map(|p| format!("{} ({})", p.package, p.known))
            .collect();
        format!("{} on {}", words.join(" and "), self.node)
    }

    /// What the node's shell is given. Names of packages and units are what [`orders`] let through: no quote is among
    /// them. The output goes to a file: apt-get goes on to its end if the session is lost.
    fn script(&self) -> String {
        let packages: Vec<&str> = self.packages.iter().map(|p| p.package.as_str()).collect();
        let units: Vec<String> = self.units.iter().map(|u| format!("'{u}'")).collect();
        include_str!("../../../../assets/install-packages.sh")
            .replace("PACKAGES", &packages.join(" "))
            .replace("UNITS", &units.join(" "))
    }
}

/// What can be installed for a plan: on nodes with apt-get.
pub fn orders(plan: &Plan, answers: &Answers) -> Vec<Order> {
    let mut orders: BTreeMap<NodeName, Vec<MissingPackage>> = BTreeMap::new();
    for (missing, _) in missing_packages(plan, answers) {
        let packager = answers[&missing.node].packager.as_deref();
        if packager == Some(APT) && is_package(&missing.package) {
            let node = missing.node.clone();
            orders.entry(node).or_default().push(missing);
        }
    }
    let order = |(node, packages): (NodeName, Vec<MissingPackage>)| {
        let services = plan.documents.iter().flat_map(|d| &d.services);
        let here = services.filter(|s| s.nodes.contains(&node));
        let units = here.flat_map(|s| &s.units).map(|u| u.name.clone());
        let units = units.filter(|unit| !unit.contains('\'')).collect();
        Order {
            node,
            packages,
            units,
        }
    };
    orders.into_iter().map(order).collect()
}

/// Debian Policy 5.6.7, and no `-` at the end, which apt-get takes for a removal.
fn is_package(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b);
    let begins = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (2..=128).contains(&name.len())
        && name.bytes().next().is_some_and(begins)
        && name.bytes().all(plain)
        && !name.ends_with('-')
}

/// Installs it, under the node's change lock, which is in its audit, and looks at the machine again.
///
/// # Errors
/// In one sentence, with apt-get's own last words.
pub fn install(
    order: &Order,
    picture: &mut Picture,
    (gatherer, options): (&Gatherer, &ssh::Options),
    report: &mut dyn FnMut(&Told),
) -> Result<(), Failure> {
    let node = std::slice::from_ref(&order.node);
    let session = open(&order.node, picture, gatherer, options)?;
    let what = format!("install {}", order.words());
    lock(&mut picture.crew, node, &what, report)?;
    report(&Told::line(what.clone()));
    let done = session.run("sh -s", order.script().as_bytes(), LIMIT);
    unlock(&mut picture.crew, node);
    let output = done.map_err(|error| {
        Failure::from(error)
            .changed(Changed::Unknown)
            .hint("apt-get may go on there; the same command again looks what there is")
    })?;
    if output.status != 0 {
        let said = last_words(&output.text(), &output.complaint());
        return Err(Failure::new(
            Exit::Error,
            format!("could not {what}: {said}; the cluster was not changed"),
        )
        .changed(Changed::Unknown)
        .hint(format!(
            "try it there by hand; if it knows no such package: `{APT} update` first"
        )));
    }
    if let Some(client) = picture.crew.get(&order.node) {
        let fact = fact_of(client)?;
        picture.facts.insert(order.node.clone(), fact);
    }
    Ok(())
}

/// The errors that apt-get names, else its last lines, else what the shell complained.
fn last_words(out: &str, complaint: &str) -> String {
    let lines = || out.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut told: Vec<&str> = lines().filter(|line| line.starts_with("E: ")).collect();
    if told.is_empty() {
        told = lines().collect();
        told.drain(..told.len().saturating_sub(LAST));
    }
    if told.is_empty() {
        return complaint.to_owned();
    }
    clean(&told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_only_names_of_debian_packages_are_installed() {
        for good in ["nginx", "libstdc++6", "g++", "0ad", "python3.11", "ab"] {
            assert!(is_package(good), "{good}");
        }
        for bad in [
            "", "a", "-y", "+a", "Nginx", "nginx-", "a b", "a;b", "a'b", "a/b", "a=1", "ä", "a*",
        ] {
            assert!(!is_package(bad), "{bad}");
        }
    }

    #[test]
    fn c9_the_script_masks_the_units_and_names_the_packages() {
        let node: NodeName = "sb1".parse().unwrap();
        let package = |name: &str| MissingPackage {
            node: node.clone(),
            package: name.to_owned(),
            known: "1 on n1".to_owned(),
        };
        let order = Order {
            packages: vec![package("web"), package("g++")],
            units: ["web.service", "web\\x2da@1.service"]
                .map(str::to_owned)
                .into(),
            node: node.clone(),
        };
        assert_eq!(order.words(), "web (1 on n1) and g++ (1 on n1) on sb1");
        let script = order.script();
        assert!(
            script.contains("for unit in 'web.service' 'web\\x2da@1.service'"),
            "{script}"
        );
        assert!(script.contains(" web g++ <"), "{script}");
        for rest in ["UNITS", "PACKAGES"] {
            assert!(!script.contains(rest), "{script}");
        }
    }

    #[test]
    fn c9_what_apt_get_said_is_one_clean_sentence() {
        let out = "Reading package lists...\nE: Unable to locate package web\u{1b}[2J\nE: no\n\n";
        assert_eq!(
            last_words(out, "x"),
            "E: Unable to locate package web; E: no"
        );
        assert_eq!(last_words("a\nb\nc\n", "x"), "b; c");
        assert_eq!(last_words("", "exit status 9"), "exit status 9");
    }
}
