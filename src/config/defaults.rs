//! Every default of KubeletConfiguration, in one table (`pkg/kubelet/apis/config/v1beta1/defaults.go` of Kubernetes
//! v1.36), and which zero values are replaced by them.
//!
//! Pure, and on plain JSON values: `configz` shows what is filled in here.

use serde_json::{Map, Value, json};

use crate::model::duration::Span;

/// What a written zero (`0`, `0s`, `""`, `false`) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zero {
    /// Zero means "not stated": kubeadm writes `0s` for every duration that it does not set.
    Unset,
    /// Zero is a value of its own (a pointer in types.go).
    Stated,
}

/// The key that selects the images whose credentials are verified; it has a default only with its feature gate.
pub const VERIFICATION: &str = "imagePullCredentialsVerificationPolicy";
/// The same, as a path.
pub const VERIFICATION_GATE: &str = "featureGates.KubeletEnsureSecretPulledImages";

/// A key with a default: its path, what zero means, and the default as JSON.
type Default = (&'static str, Zero, &'static str);

const DEFAULTS: &[Default] = {
    use Zero::{Stated, Unset};
    &[
        ("enableServer", Stated, "true"),
        ("podLogsDir", Unset, "\"/var/log/pods\""),
        ("syncFrequency", Unset, "\"1m0s\""),
        ("fileCheckFrequency", Unset, "\"20s\""),
        ("httpCheckFrequency", Unset, "\"20s\""),
        ("address", Unset, "\"0.0.0.0\""),
        ("port", Unset, "10250"),
        ("authentication.x509", Stated, "{}"),
        ("authentication.webhook.enabled", Stated, "true"),
        ("authentication.webhook.cacheTTL", Unset, "\"2m0s\""),
        ("authentication.anonymous.enabled", Stated, "false"),
        ("authorization.mode", Unset, "\"Webhook\""),
        ("authorization.webhook.cacheAuthorizedTTL", Unset, "\"5m0s\""),
        ("authorization.webhook.cacheUnauthorizedTTL", Unset, "\"30s\""),
        ("registryPullQPS", Stated, "5"),
        ("registryBurst", Unset, "10"),
        (VERIFICATION, Unset, "\"NeverVerifyPreloadedImages\""),
        ("eventRecordQPS", Stated, "50"),
        ("eventBurst", Unset, "100"),
        ("enableDebuggingHandlers", Stated, "true"),
        ("healthzPort", Stated, "10248"),
        ("healthzBindAddress", Unset, "\"127.0.0.1\""),
        ("oomScoreAdj", Stated, "-999"),
        ("streamingConnectionIdleTimeout", Unset, "\"4h0m0s\""),
        ("nodeStatusUpdateFrequency", Unset, "\"10s\""),
        ("nodeStatusReportFrequency", Unset, "\"5m0s\""),
        ("nodeLeaseDurationSeconds", Unset, "40"),
        ("imageMinimumGCAge", Unset, "\"2m0s\""),
        ("imageMaximumGCAge", Unset, "\"0s\""),
        ("imageGCHighThresholdPercent", Stated, "85"),
        ("imageGCLowThresholdPercent", Stated, "80"),
        ("volumeStatsAggPeriod", Unset, "\"1m0s\""),
        ("cgroupsPerQOS", Stated, "true"),
        ("cgroupDriver", Unset, "\"cgroupfs\""),
        ("cpuManagerPolicy", Unset, "\"none\""),
        ("cpuManagerReconcilePeriod", Unset, "\"10s\""),
        ("memoryManagerPolicy", Unset, "\"None\""),
        ("topologyManagerPolicy", Unset, "\"none\""),
        ("topologyManagerScope", Unset, "\"container\""),
        ("runtimeRequestTimeout", Unset, "\"2m0s\""),
        ("hairpinMode", Unset, "\"promiscuous-bridge\""),
        ("maxPods", Unset, "110"),
        ("podPidsLimit", Stated, "-1"),
        ("resolvConf", Stated, "\"/etc/resolv.conf\""),
        ("cpuCFSQuota", Stated, "true"),
        ("cpuCFSQuotaPeriod", Stated, "\"100ms\""),
        ("nodeStatusMaxImages", Stated, "50"),
        ("maxOpenFiles", Unset, "1000000"),
        ("contentType", Unset, "\"application/vnd.kubernetes.protobuf\""),
        ("kubeAPIQPS", Stated, "50"),
        ("kubeAPIBurst", Unset, "100"),
        ("serializeImagePulls", Stated, "true"),
        ("evictionPressureTransitionPeriod", Unset, "\"5m0s\""),
        ("mergeDefaultEvictionSettings", Stated, "false"),
        ("enableControllerAttachDetach", Stated, "true"),
        ("makeIPTablesUtilChains", Stated, "true"),
        ("iptablesMasqueradeBit", Stated, "14"),
        ("iptablesDropBit", Stated, "15"),
        ("failSwapOn", Stated, "true"),
        ("memorySwap", Stated, "{}"),
        ("containerLogMaxSize", Unset, "\"10Mi\""),
        ("containerLogMaxFiles", Stated, "5"),
        ("containerLogMaxWorkers", Stated, "1"),
        ("containerLogMonitorInterval", Stated, "\"10s\""),
        ("configMapAndSecretChangeDetectionStrategy", Unset, "\"Watch\""),
        ("enforceNodeAllocatable", Stated, "[\"pods\"]"),
        (
            "volumePluginDir",
            Unset,
            "\"/usr/libexec/kubernetes/kubelet-plugins/volume/exec/\"",
        ),
        ("logging.format", Unset, "\"text\""),
        ("logging.flushFrequency", Unset, "\"5s\""),
        ("logging.verbosity", Stated, "0"),
        ("logging.options.text.infoBufferSize", Stated, "\"0\""),
        ("logging.options.json.infoBufferSize", Stated, "\"0\""),
        ("enableSystemLogHandler", Stated, "true"),
        ("enableSystemLogQuery", Stated, "false"),
        ("shutdownGracePeriod", Unset, "\"0s\""),
        ("shutdownGracePeriodCriticalPods", Unset, "\"0s\""),
        ("crashLoopBackOff.maxContainerRestartPeriod", Stated, "\"5m0s\""),
        ("enableProfilingHandler", Stated, "true"),
        ("enableDebugFlagsHandler", Stated, "true"),
        ("seccompDefault", Stated, "false"),
        ("memoryThrottlingFactor", Stated, "0.9"),
        ("memoryReservationPolicy", Unset, "\"None\""),
        ("registerNode", Stated, "true"),
        ("localStorageCapacityIsolation", Stated, "true"),
        (
            "containerRuntimeEndpoint",
            Unset,
            "\"unix:///run/containerd/containerd.sock\"",
        ),
        ("failCgroupV1", Stated, "true"),
    ]
};

