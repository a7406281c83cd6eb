//! Back-offs and the memory of a pod between plans: how an execution's outcome changes it, and how long the next
//! attempt has to wait (`doBackOff` in `pkg/kubelet/kuberuntime`, `pkg/kubelet/images/image_manager.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::failures;
use crate::model::allocation::Allocation;
use crate::model::end::End;
use crate::model::image_ref::ImageRef;
use crate::model::labels;
use crate::model::later::later;
use crate::model::memory::{Backoff, ContainerMemory, FailedWork, PodMemory, Remains};
use crate::model::node::NodePolicy;
use crate::model::outcome::{Done, Outcome, StepError, StepReport};
use crate::model::pod::{Container, Pod, PodUid, PullPolicy, Source};
use crate::model::reason;
use crate::model::request::Occasion;
use crate::model::runtime::{ObservedContainer, ObservedImage, ObservedName, ObservedPod, Sandbox};
use crate::model::step::{StepKind, Subject};

/// The memory of a pod before planning: as it is, or a new one if there is none or it has another UID; with the end of
/// the pod if its deadline has passed meanwhile.
pub fn remembered(
    memory: Option<&PodMemory>,
    pod: &Pod,
    observed: &ObservedName,
    now: Timestamp,
) -> PodMemory {
    let seen = observed.uids.get(&pod.uid);
    let is_leaving = seen.is_some_and(|seen| seen.checkpoint.as_ref().is_some_and(|saved| saved.leaving));
    // The end of the previous incarnation is known without it.
    let may_forget = seen.is_none() || is_leaving;
    let mut memory = match memory.filter(|memory| memory.uid == pod.uid) {
        Some(memory) if memory.incarnation == pod.incarnation || !may_forget => memory.clone(),
        Some(_) => PodMemory {
            incarnation: pod.incarnation,
            ..PodMemory::new(pod.uid.clone(), now)
        },
        None => PodMemory {
            incarnation: pod.incarnation,
            ..PodMemory::new(pod.uid.clone(), began(seen.filter(|_| !is_leaving), now))
        },
    };
    if memory.ended.is_none() {
        memory.ended = end(pod, seen.filter(|_| !is_leaving), &memory, now);
    }
    memory
}

/// Why a pod without memory has ended: an earlier agent's decision, or an end that others wrote into its status, as the
/// control plane's garbage collection does; otherwise its deadline. A pod that has ended never runs again, whatever is
/// left of it here.
fn end(pod: &Pod, seen: Option<&ObservedPod>, memory: &PodMemory, now: Timestamp) -> Option<End> {
    let saved = seen.and_then(|seen| seen.checkpoint.as_ref()?.ended.clone());
    let status = pod.object.status.as_ref().filter(|_| pod.source == Source::Api);
    let is_over = || deadline(pod, memory).is_some_and(|at| at <= now && ran_until(pod, seen, at));
    saved
        .or_else(|| status.and_then(End::of_status))
        .or_else(|| is_over().then_some(End::Deadline))
}

/// When the pod's deadline is, if it has one.
pub(super) fn deadline(pod: &Pod, memory: &PodMemory) -> Option<Timestamp> {
    let limit = pod.active_deadline?;
    Some(later(memory.started, limit))
}

/// When the node started a pod without memory: no later than its first trace, or than the time its sandbox records.
fn began(seen: Option<&ObservedPod>, now: Timestamp) -> Timestamp {
    let Some(seen) = seen else { return now };
    // As recorded by the agent that created it.
    let noted = |sandbox: &Sandbox| labels::seen(&sandbox.annotations);
    let sandboxes = seen.sandboxes.iter().map(|sandbox| sandbox.created);
    let containers = seen.containers.iter().map(|container| container.created);
    let noted = seen.sandboxes.iter().filter_map(noted);
    let traces = sandboxes.chain(containers).chain(noted);
    traces.min().map_or(now, |first| first.min(now))
}

