//! Volume files that change all at once, laid out like the kubelet's atomic writer does
//! (`pkg/volume/util/atomic_writer.go`), so that either can take over the other's volumes:
//!
//! ```text
//! <volume>/..2026_11_25_17_00_00.123456789/a/b   the files
//! <volume>/..data -> ..2026_11_25_17_00_00.123456789
//! <volume>/a      -> ..data/a                     what people see
//! ```
//!
//! The change takes effect with the one `rename` that moves `..data`. After an interruption at any point, writing again
//! leads to the same state. Containers have the volume read-only, so its content is the agent's own.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::disk::tree::{self, Mounts};
use crate::disk::write::remove_if_there;
use crate::model::object::Payload;

/// The link to the current files.
const DATA: &str = "..data";
/// The next link, until it is renamed.
const NEXT: &str = "..data_tmp";
/// Directories can be listed by all users, independent of the umask.
const DIR_MODE: u32 = 0o755;
/// The group's permissions for files and directories that it owns (`changeFilePermission` of a read-only volume).
const GROUP_FILE: u32 = 0o440;
const GROUP_DIR: u32 = 0o2550;

/// Makes these files the volume's only ones.
pub(super) fn write(dir: &Path, files: &Payload, group: Option<u32>) -> io::Result<()> {
    write_watched(dir, files, group, &mut || Ok(()))
}

/// Like [`write`], with a callback after each operation, which may abort it.
fn write_watched(
    dir: &Path,
    files: &Payload,
    group: Option<u32>,
    look: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let current = current(dir)?;
    let current = match current {
        Some(name) if is_as_wanted(&dir.join(&name), files, group)? => name,
        _ => {
            let fresh = make_directory(dir)?;
            look()?;
            fill(&dir.join(&fresh), files, group, look)?;
            remove_if_there(&dir.join(NEXT))?;
            symlink(&fresh, dir.join(NEXT))?;
            own(&dir.join(NEXT), group)?;
            look()?;
            fs::rename(dir.join(NEXT), dir.join(DATA))?;
            look()?;
            fresh
        }
    };
    show(dir, files, group, look)?;
    remove_others(dir, &current, files, look)
}

