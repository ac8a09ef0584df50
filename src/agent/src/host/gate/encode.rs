//! The few nftables netlink messages that the gate needs.
//!
//! Constants and layouts from `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h`. Written here because
//! the netlink crates cover set elements only in part, and because this runs for every beat: one buffer is
//! written front to back and used again, nothing is allocated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NLMSG_HEADER: usize = 16;
const NFGEN_HEADER: usize = 4;
pub(super) const NLM_F_REQUEST: u16 = 0x1;
pub(super) const NLM_F_ACK: u16 = 0x4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CREATE: u16 = 0x400;

pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const SUBSYS_NFTABLES: u16 = 10;

pub(super) const NEWTABLE: u16 = SUBSYS_NFTABLES << 8;
pub(super) const GETTABLE: u16 = NEWTABLE + 1;
pub(super) const DELTABLE: u16 = NEWTABLE + 2;
pub(super) const NEWCHAIN: u16 = NEWTABLE + 3;
pub(super) const GETCHAIN: u16 = NEWTABLE + 4;
pub(super) const NEWRULE: u16 = NEWTABLE + 6;
pub(super) const GETRULE: u16 = NEWTABLE + 7;
pub(super) const NEWSET: u16 = NEWTABLE + 9;
pub(super) const GETSET: u16 = NEWTABLE + 10;
pub(super) const NEWSETELEM: u16 = NEWTABLE + 12;
pub(super) const GETSETELEM: u16 = NEWTABLE + 13;
pub(super) const DELSETELEM: u16 = NEWTABLE + 14;
pub(super) const NEWGEN: u16 = NEWTABLE + 15;

const TABLE_FLAGS: u16 = 2;
/// `NFT_TABLE_F_OWNER` (Linux 5.12): only the socket that set it may change the table.
pub(super) const TABLE_OWNED: u32 = 2;
/// `NFT_TABLE_F_PERSIST` (Linux 6.9): the table outlives its owner, who may then be another.
pub(super) const TABLE_PERSISTS: u32 = 4;

const NESTED: u16 = 0x8000;
pub(super) const ATTR_TYPE_MASK: u16 = 0x3fff;
const ELEM_LIST_TABLE: u16 = 1;
const ELEM_LIST_SET: u16 = 2;
pub(super) const ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const ELEM_KEY: u16 = 1;
const ELEM_TIMEOUT: u16 = 4;
pub(super) const ELEM_EXPIRATION: u16 = 5;
const DATA_VALUE: u16 = 1;
const LIST_ELEM: u16 = 1;

/// A buffer of netlink messages, used again and again.
#[derive(Debug)]
pub(super) struct Messages {
    buf: Vec<u8>,
    /// Where the current message begins.
    start: usize,
}

