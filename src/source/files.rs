//! Static pods: watches the manifests directory and tells the complete set of its pods and problems.
//!
//! The kernel's events say when to look, at once and without a pause; a slow rescan is the net beneath them.
//! Each look is a [`Directory::look`], which runs where it may block.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::SourceError;
use super::directory::{Directory, Look, Seen};
use super::kept::{Change, Kept};
use super::listing::State;
use super::manifest::ManifestContext;
use super::watch::{Happened, WatchError, Watcher};
use crate::model::pod::{Problem, SourceSet};

/// A file that was opened for writing and not closed is read all the same when nothing was written for this long.
const HOLD: Duration = Duration::from_secs(1);
/// Between two looks, so that a storm of events does not become a storm of looks.
const PAUSE: Duration = Duration::from_millis(2);
/// So often in a row a look is thrown away because a file was written meanwhile: one that is written all the time
/// must not keep the others from being seen.
const MOST_OVERTAKEN: u32 = 3;
/// How often to look where the kernel does not tell.
const POLL: Duration = Duration::from_secs(1);

/// Tells the pods of a directory, or of a single file, until it is cancelled.
///
/// `path` is absolute. `rescan` is the net beneath the kernel's events (`fileCheckFrequency`, 20 s). `state` is the
/// directory that keeps the last good version of each manifest over a restart of the agent; without it a manifest
/// that is broken then loses its pod. `out` is `None` until the directory has been read once; a directory that is
/// missing has no manifests.
pub async fn run(
    path: PathBuf,
    context: ManifestContext,
    rescan: Duration,
    state: Option<PathBuf>,
    out: watch::Sender<Option<Arc<SourceSet>>>,
    cancel: CancellationToken,
) -> Result<(), SourceError> {
    if !path.is_absolute() {
        return Err(SourceError::Relative { path });
    }
    let kept = state.map(Kept::new);
    let mut told = Told::new(path.clone(), out);
    let mut events = Events::new();
    let mut directory = Directory::new(path, context, kept.clone());
    let mut overtaken = 0;
    loop {
        let (look, before) = (events.take(), directory.clone());
        let (seen, asked);
        (directory, seen, asked) = blocking(move || {
            let mut directory = directory;
            let seen = directory.look(&look, Timestamp::now());
            (directory, seen, look)
        })
        .await?;
        if overtaken < MOST_OVERTAKEN && events.overtook(&seen.read) {
            // What was read may be half of what is being written: it never was.
            overtaken += 1;
            directory = before;
            events.ask_again(asked);
            continue;
        }
        overtaken = 0;
        told.tell(&seen);
        events.watch(&seen);
        if let Some(kept) = kept.clone() {
            write_down(kept, seen.changes).await?;
        }
        let Some(()) = events.wait(seen.again, rescan, &cancel).await else {
            return Ok(());
        };
    }
}

/// Runs what may wait for a disk where that disturbs nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(SourceError::Died)
}

async fn write_down(kept: Kept, changes: Vec<Change>) -> Result<(), SourceError> {
    if changes.is_empty() {
        return Ok(());
    }
    if let Err(error) = blocking(move || kept.apply(&changes)).await? {
        warn!(%error, "cannot keep the last good versions of manifests: a broken one may lose its pod at a restart");
    }
    Ok(())
}

/// What the kernel told and what it means for the next look.
struct Events {
    /// `None`: the kernel does not tell, and the directory is looked at every [`POLL`].
    watcher: Option<Watcher>,
    /// The files that are being written, and when somebody last wrote or made them.
    held: BTreeMap<PathBuf, Instant>,
    /// What was told since the last look.
    told: Look,
    /// Whether that is a reason to look now.
    due: bool,
    last_look: Instant,
}

impl Events {
    fn new() -> Events {
        let watcher = Watcher::new().map_err(|error| warn_polling(&error)).ok();
        Events {
            watcher,
            held: BTreeMap::new(),
            told: Look::default(),
            due: false,
            last_look: Instant::now(),
        }
    }

