//! The numbers of containers' logs, by which their restarts are counted on when the runtime has lost them.
//!
//! All directories are read once, and that of a pod anew when the pod is asked for: nobody else makes logs there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::model::pod::{PodName, PodUid};

/// What follows from the log directories, by UID.
pub(super) type Numbers = BTreeMap<PodUid, BTreeMap<String, u32>>;

/// The largest number that is one of ours: restarts are counted in 31 bits by the API.
const LARGEST: u32 = (1 << 31) - 2;

/// The directories of pods' logs.
pub(super) struct LogNumbers {
    logs_dir: PathBuf,
}

impl LogNumbers {
    /// Those beneath a directory (`/var/log/pods`).
    pub(super) fn new(logs_dir: PathBuf) -> LogNumbers {
        LogNumbers { logs_dir }
    }

    /// Brings what is known up to date: what is new, what is gone, and what there is of these pods. Whether anything is
    /// different.
    pub(super) fn update(
        &self,
        known: &mut Arc<Numbers>,
        asked: &dyn Fn(&PodName) -> bool,
    ) -> io::Result<bool> {
        let mut found = Numbers::new();
        for entry in entries(&self.logs_dir)? {
            let entry = entry?;
            let Some((name, uid)) = entry.file_name().to_str().and_then(owner) else {
                continue;
            };
            let numbers = match known.get(&uid).filter(|_| !asked(&name)) {
                Some(numbers) => numbers.clone(),
                None => of_pod(&entry.path())?,
            };
            found.insert(uid, numbers);
        }
        let changed = **known != found;
        if changed {
            *known = Arc::new(found);
        }
        Ok(changed)
    }
}

/// Whose logs a directory of that name has: `<namespace>_<name>_<uid>`.
fn owner(directory: &str) -> Option<(PodName, PodUid)> {
    let mut parts = directory.splitn(3, '_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    Some((PodName::new(namespace, name), PodUid(uid.to_owned())))
}

fn of_pod(directory: &Path) -> io::Result<BTreeMap<String, u32>> {
    let mut numbers = BTreeMap::new();
    for entry in entries(directory)? {
        let entry = entry?;
        let Ok(container) = entry.file_name().into_string() else {
            continue;
        };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let mut next = 0;
        for log in entries(&entry.path())? {
            let log = log?;
            if !log.file_type()?.is_dir() {
                next = next.max(number(&log.file_name()).map_or(0, |number| number + 1));
            }
        }
        if next > 0 {
            numbers.insert(container, next);
        }
    }
    Ok(numbers)
}

/// The number in `<number>.log` and in what rotation makes of it, `<number>.log.<time>`.
fn number(file: &OsStr) -> Option<u32> {
    let (number, rest) = file.to_str()?.split_once(".log")?;
    let is_log = rest.is_empty() || rest.starts_with('.');
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_log && is_number)?;
    (number <= LARGEST).then_some(number)
}

/// What is in a directory; nothing where it is gone.
fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>> + use<>> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_is_one_more_than_the_highest() {
        let check = |files: &[&str], expected: Option<u32>| {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("default_web_u1/c");
            fs::create_dir_all(&dir).unwrap();
            for file in files {
                match file.strip_suffix('/') {
                    Some(name) => fs::create_dir(dir.join(name)).unwrap(),
                    None => fs::write(dir.join(file), "").unwrap(),
                }
            }
            let mut known = Arc::default();
            let numbers = LogNumbers::new(root.path().to_owned());
            let changed = numbers.update(&mut known, &|_| false).unwrap();
            assert!(changed);
            let of_pod = &known[&PodUid("u1".to_owned())];
            assert_eq!(of_pod.get("c").copied(), expected, "{files:?}");
        };
        check(&[], None);
        check(&["0.log"], Some(1));
        check(&["0.log", "10.log", "9.log"], Some(11));
        check(&["3.log.20261121-001122.gz", "2.log"], Some(4));
        let strange = [
            "x.log",
            "1.logs",
            "2.txt",
            "-3.log",
            "+4.log",
            "5.log/",
            ".log",
            "99999999999.log",
        ];
        check(&strange, None);
        check(&["2147483646.log"], Some(2_147_483_647));
        check(&["2147483647.log", "0.log"], Some(1));
    }

    #[test]
    fn a_directory_is_read_again_when_its_pod_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("default_web_u1/c");
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(root.path().join("no-pod")).unwrap();
        let numbers = LogNumbers::new(root.path().to_owned());
        let mut known = Arc::default();
        let mut check = |asked: &str, expected: Option<&[(&str, u32)]>| {
            let asked = PodName::new("default", asked);
            numbers.update(&mut known, &|name| *name == asked).unwrap();
            let found = known.get(&PodUid("u1".to_owned()));
            let expected = expected.map(|all| all.iter().map(|(c, n)| ((*c).to_owned(), *n)).collect());
            assert_eq!(found, expected.as_ref());
        };
        check("", Some(&[]));
        fs::write(dir.join("0.log"), "").unwrap();
        check("other", Some(&[]));
        check("web", Some(&[("c", 1)]));
        fs::remove_dir_all(root.path().join("default_web_u1")).unwrap();
        check("other", None);
        fs::remove_dir_all(root.path()).unwrap();
        check("", None);
    }
}
