//! One client: its lines in, its replies out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backstay_wire::rpc::{
    Call, Code, Fault, LineSplitter, MAX_LINE, Reply, Request, clean, negotiate, parse_call,
    to_line,
};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Desk;
use super::audit::{Bridge, BridgeLine};
use super::{methods, streams};
use crate::fault::fault;

/// The first call must come in this time.
const HELLO: Duration = Duration::from_secs(15);
/// A client that takes no reply for so long is gone.
const STALLED: Duration = Duration::from_secs(30);
/// Replies that may wait for a slow client.
const WAITING: usize = 16;
/// U11: so many tries of what it may not end a session: each is in the audit, whose older entries it must not push out.
pub(super) const MOST_REFUSED: u32 = 20;
/// Watches and follows of one session.
const MOST_STREAMS: usize = 8;

/// Who sits at the other end.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Tells sessions apart.
    pub(super) session: u64,
    /// As they said.
    pub(super) user: String,
    /// As SSH said, else `local`.
    pub(super) from: String,
    /// May only look (U11).
    pub(super) viewer: bool,
    /// Whose key it is, where the bridge knows.
    name: String,
}

impl Client {
    /// A viewer is named by the key, which they can't choose, before what they say of themselves.
    fn named(&self, said: &str) -> String {
        let said = clean(said);
        if self.name.is_empty() {
            return said;
        }
        format!("{} (viewer, says {said})", self.name)
    }
}

/// Where replies go.
#[derive(Clone)]
pub(super) struct Replies(Sender<Vec<u8>>);

impl Replies {
    /// Sends one; `false`: the client is gone.
    pub(super) async fn send(&self, reply: &impl Serialize) -> bool {
        match to_line(reply) {
            Ok(line) => self.0.send(line).await.is_ok(),
            Err(error) => {
                tracing::error!("a reply can't be sent: {error}");
                false
            }
        }
    }
}

/// Serves a client until it leaves, stalls, or sends what is no line. `viewer`: whoever opened the socket may only look,
/// whatever is said.
pub(super) async fn run<S>(desk: Arc<Desk>, stream: S, viewer: bool)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let (mut from_client, to_client) = tokio::io::split(stream);
    let (sender, lines) = channel(WAITING);
    let writer = tokio::spawn(write(to_client, lines));
    let mut session = Session {
        client: Client {
            session: NUMBERS.fetch_add(1, Ordering::Relaxed),
            user: String::new(),
            from: "local".into(),
            viewer,
            name: String::new(),
        },
        begun: false,
        greeted: false,
        refused: 0,
        replies: Replies(sender),
        streams: JoinSet::new(),
        desk: Arc::clone(&desk),
    };
    if let Ok(_place) = desk.places.try_acquire() {
        // The writer ends early only when the client takes nothing.
        let replies = session.replies.0.clone();
        tokio::select! {
            () = session.read(&mut from_client) => {}
            () = replies.closed() => {}
        }
    } else {
        let full = fault(
            Code::Failed,
            "too many sessions at this agent: try again later",
        );
        session.replies.send(&Reply::failed(0, full)).await;
    }
    drop(session);
    let _ = writer.await;
}

async fn write(mut to: impl AsyncWrite + Unpin, mut lines: Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if !matches!(timeout(STALLED, to.write_all(&line)).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(STALLED, to.shutdown()).await;
}

struct Session {
    client: Client,
    /// A line has come: the next is not the bridge's.
    begun: bool,
    greeted: bool,
    /// What this client tried and may not.
    refused: u32,
    replies: Replies,
    streams: JoinSet<()>,
    desk: Arc<Desk>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // U6, U8: a lost session leaves no lock behind.
        self.desk.change.give_back(self.client.session);
    }
}

impl Session {
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) {
        let mut splitter = LineSplitter::new();
        let mut chunk = vec![0; 16 * 1024];
        loop {
            loop {
                let line = match splitter.next_line() {
                    Ok(Some(line)) => line,
                    Ok(None) => break,
                    Err(error) => {
                        let what = format!("{error}; at most {MAX_LINE} are read");
                        let reply = Reply::failed(0, fault(Code::Invalid, what));
                        self.replies.send(&reply).await;
                        return;
                    }
                };
                if !self.line(&line).await {
                    return;
                }
            }
            let read = from.read(&mut chunk);
            let read = if self.greeted {
                Ok(read.await)
            } else {
                timeout(HELLO, read).await
            };
            match read {
                Ok(Ok(length @ 1..)) => splitter.push(&chunk[..length]),
                _ => return,
            }
        }
    }

    /// `false`: the session is over.
    async fn line(&mut self, line: &[u8]) -> bool {
        if line.is_empty() {
            return true;
        }
        if !std::mem::replace(&mut self.begun, true)
            && let Ok(said) = serde_json::from_slice::<BridgeLine>(line)
        {
            let Bridge { from, viewer, name } = said.bridge;
            self.client.from = clean(&from);
            self.client.viewer |= viewer;
            self.client.name = clean(&name);
            return true;
        }
        match parse_call(line) {
            Ok(call) => self.call(call).await,
            Err(unreadable) => self.replies.send(&unreadable.reply()).await,
        }
    }

    async fn call(&mut self, call: Call) -> bool {
        let Call { id, request } = call;
        let answer = match request {
            Request::Hello {
                oldest,
                newest,
                user,
                ..
            } => match negotiate(oldest, newest) {
                Ok(version) => {
                    self.greeted = true;
                    self.client.user = self.client.named(&user);
                    methods::hello(&self.desk, version, self.client.viewer).await
                }
                Err(fault) => Err(fault),
            },
            _ if !self.greeted => Err(fault(Code::Invalid, "the first call must be hello")),
            Request::Watch { every_ms } => {
                return self.stream(id, |desk, replies| {
                    streams::watch(desk, replies, id, every_ms)
                });
            }
            Request::History {
                service,
                limit,
                follow: true,
            } => {
                return self.stream(id, |desk, replies| {
                    streams::follow(desk, replies, id, service, limit)
                });
            }
            request => methods::call(&self.desk, &self.client, request).await,
        };
        let reply = match answer {
            Ok(value) => Reply::Done { id, value },
            Err(error) => {
                self.refused += u32::from(error.code == Code::Forbidden);
                Reply::failed(id, error)
            }
        };
        self.replies.send(&reply).await && self.refused < MOST_REFUSED
    }

    fn stream<F>(&mut self, id: u64, stream: impl FnOnce(Arc<Desk>, Replies) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.streams.try_join_next().is_some() {}
        if self.streams.len() >= MOST_STREAMS {
            let many: Fault = fault(
                Code::Failed,
                format!("this session has {MOST_STREAMS} streams: end one first"),
            );
            let replies = self.replies.clone();
            self.streams.spawn(async move {
                replies.send(&Reply::failed(id, many)).await;
            });
            return true;
        }
        let stream = stream(Arc::clone(&self.desk), self.replies.clone());
        self.streams.spawn(stream);
        true
    }
}
