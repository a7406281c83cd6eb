//! The checkpoint file from which the API server's pods are started while it is unreachable, and the task that saves
//! it.
//!
//! Its content changes with the pods and what they refer to, not with their statuses; its modification time is when the
//! control plane last heard from the node. It contains Secrets, so it is encrypted ([`super::seal`]).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::seal::{self, Keyhole};
use super::stored::{self, Owner, Stored};
use crate::disk::write::{self, Durability, Writing, remove_if_there};
use crate::model::api::{ApiPods, CutOffStart};
use crate::model::last_logged::LastLogged;
use crate::model::pod::{PodName, Provenance, SourceSet};
use crate::model::service::Services;
use crate::source::SetReceiver;

/// How long to wait for more changes before they are written.
const PAUSE: Duration = Duration::from_secs(2);
/// How long an unusable file is preserved for inspection.
const ASIDE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often the time of the last contact with the control plane is saved.
const MARK: Duration = Duration::from_secs(60);

/// The checkpoint of the pods: its file, its key and its owner.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
    keyhole: Keyhole,
    owner: Owner,
    boot: String,
}

/// Which owner's file is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Only the owner's.
    Owners,
    /// Any cluster's, as long as it is this node's: the node does not know which cluster it belongs to.
    AnyClusters,
}

/// What to use while the API server does not answer.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// The checkpoint.
    pub stored: Arc<Stored>,
    /// Which of its pods are started.
    pub how: CutOffStart,
    /// The boot ID of this boot.
    pub boot: String,
    /// When the first agent of this boot looked: later agents decide as it did.
    pub decided: Timestamp,
    /// How long to wait for the API server after the start: a machine's network comes up slowly.
    pub patience: Duration,
}

/// What the task reads.
pub struct CheckpointInputs {
    /// The pods with their objects.
    pub set: SetReceiver,
    /// The pod objects from the API server.
    pub pods: watch::Receiver<Option<Arc<ApiPods>>>,
    /// The Services of the cluster.
    pub services: watch::Receiver<Services>,
    /// When the node's Lease was last renewed.
    pub renewed: watch::Receiver<Option<Timestamp>>,
}

/// The set of the last pass.
#[derive(Default)]
struct Looked {
    set: Option<Arc<SourceSet>>,
    lasting: BTreeSet<PodName>,
    /// Whether the Services have changed since.
    is_stale: bool,
    /// The checksum of the file's content.
    written: Option<u64>,
    marked: Option<Timestamp>,
    failure: LastLogged,
}

impl Store {
    /// A checkpoint in this directory, which is created on the first write. `boot` is the boot ID.
    pub fn new(directory: &Path, keyhole: Keyhole, owner: Owner, boot: String) -> Store {
        Store {
            file: directory.join("pods"),
            keyhole,
            owner,
            boot,
        }
    }

