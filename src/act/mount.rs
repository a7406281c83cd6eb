//! Mounts below a pod's directory: lists them, mounts a tmpfs, and unmounts them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};

use crate::disk::beneath::{self, Links, MountPoints};
use crate::disk::mount_points;
use crate::model::resources::Bytes;

/// Whether the kernel supports the option `noswap` (since 6.4); cleared when the first mount is rejected.
static NOSWAP: AtomicBool = AtomicBool::new(true);

/// Mounts a tmpfs, which must not be swapped out if the kernel supports that: it may hold secrets.
pub(super) fn tmpfs(path: &Path, size: Option<Bytes>) -> io::Result<()> {
    let size = size
        .filter(|size| size.0 > 0)
        .map(|size| format!("size={}", size.0));
    if NOSWAP.load(Ordering::Relaxed) {
        let options = [size.as_deref(), Some("noswap")];
        match mount_tmpfs(path, &options.into_iter().flatten().collect::<Vec<_>>().join(",")) {
            Err(Errno::EINVAL) => NOSWAP.store(false, Ordering::Relaxed),
            result => return Ok(result?),
        }
    }
    Ok(mount_tmpfs(path, size.as_deref().unwrap_or_default())?)
}

pub(super) fn mount_tmpfs(path: &Path, options: &str) -> nix::Result<()> {
    nix::mount::mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options),
    )
}

/// Whether a tmpfs is mounted at exactly this path.
pub(super) fn is_tmpfs(path: &Path) -> io::Result<bool> {
    let parent = path.parent().expect("a mount point has a parent");
    let device = |path| nix::sys::stat::lstat(path).map(|stat| stat.st_dev);
    let kind = nix::sys::statfs::statfs(path)?.filesystem_type();
    Ok(kind == nix::sys::statfs::TMPFS_MAGIC && device(path)? != device(parent)?)
}

/// Whether something is mounted at exactly this path, be it another directory of the same file system.
pub(super) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(true);
    };
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    match beneath::open(
        beneath::root(parent)?,
        name,
        flags,
        Links::Refused,
        MountPoints::Refused,
    ) {
        Ok(_) => Ok(false),
        Err(Errno::EXDEV) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Unmounts everything at and below a directory, the latest mount first.
pub(super) fn unmount_beneath(dir: &Path) -> io::Result<()> {
    let table = std::fs::read(mount_points::TABLE)?;
    for point in mount_points::beneath(&table, dir).into_iter().rev() {
        unmount(&point).map_err(|error| {
            io::Error::new(error.kind(), format!("unmounting {}: {error}", point.display()))
        })?;
    }
    Ok(())
}

/// Unmounts what is mounted at exactly this path, if anything is.
pub(super) fn unmount(path: &Path) -> io::Result<()> {
    match nix::mount::umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
        // Nothing is mounted there; it may have disappeared together with the mount that it was part of.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::in_own_mounts;
    use crate::disk::tree::{self, Mounts};

    #[test]
    fn a_tmpfs_comes_and_goes() {
        if !in_own_mounts("act::mount::tests::a_tmpfs_comes_and_goes") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u1/volumes/m");
        std::fs::create_dir_all(&path).unwrap();
        assert!(!is_tmpfs(&path).unwrap());
        tmpfs(&path, Some(Bytes(1 << 20))).unwrap();
        assert!(is_tmpfs(&path).unwrap());
        let nested = path.join("nested");
        std::fs::create_dir(&nested).unwrap();
        assert!(
            !is_tmpfs(&nested).unwrap(),
            "within a tmpfs, but not mounted there"
        );
        tmpfs(&nested, None).unwrap();
        let size = nix::sys::statfs::statfs(&path).unwrap();
        assert_eq!(size.blocks() * u64::try_from(size.block_size()).unwrap(), 1 << 20);
        let held = std::fs::File::create(path.join("held")).unwrap();
        let error = unmount_beneath(&dir.path().join("u1")).unwrap_err();
        assert!(error.to_string().contains("volumes/m"), "{error}");
        drop(held);
        unmount_beneath(&dir.path().join("u1")).unwrap();
        assert!(!is_tmpfs(&path).unwrap());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_mount_within_a_mount_is_left_to_who_knows_all_mounts() {
        if !in_own_mounts("act::mount::tests::a_mount_within_a_mount_is_left_to_who_knows_all_mounts") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let pod = dir.path().join("u1");
        let outer = pod.join("volumes/h");
        std::fs::create_dir_all(&outer).unwrap();
        tmpfs(&outer, None).unwrap();
        std::fs::create_dir(outer.join("inner")).unwrap();
        tmpfs(&outer.join("inner"), None).unwrap();
        assert!(tree::remove(&pod, Mounts::Unmounted).is_err());
        unmount_beneath(&pod).unwrap();
        tree::remove(&pod, Mounts::Refused).unwrap();
        assert!(!pod.exists());
    }
}
