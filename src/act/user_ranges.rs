//! Gives pods with a user namespace of their own the IDs for it (`pkg/kubelet/userns`). What a pod has is in a file of its
//! directory, the kubelet's; it is its own as long as the directory exists.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::off_thread::off_thread;
use crate::bulkhead::program::{self, ProgramError};
use crate::bulkhead::{Bulkhead, Limits};
use crate::disk::write::{self, Durability, Writing, remove_if_there};
use crate::model::error_chain::chain;
use crate::model::pod::PodUid;
use crate::model::user_range::{self, IdPool, Subordinate, UserRange, UserRanges};

/// The user whose subordinate IDs are for pods, if there is such a user.
const USER: &str = "kubelet";
/// How long looking up the user may take, and the program that knows the IDs: both may ask another machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Concurrent lookups of the user: one, which may hang.
const LOOKUPS: Limits = Limits {
    total: 1,
    per_owner: 1,
};

/// The IDs of this node's pods. Clones share them.
#[derive(Debug, Clone)]
pub struct PodUsers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pods_dir: PathBuf,
    length: u32,
    max_pods: u32,
    /// Found out when the first pod needs it.
    pool: OnceCell<IdPool>,
    lookups: Bulkhead,
    /// `None`: what is on disk has not been read. Held while a pod's file is written.
    ranges: Mutex<Option<UserRanges>>,
}

impl PodUsers {
    /// For the pods below the node's directory, so many IDs for each; from those that the machine's administrator has
    /// set aside, or else from all.
    pub fn of_machine(root: &Path, length: u32, max_pods: u32) -> PodUsers {
        PodUsers(Arc::new(Inner {
            pods_dir: root.join("pods"),
            length,
            max_pods,
            pool: OnceCell::new(),
            lookups: Bulkhead::new("lookups of users", LOOKUPS),
            ranges: Mutex::default(),
        }))
    }

    /// The same from this pool.
    pub fn of_pool(root: &Path, pool: IdPool) -> PodUsers {
        let mut users = PodUsers::of_machine(root, 0, 0);
        if let Some(inner) = Arc::get_mut(&mut users.0) {
            inner.pool = OnceCell::new_with(Some(pool));
        }
        users
    }

    /// The IDs of a pod, which has a directory.
    pub(super) async fn of(&self, pod: &PodUid) -> Result<UserRange, String> {
        let pool = *self.0.pool.get_or_try_init(|| self.0.pool()).await?;
        let (inner, pod) = (self.0.clone(), pod.clone());
        let assigned = off_thread(move || Ok(inner.assign(pool, &pod))).await;
        assigned.map_err(|error| error.to_string())?
    }

    /// Takes back what a pod had whose directory is gone; of any other directory it knows nothing.
    pub(super) fn forget(&self, dir: &Path) {
        let Some(name) = dir.file_name().filter(|_| dir.parent() == Some(&self.0.pods_dir)) else {
            return;
        };
        let pod = PodUid(name.to_string_lossy().into_owned());
        if let Some(ranges) = self.0.ranges().as_mut() {
            ranges.release(&pod);
        }
    }
}

impl Inner {
    fn ranges(&self) -> MutexGuard<'_, Option<UserRanges>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `getKubeletMappings` in `pkg/kubelet/kubelet_pods.go`. Unlike the kubelet, which does not start where the
    /// administrator's choice cannot be read, only the pods that need it wait.
    async fn pool(&self) -> Result<IdPool, String> {
        let failed = |why: String| format!("kubelet mappings: looking up the user {USER:?}: {why}");
        let lookup = || nix::unistd::User::from_name(USER);
        let known = self.lookups.run("the node", USER, PATIENCE, lookup).await;
        let known = known.map_err(|stuck| failed(stuck.to_string()))?;
        let user = known.map_err(|error| failed(error.to_string()))?;
        let whole = IdPool::whole(self.length);
        if user.is_none() {
            return Ok(whole);
        }
        let Some(users) = subordinate(&[USER], "uids").await? else {
            return Ok(whole);
        };
        let groups = subordinate(&["-g", USER], "gids").await?;
        if Some(&users) != groups.as_ref() {
            return Err(format!(
                "kubelet mappings: mismatched subuids and subgids for user {USER:?}"
            ));
        }
        let ids = Subordinate::read(&users).map_err(|why| format!("kubelet mappings: {why}"))?;
        IdPool::subordinate(ids, self.length, self.max_pods)
    }

