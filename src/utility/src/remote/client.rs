//! The agent protocol from the client's end.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_wire::rpc::{
    Call, Code, Fault, Hello, LineError, LineSplitter, NEWEST, OLDEST, Reply, Request, clean,
    parse_reply, to_line,
};
use serde::de::DeserializeOwned;

use super::{Connector, Deadlines, RemoteError, Target, Transport};

/// A session with one agent: calls one after the other.
pub struct Client {
    transport: Box<dyn Transport>,
    label: String,
    lines: LineSplitter,
    /// The agent has spoken: what ends the session now is no missing agent.
    spoke: bool,
    next_id: u64,
    deadlines: Deadlines,
    user: String,
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
        let mut client = Self::unheard(transport, label, deadlines, user);
        client.ask_again()?;
        if !(OLDEST..=NEWEST).contains(&client.hello.version) {
            return Err(client.nonsense(format!(
                "it chose version {}, this utility speaks {OLDEST} to {NEWEST}",
                client.hello.version
            )));
        }
        Ok(client)
    }

    /// Before the agent has said anything.
    fn unheard(
        transport: Box<dyn Transport>,
        label: String,
        deadlines: Deadlines,
        user: &str,
    ) -> Self {
        let lines = if transport.noisy() {
            LineSplitter::after_preamble()
        } else {
            LineSplitter::new()
        };
        Self {
            transport,
            label,
            lines,
            spoke: false,
            next_id: 1,
            deadlines,
            user: user.to_owned(),
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
                viewer: false,
            },
        }
    }

    /// Lets the agent say anew what it has.
    ///
    /// # Errors
    /// The session broke.
    pub fn ask_again(&mut self) -> Result<(), RemoteError> {
        self.hello = self.hello_call(Request::Hello {
            oldest: OLDEST,
            newest: NEWEST,
            client: format!("backstay {}", backstay_core::VERSION),
            user: self.user.clone(),
        })?;
        Ok(())
    }

    /// What the agent said of itself when the session began, or when it was asked again.
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

    /// The first call. What goes wrong in it is told as a matter of reaching the agent.
    fn hello_call(&mut self, hello: Request) -> Result<Hello, RemoteError> {
        // The far end may say nothing before its preamble: what is sent earlier waits in its input.
        self.call(hello).map_err(|error| match error {
            RemoteError::Timeout { host, after, .. } => RemoteError::Timeout {
                host,
                during: "waiting for its agent to speak",
                after,
            },
            RemoteError::Closed { host, why } if !self.spoke => RemoteError::NoAgent {
                host,
                why: if why.is_empty() {
                    "the session ended before it spoke".to_owned()
                } else {
                    why
                },
            },
            other => other,
        })
    }

    fn nonsense(&self, why: impl AsRef<str>) -> RemoteError {
        RemoteError::Protocol {
            host: self.label.clone(),
            why: clean(why.as_ref()),
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, RemoteError> {
        let mut got = Vec::new();
        loop {
            let next = self.lines.next_line();
            if let Some(line) = next.map_err(|e: LineError| self.nonsense(e.to_string()))? {
                self.spoke = true;
                return Ok(line);
            }
            if !got.is_empty() {
                self.in_time(deadline)?;
                got.clear();
            }
            self.transport.receive(&mut got, deadline)?;
            self.lines.push(&got);
        }
    }

    /// Bytes that are no answer win no time: looked at after each of them. An answer that is there counts.
    fn in_time(&self, deadline: Instant) -> Result<(), RemoteError> {
        match Instant::now().checked_duration_since(deadline) {
            None => Ok(()),
            Some(after) => Err(RemoteError::Timeout {
                host: self.label.clone(),
                during: "an answer",
                after,
            }),
        }
    }

    fn send(&mut self, request: Request) -> Result<u64, RemoteError> {
        let id = self.next_id;
        self.next_id += 1;
        let line = to_line(&Call { id, request }).map_err(|e| self.nonsense(e.to_string()))?;
        self.transport
            .send(&line, Instant::now() + self.deadlines.request)?;
        Ok(id)
    }

    fn reply(&mut self, id: u64, deadline: Instant) -> Result<Reply, RemoteError> {
        loop {
            let line = self.line(deadline)?;
            let reply = parse_reply(&line).map_err(|e| self.nonsense(e.to_string()))?;
            // A reply to an earlier call that was given up is passed over.
            if reply.id() == id {
                return Ok(reply);
            }
            self.in_time(deadline)?;
        }
    }

    fn read<T: DeserializeOwned>(&self, value: serde_json::Value) -> Result<T, RemoteError> {
        serde_json::from_value(value)
            .map_err(|e| self.nonsense(format!("a result can't be read: {e}")))
    }

    fn fault(&self, mut error: Fault) -> RemoteError {
        error.message = clean(&error.message);
        if error.code == Code::Unsupported && !self.hello.agent.is_empty() {
            error.message = format!(
                "its agent, version {}, is too old for that ({}): `backstay node upgrade {}`",
                clean(&self.hello.agent),
                error.message,
                self.label
            );
        }
        for problem in &mut error.problems {
            for text in [&mut problem.place, &mut problem.what, &mut problem.mend] {
                *text = clean(text);
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
        if tracing::enabled!(tracing::Level::DEBUG) {
            // Only which call: documents carry secrets.
            let call = serde_json::to_value(&request).unwrap_or_default();
            tracing::debug!("{}: {}", self.label, call["method"]);
        }
        let id = self.send(request)?;
        loop {
            // Progress is no answer.
            let reply = self.reply(id, deadline).and_then(|reply| match reply {
                Reply::Progress { .. } => self.in_time(deadline).map(|()| reply),
                end => Ok(end),
            });
            match reply {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_wire::rpc::Done;

    /// Says the same again and again, for a quarter of a minute.
    struct Babbler(Vec<u8>, Instant);

    impl Transport for Babbler {
        fn send(&mut self, _: &[u8], _: Instant) -> Result<(), RemoteError> {
            Ok(())
        }

        fn receive(&mut self, into: &mut Vec<u8>, _: Instant) -> Result<usize, RemoteError> {
            if self.1.elapsed() > Duration::from_secs(15) {
                let (host, why) = ("n1".to_owned(), "nobody stopped it".to_owned());
                return Err(RemoteError::Closed { host, why });
            }
            std::thread::sleep(Duration::from_millis(1));
            into.extend_from_slice(&self.0);
            Ok(self.0.len())
        }

        fn noisy(&self) -> bool {
            false
        }
    }

    fn babble(text: Vec<u8>) -> Client {
        let deadlines = Deadlines::default().at_most(Duration::from_millis(20));
        let babbler = Box::new(Babbler(text, Instant::now()));
        Client::unheard(babbler, "n1".to_owned(), deadlines, "me@here")
    }

    #[test]
    fn bytes_that_never_become_an_answer_win_no_time() {
        let line = |id: u64| to_line(&Reply::progress(id, &1)).unwrap();
        // No end of a line; answers to somebody else; progress and nothing else.
        for text in [b"{".to_vec(), line(9), line(1)] {
            let error = babble(text).call::<Done>(Request::Unlock).unwrap_err();
            assert!(matches!(error, RemoteError::Timeout { .. }), "{error}");
        }
        // What is there counts, however late it is read.
        let mut answer = babble(to_line(&Reply::done(1, &Done { changed: true })).unwrap());
        answer.deadlines.request = Duration::ZERO;
        assert!(answer.call::<Done>(Request::Unlock).unwrap().changed);
    }

    #[test]
    fn whoever_waits_for_views_looks_at_other_things_in_between() {
        let line = to_line(&Reply::progress(9, &1)).unwrap();
        let ended =
            babble(line).stream(
                Request::Status,
                Duration::from_millis(20),
                |view| match view {
                    None::<u32> => ControlFlow::Break(()),
                    Some(_) => ControlFlow::Continue(()),
                },
            );
        assert_eq!(ended, Ok(Some(())));
    }
}
