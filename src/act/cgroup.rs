//! Creates, configures and removes cgroups, with either driver and on either hierarchy. `plan::cgroup` decides the
//! values; here they are only written, and an unchanged value is not written again.
//!
//! With the systemd driver a cgroup is a slice, started over D-Bus; systemd creates the directories of the controllers
//! it knows, and the rest is done as with the cgroupfs driver, in the slice's directories.

mod hierarchy;
mod kill;
mod systemd;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::node::{CgroupDriver, CgroupLayout, CgroupName, CgroupVersion};
use crate::model::pod::PodUid;
use crate::model::step::CgroupSetting;
use hierarchy::Hierarchy;
use systemd::Systemd;

/// The mount point of cgroups on Linux.
pub const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// How long the processes of a cgroup may take to end after SIGKILL. A process that waits for a dead disk may never
/// end; the removal then fails and is planned again.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Errors of cgroup operations.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The kernel lacks something that every pod needs.
    #[error(
        "cgroup controller {0:?} is not mounted; enable it on the kernel command line (cgroup_enable={0}) or in the \
         system's cgroup setup"
    )]
    MissingController(&'static str),
    /// A file or directory of the hierarchy.
    #[error("{action} {path}")]
    File {
        /// `writing "5" to`, `making`, …
        action: String,
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Processes outlive SIGKILL.
    #[error("processes {pids:?} in cgroup {name:?} are still alive {seconds} s after SIGKILL")]
    Survivors {
        /// The cgroup.
        name: String,
        /// Which processes.
        pids: Vec<i32>,
        /// How long the caller waited.
        seconds: u64,
    },
    /// systemd cannot be reached.
    #[error(
        "cannot reach systemd on the system message bus, which the systemd cgroup driver requires: install and \
         start dbus, or use the cgroupfs driver both here and in the container runtime"
    )]
    Bus(#[source] Box<zbus::Error>),
    /// systemd rejected the call, or the connection was lost.
    #[error("systemd failed to {action} {unit}")]
    Systemd {
        /// `start`, `stop`, …
        action: &'static str,
        /// The unit.
        unit: String,
        /// Why.
        source: Box<zbus::Error>,
    },
    /// systemd's job did not succeed.
    #[error("systemd job to {action} {unit} ended with result {result:?}")]
    Job {
        /// `start`, `stop`.
        action: &'static str,
        /// The unit.
        unit: String,
        /// `failed`, `timeout`, …
        result: String,
    },
}

impl CgroupError {
    fn file(action: impl Into<String>, path: &Path, source: io::Error) -> CgroupError {
        CgroupError::File {
            action: action.into(),
            path: path.to_owned(),
            source,
        }
    }
}

/// The hierarchy that is mounted at `root` (usually [`MOUNT_POINT`]). A machine with both, where the v2 tree has no
/// controllers, is v1.
pub fn detect(root: &Path) -> CgroupVersion {
    match nix::sys::statfs::statfs(root) {
        Ok(fs) if fs.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC => CgroupVersion::V2,
        _ => CgroupVersion::V1,
    }
}

/// Whether the kernel can limit swap per cgroup. On v2 the root has no such file, so the agent's own cgroup is checked.
pub fn limits_swap(version: CgroupVersion) -> bool {
    match version {
        CgroupVersion::V1 => Path::new(MOUNT_POINT)
            .join("memory/memory.memsw.limit_in_bytes")
            .exists(),
        CgroupVersion::V2 => {
            let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
            own.is_some_and(|own| Path::new(MOUNT_POINT).join(own).join("memory.swap.max").exists())
        }
    }
}

/// Creates, configures and removes cgroups. Cheap to clone.
#[derive(Clone)]
pub struct Cgroups {
    layout: Arc<CgroupLayout>,
    hierarchy: Arc<Hierarchy>,
    /// Present with the systemd driver.
    systemd: Option<Systemd>,
}

impl Cgroups {
    /// Finds the hierarchies and, for the systemd driver, connects to systemd. Missing optional controllers are logged
    /// once; their values are not written.
    pub async fn new(layout: CgroupLayout) -> Result<Cgroups, CgroupError> {
        let hierarchy = Hierarchy::mounted(layout.version)?;
        for (controller, effect) in hierarchy.missing() {
            tracing::warn!(
                controller,
                "cgroup controller is missing from the kernel: {effect}"
            );
        }
        let systemd = match layout.driver {
            CgroupDriver::Cgroupfs => None,
            CgroupDriver::Systemd => Some(Systemd::connect(layout.version).await?),
        };
        Ok(Cgroups {
            layout: Arc::new(layout),
            hierarchy: Arc::new(hierarchy),
            systemd,
        })
    }

    /// Creates the cgroup, with its parents if they are missing, and sets its values.
    pub async fn ensure(&self, setting: &CgroupSetting) -> Result<(), CgroupError> {
        let mut setting = setting.clone();
        if let Some(systemd) = &self.systemd {
            setting.cpu_quota = setting.cpu_quota.map(systemd::round_quota);
            let exists = self.exists(&setting.name);
            systemd.ensure_slice(&setting, exists).await?;
        }
        let path = self.path(&setting.name);
        let hierarchy = Arc::clone(&self.hierarchy);
        blocking(move || hierarchy.ensure(&path, &setting)).await
    }

