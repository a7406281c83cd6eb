//! The file from which the pods of the API server are started where it cannot be asked, and the task that keeps it.
//!
//! Its content changes with the pods and what they refer to, not with their statuses; the time of its last change is
//! when the control plane last heard of the node.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Told;
use super::stored::{self, Owner, Stored, Unusable};
use crate::model::api::{ApiPods, CutOffStart};
use crate::model::pod::{PodName, SourceSet, Standing};
use crate::model::service::Services;

/// How long is waited for more changes before they are written.
const PAUSE: Duration = Duration::from_secs(2);
/// How often is noted that the control plane hears of the node.
const MARK: Duration = Duration::from_secs(60);

/// Where the pods are written down, and whose they are.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
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
pub struct Inputs {
    /// The pods with what they refer to.
    pub set: Told,
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
    pub fn new(directory: &Path, owner: Owner, boot: String) -> Store {
        Store {
            file: directory.join("pods"),
            owner,
            boot,
        }
    }

    /// What was written before this start. A file that cannot be used is set aside; that it is not there is usual.
    pub fn load(&self, whose: Whose) -> Option<Stored> {
        let why = match self.read(whose) {
            Ok(Ok(stored)) => return Some(stored),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Ok(Err(unusable)) => unusable.to_string(),
            Err(error) => error.to_string(),
        };
        let aside = self.file.with_extension("set-aside");
        let moved = fs::rename(&self.file, &aside);
        let place = match moved {
            Ok(()) => aside,
            // It is replaced when the API server has told its pods.
            Err(_) => self.file.clone(),
        };
        tracing::warn!(path = %place.display(), "what was stored of the API server's pods is not used: {why}");
        None
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

    /// Removes what was written, and what was set aside.
    pub fn discard(&self) -> io::Result<()> {
        remove(&self.file)?;
        remove(&self.file.with_extension("set-aside"))
    }

    fn read(&self, whose: Whose) -> io::Result<Result<Stored, Unusable>> {
        let bytes = fs::read(&self.file)?;
        let changed = fs::metadata(&self.file)?.modified()?;
        let heard = Timestamp::try_from(changed).map_err(io::Error::other)?;
        let is_ours = |found: &Owner| match whose {
            Whose::Owners => *found == self.owner,
            Whose::AnyClusters => found.node == self.owner.node,
        };
        Ok(stored::decode(&bytes, is_ours, heard))
    }

    /// Writes it so that a crash or a loss of power leaves the old file or the new one.
    fn write(&self, bytes: &[u8], heard: Timestamp) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let temporary = self.file.with_extension("new");
        remove(&temporary)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut new = options.open(&temporary)?;
        new.write_all(bytes)?;
        new.set_modified(SystemTime::from(heard))?;
        new.sync_all()?;
        fs::rename(&temporary, &self.file)?;
        File::open(directory)?.sync_all()
    }

    fn carry_out(&self, task: &Task) -> io::Result<()> {
        match &task.bytes {
            Some(bytes) => self.write(bytes, task.heard),
            None => self.mark(task.heard),
        }
    }

    /// Notes when the control plane last heard of the node.
    fn mark(&self, heard: Timestamp) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.file)?;
        file.set_modified(SystemTime::from(heard))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps the file until cancelled. Of pods that were themselves read from it nothing is written.
pub async fn run(mut inputs: Inputs, store: Store, cancel: CancellationToken) {
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
    fn look(&mut self, inputs: &mut Inputs, store: &Store) -> Option<Task> {
        let renewed = *inputs.renewed.borrow();
        let set = inputs.set.borrow_and_update().clone()?;
        let pods = inputs.pods.borrow_and_update().clone()?;
        self.is_stale |= inputs.services.has_changed().unwrap_or(false);
        if set.standing == Standing::Stored {
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

    fn store(directory: &Path) -> Store {
        let owner = Owner {
            node: "n".to_owned(),
            cluster: Cluster::default(),
        };
        Store::new(directory, owner, "b".to_owned())
    }

    #[test]
    fn the_file_is_roots_alone_and_tells_when_the_node_was_last_heard_of() {
        let root = tempfile::tempdir().unwrap();
        let store = store(&root.path().join("cluster"));
        assert!(store.load(Whose::Owners).is_none());
        let (set, pods) = (SourceSet::default(), ApiPods::default());
        let bytes = stored::encode(&set, &pods, &Services::Asked, &store.owner, "b");
        let at = |second| Timestamp::from_second(second).unwrap();
        store.write(&bytes, at(1000)).unwrap();
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
    }

    #[test]
    fn what_cannot_be_used_is_set_aside() {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        fs::write(&store.file, "broken").unwrap();
        assert!(store.load(Whose::Owners).is_none());
        assert!(!store.file.exists());
        let aside = root.path().join("pods.set-aside");
        assert_eq!(fs::read_to_string(&aside).unwrap(), "broken");
        store.discard().unwrap();
        assert!(!aside.exists());
    }

    #[test]
    fn who_cannot_say_which_cluster_it_is_of_reads_its_own_nodes_file_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut store = store(root.path());
        let (set, pods) = (SourceSet::default(), ApiPods::default());
        let mut owner = store.owner.clone();
        owner.cluster.server = "https://a".to_owned();
        let bytes = stored::encode(&set, &pods, &Services::Asked, &owner, "b");
        store.write(&bytes, Timestamp::UNIX_EPOCH).unwrap();
        assert!(store.load(Whose::AnyClusters).is_some());
        store.owner.node = "other".to_owned();
        assert!(store.load(Whose::AnyClusters).is_none());
    }
}
