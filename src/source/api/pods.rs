//! The pods that an API server has bound to this node.
//!
//! One list and one watch by `spec.nodeName`. While the API server is unreachable, the last known set stays; before the
//! first complete list the set is `None` or comes from the checkpoint. Mirror pods are published beside the pods:
//! nothing runs for them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Status;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use crate::manifest;
use crate::manifest::ManifestContext;
use crate::model::api::{ApiPods, MIRROR};
use crate::model::error_chain::chain;
use crate::model::foreign_status::ForeignStatus;
use crate::model::pod::{Pod, PodName, PodUid, Problem, ProblemKind, Provenance, SourceSet};
use crate::source::checkpoint::store::Reserve;

/// The outputs of this source.
pub struct Outputs {
    /// The desired pods; `None` before the first complete list.
    pub set: watch::Sender<Option<Arc<SourceSet>>>,
    /// The objects as the API server has them; `None` before the first complete list.
    pub objects: watch::Sender<Option<Arc<ApiPods>>>,
}

/// Watches until canceled. A replaced client starts with a new list.
pub async fn run(
    mut clients: watch::Receiver<kube::Client>,
    context: ManifestContext,
    reserve: Option<Reserve>,
    outputs: Outputs,
    cancel: CancellationToken,
) {
    let mut state = State::default();
    let mut waiting = Waiting::new(reserve);
    loop {
        let client = clients.borrow_and_update().clone();
        let api: kube::Api<Object> = kube::Api::all(client);
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", context.node_name));
        // `managedFields` is as large as the rest of the object, and nothing here reads it.
        let mut events = kube::runtime::watcher(api, config)
            .backoff(Pace::new())
            .modify(|object: &mut Object| object.metadata.managed_fields = None)
            .boxed();
        loop {
            // Every arm may be cancelled: an event that was not taken is still in the stream.
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = clients.changed() => break,
                event = events.next() => event,
                reserve = waiting.is_over() => {
                    state.restore(&reserve, &context, Timestamp::now());
                    state.publish(&outputs);
                    continue;
                }
            };
            waiting.note(event.as_ref());
            match event {
                Some(Ok(event)) => {
                    if state.take(event, &context, Timestamp::now()) {
                        state.publish(&outputs);
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(error = %first_line(&error), "cannot watch the API server's pods; retrying");
                }
                None => break,
            }
        }
    }
}

/// The wait for a first answer; when it ends, the checkpoint is used.
struct Waiting {
    reserve: Option<Reserve>,
    /// `None`: the API server answers, though its list may not be complete.
    until: Option<Instant>,
}

impl Waiting {
    fn new(reserve: Option<Reserve>) -> Waiting {
        let until = reserve.as_ref().map(|reserve| Instant::now() + reserve.patience);
        Waiting { reserve, until }
    }

    /// Waits until the checkpoint is due; never returns where there is none. Cancel safe.
    async fn is_over(&mut self) -> Reserve {
        match self.until {
            Some(until) if self.reserve.is_some() => tokio::time::sleep_until(until).await,
            _ => std::future::pending().await,
        }
        self.reserve
            .take()
            .expect("the fallback is present, and nothing else takes it")
    }

    /// Silence is not an answer, nor is a transport error: the client itself retries several times before it reports
    /// one.
    fn note(&mut self, event: Option<&watcher::Result<Event<Object>>>) {
        match event {
            Some(Ok(Event::InitDone)) => self.reserve = None,
            Some(Ok(Event::InitApply(_))) => self.until = None,
            // 401 reports nothing about pods: an expired certificate counts as no answer.
            Some(Err(error)) if refusal(error).is_some_and(|status| status.code != 401) => self.until = None,
            _ => {}
        }
    }
}

/// The status with which a reachable API server refuses the request. An API server that is unreachable or busy has not
/// answered.
pub(super) fn refusal(error: &watcher::Error) -> Option<&Status> {
    use watcher::Error;
    let status = match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => status,
        _ => return None,
    };
    is_answer(status).then_some(status.as_ref())
}

