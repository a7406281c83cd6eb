//! The configuration, resolved: absolute paths, durations, every default in one place.
//!
//! Files, drop-ins and flags are merged in `layers`, completed in `defaults`, checked in `validate` and turned into
//! [`Config`] in `resolve`; only `files` accesses the disk. This module depends on `model` alone.

pub mod amounts;
pub mod version;
pub mod error;
pub mod flag;
pub mod flags;
mod kubectl_flags;
mod overlay_flags;
mod unused_flags;
pub mod own;
pub mod raw;
pub mod defaults;
pub mod known;
pub mod flag_value;
pub mod layers;
mod checks;
pub mod surroundings;
pub mod validate;
pub mod enforce;
pub mod credential_providers;
pub mod limits;
pub mod process;
mod reserved;
pub mod reach;
mod member;
mod traces;
mod shutdown;
mod verification;
pub mod log;
mod tls;
pub mod resolve;
pub mod supported;
mod tested;
pub mod reference;
pub mod node_api;
pub mod offered;
mod gates;
pub mod overlay;
pub mod kubectl;
mod kubectl_address;
mod flagz;
pub mod files;
pub mod node;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use error::ConfigError;
pub use limits::Eviction;
pub use member::Member;

use crate::model::collector::Collector;
use crate::model::feature_gate::FeatureGate;
use crate::model::memory_rules::MemoryReservation;
use crate::model::node::CgroupDriver;
use crate::model::pull_policy::Verification;
use crate::model::resources::Bytes;
use crate::model::shutdown::ShutdownPeriods;
use crate::model::tls::TlsOffer;

/// The Kubernetes version that the agent implements: the Node object and `kubelet --version` report it.
pub const KUBERNETES_VERSION: &str = "v1.36.2";

/// The name under which the agent was started, which changes a few defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `gantry run`: manifests and cgroup driver have defaults that suit a standalone machine.
    Run,
    /// `kubelet`, or `gantry kubelet`: exactly the kubelet's defaults.
    Kubelet,
}

/// The resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Under which name it was started.
    pub role: Role,
    /// The node itself.
    pub node: Node,
    /// Directories and files.
    pub paths: Paths,
    /// The manifests on disk.
    pub manifests: Manifests,
    /// The container runtime.
    pub runtime: Runtime,
    /// Image pulls and image garbage collection.
    pub images: Images,
    /// cgroups and the enforcement of node allocatable.
    pub cgroups: Cgroups,
    /// Reserved resources and eviction.
    pub eviction: Eviction,
    /// What the agent's own process gets.
    pub process: process::Process,
    /// What every pod gets.
    pub pods: Pods,
    /// What the agent serves.
    pub serve: Serve,
    /// The node's membership in a cluster.
    pub member: Member,
    /// The pods' network.
    pub network: Network,
    /// How much time pods get before the machine goes down.
    pub shutdown: ShutdownPeriods,
    /// Where traces of pods go; `None` without `tracing`, or with a sampling rate of 0.
    pub traces: Option<Collector>,
    /// How the agent logs.
    pub log: log::Log,
    /// Warnings to log once at start, such as keys and flags without effect.
    pub warnings: Vec<String>,
    /// Every flag with its value, as `/flagz` shows it.
    pub flags: BTreeMap<String, String>,
    /// The complete KubeletConfiguration that this was resolved from.
    written: serde_json::Value,
}

impl Config {
    /// The KubeletConfiguration in force, as the kubelet's `/configz` shows it within `kubeletconfig`.
    pub fn configz(&self) -> &serde_json::Value {
        &self.written
    }
}

/// The node itself.
#[derive(Debug, Clone)]
pub struct Node {
    /// The name, in lower case.
    pub name: String,
    /// Its addresses.
    pub addresses: Addresses,
    /// Labels to register with.
    pub labels: BTreeMap<String, String>,
    /// The Kubernetes version that the node reports.
    pub reported_version: String,
    /// `maxPods`
    pub max_pods: u32,
    /// `protectKernelDefaults`: wrong kernel settings prevent the start instead of being corrected.
    pub protect_kernel: bool,
    /// The feature gate `LocalStorageCapacityIsolationFSQuotaMonitoring`, unless it is set to false.
    pub project_quotas: bool,
    /// `volumeStatsAggPeriod`; `None`: volumes of drivers and those on file systems of their own are not measured.
    pub volume_stats: Option<Duration>,
    /// Whether drivers are asked if their volumes are well (the feature gate `CSIVolumeHealth`).
    pub volume_health: bool,
    /// `podsPerCore`; `None`: no such limit.
    pub pods_per_core: Option<u32>,
    /// `nodeStatusUpdateFrequency`
    pub status_update: Duration,
    /// `nodeStatusReportFrequency`
    pub status_report: Duration,
    /// `nodeStatusMaxImages`, -1 for all.
    pub max_images: i32,
}

