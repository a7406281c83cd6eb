use std::fs;

use super::*;
use crate::model::pod::Problem;
use crate::source::files::ages::UNNAMED_GRACE;
use crate::source::files::writing;

/// Nothing runs.
const NOTHING: BTreeSet<PodUid> = BTreeSet::new();

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
        let directory = Directory::new(root.path().to_owned(), context, None, LeaseUse::Yes);
        Scene { root, directory }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.root.path().join(name), content).unwrap();
    }

    /// The pods seen after this many milliseconds.
    fn pods(&mut self, millis: i64) -> (Vec<String>, Option<Duration>) {
        let now = Timestamp::now() + jiff::SignedDuration::from_millis(millis);
        let seen = self.directory.look(&Look::default(), Some(&NOTHING), now);
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
    let seen = scene
        .directory
        .look(&Look::default(), Some(&NOTHING), Timestamp::now());
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
        .look(&Look::default(), Some(&NOTHING), Timestamp::now())
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
        .look(&Look::default(), Some(&NOTHING), Timestamp::now())
        .set
        .unwrap();
    scene.write(
        "a.yaml",
        &format!("# comment\n{}\n---\n{}", manifest("b"), manifest("a")),
    );
    let later = Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let second = scene
        .directory
        .look(&Look::default(), Some(&NOTHING), later)
        .set
        .unwrap();
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
        let set = scene.directory.look(&look, Some(&NOTHING), now).set.unwrap();
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
    // Deleted and created again before the next look.
    assert_eq!(look(true, false, 2000), (lives(1), uid.clone()));
    assert_eq!(look(false, false, 3000), (lives(1), uid.clone()));
    // Deleted, and still being written.
    assert_eq!(look(true, true, 4000), (lives(1), uid.clone()));
    assert_eq!(look(false, false, 5000), (lives(2), uid.clone()));
    // Removed, and back before its grace period has passed.
    fs::remove_file(&path).unwrap();
    assert_eq!(look(true, false, 6000).0, lives(2));
    fs::write(&path, manifest("a")).unwrap();
    assert_eq!(look(false, false, 6010), (lives(3), uid.clone()));
    // Removed for good, and back.
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

/// Looks once, with these pods running, and applies the changes on disk.
fn look(directory: &mut Directory, running: &[&PodUid], millis: i64) -> Option<SourceSet> {
    let running: BTreeSet<PodUid> = running.iter().map(|uid| (*uid).clone()).collect();
    let now = Timestamp::now() + jiff::SignedDuration::from_millis(millis);
    let seen = directory.look(&Look::default(), Some(&running), now);
    if let Some(kept) = &directory.kept {
        kept.apply(&seen.changes).unwrap();
    }
    seen.set
}

/// The UID of the only pod, with the files that wait for its name.
fn owner(set: &SourceSet) -> (PodUid, Vec<String>) {
    assert_eq!(set.pods.len(), 1, "{set:?}");
    let file = |problem: &Problem| problem.path.file_name().unwrap().to_str().unwrap().to_owned();
    (
        set.pods.values().next().unwrap().uid.clone(),
        set.problems.iter().map(file).collect(),
    )
}

impl Scene {
    /// With a directory for the last good versions.
    fn with_kept() -> Scene {
        let mut scene = Scene::new();
        scene.directory = scene.another();
        scene
    }

    /// The state of an agent that has just been started.
    fn another(&self) -> Directory {
        let kept = LastGood::new(self.root.path().join(".kept"));
        let path = self.directory.path.clone();
        Directory::new(path, self.directory.context.clone(), Some(kept), LeaseUse::Yes)
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.root.path().join(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.root.path().join(from), self.root.path().join(to)).unwrap();
    }
}

#[test]
fn a_copy_that_sorts_first_waits_until_the_file_of_the_pod_that_runs_is_gone() {
    let mut scene = Scene::new();
    scene.write("web.yaml", &manifest("a"));
    let set = look(&mut scene.directory, &[], 1000).unwrap();
    let (uid, _) = owner(&set);
    scene.write("web-old.yaml", &manifest("a"));
    scene.write("web.yaml.bak", &manifest("a"));
    let set = look(&mut scene.directory, &[], 3000).unwrap();
    assert_eq!(
        owner(&set),
        (
            uid.clone(),
            vec!["web-old.yaml".to_owned(), "web.yaml.bak".to_owned()]
        )
    );
    let root = scene.root.path().display().to_string();
    assert_eq!(
        set.problems[0].to_string(),
        format!(
            "{root}/web-old.yaml: metadata.name: {root}/web.yaml already has a pod default/a-n: names must differ; \
             this one waits until that file is removed or no longer has it"
        )
    );
    // Edited, then broken, the file keeps the name.
    scene.write("web.yaml", &manifest("a").replace("image: x", "image: z"));
    let set = look(&mut scene.directory, &[], 4000).unwrap();
    let (edited, waiting) = owner(&set);
    assert_ne!(edited, uid);
    assert_eq!(waiting.len(), 2);
    scene.write("web.yaml", "{");
    let set = look(&mut scene.directory, &[], 5000).unwrap();
    assert_eq!(owner(&set).0, edited);
    // The file now has another pod: the one that has waited longest gets the name.
    scene.write("web.yaml", &manifest("b"));
    let set = look(&mut scene.directory, &[], 6000).unwrap();
    let files: Vec<_> = set.pods.values().map(|pod| format!("{:?}", pod.source)).collect();
    assert!(
        files[0].contains("web-old.yaml") && files[1].contains("web.yaml\""),
        "{files:?}"
    );
    scene.remove("web-old.yaml");
    look(&mut scene.directory, &[], 7000);
    let set = look(&mut scene.directory, &[], 8000).unwrap();
    assert!(format!("{:?}", set.pods.values().next().unwrap().source).contains("web.yaml.bak"));
    assert_eq!(set.problems, []);
}

#[test]
fn a_rename_of_the_file_of_the_pod_that_runs_keeps_its_name_against_the_copy() {
    let mut scene = Scene::new();
    scene.write("web.yaml", &manifest("a"));
    look(&mut scene.directory, &[], 1000);
    scene.write("a.yaml", &manifest("a"));
    let before = look(&mut scene.directory, &[], 2000).unwrap();
    scene.rename("web.yaml", "renamed.yaml");
    // Within the grace period nothing changes: the name may come back.
    let set = look(&mut scene.directory, &[], 3000).unwrap();
    assert_eq!((&set.pods, &set.problems), (&before.pods, &before.problems));
    let set = look(&mut scene.directory, &[], 3060).unwrap();
    assert_eq!(owner(&set).1, ["a.yaml"]);
    assert!(format!("{:?}", set.pods.values().next().unwrap().source).contains("renamed.yaml"));
    assert!(
        set.problems[0].message.contains("/renamed.yaml already has"),
        "{}",
        set.problems[0]
    );
    // The copy comes from a rename, and the name comes back with new content: that is the file.
    scene.rename("renamed.yaml", "a-copy.yaml");
    look(&mut scene.directory, &[], 4000);
    scene.write("renamed.yaml", &manifest("a").replace("image: x", "image: z"));
    let set = look(&mut scene.directory, &[], 4040).unwrap();
    assert_eq!(owner(&set).1, ["a-copy.yaml", "a.yaml"]);
    assert_eq!(set.pods.values().next().unwrap().containers[0].image, "z");
    // Moved out of the directory: the one that has waited longest is next.
    scene.rename("renamed.yaml", ".out");
    look(&mut scene.directory, &[], 5000);
    let set = look(&mut scene.directory, &[], 5060).unwrap();
    assert!(format!("{:?}", set.pods.values().next().unwrap().source).contains("/a.yaml"));
}

#[test]
fn the_pod_that_runs_keeps_its_name_over_a_restart_of_the_agent() {
    let mut scene = Scene::with_kept();
    scene.write("web.yaml", &manifest("a"));
    let (uid, _) = owner(&look(&mut scene.directory, &[], 1000).unwrap());
    let waits = |name: &str| vec![name.to_owned()];
    // The copy comes while no agent runs.
    scene.write("a.yaml", &manifest("a"));
    let mut agent = scene.another();
    let seen = agent.look(&Look::default(), None, Timestamp::now());
    assert!(seen.set.is_none() && seen.undecided, "who runs is not known yet");
    assert!(seen.changes.is_empty(), "what is known of the time before stays");
    let set = look(&mut agent, &[&uid], 2000).unwrap();
    assert_eq!(owner(&set), (uid.clone(), waits("a.yaml")));
    // After a reboot nothing runs: the file that existed before the copy is first.
    let set = look(&mut scene.another(), &[], 3000).unwrap();
    assert_eq!(owner(&set), (uid.clone(), waits("a.yaml")));
    // The running pod's file is edited while no agent runs.
    scene.write("web.yaml", &manifest("a").replace("image: x", "image: z"));
    let set = look(&mut scene.another(), &[&uid], 4000).unwrap();
    let (edited, waiting) = owner(&set);
    assert!(edited != uid && waiting == waits("a.yaml"), "{set:?}");
    // The file is removed while no agent runs.
    scene.rename("web.yaml", ".out");
    let (of_copy, _) = owner(&look(&mut scene.another(), &[&edited], 5000).unwrap());
    // It is back: now the other file was first.
    scene.rename(".out", "web.yaml");
    let set = look(&mut scene.another(), &[], 6000).unwrap();
    assert_eq!(owner(&set), (of_copy.clone(), waits("web.yaml")));
    // Another agent, which left nothing on disk, has run the other one meanwhile.
    let set = look(&mut scene.another(), &[&edited], 7000).unwrap();
    assert_eq!(owner(&set), (edited.clone(), waits("a.yaml")));
    fs::remove_dir_all(scene.root.path().join(".kept")).unwrap();
    let set = look(&mut scene.another(), &[&edited], 8000).unwrap();
    assert_eq!(owner(&set), (edited, waits("a.yaml")));
}

#[test]
fn who_waits_first_is_first_over_a_restart_of_the_agent() {
    let mut scene = Scene::with_kept();
    for (name, millis) in [("c.yaml", 1000), ("b.yaml", 2000), ("a.yaml", 3000)] {
        scene.write(name, &manifest("a"));
        look(&mut scene.directory, &[], millis);
    }
    let mut agent = scene.another();
    let set = look(&mut agent, &[], 4000).unwrap();
    assert_eq!(owner(&set).1, ["a.yaml", "b.yaml"]);
    scene.remove("c.yaml");
    look(&mut agent, &[], 5000);
    let set = look(&mut agent, &[], 6000).unwrap();
    assert_eq!(owner(&set).1, ["a.yaml"]);
}

#[test]
fn a_copy_of_a_config_map_does_not_replace_the_one_in_use() {
    let object = |value: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {{key: {value}}}}}")
    };
    let mut scene = Scene::with_kept();
    scene.write("m.yaml", &object("new"));
    let first = look(&mut scene.directory, &[], 1000).unwrap();
    scene.write("a.yaml", &object("old"));
    let set = look(&mut scene.directory, &[], 2000).unwrap();
    assert!(set.objects.is_same(&first.objects));
    assert!(
        set.problems[0]
            .message
            .contains("/m.yaml already has a ConfigMap default/m"),
        "{}",
        set.problems[0]
    );
    let set = look(&mut scene.another(), &[], 3000).unwrap();
    assert_eq!(set.objects, first.objects);
}

