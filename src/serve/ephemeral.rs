//! `/ephemeralcontainers` of the agent's socket: adds an ephemeral container to a static pod, and waits for it to start.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use k8s_openapi::api::core::v1::{ContainerStatus, EphemeralContainer, Pod};

use super::answer::Refusal;
use super::containers::{bare_id, container_names, no_container, observed_end};
use super::objects::find;
use super::world::Served;
use crate::model::added::NotAdded;
use crate::model::labels;
use crate::model::pod::{OF_FILE, PodName};
use crate::model::runtime::Snapshot;

/// Adds the container of the body, a `v1 EphemeralContainer` as JSON, to the pod. 201 without a body once it is saved.
pub(super) async fn add(
    State(served): State<Served>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let (name, pod) = find(&served, namespace, name)?;
    if !is_static(&pod) {
        return Err(refusal(NotAdded::OfApi(name)));
    }
    let container: EphemeralContainer = serde_json::from_slice(&body)
        .map_err(|error| Refusal::BadRequest(format!("the body is not an ephemeral container: {error}")))?;
    served
        .world
        .changes
        .adder
        .add(name, container)
        .await
        .map_err(refusal)?;
    Ok(StatusCode::CREATED)
}

/// Whether a manifest has the pod.
pub(super) fn is_static(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(labels::source) == Some(OF_FILE)
}

/// Why a container was not added, as an answer.
pub(super) fn refusal(error: NotAdded) -> Refusal {
    let text = error.to_string();
    match error {
        NotAdded::NoPod(_) => Refusal::NotFound(text),
        NotAdded::OfApi(_) => Refusal::Conflict(text),
        NotAdded::Invalid(_) => Refusal::BadRequest(text),
        NotAdded::NotSaved(_) | NotAdded::Stopping => Refusal::Internal(text),
    }
}

/// Waits until the container has started or cannot start, and answers with its status. The client decides how long.
pub(super) async fn wait(
    State(served): State<Served>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
) -> Result<Json<ContainerStatus>, Refusal> {
    let mut pods = served.world.pods.clone();
    let (name, mut pod) = find(&served, namespace, pod)?;
    let uid = pod.metadata.uid.clone();
    loop {
        let status = settled(&pod, &container);
        if let Some(status) = status.filter(|status| !ends(&served.world.snapshot.borrow(), status)) {
            return Ok(Json(status));
        }
        // The report follows the specification, in which an added container is a moment later, and what is observed.
        let changed = tokio::select! {
            // Both are cancel-safe.
            changed = pods.changed() => changed.is_ok(),
            () = served.stopping.cancelled() => false,
        };
        if !changed {
            return Err(Refusal::Internal("gantry is stopping".to_owned()));
        }
        pod = same(&pods.borrow_and_update().pods, &name, uid.as_deref())
            .ok_or_else(|| Refusal::no_pod(&name.name))?;
        if !container_names(&pod).contains(&container.as_str()) && has_ended(&pod) {
            return Err(no_container(&pod, &container));
        }
    }
}

type Pods = std::collections::BTreeMap<PodName, std::sync::Arc<Pod>>;

fn same(pods: &Pods, name: &PodName, uid: Option<&str>) -> Option<std::sync::Arc<Pod>> {
    pods.get(name)
        .filter(|pod| pod.metadata.uid.as_deref() == uid)
        .cloned()
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The container's status once it runs or has ended, or waits for something that only a person can change.
fn settled(pod: &Pod, container: &str) -> Option<ContainerStatus> {
    let status = pod.status.as_ref()?;
    let own = status.ephemeral_container_statuses.iter().flatten();
    let own = own.into_iter().find(|status| status.name == container)?;
    let state = own.state.as_ref()?;
    let reason = state
        .waiting
        .as_ref()
        .and_then(|waiting| waiting.reason.as_deref());
    let is_stuck = reason.is_some_and(|reason| !matches!(reason, "ContainerCreating" | "PodInitializing"));
    (state.running.is_some() || state.terminated.is_some() || is_stuck).then(|| own.clone())
}

/// Whether the container of a status that says "running" has ended meanwhile, so that a newer status is on its way.
fn ends(snapshot: &Snapshot, status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    let runs = state.is_some_and(|state| state.running.is_some());
    let id = status.container_id.as_deref().filter(|_| runs);
    id.is_some_and(|id| observed_end(snapshot, bare_id(id)).is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::runtime::ContainerState;
    use crate::model::sample;

    #[test]
    fn a_status_that_is_older_than_the_container_s_end_is_not_the_answer() {
        let check = |observed: ContainerState, status: serde_json::Value, expected: bool| {
            let container = sample::instance("c", 0, 1, observed);
            let observed = sample::observed(vec![sample::sandbox(0, true, 1)], vec![container]);
            let snapshot = Snapshot {
                pods: [(sample::name(), Arc::new(observed))].into(),
                ..Snapshot::default()
            };
            let status = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "containerID": "containerd://c0", "state": status});
            let status = serde_json::from_value(status).unwrap();
            assert_eq!(ends(&snapshot, &status), expected, "{status:?}");
        };
        check(sample::exited(1, 2, 0), json!({"running": {}}), true);
        check(sample::running(1), json!({"running": {}}), false);
        check(
            sample::exited(1, 2, 0),
            json!({"terminated": {"exitCode": 0}}),
            false,
        );
    }

    #[test]
    fn a_container_has_settled_when_it_runs_has_ended_or_is_stuck() {
        let check = |state: serde_json::Value, expected: bool| {
            let pod = serde_json::from_value(
                json!({"metadata": {}, "status": {"ephemeralContainerStatuses": [
                    {"name": "dbg", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state},
                ]}}),
            );
            assert_eq!(settled(&pod.unwrap(), "dbg").is_some(), expected, "{state}");
        };
        check(json!({"running": {}}), true);
        check(json!({"terminated": {"exitCode": 1}}), true);
        check(json!({"waiting": {"reason": "ContainerCreating"}}), false);
        check(json!({"waiting": {}}), false);
        check(json!({"waiting": {"reason": "ErrImagePull"}}), true);
        check(json!({}), false);
    }
}
