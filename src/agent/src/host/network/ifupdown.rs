//! interfaces(5): `address` of a stanza, and `ip address add` in its hooks.
//!
//! ifup ends in an error where an address is already there, so a second one can't be replaced by the same base: its lines
//! are commented out, marked with the alias.

use std::net::IpAddr;
use std::ops::Range;

use backstay_core::model::AtBoot;

use super::edit::{Spot, Swapped, exchange, lines, spot, words};

/// What a line is.
enum Kind {
    Address,
    Hook,
}

/// An `iface` with its options.
struct Stanza<'a> {
    name: &'a str,
    range: Range<usize>,
}

pub(super) fn spots(text: &str) -> Vec<Spot> {
    told(text).into_iter().map(|(_, spot)| spot).collect()
}

fn told(text: &str) -> Vec<(Kind, Spot)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (begin, line) in lines(text) {
        let all: Vec<(usize, &str)> = words(line, begin, char::is_whitespace).collect();
        match all.as_slice() {
            [(_, "iface"), ..] => inside = true,
            [(_, word), ..] if ends_stanza(word) => inside = false,
            [(_, "address"), (at, word), ..] if inside => {
                found.extend(spot(word, *at).map(|spot| (Kind::Address, spot)));
            }
            [(_, hook), command @ ..] if inside && is_hook(hook) => {
                found.extend(of_command(command).map(|spot| (Kind::Hook, spot)));
            }
            _ => {}
        }
    }
    found
}

fn ends_stanza(word: &str) -> bool {
    matches!(
        word,
        "auto"
            | "mapping"
            | "source"
            | "source-directory"
            | "rename"
            | "no-auto-down"
            | "no-scripts"
            | "template"
    ) || word.starts_with("allow-")
}

fn is_hook(word: &str) -> bool {
    matches!(
        word,
        "up" | "post-up" | "pre-up" | "down" | "pre-down" | "post-down"
    )
}

/// `ip [-4] a[ddress] add|replace|change|del A/N ...`.
fn of_command(command: &[(usize, &str)]) -> Option<Spot> {
    let (_, program) = command.first()?;
    if program.rsplit('/').next() != Some("ip") {
        return None;
    }
    let mut rest = command[1..].iter().skip_while(|(_, w)| w.starts_with('-'));
    let (_, object) = rest.next()?;
    let (_, verb) = rest.next()?;
    let is_verb = ["add", "replace", "change", "delete"]
        .iter()
        .any(|full| full.starts_with(verb));
    if object.is_empty() || !"address".starts_with(object) || !is_verb {
        return None;
    }
    let (at, word) = rest.next()?;
    spot(word, *at)
}

/// See [`Format::away`](super::Format::away).
pub(super) fn away(text: &str, wanted: &[AtBoot]) -> Result<(String, Vec<Swapped>), String> {
    let mut text = text.to_owned();
    let mut swapped = Vec::new();
    for pair in wanted {
        let spots = spots(&text);
        if !spots.iter().any(|s| s.address == pair.alias.addr()) {
            continue;
        }
        if spots.iter().any(|s| s.address == pair.base.addr()) {
            text = comment_out(&text, pair.alias.addr())?;
            swapped.push(Swapped {
                alias: pair.alias,
                base: pair.base,
                nth: Vec::new(),
            });
        } else {
            let (with, mut done) = exchange(&text, &spots, std::slice::from_ref(pair));
            text = with;
            swapped.append(&mut done);
        }
    }
    Ok((text, swapped))
}

fn mark(alias: IpAddr) -> String {
    format!("#backstay {alias}# ")
}

