//! What loop 2 counts: it alone sees each step with its pod, and each change of a status.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::Loop;
use crate::counters::{ContainerType, Label};
use crate::model::claimed::claimed;
use crate::model::memory::Executed;
use crate::model::outcome::{Done, Outcome, StepError, StepReport};
use crate::model::pod::Pod;
use crate::model::reason::waiting;
use crate::model::step::{StepKind, Subject};
use crate::model::volume::plugin;

impl Loop {
    /// Counts the steps of an executed plan.
    pub(super) fn count_executed(&self, executed: &Executed) {
        let outcome = &executed.outcome;
        let pod = self.known(&outcome.pod).filter(|pod| pod.uid == outcome.uid);
        for step in &outcome.steps {
            self.counters
                .steps
                .ended(step.kind, step.took, step.result.is_err());
            self.count_step(outcome, pod.as_deref(), step);
        }
    }

    fn count_step(&self, outcome: &Outcome, pod: Option<&Pod>, step: &StepReport) {
        let counters = &self.counters;
        let failed = step.result.as_ref().is_err_and(StepError::counts);
        match (step.kind, &step.subject) {
            (StepKind::RunSandbox, _) => {
                counters.pods.sandboxed(failed);
                if pod.is_some_and(|pod| pod.namespaces.own_users) {
                    counters.pods.user_namespaced(failed);
                }
            }
            (StepKind::Resize, _) => counters.resizes.actuated(step.took, failed),
            (StepKind::EnsureVolume, Subject::Volume(name)) => {
                if let Some(plugin) = pod.and_then(|pod| self.plugin_of(pod, name)) {
                    counters.volumes.mounted(plugin, step.took, failed);
                }
            }
            (StepKind::EnsureVolumeImage, _) => self.count_pull(outcome, step),
            (kind, Subject::Container(name)) if kind.starts_container() => {
                let of = pod.and_then(|pod| type_of(pod, name));
                let of = of.unwrap_or(ContainerType::Container);
                // The first step of each attempt.
                if kind == StepKind::EnsureImage {
                    counters.containers.started(of);
                }
                if let Err(error) = &step.result
                    && error.counts()
                {
                    counters.containers.failed(of, error.reason);
                }
                self.count_pull(outcome, step);
                if kind == StepKind::CreateContainer
                    && let Some(pod) = pod
                {
                    self.count_image_volumes(pod, name, step);
                }
            }
            _ => {}
        }
    }

    fn count_pull(&self, outcome: &Outcome, step: &StepReport) {
        if let Ok(Done::ImagePulled { size, pull, .. }) = &step.result {
            self.counters.images.pulled(*size, *pull);
            self.counters
                .pod_starts
                .pulled(&outcome.uid, step.began, step.took);
        }
    }

    /// Counts the images that a container was to mount, as the kubelet does: not if one of them could not be had.
    fn count_image_volumes(&self, pod: &Pod, container: &str, step: &StepReport) {
        let error = step.result.as_ref().err();
        if error.is_some_and(|error| !error.counts() || error.is_about_image()) {
            return;
        }
        let images = pod.image_volumes();
        let container = pod.all_containers().find(|own| own.name == container);
        let mounts = container.into_iter().flat_map(|container| &container.mounts);
        let mounted: Vec<&str> = mounts
            .map(|mount| mount.volume.as_str())
            .filter(|volume| images.contains_key(volume))
            .collect();
        let volumes: BTreeSet<&str> = mounted.iter().copied().collect();
        let failed = error.is_some_and(|error| error.message.starts_with(waiting::IMAGE_VOLUME_MOUNT_FAILED));
        self.counters.images.mounted(volumes.len(), mounted.len(), failed);
    }

    /// Counts what a status shows and the one before it did not.
    pub(super) fn count_changes(
        &self,
        pod: &Pod,
        before: Option<&PodStatus>,
        after: Option<&PodStatus>,
        now: Timestamp,
    ) {
        let Some(after) = after else { return };
        let phase = |status: &PodStatus| status.phase.clone().unwrap_or_default();
        let was_pending = before.is_some_and(|before| phase(before) == "Pending");
        if was_pending && phase(after) == "Running" {
            let since_seen = now.duration_since(pod.seen);
            self.counters.pods.running(since_seen.unsigned_abs());
        }
        type Statuses = fn(&PodStatus) -> &Option<Vec<ContainerStatus>>;
        let lists: [(ContainerType, Statuses); 3] = [
            (ContainerType::Init, |status| &status.init_container_statuses),
            (ContainerType::Container, |status| &status.container_statuses),
            (ContainerType::Ephemeral, |status| {
                &status.ephemeral_container_statuses
            }),
        ];
        for (of, statuses) in lists {
            let before = before.and_then(|before| statuses(before).as_deref());
            for status in statuses(after).iter().flatten() {
                let former = before
                    .unwrap_or_default()
                    .iter()
                    .find(|former| former.name == status.name);
                let ended = |status: &ContainerStatus| status.state.as_ref()?.terminated.clone();
                if let (Some(end), None) = (ended(status), former.and_then(ended)) {
                    let reason = end.reason.as_deref().unwrap_or_default();
                    self.counters.containers.terminated(of, end.exit_code, reason);
                }
            }
        }
    }

    /// The kubelet's name of the type of a pod's volume.
    fn plugin_of(&self, pod: &Pod, name: &str) -> Option<Label> {
        let objects = self.desired.objects(&pod.source);
        let claimed = objects.map(|objects| claimed(pod, objects)).unwrap_or_default();
        if let Some(found) = claimed.into_iter().find(|one| one.volume == name) {
            return Some(found.plugin.into());
        }
        let volumes = pod.object.spec.as_ref()?.volumes.as_ref()?;
        let found = volumes.iter().find(|volume| volume.name == name);
        found.map(|volume| plugin(volume).into())
    }
}

fn type_of(pod: &Pod, name: &str) -> Option<ContainerType> {
    let lists = [
        (ContainerType::Init, &pod.init_containers),
        (ContainerType::Container, &pod.containers),
        (ContainerType::Ephemeral, &pod.ephemeral_containers),
    ];
    let found = lists
        .into_iter()
        .find(|(_, containers)| containers.iter().any(|container| container.name == name));
    found.map(|(of, _)| of)
}