/// The image of each pod and the problems, after a look in so many milliseconds; and when to look again.
fn seen(directory: &mut Directory, look: &Look, millis: i64) -> (Vec<String>, Vec<String>, Option<Duration>) {
    let now = Timestamp::now() + jiff::SignedDuration::from_millis(millis);
    let seen = directory.look(look, Some(&NOTHING), now);
    if let Some(kept) = &directory.kept {
        kept.apply(&seen.changes).unwrap();
    }
    let set = seen.set.unwrap();
    let images = set.pods.values().map(|pod| pod.containers[0].image.clone());
    (
        images.collect(),
        set.problems.iter().map(ToString::to_string).collect(),
        seen.again,
    )
}

#[test]
fn a_file_that_somebody_has_open_is_not_read_and_what_it_had_stays() {
    use std::io::Write;
    let of = |image: &str| manifest("a").replace("image: x", &format!("image: {image}"));
    let mut scene = Scene::with_kept();
    let path = scene.root.path().join("a.yaml");
    // A new file, already valid by itself.
    let mut writer = fs::File::create(&path).unwrap();
    writer.write_all(of("v1").as_bytes()).unwrap();
    let everything = Look {
        everything: true,
        ..Look::default()
    };
    for look in [&Look::default(), &everything] {
        let (images, problems, again) = seen(&mut scene.directory, look, 500);
        assert_eq!((images.len(), problems.len()), (0, 0));
        assert!(
            again.is_some_and(|again| again <= Duration::from_secs(1)),
            "{again:?}"
        );
    }
    drop(writer);
    assert_eq!(seen(&mut scene.directory, &Look::default(), 1000).0, ["v1"]);
    // An edited file, also for an agent that has just been started.
    let mut writer = fs::File::create(&path).unwrap();
    writer.write_all(of("v2").as_bytes()).unwrap();
    assert_eq!(seen(&mut scene.directory, &everything, 2000).0, ["v1"]);
    let mut agent = scene.another();
    for directory in [&mut agent, &mut scene.directory] {
        let (images, problems, _) = seen(directory, &Look::default(), 3000);
        assert_eq!((images, problems.len()), (vec!["v1".to_owned()], 0));
    }
    // It is never closed: that is reported once the time has come.
    let (_, problems, again) = seen(&mut scene.directory, &Look::default(), 11_500);
    let until_reported = Duration::from_millis(400)..=Duration::from_millis(500);
    assert!(
        problems.is_empty() && again.is_some_and(|again| until_reported.contains(&again)),
        "{again:?}"
    );
    let (images, problems, _) = seen(&mut scene.directory, &Look::default(), 12_001);
    assert_eq!(images, ["v1"]);
    let expected = format!(
        "{}: has been open for writing for more than 10 seconds",
        path.display()
    );
    assert!(
        problems.len() == 1 && problems[0].starts_with(&expected),
        "{problems:?}"
    );
    drop(writer);
    let (images, problems, _) = seen(&mut scene.directory, &Look::default(), 13_000);
    assert_eq!((images, problems.len()), (vec!["v2".to_owned()], 0));
    // A later writer that has changed nothing is no reason to wait.
    let idle = fs::File::options().append(true).open(&path).unwrap();
    let (images, problems, again) = seen(&mut scene.directory, &everything, 14_000);
    assert_eq!((images, problems.len(), again), (vec!["v2".to_owned()], 0, None));
    drop(idle);
}

