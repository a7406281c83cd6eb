//! The machine's lists of projects of file systems: `/etc/projects` has a directory for each ID (`ID:PATH`), `/etc/projid` a
//! name (`NAME:ID`), as `xfs_quota(8)` and the kubelet (`pkg/volume/util/fsquota`) read and write them. Whoever gives a
//! directory an ID writes it there, so that no other program takes the same. Pure: the caller reads and writes the files.
//!
//! Lines of others stay as they are, byte for byte, also those that nobody can read.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The lowest ID that is given to a volume (`FirstQuota`).
pub const FIRST: u32 = 1_048_577;

/// The contents of both files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Projects {
    /// Of `/etc/projects`.
    pub directories: Vec<u8>,
    /// Of `/etc/projid`.
    pub names: Vec<u8>,
}

impl Projects {
    /// The ID of a directory.
    pub fn of(&self, directory: &Path) -> Option<u32> {
        let mut lines = lines(&self.directories).filter_map(directory_of);
        lines.find(|(_, path)| *path == directory).map(|(id, _)| id)
    }

    /// The IDs for volumes that neither file has, in ascending order.
    pub fn free(&self) -> impl Iterator<Item = u32> + use<> {
        let directories = lines(&self.directories)
            .filter_map(directory_of)
            .map(|(id, _)| id);
        let taken: BTreeSet<u32> = directories
            .chain(lines(&self.names).filter_map(name_of))
            .collect();
        (FIRST..=u32::MAX).filter(move |id| !taken.contains(id))
    }

    /// Adds a directory with an ID that is free. A path that would not be one line is refused.
    #[must_use]
    pub fn add(&mut self, directory: &Path, id: u32) -> bool {
        let path = directory.as_os_str().as_bytes();
        if path.contains(&b'\n') {
            return false;
        }
        append(
            &mut self.directories,
            &[format!("{id}:").as_bytes(), path].concat(),
        );
        append(&mut self.names, name(id).as_bytes());
        true
    }

    /// Removes the directories of volumes for which this holds, and the names of IDs that no directory has any more.
    /// Returns whether there were any.
    pub fn remove(&mut self, is_gone: impl Fn(&Path) -> bool) -> bool {
        let mut removed = BTreeSet::new();
        let mut left = BTreeSet::new();
        self.directories = lines(&self.directories)
            .filter(|line| match directory_of(line) {
                Some((id, path)) if id >= FIRST && is_gone(path) => {
                    removed.insert(id);
                    false
                }
                Some((id, _)) => {
                    left.insert(id);
                    true
                }
                None => true,
            })
            .collect::<Vec<_>>()
            .concat();
        let names: Vec<String> = removed.difference(&left).map(|id| name(*id)).collect();
        let is_ours = |line: &[u8]| names.iter().any(|name| name.as_bytes() == trimmed(line));
        self.names = lines(&self.names)
            .filter(|line| !is_ours(line))
            .collect::<Vec<_>>()
            .concat();
        !removed.is_empty()
    }
}

/// The kubelet's name for a project.
fn name(id: u32) -> String {
    format!("volume{id}:{id}")
}

fn append(file: &mut Vec<u8>, line: &[u8]) {
    if file.last().is_some_and(|last| *last != b'\n') {
        file.push(b'\n');
    }
    file.extend_from_slice(line);
    file.push(b'\n');
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == b'\n')
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// `ID:PATH`
fn directory_of(line: &[u8]) -> Option<(u32, &Path)> {
    let line = trimmed(line);
    let colon = line.iter().position(|byte| *byte == b':')?;
    let path = Path::new(OsStr::from_bytes(&line[colon + 1..]));
    Some((number(&line[..colon])?, path))
}