    /// Loads what was written before this start. An unusable file is set aside for some days, or removed if it is not
    /// encrypted; a missing file is normal. A file that an older version wrote is now encrypted.
    pub fn load(&self, whose: Whose) -> Option<Stored> {
        if let Err(error) = self.tidy(SystemTime::now()) {
            tracing::warn!(%error, "cannot remove a checkpoint that was set aside");
        }
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.file.display(), %error, "cannot read the checkpoint of the API server's \
                 pods; it is not used");
                return None;
            }
        };
        match self.read(&bytes, whose) {
            Ok(stored) if seal::is_sealed(&bytes) => Some(stored),
            Ok(stored) => {
                if let Err(error) = self.write(&bytes, stored.heard) {
                    tracing::warn!(%error, "cannot encrypt the checkpoint of the API server's pods yet");
                }
                Some(stored)
            }
            Err(why) => {
                let became = self.put_away(&bytes);
                tracing::warn!(
                    path = %self.file.display(),
                    "the checkpoint of the API server's pods is not used: {why}; {became}"
                );
                None
            }
        }
    }

    /// Sets aside or removes an unusable file, and returns what happened to it.
    fn put_away(&self, bytes: &[u8]) -> &'static str {
        let put = match seal::is_sealed(bytes) {
            true => fs::rename(&self.file, self.aside()),
            false => remove_if_there(&self.file),
        };
        match (put, seal::is_sealed(bytes)) {
            (Ok(()), true) => "it is set aside for seven days",
            (Ok(()), false) => "it is removed because it was not encrypted",
            (Err(_), _) => "it is replaced once the API server has listed its pods",
        }
    }

    fn aside(&self) -> PathBuf {
        self.file.with_extension("set-aside")
    }

    /// Removes a file that was set aside long ago, or by a version that did not encrypt.
    fn tidy(&self, now: SystemTime) -> io::Result<()> {
        let aside = self.aside();
        let about = match fs::metadata(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            about => about?,
        };
        // The change time shows when it was set aside; the modification time belongs to the content.
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(about.ctime()).unwrap_or(0));
        let is_old = now.duration_since(since).is_ok_and(|age| age > ASIDE);
        let mut head = [0; seal::MARK_END];
        let is_sealed = File::open(&aside)?.read_exact(&mut head).is_ok() && seal::is_sealed(&head);
        match is_old || !is_sealed {
            true => remove_if_there(&aside),
            false => Ok(()),
        }
    }

    /// When the first agent of this boot looked at the file; for the first agent that is `now`. This time decides which
    /// pods are started, so that a later agent does not abandon them.
    pub fn decided(&self, now: Timestamp) -> Timestamp {
        let note = self.file.with_extension("decided");
        let text = fs::read_to_string(&note).unwrap_or_default();
        let noted = text
            .split_once(' ')
            .filter(|(boot, _)| *boot == self.boot)
            .and_then(|(_, at)| at.parse().ok());
        if let Some(noted) = noted {
            return noted;
        }
        if let Err(error) = fs::write(&note, format!("{} {now}", self.boot)) {
            tracing::warn!(path = %note.display(), %error, "cannot save the time of the decision; another start of \
             the agent decides again");
        }
        now
    }

    /// Removes the file, the one that was set aside, and the key.
    pub fn discard(&self) -> io::Result<()> {
        remove_if_there(&self.file)?;
        remove_if_there(&self.aside())?;
        self.keyhole.forget()
    }

    /// Reads it; `Err`: why it cannot be used, without any of its content.
    fn read(&self, bytes: &[u8], whose: Whose) -> Result<Stored, String> {
        let changed = fs::metadata(&self.file).and_then(|about| about.modified());
        let changed = changed.map_err(|error| error.to_string())?;
        let heard = Timestamp::try_from(changed).map_err(|error| error.to_string())?;
        let is_ours = |found: &Owner| match whose {
            Whose::Owners => *found == self.owner,
            Whose::AnyClusters => found.node == self.owner.node,
        };
        let opened = match seal::is_sealed(bytes) {
            true => {
                let key = self.keyhole.key().map_err(|error| error.to_string())?;
                let key = key.ok_or_else(|| seal::Closed::OtherKey.to_string())?;
                Some(key.open(bytes).map_err(|closed| closed.to_string())?)
            }
            false => None,
        };
        let content = opened.as_deref().unwrap_or(bytes);
        stored::decode(content, is_ours, heard).map_err(|unusable| unusable.to_string())
    }

    /// Encrypts and writes it so that a crash or a power loss leaves either the old file or the new one.
    fn write(&self, bytes: &[u8], heard: Timestamp) -> io::Result<()> {
        let sealed = self.keyhole.key_or_new()?.seal(bytes)?;
        let writing = Writing {
            modified: Some(SystemTime::from(heard)),
            ..Writing::private(Durability::PowerFailure)
        };
        write::write(&self.file, &sealed, writing)
    }

    fn carry_out(&self, task: &Task) -> io::Result<()> {
        if let Err(error) = self.tidy(SystemTime::now()) {
            // Each start already logs a warning.
            tracing::debug!(%error, "cannot remove a checkpoint that was set aside");
        }
        match &task.bytes {
            Some(bytes) => self.write(bytes, task.heard),
            None => self.mark(task.heard),
        }
    }

    /// Saves when the control plane last heard from the node. If the key has changed, the file has to be written again:
    /// a start could not read it.
    fn mark(&self, heard: Timestamp) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.file)?;
        let mut head = [0; seal::MARK_END];
        file.read_exact(&mut head)?;
        let key = self.keyhole.key()?.map(|key| key.mark());
        if seal::mark(&head) != key.as_ref().map(|mark| &mark[..]) {
            return Err(io::Error::other(
                "its key has changed; encrypting it with the new one",
            ));
        }
        file.set_modified(SystemTime::from(heard))
    }
}

