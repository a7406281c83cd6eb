//! Files that exist completely or not at all, with the right mode from the first byte on.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown,
};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// What a written file survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the agent at any moment: the file has the old content or the new. For what is only of use while this
    /// boot lasts, or is found out again.
    Crash,
    /// A power failure, too: file and directory are synced. For what cannot be had again, as keys and certificates. It
    /// costs some milliseconds, on a busy disk seconds.
    PowerFailure,
}

/// A file's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Exactly this one.
    Exactly(u32),
    /// What the agent's umask, an administrator's choice, leaves of this one.
    WithinUmask(u32),
}

/// What the unfinished file is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// `.<name>.new`: hidden, and without the extension by which a directory's readers know their files.
    Hidden,
    /// `<name><suffix>`, in a directory of which another program knows the suffix.
    Suffix(&'static str),
}

/// How a file is written.
#[derive(Debug, Clone, Copy)]
pub struct Writing {
    /// Its mode.
    pub mode: Mode,
    /// The mode of its directory and the parents of that where they are missing, within the umask.
    pub directories: u32,
    /// What it survives.
    pub durability: Durability,
    /// The modification time that it gets, where that has a meaning.
    pub modified: Option<SystemTime>,
    /// What it is called until it is complete.
    pub unfinished: Unfinished,
}

impl Writing {
    /// For a file that only its owner may read.
    pub const fn private(durability: Durability) -> Writing {
        Writing {
            mode: Mode::Exactly(0o600),
            directories: 0o700,
            durability,
            modified: None,
            unfinished: Unfinished::Hidden,
        }
    }

    /// For a file that others may read as the umask says, and that is written again after a power failure.
    pub const fn within_umask() -> Writing {
        Writing {
            mode: Mode::WithinUmask(0o666),
            directories: 0o777,
            ..Writing::private(Durability::Crash)
        }
    }
}

/// Writes a file. A reader sees either the old content or the new. The leftover of an interrupted writer is replaced;
/// two writers at once must be excluded by the caller.
pub fn write(path: &Path, content: &[u8], writing: Writing) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(writing.directories)
        .create(directory)?;
    complete(path, content, writing, |unfinished| fs::rename(unfinished, path))
}

/// Writes a file that does not exist yet, in a directory that does.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`]: there is something of that name, which stays as it is.
pub fn create(path: &Path, content: &[u8], writing: Writing) -> io::Result<()> {
    complete(path, content, writing, |unfinished| place(unfinished, path))
}