/// Whether the pod was still running at the deadline. Checked again after each restart of the agent, even long after
/// the pod has ended.
fn ran_until(pod: &Pod, seen: Option<&ObservedPod>, deadline: Timestamp) -> bool {
    let ended = |container: &Container| {
        let instance = seen.and_then(|seen| seen.container(&container.name));
        let finished = instance.and_then(ObservedContainer::finished);
        finished.is_some_and(|finished| finished < deadline)
            && !seen.is_some_and(|seen| seen.must_start(container))
    };
    let failed = |container: &Container| {
        let instance = seen.and_then(|seen| seen.container(&container.name));
        !container.sidecar && ended(container) && instance.is_some_and(ObservedContainer::has_failed)
    };
    !pod.containers.iter().all(ended) && !pod.init_containers.iter().any(failed)
}

/// The memory after an execution. `observed` is the state after it, including what it created. The removal of a pod
/// that is no longer desired, or that blocks another pod of its name, is recorded under the removed UID.
pub fn after(
    memory: Option<&PodMemory>,
    pod: Option<&Pod>,
    outcome: &Outcome,
    observed: &ObservedName,
    policy: &NodePolicy,
) -> PodMemory {
    let failed = outcome.steps.iter().any(|report| report.result.is_err());
    let pod = match pod {
        // The remains of another UID are remembered until they are gone.
        Some(pod) if pod.uid == outcome.uid || !failed => pod,
        _ => return after_removal(memory, &outcome.uid, outcome),
    };
    let mut memory = remembered(memory, pod, observed, outcome.at);
    if outcome.uid != pod.uid {
        memory.former = memory.former.filter(|former| *former != outcome.uid);
        return memory;
    }
    failures::note(&mut memory, outcome);
    note_remains(&mut memory, outcome, Remains::Containers);
    note_written(&mut memory, outcome);
    note_resized(&mut memory, outcome, observed.uids.get(&pod.uid));
    note_rejection(&mut memory, outcome, observed.uids.get(&pod.uid));
    let attempts = attempts(outcome);
    for container in pod.all_containers() {
        let Some(reports) = attempts.get(container.name.as_str()) else {
            continue;
        };
        let of_container = memory.containers.entry(container.name.clone()).or_default();
        if !of_container.is_of(container) {
            *of_container = ContainerMemory::of(container);
        }
        let exits = exits(observed.uids.get(&pod.uid), &container.name);
        note_attempt(of_container, reports.iter().copied(), exits, policy);
        if *of_container == ContainerMemory::of(container) {
            memory.containers.remove(&container.name);
        }
    }
    memory
}

/// The reports of each container's start, in their order; a container that was not started is missing.
fn attempts(outcome: &Outcome) -> BTreeMap<&str, Vec<&StepReport>> {
    let mut attempts: BTreeMap<&str, Vec<&StepReport>> = BTreeMap::new();
    for report in &outcome.steps {
        match &report.subject {
            Subject::Container(name) if report.kind.starts_container() => {
                attempts.entry(name).or_default().push(report);
            }
            _ => {}
        }
    }
    attempts
}

fn after_removal(memory: Option<&PodMemory>, uid: &PodUid, outcome: &Outcome) -> PodMemory {
    let mut memory = match memory.filter(|memory| memory.uid == *uid) {
        Some(memory) => memory.clone(),
        None => PodMemory::new(uid.clone(), outcome.at),
    };
    failures::note(&mut memory, outcome);
    note_remains(&mut memory, outcome, Remains::Nothing);
    memory
}

/// An end or a removal is complete when all its steps are done; a new sandbox starts over.
fn note_remains(memory: &mut PodMemory, outcome: &Outcome, left: Remains) {
    let made = |report: &StepReport| matches!(report.result, Ok(Done::Sandbox { .. }));
    if outcome.steps.iter().any(made) {
        memory.remains = Remains::Everything;
    }
    let has_removed = |report: &StepReport| report.kind == StepKind::RemovePodDir;
    if outcome.steps.iter().any(has_removed) && outcome.steps.iter().all(|report| report.result.is_ok()) {
        memory.remains = left;
    }
}