/// Keeps the file up to date until canceled. Pods that were themselves read from it are not written.
pub async fn run(mut inputs: CheckpointInputs, store: Store, cancel: CancellationToken) {
    let mut looked = Looked::default();
    loop {
        // Every arm may be canceled: a change that was not taken is not lost.
        let has_changed = tokio::select! {
            () = cancel.cancelled() => return,
            changed = inputs.set.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            Ok(()) = inputs.pods.changed() => true,
            Ok(()) = inputs.services.changed() => {
                looked.is_stale = true;
                true
            }
            () = tokio::time::sleep(MARK) => false,
        };
        if has_changed {
            // Changes that arrive together are written together.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        let Some(task) = looked.look(&mut inputs, &store) else {
            continue;
        };
        let (heard, writer) = (task.heard, store.clone());
        let sum = task.bytes.as_deref().map(stored::sum);
        let done = tokio::task::spawn_blocking(move || writer.carry_out(&task)).await;
        looked.note(
            done.unwrap_or_else(|died| Err(io::Error::other(died))),
            sum,
            heard,
        );
    }
}

/// The next write to the file.
struct Task {
    /// Its new content; `None`: it is unchanged.
    bytes: Option<Vec<u8>>,
    heard: Timestamp,
}

impl Looked {
    fn look(&mut self, inputs: &mut CheckpointInputs, store: &Store) -> Option<Task> {
        let renewed = *inputs.renewed.borrow();
        let set = inputs.set.borrow_and_update().clone()?;
        let pods = inputs.pods.borrow_and_update().clone()?;
        self.is_stale |= inputs.services.has_changed().unwrap_or(false);
        if set.provenance == Provenance::Checkpoint {
            return None;
        }
        let lasting: BTreeSet<PodName> = stored::lasting(&set, &pods)
            .map(|(name, ..)| name.clone())
            .collect();
        let same_set = self.set.as_ref().is_some_and(|last| Arc::ptr_eq(last, &set));
        let same = same_set && self.lasting == lasting && !self.is_stale && self.written.is_some();
        let bytes = (!same).then(|| {
            let services = inputs.services.borrow_and_update();
            stored::encode(&set, &pods, &services, &store.owner, &store.boot)
        });
        (self.set, self.lasting, self.is_stale) = (Some(set), lasting, false);
        let bytes = bytes.filter(|bytes| self.written != Some(stored::sum(bytes)));
        let mark_due = renewed.is_some_and(|at| self.marked.is_none_or(|last| at >= last + MARK));
        // Before the first Lease: the pods were received just now.
        let heard = renewed.unwrap_or_else(Timestamp::now);
        (bytes.is_some() || mark_due).then_some(Task { bytes, heard })
    }

