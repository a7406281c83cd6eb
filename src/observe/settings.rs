//! How the runtime is observed.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::out_of_memory::Kills;
use crate::model::pod::PodUid;

/// How the runtime is observed.
pub struct Settings {
    /// The directory of the pods (`/var/lib/kubelet/pods`): termination messages are read beneath it, and
    /// what is left in it of pods without sandboxes is told.
    pub pods_dir: PathBuf,
    /// The directory of the pods' logs (`/var/log/pods`): the ends of logs are read beneath it.
    pub pod_logs_dir: PathBuf,
    /// How often everything is read while events come, 10 s.
    pub relist: Duration,
    /// How often the images are listed even if no event told of a change, 5 min.
    pub list_images: Duration,
    /// The pods that have a cgroup (`act::cgroup::Cgroups::pod_uids`; this room does not know that one).
    pub pod_cgroups: Box<dyn Fn() -> io::Result<BTreeSet<PodUid>> + Send + Sync>,
    /// How often the kernel killed a process of a pod (`act::cgroup::Cgroups::memory_kills`).
    pub memory_kills: Kills,
}
