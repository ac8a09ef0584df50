//! Hearing of a shutdown before it begins (F11): logind tells it, and waits for whoever holds a lock of mode `delay`,
//! for as long as its `InhibitDelayMaxSec=` says (5 s unless set). See `org.freedesktop.login1(5)`.

use futures_util::StreamExt;
use zbus::OwnedFd;
use zbus::connection::Connection;

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;
}

/// What logind says next of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It begins as soon as this node lets it.
    Begins,
    /// It was called off.
    CalledOff,
}

/// Holds up a shutdown until it is dropped or [`Delay::let_go`] is called.
#[derive(Debug)]
pub struct Delay {
    signals: PrepareForShutdownStream,
    lock: Option<OwnedFd>,
}

impl Delay {
    /// Takes the lock.
    ///
    /// # Errors
    /// There is no bus, or no logind.
    pub async fn take() -> zbus::Result<Self> {
        let login = LoginProxy::new(&Connection::system().await?).await?;
        // Before the lock: a shutdown that begins between the two is waited for by nobody.
        let signals = login.receive_prepare_for_shutdown().await?;
        let lock = login
            .inhibit(
                "shutdown",
                "Backstay",
                "services are handed over to another node",
                "delay",
            )
            .await?;
        Ok(Self {
            signals,
            lock: Some(lock),
        })
    }

    /// What logind says next; `None` when it is gone.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            let signal = self.signals.next().await?;
            if let Ok(args) = signal.args() {
                return Some(if *args.start() {
                    Said::Begins
                } else {
                    Said::CalledOff
                });
            }
        }
    }

    /// Lets the shutdown go on.
    pub fn let_go(&mut self) {
        self.lock = None;
    }
}
