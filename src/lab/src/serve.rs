//! The demonstration service: something whose answer shows which node runs it.
//!
//! - UDP, port 7000: every datagram is answered, from the address that was
//!   asked, with the node's name padded with NUL to 16 bytes and then the datagram.
//! - HTTP, port 8000: every request adds one to a counter, which is on disk
//!   before the answer `{"node", "service", "counter"}` goes out.
//! - Its own start (from `main` until it can answer) and stop (from SIGTERM until
//!   it ends) are appended to `times.jsonl` beside the counter: one JSON object
//!   a line, with wall time and `CLOCK_MONOTONIC`.
//!
//! One thread and a poll loop, so that it starts within a millisecond or two.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::fault::monotonic_ns;

/// Port on which datagrams are answered.
pub const UDP_PORT: u16 = 7000;
/// Port on which the counter is served.
pub const HTTP_PORT: u16 = 8000;
/// Length of the node's name in front of an answer, in bytes.
pub const NAME_LENGTH: usize = 16;
/// More HTTP clients than this at once are turned away.
const HTTP_CLIENTS: usize = 64;
const HTTP_PATIENCE: Duration = Duration::from_secs(2);

/// What the service is told on its command line.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeOptions {
    /// Name of the node that it runs on, at most 16 bytes.
    #[arg(long)]
    pub name: String,
    /// Name of the service.
    #[arg(long, default_value = "web")]
    pub service: String,
    /// File that keeps the counter.
    #[arg(long)]
    pub state: PathBuf,
    /// Address to serve, present or not; repeatable. Without it: all there are.
    #[arg(long = "address")]
    pub addresses: Vec<IpAddr>,
    /// Let another process serve the same addresses (`SO_REUSEPORT`): where no gate keeps two apart.
    #[arg(long, hide = true)]
    pub share: bool,
    /// UDP port.
    #[arg(long, default_value_t = UDP_PORT)]
    pub udp_port: u16,
    /// TCP port for HTTP.
    #[arg(long, default_value_t = HTTP_PORT)]
    pub http_port: u16,
}

/// A line of `times.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeLine {
    /// `start` or `stop`.
    pub event: String,
    /// Name of the node.
    pub node: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// When it was done, in ns of `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// When it was done, in seconds since 1970 (UTC).
    pub wall: f64,
}

/// The name in front of an answer, without its padding.
pub(crate) fn name_in(answer: &[u8]) -> Option<&str> {
    let name = answer.get(..NAME_LENGTH)?;
    let end = name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(NAME_LENGTH);
    std::str::from_utf8(&name[..end]).ok()
}

fn padded(name: &str) -> Result<[u8; NAME_LENGTH]> {
    if name.is_empty() || name.len() > NAME_LENGTH {
        bail!(
            "a node's name has 1 to {NAME_LENGTH} bytes; \"{name}\" has {}",
            name.len()
        );
    }
    let mut padded = [0; NAME_LENGTH];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    Ok(padded)
}

/// Runs the service until SIGTERM or SIGINT. `began_ns` is `CLOCK_MONOTONIC` at
/// the begin of `main`.
pub fn serve(options: &ServeOptions, began_ns: u64) -> Result<()> {
    let name = padded(&options.name)?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGTERM);
    ends.add(Signal::SIGINT);
    ends.thread_block()?;
    let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC)?;
    let counter = Arc::new(Counter::open(&options.state)?);
    let (mut datagrams, mut listeners) = (Vec::new(), Vec::new());
    for address in asked_addresses(&options.addresses) {
        let share = options.share;
        datagrams.push(udp(SocketAddr::new(address, options.udp_port), share)?);
        listeners.push(tcp(SocketAddr::new(address, options.http_port), share)?);
    }
    let times = options.state.with_file_name("times.jsonl");
    // Ready first, then the record: nobody waits for the record.
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    note(&times, "start", &options.name, began_ns);
    let mut clients = Clients::new(options, counter);
    let mut buffer = vec![0; NAME_LENGTH + 65_536];
    buffer[..NAME_LENGTH].copy_from_slice(&name);
    loop {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            datagrams
                .iter()
                .map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)),
        );
        fds.extend(
            listeners
                .iter()
                .map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready[0] {
            note(&times, "stop", &options.name, monotonic_ns());
            return Ok(());
        }
        for (socket, _) in datagrams
            .iter()
            .zip(&ready[1..])
            .filter(|(_, ready)| **ready)
        {
            while answer(socket, &mut buffer) {}
        }
        let after = &ready[1 + datagrams.len()..];
        for (listener, _) in listeners.iter().zip(after).filter(|(_, ready)| **ready) {
            while let Ok((stream, _)) = listener.accept() {
                clients.take(stream);
            }
        }
    }
}