impl Messages {
    pub(super) fn new() -> Self {
        // One address in all slots and both tables is about 2 KiB.
        Messages {
            buf: Vec::with_capacity(16 * 1024),
            start: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.buf.clear();
        self.start = 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    fn begin(&mut self, kind: u16, flags: u16, seq: u32, family: u8, resource: u16) {
        self.start = self.buf.len();
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.buf.extend_from_slice(&seq.to_ne_bytes());
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
        self.buf.extend_from_slice(&[family, 0]);
        self.buf.extend_from_slice(&resource.to_be_bytes());
    }

    fn end(&mut self) {
        let len = u32::try_from(self.buf.len() - self.start).unwrap_or(u32::MAX);
        self.buf[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.buf.extend_from_slice(&len.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(value);
        self.pad();
    }

    fn attr_str(&mut self, kind: u16, value: &str) {
        let len = u16::try_from(value.len() + 5).unwrap_or(u16::MAX);
        self.buf.extend_from_slice(&len.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(value.as_bytes());
        self.buf.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.buf.len().is_multiple_of(4) {
            self.buf.push(0);
        }
    }

    fn nest(&mut self, kind: u16) -> usize {
        let at = self.buf.len();
        self.buf.extend_from_slice(&0u16.to_ne_bytes());
        self.buf.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        at
    }

    fn unnest(&mut self, at: usize) {
        // At most MAX_ADDRESSES elements of 48 bytes: fits the 16 bits.
        let len = u16::try_from(self.buf.len() - at).unwrap_or(u16::MAX);
        self.buf[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// Opens a transaction.
    pub(super) fn batch_begin(&mut self, seq: u32) {
        self.begin(NFNL_MSG_BATCH_BEGIN, 0, seq, 0, SUBSYS_NFTABLES);
        self.end();
    }

    /// Commits a transaction.
    pub(super) fn batch_end(&mut self, seq: u32) {
        self.begin(NFNL_MSG_BATCH_END, 0, seq, 0, SUBSYS_NFTABLES);
        self.end();
    }

    /// One message about elements of a set. Without keys, `DELSETELEM` empties the set.
    pub(super) fn elements(
        &mut self,
        kind: u16,
        seq: u32,
        (family, table, set): (u8, &str, &str),
        keys: impl Iterator<Item = IpAddr>,
        timeout_ms: Option<u64>,
    ) {
        let flags = if kind == NEWSETELEM { NLM_F_CREATE } else { 0 };
        self.begin(kind, flags, seq, family, 0);
        self.attr_str(ELEM_LIST_TABLE, table);
        self.attr_str(ELEM_LIST_SET, set);
        let mut keys = keys.peekable();
        if keys.peek().is_some() {
            let list = self.nest(ELEM_LIST_ELEMENTS);
            for key in keys {
                let elem = self.nest(LIST_ELEM);
                let data = self.nest(ELEM_KEY);
                match key {
                    IpAddr::V4(v4) => self.attr(DATA_VALUE, &v4.octets()),
                    IpAddr::V6(v6) => self.attr(DATA_VALUE, &v6.octets()),
                }
                self.unnest(data);
                if let Some(ms) = timeout_ms {
                    self.attr(ELEM_TIMEOUT, &ms.to_be_bytes());
                }
                self.unnest(elem);
            }
            self.unnest(list);
        }
        self.end();
    }

    /// A request for all objects of a kind, of one table where the kernel can narrow it down. The name of the
    /// table is attribute 1 for every kind of object.
    pub(super) fn dump(&mut self, kind: u16, seq: u32, family: u8, table: &str, set: Option<&str>) {
        self.begin(kind, NLM_F_DUMP, seq, family, 0);
        if kind == GETRULE || kind == GETSET || kind == GETSETELEM {
            self.attr_str(1, table);
        }
        if let Some(set) = set {
            self.attr_str(ELEM_LIST_SET, set);
        }
        self.end();
    }

    /// Creates (does nothing if present) or deletes a table; `flags` only where they are to be set.
    pub(super) fn table(
        &mut self,
        kind: u16,
        seq: u32,
        family: u8,
        table: &str,
        flags: Option<u32>,
    ) {
        self.begin(
            kind,
            if kind == NEWTABLE { NLM_F_CREATE } else { 0 },
            seq,
            family,
            0,
        );
        self.attr_str(1, table);
        if let Some(flags) = flags {
            self.attr(TABLE_FLAGS, &flags.to_be_bytes());
        }
        self.end();
    }

    /// Asks for a confirmation of the message written last.
    pub(super) fn acknowledge_last(&mut self) {
        if let Some(flags) = self.buf.get_mut(self.start + 6..self.start + 8) {
            let with = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
            flags.copy_from_slice(&with.to_ne_bytes());
        }
    }
}

/// One received netlink message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) seq: u32,
    pub(super) port: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The error number of an `NLMSG_ERROR` (0: a confirmation), else `None`.
    pub(super) fn error(&self) -> Option<i32> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let code = self
            .body
            .first_chunk::<4>()
            .map_or(libc_eproto(), |code| i32::from_ne_bytes(*code));
        Some(code.saturating_neg())
    }

    /// The family of an nftables message.
    pub(super) fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// The attributes of an nftables message.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.body.get(NFGEN_HEADER..).unwrap_or(&[]))
    }
}

/// An answer that is too short to hold its error number counts as a protocol error.
const fn libc_eproto() -> i32 {
    -nix::libc::EPROTO
}

/// Splits a received datagram into messages; stops at the first that does not fit.
pub(super) struct Received<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Received<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.first_chunk::<NLMSG_HEADER>()?;
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let len = usize::try_from(word(0)).ok()?;
        let body = self.0.get(NLMSG_HEADER..len)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            seq: word(8),
            port: word(12),
            body,
        };
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}

/// Walks attributes; stops at the first that does not fit.
#[derive(Debug, Clone)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let header = self.0.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & ATTR_TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    /// The value of the first attribute of a kind.
    pub(super) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The same as text without its closing NUL.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.find(kind)?)
            .ok()
            .map(|text| text.trim_end_matches('\0'))
    }
}

