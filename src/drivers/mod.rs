//! Storage drivers: a loop of its own. Plugins show sockets in `plugins_registry` below the node's directory; the drivers
//! among them are asked what the node is to them, and are registered for as long as their sockets are there.
//!
//! [`registry`] decides, [`ask`] speaks with one plugin, [`sockets`] watches the directory. A plugin that hangs holds up
//! nothing but its own registration. Nothing is staged or published here, and no volume is known.

mod version;
mod words;
mod registry;
mod ask;
pub mod recount;
mod sockets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use self::registry::{Answer, Failure, Inode, Registry, Step, Verdict};
use self::sockets::Watch;
use crate::counters::Counters;
use crate::model::driver::{Driver, Drivers, Publications};
use crate::model::last_logged::LastLogged;

/// How often the directory is listed if the kernel announces nothing.
const RESCAN: Duration = Duration::from_secs(30);
/// How long the drivers that are there at the start are waited for before they count as not registered.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the loop needs.
pub struct Settings {
    /// The node's directory (`/var/lib/kubelet`).
    pub root: PathBuf,
    /// What became of writing to the API server what the drivers say; `None` without one.
    pub published: Option<watch::Receiver<Publications>>,
    /// Counts the calls of drivers.
    pub counters: Arc<Counters>,
}

/// What a call has returned, with the socket and the number of the attempt.
enum Returned {
    Answered(PathBuf, u64, Result<Answer, Failure>),
    Settled(PathBuf, u64, Result<(), String>),
    Refused,
}

/// What has changed.
enum Woken {
    /// Perhaps the directory.
    Directory,
    /// A call has returned.
    Call(Returned),
    /// The time.
    Time,
}

struct Loop {
    directory: PathBuf,
    published: Option<watch::Receiver<Publications>>,
    counters: Arc<Counters>,
    out: watch::Sender<Arc<Drivers>>,
    registry: Registry,
    calls: JoinSet<Returned>,
    /// What is under way, by socket.
    under_way: BTreeMap<PathBuf, AbortHandle>,
    logged: LastLogged<String>,
}

/// Registers drivers until canceled.
pub async fn run(settings: Settings, out: watch::Sender<Arc<Drivers>>, cancel: CancellationToken) {
    let directory = settings.root.join("plugins_registry");
    let mut state = Loop {
        published: settings.published,
        counters: settings.counters,
        out,
        registry: Registry::new(Timestamp::now() + PATIENCE),
        calls: JoinSet::new(),
        under_way: BTreeMap::new(),
        logged: LastLogged::default(),
        directory,
    };
    // Drivers put the sockets that they serve there, by the kubelet's convention.
    if let Err(error) = sockets::ensure(&settings.root.join("plugins")) {
        tracing::warn!(%error, "cannot make the directory of plugins");
    }
    let mut watch = Watch::new();
    let mut present = state.list(&mut watch).await.unwrap_or_default();
    let mut listed = Timestamp::now();
    loop {
        let now = Timestamp::now();
        for step in state.registry.compare(&present, now) {
            state.carry_out(step);
        }
        state.publish(now);
        let next = state.registry.wake_at(now);
        let next = next.into_iter().fold(listed + RESCAN, Timestamp::min);
        let pause = Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO);
        // Each arm may be dropped: a permit stays with the watch, and a call that has returned stays in its set.
        let woken = tokio::select! {
            () = cancel.cancelled() => return,
            () = watch.changed.notified() => Woken::Directory,
            Some(returned) = state.calls.join_next() => match returned {
                Ok(returned) => Woken::Call(returned),
                // Abandoned, or a panic, which was reported where it happened: the attempt is over.
                Err(_) => continue,
            },
            () = tokio::time::sleep(pause) => Woken::Time,
        };
        let now = Timestamp::now();
        match woken {
            Woken::Call(returned) => state.take(returned, now),
            Woken::Time if now < listed + RESCAN => {}
            Woken::Directory | Woken::Time => {
                // Where the directory cannot be read, nothing is known to be gone.
                present = state.list(&mut watch).await.unwrap_or(present);
                listed = now;
            }
        }
    }
}

