//! The manifests directory as it is now: which files are there, which changed, and the set of pods that follows.
//!
//! Looks and decides, once for each call; when to look is the business of [`super::files`]. What cannot be read,
//! and what is being written at the moment, leaves things as they are: only a file that is gone takes its pods along.

use std::collections::btree_map;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::file::{self, Refused, Stamp};
use super::kept::{Change, Kept};
use super::listing::{self, Entry, State};
use super::manifest::{Content, Json, ManifestContext, ReadObject, ReadPod, read_with_content, seen_at};
use super::watch::Watchlist;
use crate::model::object::{self, Object, ObjectKey};
use crate::model::pod::{Pod, PodName, Problem, ProblemKind, SourceSet};

/// A file that went away is gone when it has not come back after this: some editors rename the old one away before
/// they write the new one.
const FILE_GRACE: Duration = Duration::from_millis(50);
/// The same for the directory, which is swapped by hand at times.
const DIRECTORY_GRACE: Duration = Duration::from_secs(1);
/// A file without the extension of a manifest is one when nobody has touched it for this long: before that it may be
/// what an editor is about to rename (`sed -i` writes `sedXXXXXX`).
const UNNAMED_GRACE: Duration = Duration::from_secs(1);
/// The kernel's clock for file times ticks as seldom as this: of two changes within a tick the second one shows nowhere.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Which files to read again although they look as before.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// All of them.
    pub(super) everything: bool,
    /// Those of these paths, without links.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Those of these paths went, though another of their name may be there by now.
    pub(super) gone: BTreeSet<PathBuf>,
    /// Those of these paths are being written: they stay as they are.
    pub(super) held: BTreeSet<PathBuf>,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The complete set; `None` where it could not be told yet.
    pub(super) set: Option<SourceSet>,
    /// What to watch from now on.
    pub(super) watchlist: Watchlist,
    /// When to look again even if nothing is told.
    pub(super) again: Option<Duration>,
    /// What to write down.
    pub(super) changes: Vec<Change>,
    /// The files that were read, their paths without links.
    pub(super) read: Vec<PathBuf>,
    /// Whether the directory is there.
    pub(super) state: State,
}

/// A pod with the object that makes it again.
#[derive(Debug, Clone)]
struct Running {
    pod: Arc<Pod>,
    json: Arc<str>,
}

/// An object with what makes it again.
#[derive(Debug, Clone)]
struct Held {
    key: ObjectKey,
    object: Arc<Object>,
    document: usize,
    json: Json,
}

/// What is known of one file.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Which life its pods are in ([`Pod::incarnation`]).
    incarnation: u64,
    /// By which paths the kernel tells of it: its entry's and its own, without links.
    paths: [PathBuf; 2],
    /// It went, and what is there now was not read yet.
    was_gone: bool,
    /// As it was when it was read; `None`: it is read again.
    stamp: Option<Stamp>,
    /// The pods that follow from it: those it has, and those of its last good version that it has broken.
    pods: Vec<Running>,
    /// The same of its objects.
    objects: Vec<Held>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// It went away then.
    gone_since: Option<Timestamp>,
}

/// The directory with all that is known of its files.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    context: ManifestContext,
    kept: Option<Kept>,
    files: BTreeMap<PathBuf, Known>,
    /// How often a file went.
    departures: u64,
    read_once: bool,
    listed_once: bool,
    again: Option<Duration>,
    changes: Vec<Change>,
    read: Vec<PathBuf>,
}

impl Directory {
    /// Nothing is known yet.
    pub(super) fn new(path: PathBuf, context: ManifestContext, kept: Option<Kept>) -> Directory {
        Directory {
            path,
            context,
            kept,
            files: BTreeMap::new(),
            departures: 0,
            read_once: false,
            listed_once: false,
            again: None,
            changes: Vec::new(),
            read: Vec::new(),
        }
    }

