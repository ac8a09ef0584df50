//! `S=NODE,alias=A,base=B[,priority=P][,fallback=auto|manual][,unit=U]..[,file=F]..`

use std::net::IpAddr;
use std::str::FromStr;

use backstay_core::model::{Fallback, NodeName, ServiceName, UnitMode};
use backstay_core::plan::NewService;
use ipnet::IpNet;

use crate::failure::{Exit, Failure};
use crate::ops::Picture;

const FORM: &str = "use S=NODE,alias=ADDR,base=ADDR[,priority=P][,fallback=auto|manual][,unit=U|,home-only=U|,companion=U]..[,file=PATH]..";

/// An address whose prefix may have been left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LooseNet {
    /// With prefix.
    Net(IpNet),
    /// Without.
    Bare(IpAddr),
}

/// A service as the command line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    name: ServiceName,
    node: NodeName,
    aliases: Vec<LooseNet>,
    bases: Vec<LooseNet>,
    priority: Option<u16>,
    fallback: Option<Fallback>,
    units: Vec<(String, UnitMode)>,
    files: Vec<String>,
}

fn loose(text: &str) -> Result<LooseNet, String> {
    text.parse()
        .map(LooseNet::Net)
        .or_else(|_| text.parse().map(LooseNet::Bare))
        .map_err(|_| format!("`{}` is no address; use 192.0.2.1/24", text.escape_debug()))
}

/// Whether a text is an address, with or without prefix.
///
/// # Errors
/// What would be right.
pub(crate) fn address(text: &str) -> Result<(), String> {
    loose(text).map(|_| ())
}

/// `U`, or in the older form `U:home-only`, `U:companion`. A unit's own name may hold a `:`.
fn unit(text: &str) -> Result<(String, UnitMode), String> {
    match text.rsplit_once(':') {
        Some((name, "home-only")) => Ok((full(name), UnitMode::HomeOnly)),
        Some((name, "companion")) => Ok((full(name), UnitMode::Companion)),
        Some((_, other)) if !other.contains('.') => Err(format!(
            "`{}` is no way to run a unit; use home-only or companion",
            other.escape_debug()
        )),
        _ => Ok((full(text), UnitMode::Service)),
    }
}

/// A unit's full name.
fn full(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

impl FromStr for ServiceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let (name, node) = parts
            .next()
            .and_then(|first| first.split_once('='))
            .ok_or(FORM)?;
        if node.contains('=') {
            return Err(format!(
                "the home node is missing: {}=NODE,{}",
                name.escape_debug(),
                node.escape_debug()
            ));
        }
        let mut spec = Self {
            name: name.parse().map_err(|e| format!("{e}"))?,
            node: node.parse().map_err(|e| format!("{e}"))?,
            aliases: Vec::new(),
            bases: Vec::new(),
            priority: None,
            fallback: None,
            units: Vec::new(),
            files: Vec::new(),
        };
        for part in parts {
            match part.split_once('=') {
                Some(("alias", value)) => spec.aliases.push(loose(value)?),
                Some(("base", value)) => spec.bases.push(loose(value)?),
                Some(("priority", value)) => {
                    let priority = value.parse();
                    spec.priority = Some(priority.map_err(|_| {
                        format!("`{}` is no priority; use 0 to 65535", value.escape_debug())
                    })?);
                }
                Some(("fallback", "auto" | "automatic")) => {
                    spec.fallback = Some(Fallback::Automatic);
                }
                Some(("fallback", "manual")) => spec.fallback = Some(Fallback::Manual),
                Some(("unit", value)) => spec.units.push(unit(value)?),
                Some(("home-only", value)) => spec.units.push((full(value), UnitMode::HomeOnly)),
                Some(("companion", value)) => spec.units.push((full(value), UnitMode::Companion)),
                Some(("file", value)) => spec.files.push(value.to_owned()),
                _ => {
                    return Err(format!(
                        "`{}` is not known here; {FORM}",
                        part.escape_debug()
                    ));
                }
            }
        }
        Ok(spec)
    }
}

impl ServiceSpec {
    /// Fills in prefixes that were left out, from what the home's interfaces have.
    ///
    /// # Errors
    /// A prefix can't be found out.
    pub fn fill(&self, picture: &Picture) -> Result<NewService, Failure> {
        let there: Vec<IpNet> = picture
            .facts
            .get(&self.node)
            .iter()
            .flat_map(|fact| &fact.facts.interfaces)
            .flat_map(|interface| &interface.addresses)
            .filter_map(|address| address.address.parse().ok())
            .collect();
        let fill = |net: &LooseNet| {
            match net {
            LooseNet::Net(net) => Ok(*net),
            LooseNet::Bare(ip) => there
                .iter()
                .find(|n| n.contains(ip) && n.prefix_len() > 0)
                .and_then(|n| IpNet::new(*ip, n.prefix_len()).ok())
                .ok_or_else(|| {
                    Failure::new(
                        Exit::Usage,
                        format!(
                            "the prefix length of {ip} (service {}) is missing, and no interface of {} is on its subnet",
                            self.name, self.node
                        ),
                    )
                    .hint(format!("write it with the address: {ip}/24"))
                }),
        }
        };
        Ok(NewService {
            name: self.name.clone(),
            node: self.node.clone(),
            aliases: self.aliases.iter().map(fill).collect::<Result<_, _>>()?,
            bases: self.bases.iter().map(fill).collect::<Result<_, _>>()?,
            priority: self.priority,
            fallback: self.fallback,
            units: self.units.clone(),
            files: self.files.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_from_one_argument() {
        let spec: ServiceSpec =
            "web1=n1,alias=192.0.2.101,base=192.0.2.11/24,priority=10,fallback=auto,unit=web,unit=log.timer:companion,home-only=a:b.service,file=/etc/a=b"
                .parse()
                .unwrap();
        assert_eq!(spec.priority, Some(10));
        assert_eq!(spec.fallback, Some(Fallback::Automatic));
        assert_eq!(
            spec.units,
            [
                ("web.service".to_owned(), UnitMode::Service),
                ("log.timer".to_owned(), UnitMode::Companion),
                ("a:b.service".to_owned(), UnitMode::HomeOnly),
            ]
        );
        assert_eq!(spec.files, ["/etc/a=b"]);
        let failure = spec.fill(&Picture::default()).unwrap_err();
        assert!(failure.message.contains("192.0.2.101"), "{failure}");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for bad in [
            "web1",
            "web1=n1,alias=x",
            "web1=n1,colour=red",
            "web1=n1,priority=-1",
            "W=n1",
            "web1=n1,unit=a:b",
        ] {
            let said = bad.parse::<ServiceSpec>().unwrap_err();
            assert!(said.contains("use "), "{said}");
        }
        let said = "web3=alias=192.0.2.103,base=192.0.2.13".parse::<ServiceSpec>();
        assert_eq!(
            said.unwrap_err(),
            "the home node is missing: web3=NODE,alias=192.0.2.103"
        );
    }
}