/// Where the node's addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// The host's address on its default route, IPv4 before IPv6.
    PreferIpv4,
    /// The host's address on its default route, IPv6 before IPv4.
    PreferIpv6,
    /// These, the primary first.
    Given(Vec<IpAddr>),
}

/// Directories and files, all absolute.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Volumes and other files of pods (`/var/lib/kubelet`).
    pub root: PathBuf,
    /// `podLogsDir` (`/var/log/pods`)
    pub pod_logs: PathBuf,
    /// The links that log shippers read (`/var/log/containers`).
    pub container_logs: PathBuf,
    /// The agent's state directory (`/var/lib/gantry`).
    pub state: PathBuf,
    /// The kubeconfig of the API server; `None`: standalone.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig to use before the node has a certificate.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// The node's certificates and keys (`/var/lib/kubelet/pki`).
    pub certificates: PathBuf,
    /// `resolvConf`; `None`: pods get no resolver configuration from the host.
    pub resolv_conf: Option<PathBuf>,
}

/// The manifests on disk.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// `staticPodPath`, a directory or one file; `None`: no manifests.
    pub path: Option<PathBuf>,
    /// `fileCheckFrequency`: the interval of the rescan that catches what inotify missed.
    pub check: Duration,
}

/// The container runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The runtime's socket.
    pub endpoint: PathBuf,
    /// The image service's socket, usually the same.
    pub image_endpoint: PathBuf,
    /// `runtimeRequestTimeout`, for calls that do not run long by nature.
    pub request_timeout: Duration,
}

/// Image pulls and image garbage collection.
#[derive(Debug, Clone)]
pub struct Images {
    /// The directory of image archives to import.
    pub dir: PathBuf,
    /// The sandbox image; `None`: the agent's own.
    pub pause: Option<String>,
    /// The credential provider plugins: their configuration, and the directory of their executables.
    pub credential_providers: Option<(PathBuf, PathBuf)>,
    /// Which present images require credentials of a pod; `None`: none, and pulls are not recorded (the feature gate
    /// `KubeletEnsureSecretPulledImages` is off).
    pub verification: Option<Verification>,
    /// The number of concurrent pulls; `None`: unlimited.
    pub parallel_pulls: Option<u32>,
    /// `registryPullQPS`; `None`: no limit.
    pub pulls_per_second: Option<u32>,
    /// `registryBurst`
    pub pull_burst: u32,
    /// `imageGCHighThresholdPercent` of the disk.
    pub gc_high_percent: u8,
    /// `imageGCLowThresholdPercent` of the disk.
    pub gc_low_percent: u8,
    /// `imageMinimumGCAge`
    pub gc_min_age: Duration,
    /// `imageMaximumGCAge`; `None`: no limit.
    pub gc_max_age: Option<Duration>,
}

/// cgroups and the enforcement of node allocatable.
#[derive(Debug, Clone)]
pub struct Cgroups {
    /// `cgroupDriver` if it is set.
    pub driver: Option<CgroupDriver>,
    /// `cgroupRoot` as components.
    pub root: Vec<String>,
    /// `cgroupsPerQOS`
    pub per_qos: bool,
    /// `cpuCFSQuota`
    pub cfs_quota: bool,
    /// `cpuCFSQuotaPeriod`
    pub cfs_period: Duration,
    /// `podPidsLimit`; `None`: the agent sets no limit.
    pub pod_pids: Option<i64>,
    /// `enforceNodeAllocatable`; empty for `none` too.
    pub enforce: Vec<Enforce>,
    /// `systemReservedCgroup`
    pub system_reserved: Option<String>,
    /// `kubeReservedCgroup`
    pub kube_reserved: Option<String>,
    /// `singleProcessOOMKill`; `None`: true on cgroup v1, false on v2.
    pub single_process_oom_kill: Option<bool>,
    /// `qosReserved.memory` in percent.
    pub qos_reserved: Option<i64>,
    /// The feature gate `MemoryQoS` with `memoryThrottlingFactor` and `memoryReservationPolicy`.
    pub memory_qos: Option<(f64, MemoryReservation)>,
    /// `failCgroupV1`; `gantry run` accepts cgroup v1 by default.
    pub refuse_v1: bool,
}

