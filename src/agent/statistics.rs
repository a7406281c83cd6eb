//! The tasks that measure the node and its pods on request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::loops::NodeParts;
use super::tasks::Tasks;
use super::values::Values;
use crate::config::Config;
use crate::counters::Counters;
use crate::model::stats::NodeFacts;
use crate::stats::{
    self, Handle, HealthReports, MountedHandle, MountedPlace, MountedRequests, Place, Quotas, Requests,
    StorageHandle, StoragePlace, StorageRequests, boot_time, mounted_requests, requests, storage_requests,
    topology,
};

/// The mount point of proc(5).
const PROC: &str = "/proc";

/// Both ends of the requests. They are answered from the time on when it is known where the cgroups are.
pub(super) struct Statistics {
    pub(super) samples: Handle,
    pub(super) storage: StorageHandle,
    pub(super) mounted: MountedHandle,
    unanswered: Option<(Requests, StorageRequests)>,
    unanswered_of_mounted: Option<MountedRequests>,
}

impl Statistics {
    pub(super) fn new() -> Statistics {
        let (samples, requests) = requests();
        let (storage, of_storage) = storage_requests();
        let (mounted, of_mounted) = mounted_requests();
        Statistics {
            samples,
            storage,
            mounted,
            unanswered: Some((requests, of_storage)),
            unanswered_of_mounted: Some(of_mounted),
        }
    }

    /// Spawns the tasks that need the runtime. To be called once.
    pub(super) fn spawn(&mut self, tasks: &mut Tasks, config: &Config, values: &Values, parts: &NodeParts) {
        let Some((requests, of_storage)) = self.unanswered.take() else {
            return;
        };
        let proc = PathBuf::from(PROC);
        let place = Place {
            cgroups: parts.act.cgroups.clone(),
            facts: Arc::new(NodeFacts {
                booted: boot_time(&proc).unwrap_or(Timestamp::UNIX_EPOCH),
                machine: parts.machine.clone(),
                topology: topology(Path::new("/sys")),
                sandbox_image: parts.sandbox_image.clone(),
            }),
            proc,
            runtime: config.runtime.endpoint.clone(),
        };
        let (snapshot, end) = (values.snapshot.1.clone(), tasks.cancel.clone());
        tasks.spawn("statistics", stats::run(place, snapshot, requests, end));
        let place = StoragePlace {
            root: config.paths.root.clone(),
            logs: config.paths.pod_logs.clone(),
            quotas: match config.node.project_quotas {
                true => Quotas::Asked,
                false => Quotas::Ignored,
            },
            runtime: parts.act.runtime.clone(),
            measured: values.measured.1.clone(),
            counters: parts.act.counters.clone(),
        };
        let end = tasks.cancel.clone();
        tasks.spawn("storage statistics", stats::run_storage(place, of_storage, end));
        let handles = (self.samples.clone(), self.storage.clone());
        let (wanted, out) = (values.wanted.1.clone(), values.pods_use.0.clone());
        let measuring = stats::run_pods_use(handles, wanted, out, tasks.cancel.clone());
        tasks.spawn("use of pods", measuring);
    }

    /// Spawns the task that needs no runtime. To be called once.
    pub(super) fn spawn_mounted(
        &mut self,
        tasks: &mut Tasks,
        config: &Config,
        values: &Values,
        counters: &Arc<Counters>,
    ) {
        let Some(of_mounted) = self.unanswered_of_mounted.take() else {
            return;
        };
        let place = MountedPlace {
            root: config.paths.root.clone(),
            drivers: values.drivers.1.clone(),
            period: config.node.volume_stats,
            health: match config.node.volume_health {
                true => HealthReports::Asked,
                false => HealthReports::Ignored,
            },
            counters: counters.clone(),
        };
        let end = tasks.cancel.clone();
        tasks.spawn("volume statistics", stats::run_mounted(place, of_mounted, end));
    }
}
