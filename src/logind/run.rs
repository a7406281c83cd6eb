//! The loop: connects, holds the inhibitor, publishes shutdowns, and lets the machine go down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bus::{Dial, Inhibitor, Logind, Said};
use super::record::{self, Record};
use crate::counters::Counters;
use crate::disk::write::{self, Writing};
use crate::model::backoff::{Doubling, Waits};
use crate::model::error_chain::chain;
use crate::model::last_logged::LastLogged;
use crate::model::shutdown::ShutdownProgress;

/// The drop-in that allows longer delays, the kubelet's (`pkg/kubelet/nodeshutdown/systemd/inhibit_linux.go`).
const DROP_IN: &str = "99-kubelet.conf";

/// How long the agent's start waits for logind: pods are not started during a shutdown.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// The waits between attempts to reach logind.
const RETRIES: Doubling = Doubling::new(Duration::from_secs(1), Duration::from_secs(30));

/// The waits until logind has read its configuration again, which it does not announce; the kubelet's.
const RELOADS: Doubling = Doubling::new(Duration::from_millis(100), Duration::from_secs(2));
const MOST_RELOADS: u32 = 5;

/// How much longer than all groups together the inhibitor is held if nothing says that the pods have ended.
const SLACK: Duration = Duration::from_secs(1);

/// How the loop is set up.
#[derive(Clone)]
pub struct Settings {
    /// The way to the bus.
    pub dial: Dial,
    /// How long a shutdown has to wait at most.
    pub longest: Duration,
    /// The directory of logind's drop-ins ([`super::DROP_INS`]).
    pub drop_ins: PathBuf,
    /// The node's directory (`/var/lib/kubelet`).
    pub root: PathBuf,
}

/// What connects the loop with others.
pub struct Channels {
    /// The moment from which on the machine is shutting down. This loop is the only writer.
    pub shutting_down: watch::Sender<Option<Timestamp>>,
    /// How far the end of the pods has come.
    pub progress: watch::Receiver<Option<ShutdownProgress>>,
    /// Where it is noted when a shutdown began and ended.
    pub counters: Arc<Counters>,
}

/// What goes on after [`begin`].
pub struct Loop {
    settings: Settings,
    channels: Channels,
    logind: Option<Logind>,
    inhibitor: Option<Inhibitor>,
    /// When logind is tried again, while there is no connection.
    retry: Instant,
    retries: Waits,
    /// When logind is asked again for its longest delay, and how often it was.
    reload: Option<(Instant, u32)>,
    logged: LastLogged<String>,
}

/// What makes the loop turn.
enum Event {
    Said(Said),
    /// The pods may have ended.
    Progress,
    /// Something is due.
    Time,
}

/// Asks logind whether a shutdown is under way, so that it is known before the first pod starts.
pub async fn begin(settings: Settings, channels: Channels) -> Loop {
    let record = Record::read(&settings.root.join(record::FILE)).unwrap_or_default();
    channels.counters.shutdown.is(record.began, record.ended);
    let mut this = Loop {
        settings,
        channels,
        logind: None,
        inhibitor: None,
        retry: Instant::now(),
        retries: RETRIES.waits(),
        reload: None,
        logged: LastLogged::default(),
    };
    if tokio::time::timeout(FIRST_ANSWER, this.connect()).await.is_err() {
        this.failed("it does not answer");
    }
    this
}

