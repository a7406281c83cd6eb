//! The Node object: registers it or adopts an existing one, creates it again after a deletion, and publishes its
//! status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::node_events::Emitted;
use super::retry::{self, ApiFailure, Backoff};
use crate::counters::Counters;
use crate::model::api::ApiNode;
use crate::model::event::Event;
use crate::model::overlay::annotation;

/// How long the watch may take to show a created Node.
const ECHO: SignedDuration = SignedDuration::from_secs(5);
/// The taint that a cloud controller removes when it has initialized the node.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// Lists of a status that the API server would merge by a key.
const REPLACED: &[&str] = &["addresses"];
/// Fields of a status that API servers before v1.36 drop. To lack them is no change, or it would be published for ever.
const DROPPED: &[&str] = &["declaredFeatures"];

/// How the node registers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name.
    pub name: String,
    /// Whether the node registers itself or waits for another party to do so.
    pub register: bool,
    /// Taints of a new Node.
    pub taints: Vec<Taint>,
    /// `spec.providerID`
    pub provider_id: Option<String>,
    /// Whether a cloud controller initializes a new Node.
    pub external_cloud: bool,
    /// How often an unchanged status is published.
    pub report_every: Duration,
}

/// What the task reads.
pub struct NodeInputs {
    /// The current API client.
    pub clients: watch::Receiver<kube::Client>,
    /// What to publish.
    pub report: watch::Receiver<Arc<Node>>,
    /// What the API server has.
    pub node: watch::Receiver<ApiNode>,
    /// The events, for the task that publishes them.
    pub events: mpsc::UnboundedSender<Event>,
    /// Records when the node is registered.
    pub counters: Arc<Counters>,
}

/// What is to be done now.
#[derive(Debug)]
enum NodeWrite {
    Create,
    /// Adds or corrects labels and annotations of an existing Node.
    Adopt(Value),
    Status(Value),
}

/// Maintains the Node until canceled.
pub async fn run(mut inputs: NodeInputs, settings: Settings, cancel: CancellationToken) {
    let mut last_answer: Option<LastAnswer> = None;
    let mut wait: Option<Backoff> = None;
    let mut emitted = Emitted::default();
    loop {
        let now = Timestamp::now();
        let ours = inputs.report.borrow_and_update().clone();
        let theirs = inputs.node.borrow_and_update().clone();
        if let (ApiNode::Present(theirs), true) = (&theirs, ours.status.is_some()) {
            // Compared before the agent's status replaces the former one.
            for event in emitted.take(&ours, theirs, now) {
                let _ = inputs.events.send(event);
            }
        }
        let holds = wait.is_some_and(|wait| wait.until() > now);
        let next_write = match holds || ours.status.is_none() {
            true => None,
            false => next_write(&ours, &theirs, last_answer.as_ref(), &settings, now),
        };
        if let Some(next_write) = next_write {
            let client = inputs.clients.borrow_and_update().clone();
            // Aborting a request loses nothing: the state is compared again.
            let done = tokio::select! {
                () = cancel.cancelled() => return,
                done = carry_out((client, inputs.counters.as_ref()), &settings, &ours, next_write) => done,
            };
            match done {
                Ok(node) => {
                    wait = None;
                    last_answer = Some(LastAnswer { at: now, node });
                    continue;
                }
                Err(error) => {
                    wait = Some(Backoff::next(wait, Timestamp::now(), retry::salt(&settings.name)));
                    if let ApiFailure::Gone = log_trouble(&error) {
                        last_answer = None;
                    }
                }
            }
        }
        // A Node that disappears while the watch is still behind is created again later.
        let echo = last_answer
            .as_ref()
            .filter(|_| matches!(theirs, ApiNode::Absent))
            .map(|last_answer| last_answer.at + ECHO);
        let next = wait
            .map(Backoff::until)
            .into_iter()
            .chain(echo)
            .filter(|at| *at > now)
            .min();
        // Every arm may be dropped: watches keep what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = inputs.report.changed() => {}
            Ok(()) = inputs.node.changed() => {}
            () = tokio::time::sleep(retry::sleep(next, Timestamp::now())) => {}
        }
    }
}

/// Records when the API server first had a Node that is ready.
fn record_ready(counters: &Counters, published: &Node) {
    let status = published.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    if conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        counters.registration.ready(Timestamp::now());
    }
}

fn log_trouble(error: &kube::Error) -> ApiFailure {
    let text = retry::text(error);
    let trouble = ApiFailure::of(error);
    match trouble {
        ApiFailure::Refused => tracing::warn!("the API server rejected the Node: {text}"),
        ApiFailure::Gone => {}
        ApiFailure::Conflict | ApiFailure::Unavailable => {
            tracing::debug!("cannot publish the Node; retrying: {text}")
        }
    }
    trouble
}

/// The last answer of the API server.
struct LastAnswer {
    at: Timestamp,
    node: Node,
}

