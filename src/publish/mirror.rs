//! Mirror pods in the API server, which make static pods visible there: created, replaced, created again when deleted
//! by hand, and removed with their pod.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod as Object, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::retry::{self, ApiFailure, Backoff};
use crate::counters::Counters;
use crate::model::api::{ApiNode, ApiPods, MIRROR, has_final_phase};
use crate::model::pod::{Desired, Pod, PodName, PodUid};
use crate::model::report::PodsReport;

/// How long the watch may take to show a write; then it is checked again.
const ECHO: Duration = Duration::from_secs(5);

/// What the task reads.
pub struct MirrorInputs {
    /// The current API client.
    pub clients: watch::Receiver<kube::Client>,
    /// The desired pods.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// The reported pods: one that is ending still exists.
    pub report: watch::Receiver<Arc<PodsReport>>,
    /// What the API server has.
    pub objects: watch::Receiver<Option<Arc<ApiPods>>>,
    /// The Node, which owns the mirror pods.
    pub node: watch::Receiver<ApiNode>,
    /// Counts mirror pods.
    pub counters: Arc<Counters>,
}

/// The write for one name.
#[derive(Debug, PartialEq)]
enum MirrorWrite {
    Create(Box<Object>),
    Delete(String),
}

/// Maintains the mirror pods until canceled.
pub async fn run(mut inputs: MirrorInputs, cancel: CancellationToken) {
    let mut waits: BTreeMap<PodName, Wait> = BTreeMap::new();
    loop {
        let now = Timestamp::now();
        let desired = inputs.desired.borrow_and_update().clone();
        let report = inputs.report.borrow_and_update().clone();
        let objects = inputs.objects.borrow_and_update().clone();
        let node = inputs.node.borrow_and_update().clone();
        if let Some(objects) = &objects {
            inputs.counters.pods.mirrored(objects.mirrors.len());
            waits.retain(|name, wait| match wait {
                Wait::Echo { until, mirror } => {
                    *until > now && objects.mirrors.get(name).map(uid) == mirror.as_ref().map(uid)
                }
                Wait::Failed(_) => true,
            });
            for (name, deed) in deeds(&desired, &report, objects, &node) {
                let holds = waits.get(&name).is_some_and(|wait| wait.until() > now);
                if holds {
                    continue;
                }
                let client = inputs.clients.borrow_and_update().clone();
                // Aborting a request loses nothing: the state is compared again.
                let done = tokio::select! {
                    () = cancel.cancelled() => return,
                    done = carry_out(client, &name, deed) => done,
                };
                let wait = match done {
                    Ok(()) => Wait::Echo {
                        until: now + ECHO,
                        mirror: objects.mirrors.get(&name).cloned(),
                    },
                    Err(error) => {
                        log_failure(&name, &error);
                        let last = match waits.get(&name) {
                            Some(Wait::Failed(last)) => Some(*last),
                            _ => None,
                        };
                        Wait::Failed(Backoff::next(last, Timestamp::now(), retry::salt(&name.name)))
                    }
                };
                waits.insert(name, wait);
            }
        }
        let next = waits.values().map(Wait::until).filter(|until| *until > now).min();
        // Every arm may be dropped: watches keep what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = inputs.desired.changed() => {}
            Ok(()) = inputs.report.changed() => {}
            Ok(()) = inputs.objects.changed() => {}
            Ok(()) = inputs.node.changed() => {}
            () = tokio::time::sleep(retry::sleep(next, Timestamp::now())) => {}
        }
    }
}

fn log_failure(pod: &PodName, error: &kube::Error) {
    let text = retry::text(error);
    match ApiFailure::of(error) {
        ApiFailure::Refused => tracing::warn!(%pod, "the API server rejected a mirror pod: {text}"),
        _ => tracing::debug!(%pod, "cannot update a mirror pod; retrying: {text}"),
    }
}

/// Why no request is made for a name right now.
enum Wait {
    /// It was written; the watch still shows the state before.
    Echo {
        until: Timestamp,
        mirror: Option<Arc<Object>>,
    },
    /// It failed.
    Failed(Backoff),
}

impl Wait {
    fn until(&self) -> Timestamp {
        match self {
            Wait::Echo { until, .. } => *until,
            Wait::Failed(backoff) => backoff.until(),
        }
    }
}

async fn carry_out(client: kube::Client, name: &PodName, deed: MirrorWrite) -> Result<(), kube::Error> {
    let api: kube::Api<Object> = kube::Api::namespaced(client, &name.namespace);
    match deed {
        MirrorWrite::Create(object) => api.create(&PostParams::default(), &object).await.map(|_| ()),
        MirrorWrite::Delete(uid) => {
            let asked = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: Some(uid),
                    ..Preconditions::default()
                }),
                ..DeleteParams::default()
            };
            match api.delete(&name.name, &asked).await {
                Err(error) if ApiFailure::of(&error) == ApiFailure::Gone => Ok(()),
                done => done.map(|_| ()),
            }
        }
    }
}

