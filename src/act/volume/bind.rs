//! A directory of the host, mounted in the pod's directory: a `local` PersistentVolume (`pkg/volume/local`).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::Path;
use std::time::Duration;

use nix::mount::MsFlags;

use crate::act::mount;
use crate::disk::group;
use crate::model::request::Access;
use crate::model::security::GroupChange;

/// How long a volume may take whose files are given to a group: who fills it chooses how many there are. The kubelet sets no
/// limit.
pub(super) const GROUP_PATIENCE: Duration = Duration::from_secs(3600);

/// Mounts it unless it is mounted. Its files are given to the group before, so that an agent that was killed meanwhile does
/// that again.
pub(super) fn mount(
    source: &Path,
    path: &Path,
    access: Access,
    group: Option<(i64, GroupChange)>,
) -> io::Result<()> {
    let found = fs::metadata(source)?;
    if found.file_type().is_block_device() {
        return Err(io::Error::other(
            "a block device with a file system is not supported by this version of gantry yet: mount it on a directory, \
             and name that in the volume",
        ));
    }
    if !found.is_dir() {
        return Err(io::Error::other("only directory and block device are supported"));
    }
    fs::DirBuilder::new().recursive(true).mode(0o750).create(path)?;
    if mount::is_mount_point(path)? {
        return Ok(());
    }
    if let Some(group) = group {
        give(source, group)?;
    }
    let bind = |flags| nix::mount::mount(Some(source), path, None::<&str>, flags, None::<&str>);
    bind(MsFlags::MS_BIND)?;
    if access == Access::ReadOnly {
        // The kernel takes the flag of a bind mount in a second call only (mount(2)).
        let made = bind(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        if let Err(errno) = made {
            nix::mount::umount2(path, nix::mount::MntFlags::UMOUNT_NOFOLLOW)?;
            return Err(errno.into());
        }
    }
    Ok(())
}

/// Gives the files of a volume to a group, as its pod says (`fsGroupChangePolicy`).
pub(super) fn give(volume: &Path, (group, change): (i64, GroupChange)) -> io::Result<()> {
    let group = u32::try_from(group).map_err(io::Error::other)?;
    match change == GroupChange::Always || !group::is_given(volume, group)? {
        true => group::give(volume, group),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::in_own_mounts;
    use crate::disk::tree::{self, Mounts};

    #[test]
    fn a_directory_is_mounted_once_and_outlives_the_pod() {
        let name = "act::volume::bind::tests::a_directory_is_mounted_once_and_outlives_the_pod";
        if !in_own_mounts(name) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (source, pod) = (dir.path().join("disk"), dir.path().join("u1"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("data"), "x").unwrap();
        let path = pod.join("volumes/kubernetes.io~local-volume/pv");
        for _ in 0..2 {
            mount(&source, &path, Access::ReadWrite, None).unwrap();
        }
        fs::write(path.join("more"), "y").unwrap();
        tree::remove(&pod, Mounts::Unmounted).unwrap();
        assert!(!pod.exists());
        assert_eq!(fs::read_to_string(source.join("data")).unwrap(), "x");
        assert_eq!(fs::read_to_string(source.join("more")).unwrap(), "y");
        mount(&source, &path, Access::ReadOnly, None).unwrap();
        let refused = fs::write(path.join("more"), "z").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
        tree::remove(&pod, Mounts::Unmounted).unwrap();
    }

    #[test]
    fn only_a_directory_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let check = |source: &Path, want: &str| {
            let error = mount(source, &dir.path().join("p"), Access::ReadWrite, None).unwrap_err();
            assert!(error.to_string().contains(want), "{error}");
            assert!(!dir.path().join("p").exists());
        };
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        check(&file, "only directory and block device are supported");
        check(&dir.path().join("missing"), "No such file or directory");
    }
}