/// A pod of which nothing runs is rejected if the node has no room for one of its volumes (`VolumeAttachLimitExceededError`
/// in `pkg/kubelet/volumemanager`).
fn note_rejection(memory: &mut PodMemory, outcome: &Outcome, seen: Option<&ObservedPod>) {
    if seen.is_some_and(ObservedPod::lives) {
        return;
    }
    let exhausted = outcome
        .steps
        .iter()
        .find_map(|report| match (&report.subject, &report.result) {
            (Subject::Volume(volume), Err(error)) if error.reason == reason::pod::VOLUME_ATTACHMENT_LIMIT => {
                Some((volume, error))
            }
            _ => None,
        });
    if let Some((volume, error)) = exhausted {
        memory.ended.get_or_insert_with(|| End::Refused {
            reason: error.reason.to_owned(),
            message: format!(
                "Node has reached its volume attachment limit, rejecting pod. unmounted volumes=[{volume}], unattached \
                 volumes=[{volume}], failed to process volumes=[]: {}",
                error.message
            ),
        });
    }
}

/// The current content of volume files; removing the volumes clears it.
fn note_written(memory: &mut PodMemory, outcome: &Outcome) {
    for report in &outcome.steps {
        match &report.result {
            Ok(Done::Written { volume, files }) => {
                memory.written.insert(volume.clone(), files.clone());
            }
            Ok(Done::VolumeExpanded { volume, expansion }) => {
                memory.expanded.insert(volume.clone(), expansion.clone());
            }
            Ok(Done::VolumePublished | Done::DeviceMapped { .. }) => {
                if let Subject::Volume(volume) = &report.subject {
                    memory.published.insert(volume.clone(), outcome.at);
                }
            }
            _ if report.kind == StepKind::RemovePodDir => {
                memory.written.clear();
                memory.published.clear();
            }
            _ => {}
        }
    }
}

/// A container that gets other resources is started with them at once: the kubelet's back-off treats that as another
/// definition.
fn note_resized(memory: &mut PodMemory, outcome: &Outcome, seen: Option<&ObservedPod>) {
    let before = seen.and_then(|seen| seen.allocation.as_ref());
    for report in &outcome.steps {
        let Ok(Done::AllocationWritten {
            allocation,
            occasion: Occasion::Resized,
        }) = &report.result
        else {
            continue;
        };
        for (name, of_container) in &mut memory.containers {
            let sizes = |allocation: &Allocation| allocation.containers.get(name).copied();
            if before.is_none_or(|before| sizes(before) != sizes(allocation)) {
                of_container.restart = None;
                of_container.retry = None;
            }
        }
    }
}

/// The memory after an object that the pod refers to has appeared or changed, or the Services have arrived: what failed
/// without them is retried at once.
pub fn retry_after_change(memory: &PodMemory) -> PodMemory {
    let mut memory = memory.clone();
    // A volume, or the sandbox if its RuntimeClass was missing.
    memory.failures.retain(|work, _| {
        !matches!(
            work,
            FailedWork::Volume(_) | FailedWork::Republish(_) | FailedWork::Step(StepKind::RunSandbox)
        )
    });
    for container in memory.containers.values_mut() {
        let of_environment =
            |error: &StepError| error.reason == reason::waiting::CREATE_CONTAINER_CONFIG_ERROR;
        if container.failure.as_ref().is_some_and(of_environment) {
            container.failure = None;
        }
    }
    memory
}

/// The memory after an image pull Secret has appeared or changed: a pull that failed without it is retried at once.
pub fn retry_pulls(memory: &PodMemory) -> PodMemory {
    let mut memory = memory.clone();
    let of_volume = |work: &FailedWork| matches!(work, FailedWork::ImageVolume(_));
    memory.failures.retain(|work, _| !of_volume(work));
    for container in memory.containers.values_mut() {
        container.pull = None;
    }
    memory
}

