//! Giving the files of a volume to a group (`fsGroup`; `ChangePermissions` in `pkg/volume`).

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{Gid, fchownat};

use super::beneath;
use super::walk::{self, Moment};

/// How deep a tree may be: each level takes two descriptors.
const MAX_DEPTH: usize = 512;

/// What the group may do with each file, and with a directory beside that: its files belong to the group, too.
const FILE: u32 = 0o660;
const DIRECTORY: u32 = FILE | 0o2110;

/// Gives a directory and what is below it to a group, which may then read and write it. Links are given away and not
/// followed; other file systems that are mounted below are not entered. The directory itself comes last, and so shows
/// whether all of it was done. A tree of more than 512 levels is an error.
pub fn give(directory: &Path, group: u32) -> io::Result<()> {
    walk::walk(beneath::root(directory)?, MAX_DEPTH, |moment, file, stat| match (
        walk::kind(stat) == SFlag::S_IFDIR,
        moment,
    ) {
        (true, Moment::Found) => Ok(()),
        (false, _) | (true, Moment::Left) => give_one(file, stat, group),
    })
}

/// Whether a directory itself has been given to a group.
pub fn is_given(directory: &Path, group: u32) -> io::Result<bool> {
    let found = fstat(&beneath::root(directory)?)?;
    Ok(found.st_gid == group && found.st_mode & DIRECTORY == DIRECTORY)
}

fn give_one(file: &OwnedFd, stat: &FileStat, group: u32) -> io::Result<()> {
    if stat.st_gid != group {
        fchownat(file, "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?;
    }
    let added = match walk::kind(stat) {
        SFlag::S_IFLNK => return Ok(()),
        SFlag::S_IFDIR => DIRECTORY,
        _ => FILE,
    };
    let mode = stat.st_mode & 0o7777;
    // A change of the group has cleared the set-user-ID and set-group-ID bits.
    if mode & added != added || stat.st_gid != group {
        // By the descriptor: a name may lead elsewhere by now.
        let held = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(held, Permissions::from_mode(mode | added))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn files_directories_and_links_are_given_and_nothing_outside_is() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, outside) = (dir.path().join("v"), dir.path().join("outside"));
        fs::create_dir_all(volume.join("a/b")).unwrap();
        for file in [&volume.join("a/b/f"), &outside] {
            fs::write(file, "x").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&outside, volume.join("link")).unwrap();
        let own = nix::unistd::getegid().as_raw();
        give(&volume, own).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&volume.join("a/b/f")), 0o660);
        assert_eq!(mode(&volume.join("a/b")) & DIRECTORY, DIRECTORY);
        assert_eq!(mode(&volume) & DIRECTORY, DIRECTORY);
        assert_eq!(mode(&outside), 0o600);
    }

    #[test]
    fn a_directory_shows_that_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let own = nix::unistd::getegid().as_raw();
        assert!(
            !is_given(dir.path(), own).unwrap(),
            "its files do not inherit the group"
        );
        give(dir.path(), own).unwrap();
        assert!(is_given(dir.path(), own).unwrap());
        assert!(!is_given(dir.path(), own + 1).unwrap());
    }
}
