//! The agent protocol from the client's end.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_wire::rpc::{
    Call, Code, Fault, Hello, MAX_LINE, NEWEST, OLDEST, PREAMBLE, Reply, Request,
};
use serde::de::DeserializeOwned;

use super::{Connector, Deadlines, RemoteError, Target, Transport};

/// Most bytes of a login shell's noise that are skipped before the preamble.
const MAX_NOISE: usize = 64 * 1024;

/// A session with one agent: calls one after the other.
pub struct Client {
    transport: Box<dyn Transport>,
    label: String,
    /// Received, not yet a whole line.
    buffer: Vec<u8>,
    /// How much of the buffer is known to hold no line's end.
    searched: usize,
    next_id: u64,
    deadlines: Deadlines,
    hello: Hello,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.label)
    }
}

/// Everything needed to open a [`Client`] to any target.
#[derive(Clone)]
pub struct Handle {
    /// Makes the transports.
    pub connector: Arc<dyn Connector>,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// Who sits here: `user@host` (U8, U11).
    pub user: String,
}

impl Handle {
    /// Connects and greets.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub fn open(&self, target: &Target) -> Result<Client, RemoteError> {
        let transport = self.connector.connect(target)?;
        Client::greet(transport, target.label(), self.deadlines, &self.user)
    }
}

impl Client {
    /// Skips a shell's noise and says Hello.
    ///
    /// # Errors
    /// No preamble, no agent behind it, no common version; all within the deadlines.
    pub fn greet(
        transport: Box<dyn Transport>,
        label: String,
        deadlines: Deadlines,
        user: &str,
    ) -> Result<Self, RemoteError> {
        let mut client = Self {
            transport,
            label,
            buffer: Vec::new(),
            searched: 0,
            next_id: 1,
            deadlines,
            hello: Hello {
                version: 0,
                agent: String::new(),
                node: None,
                id: None,
                role: backstay_core::model::SystemRole::Free,
                clusters: std::collections::BTreeMap::new(),
                system_revision: 0,
                staged: std::collections::BTreeMap::new(),
                writable: false,
            },
        };
        client.skip_noise(Instant::now() + deadlines.session)?;
        client.hello = client.call(Request::Hello {
            oldest: OLDEST,
            newest: NEWEST,
            client: concat!("backstay ", env!("CARGO_PKG_VERSION")).to_owned(),
            user: user.to_owned(),
        })?;
        if !(OLDEST..=NEWEST).contains(&client.hello.version) {
            return Err(client.nonsense(format!(
                "it chose version {}, this utility speaks {OLDEST} to {NEWEST}",
                client.hello.version
            )));
        }
        Ok(client)
    }

    /// What the agent said of itself when the session began.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// How the far end is named to the admin.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// From now on it is called that (a node's name instead of its address).
    pub fn rename(&mut self, label: impl Into<String>) {
        self.label = label.into();
    }

    fn skip_noise(&mut self, deadline: Instant) -> Result<(), RemoteError> {
        if !self.transport.noisy() {
            return Ok(());
        }
        let began = Instant::now();
        let mark = PREAMBLE.as_bytes();
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|w| w == mark) {
                self.buffer.drain(..at + mark.len());
                return Ok(());
            }
            if self.buffer.len() > MAX_NOISE {
                return Err(self.nonsense(format!(
                    "more than {MAX_NOISE} bytes came before the agent spoke; does a login script print?"
                )));
            }
            match self.transport.receive(&mut self.buffer, deadline) {
                Ok(_) => {}
                Err(RemoteError::Timeout { .. }) => {
                    return Err(RemoteError::Timeout {
                        host: self.label.clone(),
                        during: "waiting for its agent to speak",
                        after: began.elapsed(),
                    });
                }
                // Whatever was said instead explains it best.
                Err(RemoteError::Closed { why, .. }) => {
                    let noise = String::from_utf8_lossy(&self.buffer);
                    let last = noise.lines().rev().find(|l| !l.trim().is_empty());
                    return Err(RemoteError::NoAgent {
                        host: self.label.clone(),
                        why: clean_line(if why.is_empty() { last.unwrap_or("it said nothing") } else { &why }),
                    });
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn nonsense(&self, why: String) -> RemoteError {
        RemoteError::Protocol {
            host: self.label.clone(),
            why: clean_line(&why),
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, RemoteError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let end = self.searched + at;
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(self.nonsense(format!("a line is longer than {MAX_LINE} bytes")));
            }
            self.transport.receive(&mut self.buffer, deadline)?;
        }
    }

    fn send(&mut self, request: Request) -> Result<u64, RemoteError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut line = serde_json::to_vec(&Call { id, request })
            .map_err(|e| self.nonsense(e.to_string()))?;
        if line.len() >= MAX_LINE {
            return Err(self.nonsense("the request is longer than a line may be".to_owned()));
        }
        line.push(b'\n');
        self.transport
            .send(&line, Instant::now() + self.deadlines.request)?;
        Ok(id)
    }

