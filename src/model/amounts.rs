//! The requests and limits of a whole pod, computed from those of its containers
//! (`k8s.io/component-helpers/resource/helpers.go` of Kubernetes v1.36). Pure.

use crate::model::pod::{Container, Pod};
use crate::model::resources::Amounts;

/// Whether the pod's overhead is included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overhead {
    /// Included.
    With,
    /// Excluded.
    Without,
}

/// What the pod requests: the sum of the containers and all sidecars, or what its most demanding init container needs
/// besides the sidecars started before it, whichever is more; replaced by the pod's own requests.
pub fn pod_requests(pod: &Pod, overhead: Overhead) -> Amounts {
    let mut requests = container_requests(pod);
    if let Some(own) = &pod.resources {
        replace(&mut requests, &own.requests);
    }
    if overhead == Overhead::With {
        requests.add(&pod.overhead);
    }
    requests
}

/// The sum of the containers' requests, without the pod's own requests and without overhead.
pub fn container_requests(pod: &Pod) -> Amounts {
    aggregate(pod, |container| &container.resources.requests)
}

/// The limits of the pod, by the rule of [`pod_requests`]. Overhead raises a limit but does not create one. A limit
/// that only some containers have says nothing about the pod: see [`Limited`].
pub fn pod_limits(pod: &Pod, overhead: Overhead) -> Amounts {
    let mut limits = aggregate(pod, |container| &container.resources.limits);
    if let Some(own) = &pod.resources {
        replace(&mut limits, &own.limits);
    }
    if overhead == Overhead::With {
        let extra = Amounts {
            cpu: pod.overhead.cpu.filter(|_| limits.cpu.is_some()),
            memory: pod.overhead.memory.filter(|_| limits.memory.is_some()),
            ..Amounts::default()
        };
        limits.add(&extra);
    }
    limits
}

/// Which limits apply to the pod as a whole: those that the pod sets itself, or that every container has, init
/// containers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// The CPU limit.
    pub cpu: bool,
    /// The memory limit.
    pub memory: bool,
}

impl Limited {
    /// Looks at the pod and its containers.
    pub fn of(pod: &Pod) -> Limited {
        let own = pod.resources.as_ref().map(|own| &own.limits);
        let holds = |amount: fn(&Amounts) -> i64| {
            own.is_some_and(|own| amount(own) != 0)
                || pod
                    .own_containers()
                    .all(|container| amount(&container.resources.limits) != 0)
        };
        Limited {
            cpu: holds(Amounts::cpu_or_zero),
            memory: holds(Amounts::memory_or_zero),
        }
    }
}

fn aggregate(pod: &Pod, amounts: impl Fn(&Container) -> &Amounts) -> Amounts {
    let mut total = Amounts::default();
    for container in &pod.containers {
        total.add(amounts(container));
    }
    let mut sidecars = Amounts::default();
    let mut starting = Amounts::default();
    for container in &pod.init_containers {
        let own = amounts(container);
        if container.sidecar {
            total.add(own);
            sidecars.add(own);
            starting.raise_to(&sidecars.of_those_in(own));
        } else {
            // The other limits include it already.
            let mut beside = sidecars.of_those_in(own);
            beside.add(own);
            starting.raise_to(&beside);
        }
    }
    total.raise_to(&starting);
    total
}

/// Pods themselves may set CPU, memory and huge pages only.
fn replace(total: &mut Amounts, own: &Amounts) {
    total.cpu = own.cpu.or(total.cpu);
    total.memory = own.memory.or(total.memory);
    total.hugepages.extend(&own.hugepages);
}
