//! Parts of volumes (`subPath`), mounted where the containers' mounts come from (`pkg/volume/util/subpath`).
//!
//! Containers may change the content of their volumes at any moment. So a part is opened once, with the kernel's check
//! that no component of the path leads out of the volume (CVE-2017-1002101), and the opened file is what is mounted: no
//! name is resolved twice (CVE-2021-25741).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};

use crate::disk::beneath::{self, Links, MountPoints};
use crate::model::request::SubPathMount;

/// Why a part of a volume was not mounted, worded as in the kubelet.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubPathError {
    /// It does not exist and could not be created.
    #[error("failed to create subPath directory for volumeMount {volume:?} of container {container:?}")]
    Made {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
        /// Why.
        source: io::Error,
    },
    /// It could not be mounted.
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}")]
    Mounted {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
        /// Why.
        source: io::Error,
    },
}

/// Mounts a part of a volume at its target, replacing an earlier mount there.
pub(super) fn prepare(part: &SubPathMount, container: &str) -> Result<(), SubPathError> {
    let (volume, container) = (part.volume.clone(), container.to_owned());
    let opened = match open(&part.root, &part.path) {
        Ok(opened) => opened,
        // A directory or file of the wrong kind remains there.
        Err(source) if source.kind() == io::ErrorKind::NotADirectory => {
            return Err(SubPathError::Mounted {
                volume,
                container,
                source,
            });
        }
        Err(source) => {
            return Err(SubPathError::Made {
                volume,
                container,
                source,
            });
        }
    };
    bind(&opened, &part.target).map_err(|source| SubPathError::Mounted {
        volume,
        container,
        source,
    })
}

/// Opens a path beneath a volume. Missing directories are created with the volume's own mode.
fn open(root: &Path, path: &str) -> io::Result<OwnedFd> {
    // Links to the volume itself are the administrator's choice.
    let root = beneath::root(root).map_err(|errno| named_error(root, errno))?;
    let mode = Mode::from_bits_truncate(fstat(&root)?.st_mode & 0o7777);
    let mut below = PathBuf::from(".");
    let mut opened = root.try_clone()?;
    for part in Path::new(path).components() {
        let Component::Normal(name) = part else {
            if part == Component::CurDir {
                continue;
            }
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{path:?} must be relative and must not contain '..'"),
            ));
        };
        below.push(name);
        opened = match beneath(root.as_fd(), &below, OFlag::O_PATH) {
            Ok(opened) => opened,
            Err(Errno::ENOENT) => make(root.as_fd(), opened.as_fd(), &below, mode)
                .map_err(|errno| named_error(&below, errno))?,
            Err(errno) => return Err(named_error(&below, errno)),
        };
    }
    Ok(opened)
}

/// Creates the directory `below`, whose parent is open. If it exists by now, that one is used.
fn make(root: BorrowedFd<'_>, parent: BorrowedFd<'_>, below: &Path, mode: Mode) -> nix::Result<OwnedFd> {
    let name = below.file_name().unwrap_or_default();
    match mkdirat(parent, name, mode) {
        Err(Errno::EEXIST) => {}
        result => {
            result?;
            // Independent of the umask. A directory that appeared meanwhile is inside the volume in any case.
            let made = beneath(root, below, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            fchmod(&made, mode)?;
        }
    }
    beneath(root, below, OFlag::O_PATH)
}

/// Opens a part of a volume. Links within the volume lead on, as they do in the container; what is mounted within it
/// belongs to the volume.
fn beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    beneath::open(root, path, flags, Links::Within, MountPoints::Crossed)
}

/// Mounts the opened file or directory.
fn bind(opened: &OwnedFd, target: &Path) -> io::Result<()> {
    unmount(target)?;
    make_target(target, is_dir(&fstat(opened)?))?;
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    mount(
        Some(Path::new(&source)),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|errno| named_error(target, errno))
}

fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Unmounts whatever earlier starts have mounted there.
fn unmount(target: &Path) -> io::Result<()> {
    loop {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(named_error(target, errno)),
        }
    }
}

/// Creates a mount target of the right kind.
fn make_target(target: &Path, dir: bool) -> io::Result<()> {
    let parent = target.parent().expect("a mount target has a parent directory");
    DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() && !dir => fs::remove_dir(target)?,
        Ok(found) if !found.is_dir() && dir => fs::remove_file(target)?,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if dir {
        return DirBuilder::new().mode(0o750).create(target);
    }
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(target)
        .map(drop)
}

