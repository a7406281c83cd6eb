//! An archive as local files. A container has made it, and may want to write elsewhere on this machine
//! (CVE-2018-1002100, CVE-2019-1002101, CVE-2019-11246, CVE-2019-11249): no member is made outside the destination, no
//! link is made at all, and a link that is there already is followed only within the destination.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, mkdirat};
use tar::{Archive, Entry, EntryType};

use super::skipped::Skipped;
use crate::command::CommandError;
use crate::disk::beneath::{self, Links, MountPoints};

/// The most bytes before a member's content: its header, its names and other records about it.
const MOST_HEADERS: u64 = 1024 * 1024;

/// Why files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is none, or broke off.
    #[error("cannot read the archive from the container")]
    Archive(#[source] io::Error),
    /// A file or directory cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was asked for is a link.
    #[error("{name} is a symbolic link to {target}: copy that instead")]
    Link {
        /// Its name.
        name: String,
        /// Where it leads.
        target: String,
    },
    /// What was asked for is a pipe, a device or the like.
    #[error("{0} is neither a file nor a directory")]
    Special(String),
}

impl From<UnpackError> for CommandError {
    fn from(error: UnpackError) -> CommandError {
        let what = error.to_string();
        match error {
            UnpackError::Archive(source) | UnpackError::Write { source, .. } => {
                CommandError::File { what, source }
            }
            UnpackError::Link { .. } | UnpackError::Special(_) => CommandError::Choice(what),
        }
    }
}

/// Writes the archive's members: those of the directory or file `name`, without which all, into `to`. Returns what was
/// left out.
pub fn unpack(archive: impl Read, name: Option<&str>, to: &Path) -> Result<Skipped, UnpackError> {
    let left = Rc::new(Cell::new(MOST_HEADERS));
    let mut archive = Archive::new(Metered {
        from: archive,
        left: Rc::clone(&left),
    });
    let mut unpacking = Unpacking {
        to,
        top: None,
        skipped: Skipped::default(),
    };
    for entry in archive.entries().map_err(UnpackError::Archive)? {
        let mut entry = entry.map_err(UnpackError::Archive)?;
        left.set(u64::MAX);
        let path = entry.path().map_err(UnpackError::Archive)?.into_owned();
        match below(&path, name) {
            Some(rest) if rest.as_os_str().is_empty() => unpacking.top(&mut entry, name)?,
            Some(rest) => unpacking.member(&mut entry, &rest, name)?,
            None => unpacking.skip(&path, "it is not within what was asked for"),
        }
        io::copy(&mut entry, &mut io::sink()).map_err(UnpackError::Archive)?;
        left.set(MOST_HEADERS);
    }
    // What the command prints after the archive is read, too: a pipe that nobody reads would break the command.
    left.set(u64::MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(UnpackError::Archive)?;
    Ok(unpacking.skipped)
}

/// An archive that is read only so far: names are collected in memory, and the container chooses their lengths.
struct Metered<R> {
    from: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            let message = format!("the names of a member take more than {MOST_HEADERS} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let size = self.from.read(&mut buffer[..most])?;
        self.left.set(left - size as u64);
        Ok(size)
    }
}

/// The member's path below what was asked for; `None` if it is elsewhere.
fn below(path: &Path, name: Option<&str>) -> Option<PathBuf> {
    let mut rest = PathBuf::new();
    let mut wanted = name;
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => match wanted.take() {
                Some(name) if part == name => {}
                Some(_) => return None,
                None => rest.push(part),
            },
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    wanted.is_none().then_some(rest)
}

struct Unpacking<'a> {
    to: &'a Path,
    /// The destination, once it is known to be a directory that members go into.
    top: Option<OwnedFd>,
    skipped: Skipped,
}

