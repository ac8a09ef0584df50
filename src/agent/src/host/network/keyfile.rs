//! nm-settings-keyfile(5): `address1=A/N[,GATEWAY]` and `addresses=A/N;A/N;` of `[ipv4]` and `[ipv6]`.

use super::edit::{Spot, entries, spot, words};

pub(super) fn spots(text: &str) -> Vec<Spot> {
    let mut found = Vec::new();
    for entry in entries(text) {
        let named = entry.key.trim_end_matches(|c: char| c.is_ascii_digit());
        if !matches!(named, "address" | "addresses") || !matches!(entry.section, "ipv4" | "ipv6") {
            continue;
        }
        let between = |c: char| matches!(c, ',' | ';') || c.is_whitespace();
        let all = words(entry.value, entry.value_at, between);
        let all = all.filter_map(|(at, word)| spot(word, at));
        // What has no prefix is the gateway.
        found.extend(all.filter(|spot| spot.prefix.is_some()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::edit::Format;
    use super::super::edit::tests::{at_boot, there_and_back};

    const LAN: &str = "\
[connection]\nid=lan\nuuid=7c9a4a3e-6c2f-4d5e-9b8a-000000000001\ntype=ethernet\ninterface-name=eth0\n\n\
[ipv4]\n# Ours since 2019.\naddress1=192.0.2.101/24,192.0.2.1\naddress2=198.51.100.7/24\n\
dns=192.0.2.101;\nmethod=manual\nroute1=192.0.2.101/32,192.0.2.1\n\n\
[ipv6]\naddresses=2001:db8::101/64;2001:db8::7/64;\nmethod=manual\n";

    #[test]
    fn c15_the_gateway_and_the_routes_stay() {
        let wanted = [
            at_boot("192.0.2.101/24", "192.0.2.11/24"),
            at_boot("2001:db8::101/64", "2001:db8::11/64"),
        ];
        let after = there_and_back(Format::Keyfile, LAN, &wanted);
        assert_eq!(
            after,
            LAN.replace("address1=192.0.2.101/24", "address1=192.0.2.11/24")
                .replace("2001:db8::101/64;", "2001:db8::11/64;")
        );
    }
}
