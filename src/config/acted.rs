//! Which keys of KubeletConfiguration this version acts on. The others are read and checked, and named in
//! one warning when they say something else than the default.

use serde_json::Value;

use super::raw::KubeletConfiguration;
use super::validate::Checks;

/// The keys that are acted on, or that change nothing for pods without an API server. A key stands for what
/// is below it.
const ACTED: &[&str] = &[
    "kind",
    "apiVersion",
    "staticPodPath",
    "podLogsDir",
    "fileCheckFrequency",
    "healthzPort",
    "address",
    "port",
    "enableServer",
    "tlsCertFile",
    "tlsPrivateKeyFile",
    "serverTLSBootstrap",
    "featureGates.RotateKubeletServerCertificate",
    "featureGates.ClusterTrustBundle",
    "featureGates.ClusterTrustBundleProjection",
    "authentication",
    "authorization",
    "healthzBindAddress",
    "clusterDomain",
    "clusterDNS",
    "nodeStatusUpdateFrequency",
    "nodeStatusReportFrequency",
    "nodeLeaseDurationSeconds",
    "registerNode",
    "rotateCertificates",
    "registerWithTaints",
    "providerID",
    "cgroupRoot",
    "cgroupsPerQOS",
    "cgroupDriver",
    "runtimeRequestTimeout",
    "maxPods",
    "podsPerCore",
    "podCIDR",
    "podPidsLimit",
    "resolvConf",
    "cpuCFSQuota",
    "cpuCFSQuotaPeriod",
    "nodeStatusMaxImages",
    "imagePullCredentialsVerificationPolicy",
    "preloadedImagesVerificationAllowlist",
    "serializeImagePulls",
    "maxParallelImagePulls",
    "evictionHard",
    "evictionPressureTransitionPeriod",
    "mergeDefaultEvictionSettings",
    "failSwapOn",
    "memorySwap",
    "containerLogMaxSize",
    "containerLogMaxFiles",
    "containerLogMonitorInterval",
    "containerLogMaxWorkers",
    "systemReserved",
    "kubeReserved",
    "enforceNodeAllocatable",
    "allowedUnsafeSysctls",
    "logging.format",
    "logging.verbosity",
    "crashLoopBackOff",
    "seccompDefault",
    "containerRuntimeEndpoint",
    "imageServiceEndpoint",
    "failCgroupV1",
    "featureGates.CustomCPUCFSQuotaPeriod",
    "featureGates.KubeletEnsureSecretPulledImages",
];

/// What would leave pods or their guarantees out without a word if it were only warned about.
pub fn not_there_yet(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    if config.run_once == Some(true) {
        checks.wrong("runOnce", "is no longer offered, as in the kubelet; remove it");
    }
    if config.static_pod_url.is_some() {
        checks.wrong(
            "staticPodURL",
            "manifests from a URL are not there yet; use staticPodPath",
        );
    }
    if config.cpu_manager_policy.as_deref() == Some("static") {
        checks.wrong("cpuManagerPolicy", "static is not there yet; write none");
    }
    if config.memory_manager_policy.as_deref() == Some("Static") {
        checks.wrong("memoryManagerPolicy", "Static is not there yet; write None");
    }
    if config
        .topology_manager_policy
        .as_deref()
        .is_some_and(|policy| policy != "none")
    {
        checks.wrong(
            "topologyManagerPolicy",
            "topology alignment is not there yet; write none",
        );
    }
    let enforced = config.enforce_node_allocatable.iter().flatten();
    for entry in enforced.filter(|entry| entry.contains("-reserved")) {
        let problem = format!("{entry} is not there yet; write [pods]");
        checks.wrong("enforceNodeAllocatable", problem);
    }
}

/// The keys of a complete configuration that differ from the default and are not acted on.
pub fn without_effect(config: &Value, default: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(config, default, "", &mut found);
    found
}

fn collect(config: &Value, default: &Value, path: &str, found: &mut Vec<String>) {
    let acted = ACTED.contains(&path);
    if acted || config == default {
        return;
    }
    // Inside a struct or a map each key counts for itself.
    match config.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(value, &default[key], &path, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_and_has_no_effect_is_named() {
        let default =
            json!({"maxPods": 110, "port": 10250, "authentication": {"x509": {}}, "memorySwap": {}});
        let config = json!({
            "maxPods": 50,
            "port": 10250,
            "authentication": {"x509": {"clientCAFile": "/ca"}},
            "memorySwap": {"swapBehavior": "LimitedSwap"},
            "tlsMinVersion": "VersionTLS13",
            "featureGates": {"MemoryQoS": true, "CustomCPUCFSQuotaPeriod": true},
        });
        let expected = ["featureGates.MemoryQoS", "tlsMinVersion"];
        assert_eq!(without_effect(&config, &default), expected);
    }

    #[test]
    fn every_acted_key_exists() {
        let all = serde_json::to_value(crate::config::raw::skeleton()).unwrap();
        for key in ACTED.iter().filter(|key| !key.starts_with("featureGates.")) {
            let parent = key.split('.').try_fold(&all, |value, part| value.get(part));
            assert!(parent.is_some(), "{key}");
        }
    }
}