    /// Looks at the directory and reads what changed.
    pub(super) fn look(&mut self, look: &Look, now: Timestamp) -> Seen {
        self.again = None;
        let mut watchlist = Watchlist::new();
        self.note_gone(&look.gone);
        let (state, entries) = listing::list(&self.path, &mut watchlist);
        if state == State::There || state == State::Missing {
            let grace = if state == State::There {
                FILE_GRACE
            } else {
                DIRECTORY_GRACE
            };
            for entry in &entries {
                self.entry(entry, look, now);
            }
            self.forget_others(&entries, grace, now);
            if state == State::There {
                self.forget_kept_of_others(&entries);
            }
            self.read_once = true;
        }
        Seen {
            set: self.read_once.then(|| self.set()),
            watchlist,
            again: self.again,
            changes: std::mem::take(&mut self.changes),
            read: std::mem::take(&mut self.read),
            state,
        }
    }

    /// Marks the files that went, whether or not another of their name is there by now.
    fn note_gone(&mut self, gone: &BTreeSet<PathBuf>) {
        for known in self.files.values_mut() {
            if known.paths.iter().any(|path| gone.contains(path)) {
                known.was_gone = true;
                known.stamp = None;
            }
        }
    }

    /// Brings what is known of one file up to date.
    fn entry(&mut self, entry: &Entry, look: &Look, now: Timestamp) {
        let real = entry.real.as_ref().unwrap_or(&entry.path);
        if look.held.contains(real) {
            // As it was, if it was; the one who writes it will tell when it is done.
            if let Some(known) = self.files.get_mut(&entry.path) {
                known.gone_since = None;
            }
            return;
        }
        let again = look.everything || look.touched.contains(real);
        let known = self.files.get(&entry.path).and_then(|known| known.stamp);
        let stamp = match file::stamp(&entry.path) {
            Ok(stamp) => stamp,
            Err(refused) => return self.refused(entry, refused, now),
        };
        if !again && known == Some(stamp) {
            if let Some(known) = self.files.get_mut(&entry.path) {
                known.gone_since = None;
            }
            return;
        }
        if let Some(wait) = unnamed_wait(&entry.path, &stamp, now).filter(|_| known.is_none()) {
            return self.look_again(wait);
        }
        self.read.push(real.clone());
        match file::read(&entry.path) {
            Err(refused) => self.refused(entry, refused, now),
            Ok((bytes, stamp)) => {
                let content = self.parse(&bytes, &entry.path, now);
                self.take(entry, content, now);
                let fresh = age(&stamp, now) < CLOCK_TICK;
                if fresh {
                    self.look_again(CLOCK_TICK);
                }
                let known = self.files.entry(entry.path.clone()).or_default();
                known.stamp = (!fresh).then_some(stamp);
            }
        }
    }

    fn parse(&self, bytes: &[u8], path: &Path, now: Timestamp) -> Content {
        let context = &self.context;
        // The readers of YAML and of Kubernetes' types are not ours alone: should one of them panic on some
        // manifest, that must not end the agent, nor end it again at every start.
        let read = std::panic::catch_unwind(|| read_with_content(bytes, path, context, now));
        read.unwrap_or_else(|_panic| {
            let message =
                "cannot be read because of a fault in gantry: please report it with the file".to_owned();
            Content {
                problems: vec![whole_file(path, message)],
                ..Content::default()
            }
        })
    }

    /// A file that is there and cannot be read keeps its pods and has a problem.
    fn refused(&mut self, entry: &Entry, refused: Refused, now: Timestamp) {
        let message = match refused {
            // It went away since the directory was listed.
            Refused::Gone if !entry.is_link => return self.gone(&entry.path, FILE_GRACE, now),
            Refused::Gone => "is a link that leads nowhere: let it lead to a file".to_owned(),
            Refused::Unreadable(message) => message,
        };
        let problem = whole_file(&entry.path, message);
        if let Some(known) = self.files.get_mut(&entry.path)
            && known.problems == [problem.clone()]
        {
            known.gone_since = None;
            return;
        }
        let content = Content {
            problems: vec![problem],
            ..Content::default()
        };
        self.take(entry, content, now);
    }

