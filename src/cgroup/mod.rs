//! The wire to the kernel's cgroups, with either driver and on either hierarchy: creates, configures, reads and removes
//! them. `plan::cgroup` decides the values; here they are only written, and an unchanged value is not written again.
//!
//! - [`Cgroups`], below: what other rooms call. With the systemd driver a cgroup is a slice; systemd creates the
//!   directories of the controllers it knows, and the rest is done as with the cgroupfs driver, in the slice's
//!   directories.
//! - `machine`: what this machine has: which version is mounted, and whether swap can be limited.
//! - `hierarchy`: the directories of the mounted hierarchies.
//! - `values`: the files in them.
//! - `kill`: ends every process of a cgroup before it is removed.
//! - `systemd`: slices over D-Bus.
//! - `error`: what a call can fail with.
//!
//! Interprets nothing: knows neither pods' specifications nor policy. It chooses no value and repeats no call.

mod error;
mod hierarchy;
mod kill;
mod values;
mod machine;
mod notice;
mod systemd;
mod usage;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::counters::{CgroupOperation, Counters};
use crate::model::node::{CgroupDriver, CgroupLayout, CgroupName, CgroupVersion};
use crate::model::pod::PodUid;
use crate::model::request::CgroupSetting;
use hierarchy::Hierarchy;
use systemd::Systemd;

pub use error::CgroupError;
pub use machine::{MOUNT_POINT, detect, limits_swap};
pub use notice::MemoryNotice;
pub use usage::{Activity, OpenCgroup, UsageReader};

/// How long the processes of a cgroup may take to end after SIGKILL. A process that waits for a dead disk may never
/// end; the removal then fails and is planned again.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Sets the values of a cgroup in the hierarchies.
type Write = fn(&Hierarchy, &Path, &CgroupSetting) -> Result<(), CgroupError>;

/// Creates, configures and removes cgroups. Cheap to clone.
#[derive(Clone)]
pub struct Cgroups {
    version: CgroupVersion,
    driver: CgroupDriver,
    /// `cgroupRoot`, as components.
    root: Arc<[String]>,
    hierarchy: Arc<Hierarchy>,
    /// Present with the systemd driver.
    systemd: Option<Systemd>,
    counters: Arc<Counters>,
}

