//! In-place resize of a running pod: whether it gets other resources, and the steps for it (KEP-1287; the kubelet's
//! `pkg/kubelet/allocation`, and `computePodResizeAction`, `doPodResizeAction` of `pkg/kubelet/kuberuntime`).
//!
//! A change takes three plans. The first saves the decision, with the current resources of each running instance; the
//! second stops containers that must be restarted, sets the pod's cgroup and updates containers; the third removes the
//! entries of instances that were restarted. An agent that is killed between any two steps continues where it was.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::admit::Refusal;
use super::cgroup;
use super::context::PlanContext;
use crate::model::allocation::{self, Allocation, Sizes};
use crate::model::memory::{FailedWork, Outlook, PendingResize, PodMemory};
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, OnResize, Pod};
use crate::model::request::{AllocationRecord, CgroupSetting, Change, Floor, Occasion, ResizeRequest, Usage};
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
/// whether the node has room for it.
pub fn decide(
    pod: &Pod,
    saved: &Allocation,
    seen: &ObservedPod,
    fits: impl FnOnce() -> Result<(), Refusal>,
    policy: &NodePolicy,
) -> Result<Allocation, PendingResize> {
    let generation = pod.object.metadata.generation.unwrap_or(0);
    let pending = |outlook, reason: &str, message: &str| PendingResize {
        outlook,
        reason: reason.to_owned(),
        message: message.to_owned(),
        generation,
    };
    let infeasible = |message| Err(pending(Outlook::Infeasible, INFEASIBLE, message));
    if pod
        .all_containers()
        .any(|container| would_swap(pod, container, saved, policy))
    {
        return infeasible("In-place resize of containers with swap is not supported.");
    }
    if saved.differs_of_the_whole(pod) {
        return infeasible("InPlacePodLevelResourcesVerticalScaling is disabled");
    }
    if let Err(refusal) = fits() {
        return Err(pending(Outlook::Deferred, &refusal.reason, &refusal.message));
    }
    let mut allocation = Allocation::of(pod);
    for instance in seen.containers.iter().filter(|instance| runs(instance)) {
        let has = saved
            .behind
            .get(&instance.id)
            .or(saved.containers.get(&instance.name));
        if let (Some(has), Some(gets)) = (has, allocation.containers.get(&instance.name))
            && has != gets
        {
            allocation.behind.insert(instance.id.clone(), *has);
        }
    }
    Ok(allocation)
}

/// The order in which waiting pods are checked again: first those that need no more than they have, then by priority
/// and QoS class (`sortPendingResizes`).
pub fn precedence(pod: &Pod, saved: &Allocation) -> impl Ord + use<> {
    let now = saved.applied(pod);
    let request = |pod: &Pod| {
        let amounts = super::amounts::pod_requests(pod, super::amounts::Overhead::Without);
        (amounts.cpu_or_zero(), amounts.memory_or_zero())
    };
    let (has, wants) = (request(&now), request(pod));
    let grows = wants.0 > has.0 || wants.1 > has.1;
    (
        grows,
        Reverse(pod.priority.unwrap_or(0)),
        pod.qos != Qos::Guaranteed,
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

fn runs(instance: &ObservedContainer) -> bool {
    matches!(instance.state, ContainerState::Running { .. })
}

/// Whether a running container has to be restarted to get its allocation.
pub(super) fn restarts(container: &Container, instance: &ObservedContainer, seen: &ObservedPod) -> bool {
    let allocation = seen.allocation.as_ref();
    let has = allocation.and_then(|saved| saved.of_instance(&container.name, &instance.id));
    let Some(has) = has else { return false };
    let gets = Sizes::of(&container.resources);
    let restarts = |policy| policy == OnResize::RestartContainer;
    (has.differs_in_cpu(gets) && restarts(container.resize.cpu))
        || (has.differs_in_memory(gets) && restarts(container.resize.memory))
}

/// A running container that gets other resources.
struct Update<'a> {
    container: &'a Container,
    id: &'a str,
    has: Sizes,
    gets: Sizes,
}

/// The steps that apply the pod's allocation, between the stops and the starts; and when to retry a failed one.
/// `stopped` are the instances that have been stopped before.
pub(super) fn stages(context: PlanContext<'_>, stopped: &[&str]) -> (Vec<Vec<Step>>, Option<Timestamp>) {
    let PlanContext {
        pod,
        seen,
        memory,
        now,
        policy,
        ..
    } = context;
    let Some(saved) = seen.allocation.as_ref().filter(|saved| !saved.behind.is_empty()) else {
        return (Vec::new(), None);
    };
    if let Some(until) = memory.retried_at(&FailedWork::Resize, now) {
        return (Vec::new(), Some(until));
    }
    let updates = updates(pod, seen, saved, stopped);
    let request = request(pod, saved, seen, &updates, policy);
    let mut after = Allocation::clone(saved);
    // A stop may have failed, so a stopped instance is not removed before its end has been observed.
    after.behind.retain(|id, _| stopped.contains(&id.as_str()));
    let resize = match request.changes.is_empty() {
        true => Vec::new(),
        false => vec![Step::Resize(Box::new(request))],
    };
    let note = save(pod, after, Occasion::Actuated, policy);
    (vec![resize, vec![note]], None)
}

fn updates<'a>(pod: &'a Pod, seen: &'a ObservedPod, saved: &Allocation, stopped: &[&str]) -> Vec<Update<'a>> {
    let update = |instance: &'a ObservedContainer| {
        let has = saved.of_instance(&instance.name, &instance.id)?;
        let container = pod
            .all_containers()
            .find(|container| container.name == instance.name)?;
        Some(Update {
            container,
            id: &instance.id,
            has,
            gets: Sizes::of(&container.resources),
        })
    };
    let running = seen.containers.iter().filter(|instance| runs(instance));
    let going_on = running.filter(|instance| !stopped.contains(&instance.id.as_str()));
    going_on.filter_map(update).collect()
}

