//! In-place resize of a running pod: whether it gets other resources (KEP-1287, and KEP-5419 for the resources of the pod
//! as a whole; the kubelet's `pkg/kubelet/allocation`, and `computePodResizeAction` of `pkg/kubelet/kuberuntime`). The steps
//! for it are in [`super::actuation`].
//!
//! A change takes three plans. The first saves the decision, with the current resources of each running instance; the
//! second stops containers that must be restarted, sets the pod's cgroup and updates containers; the third removes the
//! entries of instances that were restarted. An agent that is killed between any two steps continues where it was.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::admit::Refusal;
use super::cgroup;
use crate::model::allocation::{self, Allocation, Sizes};
use crate::model::amounts;
use crate::model::memory::{FailedWork, Outlook, PendingResize, PodMemory};
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, OnResize, Pod};
use crate::model::request::{AllocationRecord, Occasion};
use crate::model::resources::Qos;
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedPod};
use crate::model::step::Step;

/// The reason to reject a resize that no node of this version supports.
const INFEASIBLE: &str = "Infeasible";

/// The step that saves an allocation.
pub fn save(pod: &Pod, allocation: Allocation, occasion: Occasion, policy: &NodePolicy) -> Step {
    Step::WriteAllocation(Box::new(AllocationRecord {
        path: policy.pod_dir(&pod.uid).join(allocation::FILE),
        allocation,
        occasion,
    }))
}

/// How a pod's specification relates to its allocation.
pub enum ResizeNeed<'a> {
    /// The pod runs without a saved allocation, started by an earlier agent: it counts as having what it requests.
    Unknown,
    /// The pod has what it requests.
    Granted,
    /// Something else has failed, and its back-off comes first.
    Waits,
    /// The pod requests something else than this allocation.
    Other(&'a Allocation),
}

/// What the pod requests. A pod that is ending, or has no sandbox yet, requests nothing.
pub fn resize_need<'a>(
    pod: &Pod,
    seen: Option<&'a ObservedPod>,
    memory: &PodMemory,
    now: Timestamp,
) -> ResizeNeed<'a> {
    let seen = seen.filter(|seen| !seen.sandboxes.is_empty());
    let goes = pod.deletion.is_some() || memory.ended.is_some();
    // The failure of an earlier change no longer matters for the next one.
    let waits = memory
        .waits_until(now, |work| matches!(work, FailedWork::Step(_)))
        .is_some();
    match seen {
        Some(_) if waits => ResizeNeed::Waits,
        Some(seen) if !goes => match &seen.allocation {
            None => ResizeNeed::Unknown,
            Some(saved) if saved.satisfies(pod) => ResizeNeed::Granted,
            Some(saved) => ResizeNeed::Other(saved),
        },
        _ => ResizeNeed::Granted,
    }
}

/// Whether the pod gets the resources of its current specification: the allocation to save, or why not. `fits` checks
/// whether the node has room for it; `before` is why it did not get them before.
pub fn decide(
    pod: &Pod,
    saved: &Allocation,
    seen: &ObservedPod,
    before: Option<&PendingResize>,
    fits: impl FnOnce() -> Result<(), Refusal>,
    policy: &NodePolicy,
    now: Timestamp,
) -> Result<Allocation, PendingResize> {
    let generation = pod.object.metadata.generation.unwrap_or(0);
    let pending = |outlook, reason: &str, message: &str| PendingResize {
        outlook,
        reason: reason.to_owned(),
        message: message.to_owned(),
        generation,
        since: before
            .filter(|before| before.outlook == outlook)
            .map_or(now, |before| before.since),
    };
    let infeasible = |message| Err(pending(Outlook::Infeasible, INFEASIBLE, message));
    if pod
        .all_containers()
        .any(|container| would_swap(pod, container, saved, policy))
    {
        return infeasible("In-place resize of containers with swap is not supported.");
    }
    if saved.differs_of_the_whole(pod) && !policy.pod_level_resize {
        return infeasible("InPlacePodLevelResourcesVerticalScaling is disabled");
    }
    if let Err(refusal) = fits() {
        return Err(pending(Outlook::Deferred, &refusal.reason, &refusal.message));
    }
    let mut allocation = Allocation::of(pod);
    let has = saved.pod_behind.or(saved.pod).unwrap_or_default();
    allocation.pod_behind = (has != allocation.pod.unwrap_or_default()).then_some(has);
    for instance in seen.containers.iter().filter(|instance| runs(instance)) {
        let behind = saved.behind.get(&instance.id).copied();
        let has = behind.or_else(|| saved.of_container(&instance.name));
        if let (Some(has), Some(gets)) = (has, allocation.of_container(&instance.name))
            && has != gets
        {
            allocation.behind.insert(instance.id.clone(), has);
        }
    }
    Ok(allocation)
}