#[test]
fn a_close_that_is_told_before_it_counts_is_asked_about_again_at_once() {
    let mut scene = Scene::new();
    scene.directory.path = scene.root.path().canonicalize().unwrap();
    let path = scene.directory.path.join("a.yaml");
    let writer = fs::File::create(&path).unwrap();
    seen(&mut scene.directory, &Look::default(), 0);
    let look = Look {
        complete: BTreeSet::from([path]),
        ..Look::default()
    };
    let (_, _, again) = seen(&mut scene.directory, &look, 60_000);
    assert_eq!(again, Some(Duration::from_millis(2)));
    drop(writer);
}

#[test]
fn where_nobody_can_be_asked_a_file_is_read_when_it_is_told_to_be_complete_or_has_been_quiet() {
    let mut scene = Scene::new();
    scene.directory.path = scene.root.path().canonicalize().unwrap();
    scene.directory.lease_use = LeaseUse::No;
    scene.write("a.yaml", &manifest("a"));
    let (images, problems, again) = seen(&mut scene.directory, &Look::default(), 0);
    assert_eq!((images.len(), problems.len()), (0, 0));
    assert!(again.is_some_and(|again| again <= writing::QUIET), "{again:?}");
    // A rescan and lost events change nothing about that.
    let everything = Look {
        everything: true,
        ..Look::default()
    };
    assert_eq!(seen(&mut scene.directory, &everything, 50).0.len(), 0);
    let look = Look {
        complete: BTreeSet::from([scene.directory.path.join("a.yaml")]),
        ..Look::default()
    };
    let mut other = scene.directory.clone();
    assert_eq!(seen(&mut other, &look, 50).0, ["x"]);
    assert_eq!(seen(&mut scene.directory, &Look::default(), 250).0, ["x"]);
    // An edited file: until it is quiet, the former version stays.
    scene.write("a.yaml", &manifest("a").replace("image: x", "image: v2"));
    assert_eq!(seen(&mut scene.directory, &Look::default(), 0).0, ["x"]);
    assert_eq!(seen(&mut scene.directory, &Look::default(), 250).0, ["v2"]);
}