/// The same for a request that is no watch, as its message's first line.
pub(super) fn refusal_of(error: &kube::Error) -> Option<String> {
    match error {
        kube::Error::Api(status) if is_answer(status) => {
            Some(status.message.lines().next().unwrap_or_default().to_owned())
        }
        _ => None,
    }
}

fn is_answer(status: &Status) -> bool {
    (400..500).contains(&status.code) && status.code != 429
}

/// The client's error on one line.
pub(super) fn first_line(error: &watcher::Error) -> String {
    chain(error).lines().next().unwrap_or_default().to_owned()
}

/// An API pod and how this version reads it.
struct Known {
    object: Arc<Object>,
    /// As last understood; `None`: this version has never accepted it.
    read: Option<Arc<Pod>>,
    /// Why its current version is rejected.
    problems: Vec<Problem>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<PodName, Known>,
    mirrors: BTreeMap<PodName, Arc<Object>>,
    /// Objects whose name no pod can have, and why: nothing else is done with them.
    nameless: BTreeMap<PodName, Problem>,
    /// The list that is being received, until it is complete.
    listing: Option<Vec<Object>>,
    is_complete: bool,
}

impl State {
    /// Takes an event; returns whether there is something to publish.
    fn take(&mut self, event: Event<Object>, context: &ManifestContext, now: Timestamp) -> bool {
        match event {
            Event::Init => self.listing = Some(Vec::new()),
            Event::InitApply(object) => self.listing.get_or_insert_default().push(object),
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                let names: BTreeSet<PodName> = listed
                    .iter()
                    .map(|object| PodName::of(&object.metadata))
                    .collect();
                self.known.retain(|name, _| names.contains(name));
                self.mirrors.retain(|name, _| names.contains(name));
                self.nameless.retain(|name, _| names.contains(name));
                for object in listed {
                    self.apply(object, context, now);
                }
                self.is_complete = true;
            }
            Event::Apply(object) => self.apply(object, context, now),
            Event::Delete(object) => {
                let name = PodName::of(&object.metadata);
                self.known.remove(&name);
                self.mirrors.remove(&name);
                self.nameless.remove(&name);
            }
        }
        self.is_complete && self.listing.is_none()
    }

    /// Takes the checkpoint's pods, until the first complete list replaces them.
    fn restore(&mut self, reserve: &Reserve, context: &ManifestContext, now: Timestamp) {
        let stored = &reserve.stored;
        let startable = stored.startable(reserve.how, &reserve.boot, reserve.decided);
        tracing::warn!(
            pods = startable.len(),
            waiting = stored.pods.len() - startable.len(),
            heard = %stored.heard,
            "the API server does not answer; starting the checkpointed pods that may still run on this node"
        );
        for object in startable {
            self.apply(object, context, now);
        }
    }

    fn apply(&mut self, object: Object, context: &ManifestContext, now: Timestamp) {
        let name = PodName::of(&object.metadata);
        self.nameless.remove(&name);
        if let Err(problem) = manifest::check_identity(&object.metadata) {
            // A running pod of this name continues as it was last understood.
            tracing::warn!("pod rejected: {problem}");
            self.nameless.insert(name, problem);
            return;
        }
        if is_mirror(&object) {
            self.known.remove(&name);
            self.mirrors.insert(name, Arc::new(object));
            return;
        }
        self.mirrors.remove(&name);
        let former = self.known.get(&name);
        let same_uid = former.filter(|former| former.object.metadata.uid == object.metadata.uid);
        // The node's own changes to the status do not make it another pod; changes by others do.
        if let Some(former) = same_uid
            && asks_the_same(&former.object, &object)
        {
            let problems = former.problems.clone();
            let read = former.read.clone().map(|pod| with_status(pod, &object));
            let object = Arc::new(object);
            let known = Known {
                object,
                read,
                problems,
            };
            self.known.insert(name, known);
            return;
        }
        let former = same_uid.and_then(|former| former.read.clone());
        let seen = former.as_ref().map_or(now, |pod| pod.seen);
        let (read, problems) = match read_contained(&object, context, seen) {
            Ok(pod) => (Some(Arc::new(pod)), Vec::new()),
            // A running pod continues as it was last understood.
            Err(problems) => (former.map(|pod| with_status(pod, &object)), problems),
        };
        for problem in &problems {
            tracing::warn!(pod = %name, "pod rejected: {}: {}", problem.field, problem.message);
        }
        let object = Arc::new(object);
        let known = Known {
            object,
            read,
            problems,
        };
        self.known.insert(name, known);
    }

    fn publish(&self, outputs: &Outputs) {
        let known = || self.known.iter();
        let read = |(name, known): (&PodName, &Known)| Some((name.clone(), known.read.clone()?));
        let unsupported = |(name, known): (&PodName, &Known)| {
            let uid = known.object.metadata.uid.clone().unwrap_or_default();
            (name.clone(), PodUid(uid))
        };
        // Collected in order, so no insertion has to search for its place.
        let set = SourceSet {
            provenance: match self.is_complete {
                true => Provenance::Live,
                false => Provenance::Checkpoint,
            },
            pods: known().filter_map(read).collect(),
            unsupported: known()
                .filter(|(_, known)| known.read.is_none())
                .map(unsupported)
                .collect(),
            problems: known()
                .flat_map(|(_, known)| &known.problems)
                .chain(self.nameless.values())
                .cloned()
                .collect(),
            ..SourceSet::default()
        };
        let objects = ApiPods {
            pods: self
                .known
                .iter()
                .map(|(name, known)| (name.clone(), known.object.clone()))
                .collect(),
            mirrors: self.mirrors.clone(),
        };
        outputs.set.send_if_modified(|published| {
            let same = published
                .as_ref()
                .is_some_and(|published| published.is_same(&set));
            if !same {
                *published = Some(Arc::new(set));
            }
            !same
        });
        // Statuses are published by comparison with what the API server has; a checkpoint does not say that.
        if self.is_complete {
            outputs.objects.send_replace(Some(Arc::new(objects)));
        }
    }
}

