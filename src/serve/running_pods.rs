//! `/runningpods`: what the runtime runs at present, as opposed to `/pods`, which is what should run. Only the fields
//! that the runtime knows (`GetRunningPods` in `pkg/kubelet/kubelet_getters.go`).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pod_list;
use super::world::Served;
use crate::model::pod::{PodName, PodUid};
use crate::model::runtime::{ContainerState, ObservedPod, Snapshot};

pub(crate) async fn answer(State(served): State<Served>) -> Response {
    let snapshot = served.world.snapshot.borrow().clone();
    if let Some(Err(why)) = &snapshot.runtime.reachable {
        return (StatusCode::INTERNAL_SERVER_ERROR, why.clone()).into_response();
    }
    if !snapshot.listed {
        let why = "the container runtime has not been listed yet";
        return (StatusCode::INTERNAL_SERVER_ERROR, why).into_response();
    }
    pod_list::encoded(running(&snapshot).iter())
}

/// The pods with a ready sandbox or a running container, the newest first.
fn running(snapshot: &Snapshot) -> Vec<Pod> {
    let all = snapshot
        .pods
        .iter()
        .flat_map(|(name, observed)| observed.uids.iter().map(move |(uid, pod)| (name, uid, pod)));
    let mut running: Vec<(Option<Timestamp>, Pod)> = all
        .filter(|(_, _, pod)| is_running(pod))
        .map(|(name, uid, pod)| (created(pod), object(name, uid, pod)))
        .collect();
    running.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    running.into_iter().map(|(_, pod)| pod).collect()
}

fn is_running(pod: &ObservedPod) -> bool {
    pod.sandboxes.iter().any(|sandbox| sandbox.ready) || containers(pod).next().is_some()
}

fn containers(pod: &ObservedPod) -> impl Iterator<Item = &crate::model::runtime::ObservedContainer> {
    let is_running = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
    pod.containers
        .iter()
        .filter(move |container| is_running(&container.state))
}

/// When the oldest ready sandbox was created.
fn created(pod: &ObservedPod) -> Option<Timestamp> {
    let ready = pod.sandboxes.iter().filter(|sandbox| sandbox.ready);
    ready.map(|sandbox| sandbox.created).min()
}

fn object(name: &PodName, uid: &PodUid, pod: &ObservedPod) -> Pod {
    let mut running: Vec<_> = containers(pod).collect();
    running.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    let containers = running.into_iter().map(|container| Container {
        name: container.name.clone(),
        image: Some(container.image.clone()),
        resources: Some(ResourceRequirements::default()),
        ..Container::default()
    });
    Pod {
        metadata: ObjectMeta {
            name: Some(name.name.clone()),
            namespace: Some(name.namespace.clone()),
            uid: Some(uid.0.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: containers.collect(),
            ..PodSpec::default()
        }),
        status: Some(PodStatus::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::runtime::{ObservedName, Sandbox};
    use crate::serve::fixture;

    fn sandbox(created: &str, ready: bool) -> Sandbox {
        Sandbox {
            created: created.parse().unwrap(),
            ready,
            ..fixture::sandbox()
        }
    }

    fn names(pods: &[(&str, ObservedPod)]) -> Vec<String> {
        let pods = pods.iter().map(|(name, pod)| {
            let uids = [(PodUid(format!("uid-of-{name}")), pod.clone())].into();
            (fixture::name("ns", name), Arc::new(ObservedName { uids }))
        });
        let snapshot = Snapshot {
            pods: pods.collect(),
            ..Snapshot::default()
        };
        let shown = running(&snapshot).into_iter().map(|pod| {
            let containers = pod.spec.unwrap().containers;
            let containers: Vec<_> = containers.into_iter().map(|container| container.name).collect();
            let uid = pod.metadata.uid.unwrap();
            format!("{} {uid} {containers:?}", pod.metadata.name.unwrap())
        });
        shown.collect()
    }

    #[test]
    fn what_does_not_run_is_left_out_and_the_newest_pod_is_first() {
        let observed = |sandboxes: Vec<Sandbox>, containers| ObservedPod {
            sandboxes,
            containers,
            allocation: None,
            checkpoint: None,
        };
        let web = || fixture::running("c1", "web", "");
        let old = observed(vec![sandbox("2026-11-21T00:00:00Z", true)], vec![web()]);
        let new = observed(
            vec![sandbox("2026-11-21T01:00:00Z", true)],
            vec![fixture::exited(web())],
        );
        let gone = observed(
            vec![sandbox("2026-11-21T02:00:00Z", false)],
            vec![fixture::exited(web())],
        );
        // The sandbox has died, its container not yet.
        let left = observed(vec![sandbox("2026-11-21T03:00:00Z", false)], vec![web()]);
        let pods = [("gone", gone), ("left", left), ("new", new), ("old", old)];
        assert_eq!(
            names(&pods),
            [
                "new uid-of-new []",
                "old uid-of-old [\"web\"]",
                "left uid-of-left [\"web\"]"
            ]
        );
    }

    #[tokio::test]
    async fn the_fields_are_those_that_the_kubelet_fills() {
        use http_body_util::BodyExt as _;
        let snapshot = fixture::snapshot_of(vec![fixture::running("c1", "web", "")]);
        let response = pod_list::encoded(running(&snapshot).iter());
        let list = response.into_body().collect().await.unwrap().to_bytes();
        let expected = serde_json::json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {},
            "items": [{
                "metadata": {"name": "web-vm", "namespace": "default", "uid": "u1"},
                "spec": {"containers": [{"name": "web", "image": "demo:1", "resources": {}}]},
                "status": {},
            }],
        });
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&list).unwrap(),
            expected
        );
    }
}