fn next_write(
    ours: &Node,
    theirs: &ApiNode,
    last_answer: Option<&LastAnswer>,
    settings: &Settings,
    now: Timestamp,
) -> Option<NodeWrite> {
    let theirs = match theirs {
        ApiNode::Unknown => return None,
        // The watch does not show a Node yet that was created a moment ago.
        ApiNode::Absent
            if last_answer.is_some_and(|last_answer| now.duration_since(last_answer.at) < ECHO) =>
        {
            return None;
        }
        ApiNode::Absent => return settings.register.then_some(NodeWrite::Create),
        ApiNode::Present(node) => node.as_ref(),
    };
    let of_this = last_answer.filter(|last_answer| last_answer.node.metadata.uid == theirs.metadata.uid);
    let newest = of_this
        .map(|last_answer| &last_answer.node)
        .filter(|node| version(node) > version(theirs))
        .unwrap_or(theirs);
    if let Some(patch) = lacking(ours, newest) {
        return Some(NodeWrite::Adopt(patch));
    }
    let is_due = of_this.is_none_or(|last_answer| {
        let every = SignedDuration::try_from(settings.report_every).unwrap_or(SignedDuration::MAX);
        now.duration_since(last_answer.at) >= every
    });
    status_patch(ours.status.as_ref()?, newest.status.as_ref(), is_due).map(NodeWrite::Status)
}

async fn carry_out(
    (client, counters): (kube::Client, &Counters),
    settings: &Settings,
    ours: &Node,
    next_write: NodeWrite,
) -> Result<Node, kube::Error> {
    let api: kube::Api<Node> = kube::Api::all(client);
    let params = PatchParams::default();
    match next_write {
        NodeWrite::Create => {
            counters.registration.trying(Timestamp::now());
            let made = api
                .create(&PostParams::default(), &new_node(ours, settings))
                .await?;
            counters.registration.registered(Timestamp::now());
            record_ready(counters, ours);
            tracing::info!(node = settings.name, "node registered");
            Ok(made)
        }
        NodeWrite::Adopt(patch) => {
            api.patch(
                &settings.name,
                &params,
                &Patch::Strategic(json!({ "metadata": patch })),
            )
            .await
        }
        NodeWrite::Status(patch) => {
            let patch = Patch::Strategic(json!({ "status": patch }));
            let published = api.patch_status(&settings.name, &params, &patch).await?;
            record_ready(counters, ours);
            Ok(published)
        }
    }
}

/// The Node for the first registration.
fn new_node(ours: &Node, settings: &Settings) -> Node {
    let mut node = ours.clone();
    node.metadata.creation_timestamp = None;
    node.metadata.uid = None;
    node.metadata.resource_version = None;
    let mut taints = settings.taints.clone();
    if settings.external_cloud {
        taints.push(Taint {
            key: UNINITIALIZED.to_owned(),
            value: Some("true".to_owned()),
            effect: "NoSchedule".to_owned(),
            time_added: None,
        });
    }
    node.spec = Some(NodeSpec {
        taints: (!taints.is_empty()).then_some(taints),
        provider_id: settings.provider_id.clone(),
        ..NodeSpec::default()
    });
    node
}

