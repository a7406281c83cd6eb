//! The wire: `org.freedesktop.login1.Manager` over D-Bus (man 5 org.freedesktop.login1), and of systemd the one call that
//! has logind read its configuration again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_stream::StreamExt as _;
use zbus::proxy::{CacheProperties, OwnerChangedStream};
use zbus::zvariant::OwnedFd;

/// The timeout of a call. logind answers in milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1",
    gen_blocking = false
)]
trait Login {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;
    #[zbus(property)]
    fn inhibit_delay_max_u_sec(&self) -> zbus::Result<u64>;
    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> zbus::Result<bool>;
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    gen_blocking = false
)]
trait Systemd {
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
}

/// How a connection to the bus is opened.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn() -> BoxFuture<'static, zbus::Result<zbus::Connection>> + Send + Sync>);

impl Dial {
    /// To the system bus.
    pub fn system() -> Dial {
        Dial::new(|| async {
            let builder = zbus::connection::Builder::system()?;
            builder.method_timeout(DEADLINE).build().await
        })
    }

    /// In another way.
    pub fn new<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Dial
    where
        F: Future<Output = zbus::Result<zbus::Connection>> + Send + 'static,
    {
        Dial(Arc::new(move || Box::pin(open())))
    }
}

/// What logind says by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Whether a shutdown is under way: it was just announced, or has just failed.
    Shutdown(bool),
    /// logind was started again.
    Restarted,
    /// The bus is gone.
    Nothing,
}

/// The inhibitor: a shutdown waits for as long as it exists.
#[derive(Debug)]
pub(super) struct Inhibitor(#[expect(dead_code, reason = "what counts is that it is open")] OwnedFd);

/// A connection to logind.
pub(super) struct Logind {
    login: LoginProxy<'static>,
    systemd: SystemdProxy<'static>,
    announcements: PrepareForShutdownStream,
    owners: OwnerChangedStream<'static>,
}

impl Logind {
    /// A new connection, on which nothing that logind says from now on is missed.
    pub(super) async fn connect(dial: &Dial) -> zbus::Result<Logind> {
        let connection = (dial.0)().await?;
        let login = LoginProxy::builder(&connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let systemd = SystemdProxy::builder(&connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        Ok(Logind {
            announcements: login.receive_prepare_for_shutdown().await?,
            owners: login.inner().receive_owner_changed().await?,
            login,
            systemd,
        })
    }

    /// The next thing that it says. Cancel-safe: what is not taken is said the next time.
    pub(super) async fn said(&mut self) -> Said {
        loop {
            tokio::select! {
                announced = self.announcements.next() => return match announced {
                    Some(signal) => signal.args().map_or(Said::Restarted, |args| Said::Shutdown(*args.start())),
                    None => Said::Nothing,
                },
                owner = self.owners.next() => match owner {
                    Some(Some(_)) => return Said::Restarted,
                    // It is being started again, or the bus is gone as well, which ends the stream.
                    Some(None) => {}
                    None => return Said::Nothing,
                },
            }
        }
    }

    /// Whether a shutdown is under way.
    pub(super) async fn is_shutting_down(&self) -> zbus::Result<bool> {
        self.login.preparing_for_shutdown().await
    }

    /// How long a shutdown waits at most.
    pub(super) async fn longest_delay(&self) -> zbus::Result<Duration> {
        let micros = self.login.inhibit_delay_max_u_sec().await?;
        Ok(Duration::from_micros(micros))
    }

    /// Delays shutdowns from now on. Refused while one is under way.
    pub(super) async fn inhibit(&self) -> zbus::Result<Inhibitor> {
        let why = "Pods are given time to end";
        let inhibitor = self.login.inhibit("shutdown", "gantry", why, "delay").await?;
        Ok(Inhibitor(inhibitor))
    }

    /// Has logind read its configuration again, which it does some time after the answer.
    pub(super) async fn reload(&self) -> zbus::Result<()> {
        const SIGHUP: i32 = 1;
        self.systemd
            .kill_unit("systemd-logind.service", "all", SIGHUP)
            .await
    }
}