#[test]
fn a_file_that_is_no_manifest_by_its_name_keeps_its_pod_over_a_restart_just_after_it_was_touched() {
    let mut scene = Scene::with_kept();
    scene.write("web", &manifest("a"));
    assert_eq!(seen(&mut scene.directory, &Look::default(), 2000).0, ["x"]);
    scene.write("web", &manifest("a").replace("image: x", "image: v2"));
    assert_eq!(seen(&mut scene.another(), &Look::default(), 500).0, ["x"]);
    assert_eq!(seen(&mut scene.another(), &Look::default(), 2000).0, ["v2"]);
}

#[test]
fn a_file_that_replaces_another_one_is_no_renamed_one() {
    let mut scene = Scene::new();
    scene.write("web.yaml", &manifest("a"));
    let first = look(&mut scene.directory, &[], 2000).unwrap();
    scene.write("a.yaml", &manifest("a"));
    look(&mut scene.directory, &[], 4000);
    // Written beside it, rejected as a copy, and then renamed over it: the same content is not a restart.
    scene.write("web.yaml.new", &manifest("a"));
    look(&mut scene.directory, &[], 6000);
    scene.rename("web.yaml.new", "web.yaml");
    for millis in [8000, 8060, 8120] {
        let set = look(&mut scene.directory, &[], millis).unwrap();
        assert_eq!(set.pods, first.pods, "{millis}");
    }
    assert_eq!(
        owner(&look(&mut scene.directory, &[], 9000).unwrap()).1,
        ["a.yaml"]
    );
    // A file that provided nothing has nothing to keep: it is read at once under its new name.
    scene.write("bad.yaml", "{");
    look(&mut scene.directory, &[], 10_000);
    scene.rename("bad.yaml", "bad2.yaml");
    let set = look(&mut scene.directory, &[], 11_000).unwrap();
    assert!(
        set.problems
            .iter()
            .any(|problem| problem.path.ends_with("bad2.yaml")),
        "{:?}",
        set.problems
    );
}

