//! The records of allocated addresses: one file per address, in the layout of the Go plugin (plugins/ipam/host-local
//! backend/disk), so that both can use one directory, even at the same time:
//!
//! ```text
//! <dataDir>/<network>/lock                 taken with flock(2) around every look and change
//!                    /10.244.1.7           "<container id>\r\n<interface>"
//!                    /last_reserved_ip.0   the address given last out of range set 0
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of a record before it is linked into place, and of the one that was released last, which the next ADD takes:
/// a file system that has just lost files looks for a new one longer than the rest of an ADD takes (ext4 keeps off inodes
/// that were freed in the last minutes). Not an address, so no plugin takes it for one.
const NEW_RECORD: &str = ".new";
/// A container's name and an interface's take much less.
const LONGEST_RECORD: usize = 1024;

/// Why the records could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// The records, locked for as long as this value lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Closing it releases the lock.
    _lock: File,
}

/// The attachment that an address is allocated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The container.
    pub container_id: String,
    /// The interface; `None` in records of very old versions of the Go plugin.
    pub ifname: Option<String>,
}

impl Owner {
    /// Whether the record belongs to this attachment. A record without an interface belongs to all attachments of the
    /// container.
    pub fn is(&self, container_id: &str, ifname: &str) -> bool {
        self.container_id == container_id && self.ifname.as_deref().is_none_or(|own| own == ifname)
    }

    /// Whether the record belongs to one of these, a container and its interface.
    pub fn is_one_of(&self, attachments: &BTreeSet<(&str, &str)>) -> bool {
        let container = self.container_id.as_str();
        match self.ifname.as_deref() {
            Some(ifname) => attachments.contains(&(container, ifname)),
            None => attachments
                .range((container, "")..)
                .next()
                .is_some_and(|(other, _)| *other == container),
        }
    }
}

impl Store {
    /// Opens and locks the records in `dir`, creating the directory if needed.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(at("create directory", dir))?;
        let path = dir.join("lock");
        // The lock is also taken to remove the directory: a lock on a file that has been unlinked meanwhile is void.
        loop {
            let lock = OpenOptions::new()
                .read(true)
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path);
            let lock = match lock {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(dir).map_err(at("create directory", dir))?;
                    continue;
                }
                other => other.map_err(at("open", &path))?,
            };
            lock.lock().map_err(at("lock", &path))?;
            if is_same_file(&lock, &path) {
                return Ok(Store {
                    dir: dir.to_path_buf(),
                    _lock: lock,
                });
            }
        }
    }

    /// Like [`Store::open`], but returns `None` without records and creates nothing.
    pub fn open_existing(dir: &Path) -> Result<Option<Self>, StoreError> {
        if dir.is_dir() {
            Self::open(dir).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether an address has a record, whatever it holds. The next address nearly always has none: to list the records would
    /// take longer than anything else an ADD does on a full node.
    pub fn is_recorded(&self, address: IpAddr) -> bool {
        fs::symlink_metadata(self.dir.join(address.to_string())).is_ok()
    }

    /// All allocated addresses and their owners. Leftover files are removed.
    pub fn owners(&self) -> Result<BTreeMap<IpAddr, Owner>, StoreError> {
        let mut owners = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).map_err(at("list", &self.dir))? {
            let entry = entry.map_err(at("list", &self.dir))?;
            let Some(address) = entry.file_name().to_str().and_then(address_of) else {
                continue;
            };
            let text = read_beginning(&entry.path()).map_err(at("read", &entry.path()))?;
            let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
            if text.is_empty() {
                // Left by a plugin that was killed, or by a power failure, which may leave zeros: this process holds the
                // lock, so nothing is writing it.
                fs::remove_file(entry.path()).map_err(at("remove", &entry.path()))?;
                continue;
            }
            let mut lines = text.lines();
            let container_id = lines.next().unwrap_or_default().to_string();
            owners.insert(
                address,
                Owner {
                    container_id,
                    ifname: lines.next().map(str::to_string),
                },
            );
        }
        Ok(owners)
    }

    /// The address allocated last from range set `set`. An unreadable record counts as none: the search then starts
    /// from the beginning.
    pub fn last(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.last_file(set)).ok()?.trim().parse().ok()
    }

    /// Records `address` as allocated from range set `set`; returns false if it is already allocated.
    pub fn reserve(
        &self,
        address: IpAddr,
        container_id: &str,
        ifname: &str,
        set: usize,
    ) -> Result<bool, StoreError> {
        let (record, last) = (self.spare()?, self.last_file(set));
        write(&record, &format!("{container_id}\r\n{ifname}"))?;
        write(&last, &address.to_string())?;
        // The record appears together with its text or not at all: one without text would have no owner and stay for
        // ever.
        let path = self.dir.join(address.to_string());
        let linked = fs::hard_link(&record, &path);
        fs::remove_file(&record).map_err(at("remove", &record))?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|()| true).map_err(at("create", &path)),
        }
    }

    /// Releases `address`. An address that is free already is not an error.
    pub fn release(&self, address: IpAddr) -> Result<(), StoreError> {
        let path = self.dir.join(address.to_string());
        match fs::rename(&path, self.spare()?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes all records and the directory.
    pub fn remove(self) -> Result<(), StoreError> {
        fs::remove_dir_all(&self.dir).map_err(at("remove", &self.dir))
    }

    /// The record that is nobody's. A plugin that was killed may have linked it into place already: then it is somebody's,
    /// and must not be written, and a renaming of one of its names to the other would do nothing (man 2 rename).
    fn spare(&self) -> Result<PathBuf, StoreError> {
        let path = self.dir.join(NEW_RECORD);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.nlink() > 1) {
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
        Ok(path)
    }

    fn last_file(&self, set: usize) -> PathBuf {
        self.dir.join(format!("last_reserved_ip.{set}"))
    }
}

/// The address that a record of this name is of; another way to write it is no record's name.
fn address_of(name: &str) -> Option<IpAddr> {
    let address: IpAddr = name.parse().ok()?;
    (address.to_string() == name).then_some(address)
}

/// The text of a record; whatever else it holds makes it nobody's, and no error. Read at once: there may be hundreds.
fn read_beginning(path: &Path) -> io::Result<String> {
    let mut bytes = [0; LONGEST_RECORD];
    let length = File::open(path)?.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned())
}

