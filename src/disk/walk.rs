//! A walk through a directory that others write to: no link is followed, and other file systems that are mounted below are
//! not entered, and not even asked: their servers may be gone.

use std::io;
use std::os::fd::OwnedFd;

use nix::dir::{Dir, OwningIter};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::beneath::{self, Links, MountPoints};

/// When something is visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// It is found: a file, a link, or a directory before what is in it.
    Found,
    /// Everything in the directory was visited.
    Left,
}

/// What kind of file it is.
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Visits a directory and what is below it, each by a descriptor that only names it (`O_PATH`). Each level takes two
/// descriptors: a tree of more than `levels` is an error, as is what `visit` returns.
pub(super) fn walk(
    directory: OwnedFd,
    levels: usize,
    mut visit: impl FnMut(Moment, &OwnedFd, &FileStat) -> io::Result<()>,
) -> io::Result<()> {
    let stat = fstat(&directory)?;
    visit(Moment::Found, &directory, &stat)?;
    let mut open = vec![Level::open(directory, stat)?];
    while let Some(level) = open.last_mut() {
        let Some(entry) = level.entries.next() else {
            visit(Moment::Left, &level.directory, &level.stat)?;
            open.pop();
            continue;
        };
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let found = beneath::open(
            &level.directory,
            entry.file_name(),
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            Links::Refused,
            MountPoints::Refused,
        );
        let found = match found {
            Ok(found) => found,
            // It is gone, or something is mounted there.
            Err(Errno::ENOENT | Errno::EXDEV) => continue,
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&found)?;
        visit(Moment::Found, &found, &stat)?;
        if kind(&stat) == SFlag::S_IFDIR {
            if open.len() == levels {
                return Err(io::Error::other(format!(
                    "the tree has more than {levels} levels"
                )));
            }
            open.push(Level::open(found, stat)?);
        }
    }
    Ok(())
}

/// A directory that is being read.
struct Level {
    directory: OwnedFd,
    stat: FileStat,
    entries: OwningIter,
}

impl Level {
    fn open(directory: OwnedFd, stat: FileStat) -> io::Result<Level> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let entries = Dir::openat(&directory, ".", flags, Mode::empty())?.into_iter();
        Ok(Level {
            directory,
            stat,
            entries,
        })
    }
}
