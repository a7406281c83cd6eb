//! The events of a pod, worded as in the kubelet: from an execution's outcome, and from waiting containers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::format::{full_name, go_duration};
use super::image_volume;
use super::node::network_fault;
use super::resize;
use std::path::Path;

use crate::model::api::has_final_phase;
use crate::model::end::End;
use crate::model::event::{EventType, PodEvent};
use crate::model::expansion::Expansion;
use crate::model::memory::{PodFailure, PodMemory};
use crate::model::node::NodePolicy;
use crate::model::object::Objects;
use crate::model::outcome::{Done, HookResult, Outcome, SlowAction, StepError, StepReport, StepStarted};
use crate::model::pod::{Container, Pod, VolumeSource};
use crate::model::probe::ProbeKind;
use crate::model::reason::{self, waiting};
use crate::model::reference::absent_pull_secrets;
use crate::model::runtime::{ObservedContainer, ObservedName, RuntimeState};
use crate::model::step::{StepKind, Subject};

/// The events of an execution; `memory` is the memory after it.
pub fn events(pod: &Pod, outcome: &Outcome, memory: Option<&PodMemory>) -> Vec<PodEvent> {
    let mut all = Vec::new();
    // If another party has written an end into the status, that party reports it.
    let end = memory.and_then(|memory| memory.ended.as_ref());
    let stopped = outcome
        .steps
        .iter()
        .any(|report| report.kind == StepKind::StopContainer);
    if let Some(end @ End::Deadline) = end.filter(|_| stopped) {
        all.push(event(
            EventType::Normal,
            end.reason(),
            end.message().into_owned(),
            "",
        ));
    }
    // A sandbox that has ended is stopped completely before there is another.
    let has = |kind| outcome.steps.iter().any(|report| report.kind == kind);
    if has(StepKind::StopSandbox) && has(StepKind::RunSandbox) {
        let message = "Pod sandbox changed, it will be killed and re-created.";
        all.push(event(EventType::Normal, "SandboxChanged", message.to_owned(), ""));
    }
    for report in &outcome.steps {
        match &report.result {
            Ok(done) => all.extend(of_done(pod, report, done)),
            Err(error) if !error.counts() => {}
            // The rejection has an event of its own.
            Err(error)
                if error.reason == reason::pod::VOLUME_ATTACHMENT_LIMIT
                    && end.is_some_and(End::is_refusal) => {}
            Err(error) => all.extend(of_error(pod, report, error)),
        }
    }
    all
}

/// The events at the start of a lengthy step.
pub fn begun(pod: &Pod, beginning: &StepStarted) -> Vec<PodEvent> {
    let container = beginning.container.as_deref();
    let path = container.map_or_else(String::new, |container| field_path(pod, container));
    let normal = |reason: &str, message: String| event(EventType::Normal, reason, message, &path);
    match &beginning.what {
        SlowAction::Pull { image } => vec![normal("Pulling", format!("Pulling image {image:?}"))],
        SlowAction::PullLasts(pull) => vec![normal("StillPulling", pull.message())],
        SlowAction::Stop { message } => vec![normal("Killing", message.clone())],
        SlowAction::Wait { reason, message } => {
            vec![event(EventType::Warning, reason, message.clone(), "")]
        }
        SlowAction::StopAfterFailedHook => {
            let (reason, message) = ("FailedPostStartHook", "PostStartHook failed".to_owned());
            vec![
                event(EventType::Warning, reason, message, &path),
                normal("Killing", reason.to_owned()),
            ]
        }
    }
}

/// The event that images are pulled without Secrets that the pod names, if this execution needed images.
pub fn unretrieved(pod: &Pod, outcome: &Outcome, objects: &Objects) -> Option<PodEvent> {
    let mut steps = outcome.steps.iter();
    let needs_image = |kind| matches!(kind, StepKind::EnsureImage | StepKind::EnsureVolumeImage);
    if !steps.any(|report| needs_image(report.kind)) {
        return None;
    }
    let absent = absent_pull_secrets(pod, objects);
    let message = format!(
        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
        absent.join(", ")
    );
    (!absent.is_empty()).then(|| event(EventType::Warning, "FailedToRetrieveImagePullSecret", message, ""))
}