/// The ID of `NAME:ID`.
fn name_of(line: &[u8]) -> Option<u32> {
    let line = trimmed(line);
    let colon = line.iter().position(|byte| *byte == b':')?;
    match line.first() {
        Some(b'#') => None,
        _ => number(&line[colon + 1..]),
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn projects(directories: &str, names: &str) -> Projects {
        Projects {
            directories: directories.into(),
            names: names.into(),
        }
    }

    #[test]
    fn a_volume_gets_the_first_id_that_neither_file_has() {
        let mut files = projects(
            "1048577:/a\n# 1048578:/b\nbroken\n1048579:/c:d",
            "volume1048577:1048577\nx:1048580\n#y:1048581\n",
        );
        assert_eq!(
            files.free().take(3).collect::<Vec<_>>(),
            [1_048_578, 1_048_581, 1_048_582]
        );
        assert_eq!(files.of(Path::new("/c:d")), Some(1_048_579));
        assert_eq!(files.of(Path::new("/b")), None);
        assert!(files.add(Path::new("/v"), 1_048_578));
        assert_eq!(files.of(Path::new("/v")), Some(1_048_578));
        let expected = projects(
            "1048577:/a\n# 1048578:/b\nbroken\n1048579:/c:d\n1048578:/v\n",
            "volume1048577:1048577\nx:1048580\n#y:1048581\nvolume1048578:1048578\n",
        );
        assert_eq!(files, expected);
        assert!(!files.add(Path::new("/v\n1:/"), 1_048_582));
        assert_eq!(files, expected);
    }

    #[test]
    fn what_is_gone_is_removed_with_its_name_and_nothing_else() {
        let mut files = projects(
            "1048577:/pods/a\n7:/pods/a\n1048578:/pods/b\n1048577:/other\n1048579:/pods/c\n",
            "volume1048577:1048577\nvolume1048578:1048578\nmine:1048579\nvolume1048579:1048579\nvolume9:9\n",
        );
        assert!(files.remove(|path| path.starts_with("/pods")));
        let expected = projects(
            "7:/pods/a\n1048577:/other\n",
            "volume1048577:1048577\nmine:1048579\nvolume9:9\n",
        );
        assert_eq!(files, expected);
        assert!(!files.remove(|path| path.starts_with("/pods")));
        assert_eq!(files, expected);
    }

    /// Lines as others may have written them, the last perhaps without its end.
    fn foreign() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            "[0-9]{1,8}:/[a-z/:]{0,6}",
            "[a-z#]{0,5}:?[0-9]{0,8}",
            "(volume)?10485(77|78):(/x|10485(77|79))",
        ];
        let text = (proptest::collection::vec(line, 0..6), any::<bool>());
        text.prop_map(|(lines, is_ended)| {
            let text = lines.join("\n");
            match is_ended && !text.is_empty() {
                true => format!("{text}\n").into_bytes(),
                false => text.into_bytes(),
            }
        })
    }

    proptest! {
        #[test]
        fn volumes_that_came_and_went_leave_the_lines_of_others_as_they_were(
            directories in foreign(),
            names in foreign(),
            volumes in 0_usize..5,
        ) {
            let before = Projects { directories, names };
            let mut files = before.clone();
            let mut ids = BTreeSet::new();
            for number in 0..volumes {
                let id = files.free().next().unwrap();
                prop_assert!(ids.insert(id) && id >= FIRST);
                let volume = format!("/pods/{number}");
                prop_assert!(files.add(Path::new(&volume), id));
            }
            prop_assert_eq!(files.remove(|path| path.starts_with("/pods")), volumes > 0);
            let ended = |file: &[u8]| match file.last() {
                Some(last) if *last != b'\n' && volumes > 0 => [file, b"\n"].concat(),
                _ => file.to_vec(),
            };
            prop_assert_eq!(files.directories, ended(&before.directories));
            prop_assert_eq!(files.names, ended(&before.names));
        }

        #[test]
        fn no_content_is_a_fault(directories: Vec<u8>, names: Vec<u8>) {
            let mut files = Projects { directories, names };
            prop_assert!(files.free().next().is_some());
            let _ = files.remove(|_| true);
            prop_assert!(lines(&files.directories).filter_map(directory_of).all(|(id, _)| id < FIRST));
        }
    }
}
