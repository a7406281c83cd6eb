//! Opens what a path names, beneath the log directory and without waiting: a pipe, a socket or a device is not opened at
//! all.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlinkat};
use nix::sys::stat::{Mode, SFlag};

use super::listing::Entry;
use crate::disk::beneath::{self, Links, MountPoints};

/// The most entries of a directory that are shown. Pods choose how many there are, and their names.
const MOST_ENTRIES: usize = 10_000;
/// The most bytes of their names; as links and text of a page they take up to eight times as many.
const MOST_NAMES: usize = 1 << 20;
/// The most absolute links that are followed one after the other.
const MOST_LINKS: usize = 8;

/// What a path names.
#[derive(Debug)]
pub(super) enum Found {
    File {
        file: File,
        /// In bytes.
        size: u64,
        modified: Timestamp,
    },
    Directory {
        entries: Vec<Entry>,
        /// Whether these are all.
        is_whole: bool,
    },
}

/// Why nothing is opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// There is nothing of that name.
    Missing,
    /// A link on the path leads out of the directory.
    Outside,
    /// It is neither a regular file nor a directory.
    Special,
    /// The kernel refuses.
    Failed(Errno),
}

impl From<Errno> for Closed {
    fn from(errno: Errno) -> Closed {
        match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => Closed::Missing,
            Errno::EXDEV | Errno::ELOOP => Closed::Outside,
            errno => Closed::Failed(errno),
        }
    }
}

/// Opens a relative path beneath `root`. Links may lead on within it.
pub(super) fn find(root: &Path, path: &[u8]) -> Result<Found, Closed> {
    let directory = beneath::root(root)?;
    let mut path = match path {
        [] => PathBuf::from("."),
        path => PathBuf::from(OsStr::from_bytes(path)),
    };
    for _ in 0..MOST_LINKS {
        match beneath::open(
            &directory,
            &path,
            OFlag::O_PATH,
            Links::Within,
            MountPoints::Crossed,
        ) {
            Ok(fd) => return inspect(fd),
            // The links of /var/log/containers are absolute, which the kernel takes for a way out.
            Err(Errno::EXDEV) => path = target(&directory, root, &path)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Closed::Outside)
}

/// Where an absolute link leads, if that is beneath `root` by its name; it is opened as any other path.
fn target(directory: &OwnedFd, root: &Path, path: &Path) -> Result<PathBuf, Closed> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let link = beneath::open(directory, path, flags, Links::Within, MountPoints::Crossed)?;
    let target = match readlinkat(&link, "") {
        Ok(target) => PathBuf::from(target),
        // No link: one on its path leads out.
        Err(Errno::ENOENT | Errno::EINVAL) => return Err(Closed::Outside),
        Err(errno) => return Err(errno.into()),
    };
    match target.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => Ok(below.to_owned()),
        _ => Err(Closed::Outside),
    }
}

