//! A pod's directory and the directory of its logs.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::container::LONGEST_LINK;
use super::context::Work;
use super::effect::Effect;
use super::failure::{abandoned, all_done, failure};
use super::files::{REMOVAL_PATIENCE, Whose};
use super::volume::network_disk;
use super::{mount, volume};
use crate::disk::tree::{self, Mounts};
use crate::disk::write::{self, Writing, remove_if_there};
use crate::model::local_volume;
use crate::model::outcome::StepError;
use crate::model::reason;
use crate::model::request::{CheckpointRecord, OnWriteFailure};

/// Creates both with the kubelet's modes (`makePodDataDirs`, `createPodSandbox`).
pub(super) fn ensure(dir: &Path, logs: &Path) -> Result<Effect, StepError> {
    let make = |path: PathBuf, mode| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(&path)
            .map_err(|error| format!("mkdir {}: {error}", path.display()))
    };
    ["containers", "volumes", "plugins"]
        .into_iter()
        .try_for_each(|part| make(dir.join(part), 0o750))
        .and_then(|()| make(logs.to_owned(), 0o755))
        .map_err(|error| {
            failure(
                reason::pod::FAILED_MAKE_DIRS,
                format!("error making pod data directories: {error}"),
            )
        })?;
    Ok(Effect::PLAIN)
}

/// Unmounts everything beneath the pod's directory and removes it.
pub(super) async fn remove(work: &Work<'_>, dir: PathBuf) -> Result<Effect, StepError> {
    // Of a pod that has ended, only its volumes are removed.
    let pod = dir.ancestors().find(|above| above.ends_with(&work.uid.0));
    let pod = pod.unwrap_or(&dir).to_owned();
    let pod = pod.as_path();
    let parts = pod.join("volume-subpaths");
    if parts.exists() {
        // Before the volumes that contain them.
        removed(work, parts, unmount_and_remove).await?;
    }
    let taking_down = volume::csi::release(&work.context.csi, work.uid, pod);
    let what = || {
        let drivers = Vec::from_iter(work.context.csi.drivers_of(work.uid)).join(", ");
        let pod = pod.display();
        format!("cleaning up {pod} takes long: waiting for NodeUnpublishVolume of driver {drivers}")
    };
    let taking_down = work.announced(reason::pod::FAILED_KILL_POD, what, taking_down);
    match work.unless_abandoned(taking_down).await {
        Some(Ok(())) => {}
        Some(Err(why)) => {
            let message = format!("error cleaning up {}: {why}", dir.display());
            return Err(failure(reason::pod::FAILED_KILL_POD, message));
        }
        None => return Err(abandoned(reason::pod::FAILED_KILL_POD)),
    }
    let has_local = local_volume::of_pod(pod).0.exists();
    let has_disks = network_disk::release::has_disks(pod);
    unmounted(work, &dir, pod).await?;
    let projects = work.context.projects.clone();
    let users = work.context.users.clone();
    removed(work, dir, move |dir| {
        unmount_and_remove(dir)?;
        projects.forget(dir);
        users.forget(dir);
        Ok(())
    })
    .await?;
    if has_local {
        work.context.local.left();
    }
    if has_disks {
        work.context.disks.left();
    }
    Ok(Effect::PLAIN)
}

/// Unmounts what is mounted from servers, which may be gone, so that the removal of the directory meets none of it; and
/// takes devices from the pod.
async fn unmounted(work: &Work<'_>, dir: &Path, pod: &Path) -> Result<(), StepError> {
    let what = || {
        format!(
            "cleaning up {} takes long: waiting for umount(8) of what an NFS server exports",
            pod.display()
        )
    };
    let reason = reason::pod::FAILED_KILL_POD;
    let unmounting = async {
        [
            work.announced(reason, what, volume::nfs::release(work, pod))
                .await,
            volume::local::release::release_devices(work, pod).await,
            network_disk::release::release_devices(work, pod).await,
        ]
    };
    match work.unless_abandoned(unmounting).await {
        Some(results) => all_done(results)
            .map_err(|why| failure(reason, format!("error cleaning up {}: {why}", dir.display()))),
        None => Err(abandoned(reason)),
    }
}

/// The list of all mounts is read only if there is a mount within a mount.
fn unmount_and_remove(dir: &Path) -> io::Result<()> {
    tree::remove(dir, Mounts::Unmounted).or_else(|_| {
        mount::unmount_beneath(dir)?;
        tree::remove(dir, Mounts::Refused)
    })
}

/// Removes the directory of a pod's logs, and the links into it.
pub(super) async fn remove_logs(work: &Work<'_>, dir: PathBuf, links: PathBuf) -> Result<Effect, StepError> {
    removed(work, dir, move |dir| {
        remove_links_into(dir, &links)?;
        tree::remove(dir, Mounts::Refused)
    })
    .await
}