/// The metadata that an existing Node lacks or that differs: the agent's labels and annotations; those of others stay.
fn lacking(ours: &Node, theirs: &Node) -> Option<Value> {
    let differing = |ours: &Option<BTreeMap<String, String>>, theirs: &Option<BTreeMap<String, String>>| {
        let theirs = theirs.clone().unwrap_or_default();
        let ours = ours.iter().flatten();
        ours.filter(|(key, value)| theirs.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), Value::String(value.clone())))
            .collect::<Map<_, _>>()
    };
    let (ours, theirs) = (&ours.metadata, &theirs.metadata);
    let mut annotations = ours.annotations.clone();
    if let (Some(ours), Some(theirs)) = (&mut annotations, &theirs.annotations) {
        annotation::apply_overwrites(ours, theirs);
    }
    let mut patch = Map::new();
    for (key, found) in [
        ("labels", differing(&ours.labels, &theirs.labels)),
        ("annotations", differing(&annotations, &theirs.annotations)),
    ] {
        if !found.is_empty() {
            patch.insert(key.to_owned(), Value::Object(found));
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The patch of a status that changed, or that is due. Heartbeat times alone do not count as a change.
fn status_patch(ours: &NodeStatus, theirs: Option<&NodeStatus>, is_due: bool) -> Option<Value> {
    let nothing = NodeStatus::default();
    let theirs = theirs.unwrap_or(&nothing);
    let mut ours = ours.clone();
    let mut changed = false;
    for condition in ours.conditions.iter_mut().flatten() {
        let last_answer = theirs
            .conditions
            .iter()
            .flatten()
            .find(|last_answer| last_answer.type_ == condition.type_);
        let same = last_answer.filter(|last_answer| last_answer.status == condition.status);
        if let Some(last_answer) = same {
            condition.last_transition_time = last_answer.last_transition_time.clone();
        }
        changed |= same.is_none_or(|last_answer| {
            (&last_answer.reason, &last_answer.message) != (&condition.reason, &condition.message)
        });
    }
    let (Value::Object(new), Value::Object(old)) = (json!(ours), json!(theirs)) else {
        return None;
    };
    let mut patch = Map::new();
    for (key, value) in new {
        let last_answer = old.get(&key);
        let same = match (&value, last_answer) {
            _ if key == "conditions" => !changed && !is_due,
            _ if DROPPED.contains(&key.as_str()) && !is_due => true,
            // Others add to these: only the agent's own entries are compared.
            (Value::Object(ours), Some(Value::Object(last_answer))) => ours
                .iter()
                .all(|(key, value)| last_answer.get(key) == Some(value)),
            (value, last_answer) => last_answer == Some(value),
        };
        if same {
            continue;
        }
        let value = match value {
            Value::Array(mut items) if REPLACED.contains(&key.as_str()) => {
                items.push(json!({"$patch": "replace"}));
                Value::Array(items)
            }
            value => value,
        };
        patch.insert(key, value);
    }
    if ours.volumes_in_use.is_none() && theirs.volumes_in_use.is_some() {
        // Nobody else writes it.
        patch.insert("volumesInUse".to_owned(), json!([]));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn version(node: &Node) -> Option<u64> {
    node.metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> NodeStatus {
        serde_json::from_value(value).unwrap()
    }

    fn ready(status: &str, transition: &str, heartbeat: &str) -> Value {
        json!({"conditions": [{"type": "Ready", "status": status,
            "lastTransitionTime": transition, "lastHeartbeatTime": heartbeat}]})
    }

    #[test]
    fn an_administrators_address_is_published_once_and_given_back() {
        let node = |annotations: Value| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n", "annotations": annotations}})).unwrap()
        };
        let (own, overwrite) = (annotation::V4.address, annotation::V4.overwrite);
        let ours = node(json!({own: "192.0.2.7"}));
        let first = lacking(&ours, &node(json!({overwrite: "198.51.100.7", own: "192.0.2.7"})));
        assert_eq!(first, Some(json!({"annotations": {own: "198.51.100.7"}})));
        let done = lacking(
            &ours,
            &node(json!({overwrite: "198.51.100.7", own: "198.51.100.7"})),
        );
        assert_eq!(done, None);
        let removed = lacking(&ours, &node(json!({own: "198.51.100.7"})));
        assert_eq!(removed, Some(json!({"annotations": {own: "192.0.2.7"}})));
    }

    #[test]
    fn heartbeats_alone_are_told_only_when_due() {
        let (early, late) = ("2026-11-20T08:00:00Z", "2026-11-20T08:00:10Z");
        let (ours, theirs) = (ready("True", late, late), ready("True", early, early));
        assert_eq!(
            status_patch(&status(ours.clone()), Some(&status(theirs.clone())), false),
            None
        );
        assert_eq!(
            status_patch(&status(ours), Some(&status(theirs.clone())), true),
            Some(ready("True", early, late))
        );
        let changed = ready("False", late, late);
        assert_eq!(
            status_patch(&status(changed.clone()), Some(&status(theirs)), false),
            Some(changed)
        );
    }

    #[test]
    fn addresses_are_replaced_and_others_capacities_stay() {
        let ours =
            json!({"capacity": {"cpu": "2"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]});
        let theirs = json!({"capacity": {"cpu": "2", "example.org/a": "1"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}]});
        assert_eq!(
            status_patch(&status(ours), Some(&status(theirs)), false),
            Some(json!({"addresses": [
                {"type": "InternalIP", "address": "10.0.0.1"}, {"$patch": "replace"}]}))
        );
    }

    #[test]
    fn volumes_are_in_use_until_the_last_is_not() {
        let check = |ours: Value, theirs: Value, expected: Option<Value>| {
            assert_eq!(
                status_patch(&status(ours), Some(&status(theirs)), false),
                expected
            );
        };
        let one = || json!({"volumesInUse": ["a"]});
        check(json!({}), json!({}), None);
        check(one(), one(), None);
        check(one(), json!({"volumesInUse": ["a", "b"]}), Some(one()));
        check(json!({}), one(), Some(json!({"volumesInUse": []})));
    }

    #[test]
    fn what_an_older_api_server_drops_is_published_only_when_due() {
        let ours = status(json!({"declaredFeatures": ["A"]}));
        let check = |theirs: Value, is_due: bool, expected: Option<Value>| {
            assert_eq!(status_patch(&ours, Some(&status(theirs)), is_due), expected);
        };
        check(json!({}), false, None);
        check(json!({}), true, Some(json!({"declaredFeatures": ["A"]})));
        // As the kubelet left it.
        check(
            json!({"declaredFeatures": ["A", "B"]}),
            true,
            Some(json!({"declaredFeatures": ["A"]})),
        );
        check(json!({"declaredFeatures": ["A"]}), true, None);
    }

    #[test]
    fn an_existing_node_gets_the_labels_that_it_lacks() {
        let node = |labels: Value| -> Node {
            serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap()
        };
        assert_eq!(
            lacking(
                &node(json!({"a": "1", "b": "2"})),
                &node(json!({"a": "1", "c": "3"}))
            ),
            Some(json!({"labels": {"b": "2"}}))
        );
        assert_eq!(lacking(&node(json!({"a": "1"})), &node(json!({"a": "1"}))), None);
    }
}
