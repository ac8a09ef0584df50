//! systemd.network(5): `Address=` of `[Network]` and of `[Address]` sections.

use super::edit::{Entry, Spot, entries, spot};

pub(super) fn spots(text: &str) -> Vec<Spot> {
    let ours = |e: &Entry| e.key == "Address" && matches!(e.section, "Network" | "Address");
    let read = |e: Entry| {
        let indent = e.value.len() - e.value.trim_start().len();
        spot(e.value.trim(), e.value_at + indent)
    };
    entries(text).filter(ours).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::super::edit::Format;
    use super::super::edit::tests::{at_boot, there_and_back};

    const LAN: &str = "\
# The office.\n[Match]\nName=eth0\n\n[Network]\nDescription=Address=192.0.2.101/24\n#Address=192.0.2.101/24\n\
Address = 192.0.2.101/24 \nAddress=2001:db8::101/64\nGateway=192.0.2.1\nDNS=192.0.2.101\n\n\
[Address]\nAddress=192.0.2.102/24\nLabel=eth0:two\n\n[Route]\nDestination=192.0.2.101/32\n";

    #[test]
    fn c15_addresses_are_exchanged_in_place() {
        let wanted = [
            at_boot("192.0.2.101/24", "192.0.2.11/24"),
            at_boot("2001:db8::101/64", "2001:db8::11/64"),
        ];
        let after = there_and_back(Format::Networkd, LAN, &wanted);
        assert_eq!(
            after,
            LAN.replace("Address = 192.0.2.101/24 ", "Address = 192.0.2.11/24 ")
                .replace("Address=2001:db8::101/64", "Address=2001:db8::11/64")
        );
    }

    #[test]
    fn c15_two_aliases_of_one_base() {
        let wanted = [
            at_boot("192.0.2.101/24", "192.0.2.11/24"),
            at_boot("192.0.2.102/24", "192.0.2.11/24"),
        ];
        let after = there_and_back(Format::Networkd, LAN, &wanted);
        assert!(
            after.contains("[Address]\nAddress=192.0.2.11/24\nLabel"),
            "{after}"
        );
    }
}
