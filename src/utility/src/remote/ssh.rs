//! SSH by libssh2. One thread per session; every step has a deadline (libssh2's own default is to wait for
//! ever); what a host shows is compared with what is pinned before anything secret is used.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ssh2::{BlockDirections, ErrorCode, MethodType};

use super::{Contact, Deadlines, HostKey, Pins, RemoteError, Transport};
use backstay_wire::rpc::clean;

/// libssh2's codes that are told apart here (libssh2.h).
mod code {
    pub(super) const KEY_EXCHANGE: i32 = -5;
    pub(super) const TIMEOUT: i32 = -9;
    pub(super) const METHOD_NONE: i32 = -17;
    pub(super) const SOCKET_TIMEOUT: i32 = -30;
    pub(super) const EAGAIN: i32 = -37;
}

/// Most bytes of a far command's error output that are kept.
const MAX_STDERR: usize = 4 * 1024;

/// The exit status of a command that a signal killed, as ssh(1) has it.
const KILLED: i32 = 255;

/// How SSH is spoken.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Key files to use; empty: ssh-agent, then `~/.ssh/id_*`.
    pub identities: Vec<PathBuf>,
    /// Deadlines of the steps.
    pub deadlines: Deadlines,
    /// A host to go through.
    pub jump: Option<(Contact, Pins)>,
}

/// An authenticated SSH session.
pub struct Session {
    inner: ssh2::Session,
    /// The same socket once more, to wait on and to shut down.
    socket: Wire,
    host: String,
    deadlines: Deadlines,
    shown: HostKey,
    /// Kept alive as long as this session goes through it.
    _jump: Option<super::jump::Jump>,
}

/// What carries an SSH session.
pub(super) enum Wire {
    /// Directly.
    Tcp(TcpStream),
    /// Through a jump host.
    Pair(std::os::unix::net::UnixStream),
}

impl Wire {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(s) => s.as_fd(),
            Self::Pair(s) => s.as_fd(),
        }
    }

    fn shutdown(&self) {
        // It may be closed already; then there is nothing to end.
        let _ = match self {
            Self::Tcp(s) => s.shutdown(std::net::Shutdown::Both),
            Self::Pair(s) => s.shutdown(std::net::Shutdown::Both),
        };
    }
}

/// Sets how long libssh2's next call may block; zero would mean for ever.
fn allow(session: &ssh2::Session, until: Instant) {
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    session.set_timeout(u32::try_from(left).unwrap_or(u32::MAX).max(1));
}

fn is_timeout(e: &ssh2::Error) -> bool {
    matches!(
        e.code(),
        ErrorCode::Session(code::TIMEOUT | code::SOCKET_TIMEOUT | code::EAGAIN)
    )
}

fn dial(contact: &Contact, limit: Duration) -> Result<TcpStream, RemoteError> {
    let host = contact.to_string();
    let unreachable = |why: String| RemoteError::Unreachable {
        host: host.clone(),
        why,
    };
    let addresses: Vec<_> = (contact.host.as_str(), contact.port)
        .to_socket_addrs()
        .map_err(|e| unreachable(format!("the name has no address ({e})")))?
        .collect();
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => {
                // Only latency is lost without it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) if e.kind() == ErrorKind::TimedOut => {
                why = format!(
                    "no answer from {address} within {} s",
                    limit.as_secs_f32().ceil()
                );
            }
            Err(e) => why = format!("{e} ({address})"),
        }
    }
    Err(unreachable(why))
}

impl Session {
    /// Connects, checks the host's key and authenticates.
    ///
    /// # Errors
    /// See [`RemoteError`]; each within its deadline.
    pub fn open(contact: &Contact, pins: &Pins, options: &Options) -> Result<Self, RemoteError> {
        let (mut session, socket, jump, began) = Self::shake(contact, pins.algorithms(), options)
            .or_else(|e| match e {
                // The host has no key of the pinned types: see which it has, to show both.
                Shake::NoCommonKey(_) if !pins.is_empty() => Self::shake(contact, None, options),
                e => Err(e),
            })
            .map_err(Shake::into_remote)?;
        let host = contact.to_string();
        let shown = session
            .host_key()
            .ok_or_else(|| "it shows no host key".to_owned())
            .and_then(|(blob, _)| HostKey::from_blob(blob))
            .map_err(|why| RemoteError::Protocol {
                host: host.clone(),
                why,
            })?;
        pins.judge(&host, &shown)?;
        tracing::info!("{host} shows the host key {}", shown.fingerprint());
        let until = began + options.deadlines.session;
        super::auth::authenticate(&mut session, contact, options, until)?;
        Ok(Self {
            inner: session,
            socket,
            host,
            deadlines: options.deadlines,
            shown,
            _jump: jump,
        })
    }

