//! The file from which the pods of the API server are started where it cannot be asked, and the task that keeps it.
//!
//! Its content changes with the pods and what they refer to, not with their statuses; the time of its last change is
//! when the control plane last heard of the node. Secrets are in it, so it is encrypted ([`super::seal`]).

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::seal::remove;
use super::seal::{self, Keyhole};
use super::stored::{self, Owner, Stored};
use crate::model::api::{ApiPods, CutOffStart};
use crate::model::pod::{PodName, Provenance, SourceSet};
use crate::model::service::Services;
use crate::source::SetReceiver;

/// How long is waited for more changes before they are written.
const PAUSE: Duration = Duration::from_secs(2);
/// For how long a file that cannot be used is kept, for whoever looks for the reason.
const ASIDE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often is noted that the control plane hears of the node.
const MARK: Duration = Duration::from_secs(60);

/// Where the pods are written down, and whose they are.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
    keyhole: Keyhole,
    owner: Owner,
    boot: String,
}

/// Whose file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The owner's alone.
    Owners,
    /// Of whichever cluster it is, as long as it is this node's: nobody can say which one the node is of.
    AnyClusters,
}

/// What is used where the API server does not answer.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// What was written down.
    pub stored: Arc<Stored>,
    /// Which of the pods are started from it.
    pub how: CutOffStart,
    /// In which life of the machine this is.
    pub boot: String,
    /// When the first agent of that life looked: the ones after it decide as it did.
    pub decided: Timestamp,
    /// How long the API server is waited for after the start: the network of a machine comes up slowly.
    pub patience: Duration,
}

/// What the task reads.
pub struct CheckpointInputs {
    /// The pods with what they refer to.
    pub set: SetReceiver,
    /// The pods as the API server has them.
    pub pods: watch::Receiver<Option<Arc<ApiPods>>>,
    /// The Services of the cluster.
    pub services: watch::Receiver<Services>,
    /// When the node's Lease was last renewed.
    pub renewed: watch::Receiver<Option<Timestamp>>,
}

/// What was looked at last.
#[derive(Default)]
struct Looked {
    set: Option<Arc<SourceSet>>,
    lasting: BTreeSet<PodName>,
    /// The Services have changed since.
    is_stale: bool,
    /// The sum of what is in the file.
    written: Option<u64>,
    marked: Option<Timestamp>,
    has_complained: bool,
}

impl Store {
    /// In this directory, which is made when something is written. `boot` names the life of the machine.
    pub fn new(directory: &Path, keyhole: Keyhole, owner: Owner, boot: String) -> Store {
        Store {
            file: directory.join("pods"),
            keyhole,
            owner,
            boot,
        }
    }

