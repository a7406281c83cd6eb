//! Project IDs for emptyDirs on disk, so that the file system itself counts what they contain, as the kubelet does with the
//! feature gate `LocalStorageCapacityIsolationFSQuotaMonitoring` (`pkg/volume/util/fsquota`). No limit is set: an emptyDir
//! with an ID behaves like one without.
//!
//! The ID is on the directory, and in `/etc/projects` and `/etc/projid`, where other programs see that it is taken. A
//! failure costs nothing but the quota: the volume is made, and counted by walking through it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::disk::project;
use crate::disk::write::{Durability, remove_if_there, rewrite};
use crate::model::last_logged::LastLogged;
use crate::model::projects::{FIRST, Projects};

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;
/// How many IDs may be in use without being in the files, before none is looked for any more (`maxUnusedQuotasToSearch`).
const TRIED: usize = 128;
/// How often a file is opened again because another program has just replaced it.
const OPENED: usize = 8;

/// The project IDs of this machine's emptyDirs. Clones share them. The default gives none, and removes none.
#[derive(Debug, Clone, Default)]
pub struct ProjectIds(Option<Arc<Ids>>);

#[derive(Debug)]
struct Ids {
    directories: PathBuf,
    names: PathBuf,
    mode: Assignment,
    /// Held while the files are changed: many volumes are made at once.
    turn: Mutex<LastLogged<String>>,
}

/// Whether new emptyDirs get an ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// If their file system counts by project.
    WhereCounted,
    /// None does; what earlier ones had is removed all the same.
    Never,
}

impl ProjectIds {
    /// With the files `projects` and `projid` in this directory (`/etc`).
    pub fn new(etc: &Path, mode: Assignment) -> ProjectIds {
        ProjectIds(Some(Arc::new(Ids {
            directories: etc.join("projects"),
            names: etc.join("projid"),
            mode,
            turn: Mutex::default(),
        })))
    }

    /// Gives a directory an ID, if it is empty and its file system counts by project.
    pub(super) fn assign(&self, directory: &Path) {
        let Some(ids) = self.0.as_ref().filter(|ids| ids.mode != Assignment::Never) else {
            return;
        };
        let mut turn = ids.turn();
        match ids.assign(directory) {
            Ok(()) => {}
            Err(error) if turn.is_news(&error.to_string()) => tracing::warn!(
                directory = %directory.display(),
                %error,
                "an emptyDir gets no project quota: what it contains is counted by walking through it"
            ),
            Err(_) => {}
        }
    }

    /// Takes the IDs of directories that were removed, at and below this one, out of the files.
    pub(super) fn forget(&self, directory: &Path) {
        self.remove(|path| path.starts_with(directory));
    }

    /// Removes what an agent that was killed has left: the IDs of volumes that are gone. `root` is the node's directory.
    pub fn sweep(&self, root: &Path) {
        let pods = root.join("pods");
        // A directory that cannot be looked at is there.
        self.remove(|path| path.starts_with(&pods) && path.try_exists().is_ok_and(|is_there| !is_there));
    }

    fn remove(&self, is_gone: impl Fn(&Path) -> bool) {
        let Some(ids) = &self.0 else { return };
        let mut turn = ids.turn();
        match ids.remove(is_gone) {
            Ok(()) => {}
            Err(error) if turn.is_news(&error.to_string()) => tracing::warn!(
                %error,
                "cannot remove the project IDs of volumes that are gone; this is tried again at the agent's next start"
            ),
            Err(_) => {}
        }
    }
}