    /// Only looks which key a host shows, for the admin to compare. Nothing secret is used.
    ///
    /// # Errors
    /// Unreachable, or no SSH.
    pub fn look(contact: &Contact, options: &Options) -> Result<HostKey, RemoteError> {
        // The best type first; a host that has none of them shows what it has.
        let preferred = "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256";
        let (session, ..) = Self::shake(contact, Some(preferred.to_owned()), options)
            .or_else(|_| Self::shake(contact, None, options))
            .map_err(Shake::into_remote)?;
        session
            .host_key()
            .ok_or_else(|| "it shows no host key".to_owned())
            .and_then(|(blob, _)| HostKey::from_blob(blob))
            .map_err(|why| RemoteError::Protocol {
                host: contact.to_string(),
                why,
            })
    }

    /// The key that the host proved.
    pub fn host_key(&self) -> &HostKey {
        &self.shown
    }

    #[allow(clippy::type_complexity)] // one private function's result
    fn shake(
        contact: &Contact,
        algorithms: Option<String>,
        options: &Options,
    ) -> Result<(ssh2::Session, Wire, Option<super::jump::Jump>, Instant), Shake> {
        let host = contact.to_string();
        let limits = options.deadlines;
        let broken = |e: &dyn std::fmt::Display| {
            Shake::Other(RemoteError::Unreachable {
                host: host.clone(),
                why: clean(&e.to_string()),
            })
        };
        let mut session = ssh2::Session::new().map_err(|e| broken(&e))?;
        let (wire, jump) = match &options.jump {
            None => {
                let stream = dial(contact, limits.connect).map_err(Shake::Other)?;
                session.set_tcp_stream(stream.try_clone().map_err(|e| broken(&e))?);
                (Wire::Tcp(stream), None)
            }
            Some((through, pins)) => {
                let jump = super::jump::Jump::open(through, pins, contact, options)
                    .map_err(Shake::Other)?;
                let stream = jump.stream().map_err(|e| broken(&e))?;
                session.set_tcp_stream(stream.try_clone().map_err(|e| broken(&e))?);
                (Wire::Pair(stream), Some(jump))
            }
        };
        let began = Instant::now();
        allow(&session, began + limits.session);
        if let Some(algorithms) = algorithms {
            session
                .method_pref(MethodType::HostKey, &algorithms)
                .map_err(|e| broken(&e))?;
        }
        match session.handshake() {
            Ok(()) => Ok((session, wire, jump, began)),
            Err(e) if is_timeout(&e) || began.elapsed() >= limits.session => {
                Err(Shake::Other(RemoteError::Timeout {
                    host,
                    during: "SSH handshake",
                    after: began.elapsed(),
                }))
            }
            Err(e) => {
                let said = RemoteError::Unreachable {
                    host: host.clone(),
                    why: format!("SSH handshake failed: {}", clean(e.message())),
                };
                Err(match e.code() {
                    ErrorCode::Session(code::KEY_EXCHANGE | code::METHOD_NONE) => {
                        Shake::NoCommonKey(said)
                    }
                    _ => Shake::Other(said),
                })
            }
        }
    }

    fn timeout(&self, during: &'static str, began: Instant) -> RemoteError {
        RemoteError::Timeout {
            host: self.host.clone(),
            during,
            after: began.elapsed(),
        }
    }

    fn closed(&self, why: &str) -> RemoteError {
        RemoteError::Closed {
            host: self.host.clone(),
            why: clean(why),
        }
    }