/// The order in which waiting pods are checked again: first those that need no more than they have, then by priority,
/// QoS class and how long they have waited (`sortPendingResizes`).
pub fn precedence(pod: &Pod, saved: &Allocation, pending: Option<&PendingResize>) -> impl Ord + use<> {
    let now = saved.applied(pod);
    let request = |pod: &Pod| {
        let amounts = amounts::pod_requests(pod, amounts::Overhead::Without);
        (amounts.cpu_or_zero(), amounts.memory_or_zero())
    };
    let (has, wants) = (request(&now), request(pod));
    let grows = wants.0 > has.0 || wants.1 > has.1;
    (
        grows,
        Reverse(pod.priority.unwrap_or(0)),
        pod.qos != Qos::Guaranteed,
        pending.is_none(),
        pending.map(|pending| pending.since),
    )
}

/// Whether a container may use swap and its memory would change without a restart: its swap limit follows from its
/// memory.
fn would_swap(pod: &Pod, container: &Container, saved: &Allocation, policy: &NodePolicy) -> bool {
    let wants = Sizes::of(&container.resources);
    let Some(has) = saved.containers.get(&container.name) else {
        return false;
    };
    let changes = has.memory_request != wants.memory_request;
    let keeps_running = container.resize.memory == OnResize::NotRequired;
    let swaps = |sizes: Sizes| sizes.memory_request != sizes.memory_limit;
    changes && keeps_running && cgroup::may_swap(pod, policy) && (swaps(*has) || swaps(wants))
}

pub(super) fn runs(instance: &ObservedContainer) -> bool {
    matches!(instance.state, ContainerState::Running { .. })
}