    fn reply(&mut self, id: u64, deadline: Instant) -> Result<Reply, RemoteError> {
        loop {
            let line = self.line(deadline)?;
            let reply: Reply = serde_json::from_slice(&line)
                .map_err(|e| self.nonsense(format!("a reply can't be read: {e}")))?;
            let of = match &reply {
                Reply::Progress { id, .. } | Reply::Done { id, .. } | Reply::Failed { id, .. } => *id,
            };
            // A reply to an earlier call that was given up is passed over.
            if of == id {
                return Ok(reply);
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, value: serde_json::Value) -> Result<T, RemoteError> {
        serde_json::from_value(value)
            .map_err(|e| self.nonsense(format!("a result can't be read: {e}")))
    }

    fn fault(&self, mut error: Fault) -> RemoteError {
        error.message = clean_line(&error.message);
        for problem in &mut error.problems {
            for text in [&mut problem.place, &mut problem.what, &mut problem.mend] {
                *text = clean_line(text);
            }
        }
        RemoteError::Fault {
            host: self.label.clone(),
            fault: error,
        }
    }

    /// Asks and waits for the end, within the request's deadline.
    ///
    /// # Errors
    /// The agent's refusal as [`RemoteError::Fault`]; else what broke.
    pub fn call<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, RemoteError> {
        let began = Instant::now();
        let deadline = began + self.deadlines.request;
        let id = self.send(request)?;
        loop {
            match self.reply(id, deadline) {
                Ok(Reply::Progress { .. }) => {}
                Ok(Reply::Done { value, .. }) => return self.read(value),
                Ok(Reply::Failed { error, .. }) => return Err(self.fault(error)),
                Err(RemoteError::Timeout { .. }) => {
                    return Err(RemoteError::Timeout {
                        host: self.label.clone(),
                        during: "waiting for an answer",
                        after: began.elapsed(),
                    });
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Asks for something that goes on and hands each part to `each`, until that breaks off or the agent
    /// ends it. `each` is also called with `None` about every `tick`, so that it can look at other things.
    ///
    /// # Errors
    /// As [`call`](Self::call); an agent that sends nothing is not an error here, `each` decides.
    pub fn stream<T: DeserializeOwned, B>(
        &mut self,
        request: Request,
        tick: Duration,
        mut each: impl FnMut(Option<T>) -> ControlFlow<B>,
    ) -> Result<Option<B>, RemoteError> {
        let id = self.send(request)?;
        loop {
            let flow = match self.reply(id, Instant::now() + tick) {
                Ok(Reply::Progress { value, .. }) => each(Some(self.read(value)?)),
                Ok(Reply::Done { .. }) => return Ok(None),
                Ok(Reply::Failed { error, .. }) => return Err(self.fault(error)),
                Err(RemoteError::Timeout { .. }) => each(None),
                Err(e) => return Err(e),
            };
            if let ControlFlow::Break(with) = flow {
                return Ok(Some(with));
            }
        }
    }

    /// Whether the agent answered that it does not know the method.
    pub fn unsupported(error: &RemoteError) -> bool {
        error.is(Code::Unsupported)
    }
}

/// A text of another machine as one line without control signs, of at most 300 signs.
pub fn clean_line(text: &str) -> String {
    crate::output::clean::clean(text)
}