/// Removes those links of a directory that lead into another one, whether or not something is there.
fn remove_links_into(dir: &Path, links: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(links) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let begins = links_begin(dir);
    for entry in entries {
        let entry = entry?;
        let is_other = |begins: &Vec<u8>| !entry.file_name().as_bytes().starts_with(begins);
        if begins.as_ref().is_some_and(is_other) {
            continue;
        }
        let path = entry.path();
        // What is no link leads nowhere.
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(dir)) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// With what the names of a pod's links begin, by the name of its log directory, so that those of all other pods are not
/// read: `<namespace>_<name>_<uid>` and `<name>_<namespace>_<container>-<id>.log`, in none of whose parts is a `_`.
fn links_begin(dir: &Path) -> Option<Vec<u8>> {
    let mut parts = dir.file_name()?.to_str()?.splitn(3, '_');
    let (namespace, name) = (parts.next()?, parts.next()?);
    let mut begins = format!("{name}_{namespace}_").into_bytes();
    begins.truncate(LONGEST_LINK);
    Some(begins)
}

/// Saves the pod's checkpoint.
pub(super) fn save(record: &CheckpointRecord) -> Result<Effect, StepError> {
    let Err(error) = write(record) else {
        return Ok(Effect::PLAIN);
    };
    let message = format!("writing {}: {error}", record.path.display());
    match record.on_failure {
        OnWriteFailure::Fail => Err(failure(reason::pod::FAILED_SYNC, message)),
        OnWriteFailure::Continue => {
            tracing::warn!(
                "{message}: after a restart of the agent the pod's containers may not be stopped in order"
            );
            Ok(Effect::PLAIN)
        }
    }
}

/// Atomic, but not synced to the disk: after a power failure no container is running either.
fn write(record: &CheckpointRecord) -> io::Result<()> {
    let writing = Writing {
        directories: 0o750,
        ..Writing::within_umask()
    };
    write::write(&record.path, &serde_json::to_vec(&record.checkpoint)?, writing)
}

async fn removed(
    work: &Work<'_>,
    dir: PathBuf,
    remove: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) -> Result<Effect, StepError> {
    let path = dir.clone();
    match work
        .in_place(Whose::Pod, &dir, REMOVAL_PATIENCE, move || remove(&path))
        .await
    {
        Ok(()) => Ok(Effect::PLAIN),
        Err(error) => Err(error.of_step(reason::pod::FAILED_KILL_POD, |error| {
            format!("error cleaning up {}: {error}", dir.display())
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_links_into_the_pod_s_logs_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let (logs, links) = (root.path().join("logs"), root.path().join("links"));
        fs::create_dir_all(logs.join("ns_a_1/main")).unwrap();
        fs::create_dir(&links).unwrap();
        fs::write(logs.join("ns_a_1/main/1.log"), "").unwrap();
        let link = |name: &str, to: &str| {
            std::os::unix::fs::symlink(logs.join(to), links.join(name)).unwrap();
        };
        link("a_ns_main-gone.log", "ns_a_1/main/0.log");
        link("a_ns_main-there.log", "ns_a_1/main/1.log");
        link("other.log", "ns_a_12/main/0.log");
        // Of another pod's name, which no agent makes.
        link("b_ns_main-0.log", "ns_a_1/main/2.log");
        fs::write(links.join("file"), "").unwrap();
        remove_links_into(&logs.join("ns_a_1"), &links).unwrap();
        let left = fs::read_dir(&links)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["b_ns_main-0.log", "file", "other.log"]);
        remove_links_into(&logs.join("ns_a_1"), &links.join("missing")).unwrap();
    }

    #[test]
    fn links_of_long_names_are_removed_too() {
        let root = tempfile::tempdir().unwrap();
        let (pod, links) = ("p".repeat(240), root.path().join("links"));
        let logs = root.path().join(format!("namespace-x_{pod}_1"));
        fs::create_dir(&links).unwrap();
        let name = &format!("{pod}_namespace-x_main-0")[..LONGEST_LINK];
        assert!(name.ends_with("_namespace-"), "the link's name is cut: {name}");
        std::os::unix::fs::symlink(logs.join("main/0.log"), links.join(format!("{name}.log"))).unwrap();
        remove_links_into(&logs, &links).unwrap();
        assert_eq!(fs::read_dir(&links).unwrap().count(), 0);
    }

    #[test]
    fn the_directories_have_the_kubelets_modes() {
        let root = tempfile::tempdir().unwrap();
        let (dir, logs) = (
            root.path().join("pods/u1"),
            root.path().join("logs/default_web_u1"),
        );
        for _ in 0..2 {
            ensure(&dir, &logs).unwrap_or_else(|error| panic!("{error:?}"));
        }
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for part in ["", "containers", "volumes", "plugins"] {
            assert_eq!(mode(dir.join(part)), 0o750, "{part}");
        }
        assert_eq!(mode(logs), 0o755);
    }

    #[test]
    fn a_checkpoint_that_cannot_be_kept_holds_up_a_start_and_no_end() {
        use crate::model::checkpoint::Checkpoint;
        let root = tempfile::tempdir().unwrap();
        let keep_in = |dir: &str, on_failure| {
            let path = root.path().join(dir).join("gantry-pod.json");
            let checkpoint = Checkpoint {
                sidecars: vec!["s".to_owned()],
                ..Checkpoint::default()
            };
            save(&CheckpointRecord {
                path,
                checkpoint,
                on_failure,
            })
        };
        fs::write(root.path().join("file"), "").unwrap();
        for on_failure in [OnWriteFailure::Continue, OnWriteFailure::Fail] {
            assert!(keep_in("u1", on_failure).is_ok());
        }
        let text = fs::read_to_string(root.path().join("u1/gantry-pod.json")).unwrap();
        assert_eq!(text, r#"{"sidecars":["s"]}"#);
        assert!(keep_in("file", OnWriteFailure::Continue).is_ok());
        let error = keep_in("file", OnWriteFailure::Fail).err().unwrap();
        assert_eq!(error.reason, reason::pod::FAILED_SYNC);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let error = ensure(&root.path().join("file/u1"), root.path()).err().unwrap();
        assert!(
            error
                .message
                .starts_with("error making pod data directories: mkdir "),
            "{}",
            error.message
        );
        assert!(error.message.contains("file/u1"), "{}", error.message);
    }
}
