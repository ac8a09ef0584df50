//! Who talks through an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a TCP connection of this machine has that address as its own end. What can't be read counts as used.
pub fn in_use(address: IpAddr) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .any(|table| match std::fs::read_to_string(table) {
            Ok(text) => has_connection(&text, address),
            // A kernel without IPv6 has no such table.
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        })
}

/// In a table as of `proc_pid_net(5)`: `sl local_address rem_address st ...`; state 1 is an established connection.
fn has_connection(table: &str, address: IpAddr) -> bool {
    table.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next(), words.nth(1));
        let local = local.and_then(|l| l.split_once(':')).map(|(ip, _)| ip);
        state == Some("01") && local.and_then(read) == Some(address)
    })
}

/// Words of 32 bits in the machine's order, in hexadecimal digits.
fn read(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(v4).into());
    }
    let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?);
    // A socket for both families tells IPv4 addresses as mapped ones.
    Some(v6.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_found_by_its_own_end() {
        use std::net::{TcpListener, TcpStream};
        let (one, two) = ("127.98.77.1:0", "[::ffff:127.98.77.2]:0");
        for at in [one, two] {
            let listener = TcpListener::bind(at).unwrap();
            let here = listener.local_addr().unwrap();
            let ip = here.ip().to_canonical();
            assert!(!in_use(ip), "only listening at {ip}");
            let _client = TcpStream::connect(here).unwrap();
            let _server = listener.accept().unwrap();
            assert!(in_use(ip), "{ip}");
        }
    }
}
