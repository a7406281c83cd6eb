//! Directories of NFS servers (`pkg/volume/nfs`). A server that does not answer holds its own pod: what is mounted is never
//! looked at, and the programs that mount and unmount it are ended with their pod.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::csi::data;
use super::set_up::shown_until_abandoned;
use crate::act::context::Work;
use crate::act::effect::Effect;
use crate::act::failure::{all_done, failure};
use crate::act::files::{FilePlaces, Whose};
use crate::act::mount;
use crate::act::mount_tools::{MountTools, Mounting};
use crate::act::off_thread::off_thread;
use crate::model::access::Access;
use crate::model::nfs::NfsMount;
use crate::model::outcome::StepError;
use crate::model::pod::PodUid;
use crate::model::reason::pod::FAILED_MOUNT;
use crate::model::request::set_up_failed;
use crate::model::volume_work::{Awaited, Goal};

/// Where mount(8) looks for the helper.
const HELPERS: [&str; 2] = ["/sbin/mount.nfs", "/usr/sbin/mount.nfs"];
/// How often something is unmounted before giving up: agents that were killed may have mounted it several times.
const MOUNTS_AT_A_PLACE: usize = 8;

/// Mounts it unless it is mounted.
pub(super) async fn ensure(work: &Work<'_>, called: &str, nfs: &NfsMount) -> Result<Effect, StepError> {
    let waits = (FAILED_MOUNT, Awaited::Server(nfs.source.clone()));
    let mounting = mounted(work, called, nfs);
    shown_until_abandoned(work, (called, &nfs.path), waits, mounting).await?;
    Ok(Effect::PLAIN)
}

async fn mounted(work: &Work<'_>, called: &str, nfs: &NfsMount) -> Result<(), StepError> {
    let path = nfs.path.clone();
    let prepare = move || {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(parent(&path))?;
        match mount::is_mount_point(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o750).create(&path).map(|()| false)
            }
            result => result,
        }
    };
    let patience = work.context.files.patience;
    let is_mounted = work.in_place(Whose::Pod, &nfs.path, patience, prepare).await;
    let is_mounted =
        is_mounted.map_err(|error| error.of_step(FAILED_MOUNT, |error| set_up_failed(called, error)))?;
    if is_mounted {
        return Ok(());
    }
    let mut options = nfs.options.clone();
    if nfs.access == Access::ReadOnly {
        options.push("ro".to_owned());
    }
    let mounting = Mounting {
        kind: Some("nfs"),
        options,
        source: nfs.source.as_ref(),
        target: &nfs.path,
    };
    let tools = &work.context.mounts;
    let Err(mut why) = tools.mount((&work.context.files, work.uid), &mounting).await else {
        return Ok(());
    };
    // Nothing is left of it; a mount that came about all the same is found by the next attempt.
    let path = nfs.path.clone();
    let has_helper = off_thread(move || {
        data::remove_mount_dir(&path)?;
        Ok(HELPERS.iter().any(|helper| Path::new(helper).exists()))
    });
    if matches!(has_helper.await, Ok(false)) {
        why.push_str(
            "The node lacks the program mount.nfs: install the package nfs-common (Debian, Ubuntu) or nfs-utils (Fedora, \
             Red Hat)",
        );
    }
    Err(failure(FAILED_MOUNT, set_up_failed(called, why)))
}

/// Unmounts what a pod has of servers, before its directory is removed. The error is for people.
pub(in crate::act) async fn release(work: &Work<'_>, pod: &Path) -> Result<(), String> {
    let dir = pod.join("volumes/kubernetes.io~nfs");
    let listed = dir.clone();
    let names = off_thread(move || data::names(&listed)).await;
    let names = names.map_err(|error| error.to_string())?;
    let (tools, of) = (&work.context.mounts, (&work.context.files, work.uid));
    let unmounting = names.into_iter().map(|name| {
        let path = dir.join(&name);
        let at_work = &work.context.at_work;
        let working = at_work.begin(work.uid, &path, Goal::TakeDown, Awaited::FileSystem);
        async move {
            let _working = working;
            unmounted(tools, of, path, name).await
        }
    });
    let results = futures::future::join_all(unmounting).await;
    all_done(results)
}

async fn unmounted(
    tools: &MountTools,
    of: (&FilePlaces, &PodUid),
    path: PathBuf,
    name: String,
) -> Result<(), String> {
    let failed = |why: String| format!("UnmountVolume.TearDown failed for volume {name:?} : {why}");
    for _ in 0..MOUNTS_AT_A_PLACE {
        let dir = path.clone();
        let left = off_thread(move || data::remove_mount_dir(&dir)).await;
        if left.map_err(|error| failed(error.to_string()))? == data::Left::Nothing {
            return Ok(());
        }
        tools.unmount(of, &path).await.map_err(failed)?;
    }
    Err(failed("something is still mounted there".to_owned()))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::disk::tests::in_own_mounts;

    fn program(dir: &Path, name: &str, script: &str) {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn check(name: &str, script: &str, want: Result<(), &str>) {
        if !in_own_mounts(&format!("act::volume::nfs::tests::{name}")) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u1/volumes/kubernetes.io~nfs/v");
        fs::create_dir_all(&path).unwrap();
        // It stands for what a server exports, and is mounted twice.
        for _ in 0..2 {
            mount::tmpfs(&path, None).unwrap();
        }
        fs::write(path.join("data"), "x").unwrap();
        program(dir.path(), "umount", script);
        let tools = MountTools::beside(dir.path().to_owned(), Duration::from_millis(300));
        let (files, pod) = (FilePlaces::default(), PodUid("u1".to_owned()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let done = runtime.block_on(unmounted(&tools, (&files, &pod), path.clone(), "v".to_owned()));
        let got = done.map_err(|why| why.replace(&path.display().to_string(), "PATH"));
        assert_eq!(got.as_ref().map_err(String::as_str).copied(), want);
        assert_eq!(path.exists(), want.is_err(), "an empty directory is removed");
        if want.is_err() {
            assert_eq!(fs::read_to_string(path.join("data")).unwrap(), "x");
        }
        mount::unmount_beneath(dir.path()).unwrap();
    }

    #[test]
    fn every_mount_is_unmounted() {
        check("every_mount_is_unmounted", "exec /bin/umount \"$@\"", Ok(()));
    }

    #[test]
    fn an_umount_that_hangs_is_forced() {
        let script = "[ \"$2\" = -f ] || exec sleep 600\nexec /bin/umount -c \"$3\"";
        check("an_umount_that_hangs_is_forced", script, Ok(()));
    }

    #[test]
    fn what_cannot_be_unmounted_stays_and_says_why() {
        check(
            "what_cannot_be_unmounted_stays_and_says_why",
            "echo \"umount: $2: target is busy.\" >&2; exit 32",
            Err(
                "UnmountVolume.TearDown failed for volume \"v\" : unmount failed: exit status 32\nUnmounting arguments: -c PATH\nOutput: umount: PATH: target is busy.\n",
            ),
        );
    }
}
