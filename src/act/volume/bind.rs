//! A directory of the host, mounted in the pod's directory: a `local` PersistentVolume (`pkg/volume/local`).

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use nix::mount::MsFlags;
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::act::mount;
use crate::disk::group;
use crate::model::access::Access;
use crate::model::security::GroupChange;

/// How long a volume may take whose files are given to a group: who fills it chooses how many there are. The kubelet sets no
/// limit.
pub(super) const GROUP_PATIENCE: Duration = Duration::from_secs(3600);

/// The flags of a mount that its bind mounts get, and what mount(8) calls them (`getBindMountOptions` in
/// `k8s.io/mount-utils`).
const FLAGS: [(FsFlags, MsFlags, &str); 7] = [
    (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY, "ro"),
    (FsFlags::ST_NODEV, MsFlags::MS_NODEV, "nodev"),
    (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC, "noexec"),
    (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID, "nosuid"),
    (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME, "noatime"),
    (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME, "relatime"),
    (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME, "nodiratime"),
];

/// The flags of what a directory is on, as mount(8) calls them.
pub(super) fn flags(source: &Path) -> io::Result<Vec<&'static str>> {
    let had = statvfs(source)?.flags();
    let flags = FLAGS.iter().filter(|(flag, ..)| had.contains(*flag));
    Ok(flags.map(|(_, _, name)| *name).collect())
}

/// Unmounts it, and removes the empty directory.
pub(super) fn undo(path: &Path) -> io::Result<()> {
    mount::unmount(path)?;
    fs::remove_dir(path)
}

/// Mounts it unless it is mounted. Its files are given to the group before, so that an agent that was killed meanwhile does
/// that again.
pub(super) fn mount(
    source: &Path,
    path: &Path,
    access: Access,
    group: Option<(i64, GroupChange)>,
) -> io::Result<()> {
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
        // The kernel takes the flag of a bind mount in a second call only (mount(2)), with those that stay.
        let had = statvfs(source)?.flags();
        let kept = FLAGS.iter().filter(|(flag, ..)| had.contains(*flag));
        let kept: MsFlags = kept.map(|(_, flag, _)| *flag).collect();
        let made = bind(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept);
        if let Err(errno) = made {
            undo(path)?;
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
    fn a_read_only_mount_keeps_the_flags_of_its_source() {
        let name = "act::volume::bind::tests::a_read_only_mount_keeps_the_flags_of_its_source";
        if !in_own_mounts(name) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (dir.path().join("disk"), dir.path().join("u1/pv"));
        fs::create_dir(&source).unwrap();
        let flags_of_it = MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
        nix::mount::mount(Some("tmpfs"), &source, Some("tmpfs"), flags_of_it, None::<&str>).unwrap();
        mount(&source, &path, Access::ReadOnly, None).unwrap();
        let got = flags(&path).unwrap();
        for flag in ["ro", "noexec", "nodev"] {
            assert!(got.contains(&flag), "{flag}: {got:?}");
        }
        assert!(!flags(&source).unwrap().contains(&"ro"));
        for path in [path, source] {
            undo(&path).unwrap();
        }
    }
}
