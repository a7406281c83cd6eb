//! What a step is given: the resources that all steps share, and the plan that it is of.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::credential_provider::Providers;
use super::files::{FileError, FilePlaces, Whose};
use super::mount_tools::MountTools;
use super::network_cache::NetworkCache;
use super::projects::ProjectIds;
use super::pull_records::PullRecords;
use super::pulls::Pulls;
use super::registry::DockerConfig;
use super::turn::Turns;
use super::user_ranges::PodUsers;
use super::volume::at_work::AtWork;
use super::volume::csi::CsiVolumes;
use super::volume::local::node_devices::NodeDevices;
use super::volume::network_disk::node_disks::NodeDisks;
use crate::ask::Names;
use crate::cgroup::Cgroups;
use crate::counters::Counters;
use crate::cri::Runtime;
use crate::model::outcome::{SlowAction, StepStarted};
use crate::model::pod::{PodName, PodUid};

/// How long to wait for running work when its plan is abandoned: nearly all of it takes milliseconds.
const HANDOVER: Duration = Duration::from_secs(1);

/// After this long it is reported what a step waits for.
const SLOW: Duration = Duration::from_secs(10);

/// The resources that all steps share.
#[derive(Clone)]
pub struct ActContext {
    /// The container runtime.
    pub runtime: Runtime,
    /// The cgroups of pods.
    pub cgroups: Cgroups,
    /// The pulls of images: one at a time if `serializeImagePulls` is on, else `maxParallelImagePulls`.
    pub pulls: Pulls,
    /// How many pods are worked on at once.
    pub turns: Turns,
    /// The files with the node's own registry credentials.
    pub docker_config: DockerConfig,
    /// The credential provider plugins.
    pub providers: Providers,
    /// Which images were pulled, and with which credentials.
    pub records: PullRecords,
    /// Resolves host names in hooks.
    pub names: Names,
    /// File operations that may hang.
    pub files: FilePlaces,
    /// The volumes of storage drivers.
    pub csi: CsiVolumes,
    /// Says what is being done with volumes.
    pub at_work: AtWork,
    /// The programs that mount.
    pub mounts: MountTools,
    /// The turns of devices that are mounted for the node.
    pub local: NodeDevices,
    /// The disks of storage networks that the node has.
    pub disks: NodeDisks,
    /// The project IDs of emptyDirs.
    pub projects: ProjectIds,
    /// The IDs of pods with user namespaces.
    pub users: PodUsers,
    /// What the runtime remembers of attached networks.
    pub network_cache: NetworkCache,
    /// Receives a report when a lengthy step starts; there may be no receiver.
    pub beginnings: mpsc::UnboundedSender<StepStarted>,
    /// Counts what is done.
    pub counters: Arc<Counters>,
}

/// The plan being executed.
pub(super) struct Work<'a> {
    pub(super) context: &'a ActContext,
    pub(super) pod: &'a PodName,
    pub(super) uid: &'a PodUid,
    pub(super) cancel: &'a CancellationToken,
}

impl Work<'_> {
    /// Reports that a lengthy step has started.
    pub(super) fn begins(&self, container: Option<&str>, what: SlowAction) {
        // If pods are only removed, there is no receiver.
        let _ = self.context.beginnings.send(StepStarted {
            pod: self.pod.clone(),
            uid: self.uid.clone(),
            container: container.map(str::to_owned),
            at: Timestamp::now(),
            what,
        });
    }

    /// Works, and reports after a while that it takes long: `what` says what is waited for by then.
    pub(super) async fn announced<T>(
        &self,
        reason: &'static str,
        what: impl Fn() -> String,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep(SLOW) => {}
        }
        let message = what();
        tracing::warn!("still waiting: {message}");
        self.begins(None, SlowAction::Wait { reason, message });
        work.await
    }

    /// Runs a file operation in a slot of the pod. If the plan is abandoned (the agent stops, the pod is changed or
    /// deleted), it does not wait for an operation that hangs.
    pub(super) async fn in_place<T: Send + 'static>(
        &self,
        whose: Whose,
        path: &Path,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileError> {
        let running = self.context.files.run(whose, self.uid, path, patience, work);
        match self.unless_abandoned(running).await {
            Some(result) => result.map_err(FileError::Failed),
            None => Err(FileError::Abandoned),
        }
    }

    /// Waits for work that may hang, and no longer than a moment once the plan is abandoned: `None`.
    pub(super) async fn unless_abandoned<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let given_up = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(HANDOVER).await;
        };
        tokio::select! {
            biased;
            result = work => Some(result),
            () = given_up => None,
        }
    }
}
