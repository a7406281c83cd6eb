//! The resources allocated to a pod that may change while it runs.
//!
//! A pod's specification states the desired resources; the pod gets them once the node has decided that they fit. Until
//! then, and forever if they never fit, the pod keeps its previous allocation. The decision is a file in the pod's
//! directory, so a restarted agent finds it, together with the container instances that still have their previous
//! resources.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container as ContainerObject, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::pod::{Container, Pod};
use super::resources::{Bytes, MilliCpu, Resources};

/// The name of the file in a pod's directory.
pub const FILE: &str = "gantry-allocation.json";

/// The resources of a running container that can be changed: thousandths of a core, and bytes. `None` means no limit or
/// no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sizes {
    /// `requests.cpu`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<i64>,
    /// `limits.cpu`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<i64>,
    /// `requests.memory`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_request: Option<i64>,
    /// `limits.memory`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<i64>,
}

impl Sizes {
    /// Takes them from `resources`.
    pub fn of(resources: &Resources) -> Sizes {
        Sizes {
            cpu_request: resources.requests.cpu.map(|cpu| cpu.0),
            cpu_limit: resources.limits.cpu.map(|cpu| cpu.0),
            memory_request: resources.requests.memory.map(|memory| memory.0),
            memory_limit: resources.limits.memory.map(|memory| memory.0),
        }
    }

    /// Combines the memory of `self` with the CPU of `other`.
    pub fn with_cpu_of(self, other: Sizes) -> Sizes {
        Sizes {
            cpu_request: other.cpu_request,
            cpu_limit: other.cpu_limit,
            ..self
        }
    }

    /// The same with the limits of its pod, where a container has none of its own (`GetLimits` in `pkg/kubelet/util`).
    pub fn within(self, pod: Option<Sizes>) -> Sizes {
        let pod = pod.unwrap_or_default();
        let limit = |own: Option<i64>, of_pod: Option<i64>| own.filter(|own| *own != 0).or(of_pod).or(own);
        Sizes {
            cpu_limit: limit(self.cpu_limit, pod.cpu_limit),
            memory_limit: limit(self.memory_limit, pod.memory_limit),
            ..self
        }
    }

    /// Whether the CPU differs.
    pub fn differs_in_cpu(self, other: Sizes) -> bool {
        (self.cpu_request, self.cpu_limit) != (other.cpu_request, other.cpu_limit)
    }

    /// Whether the memory differs.
    pub fn differs_in_memory(self, other: Sizes) -> bool {
        (self.memory_request, self.memory_limit) != (other.memory_request, other.memory_limit)
    }

    /// Replaces what `resources` states.
    pub fn apply(self, resources: &mut Resources) {
        resources.requests.cpu = self.cpu_request.map(MilliCpu);
        resources.limits.cpu = self.cpu_limit.map(MilliCpu);
        resources.requests.memory = self.memory_request.map(Bytes);
        resources.limits.memory = self.memory_limit.map(Bytes);
    }

    /// The requirements of an API object, with its values replaced by these.
    pub fn of_object(self, mut requirements: ResourceRequirements) -> ResourceRequirements {
        let cpu = |amount: i64| MilliCpu(amount).quantity();
        let memory = |amount: i64| Bytes(amount).quantity();
        put(&mut requirements.requests, "cpu", self.cpu_request.map(cpu));
        put(
            &mut requirements.requests,
            "memory",
            self.memory_request.map(memory),
        );
        put(&mut requirements.limits, "cpu", self.cpu_limit.map(cpu));
        put(&mut requirements.limits, "memory", self.memory_limit.map(memory));
        requirements
    }
}

fn put(list: &mut Option<BTreeMap<String, Quantity>>, name: &str, amount: Option<String>) {
    match amount {
        Some(amount) => {
            let list = list.get_or_insert_default();
            list.insert(name.to_owned(), Quantity(amount));
        }
        None => {
            list.get_or_insert_default().remove(name);
            *list = list.take().filter(|list| !list.is_empty());
        }
    }
}

/// A pod's allocation, as written to its file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allocation {
    /// The generation of the specification that it was made for; 0 for a static pod without one.
    pub generation: i64,
    /// The pod-level resources, if it states any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Sizes>,
    /// The pod-level resources that the pod's cgroup still has, if it has not been resized yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_behind: Option<Sizes>,
    /// By container.
    pub containers: BTreeMap<String, Sizes>,
    /// The instances, by runtime id, that were created with other resources and have not been resized yet, with the
    /// resources they have, the limits of the pod included. Every other instance has its allocation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub behind: BTreeMap<String, Sizes>,
}

impl Allocation {
    /// Allocates everything that the pod's specification requests.
    pub fn of(pod: &Pod) -> Allocation {
        let sizes = |container: &Container| (container.name.clone(), Sizes::of(&container.resources));
        Allocation {
            generation: pod.object.metadata.generation.unwrap_or(0),
            pod: pod.resources.as_ref().map(Sizes::of),
            pod_behind: None,
            containers: pod.all_containers().map(sizes).collect(),
            behind: BTreeMap::new(),
        }
    }