impl Ids {
    fn turn(&self) -> MutexGuard<'_, LastLogged<String>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assign(&self, directory: &Path) -> io::Result<()> {
        if project::quota(directory, FIRST)?.is_none() || fs::read_dir(directory)?.next().is_some() {
            return Ok(());
        }
        let held = self.lock(Missing::Created)?.expect("a missing file is created");
        let mut projects = held.read()?;
        let id = match projects.of(directory) {
            // The agent was killed at this place, or the removal of a former one has failed.
            Some(id) => id,
            None => {
                let id = unused(&projects, directory)?;
                if !projects.add(directory, id) {
                    return Err(io::Error::other(
                        "the path of the node's directory has a line break",
                    ));
                }
                self.write(&projects, Order::DirectoriesFirst)?;
                id
            }
        };
        project::assign(directory, id).inspect_err(|_| {
            if projects.remove(|path| path == directory) {
                // What is left is removed with the pod.
                let _ = self.write(&projects, Order::NamesFirst);
            }
        })
    }

    fn remove(&self, is_gone: impl Fn(&Path) -> bool) -> io::Result<()> {
        // Nearly always there is nothing to remove: nothing is locked for that.
        let directories = match open(&self.directories, Missing::Stays)? {
            Some(file) => read(file, &self.directories)?,
            None => return Ok(()),
        };
        let listed = Projects {
            directories,
            names: Vec::new(),
        };
        if !listed.clone().remove(&is_gone) {
            return Ok(());
        }
        let Some(held) = self.lock(Missing::Created)? else {
            return Ok(());
        };
        let mut projects = held.read()?;
        match projects.remove(is_gone) {
            true => self.write(&projects, Order::NamesFirst),
            false => Ok(()),
        }
    }

    /// Locks both files as the kubelet does, in the same order. Nobody is waited for.
    fn lock(&self, missing: Missing) -> io::Result<Option<Held<'_>>> {
        let Some(directories) = lock(&self.directories, missing)? else {
            return Ok(None);
        };
        let Some(names) = lock(&self.names, missing)? else {
            return Ok(None);
        };
        Ok(Some(Held {
            ids: self,
            directories,
            names,
        }))
    }

    fn write(&self, projects: &Projects, order: Order) -> io::Result<()> {
        let directories = (&self.directories, &projects.directories);
        let names = (&self.names, &projects.names);
        let both = match order {
            Order::DirectoriesFirst => [directories, names],
            Order::NamesFirst => [names, directories],
        };
        // Other programs' lines are in them.
        both.into_iter().try_for_each(|(path, content)| {
            let written = match content.is_empty() {
                // As before the first volume.
                true => remove_if_there(path),
                false => rewrite(path, content, Durability::PowerFailure),
            };
            written
                .map_err(|error| io::Error::new(error.kind(), format!("writing {}: {error}", path.display())))
        })
    }
}

/// Which file is replaced first. An agent that is killed in between leaves a directory without a name, which nobody misses
/// and which is removed with the directory, and never a name that nobody removes.
#[derive(Debug, Clone, Copy)]
enum Order {
    DirectoriesFirst,
    NamesFirst,
}

/// What becomes of a missing file.
#[derive(Debug, Clone, Copy)]
enum Missing {
    Created,
    Stays,
}

/// Both files, locked until this is dropped.
struct Held<'a> {
    ids: &'a Ids,
    directories: Flock<File>,
    names: Flock<File>,
}

impl Held<'_> {
    fn read(&self) -> io::Result<Projects> {
        Ok(Projects {
            directories: read(self.directories.try_clone()?, &self.ids.directories)?,
            names: read(self.names.try_clone()?, &self.ids.names)?,
        })
    }
}

/// The first free ID that the file system has not counted anything for either: files of a former volume may still be open.
fn unused(projects: &Projects, directory: &Path) -> io::Result<u32> {
    for id in projects.free().take(TRIED) {
        if project::quota(directory, id)?.is_some_and(|quota| quota.is_unused()) {
            return Ok(id);
        }
    }
    Err(io::Error::other(format!(
        "the {TRIED} lowest project IDs that /etc/projects does not have are in use"
    )))
}

/// A file, unless something else is in its place.
fn open(path: &Path, missing: Missing) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    if matches!(missing, Missing::Created) {
        // The standard library creates files only for writing.
        options.write(true).create(true).truncate(false).mode(0o644);
    }
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("opening {}: {error}", path.display()));
    match options.open(path) {
        Ok(file) if file.metadata().map_err(named)?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::other(format!(
            "{} is not a plain file",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(missing, Missing::Stays) => {
            Ok(None)
        }
        Err(error) => Err(named(error)),
    }
}

/// Locks the file that has this name. Who changes such a file puts a new one in its place, and a lock of the old one means
/// nothing to others.
fn lock(path: &Path, missing: Missing) -> io::Result<Option<Flock<File>>> {
    for _ in 0..OPENED {
        let Some(file) = open(path, missing)? else {
            return Ok(None);
        };
        let opened = file.metadata()?;
        let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| io::Error::other(format!("locking {}: {error}", path.display())))?;
        let named = fs::symlink_metadata(path);
        if named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())) {
            return Ok(Some(locked));
        }
    }
    Err(io::Error::other(format!(
        "{} is being replaced all the time",
        path.display()
    )))
}