/// Records one attempt to start a container. Each lengthens the restart back-off if an earlier instance has ended;
/// without one there is only a short wait after a failure.
fn note_attempt<'a>(
    memory: &mut ContainerMemory,
    reports: impl Iterator<Item = &'a StepReport> + Clone,
    mut exits: impl Iterator<Item = Timestamp>,
    policy: &NodePolicy,
) {
    let failed = reports
        .clone()
        .find_map(|report| Some((report, report.result.as_ref().err()?)));
    if failed.is_some_and(|(_, error)| !error.counts()) {
        return;
    }
    let Some(began) = reports.clone().map(|report| report.began).min() else {
        return;
    };
    if reports
        .clone()
        .any(|report| report.kind == StepKind::EnsureImage && report.result.is_ok())
    {
        memory.pull = None;
    }
    let max = policy.max_restart_backoff;
    // A container started just now may have ended already: the next attempt handles that.
    let last_exit = exits.find(|exit| *exit <= began);
    memory.restart = last_exit.map(|exit| Backoff::next(memory.restart, exit, began, max));
    memory.retry = failed.map(|(report, _)| Backoff {
        delay: Backoff::FIRST + (report.began + report.took).duration_since(began).unsigned_abs(),
        since: began,
    });
    match failed {
        Some((report, error)) => {
            if is_failed_pull(report, error) {
                let ended = report.began + report.took;
                memory.pull = Some(Backoff::of_pull(memory.pull, ended));
            }
            memory.failure = Some(error.clone());
        }
        None if reports
            .clone()
            .any(|report| report.kind == StepKind::StartContainer) =>
        {
            memory.failure = None
        }
        None => {}
    }
}

/// Whether a pull from a registry failed, which is what the pull back-off is for.
fn is_failed_pull(report: &StepReport, error: &StepError) -> bool {
    report.kind == StepKind::EnsureImage && error.is_failed_pull()
}

/// When the newest ended instance ended.
pub(super) fn last_exit(seen: Option<&ObservedPod>, container: &str) -> Option<Timestamp> {
    exits(seen, container).next()
}

/// When the instances of a container ended, the newest first.
fn exits(seen: Option<&ObservedPod>, container: &str) -> impl Iterator<Item = Timestamp> {
    let all = seen.into_iter().flat_map(|seen| &seen.containers);
    let of_name = all.filter(move |instance| instance.name == container);
    of_name.filter_map(ObservedContainer::finished)
}

/// When the next attempt to start a container may happen. It does not wait if its image has appeared meanwhile, loaded
/// by other means.
pub(super) fn start_waits_until(
    container: &Container,
    memory: &PodMemory,
    seen: &ObservedPod,
    images: &[ObservedImage],
    policy: &NodePolicy,
) -> Option<Timestamp> {
    let memory = memory.of_container(container)?;
    let max = policy.max_restart_backoff;
    let crash = memory.restart.zip(last_exit(Some(seen), &container.name));
    let crash = crash.and_then(|(backoff, exit)| backoff.holds(exit, max));
    let of_image = memory.failure.as_ref().is_some_and(is_about_image);
    if of_image && container.pull != PullPolicy::Always && is_present(&container.image, images) {
        return crash;
    }
    let pull = memory.pull.map(Backoff::ends);
    // A container that did start and was stopped for its failed hook, or whose program does not exist, is restarted
    // like one that exited.
    let last_exit = last_exit(Some(seen), &container.name);
    let has_ended = |retry: &Backoff| last_exit.is_some_and(|exit| exit >= retry.since);
    let retry = memory
        .retry
        .filter(|retry| memory.failure.is_some() && memory.pull.is_none() && !has_ended(retry));
    crash.max(pull).max(retry.map(Backoff::ends))
}

fn is_about_image(error: &StepError) -> bool {
    matches!(
        error.reason,
        reason::waiting::ERR_IMAGE_PULL
            | reason::waiting::IMAGE_PULL_BACK_OFF
            | reason::waiting::ERR_IMAGE_NEVER_PULL
    )
}

