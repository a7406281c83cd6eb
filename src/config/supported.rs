//! How this version treats each key of KubeletConfiguration: it supports the key, or lists it in one warning if its
//! value is not the default, or refuses to start.

use serde_json::Value;

use super::checks::Checks;
use super::defaults::default_configuration;
use super::gates;
use super::raw::KubeletConfiguration;

/// How this version treats a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The key is supported, or makes no difference to its user.
    Supported,
    /// A non-default value has no effect and is warned about; the text says why that is harmless.
    Harmless(&'static str),
    /// A non-default value prevents the start, because ignoring it would silently drop pods, their guarantees or the
    /// node's safety. The text says what is wrong and what to use instead.
    Refused(&'static str),
}

use Class::{Harmless, Refused, Supported};

const NO_STREAMS: &str = "the node's port does not serve what it configures";
const NOT_PLACED: &str = "it names the cgroups of system processes; pods are not among them";
const NOT_PINNED: &str = "CPUs and memory nodes are not assigned to containers; requesting that is rejected";
const NO_SOFT_EVICTION: &str = "pods are not evicted: fewer pods end, not more";
const ALWAYS_STRICT: &str = "what it could disable stays enabled";
const OWN_PACE: &str = "files, objects and the API server are watched at gantry's own pace";
const ONLY_LOGS: &str = "it only concerns the agent's own log lines";

/// Every key, each standing for the keys below it. A security-related value is either supported, or stays on the safe
/// side, or is rejected.
const KEYS: &[(&str, Class)] = &[
    ("kind", Supported),
    ("apiVersion", Supported),
    ("enableServer", Supported),
    ("staticPodPath", Supported),
    ("podLogsDir", Supported),
    ("syncFrequency", Supported),
    ("fileCheckFrequency", Supported),
    ("httpCheckFrequency", Harmless(OWN_PACE)),
    (
        "staticPodURL",
        Refused("manifests from a URL are not supported yet; use staticPodPath"),
    ),
    (
        "staticPodURLHeader",
        Harmless("no URL is read: staticPodURL is rejected"),
    ),
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
    ("enableContentionProfiling", Harmless(NO_STREAMS)),
    ("healthzPort", Supported),
    ("healthzBindAddress", Supported),
    (
        "oomScoreAdj",
        Harmless("it only affects when the agent itself is OOM-killed; the agent's systemd unit sets that"),
    ),
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
    ("kubeletCgroups", Harmless(NOT_PLACED)),
    ("systemCgroups", Harmless(NOT_PLACED)),
    ("cgroupRoot", Supported),
    ("cgroupsPerQOS", Supported),
    ("cgroupDriver", Supported),
    (
        "cpuManagerPolicy",
        Refused("static is not supported yet; use none"),
    ),
    (
        "singleProcessOOMKill",
        Harmless("it controls which processes of one container are OOM-killed together"),
    ),
    ("cpuManagerPolicyOptions", Harmless(NOT_PINNED)),
    ("cpuManagerReconcilePeriod", Harmless(NOT_PINNED)),
    (
        "memoryManagerPolicy",
        Refused("Static is not supported yet; use None"),
    ),
    (
        "topologyManagerPolicy",
        Refused("topology alignment is not supported yet; use none"),
    ),
    ("topologyManagerScope", Harmless(NOT_PINNED)),
    ("topologyManagerPolicyOptions", Harmless(NOT_PINNED)),
    (
        "qosReserved",
        Harmless("the pods' own cgroups guarantee their requests; this would reserve more for them"),
    ),
    ("runtimeRequestTimeout", Supported),
    (
        "hairpinMode",
        Harmless("the configuration of the CNI plugins sets it"),
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
    (
        "maxOpenFiles",
        Harmless("the agent's systemd unit limits how many files it may open"),
    ),
    ("contentType", Harmless(OWN_PACE)),
    ("kubeAPIQPS", Harmless(OWN_PACE)),
    ("kubeAPIBurst", Harmless(OWN_PACE)),
    ("serializeImagePulls", Supported),
    ("maxParallelImagePulls", Supported),
    ("evictionHard", Supported),
    ("evictionSoft", Harmless(NO_SOFT_EVICTION)),
    ("evictionSoftGracePeriod", Harmless(NO_SOFT_EVICTION)),
    ("evictionPressureTransitionPeriod", Supported),
    ("evictionMaxPodGracePeriod", Harmless(NO_SOFT_EVICTION)),
    ("evictionMinimumReclaim", Harmless(NO_SOFT_EVICTION)),
    ("mergeDefaultEvictionSettings", Supported),
    ("podsPerCore", Supported),
    (
        "enableControllerAttachDetach",
        Harmless("the control plane attaches volumes, as by default"),
    ),
    ("protectKernelDefaults", Supported),
    ("makeIPTablesUtilChains", Supported),
    (
        "iptablesMasqueradeBit",
        Harmless("no rule of gantry marks packets"),
    ),
    ("iptablesDropBit", Harmless("no rule of gantry marks packets")),
    ("failSwapOn", Supported),
    ("memorySwap", Supported),
    ("containerLogMaxSize", Supported),
    ("containerLogMaxFiles", Supported),
    ("containerLogMaxWorkers", Supported),
    ("containerLogMonitorInterval", Supported),
    ("configMapAndSecretChangeDetectionStrategy", Harmless(OWN_PACE)),
    ("systemReserved", Supported),
    ("kubeReserved", Supported),
    ("reservedSystemCPUs", Harmless(NOT_PINNED)),
    ("showHiddenMetricsForVersion", Harmless("no metrics are hidden")),
    (
        "systemReservedCgroup",
        Harmless("enforcing it with enforceNodeAllocatable is rejected"),
    ),
    (
        "kubeReservedCgroup",
        Harmless("enforcing it with enforceNodeAllocatable is rejected"),
    ),
    ("enforceNodeAllocatable", Supported),
    ("allowedUnsafeSysctls", Supported),
    (
        "volumePluginDir",
        Harmless("programs in that directory are never run"),
    ),
    ("providerID", Supported),
    ("kernelMemcgNotification", Harmless(NO_SOFT_EVICTION)),
    ("logging.format", Supported),
    ("logging.flushFrequency", Harmless(ONLY_LOGS)),
    ("logging.verbosity", Supported),
    ("logging.vmodule", Harmless(ONLY_LOGS)),
    ("logging.options", Harmless(ONLY_LOGS)),
    ("enableSystemLogHandler", Supported),
    ("enableSystemLogQuery", Supported),
    ("shutdownGracePeriod", Supported),
    ("shutdownGracePeriodCriticalPods", Supported),
    ("shutdownGracePeriodByPodPriority", Supported),
    ("crashLoopBackOff", Supported),
    ("reservedMemory", Harmless(NOT_PINNED)),
    ("enableProfilingHandler", Supported),
    ("enableDebugFlagsHandler", Supported),
    ("seccompDefault", Supported),
    (
        "memoryThrottlingFactor",
        Harmless("memory is not throttled below its limit"),
    ),
    (
        "memoryReservationPolicy",
        Harmless("memory is not throttled below its limit"),
    ),
    ("registerWithTaints", Supported),
    ("registerNode", Supported),
    ("tracing", Supported),
    ("localStorageCapacityIsolation", Harmless(ALWAYS_STRICT)),
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
    let enforced = config.enforce_node_allocatable.iter().flatten();
    for entry in enforced.filter(|entry| entry.contains("-reserved")) {
        let problem = format!("{entry} is not supported yet; use [pods]");
        checks.wrong("enforceNodeAllocatable", problem);
    }
}

/// The keys of a complete configuration that differ from the default and are not supported.
pub fn without_effect(config: &Value, default: &Value) -> Vec<String> {
    let mut found = differing(config, default);
    found.retain(|key| !matches!(class(key), Some(Supported)));
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
    if config == default || config.is_null() {
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
            "featureGates": {"MemoryQoS": true, "CustomCPUCFSQuotaPeriod": true},
        });
        let expected = ["featureGates.MemoryQoS", "hairpinMode"];
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
            let value = match *key {
                "runOnce" => json!(true),
                "memoryManagerPolicy" => json!("Static"),
                "topologyManagerPolicy" => json!("restricted"),
                _ => json!("static"),
            };
            let layer = super::super::layers::Layer {
                value: json!({*key: value.clone()}),
                origins: [(vec![(*key).to_owned()], "/c.yaml:7".to_owned())].into(),
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