/// Writes a file. What was longer before is cut afterwards: a file that was cut to nothing some file systems write to the
/// disk at once (`auto_da_alloc` of ext4), for which an ADD would wait.
fn write(path: &Path, text: &str) -> Result<(), StoreError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let length = text.len() as u64;
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if file.metadata()?.len() > length {
            file.set_len(length)?;
        }
        Ok(())
    })
    .map_err(at("write", path))
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError {
        action,
        path: path.to_path_buf(),
        error,
    }
}

fn is_same_file(open: &File, path: &Path) -> bool {
    let named = fs::metadata(path);
    matches!((open.metadata(), named), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(written: &str) -> IpAddr {
        written.parse().unwrap()
    }

    #[test]
    fn the_files_are_those_of_the_go_plugin() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("net");
        let store = Store::open(&dir).unwrap();
        assert!(store.reserve(ip("10.1.0.2"), "c1", "eth0", 0).unwrap());
        assert_eq!(fs::read_to_string(dir.join("10.1.0.2")).unwrap(), "c1\r\neth0");
        assert_eq!(
            fs::read_to_string(dir.join("last_reserved_ip.0")).unwrap(),
            "10.1.0.2"
        );
        assert!(!store.reserve(ip("10.1.0.2"), "c2", "eth0", 0).unwrap());
        assert_eq!(store.last(0), Some(ip("10.1.0.2")));
        assert_eq!(store.last(1), None);
        assert_eq!(store.owners().unwrap().len(), 1);
        assert!(!dir.join(NEW_RECORD).exists());
        store.release(ip("10.1.0.2")).unwrap();
        assert!(store.reserve(ip("10.1.0.3"), "c", "e", 0).unwrap());
        assert_eq!(fs::read_to_string(dir.join("10.1.0.3")).unwrap(), "c\r\ne");
        store.release(ip("10.1.0.3")).unwrap();
        store.release(ip("10.1.0.2")).unwrap();
        assert!(store.owners().unwrap().is_empty());
    }

    #[test]
    fn records_without_an_interface_belong_to_the_container() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10.1.0.9"), "old").unwrap();
        let owners = Store::open(dir.path()).unwrap().owners().unwrap();
        assert!(owners[&ip("10.1.0.9")].is("old", "eth7"));
        assert!(!owners[&ip("10.1.0.9")].is("other", "eth7"));
        assert!(owners[&ip("10.1.0.9")].is_one_of(&[("ola", "eth0"), ("old", "eth7")].into()));
        assert!(!owners[&ip("10.1.0.9")].is_one_of(&[("ola", "eth0"), ("older", "eth7")].into()));
    }

    #[test]
    fn a_record_without_an_owner_is_debris() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10.1.0.2"), "").unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(store.owners().unwrap().is_empty());
        assert!(store.reserve(ip("10.1.0.2"), "c", "eth0", 0).unwrap());
    }

    #[test]
    fn a_broken_record_is_nobody_s_and_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("10.1.0.2"), [0; 20]).unwrap();
        fs::write(dir.path().join("10.1.0.3"), [0xff, 0xfe]).unwrap();
        fs::write(dir.path().join("FD00::1"), "c").unwrap();
        let store = Store::open(dir.path()).unwrap();
        let owners = store.owners().unwrap();
        assert_eq!(owners.keys().collect::<Vec<_>>(), [&ip("10.1.0.3")]);
        assert!(!owners[&ip("10.1.0.3")].is_one_of(&[("c", "eth0")].into()));
    }

    #[test]
    fn a_record_that_was_linked_and_not_finished_is_neither_overwritten_nor_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let killed_in_between = |address: &str| {
            fs::hard_link(dir.path().join(address), dir.path().join(NEW_RECORD)).unwrap();
        };
        assert!(store.reserve(ip("10.1.0.2"), "c1", "eth0", 0).unwrap());
        killed_in_between("10.1.0.2");
        assert!(store.reserve(ip("10.1.0.3"), "c2", "eth0", 0).unwrap());
        assert!(store.owners().unwrap()[&ip("10.1.0.2")].is("c1", "eth0"));
        killed_in_between("10.1.0.2");
        store.release(ip("10.1.0.2")).unwrap();
        assert_eq!(
            store.owners().unwrap().into_keys().collect::<Vec<_>>(),
            [ip("10.1.0.3")]
        );
    }

    #[test]
    fn the_lock_excludes_others_and_outlives_a_removal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net");
        let store = Store::open(&path).unwrap();
        let other = {
            let path = path.clone();
            std::thread::spawn(move || {
                let store = Store::open(&path).unwrap();
                store.reserve(ip("10.1.0.2"), "c", "eth0", 0).unwrap()
            })
        };
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert!(!other.is_finished());
        store.remove().unwrap();
        assert!(other.join().unwrap());
        assert!(path.join("10.1.0.2").exists());
    }
}