/// Reads a pod. A bug in gantry that one pod triggers ends neither the agent nor the watch of the other pods.
fn read_contained(object: &Object, context: &ManifestContext, seen: Timestamp) -> Result<Pod, Vec<Problem>> {
    let read = std::panic::catch_unwind(AssertUnwindSafe(|| {
        manifest::read_api_pod(object.clone(), context, seen)
    }));
    read.unwrap_or_else(|_| {
        let name = PodName::of(&object.metadata);
        Err(vec![Problem {
            path: format!("API server: pod {name}").into(),
            document: 0,
            line: None,
            field: String::new(),
            message: "cannot be read because of a bug in gantry: report it with the pod".to_owned(),
            pod: Some(name),
            kind: ProblemKind::Invalid,
        }])
    })
}

fn is_mirror(object: &Object) -> bool {
    let annotations = object.metadata.annotations.as_ref();
    annotations.is_some_and(|annotations| annotations.contains_key(MIRROR))
}

/// The pod with the API server's current status; the same pod where nothing but the node changed it.
fn with_status(mut pod: Arc<Pod>, object: &Object) -> Arc<Pod> {
    let foreign = |status| ForeignStatus::of(status);
    if foreign(pod.object.status.as_ref()) == foreign(object.status.as_ref()) {
        return pod;
    }
    Arc::make_mut(&mut Arc::make_mut(&mut pod).object).status = object.status.clone();
    pod
}