fn comment_out(text: &str, alias: IpAddr) -> Result<String, String> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let stanzas = stanzas(text);
    for (kind, spot) in told(text) {
        if spot.address != alias {
            continue;
        }
        let stanza = stanzas.iter().find(|s| s.range.contains(&spot.range.start));
        match (kind, stanza) {
            (Kind::Address, Some(stanza)) => {
                ranges.push(stanza.range.clone());
                if stanzas.iter().filter(|s| s.name == stanza.name).count() == 1 {
                    ranges.extend(brought_up(text, stanza.name)?);
                }
            }
            _ => ranges.push(spot.range.clone()),
        }
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (begin, end) = (at, at + line.len());
        at = end;
        let touched = ranges.iter().any(|r| r.start < end && begin < r.end);
        if touched && !line.trim().is_empty() && !line.trim_start().starts_with('#') {
            out.push_str(&mark(alias));
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Takes the marks of an alias off again; none: there are none.
pub(super) fn uncomment(text: &str, alias: IpAddr) -> Option<String> {
    let mark = mark(alias);
    text.contains(&mark).then(|| {
        text.split_inclusive('\n')
            .map(|line| line.strip_prefix(&mark).unwrap_or(line))
            .collect()
    })
}

fn stanzas(text: &str) -> Vec<Stanza<'_>> {
    let mut found: Vec<Stanza<'_>> = Vec::new();
    let mut inside = false;
    for (begin, line) in lines(text) {
        let mut all = line.split_whitespace();
        match (all.next(), all.next()) {
            (Some("iface"), Some(name)) => {
                let range = begin..begin + line.len();
                found.push(Stanza { name, range });
                inside = true;
            }
            (Some(word), _) if ends_stanza(word) => inside = false,
            (Some(word), _) if inside && !word.starts_with('#') => {
                if let Some(last) = found.last_mut() {
                    last.range.end = begin + line.len();
                }
            }
            _ => {}
        }
    }
    found
}

/// The lines that bring up an interface which no stanza describes any more: ifup would complain of it.
fn brought_up(text: &str, name: &str) -> Result<Vec<Range<usize>>, String> {
    let mut found = Vec::new();
    for (begin, line) in lines(text) {
        let mut all = line.split_whitespace();
        let Some(word) = all.next() else { continue };
        if word != "auto" && !word.starts_with("allow-") {
            continue;
        }
        let names: Vec<&str> = all.collect();
        if !names.contains(&name) {
            continue;
        }
        if names.len() > 1 {
            return Err(format!(
                "the line `{}` names more than {name}; give {name} a line of its own",
                line.trim()
            ));
        }
        found.push(begin..begin + line.len());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::edit::Format;
    use super::super::edit::tests::{at_boot, there_and_back};

    const LAN: &str = "\
# The loopback network interface\nauto lo\niface lo inet loopback\n\n\
auto eth0\niface eth0 inet static\n\taddress 192.0.2.101  # web\n\tnetmask 255.255.255.0\n\tgateway 192.0.2.1\n\
\tdns-nameservers 192.0.2.101\n\tup ip route add 198.51.100.0/24 via 192.0.2.1\n\
\n# web2\nauto eth0:0\niface eth0:0 inet static\n    address 192.0.2.102/24\n\n\
iface eth0 inet6 static\n\taddress 2001:db8::101/64\n\
\tpost-up /sbin/ip -4 addr add 192.0.2.103/24 dev $IFACE\n\tpre-down ip a del 192.0.2.103/24 dev $IFACE || true\n";

    #[test]
    fn c15_an_address_is_exchanged_in_its_stanza() {
        let wanted = [
            at_boot("192.0.2.101/24", "192.0.2.11/24"),
            at_boot("2001:db8::101/64", "2001:db8::11/64"),
        ];
        let after = there_and_back(Format::Ifupdown, LAN, &wanted);
        assert_eq!(
            after,
            LAN.replace("address 192.0.2.101 ", "address 192.0.2.11 ")
                .replace("2001:db8::101/64", "2001:db8::11/64")
        );
    }

    #[test]
    fn c15_further_aliases_of_one_base_are_commented_out() {
        let wanted = [
            at_boot("192.0.2.101/24", "192.0.2.11/24"),
            at_boot("192.0.2.102/24", "192.0.2.11/24"),
            at_boot("192.0.2.103/24", "192.0.2.11/24"),
        ];
        let after = there_and_back(Format::Ifupdown, LAN, &wanted);
        for line in [
            "\taddress 192.0.2.11  # web",
            "#backstay 192.0.2.102# auto eth0:0",
            "#backstay 192.0.2.102# iface eth0:0 inet static",
            "#backstay 192.0.2.102#     address 192.0.2.102/24",
            "#backstay 192.0.2.103# \tpost-up /sbin/ip -4 addr add 192.0.2.103/24 dev $IFACE",
            "#backstay 192.0.2.103# \tpre-down ip a del 192.0.2.103/24 dev $IFACE || true",
            "auto eth0",
            "iface eth0 inet6 static",
        ] {
            assert!(after.lines().any(|l| l == line), "{line}: {after}");
        }
    }

    #[test]
    fn c15_only_hooks_give_it() {
        let after = there_and_back(
            Format::Ifupdown,
            LAN,
            &[at_boot("192.0.2.103/24", "192.0.2.13/24")],
        );
        assert_eq!(after, LAN.replace("192.0.2.103", "192.0.2.13"));
    }

    #[test]
    fn c15_what_cannot_be_changed_is_said() {
        let text = "auto eth0 eth0:0\niface eth0 inet static\n address 192.0.2.11/24\niface eth0:0 inet static\n address 192.0.2.101/24\n";
        let said = Format::Ifupdown.away(text, &[at_boot("192.0.2.101/24", "192.0.2.11/24")]);
        assert_eq!(
            said.unwrap_err(),
            "the line `auto eth0 eth0:0` names more than eth0:0; give eth0:0 a line of its own"
        );
    }
}
