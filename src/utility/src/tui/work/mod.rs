//! What the model wants done, done on threads; what comes of it goes back as events.

mod feed;
mod front;
mod look;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Parser;

use super::Stamped;
use super::msg::{Cmd, Event};
use crate::cli::args::{Arguments, Output};
use crate::cli::context::Context;
use crate::cli::dispatch;
use crate::failure::{Exit, Failure};
use crate::ops::Cancel;
use feed::Feed;
use front::MenuFront;

/// Where events go.
#[derive(Clone)]
pub(super) struct Post(Sender<Stamped>);

impl Post {
    /// Tells the model; whether it still listens.
    fn tell(&self, event: Event) -> bool {
        self.0.send((Instant::now(), event)).is_ok()
    }
}

/// An operation that goes on.
struct Running {
    cancel: Cancel,
    answers: Sender<bool>,
    /// Says nothing; ends with the operation.
    end: Receiver<()>,
}

/// The threads.
pub(super) struct Workers {
    context: Context,
    post: Post,
    feed: Feed,
    running: Option<Running>,
}

impl Workers {
    /// Begins to watch the system.
    pub(super) fn start(context: &Context, post: Sender<Stamped>) -> Self {
        let post = Post(post);
        let mut context = context.clone();
        // What is asked is asked in the menu, whatever was said on the command line.
        context.common.yes = false;
        context.common.dry_run = false;
        context.common.output = Output::Text;
        Self {
            feed: Feed::start(&context, &post),
            context,
            post,
            running: None,
        }
    }

    /// Does what the model wants.
    pub(super) fn obey(&mut self, cmd: Cmd) {
        match cmd {
            Cmd::Run(words) => self.run(words),
            Cmd::Answer(yes) => {
                if let Some(running) = &self.running {
                    // It may have ended in between.
                    let _ = running.answers.send(yes);
                }
            }
            Cmd::Stop => {
                if let Some(running) = &self.running {
                    running.cancel.set();
                }
            }
            Cmd::Refresh => self.feed.refresh(),
            Cmd::History => self.spawn("history", |context, post| {
                let found = look::history(context).map_err(Box::new);
                post.tell(Event::History(found));
            }),
            Cmd::Facts(node) => self.spawn("facts", move |context, post| {
                let found = look::facts(context, &node);
                post.tell(Event::Facts(node.name.clone(), found.map(Box::new)));
            }),
            Cmd::Redraw | Cmd::Resume | Cmd::Suspend | Cmd::Quit => {}
        }
    }

    fn spawn(&self, name: &str, work: impl FnOnce(&Context, &Post) + Send + 'static) {
        let (context, post) = (self.context.clone(), self.post.clone());
        let thread = std::thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || work(&context, &post));
        if let Err(why) = started {
            self.post
                .tell(Event::Told(crate::ops::front::Told::line(why.to_string())));
        }
    }

    /// Runs a command line as if it had been typed, told and asked in the menu.
    fn run(&mut self, words: Vec<String>) {
        let cancel = Cancel::default();
        let (answers, asked) = channel();
        let (ending, end) = channel();
        let mut context = self.context.clone();
        context.cancel = cancel.clone();
        context.front = Some(MenuFront::shared(self.post.clone(), asked, cancel.clone()));
        self.running = Some(Running {
            cancel,
            answers,
            end,
        });
        self.spawn("operation", move |_, post| {
            let result = carry_out(context, words);
            post.tell(Event::Ended(result.map_err(Box::new)));
            drop(ending);
        });
    }

    /// Gives up what goes on and waits so long for its end: what is committed goes on by itself (U6).
    pub(super) fn stop(self, grace: Duration) {
        self.feed.stop();
        if let Some(running) = self.running {
            running.cancel.set();
            drop(running.answers);
            match running.end.recv_timeout(grace) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => {
                    tracing::info!(
                        "an operation still goes on; its nodes finish or drop it by themselves"
                    );
                }
            }
        }
    }
}

fn carry_out(mut context: Context, words: Vec<String>) -> Result<Exit, Failure> {
    let line = std::iter::once("backstay".to_owned()).chain(words);
    let arguments =
        Arguments::try_parse_from(line).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    context
        .common
        .ignore_check
        .extend(arguments.common.ignore_check);
    match arguments.verb {
        Some(verb) => dispatch(&context, verb),
        None => Err(Failure::new(Exit::Usage, "there is nothing to do")),
    }
}
