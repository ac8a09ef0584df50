//! `[USER@]HOST[:PORT]`.

use core::fmt;
use core::str::FromStr;

/// Where SSH reaches a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contact {
    /// As whom; `root` where none is named, because the agent's machine is managed as root.
    pub user: String,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port; 22 where none is named.
    pub port: u16,
}

/// Why a text is no contact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a host to reach by SSH: {why}; use [USER@]HOST[:PORT], an IPv6 address in brackets", .text.escape_debug())]
pub struct BadContact {
    text: String,
    why: &'static str,
}

impl FromStr for Contact {
    type Err = BadContact;

    fn from_str(text: &str) -> Result<Self, BadContact> {
        let bad = |why| BadContact {
            text: text.chars().take(80).collect(),
            why,
        };
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (user, place),
            None => ("root", text),
        };
        let (host, port) = if let Some(rest) = place.strip_prefix('[') {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| bad("a `]` is missing"))?;
            match after {
                "" => (host, None),
                _ => (
                    host,
                    Some(
                        after
                            .strip_prefix(':')
                            .ok_or_else(|| bad("after `]` comes `:PORT`"))?,
                    ),
                ),
            }
        } else if place.matches(':').count() > 1 {
            (place, None) // a bare IPv6 address
        } else {
            match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            }
        };
        let port = match port {
            None => 22,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(bad("the port is not a number from 1 to 65535")),
            },
        };
        // Nothing here reaches a shell, but it reaches the screen and files of lines.
        let plain = |s: &str| {
            !s.is_empty()
                && s.len() <= 255
                && !s.starts_with('-')
                && s.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-:%".contains(c))
        };
        if !plain(user) {
            return Err(bad(
                "the user's name is empty or has signs that don't belong there",
            ));
        }
        if !plain(host) {
            return Err(bad(
                "the host's name is empty or has signs that don't belong there",
            ));
        }
        Ok(Self {
            user: user.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.user != "root" {
            write!(f, "{}@", self.user)?;
        }
        match (self.host.contains(':'), self.port) {
            (true, 22) => write!(f, "[{}]", self.host),
            (true, port) => write!(f, "[{}]:{port}", self.host),
            (false, 22) => f.write_str(&self.host),
            (false, port) => write!(f, "{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_read_and_written() {
        for (text, user, host, port, shown) in [
            ("n1", "root", "n1", 22, "n1"),
            ("admin@n1:2222", "admin", "n1", 2222, "admin@n1:2222"),
            ("root@192.0.2.1", "root", "192.0.2.1", 22, "192.0.2.1"),
            (
                "[2001:db8::1]:22",
                "root",
                "2001:db8::1",
                22,
                "[2001:db8::1]",
            ),
            ("2001:db8::1", "root", "2001:db8::1", 22, "[2001:db8::1]"),
            (
                "[fe80::1%eth0]:23",
                "root",
                "fe80::1%eth0",
                23,
                "[fe80::1%eth0]:23",
            ),
        ] {
            let contact: Contact = text.parse().unwrap();
            assert_eq!(
                (contact.user.as_str(), contact.host.as_str(), contact.port),
                (user, host, port)
            );
            assert_eq!(contact.to_string(), shown);
            assert_eq!(shown.parse::<Contact>().unwrap(), contact);
        }
    }

    #[test]
    fn what_is_no_contact_is_refused_in_one_clean_line() {
        for bad in [
            "",
            "@n1",
            "n1:0",
            "n1:ssh",
            "[::1",
            "[::1]22",
            "-oProxyCommand=x",
            "n1 n2",
            "n\u{1b}[2J",
        ] {
            let said = bad.parse::<Contact>().unwrap_err().to_string();
            assert!(said.contains("[USER@]HOST[:PORT]"), "{said}");
            assert!(!said.contains('\u{1b}') && !said.contains('\n'), "{said}");
        }
    }
}