impl Cgroups {
    /// Finds the hierarchies and, for the systemd driver, connects to systemd. Missing optional controllers are logged
    /// once; their values are not written.
    pub async fn new(layout: &CgroupLayout) -> Result<Cgroups, CgroupError> {
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
            version: layout.version,
            driver: layout.driver,
            root: layout.root.as_slice().into(),
            hierarchy: Arc::new(hierarchy),
            systemd,
            counters: Arc::default(),
        })
    }

    /// Those of a unified hierarchy at another place than [`MOUNT_POINT`], with the cgroupfs driver. The directory need
    /// not be a mount point: tests lay one out with files of their own, and leave the machine's alone.
    pub fn unified(mount: &Path) -> Result<Cgroups, CgroupError> {
        Ok(Cgroups {
            version: CgroupVersion::V2,
            driver: CgroupDriver::Cgroupfs,
            root: Arc::default(),
            hierarchy: Arc::new(Hierarchy::unified(mount)?),
            systemd: None,
            counters: Arc::default(),
        })
    }

    /// The same, counting in `counters` from now on.
    pub fn counting(self, counters: Arc<Counters>) -> Cgroups {
        Cgroups { counters, ..self }
    }

    /// Creates the cgroup, with its parents if they are missing, and sets its values.
    pub async fn ensure(&self, setting: &CgroupSetting) -> Result<(), CgroupError> {
        let operation = match self.exists(&setting.name) {
            true => CgroupOperation::Update,
            false => CgroupOperation::Create,
        };
        self.counted(operation, self.set(setting, Hierarchy::ensure))
            .await
    }

    async fn set(&self, setting: &CgroupSetting, write: Write) -> Result<(), CgroupError> {
        let mut setting = setting.clone();
        if let Some(systemd) = &self.systemd {
            setting.cpu_quota = setting.cpu_quota.map(systemd::round_quota);
            let exists = self.exists(&setting.name);
            systemd.ensure_slice(&setting, exists).await?;
        }
        let path = self.path(&setting.name);
        let hierarchy = Arc::clone(&self.hierarchy);
        blocking(move || write(&hierarchy, &path, &setting)).await
    }

    /// Sets the values of a cgroup that others have made; it is an error if it does not exist.
    pub async fn update(&self, setting: &CgroupSetting) -> Result<(), CgroupError> {
        self.counted(CgroupOperation::Update, async {
            self.require(&setting.name)?;
            self.set(setting, Hierarchy::update).await
        })
        .await
    }

    /// An error if the cgroup lacks a directory in one of the hierarchies that limit something.
    pub fn require(&self, name: &CgroupName) -> Result<(), CgroupError> {
        let missing = self.hierarchy.missing_directories(&self.path(name));
        if missing.is_empty() {
            return Ok(());
        }
        let paths: Vec<String> = missing.iter().map(|path| path.display().to_string()).collect();
        Err(CgroupError::MissingCgroup {
            cgroup: name.0.clone(),
            paths: paths.join(", "),
        })
    }

    /// Moves a process into the cgroup at this path below the mount points, which is created if it is missing. The path is
    /// that of directories with either driver (`createManager` in `pkg/kubelet/cm/container_manager_linux.go`).
    pub async fn join(&self, path: &Path, process: u32) -> Result<(), CgroupError> {
        let (path, hierarchy) = (path.to_owned(), Arc::clone(&self.hierarchy));
        blocking(move || hierarchy.join(&path, process)).await
    }

    /// Kills what remains in the cgroup and removes it with everything below it. A missing cgroup is not an error.
    pub async fn remove(&self, name: &CgroupName) -> Result<(), CgroupError> {
        self.counted(CgroupOperation::Destroy, self.end(name)).await
    }

    async fn end(&self, name: &CgroupName) -> Result<(), CgroupError> {
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

    async fn counted<T>(&self, operation: CgroupOperation, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = work.await;
        self.counters.cgroups.ended(operation, began.elapsed());
        result
    }

    /// Whether the cgroup exists.
    pub fn exists(&self, name: &CgroupName) -> bool {
        self.hierarchy.exists(&self.path(name))
    }

    /// The UIDs of all pods that have a cgroup.
    pub fn pod_uids(&self) -> Result<BTreeSet<PodUid>, CgroupError> {
        let mut uids = BTreeSet::new();
        for level in self.qos_cgroups() {
            for child in self.hierarchy.children(&self.path(&level))? {
                uids.extend(pod_uid(&child, self.driver));
            }
        }
        Ok(uids)
    }

    /// How many processes of a pod the kernel has killed for lack of memory since the pod's cgroup was created. `None`
    /// if the pod has no cgroup, and on cgroup v1, which counts each cgroup separately.
    pub fn memory_kills(&self, uid: &PodUid) -> Option<u64> {
        self.qos_cgroups().find_map(|CgroupName(mut parts)| {
            parts.push(format!("pod{uid}"));
            let events = self
                .directory("memory", &CgroupName(parts))?
                .join("memory.events");
            killed(&std::fs::read_to_string(events).ok()?)
        })
    }

    /// The memory that the whole cgroup uses, in bytes; `None` if the kernel does not report it.
    pub fn memory_in_use(&self, name: &CgroupName) -> Option<u64> {
        let file = match self.version {
            CgroupVersion::V1 => "memory.usage_in_bytes",
            CgroupVersion::V2 => "memory.current",
        };
        let path = self.directory("memory", name)?.join(file);
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// The parent cgroups of the pods' cgroups, one for each QoS class.
    fn qos_cgroups(&self) -> impl Iterator<Item = CgroupName> {
        let qos_cgroups = [
            &["kubepods"][..],
            &["kubepods", "burstable"],
            &["kubepods", "besteffort"],
        ];
        qos_cgroups.into_iter().map(|level| {
            let root = self.root.iter().cloned();
            CgroupName(root.chain(level.iter().map(|&part| part.to_owned())).collect())
        })
    }

    /// The directory of a cgroup in a controller's hierarchy, if the kernel has that controller.
    pub fn directory(&self, controller: &str, name: &CgroupName) -> Option<PathBuf> {
        Some(self.hierarchy.mount(controller)?.join(self.path(name)))
    }

    /// The path below the mount point.
    fn path(&self, name: &CgroupName) -> PathBuf {
        match self.driver {
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
    fn a_pod_is_found_below_every_qos_class() {
        let root = tempfile::tempdir().unwrap();
        let make = |file: &str, text: &str| {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        make("cgroup.controllers", "cpu memory");
        make("kubepods/poda/memory.events", "oom_kill 1\n");
        make("kubepods/burstable/podb/memory.events", "oom_kill 2\n");
        make("kubepods/burstable/podb/memory.current", "4096\n");
        make("kubepods/besteffort/podc/cgroup.procs", "");
        make("kubepods/burstable/podb/podd/cgroup.procs", "");
        let cgroups = Cgroups::unified(root.path()).unwrap();
        let uid = |uid: &str| PodUid(uid.to_owned());
        assert_eq!(cgroups.pod_uids().unwrap(), ["a", "b", "c"].map(uid).into());
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| cgroups.memory_kills(&uid(name))),
            [Some(1), Some(2), None, None]
        );
        let used = |parts: &[&str]| {
            cgroups.memory_in_use(&CgroupName(parts.iter().map(|&part| part.to_owned()).collect()))
        };
        assert_eq!(used(&["kubepods", "burstable", "podb"]), Some(4096));
        assert_eq!(used(&["kubepods", "poda"]), None);
    }
}
