//! KubeletConfiguration v1beta1 as written: every key of `staging/src/k8s.io/kubelet/config/v1beta1/types.go` of
//! Kubernetes v1.36, not interpreted yet. Any other key is unknown to every kubelet.
//!
//! Each field is the key of the same name; Kubernetes' reference documents its meaning (*Kubelet Configuration
//! (v1beta1)*).
#![expect(
    missing_docs,
    reason = "each field is the key of the same name, documented by Kubernetes"
)]

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::model::duration::Span;
use crate::model::yaml::scalar;

/// `apiVersion` of the document.
pub const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
/// `kind` of the document.
pub const KIND: &str = "KubeletConfiguration";

/// `KubeletConfiguration`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeletConfiguration {
    pub kind: Option<String>,
    pub api_version: Option<String>,
    pub enable_server: Option<bool>,
    pub static_pod_path: Option<String>,
    pub pod_logs_dir: Option<String>,
    pub sync_frequency: Option<Span>,
    pub file_check_frequency: Option<Span>,
    pub http_check_frequency: Option<Span>,
    #[serde(rename = "staticPodURL")]
    pub static_pod_url: Option<String>,
    #[serde(rename = "staticPodURLHeader")]
    pub static_pod_url_header: Option<BTreeMap<String, Vec<String>>>,
    pub address: Option<String>,
    pub port: Option<i32>,
    pub read_only_port: Option<i32>,
    pub tls_cert_file: Option<String>,
    pub tls_private_key_file: Option<String>,
    pub tls_cipher_suites: Option<Vec<String>>,
    pub tls_curve_preferences: Option<Vec<i32>>,
    pub tls_min_version: Option<String>,
    pub rotate_certificates: Option<bool>,
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: Option<bool>,
    pub authentication: Option<Authentication>,
    pub authorization: Option<Authorization>,
    #[serde(rename = "registryPullQPS")]
    pub registry_pull_qps: Option<i32>,
    pub registry_burst: Option<i32>,
    pub image_pull_credentials_verification_policy: Option<String>,
    pub preloaded_images_verification_allowlist: Option<Vec<String>>,
    #[serde(rename = "eventRecordQPS")]
    pub event_record_qps: Option<i32>,
    pub event_burst: Option<i32>,
    pub enable_debugging_handlers: Option<bool>,
    pub enable_contention_profiling: Option<bool>,
    pub healthz_port: Option<i32>,
    pub healthz_bind_address: Option<String>,
    pub oom_score_adj: Option<i32>,
    pub cluster_domain: Option<String>,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Option<Vec<String>>,
    pub streaming_connection_idle_timeout: Option<Span>,
    pub node_status_update_frequency: Option<Span>,
    pub node_status_report_frequency: Option<Span>,
    pub node_lease_duration_seconds: Option<i32>,
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: Option<Span>,
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: Option<Span>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: Option<i32>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: Option<i32>,
    pub volume_stats_agg_period: Option<Span>,
    pub kubelet_cgroups: Option<String>,
    pub system_cgroups: Option<String>,
    pub cgroup_root: Option<String>,
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: Option<bool>,
    pub cgroup_driver: Option<String>,
    pub cpu_manager_policy: Option<String>,
    #[serde(rename = "singleProcessOOMKill")]
    pub single_process_oom_kill: Option<bool>,
    pub cpu_manager_policy_options: Option<BTreeMap<String, String>>,
    pub cpu_manager_reconcile_period: Option<Span>,
    pub memory_manager_policy: Option<String>,
    pub topology_manager_policy: Option<String>,
    pub topology_manager_scope: Option<String>,
    pub topology_manager_policy_options: Option<BTreeMap<String, String>>,
    pub qos_reserved: Option<BTreeMap<String, String>>,
    pub runtime_request_timeout: Option<Span>,
    pub hairpin_mode: Option<String>,
    pub max_pods: Option<i32>,
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    pub pod_pids_limit: Option<i64>,
    pub resolv_conf: Option<String>,
    pub run_once: Option<bool>,
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: Option<bool>,
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub cpu_cfs_quota_period: Option<Span>,
    pub node_status_max_images: Option<i32>,
    pub max_open_files: Option<i64>,
    pub content_type: Option<String>,
    #[serde(rename = "kubeAPIQPS")]
    pub kube_api_qps: Option<i32>,
    #[serde(rename = "kubeAPIBurst")]
    pub kube_api_burst: Option<i32>,
    pub serialize_image_pulls: Option<bool>,
    pub max_parallel_image_pulls: Option<i32>,
    pub eviction_hard: Option<BTreeMap<String, String>>,
    pub eviction_soft: Option<BTreeMap<String, String>>,
    pub eviction_soft_grace_period: Option<BTreeMap<String, String>>,
    pub eviction_pressure_transition_period: Option<Span>,
    pub eviction_max_pod_grace_period: Option<i32>,
    pub eviction_minimum_reclaim: Option<BTreeMap<String, String>>,
    pub merge_default_eviction_settings: Option<bool>,
    pub pods_per_core: Option<i32>,
    pub enable_controller_attach_detach: Option<bool>,
    pub protect_kernel_defaults: Option<bool>,
    #[serde(rename = "makeIPTablesUtilChains")]
    pub make_iptables_util_chains: Option<bool>,
    pub iptables_masquerade_bit: Option<i32>,
    pub iptables_drop_bit: Option<i32>,
    pub feature_gates: Option<BTreeMap<String, bool>>,
    pub fail_swap_on: Option<bool>,
    pub memory_swap: Option<MemorySwap>,
    pub container_log_max_size: Option<String>,
    pub container_log_max_files: Option<i32>,
    pub container_log_max_workers: Option<i32>,
    pub container_log_monitor_interval: Option<Span>,
    pub config_map_and_secret_change_detection_strategy: Option<String>,
    pub system_reserved: Option<BTreeMap<String, String>>,
    pub kube_reserved: Option<BTreeMap<String, String>>,
    #[serde(rename = "reservedSystemCPUs")]
    pub reserved_system_cpus: Option<String>,
    pub show_hidden_metrics_for_version: Option<String>,
    pub system_reserved_cgroup: Option<String>,
    pub kube_reserved_cgroup: Option<String>,
    pub enforce_node_allocatable: Option<Vec<String>>,
    pub allowed_unsafe_sysctls: Option<Vec<String>>,
    pub volume_plugin_dir: Option<String>,
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
    pub kernel_memcg_notification: Option<bool>,
    pub logging: Option<Logging>,
    pub enable_system_log_handler: Option<bool>,
    pub enable_system_log_query: Option<bool>,
    pub shutdown_grace_period: Option<Span>,
    pub shutdown_grace_period_critical_pods: Option<Span>,
    pub shutdown_grace_period_by_pod_priority: Option<Vec<ShutdownGracePeriodByPodPriority>>,
    pub crash_loop_back_off: Option<CrashLoopBackOff>,
    pub reserved_memory: Option<Vec<MemoryReservation>>,
    pub enable_profiling_handler: Option<bool>,
    pub enable_debug_flags_handler: Option<bool>,
    pub seccomp_default: Option<bool>,
    pub memory_throttling_factor: Option<f64>,
    pub memory_reservation_policy: Option<String>,
    pub register_with_taints: Option<Vec<Taint>>,
    pub register_node: Option<bool>,
    pub tracing: Option<Tracing>,
    pub local_storage_capacity_isolation: Option<bool>,
    pub container_runtime_endpoint: Option<String>,
    pub image_service_endpoint: Option<String>,
    pub fail_cgroup_v1: Option<bool>,
    pub user_namespaces: Option<UserNamespaces>,
}

