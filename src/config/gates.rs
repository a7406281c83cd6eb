//! The feature gates that gantry follows. No other gate disables a protection that is enabled here, and what another
//! gate would enable is rejected where a pod or a key requests it. Pure.

use super::raw::KubeletConfiguration;
use crate::model::feature_gate::Stage::{Alpha, Beta, Stable};
use crate::model::feature_gate::{FeatureGate, Stage};

/// Project quotas for emptyDirs. Off by default in the kubelet, which cannot tell whether a pod evades them; on here, where
/// they are compared with what is there (`stats/quota`).
pub(super) const PROJECT_QUOTAS: &str = "LocalStorageCapacityIsolationFSQuotaMonitoring";

/// Whether containers may state the signal that ends them (KEP-4960).
pub(super) const STOP_SIGNALS: &str = "ContainerStopSignals";

/// Whether the resources of a whole pod change while it runs (KEP-5419).
pub(super) const POD_LEVEL_RESIZE: &str = "InPlacePodLevelResourcesVerticalScaling";

/// Whether volumes hold certificates of their pods (KEP-4317).
pub(super) const POD_CERTIFICATES: &str = "PodCertificateRequest";

/// Whether the end of a container may restart all containers of its pod (KEP-5532).
pub(super) const RESTART_ALL: &str = "RestartAllContainersOnContainerExits";

/// Whether storage drivers are asked if their volumes are well (KEP-1432).
pub(super) const VOLUME_HEALTH: &str = "CSIVolumeHealth";

/// Whether memory is throttled and protected by cgroup v2 (KEP-2570).
pub(super) const MEMORY_QOS: &str = "MemoryQoS";

/// Whether `qosReserved` is followed.
pub(super) const QOS_RESERVED: &str = "QOSReserved";

/// Whether the node takes part in the machine's shutdown, and whether it may do so with periods by priority.
pub(super) const SHUTDOWN: &str = "GracefulNodeShutdown";
pub(super) const SHUTDOWN_BY_PRIORITY: &str = "GracefulNodeShutdownBasedOnPodPriority";

/// Name, stage and default of each in v1.36 (`pkg/features/kube_features.go`).
const GATES: &[(&str, Stage, bool)] = &[
    (VOLUME_HEALTH, Alpha, false),
    ("ClusterTrustBundle", Beta, false),
    ("ClusterTrustBundleProjection", Beta, false),
    ("ComponentFlagz", Beta, true),
    ("ComponentStatusz", Beta, true),
    ("ContainerCheckpoint", Beta, true),
    (STOP_SIGNALS, Alpha, false),
    ("CustomCPUCFSQuotaPeriod", Stable, true),
    (SHUTDOWN, Beta, true),
    (SHUTDOWN_BY_PRIORITY, Beta, true),
    (POD_LEVEL_RESIZE, Beta, true),
    ("KubeletEnsureSecretPulledImages", Beta, true),
    (POD_CERTIFICATES, Beta, false),
    (PROJECT_QUOTAS, Beta, true),
    (MEMORY_QOS, Alpha, false),
    (QOS_RESERVED, Alpha, false),
    (RESTART_ALL, Beta, true),
    ("RotateKubeletServerCertificate", Beta, true),
];

/// Whether gantry follows the gate of this name.
pub(super) fn is_followed(name: &str) -> bool {
    GATES.iter().any(|(known, _, _)| *known == name)
}

/// Whether a gate that is on by default is on.
pub(super) fn is_on_unless_disabled(written: &KubeletConfiguration, name: &str) -> bool {
    let gates = written.feature_gates.as_ref();
    gates.and_then(|gates| gates.get(name)) != Some(&false)
}

/// Whether a gate that is off by default is on.
pub(super) fn is_on_if_enabled(written: &KubeletConfiguration, name: &str) -> bool {
    let gates = written.feature_gates.as_ref();
    gates.and_then(|gates| gates.get(name)) == Some(&true)
}

/// All of them as they are set.
pub(super) fn gates(written: &KubeletConfiguration) -> Vec<FeatureGate> {
    let written = written.feature_gates.as_ref();
    let set = |name: &str| written.and_then(|gates| gates.get(name)).copied();
    let all = GATES.iter().map(|&(name, stage, default)| FeatureGate {
        name,
        stage,
        enabled: set(name).unwrap_or(default),
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gate_is_as_it_is_written_and_else_its_default() {
        let written =
            json!({"featureGates": {"ComponentFlagz": false, "ClusterTrustBundle": true, "Other": true}});
        let found = gates(&serde_json::from_value(written).unwrap());
        assert_eq!(found.len(), GATES.len());
        let is_on = |name: &str| found.iter().find(|gate| gate.name == name).unwrap().enabled;
        assert!(!is_on("ComponentFlagz") && is_on("ComponentStatusz"));
        assert!(!is_on_unless_disabled(
            &serde_json::from_value(json!({"featureGates": {PROJECT_QUOTAS: false}})).unwrap(),
            PROJECT_QUOTAS
        ));
        assert!(
            is_on(PROJECT_QUOTAS) && is_on_unless_disabled(&KubeletConfiguration::default(), PROJECT_QUOTAS)
        );
        assert!(is_on("ClusterTrustBundle") && !is_on("ClusterTrustBundleProjection"));
        assert!(is_followed("ComponentFlagz") && !is_followed("Other"));
    }
}