impl Unpacking<'_> {
    fn skip(&mut self, path: &Path, why: &str) {
        self.skipped.add(path, why);
    }

    /// What was asked for, itself.
    fn top(&mut self, entry: &mut Entry<'_, impl Read>, name: Option<&str>) -> Result<(), UnpackError> {
        let called = name.unwrap_or(".");
        match entry.header().entry_type() {
            EntryType::Directory => self.directory().map(|_| ()),
            kind if is_file(kind) => {
                let (directory, file) = match (self.to.is_dir(), self.to.file_name()) {
                    (true, _) | (false, None) => (self.to, Path::new(called)),
                    (false, Some(file)) => (self.to.parent().unwrap_or(Path::new("")), Path::new(file)),
                };
                let directory = if directory.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    directory
                };
                write(&make(directory)?, directory, file, entry)
            }
            EntryType::Symlink => Err(UnpackError::Link {
                name: called.to_owned(),
                target: target(entry),
            }),
            _ => Err(UnpackError::Special(called.to_owned())),
        }
    }

    /// Something in it.
    fn member(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        rest: &Path,
        name: Option<&str>,
    ) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        let to = self.to;
        match kind {
            EntryType::Directory => {
                let mode = Mode::from_bits_truncate(entry.header().mode().unwrap_or(0o755));
                let top = self.directory()?;
                directories(top, rest, mode).map_err(|errno| write_error(&to.join(rest), errno))
            }
            EntryType::Link => {
                let linked = entry.link_name().ok().flatten();
                match linked.and_then(|linked| below(&linked, name)) {
                    Some(first) => copy(self.directory()?, to, &first, rest),
                    None => {
                        self.skip(rest, "it is a hard link to a file elsewhere");
                        Ok(())
                    }
                }
            }
            kind if is_file(kind) => {
                let parent = rest.parent().unwrap_or(Path::new(""));
                let top = self.directory()?;
                directories(top, parent, Mode::from_bits_truncate(0o755))
                    .map_err(|errno| write_error(&to.join(parent), errno))?;
                write(top, to, rest, entry)
            }
            EntryType::Symlink => {
                let why = format!("it is a symbolic link to {}", target(entry));
                self.skip(rest, &why);
                Ok(())
            }
            _ => {
                self.skip(rest, "it is neither a file nor a directory");
                Ok(())
            }
        }
    }

    /// The destination as a directory, which is made if it is not there.
    fn directory(&mut self) -> Result<&OwnedFd, UnpackError> {
        let top = match self.top.take() {
            Some(top) => top,
            None => make(self.to)?,
        };
        Ok(self.top.insert(top))
    }
}

fn is_file(kind: EntryType) -> bool {
    // A sparse file could be declared larger than any disk; `tar` makes none unless it is asked to.
    matches!(kind, EntryType::Regular | EntryType::Continuous)
}

fn target(entry: &Entry<'_, impl Read>) -> String {
    let target = entry.link_name().ok().flatten();
    target.map_or("?".to_owned(), |target| target.display().to_string())
}

/// A directory of the user's choice.
fn make(directory: &Path) -> Result<OwnedFd, UnpackError> {
    fs::create_dir_all(directory)
        .and_then(|()| Ok(beneath::root(directory)?))
        .map_err(|source| UnpackError::Write {
            path: directory.to_owned(),
            source,
        })
}

fn write_error(path: &Path, errno: Errno) -> UnpackError {
    UnpackError::Write {
        path: path.to_owned(),
        source: errno.into(),
    }
}

/// Makes the directories of a relative path beneath `top`.
fn directories(top: &OwnedFd, path: &Path, mode: Mode) -> nix::Result<()> {
    let there = |path: &Path| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        beneath::open(top, path, flags, Links::Within, MountPoints::Crossed)
    };
    // Most members lie where the one before has its directory.
    if path.as_os_str().is_empty() || there(path).is_ok() {
        return Ok(());
    }
    let mut made = PathBuf::new();
    let mut parent = top.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
    for part in path.components() {
        made.push(part);
        // The owner can write into it, or its content could not be copied.
        match mkdirat(
            &parent,
            part.as_os_str(),
            (mode | Mode::S_IRWXU) & Mode::from_bits_truncate(0o777),
        ) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        parent = there(&made)?;
    }
    Ok(())
}

/// Writes a file of `directory`, which is called so in messages. What is there already keeps its mode, as with `cp`.
fn write(
    top: &OwnedFd,
    directory: &Path,
    file: &Path,
    entry: &mut Entry<'_, impl Read>,
) -> Result<(), UnpackError> {
    let path = || directory.join(file);
    let mode = Mode::from_bits_truncate(entry.header().mode().unwrap_or(0o644) & 0o777);
    let mut opened = create(top, file, mode).map_err(|errno| write_error(&path(), errno))?;
    let mut content = Remembering { entry, failed: false };
    match io::copy(&mut content, &mut opened) {
        Ok(_) => Ok(()),
        Err(error) if content.failed => Err(UnpackError::Archive(error)),
        Err(source) => Err(UnpackError::Write { path: path(), source }),
    }
}

/// Opens a new file, or one that is there and is a file.
fn create(top: &OwnedFd, file: &Path, mode: Mode) -> nix::Result<File> {
    match beneath::create(top, file, mode) {
        Err(Errno::EEXIST) => {}
        created => return created.map(File::from),
    }
    // A pipe that lies there is not waited for.
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    let there = File::from(beneath::open(
        top,
        file,
        flags,
        Links::Within,
        MountPoints::Crossed,
    )?);
    let metadata = there.metadata().map_err(|_| Errno::EIO)?;
    if !metadata.is_file() {
        return Err(Errno::EEXIST);
    }
    nix::unistd::ftruncate(&there, 0)?;
    Ok(there)
}

