//! Publishes the status of each pod, and confirms finished deletions.
//!
//! One request at a time for each pod, always with the newest status; changes in the meantime go into the next one, in
//! order. A comparison with the API server's object decides whether there is something to publish, so an outage needs
//! no queue. Changes that are not urgent are delayed a moment, so that the next update can include them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::retry::{self, ApiFailure, Backoff};
use super::urgency::{self, Urgency};
use super::{merge, pod_starts};
use crate::counters::Counters;
use crate::model::api::{ApiPods, MIRROR};
use crate::model::difference::differing;
use crate::model::pod::{PodName, PodUid};
use crate::model::report::{PodsReport, StatusWritten};

/// The maximum number of concurrent requests: after an outage the rest waits for its turn.
const AT_ONCE: usize = 8;
/// How long a status update is delayed if it is not urgent: a start or an end takes less.
const PUBLISH_DELAY: Duration = Duration::from_millis(500);

/// What the task reads.
pub struct StatusInputs {
    /// The current API client.
    pub clients: watch::Receiver<kube::Client>,
    /// What to publish.
    pub report: watch::Receiver<Arc<PodsReport>>,
    /// What the API server has.
    pub objects: watch::Receiver<Option<Arc<ApiPods>>>,
    /// Receives each status that was published.
    pub written: mpsc::UnboundedSender<StatusWritten>,
    /// Counts how long publishing and starting take.
    pub counters: Arc<Counters>,
}

/// A request to the API server for one pod.
enum Request {
    /// The patch, and the report that it publishes.
    Status(serde_json::Value, Arc<Pod>),
    Delete,
}

/// The next request for one pod.
enum Publication {
    /// This request, for the object with this UID.
    Send(String, Request),
    /// A request, but not now.
    Wait,
    /// None until something changes.
    Nothing,
}

/// The result.
struct Answer {
    uid: String,
    name: PodName,
    began: Timestamp,
    took: Duration,
    /// What was published, after a patch.
    result: Result<Option<Published>, kube::Error>,
}

/// The status of a pod published last, and the API server's resulting object.
struct Published {
    ours: Arc<Pod>,
    /// The object from the response, without the parts that are not used here; replaced by the watch's object once it
    /// has the same version.
    theirs: Arc<Pod>,
}

#[derive(Default)]
struct State {
    published: BTreeMap<String, Published>,
    deleted: BTreeSet<String>,
    busy: BTreeSet<String>,
    waits: BTreeMap<String, Backoff>,
    delayed: BTreeMap<String, Delayed>,
    /// Pods that may have something to publish; all others have nothing until they change.
    open: BTreeSet<PodName>,
    /// What [`State::take_news`] has seen.
    report: Arc<PodsReport>,
    /// See `report`.
    objects: Arc<ApiPods>,
    /// Since when there has been something to publish, by UID.
    changed: BTreeMap<String, Timestamp>,
    counters: Arc<Counters>,
}

/// A delayed status update.
struct Delayed {
    until: Timestamp,
    /// The pod as it was reported and as the API server had it then.
    compared: (Arc<Pod>, Arc<Pod>),
}

/// Publishes until canceled.
pub async fn run(mut inputs: StatusInputs, cancel: CancellationToken) {
    let mut state = State {
        counters: inputs.counters.clone(),
        ..State::default()
    };
    let mut requests: JoinSet<Answer> = JoinSet::new();
    loop {
        let report = inputs.report.borrow_and_update().clone();
        let objects = inputs.objects.borrow_and_update().clone();
        let now = Timestamp::now();
        if let Some(objects) = objects.filter(|_| report.listed) {
            pod_starts::look(&state.counters.pod_starts, &state.objects, &objects, now);
            state.take_news(report, objects);
            for (name, uid, request) in state.due(now) {
                state.busy.insert(uid.clone());
                let client = inputs.clients.borrow_and_update().clone();
                requests.spawn(ask(client, name, uid, request));
            }
        }
        // Every arm may be dropped: watches keep what was not taken, and a request stays in its set.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = inputs.report.changed() => {}
            Ok(()) = inputs.objects.changed() => {}
            Some(answer) = requests.join_next() => {
                if let Ok(answer) = answer {
                    // The receiver ends with the agent.
                    let _ = answer.written().map(|written| inputs.written.send(written));
                    state.take(answer, Timestamp::now());
                }
            }
            () = tokio::time::sleep(state.until_next(now)) => {}
        }
    }
}

