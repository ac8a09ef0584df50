//! netplan(5): the lists called `addresses`, block or flow, except those of name servers, which have no prefixes.

use super::edit::{Spot, lines, spot, words};

/// Which list the lines are in.
enum Place {
    Elsewhere,
    /// Below `addresses:`, which is indented so far.
    Block(usize),
    /// Between its brackets.
    Flow,
}

pub(super) fn spots(text: &str) -> Vec<Spot> {
    let mut found = Vec::new();
    let mut place = Place::Elsewhere;
    for (begin, line) in lines(text) {
        let code = without_comment(line);
        let bare = code.trim_start();
        if bare.trim_end().is_empty() {
            continue;
        }
        let indent = code.len() - bare.len();
        let mut rest = (begin + indent, bare);
        if let Place::Block(above) = place {
            let item = bare.starts_with('-');
            if indent < above || (indent == above && !item) {
                place = Place::Elsewhere;
            } else if !item {
                continue; // label or lifetime of the item above
            }
        }
        if matches!(place, Place::Elsewhere) {
            // `eth0: {addresses: [...]}` in one line is YAML, too.
            let Some(at) = bare.find("addresses:") else {
                continue;
            };
            let before = bare[..at].trim_end();
            if !(before.is_empty() || before.ends_with(['{', ',', '-', '"', '\''])) {
                continue;
            }
            let value = &bare[at + "addresses:".len()..];
            rest = (rest.0 + bare.len() - value.len(), value);
            place = if value.trim_start().starts_with('[') {
                Place::Flow
            } else {
                Place::Block(indent)
            };
        }
        let between =
            |c: char| matches!(c, ',' | '[' | ']' | '"' | '\'' | '{' | '}') || c.is_whitespace();
        let all = words(rest.1, rest.0, between).map(|(at, word)| (at, word.trim_end_matches(':')));
        let all = all.filter_map(|(at, word)| spot(word, at));
        found.extend(all.filter(|spot| spot.prefix.is_some()));
        if matches!(place, Place::Flow) && rest.1.contains(']') {
            place = Place::Elsewhere;
        }
    }
    found
}

/// A `#` begins a comment at the line's begin or behind white space, but not between quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return &line[..at],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::edit::Format;
    use super::super::edit::tests::{at_boot, there_and_back};

    const BLOCK: &str = "\
# Written at installation.
network:
  version: 2
  renderer: networkd
  ethernets:
    eth0:
      addresses:
      - 198.51.100.7/24
      # - 192.0.2.101/24
      - \"192.0.2.101/24\":   # web
          label: eth0:web

      - 2001:db8:0::101/64
      nameservers:
        addresses: [192.0.2.101, 192.0.2.2]
      routes:
        - to: default
          via: 192.0.2.1
        - to: 192.0.2.101/32
          via: 192.0.2.1
  wireguards:
    wg0:
      peers:
        - allowed-ips: [192.0.2.101/32]
";

    #[test]
    fn c15_block_lists() {
        let wanted = [
            at_boot("192.0.2.101/24", "192.0.2.11/24"),
            at_boot("2001:db8::101/64", "2001:db8::11/64"),
        ];
        let after = there_and_back(Format::Netplan, BLOCK, &wanted[..1]);
        assert_eq!(
            after,
            BLOCK.replace("- \"192.0.2.101/24\":", "- \"192.0.2.11/24\":")
        );
        // IPv6 can be written in many ways; it comes back in the usual one.
        let (text, swapped) = Format::Netplan.away(BLOCK, &wanted[1..]).unwrap();
        assert_eq!(text, BLOCK.replace("2001:db8:0::101/64", "2001:db8::11/64"));
        let (text, lost) = Format::Netplan.back(&text, &swapped);
        assert_eq!(
            text,
            BLOCK.replace("2001:db8:0::101/64", "2001:db8::101/64")
        );
        assert!(lost.is_empty());
    }

    #[test]
    fn c15_flow_lists() {
        for text in [
            "network: {ethernets: {eth0: {addresses: [192.0.2.101/24, '198.51.100.7/24'], dhcp4: false}}}\n",
            "network:\n  ethernets:\n    eth0:\n      addresses: [\n        \"192.0.2.101/24\",\n        198.51.100.7/24 ]\n      gateway4: 192.0.2.1\n",
            "network:\n  bonds:\n    bond0:\n      addresses: ['192.0.2.101/24']\n",
        ] {
            let after = there_and_back(
                Format::Netplan,
                text,
                &[at_boot("192.0.2.101/24", "192.0.2.11/24")],
            );
            assert_eq!(after, text.replace("192.0.2.101/24", "192.0.2.11/24"));
        }
    }
}
