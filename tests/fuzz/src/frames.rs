//! Frames from the wire: what anybody on the link may send while an alias is probed (A2).

use backstay_agent::host::packet::{Arp, Neighbour};

/// ARP and neighbour discovery.
pub(crate) fn frame(bytes: &[u8]) {
    if let Some(arp) = Arp::parse(bytes) {
        assert!(
            Neighbour::parse(bytes).is_none(),
            "a frame is one or the other"
        );
        let again = Arp::parse(&arp.frame());
        assert_eq!(again, Some(arp), "what was read can be written");
    }
    let _ = Neighbour::parse(bytes);
}