fn read(file: File, path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut content)?;
    match u64::try_from(content.len()).is_ok_and(|length| length <= LONGEST) {
        true => Ok(content),
        false => Err(io::Error::other(format!(
            "{} is longer than 1 MiB",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn ids(etc: &Path) -> ProjectIds {
        ProjectIds::new(etc, Assignment::WhereCounted)
    }

    fn write(etc: &Path, directories: &str, names: &str) {
        fs::write(etc.join("projects"), directories).unwrap();
        fs::write(etc.join("projid"), names).unwrap();
    }

    fn assert_content(etc: &Path, directories: &str, names: &str) {
        let read = |name: &str| fs::read_to_string(etc.join(name)).unwrap();
        assert_eq!(
            (read("projects").as_str(), read("projid").as_str()),
            (directories, names)
        );
    }

    #[test]
    fn the_ids_of_a_removed_pod_are_removed_and_the_lines_of_others_stay() {
        let etc = tempfile::tempdir().unwrap();
        ids(etc.path()).forget(Path::new("/node/pods/u1"));
        assert_eq!(
            fs::read_dir(etc.path()).unwrap().count(),
            0,
            "nothing is made for it"
        );
        write(
            etc.path(),
            "1:/srv\n1048577:/node/pods/u1/a\n1048578:/node/pods/u10/a\n",
            "srv:1\nvolume1048577:1048577\nvolume1048578:1048578\n",
        );
        ids(etc.path()).forget(Path::new("/node/pods/u1"));
        assert_content(
            etc.path(),
            "1:/srv\n1048578:/node/pods/u10/a\n",
            "srv:1\nvolume1048578:1048578\n",
        );
        // Nobody's files are touched.
        ProjectIds::default().forget(Path::new("/node/pods/u10"));
        assert_content(
            etc.path(),
            "1:/srv\n1048578:/node/pods/u10/a\n",
            "srv:1\nvolume1048578:1048578\n",
        );
    }

    #[test]
    fn the_last_volume_takes_the_files_with_it() {
        let etc = tempfile::tempdir().unwrap();
        write(etc.path(), "1048577:/node/pods/u1/a\n", "volume1048577:1048577\n");
        ids(etc.path()).forget(Path::new("/node/pods/u1"));
        assert_eq!(fs::read_dir(etc.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_start_removes_the_ids_of_what_is_gone() {
        let (etc, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = root.path().join("pods/u1/there");
        fs::create_dir_all(&there).unwrap();
        let gone = root.path().join("pods/u2/gone");
        let line = |id: u32, path: &Path| format!("{id}:{}\n", path.display());
        let outside = "1048579:/none/pods/u3\n";
        write(
            etc.path(),
            &[&line(1_048_577, &there), &line(1_048_578, &gone), outside]
                .map(|line| line.to_string())
                .concat(),
            "volume1048577:1048577\nvolume1048578:1048578\n",
        );
        ids(etc.path()).sweep(root.path());
        assert_content(
            etc.path(),
            &[line(1_048_577, &there), outside.to_owned()].concat(),
            "volume1048577:1048577\n",
        );
    }

    #[test]
    fn nobody_is_waited_for_and_nothing_but_a_plain_file_of_a_sane_length_is_changed() {
        let etc = tempfile::tempdir().unwrap();
        let (directories, names) = ("1048577:/node/pods/u1/a\n", "volume1048577:1048577\n");
        let check = |expected: &str| {
            let ids = ids(etc.path());
            let error = ids.0.as_ref().unwrap().remove(|_| true).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        write(etc.path(), directories, names);
        let other = File::open(etc.path().join("projid")).unwrap();
        let other = Flock::lock(other, FlockArg::LockShared).unwrap();
        check("projid: EAGAIN");
        drop(other);
        assert_content(etc.path(), directories, names);
        fs::write(etc.path().join("long"), vec![b'\n'; 2 << 20]).unwrap();
        fs::remove_file(etc.path().join("projid")).unwrap();
        symlink("long", etc.path().join("projid")).unwrap();
        check("projid: Too many levels");
        fs::rename(etc.path().join("long"), etc.path().join("projects")).unwrap();
        check("projects is longer than 1 MiB");
        fs::remove_file(etc.path().join("projects")).unwrap();
        nix::unistd::mkfifo(&etc.path().join("projects"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        check("projects is not a plain file");
    }

    #[test]
    fn where_nothing_is_counted_by_project_no_file_is_touched() {
        let etc = tempfile::tempdir().unwrap();
        for directory in [Path::new("/proc"), Path::new("/none")] {
            ids(etc.path()).assign(directory);
        }
        assert_eq!(fs::read_dir(etc.path()).unwrap().count(), 0);
    }
}