fn asked_addresses(given: &[IpAddr]) -> Vec<IpAddr> {
    if given.is_empty() {
        return vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    }
    given.to_vec()
}

/// A socket bound to an address, whether the address is there now or not.
fn bound(address: SocketAddr, kind: Type, share: bool) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), None)?;
    // Linux takes the IPv4 option (IP_FREEBIND) on sockets of both families.
    setsockopt(&socket, sockopt::IpFreebind, &true).context("IP_FREEBIND")?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if share {
        socket.set_reuse_port(true)?;
    }
    socket
        .bind(&address.into())
        .with_context(|| format!("cannot bind to {address}"))?;
    Ok(socket)
}

fn udp(address: SocketAddr, share: bool) -> Result<Socket> {
    let socket = bound(address, Type::DGRAM, share)?;
    // So that the answer leaves from the address that was asked.
    if address.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(socket)
}

fn tcp(address: SocketAddr, share: bool) -> Result<TcpListener> {
    let socket = bound(address, Type::STREAM, share)?;
    socket.listen(128)?;
    Ok(socket.into())
}

/// Answers one datagram; false when there is none left. `buffer` begins with the
/// padded name; the datagram is read right behind it.
fn answer(socket: &Socket, buffer: &mut [u8]) -> bool {
    let fd = socket.as_raw_fd();
    let (length, from, mut v4, mut v6) = {
        let mut parts = [std::io::IoSliceMut::new(&mut buffer[NAME_LENGTH..])];
        let mut space = cmsg_space!(in_pktinfo, in6_pktinfo);
        let Ok(message) =
            recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), MsgFlags::empty())
        else {
            return false;
        };
        let (mut v4, mut v6) = (None, None);
        for control in message.cmsgs().into_iter().flatten() {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => v4 = Some(info),
                ControlMessageOwned::Ipv6PacketInfo(info) => v6 = Some(info),
                _ => {}
            }
        }
        (message.bytes, message.address, v4, v6)
    };
    let mut controls = Vec::new();
    if let Some(info) = &mut v4 {
        info.ipi_spec_dst = info.ipi_addr;
        info.ipi_addr = in_addr { s_addr: 0 };
        info.ipi_ifindex = 0;
        controls.push(ControlMessage::Ipv4PacketInfo(info));
    }
    if let Some(info) = &mut v6 {
        controls.push(ControlMessage::Ipv6PacketInfo(info));
    }
    let parts = [std::io::IoSlice::new(&buffer[..NAME_LENGTH + length])];
    // An address that has just gone away cannot answer; that is its meaning.
    let _ = sendmsg(fd, &parts, &controls, MsgFlags::empty(), from.as_ref());
    true
}

/// A number on disk.
struct Counter {
    file: PathBuf,
    value: Mutex<u64>,
}

impl Counter {
    fn open(file: &Path) -> Result<Self> {
        let value = match fs::read_to_string(file) {
            Ok(text) => text
                .trim()
                .parse()
                .with_context(|| format!("{} does not hold a number", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        };
        Ok(Self {
            file: file.to_owned(),
            value: Mutex::new(value),
        })
    }

    /// Adds one; on disk when it returns.
    fn add(&self) -> std::io::Result<u64> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let next = *value + 1;
        let partial = self.file.with_extension("partial");
        let mut file = File::create(&partial)?;
        writeln!(file, "{next}")?;
        file.sync_all()?;
        fs::rename(&partial, &self.file)?;
        if let Some(folder) = self.file.parent() {
            File::open(folder)?.sync_all()?;
        }
        *value = next;
        Ok(next)
    }
}

/// The HTTP clients, each on a thread of its own: a slow one holds up nobody.
struct Clients {
    node: String,
    service: String,
    counter: Arc<Counter>,
    number: Arc<AtomicUsize>,
}

impl Clients {
    fn new(options: &ServeOptions, counter: Arc<Counter>) -> Self {
        Self {
            node: options.name.clone(),
            service: options.service.clone(),
            counter,
            number: Arc::default(),
        }
    }

