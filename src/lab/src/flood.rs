//! Beats that were forged, played again or cut short, as fast as the kernel sends them.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::lab::{Lab, need_root};
use crate::net;
use crate::plan::{CLIENT, SWITCH};

/// Genuine beats that are captured first: a round of a small cluster.
const CAPTURED: usize = 12;
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(20);
/// `ETH_P_ALL`: what is passed on is seen, too.
const ALL_KINDS: u16 = 0x0003;

/// A genuine beat on its way.
struct Captured {
    source: Ipv4Addr,
    payload: Vec<u8>,
}

impl Lab {
    /// Captures beats for that socket at the bridge, then sends it `count` that are by turns forged, played again
    /// and cut short; answers how long that took. They come from the client's station under their sender's address.
    pub fn flood(&self, to: SocketAddrV4, count: u32) -> Result<Duration> {
        need_root("sending frames of one's own")?;
        let beats = net::inside(SWITCH, || capture(to))?;
        let packets: Vec<_> = beats.iter().flat_map(|beat| bad(beat, to)).collect();
        net::inside(CLIENT, || send(&packets, to, count))
    }
}

fn capture(to: SocketAddrV4) -> Result<Vec<Captured>> {
    let kinds = Protocol::from(i32::from(ALL_KINDS.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(kinds))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let (mut beats, until) = (Vec::new(), Instant::now() + LIMIT);
    let mut frame = [0; 8192];
    while beats.len() < CAPTURED {
        ensure!(Instant::now() < until, "no beats for {to} pass the bridge");
        // Nothing came in this time: looked again.
        let Ok(length) = socket.read(&mut frame) else {
            continue;
        };
        beats.extend(beat_in(&frame[..length], to));
    }
    Ok(beats)
}

/// The beat in an Ethernet frame, if it is one for that socket.
fn beat_in(frame: &[u8], to: SocketAddrV4) -> Option<Captured> {
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let is_udp = frame[12..14] == [8, 0] && packet.get(9) == Some(&17);
    let address = |at: usize| -> Option<Ipv4Addr> {
        let four: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(four.into())
    };
    let datagram = packet.get(header..)?;
    let word = |at: usize| {
        Some(u16::from_be_bytes(
            datagram.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let payload = datagram.get(8..usize::from(word(4)?))?;
    let is_beat = payload.starts_with(b"BsBt");
    let is_for = address(16)? == *to.ip() && word(2)? == to.port();
    (is_udp && is_for && is_beat).then(|| Captured {
        source: address(12).unwrap_or(*to.ip()),
        payload: payload.to_vec(),
    })
}

/// What is made of a genuine beat: one changed in one bit, one as it was, one cut short.
fn bad(beat: &Captured, to: SocketAddrV4) -> Vec<Vec<u8>> {
    let mut forged = beat.payload.clone();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    let short = &beat.payload[..beat.payload.len() * 2 / 3];
    [&forged[..], &beat.payload, short]
        .into_iter()
        .filter_map(|payload| packet(beat.source, to, payload))
        .collect()
}

/// An IPv4 packet; length and checksum of its header are the kernel's.
fn packet(source: Ipv4Addr, to: SocketAddrV4, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + payload.len()).ok()?;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&to.ip().octets());
    // Without a checksum (RFC 768).
    for word in [to.port(), to.port(), length, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(payload);
    Some(packet)
}

fn send(packets: &[Vec<u8>], to: SocketAddrV4, count: u32) -> Result<Duration> {
    // `IPPROTO_RAW`: the header is ours, and with it the source.
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
    let address = SockAddr::from(SocketAddr::from((*to.ip(), 0)));
    let begun = Instant::now();
    let mut sent = 0;
    for packet in packets.iter().cycle() {
        if sent == count {
            break;
        }
        match socket.send_to(packet, &address) {
            Ok(_) => sent += 1,
            // The device's queue is full: as fast as the kernel sends.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                std::thread::yield_now();
            }
            Err(error) => return Err(error).context("can't send"),
        }
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_found_in_its_frame_and_made_bad() {
        let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 11), 5980);
        let source = Ipv4Addr::new(192, 0, 2, 12);
        let payload = [&b"BsBt"[..], &[7; 96]].concat();
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&[8, 0]);
        frame.extend(packet(source, to, &payload).unwrap());
        let beat = beat_in(&frame, to).unwrap();
        assert_eq!((beat.source, &beat.payload), (source, &payload));
        let lengths: Vec<_> = bad(&beat, to).iter().map(Vec::len).collect();
        assert_eq!(lengths, [128, 128, 94]);
        for cut in 0..frame.len() {
            assert!(beat_in(&frame[..cut], to).is_none(), "cut at {cut}");
        }
        let other = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 13), 5980);
        assert!(beat_in(&frame, other).is_none());
    }
}