/// Keys without a default for which a written zero equals omitting them.
const ZERO_IS_NOTHING: &[&str] = &[
    "staticPodPath",
    "staticPodURL",
    "readOnlyPort",
    "tlsCertFile",
    "tlsPrivateKeyFile",
    "tlsMinVersion",
    "rotateCertificates",
    "serverTLSBootstrap",
    "authentication.x509.clientCAFile",
    "enableContentionProfiling",
    "clusterDomain",
    "kubeletCgroups",
    "systemCgroups",
    "cgroupRoot",
    "podCIDR",
    "runOnce",
    "evictionMaxPodGracePeriod",
    "podsPerCore",
    "protectKernelDefaults",
    "memorySwap.swapBehavior",
    "reservedSystemCPUs",
    "showHiddenMetricsForVersion",
    "systemReservedCgroup",
    "kubeReservedCgroup",
    "providerID",
    "kernelMemcgNotification",
    "imageServiceEndpoint",
];

/// The default of `evictionHard` (`pkg/kubelet/eviction/defaults_linux.go`).
pub fn eviction_hard() -> Value {
    json!({
        "memory.available": "100Mi",
        "nodefs.available": "10%",
        "nodefs.inodesFree": "5%",
        "imagefs.available": "15%",
        "imagefs.inodesFree": "5%",
    })
}

/// Fills in the defaults: a KubeletConfiguration as written becomes the complete one.
pub fn complete(written: &mut Value) {
    dependent(written);
    let verifies_images = get(written, VERIFICATION_GATE) != &json!(false);
    for (path, zero, default) in DEFAULTS {
        if *path == VERIFICATION && !verifies_images {
            continue;
        }
        let slot = slot(written, path);
        if slot.is_null() || (*zero == Zero::Unset && is_zero(slot)) {
            *slot = serde_json::from_str(default).expect("the table holds JSON");
        }
    }
    for path in ZERO_IS_NOTHING {
        let slot = slot(written, path);
        if is_zero(slot) {
            *slot = Value::Null;
        }
    }
    let pids = slot(written, "podPidsLimit");
    if pids.as_i64().is_some_and(|limit| limit < 0) {
        *pids = json!(-1);
    }
    prune(written);
}