    /// Takes over what a file says now.
    fn take(&mut self, entry: &Entry, content: Content, now: Timestamp) {
        let path = entry.path.as_path();
        let Content {
            pods: read,
            objects,
            mut problems,
            warnings,
        } = content;
        let mut incarnation = None;
        let (before, held) = match self.files.remove(path) {
            // What had this name went, and nothing of it is left to this one.
            Some(known) if known.was_gone => {
                self.departures += 1;
                (Vec::new(), Vec::new())
            }
            Some(known) => {
                incarnation = Some(known.incarnation);
                (known.pods, known.objects)
            }
            // Only a broken file needs what it was before the agent started.
            None if problems.is_empty() => (Vec::new(), Vec::new()),
            None => self.kept(path, now),
        };
        let objects = take_objects(path, objects, held, &mut problems);
        let by_name: BTreeMap<&PodName, &Running> = before.iter().map(|old| (&old.pod.name, old)).collect();
        let incarnation = incarnation.unwrap_or(self.departures);
        let in_life = |mut read: ReadPod| {
            read.pod.incarnation = incarnation;
            same_or_new(by_name.get(&read.pod.name).copied(), read)
        };
        let mut pods: Vec<Running> = read.into_iter().map(in_life).collect();
        let redefined: BTreeSet<PodName> = pods.iter().map(|new| new.pod.name.clone()).collect();
        let nameless = problems.iter().any(|problem| problem.pod.is_none());
        let named: BTreeSet<&PodName> = problems
            .iter()
            .filter_map(|problem| problem.pod.as_ref())
            .collect();
        for old in &before {
            let broken = nameless || named.contains(&old.pod.name);
            if broken && !redefined.contains(&old.pod.name) {
                pods.push(old.clone());
            }
        }
        if self.kept.is_some() {
            let of_pods = pods.iter().map(|running| Json(running.json.clone()));
            let of_objects = objects.iter().map(|held| held.json.clone());
            let all = of_pods.chain(of_objects).collect();
            self.changes.push(Change::Keep(path.to_owned(), all));
        }
        let known = Known {
            incarnation,
            paths: [entry.found.clone(), entry.real.clone().unwrap_or_default()],
            pods,
            objects,
            problems,
            warnings,
            ..Known::default()
        };
        self.files.insert(path.to_owned(), known);
    }

    fn kept(&self, path: &Path, now: Timestamp) -> (Vec<Running>, Vec<Held>) {
        let Some(kept) = &self.kept else {
            return (Vec::new(), Vec::new());
        };
        let content = kept.load(path, &self.context, now);
        let pods = content.pods.into_iter().map(|read| same_or_new(None, read));
        (
            pods.collect(),
            content.objects.into_iter().map(Held::from).collect(),
        )
    }

    /// Lets go of the files that are not there any more.
    fn forget_others(&mut self, entries: &[Entry], grace: Duration, now: Timestamp) {
        let there: BTreeSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| !there.contains(path.as_path()))
            .cloned()
            .collect();
        for path in gone {
            self.gone(&path, grace, now);
        }
    }

    /// Once: what was removed while no agent ran must not come back with a broken file of the same name.
    fn forget_kept_of_others(&mut self, entries: &[Entry]) {
        if self.kept.is_some() && !std::mem::replace(&mut self.listed_once, true) {
            let paths = entries.iter().map(|entry| entry.path.clone()).collect();
            self.changes.push(Change::Only(paths));
        }
    }

    /// A file is gone when its time has passed.
    fn gone(&mut self, path: &Path, grace: Duration, now: Timestamp) {
        let Some(known) = self.files.get_mut(path) else {
            return;
        };
        let since = *known.gone_since.get_or_insert(now);
        let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        if passed >= grace || (known.pods.is_empty() && known.objects.is_empty()) {
            self.files.remove(path);
            self.departures += 1;
            self.changes.push(Change::Forget(path.to_owned()));
        } else {
            known.stamp = None;
            self.look_again(grace - passed);
        }
    }

    fn look_again(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }

    /// All pods, of two of one name the one of the first file.
    fn set(&self) -> SourceSet {
        let mut set = SourceSet::default();
        let mut owners: BTreeMap<&PodName, &Path> = BTreeMap::new();
        for (path, known) in &self.files {
            set.problems.extend(known.problems.iter().cloned());
            set.warnings.extend(known.warnings.iter().cloned());
            for held in &known.objects {
                match set.objects.0.entry(object::Reference::Object(held.key.clone())) {
                    btree_map::Entry::Vacant(place) => {
                        place.insert(object::Known::Found(held.object.clone()));
                    }
                    btree_map::Entry::Occupied(_) => set.problems.push(twice(path, held)),
                }
            }
            for running in &known.pods {
                let pod = &running.pod;
                if let Some(owner) = owners.get(&pod.name) {
                    set.problems.push(taken(path, pod, owner));
                    continue;
                }
                owners.insert(&pod.name, path);
                set.pods.insert(pod.name.clone(), pod.clone());
            }
        }
        set
    }
}