/// `KubeletAuthentication`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    pub x509: Option<X509Authentication>,
    pub webhook: Option<WebhookAuthentication>,
    pub anonymous: Option<AnonymousAuthentication>,
}

/// `KubeletX509Authentication`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct X509Authentication {
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<String>,
}

/// `KubeletWebhookAuthentication`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAuthentication {
    pub enabled: Option<bool>,
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: Option<Span>,
}

/// `KubeletAnonymousAuthentication`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnonymousAuthentication {
    pub enabled: Option<bool>,
}

/// `KubeletAuthorization`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    pub mode: Option<String>,
    pub webhook: Option<WebhookAuthorization>,
}

/// `KubeletWebhookAuthorization`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAuthorization {
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: Option<Span>,
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: Option<Span>,
}

/// `MemoryReservation`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryReservation {
    pub numa_node: Option<i32>,
    pub limits: Option<BTreeMap<String, Quantity>>,
}

/// `ShutdownGracePeriodByPodPriority`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownGracePeriodByPodPriority {
    pub priority: Option<i32>,
    pub shutdown_grace_period_seconds: Option<i64>,
}

/// `MemorySwapConfiguration`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemorySwap {
    pub swap_behavior: Option<String>,
}

/// `CrashLoopBackOffConfig`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrashLoopBackOff {
    pub max_container_restart_period: Option<Span>,
}

