//! How this version treats each key of KubeletConfiguration: it supports the key, or the key has no meaning here, or it
//! refuses to start. `reference` is the same for people.

use serde_json::Value;

use super::checks::Checks;
use super::defaults::default_configuration;
use super::gates;
use super::raw::KubeletConfiguration;

/// How this version treats a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The key is acted on; `tested` names a test.
    Supported,
    /// No value makes a difference here, to pods or to the node; the text says why.
    Meaningless(&'static str),
    /// A non-default value has no effect and is warned about; the text says why that is harmless.
    Harmless(&'static str),
    /// A non-default value prevents the start, because ignoring it would silently drop pods, their guarantees or the
    /// node's safety. The text says what is wrong and what to use instead.
    Refused(&'static str),
}

use Class::{Harmless, Meaningless, Refused, Supported};

const NOT_PINNED: &str = "no container has CPUs of its own: cpuManagerPolicy is none";
const NOT_ALIGNED: &str = "nothing is aligned: topologyManagerPolicy is none";
const NO_URL: &str = "no manifest is read from a URL: staticPodURL is rejected";

/// Every key, each standing for the keys below it. A security-related value is either supported, or stays on the safe
/// side, or is rejected.
pub(super) const KEYS: &[(&str, Class)] = &[
    ("kind", Supported),
    ("apiVersion", Supported),
    ("enableServer", Supported),
    ("staticPodPath", Supported),
    ("podLogsDir", Supported),
    ("syncFrequency", Supported),
    ("fileCheckFrequency", Supported),
    ("httpCheckFrequency", Meaningless(NO_URL)),
    (
        "staticPodURL",
        Refused("manifests from a URL are not supported yet; use staticPodPath"),
    ),
    ("staticPodURLHeader", Meaningless(NO_URL)),
    ("address", Supported),
    ("port", Supported),
    ("readOnlyPort", Supported),
    ("tlsCertFile", Supported),
    ("tlsPrivateKeyFile", Supported),
    ("tlsCipherSuites", Supported),
    ("tlsCurvePreferences", Supported),
    ("tlsMinVersion", Supported),
    ("rotateCertificates", Supported),
    ("serverTLSBootstrap", Supported),
    ("authentication", Supported),
    ("authorization", Supported),
    ("registryPullQPS", Supported),
    ("registryBurst", Supported),
    ("imagePullCredentialsVerificationPolicy", Supported),
    ("preloadedImagesVerificationAllowlist", Supported),
    ("eventRecordQPS", Supported),
    ("eventBurst", Supported),
    ("enableDebuggingHandlers", Supported),
    (
        "enableContentionProfiling",
        Meaningless("it profiles the locks of Go programs"),
    ),
    ("healthzPort", Supported),
    ("healthzBindAddress", Supported),
    ("oomScoreAdj", Supported),
    ("clusterDomain", Supported),
    ("clusterDNS", Supported),
    ("streamingConnectionIdleTimeout", Supported),
    ("nodeStatusUpdateFrequency", Supported),
    ("nodeStatusReportFrequency", Supported),
    ("nodeLeaseDurationSeconds", Supported),
    ("imageMinimumGCAge", Supported),
    ("imageMaximumGCAge", Supported),
    ("imageGCHighThresholdPercent", Supported),
    ("imageGCLowThresholdPercent", Supported),
    ("volumeStatsAggPeriod", Supported),
    ("kubeletCgroups", Supported),
    (
        "systemCgroups",
        Refused(
            "moving the machine's processes is left to its service manager, like systemd's system.slice; remove it",
        ),
    ),
    ("cgroupRoot", Supported),
    ("cgroupsPerQOS", Supported),
    ("cgroupDriver", Supported),
    (
        "cpuManagerPolicy",
        Refused("static is not supported yet; use none"),
    ),
    ("singleProcessOOMKill", Supported),
    (
        "cpuManagerPolicyOptions",
        Refused("the policy none takes no options, as in the kubelet; remove it"),
    ),
    ("cpuManagerReconcilePeriod", Meaningless(NOT_PINNED)),
    (
        "memoryManagerPolicy",
        Refused("Static is not supported yet; use None"),
    ),
    (
        "topologyManagerPolicy",
        Refused("topology alignment is not supported yet; use none"),
    ),
    ("topologyManagerScope", Meaningless(NOT_ALIGNED)),
    ("topologyManagerPolicyOptions", Meaningless(NOT_ALIGNED)),
    ("qosReserved", Supported),
    ("runtimeRequestTimeout", Supported),
    (
        "hairpinMode",
        Meaningless(
            "the kubelet v1.36 does nothing with it either: the configuration of the CNI plugins decides",
        ),
    ),
    ("maxPods", Supported),
    ("podCIDR", Supported),
    ("podPidsLimit", Supported),
    ("resolvConf", Supported),
    (
        "runOnce",
        Refused("is no longer supported, as in the kubelet; remove it"),
    ),
    ("cpuCFSQuota", Supported),
    ("cpuCFSQuotaPeriod", Supported),
    ("nodeStatusMaxImages", Supported),
    ("maxOpenFiles", Supported),
    (
        "contentType",
        Meaningless("gantry and the API server exchange JSON, whose content is the same"),
    ),
    ("kubeAPIQPS", Supported),
    ("kubeAPIBurst", Supported),
    ("serializeImagePulls", Supported),
    ("maxParallelImagePulls", Supported),
    ("evictionHard", Supported),
    ("evictionSoft", Supported),
    ("evictionSoftGracePeriod", Supported),
    ("evictionPressureTransitionPeriod", Supported),
    ("evictionMaxPodGracePeriod", Supported),
    ("evictionMinimumReclaim", Supported),
    ("mergeDefaultEvictionSettings", Supported),
    ("podsPerCore", Supported),
    (
        "enableControllerAttachDetach",
        Refused("false is not supported, since the control plane alone attaches volumes; remove it"),
    ),
    ("protectKernelDefaults", Supported),
    ("makeIPTablesUtilChains", Supported),
    (
        "iptablesMasqueradeBit",
        Meaningless("no rule of gantry marks packets"),
    ),
    ("iptablesDropBit", Meaningless("no rule of gantry marks packets")),
    ("failSwapOn", Supported),
    ("memorySwap", Supported),
    ("containerLogMaxSize", Supported),
    ("containerLogMaxFiles", Supported),
    ("containerLogMaxWorkers", Supported),
    ("containerLogMonitorInterval", Supported),
    (
        "configMapAndSecretChangeDetectionStrategy",
        Meaningless("each object is watched, which notices a change soonest"),
    ),
    ("systemReserved", Supported),
    ("kubeReserved", Supported),
    ("reservedSystemCPUs", Supported),
    (
        "showHiddenMetricsForVersion",
        Meaningless("no metrics are hidden"),
    ),
    ("systemReservedCgroup", Supported),
    ("kubeReservedCgroup", Supported),
    ("enforceNodeAllocatable", Supported),
    ("allowedUnsafeSysctls", Supported),
    (
        "volumePluginDir",
        Meaningless("pods with FlexVolumes are rejected, wherever their programs are"),
    ),
    ("providerID", Supported),
    (
        "kernelMemcgNotification",
        Meaningless("the kernel's notices of low memory are always ordered, where it gives them"),
    ),
    ("logging.format", Supported),
    (
        "logging.flushFrequency",
        Meaningless("log lines are written at once"),
    ),
    ("logging.verbosity", Supported),
    (
        "logging.vmodule",
        Meaningless(
            "its patterns name source files of the kubelet; `logLevel` of GantryConfiguration selects modules of gantry",
        ),
    ),
    (
        "logging.options",
        Refused("alpha options are not supported, nor by the kubelet without its gate; remove them"),
    ),
    ("enableSystemLogHandler", Supported),
    ("enableSystemLogQuery", Supported),
    ("shutdownGracePeriod", Supported),
    ("shutdownGracePeriodCriticalPods", Supported),
    ("shutdownGracePeriodByPodPriority", Supported),
    ("crashLoopBackOff", Supported),
    (
        "reservedMemory",
        Meaningless("it is for the memory manager's policy Static alone, and that is rejected"),
    ),
    ("enableProfilingHandler", Supported),
    ("enableDebugFlagsHandler", Supported),
    ("seccompDefault", Supported),
    ("memoryThrottlingFactor", Supported),
    ("memoryReservationPolicy", Supported),
    ("registerWithTaints", Supported),
    ("registerNode", Supported),
    ("tracing", Supported),
    ("localStorageCapacityIsolation", Supported),
    ("containerRuntimeEndpoint", Supported),
    ("imageServiceEndpoint", Supported),
    ("failCgroupV1", Supported),
    ("userNamespaces", Supported),
];

/// Reports the values that would silently drop pods, their guarantees or the node's safety if they only produced a
/// warning.
pub fn not_there_yet(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let value = serde_json::to_value(config).expect("a configuration serializes to JSON");
    for key in differing(&value, &default_configuration()) {
        if let Some(Refused(problem)) = class(&key) {
            checks.wrong(&key, problem);
        }
    }
}

/// The keys of a complete configuration that differ from the default and have no effect, though they could have one.
pub fn without_effect(config: &Value, default: &Value) -> Vec<String> {
    let mut found = differing(config, default);
    found.retain(|key| !matches!(class(key), Some(Supported | Meaningless(_))));
    found
}

/// How a key is treated; `None`: it is not classified.
fn class(path: &str) -> Option<Class> {
    if let Some(gate) = path.strip_prefix("featureGates.") {
        return Some(match gates::is_followed(gate) {
            true => Supported,
            false => Harmless("see `gates`"),
        });
    }
    let found = KEYS.iter().find(|(key, _)| *key == path);
    found.map(|(_, class)| *class)
}

/// The keys whose values differ: those in [`KEYS`], and single feature gates.
fn differing(config: &Value, default: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(config, default, "", &mut found);
    found
}

fn collect(config: &Value, default: &Value, path: &str, found: &mut Vec<String>) {
    if config.is_null() || is_same(config, default) {
        return;
    }
    // Inside a struct or a map each key is compared separately.
    match config
        .as_object()
        .filter(|map| class(path).is_none() && !map.is_empty())
    {
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

/// Whether two values are equal, where a missing key is `null`.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys = left.keys().chain(right.keys());
            keys.all(|key| is_same(&a[key], &b[key]))
        }
        _ => a == b,
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
            "hairpinMode": "none",
            "featureGates": {"DRAResourceClaimGranularStatusAuthorization": true, "CustomCPUCFSQuotaPeriod": true},
        });
        let expected = ["featureGates.DRAResourceClaimGranularStatusAuthorization"];
        assert_eq!(without_effect(&config, &default), expected);
    }

    /// Every key of every struct, by its path.
    fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
        match value
            .as_object()
            .filter(|map| class(path).is_none() && !map.is_empty())
        {
            Some(map) => map.iter().for_each(|(key, value)| {
                let path = [path, key].join(".");
                leaves(value, path.trim_start_matches('.'), found);
            }),
            None => found.push(path.to_owned()),
        }
    }

    #[test]
    fn every_key_is_classified_once_and_no_other() {
        let all = serde_json::to_value(crate::config::raw::skeleton()).unwrap();
        let mut known = Vec::new();
        leaves(&all, "", &mut known);
        known.retain(|key| key != "featureGates");
        known.sort();
        let mut classified: Vec<_> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
        classified.sort();
        assert_eq!(known, classified, "a new key needs a class: decide");
    }

    #[test]
    fn what_is_refused_stops_the_start_and_says_where_and_what_instead() {
        for (key, class) in KEYS {
            let Refused(remedy) = class else { continue };
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            let value = match *key {
                "runOnce" => json!(true),
                "enableControllerAttachDetach" => json!(false),
                "cpuManagerPolicyOptions" => json!({"full-pcpus-only": "true"}),
                "logging.options" => json!({"text": {"splitStream": true}}),
                "memoryManagerPolicy" => json!("Static"),
                "topologyManagerPolicy" => json!("restricted"),
                _ => json!("static"),
            };
            let layer = super::super::layers::Layer {
                value: path.iter().rev().fold(value, |value, part| json!({part: value})),
                origins: [(path, "/c.yaml:7".to_owned())].into(),
            };
            let mut complete = layer.value.clone();
            crate::config::defaults::complete(&mut complete);
            let config: KubeletConfiguration = serde_json::from_value(complete).unwrap();
            let mut checks = Checks::new(&layer);
            not_there_yet(&config, &mut checks);
            let reported: Vec<_> = checks.problems.iter().map(ToString::to_string).collect();
            assert_eq!(reported, [format!("/c.yaml:7: {key}: {remedy}")]);
        }
        let default: KubeletConfiguration = serde_json::from_value(default_configuration()).unwrap();
        let layer = super::super::layers::Layer::default();
        let mut checks = Checks::new(&layer);
        not_there_yet(&default, &mut checks);
        assert_eq!(checks.problems, []);
    }
}