/// The event that a pod waits for the runtime's network. The kubelet emits it for running pods, too, whenever it looks
/// at one.
pub fn network_not_ready(
    pod: &Pod,
    status: &PodStatus,
    observed: &ObservedName,
    runtime: &RuntimeState,
) -> Option<PodEvent> {
    let seen = observed.uids.get(&pod.uid);
    let has_sandbox = seen.is_some_and(|seen| seen.ready_sandbox().is_some());
    if pod.namespaces.host_network || pod.deletion.is_some() || has_final_phase(Some(status)) || has_sandbox {
        return None;
    }
    let message = format!("network is not ready: {}", network_fault(runtime)?);
    Some(event(EventType::Warning, "NetworkNotReady", message, ""))
}

/// The event that a pod does not get the resources that it requests, unless `previous` already says so.
pub fn resize_pending(pod: &Pod, memory: &PodMemory, previous: Option<&PodStatus>) -> Option<PodEvent> {
    let pending = memory.resize.as_ref()?;
    let mut reported = previous
        .into_iter()
        .flat_map(|previous| previous.conditions.iter().flatten());
    let reported = reported.find(|condition| condition.type_ == resize::PENDING);
    let is_reported = reported.is_some_and(|reported| {
        let generation = Some(pending.generation).filter(|&generation| generation > 0);
        reported.reason.as_deref() == Some(pending.outlook.as_str())
            && reported.observed_generation == generation
    });
    let reason = format!("Resize{}", pending.outlook.as_str());
    let message = resize::refused(pod, pending);
    (!is_reported).then(|| event(EventType::Warning, &reason, message, ""))
}

/// The probe failures of a pod since the previous observation.
pub fn complaints(pod: &Pod, before: Option<&ObservedName>, observed: &ObservedName) -> Vec<PodEvent> {
    let former = before.and_then(|before| before.uids.get(&pod.uid));
    let seen = observed.uids.get(&pod.uid);
    let mut all = Vec::new();
    for instance in seen.into_iter().flat_map(|seen| &seen.containers) {
        let Some(health) = &instance.health else { continue };
        let same = |former: &&ObservedContainer| former.id == instance.id;
        let former = former.and_then(|former| former.containers.iter().find(same));
        let former = former.and_then(|former| former.health.as_ref());
        for kind in ProbeKind::ALL {
            let probed = health.get(kind);
            let known = former.map_or(0, |former| former.get(kind).troubles);
            let Some(trouble) = &probed.last else { continue };
            let path = field_path(pod, &instance.name);
            // Observations may have been skipped; each failure counts.
            for _ in known..probed.troubles {
                all.push(event(
                    EventType::Warning,
                    trouble.reason,
                    trouble.message.clone(),
                    &path,
                ));
            }
        }
    }
    all
}

/// The events about back-offs: the kubelet emits them each time it looks at the pod, the agent each time it makes a
/// plan.
pub fn waiting(
    pod: &Pod,
    observed: &ObservedName,
    memory: &PodMemory,
    policy: &NodePolicy,
    now: Timestamp,
) -> Vec<PodEvent> {
    let seen = observed.uids.get(&pod.uid);
    let mut all = Vec::new();
    let is_delayed = |failure: &PodFailure| failure.error.is_failed_pull() && failure.backoff.ends() > now;
    let delayed = image_volume::failed(pod, memory)
        .into_iter()
        .filter(|(_, _, failure)| is_delayed(failure));
    let delayed: BTreeMap<&str, &str> = delayed.map(|(volume, image, _)| (volume, image)).collect();
    let back_off = |image: &str, path: &str| {
        let message = format!("Back-off pulling image {image:?}");
        event(EventType::Normal, "BackOff", message, path)
    };
    all.extend(delayed.values().map(|image| back_off(image, "")));
    for container in pod.all_containers() {
        let newest = seen.and_then(|seen| seen.container(&container.name));
        let Some(memory) = memory
            .of_container(container)
            .filter(|_| seen.is_none_or(|seen| seen.must_start(container)))
        else {
            continue;
        };
        let path = field_path(pod, &container.name);
        let until = newest.and_then(|newest| memory.restarts_at(newest, policy.max_restart_backoff));
        if until.is_some_and(|until| until > now) {
            let message = format!(
                "Back-off restarting failed container {} in pod {}",
                container.name,
                full_name(pod)
            );
            all.push(event(EventType::Warning, "BackOff", message, &path));
            continue;
        }
        let mounted = container
            .mounts
            .iter()
            .filter(|mount| delayed.contains_key(mount.volume.as_str()));
        let mut failures = mounted.count();
        if failures == 0 && memory.pull.is_some_and(|pull| pull.ends() > now) {
            all.push(back_off(&container.image, &path));
            failures = 1;
        }
        for _ in 0..failures {
            let message = format!("Error: {}", waiting::IMAGE_PULL_BACK_OFF);
            all.push(event(EventType::Warning, "Failed", message, &path));
        }
    }
    all
}

