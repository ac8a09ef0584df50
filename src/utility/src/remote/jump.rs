//! Going through another host: a channel of its session, pumped into a pair of sockets, carries the
//! session to the real target.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use super::ssh::{Options, Session};
use super::{Contact, Pins, RemoteError};
use backstay_wire::rpc::clean;

/// A way through a jump host. Ends when both ends of the socket pair are gone.
pub(super) struct Jump {
    near: UnixStream,
}

impl Jump {
    /// Opens the session to the jump host and the way on to `target`.
    ///
    /// # Errors
    /// The jump host can't be reached, or it can't reach the target.
    pub(super) fn open(
        through: &Contact,
        pins: &Pins,
        target: &Contact,
        options: &Options,
    ) -> Result<Self, RemoteError> {
        let direct = Options {
            jump: None,
            ..options.clone()
        };
        let session = Session::open(through, pins, &direct)?;
        let until = Instant::now() + options.deadlines.session;
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        session
            .raw()
            .set_timeout(u32::try_from(left).unwrap_or(u32::MAX));
        let fail = |why: &str| RemoteError::Unreachable {
            host: target.to_string(),
            why: format!("through {through}: {}", clean(why)),
        };
        let channel = session
            .raw()
            .channel_direct_tcpip(&target.host, target.port, None)
            .map_err(|e| fail(e.message()))?;
        let (near, far) = UnixStream::pair().map_err(|e| fail(&e.to_string()))?;
        far.set_nonblocking(true)
            .map_err(|e| fail(&e.to_string()))?;
        session.raw().set_blocking(false);
        thread::Builder::new()
            .name("jump".to_owned())
            .spawn(move || pump(&session, channel, far))
            .map_err(|e| fail(&e.to_string()))?;
        Ok(Self { near })
    }

    /// The near end, to be spoken SSH over.
    pub(super) fn stream(&self) -> std::io::Result<UnixStream> {
        self.near.try_clone()
    }
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    ended: bool,
}

impl Pending {
    /// Moves on what it can; whether anything moved. An error ends the way.
    fn step(&mut self, from: &mut impl Read, to: &mut impl Write) -> std::io::Result<bool> {
        let mut moved = false;
        if self.bytes.is_empty() && !self.ended {
            let mut buffer = [0; 16 * 1024];
            match from.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.bytes.extend_from_slice(&buffer[..n]);
                    moved = true;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        if !self.bytes.is_empty() {
            match to.write(&self.bytes) {
                Ok(n) => {
                    self.bytes.drain(..n);
                    moved |= n > 0;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(moved)
    }
}

fn pump(session: &Session, mut channel: ssh2::Channel, mut far: UnixStream) {
    let (mut out, mut back) = (Pending::default(), Pending::default());
    let mut channel_in = channel.stream(0);
    loop {
        let moved = out
            .step(&mut far, &mut channel)
            .and_then(|a| back.step(&mut channel_in, &mut far).map(|b| a || b));
        match moved {
            Err(_) => return,
            Ok(true) => {}
            Ok(false) => {
                // libssh2 reads zero bytes at the end and sometimes before it.
                back.ended = channel.eof();
                if out.ended || back.ended {
                    return;
                }
                session.wait_with(far.as_fd(), !back.bytes.is_empty());
            }
        }
    }
}
