//! The status of a pod whose resources change while it runs (`pkg/kubelet/status`, `pkg/kubelet/events/resize.go`,
//! `convertContainerStatusResources` in `pkg/kubelet/kubelet_pods.go`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use serde::Serialize;

use super::context::StatusContext;
use super::format::{quantities, time};
use super::phase;
use crate::model::allocation::{Allocation, Sizes};
use crate::model::amounts::{self, Limited, Overhead};
use crate::model::memory::FailedWork;
use crate::model::memory::PendingResize;
use crate::model::pod::Pod;
use crate::model::request::Occasion;
use crate::model::runtime::ObservedContainer;

/// The condition of a pod that does not get what it requests.
pub(super) const PENDING: &str = "PodResizePending";
/// The condition of a pod whose allocation is not applied yet.
const IN_PROGRESS: &str = "PodResizeInProgress";

/// The conditions about a resize; empty if there is none.
pub(super) fn conditions(
    context: StatusContext<'_>,
    reached: &str,
    previous: Option<&api::PodStatus>,
) -> Vec<api::PodCondition> {
    if phase::is_final(reached) || context.pod.deletion.is_some() {
        return Vec::new();
    }
    let pending = context.memory.and_then(|memory| memory.resize.as_ref());
    let pending = pending.map(|pending| {
        let why = (pending.outlook.as_str(), pending.message.as_str());
        condition(PENDING, Some(why), pending.generation, previous, context.now)
    });
    let allocation = context.seen.allocation.as_ref();
    let progress = allocation
        .filter(|allocation| allocation.is_behind())
        .map(|allocation| {
            let failure = context
                .memory
                .and_then(|memory| memory.failures.get(&FailedWork::Resize));
            let why = failure.map(|failure| ("Error", failure.error.message.as_str()));
            condition(IN_PROGRESS, why, allocation.generation, previous, context.now)
        });
    pending.into_iter().chain(progress).collect()
}

/// A condition that is true as long as it exists; it changes with its reason.
fn condition(
    kind: &str,
    why: Option<(&str, &str)>,
    generation: i64,
    previous: Option<&api::PodStatus>,
    now: Timestamp,
) -> api::PodCondition {
    let reason = why.map(|(reason, _)| reason);
    let mut reported = previous
        .into_iter()
        .flat_map(|previous| previous.conditions.iter().flatten());
    let reported = reported.find(|reported| reported.type_ == kind && reported.reason.as_deref() == reason);
    let since = reported.and_then(|reported| reported.last_transition_time.clone());
    api::PodCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: reason.map(str::to_owned),
        message: why.map(|(_, message)| message.to_owned()),
        last_transition_time: since.or_else(|| Some(time(now))),
        observed_generation: Some(generation).filter(|&generation| generation > 0),
        last_probe_time: None,
    }
}

/// The resources of an instance: the allocation, unless it is not applied yet.
pub(super) fn in_force(
    context: StatusContext<'_>,
    instance: &ObservedContainer,
    allotted: api::ResourceRequirements,
) -> api::ResourceRequirements {
    let allocation = context.seen.allocation.as_ref();
    let has = allocation.and_then(|allocation| allocation.of_instance(&instance.name, &instance.id));
    let Some(has) = has else { return allotted };
    // Limits that it takes from its pod are not shown as its own.
    let limits = allotted.limits.as_ref();
    let states = |name: &str| limits.is_some_and(|limits| limits.contains_key(name));
    let own = Sizes {
        cpu_limit: has.cpu_limit.filter(|_| states("cpu")),
        memory_limit: has.memory_limit.filter(|_| states("memory")),
        ..has
    };
    own.of_object(allotted)
}

/// `resources` and `allocatedResources` of a pod that sets resources of its own (KEP-5419,
/// `convertToAPIPodLevelResourcesStatus` in `pkg/kubelet/kubelet_pods.go`): what its cgroup has, and what it is to have. The
/// kubelet reports them for all pods; for the others they would only repeat the sum of the containers'.
pub(super) fn of_pod(context: StatusContext<'_>, status: &mut api::PodStatus) {
    let StatusContext { pod, policy, .. } = context;
    let own = pod.object.spec.as_ref().and_then(|spec| spec.resources.clone());
    let Some(own) = own.filter(|_| policy.pod_level_resize && pod.resources.is_some()) else {
        return;
    };
    let has = context
        .seen
        .allocation
        .as_ref()
        .and_then(|allocation| allocation.pod_behind);
    status.allocated_resources = Some(quantities(&amounts::pod_requests(pod, Overhead::With)));
    status.resources = Some(match has {
        Some(has) => {
            let mut former = pod.clone();
            has.apply(former.resources.get_or_insert_default());
            effective(&former).of_object(own)
        }
        None => effective(pod).of_object(own),
    });
}