/// `GenerateMapVolumeFunc` in `pkg/volume/util/operationexecutor`.
fn mapped(volume: &str, global: &Path, pod: &Path) -> Vec<PodEvent> {
    let event = |what: &str, path: &Path| {
        let message = format!(
            "MapVolume.MapPodDevice succeeded for volume {volume:?} {what} {:?}",
            path.display().to_string()
        );
        event(EventType::Normal, "SuccessfulMountVolume", message, "")
    };
    vec![event("globalMapPath", global), event("volumeMapPath", pod)]
}

/// `expandOnPlugin` in `pkg/volume/util/operationexecutor/node_expander.go`; its message has the same two spaces.
fn expanded(pod: &Pod, expansion: &Expansion) -> PodEvent {
    let node = pod
        .object
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref());
    let message = format!(
        "MountVolume.NodeExpandVolume succeeded for volume {:?}  {}",
        expansion.volume,
        node.unwrap_or_default()
    );
    event(EventType::Normal, "FileSystemResizeSuccessful", message, "")
}

fn of_done(pod: &Pod, report: &StepReport, done: &Done) -> Vec<PodEvent> {
    if let Done::AllocationWritten { allocation, occasion } = done {
        let new = resize::progress(pod, allocation, *occasion);
        return new
            .map(|(reason, message)| event(EventType::Normal, reason, message, ""))
            .collect();
    }
    if let Done::VolumeExpanded { expansion, .. } = done {
        return vec![expanded(pod, expansion)];
    }
    if let Done::DeviceMapped { volume, global, pod } = done {
        return mapped(volume, global, pod);
    }
    let path = match &report.subject {
        Subject::Container(name) => field_path(pod, name),
        Subject::ImageVolume(_) => String::new(),
        Subject::Pod | Subject::Volume(_) => return Vec::new(),
    };
    let normal = |reason: &str, message: String| event(EventType::Normal, reason, message, &path);
    match (done, report.kind) {
        (Done::ImagePresent { image }, _) => vec![normal(
            "Pulled",
            format!("Container image {image:?} already present on machine and can be accessed by the pod"),
        )],
        (
            Done::ImagePulled {
                image,
                size,
                pull,
                waited,
            },
            _,
        ) => vec![normal(
            "Pulled",
            format!(
                "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {size} bytes.",
                go_duration(*pull),
                go_duration(*waited)
            ),
        )],
        (Done::Container { .. }, StepKind::CreateContainer) => {
            vec![normal("Created", "Container created".to_owned())]
        }
        (Done::Container { .. }, StepKind::StartContainer) => {
            vec![normal("Started", "Container started".to_owned())]
        }
        (
            Done::Stopped {
                hook: HookResult::Failed,
            },
            _,
        ) => vec![event(
            EventType::Warning,
            "FailedPreStopHook",
            "PreStopHook failed".to_owned(),
            &path,
        )],
        _ => Vec::new(),
    }
}