#[test]
fn an_object_is_as_old_as_its_file_was_when_it_was_first_seen() {
    const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {a: b}}";
    let mut scene = Scene::with_kept();
    let modified = |scene: &Scene, second: i64| {
        let file = fs::File::options()
            .append(true)
            .open(scene.root.path().join("m.yaml"))
            .unwrap();
        let time = std::time::UNIX_EPOCH + Duration::from_secs(second.try_into().unwrap());
        file.set_modified(time).unwrap();
    };
    let look = |directory: &mut Directory, millis: i64| {
        let now = Timestamp::now() + jiff::SignedDuration::from_millis(millis);
        let seen = directory.look(&Look::default(), Some(&NOTHING), now);
        directory.kept.as_ref().unwrap().apply(&seen.changes).unwrap();
        let stated = seen.set.unwrap().stated;
        let created = stated.values().map(|stated| stated.created.as_second());
        created.collect::<Vec<_>>()
    };
    scene.write("m.yaml", MAP);
    modified(&scene, 1_000);
    assert_eq!(look(&mut scene.directory, 1000), [1_000]);
    scene.write("m.yaml", &MAP.replace('b', "c"));
    modified(&scene, 2_000);
    assert_eq!(look(&mut scene.directory, 2000), [1_000]);
    // Edited while no agent ran, and broken.
    scene.write("m.yaml", &MAP.replace('b', "d"));
    modified(&scene, 3_000);
    let mut next = scene.another();
    assert_eq!(look(&mut next, 3000), [1_000]);
    scene.write("m.yaml", "{");
    assert_eq!(look(&mut next, 4000), [1_000]);
    assert_eq!(look(&mut scene.another(), 5000), [1_000]);
    // One that comes back is a new one.
    scene.remove("m.yaml");
    look(&mut next, 6000);
    assert_eq!(look(&mut next, 7000), [0; 0]);
    scene.write("m.yaml", MAP);
    modified(&scene, 4_000);
    assert_eq!(look(&mut next, 8000), [4_000]);
}
