//! What is observed of the container runtime. Pure.

use std::collections::BTreeMap;

use crate::counters::Kind;
use crate::model::runtime::{ContainerState, Snapshot};
use crate::serve::metrics::exposition::Page;

pub(super) fn put(page: &mut Page, snapshot: &Snapshot) {
    let pods = || snapshot.pods.values().flat_map(|name| name.uids.values());
    let running = pods().filter(|pod| pod.ready_sandbox().is_some()).count();
    let help = "How many pods have a running sandbox.";
    page.family("kubelet_running_pods", Kind::Gauge, help)
        .value(&[], running as u64);
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for container in pods().flat_map(|pod| &pod.containers) {
        let state = match container.state {
            ContainerState::Created => "created",
            ContainerState::Running { .. } => "running",
            ContainerState::Exited { .. } => "exited",
            ContainerState::Unknown => "unknown",
        };
        *states.entry(state).or_default() += 1;
    }
    let help = "How many containers there are, by their state.";
    let mut family = page.family("kubelet_running_containers", Kind::Gauge, help);
    for (state, count) in states {
        family.value(&[("container_state", state)], count);
    }
    drop(family);
    let reachable = matches!(snapshot.runtime.reachable, Some(Ok(())));
    let help = "1 if the container runtime responds, 0 otherwise.";
    page.family("gantry_runtime_reachable", Kind::Gauge, help)
        .value(&[], u64::from(reachable));
}
