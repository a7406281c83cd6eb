//! Pods that run: `kubectl delete pod` restarts a static pod, whose manifest is still there, and `kubectl debug` adds a
//! container to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};
use serde::Deserialize as _;
use serde_json::Value;

use super::manifests;
use super::request::{self, Deletion};
use crate::model::manifest_edit::{ManifestKind, Mode, Patch, Target};
use crate::model::pod::PodUid;
use crate::model::pod_name::PodName;
use crate::model::pod_restart::{NotRestarted, Restart};
use crate::model::runtime::{ObservedPod, Snapshot};
use crate::serve::answer::Refusal;
use crate::serve::ephemeral;
use crate::serve::kube::kubectl::Kubectl;
use crate::serve::kube::path::Place;
use crate::serve::objects::find;

/// Restarts a pod, and answers once everything of its past run has ended. kubectl then finds a pod of that name and UID; it
/// waits no longer, since the answer names no UID that would have to go.
pub(super) async fn restart(
    kubectl: &Kubectl,
    name: PodName,
    options: Deletion,
) -> Result<Response, Refusal> {
    let served = &kubectl.served;
    let (name, pod) = find(served, name.namespace.clone(), name.name.clone())?;
    if !ephemeral::is_static(&pod) {
        let text = format!("pod {name} is not a static pod: delete it through its API server");
        return Err(Refusal::Forbidden(text));
    }
    let uid = PodUid(pod.metadata.uid.clone().unwrap_or_default());
    if options
        .preconditions
        .uid
        .as_ref()
        .is_some_and(|asked| *asked != uid.0)
    {
        let text = format!(
            "Operation cannot be fulfilled on pods {:?}: its UID is {}",
            name.name, uid.0
        );
        return Err(Refusal::Conflict(text));
    }
    let done = || {
        let target = Target {
            kind: ManifestKind::Pod,
            namespace: name.namespace.clone(),
            name: name.name.clone(),
        };
        manifests::success(&target, None)
    };
    if options.mode == Mode::DryRun {
        return Ok(done());
    }
    let mut snapshot = served.world.snapshot.clone();
    let (living, restart) = match observed(&snapshot.borrow_and_update(), &name, &uid) {
        Some(seen) => (living(seen), kind_of(seen)),
        None => (BTreeSet::new(), Restart::Again),
    };
    let asked = served
        .world
        .changes
        .restarter
        .restart(name.clone(), restart, options.grace);
    asked.await.map_err(|error| match error {
        NotRestarted::NoPod(_) => Refusal::no_pod(&name.name),
        NotRestarted::Stopping => Refusal::Internal(error.to_string()),
    })?;
    let has_ended = |snapshot: &Arc<Snapshot>| match observed(snapshot, &name, &uid) {
        Some(seen) => self::living(seen).is_disjoint(&living),
        None => true,
    };
    tokio::select! {
        // It fails if the agent is stopping.
        ended = snapshot.wait_for(has_ended) => ended.map(drop).map_err(|_| stopping())?,
        () = served.stopping.cancelled() => return Err(stopping()),
    }
    Ok(done())
}

fn stopping() -> Refusal {
    Refusal::Internal("gantry is stopping; a restart that has begun goes on when it starts again".to_owned())
}

fn observed<'a>(snapshot: &'a Snapshot, name: &PodName, uid: &PodUid) -> Option<&'a ObservedPod> {
    snapshot.pods.get(name)?.uids.get(uid)
}

/// What of a pod is alive: the IDs of containers and sandboxes.
fn living(seen: &ObservedPod) -> BTreeSet<String> {
    let containers = seen.containers.iter().filter(|instance| instance.may_run());
    let containers = containers.map(|instance| instance.id.to_string());
    let sandboxes = seen.ready_sandboxes().map(|sandbox| sandbox.id.to_string());
    containers.chain(sandboxes).collect()
}

/// One that is being restarted already is not restarted once more.
fn kind_of(seen: &ObservedPod) -> Restart {
    let is_leaving = seen.checkpoint.as_ref().is_some_and(|saved| saved.leaving);
    match is_leaving && seen.lives() {
        true => Restart::Hasten,
        false => Restart::Again,
    }
}