/// The writes that are needed, by name. The mirror pod of another version stays until nothing of that version is left.
/// The kubelet, too, replaces it only when the new version may start (`SyncPod` in `pkg/kubelet/kubelet.go`).
fn deeds(
    desired: &Desired,
    report: &PodsReport,
    objects: &ApiPods,
    node: &ApiNode,
) -> Vec<(PodName, MirrorWrite)> {
    let Some(files) = &desired.files else {
        return Vec::new();
    };
    let names: BTreeSet<&PodName> = files.pods.keys().chain(objects.mirrors.keys()).collect();
    let mut deeds = Vec::new();
    for name in names {
        let leaving = report.leaving.get(name);
        let deed = match (files.pods.get(name), objects.mirrors.get(name)) {
            (Some(pod), Some(mirror)) if is_current(pod, mirror) => {
                let is_outlived = has_final_phase(mirror.status.as_ref()) && runs_again(pod, report);
                is_outlived.then(|| MirrorWrite::Delete(uid(mirror)))
            }
            // Remains of other versions are reported together with the desired pod.
            (Some(pod), Some(mirror)) if is_reported(pod, report) && !is_of(mirror, leaving) => {
                Some(MirrorWrite::Delete(uid(mirror)))
            }
            (Some(pod), None) if !objects.pods.contains_key(name) && leaving.is_none() => match node {
                ApiNode::Present(node) => Some(MirrorWrite::Create(Box::new(mirror_of(pod, node)))),
                ApiNode::Unknown | ApiNode::Absent => None,
            },
            (None, Some(mirror)) if is_gone(name, report) && !is_of(mirror, leaving) => {
                Some(MirrorWrite::Delete(uid(mirror)))
            }
            _ => None,
        };
        deeds.extend(deed.map(|deed| (name.clone(), deed)));
    }
    deeds
}

fn uid(object: &Arc<Object>) -> String {
    object.metadata.uid.clone().unwrap_or_default()
}

/// Whether the report covers the desired pod and everything that the runtime has.
fn is_reported(pod: &Pod, report: &PodsReport) -> bool {
    let reported = report.pods.get(&pod.name);
    let uid = reported.and_then(|reported| reported.metadata.uid.as_deref());
    report.listed && uid == Some(pod.uid.0.as_str())
}

/// Whether the pod, whose end the API server has, is reported as one that has not ended: it was rejected when there was
/// no room, or ended with a shutdown of the machine. The API server's phase stays final, so there has to be a new object.
fn runs_again(pod: &Pod, report: &PodsReport) -> bool {
    let reported = report.pods.get(&pod.name);
    let status = reported.and_then(|reported| reported.status.as_ref());
    is_reported(pod, report) && !has_final_phase(status)
}

/// Whether the report covers that no pod of the name is desired, and everything that the runtime has.
fn is_gone(name: &PodName, report: &PodsReport) -> bool {
    report.listed && !report.pods.contains_key(name)
}

/// Whether a mirror pod is that of one of these pods.
fn is_of(mirror: &Object, pods: Option<&BTreeSet<PodUid>>) -> bool {
    let annotations = mirror.metadata.annotations.as_ref();
    let of = annotations.and_then(|annotations| annotations.get(MIRROR));
    of.is_some_and(|of| pods.is_some_and(|pods| pods.iter().any(|uid| uid.0 == *of)))
}

fn is_current(pod: &Pod, mirror: &Object) -> bool {
    let annotations = mirror.metadata.annotations.as_ref();
    let of = annotations.and_then(|annotations| annotations.get(MIRROR));
    of == Some(&pod.uid.0) && mirror.metadata.deletion_timestamp.is_none()
}

/// The mirror pod of a static pod (`CreateMirrorPod` in `pkg/kubelet/pod/mirror_client.go`).
fn mirror_of(pod: &Pod, node: &Node) -> Object {
    let object = &pod.object;
    let mut annotations = object.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), pod.uid.0.clone());
    Object {
        metadata: ObjectMeta {
            name: Some(pod.name.name.clone()),
            namespace: Some(pod.name.namespace.clone()),
            labels: object.metadata.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: node.metadata.name.clone().unwrap_or_default(),
                uid: node.metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        // The API server takes no ephemeral containers with a new pod.
        spec: object.spec.clone().map(|spec| PodSpec {
            ephemeral_containers: None,
            ..spec
        }),
        status: None,
    }
}