    fn assign(&self, pool: IdPool, pod: &PodUid) -> Result<UserRange, String> {
        let mut ranges = self.ranges();
        let ranges = ranges.get_or_insert_with(|| self.on_disk(pool));
        let path = self.pods_dir.join(&pod.0).join(user_range::FILE);
        let content = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| format!("{}: {error}", path.display()))?,
        };
        if !content.is_empty() {
            let recorded = UserRange::read(&content).and_then(|range| {
                ranges.record(pod, range)?;
                Ok(range)
            });
            return recorded.map_err(|why| format!("user namespace: {why}"));
        }
        ranges.release(pod);
        let dealt = ranges.deal(pod).and_then(|range| {
            // Another pod may not get the same after a power failure either, while files of this one are on disks.
            let written = write::write(
                &path,
                range.write().as_bytes(),
                Writing::private(Durability::PowerFailure),
            );
            written.map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(range)
        });
        dealt.map_err(|why| {
            ranges.release(pod);
            // It may be complete although syncing it failed.
            let _ = remove_if_there(&path);
            format!("create user namespace: {why}")
        })
    }

    /// What the pods have that are on disk. A file that cannot be understood is its own pod's failure.
    fn on_disk(&self, pool: IdPool) -> UserRanges {
        let mut ranges = UserRanges::new(pool);
        let directories = fs::read_dir(&self.pods_dir).into_iter().flatten().flatten();
        for directory in directories {
            let path = directory.path().join(user_range::FILE);
            let pod = PodUid(directory.file_name().to_string_lossy().into_owned());
            let Ok(content) = fs::read(&path) else { continue };
            if content.is_empty() {
                continue;
            }
            let recorded = UserRange::read(&content).and_then(|range| ranges.record(&pod, range));
            if let Err(error) = recorded {
                tracing::warn!(
                    path = %path.display(),
                    error,
                    "the user namespace of a pod is not among those of this node: remove the pod"
                );
            }
        }
        ranges
    }
}

/// What the program that knows subordinate IDs prints; `None`: there is no such program.
async fn subordinate(arguments: &[&str], of: &str) -> Result<Option<String>, String> {
    let mut command = Command::new("getsubids");
    match program::run(command.args(arguments), b"", PATIENCE).await {
        Ok(printed) => Ok(Some(String::from_utf8_lossy(&printed).into_owned())),
        Err(ProgramError::Start(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!(
            "kubelet mappings: error retrieving additional {of} for user {USER:?}: {}",
            chain(&error)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::uid;

    const LENGTH: u32 = 65_536;

    fn pods(root: &Path, names: &[&str]) -> PodUsers {
        for name in names {
            fs::create_dir_all(root.join("pods").join(name)).unwrap();
        }
        PodUsers::of_pool(root, IdPool::whole(LENGTH))
    }

    #[tokio::test]
    async fn a_pod_has_the_same_ids_until_its_directory_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let users = pods(root.path(), &["a", "b"]);
        let first = users.of(&uid("a")).await.unwrap();
        assert_eq!(users.of(&uid("a")).await.unwrap(), first);
        // Another agent, the kubelet for example, finds it.
        let other = pods(root.path(), &[]);
        let second = other.of(&uid("b")).await.unwrap();
        assert_ne!(second, first);
        assert_eq!(other.of(&uid("a")).await.unwrap(), first);
        let a = root.path().join("pods/a");
        fs::remove_dir_all(&a).unwrap();
        other.forget(&a.join("volumes"));
        other.forget(&a);
        fs::create_dir(&a).unwrap();
        assert_ne!(other.of(&uid("a")).await.unwrap(), first);
    }

    #[tokio::test]
    async fn what_another_pod_has_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let users = pods(root.path(), &["a", "b", "c"]);
        let first = users.of(&uid("a")).await.unwrap();
        fs::write(root.path().join("pods/b/userns"), first.write()).unwrap();
        let refused = users.of(&uid("b")).await.unwrap_err();
        assert_eq!(
            refused,
            "user namespace: range picked for pod \"b\" already taken"
        );
        fs::write(root.path().join("pods/c/userns"), "{").unwrap();
        let refused = users.of(&uid("c")).await.unwrap_err();
        assert!(
            refused.starts_with("user namespace: invalid user namespace mappings file: "),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_dealt_to_nobody() {
        let root = tempfile::tempdir().unwrap();
        let users = pods(root.path(), &["b"]);
        fs::write(root.path().join("pods/a"), "not a directory").unwrap();
        users.of(&uid("a")).await.unwrap_err();
        assert_eq!(users.of(&uid("b")).await.unwrap().length, LENGTH);
    }
}
