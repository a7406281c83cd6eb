//! The observer's settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cgroup::Cgroups;
use crate::counters::Counters;

/// The observer's settings.
pub struct Settings {
    /// The directory of the pods (`/var/lib/kubelet/pods`): termination messages are read beneath it, and leftovers of
    /// pods without sandboxes are reported.
    pub pods_dir: PathBuf,
    /// The directory of the pods' logs (`/var/log/pods`): the ends of logs are read beneath it.
    pub pod_logs_dir: PathBuf,
    /// How often everything is read while events come, 10 s.
    pub relist: Duration,
    /// How often the images are listed even without an event, 5 min.
    pub list_images: Duration,
    /// The pods' cgroups: which pods have one, and how often the kernel killed a process of a pod for lack of memory.
    pub cgroups: Cgroups,
    /// Counts what is read.
    pub counters: Arc<Counters>,
}
