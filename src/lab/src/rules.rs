//! Which frames the switch drops, as nftables rules. Pure.
//!
//! By port, in the bridge family: so ARP, IPv4, IPv6 and everything else alike.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::plan::port;

/// Names the bridge itself (the default gateway) in a [`Cut`].
pub(crate) const GATEWAY_NAME: &str = "gateway";
/// Names the client in a [`Cut`].
pub(crate) const CLIENT_NAME: &str = "client";

/// Frames from one place to another are dropped; the way back is another cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// Host, `client` or `gateway` that is no longer heard.
    pub from: String,
    /// Host, `client` or `gateway` that no longer hears it.
    pub to: String,
    /// On which link; none: on all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<u8>,
}

impl Cut {
    pub(crate) fn new(from: &str, to: &str, link: Option<u8>) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            link,
        }
    }
}

/// The lab's table in the switch, replacing the one before in one transaction.
pub(crate) fn text(cuts: &[Cut], links: u8) -> String {
    let cuts: BTreeSet<&Cut> = cuts.iter().collect();
    let [mut forward, mut input, mut output] = [(); 3].map(|()| String::new());
    let each = cuts
        .iter()
        .flat_map(|cut| (1..=links).map(move |link| (*cut, link)));
    for (Cut { from, to, .. }, link) in each.filter(|(c, l)| c.link.is_none_or(|only| only == *l)) {
        // Writing to a string cannot fail.
        let _ = match (from.as_str(), to.as_str()) {
            // Client and gateway are on the first link only.
            (_, GATEWAY_NAME) | (GATEWAY_NAME, _) if link > 1 => Ok(()),
            (from, GATEWAY_NAME) => writeln!(input, "    iifname \"{from}\" drop"),
            (GATEWAY_NAME, to) => writeln!(output, "    oifname \"{to}\" drop"),
            (from, to) => writeln!(
                forward,
                "    iifname \"{}\" oifname \"{}\" drop",
                port(from, link),
                port(to, link)
            ),
        };
    }
    let mut text = String::from(
        "table bridge backstay_lab\ndelete table bridge backstay_lab\ntable bridge backstay_lab {\n",
    );
    for (hook, rules) in [("forward", forward), ("input", input), ("output", output)] {
        let _ = write!(
            text,
            "  chain {hook} {{\n    type filter hook {hook} priority 0; policy accept;\n{rules}  }}\n"
        );
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_is_one_rule_and_repetition_adds_none() {
        let cut = Cut::new("n1", "sb1", None);
        let text = text(&[cut.clone(), cut], 1);
        assert_eq!(text.matches("drop").count(), 1, "{text}");
        assert!(
            text.contains("iifname \"n1\" oifname \"sb1\" drop"),
            "{text}"
        );
    }

    #[test]
    fn one_link_or_all_are_cut() {
        let only = text(&[Cut::new("n1", "sb1", Some(2))], 2);
        assert!(
            only.contains("iifname \"n1-2\" oifname \"sb1-2\" drop"),
            "{only}"
        );
        assert_eq!(only.matches("drop").count(), 1, "{only}");
        let all = text(&[Cut::new("n1", "sb1", None)], 2);
        assert_eq!(all.matches("drop").count(), 2, "{all}");
    }

    #[test]
    fn the_gateway_is_the_bridge_itself() {
        let text = text(
            &[
                Cut::new("sb1", "gateway", None),
                Cut::new("gateway", "sb1", None),
            ],
            2,
        );
        let input = text.split("chain input").nth(1).unwrap();
        assert!(input.contains("iifname \"sb1\" drop"), "{text}");
        let output = text.split("chain output").nth(1).unwrap();
        assert!(output.contains("oifname \"sb1\" drop"), "{text}");
    }

    #[test]
    fn without_cuts_everything_passes() {
        let text = text(&[], 2);
        assert!(!text.contains("drop"), "{text}");
        assert_eq!(text.matches("policy accept").count(), 3);
    }
}