/// Memory first, then CPU; for each, an increase of the pod comes before its containers, a decrease after them.
fn request(
    pod: &Pod,
    saved: &Allocation,
    seen: &ObservedPod,
    updates: &[Update<'_>],
    policy: &NodePolicy,
) -> ResizeRequest {
    let name_of = |id: &String| {
        let mut instances = seen.containers.iter();
        instances
            .find(|instance| instance.id == *id)
            .map(|instance| instance.name.clone())
    };
    let had: BTreeMap<String, Sizes> = saved
        .behind
        .iter()
        .filter_map(|(id, sizes)| Some((name_of(id)?, *sizes)))
        .collect();
    let former = with_sizes(pod, &had);
    let setting = |pod: &Pod| cgroup::pod_cgroup(pod, &policy.cgroup);
    let (before, after) = (setting(&former), setting(pod));
    let touches = |differs: fn(Sizes, Sizes) -> bool| updates.iter().any(|u| differs(u.has, u.gets));
    let restarted = saved.behind.len() > updates.len();
    let (mut floors, mut changes) = (Vec::new(), Vec::new());
    if restarted || touches(Sizes::differs_in_memory) {
        floors.extend(lowered(&before, &after, updates, policy));
        memory_changes(pod, (&before, &after), updates, policy, &mut changes);
    }
    if restarted || touches(Sizes::differs_in_cpu) {
        cpu_changes(pod, (&before, &after), updates, policy, &mut changes);
    }
    ResizeRequest { floors, changes }
}

/// Memory is raised from the pod to its containers, and lowered the other way.
fn memory_changes(
    pod: &Pod,
    (before, after): (&CgroupSetting, &CgroupSetting),
    updates: &[Update<'_>],
    policy: &NodePolicy,
    changes: &mut Vec<Change>,
) {
    let limit = |setting: &CgroupSetting| setting.memory_limit.unwrap_or(i64::MAX);
    let grows = limit(after) > limit(before);
    let of_pod = CgroupSetting {
        memory_limit: after.memory_limit,
        ..untouched(after)
    };
    let of_pod = of_pod
        .memory_limit
        .is_some()
        .then_some(of_pod)
        .filter(|_| policy.cgroup.per_qos);
    let mut memory: Vec<_> = updates
        .iter()
        .filter(|u| u.has.differs_in_memory(u.gets))
        .collect();
    memory.sort_by_key(|u| {
        grown(
            (u.has.memory_limit, u.has.memory_request),
            (u.gets.memory_limit, u.gets.memory_request),
        )
    });
    let containers = memory
        .into_iter()
        .map(|u| change(pod, u, u.gets.with_cpu_of(u.has), policy));
    around(of_pod, grows, containers, changes);
}

/// CPU is raised from the pod to its containers, and lowered the other way.
fn cpu_changes(
    pod: &Pod,
    (before, after): (&CgroupSetting, &CgroupSetting),
    updates: &[Update<'_>],
    policy: &NodePolicy,
    changes: &mut Vec<Change>,
) {
    let quota = |setting: &CgroupSetting| setting.cpu_quota.map_or(i64::MAX, |(quota, _)| quota);
    let grows = quota(after) > quota(before) || after.cpu_shares > before.cpu_shares;
    let of_pod = CgroupSetting {
        cpu_quota: after.cpu_quota,
        cpu_shares: after.cpu_shares,
        ..untouched(after)
    };
    let of_pod = Some(of_pod).filter(|_| policy.cgroup.per_qos);
    let mut cpu: Vec<_> = updates.iter().filter(|u| u.has.differs_in_cpu(u.gets)).collect();
    cpu.sort_by_key(|u| {
        grown(
            (u.has.cpu_limit, u.has.cpu_request),
            (u.gets.cpu_limit, u.gets.cpu_request),
        )
    });
    let containers = cpu.into_iter().map(|u| change(pod, u, u.gets, policy));
    around(of_pod, grows, containers, changes);
}

/// The pod's change comes before those of its containers if it grows, otherwise after them.
fn around(
    of_pod: Option<CgroupSetting>,
    grows: bool,
    containers: impl Iterator<Item = Change>,
    changes: &mut Vec<Change>,
) {
    let (first, last) = match grows {
        true => (of_pod, None),
        false => (None, of_pod),
    };
    changes.extend(first.map(Change::Pod));
    changes.extend(containers);
    changes.extend(last.map(Change::Pod));
}

/// Whether the value grows, judged by the limit if that changes: decreases are applied first.
fn grown(has: (Option<i64>, Option<i64>), gets: (Option<i64>, Option<i64>)) -> bool {
    match has.0 == gets.0 {
        true => gets.1 > has.1,
        false => gets.0.unwrap_or(i64::MAX) > has.0.unwrap_or(i64::MAX),
    }
}

/// The memory limits that become lower, or are new.
fn lowered<'a>(
    before: &CgroupSetting,
    after: &CgroupSetting,
    updates: &'a [Update<'a>],
    policy: &NodePolicy,
) -> impl Iterator<Item = Floor> + use<'a> {
    let is_lower = |has: Option<i64>, gets: i64| has.is_none_or(|has| gets < has);
    let limit = after
        .memory_limit
        .filter(|limit| policy.cgroup.per_qos && is_lower(before.memory_limit, *limit));
    let of_pod = limit.map(|limit| Floor {
        of: Usage::Pod(after.name.clone()),
        limit,
    });
    let of_containers = updates.iter().filter_map(move |update| {
        let limit = update
            .gets
            .memory_limit
            .filter(|limit| is_lower(update.has.memory_limit, *limit))?;
        let of = Usage::Container {
            name: update.container.name.clone(),
            id: update.id.to_owned(),
        };
        Some(Floor { of, limit })
    });
    of_pod.into_iter().chain(of_containers)
}