/// The directory that `..data` points to, if this agent created it.
fn current(dir: &Path) -> io::Result<Option<OsString>> {
    match fs::read_link(dir.join(DATA)) {
        Ok(target) => {
            let name = target.into_os_string();
            Ok(is_hidden(&name).then_some(name))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name reserved for the agent: no key of an object starts like it.
fn is_hidden(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.len() > 2 && bytes.starts_with(b"..") && !bytes.contains(&b'/')
}

/// Whether a directory has exactly these files.
fn is_as_wanted(dir: &Path, files: &Payload, group: Option<u32>) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    if !list(dir, &mut PathBuf::new(), &mut found)? || found.len() != files.0.len() {
        return Ok(false);
    }
    for (path, file) in &files.0 {
        if !found.contains(Path::new(path)) {
            return Ok(false);
        }
        let full = dir.join(path);
        let metadata = fs::symlink_metadata(&full)?;
        let right = metadata.mode() & 0o7777 == file_mode(file.mode, group)
            && group.is_none_or(|group| metadata.gid() == group)
            && file.owner.is_none_or(|owner| metadata.uid() == owner)
            && metadata.len() == u64::try_from(file.content.0.len()).unwrap_or(u64::MAX);
        if !right || fs::read(&full)? != *file.content.0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Collects the files below a directory; false if it is not a directory, or contains something else.
fn list(root: &Path, below: &mut PathBuf, found: &mut BTreeSet<PathBuf>) -> io::Result<bool> {
    let entries = match fs::read_dir(root.join(&*below)) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        below.push(entry.file_name());
        let right = if kind.is_dir() {
            list(root, below, found)?
        } else {
            found.insert(below.clone());
            kind.is_file()
        };
        below.pop();
        if !right {
            return Ok(false);
        }
    }
    Ok(true)
}

fn file_mode(mode: u32, group: Option<u32>) -> u32 {
    match group {
        Some(_) => mode | GROUP_FILE,
        None => mode,
    }
}

/// Creates a directory for the new files, named by the time.
fn make_directory(dir: &Path) -> io::Result<OsString> {
    loop {
        let now = Timestamp::now();
        let name = format!(
            "..{}.{}",
            now.strftime("%Y_%m_%d_%H_%M_%S"),
            now.subsec_nanosecond()
        );
        match DirBuilder::new().mode(DIR_MODE).create(dir.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| name.into()),
        }
    }
}

fn fill(
    dir: &Path,
    files: &Payload,
    group: Option<u32>,
    look: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    finish_directory(dir, group)?;
    for (path, file) in &files.0 {
        let path = Path::new(path);
        for parent in parents(path) {
            match DirBuilder::new().mode(DIR_MODE).create(dir.join(parent)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => finish_directory(&dir.join(parent), group)?,
            }
        }
        let full = dir.join(path);
        let mut new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&full)?;
        new.write_all(&file.content.0)?;
        if file.owner.is_some() || group.is_some() {
            lchown(&full, file.owner, group)?;
        }
        new.set_permissions(Permissions::from_mode(file_mode(file.mode, group)))?;
        look()?;
    }
    Ok(())
}

/// The parent directories of a relative path, the outermost first.
fn parents(path: &Path) -> Vec<&Path> {
    let mut all: Vec<&Path> = path.ancestors().skip(1).collect();
    all.retain(|parent| !parent.as_os_str().is_empty());
    all.reverse();
    all
}

fn finish_directory(path: &Path, group: Option<u32>) -> io::Result<()> {
    own(path, group)?;
    let mode = group.map_or(DIR_MODE, |_| DIR_MODE | GROUP_DIR);
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn own(path: &Path, group: Option<u32>) -> io::Result<()> {
    match group {
        Some(_) => lchown(path, None, group),
        None => Ok(()),
    }
}

/// The visible names: the first component of each file's path.
fn visible(files: &Payload) -> BTreeSet<&OsStr> {
    let first = |path| Path::new(path).iter().next();
    files.0.keys().filter_map(first).collect()
}

/// Creates the visible links.
fn show(
    dir: &Path,
    files: &Payload,
    group: Option<u32>,
    look: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    for name in visible(files) {
        let link = dir.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            continue;
        }
        remove_if_there(&link)?;
        symlink(&target, &link)?;
        own(&link, group)?;
        look()?;
    }
    Ok(())
}

/// Removes files that must no longer be visible, and leftovers of an earlier change.
fn remove_others(
    dir: &Path,
    current: &OsStr,
    files: &Payload,
    look: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let visible = visible(files);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == DATA || name == current || visible.contains(name.as_os_str()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            tree::remove(&entry.path(), Mounts::Emptied)?;
        } else {
            remove_if_there(&entry.path())?;
        }
        look()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::object::ProjectedFile;

    fn payload(files: &[(&str, u32, &str)]) -> Payload {
        let file = |(path, mode, text): &(&str, u32, &str)| {
            let content = (*text).into();
            ((*path).to_owned(), ProjectedFile::of_root(*mode, content))
        };
        Payload(files.iter().map(file).collect())
    }

    /// The visible files below a directory: paths with texts.
    fn seen(dir: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeSet::new();
        assert!(list(dir, &mut PathBuf::new(), &mut found).unwrap());
        let text = |path: &PathBuf| fs::read_to_string(dir.join(path)).unwrap();
        found
            .iter()
            .map(|path| (path.display().to_string(), text(path)))
            .collect()
    }

    fn wanted(files: &Payload) -> BTreeMap<String, String> {
        files
            .0
            .iter()
            .map(|(path, file)| (path.clone(), file.content.text()))
            .collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_layout_is_the_kubelets() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(
            dir,
            &payload(&[("d/a", 0o644, "1"), ("file.txt", 0o400, "hello\n")]),
            None,
        )
        .unwrap();
        let current = fs::read_link(dir.join(DATA))
            .unwrap()
            .into_os_string()
            .into_string()
            .unwrap();
        let digits =
            |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
        let (date, rest) = current.strip_prefix("..").unwrap().split_once('.').unwrap();
        let parts: Vec<_> = date.split('_').collect();
        assert!(
            parts.len() == 6 && digits(parts[0], 4) && parts[1..].iter().all(|p| digits(p, 2)),
            "{current}"
        );
        assert!(rest.bytes().all(|b| b.is_ascii_digit()), "{current}");
        assert_eq!(names(dir), [current.as_str(), "..data", "d", "file.txt"]);
        assert_eq!(fs::read_link(dir.join("d")).unwrap(), Path::new("..data/d"));
        assert_eq!(
            fs::read_link(dir.join("file.txt")).unwrap(),
            Path::new("..data/file.txt")
        );
        let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().mode() & 0o7777;
        assert_eq!(
            [mode("d"), mode("d/a"), mode("file.txt"), mode(DATA)],
            [0o755, 0o644, 0o400, 0o755]
        );
    }

    #[test]
    fn the_same_is_not_written_again_and_another_mode_is() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let current = || fs::read_link(dir.join(DATA)).unwrap();
        write(dir, &payload(&[("a", 0o644, "1")]), None).unwrap();
        let first = current();
        write(dir, &payload(&[("a", 0o644, "1")]), None).unwrap();
        assert_eq!(current(), first);
        write(dir, &payload(&[("a", 0o640, "1")]), None).unwrap();
        assert_ne!(current(), first);
        // Outside damage is repaired.
        fs::remove_file(dir.join("a")).unwrap();
        fs::write(dir.join("a"), "other").unwrap();
        fs::write(dir.join(current()).join("b"), "stray").unwrap();
        write(dir, &payload(&[("a", 0o640, "1")]), None).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(names(dir).len(), 3);
        write(dir, &Payload::default(), None).unwrap();
        assert_eq!(names(dir).len(), 2, "{:?}", names(dir));
    }

    #[test]
    fn the_group_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let own = fs::metadata(dir.path()).unwrap().gid();
        write(dir.path(), &payload(&[("d/a", 0o400, "1")]), Some(own)).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().mode() & 0o7777;
        assert_eq!([mode("d/a"), mode("d"), mode(DATA)], [0o440, 0o2755, 0o2755]);
        assert_eq!(fs::metadata(dir.path().join("d/a")).unwrap().gid(), own);
    }

    fn any_payload() -> impl Strategy<Value = Payload> {
        let path = prop::sample::select(vec!["a", "b", "c", "d/a", "d/b", "d/e/a", "f/a"]);
        prop::collection::btree_map(path, "[a-z]{0,3}", 0..6).prop_map(|files| {
            let files: Vec<_> = files
                .iter()
                .map(|(path, text)| (*path, 0o644, text.as_str()))
                .collect();
            payload(&files)
        })
    }

    proptest! {
        /// If it is interrupted at any point, either all old or all new files are visible; after another write the new
        /// ones are, and nothing else is left.
        #[test]
        fn a_half_is_never_seen_and_the_end_is_reached(
            changes in prop::collection::vec((any_payload(), 0..20_usize), 1..6),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            let mut before: Option<BTreeMap<String, String>> = None;
            for (files, ends_after) in changes {
                let new = wanted(&files);
                let mut left = ends_after;
                let mut check = || {
                    if let Ok(target) = fs::read_link(dir.join(DATA)) {
                        let now = seen(&dir.join(target));
                        assert!(Some(&now) == before.as_ref() || now == new, "{now:?}");
                        for name in names(dir).iter().filter(|name| !name.starts_with("..")) {
                            assert_eq!(fs::read_link(dir.join(name)).unwrap(), Path::new(DATA).join(name));
                        }
                    } else {
                        assert!(before.is_none());
                    }
                    left = left.checked_sub(1).ok_or_else(|| io::Error::other("killed"))?;
                    Ok(())
                };
                if write_watched(dir, &files, None, &mut check).is_err() {
                    if let Some(target) = current(dir).unwrap() {
                        before = Some(seen(&dir.join(target)));
                    }
                    continue;
                }
                before = Some(new);
            }
            let last = payload(&[("z", 0o600, "end")]);
            write(dir, &last, None).unwrap();
            let target = current(dir).unwrap().unwrap().into_string().unwrap();
            prop_assert_eq!(names(dir), [target.as_str(), DATA, "z"]);
            prop_assert_eq!(seen(&dir.join(DATA)), wanted(&last));
        }
    }
}