/// The defaults that depend on another key that is stated.
fn dependent(written: &mut Value) {
    let unset = |value: &Value, path: &str| {
        let value = get(value, path);
        value.is_null() || is_zero(value)
    };
    if !unset(written, "nodeStatusUpdateFrequency") && unset(written, "nodeStatusReportFrequency") {
        *slot(written, "nodeStatusReportFrequency") = get(written, "nodeStatusUpdateFrequency").clone();
    }
    let parallel = get(written, "maxParallelImagePulls").as_i64();
    if parallel.is_some_and(|pulls| pulls >= 2) && get(written, "serializeImagePulls").is_null() {
        *slot(written, "serializeImagePulls") = json!(false);
    }
    if get(written, "evictionHard").is_null() {
        *slot(written, "evictionHard") = eviction_hard();
    }
    if get(written, "mergeDefaultEvictionSettings") == &json!(true) {
        let defaults = eviction_hard();
        let hard = slot(written, "evictionHard");
        for (signal, default) in defaults.as_object().into_iter().flatten() {
            if hard[signal].is_null() {
                hard[signal] = default.clone();
            }
        }
    }
}

/// The value at a dotted path of keys; null if there is none.
pub fn get<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| &value[key])
}

/// The place at a path, created if it does not exist.
fn slot<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(value, |value, key| {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        &mut value[key]
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(stated) => !stated,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text.parse::<Span>() == Ok(Span(0)),
        _ => false,
    }
}

/// Removes what is null.
pub fn prune(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(prune);
    }
}

/// The complete default configuration, for the comparison with the kubelet's.
pub fn default_configuration() -> Value {
    let mut default = json!({ "kind": super::raw::KIND, "apiVersion": super::raw::API_VERSION });
    complete(&mut default);
    default
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(written: Value) -> Value {
        let mut value = written;
        complete(&mut value);
        value
    }

    fn check(written: Value, path: &str, expected: Value) {
        assert_eq!(
            get(&completed(written.clone()), path),
            &expected,
            "{path} of {written}"
        );
    }

    #[test]
    fn zero_means_default_where_the_kubelet_says_so() {
        check(json!({"syncFrequency": "0s"}), "syncFrequency", json!("1m0s"));
        check(json!({"syncFrequency": 0}), "syncFrequency", json!("1m0s"));
        check(json!({"maxPods": 0}), "maxPods", json!(110));
        check(json!({"address": ""}), "address", json!("0.0.0.0"));
        check(json!({"healthzPort": 0}), "healthzPort", json!(0));
        check(json!({"failSwapOn": false}), "failSwapOn", json!(false));
        check(json!({"resolvConf": ""}), "resolvConf", json!(""));
        check(json!({"readOnlyPort": 0}), "readOnlyPort", Value::Null);
        check(json!({"podPidsLimit": -7}), "podPidsLimit", json!(-1));
        check(json!({}), VERIFICATION, json!("NeverVerifyPreloadedImages"));
        let off = json!({"featureGates": {"KubeletEnsureSecretPulledImages": false}});
        check(off, VERIFICATION, Value::Null);
        check(
            json!({"memorySwap": {"swapBehavior": ""}}),
            "memorySwap",
            json!({}),
        );
    }

    #[test]
    fn defaults_that_follow_another_key() {
        check(
            json!({"nodeStatusUpdateFrequency": "20s"}),
            "nodeStatusReportFrequency",
            json!("20s"),
        );
        check(
            json!({"maxParallelImagePulls": 3}),
            "serializeImagePulls",
            json!(false),
        );
        check(
            json!({"maxParallelImagePulls": 1}),
            "serializeImagePulls",
            json!(true),
        );
        let partial = json!({"memory.available": "1Gi"});
        check(json!({"evictionHard": partial}), "evictionHard", partial.clone());
        let merged = completed(json!({"evictionHard": partial, "mergeDefaultEvictionSettings": true}));
        assert_eq!(merged["evictionHard"]["memory.available"], "1Gi");
        assert_eq!(merged["evictionHard"]["nodefs.available"], "10%");
    }

    #[test]
    fn completing_twice_changes_nothing() {
        let once = completed(json!({}));
        assert_eq!(completed(once.clone()), once);
    }
}
