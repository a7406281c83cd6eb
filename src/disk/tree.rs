//! Removes a directory tree with arbitrary content, also that of a container: links are removed, not followed; mounts
//! are treated as the caller says; and neither depth nor width of the tree costs memory or descriptors.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::mount::{MntFlags, umount2};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::beneath::{self, Links, MountPoints};

/// Deeper directories are moved to the top before they are emptied, so that a tree of a hundred thousand levels needs
/// no more descriptors than one of this depth.
const MAX_DEPTH: usize = 32;

/// How many entries are read before they are removed.
const BATCH: usize = 512;

/// How often a mount point is unmounted before giving up: mounts may be stacked.
const MOUNTS_AT_A_PLACE: usize = 8;

/// How mounts in the tree are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// The removal fails there.
    Refused,
    /// It is unmounted, unless something is mounted within it.
    Unmounted,
    /// It is emptied like a directory, and the removal then fails with `EBUSY`: for directories of the agent's own, which
    /// an administrator may have put on a disk of their own.
    Emptied,
}

/// Removes a directory and everything below it. A missing directory counts as removed. The parent is trusted; the
/// directory itself and everything in it is not.
pub fn remove(dir: &Path, mounts: Mounts) -> io::Result<()> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it has no parent directory",
        ));
    };
    let parent = match beneath::root(parent) {
        Ok(parent) => parent,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let name = CString::new(name.as_encoded_bytes())?;
    let mut top = match open(&parent, &name, mounts) {
        Ok(top) => top,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(named_error(&name, errno)),
    };
    let fd = top.as_fd().try_clone_to_owned()?;
    let mut removal = Removal {
        top: fd,
        moved: 0,
        mounts,
    };
    removal.empty(&mut top, 0)?;
    drop(top);
    unlinkat(&parent, &*name, UnlinkatFlags::RemoveDir).map_err(|errno| named_error(&name, errno))
}

struct Removal {
    top: OwnedFd,
    moved: u64,
    mounts: Mounts,
}

impl Removal {
    fn empty(&mut self, dir: &mut Dir, depth: usize) -> io::Result<()> {
        loop {
            let batch = read_some(dir)?;
            if batch.is_empty() {
                return Ok(());
            }
            for (name, kind) in batch {
                // The type must not be guessed: unlinking a directory returns EISDIR.
                let result = match kind {
                    Some(Type::Directory) => Err(Errno::EISDIR),
                    _ => self.unlink(dir, &name),
                };
                match result {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(Errno::EISDIR) => self.remove_dir(dir, &name, depth)?,
                    Err(errno) => return Err(named_error(&name, errno)),
                }
            }
        }
    }

    /// Removes what is no directory; something may be mounted on a file, too.
    fn unlink(&self, parent: &Dir, name: &CStr) -> nix::Result<()> {
        let mut removed = unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
        for _ in 0..MOUNTS_AT_A_PLACE {
            if self.mounts != Mounts::Unmounted || removed != Err(Errno::EBUSY) {
                break;
            }
            unmount(parent, name)?;
            removed = unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
        }
        removed
    }

    fn remove_dir(&mut self, parent: &Dir, name: &CStr, depth: usize) -> io::Result<()> {
        if depth == MAX_DEPTH {
            return self.move_to_top(parent, name);
        }
        let mut dir = self
            .open(parent, name)
            .map_err(|errno| named_error(name, errno))?;
        self.empty(&mut dir, depth + 1)?;
        drop(dir);
        unlinkat(parent, name, UnlinkatFlags::RemoveDir).map_err(|errno| named_error(name, errno))
    }

    fn open(&self, parent: &Dir, name: &CStr) -> nix::Result<Dir> {
        let mut opened = open(parent, name, self.mounts);
        for _ in 0..MOUNTS_AT_A_PLACE {
            if self.mounts != Mounts::Unmounted || !matches!(opened, Err(Errno::EXDEV)) {
                break;
            }
            unmount(parent, name)?;
            opened = open(parent, name, self.mounts);
        }
        opened
    }

    fn move_to_top(&mut self, parent: &Dir, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let to = CString::new(format!("gantry-remove-{}", self.moved)).expect("the name contains no NUL");
            match renameat(parent, name, &self.top, &*to) {
                Ok(()) => return Ok(()),
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                Err(errno) => return Err(named_error(name, errno)),
            }
        }
    }
}

/// Unmounts what is mounted on an entry of a directory.
fn unmount(parent: &Dir, name: &CStr) -> nix::Result<()> {
    // No path is certain to lead there, but the descriptor is: the name is one in that very directory.
    let held = format!("/proc/self/fd/{}", parent.as_raw_fd());
    let place = Path::new(&held).join(OsStr::from_bytes(name.to_bytes()));
    umount2(&place, MntFlags::UMOUNT_NOFOLLOW)
}

/// The first entries of a directory. Each call starts from the beginning, because entries were removed since.
fn read_some(dir: &mut Dir) -> io::Result<Vec<(CString, Option<Type>)>> {
    let mut entries = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
        if entries.len() == BATCH {
            break;
        }
    }
    Ok(entries)
}

/// Opens a directory that is directly inside another one.
fn open(parent: impl AsFd, name: &CStr, mounts: Mounts) -> nix::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let crossed = match mounts {
        Mounts::Refused | Mounts::Unmounted => MountPoints::Refused,
        Mounts::Emptied => MountPoints::Crossed,
    };
    Dir::from_fd(beneath::open(parent, name, flags, Links::Refused, crossed)?)
}

