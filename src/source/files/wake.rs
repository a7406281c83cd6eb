//! When to look at the manifests directory, and at which of its files: from the kernel's events since the last look,
//! the files that are being written, and the polling deadlines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::directory::{Look, Seen};
use super::watch::{Happened, WatchError, Watcher};
use super::writing::QUIET;
use crate::model::error_chain::chain;
use crate::model::runtime::Snapshot;

/// The pause between two looks, so that a burst of events does not cause a burst of looks.
const PAUSE: Duration = Duration::from_millis(2);
/// How often to look without events from the kernel.
const POLL: Duration = Duration::from_secs(1);

/// The kernel's events and what they mean for the next look.
pub(super) struct Events {
    /// `None`: there are no events, and the directory is polled every [`POLL`].
    watcher: Option<Watcher>,
    /// The files that are being written, and when each was last written or created.
    held: BTreeMap<PathBuf, Instant>,
    /// The events since the last look.
    collected: Look,
    /// Whether they are a reason to look now.
    due: bool,
    last_look: Instant,
}

impl Events {
    pub(super) fn new() -> Events {
        let watcher = Watcher::new().map_err(|error| warn_polling(&error)).ok();
        Events {
            watcher,
            held: BTreeMap::new(),
            collected: Look::default(),
            due: false,
            last_look: Instant::now(),
        }
    }

    /// Watches what the look found; what was not watched during the look is looked at once more.
    pub(super) fn watch(&mut self, seen: &Seen) {
        let outcome = self
            .watcher
            .as_mut()
            .map(|watcher| watcher.watch(&seen.watchlist));
        match outcome {
            None => {}
            Some(Ok(added)) => self.due |= added,
            Some(Err(error)) => self.poll_from_now(&error),
        }
    }

    /// Waits until there is a reason to look. `None`: canceled.
    pub(super) async fn wait(
        &mut self,
        again: Option<Duration>,
        rescan: Duration,
        mut runtime: Option<&mut channel::Receiver<Arc<Snapshot>>>,
        cancel: &CancellationToken,
    ) -> Option<()> {
        self.last_look = Instant::now();
        while !self.due {
            let until = self.deadline(again, rescan);
            tokio::select! {
                biased;
                // No work is left half done.
                () = cancel.cancelled() => return None,
                // Cancel safe: no event is lost.
                happened = next(self.watcher.as_mut()) => match happened {
                    Ok(happened) => self.note(happened),
                    Err(error) => self.poll_from_now(&error),
                },
                // A change that is not awaited here is not lost.
                () = listed(runtime.as_deref_mut()) => self.due = true,
                () = sleep_until(until) => self.due = true,
            }
        }
        // The first event after a while is handled at once, without a tick of the timer.
        if Instant::now() < self.last_look + PAUSE {
            tokio::select! {
                // As above.
                () = cancel.cancelled() => return None,
                () = sleep_until(self.last_look + PAUSE) => {}
            }
        }
        Some(())
    }

    /// What to look at, from all events until now.
    pub(super) fn take(&mut self) -> Look {
        self.drain();
        let now = Instant::now();
        let mut look = std::mem::take(&mut self.collected);
        self.held.retain(|path, since| {
            let held = now.duration_since(*since) < QUIET;
            if !held {
                look.touched.insert(path.clone());
            }
            held
        });
        look.held = self.held.keys().cloned().collect();
        self.due = false;
        look
    }

    /// Whether one of these files was touched since [`Events::take`].
    pub(super) fn overtook(&mut self, read: &[PathBuf]) -> bool {
        self.drain();
        let touched = |path| {
            let collected = self.collected.touched.contains(path) || self.collected.complete.contains(path);
            collected || self.held.contains_key(path)
        };
        self.collected.everything || read.iter().any(touched)
    }

    /// Restores what was taken for a look that was discarded.
    pub(super) fn ask_again(&mut self, asked: Look) {
        self.collected.everything |= asked.everything;
        self.collected.touched.extend(asked.touched);
        self.collected.gone.extend(asked.gone);
        // A file that was written since is no longer complete.
        let complete = asked.complete.into_iter();
        self.collected
            .complete
            .extend(complete.filter(|path| !self.held.contains_key(path)));
    }

    /// Notes the events that have arrived, without waiting for more.
    fn drain(&mut self) {
        match self.watcher.as_ref().map(Watcher::pending) {
            None => {}
            Some(Ok(happened)) => self.note(happened),
            Some(Err(error)) => self.poll_from_now(&error),
        }
    }

    fn deadline(&self, again: Option<Duration>, rescan: Duration) -> Instant {
        let polled = if self.watcher.is_some() {
            rescan
        } else {
            rescan.min(POLL)
        };
        let looked = self.last_look + again.map_or(polled, |again| again.min(polled));
        let released = self.held.values().min().map(|since| *since + QUIET);
        released.map_or(looked, |released| released.min(looked))
    }

    /// Notes these events.
    fn note(&mut self, happened: Vec<Happened>) {
        for event in happened {
            match event {
                Happened::Lost => {
                    self.held.clear();
                    self.collected.complete.clear();
                    self.collected.everything = true;
                    self.due = true;
                }
                Happened::Done(path) => self.note_complete(path),
                // A link, or another name of a complete file, has no writer.
                Happened::Made(path) if is_complete(&path) => self.note_complete(path),
                Happened::Gone(path) => {
                    self.held.remove(&path);
                    self.collected.complete.remove(&path);
                    self.collected.touched.insert(path.clone());
                    self.collected.gone.insert(path);
                    self.due = true;
                }
                Happened::Attributes(path) if self.held.contains_key(&path) => {}
                Happened::Attributes(path) => {
                    self.collected.touched.insert(path);
                    self.due = true;
                }
                Happened::Writing(path) | Happened::Made(path) => {
                    self.collected.complete.remove(&path);
                    self.held.insert(path, Instant::now());
                }
            }
        }
    }