/// Whether the objects differ only in their status and metadata bookkeeping, not in what they ask for.
fn asks_the_same(one: &Object, other: &Object) -> bool {
    let asked = |object: &Object| ObjectMeta {
        resource_version: None,
        managed_fields: None,
        ..object.metadata.clone()
    };
    one.spec == other.spec && asked(one) == asked(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::foreign_status::tests::{foreign_parts, read, statuses};

    fn object(name: &str, uid: &str, change: impl FnOnce(&mut Object)) -> Object {
        let mut object: Object = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "ns", "uid": uid},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}]},
        }))
        .unwrap();
        change(&mut object);
        object
    }

    fn take(state: &mut State, event: Event<Object>) -> bool {
        state.take(event, &ManifestContext::default(), Timestamp::UNIX_EPOCH)
    }

    fn outputs() -> Outputs {
        Outputs {
            set: watch::channel(None).0,
            objects: watch::channel(None).0,
        }
    }

    #[test]
    fn nothing_is_told_before_a_list_is_complete_and_a_new_list_replaces_the_former() {
        let mut state = State::default();
        assert!(!take(&mut state, Event::Init));
        assert!(!take(&mut state, Event::InitApply(object("a", "1", |_| {}))));
        assert!(take(&mut state, Event::InitDone));
        // The list after a 410: until it is complete, the former set stays.
        assert!(!take(&mut state, Event::Init));
        assert_eq!(state.known.len(), 1);
        take(&mut state, Event::InitApply(object("b", "2", |_| {})));
        assert!(take(&mut state, Event::InitDone));
        let names: Vec<_> = state.known.keys().map(|name| name.name.as_str()).collect();
        assert_eq!(names, ["b"]);
    }

    #[test]
    fn what_has_no_name_is_reported_and_touches_nothing_that_has_one() {
        let (mut state, outputs) = (State::default(), outputs());
        let mirror = |object: &mut Object| {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(MIRROR.to_owned(), "u".to_owned());
        };
        take(&mut state, Event::Init);
        for object in [
            object("a", "1", |_| {}),
            object("../b", "2", |_| {}),
            object("c", "../../etc", |_| {}),
            object("d", "..", |object| {
                object.metadata.deletion_timestamp =
                    Some(serde_json::from_str("\"2026-11-28T00:00:00Z\"").unwrap());
            }),
            object("e", "a/b", mirror),
        ] {
            take(&mut state, Event::InitApply(object));
        }
        take(&mut state, Event::InitDone);
        state.publish(&outputs);
        let set = outputs.set.borrow().clone().unwrap();
        let objects = outputs.objects.borrow().clone().unwrap();
        let names = |names: Vec<&PodName>| {
            names
                .into_iter()
                .map(|name| name.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(set.pods.keys().collect()), ["a"]);
        assert_eq!(
            (set.unsupported.len(), objects.pods.len(), objects.mirrors.len()),
            (0, 1, 0)
        );
        assert_eq!(set.problems.len(), 4);
        assert!(
            set.problems.iter().all(|problem| problem.pod.is_none()),
            "{:?}",
            set.problems
        );
        // The name has another UID: the running pod continues until the object is deleted or valid again.
        take(&mut state, Event::Apply(object("a", "../x", |_| {})));
        assert_eq!(state.known.len(), 1);
        take(&mut state, Event::Apply(object("a", "5", |_| {})));
        assert!(!state.nameless.contains_key(&PodName::new("ns", "a")));
        take(&mut state, Event::Delete(object("c", "../../etc", |_| {})));
        assert_eq!(state.nameless.len(), 3);
    }

    #[test]
    fn more_of_a_thing_than_a_node_can_run_is_refused_and_can_be_ended() {
        let many = |object: &mut Object| {
            let spec = object.spec.as_mut().unwrap();
            spec.containers = (0..30_000)
                .map(|n| k8s_openapi::api::core::v1::Container {
                    name: format!("c{n}"),
                    ..Default::default()
                })
                .collect();
        };
        let mut state = State::default();
        take(&mut state, Event::Init);
        take(&mut state, Event::InitApply(object("a", "1", many)));
        take(&mut state, Event::InitDone);
        let known = &state.known[&PodName::new("ns", "a")];
        assert!(known.read.is_none());
        assert_eq!(known.problems[0].field, "spec.containers");
        let going = |object: &mut Object| {
            many(object);
            object.metadata.deletion_timestamp =
                Some(serde_json::from_str("\"2026-11-28T00:00:00Z\"").unwrap());
        };
        take(&mut state, Event::Apply(object("a", "1", going)));
        let read = state.known[&PodName::new("ns", "a")].read.clone().unwrap();
        assert_eq!(read.containers.len(), crate::model::bounds::OF_EACH);
    }

    #[test]
    fn a_status_makes_no_other_pod_and_a_label_does() {
        let (mut state, outputs) = (State::default(), outputs());
        take(&mut state, Event::Init);
        take(&mut state, Event::InitApply(object("a", "1", |_| {})));
        take(&mut state, Event::InitDone);
        let pod = |state: &State| {
            state.publish(&outputs);
            let set = outputs.set.borrow().clone().unwrap();
            set.pods.values().next().unwrap().clone()
        };
        let first = pod(&state);
        take(
            &mut state,
            Event::Apply(object("a", "1", |object| {
                object.status = Some(Default::default())
            })),
        );
        assert!(Arc::ptr_eq(&first, &pod(&state)));
        let label = |object: &mut Object| {
            object.metadata.labels = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        };
        take(&mut state, Event::Apply(object("a", "1", label)));
        assert!(!Arc::ptr_eq(&first, &pod(&state)));
    }

    #[derive(Debug, Clone)]
    struct Written {
        status: serde_json::Value,
        label: u8,
        annotation: u8,
        finalizer: u8,
        deadline: u8,
        ephemeral: u8,
        grace: Option<u8>,
        tolerates: bool,
    }

    fn written() -> impl Strategy<Value = Written> {
        let numbers = (0..2u8, 0..2u8, 0..2u8, 1..3u8, 0..2u8);
        (statuses(), numbers, proptest::option::of(0..2u8), any::<bool>()).prop_map(
            |(status, (label, annotation, finalizer, deadline, ephemeral), grace, tolerates)| Written {
                status,
                label,
                annotation,
                finalizer,
                deadline,
                ephemeral,
                grace,
                tolerates,
            },
        )
    }

    impl Written {
        fn object(&self) -> Object {
            let tolerations = match self.tolerates {
                true => serde_json::json!([{"operator": "Exists"}]),
                false => serde_json::Value::Null,
            };
            let mut object = serde_json::json!({
                "metadata": {"name": "a", "namespace": "ns", "uid": "1",
                    "labels": {"l": self.label.to_string()}, "annotations": {"a": self.annotation.to_string()},
                    "finalizers": [format!("example.org/{}", self.finalizer)]},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}], "tolerations": tolerations,
                    "activeDeadlineSeconds": self.deadline,
                    "ephemeralContainers": vec![serde_json::json!({"name": "e", "image": "i:1"}); self.ephemeral.into()]},
                "status": self.status,
            });
            if let Some(grace) = self.grace {
                object["metadata"]["deletionTimestamp"] = serde_json::json!("2026-11-20T08:00:00Z");
                object["metadata"]["deletionGracePeriodSeconds"] = serde_json::json!(grace);
            }
            serde_json::from_value(object).unwrap()
        }

        /// The parts that others have written.
        fn foreign(&self) -> impl PartialEq + std::fmt::Debug {
            let numbers = (
                self.label,
                self.annotation,
                self.finalizer,
                self.deadline,
                self.ephemeral,
            );
            (
                foreign_parts(&read(&self.status)),
                numbers,
                self.grace,
                self.tolerates,
            )
        }
    }

    proptest! {
        #[test]
        fn whatever_others_change_makes_another_pod_and_nothing_else_does(
            course in proptest::collection::vec(written(), 1..6),
        ) {
            let (mut state, outputs) = (State::default(), outputs());
            take(&mut state, Event::Init);
            take(&mut state, Event::InitDone);
            let mut before: Option<(Arc<Pod>, Written)> = None;
            for now in course {
                take(&mut state, Event::Apply(now.object()));
                state.publish(&outputs);
                let set = outputs.set.borrow().clone().unwrap();
                let pod = set.pods.values().next().unwrap().clone();
                if let Some((former, then)) = &before {
                    prop_assert_eq!(Arc::ptr_eq(former, &pod), then.foreign() == now.foreign(), "{:?} {:?}", then, now);
                }
                let status = pod.object.status.clone().unwrap_or_default();
                prop_assert_eq!(foreign_parts(&status), foreign_parts(&read(&now.status)));
                prop_assert_eq!(&pod.labels["l"], &now.label.to_string());
                prop_assert_eq!(&pod.annotations["a"], &now.annotation.to_string());
                prop_assert_eq!(pod.active_deadline.map(|limit| limit.as_secs()), Some(now.deadline.into()));
                prop_assert_eq!(pod.ephemeral_containers.len(), usize::from(now.ephemeral));
                prop_assert_eq!(pod.deletion.as_ref().map(|d| d.grace.as_secs()), now.grace.map(u64::from));
                before = Some((pod, now));
            }
        }
    }

    #[test]
    fn what_is_refused_is_held_unless_it_was_accepted_before() {
        let (mut state, outputs) = (State::default(), outputs());
        let refused = |object: &mut Object| {
            object.spec.as_mut().unwrap().resource_claims = Some(vec![Default::default()]);
        };
        take(&mut state, Event::Init);
        take(&mut state, Event::InitApply(object("a", "1", refused)));
        take(&mut state, Event::InitApply(object("b", "2", |_| {})));
        take(&mut state, Event::InitDone);
        take(&mut state, Event::Apply(object("b", "2", refused)));
        let set_of = |state: &State| {
            state.publish(&outputs);
            outputs.set.borrow().clone().unwrap()
        };
        let set = set_of(&state);
        let names = |names: Vec<&PodName>| names.iter().map(|name| name.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(set.unsupported.keys().collect()), ["a"]);
        assert_eq!(names(set.pods.keys().collect()), ["b"]);
        assert_eq!(set.problems.len(), 2);
        // Another pod of the name was never accepted, and a pod that is being deleted can always be ended.
        take(&mut state, Event::Apply(object("b", "3", refused)));
        take(
            &mut state,
            Event::Apply(object("a", "1", |object| {
                refused(object);
                let long_ago = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
                object.metadata.deletion_timestamp = Some(long_ago);
            })),
        );
        let set = set_of(&state);
        assert_eq!(names(set.unsupported.keys().collect()), ["b"]);
        assert_eq!(names(set.pods.keys().collect()), ["a"]);
    }

    #[test]
    fn an_image_of_a_static_pod_is_no_pod_to_run() {
        let (mut state, outputs) = (State::default(), outputs());
        take(&mut state, Event::Init);
        let mark = |object: &mut Object| {
            object.metadata.annotations = Some(BTreeMap::from([(MIRROR.to_owned(), "u".to_owned())]));
        };
        take(&mut state, Event::InitApply(object("a", "1", mark)));
        take(&mut state, Event::InitDone);
        state.publish(&outputs);
        assert!(outputs.set.borrow().as_ref().unwrap().pods.is_empty());
        assert_eq!(outputs.objects.borrow().as_ref().unwrap().mirrors.len(), 1);
    }

    #[tokio::test]
    async fn who_is_not_known_waits_as_if_nobody_answered() {
        let is_waited_for = |code: u16| {
            let reserve = Reserve {
                stored: Arc::default(),
                how: crate::model::api::CutOffStart::Tolerated,
                boot: "b".to_owned(),
                decided: Timestamp::UNIX_EPOCH,
                patience: std::time::Duration::from_secs(3600),
            };
            let mut waiting = Waiting::new(Some(reserve));
            let status = serde_json::json!({"code": code, "message": "no", "reason": "x"});
            let status = kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()));
            waiting.note(Some(&Err(watcher::Error::InitialListFailed(status))));
            waiting.until.is_some()
        };
        assert!(is_waited_for(401));
        assert!(is_waited_for(503));
        assert!(!is_waited_for(403));
    }
}