/// Gives a file its name, unless there is one of that name.
fn place(unfinished: &Path, path: &Path) -> io::Result<()> {
    match renameat2(
        AT_FDCWD,
        unfinished,
        AT_FDCWD,
        path,
        RenameFlags::RENAME_NOREPLACE,
    ) {
        Ok(()) => Ok(()),
        // The file system has no such rename.
        Err(Errno::EINVAL) => {
            fs::hard_link(unfinished, path)?;
            fs::remove_file(unfinished)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a file that exists; its mode and its owner stay. A link is not followed.
pub fn rewrite(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let present = fs::symlink_metadata(path)?;
    let writing = Writing {
        mode: Mode::Exactly(present.mode() & 0o7777),
        ..Writing::private(durability)
    };
    complete(path, content, writing, |unfinished| {
        lchown(unfinished, Some(present.uid()), Some(present.gid()))?;
        fs::rename(unfinished, path)
    })
}

/// Writes the unfinished file, which `place` gives its name, and makes the name survive what it has to. A failure leaves
/// no unfinished file behind.
fn complete(
    path: &Path,
    content: &[u8],
    writing: Writing,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let unfinished = unfinished(path, writing.unfinished);
    if let Err(error) = fill(&unfinished, content, writing).and_then(|()| place(&unfinished)) {
        // The failure that is reported is the first one: a disk that is full, say, or a directory of that name.
        let _ = remove_if_there(&unfinished);
        return Err(error);
    }
    match writing.durability {
        Durability::Crash => Ok(()),
        Durability::PowerFailure => sync(path.parent().unwrap_or(Path::new("/"))),
    }
}

fn unfinished(path: &Path, naming: Unfinished) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let (start, end) = match naming {
        Unfinished::Hidden => (".", ".new"),
        Unfinished::Suffix(suffix) => ("", suffix),
    };
    let mut unfinished = OsString::from(start);
    unfinished.push(name);
    unfinished.push(end);
    path.with_file_name(unfinished)
}

fn fill(path: &Path, content: &[u8], writing: Writing) -> io::Result<()> {
    // A leftover may have another mode, or be a link.
    remove_if_there(path)?;
    let (Mode::Exactly(mode) | Mode::WithinUmask(mode)) = writing.mode;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    if let Mode::Exactly(mode) = writing.mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    file.write_all(content)?;
    if let Some(modified) = writing.modified {
        file.set_modified(modified)?;
    }
    match writing.durability {
        Durability::Crash => Ok(()),
        Durability::PowerFailure => file.sync_all(),
    }
}

/// Syncs a directory's entries to the disk.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes a file; returns whether it existed.
pub fn remove_file(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file that may be gone already.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    remove_file(path).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    const SECRET: Writing = Writing {
        directories: 0o755,
        ..Writing::private(Durability::PowerFailure)
    };

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_nothing_behind() {
        let check = |writing: Writing, leftover: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a/b/file.json");
            write(&path, b"one", writing).unwrap();
            let open = File::open(&path).unwrap();
            // The leftover of an interrupted writer neither blocks the write nor passes its mode on.
            let leftover = path.with_file_name(leftover);
            fs::write(&leftover, "half").unwrap();
            fs::set_permissions(&leftover, Permissions::from_mode(0o777)).unwrap();
            write(&path, b"two", writing).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"two");
            assert_eq!(
                io::read_to_string(open).unwrap(),
                "one",
                "a reader keeps what it has opened"
            );
            assert_eq!(mode(&path), 0o600, "{writing:?}");
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        };
        check(SECRET, ".file.json.new");
        check(Writing::private(Durability::Crash), ".file.json.new");
        let suffix = Writing {
            unfinished: Unfinished::Suffix(".tmp"),
            ..Writing::private(Durability::Crash)
        };
        check(suffix, "file.json.tmp");
    }

    #[test]
    fn an_exact_mode_is_independent_of_the_umask_and_directories_are_within_it() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, mode_of: Mode, want: u32| {
            let path = dir.path().join(name).join("file");
            let writing = Writing {
                mode: mode_of,
                directories: 0o750,
                ..SECRET
            };
            write(&path, b"", writing).unwrap();
            assert_eq!(mode(&path), want, "{mode_of:?}");
            assert_eq!(mode(path.parent().unwrap()), 0o750);
        };
        check("exactly", Mode::Exactly(0o666), 0o666);
        check("within", Mode::WithinUmask(0o600), 0o600);
        let plain = dir.path().join("plain");
        fs::write(&plain, "").unwrap();
        check("umask", Mode::WithinUmask(0o666), mode(&plain));
        let path = dir.path().join("within umask/file");
        write(&path, b"", Writing::within_umask()).unwrap();
        assert_eq!(mode(&path), mode(&plain));
        fs::create_dir(dir.path().join("directory")).unwrap();
        assert_eq!(mode(path.parent().unwrap()), mode(&dir.path().join("directory")));
    }

    #[test]
    fn a_link_in_place_of_the_file_or_the_unfinished_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("other"), "kept").unwrap();
        symlink(at("other"), at("file")).unwrap();
        symlink(at("other"), at(".file.new")).unwrap();
        write(&at("file"), b"new", SECRET).unwrap();
        assert_eq!(fs::read_to_string(at("other")).unwrap(), "kept");
        assert!(fs::symlink_metadata(at("file")).unwrap().is_file());
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, b"old", SECRET).unwrap();
        fs::create_dir(dir.path().join(".file.new")).unwrap();
        assert!(write(&path, b"new", SECRET).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(
            write(&path.join("below"), b"", SECRET).is_err(),
            "its parent is a file"
        );
        // A directory in the file's place: nothing unfinished stays beside it.
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write(&taken, b"new", SECRET).is_err());
        assert!(!dir.path().join(".taken.new").exists());
    }

    #[test]
    fn a_new_file_replaces_nothing_and_an_old_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        create(&path, b"one", SECRET).unwrap();
        assert_eq!(mode(&path), 0o600);
        let taken = create(&path, b"two", SECRET).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        rewrite(&path, b"three", Durability::PowerFailure).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"three".to_vec(), 0o640)
        );
        assert!(rewrite(&dir.path().join("none"), b"", Durability::Crash).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_has_the_given_modification_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let writing = Writing {
            modified: Some(at),
            ..SECRET
        };
        write(&path, b"x", writing).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), at);
    }

    #[test]
    fn removing_says_whether_there_was_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        assert!(remove_file(&path).unwrap());
        assert!(!remove_file(&path).unwrap());
        assert!(remove_file(dir.path()).is_err(), "a directory");
        remove_if_there(&path).unwrap();
        assert!(remove_if_there(dir.path()).is_err(), "a directory");
    }
}