/// `UserNamespaces`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserNamespaces {
    pub ids_per_pod: Option<i64>,
}

/// `LoggingConfiguration` of `k8s.io/component-base/logs/api/v1`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logging {
    pub format: Option<String>,
    #[serde(default, deserialize_with = "nanoseconds_or_span")]
    pub flush_frequency: Option<Span>,
    pub verbosity: Option<u32>,
    pub vmodule: Option<Vec<VerbosityOfModule>>,
    pub options: Option<LoggingOptions>,
}

/// `VModuleItem`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerbosityOfModule {
    pub file_pattern: Option<String>,
    pub verbosity: Option<u32>,
}

/// `FormatOptions`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggingOptions {
    pub text: Option<OutputOptions>,
    pub json: Option<OutputOptions>,
}

/// `OutputRoutingOptions`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputOptions {
    pub split_stream: Option<bool>,
    pub info_buffer_size: Option<Quantity>,
}

/// `TracingConfiguration` of `k8s.io/component-base/tracing/api/v1`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    pub endpoint: Option<String>,
    pub sampling_rate_per_million: Option<i32>,
}

/// `Taint` of `k8s.io/api/core/v1`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    pub key: Option<String>,
    pub value: Option<String>,
    pub effect: Option<String>,
    pub time_added: Option<String>,
}

/// Every known key, nested ones included; unknown keys are compared with it.
pub fn skeleton() -> KubeletConfiguration {
    KubeletConfiguration {
        authentication: Some(Authentication {
            x509: Some(X509Authentication::default()),
            webhook: Some(WebhookAuthentication::default()),
            anonymous: Some(AnonymousAuthentication::default()),
        }),
        authorization: Some(Authorization {
            webhook: Some(WebhookAuthorization::default()),
            ..Authorization::default()
        }),
        memory_swap: Some(MemorySwap::default()),
        logging: Some(Logging {
            options: Some(LoggingOptions {
                text: Some(OutputOptions::default()),
                json: Some(OutputOptions::default()),
            }),
            ..Logging::default()
        }),
        crash_loop_back_off: Some(CrashLoopBackOff::default()),
        tracing: Some(Tracing::default()),
        user_namespaces: Some(UserNamespaces::default()),
        ..KubeletConfiguration::default()
    }
}

/// A quantity as written; Kubernetes accepts a bare number too.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Quantity(pub String);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromScalar;
        impl Visitor<'_> for FromScalar {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity like 100Mi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity(scalar::json_of_float(number)))
            }
        }
        deserializer.deserialize_any(FromScalar)
    }
}

