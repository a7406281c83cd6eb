//! What is told of a pod whose resources change while it runs (`pkg/kubelet/status`, `pkg/kubelet/events/resize.go`,
//! `convertContainerStatusResources` in `pkg/kubelet/kubelet_pods.go`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use serde::Serialize;

use super::container::Given;
use super::format::time;
use super::phase;
use crate::model::allocation::Allocation;
use crate::model::memory::PendingResize;
use crate::model::pod::Pod;
use crate::model::reason;
use crate::model::runtime::ObservedContainer;
use crate::model::step::Occasion;

/// The condition of a pod that does not get what it asks for.
pub(super) const PENDING: &str = "PodResizePending";
/// The condition of a pod that was allotted something that is not in force yet.
const IN_PROGRESS: &str = "PodResizeInProgress";

/// The conditions that tell of a resize; there are none where there is none.
pub(super) fn conditions(
    given: Given<'_>,
    reached: &str,
    previous: Option<&api::PodStatus>,
) -> Vec<api::PodCondition> {
    if phase::is_final(reached) || given.pod.deletion.is_some() {
        return Vec::new();
    }
    let pending = given.memory.and_then(|memory| memory.resize.as_ref());
    let pending = pending.map(|pending| {
        let why = (pending.outlook.as_str(), pending.message.as_str());
        condition(PENDING, Some(why), pending.generation, previous, given.now)
    });
    let allocation = given.seen.allocation.as_ref();
    let progress = allocation
        .filter(|allocation| !allocation.behind.is_empty())
        .map(|allocation| {
            let failure = given.memory.and_then(|memory| memory.failure.as_ref());
            let failure = failure.filter(|(error, _)| error.reason == reason::pod::RESIZE_ERROR);
            let why = failure.map(|(error, _)| ("Error", error.message.as_str()));
            condition(IN_PROGRESS, why, allocation.generation, previous, given.now)
        });
    pending.into_iter().chain(progress).collect()
}

/// A condition that is true as long as it is there; it changes with its reason.
fn condition(
    kind: &str,
    why: Option<(&str, &str)>,
    generation: i64,
    previous: Option<&api::PodStatus>,
    now: Timestamp,
) -> api::PodCondition {
    let reason = why.map(|(reason, _)| reason);
    let mut told = previous
        .into_iter()
        .flat_map(|previous| previous.conditions.iter().flatten());
    let told = told.find(|told| told.type_ == kind && told.reason.as_deref() == reason);
    let since = told.and_then(|told| told.last_transition_time.clone());
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

/// The resources that an instance has: those that were allotted, unless it has not got them yet.
pub(super) fn in_force(
    given: Given<'_>,
    instance: &ObservedContainer,
    allotted: api::ResourceRequirements,
) -> api::ResourceRequirements {
    let allocation = given.seen.allocation.as_ref();
    let has = allocation.and_then(|allocation| allocation.of_instance(&instance.name, &instance.id));
    match has {
        Some(has) => has.of_object(allotted),
        None => allotted,
    }
}

/// The events of an allocation that was kept: reason and message.
pub(super) fn progress(
    pod: &Pod,
    allocation: &Allocation,
    occasion: Occasion,
) -> impl Iterator<Item = (&'static str, String)> {
    let run = allocation.applied(pod);
    let text = |what: &str| format!("Pod resize {what}: {}", summary(&run, allocation.generation, ""));
    let started = (occasion == Occasion::Resized).then(|| ("ResizeStarted", text("started")));
    let is_over = occasion != Occasion::Begun && allocation.behind.is_empty();
    let completed = is_over.then(|| ("ResizeCompleted", text("completed")));
    started.into_iter().chain(completed)
}

/// The message of the event that a pod does not get what it asks for.
pub(super) fn refused(pod: &Pod, pending: &PendingResize) -> String {
    let summary = summary(pod, pending.generation, &pending.message);
    format!("Pod resize {}: {summary}", pending.reason)
}

/// The message of the event that what was allotted could not be put into force.
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
    serde_json::to_string(&summary).expect("texts and numbers can be written as JSON")
}