/// Whether the runtime has an image of that name, which may omit registry and tag.
pub(super) fn is_present(image: &str, images: &[ObservedImage]) -> bool {
    let image = ImageRef::split(image);
    let full = image.full_name();
    images.iter().any(|present| match image.digest() {
        Some(digest) => present
            .digests
            .iter()
            .any(|known| known.ends_with(&format!("@{digest}"))),
        None => present.tags.contains(&full),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::model::checkpoint::Checkpoint;
    use crate::model::outcome::Failure;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample::{self, at, exited, instance, observed, running, sandbox};

    const MAX: Duration = Duration::from_secs(300);

    fn seconds(at: Timestamp) -> i64 {
        at.as_second() - sample::at(0).as_second()
    }

    fn error(reason: &'static str) -> StepError {
        StepError {
            reason,
            message: "m".to_owned(),
            failure: Failure::Failed,
        }
    }

    fn done() -> Result<Done, StepError> {
        Ok(Done::Nothing)
    }

    fn outcome(now: i64, steps: Vec<(Subject, StepKind, Result<Done, StepError>)>) -> Outcome {
        let step = |(subject, kind, result)| StepReport {
            subject,
            kind,
            began: at(now),
            took: Duration::ZERO,
            result,
        };
        Outcome {
            pod: sample::name(),
            uid: sample::uid("u1"),
            at: at(now),
            steps: steps.into_iter().map(step).collect(),
        }
    }

    fn c() -> Subject {
        Subject::Container("c".to_owned())
    }

    #[test]
    fn a_pod_of_which_nothing_runs_is_rejected_if_a_volume_finds_no_room() {
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let ended = |sandboxes: Vec<Sandbox>| {
            let subject = Subject::Volume("v".to_owned());
            let failed = Err(error(reason::pod::VOLUME_ATTACHMENT_LIMIT));
            let outcome = outcome(5, vec![(subject, StepKind::EnsureVolume, failed)]);
            let observed = observed(sandboxes, Vec::new());
            after(None, Some(&pod), &outcome, &observed, &sample::policy()).ended
        };
        let rejected = End::Refused {
            reason: "VolumeAttachmentLimitExceeded".to_owned(),
            message: "Node has reached its volume attachment limit, rejecting pod. unmounted volumes=[v], unattached \
                      volumes=[v], failed to process volumes=[]: m"
                .to_owned(),
        };
        assert_eq!(ended(Vec::new()), Some(rejected.clone()));
        // After a reboot.
        assert_eq!(ended(vec![sandbox(0, false, 0)]), Some(rejected));
        // The volume may be that of a container that was added.
        assert_eq!(ended(vec![sandbox(0, true, 0)]), None);
    }

    /// Runs executions in sequence on a pod whose container last exited at `last_exit`; then shows how long the
    /// container has to wait, and the remembered failures of the container and the pod.
    fn check(last_exit: Option<i64>, outcomes: Vec<Outcome>, expected: Expect) {
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let policy = sample::policy();
        let ended = last_exit.map(|finished| instance("c", 0, 0, exited(0, finished, 1)));
        let observed = observed(vec![sandbox(0, true, 0)], ended.into_iter().collect());
        let mut memory = None;
        for outcome in &outcomes {
            memory = Some(after(memory.as_ref(), Some(&pod), outcome, &observed, &policy));
        }
        let memory = memory.unwrap();
        let seen = &observed.uids[&pod.uid];
        let unsupported = start_waits_until(&pod.containers[0], &memory, seen, &[], &policy).map(seconds);
        let of_container = memory.containers.get("c").and_then(|c| c.failure.as_ref());
        let of_pod: Vec<_> = memory
            .failures
            .iter()
            .map(|(work, failure)| (work, failure.error.reason, failure.backoff.delay))
            .collect();
        expected.assert_eq(&format!(
            "{unsupported:?} {:?} {of_pod:?}",
            of_container.map(|error| error.reason)
        ));
    }

    #[test]
    fn another_definition_is_tried_at_once_and_begins_a_back_off_of_its_own() {
        let policy = sample::policy();
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let ended = |at| {
            observed(
                vec![sandbox(0, true, 0)],
                vec![instance("c", 3, 0, exited(0, at, 1))],
            )
        };
        let unsupported = |pod: &Pod, memory: &PodMemory, seen: &ObservedName| {
            let seen = &seen.uids[&pod.uid];
            start_waits_until(&pod.containers[0], memory, seen, &[], &policy).map(seconds)
        };
        let mut memory = None;
        for at in [5, 20, 50, 100] {
            memory = Some(after(
                memory.as_ref(),
                Some(&pod),
                &started(at),
                &ended(at),
                &policy,
            ));
        }
        let crashed = ended(110);
        let crash = memory.clone().unwrap();
        assert_eq!(unsupported(&pod, &crash, &crashed), Some(190));
        let failed = failing(110, StepKind::EnsureImage, reason::waiting::ERR_IMAGE_PULL);
        let pull = after(memory.as_ref(), Some(&pod), &failed, &crashed, &policy);
        assert!(unsupported(&pod, &pull, &crashed) >= Some(120));
        pod.containers[0].hash += 1;
        for memory in [crash, pull] {
            assert_eq!(unsupported(&pod, &memory, &crashed), None);
            let tried = after(Some(&memory), Some(&pod), &started(111), &crashed, &policy);
            assert_eq!(unsupported(&pod, &tried, &ended(112)), Some(122));
        }
    }

    #[test]
    fn other_resources_end_the_back_off_of_the_containers_that_get_them() {
        let policy = sample::policy();
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"])
            .with_resources(&[sample::resources(100, 1 << 20)]);
        let saved = Allocation::of(&pod);
        let mut observed = observed(
            vec![sandbox(0, true, 0)],
            vec![instance("c", 0, 0, exited(0, 5, 1))],
        );
        for seen in observed.uids.values_mut() {
            seen.allocation = Some(std::sync::Arc::new(saved.clone()));
        }
        let memory = after(None, Some(&pod), &started(6), &observed, &policy);
        let mut check = |cpu: i64, is_held: bool| {
            pod = pod.clone().with_resources(&[sample::resources(cpu, 1 << 20)]);
            let resized = Ok(Done::AllocationWritten {
                allocation: Box::new(Allocation::of(&pod)),
                occasion: Occasion::Resized,
            });
            let outcome = outcome(8, vec![(Subject::Pod, StepKind::WriteAllocation, resized)]);
            let memory = after(Some(&memory), Some(&pod), &outcome, &observed, &policy);
            let unsupported = start_waits_until(
                &pod.containers[0],
                &memory,
                &observed.uids[&pod.uid],
                &[],
                &policy,
            );
            assert_eq!(unsupported.is_some(), is_held, "{cpu}");
        };
        check(100, true);
        check(200, false);
    }

    fn started(now: i64) -> Outcome {
        let steps = [
            StepKind::EnsureImage,
            StepKind::CreateContainer,
            StepKind::StartContainer,
        ];
        outcome(now, steps.into_iter().map(|kind| (c(), kind, done())).collect())
    }

    fn failing(now: i64, kind: StepKind, reason: &'static str) -> Outcome {
        outcome(now, vec![(c(), kind, Err(error(reason)))])
    }

    #[test]
    fn restarts() {
        check(None, vec![started(0)], expect!["None None []"]);
        // The first restart is immediate, the next one waits, counted from the end.
        check(Some(7), vec![started(7)], expect!["Some(17) None []"]);
        check(
            Some(7),
            vec![started(7), started(17), started(40)],
            expect!["Some(47) None []"],
        );
        // It ran for more than ten minutes: the back-off is reset.
        check(Some(5000), vec![started(7), started(17)], expect!["None None []"]);
        let last = Backoff {
            delay: Backoff::FIRST * 2,
            since: at(17),
        };
        assert_eq!(last.holds(at(617), MAX), Some(at(637)));
        assert_eq!(last.holds(at(618), MAX), None);
        // It ended before its start was recorded: its first restart is immediate anyway.
        check(Some(8), vec![started(7)], expect!["None None []"]);
    }

    #[test]
    fn failures() {
        let pull = |now| failing(now, StepKind::EnsureImage, reason::waiting::ERR_IMAGE_PULL);
        check(
            None,
            vec![pull(1)],
            expect![[r#"Some(11) Some("ErrImagePull") []"#]],
        );
        check(
            None,
            vec![pull(1), pull(11)],
            expect![[r#"Some(31) Some("ErrImagePull") []"#]],
        );
        check(
            None,
            vec![pull(1), pull(11), started(31)],
            expect!["None None []"],
        );
        let never = |now| failing(now, StepKind::EnsureImage, reason::waiting::ERR_IMAGE_NEVER_PULL);
        check(
            None,
            vec![never(1), never(11)],
            expect![[r#"Some(21) Some("ErrImageNeverPull") []"#]],
        );
        let create = |now| {
            failing(
                now,
                StepKind::CreateContainer,
                reason::waiting::CREATE_CONTAINER_ERROR,
            )
        };
        check(
            None,
            vec![create(1), create(11)],
            expect![[r#"Some(21) Some("CreateContainerError") []"#]],
        );
        // It ended long ago and cannot be created again: tried every ten seconds at most.
        check(
            Some(-500),
            vec![create(1)],
            expect![[r#"Some(11) Some("CreateContainerError") []"#]],
        );
    }

    #[test]
    fn failures_about_the_pod() {
        let sandbox = |now| {
            outcome(
                now,
                vec![(
                    Subject::Pod,
                    StepKind::RunSandbox,
                    Err(error(reason::pod::FAILED_CREATE_SANDBOX)),
                )],
            )
        };
        check(
            None,
            vec![sandbox(1)],
            expect![[r#"None None [(Step(RunSandbox), "FailedCreatePodSandBox", 1s)]"#]],
        );
        check(
            None,
            (0..9).map(sandbox).collect(),
            expect![[r#"None None [(Step(RunSandbox), "FailedCreatePodSandBox", 30s)]"#]],
        );
        let made = outcome(9, vec![(Subject::Pod, StepKind::RunSandbox, done())]);
        check(None, vec![sandbox(1), made], expect!["None None []"]);
        let stop = outcome(
            1,
            vec![(
                c(),
                StepKind::StopContainer,
                Err(error(reason::pod::FAILED_KILL_POD)),
            )],
        );
        check(
            None,
            vec![stop],
            expect![[r#"None None [(Step(StopContainer), "FailedKillPod", 1s)]"#]],
        );
    }

    #[test]
    fn a_runtime_that_does_not_answer_counts_for_nothing() {
        let silent = |subject, kind| {
            let error = StepError {
                failure: Failure::Unreachable,
                ..error(reason::waiting::ERR_IMAGE_PULL)
            };
            outcome(1, vec![(subject, kind, Err(error))])
        };
        check(
            Some(0),
            vec![silent(c(), StepKind::EnsureImage)],
            expect!["None None []"],
        );
        check(
            None,
            vec![silent(Subject::Pod, StepKind::RunSandbox)],
            expect!["None None []"],
        );
    }

    #[test]
    fn an_image_that_appears_is_not_waited_for() {
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let policy = sample::policy();
        let observed = observed(vec![sandbox(0, true, 0)], vec![]);
        let failed = failing(1, StepKind::EnsureImage, reason::waiting::ERR_IMAGE_PULL);
        let memory = after(None, Some(&pod), &failed, &observed, &policy);
        let present = |tags: &[&str], digests: &[&str], image: &str, pull| {
            let container = Container {
                image: image.to_owned(),
                pull,
                ..pod.containers[0].clone()
            };
            let images = [ObservedImage {
                id: "sha256:1".to_owned(),
                tags: tags.iter().map(ToString::to_string).collect(),
                digests: digests.iter().map(ToString::to_string).collect(),
                size: 1,
                pinned: false,
            }];
            let seen = &observed.uids[&pod.uid];
            start_waits_until(&container, &memory, seen, &images, &policy).is_none()
        };
        let busybox = ["docker.io/library/busybox:latest"];
        assert!(present(&busybox, &[], "busybox", PullPolicy::IfNotPresent));
        assert!(present(
            &busybox,
            &[],
            "docker.io/library/busybox:latest",
            PullPolicy::Never
        ));
        assert!(!present(&busybox, &[], "busybox", PullPolicy::Always));
        assert!(!present(&busybox, &[], "busybox:1.35", PullPolicy::IfNotPresent));
        assert!(!present(
            &busybox,
            &[],
            "localhost:5000/busybox",
            PullPolicy::IfNotPresent
        ));
        assert!(present(
            &["localhost:5000/a/b:latest"],
            &[],
            "localhost:5000/a/b",
            PullPolicy::IfNotPresent
        ));
        assert!(present(
            &["docker.io/a/b:v1"],
            &[],
            "a/b:v1",
            PullPolicy::IfNotPresent
        ));
        let digests = ["docker.io/library/busybox@sha256:01"];
        assert!(present(
            &[],
            &digests,
            "busybox@sha256:01",
            PullPolicy::IfNotPresent
        ));
        assert!(!present(
            &[],
            &digests,
            "busybox@sha256:02",
            PullPolicy::IfNotPresent
        ));
    }

    #[test]
    fn an_end_that_is_kept_holds_whatever_the_clock_says_and_not_for_the_next_life() {
        let ended = |saved: Checkpoint| {
            let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
            let mut observed = observed(vec![sandbox(0, true, 0)], vec![]);
            for seen in observed.uids.values_mut() {
                seen.checkpoint = Some(std::sync::Arc::new(saved.clone()));
            }
            remembered(None, &pod, &observed, at(1)).ended
        };
        let saved = Checkpoint {
            ended: Some(End::Deadline),
            ..Checkpoint::default()
        };
        assert_eq!(ended(saved.clone()), Some(End::Deadline));
        assert_eq!(ended(Checkpoint::default()), None);
        let leaving = true;
        assert_eq!(ended(Checkpoint { leaving, ..saved }), None);
    }

    #[test]
    fn a_deadline_ends_what_has_not_ended_by_itself() {
        let ended = |restart, containers, started: i64, now: i64| {
            let mut pod = sample::pod(restart, &["i"], &["c"]);
            pod.active_deadline = Some(Duration::from_secs(10));
            let observed = observed(vec![sandbox(0, true, started)], containers);
            remembered(None, &pod, &observed, at(now)).ended.is_some()
        };
        let c = |code| vec![instance("c", 0, 1, exited(1, 5, code))];
        assert!(!ended(
            RestartPolicy::Never,
            vec![instance("c", 0, 1, running(1))],
            0,
            9
        ));
        assert!(ended(
            RestartPolicy::Never,
            vec![instance("c", 0, 1, running(1))],
            0,
            10
        ));
        assert!(!ended(RestartPolicy::Never, c(1), 0, 999));
        assert!(!ended(RestartPolicy::OnFailure, c(0), 0, 999));
        assert!(ended(RestartPolicy::OnFailure, c(1), 0, 999));
        assert!(ended(
            RestartPolicy::Never,
            vec![instance("c", 0, 1, exited(1, 10, 0))],
            0,
            999
        ));
        assert!(!ended(
            RestartPolicy::Never,
            vec![instance("i", 0, 1, exited(1, 5, 1))],
            0,
            999
        ));
    }

    proptest! {
        #[test]
        fn delays_double_up_to_the_largest_and_begin_again_after_a_long_run(
            runs in proptest::collection::vec(0..1500_i64, 1..20),
        ) {
            let mut last: Option<Backoff> = None;
            let mut now = 0;
            for run in runs {
                let exit = now + run;
                let next = Backoff::next(last, at(exit), at(exit), MAX);
                let expected = match last {
                    Some(last) if run <= 600 => (last.delay * 2).min(MAX),
                    _ => Duration::from_secs(10),
                };
                prop_assert_eq!(next.delay, expected);
                prop_assert_eq!(next.holds(at(exit), MAX), Some(at(exit) + expected));
                now = exit;
                last = Some(next);
            }
        }
    }
}
