//! A logind, and of systemd the call that has it read its configuration again: over a connection without a bus.

use std::io::{ErrorKind, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use gantry::logind::Dial;
use zbus::Connection;
use zbus::object_server::SignalEmitter;

const LOGIN: &str = "/org/freedesktop/login1";

/// A logind that can be told to shut the machine down.
#[derive(Clone)]
pub(crate) struct FakeLogind(Arc<Mutex<State>>);

struct State {
    drop_ins: PathBuf,
    /// `InhibitDelayMaxSec`
    delay: u64,
    /// Whether it reads its configuration when it is told to.
    reads: bool,
    /// Whether anybody can connect.
    is_there: bool,
    preparing: bool,
    /// Our ends of the inhibitors: at their end when the other one is closed.
    inhibitors: Vec<UnixStream>,
    connection: Option<Connection>,
}

impl FakeLogind {
    /// Its drop-ins are in a directory that need not exist.
    pub(crate) fn new(drop_ins: &Path) -> FakeLogind {
        FakeLogind(Arc::new(Mutex::new(State {
            drop_ins: drop_ins.to_owned(),
            delay: 5,
            reads: true,
            is_there: true,
            preparing: false,
            inhibitors: Vec::new(),
            connection: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The way to it.
    pub(crate) fn dial(&self) -> Dial {
        let this = self.clone();
        Dial::new(move || this.clone().accept())
    }

    async fn accept(self) -> zbus::Result<Connection> {
        if !self.state().is_there {
            return Err(zbus::Error::InputOutput(Arc::new(ErrorKind::NotFound.into())));
        }
        let (ours, theirs) = tokio::net::UnixStream::pair()?;
        let server = zbus::connection::Builder::unix_stream(theirs)
            .server(zbus::Guid::generate())?
            .p2p()
            .serve_at(LOGIN, Login(self.clone()))?
            .serve_at("/org/freedesktop/systemd1", Systemd(self.clone()))?
            .build();
        let client = zbus::connection::Builder::unix_stream(ours).p2p().build();
        let (server, client) = tokio::try_join!(server, client)?;
        self.state().connection = Some(server);
        Ok(client)
    }

    pub(crate) fn drop_ins(&self) -> PathBuf {
        self.state().drop_ins.clone()
    }

    /// How many inhibitors are held.
    pub(crate) fn inhibitors(&self) -> usize {
        let mut state = self.state();
        state.inhibitors.retain_mut(|inhibitor| {
            let read = inhibitor.read(&mut [0]);
            matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        state.inhibitors.len()
    }

    /// Says that the machine is to shut down, or that this has failed.
    pub(crate) async fn announce(&self, begins: bool) {
        let connection = {
            let mut state = self.state();
            state.preparing = begins;
            state.connection.clone()
        };
        let Some(connection) = connection else { return };
        let emitter = SignalEmitter::new(&connection, LOGIN).unwrap();
        Login::prepare_for_shutdown(&emitter, begins).await.unwrap();
    }

    /// It is started again: connections are lost.
    pub(crate) async fn goes(&self, is_there: bool) {
        let connection = {
            let mut state = self.state();
            state.is_there = is_there;
            state.connection.take()
        };
        if let Some(connection) = connection {
            connection.close().await.unwrap();
        }
    }

    /// It ignores its drop-ins from now on.
    pub(crate) fn ignores_drop_ins(&self) {
        self.state().reads = false;
    }
}

struct Login(FakeLogind);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    fn inhibit(
        &self,
        what: String,
        _who: String,
        _why: String,
        mode: String,
    ) -> zbus::fdo::Result<zbus::zvariant::OwnedFd> {
        assert_eq!((what.as_str(), mode.as_str()), ("shutdown", "delay"));
        let mut state = self.0.state();
        if state.preparing {
            let message = "The operation inhibition has been requested for is already running";
            return Err(zbus::fdo::Error::Failed(message.to_owned()));
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        state.inhibitors.push(ours);
        Ok(OwnedFd::from(theirs).into())
    }

    #[zbus(property)]
    fn inhibit_delay_max_u_sec(&self) -> u64 {
        self.0.state().delay * 1_000_000
    }

    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> bool {
        self.0.state().preparing
    }

    #[zbus(signal)]
    async fn prepare_for_shutdown(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;
}

struct Systemd(FakeLogind);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn kill_unit(&self, name: String, whom: String, signal: i32) {
        assert_eq!(
            (name.as_str(), whom.as_str(), signal),
            ("systemd-logind.service", "all", 1)
        );
        let mut state = self.0.state();
        let text = std::fs::read_to_string(state.drop_ins.join("99-kubelet.conf")).unwrap_or_default();
        let delay = text
            .lines()
            .find_map(|line| line.strip_prefix("InhibitDelayMaxSec="));
        if let (Some(delay), true) = (delay, state.reads) {
            state.delay = delay.parse().unwrap();
        }
    }
}