    /// Waits until the socket can do what libssh2 wants, or the deadline.
    fn wait(&self, deadline: Instant) -> bool {
        let wanted = match self.inner.block_directions() {
            BlockDirections::None | BlockDirections::Inbound => PollFlags::POLLIN,
            BlockDirections::Outbound => PollFlags::POLLOUT,
            BlockDirections::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let mut fds = [PollFd::new(self.socket.fd(), wanted)];
        let left = PollTimeout::try_from(left.min(Duration::from_hours(1)).as_millis().max(1))
            .unwrap_or(PollTimeout::MAX);
        // An interrupted wait is tried again by the caller, who looks at the deadline.
        let _ = poll(&mut fds, left);
        true
    }

    /// A channel on which a command runs.
    fn exec(&self, command: &str) -> Result<ssh2::Channel, RemoteError> {
        let began = Instant::now();
        self.inner.set_blocking(true);
        allow(&self.inner, began + self.deadlines.session);
        let channel = self.inner.channel_session().and_then(|mut channel| {
            channel.exec(command)?;
            Ok(channel)
        });
        self.inner.set_blocking(false);
        channel.map_err(|e| {
            if is_timeout(&e) {
                self.timeout("starting a command", began)
            } else {
                self.closed(e.message())
            }
        })
    }

    /// Runs a command as the transport of the agent protocol.
    ///
    /// # Errors
    /// The host does not start it in time.
    pub fn start(self, command: &str) -> Result<Channel, RemoteError> {
        let channel = self.exec(command)?;
        Ok(Channel {
            inner: Some(channel),
            session: self,
            stderr: Vec::new(),
        })
    }

    /// Runs a command to its end, feeding it `input`.
    ///
    /// # Errors
    /// It did not end before the deadline, or the session broke.
    pub fn run(&self, command: &str, input: &[u8], limit: Duration) -> Result<Output, RemoteError> {
        let began = Instant::now();
        let deadline = began + limit;
        let mut channel = self.exec(command)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut sent = 0;
        let mut told_end = false;
        loop {
            let mut moved = false;
            if sent < input.len() {
                let part = &input[sent..input.len().min(sent + 32 * 1024)];
                match channel.write(part) {
                    Ok(n) => {
                        sent += n;
                        moved |= n > 0;
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    // It ended before it read everything; its status says why.
                    Err(_) if channel.eof() => sent = input.len(),
                    Err(e) => return Err(self.closed(&e.to_string())),
                }
            } else if !told_end {
                match channel.send_eof() {
                    Ok(()) => {
                        told_end = true;
                        moved = true;
                    }
                    Err(e) if is_timeout(&e) => {}
                    Err(e) => return Err(self.closed(e.message())),
                }
            }
            moved |= drain(&mut channel, &mut out, 1024 * 1024)
                .map_err(|e| self.closed(&e.to_string()))?;
            moved |= drain(&mut channel.stderr(), &mut err, MAX_STDERR)
                .map_err(|e| self.closed(&e.to_string()))?;
            moved |= queued(&channel);
            if channel.eof() && !moved {
                break;
            }
            if !moved && !self.wait(deadline) || Instant::now() > deadline {
                return Err(self.timeout("running a command", began));
            }
        }
        let (status, signal) = self.ending(&mut channel, deadline).map_err(|e| {
            if is_timeout(&e) {
                self.timeout("running a command", began)
            } else {
                self.closed(e.message())
            }
        })?;
        if let Some(signal) = signal {
            err.extend(format!("\nkilled by {}", signal_name(&signal)).bytes());
        }
        Ok(Output { status, out, err })
    }

    /// Exit status and signal of a command that has said everything: they come with or before the channel's close.
    fn ending(
        &self,
        channel: &mut ssh2::Channel,
        deadline: Instant,
    ) -> Result<(i32, Option<String>), ssh2::Error> {
        self.inner.set_blocking(true);
        allow(&self.inner, deadline);
        let closed = channel.close().and_then(|()| channel.wait_close());
        self.inner.set_blocking(false);
        closed?;
        // A command that a signal killed has no status (RFC 4254, 6.10), which libssh2 gives as 0.
        match channel.exit_signal()?.exit_signal {
            Some(signal) => Ok((KILLED, Some(signal))),
            None => Ok((channel.exit_status()?, None)),
        }
    }

    pub(super) fn raw(&self) -> &ssh2::Session {
        &self.inner
    }

    pub(super) fn wait_with(&self, other: std::os::fd::BorrowedFd<'_>, writable: bool) {
        let wanted = if writable {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let mut own = PollFlags::POLLIN;
        if matches!(
            self.inner.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        ) {
            own |= PollFlags::POLLOUT;
        }
        let mut fds = [
            PollFd::new(self.socket.fd(), own),
            PollFd::new(other, wanted),
        ];
        // Looked at again at least every second, whatever happens.
        let _ = poll(&mut fds, PollTimeout::from(1000_u16));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // libssh2 would wait for the far end's goodbye when it frees channels (ssh2-rs#165). With the
        // socket shut it can't.
        self.inner.set_blocking(false);
        self.socket.shutdown();
    }
}

enum Shake {
    NoCommonKey(RemoteError),
    Other(RemoteError),
}

impl Shake {
    fn into_remote(self) -> RemoteError {
        match self {
            Self::NoCommonKey(e) | Self::Other(e) => e,
        }
    }
}

/// How a far command ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status; never 0 where a signal killed it.
    pub status: i32,
    /// What it wrote; at most 1 MiB.
    pub out: Vec<u8>,
    /// What it complained; at most 4 KiB.
    pub err: Vec<u8>,
}

impl Output {
    /// The output as text without control signs.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.out);
        text.lines().map(clean).collect::<Vec<_>>().join("\n")
    }

    /// The last complaint in one line.
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.err);
        let last = text.lines().rev().find(|l| !l.trim().is_empty());
        last.map_or_else(|| format!("exit status {}", self.status), clean)
    }
}

