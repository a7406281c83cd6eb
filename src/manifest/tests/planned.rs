//! The node's plan for a pod at each stage of its life, so that a test sees which field reaches the runtime.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{context, now};
use crate::manifest::read_api_pod;
use crate::model::node::NodePolicy;
use crate::model::object::Objects;
use crate::model::pod::{Container, Deletion, Pod};
use crate::model::runtime::{
    ContainerState, ObservedContainer, ObservedName, ObservedPod, RuntimeHandler, Sandbox,
};
use crate::model::sample;
use crate::model::step::Step;
use crate::plan::{PlanView, pod};

/// A runtime that supports everything.
static HANDLERS: [RuntimeHandler; 1] = [RuntimeHandler {
    name: String::new(),
    recursive_read_only: true,
    user_namespaces: true,
}];

/// An API pod, or why it is not run.
pub(super) fn api_pod(object: Value) -> Result<Pod, Vec<String>> {
    let object = serde_json::from_value(object).unwrap();
    read_api_pod(object, &context(), now())
        .map_err(|problems| problems.iter().map(|p| p.message.clone()).collect())
}

/// An API pod with this specification and one container.
pub(super) fn with_spec(spec: Value) -> Result<Pod, Vec<String>> {
    let mut object = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    api_pod(object)
}

/// The steps at each stage of the pod's life: before its sandbox, before each of its init containers, before its
/// containers, and when it is deleted.
pub(super) fn steps(pod: &Pod, policy: &NodePolicy) -> Vec<Step> {
    let init = &pod.init_containers;
    let mut moments = vec![ObservedName::default()];
    for done in 0..=init.len() {
        moments.push(observed(pod, init.iter().take(done).map(after_init).collect()));
    }
    let mut steps: Vec<_> = moments.iter().flat_map(|seen| plan(pod, seen, policy)).collect();
    let running = init.iter().map(after_init);
    let running = running
        .chain(pod.containers.iter().map(running_instance))
        .collect();
    let going = Pod {
        deletion: Some(Deletion {
            asked: sample::at(50),
            grace: pod.grace,
        }),
        ..pod.clone()
    };
    steps.extend(plan(&going, &observed(pod, running), policy));
    steps
}

fn plan(pod: &Pod, seen: &ObservedName, policy: &NodePolicy) -> Vec<Step> {
    let objects = Objects::default();
    let view = PlanView {
        name: &pod.name,
        runtime_ready: true,
        network_ready: true,
        runtime_handlers: &HANDLERS,
        desired_complete: true,
        unsupported: None,
        images: &[],
        leftovers: &BTreeSet::new(),
        logs: None,
        objects: &objects,
        services: &Default::default(),
        allocatable: &Default::default(),
        node: None,
    };
    let plan = pod::plan(Some(pod), seen, None, policy, &view, sample::at(60));
    plan.stages.into_iter().flatten().collect()
}

fn observed(pod: &Pod, containers: Vec<ObservedContainer>) -> ObservedName {
    let sandbox = Sandbox {
        host_network: pod.namespaces.host_network,
        ..sample::sandbox(0, true, 0)
    };
    ObservedName {
        uids: BTreeMap::from([(
            pod.uid.clone(),
            ObservedPod {
                sandboxes: vec![sandbox],
                containers,
                allocation: None,
                checkpoint: None,
            },
        )]),
    }
}

fn after_init(container: &Container) -> ObservedContainer {
    match container.sidecar {
        true => running_instance(container),
        false => instance(container, sample::exited(1, 2, 0)),
    }
}

fn running_instance(container: &Container) -> ObservedContainer {
    instance(container, sample::running(1))
}

fn instance(container: &Container, state: ContainerState) -> ObservedContainer {
    ObservedContainer {
        hash: container.hash,
        ..sample::instance(&container.name, 0, 1, state)
    }
}
