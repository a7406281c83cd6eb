use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// Long enough that every change that is seen came from an event.
const NEVER: Duration = Duration::from_secs(3600);

fn manifest(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: c\n    image: {image}\n"
    )
}

/// The source over a directory `m` in a temporary one.
struct Scene {
    root: TempDir,
    set: watch::Receiver<Option<Arc<SourceSet>>>,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), SourceError>>,
}

impl Scene {
    fn start(root: TempDir) -> Scene {
        Scene::with_rescan(root, NEVER)
    }

    fn with_rescan(root: TempDir, rescan: Duration) -> Scene {
        let (out, set) = watch::channel(None);
        let cancel = CancellationToken::new();
        let context = ManifestContext {
            node_name: "n".into(),
            ..ManifestContext::default()
        };
        let (path, state) = (root.path().join("m"), root.path().join("state"));
        let runtime = watch::channel(Arc::default()).1;
        let inputs = ManifestInputs {
            path,
            context,
            rescan,
            state: Some(state),
            runtime,
        };
        let task = tokio::spawn(run(inputs, out, cancel.clone()));
        Scene {
            root,
            set,
            cancel,
            task,
        }
    }

    /// A scene with the directory, read once.
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
    // Renamed over, as an editor does that keeps a copy: nothing changes.
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

/// Waits until a file has been unchanged for this long.
async fn quiet_for(path: &Path, time: Duration) {
    let changed = || fs::metadata(path).unwrap().modified().unwrap().elapsed();
    while changed().is_ok_and(|age| age < time) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn neither_silence_nor_a_rescan_makes_a_file_complete_that_somebody_has_open() {
    for (rescan, open_before) in [(NEVER, false), (NEVER, true), (Duration::from_millis(10), true)] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("m")).unwrap();
        let path = root.path().join("m/a.yaml");
        let write = || {
            let mut file = fs::File::create(&path).unwrap();
            file.write_all(manifest("a", "x:1").as_bytes()).unwrap();
            file
        };
        let mut before = open_before.then(write);
        let mut scene = Scene::with_rescan(root, rescan);
        scene.until("read once", |_| true).await;
        let mut file = before.take().unwrap_or_else(write);
        quiet_for(&path, Duration::from_millis(1200)).await;
        scene.rename_into("b.yaml", &manifest("b", "x:1"));
        let set = scene
            .until("the other pod", |set| image(set, "b").is_some())
            .await;
        assert_eq!(
            (set.pods.len(), set.problems.len()),
            (1, 0),
            "{rescan:?} {open_before}"
        );
        // Its mode is set before it is closed, as by copying programs.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        scene.rename_into("c.yaml", &manifest("c", "x:1"));
        let set = scene.until("one more", |set| image(set, "c").is_some()).await;
        assert_eq!(image(&set, "a"), None, "{rescan:?} {open_before}");
        // A second writer that closes the file does not finish the first one's work.
        drop(fs::File::options().append(true).open(&path).unwrap());
        scene.rename_into("d.yaml", &manifest("d", "x:1"));
        let set = scene.until("one more", |set| image(set, "d").is_some()).await;
        assert_eq!(image(&set, "a"), None, "{rescan:?} {open_before}");
        file.write_all(b"    command: [sh]\n").unwrap();
        drop(file);
        let set = scene.until("the pod", |set| image(set, "a").is_some()).await;
        let pod = set.pods.values().find(|pod| pod.name.name == "a-n").unwrap();
        assert_eq!(pod.containers[0].command.len(), 1);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_file_that_is_opened_under_another_name_is_read_when_that_is_closed() {
    let mut scene = Scene::ready().await;
    let mut file = fs::File::create(scene.at("elsewhere")).unwrap();
    file.write_all(manifest("a", "x:1").as_bytes()).unwrap();
    // No event reports its close: the kernel uses the name under which it was opened.
    fs::hard_link(scene.at("elsewhere"), scene.at("m/a.yaml")).unwrap();
    scene.rename_into("b.yaml", &manifest("b", "x:1"));
    let set = scene
        .until("the other pod", |set| image(set, "b").is_some())
        .await;
    assert_eq!(image(&set, "a"), None);
    drop(file);
    scene.until("the pod", |set| image(set, "a").is_some()).await;
    scene.stop().await;
}

#[tokio::test]
async fn of_many_versions_in_a_row_the_last_one_stays() {
    let mut scene = Scene::ready().await;
    for version in 0..50 {
        let text = manifest("a", &format!("x:{version}"));
        match version % 3 {
            0 => fs::write(scene.at("m/a.yaml"), text).unwrap(),
            1 => scene.rename_into("a.yaml", &text),
            _ => {
                let mut file = fs::File::create(scene.at("m/a.yaml")).unwrap();
                let (first, second) = text.as_bytes().split_at(text.len() / 2);
                file.write_all(first).unwrap();
                tokio::task::yield_now().await;
                file.write_all(second).unwrap();
            }
        }
    }
    let set = scene
        .until("the last version", |set| {
            image(set, "a").as_deref() == Some("x:49")
        })
        .await;
    assert_eq!(set.problems, []);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_a_manifest_while_it_is_read_ends_nothing() {
    let mut scene = Scene::ready().await;
    let path = scene.at("m/a.yaml");
    // The kernel sends the reader a signal for each writer that opens the file meanwhile.
    let writer = std::thread::spawn(move || {
        for version in 0..2000 {
            fs::write(&path, manifest("a", &format!("x:{version}"))).unwrap();
        }
    });
    let last = |set: &SourceSet| image(set, "a").as_deref() == Some("x:1999");
    let set = scene.until("the last version", last).await;
    assert_eq!(set.problems, []);
    writer.join().unwrap();
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
    // Moved away and back by hand: this must not stop any pod.
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
    // A hard link is complete at once, though no close follows.
    fs::hard_link(scene.at("real/a"), scene.at("m/hard.json")).unwrap();
    let set = scene
        .until("the second name", |set| set.problems.len() == 1)
        .await;
    assert!(
        set.problems[0]
            .message
            .contains("a.yaml already has a pod default/a-n")
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
    let reported: Vec<String> = set
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
            "big.yaml: the file has 10737418240 bytes and is not read",
            "dangling.yaml: is a dangling symbolic link",
            "device.yaml: is not a regular file but a device",
            "dir.yaml: is not a regular file but a directory",
            "fifo.yaml: is not a regular file but a named pipe",
            "loop.yaml: is a symbolic link loop",
            "socket.yaml: is not a regular file but a socket",
        ]
    "#]]
    .assert_debug_eq(&reported);
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
    // A file that was removed while no agent ran does not come back with a broken file of its name.
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
    // An editor may have just created a file without an extension.
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
    // The queue fills because this thread does not yield to its reader. Each file is created, closed and removed.
    for _ in 0..=room / 3 {
        fs::write(scene.at("m/.hidden"), "").unwrap();
        fs::remove_file(scene.at("m/.hidden")).unwrap();
    }
    scene.rename_into("late.yaml", &manifest("late", "x:1"));
    scene.until("the file", |set| set.pods.len() == 1).await;
    scene.stop().await;
}

#[tokio::test]
async fn a_relative_path_is_refused() {
    let (out, _set) = watch::channel(None);
    let context = ManifestContext::default();
    let inputs = ManifestInputs {
        path: "m".into(),
        context,
        rescan: NEVER,
        state: None,
        runtime: watch::channel(Arc::default()).1,
    };
    let result = run(inputs, out, CancellationToken::new()).await;
    assert!(matches!(result, Err(SourceError::Relative { .. })));
}