fn named_error(name: &CStr, errno: Errno) -> io::Error {
    let name = Path::new(OsStr::from_bytes(name.to_bytes()));
    let why = if errno == Errno::EXDEV {
        "something is still mounted there"
    } else {
        errno.desc()
    };
    io::Error::new(
        io::Error::from(errno).kind(),
        format!("removing {}: {why}", name.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::in_own_mounts;
    use nix::sys::stat::Mode;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A directory outside the pod's with a file that must survive, the pod's directory, and a mount point in it with
    /// the former mounted that many times. A bind mount of the same file system: the device number would not reveal it.
    fn mounted(dir: &Path, times: usize) -> (PathBuf, PathBuf, PathBuf) {
        let (outside, pod) = (dir.join("outside"), dir.join("u1"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let place = pod.join("volumes/h");
        fs::create_dir_all(&place).unwrap();
        let bind = nix::mount::MsFlags::MS_BIND;
        for _ in 0..times {
            nix::mount::mount(Some(&outside), &place, None::<&str>, bind, None::<&str>).unwrap();
        }
        (outside, pod, place)
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let pod = dir.path().join("u1");
        fs::create_dir_all(pod.join("volumes/e")).unwrap();
        symlink(&outside, pod.join("volumes/e/dir-link")).unwrap();
        symlink(outside.join("kept"), pod.join("volumes/e/file-link")).unwrap();
        symlink("..", pod.join("volumes/e/up")).unwrap();
        nix::unistd::mkfifo(&pod.join("volumes/e/fifo"), Mode::S_IRWXU).unwrap();
        remove(&pod, Mounts::Refused).unwrap();
        assert!(!pod.exists());
        assert!(outside.join("kept").exists());
        remove(&pod, Mounts::Refused).unwrap();
        remove(&dir.path().join("no/such/parent"), Mounts::Refused).unwrap();
    }

    #[test]
    fn a_directory_that_is_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        symlink(&outside, dir.path().join("u1")).unwrap();
        assert!(remove(&dir.path().join("u1"), Mounts::Refused).is_err());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_tree_of_many_levels_and_many_files() {
        let dir = tempfile::tempdir().unwrap();
        let pod = dir.path().join("u1");
        fs::create_dir(&pod).unwrap();
        for n in 0..BATCH * 2 + 3 {
            fs::write(pod.join(format!("f{n}")), "").unwrap();
        }
        // Deeper than the longest path, and with a name that the removal itself uses.
        fs::create_dir(pod.join("gantry-remove-1")).unwrap();
        fs::write(pod.join("gantry-remove-1/x"), "").unwrap();
        let open_dir = |fd: &OwnedFd| {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            nix::fcntl::openat(fd, "directory-with-a-name", flags, Mode::empty()).unwrap()
        };
        let mut at = OwnedFd::from(fs::File::open(&pod).unwrap());
        for _ in 0..1000 {
            nix::sys::stat::mkdirat(&at, "directory-with-a-name", Mode::S_IRWXU).unwrap();
            at = open_dir(&at);
        }
        drop(at);
        remove(&pod, Mounts::Refused).unwrap();
        assert!(!pod.exists());
    }

    #[test]
    fn what_is_mounted_on_a_file_is_taken_away() {
        if !in_own_mounts("disk::tree::tests::what_is_mounted_on_a_file_is_taken_away") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (outside, maps) = (dir.path().join("outside"), dir.path().join("maps"));
        fs::write(&outside, "x").unwrap();
        fs::create_dir(&maps).unwrap();
        fs::write(maps.join("u1"), "").unwrap();
        let bind = nix::mount::MsFlags::MS_BIND;
        for _ in 0..2 {
            nix::mount::mount(Some(&outside), &maps.join("u1"), None::<&str>, bind, None::<&str>).unwrap();
        }
        assert!(remove(&maps, Mounts::Refused).is_err());
        remove(&maps, Mounts::Unmounted).unwrap();
        assert!(!maps.exists());
        assert_eq!(fs::read(&outside).unwrap(), b"x");
    }

    #[test]
    fn a_mount_is_not_crossed() {
        if !in_own_mounts("disk::tree::tests::a_mount_is_not_crossed") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (outside, pod, place) = mounted(dir.path(), 1);
        let error = remove(&pod, Mounts::Refused).unwrap_err();
        assert!(error.to_string().contains("still mounted"), "{error}");
        assert!(outside.join("kept").exists());
        nix::mount::umount(&place).unwrap();
        remove(&pod, Mounts::Refused).unwrap();
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_mount_in_a_directory_of_the_agents_own_is_emptied_and_stays() {
        if !in_own_mounts("disk::tree::tests::a_mount_in_a_directory_of_the_agents_own_is_emptied_and_stays")
        {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (outside, pod, place) = mounted(dir.path(), 1);
        let error = remove(&pod, Mounts::Emptied).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        let error = remove(&place, Mounts::Emptied).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
        nix::mount::umount(&place).unwrap();
        remove(&pod, Mounts::Emptied).unwrap();
        assert!(!pod.exists() && outside.exists());
    }

    #[test]
    fn what_is_mounted_is_taken_away_also_where_it_lies_upon_another() {
        if !in_own_mounts("disk::tree::tests::what_is_mounted_is_taken_away_also_where_it_lies_upon_another")
        {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (outside, pod, _) = mounted(dir.path(), 2);
        remove(&pod, Mounts::Unmounted).unwrap();
        assert!(!pod.exists());
        assert!(outside.join("kept").exists());
    }
}