/// Whether a running container has to be restarted to get its allocation.
pub(super) fn restarts(container: &Container, instance: &ObservedContainer, seen: &ObservedPod) -> bool {
    let allocation = seen.allocation.as_ref();
    let has = allocation.and_then(|saved| saved.of_instance(&container.name, &instance.id));
    let gets = allocation.and_then(|saved| saved.of_container(&container.name));
    let (Some(has), Some(gets)) = (has, gets) else {
        return false;
    };
    let restarts = |policy| policy == OnResize::RestartContainer;
    (has.differs_in_cpu(gets) && restarts(container.resize.cpu))
        || (has.differs_in_memory(gets) && restarts(container.resize.memory))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::memory::{Backoff, PodFailure};
    use crate::model::outcome::{Failure, StepError};
    use crate::model::pod::{ResizePolicy, RestartPolicy};
    use crate::model::reason;
    use crate::model::request::{Change, Usage};
    use crate::model::resources::{Bytes, Resources};
    use crate::model::runtime::ObservedName;
    use crate::model::sample::{self, at, exited, instance, running, sandbox};
    use crate::plan::PlanView;

    const MI: i64 = 1 << 20;

    /// Millicores and MiB, as requests and as limits.
    fn resources(cpu: i64, memory: i64) -> Resources {
        sample::resources(cpu, memory * MI)
    }

    fn pod(sizes: &[(i64, i64)]) -> Pod {
        let names = ["a", "b"];
        let resources: Vec<_> = sizes
            .iter()
            .map(|&(cpu, memory)| resources(cpu, memory))
            .collect();
        sample::pod(RestartPolicy::Always, &[], &names[..sizes.len()]).with_resources(&resources)
    }

    fn both_run() -> Vec<ObservedContainer> {
        vec![instance("b", 0, 2, running(2)), instance("a", 0, 1, running(1))]
    }

    /// The saved and the requested sizes.
    struct Case {
        pod: Pod,
        saved: Allocation,
        containers: Vec<ObservedContainer>,
        failure: Option<PodFailure>,
        limited_swap: bool,
        pod_level: bool,
    }

    fn case(before: &[(i64, i64)], after: &[(i64, i64)]) -> Case {
        let containers = both_run().split_off(2 - before.len());
        Case {
            pod: pod(after),
            saved: Allocation::of(&pod(before)),
            containers,
            failure: None,
            limited_swap: false,
            pod_level: true,
        }
    }

    /// The same case, of a pod whose pod-level resources were these and become those. Its containers have no limits.
    fn whole(mut case: Case, before: (i64, i64), after: (i64, i64)) -> Case {
        let mut former = case.pod.clone();
        for pod in [&mut former, &mut case.pod] {
            for container in &mut pod.containers {
                container.resources.limits = Default::default();
            }
        }
        former.resources = Some(resources(before.0, before.1));
        case.pod.resources = Some(resources(after.0, after.1));
        case.saved = Allocation::of(&former);
        case
    }

    impl Case {
        fn seen(&self, allocation: Allocation) -> ObservedName {
            let mut observed = sample::observed(vec![sandbox(0, true, 0)], self.containers.clone());
            let seen = observed.uids.values_mut().next().unwrap();
            seen.allocation = Some(Arc::new(allocation));
            observed
        }

        fn decided(&self) -> Result<Allocation, PendingResize> {
            let mut policy = sample::policy();
            policy.limited_swap = self.limited_swap;
            policy.pod_level_resize = self.pod_level;
            policy.cgroup.version = match self.limited_swap {
                true => crate::model::node::CgroupVersion::V2,
                false => policy.cgroup.version,
            };
            let seen = self.seen(self.saved.clone());
            decide(
                &self.pod,
                &self.saved,
                &seen.uids[&self.pod.uid],
                None,
                || Ok(()),
                &policy,
                at(100),
            )
        }

        /// The steps after the decision is saved, one stage a line.
        fn check(self, expected: Expect) {
            let allocation = self.decided().unwrap();
            self.check_with(allocation, expected);
        }

        fn check_with(self, allocation: Allocation, expected: Expect) {
            let observed = self.seen(allocation);
            let mut memory = PodMemory::new(self.pod.uid.clone(), at(0));
            let failure = self.failure.clone().map(|failure| (FailedWork::Resize, failure));
            memory.failures = failure.into_iter().collect();
            let view = PlanView {
                name: &sample::name(),
                runtime_ready: true,
                network_ready: true,
                runtime_handlers: &[],
                desired_complete: true,
                unsupported: None,
                images: &[],
                leftovers: &BTreeSet::new(),
                logs: None,
                objects: &Default::default(),
                services: &Default::default(),
                allocatable: &Default::default(),
                node: None,
            };
            let policy = sample::policy();
            let plan =
                super::super::pod::plan(Some(&self.pod), &observed, Some(&memory), &policy, &view, at(100));
            let mut lines: Vec<String> = plan.stages.iter().flatten().map(line).collect();
            let wake = plan.wake_at.map(|wake| wake.as_second() - at(0).as_second());
            lines.extend(wake.map(|wake| format!("wake at {wake}")));
            expected.assert_eq(&lines.join("\n"));
        }
    }

    fn line(step: &Step) -> String {
        match step {
            Step::StopContainer { message, .. } => message.clone(),
            Step::Resize(request) => {
                let floors = request.floors.iter().map(|floor| match &floor.of {
                    Usage::Pod(_) => format!("pod uses less than {}Mi", floor.limit / MI),
                    Usage::Container { id, .. } => format!("{id} uses less than {}Mi", floor.limit / MI),
                });
                let changes = request.changes.iter().map(|change| match change {
                    Change::Pod(setting) => {
                        let memory = setting.memory_limit.map(|limit| format!("{}Mi", limit / MI));
                        let quota = setting.cpu_quota.map(|(quota, _)| format!("quota {quota}"));
                        let shares = setting.cpu_shares.map(|shares| format!("shares {shares}"));
                        let all: Vec<_> = [memory, quota, shares].into_iter().flatten().collect();
                        format!("pod {}", all.join(" "))
                    }
                    Change::Container { id, resources } => format!(
                        "{id} {}Mi quota {} shares {}",
                        resources.memory_limit_in_bytes / MI,
                        resources.cpu_quota,
                        resources.cpu_shares
                    ),
                });
                floors.chain(changes).collect::<Vec<_>>().join("\n")
            }
            Step::WriteAllocation(record) => {
                let behind: Vec<_> = record.allocation.behind.keys().map(String::as_str).collect();
                format!("keep, behind: {behind:?}")
            }
            other => other.kind().as_str().to_owned(),
        }
    }

    #[test]
    fn what_grows_of_the_pod_comes_first_and_what_shrinks_last() {
        case(&[(100, 64)], &[(200, 96)]).check(expect![[r#"
            pod 96Mi
            a0 96Mi quota 10000 shares 102
            pod quota 20000 shares 204
            a0 96Mi quota 20000 shares 204
            keep, behind: []"#]]);
        case(&[(200, 96)], &[(100, 64)]).check(expect![[r#"
            pod uses less than 64Mi
            a0 uses less than 64Mi
            a0 64Mi quota 20000 shares 204
            pod 64Mi
            a0 64Mi quota 10000 shares 102
            pod quota 10000 shares 102
            keep, behind: []"#]]);
        case(&[(100, 64)], &[(100, 96)]).check(expect![[r#"
            pod 96Mi
            a0 96Mi quota 10000 shares 102
            keep, behind: []"#]]);
    }

    #[test]
    fn of_two_containers_the_one_that_shrinks_comes_first() {
        case(&[(100, 32), (100, 64)], &[(300, 64), (100, 32)]).check(expect![[r#"
            b0 uses less than 32Mi
            b0 32Mi quota 10000 shares 102
            a0 64Mi quota 10000 shares 102
            pod 96Mi
            pod quota 40000 shares 409
            a0 64Mi quota 30000 shares 307
            keep, behind: []"#]]);
    }

    #[test]
    fn a_container_is_restarted_where_it_says_so() {
        let mut wants = case(&[(100, 32), (100, 32)], &[(100, 64), (200, 32)]);
        wants.pod.containers[0].resize = ResizePolicy {
            cpu: OnResize::NotRequired,
            memory: OnResize::RestartContainer,
        };
        let pod = wants.pod.clone();
        wants.check(expect![[r#"
            Container a resize requires restart
            pod 96Mi
            pod quota 30000 shares 307
            b0 32Mi quota 20000 shares 204
            keep, behind: ["a0"]
            ensure image
            write hosts file
            create container
            start container"#]]);
        // When it runs again, the old instance is ignored; the new one is as desired.
        let mut restarted = case(&[(100, 64), (200, 32)], &[(100, 64), (200, 32)]);
        restarted.pod = pod;
        restarted.containers = vec![
            instance("a", 1, 9, running(9)),
            instance("b", 0, 2, running(2)),
            instance("a", 0, 1, exited(1, 8, 0)),
        ];
        let mut saved = restarted.saved.clone();
        saved
            .behind
            .insert("a0".to_owned(), Sizes::of(&resources(100, 32)));
        restarted.check_with(
            saved,
            expect![[r#"
                pod 96Mi
                pod quota 30000 shares 307
                keep, behind: []"#]],
        );
    }

    #[test]
    fn what_failed_is_tried_again_later() {
        let mut failed = case(&[(100, 64)], &[(100, 32)]);
        let error = StepError {
            reason: reason::pod::RESIZE_ERROR,
            message: String::new(),
            failure: Failure::Failed,
        };
        let backoff = Backoff {
            delay: std::time::Duration::from_secs(8),
            since: at(95),
        };
        failed.failure = Some(PodFailure { error, backoff });
        failed.check(expect!["wake at 103"]);
    }

    #[test]
    fn what_an_instance_has_is_kept_until_it_has_something_else() {
        let first = case(&[(100, 64)], &[(200, 64)]).decided().unwrap();
        assert_eq!(first.behind["a0"], Sizes::of(&resources(100, 64)));
        // Changed again before it was applied, and changed back.
        let mut again = case(&[(100, 64)], &[(300, 64)]);
        again.saved = first.clone();
        let second = again.decided().unwrap();
        assert_eq!(second.behind["a0"], Sizes::of(&resources(100, 64)));
        let mut back = case(&[(100, 64)], &[(100, 64)]);
        back.saved = first;
        assert!(back.decided().unwrap().behind.is_empty());
        let mut ended = case(&[(100, 64)], &[(200, 64)]);
        ended.containers = vec![instance("a", 0, 1, exited(1, 2, 1))];
        assert!(ended.decided().unwrap().behind.is_empty());
    }

    #[test]
    fn a_static_pod_is_resized_as_any_other() {
        let mut case = case(&[(100, 64)], &[(200, 64)]);
        // A manifest that sets the UID changes the pod instead of replacing it.
        case.pod.source = crate::model::pod::Source::File {
            path: "/etc/kubernetes/manifests/web.yaml".into(),
            document: 1,
        };
        let seen = case.seen(case.saved.clone());
        let seen = seen.uids.get(&case.pod.uid);
        let memory = PodMemory::new(case.pod.uid.clone(), at(0));
        let asked = resize_need(&case.pod, seen, &memory, at(100));
        assert!(matches!(asked, ResizeNeed::Other(saved) if *saved == case.saved));
    }

    #[test]
    fn the_resources_of_the_pod_change_its_cgroup_and_the_limits_that_its_containers_take_from_it() {
        let two = || case(&[(100, 64), (100, 64)], &[(100, 64), (100, 64)]);
        whole(two(), (500, 128), (800, 256)).check(expect![[r#"
            pod 256Mi
            b0 256Mi quota 50000 shares 102
            a0 256Mi quota 50000 shares 102
            pod quota 80000 shares 819
            b0 256Mi quota 80000 shares 102
            a0 256Mi quota 80000 shares 102
            keep, behind: []"#]]);
        whole(two(), (800, 256), (500, 128)).check(expect![[r#"
            pod uses less than 128Mi
            b0 uses less than 128Mi
            a0 uses less than 128Mi
            b0 128Mi quota 80000 shares 102
            a0 128Mi quota 80000 shares 102
            pod 128Mi
            b0 128Mi quota 50000 shares 102
            a0 128Mi quota 50000 shares 102
            pod quota 50000 shares 512
            keep, behind: []"#]]);
        // Of requests alone the containers notice nothing.
        let mut requests = whole(two(), (500, 128), (500, 128));
        if let Some(own) = &mut requests.pod.resources {
            own.requests.cpu = Some(crate::model::resources::MilliCpu(300));
        }
        requests.check(expect![[r#"
            pod 128Mi
            pod quota 50000 shares 307
            keep, behind: []"#]]);
        // Containers with limits of their own keep them.
        let mut own = case(&[(100, 64)], &[(100, 64)]);
        own.pod.resources = Some(resources(800, 256));
        let mut former = own.pod.clone();
        former.resources = Some(resources(500, 128));
        own.saved = Allocation::of(&former);
        own.check(expect![[r#"
            pod 256Mi
            pod quota 80000 shares 819
            keep, behind: []"#]]);
        // A container that has to be restarted for another limit is.
        let mut restarted = whole(two(), (500, 128), (500, 256));
        restarted.pod.containers[1].resize = ResizePolicy {
            memory: OnResize::RestartContainer,
            ..ResizePolicy::default()
        };
        restarted.check(expect![[r#"
            Container b resize requires restart
            pod 256Mi
            a0 256Mi quota 50000 shares 102
            pod quota 50000 shares 512
            keep, behind: ["b0"]
            ensure image
            write hosts file
            create container
            start container"#]]);
    }

    #[test]
    fn what_the_cgroup_of_the_pod_has_is_kept_until_it_has_something_else() {
        let first = whole(case(&[(100, 64)], &[(100, 64)]), (500, 128), (800, 256));
        let saved = first.decided().unwrap();
        let had = Some(Sizes::of(&resources(500, 128)));
        assert_eq!(saved.pod_behind, had);
        // Changed again before it was applied, and changed back.
        let mut again = whole(case(&[(100, 64)], &[(100, 64)]), (500, 128), (900, 256));
        again.saved = saved.clone();
        assert_eq!(again.decided().unwrap().pod_behind, had);
        let mut back = whole(case(&[(100, 64)], &[(100, 64)]), (500, 128), (500, 128));
        back.saved = saved;
        let back = back.decided().unwrap();
        assert!(!back.is_behind(), "{back:?}");
        // Without a running container there is the cgroup alone.
        let mut ended = whole(case(&[(100, 64)], &[(100, 64)]), (500, 128), (800, 256));
        ended.containers = vec![instance("a", 0, 1, exited(1, 2, 1))];
        let ended = ended.decided().unwrap();
        assert!(ended.behind.is_empty() && ended.pod_behind == had);
    }

    #[test]
    fn what_is_never_granted() {
        let mut whole = case(&[(100, 64)], &[(100, 64)]);
        whole.pod.resources = Some(resources(500, 128));
        whole.pod_level = false;
        let refused = whole.decided().unwrap_err();
        assert_eq!(
            (refused.outlook, refused.message.as_str()),
            (
                Outlook::Infeasible,
                "InPlacePodLevelResourcesVerticalScaling is disabled"
            )
        );
        let mut swaps = case(&[(100, 64)], &[(100, 96)]);
        swaps.limited_swap = true;
        assert!(swaps.decided().is_ok());
        swaps.pod.qos = Qos::Burstable;
        swaps.pod.containers[0].resources.limits.memory = Some(Bytes(128 * MI));
        assert_eq!(
            swaps.decided().unwrap_err().message,
            "In-place resize of containers with swap is not supported."
        );
    }

    #[test]
    fn who_is_asked_first() {
        let order = |before: i64, after: i64, priority: i32, since: Option<i64>| {
            let mut case = case(&[(before, 64)], &[(after, 64)]);
            case.pod.priority = Some(priority);
            case.pod.qos = if after == 300 {
                Qos::Burstable
            } else {
                Qos::Guaranteed
            };
            let pending = since.map(|since| PendingResize {
                outlook: Outlook::Deferred,
                reason: "OutOfcpu".to_owned(),
                message: "no room".to_owned(),
                generation: 2,
                since: at(since),
            });
            precedence(&case.pod, &case.saved, pending.as_ref())
        };
        let all = [
            order(200, 100, 0, None),
            order(100, 200, 1000, None),
            order(100, 200, 0, Some(1)),
            order(100, 200, 0, Some(2)),
            order(100, 200, 0, None),
            order(100, 300, 0, Some(1)),
            order(100, 300, -1, Some(1)),
        ];
        assert!(all.is_sorted());
        assert!(all.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn a_resize_waits_since_it_was_deferred_first() {
        let decided = |before: Option<PendingResize>, now: i64| {
            let case = case(&[(100, 64)], &[(200, 64)]);
            let seen = case.seen(case.saved.clone());
            let no_room = || {
                Err(Refusal {
                    reason: "OutOfcpu".to_owned(),
                    message: "no room".to_owned(),
                })
            };
            decide(
                &case.pod,
                &case.saved,
                &seen.uids[&case.pod.uid],
                before.as_ref(),
                no_room,
                &sample::policy(),
                at(now),
            )
            .unwrap_err()
        };
        let first = decided(None, 1);
        assert_eq!(first.since, at(1));
        assert_eq!(decided(Some(first.clone()), 2).since, at(1));
        let infeasible = PendingResize {
            outlook: Outlook::Infeasible,
            ..first
        };
        assert_eq!(decided(Some(infeasible), 2).since, at(2));
    }
}