    /// Watches what was seen; where something was not watched while it was looked at, it is looked at once more.
    fn watch(&mut self, seen: &Seen) {
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

    /// Waits until there is a reason to look. `None`: it was cancelled.
    async fn wait(
        &mut self,
        again: Option<Duration>,
        rescan: Duration,
        cancel: &CancellationToken,
    ) -> Option<()> {
        self.last_look = Instant::now();
        while !self.due {
            let until = self.deadline(again, rescan);
            tokio::select! {
                biased;
                // Nothing is begun that would be left half done.
                () = cancel.cancelled() => return None,
                // A wait for events that is given up loses none.
                happened = next(self.watcher.as_mut()) => match happened {
                    Ok(happened) => self.note(happened),
                    Err(error) => self.poll_from_now(&error),
                },
                () = sleep_until(until) => self.due = true,
            }
        }
        // The first event after a while is not kept waiting, not even for a tick of the timer.
        if Instant::now() < self.last_look + PAUSE {
            tokio::select! {
                // As above.
                () = cancel.cancelled() => return None,
                () = sleep_until(self.last_look + PAUSE) => {}
            }
        }
        Some(())
    }

    /// What to look at, with all that was told until now.
    fn take(&mut self) -> Look {
        self.drain();
        let now = Instant::now();
        let mut look = std::mem::take(&mut self.told);
        self.held.retain(|path, since| {
            let held = now.duration_since(*since) < HOLD;
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
    fn overtook(&mut self, read: &[PathBuf]) -> bool {
        self.drain();
        let touched = |path| self.told.touched.contains(path) || self.held.contains_key(path);
        self.told.everything || read.iter().any(touched)
    }

    /// Gives back what was taken for a look that was thrown away.
    fn ask_again(&mut self, asked: Look) {
        self.told.everything |= asked.everything;
        self.told.touched.extend(asked.touched);
        self.told.gone.extend(asked.gone);
    }

    /// Takes down what has been told already, without waiting for more.
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
        let released = self.held.values().min().map(|since| *since + HOLD);
        released.map_or(looked, |released| released.min(looked))
    }

    /// Takes down what happened.
    fn note(&mut self, happened: Vec<Happened>) {
        for event in happened {
            match event {
                Happened::Lost => {
                    self.held.clear();
                    self.told.everything = true;
                    self.due = true;
                }
                Happened::Done(path) => {
                    self.held.remove(&path);
                    self.told.touched.insert(path);
                    self.due = true;
                }
                Happened::Gone(path) => {
                    self.held.remove(&path);
                    self.told.touched.insert(path.clone());
                    self.told.gone.insert(path);
                    self.due = true;
                }
                Happened::Writing(path) => {
                    self.held.insert(path, Instant::now());
                }
                // A link, or another name of a file that is complete, is written by nobody.
                Happened::Made(path) if is_complete(&path) => {
                    self.told.touched.insert(path);
                    self.due = true;
                }
                Happened::Made(path) => {
                    self.held.insert(path, Instant::now());
                }
            }
        }
    }

    fn poll_from_now(&mut self, error: &WatchError) {
        warn_polling(error);
        self.watcher = None;
        // What was not told because of this is found now.
        self.due = true;
    }
}

/// Whether a file that has just appeared under this name needs no more writing.
fn is_complete(path: &std::path::Path) -> bool {
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
        "cannot watch the manifests directory, and looks at it again and again instead; raise fs.inotify.max_user_watches and fs.inotify.max_user_instances"
    );
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Whether two sets are equal: pods that did not change are the same value.
fn same(a: &SourceSet, b: &SourceSet) -> bool {
    let pods = a.pods.values().zip(b.pods.values());
    a.pods.len() == b.pods.len()
        && pods.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
        && a.objects.is_same(&b.objects)
        && a.problems == b.problems
        && a.warnings == b.warnings
}

/// What has been told, so that nothing is told twice.
struct Told {
    path: PathBuf,
    out: watch::Sender<Option<Arc<SourceSet>>>,
    state: Option<State>,
    problems: BTreeSet<Problem>,
    warnings: BTreeSet<Problem>,
}

impl Told {
    fn new(path: PathBuf, out: watch::Sender<Option<Arc<SourceSet>>>) -> Told {
        Told {
            path,
            out,
            state: None,
            problems: BTreeSet::new(),
            warnings: BTreeSet::new(),
        }
    }

    fn tell(&mut self, seen: &Seen) {
        if let Some(set) = &seen.set {
            self.out.send_if_modified(|current| {
                let changed = current.as_deref().is_none_or(|current| !same(current, set));
                if changed {
                    *current = Some(Arc::new(set.clone()));
                }
                changed
            });
            self.log_problems(set);
            self.log_warnings(set);
        }
        self.log_state(&seen.state);
    }

    fn log_problems(&mut self, set: &SourceSet) {
        let problems: BTreeSet<Problem> = set.problems.iter().cloned().collect();
        for problem in problems.difference(&self.problems) {
            warn!(
                file = %problem.path.display(),
                line = problem.line,
                field = problem.field,
                "manifest refused: {problem}"
            );
        }
        let broken = |problems: &BTreeSet<Problem>| -> BTreeSet<PathBuf> {
            problems.iter().map(|problem| problem.path.clone()).collect()
        };
        for file in broken(&self.problems).difference(&broken(&problems)) {
            info!(file = %file.display(), "manifest has no problem any more");
        }
        self.problems = problems;
    }

    fn log_warnings(&mut self, set: &SourceSet) {
        let warnings: BTreeSet<Problem> = set.warnings.iter().cloned().collect();
        for warning in warnings.difference(&self.warnings) {
            warn!(
                file = %warning.path.display(),
                line = warning.line,
                field = warning.field,
                "manifest is dubious: {warning}"
            );
        }
        self.warnings = warnings;
    }

    fn log_state(&mut self, state: &State) {
        if self.state.as_ref() == Some(state) {
            return;
        }
        let path = self.path.display();
        match state {
            State::There => info!(%path, "watching for manifests"),
            State::Missing => info!(%path, "there is no manifests directory yet: waiting for it"),
            State::Unreadable(error) => {
                warn!(%path, error, "cannot read the manifests directory: its pods stay")
            }
        }
        self.state = Some(state.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tempfile::TempDir;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    /// So seldom that whatever is seen was told by the kernel.
    const NEVER: Duration = Duration::from_secs(3600);

    fn manifest(name: &str, image: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: c\n    image: {image}\n"
        )
    }

    /// The source over a directory `m` of a temporary one.
    struct Scene {
        root: TempDir,
        set: watch::Receiver<Option<Arc<SourceSet>>>,
        cancel: CancellationToken,
        task: JoinHandle<Result<(), SourceError>>,
    }

    impl Scene {
        fn start(root: TempDir) -> Scene {
            let (out, set) = watch::channel(None);
            let cancel = CancellationToken::new();
            let context = ManifestContext {
                node_name: "n".into(),
                ..ManifestContext::default()
            };
            let (path, state) = (root.path().join("m"), root.path().join("state"));
            let task = tokio::spawn(run(path, context, NEVER, Some(state), out, cancel.clone()));
            Scene {
                root,
                set,
                cancel,
                task,
            }
        }

        /// With the directory, and read once.
        async fn ready() -> Scene {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("m")).unwrap();
            let mut scene = Scene::start(root);
            scene.until("read once", |_| true).await;
            scene
        }

        fn at(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        /// Writes beside the directory and renames into it.
        fn rename_into(&self, name: &str, content: &str) {
            fs::write(self.at("new"), content).unwrap();
            fs::rename(self.at("new"), self.at("m").join(name)).unwrap();
        }

        async fn until(&mut self, what: &str, condition: impl Fn(&SourceSet) -> bool) -> Arc<SourceSet> {
            let reached = timeout(
                Duration::from_secs(10),
                self.set.wait_for(|set| set.as_deref().is_some_and(&condition)),
            );
            if let Ok(set) = reached.await {
                return set.unwrap().clone().unwrap();
            }
            panic!("not seen: {what}; there is {:#?}", describe(&self.set.borrow()));
        }

        async fn stop(self) -> TempDir {
            self.cancel.cancel();
            self.task.await.unwrap().unwrap();
            self.root
        }
    }

    fn describe(set: &Option<Arc<SourceSet>>) -> Vec<String> {
        let Some(set) = set else {
            return vec!["unknown".into()];
        };
        let pods = set
            .pods
            .values()
            .map(|pod| format!("{} {}", pod.name, pod.containers[0].image));
        pods.chain(set.problems.iter().map(ToString::to_string)).collect()
    }

    fn image(set: &SourceSet, pod: &str) -> Option<String> {
        let pod = set.pods.values().find(|p| p.name.name == format!("{pod}-n"))?;
        Some(pod.containers[0].image.clone())
    }

    #[tokio::test]
    async fn a_manifest_is_renamed_into_place_replaced_and_removed() {
        let mut scene = Scene::ready().await;
        scene.rename_into("a.yaml", &manifest("a", "x:1"));
        let first = scene
            .until("the pod", |set| image(set, "a").as_deref() == Some("x:1"))
            .await;
        scene.rename_into("b.yaml", &manifest("b", "x:1"));
        let second = scene.until("the other pod", |set| set.pods.len() == 2).await;
        let (name, pod) = first.pods.first_key_value().unwrap();
        assert!(
            Arc::ptr_eq(pod, &second.pods[name]),
            "what did not change is the same value"
        );
        scene.rename_into("a.yaml", &manifest("a", "x:2"));
        let third = scene
            .until("the new image", |set| image(set, "a").as_deref() == Some("x:2"))
            .await;
        assert_ne!(pod.uid, third.pods[name].uid);
        fs::remove_file(scene.at("m/a.yaml")).unwrap();
        scene.until("the removal", |set| set.pods.len() == 1).await;
        scene.stop().await;
    }

    #[tokio::test]
    async fn a_manifest_that_is_deleted_and_made_again_is_of_another_life_and_one_that_is_renamed_is_not() {
        let mut scene = Scene::ready().await;
        let life = |set: &SourceSet| set.pods.values().next().map(|pod| pod.incarnation);
        scene.rename_into("a.yaml", &manifest("a", "x:1"));
        let first = scene.until("the pod", |set| life(set) == Some(0)).await;
        let uid = first.pods.values().next().map(|pod| pod.uid.clone());
        let path = scene.at("m/a.yaml");
        for lives in 1..4 {
            fs::remove_file(&path).unwrap();
            fs::write(&path, manifest("a", "x:1")).unwrap();
            let again = scene.until("the next life", |set| life(set) == Some(lives)).await;
            assert_eq!(again.pods.values().next().map(|pod| pod.uid.clone()), uid);
        }
        // Moved out of the directory and in again.
        fs::rename(&path, scene.at("a.yaml")).unwrap();
        fs::rename(scene.at("a.yaml"), &path).unwrap();
        scene
            .until("the life after a move", |set| life(set) == Some(4))
            .await;
        // Renamed over, and as an editor does it that keeps a copy: nothing to tell of.
        scene.rename_into("a.yaml", &manifest("a", "x:1"));
        fs::rename(&path, scene.at("m/a.yaml~")).unwrap();
        fs::write(&path, manifest("a", "x:1")).unwrap();
        fs::remove_file(scene.at("m/a.yaml~")).unwrap();
        scene.rename_into("b.yaml", &manifest("b", "x:1"));
        let last = scene.until("another pod", |set| set.pods.len() == 2).await;
        assert_eq!(life(&last), Some(4));
        scene.stop().await;
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_not_read_before_it_is_closed() {
        let mut scene = Scene::ready().await;
        scene.rename_into("a.yaml", &manifest("a", "x:1"));
        scene.until("the pod", |set| set.pods.len() == 1).await;
        let text = manifest("a", "x:2");
        let mut file = fs::File::create(scene.at("m/a.yaml")).unwrap();
        file.write_all(&text.as_bytes()[..text.len() / 2]).unwrap();
        let mut new = fs::File::create(scene.at("m/c.yaml")).unwrap();
        new.write_all(b"{").unwrap();
        scene.rename_into("b.yaml", &manifest("b", "x:1"));
        let set = scene.until("another pod", |set| image(set, "b").is_some()).await;
        assert_eq!(set.problems, []);
        assert_eq!(image(&set, "a").as_deref(), Some("x:1"));
        file.write_all(&text.as_bytes()[text.len() / 2..]).unwrap();
        drop(file);
        let set = scene
            .until("the new image", |set| image(set, "a").as_deref() == Some("x:2"))
            .await;
        assert_eq!(set.problems, []);
        drop(new);
        scene
            .until("the broken file", |set| set.problems.len() == 1)
            .await;
        scene.stop().await;
    }

    #[tokio::test]
    async fn the_directory_appears_later_and_comes_back() {
        let mut scene = Scene::start(tempfile::tempdir().unwrap());
        let set = scene.until("the empty set", |_| true).await;
        assert_eq!(*set, SourceSet::default());
        fs::create_dir(scene.at("later")).unwrap();
        fs::write(scene.at("later/a.yaml"), manifest("a", "x:1")).unwrap();
        fs::rename(scene.at("later"), scene.at("m")).unwrap();
        let first = scene.until("the pod", |set| set.pods.len() == 1).await;
        // Taken away and put back by hand: nothing of it is a reason to stop a pod.
        fs::create_dir(scene.at("other")).unwrap();
        fs::write(scene.at("other/a.yaml"), manifest("a", "x:1")).unwrap();
        fs::write(scene.at("other/b.yaml"), manifest("b", "x:1")).unwrap();
        fs::rename(scene.at("m"), scene.at("old")).unwrap();
        fs::rename(scene.at("other"), scene.at("m")).unwrap();
        let second = scene
            .until("the pod of the other directory", |set| set.pods.len() == 2)
            .await;
        let (name, pod) = first.pods.first_key_value().unwrap();
        assert!(Arc::ptr_eq(pod, &second.pods[name]));
        scene.rename_into("c.yaml", &manifest("c", "x:1"));
        scene
            .until("a file of the other directory", |set| set.pods.len() == 3)
            .await;
        fs::remove_dir_all(scene.at("m")).unwrap();
        scene.until("the end", |set| set.pods.is_empty()).await;
        scene.stop().await;
    }

    #[tokio::test]
    async fn a_directory_that_is_a_link_is_swapped() {
        let root = tempfile::tempdir().unwrap();
        for (dir, tag) in [("v1", "x:1"), ("v2", "x:2")] {
            fs::create_dir(root.path().join(dir)).unwrap();
            fs::write(root.path().join(dir).join("a.yaml"), manifest("a", tag)).unwrap();
        }
        symlink("v1", root.path().join("current")).unwrap();
        symlink("current", root.path().join("m")).unwrap();
        let mut scene = Scene::start(root);
        scene
            .until("the first version", |set| {
                image(set, "a").as_deref() == Some("x:1")
            })
            .await;
        symlink("v2", scene.at("next")).unwrap();
        fs::rename(scene.at("next"), scene.at("current")).unwrap();
        scene
            .until("the second version", |set| {
                image(set, "a").as_deref() == Some("x:2")
            })
            .await;
        fs::write(scene.at("v2/a.yaml"), manifest("a", "x:3")).unwrap();
        scene
            .until("an edit of it", |set| image(set, "a").as_deref() == Some("x:3"))
            .await;
        scene.stop().await;
    }

    #[tokio::test]
    async fn links_to_files_are_followed() {
        let mut scene = Scene::ready().await;
        fs::create_dir(scene.at("real")).unwrap();
        fs::write(scene.at("real/a"), manifest("a", "x:1")).unwrap();
        symlink("../real/a", scene.at("m/a.yaml")).unwrap();
        scene
            .until("the link's pod", |set| image(set, "a").as_deref() == Some("x:1"))
            .await;
        fs::write(scene.at("real/a"), manifest("a", "x:2")).unwrap();
        scene
            .until("an edit of the target", |set| {
                image(set, "a").as_deref() == Some("x:2")
            })
            .await;
        fs::write(scene.at("real/b"), manifest("a", "x:3")).unwrap();
        fs::rename(scene.at("real/b"), scene.at("real/a")).unwrap();
        scene
            .until("another target", |set| image(set, "a").as_deref() == Some("x:3"))
            .await;
        // A hard link is complete at once, though nobody closes it.
        fs::hard_link(scene.at("real/a"), scene.at("m/hard.json")).unwrap();
        let set = scene
            .until("the second name", |set| set.problems.len() == 1)
            .await;
        assert!(
            set.problems[0]
                .message
                .contains("a.yaml has a pod default/a-n already")
        );
        scene.stop().await;
    }

    #[tokio::test]
    async fn what_is_no_file_is_told_and_disturbs_nobody() {
        let mut scene = Scene::ready().await;
        scene.rename_into("a.yaml", &manifest("a", "x:1"));
        fs::create_dir(scene.at("m/dir.yaml")).unwrap();
        nix::unistd::mkfifo(&scene.at("m/fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(scene.at("m/socket.yaml")).unwrap();
        symlink("/dev/zero", scene.at("m/device.yaml")).unwrap();
        symlink("nowhere", scene.at("m/dangling.yaml")).unwrap();
        symlink("loop.yaml", scene.at("m/loop.yaml")).unwrap();
        let big = fs::File::create(scene.at("m/big.yaml")).unwrap();
        big.set_len(10 * 1024 * 1024 * 1024).unwrap();
        drop(big);
        for name in [".hidden.yaml", "b.yaml~", "#c.yaml#", "d.yaml.swp"] {
            fs::write(scene.at("m").join(name), "{").unwrap();
        }
        let set = scene.until("all problems", |set| set.problems.len() == 7).await;
        assert_eq!(set.pods.len(), 1);
        let told: Vec<String> = set
            .problems
            .iter()
            .map(|p| {
                format!(
                    "{}: {}",
                    p.path.file_name().unwrap().display(),
                    p.message.split([':', ';', ',']).next().unwrap()
                )
            })
            .collect();
        expect_test::expect![[r#"
            [
                "big.yaml: the file has 10737418240 bytes",
                "dangling.yaml: is a link that leads nowhere",
                "device.yaml: is no file but a device",
                "dir.yaml: is no file but a directory",
                "fifo.yaml: is no file but a named pipe",
                "loop.yaml: is a link that leads in a circle",
                "socket.yaml: is no file but a socket",
            ]
        "#]]
        .assert_debug_eq(&told);
        fs::remove_file(scene.at("m/loop.yaml")).unwrap();
        scene.until("one less", |set| set.problems.len() == 6).await;
        scene.stop().await;
    }

    #[tokio::test]
    async fn a_broken_file_keeps_its_last_good_version_over_a_restart() {
        let mut scene = Scene::ready().await;
        let two = format!("{}---\n{}", manifest("a", "x:1"), manifest("b", "x:1"));
        scene.rename_into("two.yaml", &two);
        scene.rename_into("gone.yaml", &manifest("gone", "x:1"));
        let good = scene.until("three pods", |set| set.pods.len() == 3).await;
        scene.rename_into("two.yaml", &two.replace("x:1", "x: 1: 2"));
        let broken = scene.until("the problems", |set| set.problems.len() == 2).await;
        assert_eq!(broken.pods, good.pods);
        let root = scene.stop().await;
        fs::remove_file(root.path().join("m/gone.yaml")).unwrap();

        let mut scene = Scene::start(root);
        let again = scene
            .until("the problems again", |set| set.problems.len() == 2)
            .await;
        let uids = |set: &SourceSet| {
            set.pods
                .iter()
                .map(|(n, p)| (n.clone(), p.uid.clone()))
                .collect::<Vec<_>>()
        };
        let expected: Vec<_> = uids(&good)
            .into_iter()
            .filter(|(n, _)| n.name != "gone-n")
            .collect();
        assert_eq!(uids(&again), expected);
        // What was removed while nobody looked does not come back with a broken file of its name.
        scene.rename_into("gone.yaml", "{");
        let set = scene
            .until("the broken file", |set| set.problems.len() == 3)
            .await;
        assert_eq!(uids(&set), expected);
        scene.rename_into("two.yaml", &manifest("b", "x:2"));
        let set = scene
            .until("the repaired file", |set| set.problems.len() == 1)
            .await;
        assert_eq!(describe(&Some(set))[..1], ["default/b-n x:2".to_owned()]);
        scene.stop().await;
    }

    #[tokio::test]
    async fn a_dubious_manifest_is_run_and_its_warning_goes_when_it_is_mended() {
        let mut scene = Scene::ready().await;
        let dubious = manifest("a", "x:1").replace("image:", "imag: y\n    image:");
        scene.rename_into("a.yaml", &dubious);
        let set = scene.until("the warning", |set| !set.warnings.is_empty()).await;
        assert_eq!((set.pods.len(), set.problems.len()), (1, 0));
        assert_eq!(set.warnings[0].field, "spec.containers[0].imag");
        scene.rename_into("a.yaml", &manifest("a", "x:1"));
        let mended = scene.until("no warning", |set| set.warnings.is_empty()).await;
        assert_eq!(mended.pods, set.pods, "the pod is the same");
        scene.stop().await;
    }

    #[tokio::test]
    async fn a_single_file_is_a_source_too() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("m"), manifest("a", "x:1")).unwrap();
        // A file without an extension may have been made by an editor just now.
        let mut scene = Scene::start(root);
        scene
            .until("the pod", |set| image(set, "a").as_deref() == Some("x:1"))
            .await;
        fs::write(scene.at("m"), manifest("a", "x:2")).unwrap();
        scene
            .until("an edit", |set| image(set, "a").as_deref() == Some("x:2"))
            .await;
        scene.stop().await;
    }

    #[tokio::test]
    async fn a_change_that_the_kernels_queue_had_no_room_for_is_seen() {
        let mut scene = Scene::ready().await;
        let room = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let room: usize = room.trim().parse().unwrap();
        // Nobody reads the queue while this thread does not wait. Each file is made, closed and removed.
        for _ in 0..=room / 3 {
            fs::write(scene.at("m/.hidden"), "").unwrap();
            fs::remove_file(scene.at("m/.hidden")).unwrap();
        }
        scene.rename_into("late.yaml", &manifest("late", "x:1"));
        scene.until("the file", |set| set.pods.len() == 1).await;
        scene.stop().await;
    }

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
        assert!(look.touched.contains(&a));
        events.note(vec![Happened::Writing(b.clone())]);
        assert!(!events.overtook(std::slice::from_ref(&a)));
        assert!(events.overtook(&[a.clone(), b.clone()]));
        events.ask_again(look);
        let again = events.take();
        assert!(again.touched.contains(&a) && again.held.contains(&b));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_kernels_events_the_directory_is_looked_at_again_and_again() {
        let mut events = Events::new();
        events.poll_from_now(&WatchError::Limit);
        assert!(events.due, "what was missed is looked for at once");
        events.take();
        let began = Instant::now();
        let waited = events.wait(None, NEVER, &CancellationToken::new()).await;
        assert!(waited.is_some());
        assert!(began.elapsed() < POLL + Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_never_closed_is_read_in_the_end() {
        let mut events = Events::new();
        let path = Path::new("/m/a.yaml").to_owned();
        events.note(vec![Happened::Writing(path.clone())]);
        let began = Instant::now();
        events.wait(None, NEVER, &CancellationToken::new()).await.unwrap();
        assert!(began.elapsed() >= HOLD && began.elapsed() < HOLD * 2);
        let look = events.take();
        assert!(look.touched.contains(&path) && look.held.is_empty());
    }

    #[tokio::test]
    async fn a_relative_path_is_refused() {
        let (out, _set) = watch::channel(None);
        let context = ManifestContext::default();
        let result = run("m".into(), context, NEVER, None, out, CancellationToken::new()).await;
        assert!(matches!(result, Err(SourceError::Relative { .. })));
    }
}