/// Adds the ephemeral containers of a patch that the pod has not (`kubectl debug`).
pub(super) async fn debug(kubectl: &Kubectl, place: &Place, request: Request) -> Result<Response, Refusal> {
    let served = &kubectl.served;
    let namespace = place.namespace.clone().unwrap_or_default();
    let (name, pod) = find(served, namespace, place.name.clone().unwrap_or_default())?;
    if !ephemeral::is_static(&pod) {
        let text = format!("pod {name} is not a static pod: debug it through its API server");
        return Err(Refusal::Forbidden(text));
    }
    let sent = request::patch(request).await?;
    let new = added(&pod, sent.content)?;
    if sent.options.mode == Mode::DryRun {
        return Ok(Json(&*pod).into_response());
    }
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for container in new {
        wanted.insert(container.name.clone());
        let added = served.world.changes.adder.add(name.clone(), container).await;
        added.map_err(ephemeral::refusal)?;
    }
    let mut pods = served.world.pods.clone();
    let is_there = |pod: &Pod| {
        wanted
            .iter()
            .all(|name| ephemeral_names(pod).contains(&name.as_str()))
    };
    let reported = pods.wait_for(|report| report.pods.get(&name).is_none_or(|pod| is_there(pod)));
    tokio::select! {
        // It fails if the agent is stopping.
        reported = reported => match reported {
            Ok(report) => match report.pods.get(&name) {
                Some(pod) => Ok(Json(&**pod).into_response()),
                None => Err(Refusal::no_pod(&name.name)),
            },
            Err(_) => Err(stopping()),
        },
        () = served.stopping.cancelled() => Err(stopping()),
    }
}

fn ephemeral_names(pod: &Pod) -> Vec<&str> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    containers.map(|container| container.name.as_str()).collect()
}

/// The ephemeral containers of a patch that are new.
fn added(pod: &Pod, patch: Patch) -> Result<Vec<EphemeralContainer>, Refusal> {
    let (Patch::Strategic(patch) | Patch::Merge(patch)) = patch else {
        let text = "ephemeral containers are added by a strategic merge patch, as kubectl debug sends it";
        return Err(Refusal::UnsupportedMediaType(text.to_owned()));
    };
    let listed = patch
        .0
        .get("spec")
        .and_then(|spec| spec.get("ephemeralContainers"));
    let listed = listed.and_then(Value::as_array).cloned().unwrap_or_default();
    let present = ephemeral_names(pod);
    let is_new = |item: &Value| {
        let name = item.get("name").and_then(Value::as_str);
        name.is_none_or(|name| !present.contains(&name))
    };
    let new = listed.iter().filter(|item| is_new(item));
    let read = new.map(|item| {
        EphemeralContainer::deserialize(item)
            .map_err(|error| Refusal::BadRequest(format!("an ephemeral container cannot be read: {error}")))
    });
    let new: Vec<_> = read.collect::<Result<_, _>>()?;
    match new.is_empty() {
        true => Err(Refusal::BadRequest(
            "the patch adds no ephemeral container; others cannot be changed".to_owned(),
        )),
        false => Ok(new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::checkpoint::Checkpoint;
    use crate::model::manifest_edit::Hidden;
    use crate::serve::fixture;

    #[test]
    fn only_new_containers_are_added() {
        let mut pod = fixture::pod("default", "web-vm");
        let old: EphemeralContainer = serde_json::from_value(json!({"name": "old"})).unwrap();
        pod.spec.as_mut().unwrap().ephemeral_containers = Some(vec![old]);
        let check = |patch: Value, expected: Option<&[&str]>| {
            let new = added(&pod, Patch::Strategic(Hidden(patch.clone()))).ok();
            let names = new.map(|new| new.into_iter().map(|new| new.name).collect::<Vec<_>>());
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(names, expected, "{patch}");
        };
        let list = |items: Value| json!({"spec": {"ephemeralContainers": items}});
        check(list(json!([{"name": "dbg", "image": "tools:1"}])), Some(&["dbg"]));
        check(list(json!([{"name": "old"}, {"name": "dbg"}])), Some(&["dbg"]));
        check(list(json!([{"name": "old", "image": "other"}])), None);
        // The source refuses it.
        check(list(json!([{"image": "no name"}])), Some(&[""]));
        check(json!({"spec": {"containers": []}}), None);
        check(json!([]), None);
    }

    #[test]
    fn a_pod_that_is_restarting_is_only_hastened() {
        let snapshot = fixture::snapshot_of(vec![fixture::running("c1", "web", "")]);
        let (name, uid) = (fixture::name("default", "web-vm"), PodUid("u1".into()));
        let mut seen = observed(&snapshot, &name, &uid).unwrap().clone();
        assert_eq!(living(&seen).into_iter().collect::<Vec<_>>(), ["c1", "s1"]);
        assert_eq!(kind_of(&seen), Restart::Again);
        let leaving = Checkpoint {
            leaving: true,
            ..Checkpoint::default()
        };
        seen.checkpoint = Some(Arc::new(leaving));
        assert_eq!(kind_of(&seen), Restart::Hasten);
        seen.containers = vec![fixture::exited(fixture::running("c1", "web", ""))];
        seen.sandboxes[0].ready = false;
        assert_eq!(kind_of(&seen), Restart::Again);
        assert_eq!(living(&seen), BTreeSet::new());
    }
}