fn change(pod: &Pod, update: &Update<'_>, sizes: Sizes, policy: &NodePolicy) -> Change {
    let mut container = update.container.clone();
    sizes.apply(&mut container.resources);
    Change::Container {
        id: update.id.to_owned(),
        resources: Box::new(cgroup::container_resources(pod, &container, policy)),
    }
}

/// The same cgroup without values.
fn untouched(setting: &CgroupSetting) -> CgroupSetting {
    CgroupSetting {
        name: setting.name.clone(),
        cpu_shares: None,
        cpu_quota: None,
        memory_limit: None,
        pids_max: None,
        hugepages: Vec::new(),
    }
}

fn with_sizes(pod: &Pod, sizes: &BTreeMap<String, Sizes>) -> Pod {
    let mut pod = pod.clone();
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        if let Some(sizes) = sizes.get(&container.name) {
            sizes.apply(&mut container.resources);
        }
    }
    pod
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
    }

    fn case(before: &[(i64, i64)], after: &[(i64, i64)]) -> Case {
        let containers = both_run().split_off(2 - before.len());
        Case {
            pod: pod(after),
            saved: Allocation::of(&pod(before)),
            containers,
            failure: None,
            limited_swap: false,
        }
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
            policy.cgroup.version = match self.limited_swap {
                true => crate::model::node::CgroupVersion::V2,
                false => policy.cgroup.version,
            };
            let seen = self.seen(self.saved.clone());
            decide(
                &self.pod,
                &self.saved,
                &seen.uids[&self.pod.uid],
                || Ok(()),
                &policy,
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
    fn what_is_never_granted() {
        let mut whole = case(&[(100, 64)], &[(100, 64)]);
        whole.pod.resources = Some(resources(500, 128));
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
        let order = |before: i64, after: i64, priority: i32| {
            let mut case = case(&[(before, 64)], &[(after, 64)]);
            case.pod.priority = Some(priority);
            precedence(&case.pod, &case.saved)
        };
        assert!(order(200, 100, 0) < order(100, 200, 1000));
        assert!(order(100, 200, 1000) < order(100, 200, 0));
    }
}
