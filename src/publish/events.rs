//! Events: what happened to pods and to the node, in the order in which it happened.
//!
//! As the kubelet does, what cannot be told now is tried again for a while, what is refused is dropped, and where more
//! happens than the API server takes, the newest is not told: Events are a help, not a record.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::correlate::{Bucket, Correlator, Telling};
use super::retry::{self, Trouble};
use crate::model::report::{About, Happening};

/// What tells: the control plane and its users look for it.
const COMPONENT: &str = "kubelet";
/// How many happenings wait at most.
const LONGEST_QUEUE: usize = 1000;
/// How often one is tried, and how long after a failure.
const TRIES: u32 = 12;
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Where Events about what lies in no namespace lie.
const DEFAULT_NAMESPACE: &str = "default";

/// How much is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// `eventRecordQPS`; 0 is no limit.
    pub per_second: u32,
    /// `eventBurst`
    pub burst: u32,
}

/// Tells what happens until cancelled.
pub async fn run(
    clients: watch::Receiver<kube::Client>,
    mut happenings: mpsc::UnboundedReceiver<Happening>,
    settings: Settings,
    cancel: CancellationToken,
) {
    let mut queue = VecDeque::new();
    let mut idle = Some(Teller::new(clients, settings, Timestamp::now()));
    // At most one: Events are told in their order.
    let mut busy = FuturesUnordered::new();
    loop {
        if idle.is_some()
            && let Some(next) = queue.pop_front()
        {
            busy.extend(idle.take().map(|teller| teller.tell(next)));
        }
        // Every arm may be cancelled: the channel and the future at hand keep what they have.
        tokio::select! {
            // What waits is dropped with the agent, as the kubelet's is.
            () = cancel.cancelled() => return,
            Some(happening) = happenings.recv() => {
                if queue.len() < LONGEST_QUEUE {
                    queue.push_back(happening);
                }
            }
            teller = busy.next(), if !busy.is_empty() => idle = teller,
        }
    }
}

/// Tells one after the other.
struct Teller {
    clients: watch::Receiver<kube::Client>,
    settings: Settings,
    correlator: Correlator,
    /// `None`: no limit.
    limit: Option<Bucket>,
    /// What made the name of the last new Event its own.
    last_mark: i128,
}

/// How an attempt ended.
enum Attempt {
    /// The Event of this name tells it.
    Told(String),
    /// There is no such Event any more: it is made anew.
    Gone,
    /// The API server does not want it.
    Refused,
    Away,
}

impl Teller {
    fn new(clients: watch::Receiver<kube::Client>, settings: Settings, now: Timestamp) -> Teller {
        let limit = (settings.per_second > 0)
            .then(|| Bucket::new(settings.burst.max(1).into(), settings.per_second.into(), now));
        Teller {
            clients,
            settings,
            correlator: Correlator::default(),
            limit,
            last_mark: 0,
        }
    }

    async fn tell(mut self, happening: Happening) -> Teller {
        let Some(mut telling) = self.correlator.correlate(&happening, Timestamp::now()) else {
            return self;
        };
        // One execution brings several Events at one time, and each wants a name.
        self.last_mark = happening.at.as_nanosecond().max(self.last_mark + 1);
        for _ in 0..TRIES {
            self.wait_for_a_turn().await;
            match self.attempt(&happening, &telling).await {
                Attempt::Told(name) => {
                    self.correlator.told(&telling, &name, Timestamp::now());
                    break;
                }
                Attempt::Gone => telling.name = None,
                Attempt::Refused => break,
                Attempt::Away => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
        self
    }

    async fn wait_for_a_turn(&mut self) {
        let Some(limit) = &mut self.limit else { return };
        while let Err(seconds) = limit.take(Timestamp::now()) {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
    }

    async fn attempt(&mut self, happening: &Happening, telling: &Telling) -> Attempt {
        let client = self.clients.borrow_and_update().clone();
        let event = event(happening, telling, &self.settings.node, self.last_mark);
        let namespace = event.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let api: kube::Api<Event> = kube::Api::namespaced(client, namespace);
        let answer = match &telling.name {
            None => api.create(&PostParams::default(), &event).await,
            Some(name) => {
                let patch = Patch::Strategic(json!({
                    "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
                }));
                api.patch(name, &PatchParams::default(), &patch).await
            }
        };
        match answer {
            Ok(event) => Attempt::Told(event.metadata.name.unwrap_or_default()),
            Err(error) => match Trouble::of(&error) {
                Trouble::Gone if telling.name.is_some() => Attempt::Gone,
                Trouble::Away => {
                    tracing::debug!("an Event is not told yet: {}", retry::text(&error));
                    Attempt::Away
                }
                // A namespace that is being deleted takes none, which is nobody's trouble.
                Trouble::Gone | Trouble::Conflict | Trouble::Refused => {
                    tracing::debug!("the API server takes no Event: {}", retry::text(&error));
                    Attempt::Refused
                }
            },
        }
    }
}

/// `mark` makes the name of a new Event one that no other has; the kubelet's is the time in nanoseconds.
fn event(happening: &Happening, telling: &Telling, node: &str, mark: i128) -> Event {
    let involved = involved(&happening.about, node);
    let namespace = involved.namespace.clone().unwrap_or(DEFAULT_NAMESPACE.to_owned());
    let of = involved.name.as_deref().unwrap_or_default();
    let name = telling.name.clone().unwrap_or_else(|| format!("{of}.{mark:x}"));
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: involved,
        type_: Some(happening.kind.as_str().to_owned()),
        reason: Some(happening.reason.clone()),
        message: Some(telling.message.clone()),
        count: i32::try_from(telling.count).ok(),
        first_timestamp: Some(Time(telling.first)),
        last_timestamp: Some(Time(happening.at)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
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
    use crate::model::pod::{PodName, PodUid};
    use crate::model::report::EventKind;

    #[test]
    fn an_event_is_the_kubelets() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let pod = PodName::new("ns", "web");
        let happening = Happening {
            about: About::Pod(pod, PodUid("u".into()), Some("spec.containers{c}".into())),
            kind: EventKind::Normal,
            reason: "Started".into(),
            message: "Container started".into(),
            at,
        };
        let telling = Correlator::default().correlate(&happening, at).unwrap();
        let told = serde_json::to_value(event(&happening, &telling, "vm", 0x18ab)).unwrap();
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
        assert_eq!(told, want);
    }
}