    fn take(&mut self, stream: TcpStream) {
        if self.number.load(Ordering::Relaxed) >= HTTP_CLIENTS {
            return;
        }
        self.number.fetch_add(1, Ordering::Relaxed);
        let (node, service) = (self.node.clone(), self.service.clone());
        let (counter, number) = (self.counter.clone(), self.number.clone());
        std::thread::spawn(move || {
            // A client that goes away early is its own affair.
            let _ = http(stream, &node, &service, &counter);
            number.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn http(
    mut stream: TcpStream,
    node: &str,
    service: &str,
    counter: &Counter,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE))?;
    stream.set_write_timeout(Some(HTTP_PATIENCE))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        if read == 0 || request.len() + read > 8192 {
            return Ok(());
        }
        request.extend_from_slice(&part[..read]);
    }
    let (status, body) = match counter.add() {
        Ok(counter) => (
            "200 OK",
            serde_json::json!({"node": node, "service": service, "counter": counter}),
        ),
        Err(error) => (
            "500 Internal Server Error",
            serde_json::json!({"node": node, "service": service, "error": error.to_string()}),
        ),
    };
    let body = format!("{body}\n");
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Appends to the record of starts and stops; a full disk stops no service.
fn note(file: &Path, event: &str, node: &str, since_ns: u64) {
    let now = monotonic_ns();
    let line = TimeLine {
        event: event.to_owned(),
        node: node.to_owned(),
        took_ms: Duration::from_nanos(now.saturating_sub(since_ns)).as_secs_f64() * 1e3,
        monotonic_ns: now,
        wall: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64(),
    };
    let attempt = || -> std::io::Result<()> {
        let text = format!("{}\n", serde_json::to_string(&line)?);
        File::options()
            .create(true)
            .append(true)
            .open(file)?
            .write_all(text.as_bytes())
    };
    if let Err(error) = attempt() {
        eprintln!("cannot write {}: {error}", file.display());
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_name_is_padded_and_read_back() {
        let mut answer = padded("sb1").unwrap().to_vec();
        answer.extend_from_slice(b"question");
        assert_eq!(answer.len(), 16 + 8);
        assert_eq!(name_in(&answer), Some("sb1"));
        assert_eq!(
            name_in(&padded("exactly-16-bytes").unwrap()),
            Some("exactly-16-bytes")
        );
        assert_eq!(name_in(b"short"), None);
        assert!(padded("").is_err());
        assert!(padded("longer-than-16-by").is_err());
    }

    #[test]
    fn answers_leave_from_the_address_that_was_asked() {
        let server = udp("0.0.0.0:0".parse().unwrap(), false).unwrap();
        let port = server.local_addr().unwrap().as_socket().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut buffer = vec![0; NAME_LENGTH + 2048];
        buffer[..NAME_LENGTH].copy_from_slice(&padded("n1").unwrap());
        for asked in ["127.0.0.1", "127.0.0.77"] {
            client.send_to(b"hello", (asked, port)).unwrap();
            let mut fds = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, 5000u16).unwrap(), 1);
            assert!(answer(&server, &mut buffer));
            let mut reply = [0; 64];
            let (length, from) = client.recv_from(&mut reply).unwrap();
            assert_eq!(from.ip().to_string(), asked);
            assert_eq!(name_in(&reply[..length]), Some("n1"));
            assert_eq!(&reply[NAME_LENGTH..length], b"hello");
        }
        assert!(!answer(&server, &mut buffer));
    }

    #[test]
    fn binds_to_an_address_that_is_not_there() {
        // 192.0.2.0/24 and 2001:db8::/32 are for documentation (RFC 5737, 3849).
        for absent in ["192.0.2.250:0", "[2001:db8::fa]:0"] {
            udp(absent.parse().unwrap(), false).unwrap();
            tcp(absent.parse().unwrap(), false).unwrap();
        }
    }

    #[test]
    fn the_counter_survives() {
        let folder =
            std::env::temp_dir().join(format!("backstay-serve-test-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("counter");
        assert_eq!(Counter::open(&file).unwrap().add().unwrap(), 1);
        assert_eq!(Counter::open(&file).unwrap().add().unwrap(), 2);
        fs::write(&file, "nonsense").unwrap();
        assert!(Counter::open(&file).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