/// An entry of `enforceNodeAllocatable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforce {
    /// `pods`
    Pods,
    /// `system-reserved`
    SystemReserved,
    /// `system-reserved-compressible`
    SystemReservedCompressible,
    /// `kube-reserved`
    KubeReserved,
    /// `kube-reserved-compressible`
    KubeReservedCompressible,
}

/// What every pod gets.
#[derive(Debug, Clone)]
pub struct Pods {
    /// `clusterDNS`
    pub cluster_dns: Vec<IpAddr>,
    /// `clusterDomain`, may be empty.
    pub cluster_domain: String,
    /// `containerLogMaxSize`
    pub log_max_size: Bytes,
    /// `containerLogMaxFiles`, at least 2.
    pub log_max_files: u32,
    /// `containerLogMaxWorkers`
    pub log_workers: u32,
    /// `containerLogMonitorInterval`
    pub log_check: Duration,
    /// `seccompDefault`
    pub seccomp_default: bool,
    /// `allowedUnsafeSysctls`: names, or prefixes that end in `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// `crashLoopBackOff.maxContainerRestartPeriod`
    pub max_restart_backoff: Duration,
    /// `failSwapOn`
    pub fail_swap_on: bool,
    /// `memorySwap.swapBehavior: LimitedSwap`
    pub limited_swap: bool,
    /// The feature gate `ContainerStopSignals`.
    pub stop_signals: bool,
    /// The feature gate `InPlacePodLevelResourcesVerticalScaling`.
    pub pod_level_resize: bool,
    /// The feature gate `RestartAllContainersOnContainerExits`.
    pub restart_all: bool,
    /// `userNamespaces.idsPerPod`
    pub ids_per_pod: u32,
}

/// What the agent serves.
#[derive(Debug, Clone)]
pub struct Serve {
    /// The agent's socket for commands.
    pub socket: PathBuf,
    /// The address of `/healthz`; `None` if its port is 0.
    pub healthz: Option<SocketAddr>,
    /// The address of the kubelet's API; `None` with `enableServer: false`.
    pub api: Option<SocketAddr>,
    /// The endpoint for kubectl on a machine without a cluster.
    pub kubectl: kubectl::Kubectl,
    /// The address of the port without authentication; `None` unless `readOnlyPort` is set.
    pub read_only: Option<SocketAddr>,
    /// `port`, which the Node object reports.
    pub api_port: u16,
    /// Its authentication, authorization and serving certificate.
    pub node_api: node_api::NodeApi,
    /// Its TLS settings.
    pub tls: TlsOffer,
    /// The feature gates.
    pub gates: Vec<FeatureGate>,
    /// `enableDebuggingHandlers`: whether it serves logs, exec and similar endpoints.
    pub debugging: bool,
    /// Which other endpoints it serves.
    pub offered: offered::Offered,
    /// `streamingConnectionIdleTimeout`: how long nothing may pass on the streams of exec, attach and port-forward.
    pub stream_idle: Duration,
}

/// The pods' network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Which network connects the pods.
    pub whose: PodNetwork,
    /// The network of all pods: one, or one of each IP family, of which the first is that of a pod's `podIP`.
    pub range: Vec<ipnet::IpNet>,
    /// This node's part of it in each family; the agent picks what is missing.
    pub pod_cidr: Vec<ipnet::IpNet>,
    /// How it is one with those of other nodes.
    pub overlay: overlay::Overlay,
    /// CNI configurations.
    pub cni_conf_dir: PathBuf,
    /// CNI plugins.
    pub cni_bin_dir: PathBuf,
    /// `makeIPTablesUtilChains`: whether the agent maintains the rule that guards the host's loopback addresses.
    pub util_chains: bool,
}

/// `podNetwork`: which network connects the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodNetwork {
    /// gantry's own without a cluster; in a cluster the plugin that the cluster installs, as with the kubelet.
    Auto,
    /// gantry's own; in a cluster it uses the subnet of `Node.spec.podCIDR`.
    Own,
    /// The cluster's plugin.
    Cluster,
}