fn inspect(fd: OwnedFd) -> Result<Found, Closed> {
    let kind = nix::sys::stat::fstat(&fd)?.st_mode & SFlag::S_IFMT.bits();
    // The descriptor says which file it is; a name could have changed.
    let reopen = |flags: OFlag| {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        open(
            path.as_str(),
            flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    };
    match SFlag::from_bits_truncate(kind) {
        SFlag::S_IFREG => {
            let file = File::from(reopen(OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?);
            let metadata = file.metadata().map_err(failed)?;
            Ok(Found::File {
                size: metadata.size(),
                modified: Timestamp::from_second(metadata.mtime()).unwrap_or(Timestamp::UNIX_EPOCH),
                file,
            })
        }
        SFlag::S_IFDIR => {
            let (entries, is_whole) = list(Dir::from_fd(reopen(OFlag::O_DIRECTORY)?)?)?;
            Ok(Found::Directory { entries, is_whole })
        }
        _ => Err(Closed::Special),
    }
}

fn failed(error: io::Error) -> Closed {
    Errno::from_raw(error.raw_os_error().unwrap_or_default()).into()
}

fn list(mut dir: Dir) -> Result<(Vec<Entry>, bool), Closed> {
    let mut entries = Vec::new();
    let mut names = 0;
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if [&b"."[..], b".."].contains(&name) {
            continue;
        }
        names += name.len();
        if entries.len() == MOST_ENTRIES || names > MOST_NAMES {
            return Ok((entries, false));
        }
        entries.push(Entry {
            name: name.to_vec(),
            is_directory: entry.file_type() == Some(Type::Directory),
        });
    }
    Ok((entries, true))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What is found, as a word and the content.
    fn shown(found: Result<Found, Closed>) -> String {
        match found {
            Ok(Found::File { mut file, size, .. }) => {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                format!("file of {size}: {text}")
            }
            Ok(Found::Directory {
                mut entries,
                is_whole,
            }) => {
                entries.sort();
                let names: Vec<_> = entries
                    .iter()
                    .map(|entry| String::from_utf8_lossy(&entry.name))
                    .collect();
                format!("directory, {is_whole}: {}", names.join(" "))
            }
            Err(closed) => format!("{closed:?}"),
        }
    }

    #[test]
    fn only_files_and_directories_beneath_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        fs::create_dir_all(root.join("pods/p")).unwrap();
        fs::create_dir(root.join("containers")).unwrap();
        fs::write(root.join("pods/p/0.log"), "text").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let link = |to: &Path, from: &str| symlink(to, root.join(from)).unwrap();
        link(&root.join("pods/p/0.log"), "containers/web.log");
        link(Path::new("../pods/p"), "containers/relative");
        link(&dir.path().join("secret"), "out");
        link(Path::new("../secret"), "up");
        link(&root.join("../secret"), "disguised");
        link(&dir.path().join("log/chain2"), "chain1");
        link(&root.join("chain1"), "chain2");
        link(Path::new("/proc/self/root"), "magic");
        link(dir.path(), "parent");
        nix::unistd::mkfifo(&root.join("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        link(Path::new("/dev/null"), "null");
        let check = |path: &str, expected: &str| {
            assert_eq!(shown(find(&root, path.as_bytes())), expected, "{path}");
        };
        check("pods/p/0.log", "file of 4: text");
        check("pods", "directory, true: p");
        check("containers/web.log", "file of 4: text");
        check("containers/relative", "directory, true: 0.log");
        check("containers/relative/0.log", "file of 4: text");
        check(
            "",
            "directory, true: chain1 chain2 containers disguised fifo magic null out parent pods socket up",
        );
        for outside in [
            "out",
            "up",
            "disguised",
            "chain1",
            "magic/etc/passwd",
            "parent/secret",
            "null",
        ] {
            check(outside, "Outside");
        }
        check("fifo", "Special");
        check("socket", "Special");
        check("nothing", "Missing");
        check("pods/p/0.log/more", "Missing");
        check(&"a".repeat(300), "Missing");
        check(&"a/".repeat(2100), "Missing");
        // Also when it is not cleaned first.
        check("../secret", "Outside");
        check("/etc/passwd", "Outside");
        let missing = find(&dir.path().join("no-log"), b"");
        assert_eq!(missing.unwrap_err(), Closed::Missing);
    }

    #[test]
    fn a_directory_of_very_many_entries_is_read_in_part() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..=MOST_ENTRIES {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let Ok(Found::Directory { entries, is_whole }) = find(dir.path(), b"") else {
            panic!("it is a directory");
        };
        assert_eq!((entries.len(), is_whole), (MOST_ENTRIES, false));
        let long = tempfile::tempdir().unwrap();
        let most = MOST_NAMES / 255;
        for number in 0..=most {
            fs::write(long.path().join(format!("{number:0255}")), "").unwrap();
        }
        let Ok(Found::Directory { entries, is_whole }) = find(long.path(), b"") else {
            panic!("it is a directory");
        };
        assert_eq!((entries.len(), is_whole), (most, false));
    }
}