/// The resources of the pod's cgroup.
fn effective(pod: &Pod) -> Sizes {
    let requests = amounts::pod_requests(pod, Overhead::With);
    let limits = amounts::pod_limits(pod, Overhead::With);
    let limited = Limited::of(pod);
    Sizes {
        cpu_request: requests.cpu.map(|cpu| cpu.0),
        memory_request: requests.memory.map(|memory| memory.0),
        cpu_limit: limits.cpu.map(|cpu| cpu.0).filter(|_| limited.cpu),
        memory_limit: limits.memory.map(|memory| memory.0).filter(|_| limited.memory),
    }
}

/// The event of a saved allocation: reason and message.
pub(super) fn progress(
    pod: &Pod,
    allocation: &Allocation,
    occasion: Occasion,
) -> impl Iterator<Item = (&'static str, String)> {
    let run = allocation.applied(pod);
    let text = |what: &str| format!("Pod resize {what}: {}", summary(&run, allocation.generation, ""));
    let started = (occasion == Occasion::Resized).then(|| ("ResizeStarted", text("started")));
    let is_over = occasion != Occasion::Begun && !allocation.is_behind();
    let completed = is_over.then(|| ("ResizeCompleted", text("completed")));
    started.into_iter().chain(completed)
}

/// The message of the event that a pod does not get what it requests.
pub(super) fn refused(pod: &Pod, pending: &PendingResize) -> String {
    let summary = summary(pod, pending.generation, &pending.message);
    format!("Pod resize {}: {summary}", pending.reason)
}

/// The message of the event that the allocation could not be applied.
pub(super) fn error(pod: &Pod, message: &str) -> String {
    let generation = pod.object.metadata.generation.unwrap_or(0);
    format!("Pod resize error: {}", summary(pod, generation, message))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<OfContainer<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<OfContainer<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct OfContainer<'a> {
    name: &'a str,
    resources: api::ResourceRequirements,
}

impl<'a> From<&'a api::Container> for OfContainer<'a> {
    fn from(container: &'a api::Container) -> OfContainer<'a> {
        OfContainer {
            name: &container.name,
            resources: container.resources.clone().unwrap_or_default(),
        }
    }
}

