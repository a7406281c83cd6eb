//! The volumes of pods (`pkg/kubelet/volumemanager/metrics`). Pure.

use std::collections::BTreeMap;

use super::volume_stats::plugins;
use crate::counters::Kind;
use crate::model::pod::{Desired, PodUid};
use crate::model::report::PodsReport;
use crate::model::runtime::Snapshot;
use crate::model::volume::plugin;
use crate::serve::metrics::exposition::Page;

/// A pod has its volumes before its sandbox is created.
pub(super) fn put(page: &mut Page, report: &PodsReport, snapshot: &Snapshot, desired: &Desired) {
    let mut counts: BTreeMap<(String, &str), u64> = BTreeMap::new();
    for (name, pod) in &report.pods {
        let uid = PodUid(pod.metadata.uid.clone().unwrap_or_default());
        let observed = snapshot.pods.get(name).and_then(|name| name.uids.get(&uid));
        let is_made = observed.is_some_and(|pod| pod.ready_sandbox().is_some());
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_wanted = !matches!(phase, Some("Succeeded" | "Failed"));
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        let resolved = desired.get(name).filter(|pod| pod.uid == uid);
        let resolved = resolved.map(|pod| plugins(desired, pod)).unwrap_or_default();
        for volume in volumes.into_iter().flatten() {
            for (holds, state) in [
                (is_wanted, "desired_state_of_world"),
                (is_made, "actual_state_of_world"),
            ] {
                if holds {
                    let of_claim = resolved.get(&volume.name).cloned();
                    let plugin = of_claim.unwrap_or_else(|| plugin(volume).to_owned());
                    *counts.entry((plugin, state)).or_default() += 1;
                }
            }
        }
    }
    let help = "How many volumes the pods should have (desired_state_of_world) and have (actual_state_of_world), by the \
                type of the volume.";
    let mut family = page.family("volume_manager_total_volumes", Kind::Gauge, help);
    for ((plugin, state), count) in counts {
        family.value(&[("plugin_name", &plugin), ("state", state)], count);
    }
}