/// RFC 4254, 6.10: signals come without `SIG`; those that it does not know are `name@domain`.
fn signal_name(signal: &str) -> String {
    if signal.contains('@') {
        "a signal".to_owned()
    } else {
        format!("SIG{signal}")
    }
}

/// Reads what is there, keeping at most `most` bytes; whether anything was there.
fn drain(from: &mut impl Read, into: &mut Vec<u8>, most: usize) -> std::io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    match from.read(&mut buffer) {
        Ok(n) => {
            let room = most.saturating_sub(into.len());
            into.extend_from_slice(&buffer[..n.min(room)]);
            Ok(n > 0)
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

/// Something has come and not been read: reading either stream takes from the socket what there is for both
/// (libssh2's `ssh2_channel_read`), and for that nothing wakes who waits at the socket.
fn queued(channel: &ssh2::Channel) -> bool {
    channel.read_window().available > 0
}

/// The one persistent channel of a session.
pub struct Channel {
    /// There until it is dropped.
    inner: Option<ssh2::Channel>,
    session: Session,
    stderr: Vec<u8>,
}

impl Channel {
    fn why_closed(&self) -> String {
        let said = String::from_utf8_lossy(&self.stderr);
        let last = said.lines().rev().find(|l| !l.trim().is_empty());
        last.unwrap_or_default().to_owned()
    }
}

impl Transport for Channel {
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), RemoteError> {
        let began = Instant::now();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(channel) = &mut self.inner else {
                return Err(self.session.closed("it was closed here"));
            };
            match channel.write(rest) {
                Ok(0) => return Err(self.session.closed(&self.why_closed())),
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    if !self.session.wait(deadline) {
                        return Err(self.session.timeout("sending", began));
                    }
                }
                Err(e) => return Err(self.session.closed(&e.to_string())),
            }
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> Result<usize, RemoteError> {
        let began = Instant::now();
        let mut buffer = [0; 16 * 1024];
        loop {
            let Some(channel) = &mut self.inner else {
                return Err(self.session.closed("it was closed here"));
            };
            match channel.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    into.extend_from_slice(&buffer[..n]);
                    return Ok(n);
                }
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(self.session.closed(&e.to_string())),
            }
            // Drained also because a full window would stop the channel.
            let complained = drain(&mut channel.stderr(), &mut self.stderr, MAX_STDERR)
                .map_err(|e| self.session.closed(&e.to_string()))?;
            if channel.eof() && !complained {
                return Err(self.session.closed(&self.why_closed()));
            }
            let more = complained || queued(channel);
            // Complaints that never end are no answer.
            let late = Instant::now() >= deadline;
            if late || !more && !self.session.wait(deadline) {
                return Err(self.session.timeout("an answer", began));
            }
        }
    }

    fn noisy(&self) -> bool {
        true
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(mut channel) = self.inner.take() {
            // Told if it can be told at once; the shut socket tells it anyway.
            let _ = channel.send_eof();
            self.session.socket.shutdown();
            drop(channel);
        }
    }
}