impl Loop {
    /// Runs until canceled, which releases the inhibitor.
    pub async fn run(mut self, cancel: CancellationToken) {
        loop {
            // Every arm is cancel-safe: what logind says stays in its streams, the progress in its watch.
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                event = self.next() => event,
            };
            // Calls are bounded; a call that is given up leaves nothing, or an inhibitor that closes at once.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.take(event) => {}
            }
        }
    }

    async fn next(&mut self) -> Event {
        let due = [
            self.logind.is_none().then_some(self.retry),
            self.reload.map(|(at, _)| at),
            self.let_go_at(),
        ];
        let due = due.into_iter().flatten().min();
        let logind = self.logind.as_mut();
        tokio::select! {
            said = async { logind.expect("the arm is off without it").said().await }, if logind.is_some() => Event::Said(said),
            Ok(()) = self.channels.progress.changed() => Event::Progress,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Event::Time,
        }
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Said(Said::Shutdown(announced)) => self.take_state(announced).await,
            Event::Said(Said::Restarted) => {
                tracing::info!("systemd-logind was started again");
                self.refresh().await;
            }
            Event::Said(Said::Nothing) => self.failed("the connection to D-Bus was lost"),
            Event::Progress => {}
            Event::Time if self.logind.is_none() => self.connect().await,
            Event::Time => {}
        }
        self.check_reload().await;
        self.let_go().await;
    }

    /// Connects, and asks what was missed.
    async fn connect(&mut self) {
        match Logind::connect(&self.settings.dial).await {
            Ok(logind) => {
                self.logind = Some(logind);
                self.refresh().await;
            }
            Err(error) => self.failed(&chain(&error)),
        }
    }

    /// Learns whether a shutdown is under way, and takes the inhibitor anew.
    async fn refresh(&mut self) {
        let Some(logind) = &self.logind else { return };
        match logind.is_shutting_down().await {
            Ok(is_under_way) => self.take_state(is_under_way).await,
            Err(error) => return self.failed(&chain(&error)),
        }
        if self.began().is_none() {
            self.inhibit().await;
        }
    }

    async fn take_state(&mut self, is_under_way: bool) {
        match (self.began(), is_under_way) {
            (None, true) => self.shutdown_begins().await,
            (Some(_), false) => {
                tracing::info!("systemd-logind says that the machine does not shut down after all");
                self.channels.shutting_down.send_replace(None);
                self.inhibit().await;
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    async fn shutdown_begins(&mut self) {
        let now = Timestamp::now();
        let path = self.settings.root.join(record::FILE);
        // An agent before this one may have seen its beginning.
        let known = Record::read(&path).filter(|record| record.ended.is_none());
        let began = known.and_then(|record| record.began).filter(|began| {
            let since = now.duration_since(*began);
            !since.is_negative() && since.unsigned_abs() < self.settings.longest
        });
        let began = began.unwrap_or(now);
        tracing::info!("systemd-logind announces that the machine shuts down");
        self.channels.shutting_down.send_replace(Some(began));
        self.note(Some(began), None).await;
    }

    /// Lets the machine go down when the pods have ended, or their time is over.
    async fn let_go(&mut self) {
        let Some(began) = self.began().filter(|_| self.inhibitor.is_some()) else {
            return;
        };
        let progress = *self.channels.progress.borrow_and_update();
        let have_ended = progress.is_some_and(|progress| progress.since == began && progress.is_over());
        if !have_ended && self.let_go_at().is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.note(Some(began), Some(Timestamp::now())).await;
        self.inhibitor = None;
        tracing::info!("the inhibitor is released; the machine goes down");
    }

    /// When the inhibitor is released whatever happens.
    fn let_go_at(&self) -> Option<Instant> {
        let began = self.began().filter(|_| self.inhibitor.is_some())?;
        let passed = Timestamp::now().duration_since(began);
        let passed = Duration::try_from(passed).unwrap_or_default();
        Some(Instant::now() + (self.settings.longest + SLACK).saturating_sub(passed))
    }

    fn began(&self) -> Option<Timestamp> {
        *self.channels.shutting_down.borrow()
    }

    /// Takes the inhibitor; the one before is given back afterwards.
    async fn inhibit(&mut self) {
        let Some(logind) = &self.logind else { return };
        match logind.inhibit().await {
            Ok(inhibitor) => {
                self.inhibitor = Some(inhibitor);
                self.retries.reset();
                self.logged.clear();
                tracing::info!(
                    longest_s = self.settings.longest.as_secs(),
                    "a shutdown of the machine waits for pods (systemd-logind's inhibitor)"
                );
                self.check_delay().await;
            }
            Err(error) => self.failed(&chain(&error)),
        }
    }

    /// Has logind allow a delay as long as the configuration asks for.
    async fn check_delay(&mut self) {
        let Some(logind) = &self.logind else { return };
        match logind.longest_delay().await {
            Ok(allowed) if allowed >= self.settings.longest => return,
            Ok(_) => {}
            Err(error) => return self.failed(&chain(&error)),
        }
        let path = self.settings.drop_ins.join(DROP_IN);
        let seconds = self.settings.longest.as_secs();
        let text =
            format!("# Written by gantry, for shutdownGracePeriod\n[Login]\nInhibitDelayMaxSec={seconds}\n");
        let writing = Writing {
            mode: write::Mode::Exactly(0o644),
            directories: 0o755,
            ..Writing::within_umask()
        };
        let written = off_thread(move || write::write(&path, text.as_bytes(), writing)).await;
        if let Err(error) = written {
            return self.delay_stays_short(&format!("{DROP_IN} cannot be written: {error}"));
        }
        if let Err(error) = logind.reload().await {
            return self.delay_stays_short(&format!(
                "it cannot be asked to reload its configuration: {}",
                chain(&error)
            ));
        }
        self.reload = Some((Instant::now() + RELOADS.after(None), 1));
    }

    /// Looks whether logind has read the drop-in.
    async fn check_reload(&mut self) {
        let Some((_, times)) = self.reload.filter(|(at, _)| *at <= Instant::now()) else {
            return;
        };
        self.reload = None;
        let Some(logind) = &self.logind else { return };
        match logind.longest_delay().await {
            Ok(allowed) if allowed >= self.settings.longest => {
                tracing::info!(
                    longest_s = allowed.as_secs(),
                    "systemd-logind allows longer delays now"
                );
            }
            Ok(allowed) if times >= MOST_RELOADS => {
                self.delay_stays_short(&format!("it still allows {} s", allowed.as_secs()));
            }
            Ok(_) => {
                let wait = RELOADS.after(Some(Duration::from_millis(50 << times)));
                self.reload = Some((Instant::now() + wait, times + 1));
            }
            Err(error) => self.failed(&chain(&error)),
        }
    }

    fn delay_stays_short(&self, why: &str) {
        tracing::warn!(
            "systemd-logind does not delay a shutdown for the {seconds} s of shutdownGracePeriod ({why}), so pods may be \
             killed before their time: set InhibitDelayMaxSec={seconds} in {}/{DROP_IN} and restart systemd-logind",
            self.settings.drop_ins.display(),
            seconds = self.settings.longest.as_secs(),
        );
    }

    /// There is no connection any more, or none that is of use. The inhibitor, if there is one, remains in force.
    fn failed(&mut self, why: &str) {
        self.logind = None;
        self.reload = None;
        self.retry = Instant::now() + self.retries.fail();
        if self.logged.is_news(&why.to_owned()) {
            tracing::warn!(
                "shutdownGracePeriod is set, but systemd-logind cannot be used ({why}): until it can, pods are killed \
                 without notice when the machine shuts down. Install and start dbus and systemd-logind, or remove \
                 shutdownGracePeriod; retrying"
            );
        }
    }

    /// Notes the times of the shutdown for the metrics, also those after the reboot.
    async fn note(&self, began: Option<Timestamp>, ended: Option<Timestamp>) {
        self.channels.counters.shutdown.is(began, ended);
        let path = self.settings.root.join(record::FILE);
        if let Err(error) = off_thread(move || Record { began, ended }.write(&path)).await {
            tracing::warn!(
                "the times of the shutdown cannot be written, so the metrics lack them later: {error}"
            );
        }
    }
}

/// Writes a small file; a disk that does not answer holds nothing up.
async fn off_thread(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    let done = tokio::time::timeout(SLACK, tokio::task::spawn_blocking(work)).await;
    match done {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => Err(std::io::Error::other(panicked)),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