    /// What was written before this start. A file that cannot be used is set aside for some days, or removed where it
    /// is not encrypted; that it is not there is usual. One that an older version wrote is encrypted now.
    pub fn load(&self, whose: Whose) -> Option<Stored> {
        if let Err(error) = self.tidy(SystemTime::now()) {
            tracing::warn!(%error, "a file that was set aside cannot be removed");
        }
        let bytes = match fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.file.display(), %error, "what was stored of the API server's pods is not used");
                return None;
            }
        };
        match self.read(&bytes, whose) {
            Ok(stored) if seal::is_sealed(&bytes) => Some(stored),
            Ok(stored) => {
                if let Err(error) = self.write(&bytes, stored.heard) {
                    tracing::warn!(%error, "what was stored of the API server's pods cannot be encrypted yet");
                }
                Some(stored)
            }
            Err(why) => {
                let became = self.put_away(&bytes);
                tracing::warn!(
                    path = %self.file.display(),
                    "what was stored of the API server's pods is not used: {why}; {became}"
                );
                None
            }
        }
    }

    /// Puts away what cannot be used, and says what became of it.
    fn put_away(&self, bytes: &[u8]) -> &'static str {
        let put = match seal::is_sealed(bytes) {
            true => fs::rename(&self.file, self.aside()),
            false => remove(&self.file),
        };
        match (put, seal::is_sealed(bytes)) {
            (Ok(()), true) => "it is set aside for seven days",
            (Ok(()), false) => "it is removed, for it was not encrypted",
            (Err(_), _) => "it is replaced when the API server has told its pods",
        }
    }

    fn aside(&self) -> PathBuf {
        self.file.with_extension("set-aside")
    }

    /// Removes what was set aside long ago, or by a version that did not encrypt.
    fn tidy(&self, now: SystemTime) -> io::Result<()> {
        let aside = self.aside();
        let about = match fs::metadata(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            about => about?,
        };
        // Setting it aside was its last change; that of its content tells something else.
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(about.ctime()).unwrap_or(0));
        let is_old = now.duration_since(since).is_ok_and(|age| age > ASIDE);
        let mut head = [0; seal::MARK_END];
        let is_sealed = File::open(&aside)?.read_exact(&mut head).is_ok() && seal::is_sealed(&head);
        match is_old || !is_sealed {
            true => remove(&aside),
            false => Ok(()),
        }
    }

    /// When the first agent of this life of the machine looked at the file; for the first, that is `now`. By this
    /// moment is decided which pods are started, so that an agent after it does not leave them.
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
            tracing::warn!(path = %note.display(), %error, "not noted: another start of the agent decides anew");
        }
        now
    }

    /// Removes what was written, what was set aside, and the key.
    pub fn discard(&self) -> io::Result<()> {
        remove(&self.file)?;
        remove(&self.aside())?;
        self.keyhole.forget()
    }

    /// Reads it; `Err`: why it cannot be used, without anything of what is in it.
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

    /// Encrypts and writes it so that a crash or a loss of power leaves the old file or the new one.
    fn write(&self, bytes: &[u8], heard: Timestamp) -> io::Result<()> {
        let sealed = self.keyhole.key_or_new()?.seal(bytes)?;
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let temporary = self.file.with_extension("new");
        remove(&temporary)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut new = options.open(&temporary)?;
        new.write_all(&sealed)?;
        new.set_modified(SystemTime::from(heard))?;
        new.sync_all()?;
        fs::rename(&temporary, &self.file)?;
        File::open(directory)?.sync_all()
    }

    fn carry_out(&self, task: &Task) -> io::Result<()> {
        if let Err(error) = self.tidy(SystemTime::now()) {
            // Each start warns of it.
            tracing::debug!(%error, "a file that was set aside cannot be removed");
        }
        match &task.bytes {
            Some(bytes) => self.write(bytes, task.heard),
            None => self.mark(task.heard),
        }
    }

    /// Notes when the control plane last heard of the node. Where the key is another one by now, the file is to be
    /// written anew: a start could not read it.
    fn mark(&self, heard: Timestamp) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.file)?;
        let mut head = [0; seal::MARK_END];
        file.read_exact(&mut head)?;
        let key = self.keyhole.key()?.map(|key| key.mark());
        if seal::mark(&head) != key.as_ref().map(|mark| &mark[..]) {
            return Err(io::Error::other(
                "its key has changed; it is encrypted with the new one",
            ));
        }
        file.set_modified(SystemTime::from(heard))
    }
}

/// Keeps the file until cancelled. Of pods that were themselves read from it nothing is written.
pub async fn run(mut inputs: CheckpointInputs, store: Store, cancel: CancellationToken) {
    let mut looked = Looked::default();
    loop {
        // Every arm may be cancelled: a change that was not taken is still there.
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
            // What changes together is written together.
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

/// What is to be done about the file.
struct Task {
    /// Its new content; `None`: it stays.
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
        // Without a Lease yet: the pods were told just now.
        let heard = renewed.unwrap_or_else(Timestamp::now);
        (bytes.is_some() || mark_due).then_some(Task { bytes, heard })
    }

    fn note(&mut self, done: io::Result<()>, sum: Option<u64>, heard: Timestamp) {
        match done {
            Ok(()) => {
                self.written = sum.or(self.written);
                self.marked = Some(heard);
                self.has_complained = false;
            }
            Err(error) => {
                // It is written anew at the next look.
                self.written = None;
                if !std::mem::replace(&mut self.has_complained, true) {
                    tracing::warn!(%error, "the API server's pods are not stored: a start without it would lack them");
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
        // While the agent runs: what is there is written anew, not only marked.
        fs::remove_file(&store.keyhole.file).unwrap();
        assert!(store.mark(at(2000)).is_err());
        assert!(store.load(Whose::Owners).is_none());
        assert!(store.aside().exists() && !store.file.exists());
        store.write(&content(&store.owner), at(3000)).unwrap();
        assert_eq!(store.load(Whose::Owners).unwrap().heard, at(3000));
        // With a key that is another one it is the same.
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
        // What is not encrypted is not kept at all, nor what a version set aside that did not encrypt.
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
