//! The numbers of containers' log files, from which restarts are counted on when the runtime has lost them.
//!
//! All directories are listed with everything else; a pod's directory is read when the pod is first seen and after work
//! on the pod: nothing else creates logs there.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use crate::model::pod::{PodName, PodUid};

/// The result of reading the log directories, by UID.
pub(super) type Numbers = BTreeMap<PodUid, BTreeMap<String, u32>>;

/// The largest number that this agent writes: the API counts restarts in 31 bits.
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

    /// Applies additions and removals. Returns whether anything changed.
    pub(super) fn list(&self, known: &mut Arc<Numbers>) -> io::Result<bool> {
        let (mut there, mut new) = (HashSet::new(), Vec::new());
        for entry in entries(&self.logs_dir)?.into_iter().flatten() {
            let entry = entry?;
            let Some(uid) = entry.file_name().to_str().and_then(owner) else {
                continue;
            };
            if !known.contains_key(&uid)
                && let Some(numbers) = of_pod(&entry.path())?
            {
                new.push((uid.clone(), numbers));
            }
            there.insert(uid);
        }
        if new.is_empty() && known.keys().all(|uid| there.contains(uid)) {
            return Ok(false);
        }
        let known = Arc::make_mut(known);
        known.retain(|uid, _| there.contains(uid));
        known.extend(new);
        Ok(true)
    }

    /// Reads those of one pod again. Returns whether anything changed.
    pub(super) fn read(&self, known: &mut Arc<Numbers>, name: &PodName, uid: &PodUid) -> io::Result<bool> {
        let directory = format!("{}_{}_{}", name.namespace, name.name, uid.0);
        let found = of_pod(&self.logs_dir.join(directory))?;
        if known.get(uid) == found.as_ref() {
            return Ok(false);
        }
        let known = Arc::make_mut(known);
        match found {
            Some(found) => known.insert(uid.clone(), found),
            None => known.remove(uid),
        };
        Ok(true)
    }
}

/// The log directories of pods. What has another form of name is somebody else's: a UID becomes part of the paths that are
/// removed when nobody knows it.
pub(super) fn directories(logs: &Path) -> io::Result<BTreeMap<PodUid, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in entries(logs)?.into_iter().flatten() {
        let entry = entry?;
        let uid = entry.file_name().to_str().and_then(owner).filter(is_plain);
        if let (Some(uid), true) = (uid, entry.file_type()?.is_dir()) {
            found.insert(uid, entry.path());
        }
    }
    Ok(found)
}

fn is_plain(uid: &PodUid) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !uid.0.is_empty() && uid.0.bytes().all(is_plain)
}

/// The pod whose logs a directory of that name holds: `<namespace>_<name>_<uid>`.
fn owner(directory: &str) -> Option<PodUid> {
    let uid = directory.splitn(3, '_').nth(2)?;
    Some(PodUid(uid.to_owned()))
}

/// Those in a pod's directory; none if it is gone.
fn of_pod(directory: &Path) -> io::Result<Option<BTreeMap<String, u32>>> {
    let Some(all) = entries(directory)? else {
        return Ok(None);
    };
    let mut numbers = BTreeMap::new();
    for entry in all {
        let entry = entry?;
        let Ok(container) = entry.file_name().into_string() else {
            continue;
        };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let mut next = 0;
        for log in entries(&entry.path())?.into_iter().flatten() {
            let log = log?;
            if !log.file_type()?.is_dir() {
                next = next.max(number(&log.file_name()).map_or(0, |number| number + 1));
            }
        }
        if next > 0 {
            numbers.insert(container, next);
        }
    }
    Ok(Some(numbers))
}

/// The number in `<number>.log` and in the rotated `<number>.log.<time>`.
fn number(file: &OsStr) -> Option<u32> {
    let (number, rest) = file.to_str()?.split_once(".log")?;
    let is_log = rest.is_empty() || rest.starts_with('.');
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_log && is_number)?;
    (number <= LARGEST).then_some(number)
}

/// The entries of a directory; none if it is gone.
fn entries(directory: &Path) -> io::Result<Option<fs::ReadDir>> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_pods_are_theirs() {
        let logs = tempfile::tempdir().unwrap();
        for name in [
            "ns_web_0f-1",
            "ns_web_",
            "ns_web_..",
            "ns_web_a_b",
            "ns_web",
            "ns_web_a.b",
        ] {
            fs::create_dir(logs.path().join(name)).unwrap();
        }
        fs::write(logs.path().join("ns_file_2"), "").unwrap();
        let found = directories(logs.path()).unwrap();
        let expected = (PodUid("0f-1".to_owned()), logs.path().join("ns_web_0f-1"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [expected]);
        assert!(directories(&logs.path().join("missing")).unwrap().is_empty());
    }

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
            assert!(numbers.list(&mut known).unwrap());
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
    fn a_directory_is_read_when_it_is_first_seen_and_when_its_pod_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("default_web_u1/c");
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(root.path().join("no-pod")).unwrap();
        let numbers = LogNumbers::new(root.path().to_owned());
        let mut known = Arc::default();
        let (name, uid) = (PodName::new("default", "web"), PodUid("u1".to_owned()));
        let mut check = |asked: Option<&PodUid>, is_new: bool, expected: Option<&[(&str, u32)]>| {
            let changed = match asked {
                Some(uid) => numbers.read(&mut known, &name, uid),
                None => numbers.list(&mut known),
            };
            assert_eq!(changed.unwrap(), is_new, "{asked:?}");
            let expected = expected.map(|all| all.iter().map(|(c, n)| ((*c).to_owned(), *n)).collect());
            assert_eq!(known.get(&uid), expected.as_ref(), "{asked:?}");
        };
        let other = PodUid("u2".to_owned());
        check(None, true, Some(&[]));
        fs::write(dir.join("0.log"), "").unwrap();
        check(None, false, Some(&[]));
        check(Some(&other), false, Some(&[]));
        check(Some(&uid), true, Some(&[("c", 1)]));
        check(Some(&uid), false, Some(&[("c", 1)]));
        fs::remove_dir_all(root.path().join("default_web_u1")).unwrap();
        check(Some(&other), false, Some(&[("c", 1)]));
        check(Some(&uid), true, None);
        fs::create_dir_all(&dir).unwrap();
        check(None, true, Some(&[]));
        fs::remove_dir_all(root.path()).unwrap();
        check(None, true, None);
        check(None, false, None);
    }
}