fn of_error(pod: &Pod, report: &StepReport, error: &StepError) -> Vec<PodEvent> {
    let warning =
        |reason: &str, message: String, path: &str| event(EventType::Warning, reason, message, path);
    if let Subject::ImageVolume(volume) = &report.subject {
        return of_image_error(volume_image(pod, volume), error, "");
    }
    let Subject::Container(name) = &report.subject else {
        let message = match report.kind {
            StepKind::Resize => resize::error(pod, &error.message),
            _ => error.message.clone(),
        };
        return vec![warning(error.reason, message, "")];
    };
    let path = field_path(pod, name);
    let failed = |message: &str| warning("Failed", format!("Error: {message}"), &path);
    match report.kind {
        StepKind::EnsureImage => {
            let mut events = of_image_error(image(pod, name), error, &path);
            events.push(failed(error.reason));
            events
        }
        // The image of a volume could not be had.
        StepKind::CreateContainer if error.is_about_image() => vec![failed(error.reason)],
        // Reported when the stop of the container started.
        StepKind::PostStart => Vec::new(),
        StepKind::CreateContainer | StepKind::StartContainer => vec![failed(&error.message)],
        // About the pod, as in the kubelet: it could not reach its desired state.
        _ => vec![warning(error.reason, error.message.clone(), "")],
    }
}

/// The image of a container.
fn image<'a>(pod: &'a Pod, container: &str) -> &'a str {
    let image = pod.all_containers().find(|c| c.name == container);
    image.map_or("", |container| container.image.as_str())
}

/// The image of a volume.
fn volume_image<'a>(pod: &'a Pod, volume: &str) -> &'a str {
    let volume = pod.volumes.iter().find(|own| own.name == volume);
    match volume.map(|volume| &volume.source) {
        Some(VolumeSource::Image { reference, .. }) => reference,
        _ => "",
    }
}

fn of_image_error(image: &str, error: &StepError, path: &str) -> Vec<PodEvent> {
    let (reason, message) = match error.reason {
        waiting::ERR_IMAGE_NEVER_PULL => (waiting::ERR_IMAGE_NEVER_PULL, error.message.clone()),
        waiting::INVALID_IMAGE_NAME | waiting::IMAGE_INSPECT_ERROR => {
            ("InspectFailed", error.message.clone())
        }
        _ => (
            "Failed",
            format!("Failed to pull image {image:?}: {}", error.message),
        ),
    };
    vec![event(EventType::Warning, reason, message, path)]
}

fn field_path(pod: &Pod, container: &str) -> String {
    let is_among = |list: &[Container]| list.iter().any(|of_pod| of_pod.name == container);
    let list = if is_among(&pod.init_containers) {
        "initContainers"
    } else if is_among(&pod.ephemeral_containers) {
        "ephemeralContainers"
    } else {
        "containers"
    };
    format!("spec.{list}{{{container}}}")
}