impl Answer {
    /// The status that the API server has taken.
    fn written(&self) -> Option<StatusWritten> {
        let Ok(Some(_)) = &self.result else {
            return None;
        };
        Some(StatusWritten {
            pod: self.name.clone(),
            began: self.began,
            took: self.took,
        })
    }
}

async fn ask(client: kube::Client, name: PodName, uid: String, request: Request) -> Answer {
    let (began, clock) = (Timestamp::now(), Instant::now());
    let api: kube::Api<Pod> = kube::Api::namespaced(client, &name.namespace);
    let result = match request {
        Request::Status(patch, ours) => {
            let patch = json!({"metadata": {"uid": uid}, "status": patch});
            let published = api
                .patch_status(&name.name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            published.map(|mut object| {
                (object.spec, object.metadata.managed_fields) = (None, None);
                let theirs = Arc::new(object);
                Some(Published { ours, theirs })
            })
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
    Answer {
        uid,
        name,
        began,
        took: clock.elapsed(),
        result,
    }
}

impl State {
    /// Marks what has changed, and forgets pods that the API server no longer has.
    fn take_news(&mut self, report: Arc<PodsReport>, objects: Arc<ApiPods>) {
        if !Arc::ptr_eq(&self.objects, &objects) {
            let before = std::mem::replace(&mut self.objects, objects.clone());
            for (before, after) in [(&before.pods, &objects.pods), (&before.mirrors, &objects.mirrors)] {
                for name in differing(before, after) {
                    self.take_object(before.get(name), after.get(name));
                    self.open.insert(name.clone());
                }
            }
        }
        if !Arc::ptr_eq(&self.report, &report) {
            let before = std::mem::replace(&mut self.report, report.clone());
            self.open.extend(differing(&before.pods, &report.pods).cloned());
            let is_new = |(name, uid): &(&PodName, &PodUid)| before.finished.get(name) != Some(uid);
            let finished = report.finished.iter().filter(is_new);
            self.open.extend(finished.map(|(name, _)| name.clone()));
        }
    }

    /// Replaces what was known under a name with the API server's current state.
    fn take_object(&mut self, before: Option<&Arc<Pod>>, after: Option<&Arc<Pod>>) {
        let uid = |object: &Arc<Pod>| object.metadata.uid.clone();
        let (old, new) = (before.and_then(uid), after.and_then(uid));
        if let Some(old) = old.filter(|old| new.as_ref() != Some(old)) {
            self.forget(&old);
        }
        let published = new.and_then(|uid| self.published.get_mut(&uid));
        if let (Some(published), Some(object)) = (published, after)
            && version(&published.theirs) == version(object)
        {
            published.theirs = object.clone();
        }
    }

    /// Whether the API server has this pod or mirror pod.
    fn is_there(&self, name: &PodName, uid: &str) -> bool {
        let objects = [&self.objects.pods, &self.objects.mirrors];
        let mut named = objects.into_iter().filter_map(|objects| objects.get(name));
        named.any(|object| object.metadata.uid.as_deref() == Some(uid))
    }

    fn forget(&mut self, uid: &str) {
        self.published.remove(uid);
        self.deleted.remove(uid);
        self.waits.remove(uid);
        self.delayed.remove(uid);
        self.changed.remove(uid);
    }

    /// The requests that are due, as far as there is room for them.
    fn due(&mut self, now: Timestamp) -> Vec<(PodName, String, Request)> {
        let room = AT_ONCE.saturating_sub(self.busy.len());
        let mut due = Vec::new();
        let mut open = std::mem::take(&mut self.open);
        open.retain(|name| {
            if due.len() >= room {
                return true;
            }
            match self.word(name, now) {
                Publication::Send(uid, request) => due.push((name.clone(), uid, request)),
                Publication::Wait => {}
                Publication::Nothing => return false,
            }
            true
        });
        self.open = open;
        due
    }

    fn word(&mut self, name: &PodName, now: Timestamp) -> Publication {
        let shown = self.report.pods.get(name);
        let target = shown.and_then(|shown| target(name, shown, &self.objects));
        let (Some(shown), Some(target)) = (shown.cloned(), target.cloned()) else {
            return Publication::Nothing;
        };
        let (Some(status), Some(uid)) = (&shown.status, target.metadata.uid.clone()) else {
            return Publication::Nothing;
        };
        if self.deleted.contains(&uid) {
            return Publication::Nothing;
        }
        let waits = self.waits.get(&uid).is_some_and(|wait| wait.until() > now);
        if waits || self.busy.contains(&uid) {
            return Publication::Wait;
        }
        let finished = self.report.finished.get(name);
        let is_finished = finished.is_some_and(|finished| finished.0 == uid);
        let is_same = |delayed: &Delayed| {
            let (ours, theirs) = &delayed.compared;
            Arc::ptr_eq(ours, &shown) && Arc::ptr_eq(theirs, &target) && delayed.until > now
        };
        if !is_finished && self.delayed.get(&uid).is_some_and(is_same) {
            return Publication::Wait;
        }
        match self.patch(&uid, &shown, &target) {
            Some(patch) => {
                self.changed.entry(uid.clone()).or_insert(now);
                let until = self
                    .delayed
                    .get(&uid)
                    .map_or(now + PUBLISH_DELAY, |delayed| delayed.until);
                if is_finished || until <= now || urgency::urgency(status, &target) == Urgency::Now {
                    return Publication::Send(uid, Request::Status(patch, shown));
                }
                let compared = (shown, target);
                self.delayed.insert(uid, Delayed { until, compared });
                Publication::Wait
            }
            None if is_finished => Publication::Send(uid, Request::Delete),
            None => {
                self.delayed.remove(&uid);
                self.changed.remove(&uid);
                Publication::Nothing
            }
        }
    }

    fn patch(&self, uid: &str, shown: &Pod, target: &Pod) -> Option<serde_json::Value> {
        let published = self.published.get(uid);
        // The watch may be behind the agent's own last update.
        let newest = published
            .filter(|published| version(&published.theirs) > version(target))
            .map_or(&target.status, |published| &published.theirs.status);
        // Fields that the API server changed in the agent's update are not sent again.
        let is_said = published.is_some_and(|published| {
            published.ours.status == shown.status && published.theirs.status == *newest
        });
        match (is_said, &shown.status) {
            (false, Some(ours)) => merge::patch(ours, newest.as_ref()),
            _ => None,
        }
    }

    fn take(&mut self, answer: Answer, now: Timestamp) {
        let Answer {
            uid, name, result, ..
        } = answer;
        self.busy.remove(&uid);
        match result {
            // The watch has already shown the deletion, and shows it only once.
            _ if !self.is_there(&name, &uid) => {}
            Ok(Some(published)) => {
                self.waits.remove(&uid);
                self.delayed.remove(&uid);
                if let Some(changed) = self.changed.remove(&uid) {
                    let since_change = now.duration_since(changed).unsigned_abs();
                    self.counters.pods.published(since_change);
                }
                self.published.insert(uid, published);
            }
            Ok(None) => {
                self.waits.remove(&uid);
                self.deleted.insert(uid);
            }
            Err(error) => {
                let wait = Backoff::next(self.waits.get(&uid).copied(), now, retry::salt(&uid));
                self.waits.insert(uid, wait);
                let text = retry::text(&error);
                match ApiFailure::of(&error) {
                    // The watch will show the result.
                    ApiFailure::Gone | ApiFailure::Conflict => {
                        tracing::debug!(pod = %name, "pod status not published: \
                     {text}")
                    }
                    ApiFailure::Refused => {
                        tracing::warn!(pod = %name, "the API server rejected a pod status: {text}");
                    }
                    ApiFailure::Unavailable => {
                        tracing::debug!(pod = %name, "cannot publish a pod status; retrying: {text}")
                    }
                }
            }
        }
    }

    fn until_next(&self, now: Timestamp) -> Duration {
        let waits = self.waits.values().map(|wait| wait.until());
        let next = waits
            .chain(self.delayed.values().map(|delayed| delayed.until))
            .filter(|until| *until > now)
            .min();
        retry::sleep(next, now)
    }
}

/// The API server's object for this pod: the pod itself, or the mirror pod of a static pod.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod that waits for its containers.
    fn pod(has_sandbox: &str) -> Arc<Pod> {
        let conditions = json!([
            {"type": "Ready", "status": "False"}, {"type": "PodReadyToStartContainers", "status": has_sandbox},
        ]);
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7"},
            "spec": {"containers": []},
            "status": {"phase": "Pending", "conditions": conditions},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn name() -> PodName {
        PodName::new("ns", "p")
    }

    fn due(state: &mut State, ours: &Arc<Pod>, finished: bool, after: Duration) -> Vec<&'static str> {
        let mut report = PodsReport::default();
        report.pods.insert(name(), ours.clone());
        if finished {
            report.finished.insert(name(), PodUid("u".to_owned()));
        }
        let objects = ApiPods {
            pods: [(name(), pod("False"))].into(),
            ..ApiPods::default()
        };
        // The API server's object stays the same one as long as it is not changed.
        let objects = match state.objects.pods.is_empty() {
            true => Arc::new(objects),
            false => state.objects.clone(),
        };
        state.take_news(Arc::new(report), objects);
        let due = state.due(Timestamp::UNIX_EPOCH + after);
        let kind = |request: &Request| match request {
            Request::Status(..) => "status",
            Request::Delete => "delete",
        };
        due.iter().map(|(_, _, request)| kind(request)).collect()
    }

    #[test]
    fn a_word_that_may_wait_is_held_for_a_moment_unless_it_is_the_last() {
        let mut state = State::default();
        let made = pod("True");
        assert!(due(&mut state, &made, false, Duration::ZERO).is_empty());
        assert!(due(&mut state, &made, false, PUBLISH_DELAY / 2).is_empty());
        assert_eq!(state.until_next(Timestamp::UNIX_EPOCH), PUBLISH_DELAY);
        assert_eq!(due(&mut state, &made, false, PUBLISH_DELAY), ["status"]);
        assert_eq!(
            due(&mut State::default(), &made, true, Duration::ZERO),
            ["status"]
        );
    }

    #[test]
    fn what_is_told_already_is_settled_and_a_pod_that_is_finished_is_deleted() {
        let mut state = State::default();
        let same = pod("False");
        assert!(due(&mut state, &same, false, Duration::ZERO).is_empty());
        assert!(state.open.is_empty());
        assert_eq!(due(&mut state, &same, true, Duration::ZERO), ["delete"]);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_leaves_nothing() {
        let mut state = State::default();
        assert_eq!(due(&mut state, &pod("False"), true, Duration::ZERO), ["delete"]);
        state.busy.insert("u".to_owned());
        state.take_news(Arc::default(), Arc::default());
        let answer = || Answer {
            began: Timestamp::UNIX_EPOCH,
            took: Duration::ZERO,
            uid: "u".to_owned(),
            name: name(),
            result: Ok(None),
        };
        state.take(answer(), Timestamp::UNIX_EPOCH);
        assert!(state.busy.is_empty() && state.deleted.is_empty());
        // While the first deletion is pending, it is not deleted twice.
        assert_eq!(due(&mut state, &pod("False"), true, Duration::ZERO), ["delete"]);
        state.take(answer(), Timestamp::UNIX_EPOCH);
        assert!(due(&mut state, &pod("False"), true, Duration::ZERO).is_empty());
    }

    #[test]
    fn no_more_is_asked_than_there_is_room_for() {
        let mut state = State {
            busy: (0..AT_ONCE).map(|other| other.to_string()).collect(),
            ..State::default()
        };
        assert!(due(&mut state, &pod("True"), true, Duration::ZERO).is_empty());
    }
}