    /// Whether the allocation equals what the pod's specification requests.
    pub fn satisfies(&self, pod: &Pod) -> bool {
        let same = |container: &Container| {
            let own = Sizes::of(&container.resources);
            self.containers
                .get(&container.name)
                .is_none_or(|sizes| *sizes == own)
        };
        !self.differs_of_the_whole(pod) && pod.all_containers().all(same)
    }

    /// Whether it is not applied yet.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty() || self.pod_behind.is_some()
    }

    /// The resources that a container gets, the limits of the pod included.
    pub fn of_container(&self, container: &str) -> Option<Sizes> {
        let own = self.containers.get(container)?;
        Some(own.within(self.pod))
    }

    /// Whether the pod-level resources differ from the specification.
    pub fn differs_of_the_whole(&self, pod: &Pod) -> bool {
        self.pod != pod.resources.as_ref().map(Sizes::of)
    }

    /// The pod to run: its specification with the allocated resources.
    pub fn applied<'a>(&self, pod: &'a Pod) -> Cow<'a, Pod> {
        if self.satisfies(pod) {
            return Cow::Borrowed(pod);
        }
        let mut pod = pod.clone();
        match self.pod {
            Some(sizes) => sizes.apply(pod.resources.get_or_insert_default()),
            None => pod.resources = None,
        }
        for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
            if let Some(sizes) = self.containers.get(&container.name) {
                sizes.apply(&mut container.resources);
            }
        }
        let mut object = (*pod.object).clone();
        if let Some(spec) = &mut object.spec {
            let own = spec.resources.take();
            spec.resources = self.pod.map(|sizes| sizes.of_object(own.unwrap_or_default()));
            let init = spec.init_containers.iter_mut().flatten();
            for container in init.chain(&mut spec.containers) {
                self.apply_to_object(container);
            }
        }
        pod.object = Arc::new(object);
        Cow::Owned(pod)
    }

    fn apply_to_object(&self, container: &mut ContainerObject) {
        if let Some(sizes) = self.containers.get(&container.name) {
            let own = container.resources.take().unwrap_or_default();
            container.resources = Some(sizes.of_object(own));
        }
    }

    /// The resources of an instance that was created with other ones, the limits of the pod included.
    pub fn of_instance(&self, container: &str, id: &str) -> Option<Sizes> {
        let behind = self.behind.get(id).copied();
        behind.filter(|sizes| self.of_container(container).is_some_and(|gets| gets != *sizes))
    }
}

/// The pod to run: with its saved allocation if there is one, else as specified.
pub fn allotted<'a>(pod: &'a Arc<Pod>, saved: Option<&Allocation>) -> Cow<'a, Pod> {
    match saved {
        Some(allocation) => allocation.applied(pod),
        None => Cow::Borrowed(pod.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample::{self, resources};

    const MI: i64 = 1 << 20;

    #[test]
    fn the_pod_is_run_with_what_it_was_allotted() {
        let mut pod =
            sample::pod(RestartPolicy::Always, &[], &["c"]).with_resources(&[resources(100, 32 * MI)]);
        let object = serde_json::json!({"spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "0.1", "memory": "32Mi", "x/y": "1"}}}
        ]}});
        pod.object = Arc::new(serde_json::from_value(object).unwrap());
        let allocation = Allocation::of(&pod);
        assert!(matches!(allocation.applied(&pod), Cow::Borrowed(_)));
        pod.containers[0].resources = resources(200, 64 * MI);
        assert!(!allocation.satisfies(&pod));
        let run = allocation.applied(&pod);
        assert_eq!(run.containers[0].resources, resources(100, 32 * MI));
        let spec_resources = run.object.spec.as_ref().unwrap().containers[0].resources.as_ref();
        assert_eq!(
            serde_json::to_value(spec_resources).unwrap(),
            serde_json::json!({"limits": {"cpu": "100m", "memory": "32Mi"},
                "requests": {"cpu": "100m", "memory": "32Mi", "x/y": "1"}})
        );
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let sizes = Sizes {
            cpu_request: Some(100),
            memory_limit: Some(MI),
            ..Sizes::default()
        };
        let saved = Allocation {
            generation: 3,
            pod: None,
            pod_behind: None,
            containers: [("c".to_owned(), sizes)].into(),
            behind: [("id".to_owned(), Sizes::default())].into(),
        };
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(
            text,
            r#"{"generation":3,"containers":{"c":{"cpuRequest":100,"memoryLimit":1048576}},"behind":{"id":{}}}"#
        );
        assert_eq!(serde_json::from_str::<Allocation>(&text).unwrap(), saved);
    }
}
