//! Events: what happened to pods and to the node, in the order in which it happened.
//!
//! As in the kubelet, an Event that cannot be published is retried for a while, a rejected one is dropped, and if there
//! are more than the API server accepts, the newest ones are dropped: Events are best-effort.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self as k8s, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::correlate::{Correlator, EventWrite};
use super::retry::{self, ApiFailure};
use crate::model::event::{About, Event};
use crate::model::token_bucket::TokenBucket;

/// The source component of the Events: the control plane and its users look for it.
const COMPONENT: &str = "kubelet";
/// How many events wait at most.
const LONGEST_QUEUE: usize = 1000;
/// How often one is tried, and the wait after a failure.
const TRIES: u32 = 12;
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The namespace of Events about objects without one.
const DEFAULT_NAMESPACE: &str = "default";

/// Whose Events are published, and how many.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// `eventRecordQPS`; 0 means no limit.
    pub per_second: u32,
    /// `eventBurst`
    pub burst: u32,
}

/// Publishes Events until canceled.
pub async fn run(
    clients: watch::Receiver<kube::Client>,
    mut events: mpsc::UnboundedReceiver<Event>,
    settings: Settings,
    cancel: CancellationToken,
) {
    let mut queue = VecDeque::new();
    let mut idle = Some(Publisher::new(clients, settings));
    // At most one request at a time: Events are published in order.
    let mut busy = FuturesUnordered::new();
    loop {
        if idle.is_some()
            && let Some(next) = queue.pop_front()
        {
            busy.extend(idle.take().map(|publisher| publisher.publish(next)));
        }
        // Every arm may be dropped: the channel and the pending future keep their state.
        tokio::select! {
            // Waiting events are dropped with the agent, as in the kubelet.
            () = cancel.cancelled() => return,
            Some(event) = events.recv() => {
                if queue.len() < LONGEST_QUEUE {
                    queue.push_back(event);
                }
            }
            publisher = busy.next(), if !busy.is_empty() => idle = publisher,
        }
    }
}

/// Publishes Events one after the other.
struct Publisher {
    clients: watch::Receiver<kube::Client>,
    settings: Settings,
    correlator: Correlator,
    /// `None` means no limit.
    limit: Option<TokenBucket>,
    began: Instant,
    /// The unique suffix of the last new Event's name.
    last_mark: i128,
}

/// The result of an attempt.
enum Attempt {
    /// Published as the Event of this name.
    Published(String),
    /// The Event no longer exists: it is created again.
    Gone,
    /// The API server rejected it.
    Refused,
    /// The API server cannot answer now: the same attempt may succeed later.
    Unavailable,
}

impl Publisher {
    fn new(clients: watch::Receiver<kube::Client>, settings: Settings) -> Publisher {
        let (burst, per_second) = (settings.burst.max(1), settings.per_second);
        let limit = || TokenBucket::new(burst.into(), per_second.into(), Duration::ZERO);
        Publisher {
            clients,
            settings,
            correlator: Correlator::default(),
            limit: (per_second > 0).then(limit),
            began: Instant::now(),
            last_mark: 0,
        }
    }