impl From<ReadObject> for Held {
    fn from(read: ReadObject) -> Held {
        Held {
            key: read.key,
            object: Arc::new(read.object),
            document: read.document,
            json: read.json,
        }
    }
}

/// The objects of a file, each the one that is known already where it is the same. What a broken file had stays, and
/// what said of itself that it does not change.
fn take_objects(
    path: &Path,
    read: Vec<ReadObject>,
    before: Vec<Held>,
    problems: &mut Vec<Problem>,
) -> Vec<Held> {
    let broken = !problems.is_empty();
    let mut objects: Vec<Held> = Vec::new();
    let by_key: BTreeMap<&ObjectKey, &Held> = before.iter().map(|old| (&old.key, old)).collect();
    let redefined: BTreeSet<ObjectKey> = read.iter().map(|read| read.key.clone()).collect();
    for read in read {
        let old = by_key.get(&read.key).copied();
        let held = match old {
            Some(old) if *old.object == read.object => Held {
                document: read.document,
                ..old.clone()
            },
            Some(old) if old.object.immutable => {
                problems.push(Problem {
                    document: read.document,
                    field: "immutable".to_owned(),
                    ..whole_file(
                        path,
                        format!(
                            "the {} that was here does not change: give the new one another name, or remove it first",
                            read.key
                        ),
                    )
                });
                old.clone()
            }
            _ => Held::from(read),
        };
        objects.push(held);
    }
    for old in before {
        if broken && !redefined.contains(&old.key) {
            objects.push(old);
        }
    }
    objects
}

/// The pod that is known already where it is the same, so that nobody has to compare it again.
fn same_or_new(before: Option<&Running>, read: ReadPod) -> Running {
    let same = before.filter(|old| old.pod.uid == read.pod.uid);
    let json = Arc::from(read.json);
    let Some(old) = same else {
        return Running {
            pod: Arc::new(read.pod),
            json,
        };
    };
    let again = seen_at(&read.pod, old.pod.seen);
    let pod = if again == *old.pod {
        old.pod.clone()
    } else if *json == *old.json {
        // The same content at another place of the file.
        Arc::new(again)
    } else {
        Arc::new(read.pod)
    };
    Running { pod, json }
}

pub(super) fn whole_file(path: &Path, message: String) -> Problem {
    Problem {
        path: path.to_owned(),
        document: 0,
        line: None,
        field: String::new(),
        message,
        pod: None,
        kind: ProblemKind::Invalid,
    }
}

fn twice(path: &Path, held: &Held) -> Problem {
    Problem {
        document: held.document,
        field: "metadata.name".to_owned(),
        ..whole_file(
            path,
            format!("another file has a {} already: names must differ", held.key),
        )
    }
}

pub(super) fn taken(path: &Path, pod: &Pod, owner: &Path) -> Problem {
    let document = match pod.source {
        crate::model::pod::Source::File { document, .. } => document,
        crate::model::pod::Source::Api => 0,
    };
    Problem {
        path: path.to_owned(),
        document,
        line: None,
        field: "metadata.name".into(),
        message: format!(
            "{} has a pod {} already: names must differ",
            owner.display(),
            pod.name
        ),
        pod: Some(pod.name.clone()),
        kind: ProblemKind::Invalid,
    }
}