    fn note_complete(&mut self, path: PathBuf) {
        self.held.remove(&path);
        self.collected.complete.insert(path);
        self.due = true;
    }

    fn poll_from_now(&mut self, error: &WatchError) {
        warn_polling(error);
        self.watcher = None;
        // The look finds what the lost events would have reported.
        self.due = true;
    }
}

/// Whether a file that has just appeared under this name is already complete.
fn is_complete(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata()
        .is_ok_and(|metadata| !metadata.is_file() || metadata.nlink() > 1)
}

async fn next(watcher: Option<&mut Watcher>) -> Result<Vec<Happened>, WatchError> {
    match watcher {
        Some(watcher) => watcher.next().await,
        None => std::future::pending().await,
    }
}

fn warn_polling(error: &WatchError) {
    warn!(
        error = %chain(error),
        every = ?POLL,
        "cannot watch the manifests directory and polls it instead; raise fs.inotify.max_user_watches and \
         fs.inotify.max_user_instances"
    );
}

/// Waits until the runtime's pods are listed, where that is awaited.
async fn listed(runtime: Option<&mut channel::Receiver<Arc<Snapshot>>>) {
    if let Some(runtime) = runtime
        && runtime.wait_for(|snapshot| snapshot.listed).await.is_ok()
    {
        return;
    }
    // No wait is needed, or the observer is gone: the agent stops.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough that every change that is seen came from an event.
    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn lost_events_make_everything_be_read_again() {
        let mut events = Events::new();
        events.note(vec![Happened::Writing("/m/a".into())]);
        assert!(!events.due);
        events.note(vec![Happened::Lost]);
        assert!(events.due);
        let look = events.take();
        assert!(look.everything && look.held.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_is_touched_while_it_is_read_is_read_again() {
        let mut events = Events::new();
        let (a, b) = (PathBuf::from("/m/a"), PathBuf::from("/m/b"));
        events.note(vec![Happened::Done(a.clone())]);
        let look = events.take();
        assert!(look.complete.contains(&a));
        events.note(vec![Happened::Writing(b.clone())]);
        assert!(!events.overtook(std::slice::from_ref(&a)));
        assert!(events.overtook(&[a.clone(), b.clone()]));
        events.ask_again(look);
        let again = events.take();
        assert!(again.complete.contains(&a) && again.held.contains(&b));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_kernels_events_the_directory_is_looked_at_again_and_again() {
        let mut events = Events::new();
        events.poll_from_now(&WatchError::Limit);
        assert!(events.due, "what was missed is looked for at once");
        events.take();
        let began = Instant::now();
        let waited = events.wait(None, NEVER, None, &CancellationToken::new()).await;
        assert!(waited.is_some());
        assert!(began.elapsed() < POLL + Duration::from_millis(100));
    }

    /// What to look at after these events.
    fn look_after(happened: &[Happened]) -> (Look, bool) {
        let mut events = Events::new();
        events.note(happened.to_vec());
        let due = events.due;
        (events.take(), due)
    }

    #[tokio::test]
    async fn only_a_close_or_a_move_makes_a_file_complete() {
        use Happened::{Attributes, Done, Gone, Writing};
        let path = PathBuf::from("/m/a.yaml");
        let check = |happened: &[fn(PathBuf) -> Happened], expected: &str| {
            let happened: Vec<_> = happened.iter().map(|make| make(path.clone())).collect();
            let (look, due) = look_after(&happened);
            let sets = [
                ("touched", &look.touched),
                ("complete", &look.complete),
                ("gone", &look.gone),
                ("held", &look.held),
            ];
            let mut words: Vec<&str> = Vec::new();
            words.extend(
                sets.iter()
                    .filter(|(_, set)| set.contains(&path))
                    .map(|(word, _)| word),
            );
            words.extend(due.then_some("due"));
            assert_eq!(words.join(" "), expected, "{happened:?}");
        };
        check(&[Writing], "held");
        check(&[Writing, Done], "complete due");
        check(&[Writing, Done, Writing], "held due");
        check(&[Writing, Attributes], "held");
        check(&[Writing, Attributes, Done], "complete due");
        check(&[Attributes], "touched due");
        check(&[Done, Attributes], "touched complete due");
        check(&[Writing, Gone], "touched gone due");
        check(&[Gone, Writing], "touched gone held due");
        check(&[Gone, Done], "touched complete gone due");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_nobody_closes_is_looked_at_when_it_is_quiet() {
        let mut events = Events::new();
        let path = Path::new("/m/a.yaml").to_owned();
        events.note(vec![Happened::Writing(path.clone())]);
        let began = Instant::now();
        events
            .wait(None, NEVER, None, &CancellationToken::new())
            .await
            .unwrap();
        assert!(began.elapsed() >= QUIET && began.elapsed() < QUIET * 2);
        let look = events.take();
        assert!(look.touched.contains(&path) && look.held.is_empty() && look.complete.is_empty());
    }
}