/// One set element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: IpAddr,
    /// Milliseconds left of a timed element.
    pub(super) expires_ms: Option<u64>,
}

/// The elements in a `NEWSETELEM` message.
pub(super) fn elements_of<'a>(message: &Message<'a>) -> impl Iterator<Item = Element> + use<'a> {
    let list = message.attributes().find(ELEM_LIST_ELEMENTS).unwrap_or(&[]);
    Attributes(list).filter_map(|(_, element)| {
        let attributes = Attributes(element);
        let value = Attributes(attributes.clone().find(ELEM_KEY)?).find(DATA_VALUE)?;
        let key = match value.len() {
            4 => IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>()?)),
            16 => IpAddr::V6(Ipv6Addr::from(*value.first_chunk::<16>()?)),
            _ => return None,
        };
        let expires_ms = attributes
            .find(ELEM_EXPIRATION)
            .and_then(<[u8]>::first_chunk::<8>)
            .map(|ms| u64::from_be_bytes(*ms));
        Some(Element { key, expires_ms })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_armed_element_has_the_layout_of_the_kernel_headers() {
        let mut messages = Messages::new();
        let key = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 101));
        messages.elements(
            NEWSETELEM,
            7,
            (1, "backstay", "armed4s0"),
            std::iter::once(key),
            Some(2_000),
        );
        let bytes = messages.bytes();
        // struct nlmsghdr: length, type (10 << 8 | 12), REQUEST|CREATE, sequence, port
        assert_eq!(bytes[..16], hex("5400 0000 0c0a 0104 0700 0000 0000 0000"));
        // struct nfgenmsg; table "backstay"; set "armed4s0"
        assert_eq!(bytes[16..20], hex("0100 0000"));
        assert_eq!(bytes[20..36], hex("0d00 0100 6261636b73746179 00 000000"));
        assert_eq!(bytes[36..52], hex("0d00 0200 61726d6564347330 00 000000"));
        // elements { element { key { value }, timeout } }
        assert_eq!(
            bytes[52..],
            hex("2000 0380 1c00 0180 0c00 0180 0800 0100 c0000265 0c00 0400 00000000000007d0")
        );
        let message = Received(bytes).next().unwrap();
        let elements: Vec<_> = elements_of(&message).collect();
        assert_eq!(
            elements,
            [Element {
                key,
                expires_ms: None
            }]
        );
    }

    #[test]
    fn an_ack_is_asked_for_in_the_last_message_only() {
        let mut messages = Messages::new();
        messages.batch_begin(1);
        messages.table(NEWTABLE, 2, 1, "backstay", None);
        messages.acknowledge_last();
        let flags: Vec<u16> = Received(messages.bytes()).map(|m| m.flags).collect();
        assert_eq!(
            flags,
            [NLM_F_REQUEST, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK]
        );
    }

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            for message in Received(&bytes) {
                let _ = (message.error(), message.family(), message.attributes().text(1));
                prop_assert!(elements_of(&message).count() <= bytes.len());
            }
        }
    }
}