/// The resources of the containers, as JSON.
fn summary(pod: &Pod, generation: i64, error: &str) -> String {
    let spec = pod.object.spec.as_ref();
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let regular = spec.into_iter().flat_map(|spec| &spec.containers);
    let summary = Summary {
        init_containers: init.map(OfContainer::from).collect(),
        containers: regular.map(OfContainer::from).collect(),
        generation,
        error,
    };
    serde_json::to_string(&summary).expect("strings and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::memory::{Outlook, PodMemory};
    use crate::model::pod::RestartPolicy;
    use crate::model::sample::{self, at, instance, running, sandbox};
    use crate::status::events;
    use crate::status::pod::pod_status;

    fn pod() -> Pod {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let object = serde_json::json!({"metadata": {"generation": 2}, "spec": {"containers": [{"name": "c",
            "resources": {"limits": {"cpu": "300m"}, "requests": {"cpu": "150m", "memory": "48Mi"}}}]}});
        pod.object = Arc::new(serde_json::from_value(object).unwrap());
        pod
    }

    const SUMMARY: &str = r#"{"containers":[{"name":"c","resources":{"limits":{"cpu":"300m"},"requests":{"cpu":"150m","memory":"48Mi"}}}],"generation":2"#;

    #[test]
    fn a_resize_is_told_until_it_is_in_force() {
        let has = Sizes {
            cpu_request: Some(100),
            cpu_limit: Some(200),
            memory_request: Some(32 << 20),
            memory_limit: None,
        };
        let mut allocation = Allocation {
            generation: 2,
            containers: [("c".to_owned(), Sizes::default())].into(),
            behind: [("c0".to_owned(), has)].into(),
            ..Allocation::default()
        };
        let mut observed = sample::observed(vec![sandbox(0, true, 0)], vec![instance("c", 0, 1, running(1))]);
        let memory = PodMemory::new(sample::uid("u1"), at(0));
        let mut reported = |allocation: &Allocation| {
            let seen = observed.uids.values_mut().next().unwrap();
            seen.allocation = Some(Arc::new(allocation.clone()));
            pod_status(
                &pod(),
                &observed,
                Some(&memory),
                None,
                &sample::policy(),
                &[],
                at(9),
            )
        };
        let status = reported(&allocation);
        let progress = &status.conditions.as_ref().unwrap()[0];
        assert_eq!(
            (progress.type_.as_str(), progress.status.as_str()),
            (IN_PROGRESS, "True")
        );
        assert_eq!((progress.observed_generation, &progress.reason), (Some(2), &None));
        let container = serde_json::to_value(&status.container_statuses.unwrap()[0]).unwrap();
        assert_eq!(
            container["resources"],
            serde_json::json!({"limits": {"cpu": "200m"}, "requests": {"cpu": "100m", "memory": "32Mi"}})
        );
        assert_eq!(
            container["allocatedResources"],
            serde_json::json!({"cpu": "150m", "memory": "48Mi"})
        );
        allocation.behind.clear();
        let conditions = reported(&allocation).conditions.unwrap();
        assert!(conditions.iter().all(|condition| condition.type_ != IN_PROGRESS));
    }

    #[test]
    fn the_resources_of_a_pod_are_those_of_its_cgroup_and_those_that_it_is_to_have() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"])
            .with_resources(&[sample::resources(100, 32 << 20)]);
        pod.containers[0].resources.limits = Default::default();
        pod.resources = Some(sample::resources(800, 256 << 20));
        let object = serde_json::json!({"spec": {"resources": {
            "requests": {"cpu": "0.8", "memory": "256Mi", "hugepages-2Mi": "4Mi"},
            "limits": {"cpu": "0.8", "memory": "256Mi", "hugepages-2Mi": "4Mi"},
        }, "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}}}]}});
        pod.object = Arc::new(serde_json::from_value(object).unwrap());
        let amounts = |cpu: &str, memory: &str| serde_json::json!({"cpu": cpu, "memory": memory, "hugepages-2Mi": "4Mi"});
        let both = |cpu: &str, memory: &str| serde_json::json!({"requests": amounts(cpu, memory), "limits": amounts(cpu, memory)});
        let reported = |pod_behind| {
            let mut allocation = Allocation {
                pod_behind,
                ..Allocation::of(&pod)
            };
            let has = Sizes::of(&sample::resources(500, 128 << 20));
            allocation.behind = pod_behind.map(|_| ("c0".to_owned(), has)).into_iter().collect();
            let containers = vec![instance("c", 0, 1, running(1))];
            let mut observed = sample::observed(vec![sandbox(0, true, 0)], containers);
            observed.uids.values_mut().next().unwrap().allocation = Some(Arc::new(allocation));
            let status = pod_status(&pod, &observed, None, None, &sample::policy(), &[], at(9));
            serde_json::to_value(status).unwrap()
        };
        let granted = reported(None);
        assert_eq!(granted["resources"], both("800m", "256Mi"));
        assert_eq!(
            granted["allocatedResources"],
            serde_json::json!({"cpu": "800m", "memory": "256Mi"})
        );
        let behind = reported(Some(Sizes::of(&sample::resources(500, 128 << 20))));
        assert_eq!(behind["resources"], both("500m", "128Mi"));
        assert_eq!(behind["allocatedResources"], granted["allocatedResources"]);
        let conditions = behind["conditions"].as_array().unwrap();
        assert!(
            conditions
                .iter()
                .any(|condition| condition["type"] == IN_PROGRESS)
        );
        // The container's limits are the pod's.
        assert!(behind["containerStatuses"][0]["resources"]["limits"].is_null());
    }

    #[test]
    fn the_events_of_an_allocation() {
        let mut allocation = Allocation {
            generation: 2,
            ..Allocation::default()
        };
        let reported = |allocation: &Allocation, occasion| -> Vec<(&str, String)> {
            progress(&pod(), allocation, occasion).collect()
        };
        let completed = ("ResizeCompleted", format!("Pod resize completed: {SUMMARY}}}"));
        assert_eq!(reported(&allocation, Occasion::Begun), []);
        assert_eq!(reported(&allocation, Occasion::Actuated), [completed]);
        allocation.behind.insert("c0".to_owned(), Sizes::default());
        let started = ("ResizeStarted", format!("Pod resize started: {SUMMARY}}}"));
        assert_eq!(reported(&allocation, Occasion::Resized), [started]);
    }

    #[test]
    fn what_waits_is_told_once_for_each_reason() {
        let observed = sample::observed(vec![sandbox(0, true, 0)], vec![instance("c", 0, 1, running(1))]);
        let mut memory = PodMemory::new(sample::uid("u1"), at(0));
        memory.resize = Some(PendingResize {
            outlook: Outlook::Deferred,
            reason: "OutOfcpu".to_owned(),
            message: "no room".to_owned(),
            generation: 2,
            since: at(1),
        });
        let status = |memory: &PodMemory, previous: Option<&api::PodStatus>, now| {
            pod_status(
                &pod(),
                &observed,
                Some(memory),
                previous,
                &sample::policy(),
                &[],
                at(now),
            )
        };
        let first = status(&memory, None, 5);
        let pending = |status: &api::PodStatus| status.conditions.as_ref().unwrap()[0].clone();
        let reported = pending(&first);
        assert_eq!(
            (reported.type_.as_str(), reported.reason.as_deref()),
            (PENDING, Some("Deferred"))
        );
        let event = events::resize_pending(&pod(), &memory, None).unwrap();
        assert_eq!(event.reason, "ResizeDeferred");
        assert_eq!(
            event.message,
            format!(r#"Pod resize OutOfcpu: {SUMMARY},"error":"no room"}}"#)
        );
        let second = status(&memory, Some(&first), 8);
        assert_eq!(
            pending(&second).last_transition_time,
            reported.last_transition_time
        );
        assert_eq!(events::resize_pending(&pod(), &memory, Some(&first)), None);
        if let Some(pending) = &mut memory.resize {
            pending.outlook = Outlook::Infeasible;
        }
        assert!(events::resize_pending(&pod(), &memory, Some(&first)).is_some());
    }
}