fn named_error(path: &Path, errno: Errno) -> io::Error {
    let path = path.strip_prefix(".").unwrap_or(path).display();
    let why = match errno {
        Errno::EXDEV => "leads outside the volume",
        errno => errno.desc(),
    };
    io::Error::new(io::Error::from(errno).kind(), format!("{path}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::disk::tests::in_own_mounts;

    /// A volume next to a directory that must remain out of reach.
    fn volume() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "inside").unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "outside").unwrap();
        (dir, root)
    }

    fn inode(fd: &OwnedFd) -> u64 {
        fstat(fd).unwrap().st_ino
    }

    #[test]
    fn links_within_the_volume_lead_on() {
        let (_dir, root) = volume();
        symlink("a", root.join("..data")).unwrap();
        symlink("..data/file", root.join("file")).unwrap();
        symlink("../a/file", root.join("a/up")).unwrap();
        let file = fs::metadata(root.join("a/file")).unwrap().ino();
        for path in ["a/file", "file", "./a//file", "..data/file", "a/up"] {
            assert_eq!(inode(&open(&root, path).unwrap()), file, "{path}");
        }
        assert_eq!(
            inode(&open(&root, "").unwrap()),
            fs::metadata(&root).unwrap().ino()
        );
    }

    #[test]
    fn nothing_leads_out_and_nothing_is_made_outside() {
        let (dir, root) = volume();
        let outside = dir.path().join("outside");
        symlink("../outside", root.join("relative")).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("a/../../outside", root.join("winding")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        symlink("relative", root.join("second")).unwrap();
        symlink("../outside/new", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for path in [
            "relative", "absolute", "winding", "magic", "second", "dangling", "loop",
        ] {
            for below in ["", "/file", "/new", "/new/deeper"] {
                let path = format!("{path}{below}");
                let error = open(&root, &path).expect_err(&path);
                let right = ["leads outside the volume", "symbolic links", "No such file"];
                assert!(
                    right.iter().any(|text| error.to_string().contains(text)),
                    "{path}: {error}"
                );
            }
        }
        for path in ["..", "a/../../outside", "/etc", "a/../.."] {
            assert_eq!(
                open(&root, path).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{path}"
            );
        }
        assert!(open(&root, "a/file/x").is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn what_is_missing_is_made_with_the_volumes_mode() {
        let (_dir, root) = volume();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        open(&root, "new/deeper/still").unwrap();
        for path in ["new", "new/deeper", "new/deeper/still"] {
            assert_eq!(
                fs::metadata(root.join(path)).unwrap().mode() & 0o777,
                0o777,
                "{path}"
            );
        }
        let made = fs::metadata(root.join("new/deeper/still")).unwrap().ino();
        assert_eq!(inode(&open(&root, "new/deeper/still").unwrap()), made);
    }

    /// A container that keeps swapping a directory for a link that leads out does not get what is outside.
    #[test]
    fn a_race_is_not_won() {
        let (dir, root) = volume();
        let done = AtomicBool::new(false);
        let outside = dir.path().join("outside");
        symlink(&outside, root.join("evil")).unwrap();
        fs::create_dir(root.join("good")).unwrap();
        let (other, good) = (
            fs::metadata(&outside).unwrap().ino(),
            fs::metadata(root.join("good")).unwrap().ino(),
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (a, b) = (root.join("good"), root.join("evil"));
                    nix::fcntl::renameat2(
                        nix::fcntl::AT_FDCWD,
                        &a,
                        nix::fcntl::AT_FDCWD,
                        &b,
                        nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                    )
                    .unwrap();
                }
            });
            // The other thread may be off the processor for long, with the link in place all the while.
            let deadline = Instant::now() + Duration::from_secs(60);
            let (mut tries, mut got) = (0, 0);
            while tries < 2000 || got == 0 && Instant::now() < deadline {
                tries += 1;
                if let Ok(opened) = open(&root, "good") {
                    assert_ne!(inode(&opened), other);
                    assert_eq!(inode(&opened), good);
                    got += 1;
                }
                let _ = open(&root, "good/new");
            }
            done.store(true, Ordering::Relaxed);
            assert!(got > 0, "none of {tries} tries");
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    fn cause(error: &SubPathError) -> String {
        std::error::Error::source(error).unwrap().to_string()
    }

    #[test]
    fn what_was_opened_is_mounted_and_anew_each_time() {
        if !in_own_mounts("act::sub_path::tests::what_was_opened_is_mounted_and_anew_each_time") {
            return;
        }
        let (dir, root) = volume();
        let part = |path: &str| SubPathMount {
            volume: "v".to_owned(),
            root: root.clone(),
            path: path.to_owned(),
            target: dir.path().join("pod/volume-subpaths/v/c/0"),
        };
        let target = part("").target;
        prepare(&part("a/file"), "c").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "inside");
        // The next start gets another file of the same name.
        fs::write(root.join("a/other"), "other").unwrap();
        fs::rename(root.join("a/other"), root.join("a/file")).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "inside");
        prepare(&part("a/file"), "c").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "other");
        prepare(&part("a"), "c").unwrap();
        assert!(target.join("b").is_dir());
        symlink(dir.path().join("outside"), root.join("out")).unwrap();
        let error = prepare(&part("out"), "c").unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), cause(&error).as_str()),
            (
                "failed to create subPath directory for volumeMount \"v\" of container \"c\"",
                "out: leads outside the volume"
            )
        );
        let error = prepare(&part("a/file/x"), "c").unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to prepare subPath for volumeMount \"v\" of container \"c\""
        );
        crate::act::mount::unmount_beneath(&dir.path().join("pod")).unwrap();
        assert!(target.is_dir() && fs::read_dir(&target).unwrap().next().is_none());
    }
}