    async fn publish(mut self, event: Event) -> Publisher {
        let Some(mut event_write) = self.correlator.correlate(&event, Timestamp::now()) else {
            return self;
        };
        // One execution emits several Events at the same time, and each needs its own name.
        self.last_mark = event.at.as_nanosecond().max(self.last_mark + 1);
        for _ in 0..TRIES {
            self.wait_for_a_turn().await;
            match self.attempt(&event, &event_write).await {
                Attempt::Published(name) => {
                    self.correlator.published(&event_write, &name, Timestamp::now());
                    break;
                }
                Attempt::Gone => event_write.name = None,
                Attempt::Refused => break,
                Attempt::Unavailable => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
        self
    }

    async fn wait_for_a_turn(&mut self) {
        let Some(limit) = &mut self.limit else { return };
        while let Err(wait) = limit.take(self.began.elapsed()) {
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&mut self, event: &Event, event_write: &EventWrite) -> Attempt {
        let client = self.clients.borrow_and_update().clone();
        let object = object(event, event_write, &self.settings.node, self.last_mark);
        let namespace = object.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let api: kube::Api<k8s::Event> = kube::Api::namespaced(client, namespace);
        let answer = match &event_write.name {
            None => api.create(&PostParams::default(), &object).await,
            Some(name) => {
                let patch = Patch::Strategic(json!({
                    "count": object.count, "lastTimestamp": object.last_timestamp, "message": object.message,
                }));
                api.patch(name, &PatchParams::default(), &patch).await
            }
        };
        match answer {
            Ok(event) => Attempt::Published(event.metadata.name.unwrap_or_default()),
            Err(error) => match ApiFailure::of(&error) {
                ApiFailure::Gone if event_write.name.is_some() => Attempt::Gone,
                ApiFailure::Unavailable => {
                    tracing::debug!("cannot publish an Event; retrying: {}", retry::text(&error));
                    Attempt::Unavailable
                }
                // A namespace that is being deleted accepts none, which is no problem.
                ApiFailure::Gone | ApiFailure::Conflict | ApiFailure::Refused => {
                    tracing::debug!("the API server rejected an Event: {}", retry::text(&error));
                    Attempt::Refused
                }
            },
        }
    }
}

/// `mark` makes the name of a new Event unique; the kubelet uses the time in nanoseconds.
fn object(event: &Event, event_write: &EventWrite, node: &str, mark: i128) -> k8s::Event {
    let involved = involved(&event.about, node);
    let namespace = involved.namespace.clone().unwrap_or(DEFAULT_NAMESPACE.to_owned());
    let of = involved.name.as_deref().unwrap_or_default();
    let name = event_write
        .name
        .clone()
        .unwrap_or_else(|| format!("{of}.{mark:x}"));
    k8s::Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            annotations: (!event.annotations.is_empty()).then(|| event.annotations.clone()),
            ..ObjectMeta::default()
        },
        involved_object: involved,
        type_: Some(event.kind.as_str().to_owned()),
        reason: Some(event.reason.clone()),
        message: Some(event_write.message.clone()),
        count: i32::try_from(event_write.count).ok(),
        first_timestamp: Some(Time(event_write.first)),
        last_timestamp: Some(Time(event.at)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..k8s::Event::default()
    }
}

fn involved(about: &About, node: &str) -> ObjectReference {
    let reference = |kind: &str, name: &str| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    };
    match about {
        About::Node => reference("Node", node),
        About::Pod(pod, uid, part) => ObjectReference {
            namespace: Some(pod.namespace.clone()),
            uid: Some(uid.0.clone()),
            field_path: part.clone(),
            ..reference("Pod", &pod.name)
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::EventType;
    use crate::model::pod::{PodName, PodUid};

    #[test]
    fn an_event_is_the_kubelets() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let pod = PodName::new("ns", "web");
        let event = Event {
            about: About::Pod(pod, PodUid("u".into()), Some("spec.containers{c}".into())),
            kind: EventType::Normal,
            reason: "Started".into(),
            message: "Container started".into(),
            annotations: Default::default(),
            at,
        };
        let event_write = Correlator::default().correlate(&event, at).unwrap();
        let published = serde_json::to_value(object(&event, &event_write, "vm", 0x18ab)).unwrap();
        let want = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "web.18ab", "namespace": "ns"},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "web", "uid": "u",
                "fieldPath": "spec.containers{c}",
            },
            "type": "Normal",
            "reason": "Started",
            "message": "Container started",
            "count": 1,
            "firstTimestamp": "2026-01-02T03:04:05Z",
            "lastTimestamp": "2026-01-02T03:04:05Z",
            "source": {"component": "kubelet", "host": "vm"},
            "reportingComponent": "kubelet",
            "reportingInstance": "vm",
        });
        assert_eq!(published, want);
    }
}