/// A hard link of the archive, as a file of its own.
fn copy(top: &OwnedFd, to: &Path, first: &Path, second: &Path) -> Result<(), UnpackError> {
    let open = || -> io::Result<(File, File)> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let from = File::from(beneath::open(
            top,
            first,
            flags,
            Links::Within,
            MountPoints::Crossed,
        )?);
        let mode = from.metadata()?;
        if !mode.is_file() {
            return Err(Errno::EINVAL.into());
        }
        let parent = second.parent().unwrap_or(Path::new(""));
        directories(top, parent, Mode::from_bits_truncate(0o755))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
        Ok((from, create(top, second, Mode::from_bits_truncate(mode & 0o777))?))
    };
    open()
        .and_then(|(mut from, mut into)| io::copy(&mut from, &mut into))
        .map(|_| ())
        .map_err(|source| UnpackError::Write {
            path: to.join(second),
            source,
        })
}

/// Tells an archive that cannot be read from a file that cannot be written.
struct Remembering<'a, 'b, R: Read> {
    entry: &'a mut Entry<'b, R>,
    failed: bool,
}

impl<R: Read> Read for Remembering<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.entry.read(buffer);
        self.failed = matches!(&result, Err(error) if error.kind() != io::ErrorKind::Interrupted);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tar::{Builder, Header};

    use super::*;

    /// An archive of members: type, name as it is, content or link target.
    fn archive(members: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, content) in members {
            let mut header = Header::new_gnu();
            // Past the checks of the library that makes it: others' archives are not made by it.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4750);
            let content = if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
                ""
            } else {
                content
            };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    const DIR: EntryType = EntryType::Directory;
    const FILE: EntryType = EntryType::Regular;

    /// Unpacks into `to` of a fresh directory with a neighbor `outside`; the files below the directory with their
    /// content afterwards, and what was left out.
    fn check(
        name: Option<&str>,
        to: &str,
        members: &[(EntryType, &str, &str)],
        files: &[(&str, &str)],
        left: &[&str],
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("there")).unwrap();
        fs::write(dir.path().join("outside"), "untouched").unwrap();
        symlink(dir.path(), dir.path().join("there/out")).unwrap();
        symlink("sub", dir.path().join("there/within")).unwrap();
        fs::create_dir(dir.path().join("there/sub")).unwrap();
        let skipped = unpack(archive(members).as_slice(), name, &dir.path().join(to)).unwrap();
        let skipped: Vec<_> = skipped
            .listed()
            .iter()
            .map(|skipped| skipped.path.to_str().unwrap())
            .collect();
        assert_eq!(skipped, left, "{members:?}");
        assert_eq!(
            tree(dir.path()),
            [files, &[("outside", "untouched")]]
                .concat()
                .into_iter()
                .map(|(path, content)| (path.to_owned(), content.to_owned()))
                .collect(),
            "{members:?}"
        );
    }

    fn tree(top: &Path) -> std::collections::BTreeMap<String, String> {
        let mut files = std::collections::BTreeMap::new();
        let mut waiting = vec![top.to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    waiting.push(entry.path());
                } else if kind.is_file() {
                    let path = entry
                        .path()
                        .strip_prefix(top)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    files.insert(path, fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
        files
    }

    #[test]
    fn a_file_is_written_as_or_into_the_destination() {
        check(Some("f"), "new", &[(FILE, "./f", "F")], &[("new", "F")], &[]);
        check(
            Some("f"),
            "a/b/new",
            &[(FILE, "./f", "F")],
            &[("a/b/new", "F")],
            &[],
        );
        check(
            Some("f"),
            "there",
            &[(FILE, "./f", "F")],
            &[("there/f", "F")],
            &[],
        );
    }

    #[test]
    fn a_directory_is_written_as_the_destination() {
        let members = [
            (DIR, "./d/", ""),
            (FILE, "./d/f", "F"),
            (DIR, "./d/sub/", ""),
            (FILE, "./d/sub/g", "G"),
            (EntryType::Link, "./d/h", "./d/sub/g"),
        ];
        let files = |at: &str| -> Vec<(String, String)> {
            [("f", "F"), ("sub/g", "G"), ("h", "G")]
                .map(|(name, content)| (format!("{at}/{name}"), content.to_owned()))
                .to_vec()
        };
        for to in ["new", "there", "x/y"] {
            let files = files(to);
            let files: Vec<_> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            check(Some("d"), to, &members, &files, &[]);
        }
        check(
            None,
            "new",
            &[(DIR, "./", ""), (FILE, "./f", "F")],
            &[("new/f", "F")],
            &[],
        );
        // Without its directories.
        check(
            Some("d"),
            "new",
            &[(FILE, "d/a/b/f", "F")],
            &[("new/a/b/f", "F")],
            &[],
        );
    }

    #[test]
    fn cve_2018_1002100_and_others_nothing_is_written_elsewhere() {
        check(
            Some("d"),
            "there",
            &[
                (FILE, "../outside", "x"),
                (FILE, "./d/../../outside", "x"),
                (FILE, "/outside", "x"),
                (FILE, "d", "x"),
                (FILE, "outside", "x"),
                (EntryType::Symlink, "./d/link", "../outside"),
                (EntryType::Link, "./d/hard", "../outside"),
                (EntryType::Fifo, "./d/pipe", ""),
                (FILE, "./d/within/f", "F"),
            ],
            // A file named as the directory goes into it, as any file; a link within is followed.
            &[("there/d", "x"), ("there/sub/f", "F")],
            &[
                "../outside",
                "./d/../../outside",
                "/outside",
                "outside",
                "link",
                "hard",
                "pipe",
            ],
        );
    }

    fn check_error(members: &[(EntryType, &str, &str)], expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("outside"), "untouched").unwrap();
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        symlink(dir.path(), to.join("out")).unwrap();
        symlink(dir.path().join("outside"), to.join("file")).unwrap();
        nix::unistd::mkfifo(&to.join("pipe"), Mode::S_IRWXU).unwrap();
        let error = unpack(archive(members).as_slice(), Some("d"), &to).unwrap_err();
        let text = crate::model::error_chain::chain(&error).to_string();
        assert_eq!(text.replace(dir.path().to_str().unwrap(), "DIR"), expected);
        assert_eq!(
            fs::read_to_string(dir.path().join("outside")).unwrap(),
            "untouched"
        );
        assert!(!dir.path().join("new").exists());
    }

    #[test]
    fn cve_2019_11249_a_link_that_leads_out_of_the_destination_is_not_followed() {
        let error = "cannot write DIR/to/out: EXDEV: Invalid cross-device link";
        check_error(
            &[(FILE, "./d/out/new", "x")],
            &error.replace("EXDEV: ", "").replace("link", "link (os error 18)"),
        );
        check_error(
            &[(FILE, "./d/file", "x")],
            "cannot write DIR/to/file: Invalid cross-device link (os error 18)",
        );
    }

    #[test]
    fn a_pipe_is_not_waited_for_and_a_link_is_named() {
        // No reader: opening it for writing fails at once.
        check_error(
            &[(FILE, "./d/pipe", "x")],
            "cannot write DIR/to/pipe: No such device or address (os error 6)",
        );
        check_error(
            &[(EntryType::Symlink, "./d", "e")],
            "d is a symbolic link to e: copy that instead",
        );
        check_error(
            &[(EntryType::Fifo, "./d", "")],
            "d is neither a file nor a directory",
        );
    }

    #[test]
    fn an_archive_that_breaks_off_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let whole = archive(&[(FILE, "./f", &"F".repeat(2000))]);
        let error = unpack(&whole[..1000], Some("f"), &dir.path().join("f")).unwrap_err();
        assert!(matches!(error, UnpackError::Archive(_)), "{error:?}");
        let error = unpack(
            &b"no archive at all, but a text"[..],
            Some("f"),
            &dir.path().join("f"),
        )
        .unwrap_err();
        assert!(matches!(error, UnpackError::Archive(_)), "{error:?}");
    }

    #[test]
    fn a_name_that_never_ends_is_not_collected() {
        let dir = tempfile::tempdir().unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let endless = header.as_bytes().chain(io::repeat(b'x'));
        let error = unpack(endless, Some("f"), &dir.path().join("f")).unwrap_err();
        let text = crate::model::error_chain::chain(&error).to_string();
        assert!(text.contains("the names of a member take more than"), "{text}");
        // What follows an ordinary member is not bounded by what came before.
        let many: Vec<_> = (0..3000).map(|number| (FILE, format!("./d/{number}"))).collect();
        let many: Vec<_> = many
            .iter()
            .map(|(kind, name)| (*kind, name.as_str(), "x"))
            .collect();
        unpack(archive(&many).as_slice(), Some("d"), &dir.path().join("d")).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("d")).unwrap().count(), 3000);
    }

    #[test]
    fn modes_are_taken_over_without_set_user_id() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("f");
        unpack(archive(&[(FILE, "./f", "F")]).as_slice(), Some("f"), &to).unwrap();
        let mode = fs::metadata(&to).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode & 0o4000, 0);
        assert_eq!(mode & 0o700, 0o700);
    }
}