impl Loop {
    /// The sockets that there are; `None` if that cannot be found out. The directory is watched first.
    async fn list(&mut self, watch: &mut Watch) -> Option<BTreeMap<PathBuf, Inode>> {
        let directory = self.directory.clone();
        let made = in_thread(&directory, sockets::ensure).await;
        watch.follow(&directory);
        let found = in_thread(&directory, sockets::list).await;
        match made.and(found) {
            Ok(found) => {
                self.logged.clear();
                Some(found)
            }
            Err(error) => {
                if self.logged.is_news(&error.to_string()) {
                    tracing::warn!(directory = %directory.display(), %error, "the sockets of plugins cannot be listed");
                }
                None
            }
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Leave(path) => self.abandon(&path),
            Step::Ask(path, attempt) => {
                let (socket, counters) = (path.clone(), self.counters.clone());
                self.spawn(path, async move {
                    let answer = ask::ask(socket.clone(), &counters).await;
                    Returned::Answered(socket, attempt, answer)
                });
            }
        }
    }

    /// Begins a call about a socket, in place of the one before.
    fn spawn(&mut self, path: PathBuf, call: impl Future<Output = Returned> + Send + 'static) {
        self.abandon(&path);
        let handle = self.calls.spawn(call);
        self.under_way.insert(path, handle);
    }

    fn abandon(&mut self, path: &Path) {
        if let Some(former) = self.under_way.remove(path) {
            former.abort();
        }
    }

    fn take(&mut self, returned: Returned, now: Timestamp) {
        match returned {
            Returned::Answered(path, attempt, answer) => {
                let verdict = self.registry.answered(&path, attempt, answer, now);
                self.follow(path, attempt, verdict);
            }
            Returned::Settled(path, attempt, result) => {
                let verdict = self.registry.settled(&path, attempt, result, now);
                self.follow(path, attempt, verdict);
            }
            Returned::Refused => {}
        }
    }

    /// Does what follows from an answer.
    fn follow(&mut self, path: PathBuf, attempt: u64, verdict: Verdict) {
        match verdict {
            Verdict::Stale | Verdict::Settled => {}
            Verdict::Registered {
                name,
                driver,
                replaced,
            } => {
                if let Some(former) = replaced {
                    self.abandon(&former);
                }
                self.settle(path, attempt, name, driver);
            }
            Verdict::Refused { message, is_news } => {
                report(&path, &message, is_news);
                let socket = path.clone();
                self.spawn(path, async move {
                    ask::refuse(&socket, message).await;
                    Returned::Refused
                });
            }
            Verdict::Failed { message, is_news } => report(&path, &message, is_news),
        }
    }

    fn settle(&mut self, path: PathBuf, attempt: u64, name: String, driver: Arc<Driver>) {
        let (socket, published) = (path.clone(), self.published.clone());
        self.spawn(path, async move {
            let result = ask::settle(socket.clone(), published, name, driver).await;
            Returned::Settled(socket, attempt, result)
        });
    }

    /// Publishes the drivers if they have changed.
    fn publish(&self, now: Timestamp) {
        let drivers = self.registry.drivers(now);
        self.out.send_if_modified(|former| {
            let new = missing_from(former, &drivers);
            let gone = missing_from(&drivers, former);
            for (name, driver) in &new {
                let endpoint = driver.endpoint.display();
                tracing::info!(driver = name, %endpoint, "storage driver registered");
            }
            for (name, _) in gone
                .iter()
                .filter(|(name, _)| !drivers.by_name.contains_key(*name))
            {
                tracing::info!(driver = name, "storage driver deregistered");
            }
            let counts = |of: &Drivers| (of.are_known, of.unregistered);
            if new.is_empty() && gone.is_empty() && counts(former) == counts(&drivers) {
                return false;
            }
            *former = Arc::new(drivers);
            true
        });
    }
}

/// The registrations of `drivers` that `others` do not have: a driver that says the same again is another one.
fn missing_from<'d>(others: &Drivers, drivers: &'d Drivers) -> Vec<(&'d String, &'d Arc<Driver>)> {
    let is_there = |name: &str, driver| {
        others
            .by_name
            .get(name)
            .is_some_and(|other| Arc::ptr_eq(other, driver))
    };
    let drivers = drivers.by_name.iter();
    drivers.filter(|(name, driver)| !is_there(name, driver)).collect()
}

fn report(path: &Path, message: &str, is_news: bool) {
    let socket = path.display();
    match is_news {
        true => tracing::warn!(%socket, "a plugin cannot be registered; retrying: {message}"),
        false => tracing::debug!(%socket, "a plugin cannot be registered; retrying: {message}"),
    }
}

/// Runs what reads a directory.
async fn in_thread<T: Send + 'static>(
    directory: &Path,
    work: fn(&Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    let directory = directory.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&directory)).await;
    done.expect("listing a directory does not panic")
}

#[cfg(test)]
mod tests;
