//! Tells the API server the status of each pod, and that a deletion is finished.
//!
//! One request at a time for each pod, always with the newest status: what came meanwhile is told by the next one, in
//! order. Whether something is to be told follows from comparing it with what the API server has, so an outage needs
//! no queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::merge;
use super::retry::{self, Backoff, Trouble};
use crate::model::api::{ApiPods, MIRROR};
use crate::model::pod::PodName;
use crate::model::report::PodsReport;

/// Requests under way at once: after an outage the rest waits its turn.
const AT_ONCE: usize = 8;

/// What the task reads.
pub struct Inputs {
    /// How the API server is reached now.
    pub clients: watch::Receiver<kube::Client>,
    /// What is to be told.
    pub report: watch::Receiver<Arc<PodsReport>>,
    /// What the API server has.
    pub objects: watch::Receiver<Option<Arc<ApiPods>>>,
}

/// What is asked of the API server for one pod.
enum Request {
    Status(serde_json::Value, Box<PodStatus>),
    Delete,
}

/// What came of it.
struct Answer {
    uid: String,
    name: PodName,
    /// The object after a patch, with the status that was told.
    result: Result<Option<(Pod, Box<PodStatus>)>, kube::Error>,
}

/// What was told last of a pod and what the API server made of it.
struct Told {
    ours: Box<PodStatus>,
    object: Pod,
}

#[derive(Default)]
struct State {
    told: BTreeMap<String, Told>,
    deleted: BTreeSet<String>,
    busy: BTreeSet<String>,
    waits: BTreeMap<String, Backoff>,
}

/// Tells until cancelled.
pub async fn run(mut inputs: Inputs, cancel: CancellationToken) {
    let mut state = State::default();
    let mut requests: JoinSet<Answer> = JoinSet::new();
    loop {
        let report = inputs.report.borrow_and_update().clone();
        let objects = inputs.objects.borrow_and_update().clone();
        let now = Timestamp::now();
        if let Some(objects) = objects.as_ref().filter(|_| report.listed) {
            state.forget(objects);
            for (name, uid, request) in state.due(&report, objects, now) {
                if state.busy.len() >= AT_ONCE {
                    break;
                }
                state.busy.insert(uid.clone());
                let client = inputs.clients.borrow_and_update().clone();
                requests.spawn(ask(client, name, uid, request));
            }
        }
        // Every arm may be cancelled: watches keep what was not taken, a request stays in its set.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = inputs.report.changed() => {}
            Ok(()) = inputs.objects.changed() => {}
            Some(answer) = requests.join_next() => {
                if let Ok(answer) = answer {
                    state.take(answer, Timestamp::now());
                }
            }
            () = tokio::time::sleep(state.until_next(now)) => {}
        }
    }
}

async fn ask(client: kube::Client, name: PodName, uid: String, request: Request) -> Answer {
    let api: kube::Api<Pod> = kube::Api::namespaced(client, &name.namespace);
    let result = match request {
        Request::Status(patch, ours) => {
            let patch = json!({"metadata": {"uid": uid}, "status": patch});
            let told = api
                .patch_status(&name.name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            told.map(|object| Some((object, ours)))
        }
        Request::Delete => {
            let asked = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: Some(uid.clone()),
                    ..Preconditions::default()
                }),
                ..DeleteParams::default()
            };
            api.delete(&name.name, &asked).await.map(|_| None)
        }
    };
    Answer { uid, name, result }
}

impl State {
    /// Forgets what the API server does not have any more.
    fn forget(&mut self, objects: &ApiPods) {
        let uids: BTreeSet<&str> = objects
            .pods
            .values()
            .chain(objects.mirrors.values())
            .filter_map(|object| object.metadata.uid.as_deref())
            .collect();
        self.told.retain(|uid, _| uids.contains(uid.as_str()));
        self.deleted.retain(|uid| uids.contains(uid.as_str()));
        self.waits.retain(|uid, _| uids.contains(uid.as_str()));
    }

    /// What is to be asked now.
    fn due(&self, report: &PodsReport, objects: &ApiPods, now: Timestamp) -> Vec<(PodName, String, Request)> {
        let mut due = Vec::new();
        for (name, shown) in &report.pods {
            let Some((target, status)) = target(name, shown, objects).zip(shown.status.as_ref()) else {
                continue;
            };
            let Some(uid) = target.metadata.uid.clone() else {
                continue;
            };
            let waits = self.waits.get(&uid).is_some_and(|wait| wait.until() > now);
            if waits || self.busy.contains(&uid) || self.deleted.contains(&uid) {
                continue;
            }
            if let Some(patch) = self.patch(&uid, status, target) {
                due.push((
                    name.clone(),
                    uid,
                    Request::Status(patch, Box::new(status.clone())),
                ));
            } else if report
                .finished
                .get(name)
                .is_some_and(|finished| finished.0 == uid)
            {
                due.push((name.clone(), uid, Request::Delete));
            }
        }
        due
    }

    fn patch(&self, uid: &str, ours: &PodStatus, target: &Pod) -> Option<serde_json::Value> {
        let told = self.told.get(uid);
        // The watch may be behind our own last word.
        let newest = told
            .map(|told| &told.object)
            .filter(|object| version(object) > version(target))
            .unwrap_or(target);
        // What the API server has made of our word is not said to it again.
        let is_said = told.is_some_and(|told| *told.ours == *ours && told.object.status == newest.status);
        match is_said {
            true => None,
            false => merge::patch(ours, newest.status.as_ref()),
        }
    }

    fn take(&mut self, answer: Answer, now: Timestamp) {
        let Answer { uid, name, result } = answer;
        self.busy.remove(&uid);
        match result {
            Ok(Some((object, ours))) => {
                self.waits.remove(&uid);
                self.told.insert(uid, Told { ours, object });
            }
            Ok(None) => {
                self.waits.remove(&uid);
                self.deleted.insert(uid);
            }
            Err(error) => {
                let wait = Backoff::next(self.waits.get(&uid).copied(), now, retry::salt(&uid));
                self.waits.insert(uid, wait);
                let text = retry::text(&error);
                match Trouble::of(&error) {
                    // The watch will say what became of it.
                    Trouble::Gone | Trouble::Conflict => tracing::debug!(pod = %name, "not told: {text}"),
                    Trouble::Refused => {
                        tracing::warn!(pod = %name, "the API server refuses what is told: {text}");
                    }
                    Trouble::Away => tracing::debug!(pod = %name, "not told yet: {text}"),
                }
            }
        }
    }

    fn until_next(&self, now: Timestamp) -> Duration {
        let waits = self.waits.values().map(|wait| wait.until());
        let next = waits.filter(|until| *until > now).min();
        retry::sleep(next, now)
    }
}

/// The object of the API server that tells of this pod: itself, or the image of a static pod.
fn target<'a>(name: &PodName, shown: &Pod, objects: &'a ApiPods) -> Option<&'a Arc<Pod>> {
    let uid = shown.metadata.uid.as_deref()?;
    let own = objects
        .pods
        .get(name)
        .filter(|object| object.metadata.uid.as_deref() == Some(uid));
    own.or_else(|| {
        let mirror = objects.mirrors.get(name)?;
        let of = mirror.metadata.annotations.as_ref()?.get(MIRROR)?;
        (of == uid).then_some(mirror)
    })
}

fn version(object: &Pod) -> Option<u64> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}
