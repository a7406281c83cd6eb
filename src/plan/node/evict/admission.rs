//! Which pods a node takes that is short of something.

use crate::model::eviction::{NodePressure, Shortage};
use crate::model::placement::Placement;
use crate::model::pod::Pod;
use crate::model::reason;
use crate::model::resources::Qos;
use crate::plan::admit::Refusal;
use crate::plan::cgroup::is_critical;
use crate::plan::placement::tolerates_scheduling;

/// Whether a node that is short of something takes the pod (`Admit` in `pkg/kubelet/eviction/eviction_manager.go`).
pub(in crate::plan::node) fn admit(pod: &Pod, pressure: &NodePressure) -> Result<(), Refusal> {
    let is_of_memory = pressure.short_of.len() == 1 && pressure.short_of.contains(&Shortage::Memory);
    let memory_matters = |pod: &Pod| pod.qos == Qos::BestEffort && !is_prepared(&pod.placement);
    if pressure.short_of.is_empty() || is_critical(pod) || is_of_memory && !memory_matters(pod) {
        return Ok(());
    }
    let conditions: Vec<_> = pressure
        .short_of
        .iter()
        .map(|shortage| shortage.condition())
        .collect();
    Err(Refusal {
        reason: reason::pod::EVICTED.to_owned(),
        message: format!("The node had condition: [{}]. ", conditions.join(" ")),
    })
}

/// Whether the pod tolerates the taint of nodes that are short of memory.
fn is_prepared(placement: &Placement) -> bool {
    tolerates_scheduling(placement, "node.kubernetes.io/memory-pressure")
}