    fn note(&mut self, done: io::Result<()>, sum: Option<u64>, heard: Timestamp) {
        match done {
            Ok(()) => {
                self.written = sum.or(self.written);
                self.marked = Some(heard);
                self.failure.clear();
            }
            Err(error) => {
                // The next pass writes it again.
                self.written = None;
                if self.failure.is_news(&()) {
                    tracing::warn!(%error, "cannot save the checkpoint of the API server's pods; without it, a \
                     start that cannot reach the API server starts none of them");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::api::Cluster;

    fn keyhole(root: &Path) -> Keyhole {
        Keyhole {
            file: root.join("store.key"),
            credentials: None,
        }
    }

    fn store(root: &Path) -> Store {
        let owner = Owner {
            node: "n".to_owned(),
            cluster: Cluster::default(),
        };
        Store::new(&root.join("cluster"), keyhole(root), owner, "b".to_owned())
    }

    fn content(owner: &Owner) -> Vec<u8> {
        let (set, pods) = (SourceSet::default(), ApiPods::default());
        stored::encode(&set, &pods, &Services::Asked, owner, "b")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_file_is_roots_alone_and_tells_when_the_node_was_last_heard_of() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        assert!(store.load(Whose::Owners).is_none());
        store.write(&content(&store.owner), at(1000)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.file), 0o600);
        assert_eq!(mode(store.file.parent().unwrap()), 0o700);
        assert_eq!(store.load(Whose::Owners).unwrap().heard, at(1000));
        store.mark(at(2000)).unwrap();
        assert_eq!(store.load(Whose::Owners).unwrap().heard, at(2000));
        assert_eq!(store.decided(at(3000)), at(3000));
        assert_eq!(store.decided(at(4000)), at(3000), "as the first of this life");
        let next = Store {
            boot: "c".to_owned(),
            ..store.clone()
        };
        assert_eq!(next.decided(at(5000)), at(5000));
        store.discard().unwrap();
        store.discard().unwrap();
        assert!(store.load(Whose::Owners).is_none());
        assert!(!store.keyhole.file.exists(), "what was sealed stays closed");
    }

    #[test]
    fn what_an_older_version_wrote_is_read_once_and_encrypted() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        fs::create_dir(root.path().join("cluster")).unwrap();
        let plain = content(&store.owner);
        fs::write(&store.file, &plain).unwrap();
        File::options()
            .write(true)
            .open(&store.file)
            .unwrap()
            .set_modified(SystemTime::from(at(1000)))
            .unwrap();
        assert_eq!(store.load(Whose::Owners).unwrap().heard, at(1000));
        let bytes = fs::read(&store.file).unwrap();
        assert!(seal::is_sealed(&bytes));
        assert!(!bytes.windows(9).any(|window| window == &plain[17..26]));
        assert_eq!(store.load(Whose::Owners).unwrap().heard, at(1000));
    }

    #[test]
    fn a_file_whose_key_is_gone_is_set_aside_and_the_next_one_has_a_new_key() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        store.write(&content(&store.owner), at(1000)).unwrap();
        // While the agent runs: the file is written again, not only its time.
        fs::remove_file(&store.keyhole.file).unwrap();
        assert!(store.mark(at(2000)).is_err());
        assert!(store.load(Whose::Owners).is_none());
        assert!(store.aside().exists() && !store.file.exists());
        store.write(&content(&store.owner), at(3000)).unwrap();
        assert_eq!(store.load(Whose::Owners).unwrap().heard, at(3000));
        // The same with a different key.
        fs::remove_file(&store.keyhole.file).unwrap();
        store.keyhole.key_or_new().unwrap();
        assert!(store.mark(at(4000)).is_err());
        assert!(store.load(Whose::Owners).is_none());
        store.discard().unwrap();
        assert!(!store.aside().exists());
    }

    #[test]
    fn what_cannot_be_used_is_not_kept_for_ever() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        store.write(&content(&store.owner), at(1000)).unwrap();
        let bytes = fs::read(&store.file).unwrap();
        fs::write(&store.file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(store.load(Whose::Owners).is_none());
        assert_eq!(fs::read(store.aside()).unwrap(), &bytes[..bytes.len() - 1]);
        let now = SystemTime::now();
        store.tidy(now).unwrap();
        assert!(store.aside().exists());
        store.tidy(now + ASIDE + Duration::from_secs(60)).unwrap();
        assert!(!store.aside().exists());
        // An unencrypted file is never preserved, nor is one that an older version set aside unencrypted.
        fs::write(&store.file, "broken").unwrap();
        fs::write(store.aside(), "0123 older").unwrap();
        assert!(store.load(Whose::Owners).is_none());
        assert!(!store.file.exists() && !store.aside().exists());
    }

    #[test]
    fn who_cannot_say_which_cluster_it_is_of_reads_its_own_nodes_file_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut store = store(root.path());
        let mut owner = store.owner.clone();
        owner.cluster.server = "https://a".to_owned();
        store.write(&content(&owner), Timestamp::UNIX_EPOCH).unwrap();
        assert!(store.load(Whose::AnyClusters).is_some());
        store.owner.node = "other".to_owned();
        assert!(store.load(Whose::AnyClusters).is_none());
    }
}
