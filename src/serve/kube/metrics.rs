//! What the node and its pods use at present, as `kubectl top` asks (`metrics.k8s.io/v1beta1`). A rate needs two samples, so
//! the first answer after a pause takes a second.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::kind::Kind;
use super::object::{Key, Object};
use super::options::Options;
use super::path::MetricsPlace;
use super::read::not_found;
use super::store::State;
use crate::model::stats::{CgroupSample, NodeSample, PodSample};
use crate::serve::answer::Refusal;
use crate::serve::world::World;
use crate::stats::{Depth, HOUSEKEEPING, Stopped};

/// The version of the group.
const API_VERSION: &str = "metrics.k8s.io/v1beta1";
/// The time between the two samples of a first answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The kind that a query's selectors are about.
pub(super) fn kind(place: &MetricsPlace) -> Kind {
    match place {
        MetricsPlace::Nodes { .. } => Kind::Node,
        MetricsPlace::Pods { .. } => Kind::Pod,
    }
}

/// One object's numbers, or those of all that are selected.
pub(super) async fn answer(
    world: &World,
    state: &State,
    place: &MetricsPlace,
    options: &Options,
) -> Result<Response, Refusal> {
    let sample = sample(world).await?;
    let about = About {
        state,
        options,
        now: Timestamp::now(),
    };
    match place {
        MetricsPlace::Nodes { name } => {
            let host = world.node.borrow().metadata.name.clone().unwrap_or_default();
            let node = about.node(&host, &sample.machine);
            let items: Vec<Value> = node.into_iter().collect();
            found(Kind::Node, name.as_deref(), items)
        }
        MetricsPlace::Pods { namespace, name } => {
            let pods = sample.pods.iter().filter(|pod| {
                namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == pod.name.namespace)
                    && name.as_ref().is_none_or(|name| *name == pod.name.name)
            });
            let items: Vec<Value> = pods.filter_map(|pod| about.pod(pod)).collect();
            found(Kind::Pod, name.as_deref(), items)
        }
    }
}

/// A sample with rates.
async fn sample(world: &World) -> Result<Arc<NodeSample>, Refusal> {
    let failed = |stopped: Stopped| Refusal::Internal(stopped.to_string());
    let none = || Refusal::Internal("the kernel shows no counters of the whole machine".to_owned());
    let first = world
        .stats
        .sample(HOUSEKEEPING, Depth::Counters)
        .await
        .map_err(failed)?;
    let first = first.ok_or_else(none)?;
    if has_rates(&first) {
        return Ok(first);
    }
    tokio::time::sleep(PAUSE).await;
    let second = world
        .stats
        .sample(Duration::ZERO, Depth::Counters)
        .await
        .map_err(failed)?;
    second.ok_or_else(none)
}

/// Whether every container has run for two samples.
fn has_rates(sample: &NodeSample) -> bool {
    let pods = sample.pods.iter().flat_map(|pod| &pod.containers);
    let mut cgroups = pods.filter_map(|container| container.cgroup.as_ref());
    sample.machine.nano_cores.is_some() && cgroups.all(|cgroup| cgroup.nano_cores.is_some())
}

fn found(kind: Kind, name: Option<&str>, items: Vec<Value>) -> Result<Response, Refusal> {
    let list_kind = format!("{}MetricsList", kind.names().kind);
    match name {
        None => {
            let list = json!({"kind": list_kind, "apiVersion": API_VERSION, "metadata": {}, "items": items});
            Ok(Json(list).into_response())
        }
        Some(name) => match items.into_iter().next() {
            Some(item) if item["metadata"]["name"] == name => Ok(Json(item).into_response()),
            _ => Err(not_found(kind, name)),
        },
    }
}

struct About<'a> {
    state: &'a State,
    options: &'a Options,
    now: Timestamp,
}

impl About<'_> {
    /// The object that numbers are about, if it is selected.
    fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        let key = Key {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let object = &self.state.objects.get(&key)?.object;
        self.options.selector.selects(object).then_some(object)
    }

    fn metadata(&self, object: &Object) -> ObjectMeta {
        let metadata = object.metadata();
        ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            labels: metadata.labels.clone(),
            creation_timestamp: Some(seconds(self.now)),
            ..ObjectMeta::default()
        }
    }

    fn node(&self, host: &str, machine: &CgroupSample) -> Option<Value> {
        let object = self.object(Kind::Node, "", host)?;
        Some(json!({
            "kind": "NodeMetrics",
            "apiVersion": API_VERSION,
            "metadata": self.metadata(object),
            "timestamp": seconds(machine.at),
            "window": window(),
            "usage": usage(machine)?,
        }))
    }

    /// The numbers of a pod; `None` until each of its containers has a rate.
    fn pod(&self, pod: &PodSample) -> Option<Value> {
        let object = self.object(Kind::Pod, &pod.name.namespace, &pod.name.name)?;
        let cgroups = pod.containers.iter().filter_map(|container| {
            let cgroup = container.cgroup.as_ref()?;
            Some((&container.name, cgroup))
        });
        let containers: Option<Vec<Value>> = cgroups
            .map(|(name, cgroup)| Some(json!({"name": name, "usage": usage(cgroup)?})))
            .collect();
        let containers = containers.filter(|containers| !containers.is_empty())?;
        let at = pod.cgroup.as_ref().map_or(self.now, |cgroup| cgroup.at);
        Some(json!({
            "kind": "PodMetrics",
            "apiVersion": API_VERSION,
            "metadata": self.metadata(object),
            "timestamp": seconds(at),
            "window": window(),
            "containers": containers,
        }))
    }
}

/// Kubernetes' `Time` has whole seconds.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The time that a rate is about.
fn window() -> String {
    format!("{}s", HOUSEKEEPING.as_secs())
}

fn usage(cgroup: &CgroupSample) -> Option<Value> {
    let memory = cgroup.usage.memory?.working_set / 1024;
    Some(json!({"cpu": format!("{}n", cgroup.nano_cores?), "memory": format!("{memory}Ki")}))
}