fn age(stamp: &Stamp, now: Timestamp) -> Duration {
    let nanos = now.as_nanosecond() - stamp.changed_nanos();
    // A file of the future is an old one: clocks are set back at times.
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

/// How long a file that is not called a manifest is not taken for one yet.
fn unnamed_wait(path: &Path, stamp: &Stamp, now: Timestamp) -> Option<Duration> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if matches!(extension, "yaml" | "yml" | "json") {
        return None;
    }
    UNNAMED_GRACE
        .checked_sub(age(stamp, now))
        .filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn manifest(name: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: c, image: x}}]}}}}"
        )
    }

    struct Scene {
        root: tempfile::TempDir,
        directory: Directory,
    }

    impl Scene {
        fn new() -> Scene {
            let root = tempfile::tempdir().unwrap();
            let context = ManifestContext {
                node_name: "n".into(),
                ..ManifestContext::default()
            };
            let directory = Directory::new(root.path().to_owned(), context, None);
            Scene { root, directory }
        }

        fn write(&self, name: &str, content: &str) {
            fs::write(self.root.path().join(name), content).unwrap();
        }

        /// The pods that are seen so many milliseconds from now.
        fn pods(&mut self, millis: i64) -> (Vec<String>, Option<Duration>) {
            let now = Timestamp::now() + jiff::SignedDuration::from_millis(millis);
            let seen = self.directory.look(&Look::default(), now);
            let set = seen.set.unwrap();
            (
                set.pods.keys().map(|name| name.name.clone()).collect(),
                seen.again,
            )
        }
    }

    #[test]
    fn a_file_is_gone_when_it_has_not_come_back() {
        let mut scene = Scene::new();
        scene.write("a.yaml", &manifest("a"));
        assert_eq!(scene.pods(1000).0, ["a-n"]);
        fs::remove_file(scene.root.path().join("a.yaml")).unwrap();
        let (pods, again) = scene.pods(2000);
        assert_eq!(pods, ["a-n"]);
        assert!(again.unwrap() <= FILE_GRACE);
        scene.write("a.yaml", &manifest("a"));
        assert_eq!(scene.pods(2040), (vec!["a-n".to_owned()], None));
        fs::remove_file(scene.root.path().join("a.yaml")).unwrap();
        assert_eq!(scene.pods(3000).0, ["a-n"]);
        assert_eq!(scene.pods(3060).0, Vec::<String>::new());
    }

    #[test]
    fn what_an_editor_is_about_to_rename_is_no_manifest_yet() {
        let mut scene = Scene::new();
        scene.write("a.yaml", &manifest("a"));
        scene.write("sedX3fGz1", &manifest("a"));
        scene.write("b.yaml.tmp", &manifest("b"));
        let (pods, again) = scene.pods(500);
        assert_eq!(pods, ["a-n"]);
        assert!(again.unwrap() <= UNNAMED_GRACE);
        assert_eq!(scene.pods(1500).0, ["a-n", "b-n"]);
    }

    #[test]
    fn a_change_within_one_tick_of_the_clock_is_seen() {
        let mut scene = Scene::new();
        scene.write("a.yaml", &manifest("a"));
        let (pods, again) = scene.pods(0);
        assert_eq!((pods, again), (vec!["a-n".to_owned()], Some(CLOCK_TICK)));
        // The same size, and maybe the same time.
        scene.write("a.yaml", &manifest("b"));
        assert_eq!(scene.pods(0).0, ["b-n"]);
    }

    #[test]
    fn the_first_of_two_files_has_the_name() {
        let mut scene = Scene::new();
        scene.write("b.yaml", &manifest("a"));
        scene.write("a.yaml", &manifest("a"));
        let seen = scene.directory.look(&Look::default(), Timestamp::now());
        let set = seen.set.unwrap();
        assert_eq!(set.pods.len(), 1);
        assert_eq!(set.problems.len(), 1);
        assert_eq!(set.problems[0].path, scene.root.path().join("b.yaml"));
        assert_eq!(set.problems[0].pod.as_ref(), set.pods.keys().next());
        fs::remove_file(scene.root.path().join("a.yaml")).unwrap();
        scene.pods(1000);
        assert_eq!(scene.pods(2000).0, ["a-n"]);
    }

    #[test]
    fn a_document_that_is_broken_keeps_its_own_pod_only() {
        let mut scene = Scene::new();
        let docs = |a: &str, b: &str| {
            format!(
                "{}\n---\n{}\n",
                manifest("a").replace("image: x", a),
                manifest("b").replace("image: x", b)
            )
        };
        scene.write("a.yaml", &docs("image: x:1", "image: x:1"));
        scene.pods(1000);
        scene.write("a.yaml", &docs("image: x:2", "imago: x:2"));
        let set = scene
            .directory
            .look(&Look::default(), Timestamp::now())
            .set
            .unwrap();
        let images: Vec<&str> = set
            .pods
            .values()
            .map(|pod| pod.containers[0].image.as_str())
            .collect();
        assert_eq!(images, ["x:2", "x:1"]);
        // A document whose name cannot be read may be any of them.
        scene.write("a.yaml", &format!("{}\n---\n{{", manifest("c")));
        assert_eq!(scene.pods(0).0, ["a-n", "b-n", "c-n"]);
        scene.write("a.yaml", &manifest("c"));
        assert_eq!(scene.pods(0).0, ["c-n"]);
    }

    #[test]
    fn the_same_content_elsewhere_in_the_file_is_the_same_pod() {
        let mut scene = Scene::new();
        scene.write("a.yaml", &manifest("a"));
        let first = scene
            .directory
            .look(&Look::default(), Timestamp::now())
            .set
            .unwrap();
        scene.write(
            "a.yaml",
            &format!("# comment\n{}\n---\n{}", manifest("b"), manifest("a")),
        );
        let later = Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let second = scene.directory.look(&Look::default(), later).set.unwrap();
        let (name, pod) = first.pods.first_key_value().unwrap();
        assert_eq!(second.pods[name].uid, pod.uid);
        assert_eq!(second.pods[name].seen, pod.seen);
    }

    #[test]
    fn a_manifest_that_was_gone_is_of_another_life_however_soon_it_is_back() {
        let mut scene = Scene::new();
        let path = scene.root.path().canonicalize().unwrap().join("a.yaml");
        scene.directory.path = path.parent().unwrap().to_owned();
        scene.write("a.yaml", &manifest("a"));
        scene.write("b.yaml", &manifest("b"));
        let mut look = |gone: bool, held: bool, millis: i64| {
            let mut look = Look::default();
            look.gone.extend(gone.then(|| path.clone()));
            look.held.extend(held.then(|| path.clone()));
            let now = Timestamp::now() + jiff::SignedDuration::from_millis(millis);
            let set = scene.directory.look(&look, now).set.unwrap();
            let lives = set
                .pods
                .values()
                .map(|pod| (pod.name.name.clone(), pod.incarnation));
            let uid = set.pods.values().next().map(|pod| pod.uid.clone());
            (lives.collect::<BTreeMap<_, _>>(), uid)
        };
        let lives = |a: u64| BTreeMap::from([("a-n".to_owned(), a), ("b-n".to_owned(), 0)]);
        let (first, uid) = look(false, false, 1000);
        assert_eq!(first, lives(0));
        // Deleted and made before anybody looked.
        assert_eq!(look(true, false, 2000), (lives(1), uid.clone()));
        assert_eq!(look(false, false, 3000), (lives(1), uid.clone()));
        // Deleted, and still being written.
        assert_eq!(look(true, true, 4000), (lives(1), uid.clone()));
        assert_eq!(look(false, false, 5000), (lives(2), uid.clone()));
        // Seen to be gone, and back before its time had passed.
        fs::remove_file(&path).unwrap();
        assert_eq!(look(true, false, 6000).0, lives(2));
        fs::write(&path, manifest("a")).unwrap();
        assert_eq!(look(false, false, 6010), (lives(3), uid.clone()));
        // Gone for good, and back.
        fs::remove_file(&path).unwrap();
        look(true, false, 7000);
        assert_eq!(look(false, false, 7100).0.len(), 1);
        fs::write(&path, manifest("a")).unwrap();
        let (back, _) = look(false, false, 8000);
        assert!(back["a-n"] > 3, "{back:?}");
        // Replaced with the same content.
        fs::write(path.with_file_name(".new"), manifest("a")).unwrap();
        fs::rename(path.with_file_name(".new"), &path).unwrap();
        assert_eq!(look(false, false, 9000), (back, uid));
    }
}
