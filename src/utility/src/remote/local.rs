//! The agent's own socket, for use on a node itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use super::{RemoteError, Transport};

/// A connection to the agent of this machine.
#[derive(Debug)]
pub struct Local {
    stream: UnixStream,
    host: String,
}

impl Local {
    /// Connects; errors call the far end `host`.
    ///
    /// # Errors
    /// There is no agent, it does not run, or this user may not talk to it.
    pub fn connect(path: &Path, host: &str) -> Result<Self, RemoteError> {
        let host = host.to_owned();
        // A Unix socket connects at once or, with a full queue, waits; an agent that hangs shows at Hello.
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Self { stream, host }),
            Err(e) => Err(RemoteError::NoAgent {
                host,
                why: format!("{}: {e}", path.display()),
            }),
        }
    }

    fn closed(&self, why: &std::io::Error) -> RemoteError {
        RemoteError::Closed {
            host: self.host.clone(),
            why: why.to_string(),
        }
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(
        e.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

impl Transport for Local {
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), RemoteError> {
        let began = Instant::now();
        // A timeout of zero would mean none.
        let left = deadline
            .saturating_duration_since(began)
            .max(std::time::Duration::from_millis(1));
        self.stream
            .set_write_timeout(Some(left))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(|e| {
                if is_timeout(&e) {
                    RemoteError::Timeout {
                        host: self.host.clone(),
                        during: "sending",
                        after: began.elapsed(),
                    }
                } else {
                    self.closed(&e)
                }
            })
    }

    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> Result<usize, RemoteError> {
        let began = Instant::now();
        let mut buffer = [0; 16 * 1024];
        loop {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(std::time::Duration::from_millis(1));
            let got = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut buffer));
            match got {
                Ok(0) => {
                    return Err(RemoteError::Closed {
                        host: self.host.clone(),
                        why: "the agent ended the connection".to_owned(),
                    });
                }
                Ok(n) => {
                    into.extend_from_slice(&buffer[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => {
                    return Err(RemoteError::Timeout {
                        host: self.host.clone(),
                        during: "an answer",
                        after: began.elapsed(),
                    });
                }
                Err(e) => return Err(self.closed(&e)),
            }
        }
    }

    fn noisy(&self) -> bool {
        false
    }
}