/// `TimeOrMetaDuration`: the older form is a number of nanoseconds.
fn nanoseconds_or_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a duration like 5s")]
    enum Either {
        Nanoseconds(i64),
        Span(Span),
    }
    Ok(Option::deserialize(deserializer)?.map(|either| match either {
        Either::Nanoseconds(nanoseconds) => Span(nanoseconds),
        Either::Span(span) => span,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The json tags of `KubeletConfiguration` in types.go of v1.36.2, in its order.
    const KEYS: &str = "
        enableServer staticPodPath podLogsDir syncFrequency fileCheckFrequency httpCheckFrequency
        staticPodURL staticPodURLHeader address port readOnlyPort tlsCertFile tlsPrivateKeyFile
        tlsCipherSuites tlsCurvePreferences tlsMinVersion rotateCertificates serverTLSBootstrap
        authentication authorization registryPullQPS registryBurst
        imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist eventRecordQPS
        eventBurst enableDebuggingHandlers enableContentionProfiling healthzPort healthzBindAddress
        oomScoreAdj clusterDomain clusterDNS streamingConnectionIdleTimeout nodeStatusUpdateFrequency
        nodeStatusReportFrequency nodeLeaseDurationSeconds imageMinimumGCAge imageMaximumGCAge
        imageGCHighThresholdPercent imageGCLowThresholdPercent volumeStatsAggPeriod kubeletCgroups
        systemCgroups cgroupRoot cgroupsPerQOS cgroupDriver cpuManagerPolicy singleProcessOOMKill
        cpuManagerPolicyOptions cpuManagerReconcilePeriod memoryManagerPolicy topologyManagerPolicy
        topologyManagerScope topologyManagerPolicyOptions qosReserved runtimeRequestTimeout hairpinMode
        maxPods podCIDR podPidsLimit resolvConf runOnce cpuCFSQuota cpuCFSQuotaPeriod
        nodeStatusMaxImages maxOpenFiles contentType kubeAPIQPS kubeAPIBurst serializeImagePulls
        maxParallelImagePulls evictionHard evictionSoft evictionSoftGracePeriod
        evictionPressureTransitionPeriod evictionMaxPodGracePeriod evictionMinimumReclaim
        mergeDefaultEvictionSettings podsPerCore enableControllerAttachDetach protectKernelDefaults
        makeIPTablesUtilChains iptablesMasqueradeBit iptablesDropBit featureGates failSwapOn memorySwap
        containerLogMaxSize containerLogMaxFiles containerLogMaxWorkers containerLogMonitorInterval
        configMapAndSecretChangeDetectionStrategy systemReserved kubeReserved reservedSystemCPUs
        showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup enforceNodeAllocatable
        allowedUnsafeSysctls volumePluginDir providerID kernelMemcgNotification logging
        enableSystemLogHandler enableSystemLogQuery shutdownGracePeriod shutdownGracePeriodCriticalPods
        shutdownGracePeriodByPodPriority crashLoopBackOff reservedMemory enableProfilingHandler
        enableDebugFlagsHandler seccompDefault memoryThrottlingFactor memoryReservationPolicy
        registerWithTaints registerNode tracing localStorageCapacityIsolation containerRuntimeEndpoint
        imageServiceEndpoint failCgroupV1 userNamespaces
    ";

    #[test]
    fn every_key_of_the_kubelet_is_known_and_no_other() {
        let known = serde_json::to_value(KubeletConfiguration::default()).unwrap();
        let ours: BTreeSet<_> = known.as_object().unwrap().keys().map(String::as_str).collect();
        let theirs: BTreeSet<_> = KEYS.split_whitespace().chain(["kind", "apiVersion"]).collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn the_two_forms_of_the_flush_frequency() {
        let read = |text: &str| serde_json::from_str::<Logging>(text).unwrap().flush_frequency;
        assert_eq!(read(r#"{"flushFrequency": 5000000000}"#), Some(Span::seconds(5)));
        assert_eq!(read(r#"{"flushFrequency": "5s"}"#), Some(Span::seconds(5)));
        assert_eq!(read("{}"), None);
    }
}