pub(super) fn event(kind: EventType, reason: &str, message: String, field_path: &str) -> PodEvent {
    PodEvent {
        annotations: BTreeMap::new(),
        kind,
        reason: reason.to_owned(),
        message,
        field_path: (!field_path.is_empty()).then(|| field_path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::image_progress::{Phase, Progress};
    use crate::model::outcome::LastingPull;
    use crate::model::pod::RestartPolicy;
    use crate::model::runtime::ObservedPod;
    use crate::model::sample;

    /// The message about a pod in this phase, with or without a sandbox, while the runtime's network is not ready.
    fn network_message(pod: &Pod, phase: &str, has_sandbox: bool) -> Option<String> {
        let status = PodStatus {
            phase: Some(phase.to_owned()),
            ..PodStatus::default()
        };
        let sandboxes = has_sandbox
            .then(|| sample::sandbox(0, true, 0))
            .into_iter()
            .collect();
        let seen = ObservedPod {
            sandboxes,
            ..ObservedPod::default()
        };
        let observed = ObservedName {
            uids: [(pod.uid.clone(), seen)].into(),
        };
        let message = "Network plugin returns error: cni plugin not initialized";
        let runtime = RuntimeState {
            reachable: Some(Ok(())),
            network_fault: Some(("NetworkPluginNotReady".to_owned(), message.to_owned())),
            ..RuntimeState::default()
        };
        network_not_ready(pod, &status, &observed, &runtime).map(|event| event.message)
    }

    #[test]
    fn a_pull_that_lasts_is_an_event_of_its_own_with_what_has_arrived() {
        let pod = sample::pod(RestartPolicy::Never, &[], &["c"]);
        let lasts = StepStarted {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            container: Some("c".to_owned()),
            at: sample::at(0),
            what: SlowAction::PullLasts(LastingPull {
                image: "demo:1".to_owned(),
                after: Duration::from_secs(360),
                progress: Progress::of_bytes(Phase::Downloading, 5 << 20, Some(80 << 20)),
            }),
        };
        let [event] = &begun(&pod, &lasts)[..] else {
            panic!("one event")
        };
        assert_eq!((event.kind, &*event.reason), (EventType::Normal, "StillPulling"));
        assert_eq!(
            event.message,
            "Still pulling image \"demo:1\" after 6 min: 5.0 of 80.0 MiB"
        );
        assert_eq!(event.field_path.as_deref(), Some("spec.containers{c}"));
    }

    /// The reasons of the events after these steps.
    fn reasons(pod: &Pod, memory: Option<&PodMemory>, kinds: &[StepKind]) -> Vec<String> {
        let step = |&kind: &StepKind| StepReport {
            subject: Subject::Pod,
            kind,
            began: Timestamp::UNIX_EPOCH,
            took: std::time::Duration::ZERO,
            result: Ok(Done::Nothing),
        };
        let outcome = Outcome {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            at: Timestamp::UNIX_EPOCH,
            steps: kinds.iter().map(step).collect(),
        };
        let events = events(pod, &outcome, memory).into_iter();
        events.map(|event| event.reason).collect()
    }

    #[test]
    fn an_end_by_the_deadline_is_an_event_and_one_that_others_wrote_is_not() {
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let mut memory = PodMemory::new(pod.uid.clone(), Timestamp::UNIX_EPOCH);
        let mut of = |end: Option<End>, kind: StepKind| {
            memory.ended = end;
            reasons(&pod, Some(&memory), &[kind])
        };
        let written = End::InStatus {
            reason: "DisruptionByTaintManager".to_owned(),
            message: "so it is".to_owned(),
        };
        let nothing: [String; 0] = [];
        assert_eq!(of(None, StepKind::StopContainer), nothing);
        assert_eq!(
            of(Some(End::Deadline), StepKind::StopContainer),
            ["DeadlineExceeded"]
        );
        assert_eq!(of(Some(End::Deadline), StepKind::RemoveContainer), nothing);
        assert_eq!(of(Some(written), StepKind::StopContainer), nothing);
    }

    #[test]
    fn a_sandbox_that_takes_the_place_of_another_is_an_event() {
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let reasons = |kinds: &[StepKind]| reasons(&pod, None, kinds);
        assert_eq!(reasons(&[StepKind::RunSandbox]), [] as [String; 0]);
        assert_eq!(reasons(&[StepKind::StopSandbox]), [] as [String; 0]);
        assert_eq!(
            reasons(&[StepKind::StopSandbox, StepKind::RunSandbox]),
            ["SandboxChanged"]
        );
    }

    #[test]
    fn who_waits_for_the_network_is_told_so() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let message = "network is not ready: container runtime network not ready: NetworkReady=false \
                       reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized";
        assert_eq!(network_message(&pod, "Pending", false).as_deref(), Some(message));
        assert_eq!(network_message(&pod, "Running", true), None);
        assert_eq!(network_message(&pod, "Succeeded", false), None);
        pod.namespaces.host_network = true;
        assert_eq!(network_message(&pod, "Pending", false), None);
    }

    #[test]
    fn an_event_names_the_list_that_its_container_is_in() {
        let mut pod = sample::pod(RestartPolicy::Always, &["i"], &["c"]);
        pod.ephemeral_containers.push(sample::container("dbg"));
        assert_eq!(field_path(&pod, "i"), "spec.initContainers{i}");
        assert_eq!(field_path(&pod, "c"), "spec.containers{c}");
        assert_eq!(field_path(&pod, "dbg"), "spec.ephemeralContainers{dbg}");
    }
}