    /// Kills what remains in the cgroup and removes it with everything below it. A missing cgroup is not an error.
    pub async fn remove(&self, name: &CgroupName) -> Result<(), CgroupError> {
        let path = self.path(name);
        let hierarchy = Arc::clone(&self.hierarchy);
        blocking({
            let (path, hierarchy) = (path.clone(), Arc::clone(&hierarchy));
            move || kill::end_all(&hierarchy, &path, KILL_DEADLINE)
        })
        .await?;
        if let Some(systemd) = &self.systemd {
            systemd.remove_slice(name).await?;
        }
        blocking(move || hierarchy.remove(&path)).await
    }

    /// Whether the cgroup exists.
    pub fn exists(&self, name: &CgroupName) -> bool {
        self.hierarchy.exists(&self.path(name))
    }

    /// The UIDs of all pods that have a cgroup.
    pub fn pod_uids(&self) -> Result<BTreeSet<PodUid>, CgroupError> {
        let mut uids = BTreeSet::new();
        for level in self.levels() {
            for child in self.hierarchy.children(&self.path(&level))? {
                uids.extend(pod_uid(&child, self.layout.driver));
            }
        }
        Ok(uids)
    }

    /// How many processes of a pod the kernel has killed for lack of memory since the pod's cgroup was created. `None`
    /// if the pod has no cgroup, and on cgroup v1, which counts each cgroup separately.
    pub fn memory_kills(&self, uid: &PodUid) -> Option<u64> {
        self.levels().find_map(|CgroupName(mut parts)| {
            parts.push(format!("pod{uid}"));
            let events = self
                .directory("memory", &CgroupName(parts))?
                .join("memory.events");
            killed(&std::fs::read_to_string(events).ok()?)
        })
    }

    /// The memory that the whole cgroup uses, in bytes; `None` if the kernel does not report it.
    pub fn memory_in_use(&self, name: &CgroupName) -> Option<u64> {
        let file = match self.layout.version {
            CgroupVersion::V1 => "memory.usage_in_bytes",
            CgroupVersion::V2 => "memory.current",
        };
        let path = self.directory("memory", name)?.join(file);
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// The parent cgroups of the pods' cgroups, one for each QoS class.
    fn levels(&self) -> impl Iterator<Item = CgroupName> {
        let levels = [
            &["kubepods"][..],
            &["kubepods", "burstable"],
            &["kubepods", "besteffort"],
        ];
        levels.into_iter().map(|level| {
            let root = self.layout.root.iter().cloned();
            CgroupName(root.chain(level.iter().map(|&part| part.to_owned())).collect())
        })
    }

    /// The directory of a cgroup in a controller's hierarchy, if the kernel has that controller.
    pub fn directory(&self, controller: &str, name: &CgroupName) -> Option<PathBuf> {
        Some(self.hierarchy.mount(controller)?.join(self.path(name)))
    }

    /// The path below the mount point.
    fn path(&self, name: &CgroupName) -> PathBuf {
        match self.layout.driver {
            CgroupDriver::Cgroupfs => name.0.iter().collect(),
            CgroupDriver::Systemd => systemd::path(name),
        }
    }
}

/// `oom_kill` of `memory.events`.
fn killed(events: &str) -> Option<u64> {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

/// The UID in the name of a pod's cgroup: `pod<uid>`, `kubepods-burstable-pod<uid>.slice`.
fn pod_uid(directory: &str, driver: CgroupDriver) -> Option<PodUid> {
    let uid = match driver {
        CgroupDriver::Cgroupfs => directory.strip_prefix("pod")?.to_owned(),
        CgroupDriver::Systemd => {
            let (_, last) = directory.strip_suffix(".slice")?.rsplit_once('-')?;
            last.strip_prefix("pod")?.replace('_', "-")
        }
    };
    // The UID becomes part of a path.
    Some(PodUid(uid)).filter(|uid| !matches!(uid.0.as_str(), "" | "." | ".."))
}

/// The kernel may block a cgroup operation for milliseconds while others are in progress, so none runs on a thread of
/// the asynchronous runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CgroupError> + Send + 'static,
) -> Result<T, CgroupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_uids_are_read_from_directory_names() {
        let check = |directory, driver, uid: Option<&str>| {
            assert_eq!(pod_uid(directory, driver), uid.map(|uid| PodUid(uid.to_owned())));
        };
        use CgroupDriver::{Cgroupfs, Systemd};
        check("pod12-ab", Cgroupfs, Some("12-ab"));
        check("burstable", Cgroupfs, None);
        check("pod", Cgroupfs, None);
        check("kubepods-burstable-pod12_ab.slice", Systemd, Some("12-ab"));
        check("kubepods-pod0f.slice", Systemd, Some("0f"));
        check("kubepods-burstable.slice", Systemd, None);
        check("cri-containerd-0f.scope", Systemd, None);
    }

    #[test]
    fn kills_are_read_from_the_events_of_memory() {
        let events = "low 0\nhigh 0\nmax 31\noom 2\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(killed(events), Some(3));
        assert_eq!(killed("low 0\nhigh 0\n"), None);
    }

    #[test]
    fn a_plain_directory_is_not_the_unified_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(detect(dir.path()), CgroupVersion::V1);
    }
}
